/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory goes back to the kernel: books against what the kernel says of the heap's mappings, under both policies; and a
 * memory limit is kept. FULL=1: a heap of 1 GiB shrinks within 10 s of background work. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/heap/heap.h"
#include "agent/include/seep.h"
#include "agent/util/options.h"

static size_t story_mib = 128; /* FULL=1: 512 */

enum { MIB = 1 << 20, BLOCK = 256 << 10 };

/* Of the kernel's account of the mappings in the heap's address range. */
static uint64_t kernel_bytes(const char *what)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    bool ours = false;
    uint64_t sum = 0;
    while (f && fgets(line, sizeof line, f)) {
        unsigned long lo, hi, kib;
        char name[64];
        if (sscanf(line, "%lx-%lx ", &lo, &hi) == 2) ours = lo >= 0xc000000000 && lo < 0xc400000000;
        if (ours && sscanf(line, "%63[^:]: %lu kB", name, &kib) == 2 && strcmp(name, what) == 0) sum += kib << 10;
    }
    if (f) fclose(f);
    return sum;
}

static struct seep_memstats stats(void)
{
    struct seep_memstats m = {.size = sizeof m};
    heap_stats(&m);
    return m;
}

static void **grow(size_t mib)
{
    size_t n = mib * MIB / BLOCK;
    void **p = malloc((n + 1) * sizeof *p);
    for (size_t i = 0; i < n; i++) memset(p[i] = malloc(BLOCK), 1, BLOCK);
    p[n] = NULL;
    return p;
}

/* All but each tenth, or all. */
static void shrink(void **p, bool all)
{
    for (size_t i = 0; p[i]; i++) {
        if (all || i % 10 != 0) free(p[i]);
    }
}

static bool near(uint64_t a, uint64_t b, uint64_t of)
{
    return (a > b ? a - b : b - a) <= of / 50;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static int in_child(void (*fn)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        fn();
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    return status;
}

#define MUST(cond)                                         \
    do {                                                   \
        if (cond) break;                                   \
        fprintf(stderr, "line %d: %s\n", __LINE__, #cond); \
        _exit(1);                                          \
    } while (0)

/* Grown and back at once: the books agree with the kernel before and after. */
static void at_once(void)
{
    uint64_t before = kernel_bytes("Rss");
    void **p = grow(story_mib);
    struct seep_memstats m = stats();
    MUST(near(kernel_bytes("Rss"), m.heap_inuse, story_mib * MIB));
    shrink(p, true);
    m = stats();
    MUST(m.heap_alloc < story_mib / 8 * MIB);
    malloc_trim(0);
    m = stats();
    MUST(kernel_bytes("Rss") <= before + 4 * MIB);
    MUST(near(kernel_bytes("Rss"), m.heap_sys - m.heap_released, story_mib * MIB));
    free(p);
}

/* In the background by MADV_FREE: the kernel keeps the pages, marked, until it needs them, while the books call them released:
 * the difference is LazyFree. This is what made Go 1.12 to 1.15 look as if they leaked. */
static bool lazy_policy;

static void by_policy(void)
{
    agent_options.memlimit = 8u * MIB; /* so that it does not wait */
    void **p = grow(story_mib);
    shrink(p, true);
    for (int i = 0; i < 50; i++) {
        heap_background_tick();
        pause_ms(1);
    }
    struct seep_memstats m = stats();
    uint64_t rss = kernel_bytes("Rss"), lazy = kernel_bytes("LazyFree");
    MUST(m.heap_released > story_mib * 4 / 5 * MIB);
    if (lazy_policy)
        MUST(lazy > story_mib * 4 / 5 * MIB && rss > story_mib * 4 / 5 * MIB);
    else
        MUST(lazy == 0 && rss < story_mib / 5 * MIB);
    MUST(near(rss - lazy, m.heap_sys - m.heap_released, story_mib * MIB));
    free(p);
}

static void limited(void)
{
    agent_options.memlimit = 64u * MIB;
    void **p = grow(200);
    shrink(p, true);
    heap_background_tick();
    struct seep_memstats m = stats();
    MUST(m.heap_sys - m.heap_released <= 64u * MIB);
    free(p);
}

/* Holes that nothing fits into make room for what does, without a tick: nobody sees more than the limit. */
static void limited_at_growth(void)
{
    enum { N = 28 };
    void **p = grow(2 * N), *q[N];
    agent_options.memlimit = 64u * MIB;
    for (size_t i = 0; p[i]; i += 2) free(p[i]);
    struct seep_memstats m = stats();
    MUST(m.heap_idle - m.heap_released > (N - 4) * MIB);
    for (int i = 0; i < N; i++) {
        memset(q[i] = malloc(MIB), 1, MIB);
        m = stats();
        MUST(m.heap_sys - m.heap_released <= 66u * MIB);
    }
    MUST(m.heap_inuse > 55u * MIB && kernel_bytes("Rss") <= 67u * MIB);
    for (int i = 0; i < N; i++) free(q[i]);
    free(p);
}

static void within_10_s(void)
{
    void **p = grow(1024);
    shrink(p, false);
    struct timespec t0, t;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    uint64_t cpu = os_thread_cpu_ns();
    do {
        heap_background_tick();
        pause_ms(100);
        clock_gettime(CLOCK_MONOTONIC, &t);
    } while (t.tv_sec - t0.tv_sec < 10);
    struct seep_memstats m = stats();
    fprintf(stderr, "1 GiB: after 10 s RSS %.2f of live, %.0f ms of CPU\n",
            (double)kernel_bytes("Rss") / (double)m.heap_alloc, (double)(os_thread_cpu_ns() - cpu) / 1e6);
    MUST((double)kernel_bytes("Rss") <= 1.3 * (double)m.heap_alloc);
    free(p);
}

static void releases_at_once(void **state)
{
    (void)state;
    assert_int_equal(in_child(at_once), 0);
}
static void releases_by_policy(void **state)
{
    (void)state;
    assert_int_equal(in_child(by_policy), 0);
    snprintf(agent_options.debug, sizeof agent_options.debug, "madvdontneed=0");
    assert_int_equal(options_debug("madvdontneed", 1), 0);
    lazy_policy = true;
    assert_int_equal(in_child(by_policy), 0);
}
static void keeps_a_limit(void **state)
{
    (void)state;
    assert_int_equal(in_child(limited), 0);
    assert_int_equal(in_child(limited_at_growth), 0);
}
static void shrinks_in_time(void **state)
{
    (void)state;
    const char *full = getenv("FULL");
    if (!full || full[0] != '1') skip();
    assert_int_equal(in_child(within_10_s), 0);
}

int main(void)
{
    const char *full = getenv("FULL");
    if (full && full[0] == '1') story_mib = 512;
    const struct CMUnitTest tests[] = {cmocka_unit_test(releases_at_once), cmocka_unit_test(keeps_a_limit),
                                       cmocka_unit_test(shrinks_in_time), cmocka_unit_test(releases_by_policy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
