/* SPDX-License-Identifier: Apache-2.0
 *
 * The path that keeps an object, searched from the roots on: breadth first, with each object's predecessor in a table. It finds any
 * object that is reached, at any depth, in one pass over all that is; but it needs 4 bytes a slot, 8 for each object of the two
 * frontiers, and the random accesses of a marker without its tricks. So it is for what a user asks for; holders.c' own searches are
 * path.c's.
 *
 * In phases, so that a path begins at the first of these that leads there: memory and the kernel; registers and stacks; those of tasks that
 * wait. */
#include "agent/snapshot/child.h"

#include "agent/os/os.h"

enum { PHASES = 3, ROOT = UINT32_MAX, AHEAD = 12, LOOK = 1024 };

static struct {
    struct marker *m;
    const struct judgement *j;
    uint32_t *from;             /* by slot: that of the predecessor, ROOT, or 0: not seen. Slots count from 1 */
    struct child_vec now, next; /* of struct object_ref: the frontiers */
    int phase;                  /* of the roots that are visited */
    struct object_ref first;    /* whose root is looked for */
    struct path_root root;
    bool found;
} F;

/* Mark words of spans are in the order of spans. */
static uint32_t slot_of(struct object_ref o)
{
    return F.m->spans[o.span].words * 64 + o.index + 1;
}

static struct object_ref object_of(uint32_t slot)
{
    uint32_t lo = 0, hi = F.m->nspans - 1, at = slot - 1;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo + 1) / 2;
        if (F.m->spans[mid].words <= at / 64)
            lo = mid;
        else
            hi = mid - 1;
    }
    return (struct object_ref){lo, at - F.m->spans[lo].words * 64};
}

/* The block that a word points into, or one past where no other begins, as the marker has it. */
static bool pointed_at(uintptr_t word, struct object_ref *o)
{
    uintptr_t p = word & F.m->in.keep;
    if (p - F.m->in.lo > F.m->in.len) return false;
    if (mark_resolve(F.m, p, o) && !mark_is_free(F.m, *o)) return true;
    return mark_ends_at(F.m, p, o) && !mark_is_free(F.m, *o);
}

static void look_at(uintptr_t word, uint32_t from)
{
    struct object_ref o;
    if (!pointed_at(word, &o)) return;
    uint32_t slot = slot_of(o);
    if (F.from[slot]) return;
    F.from[slot] = from;
    if (!F.m->spans[o.span].noscan) *(struct object_ref *)child_vec_add(&F.next, sizeof o) = o;
}

static int phase_of(const struct origin *from)
{
    if (from->kind == FROM_TASK && F.j->tasks[from->id].blocked) return 2;
    return from->kind == FROM_MEMORY || from->kind == FROM_KERNEL ? 0 : 1;
}

static void begin_at(void *arg, const uintptr_t *lo, const uintptr_t *hi, const struct origin *from)
{
    (void)arg;
    if (phase_of(from) != F.phase) return;
    for (const uintptr_t *w = lo; w < hi; w++) look_at(*w, ROOT);
}

static void find_root(void *arg, const uintptr_t *lo, const uintptr_t *hi, const struct origin *from)
{
    (void)arg;
    if (F.found || phase_of(from) != F.phase) return;
    struct object_ref o;
    for (const uintptr_t *w = lo; w < hi && !F.found; w++) {
        F.found = pointed_at(*w, &o) && object_key(o) == object_key(F.first);
        if (F.found) F.root = (struct path_root){*from, (uintptr_t)w - from->delta};
    }
}

static void visit_roots(const struct snapshot_job *job, int phase,
                        void (*visit)(void *, const uintptr_t *, const uintptr_t *, const struct origin *))
{
    static struct root_stats ignored;
    F.phase = phase;
    F.m->visit = visit;
    roots_mark(F.m, job, &ignored);
    judge_visit_tasks(job);
    F.m->visit = NULL;
}

static void scan(struct object_ref o)
{
    const uintptr_t *w = (const uintptr_t *)object_base(F.m, o), *end = w + span_elem(&F.m->spans[o.span]) / 8;
    uint32_t slot = slot_of(o);
    for (; w < end; w++) look_at(*w, slot);
}

/* All that the roots so far lead to. False: late. */
static bool follow(uint64_t deadline_ns)
{
    while (F.next.n > 0) {
        struct child_vec done = F.now;
        F.now = F.next;
        F.next = done;
        F.next.n = 0;
        const struct object_ref *o = (const struct object_ref *)F.now.items;
        for (size_t i = 0; i < F.now.n; i++) {
            if (i % LOOK == 0 && os_mono_ns() > deadline_ns) return false;
            if (i + AHEAD < F.now.n) __builtin_prefetch((const void *)object_base(F.m, o[i + AHEAD]));
            scan(o[i]);
        }
    }
    return true;
}

/* Each one that is seen and has no path yet. Returns how many have none. */
static unsigned tell(const struct snapshot_job *job, struct path_target *t, unsigned n, int phase)
{
    unsigned left = 0;
    for (unsigned i = 0; i < n; i++) {
        if (t[i].found || (phase == 2 && t[i].kind == PATH_WAIT)) continue;
        uint32_t slot = 0;
        for (unsigned k = 0; k < t[i].n && !slot; k++)
            if (F.from[slot_of(t[i].of[k])]) slot = slot_of(t[i].of[k]);
        left += slot == 0;
        if (slot == 0) continue;
        struct child_vec back = {0}, steps = {0};
        for (uint32_t at = slot; at != ROOT; at = F.from[at]) *(uint32_t *)child_vec_add(&back, sizeof at) = at;
        for (size_t k = back.n; k-- > 0;) {
            struct object_ref o = object_of(((uint32_t *)back.items)[k]), next, to;
            struct path_step *s = child_vec_add(&steps, sizeof *s);
            *s = (struct path_step){.o = o};
            if (k == 0) continue;
            next = object_of(((uint32_t *)back.items)[k - 1]);
            const uintptr_t *w = (const uintptr_t *)object_base(F.m, o);
            while (!pointed_at(w[s->offset / 8], &to) || object_key(to) != object_key(next)) s->offset += 8;
        }
        const struct path_step *first = (const struct path_step *)steps.items;
        F.first = first->o;
        F.found = false;
        visit_roots(job, phase, find_root);
        if (!F.found) continue;
        t[i].found = true;
        path_write(F.m, job, F.j, &t[i], &F.root, first, steps.n);
    }
    return left;
}

bool path_find_forward(struct marker *m, const struct snapshot_job *job, const struct judgement *j,
                       struct path_target *targets, unsigned n, uint64_t deadline_ns)
{
    if (m->nwords >= UINT32_MAX / 64 - 1) { /* a quarter of a TiB */
        path_find(m, job, j, targets, n, deadline_ns);
        return false;
    }
    F.m = m;
    F.j = j;
    F.from = scratch_alloc((m->nwords * 64 + 1) * sizeof *F.from);
    for (int phase = 0; phase < PHASES; phase++) {
        visit_roots(job, phase, begin_at);
        bool all = follow(deadline_ns);
        if (tell(job, targets, n, phase) == 0) return true;
        if (!all) return false;
    }
    return true;
}
