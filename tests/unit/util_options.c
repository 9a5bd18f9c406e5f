/* SPDX-License-Identifier: Apache-2.0
 *
 * Options from the environment: units, ranges, defaults. Each case is a forked child with its own environment. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/util/options.h"

struct result {
    uint64_t rate, interval, check, memlimit;
    int unwind;
    int64_t debug;
    bool said; /* something on standard error */
};

/* This very program, run again with NAME=value: the agent parses its environment once. */
static struct result with(const char *name, const char *value)
{
    int out[2], err[2];
    struct result r = {0};
    assert_int_equal(pipe(out) | pipe(err), 0);
    pid_t pid = fork();
    if (pid == 0) {
        setenv(name, value, 1);
        dup2(out[1], 1);
        dup2(err[1], 2);
        execl("/proc/self/exe", "options", "child", (char *)NULL);
        _exit(9);
    }
    close(out[1]);
    close(err[1]);
    assert_int_equal(read(out[0], &r, sizeof r), sizeof r);
    char c;
    r.said = read(err[0], &c, 1) == 1;
    close(out[0]);
    close(err[0]);
    waitpid(pid, NULL, 0);
    return r;
}

static void child(void)
{
    options_init();
    struct result r = {.rate = agent_options.rate,
                       .interval = agent_options.interval,
                       .check = agent_options.check,
                       .memlimit = agent_options.memlimit,
                       .unwind = agent_options.unwind,
                       .debug = options_debug("thp", -1)};
    _exit(write(1, &r, sizeof r) != (ssize_t)sizeof r);
}

static void values(void **state)
{
    (void)state;
    assert_int_equal(with("SEEP_RATE", "1").rate, 1);
    assert_int_equal(with("SEEP_RATE", "64K").rate, 65536);
    assert_int_equal(with("SEEP_MEMLIMIT", "3M").memlimit, 3 << 20);
    assert_int_equal(with("SEEP_MEMLIMIT", "2G").memlimit, 2ull << 30);
    assert_int_equal(with("SEEP_INTERVAL", "250ms").interval, 250);
    assert_int_equal(with("SEEP_INTERVAL", "5").interval, 5000);
    assert_int_equal(with("SEEP_INTERVAL", "2m").interval, 120000);
    assert_int_equal(with("SEEP_INTERVAL", "1h").interval, 3600000);
    assert_int_equal(with("SEEP_INTERVAL", "0.5s").interval, 500);
    assert_int_equal(with("SEEP_INTERVAL", "1.25m").interval, 75000);
    assert_int_equal(with("SEEP_INTERVAL", "1.5").interval, 1500);
    assert_int_equal(with("SEEP_MEMLIMIT", "1.5M").memlimit, 3 << 19);
    assert_int_equal(with("SEEP_UNWIND", "fp").unwind, 1);
    assert_int_equal(with("SEEP_DEBUG", "scavenge=0,thp=1").debug, 1);
    assert_int_equal(with("SEEP_DEBUG", "xthp=1").debug, -1);
    assert_false(with("SEEP_CHECK", "3").said);
}

static void refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"SEEP_CHECK", "4"},
                                         {"SEEP_RATE", ""},
                                         {"SEEP_RATE", "-1"},
                                         {"SEEP_RATE", "12Q"},
                                         {"SEEP_RATE", "99999999999999999999"},
                                         {"SEEP_UNWIND", "slow"},
                                         {"SEEP_INTERVAL", "3d"},
                                         {"SEEP_INTERVAL", "0.0001s"},
                                         {"SEEP_INTERVAL", "1.s"},
                                         {"SEEP_INTERVAL", "1.5.5s"},
                                         {"SEEP_INTERVAL", "1.5ms"},
                                         {"SEEP_RATE", "1.5"},
                                         {"SEEP_CHECK", "1.0"},
                                         {"SEEP_CHECK", "1K"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct result r = with(bad[i][0], bad[i][1]);
        assert_true(r.said);
        assert_int_equal(r.rate, 524288);
        assert_int_equal(r.check, 0);
        assert_int_equal(r.unwind, 0);
        assert_int_equal(r.interval, 0);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "child") == 0) child();
    const struct CMUnitTest tests[] = {cmocka_unit_test(values), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
