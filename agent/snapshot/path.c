/* SPDX-License-Identifier: Apache-2.0
 *
 * The path that keeps an object: root → … → object, as a JSON array.
 *
 * Searched backwards, breadth first, so that it is a shortest one: in each round all root words are looked at for pointers into
 * the frontier, then all reachable objects; who points there is the next frontier. A round costs one pass over the
 * heap without its random accesses, since a word is compared with the frontier's bounds first. Bounded in time, in rounds and
 * in nodes; only asked for the largest findings.
 *
 * Steps:  {"at":"global","module":PATH,"offset":ELF address}   {"at":"stack","thread":TID}   {"at":"register","thread":TID}
 *         {"at":"task","task":ID}   {"at":"memory","address":A}   {"at":"kernel"}
 *         {"at":"block","bytes":N,"offset":of the pointer in it,"site":first address of its allocation's stack, as module and offset} */
#include "agent/snapshot/child.h"

#include <string.h>

#include "agent/os/os.h"
#include "agent/util/log.h"

enum { ROUNDS = 24, MAX_NODES = 1 << 16, MAX_STEPS = 12 };

struct node {
    struct object_ref o;
    uint32_t next;   /* the node it points to, + 1 */
    uint32_t offset; /* of the pointer in it */
};

static struct {
    struct marker *m;
    const struct judgement *j;
    struct child_vec nodes;
    struct child_map index; /* object → node + 1 */
    uintptr_t lo, hi;       /* of the frontier */
    size_t first;           /* of the frontier's nodes */
    uint32_t found;         /* node + 1 that a root points to */
    struct origin from;
    uintptr_t at;
} P;

/* The frontier's node that p points into, + 1. */
static uint32_t frontier_at(uintptr_t p)
{
    struct object_ref o;
    if (p < P.lo || p >= P.hi || !mark_resolve(P.m, p, &o)) return 0;
    uint32_t n = child_map_get(&P.index, object_key(o));
    return n > P.first ? n : 0;
}

static void look_at_root(void *arg, const uintptr_t *lo, const uintptr_t *hi, const struct origin *from)
{
    (void)arg;
    for (const uintptr_t *w = lo; w < hi && !P.found; w++) {
        if (*w < P.lo || *w >= P.hi) continue;
        P.found = frontier_at(*w);
        P.from = *from;
        P.at = (uintptr_t)w - from->delta;
    }
}

static void add_node(struct object_ref o, uint32_t next, size_t offset)
{
    size_t before = P.nodes.n;
    struct node *n = child_group(&P.index, &P.nodes, object_key(o), sizeof *n);
    if (P.nodes.n > before) *n = (struct node){o, next, offset > UINT32_MAX ? UINT32_MAX : (uint32_t)offset};
}

static void look_into(struct object_ref o)
{
    const struct span_rec *s = &P.m->spans[o.span];
    const uintptr_t *base = (const uintptr_t *)object_base(P.m, o), *end = base + span_elem(s) / 8;
    for (const uintptr_t *w = base; w < end; w++) {
        if (*w < P.lo || *w >= P.hi) continue;
        uint32_t n = frontier_at(*w);
        if (!n) continue;
        add_node(o, n, (size_t)((const char *)w - (const char *)base));
        return;
    }
}

static bool pass_over_heap(uint64_t deadline_ns)
{
    for (uint32_t id = 0; id < P.m->nspans; id++) {
        const struct span_rec *s = &P.m->spans[id];
        if (s->noscan) continue;
        if (id % 256 == 0 && os_mono_ns() > deadline_ns) return false;
        for (uint32_t i = 0; i * 64 < s->nelems; i++) {
            const struct mark_word *w = &P.m->words[s->words + i];
            for (uint64_t bits = w->mark & ~w->free; bits; bits &= bits - 1) {
                look_into((struct object_ref){id, i * 64 + (uint32_t)__builtin_ctzll(bits)});
                if (P.nodes.n > MAX_NODES) return false;
            }
        }
    }
    return true;
}

static void set_frontier(size_t first)
{
    const struct node *n = (const struct node *)P.nodes.items;
    P.first = first;
    P.lo = UINTPTR_MAX;
    P.hi = 0;
    for (size_t i = first; i < P.nodes.n; i++) {
        uintptr_t base = object_base(P.m, n[i].o), end = base + span_elem(&P.m->spans[n[i].o.span]);
        if (base < P.lo) P.lo = base;
        if (end > P.hi) P.hi = end;
    }
}

static void look_at_roots(const struct snapshot_job *job)
{
    static struct root_stats ignored;
    P.m->visit = look_at_root;
    roots_mark(P.m, job, &ignored);
    if (!P.found) judge_visit_tasks(job);
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

static void put_root(struct out *o)
{
    switch (P.from.kind) {
    case FROM_STACK: PUT(o, "{\"at\":\"stack\",\"thread\":%lu}", (unsigned long)P.from.id); return;
    case FROM_REGISTER: PUT(o, "{\"at\":\"register\",\"thread\":%lu}", (unsigned long)P.from.id); return;
    case FROM_KERNEL: PUT(o, "{\"at\":\"kernel\"}"); return;
    case FROM_TASK: {
        const struct task_rec *t = &P.j->tasks[P.from.id];
        PUT(o, "{\"at\":\"task\",\"provider\":\"%s\",\"task\":%lu}", provider_get(t->provider)->name,
            (unsigned long)t->id);
        return;
    }
    case FROM_MEMORY:
    default: put_memory(o, P.at); return;
    }
}

static void put_block(struct out *o, const struct node *n, bool last)
{
    const uintptr_t *pcs;
    uint32_t generation, site = object_site(P.m, n->o);
    PUT(o, ",{\"at\":\"block\",\"bytes\":%lu", (unsigned long)span_elem(&P.m->spans[n->o.span]));
    if (!last) PUT(o, ",\"offset\":%u", n->offset);
    if (site && stack_get(site, &pcs, &generation) > 0) put_code(o, pcs[0], generation);
    PUT(o, "}");
}

bool path_find(struct marker *m, const struct snapshot_job *job, const struct judgement *j, struct object_ref target,
               uint64_t deadline_ns, char *buf, size_t size)
{
    memset(&P, 0, sizeof P);
    P.m = m;
    P.j = j;
    add_node(target, 0, 0);
    size_t first = 0;
    for (int round = 0; round < ROUNDS && os_mono_ns() < deadline_ns; round++) {
        set_frontier(first);
        look_at_roots(job);
        if (P.found) break;
        first = P.nodes.n;
        if (!pass_over_heap(deadline_ns) || P.nodes.n == first) break;
    }
    if (!P.found) return false;
    struct out o = {buf, 0, size};
    const struct node *nodes = (const struct node *)P.nodes.items;
    PUT(&o, "[");
    put_root(&o);
    unsigned steps = 0;
    for (uint32_t n = P.found; n && o.n + 300 < size; n = nodes[n - 1].next)
        if (steps++ < MAX_STEPS || !nodes[n - 1].next) put_block(&o, &nodes[n - 1], !nodes[n - 1].next);
    PUT(&o, "]");
    return true;
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
