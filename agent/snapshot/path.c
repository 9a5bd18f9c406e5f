/* SPDX-License-Identifier: Apache-2.0
 *
 * The path that keeps an object: root → … → object, as a JSON array.
 *
 * Searched backwards, in rounds, for several targets at once: all root words are looked at for pointers into the frontiers, then all
 * reachable objects; who points there is the next frontier, a short path the result. A round costs one pass over the heap
 * without its random accesses, since a word's page is looked up in a bitmap of the frontiers' pages first. Passes go down and up by
 * turns, and what a pass finds is looked for by its rest: a chain in the order of addresses, as lists often are, takes one pass or two.
 * Bounded in time, in rounds and in nodes; only asked for the largest findings and sites.
 *
 * Steps:  {"at":"global","module":PATH,"offset":ELF address}   {"at":"stack","thread":TID}   {"at":"register","thread":TID}
 *         {"at":"task","task":ID}   {"at":"memory","address":A}   {"at":"kernel"}
 *         {"at":"itself" or "ring", …}: the block itself, or another that never can be freed, with the members of "block"
 *         and of holders.c, alone: {"at":"unreached"}, {"at":"late"}: not found in time
 *         {"at":"finalizers"}: the queue of those that are due
 *         {"at":"blocks","n":how many more stand here}
 *         {"at":"block","bytes":N,"offset":of the pointer in it,"site":first address of its allocation's stack, as module and offset} */
#include "agent/snapshot/child.h"

#include <string.h>

#include "agent/os/os.h"
#include "agent/util/log.h"

enum { ROUNDS = 24, MAX_NODES = 1 << 16, MAX_STEPS = 12 };

struct node {
    struct object_ref o;
    uint32_t target;
    uint32_t next;   /* the node it points to, + 1 */
    uint32_t offset; /* of the pointer in it */
    uint32_t same;   /* another one of the same object, for another target, + 1 */
};

struct root {
    uint32_t node; /* + 1; 0: not found yet */
    struct origin from;
    uintptr_t at;
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
            *r = (struct root){n, *from, (uintptr_t)w - from->delta};
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
            const struct mark_word *w = &P.m->words[s->words + i];
            for (uint64_t bits = w->mark & ~w->free & span_slots(s, i), bit; bits; bits &= ~bit) {
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

/* ---- JSON */

struct out {
    char *buf;
    size_t n, size;
};

#define PUT(o, ...) ((o)->n += fmt_string((o)->buf + (o)->n, (o)->size - (o)->n, __VA_ARGS__))

static void put_path(struct out *o, const char *path)
{
    for (const char *p = path; *p && o->n + 2 < o->size; p++)
        o->buf[o->n++] = *p == '"' || *p == '\\' || (unsigned char)*p < ' ' || (unsigned char)*p > 126 ? '?' : *p;
    o->buf[o->n] = 0;
}

struct segment {
    uintptr_t at;
    const char *path;
};
static int segment_at(void *arg, uintptr_t lo, uintptr_t hi, const char *path)
{
    struct segment *s = arg;
    if (s->at < lo || s->at >= hi) return 0;
    s->path = path;
    return 1;
}

static void put_code(struct out *o, uintptr_t pc, uint32_t generation)
{
    const struct prof_module *m = modules_find(pc - 1, generation);
    if (!m) return;
    PUT(o, ",\"module\":\"");
    put_path(o, m->path);
    PUT(o, "\",\"site\":%lu", (unsigned long)(pc - m->bias));
}

static void put_memory(struct out *o, uintptr_t at)
{
    struct segment s = {.at = at};
    modules_data(segment_at, &s);
    for (uint32_t i = 0; s.path && i < modules_count(); i++) {
        const struct prof_module *m = modules_get(i);
        if (m->unloaded || strcmp(m->path, s.path) != 0) continue;
        PUT(o, "{\"at\":\"global\",\"module\":\"");
        put_path(o, m->path);
        PUT(o, "\",\"offset\":%lu}", (unsigned long)(at - m->bias));
        return;
    }
    PUT(o, "{\"at\":\"memory\",\"address\":%lu}", (unsigned long)at);
}

static void put_site(struct out *o, struct object_ref of)
{
    const uintptr_t *pcs;
    uint32_t generation, site = object_site(P.m, of);
    if (site && stack_get(site, &pcs, &generation) > 0) put_code(o, pcs[0], generation);
}

/* The block is what the path leads to, or a ring keeps that. */
static void put_ring(struct out *o, const struct root *r)
{
    const struct path_target *t = &P.targets[r->from.id];
    bool itself = object_key(t->ring) == object_key(t->of[0]);
    PUT(o, "{\"at\":\"%s\",\"bytes\":%lu,\"offset\":%lu", itself ? "itself" : "ring",
        (unsigned long)span_elem(&P.m->spans[t->ring.span]), (unsigned long)(r->at - object_base(P.m, t->ring)));
    put_site(o, t->ring);
    PUT(o, "}");
}

static void put_root(struct out *o, const struct root *r)
{
    switch (r->from.kind) {
    case FROM_STACK: PUT(o, "{\"at\":\"stack\",\"thread\":%lu}", (unsigned long)r->from.id); return;
    case FROM_REGISTER: PUT(o, "{\"at\":\"register\",\"thread\":%lu}", (unsigned long)r->from.id); return;
    case FROM_KERNEL: PUT(o, "{\"at\":\"kernel\"}"); return;
    case FROM_RING: put_ring(o, r); return;
    case FROM_TASK: {
        const struct task_rec *t = &P.j->tasks[r->from.id];
        PUT(o, "{\"at\":\"task\",\"provider\":\"%s\",\"task\":%lu}", provider_get(t->provider)->name,
            (unsigned long)t->id);
        return;
    }
    case FROM_MEMORY:
    default: put_memory(o, r->at); return;
    }
}

static void put_block(struct out *o, const struct node *n, bool last)
{
    PUT(o, ",{\"at\":\"block\",\"bytes\":%lu", (unsigned long)span_elem(&P.m->spans[n->o.span]));
    if (!last) PUT(o, ",\"offset\":%u", n->offset);
    put_site(o, n->o);
    PUT(o, "}");
}

static void put_path_of(const struct path_target *t, const struct root *r)
{
    struct out o = {t->buf, 0, t->size};
    PUT(&o, "[");
    put_root(&o, r);
    unsigned steps = 0, told = 0;
    for (uint32_t n = r->node; n; n = node_at(n)->next) {
        bool last = !node_at(n)->next;
        bool room = steps < MAX_STEPS && o.n + 600 < t->size;
        if (last && steps > told) PUT(&o, ",{\"at\":\"blocks\",\"n\":%u}", steps - told);
        steps++;
        if (!room && !last) continue;
        put_block(&o, node_at(n), last);
        told++;
    }
    PUT(&o, "]");
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
        if (targets[i].found) put_path_of(&targets[i], r);
    }
}

size_t path_under(struct marker *m, const char *at, struct object_ref of, char *buf, size_t size)
{
    struct out o = {buf, 0, size};
    struct node n = {.o = of};
    P.m = m;
    PUT(&o, "[{\"at\":\"%s\"}", at);
    put_block(&o, &n, true);
    PUT(&o, "]");
    return o.n;
}

size_t path_of_word(struct marker *m, uintptr_t at, char *buf, size_t size)
{
    struct out o = {buf, 0, size};
    struct node n = {0};
    memset(&P, 0, sizeof P);
    P.m = m;
    PUT(&o, "[");
    if (mark_resolve(m, at, &n.o)) {
        n.offset = (uint32_t)(at - object_base(m, n.o));
        PUT(&o, "{\"at\":\"live\"}");
        put_block(&o, &n, false);
    } else {
        put_memory(&o, at);
    }
    PUT(&o, "]");
    return o.n;
}
