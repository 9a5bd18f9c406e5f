/* SPDX-License-Identifier: Apache-2.0
 *
 * The recording, as the child writes it. store_*.c, write.c and sqlite_mem.c are the only files that know SQLite. */
#ifndef SEEP_SNAPSHOT_STORE_H
#define SEEP_SNAPSHOT_STORE_H

#include <sqlite3.h>

#include "agent/snapshot/child.h"

int store_config(void); /* sqlite_mem.c: before SQLite is initialised */

/* ---- store_open.c. Errors leave by child_fail() with "snapshot N lost: PATH: reason". */
extern sqlite3 *store_db;
void store_open(const struct snapshot_job *job); /* opens or creates, checks, begins the transaction */
void store_commit(void);
bool store_has_paths(void);      /* recordings of before holders.c have no such table */
_Noreturn void store_fail(void); /* by store_db's error */

/* A prepared statement; bind and step in one go. kinds: 'i' int64_t, 'd' double, 't' text (const char *), 'n' NULL,
 * 'r' row id (int64_t, 0 is NULL). */
sqlite3_stmt *store_prepare(const char *sql);
void store_run(sqlite3_stmt *s, const char *kinds, ...);
/* The first column of the first row, 0 when there is none. */
int64_t store_get(sqlite3_stmt *s, const char *kinds, ...);

/* ---- store_intern.c: rows that several snapshots and processes share */
void intern_begin(int64_t process);
int64_t intern_stack(uint32_t stack_id); /* row of an interned stack of the agent; 0 for 0 */
int64_t intern_unknown_stack(void);      /* the one without frames */
void intern_mappings(void);              /* rows of the process's modules */

/* UTF-8 with what is not replaced by U+FFFD; in a buffer that the next call overwrites. */
const char *store_text(const char *s);

#endif
