/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the files of analyzer/store only. */
#ifndef ANALYZER_STORE_INTERNAL_H
#define ANALYZER_STORE_INTERNAL_H

#include <sqlite3.h>

#include "analyzer/store/store.h"

enum { STORE_QUERIES = 48 };

struct query {
    struct store *store;
    const char *sql; /* NULL: free slot */
    sqlite3_stmt *stmt;
};

struct store {
    sqlite3 *db;
    char *path;
    bool recovered; /* db is a private copy, the file has a hot journal */
    struct err err;
    struct query queries[STORE_QUERIES];
};

extern const char store_schema_sql[];

#endif
