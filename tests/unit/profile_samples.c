/* SPDX-License-Identifier: Apache-2.0
 *
 * Records of sampled objects through a program's malloc and free: they come, change and go with the objects, across
 * threads too, and the buckets' books are the sum of the records. The program runs itself with SEEP_RATE=1, and
 * with larger rates and a fixed seed: samples have spans of their own at 8192, and stand among the others at 20000, there also with
 * the fast paths, which SEEP_CHECK does without. */
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/heap/types.h"
#include "agent/profile/internal.h"

static const struct heap_sample *record_at(uintptr_t p)
{
    struct heap_object o;
    if (!heap_find(p, &o)) return NULL;
    return heap_sample_of(o.span, o.index);
}

static const struct heap_sample *record(void *p)
{
    return record_at((uintptr_t)p);
}

struct sums {
    uint64_t objects, bytes;
};

static int add_span(void *arg, const struct heap_span_info *s)
{
    struct sums *sum = arg;
    uint64_t free_bits[8192 / 64];
    uint32_t records = 0, used = 0;
    heap_free_slots(s->span, free_bits);
    struct heap_sample_walk w = {.span = s->span};
    for (const struct heap_sample *r; (r = heap_sample_next(&w)) != NULL; records++) {
        sum[r->bucket].objects++;
        sum[r->bucket].bytes += r->requested;
        assert_int_equal(bucket_get(r->bucket)->size, s->elem_size);
        assert_true(w.index < s->nelems && !(free_bits[w.index / 64] >> (w.index % 64) & 1));
        assert_ptr_equal(heap_sample_of(s->span, w.index), r);
    }
    /* A span with a table holds sampled objects alone. */
    struct heap_sample **table = heap_span_samples(s->span);
    for (uint32_t i = 0; i < s->nelems; i++) used += !(free_bits[i / 64] >> (i % 64) & 1);
    if (table && *table) assert_int_equal(used, records);
    return 0;
}

/* Every bucket's counters against the records themselves. */
static void books_agree(void)
{
    static struct sums sum[100000];
    memset(sum, 0, sizeof sum);
    uint32_t n = bucket_count();
    assert_true(n < 100000);
    heap_walk_spans(add_span, sum);
    for (uint32_t b = 1; b <= n; b++) {
        const struct prof_bucket *p = bucket_get(b);
        assert_int_equal(p->allocs - p->frees, sum[b].objects);
        assert_int_equal(p->alloc_bytes - p->free_bytes, sum[b].bytes);
        assert_true(p->allocs >= p->frees && p->id == b);
    }
}

static __attribute__((noinline)) void *site(size_t n)
{
    void *volatile p = malloc(n);
    return p;
}

static bool in_stack(uint32_t id, uintptr_t lo, uintptr_t size)
{
    const uintptr_t *pcs;
    unsigned n = stack_get(id, &pcs, NULL);
    for (unsigned i = 0; i < n; i++)
        if (pcs[i] - lo < size) return true;
    return false;
}

static void every_allocation(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 8, 9, 16, 100, 1000, 5000, 32768, 32769, 100000, 5 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *p = site(sizes[i]);
        const struct heap_sample *r = record(p);
        assert_non_null(r);
        assert_int_equal(r->requested, sizes[i]);
        const struct prof_bucket *b = bucket_get(r->bucket);
        assert_true(b->size >= sizes[i] && b->allocs > b->frees);
        assert_true(in_stack(b->stack, (uintptr_t)site, 64));
        assert_true((uint32_t)(os_mono_ns() / 1000000) - r->time_ms < 10000);
        uint64_t frees = b->frees, free_bytes = b->free_bytes;
        free(p);
        assert_null(record(p));
        assert_int_equal(b->frees, frees + 1);
        assert_int_equal(b->free_bytes, free_bytes + sizes[i]);
    }
    books_agree();
}

static void resized_in_place(void **state)
{
    (void)state;
    char *p = malloc(100);
    const struct prof_bucket *b = bucket_get(record(p)->bucket);
    uint64_t allocated = b->alloc_bytes, freed = b->free_bytes;
    char *q = realloc(p, 104);
    assert_ptr_equal(q, p); /* the same slot */
    assert_int_equal(record(q)->requested, 104);
    assert_int_equal(b->alloc_bytes, allocated + 4);
    q = realloc(q, 99);
    assert_ptr_equal(q, p);
    assert_int_equal(record(q)->requested, 99);
    assert_int_equal(b->free_bytes, freed + 5);
    books_agree();
    q = realloc(q, 100000);
    assert_int_equal(record(q)->requested, 100000);
    q = realloc(q, 400000);
    assert_int_equal(record(q)->requested, 400000);
    books_agree();
    free(q);
    books_agree();
}

enum { THREADS = 4, ROUNDS = 3000, SLOTS = 512 };
static void *shared[SLOTS];

/* Threads free what others allocated. */
static void *churn(void *arg)
{
    uint64_t x = (uint64_t)(uintptr_t)arg * 0x9e3779b97f4a7c15ull;
    for (int i = 0; i < ROUNDS; i++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        void *p = malloc((x >> 40) % 3000);
        free(__atomic_exchange_n(&shared[(x >> 33) % SLOTS], p, __ATOMIC_ACQ_REL));
    }
    return NULL;
}

static void threads(void **state)
{
    (void)state;
    pthread_t t[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&t[i], NULL, churn, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    books_agree();
    for (int i = 0; i < SLOTS; i++) assert_true(!shared[i] || record(shared[i]));
    for (int i = 0; i < SLOTS; i++) free(shared[i]);
    books_agree();
}

static int count_tables(void *arg, const struct heap_span_info *s)
{
    struct heap_sample **table = heap_span_samples(s->span);
    *(unsigned *)arg += table && *table && !s->large;
    return 0;
}

/* Samples by and by, freed by whatever thread: the books agree, the heap is in order, and what the last samples leave behind is
 * at most a span a class. */
static void threads_that_sample(void **state)
{
    (void)state;
    pthread_t t[THREADS];
    for (int round = 0; round < 3; round++) {
        for (uintptr_t i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&t[i], NULL, churn, (void *)(i + 1 + (uintptr_t)round)), 0);
        for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
        books_agree();
    }
    unsigned sampled = 0;
    for (int i = 0; i < SLOTS; i++) {
        sampled += shared[i] && record(shared[i]);
        free(shared[i]);
        shared[i] = NULL;
    }
    assert_true(sampled > 0);
    books_agree();
    malloc_trim(0);
    unsigned tables = 0;
    heap_walk_spans(count_tables, &tables);
    assert_true(tables < 20); /* what libc and cmocka hold */
}

static void in_a_fork(void **state)
{
    (void)state;
    void *p = site(77);
    pid_t pid = fork();
    if (pid == 0) {
        const struct heap_sample *r = record(p);
        if (!r || r->requested != 77) _exit(1);
        free(p);
        void *q = site(78);
        r = record(q);
        _exit(r && r->requested == 78 ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_non_null(record(p));
    free(p);
}

/* The whole path with a seed: known live blocks, estimated by the buckets of this program's stack. */
static __attribute__((noinline)) void *known(size_t n)
{
    void *volatile p = malloc(n);
    return p;
}

static void estimate_through_malloc(void **state)
{
    (void)state;
    static const size_t sizes[] = {16, 64, 512, 4096, 20480};
    static const unsigned number[] = {50000, 20000, 4000, 800, 200};
    double rate = (double)prof_rate(), truth = 0, var = 0, estimate = 0;
    for (int s = 0; s < 5; s++) {
        for (unsigned i = 0; i < number[s]; i++) assert_non_null(known(sizes[s]));
        double p = 1 - exp(-(double)sizes[s] / rate);
        truth += number[s] * (double)sizes[s];
        var += number[s] * (1 - p) / p * (double)sizes[s] * (double)sizes[s];
    }
    unsigned sampled = 0;
    for (uint32_t b = 1; b <= bucket_count(); b++) {
        const struct prof_bucket *p = bucket_get(b);
        if (!in_stack(p->stack, (uintptr_t)known, 64)) continue;
        estimate += (double)(p->alloc_bytes - p->free_bytes) / (1 - exp(-(double)p->size / rate));
        sampled += (unsigned)(p->allocs - p->frees);
    }
    print_message("true %.0f, estimated %.0f from %u samples, z %+.2f\n", truth, estimate, sampled,
                  (estimate - truth) / sqrt(var));
    assert_true(sampled > 300 && sampled < 10000);
    assert_true(fabs(estimate - truth) < 4 * sqrt(var));
    books_agree();
}

static bool free_aborts(char *p)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        free(p);
        _exit(0);
    }
    int status = 0;
    return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* A sampled block among others is checked like any: its mark says that it is used, as well. */
static void sampled_among_others(void **state)
{
    (void)state;
    for (unsigned seen = 0, i = 0; seen < 20; i++) {
        char *volatile p = malloc(20480);
        assert_true(i < 2000 && p);
        if (!record(p)) continue;
        seen++;
        assert_ptr_equal(realloc(p, 20000), p);
        assert_int_equal(record(p)->requested, 20000);
        books_agree();
        assert_true(free_aborts(p + 16));
        free(p);
        assert_null(record(p));
        assert_true(free_aborts(p));
    }
    books_agree();
    assert_true(heap_check());
}

static int rerun(char **argv, const char *rate, const char *check)
{
    pid_t pid = fork();
    if (pid == 0) {
        setenv("SEEP_RATE", rate, 1);
        setenv("SEEP_DEBUG", "seed=20240611", 1);
        setenv("SEEP_CHECK", check, 1);
        unsetenv("SEEP_OUT");
        char *again[] = {argv[0], (char *)(uintptr_t)rate, NULL};
        execv("/proc/self/exe", again);
        _exit(127);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return status == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return rerun(argv, "1", "3") + rerun(argv, "8192", "3") + rerun(argv, "20000", "3") + rerun(argv, "20000", "0");
    if (strcmp(argv[1], "1") == 0) {
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_allocation),
            cmocka_unit_test(resized_in_place),
            cmocka_unit_test(threads),
            cmocka_unit_test(in_a_fork),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_that_sample),
        cmocka_unit_test(estimate_through_malloc),
        cmocka_unit_test(sampled_among_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
