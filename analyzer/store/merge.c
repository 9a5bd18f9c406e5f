/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies what one recording holds into another: images, frames and stacks are interned there, processes and snapshots
 * get new ids, and all that belongs to a snapshot follows it. Tables are known by their columns: snapshot, process,
 * stack, create_stack and image are references and are translated, so a table that the schema gains is copied too.
 *
 * Invariants: 1. a snapshot that the target has already (same process, same number) is left out with all that belongs
 * to it; 2. one transaction: a merge that fails leaves the target as it was; 3. the source is opened read-only and was
 * checked by store_open(); one with a hot journal is recovered in memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/store/store_internal.h"

static int run(sqlite3 *db, const char *sql, struct err *e)
{
    char *why = NULL;
    if (!e->code && sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        err_set(e, EXIT_INPUT, "cannot be merged: %s", why ? why : sqlite3_errmsg(db));
    sqlite3_free(why);
    return e->code;
}

/* Frames, images and processes, by their own keys. */
static const char intern[] =
    "CREATE TEMP TABLE m_image (old INTEGER PRIMARY KEY, new INTEGER NOT NULL);"
    "CREATE TEMP TABLE m_frame (old INTEGER PRIMARY KEY, new INTEGER NOT NULL);"
    "CREATE TEMP TABLE m_stack (old INTEGER PRIMARY KEY, new INTEGER NOT NULL);"
    "CREATE TEMP TABLE m_process (old INTEGER PRIMARY KEY, new INTEGER NOT NULL, fresh INTEGER NOT NULL);"
    "CREATE TEMP TABLE m_snapshot (old INTEGER PRIMARY KEY, new INTEGER NOT NULL);"
    "INSERT OR IGNORE INTO main.image (path, build_id) SELECT path, build_id FROM src.image ORDER BY id;"
    "INSERT INTO m_image SELECT s.id, d.id FROM src.image s JOIN main.image d USING (path, build_id);"
    "INSERT OR IGNORE INTO main.frame (image, offset) SELECT m.new, s.offset FROM src.frame s LEFT JOIN m_image m ON "
    "m.old = s.image "
    "ORDER BY s.id;"
    "INSERT INTO m_frame SELECT s.id, d.id FROM src.frame s LEFT JOIN m_image m ON m.old = s.image JOIN main.frame d "
    "ON ifnull(d.image, 0) = ifnull(m.new, 0) AND d.offset = s.offset;"
    "INSERT INTO m_process SELECT s.id, (SELECT ifnull(max(id), 0) FROM main.process) + row_number() OVER (ORDER BY "
    "s.id), 1 FROM "
    "src.process s WHERE NOT EXISTS (SELECT 1 FROM main.process d WHERE d.pid = s.pid AND d.start_unix_ns = "
    "s.start_unix_ns);"
    "INSERT INTO m_process SELECT s.id, d.id, 0 FROM src.process s JOIN main.process d USING (pid, start_unix_ns);"
    "INSERT INTO m_snapshot SELECT s.id, (SELECT ifnull(max(id), 0) FROM main.snapshot) + row_number() OVER (ORDER BY "
    "s.id) FROM "
    "src.snapshot s JOIN m_process p ON p.old = s.process WHERE NOT EXISTS (SELECT 1 FROM main.snapshot d WHERE "
    "d.process = p.new AND "
    "d.seq = s.seq);";

static const char done[] =
    "DROP TABLE m_image; DROP TABLE m_frame; DROP TABLE m_stack; DROP TABLE m_process; DROP TABLE m_snapshot;";

/* Stacks hold frame ids in a blob. */
static void stacks(sqlite3 *db, struct err *e)
{
    sqlite3_stmt *in = NULL, *have = NULL, *frame = NULL, *add = NULL, *map = NULL;
    if (sqlite3_prepare_v2(db, "SELECT id, hash, frames FROM src.stack ORDER BY id", -1, &in, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "SELECT id FROM main.stack WHERE hash = ?", -1, &have, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "SELECT new FROM m_frame WHERE old = ?", -1, &frame, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "INSERT INTO main.stack (hash, frames) VALUES (?, ?)", -1, &add, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "INSERT INTO m_stack VALUES (?, ?)", -1, &map, NULL) != SQLITE_OK)
        err_set(e, EXIT_INPUT, "cannot be merged: %s", sqlite3_errmsg(db));
    while (!e->code && sqlite3_step(in) == SQLITE_ROW) {
        sqlite3_int64 id;
        sqlite3_bind_int64(have, 1, sqlite3_column_int64(in, 1));
        if (sqlite3_step(have) == SQLITE_ROW) {
            id = sqlite3_column_int64(have, 0);
        } else {
            int n = sqlite3_column_bytes(in, 2) / 4;
            const unsigned char *old = sqlite3_column_blob(in, 2);
            unsigned char *new = xcalloc((size_t)n + 1, 4);
            for (int i = 0; i < n && !e->code; i++) {
                const unsigned char *p = old + i * 4;
                sqlite3_bind_int64(frame, 1,
                                   (sqlite3_int64)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                                                   (uint32_t)p[3] << 24));
                sqlite3_int64 to = 0;
                if (sqlite3_step(frame) == SQLITE_ROW)
                    to = sqlite3_column_int64(frame, 0);
                else
                    err_set(e, EXIT_INPUT, "cannot be merged: damaged: a stack has a frame that is not there");
                sqlite3_reset(frame);
                for (int b = 0; b < 4; b++) new[i * 4 + b] = (unsigned char)(to >> (8 * b));
            }
            sqlite3_bind_int64(add, 1, sqlite3_column_int64(in, 1));
            sqlite3_bind_blob(add, 2, new, n * 4, free);
            if (sqlite3_step(add) != SQLITE_DONE) err_set(e, EXIT_INPUT, "cannot be merged: %s", sqlite3_errmsg(db));
            sqlite3_reset(add);
            id = sqlite3_last_insert_rowid(db);
        }
        sqlite3_reset(have);
        sqlite3_bind_int64(map, 1, sqlite3_column_int64(in, 0));
        sqlite3_bind_int64(map, 2, id);
        if (sqlite3_step(map) != SQLITE_DONE) err_set(e, EXIT_INPUT, "cannot be merged: %s", sqlite3_errmsg(db));
        sqlite3_reset(map);
    }
    sqlite3_finalize(in);
    sqlite3_finalize(have);
    sqlite3_finalize(frame);
    sqlite3_finalize(add);
    sqlite3_finalize(map);
}

/* One table whose rows belong to a snapshot or a process. */
static void table(sqlite3 *db, const char *name, struct err *e)
{
    struct buf cols = {0}, values = {0}, sql = {0};
    sqlite3_stmt *st = NULL;
    bool snapshot = false, process = false;
    if (sqlite3_prepare_v2(db, "SELECT name FROM pragma_table_info(?, 'main')", -1, &st, NULL) != SQLITE_OK)
        err_set(e, EXIT_INPUT, "cannot be merged: %s", sqlite3_errmsg(db));
    sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    while (!e->code && sqlite3_step(st) == SQLITE_ROW) {
        const char *c = (const char *)sqlite3_column_text(st, 0), *map = NULL;
        bool own_id = strcmp(c, "id") == 0;
        if (own_id && strcmp(name, "process") != 0 && strcmp(name, "snapshot") != 0) continue; /* anew */
        if (strcmp(c, "snapshot") == 0 || (own_id && strcmp(name, "snapshot") == 0))
            map = "m_snapshot", snapshot = true;
        if (strcmp(c, "process") == 0 || (own_id && strcmp(name, "process") == 0)) map = "m_process", process = true;
        if (strcmp(c, "stack") == 0 || strcmp(c, "create_stack") == 0) map = "m_stack";
        if (strcmp(c, "image") == 0) map = "m_image";
        buf_printf(&cols, "%s\"%s\"", cols.len ? ", " : "", c);
        if (map)
            buf_printf(&values, "%s(SELECT new FROM %s WHERE old = s.\"%s\")", values.len ? ", " : "", map, c);
        else
            buf_printf(&values, "%ss.\"%s\"", values.len ? ", " : "", c);
    }
    sqlite3_finalize(st);
    const char *which = "1";
    if (strcmp(name, "snapshot") == 0)
        which = "s.id IN (SELECT old FROM m_snapshot)";
    else if (strcmp(name, "process") == 0)
        which = "s.id IN (SELECT old FROM m_process WHERE fresh)";
    else if (snapshot)
        which = "s.snapshot IN (SELECT old FROM m_snapshot)";
    else if (process)
        which = "s.process IS NULL OR s.process IN (SELECT old FROM m_process WHERE fresh)";
    buf_printf(&sql, "INSERT OR IGNORE INTO main.\"%s\" (%s) SELECT %s FROM src.\"%s\" s WHERE %s", name, cols.data,
               values.data, name, which);
    run(db, sql.data, e);
    buf_free(&cols);
    buf_free(&values);
    buf_free(&sql);
}

static void tables(sqlite3 *db, struct err *e)
{
    char *names[64];
    size_t n = 0;
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(
            db,
            "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND "
            "name NOT IN ('image', 'frame', 'stack') AND name IN (SELECT name FROM src.sqlite_schema) ORDER BY name <> "
            "'process', name <> 'snapshot', name",
            -1, &st, NULL) != SQLITE_OK)
        err_set(e, EXIT_INPUT, "cannot be merged: %s", sqlite3_errmsg(db));
    while (!e->code && n < 64 && sqlite3_step(st) == SQLITE_ROW)
        names[n++] = xstrdup((const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    for (size_t i = 0; i < n; i++) {
        if (!e->code) table(db, names[i], e);
        free(names[i]);
    }
}

int store_merge(const char *target, const char *source, struct err *e)
{
    sqlite3 *db = NULL;
    struct buf uri = {0};
    sqlite3_stmt *st = NULL;
    struct store *checked = store_open(source, e);
    if (!checked) return e->code;
    unsigned char *copy = NULL; /* of a source that had to be recovered */
    sqlite3_int64 size = 0;
    if (checked->recovered && !(copy = sqlite3_serialize(checked->db, "main", &size, 0)))
        err_set(e, EXIT_CANNOT, "%s: its writer was killed, and it is too large to be recovered in memory", source);
    store_close(checked);
    buf_puts(&uri, "file:");
    for (const unsigned char *p = (const unsigned char *)source; *p; p++)
        buf_printf(&uri,
                   (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
                           strchr("/._-", *p)
                       ? "%c"
                       : "%%%02X",
                   *p);
    buf_puts(&uri, "?mode=ro");
    if (sqlite3_open_v2(target, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI, NULL) != SQLITE_OK)
        err_set(e, EXIT_CANNOT, "%s: cannot be written: %s", target, sqlite3_errmsg(db));
    if (!e->code) {
        sqlite3_busy_timeout(db, 30000);
        sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        run(db, "PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY", e);
    }
    if (!e->code && (sqlite3_prepare_v2(db, "ATTACH ? AS src", -1, &st, NULL) != SQLITE_OK ||
                     sqlite3_bind_text(st, 1, copy ? ":memory:" : uri.data, -1, SQLITE_STATIC) != SQLITE_OK ||
                     sqlite3_step(st) != SQLITE_DONE))
        err_set(e, EXIT_INPUT, "cannot be merged: %s", sqlite3_errmsg(db));
    sqlite3_finalize(st);
    if (!e->code && copy) {
        unsigned char *given = copy;
        copy = NULL; /* SQLite frees it, also where it fails */
        if (sqlite3_deserialize(db, "src", given, size, size,
                                SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_READONLY) != SQLITE_OK)
            err_set(e, EXIT_INPUT, "cannot be merged: %s", sqlite3_errmsg(db));
    }
    if (!e->code) run(db, "BEGIN", e);
    if (!e->code) run(db, intern, e);
    if (!e->code) stacks(db, e);
    if (!e->code) tables(db, e);
    if (!e->code) run(db, done, e);
    if (!e->code) run(db, "COMMIT", e);
    sqlite3_close(db);
    sqlite3_free(copy);
    buf_free(&uri);
    if (e->code == EXIT_INPUT && strncmp(e->text, "cannot", 6) == 0) {
        char why[sizeof e->text];
        memcpy(why, e->text, sizeof why);
        e->code = 0;
        err_set(e, EXIT_INPUT, "%s: %.800s", source, why);
    }
    return e->code;
}
