/* SPDX-License-Identifier: Apache-2.0
 *
 * Marks: a used slot's is its class, all others are 0; they go back to the kernel with the pages they are of; where they cannot be
 * in one piece they are elsewhere, and everything is as it was. */
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
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/heap/types.h"

#pragma GCC diagnostic ignored "-Wuse-after-free"
#pragma GCC diagnostic ignored "-Wfree-nonheap-object"

enum { MIB = 1 << 20 };

static uint8_t mark(const void *p)
{
    const uint8_t *m = mark_of((uintptr_t)p);
    return m ? *m : 0xff;
}

static void say_what_slots_are(void **state)
{
    (void)state;
    for (unsigned c = 2; c < SIZE_CLASSES; c++) {
        if (class_to_size[c] % 16 != 0) continue;
        char *p = malloc(class_to_size[c]);
        assert_int_equal(mark(p), c);
        for (unsigned i = 16; i < class_to_size[c]; i += 16) assert_int_equal(mark(p + i), MARK_FREE);
        free(p);
        assert_int_equal(mark(p), MARK_FREE);
        char *q = heap_alloc(class_to_size[c], 0, HEAP_NOSCAN);
        assert_int_equal(mark(q), MARK_NO_BIN);
        heap_free(q);
        assert_int_equal(mark(q), MARK_FREE);
    }
    char *large = malloc(100000);
    assert_int_equal(mark(large), MARK_FREE);
    free(large);
    assert_ptr_equal(mark_of(1), NULL);
    assert_ptr_equal(mark_of((uintptr_t)large + 8), NULL);
    assert_ptr_equal(mark_of((uintptr_t)1 << 62), NULL);
    assert_true(heap_check());
}

/* KiB of marks, in all that may become marks. */
static size_t resident_kib(void)
{
    static unsigned char in[4096];
    size_t n = 0, bytes = heap_near.slots;
    for (size_t at = 0; at < bytes; at += sizeof in * 4096) {
        size_t part = bytes - at < sizeof in * 4096 ? bytes - at : sizeof in * 4096;
        assert_int_equal(mincore(heap_near.map + at, part, in), 0);
        for (size_t i = 0; i < part / 4096; i++) n += in[i] & 1;
    }
    return n * 4;
}

/* Spans that are no multiple of what a page of marks is of: every second one is freed and given back, then the others. */
static void go_back_with_their_pages(void **state)
{
    (void)state;
    enum { SIZE = 3072, N = 64 * MIB / SIZE };
    assert_int_not_equal(class_to_span_pages[abi_class(SIZE)] % 8, 0);
    static void *p[N];
    malloc_trim(0);
    size_t before = resident_kib();
    for (int i = 0; i < N; i++) p[i] = malloc(SIZE);
    size_t peak = resident_kib();
    assert_true(peak >= before + 64 * 1024 / 16 * 9 / 10);
    for (int odd = 0; odd < 2; odd++) {
        for (int i = 0; i < N; i++) {
            if (!p[i]) continue;
            struct heap_object o;
            assert_true(heap_find((uintptr_t)p[i], &o));
            size_t span = (heap_slot_address(o.span, 0) >> HPAGE_SHIFT) / class_to_span_pages[abi_class(SIZE)];
            if (!odd && span % 2 == 0) continue;
            free(p[i]);
            p[i] = NULL;
        }
        malloc_trim(0);
        assert_true(heap_check());
    }
    size_t after = resident_kib();
    print_message("marks: %zu KiB before, %zu at the peak, %zu after\n", before, peak, after);
    assert_true(after <= before + 64);
}

static bool aborts(void (*fn)(char *), char *p)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        if (!freopen("/dev/null", "w", stderr)) _exit(1);
        fn(p);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
static void twice(char *p)
{
    free(p);
    free(p);
}
static void inside(char *p)
{
    free(p + 16);
}
static void askew(char *p)
{
    free(p + 1);
}

static bool is_far(const void *p)
{
    return near_slot((uintptr_t)p) >= heap_near.slots;
}

/* From the last one down to a NULL: far ones first, when bins have room. */
static void *free_all(void *arg)
{
    for (void **p = arg; *p; p--) {
        size_t size = malloc_usable_size(*p);
        free(*p);
        char *again = malloc(size);
        assert_int_equal(mark(again), abi_class(size));
        free(again);
    }
    return NULL;
}

/* n blocks, near and far ones; all that is done to blocks is done to both. */
static void use_both(size_t n)
{
    void **all = calloc(n + 1, sizeof *all), **p = all + 1;
    char *far = NULL, *near = NULL;
    for (size_t i = 0; i < n; i++) {
        p[i] = malloc(64 + i % 3000);
        assert_non_null(p[i]);
        memset(p[i], (int)i, 64);
        if (is_far(p[i]))
            far = p[i];
        else
            near = p[i];
    }
    assert_non_null(near);
    assert_non_null(far);
    for (int i = 0; i < 2; i++) {
        char *b = i ? far : near;
        assert_int_equal(mark(b), abi_class(malloc_usable_size(b)));
        assert_true(aborts(twice, b) && aborts(inside, b) && aborts(askew, b));
        assert_ptr_equal(realloc(b, malloc_usable_size(b)), b);
    }
    assert_true(heap_check());
    for (size_t i = 0; i < n; i += 2) free(p[i]);
    for (size_t i = 0; i < n; i += 2) assert_int_equal(mark(p[i]), MARK_FREE);
    for (size_t i = 0; i < n; i += 2) p[i] = malloc(64 + i % 3000);
    assert_true(heap_check());
    for (size_t i = 1; i < n; i += 2) assert_int_equal(*(unsigned char *)p[i], (unsigned char)i);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, free_all, &p[n - 1]), 0);
    pthread_join(t, NULL);
    free(all);
    assert_true(heap_check());
    malloc_trim(0);
    assert_true(heap_check());
}

/* Where the piece of near marks cannot grow. */
static void elsewhere_when_in_the_way(void **state)
{
    (void)state;
    size_t room = (heap_near.slots + NEAR_STEP - 1) & ~(NEAR_STEP - 1);
    assert_true(heap_near.slots > 0);
    char *wall = mmap(heap_near.map + room, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    assert_ptr_equal(wall, heap_near.map + room);
    use_both((room * 16 + 128 * MIB) / 1500);
    assert_int_equal(heap_near.slots, room);
    assert_int_equal(*near_class(heap_near.map, room - 1), 0);
    assert_ptr_equal(heap_near.map - NEAR_CLASSES, (uint8_t *)MARKS_HINT);
}

int main(int argc, char **argv)
{
    (void)argc;
    if (!getenv("SEEP_RATE")) { /* no marks of sampled slots */
        setenv("SEEP_RATE", "0", 1);
        execv("/proc/self/exe", argv);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(say_what_slots_are), cmocka_unit_test(go_back_with_their_pages),
                                       cmocka_unit_test(elsewhere_when_in_the_way)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
