/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests of coro: main() may go on on another thread, and cmocka keeps its state in thread-local variables, so each test's
 * body runs in a forked child, and a failed check ends that child. RUN(body) makes a cmocka test of it; the checks below
 * stand for cmocka's of the same name. Include after cmocka.h and coro.h. */
#ifndef CORO_TEST_H
#define CORO_TEST_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(cond)                                                                   \
    do {                                                                              \
        if (!(cond)) {                                                                \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #cond); \
            _exit(1);                                                                 \
        }                                                                             \
    } while (0)
#undef assert_true
#undef assert_false
#undef assert_non_null
#undef assert_int_equal
#undef assert_string_equal
#define assert_true(a)            CHECK(a)
#define assert_false(a)           CHECK(!(a))
#define assert_non_null(a)        CHECK((a) != NULL)
#define assert_int_equal(a, b)    CHECK((long long)(a) == (long long)(b))
#define assert_string_equal(a, b) CHECK(strcmp((a), (b)) == 0)

static void run_in_child(void **state)
{
    void (*body)(void) = (void (*)(void))(uintptr_t)*state;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(50);
        body();
        _exit(0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    if (status != 0) fail_msg("the test's process ended with status 0x%x", (unsigned)status);
}
#define RUN(body)                                                                          \
    {                                                                                      \
        .name = #body, .test_func = run_in_child, .initial_state = (void *)(uintptr_t)body \
    }

/* A table of rules: each row says what holds and who says so. */
struct rule {
    const char *rule, *source;
    bool (*holds)(void);
};
static inline void check_rules(const struct rule *rows, size_t n)
{
    bool all = true;
    for (size_t i = 0; i < n; i++) {
        if (rows[i].holds()) continue;
        fprintf(stderr, "broken: %s (%s)\n", rows[i].rule, rows[i].source);
        all = false;
    }
    if (!all) _exit(1);
}
#define CHECK_RULES(rows) check_rules(rows, sizeof(rows) / sizeof *(rows))

/* A table of ends: each row runs in a forked child, which must exit with `code` after saying all of `says` on standard
 * error. Not inside RUN(): the parent must not be a coroutine. */
struct ending {
    void (*does)(void);
    int code;
    const char *source;
    const char *says[4];
};
static inline void check_endings(const struct ending *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int fd[2];
        if (pipe(fd) != 0) fail();
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            for (int s = 1; s < 32; s++) signal(s, SIG_DFL); /* not the test framework's */
            dup2(fd[1], 2);
            close(fd[0]);
            close(fd[1]);
            alarm(10);
            rows[i].does();
            _exit(0);
        }
        close(fd[1]);
        static char text[65536];
        size_t len = 0;
        ssize_t got;
        while ((got = read(fd[0], text + len, sizeof text - 1 - len)) > 0) len += (size_t)got;
        text[len] = '\0';
        close(fd[0]);
        int status;
        waitpid(pid, &status, 0);
        bool ok = WIFEXITED(status) && WEXITSTATUS(status) == rows[i].code;
        for (int k = 0; k < 4 && rows[i].says[k]; k++) ok = ok && strstr(text, rows[i].says[k]);
        if (!ok) fail_msg("row %zu (%s): status 0x%x, said: %s", i, rows[i].source, (unsigned)status, text);
    }
}
#define CHECK_ENDINGS(rows) check_endings(rows, sizeof(rows) / sizeof *(rows))

static inline void yield_times(int n)
{
    while (n--) co_yield_now();
}

#endif
