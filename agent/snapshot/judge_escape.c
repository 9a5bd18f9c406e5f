/* SPDX-License-Identifier: Apache-2.0
 *
 * stack-escape: a word in static memory or in a live block of the heap that points into a dead part of a stack, below the frames that are
 * there. What stood there has returned; who uses the pointer reads or writes what does not belong to it any more.
 *
 * Most such words are stale and nobody uses them: libraries leave them in structs that they fill again before the next use. Hence likely
 * at most, only where the same word held the same pointer, dead then too, two snapshots ago and before, only the stacks of coroutines and of
 * threads other than main's, and only words of blocks and globals that hold a few of them: a block full of them is a copy of a stack.
 *
 * A pass over the data of modules and over the heap, bounded in time: BUDGET_NS, from another span on in each snapshot, so that a large heap is
 * seen in parts. After the fixpoint: marked is live. Linear in what is read; allocates scratch memory. */
#include "agent/snapshot/child.h"

#include "agent/os/os.h"
#include "agent/util/log.h"

enum { RED_ZONE = 128, CROWD = 16, MAX_WORDS = 4096, MAX_FINDINGS = 8, LEAST_AGE = 2, SPANS_A_STEP = 64 };
static const uint64_t BUDGET_NS = 10000000;

struct dead {
    uintptr_t lo, hi;
    uint32_t task;
};
struct place { /* words of one site */
    uint32_t site;
    uint64_t words, bytes;
    uintptr_t at, to;
    uint32_t task;
};

static struct {
    const struct judgement *j;
    struct marker *m;
    const struct snapshot_job *job;
    struct child_vec dead, places;
    struct child_map index; /* site, or address of a global word → place + 1 */
    uintptr_t lo, hi;
    unsigned words;
    uint64_t until_ns;
} E;

static int by_lo(const void *a, const void *b)
{
    const struct dead *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

/* A thread's stack is its own only as long as no coroutine is on it; main's holds too much that is stale. */
static bool counts(const struct task_rec *t)
{
    bool known = t->sp >= t->stack_lo + RED_ZONE && t->sp < t->stack_hi;
    if (!known || (t->image && !t->copied)) return false;
    if (t->is_thread) return t->create_stack != 0;
    return t->state == SEEP_TASK_WAITING || t->state == SEEP_TASK_RUNNABLE;
}

static void find_dead(void)
{
    for (size_t i = 0; i < E.j->ntasks; i++) {
        const struct task_rec *t = &E.j->tasks[i];
        if (!counts(t)) continue;
        *(struct dead *)child_vec_add(&E.dead, sizeof(struct dead)) =
            (struct dead){t->stack_lo, t->sp - RED_ZONE, (uint32_t)i};
    }
    struct dead *d = (struct dead *)E.dead.items;
    child_sort(d, E.dead.n, sizeof *d, by_lo);
    E.lo = E.dead.n ? d[0].lo : 0;
    E.hi = E.dead.n ? d[E.dead.n - 1].hi : 0;
}

static const struct dead *dead_at(uintptr_t p)
{
    const struct dead *d = (const struct dead *)E.dead.items;
    size_t lo = 0, hi = E.dead.n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (d[mid].lo <= p)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo && p < d[lo - 1].hi ? &d[lo - 1] : NULL;
}

static void note(const uintptr_t *w, uint32_t site, const struct dead *d)
{
    if (E.words++ >= MAX_WORDS) return;
    uint64_t *seen = judge_note((uintptr_t)w * 0x9e3779b97f4a7c15ull ^ *w);
    if (!seen) return;
    if (*seen == 0) *seen = E.job->seq;
    if (*seen + LEAST_AGE > E.job->seq) return;
    struct place *p = child_group(&E.index, &E.places, site ? site : (uintptr_t)w, sizeof *p);
    if (p->words == 0) *p = (struct place){.site = site, .at = (uintptr_t)w, .to = *w, .task = d->task};
    p->words++;
    p->bytes += sizeof *w;
}

static void look_at(const uintptr_t *lo, const uintptr_t *hi, const struct object_ref *o)
{
    const uintptr_t *found[CROWD];
    unsigned n = 0;
    for (const uintptr_t *w = lo; w < hi; w++) {
        if (__builtin_expect(*w - E.lo >= E.hi - E.lo, 1) || !dead_at(*w)) continue;
        if (n == CROWD) return;
        found[n++] = w;
    }
    uint32_t site = n && o ? object_site(E.m, *o) : 0;
    for (unsigned i = 0; i < n; i++) note(found[i], site, dead_at(*found[i]));
}

static int look_at_data(void *arg, uintptr_t lo, uintptr_t hi, const char *path)
{
    enum { AT_ONCE = 4096 };
    (void)arg;
    (void)path;
    if ((uintptr_t)&E >= lo && (uintptr_t)&E < hi) return 0; /* the agent's own */
    lo = (lo + 7) & ~(uintptr_t)7;
    for (; lo + sizeof(uintptr_t) <= hi; lo += AT_ONCE)
        look_at((const uintptr_t *)lo, (const uintptr_t *)(hi - lo < AT_ONCE ? hi & ~(uintptr_t)7 : lo + AT_ONCE),
                NULL);
    return os_mono_ns() > E.until_ns;
}

static void look_at_span(uint32_t id)
{
    const struct span_rec *s = &E.m->spans[id];
    for (uint32_t i = 0; !s->noscan && i * 64 < s->nelems; i++) {
        for (uint64_t bits = E.m->marks[s->words + i] & ~E.m->words[s->words + i].free; bits; bits &= bits - 1) {
            struct object_ref o = {id, i * 64 + (uint32_t)__builtin_ctzll(bits)};
            const uintptr_t *base = (const uintptr_t *)object_base(E.m, o);
            look_at(base, base + span_elem(s) / sizeof *base, &o);
        }
    }
}

static void tell(struct judgement *j, const struct place *p)
{
    const struct task_rec *t = &j->tasks[p->task];
    struct finding *f = child_vec_add(&j->findings, sizeof *f);
    *f = (struct finding){.rule = SEEP_RULE_STACK_ESCAPE,
                          .confidence = SEEP_LIKELY,
                          .stack = p->site,
                          .create_stack = t->create_stack,
                          .objects = p->words,
                          .bytes = p->bytes,
                          .est_objects = (double)p->words,
                          .est_bytes = (double)p->bytes};
    size_t n = finding_add(f, "{\"words\":%lu,\"task\":%lu,\"threads\":%u,\"below_frames_bytes\":%lu,\"path\":",
                           (unsigned long)p->words, (unsigned long)t->id, t->is_thread, (unsigned long)(t->sp - p->to));
    path_of_word(E.m, p->at, f->evidence + n, sizeof f->evidence - n);
    finding_add(f, "}");
}

void escape_judge(struct marker *m, const struct snapshot_job *job, struct judgement *j)
{
    E.j = j;
    E.m = m;
    E.job = job;
    E.dead = E.places = (struct child_vec){0};
    E.index = (struct child_map){0};
    E.words = 0;
    E.until_ns = os_mono_ns() + BUDGET_NS;
    find_dead();
    if (E.dead.n == 0) return;
    modules_data(look_at_data, NULL);
    uint32_t first = m->nspans ? (job->seq * 7919u) % m->nspans : 0; /* elsewhere each time, but not only once */
    if (m->nspans < 4096) first = 0;
    for (uint32_t i = 0; i < m->nspans; i++) {
        if (i % SPANS_A_STEP == 0 && os_mono_ns() > E.until_ns) break;
        look_at_span((first + i) % m->nspans);
    }
    const struct place *p = (const struct place *)E.places.items;
    for (size_t i = 0; i < E.places.n && i < MAX_FINDINGS; i++) tell(j, &p[i]);
}
