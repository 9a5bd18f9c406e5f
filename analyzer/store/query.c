/* SPDX-License-Identifier: Apache-2.0
 *
 * Queries over an open recording with typed, checked columns. The first error stays in the store and ends every later
 * query at once, so that callers look once, after their last row.
 *
 * Invariants: 1. a statement is prepared once for each SQL literal; 2. after an error query_next is false. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/store/store_internal.h"

void store_close(struct store *s)
{
    if (!s) return;
    for (int i = 0; i < STORE_QUERIES; i++) sqlite3_finalize(s->queries[i].stmt);
    sqlite3_close(s->db);
    free(s->path);
    free(s);
}

const char *store_path(const struct store *s)
{
    return s->path;
}
const struct err *store_error(const struct store *s)
{
    return &s->err;
}

int store_damaged(struct store *s, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(&s->err, EXIT_INPUT, "%s: damaged: %s; copy it again from its source, or record again", s->path,
                   text);
}

static void (*plans)(const char *sql, const char *step);

void store_watch_plans(void (*fn)(const char *sql, const char *step))
{
    plans = fn;
}

static void tell_plan(struct store *s, const char *sql)
{
    struct buf b = {0};
    sqlite3_stmt *st = NULL;
    buf_printf(&b, "EXPLAIN QUERY PLAN %s", sql);
    if (sqlite3_prepare_v2(s->db, b.data, -1, &st, NULL) == SQLITE_OK)
        while (sqlite3_step(st) == SQLITE_ROW) plans(sql, (const char *)sqlite3_column_text(st, 3));
    sqlite3_finalize(st);
    buf_free(&b);
}

struct query *store_query(struct store *s, const char *sql, unsigned n, ...)
{
    struct query *q = NULL;
    for (int i = 0; i < STORE_QUERIES && !q; i++)
        if (!s->queries[i].sql || s->queries[i].sql == sql) q = &s->queries[i];
    if (!q) abort(); /* more literals than slots: a mistake in the analyzer */
    q->store = s;
    q->sql = sql;
    if (!q->stmt && plans) tell_plan(s, sql);
    if (!q->stmt && sqlite3_prepare_v2(s->db, sql, -1, &q->stmt, NULL) != SQLITE_OK)
        store_damaged(s, "%s", sqlite3_errmsg(s->db));
    if (!q->stmt) return q;
    sqlite3_reset(q->stmt);
    va_list ap;
    va_start(ap, n);
    for (unsigned i = 0; i < n; i++) sqlite3_bind_int64(q->stmt, (int)i + 1, va_arg(ap, int64_t));
    va_end(ap);
    return q;
}

bool query_next(struct query *q)
{
    if (q->store->err.code || !q->stmt) {
        query_end(q);
        return false;
    }
    int rc = sqlite3_step(q->stmt);
    if (rc == SQLITE_ROW) return true;
    if (rc != SQLITE_DONE) store_damaged(q->store, "%s", sqlite3_errmsg(q->store->db));
    query_end(q);
    return false;
}

void query_end(struct query *q)
{
    if (q->stmt) sqlite3_reset(q->stmt);
}

bool query_is_null(struct query *q, int col)
{
    return sqlite3_column_type(q->stmt, col) == SQLITE_NULL;
}

int64_t query_int(struct query *q, int col, const char *what)
{
    if (sqlite3_column_type(q->stmt, col) == SQLITE_INTEGER) return sqlite3_column_int64(q->stmt, col);
    store_damaged(q->store, "%s is not an integer", what);
    return 0;
}

int64_t query_count(struct query *q, int col, const char *what)
{
    int64_t v = query_int(q, col, what);
    if (v >= 0) return v;
    store_damaged(q->store, "%s is negative (%lld)", what, (long long)v);
    return 0;
}

double query_real(struct query *q, int col, const char *what)
{
    int type = sqlite3_column_type(q->stmt, col);
    double v = sqlite3_column_double(q->stmt, col);
    if ((type == SQLITE_FLOAT || type == SQLITE_INTEGER) && isfinite(v) && v >= 0 && v < 9e18) return v;
    store_damaged(q->store, "%s is not a plausible number", what);
    return 0;
}

const char *query_text(struct query *q, int col, const char *what)
{
    const char *s = NULL;
    if (sqlite3_column_type(q->stmt, col) == SQLITE_TEXT) s = (const char *)sqlite3_column_text(q->stmt, col);
    if (s && strlen(s) == (size_t)sqlite3_column_bytes(q->stmt, col)) return s;
    store_damaged(q->store, "%s is not text", what);
    return "";
}

const void *query_blob(struct query *q, int col, size_t *n, const char *what)
{
    *n = 0;
    if (sqlite3_column_type(q->stmt, col) != SQLITE_BLOB) {
        store_damaged(q->store, "%s is not a blob", what);
        return "";
    }
    const void *p = sqlite3_column_blob(q->stmt, col);
    *n = (size_t)sqlite3_column_bytes(q->stmt, col);
    return p ? p : "";
}
