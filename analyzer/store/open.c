/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening a recording: the file, then the format, then the tables. Each failure is one line that names the file, the
 * cause and the way out.
 *
 * Invariants: 1. the recording's bytes and its directory are never written; 2. views and triggers are refused, so
 * that no SQL but ours runs; 3. every table and column of schema.sql is there before the first query.
 *
 * A recording whose writer was killed in the middle of a snapshot has a hot journal. SQLite would roll it back in place; we copy
 * both files to a private folder and let it do so there. Dropped: immutable=1, which shows half a transaction. */
#include "analyzer/store/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/contract/contract.h"

enum { HEADER = 100 };

static uint32_t be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool has_journal(const char *path)
{
    char name[PATH_MAX];
    struct stat st;
    if (snprintf(name, sizeof name, "%s-journal", path) >= (int)sizeof name) return false;
    return stat(name, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
}

/* The file as bytes, before SQLite sees it. */
static int check_file(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        if (errno == ENOENT) return err_set(e, EXIT_INPUT, "%s: no such recording; `seep run` makes one", path);
        return err_set(e, EXIT_INPUT, "%s: cannot be read: %s", path, strerror(errno));
    }
    struct stat st;
    unsigned char h[HEADER];
    ssize_t n = 0;
    if (fstat(fd, &st) != 0)
        err_set(e, EXIT_INPUT, "%s: cannot be read: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        err_set(e, EXIT_INPUT, "%s: is a directory; name a recording in it", path);
    else if (!S_ISREG(st.st_mode))
        err_set(e, EXIT_INPUT, "%s: not a regular file; a recording is one", path);
    else if (st.st_size == 0)
        err_set(e, EXIT_INPUT, "%s: empty, not a recording; was it created by `seep run`?", path);
    else if ((n = pread(fd, h, sizeof h, 0)) < 0)
        err_set(e, EXIT_INPUT, "%s: cannot be read: %s", path, strerror(errno));
    else if (memcmp(h, "SQLite format 3", (size_t)n < 16 ? (size_t)n : 16) != 0)
        err_set(e, EXIT_INPUT, "%s: not a seep recording (not an SQLite file)", path);
    else if (n < HEADER)
        err_set(e, EXIT_INPUT, "%s: truncated: %zd bytes are left; copy it again from its source", path, n);
    else if (!has_journal(path) && fstat(fd, &st) == 0) { /* the size after the header: a writer may be at work */
        uint64_t page = (uint64_t)h[16] << 8 | h[17];
        if (page == 1) page = 65536;
        uint64_t want = page * be32(h + 28);
        if (be32(h + 24) == be32(h + 92) && want > (uint64_t)st.st_size)
            err_set(e, EXIT_INPUT, "%s: truncated: %llu of %llu bytes are left; copy it again from its source", path,
                    (unsigned long long)st.st_size, (unsigned long long)want);
    }
    close(fd);
    return e->code;
}

static int copy_file(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), out = -1, rc = 0;
    if (in < 0) return -errno;
    out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0) rc = -errno;
    static char chunk[1 << 16];
    for (ssize_t n; rc == 0 && (n = read(in, chunk, sizeof chunk)) != 0;)
        if (n < 0 || write(out, chunk, (size_t)n) != n) rc = n < 0 ? -errno : -ENOSPC;
    close(in);
    if (out >= 0) close(out);
    return rc;
}

static int open_db(const char *path, int flags, sqlite3 **db)
{
    int rc = sqlite3_open_v2(path, db, flags | SQLITE_OPEN_NOMUTEX, NULL); /* we have one thread */
    if (rc != SQLITE_OK) return rc;
    sqlite3_extended_result_codes(*db, 1);
    sqlite3_busy_timeout(*db, 30000);
    sqlite3_db_config(*db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(*db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_limit(*db, SQLITE_LIMIT_LENGTH, 64 << 20);
    /* One read transaction for all, from the first look on: what is shown is of one moment while the agent appends, and a
     * writer that is killed meanwhile leaves no journal that a later look would have to play back. */
    return sqlite3_exec(*db, "PRAGMA cell_size_check=1; BEGIN; SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
}

/* Rolls the journal back in a copy that nobody else sees and that is gone from the disk once it is open. */
static int open_copy(struct store *s, struct err *e)
{
    const char *tmp = getenv("TMPDIR");
    char dir[PATH_MAX], db[PATH_MAX + 16], journal[PATH_MAX + 32], from[PATH_MAX + 16];
    if (!tmp || !*tmp) tmp = "/tmp";
    if (snprintf(dir, sizeof dir, "%s/seep-XXXXXX", tmp) >= (int)sizeof dir || !mkdtemp(dir))
        return err_set(e, EXIT_CANNOT, "%s: its writer was killed, and recovering needs a copy in %s: %s; set TMPDIR",
                       s->path, tmp, strerror(errno));
    snprintf(db, sizeof db, "%s/r.seep", dir);
    snprintf(journal, sizeof journal, "%s-journal", db);
    snprintf(from, sizeof from, "%s-journal", s->path);
    int rc = copy_file(s->path, db);
    if (rc == 0) rc = copy_file(from, journal);
    if (rc != 0)
        err_set(e, EXIT_CANNOT, "%s: its writer was killed, and recovering needs a copy in %s: %s; set TMPDIR", s->path,
                tmp, strerror(-rc));
    else if (open_db(db, SQLITE_OPEN_READWRITE, &s->db) != SQLITE_OK)
        err_set(e, EXIT_INPUT, "%s: its writer was killed, and it cannot be recovered: %s", s->path,
                sqlite3_errmsg(s->db));
    unlink(journal);
    unlink(db);
    rmdir(dir);
    return e->code;
}

static int64_t pragma(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *st = NULL;
    int64_t v = -1;
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return v;
}

static bool has_table(sqlite3 *db, const char *name)
{
    sqlite3_stmt *st = NULL;
    bool any = sqlite3_prepare_v2(db, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", -1, &st, NULL) ==
                   SQLITE_OK &&
               sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW;
    sqlite3_finalize(st);
    return any;
}

/* Every table and column of the schema, and no table, view or trigger besides. */
static int check_tables(struct store *s, struct err *e)
{
    static const char columns[] = "SELECT m.type, m.name, p.name, p.type FROM sqlite_schema m LEFT JOIN "
                                  "pragma_table_info(m.name) p ON m.type = 'table' "
                                  "WHERE m.type <> 'index' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    sqlite3 *ours = NULL;
    sqlite3_stmt *want = NULL, *have = NULL, *look = NULL;
    if (sqlite3_open(":memory:", &ours) != SQLITE_OK ||
        sqlite3_exec(ours, store_schema_sql, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(ours, columns, -1, &want, NULL) != SQLITE_OK)
        err_set(e, EXIT_CANNOT, "the schema built into seep is broken: %s", sqlite3_errmsg(ours));
    else if (sqlite3_prepare_v2(s->db, columns, -1, &have, NULL) != SQLITE_OK ||
             sqlite3_prepare_v2(s->db, "SELECT type FROM pragma_table_info(?) WHERE name = ?", -1, &look, NULL) !=
                 SQLITE_OK)
        err_set(e, EXIT_INPUT, "%s: damaged: %s", s->path, sqlite3_errmsg(s->db));
    while (!e->code && sqlite3_step(want) == SQLITE_ROW) {
        const char *table = (const char *)sqlite3_column_text(want, 1),
                   *col = (const char *)sqlite3_column_text(want, 2);
        sqlite3_bind_text(look, 1, table, -1, SQLITE_STATIC);
        sqlite3_bind_text(look, 2, col, -1, SQLITE_STATIC);
        int rc = sqlite3_step(look);
        bool later = strcmp(table, "symbol") == 0 || strcmp(table, "path") == 0;
        if (rc == SQLITE_DONE && later && !has_table(s->db, table))
            ; /* a recording from before imports, or from before paths had a table */
        else if (rc == SQLITE_DONE)
            err_set(e, EXIT_INPUT, "%s: not a recording of this format: %s.%s is missing", s->path, table, col);
        else if (rc != SQLITE_ROW)
            err_set(e, EXIT_INPUT, "%s: damaged: %s", s->path, sqlite3_errmsg(s->db));
        else if (strcasecmp((const char *)sqlite3_column_text(look, 0), (const char *)sqlite3_column_text(want, 3)) !=
                 0)
            err_set(e, EXIT_INPUT, "%s: not a recording of this format: %s.%s is %s, not %s", s->path, table, col,
                    sqlite3_column_text(look, 0), sqlite3_column_text(want, 3));
        sqlite3_reset(look);
    }
    sqlite3_finalize(look);
    look = NULL;
    if (!e->code)
        sqlite3_prepare_v2(ours, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", -1, &look, NULL);
    while (!e->code && sqlite3_step(have) == SQLITE_ROW) {
        const char *type = (const char *)sqlite3_column_text(have, 0),
                   *name = (const char *)sqlite3_column_text(have, 1);
        if (!name) name = "?";
        sqlite3_bind_text(look, 1, name, -1, SQLITE_STATIC);
        if (!type || strcmp(type, "table") != 0 || sqlite3_step(look) != SQLITE_ROW)
            err_set(e, EXIT_INPUT, "%s: not a seep recording: it holds the foreign %s \"%s\"", s->path,
                    type ? type : "object", name);
        sqlite3_reset(look);
    }
    sqlite3_finalize(look);
    sqlite3_finalize(have);
    sqlite3_finalize(want);
    sqlite3_close(ours);
    return e->code;
}

static int check_format(struct store *s, struct err *e)
{
    int64_t app = pragma(s->db, "PRAGMA application_id"), version = pragma(s->db, "PRAGMA user_version");
    if (app != SEEP_APPLICATION_ID)
        return err_set(e, EXIT_INPUT, "%s: not a seep recording (an SQLite file of another application)", s->path);
    if (version > SEEP_FORMAT_VERSION)
        return err_set(e, EXIT_INPUT, "%s: format version %lld, and this seep reads up to %d; use a newer seep",
                       s->path, (long long)version, SEEP_FORMAT_VERSION);
    if (version < 1)
        return err_set(e, EXIT_INPUT, "%s: not a seep recording: format version %lld", s->path, (long long)version);
    return check_tables(s, e);
}

struct store *store_open(const char *path, struct err *e)
{
    if (check_file(path, e)) return NULL;
    struct store *s = xcalloc(1, sizeof *s);
    s->path = xstrdup(path);
    int rc = open_db(path, SQLITE_OPEN_READONLY, &s->db);
    for (int i = 0; i < 10 && rc == SQLITE_READONLY_ROLLBACK && !has_journal(path); i++) { /* played back by a writer */
        sqlite3_close(s->db);
        rc = open_db(path, SQLITE_OPEN_READONLY, &s->db);
    }
    if (rc == SQLITE_READONLY_ROLLBACK || rc == SQLITE_READONLY_RECOVERY ||
        (rc != SQLITE_OK && rc != SQLITE_BUSY && has_journal(path))) {
        sqlite3_close(s->db);
        s->db = NULL;
        s->recovered = true;
        open_copy(s, e);
    } else if (rc == SQLITE_BUSY) {
        err_set(e, EXIT_CANNOT, "%s: a snapshot is being written to it for more than 30 s; try again", path);
    } else if (rc == SQLITE_NOTADB) {
        err_set(e, EXIT_INPUT, "%s: not a seep recording (not an SQLite file)", path);
    } else if (rc != SQLITE_OK) {
        err_set(e, EXIT_INPUT, "%s: damaged: %s", path, sqlite3_errmsg(s->db));
    }
    if (!e->code) check_format(s, e);
    if (!e->code) return s;
    store_close(s);
    return NULL;
}
