/* SPDX-License-Identifier: Apache-2.0
 *
 * Huge pages: a large heap of small objects gets them, the scavenger does not break them for small gains, what it breaks
 * stays broken, and none are asked for with SEEP_DEBUG=thp=0 or, by default, where nothing is recorded. By the kernel's account; skipped where it gives none. */
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
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/heap/types.h"
#include "agent/include/seep.h"
#include "agent/util/options.h"

enum { MIB = 1 << 20, SIZE = 8192, N = 160 * MIB / SIZE };

#define MUST(cond)                                         \
    do {                                                   \
        if (cond) break;                                   \
        fprintf(stderr, "line %d: %s\n", __LINE__, #cond); \
        _exit(1);                                          \
    } while (0)

/* Of all mappings that begin in [lo, hi). */
static size_t kernel_mib(const char *what, uintptr_t lo, uintptr_t hi)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512], name[64];
    unsigned long a, b, kib, sum = 0;
    bool ours = false;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &a, &b) == 2) ours = a >= lo && a < hi;
        if (ours && sscanf(line, "%63[^:]: %lu kB", name, &kib) == 2 && strcmp(name, what) == 0) sum += kib;
    }
    if (f) fclose(f);
    return sum >> 10;
}

static size_t heap_mib(const char *what)
{
    return kernel_mib(what, 0xc000000000, 0xc400000000);
}

static size_t marks_mib(const char *what)
{
    return kernel_mib(what, MARKS_HINT, HEAP_HINT);
}

static bool kernel_gives_huge_pages(void)
{
    char *p = mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return false;
    madvise(p, 16 * MIB, MADV_HUGEPAGE);
    memset(p, 1, 16 * MIB);
    bool yes = kernel_mib("AnonHugePages", (uintptr_t)p, (uintptr_t)p + 1) >= 12;
    munmap(p, 16 * MIB);
    return yes;
}

static bool kernel_always_gives_them(void)
{
    char line[64] = "";
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    if (f && !fgets(line, sizeof line, f)) line[0] = '\0';
    if (f) fclose(f);
    return strstr(line, "[always]") != NULL;
}

static void *block[N];

static void grow(void)
{
    for (size_t i = 0; i < N; i++) memset(block[i] = malloc(SIZE), 1, SIZE);
}

static void ticks(int n)
{
    for (int i = 0; i < n; i++) {
        heap_background_tick();
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}

static struct seep_memstats stats(void)
{
    struct seep_memstats m = {.size = sizeof m};
    heap_stats(&m);
    return m;
}

static int in_child(void (*fn)(void))
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        fn();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return status;
}

static void switch_thp(int on)
{
    snprintf(agent_options.debug, sizeof agent_options.debug, "thp=%d", on);
}

/* The first 64 MiB are as they were, what follows is of huge pages. */
static void large_heap(void)
{
    switch_thp(1);
    grow();
    MUST(heap_mib("AnonHugePages") >= 80 && heap_mib("AnonHugePages") <= 100);
    MUST(marks_mib("AnonHugePages") >= 4); /* of 160 MiB: 10, less those of the first 64 */
    for (size_t i = 0; i < N; i++) free(block[i]);
    malloc_trim(0);
    MUST(marks_mib("Rss") <= 2); /* what is behind the last */
}

static void recorded(void)
{
    agent_options.out[0] = '/';
    grow();
    MUST(heap_mib("AnonHugePages") >= 80);
}

static void not_recorded(void)
{
    agent_options.out[0] = '\0';
    grow();
    MUST(heap_mib("AnonHugePages") == 0);
}

static void switched_off(void)
{
    agent_options.out[0] = '/';
    switch_thp(0);
    grow();
    MUST(heap_mib("AnonHugePages") == 0);
}

/* Large blocks may be touched here and there: no huge pages for them. */
static void sparse(void)
{
    switch_thp(1);
    for (int i = 0; i < 160; i++) *(char *)(block[i] = malloc(MIB)) = 1;
    MUST(heap_mib("AnonHugePages") == 0 && heap_mib("Rss") < 16);
}

static void small_gains(void)
{
    switch_thp(1);
    grow();
    size_t huge = heap_mib("AnonHugePages");
    /* Pages here and there, 6 % of all: not worth it, though the program rests. */
    for (size_t i = 0; i < N; i += 16) free(block[i]);
    malloc_trim(1u << 30); /* caches */
    for (int i = 0; i < 30; i++) heap_background_tick();
    MUST(heap_mib("AnonHugePages") == huge);
    /* Three of four go: those that stay in use are broken up, and stay so. */
    for (size_t i = 0; i < N; i++)
        if (i % 16 != 0 && i / 16 % 4 != 0) free(block[i]);
    malloc_trim(1u << 30);
    agent_options.memlimit = 8u * MIB; /* so that it does not wait for a second */
    ticks(20);
    struct seep_memstats m = stats();
    MUST(heap_mib("AnonHugePages") < huge / 8);
    MUST(m.heap_sys - m.heap_released < m.heap_inuse + 8u * MIB);
    MUST(heap_mib("Rss") * MIB < m.heap_inuse + 12u * MIB);
    size_t broken = 0;
    for (uintptr_t p = 0xc000000000; arena_of(p); p += HUGE_BYTES) broken += (arena_of(p)->broken & huge_bit(p)) != 0;
    MUST(broken > 20);
    /* All of it goes: then they are whole again, for what comes. */
    agent_options.memlimit = 0;
    for (size_t i = 0; i < N; i++)
        if (i % 16 != 0 && i / 16 % 4 == 0) free(block[i]);
    malloc_trim(0);
    MUST(heap_mib("Rss") < 8);
    for (uintptr_t p = 0xc000000000; arena_of(p); p += ARENA_BYTES) MUST(arena_of(p)->broken == 0);
}

#define CASE(name, fn)                          \
    static void name(void **state)              \
    {                                           \
        (void)state;                            \
        if (!kernel_gives_huge_pages()) skip(); \
        assert_int_equal(in_child(fn), 0);      \
    }
CASE(large_heap_of_small_objects, large_heap)
CASE(on_by_default_when_recorded, recorded)
CASE(not_broken_for_small_gains, small_gains)

static void none_where_not_wanted(void **state)
{
    (void)state;
    if (kernel_always_gives_them()) skip();
    assert_int_equal(in_child(switched_off), 0);
    assert_int_equal(in_child(not_recorded), 0);
    assert_int_equal(in_child(sparse), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_heap_of_small_objects), cmocka_unit_test(none_where_not_wanted),
        cmocka_unit_test(on_by_default_when_recorded), cmocka_unit_test(not_broken_for_small_gains)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
