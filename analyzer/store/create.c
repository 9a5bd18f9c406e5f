/* SPDX-License-Identifier: Apache-2.0
 *
 * Creating a recording. It is built under a temporary name in the same folder (O_EXCL, 0600) and linked or renamed to its own
 * name when its schema is complete, so that no half-made recording is ever seen and an existing file is
 * either kept or replaced as a whole.
 *
 * Invariants: 1. never through a symbolic link; 2. only a regular file is replaced, and only with force. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "analyzer/store/store_internal.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverlength-strings"
const char store_schema_sql[] =
#include "schema_sql.inc"
    ;
#pragma GCC diagnostic pop

int store_check_new(const char *path, bool force, struct err *e)
{
    struct stat st;
    if (lstat(path, &st) != 0) {
        if (errno == ENOENT) return 0;
        return err_set(e, EXIT_CANNOT, "%s: cannot record there: %s", path, strerror(errno));
    }
    if (S_ISLNK(st.st_mode))
        return err_set(e, EXIT_CANNOT,
                       "%s: is a symbolic link, and recordings are never written through one; name the file itself",
                       path);
    if (S_ISDIR(st.st_mode)) return err_set(e, EXIT_CANNOT, "%s: is a directory; name a file in it", path);
    if (!S_ISREG(st.st_mode)) return err_set(e, EXIT_CANNOT, "%s: not a regular file; a recording needs one", path);
    if (!force) return err_set(e, EXIT_CANNOT, "%s: exists; use -f to replace it, or -o for another name", path);
    return 0;
}

/* A journal left by a killed writer would be played back into the new file. */
static int drop_journal(const char *path, struct err *e)
{
    char name[PATH_MAX];
    struct stat st;
    if (snprintf(name, sizeof name, "%s-journal", path) >= (int)sizeof name || lstat(name, &st) != 0) return 0;
    if (S_ISREG(st.st_mode) && unlink(name) == 0) return 0;
    return err_set(e, EXIT_CANNOT, "%s: in the way of the recording's journal; remove it", name);
}

int store_create(const char *path, bool force, struct err *e)
{
    if (store_check_new(path, force, e)) return e->code;
    char tmp[PATH_MAX];
    if (snprintf(tmp, sizeof tmp, "%s.%d.new", path, (int)getpid()) >= (int)sizeof tmp)
        return err_set(e, EXIT_CANNOT, "%s: name too long; choose a shorter one with -o", path);
    int fd = open(tmp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return err_set(e, EXIT_CANNOT, "%s: cannot record there: %s", path, strerror(errno));
    close(fd);

    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(tmp, &db, SQLITE_OPEN_READWRITE, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_exec(db, "PRAGMA journal_mode=MEMORY; BEGIN", NULL, NULL, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_exec(db, store_schema_sql, NULL, NULL, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        const char *why = rc == SQLITE_FULL ? "no space left on the device" : sqlite3_errmsg(db);
        err_set(e, EXIT_CANNOT, "%s: cannot record there: %s; choose another place with -o", path, why);
    }
    sqlite3_close(db);
    if (!e->code && (force || access(path, F_OK) != 0)) drop_journal(path, e);
    /* link() refuses an existing name, rename() replaces a file as a whole and never follows a link. */
    if (!e->code && !force && link(tmp, path) != 0) {
        if (errno == EEXIST)
            store_check_new(path, force, e);
        else if (rename(tmp, path) == 0) /* a file system without hard links */
            return 0;
        err_set(e, EXIT_CANNOT, "%s: cannot record there: %s", path, strerror(errno));
    }
    if (!e->code && force && store_check_new(path, force, e) == 0) {
        if (rename(tmp, path) == 0) return 0;
        err_set(e, EXIT_CANNOT, "%s: cannot be replaced: %s", path, strerror(errno));
    }
    unlink(tmp);
    return e->code;
}

int store_add_event(const char *path, int pid, const char *kind, const char *detail)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(db, 30000);
        rc = sqlite3_exec(db, "PRAGMA synchronous=OFF", NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(db,
                                "INSERT INTO event (process, unix_ns, kind, detail) VALUES "
                                "((SELECT max(id) FROM process WHERE pid = ?1), ?2, ?3, ?4)",
                                -1, &st, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_bind_int(st, 1, pid);
        sqlite3_bind_int64(st, 2, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
        sqlite3_bind_text(st, 3, kind, -1, SQLITE_STATIC);
        sqlite3_bind_text(st, 4, detail, -1, SQLITE_STATIC);
        rc = sqlite3_step(st);
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    return rc == SQLITE_DONE ? 0 : -1;
}

int store_label(const char *path, const char *label, struct err *e)
{
    static const char sql[] = "UPDATE snapshot SET label = ? WHERE label = '' AND seq = "
                              "(SELECT max(seq) FROM snapshot s WHERE s.process = snapshot.process)";
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL);
    if (rc == SQLITE_OK) sqlite3_busy_timeout(db, 30000);
    if (rc == SQLITE_OK) rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_bind_text(st, 1, label, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK && sqlite3_step(st) != SQLITE_DONE) rc = sqlite3_errcode(db);
    if (rc != SQLITE_OK) err_set(e, EXIT_CANNOT, "%s: cannot be labelled: %s", path, sqlite3_errmsg(db));
    sqlite3_finalize(st);
    sqlite3_close(db);
    return e->code;
}
