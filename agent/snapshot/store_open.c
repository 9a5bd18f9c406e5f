/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening a recording from the child, and statements.
 *
 * Invariants
 *   1. Only a regular file is opened, never through a symbolic link; a new one is 0600, made with O_EXCL.
 *   2. A file that is neither empty nor a recording of this version is left as it is.
 *   3. The check, the schema of an empty file, and the rows are one transaction that began with the write lock: of
 *      processes that race to begin a recording, one initialises it and the others find it done.
 *   4. SQLite's system calls go to the kernel directly, its memory comes from sqlite_mem.c, it sleeps by nanosleep(2). */
#include "agent/snapshot/store.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "agent/os/os.h"
#include "agent/snapshot/raw.h"
#include "agent/util/log.h"

sqlite3 *store_db;

static const struct snapshot_job *job_of;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverlength-strings"
static const char schema[] =
#include "schema_sql.inc"
    ;
#pragma GCC diagnostic pop

#define BUSY_NS 30000000000ull

/* ---- system calls */

static int write_error; /* of the last write that failed: SQLite's own note is gone by the time it is asked */

static long written(long r)
{
    if (r < 0) write_error = (int)-r;
    return r;
}

static long result(long r)
{
    if (r >= 0 || r < -4095) return r;
    errno = (int)-r;
    return -1;
}

static int k_open(const char *path, int flags, int mode)
{
    return (int)result(raw_open(path, flags | O_NOFOLLOW, (unsigned)mode));
}
static int k_close(int fd)
{
    return (int)result(raw_close(fd));
}
static int k_access(const char *path, int mode)
{
    return (int)result(sys3(SYS_access, (long)path, mode, 0));
}
static char *k_getcwd(char *buf, size_t n)
{
    return result(sys3(SYS_getcwd, (long)buf, (long)n, 0)) < 0 ? NULL : buf;
}
static int k_stat(const char *path, struct stat *st)
{
    return (int)result(sys3(SYS_stat, (long)path, (long)st, 0));
}
static int k_lstat(const char *path, struct stat *st)
{
    return (int)result(raw_lstat(path, st));
}
static int k_fstat(int fd, struct stat *st)
{
    return (int)result(raw_fstat(fd, st));
}
static int k_ftruncate(int fd, off_t n)
{
    return (int)result(sys3(SYS_ftruncate, fd, n, 0));
}
static int k_fcntl(int fd, int cmd, ...)
{
    va_list ap;
    va_start(ap, cmd);
    long arg = va_arg(ap, long);
    va_end(ap);
    return (int)result(sys3(SYS_fcntl, fd, cmd, arg));
}
static ssize_t k_read(int fd, void *p, size_t n)
{
    return result(raw_read(fd, p, n));
}
static ssize_t k_write(int fd, const void *p, size_t n)
{
    return result(written(sys3(SYS_write, fd, (long)p, (long)n)));
}
static ssize_t k_pread(int fd, void *p, size_t n, off_t at)
{
    return result(raw_pread(fd, p, n, (uint64_t)at));
}
static ssize_t k_pwrite(int fd, const void *p, size_t n, off_t at)
{
    return result(written(sys4(SYS_pwrite64, fd, (long)p, (long)n, at)));
}
static int k_unlink(const char *path)
{
    return (int)result(sys3(SYS_unlink, (long)path, 0, 0));
}
static int k_fchmod(int fd, mode_t mode)
{
    return (int)result(sys3(SYS_fchmod, fd, (long)mode, 0));
}
static int k_fchown(int fd, uid_t u, gid_t g)
{
    return (int)result(sys3(SYS_fchown, fd, (long)u, (long)g));
}
static uid_t k_geteuid(void)
{
    return (uid_t)sys3(SYS_geteuid, 0, 0, 0);
}
static ssize_t k_readlink(const char *path, char *buf, size_t n)
{
    return result(raw_readlink(path, buf, n));
}

static void replace_calls(void)
{
#define CALL(name, fn)                                \
    {                                                 \
        name, (sqlite3_syscall_ptr)(void (*)(void))fn \
    }
    static const struct {
        const char *name;
        sqlite3_syscall_ptr fn;
    } calls[] = {
        CALL("open", k_open),     CALL("close", k_close),   CALL("access", k_access),   CALL("getcwd", k_getcwd),
        CALL("stat", k_stat),     CALL("lstat", k_lstat),   CALL("fstat", k_fstat),     CALL("ftruncate", k_ftruncate),
        CALL("fcntl", k_fcntl),   CALL("read", k_read),     CALL("write", k_write),     CALL("pread", k_pread),
        CALL("pread64", k_pread), CALL("pwrite", k_pwrite), CALL("pwrite64", k_pwrite), CALL("unlink", k_unlink),
        CALL("fchmod", k_fchmod), CALL("fchown", k_fchown), CALL("geteuid", k_geteuid), CALL("readlink", k_readlink)};
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        vfs->xSetSystemCall(vfs, calls[i].name, calls[i].fn); /* a name it does not have is no matter */
}

/* ---- errors */

static _Noreturn void lost(int error, const char *why)
{
    if (store_db) {
        if (!sqlite3_get_autocommit(store_db)) sqlite3_exec(store_db, "ROLLBACK", NULL, NULL, NULL);
        sqlite3_close_v2(store_db);
        store_db = NULL;
    }
    child_fail(error, "snapshot %u lost: %s: %s", job_of->seq, job_of->out, why);
}

_Noreturn void store_fail(void)
{
    static char why[80];
    int rc = sqlite3_errcode(store_db), os = write_error;
    switch (rc & 0xff) {
    case SQLITE_FULL: lost(-ENOSPC, "disk full");
    case SQLITE_BUSY: lost(-EBUSY, "locked by another process for 30 s");
    case SQLITE_NOTADB: lost(-EINVAL, "it is not a seep recording; it is left as it is");
    case SQLITE_CORRUPT: lost(-EIO, "the recording is damaged");
    case SQLITE_READONLY:
    case SQLITE_PERM: lost(-EACCES, "no permission to write it");
    case SQLITE_NOMEM: lost(-ENOMEM, "no memory");
    case SQLITE_IOERR:
        if (os == ENOSPC || os == EDQUOT) lost(-ENOSPC, "disk full");
        if (os == EFBIG) lost(-EFBIG, "file size limit reached");
        fmt_string(why, sizeof why, "input/output error (SQLite's code %d)", sqlite3_extended_errcode(store_db));
        lost(os ? -os : -EIO, why);
    default: break;
    }
    strncpy(why, sqlite3_errmsg(store_db), sizeof why - 1);
    lost(-EIO, why);
}

/* ---- statements */

sqlite3_stmt *store_prepare(const char *sql)
{
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(store_db, sql, -1, &s, NULL) != SQLITE_OK) store_fail();
    return s;
}

static void bind(sqlite3_stmt *s, const char *kinds, va_list ap)
{
    for (int i = 1; *kinds; kinds++, i++) {
        int64_t v;
        switch (*kinds) {
        case 'i': sqlite3_bind_int64(s, i, va_arg(ap, int64_t)); break;
        case 'd': sqlite3_bind_double(s, i, va_arg(ap, double)); break;
        case 't': sqlite3_bind_text(s, i, va_arg(ap, const char *), -1, SQLITE_STATIC); break;
        case 'r':
            v = va_arg(ap, int64_t);
            if (v)
                sqlite3_bind_int64(s, i, v);
            else
                sqlite3_bind_null(s, i);
            break;
        default: sqlite3_bind_null(s, i); break;
        }
    }
}

void store_run(sqlite3_stmt *s, const char *kinds, ...)
{
    va_list ap;
    va_start(ap, kinds);
    bind(s, kinds, ap);
    va_end(ap);
    int rc = sqlite3_step(s);
    if (rc != SQLITE_DONE && rc != SQLITE_ROW) store_fail();
    sqlite3_reset(s);
}

int64_t store_get(sqlite3_stmt *s, const char *kinds, ...)
{
    va_list ap;
    va_start(ap, kinds);
    bind(s, kinds, ap);
    va_end(ap);
    int rc = sqlite3_step(s);
    int64_t v = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    if (rc != SQLITE_DONE && rc != SQLITE_ROW) store_fail();
    sqlite3_reset(s);
    return v;
}

static void exec(const char *sql)
{
    if (sqlite3_exec(store_db, sql, NULL, NULL, NULL) != SQLITE_OK) store_fail();
}

static int64_t get_once(const char *sql)
{
    sqlite3_stmt *s = store_prepare(sql);
    int64_t v = store_get(s, "");
    sqlite3_finalize(s);
    return v;
}

/* ---- opening */

static int wait_for_lock(void *arg, int times)
{
    static uint64_t since;
    (void)arg;
    uint64_t now = os_mono_ns();
    if (times == 0) since = now;
    if (now - since > BUSY_NS) return 0;
    struct timespec ts = {0, times < 10 ? 1000000 : 20000000};
    sys3(SYS_nanosleep, (long)&ts, 0, 0);
    return 1;
}

static void check_file(const char *path)
{
    int fd = raw_open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (fd == -EEXIST) fd = raw_open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
    switch (fd) {
    case -ELOOP: lost(-ELOOP, "it is a symbolic link");
    case -EISDIR: lost(-EISDIR, "it is a directory");
    case -ENOENT: lost(-ENOENT, "its directory does not exist");
    case -EACCES:
    case -EPERM: lost(-EACCES, "no permission to write it");
    case -EROFS: lost(-EROFS, "read-only file system");
    case -ENOSPC:
    case -EDQUOT: lost(-ENOSPC, "disk full");
    default:
        if (fd < 0) lost(fd, "it can't be opened");
    }
    struct stat st;
    char magic[16] = {0};
    int rc = raw_fstat(fd, &st);
    long n = raw_pread(fd, magic, sizeof magic, 0);
    raw_close(fd);
    if (rc < 0 || !S_ISREG(st.st_mode)) lost(-EINVAL, "it is not a regular file");
    if (n == 0 && st.st_size == 0 && st.st_uid != k_geteuid()) lost(-EACCES, "it is empty and somebody else's");
    if (n != 0 && memcmp(magic, "SQLite format 3", 16) != 0)
        lost(-EINVAL, "it is not a seep recording; it is left as it is");
}

void store_open(const struct snapshot_job *job)
{
    job_of = job;
    if (store_config() != SQLITE_OK || sqlite3_initialize() != SQLITE_OK) lost(-ENOMEM, "no memory");
    replace_calls();
    check_file(job->out);
    int rc = sqlite3_open_v2(job->out, &store_db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL);
    if (rc != SQLITE_OK) store_fail();
    sqlite3_busy_handler(store_db, wait_for_lock, NULL);
    exec("PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-65536; PRAGMA mmap_size=0");
    exec("PRAGMA journal_mode=DELETE; BEGIN IMMEDIATE");
    if (get_once("SELECT count(*) FROM sqlite_schema") == 0 && get_once("PRAGMA application_id") == 0) {
        exec(schema);
    } else if (get_once("PRAGMA application_id") != SEEP_APPLICATION_ID) {
        lost(-EINVAL, "it is a database, but not a seep recording; it is left as it is");
    } else if (get_once("PRAGMA user_version") != SEEP_FORMAT_VERSION) {
        lost(-EINVAL, "it is a recording of another version of seep; it is left as it is");
    }
}

bool store_has_paths(void)
{
    return get_once("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'path'") > 0;
}

void store_commit(void)
{
    exec("COMMIT");
    sqlite3_close_v2(store_db);
    store_db = NULL;
}
