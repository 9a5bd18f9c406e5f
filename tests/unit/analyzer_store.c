/* SPDX-License-Identifier: Apache-2.0
 *
 * Recordings as files: creating, refusing to overwrite, opening, typed reading, selection. */
#include "analyzer/model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[128];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/seep-store-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof path, "%s/r.seep", dir);
    return 0;
}

static int cleanup(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void sql(const char *text)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void create_and_keep(void **state)
{
    (void)state;
    struct err e = {0};
    struct stat st;
    assert_int_equal(store_create(path, false, &e), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(store_create(path, false, &e), EXIT_CANNOT);
    assert_non_null(strstr(e.text, "exists"));
    e = (struct err){0};
    assert_int_equal(store_create(path, true, &e), 0);

    char link[160], target[160];
    snprintf(link, sizeof link, "%s/link", dir);
    snprintf(target, sizeof target, "%s/target", dir);
    assert_int_equal(symlink(target, link), 0);
    assert_int_equal(store_create(link, true, &e), EXIT_CANNOT);
    assert_non_null(strstr(e.text, "symbolic link"));
    assert_int_not_equal(access(target, F_OK), 0);
    unlink(link);
}

/* The constants of contract.h are those of schema.sql. */
static void identity(void **state)
{
    (void)state;
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_prepare_v2(db, "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version", -1,
                       &st, NULL);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(st, 0), SEEP_APPLICATION_ID);
    assert_int_equal(sqlite3_column_int(st, 1), SEEP_FORMAT_VERSION);
    sqlite3_finalize(st);
    sqlite3_close(db);
}

static void empty_recording(void **state)
{
    (void)state;
    struct err e = {0};
    struct snapshot **snaps;
    size_t n;
    struct selector sel = {0};
    struct recording *r = recording_open(path, &e);
    assert_non_null(r);
    assert_int_equal(select_snapshots(r, &sel, &snaps, &n, &e), EXIT_INPUT);
    assert_non_null(strstr(e.text, "no data"));
    recording_close(r);
}

static void typed_reading(void **state)
{
    (void)state;
    sql("INSERT INTO event VALUES (1, NULL, 5, 'kind', 'detail'), (2, NULL, -5, x'00', 'a' || char(0) || 'b')");
    struct err e = {0};
    struct store *s = store_open(path, &e);
    assert_non_null(s);
    struct query *q = store_query(s, "SELECT unix_ns, kind, detail FROM event ORDER BY id", 0);
    assert_true(query_next(q));
    assert_int_equal(query_count(q, 0, "x"), 5);
    assert_string_equal(query_text(q, 1, "x"), "kind");
    assert_true(query_next(q));
    assert_int_equal(store_error(s)->code, 0);
    query_count(q, 0, "event.unix_ns");
    assert_int_equal(store_error(s)->code, EXIT_INPUT);
    assert_non_null(strstr(store_error(s)->text, "event.unix_ns is negative"));
    assert_string_equal(query_text(q, 1, "x"), ""); /* a blob */
    assert_string_equal(query_text(q, 2, "x"), ""); /* a NUL inside */
    assert_false(query_next(q));                    /* after an error nothing is read */
    store_close(s);
    sql("DELETE FROM event");
}

static void selection(void **state)
{
    (void)state;
    sql("INSERT INTO process VALUES (1, 10, 1, 0, 0, '', '', '', '', 4096), (2, 20, 1, 0, 0, '', '', '', '', 4096);"
        "INSERT INTO snapshot VALUES (1,1,1,'api','warm',0,0,0,0,0,1,1,0,0,0,0,0,0,0), "
        "(2,1,2,'api','',0,0,0,0,0,1,1,0,0,0,0,0,0,0),"
        "(3,2,1,'exit','warm',0,0,0,0,0,1,1,0,0,0,0,0,0,0)");
    struct err e = {0};
    struct snapshot **snaps;
    size_t n;
    struct recording *r = recording_open(path, &e);
    assert_non_null(r);
    static const struct {
        struct selector sel;
        size_t n;
        int64_t first;
    } cases[] = {{{NULL, 0}, 2, 2}, {{"first", 0}, 2, 1}, {{"warm", 0}, 2, 1}, {{"2", 0}, 1, 2}, {{"last", 20}, 1, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(select_snapshots(r, &cases[i].sel, &snaps, &n, &e), 0);
        assert_int_equal(n, cases[i].n);
        assert_int_equal(snaps[0]->id, cases[i].first);
    }
    struct selector none = {"3", 0};
    assert_int_equal(select_snapshots(r, &none, &snaps, &n, &e), EXIT_INPUT);
    recording_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_and_keep), cmocka_unit_test(identity),  cmocka_unit_test(empty_recording),
        cmocka_unit_test(typed_reading),   cmocka_unit_test(selection),
    };
    return cmocka_run_group_tests(tests, setup, cleanup);
}
