/* SPDX-License-Identifier: Apache-2.0
 *
 * Random operations against a simple model: every block keeps its own pattern until it is freed, no two overlap
 * (else a pattern breaks), and the invariants hold at the end. 1 to 64 threads free each other's blocks, at every SEEP_CHECK. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/heap/types.h"

enum { SLOTS = 2048, OPS = 60000, THREADS = 64 };

struct block {
    size_t size;
    uint64_t pattern;
};
static struct block *slots[SLOTS];
static int all_ops = OPS, ops;

static uint64_t next(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static unsigned char pattern_at(const struct block *b, size_t i)
{
    return (unsigned char)(b->pattern >> (i % 8 * 8));
}

/* All of a small block, samples of a large one. */
static size_t step(size_t size)
{
    return size > 8192 ? 499 : 1;
}

static void fill(struct block *b, size_t from)
{
    for (size_t i = from; i < b->size; i += step(b->size)) ((unsigned char *)b)[i] = pattern_at(b, i);
}

static bool intact(const struct block *b, size_t size)
{
    for (size_t i = sizeof *b; i < size; i += step(b->size)) {
        if (((const unsigned char *)b)[i] != pattern_at(b, i)) return false;
    }
    return true;
}

static size_t some_size(uint64_t *s)
{
    uint64_t r = next(s);
    if (r % 512 == 0) return sizeof(struct block) + next(s) % 3000000;
    if (r % 16 == 0) return sizeof(struct block) + next(s) % 50000;
    return sizeof(struct block) + next(s) % (r % 4 == 0 ? 2000 : 200);
}

static bool all_zero(const void *p, size_t n)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) {
        if (b[i]) return false;
    }
    return true;
}

static struct block *make(uint64_t *s)
{
    size_t size = some_size(s), align = 16;
    struct block *b;
    switch (next(s) % 8) {
    case 0:
        b = calloc(1, size);
        if (b && !all_zero(b, size)) abort();
        break;
    case 1:
        align = (size_t)16 << next(s) % 12;
        b = aligned_alloc(align, size);
        break;
    default: b = malloc(size); break;
    }
    if (!b || (uintptr_t)b % align != 0 || malloc_usable_size(b) < size) abort();
    b->size = size;
    b->pattern = next(s);
    fill(b, sizeof *b);
    return b;
}

static void drop(struct block *b, uint64_t *s)
{
    if (!b) return;
    if (!intact(b, b->size)) abort();
    if (next(s) % 8 == 0) {
        struct block old = *b;
        size_t size = some_size(s);
        b = realloc(b, size);
        if (!b || b->size != old.size || b->pattern != old.pattern) abort();
        if (!intact(b, size < old.size ? size : old.size)) abort();
    }
    free(b);
}

static void *work(void *arg)
{
    uint64_t s = (uintptr_t)arg * 0x9e3779b97f4a7c15ull + 1;
    for (int i = 0; i < ops; i++) {
        struct block *b = make(&s);
        drop(__atomic_exchange_n(&slots[next(&s) % SLOTS], b, __ATOMIC_ACQ_REL), &s);
    }
    return NULL;
}

static void drain(void)
{
    uint64_t s = 7;
    for (int i = 0; i < SLOTS; i++) {
        drop(slots[i], &s);
        slots[i] = NULL;
    }
}

static void one_thread(void **state)
{
    (void)state;
    ops = all_ops;
    work((void *)11);
    assert_true(heap_check());
    drain();
    assert_true(heap_check());
}

static void threads_free_each_others(void **state)
{
    (void)state;
    pthread_t t[THREADS];
    for (uintptr_t n = 2; n <= THREADS; n *= 2) {
        ops = all_ops / (int)n;
        for (uintptr_t i = 0; i < n; i++) assert_int_equal(pthread_create(&t[i], NULL, work, (void *)(i + 1)), 0);
        for (uintptr_t i = 0; i < n; i++) pthread_join(t[i], NULL);
        assert_true(heap_check());
        drain();
        assert_true(heap_check());
    }
    malloc_trim(0);
    assert_true(heap_check());
}

/* Again where the heap checks itself: spans as caches take them and pages as spans do. With few blocks, for that is slow. */
static void with_checks(void **state)
{
    (void)state;
    static const char *const level[] = {"1", "2", "3"};
    if (getenv("SEEP_CHECK")) return;
    for (int i = 0; i < 3; i++) {
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            if (!freopen("/dev/null", "w", stdout)) _exit(126); /* what fails is said on stderr */
            setenv("SEEP_CHECK", level[i], 1);
            execl("/proc/self/exe", "heap_random", i == 0 ? "1" : "10", NULL);
            _exit(127);
        }
        int status = -1;
        waitpid(pid, &status, 0);
        assert_int_equal(status, 0);
    }
}

/* The argument divides the work. */
int main(int argc, char **argv)
{
    if (argc > 1) all_ops /= atoi(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_thread), cmocka_unit_test(threads_free_each_others),
                                       cmocka_unit_test(with_checks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
