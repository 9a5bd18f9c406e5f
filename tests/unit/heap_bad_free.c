/* SPDX-License-Identifier: Apache-2.0
 *
 * What must end the program, with one line and SIGABRT: frees of what is not an allocated block. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wfree-nonheap-object"
#pragma GCC diagnostic ignored "-Wuse-after-free"

static void *volatile hide;
static char *opaque(void *p)
{
    hide = p;
    return hide;
}

static void twice(void)
{
    char *p = opaque(malloc(100));
    free(p);
    free(opaque(p));
}
static void twice_large(void)
{
    char *p = opaque(malloc(100000));
    free(p);
    free(opaque(p));
}
static void interior(void)
{
    free(opaque(malloc(100)) + 16);
}
static void interior_large(void)
{
    free(opaque(malloc(100000)) + 8192);
}
static void never_handed_out(void)
{
    free(opaque(malloc(4000)) + 5 * 4096);
}
static void stack(void)
{
    int local;
    free(opaque(&local));
}
static void foreign(void)
{
    free(opaque((void *)0x123456789));
}
static void not_canonical(void)
{
    free(opaque((void *)0xffff80c000000000));
}
static void realloc_interior(void)
{
    opaque(realloc(opaque(malloc(100)) + 16, 10));
}
/* p, q, p: at once, wherever the first two went. */
static void twice_with_one_between(void)
{
    char *p = opaque(malloc(100)), *q = opaque(malloc(100));
    free(p);
    free(q);
    free(opaque(p));
    _exit(0);
}
static void twice_with_one_between_bin_full(void)
{
    enum { N = 100 };
    char *other[N], *p = opaque(malloc(100)), *q = opaque(malloc(100));
    for (int i = 0; i < N; i++) other[i] = opaque(malloc(100));
    for (int i = 0; i < N; i++) free(other[i]);
    free(p);
    free(q);
    free(opaque(p));
    _exit(0);
}
static void *free_two(void *arg)
{
    char **p = arg;
    for (int i = 0; i < 102; i++) free(p[i]);
    free(opaque(p[100]));
    _exit(0);
}
static void twice_with_one_between_remote(void)
{
    static char *p[102];
    pthread_t t;
    for (int i = 0; i < 102; i++) p[i] = opaque(malloc(100));
    pthread_create(&t, NULL, free_two, p);
    pthread_join(t, NULL);
}
/* Not seen by the second free at the lowest level, but the block is not handed out twice. */
static void twice_with_many_between(void)
{
    enum { N = 100 };
    char *p[N];
    for (int i = 0; i < N; i++) p[i] = opaque(malloc(5000));
    for (int i = 0; i < N; i++) free(p[i]);
    free(opaque(p[50]));
    for (int i = 0; i < 2 * N; i++) memset(opaque(malloc(5000)), i, 5000);
}
/* The last slots freed are in a bin, whose list is not in the blocks. */
static void written_after_free(void)
{
    enum { N = 100 };
    char *p[N];
    for (int i = 0; i < N; i++) p[i] = opaque(malloc(5000));
    for (int i = 0; i < N; i++) free(p[i]);
    for (int i = 40; i < 60; i++) memset(opaque(p[i]), 'x', 100);
    for (int i = 0; i < 2 * N; i++) opaque(malloc(5000));
}

static bool aborts_with_a_line(void (*fn)(void))
{
    int fd[2];
    if (pipe(fd) != 0) return false;
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        dup2(fd[1], 2);
        fn();
        _exit(0);
    }
    close(fd[1]);
    char text[4096];
    size_t n = 0;
    for (ssize_t r; (r = read(fd[0], text + n, sizeof text - 1 - n)) > 0;) n += (size_t)r;
    text[n] = '\0';
    close(fd[0]);
    int status;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strncmp(text, "seep: ", 6) == 0 &&
           strstr(text, "\n    #0 ");
}

static void all(void **state)
{
    (void)state;
    assert_true(aborts_with_a_line(twice));
    assert_true(aborts_with_a_line(twice_large));
    assert_true(aborts_with_a_line(interior));
    assert_true(aborts_with_a_line(interior_large));
    assert_true(aborts_with_a_line(never_handed_out));
    assert_true(aborts_with_a_line(stack));
    assert_true(aborts_with_a_line(foreign));
    assert_true(aborts_with_a_line(not_canonical));
    assert_true(aborts_with_a_line(realloc_interior));
    assert_true(aborts_with_a_line(twice_with_one_between));
    assert_true(aborts_with_a_line(twice_with_one_between_bin_full));
    assert_true(aborts_with_a_line(twice_with_one_between_remote));
    assert_true(aborts_with_a_line(twice_with_many_between));
    assert_true(aborts_with_a_line(written_after_free));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
