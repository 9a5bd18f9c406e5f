/* SPDX-License-Identifier: Apache-2.0
 *
 * No command reads a big table from end to end: SQLite's plan of every query that the commands make searches by an index. */
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/cli/cli.h"

#include <cmocka.h> /* after ours: it defines fail() as a macro */

/* Tables with a row for each (snapshot, something), or for each address: what grows with the recording. */
static const char *const big[] = {"heap", "age", "task", "wait", "stat", "rss", "finding", "frame", "stack", "mapping"};
static unsigned queries, scans;

static void step(const char *sql, const char *plan)
{
    queries++;
    if (strncmp(plan, "SCAN ", 5) != 0) return;
    for (size_t i = 0; i < sizeof big / sizeof *big; i++) {
        size_t n = strlen(big[i]);
        if (strncmp(plan + 5, big[i], n) != 0 || (plan[5 + n] && plan[5 + n] != ' ')) continue;
        print_error("%s\n  by: %s\n", sql, plan);
        scans++;
    }
}

static void make(const char *path)
{
    struct err e = {0};
    sqlite3 *db = NULL;
    char *why = NULL;
    assert_int_equal(store_create(path, false, &e), 0);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_exec(
        db,
        "INSERT INTO process VALUES (1, 7, 1, 1, 1, '/x', 'x', 'h', '0', 4096);"
        "INSERT INTO image VALUES (1, '/x', 'aa'); INSERT INTO frame VALUES (1, 1, 64); INSERT INTO stack VALUES (1, "
        "1, x'01000000');"
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 9)"
        "INSERT INTO snapshot SELECT i, 1, i, 'interval', '', i, i * 60000000000, 1, 1, 1, 1, 1, 0, i, i, 0, 0, 0, 0 "
        "FROM n;"
        "INSERT INTO heap SELECT id, 1, 64, 9999 + id * 1000, 64 * (9999 + id * 1000), 0, 0, 0, 0, 0, 0 FROM snapshot;"
        "INSERT INTO age VALUES (9, 1, 3, 1, 1);"
        "INSERT INTO task SELECT s.id, 'coro', t.id, '', 'waiting', 'chan receive', 0, 600000000000, 1, 1, 1, 1, 1, 1, "
        "'unknown' FROM snapshot s JOIN snapshot t ON t.id <= s.id;"
        "INSERT INTO finding VALUES (1, 9, 'unreachable-memory', 'proven', 1, NULL, '', 1, 1, 1, 1, 0, 1, '{}');"
        "INSERT INTO rss VALUES (9, 'anon', '', 1, 0, 1); INSERT INTO stat VALUES (9, 'rss', 1);",
        NULL, NULL, &why);
    if (why) fail_msg("%s", why);
    sqlite3_close(db);
}

static void no_scan(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } asked[] = {{"info", cmd_info},   {"top", cmd_top}, {"tree", cmd_tree}, {"tasks", cmd_tasks}, {"leaks", cmd_leaks},
                 {"trend", cmd_trend}, {"rss", cmd_rss}, {"diff", cmd_diff}, {"gate", cmd_gate}};
    const char *tmp = getenv("TMPDIR");
    char dir[512], path[600];
    snprintf(dir, sizeof dir, "%s/plan-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/r.seep", dir);
    make(path);
    fflush(stdout);
    int saved = dup(1), null = open("/dev/null", O_WRONLY);
    store_watch_plans(step);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        char name[32], json[] = "--json", *argv[] = {name, json, path, NULL};
        unsigned before = queries;
        snprintf(name, sizeof name, "seep %s", asked[i].name);
        dup2(null, 1);
        int code = asked[i].run(3, argv);
        fflush(stdout);
        dup2(saved, 1);
        assert_int_equal(code, strcmp(asked[i].name, "gate") == 0 ? EXIT_LEAKS : 0);
        assert_true(queries > before);
    }
    store_watch_plans(NULL);
    close(null);
    close(saved);
    unlink(path);
    rmdir(dir);
    assert_true(queries > 20);
    assert_int_equal(scans, 0);
}

/* The check itself: a plan that scans is seen. */
static void seen(void **state)
{
    (void)state;
    unsigned before = scans;
    step("SELECT * FROM heap", "SCAN heap");
    step("SELECT * FROM snapshot", "SCAN snapshot");
    step("SELECT 1 FROM task WHERE snapshot = 1", "SEARCH task USING PRIMARY KEY (snapshot=?)");
    assert_int_equal(scans, before + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_scan), cmocka_unit_test(seen)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
