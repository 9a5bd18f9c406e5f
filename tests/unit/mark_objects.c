/* SPDX-License-Identifier: Apache-2.0
 *
 * The marker on objects of every shape, from given roots. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/snapshot/child.h"
#include "seep.h"
#include "tests/unit/in_child.h"

static struct marker m;

static struct object_ref ref_of(const void *p)
{
    struct object_ref o = {UINT32_MAX, 0};
    mark_resolve(&m, (uintptr_t)p, &o);
    return o;
}

static bool marked(const void *p)
{
    struct object_ref o = ref_of(p);
    return o.span != UINT32_MAX && mark_is_marked(&m, o);
}

static bool by_start(const void *p)
{
    struct object_ref o = ref_of(p);
    return mark_is_marked(&m, o) && !(mark_word_of(&m, o)->inner >> (o.index & 63) & 1);
}

static void mark_from(const void *p)
{
    mark_collect(&m);
    mark_value(&m, (uintptr_t)p);
    mark_drain(&m);
}

enum { LONG = 20000 };
static void **chain[LONG];

static int check_chain(void *arg)
{
    (void)arg;
    mark_from(chain[10]);
    for (int i = 0; i < LONG; i++) EXPECT(marked(chain[i]) == (i >= 10));
    EXPECT(by_start(chain[10]) && by_start(chain[LONG - 1]));
    return 0;
}

static void follows_a_long_chain(void **state)
{
    (void)state;
    for (int i = LONG; i-- > 0;) {
        chain[i] = calloc(1, 16 + (size_t)(i % 50) * 16);
        chain[i][i % 2] = i + 1 < LONG ? chain[i + 1] : NULL;
    }
    assert_int_equal(in_child(check_chain, NULL), 0);
    for (int i = 0; i < LONG; i++) free(chain[i]);
}

static void **wide;

static int check_wide(void *arg)
{
    (void)arg;
    mark_from((char *)wide + 4000); /* into the middle of a large object, found whole */
    EXPECT(marked(wide) && !by_start(wide));
    for (int i = 0; i < LONG; i++) EXPECT(marked(wide[i]) && by_start(wide[i]));
    return 0;
}

static void scans_a_large_object_in_pieces(void **state)
{
    (void)state;
    wide = malloc(LONG * sizeof *wide);
    for (int i = 0; i < LONG; i++) wide[i] = calloc(1, 48);
    assert_int_equal(in_child(check_wide, NULL), 0);
    for (int i = 0; i < LONG; i++) free(wide[i]);
    free(wide);
}

struct pair {
    void **a, **b;
};

static int check_noscan(void *arg)
{
    struct pair *p = arg;
    mark_from(p->a);
    EXPECT(marked(p->a) && !marked(p->b));
    return 0;
}

static void does_not_look_into_noscan(void **state)
{
    (void)state;
    struct pair p = {seep_new(64, SEEP_NOSCAN), malloc(64)};
    p.a[0] = p.b;
    assert_int_equal(in_child(check_noscan, &p), 0);
    seep_free(p.a);
    free(p.b);
}

static int check_freed(void *arg)
{
    struct pair *p = arg;
    mark_from(p->a);
    struct object_ref o = ref_of(p->a);
    EXPECT(mark_word_of(&m, o)->free >> (o.index & 63) & 1);
    EXPECT(!marked(p->b));
    return 0;
}

static void finds_nothing_through_freed_memory(void **state)
{
    (void)state;
    struct pair p = {malloc(3000), malloc(2000)};
    p.a[100] = p.b;
    uintptr_t a = (uintptr_t)p.a;
    free(p.a);
    p.a = (void **)a;
    assert_int_equal(in_child(check_freed, &p), 0);
    free(p.b);
}

/* Wherever the heap keeps what was freed: no slot of it counts as allocated. */
static int check_free_slot(void *arg)
{
    mark_collect(&m);
    struct object_ref o;
    if (!mark_resolve(&m, (uintptr_t)arg, &o)) return 0; /* its pages went back */
    EXPECT(mark_word_of(&m, o)->free >> (o.index & 63) & 1);
    return 0;
}

static int check_used_slot(void *arg)
{
    mark_collect(&m);
    struct object_ref o = ref_of(arg);
    EXPECT(o.span != UINT32_MAX && !(mark_word_of(&m, o)->free >> (o.index & 63) & 1));
    return 0;
}

static void knows_free_from_used_at_every_size(void **state)
{
    (void)state;
    for (size_t size = 8; size < (2u << 20); size += size / 3 + 1) {
        char *volatile p = malloc(size);
        assert_int_equal(in_child(check_used_slot, p), 0);
        uintptr_t at = (uintptr_t)p;
        free(p);
        assert_int_equal(in_child(check_free_slot, (void *)at), 0);
    }
}

static int check_self(void *arg)
{
    struct pair *p = arg;
    mark_from((char *)p->a + 16); /* interior: its own pointer to its start does not change that */
    EXPECT(marked(p->a) && !by_start(p->a));
    EXPECT(marked(p->b) && by_start(p->b));
    return 0;
}

static void ignores_pointers_to_itself(void **state)
{
    (void)state;
    struct pair p = {calloc(1, 100), calloc(1, 100)};
    p.a[0] = p.a;
    p.a[1] = p.b;
    assert_int_equal(in_child(check_self, &p), 0);
    free(p.a);
    free(p.b);
}

/* One that begins in a chunk of the marker and ends in the next one: both kinds of pointers to it may be its own. */
enum { ROW = 300000, ROW_SIZE = 48 };
static void **row_of[ROW];

static int check_between(void *arg)
{
    unsigned n = 0;
    (void)arg;
    mark_collect(&m);
    for (unsigned i = 0; i < ROW; i++) {
        uintptr_t lo = (uintptr_t)row_of[i] - m.in.lo, hi = lo + ROW_SIZE - 8;
        if (lo >> m.chunk_shift == hi >> m.chunk_shift) continue;
        mark_value(&m, m.in.lo + hi); /* in the chunk that it ends in */
        n++;
    }
    mark_drain(&m);
    for (unsigned i = 0; i < ROW; i++) {
        uintptr_t lo = (uintptr_t)row_of[i] - m.in.lo, hi = lo + ROW_SIZE - 8;
        bool between = lo >> m.chunk_shift != hi >> m.chunk_shift;
        EXPECT(marked(row_of[i]) == between && (!between || !by_start(row_of[i])));
    }
    EXPECT(n > 0);
    return 0;
}

static void ignores_them_between_chunks(void **state)
{
    (void)state;

    for (unsigned i = 0; i < ROW; i++) {
        row_of[i] = calloc(1, ROW_SIZE);
        row_of[i][0] = row_of[i];
        row_of[i][ROW_SIZE / 8 - 1] = row_of[i];
    }
    assert_int_equal(in_child(check_between, NULL), 0);
    for (unsigned i = 0; i < ROW; i++) free(row_of[i]);
}

/* Objects side by side, which are scanned as one: each still knows its own words from its neighbour's. */
enum { NEIGHBOURS = 2000 };
static struct neighbours {
    char **all; /* a pointer into the middle of each */
    char **at[NEIGHBOURS];
    size_t size;
} row;

static int check_neighbours(void *arg)
{
    (void)arg;
    mark_from(row.all);
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        EXPECT(marked(row.at[i]));
        EXPECT(by_start(row.at[i]) == (i > 0 && i % 3 == 1));
    }
    return 0;
}

static void neighbours(bool in_order)
{
    for (row.size = 16; row.size <= 1024; row.size += row.size / 2 & ~(size_t)7) {
        row.all = malloc(NEIGHBOURS * sizeof *row.all);
        for (unsigned i = 0; i < NEIGHBOURS; i++) {
            row.at[i] = calloc(1, row.size);
            row.all[in_order ? i : (i / 2 * 351 % (NEIGHBOURS / 2)) * 2 + i % 2] = (char *)row.at[i] + 8;
        }
        for (unsigned i = 0; i < NEIGHBOURS; i++) {
            row.at[i][0] = (char *)row.at[i];
            if (i % 3 == 0 && i + 1 < NEIGHBOURS) row.at[i][1] = (char *)row.at[i + 1];
        }
        assert_int_equal(in_child(check_neighbours, NULL), 0);
        for (unsigned i = 0; i < NEIGHBOURS; i++) free(row.at[i]);
        free(row.all);
    }
}

static void tells_neighbours_apart(void **state)
{
    (void)state;
    neighbours(true);
}

static void tells_pairs_of_neighbours_apart(void **state)
{
    (void)state;
    neighbours(false);
}

/* Blocks with a free slot behind them, and pointers to their starts and past their ends, or only the latter. */
enum { ENDED = 400 };
static char *ended[ENDED];
static bool before_free[ENDED];

static int check_ends(void *arg)
{
    mark_from(arg);
    for (unsigned i = 0; i < ENDED; i++) {
        if (!before_free[i]) continue;
        EXPECT(marked(ended[i]));
        EXPECT(by_start(ended[i]) == (i % 4 == 0));
    }
    return 0;
}

static void knows_ends_from_starts(void **state)
{
    (void)state;
    unsigned n = 0;
    for (size_t size = 16; size <= 4096; size *= 2) {
        char **all = calloc(ENDED, sizeof *all);
        for (unsigned i = 0; i < ENDED; i++) ended[i] = calloc(1, size);
        for (unsigned i = 0; i < ENDED; i += 2) {
            before_free[i] = false;
            for (unsigned k = 1; k < ENDED; k += 2) before_free[i] |= ended[k] == ended[i] + size;
            if (!before_free[i]) continue;
            n++;
            all[i + i / 4 % 2] = ended[i] + size; /* before the one to the start, or after it */
            all[i + !(i / 4 % 2)] = i % 4 == 0 ? ended[i] : NULL;
        }
        for (unsigned i = 1; i < ENDED; i += 2) free(ended[i]);
        assert_int_equal(in_child(check_ends, all), 0);
        for (unsigned i = 0; i < ENDED; i += 2) free(ended[i]);
        free(all);
    }
    assert_true(n > ENDED);
}

/* A graph with objects of all sizes, pointers into their middle, past their end, to freed ones and to themselves. */
enum { NODES = 60000, GIANT = 40000 };
static struct {
    void **p[NODES];
    uint32_t words[NODES];
    bool freed[NODES], want[NODES], start[NODES];
    uint32_t root;
} graph;

static uint64_t seed = 88172645463325252u;
static uint32_t next(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 20) % below;
}

static void want_from(uint32_t first)
{
    graph.root = first;
    static uint32_t stack[NODES];
    static struct {
        uintptr_t base;
        uint32_t node;
    } index[1u << 18];
    memset(index, 0, sizeof index);
    for (uint32_t i = 0; i < NODES; i++) {
        uint32_t at = (uint32_t)((uintptr_t)graph.p[i] * 0x9e3779b97f4a7c15u >> 46);
        while (index[at].base) at = (at + 1) % (1u << 18);
        index[at].base = (uintptr_t)graph.p[i];
        index[at].node = i;
    }
    uint32_t n = 0;
    graph.want[first] = graph.start[first] = true;
    stack[n++] = first;
    while (n) {
        uint32_t i = stack[--n];
        for (uint32_t k = 0; k < graph.words[i]; k++) {
            uintptr_t p = (uintptr_t)graph.p[i][k], base = p & ~(uintptr_t)15;
            uint32_t at = (uint32_t)(base * 0x9e3779b97f4a7c15u >> 46);
            if (!base) continue;
            while (index[at].base && index[at].base != base) at = (at + 1) % (1u << 18);
            uint32_t to = index[at].node;
            if (index[at].base && to != i && p == base) graph.start[to] = true;
            if (index[at].base && !graph.freed[to] && !graph.want[to]) graph.want[to] = true, stack[n++] = to;
        }
    }
}

struct how {
    unsigned filter;
    size_t max_blocks;
};

static int check_graph(void *arg)
{
    const struct how *how = arg;
    mark_collect(&m);
    if (how->filter > m.filter) return 0; /* not on this machine */
    m.filter = how->filter;
    if (how->max_blocks) m.max_blocks = how->max_blocks - 1;
    mark_value(&m, (uintptr_t)graph.p[graph.root]);
    mark_drain(&m);
    uint32_t marked_ones = 0;
    for (uint32_t i = 0; i < NODES; i++) {
        if (graph.freed[i]) continue;
        EXPECT(marked(graph.p[i]) == graph.want[i]);
        EXPECT(!graph.want[i] || by_start(graph.p[i]) == graph.start[i]);
        marked_ones += graph.want[i];
    }
    EXPECT(marked_ones > NODES / 4 && marked_ones < NODES - NODES / 16);
    EXPECT(m.used_blocks == 0 && m.nturns == 0);
    return 0;
}

static void finds_the_same_with_every_filter_and_little_room(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < NODES; i++) {
        uint32_t words = i == NODES / 2 ? GIANT : i % 500 == 0 ? 300 + next(9000) : 2 + next(30);
        graph.p[i] = malloc(words * 8);
        graph.words[i] = words;
        graph.freed[i] = i % 11 == 7 && i != NODES / 2;
        memset(graph.p[i], 0, malloc_usable_size(graph.p[i])); /* what it was before may hold pointers */
    }
    for (uint32_t i = 0; i < NODES; i++) {
        bool odd = i % 3 == 0; /* reaches the others, and nothing else does */
        for (uint32_t k = 0; k < graph.words[i]; k++) {
            uint32_t to = next(NODES);
            if (k > 3 && i != NODES / 2) continue;
            if (!odd && to % 3 == 0 && to != i) to = i;
            graph.p[i][k] = (char *)graph.p[to] + (k % 2 || graph.freed[to] ? 8 : 0);
        }
    }
    want_from(1);
    for (uint32_t i = 0; i < NODES; i++)
        if (graph.freed[i]) free(graph.p[i]);
    for (unsigned f = 0; f < 3; f++)
        for (size_t room = 0; room < 3; room++) /* as it is; none at all; one block */
            assert_int_equal(in_child(check_graph, &(struct how){f, room}), 0);
    for (uint32_t i = 0; i < NODES; i++)
        if (!graph.freed[i]) free(graph.p[i]);
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (void *const *)a, y = (uintptr_t) * (void *const *)b;
    return x < y ? -1 : x > y;
}

/* Lists in the order of addresses, with breaks, other pointers, and links to the middle of the next node or to a freed one. */
static void follows_lists_in_order(void **state)
{
    (void)state;
    enum { SAME = 3000, ENTRIES = 256, STEP = NODES / ENTRIES, ROOT = NODES - 1 };
    static const uint32_t words[] = {2, 4, 8, 8, 6, 26, 12, 128, 256, 16}; /* whole slots: no stale words behind */
    seed = 88172645463325252u;
    memset(graph.want, 0, sizeof graph.want);
    memset(graph.start, 0, sizeof graph.start);
    for (uint32_t i = 0; i < NODES; i++) {
        graph.words[i] = i == ROOT ? ENTRIES : words[i / SAME % (sizeof words / sizeof *words)];
        graph.p[i] = malloc(graph.words[i] * 8);
        graph.freed[i] = i != ROOT && i % 97 == 0;
        memset(graph.p[i], 0, malloc_usable_size(graph.p[i]));
    }
    for (uint32_t i = 0; i < ROOT; i += SAME)
        qsort(&graph.p[i], (i + SAME < ROOT ? i + SAME : ROOT) - i, sizeof *graph.p, by_address);
    for (uint32_t i = 0; i < ROOT; i++) {
        if (next(25) && i + 1 < ROOT)
            graph.p[i][next(graph.words[i])] = (char *)graph.p[i + 1] + (next(40) && !graph.freed[i + 1] ? 0 : 8);
        uint32_t to = next(ROOT);
        if (next(12) == 0 && !graph.freed[to]) graph.p[i][next(graph.words[i])] = graph.p[next(30) ? to : i];
    }
    for (uint32_t i = 0; i < ENTRIES; i++) graph.p[ROOT][i] = graph.freed[i * STEP] ? NULL : (void *)graph.p[i * STEP];
    want_from(ROOT);
    for (uint32_t i = 0; i < NODES; i++)
        if (graph.freed[i]) free(graph.p[i]);
    for (unsigned f = 0; f < 3; f++)
        for (size_t room = 0; room < 3; room++) assert_int_equal(in_child(check_graph, &(struct how){f, room}), 0);
    for (uint32_t i = 0; i < NODES; i++)
        if (!graph.freed[i]) free(graph.p[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_free_from_used_at_every_size), /* first: caches are empty and keep what is freed */
        cmocka_unit_test(follows_a_long_chain),
        cmocka_unit_test(scans_a_large_object_in_pieces),
        cmocka_unit_test(does_not_look_into_noscan),
        cmocka_unit_test(finds_nothing_through_freed_memory),
        cmocka_unit_test(ignores_pointers_to_itself),
        cmocka_unit_test(ignores_them_between_chunks),
        cmocka_unit_test(tells_neighbours_apart),
        cmocka_unit_test(tells_pairs_of_neighbours_apart),
        cmocka_unit_test(knows_ends_from_starts),
        cmocka_unit_test(finds_the_same_with_every_filter_and_little_room),
        cmocka_unit_test(follows_lists_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
