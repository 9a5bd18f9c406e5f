/* SPDX-License-Identifier: Apache-2.0
 *
 * Walking the heap: interior pointers find their slot, free slots are exactly the free ones (local, remote and never
 * carved), spans come in address order with dense ids, pages in runs that cover the heap. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/heap/types.h"

static void finds_interior(void **state)
{
    (void)state;
    for (size_t size = 1; size < 3000000; size = size * 2 + 5) {
        char *p = malloc(size);
        for (size_t off = 0; off < size; off += size / 7 + 1) {
            struct heap_object o;
            assert_true(heap_find((uintptr_t)p + off, &o));
            assert_int_equal(o.base, (uintptr_t)p);
            assert_true(o.size >= size);
        }
        free(p);
    }
    struct heap_object o;
    int local;
    assert_false(heap_find(0, &o));
    assert_false(heap_find((uintptr_t)&local, &o));
    assert_false(heap_find(UINTPTR_MAX, &o));
    assert_false(heap_find((uintptr_t)0x8000c000000000, &o));
}

static void *free_all(void *arg)
{
    void **p = arg;
    for (; *p; p++) free(*p);
    return NULL;
}

static int is_free(const void *p)
{
    struct heap_object o;
    uint64_t bits[16];
    assert_true(heap_find((uintptr_t)p, &o));
    heap_free_slots(o.span, bits);
    return bits[o.index / 64] >> (o.index % 64) & 1;
}

static void free_slots(void **state)
{
    (void)state;
    enum { N = 600 };
    void *p[N], *remote[N / 3 + 1] = {0};
    size_t n = 0;
    for (int i = 0; i < N; i++) p[i] = malloc(1000);
    for (int i = 0; i < N; i++) {
        if (i % 3 == 0) free(p[i]);
        if (i % 3 == 1 && n < N / 3) remote[n++] = p[i];
    }
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, free_all, remote), 0);
    pthread_join(t, NULL);
    for (int i = 0; i < N; i++) {
        struct heap_object o; /* an empty span has gone altogether */
        if (i % 3 == 2) assert_false(is_free(p[i]));
        if (i % 3 != 2 && heap_find((uintptr_t)p[i], &o)) assert_true(is_free(p[i]));
    }
    char *fresh = malloc(3000); /* the next slot of its span was never carved, or is free */
    assert_false(is_free(fresh));
    free(fresh);
    for (int i = 2; i < N; i += 3) free(p[i]);
}

struct walk {
    uintptr_t last;
    uint32_t n;
    uint64_t pages;
};

static int see_span(void *arg, const struct heap_span_info *s)
{
    struct walk *w = arg;
    assert_true(s->base > w->last);
    assert_int_equal(s->dense_id, w->n++);
    w->last = s->base;
    w->pages += s->npages;
    return 0;
}

static uintptr_t page_end;
static uint64_t state_pages[3];

static int see_pages(void *arg, uintptr_t lo, uintptr_t hi, enum heap_page_state state)
{
    (void)arg;
    assert_true(lo < hi && lo >= page_end);
    page_end = hi;
    state_pages[state] += (hi - lo) >> HPAGE_SHIFT;
    return 0;
}

static void walks_agree(void **state)
{
    (void)state;
    void *p[200];
    for (size_t i = 0; i < 200; i++) p[i] = malloc(i * i * 10);
    for (size_t i = 0; i < 200; i += 2) free(p[i]);
    struct walk w = {0};
    heap_walk_spans(see_span, &w);
    assert_int_equal(w.pages, mheap.inuse_pages);
    heap_walk_pages(see_pages, NULL);
    assert_int_equal(state_pages[HEAP_PAGE_INUSE], mheap.inuse_pages);
    assert_int_equal(state_pages[0] + state_pages[1] + state_pages[2], mheap.mapped_pages);
    assert_true(heap_check());
    for (size_t i = 1; i < 200; i += 2) free(p[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_interior), cmocka_unit_test(free_slots),
                                       cmocka_unit_test(walks_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
