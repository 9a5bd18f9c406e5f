/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests of coro: main() may go on on another thread, and cmocka keeps its state in thread-local variables, so each test's
 * body runs in a forked child, and a failed check ends that child. RUN(body) makes a cmocka test of it; the checks below
 * stand for cmocka's of the same name. Include after cmocka.h and coro.h. */
#ifndef CORO_TEST_H
#define CORO_TEST_H

#include <stdio.h>
#include <stdlib.h>
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

#endif
