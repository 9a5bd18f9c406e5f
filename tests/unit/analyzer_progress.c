/* SPDX-License-Identifier: Apache-2.0
 *
 * The bar for long work: on a terminal only, after a second and not before, and gone when the work is done. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "analyzer/util/util.h"

#include <cmocka.h>

enum { STEP_MS = 20 };

/* What a process that works for so long writes to standard error: a terminal, or a pipe. */
static size_t written(bool terminal, int ms, char *buf, size_t size)
{
    int in, out, pair[2];
    if (terminal) {
        in = posix_openpt(O_RDWR | O_NOCTTY);
        assert_true(in >= 0);
        assert_int_equal(grantpt(in) | unlockpt(in), 0);
        out = open(ptsname(in), O_RDWR | O_NOCTTY);
        assert_true(out >= 0);
    } else {
        assert_int_equal(pipe(pair), 0);
        in = pair[0];
        out = pair[1];
    }
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(out, 2);
        size_t all = (size_t)(ms / STEP_MS);
        for (size_t i = 0; i < all; i++) {
            progress_step("counting", i, all);
            usleep(STEP_MS * 1000);
        }
        progress_end();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    fcntl(in, F_SETFL, O_NONBLOCK);
    size_t n = 0;
    for (ssize_t got; n < size - 1 && (got = read(in, buf + n, size - 1 - n)) > 0;) n += (size_t)got;
    buf[n] = 0;
    close(in);
    close(out);
    return n;
}

static void only_where_it_is_wanted(void **state)
{
    (void)state;
    char text[8192];
    assert_int_equal(written(true, 500, text, sizeof text), 0);
    assert_int_equal(written(false, 1500, text, sizeof text), 0);
}

static void grows_and_goes(void **state)
{
    (void)state;
    char text[8192], *bar;
    unsigned last = 0, bars = 0;
    assert_true(written(true, 1600, text, sizeof text) > 0);
    for (char *p = text; (bar = strstr(p, "counting")) != NULL; p = bar + 1, bars++) {
        unsigned now = 0;
        assert_int_equal(sscanf(strchr(bar, ']'), "] %u%%", &now), 1);
        assert_true(now > 0 && now >= last && now <= 100);
        assert_int_equal(bar[-1], '\r');
        last = now;
    }
    assert_true(bars > 0);
    const char *gone = "\r\x1b[K";
    assert_string_equal(text + strlen(text) - strlen(gone), gone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_where_it_is_wanted), cmocka_unit_test(grows_and_goes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
