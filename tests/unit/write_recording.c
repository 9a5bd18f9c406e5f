/* SPDX-License-Identifier: Apache-2.0
 *
 * What the child writes, and into which files it writes at all. Each case is a process of its own, recorded through the
 * public interface; the recording is read with the sqlite3 shell. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/util/options.h"
#include "seep.h"

static char dir[64], path[96];

static void shell(const char *format, const char *arg)
{
    char command[1024];
    snprintf(command, sizeof command, format, path, arg);
    assert_int_equal(system(command), 0);
}

/* First line of the answer to a query on the recording. */
static const char *query(const char *sql)
{
    static char line[512];
    char command[1024];
    snprintf(command, sizeof command, "sqlite3 '%s' \"%s\"", path, sql);
    FILE *f = popen(command, "r");
    if (!f || !fgets(line, sizeof line, f)) line[0] = 0;
    if (f) pclose(f);
    line[strcspn(line, "\n")] = 0;
    return line;
}

/* Takes n snapshots in a child; the last one's result, negated. */
static int record(int n, const char *label)
{
    pid_t pid = fork();
    if (pid == 0) {
        int rc = seep_record(path);
        for (int i = 0; i < n && rc == 0; i++) rc = seep_snapshot(label);
        _exit(rc ? 1 : 0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void a_new_file(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(record(2, "label \xff\xe2\x82\xac"), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_string_equal(query("PRAGMA application_id"), "1936024944");
    assert_string_equal(query("PRAGMA integrity_check"), "ok");
    assert_string_equal(query("PRAGMA foreign_key_check"), "");
    assert_string_equal(query("SELECT count(*), max(seq) FROM snapshot WHERE label <> ''"), "2|2");
    assert_string_equal(query("SELECT hex(label) FROM snapshot"), "6C6162656C20EFBFBDE282AC");
    assert_string_equal(query("SELECT count(*) FROM process"), "1");
}

static void every_byte_of_rss(void **state)
{
    (void)state;
    assert_int_equal(record(1, ""), 0);
    assert_string_equal(query("SELECT (SELECT sum(rss_bytes) FROM rss) - value FROM stat WHERE name = 'rss'"), "0");
    assert_string_equal(query("SELECT (SELECT sum(size_bytes) FROM rss) - value FROM stat WHERE name = 'vsize'"), "0");
    assert_string_equal(query("SELECT min(rss_bytes) >= 0 FROM rss"), "1");
    assert_string_equal(query("SELECT rss_bytes > 0 FROM rss WHERE part = 'heap-in-use'"), "1");
    assert_string_equal(query("SELECT count(*) FROM rss WHERE part = 'stack' AND name = 'main'"), "1");
}

static void an_empty_file(void **state)
{
    (void)state;
    shell("install -m 600 /dev/null '%s'", "");
    assert_int_equal(record(1, ""), 0);
    assert_string_equal(query("SELECT count(*) FROM snapshot"), "1");
}

/* The file must be refused and stay as it is. */
static void refused(const char *make)
{
    char sum[64] = {0}, after[64] = {0}, command[256];
    shell(make, path);
    snprintf(command, sizeof command, "cksum < '%s'", path);
    FILE *f = popen(command, "r");
    if (!fgets(sum, sizeof sum, f)) sum[0] = 0;
    pclose(f);
    assert_int_equal(record(1, ""), 1);
    f = popen(command, "r");
    if (!fgets(after, sizeof after, f)) after[0] = 0;
    pclose(f);
    assert_true(sum[0]);
    assert_string_equal(sum, after);
}

static void a_text_file(void **state)
{
    (void)state;
    refused("echo hello, this is no database > '%s'");
}

static void a_foreign_database(void **state)
{
    (void)state;
    refused("sqlite3 '%s' 'CREATE TABLE t (x); INSERT INTO t VALUES (1)'");
}

static void a_newer_version(void **state)
{
    (void)state;
    assert_int_equal(record(1, ""), 0);
    refused("sqlite3 '%s' 'PRAGMA user_version = 99'");
}

static void a_symbolic_link(void **state)
{
    (void)state;
    refused("echo kept > '%1$s.target' && ln -s '%1$s.target' '%1$s'");
    shell("rm '%s.target'", "");
}

static void no_file_at_all(void **state)
{
    (void)state;
    shell("mkdir '%s'", "");
    assert_int_equal(record(1, ""), 1);
    shell("rmdir '%s'", "");
    size_t n = strlen(path);
    strcat(path, "/none/x");
    assert_int_equal(record(1, ""), 1);
    path[n] = 0;
    shell("mkfifo '%s'", "");
    assert_int_equal(record(1, ""), 1);
}

/* A write that fails loses that snapshot, and nothing else. */
static void a_full_disk(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit old, low = {60000, RLIM_INFINITY};
        getrlimit(RLIMIT_FSIZE, &old);
        low.rlim_max = old.rlim_max;
        int first = seep_record(path) || seep_snapshot("first");
        setrlimit(RLIMIT_FSIZE, &low);
        int second = seep_snapshot("second");
        setrlimit(RLIMIT_FSIZE, &old);
        int third = seep_snapshot("third");
        _exit(first == 0 && second != 0 && third == 0 ? 0 : 1);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_string_equal(query("PRAGMA integrity_check"), "ok");
    assert_string_equal(query("SELECT group_concat(label) FROM snapshot"), "first,third");
}

enum { PROCESSES = 6, EACH = 3 };

static void a_race_to_begin(void **state)
{
    (void)state;
    pid_t pid[PROCESSES];
    for (int i = 0; i < PROCESSES; i++)
        if ((pid[i] = fork()) == 0) _exit(record(EACH, ""));
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        waitpid(pid[i], &status, 0);
        assert_int_equal(status, 0);
    }
    assert_string_equal(query("PRAGMA integrity_check"), "ok");
    assert_string_equal(query("SELECT count(*), count(DISTINCT process) FROM snapshot"), "18|6");
    /* the same program: its images and stacks are stored once */
    assert_string_equal(query("SELECT count(*) = count(DISTINCT path) FROM image"), "1");
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/seep-write-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof path, "%s/r.seep", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_new_file),         CASE(every_byte_of_rss), CASE(an_empty_file),   CASE(a_text_file),
        CASE(a_foreign_database), CASE(a_newer_version),   CASE(a_symbolic_link), CASE(no_file_at_all),
        CASE(a_full_disk),        CASE(a_race_to_begin),
    };
    if (system("command -v sqlite3 >/dev/null") != 0) return 77;
    options_init();
    agent_options.exit = 0; /* only the snapshots that a case asks for */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
