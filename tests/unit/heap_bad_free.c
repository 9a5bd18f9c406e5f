/* SPDX-License-Identifier: Apache-2.0
 *
 * What must end the program, with one line and SIGABRT: frees of what is not an allocated block. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
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
/* One block of a class, then others of it, then the first again. It is seen by the second free, whatever is between. */
static size_t twice_size;
static int twice_between;
static void twice_with_others_between(void)
{
    enum { N = 3000 };
    static char *other[N];
    char *p = opaque(malloc(twice_size));
    for (int i = 0; i < twice_between; i++) other[i] = opaque(malloc(twice_size));
    free(p);
    for (int i = 0; i < twice_between; i++) free(other[i]);
    free(opaque(p));
    _exit(0);
}
/* As before, with allocations between that do not get the block. */
static void twice_with_mallocs_between(void)
{
    char *other[10], *p = opaque(malloc(200));
    for (int i = 0; i < 10; i++) other[i] = opaque(malloc(200));
    free(p);
    for (int i = 0; i < 10; i++) free(other[i]);
    for (int i = 0; i < 9; i++) opaque(malloc(200));
    free(opaque(p));
    _exit(0);
}
static void twice_after_trim(void)
{
    char *keep = opaque(malloc(100)), *p = opaque(malloc(100));
    free(p);
    malloc_trim(0);
    free(opaque(p));
    _exit(keep != NULL);
}
static void realloc_after_free(void)
{
    char *p = opaque(malloc(100)), *q = opaque(malloc(100));
    free(p);
    free(q);
    opaque(realloc(opaque(p), 110));
    _exit(0);
}

static sem_t was_freed, go_on;
static void *free_in_thread(void *arg)
{
    char **p = arg;
    for (int i = 0; i < 40; i++) free(p[i]);
    sem_post(&was_freed);
    sem_wait(&go_on);
    return NULL;
}
/* By a thread, which goes on, and by this one; of the first block, that is in the thread's bin, and of the last, that is not. */
static int twice_which;
static void twice_by_two_threads(void)
{
    static char *p[40];
    pthread_t t;
    for (int i = 0; i < 40; i++) p[i] = opaque(malloc(100));
    sem_init(&was_freed, 0, 0);
    sem_init(&go_on, 0, 0);
    pthread_create(&t, NULL, free_in_thread, p);
    sem_wait(&was_freed);
    free(opaque(p[twice_which]));
    _exit(0);
}
static void *free_and_end(void *p)
{
    free(p);
    return NULL;
}
static void twice_by_a_thread_that_ended(void)
{
    char *keep = opaque(malloc(100)), *p = opaque(malloc(100));
    pthread_t t;
    pthread_create(&t, NULL, free_and_end, p);
    pthread_join(t, NULL);
    free(opaque(p));
    _exit(keep != NULL);
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
    assert_true(aborts_with_a_line(written_after_free));
}

static void every_second_free(void **state)
{
    (void)state;
    static const size_t size[] = {1, 8, 24, 100, 1000, 1500, 5000, 30000};
    static const int between[] = {0, 1, 2, 7, 15, 16, 17, 24, 100, 1000, 3000};
    for (unsigned i = 0; i < sizeof size / sizeof *size; i++) {
        for (unsigned k = 0; k < sizeof between / sizeof *between; k++) {
            twice_size = size[i];
            twice_between = between[k];
            if (!aborts_with_a_line(twice_with_others_between))
                fail_msg("size %zu, %d frees between", size[i], between[k]);
        }
    }
    for (twice_size = 33000; twice_size < 400000; twice_size *= 2) {
        for (twice_between = 0; twice_between < 30; twice_between += 7)
            assert_true(aborts_with_a_line(twice_with_others_between));
    }
    for (twice_which = 0; twice_which < 40; twice_which += 39) assert_true(aborts_with_a_line(twice_by_two_threads));
    assert_true(aborts_with_a_line(twice_by_a_thread_that_ended));
    assert_true(aborts_with_a_line(twice_with_mallocs_between));
    assert_true(aborts_with_a_line(twice_after_trim));
    assert_true(aborts_with_a_line(realloc_after_free));
}

/* What must not end it: a block that was freed, handed out again and freed, in all the ways above. */
static void many_of_each(void)
{
    enum { N = 3000 };
    static char *p[N];
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < N; i++) p[i] = opaque(malloc((size_t)(i % 700) + 1));
        for (int i = 0; i < N; i++) free(p[round & 1 ? i : N - 1 - i]);
        if (round == 3) malloc_trim(0);
    }
    for (int i = 0; i < 40; i++) p[i] = opaque(malloc(100));
    pthread_t t;
    sem_init(&was_freed, 0, 0);
    sem_init(&go_on, 0, 1);
    pthread_create(&t, NULL, free_in_thread, p);
    pthread_join(t, NULL);
    for (int i = 0; i < 200; i++) free(opaque(malloc(100)));
}
static void no_others(void **state)
{
    (void)state;
    assert_false(aborts_with_a_line(many_of_each));
    many_of_each();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all), cmocka_unit_test(every_second_free),
                                       cmocka_unit_test(no_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
