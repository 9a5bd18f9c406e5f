/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows into a new recording, all in one transaction: what is imported is there as a whole or not at all. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/store/store_internal.h"

enum { STATEMENTS = 16 };
struct writer {
    sqlite3 *db;
    char *path;
    int rc;
    struct {
        const char *sql;
        sqlite3_stmt *stmt;
    } cached[STATEMENTS];
};

struct writer *writer_open(const char *path, struct err *e)
{
    struct writer *w = xcalloc(1, sizeof *w);
    w->path = xstrdup(path);
    w->rc = sqlite3_open_v2(path, &w->db, SQLITE_OPEN_READWRITE, NULL);
    if (w->rc == SQLITE_OK)
        w->rc = sqlite3_exec(w->db, "PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; BEGIN", NULL, NULL, NULL);
    if (w->rc == SQLITE_OK) return w;
    writer_close(w, false, e);
    return NULL;
}

static sqlite3_stmt *statement(struct writer *w, const char *sql)
{
    int i = 0;
    while (i < STATEMENTS - 1 && w->cached[i].sql && w->cached[i].sql != sql) i++;
    if (w->cached[i].sql != sql) {
        sqlite3_finalize(w->cached[i].stmt);
        w->cached[i].stmt = NULL;
        w->cached[i].sql = sql;
        w->rc = sqlite3_prepare_v2(w->db, sql, -1, &w->cached[i].stmt, NULL);
    }
    return w->cached[i].stmt;
}

int64_t writer_row(struct writer *w, const char *sql, const char *types, ...)
{
    if (w->rc != SQLITE_OK) return 0;
    sqlite3_stmt *st = statement(w, sql);
    va_list ap;
    va_start(ap, types);
    for (int i = 0; types[i] && w->rc == SQLITE_OK; i++) {
        const void *p;
        switch (types[i]) {
        case 'i': w->rc = sqlite3_bind_int64(st, i + 1, va_arg(ap, int64_t)); break;
        case 'r': w->rc = sqlite3_bind_double(st, i + 1, va_arg(ap, double)); break;
        case 't': w->rc = sqlite3_bind_text(st, i + 1, va_arg(ap, const char *), -1, SQLITE_TRANSIENT); break;
        case 'b':
            p = va_arg(ap, const void *);
            w->rc = sqlite3_bind_blob64(st, i + 1, p ? p : "", va_arg(ap, size_t), SQLITE_TRANSIENT);
            break;
        default: w->rc = sqlite3_bind_null(st, i + 1);
        }
    }
    va_end(ap);
    if (w->rc == SQLITE_OK) {
        w->rc = sqlite3_step(st);
        if (w->rc == SQLITE_DONE) w->rc = SQLITE_OK;
        sqlite3_reset(st);
    }
    return sqlite3_last_insert_rowid(w->db);
}

int writer_close(struct writer *w, bool keep, struct err *e)
{
    if (keep && w->rc == SQLITE_OK) w->rc = sqlite3_exec(w->db, "COMMIT", NULL, NULL, NULL);
    if (w->rc != SQLITE_OK)
        err_set(e, EXIT_CANNOT, "%s: cannot be written: %s", w->path,
                w->rc == SQLITE_FULL ? "no space left on the device" : sqlite3_errmsg(w->db));
    for (int i = 0; i < STATEMENTS; i++) sqlite3_finalize(w->cached[i].stmt);
    sqlite3_close(w->db);
    free(w->path);
    free(w);
    return e->code;
}

bool store_has(struct store *s, const char *table)
{
    sqlite3_stmt *st = NULL;
    struct buf sql = {0};
    buf_printf(&sql, "SELECT 1 FROM %s LIMIT 1", table);
    bool any = sqlite3_prepare_v2(s->db, sql.data, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW;
    sqlite3_finalize(st);
    buf_free(&sql);
    return any;
}
