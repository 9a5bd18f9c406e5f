/* SPDX-License-Identifier: Apache-2.0
 *
 * Recordings as files: created by `seep run`, opened read-only and checked by everything else. The only
 * part of the analyzer that includes SQLite; the rest asks through struct query.
 *
 * A recording is not trusted. Every value read passes a typed accessor that turns a wrong type, a
 * negative count or a missing row into one error; nothing is read past that. It is never modified: one
 * whose writer was killed is rolled back in a private copy. */
#ifndef ANALYZER_STORE_H
#define ANALYZER_STORE_H

#include "analyzer/util/util.h"

struct store;

/* Opens and checks path. NULL with *e set: EXIT_INPUT where the file is at fault, EXIT_CANNOT where access is. */
struct store *store_open(const char *path, struct err *e);
void store_close(struct store *s);
const char *store_path(const struct store *s);
/* The first error that a query met; code 0: none. Must be asked after the last row of every query. */
const struct err *store_error(const struct store *s);
int store_damaged(struct store *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- Queries. store_query prepares, binds n integers, and keeps the statement for the next call with the same
 * SQL text (a string literal). One row at a time; a query that is left early must be ended. */
struct query;
struct query *store_query(struct store *s, const char *sql, unsigned n, ...);
bool query_next(struct query *q);
void query_end(struct query *q);
bool query_is_null(struct query *q, int col);
int64_t query_int(struct query *q, int col, const char *what);      /* any integer */
int64_t query_count(struct query *q, int col, const char *what);    /* an integer >= 0 */
double query_real(struct query *q, int col, const char *what);      /* finite and >= 0 */
const char *query_text(struct query *q, int col, const char *what); /* until the next row */
const void *query_blob(struct query *q, int col, size_t *n, const char *what);

/* For tests: fn is told each step of the plan by which SQLite answers a query, once for each SQL text. NULL: nobody is. */
void store_watch_plans(void (*fn)(const char *sql, const char *step));

/* ---- Creating. */
/* What stands at path: 0 nothing or (force) a regular file that may be replaced, else *e says why not. */
int store_check_new(const char *path, bool force, struct err *e);
/* Creates an empty recording of this format at path, mode 0600, never through a link; with force it replaces a
 * regular file in one step. */
int store_create(const char *path, bool force, struct err *e);
/* Copies the recording source into the recording target, in one transaction (merge.c). */
int store_merge(const char *target, const char *source, struct err *e);
/* Gives the last snapshot of each process a label where it has none. 0, or *e set. */
int store_label(const char *path, const char *label, struct err *e);
/* Adds an event ("exit", "signal") for the newest process with that pid. Errors are for the caller to ignore. */
int store_add_event(const char *path, int pid, const char *kind, const char *detail);

/* ---- Writing a new recording: store_create, then rows in one transaction. types: a letter for each value: i int64_t, r double,
 * t text (const char *), b blob (const void *, size_t), n NULL (no value). sql is a literal. Returns the row's id; errors stay until
 * writer_close, which says them and then removes nothing: the caller's file is new and may be unlinked. */
struct writer;
struct writer *writer_open(const char *path, struct err *e);
int64_t writer_row(struct writer *w, const char *sql, const char *types, ...);
int writer_close(struct writer *w, bool keep, struct err *e); /* commits where keep and all went well */
/* True where the recording holds rows of a table (a name of the schema): some are younger than the format. */
bool store_has(struct store *s, const char *table);

#endif
