/* SPDX-License-Identifier: Apache-2.0
 *
 * The path that keeps an object, root → … → object (path_steps.c), searched backwards, in rounds, for several targets at once: all
 * root words are looked at for pointers into the frontiers, then all
 * reachable objects; who points there is the next frontier, a short path the result. A round costs one pass over the heap
 * without its random accesses, since a word's page is looked up in a bitmap of the frontiers' pages first. Passes go down and up by
 * turns, and what a pass finds is looked for by its rest: a chain in the order of addresses, as lists often are, takes one pass or two.
 * Bounded in time, in rounds and in nodes; only asked for the largest findings and sites. */
#include "agent/snapshot/child.h"

#include <string.h>

#include "agent/os/os.h"

enum { ROUNDS = 24, MAX_NODES = 1 << 16 };

struct node {
    struct object_ref o;
    uint32_t target;
    uint32_t next;   /* the node it points to, + 1 */
    uint32_t offset; /* of the pointer in it */
    uint32_t same;   /* another one of the same object, for another target, + 1 */
};

struct root {
    uint32_t node; /* + 1; 0: not found yet */
    struct path_root at;
};

static struct {
    struct marker *m;
    const struct judgement *j;
    const struct path_target *targets;
    unsigned left; /* targets without a root */
    struct root roots[PATH_TARGETS], weak[PATH_TARGETS];
    uint32_t nnodes[PATH_TARGETS];
    struct child_vec nodes;
    struct child_map index; /* object → its first node + 1 */
    uint64_t *pages;        /* a bit for each page of the heap: the frontiers have objects there */
    size_t first;           /* of the frontiers' nodes */
} P;

static struct node *node_at(uint32_t n)
{
    return (struct node *)P.nodes.items + n - 1;
}

static inline bool page_bit(const uint64_t *pages, uintptr_t off)
{
    off >>= PAGE_SHIFT_SEEP;
    return pages[off / 64] >> (off % 64) & 1;
}

/* The nodes of the object that p points into, + 1; 0 when none of them is in a frontier. */
static uint32_t nodes_at(uintptr_t p)
{
    struct object_ref o;
    p &= P.m->in.keep;
    if (p - P.m->in.lo >= P.m->in.len || !page_bit(P.pages, p - P.m->in.lo) || !mark_resolve(P.m, p, &o)) return 0;
    return child_map_get(&P.index, object_key(o));
}

static bool in_frontier(uint32_t n)
{
    return n > P.first && !P.roots[node_at(n)->target].node;
}

/* Stacks hold what is being worked with, too: they count where nothing else is found, and for waits not those of tasks that wait. */
static struct root *found_by(uint32_t target, const struct origin *from)
{
    bool ring = P.targets[target].kind == PATH_RING;
    if (ring || from->kind == FROM_RING)
        return ring && from->kind == FROM_RING && from->id == target ? &P.roots[target] : NULL;
    bool stack = from->kind == FROM_STACK || from->kind == FROM_REGISTER || from->kind == FROM_TASK;
    if (!stack || P.targets[target].kind == PATH_ANY) return &P.roots[target];
    if (P.targets[target].kind == PATH_WAIT && from->kind == FROM_TASK && P.j->tasks[from->id].blocked) return NULL;
    return &P.weak[target];
}

static void look_at_root(void *arg, const uintptr_t *lo, const uintptr_t *hi, const struct origin *from)
{
    (void)arg;
    for (const uintptr_t *w = lo; w < hi && P.left; w++)
        for (uint32_t n = nodes_at(*w); n; n = node_at(n)->same) {
            struct root *r = in_frontier(n) ? found_by(node_at(n)->target, from) : NULL;
            if (!r || r->node) continue;
            *r = (struct root){n, {*from, (uintptr_t)w - from->delta}};
            P.left -= r == &P.roots[node_at(n)->target];
        }
}

/* The words of the block that keeps itself. Its pointers into itself do not count. */
static void look_at_rings(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const struct path_target *t = &P.targets[i];
        if (t->kind != PATH_RING || P.roots[i].node) continue;
        uintptr_t lo = object_base(P.m, t->ring), hi = lo + span_elem(&P.m->spans[t->ring.span]);
        struct origin from = {.kind = FROM_RING, .id = i};
        for (const uintptr_t *w = (const uintptr_t *)lo; w < (const uintptr_t *)hi; w++)
            if (*w - lo >= hi - lo) look_at_root(NULL, w, w + 1, &from);
    }
}

static void set_page_bits(struct object_ref o)
{
    uintptr_t off = object_base(P.m, o) - P.m->in.lo, end = off + span_elem(&P.m->spans[o.span]);
    for (off >>= PAGE_SHIFT_SEEP; off << PAGE_SHIFT_SEEP < end; off++) P.pages[off / 64] |= 1ull << off % 64;
}

static void add_node(struct object_ref o, uint32_t target, uint32_t next, size_t offset)
{
    uint32_t first = child_map_get(&P.index, object_key(o));
    for (uint32_t n = first; n; n = node_at(n)->same)
        if (node_at(n)->target == target) return;
    if (P.nnodes[target]++ >= MAX_NODES) return;
    struct node *new = child_vec_add(&P.nodes, sizeof *new);
    *new = (struct node){o, target, next, offset > UINT32_MAX ? UINT32_MAX : (uint32_t)offset, first};
    *child_map_slot(&P.index, object_key(o)) = (uint32_t)P.nodes.n;
    set_page_bits(o);
}

static __attribute__((noinline)) void look_at_word(struct object_ref o, uintptr_t base, const uintptr_t *w)
{
    for (uint32_t n = nodes_at(*w); n; n = node_at(n)->same)
        if (in_frontier(n)) add_node(o, node_at(n)->target, n, (uintptr_t)w - base);
}

static inline void look_into(struct object_ref o)
{
    const uintptr_t keep = P.m->in.keep, lo = P.m->in.lo, len = P.m->in.len, base = object_base(P.m, o);
    const uint64_t *pages = P.pages;
    const uintptr_t *end = (const uintptr_t *)base + span_elem(&P.m->spans[o.span]) / 8;
    for (const uintptr_t *w = (const uintptr_t *)base; w < end; w++) {
        uintptr_t off = (*w & keep) - lo;
        if (off < len && page_bit(pages, off)) look_at_word(o, base, w);
    }
}

/* Spans stand in the order of their addresses. */
static bool pass_over_heap(bool down, uint64_t deadline_ns)
{
    for (uint32_t k = 0; k < P.m->nspans; k++) {
        uint32_t id = down ? P.m->nspans - 1 - k : k;
        const struct span_rec *s = &P.m->spans[id];
        if (s->noscan) continue;
        if (k % 256 == 0 && os_mono_ns() > deadline_ns) return false;
        uint32_t words = (s->nelems + 63) / 64;
        for (uint32_t x = 0; x < words; x++) {
            uint32_t i = down ? words - 1 - x : x;
            uint64_t bits = P.m->marks[s->words + i] & ~P.m->words[s->words + i].free & span_slots(s, i);
            for (uint64_t bit; bits; bits &= ~bit) {
                uint32_t at = down ? 63 - (uint32_t)__builtin_clzll(bits) : (uint32_t)__builtin_ctzll(bits);
                bit = 1ull << at;
                look_into((struct object_ref){id, i * 64 + at});
            }
        }
    }
    return true;
}

/* The nodes from `first` on. False when there is none. */
static bool set_frontier(size_t first)
{
    bool any = false;
    P.first = first;
    memset(P.pages, 0, (P.m->in.len >> PAGE_SHIFT_SEEP) / 8 + 8);
    for (uint32_t i = (uint32_t)first + 1; i <= P.nodes.n; i++) {
        if (!in_frontier(i)) continue;
        any = true;
        set_page_bits(node_at(i)->o);
    }
    return any;
}

static void look_at_roots(const struct snapshot_job *job)
{
    static struct root_stats ignored;
    P.m->visit = look_at_root;
    roots_mark(P.m, job, &ignored);
    if (P.left) judge_visit_tasks(job);
    P.m->visit = NULL;
}

static void write_path(const struct snapshot_job *job, const struct path_target *t, const struct root *r)
{
    struct child_vec steps = {0};
    for (uint32_t n = r->node; n; n = node_at(n)->next)
        *(struct path_step *)child_vec_add(&steps, sizeof(struct path_step)) =
            (struct path_step){node_at(n)->o, node_at(n)->offset};
    path_write(P.m, job, P.j, t, &r->at, (const struct path_step *)steps.items, steps.n);
}

void path_find(struct marker *m, const struct snapshot_job *job, const struct judgement *j, struct path_target *targets,
               unsigned n, uint64_t deadline_ns)
{
    memset(&P, 0, sizeof P);
    P.m = m;
    P.j = j;
    P.targets = targets;
    P.left = n;
    P.pages = scratch_alloc((m->in.len >> PAGE_SHIFT_SEEP) / 8 + 8);
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < targets[i].n; k++) add_node(targets[i].of[k], i, 0, 0);
    size_t first = 0;
    for (int round = 0; round < ROUNDS && os_mono_ns() < deadline_ns && set_frontier(first); round++) {
        look_at_roots(job);
        look_at_rings(n);
        first = P.nodes.n;
        if (!P.left || !pass_over_heap(round % 2 == 0, deadline_ns)) break;
    }
    for (unsigned i = 0; i < n; i++) {
        const struct root *r = P.roots[i].node ? &P.roots[i] : &P.weak[i];
        targets[i].found = r->node != 0;
        if (targets[i].found) write_path(job, &targets[i], r);
    }
}
