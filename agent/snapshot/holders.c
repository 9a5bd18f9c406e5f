/* SPDX-License-Identifier: Apache-2.0
 *
 * What holds memory that is no leak by itself: paths (path.c) for the stacks with the most bytes in use and those that grew most
 * since the last search, to one of their oldest or
 * newest sampled blocks (one of which is near the head of a list, whichever way it grows), and for the places where most tasks wait
 * and are live, to what the one that waits longest waits for. Several snapshots may find that such a site grows; then the
 * answer to "what keeps it" must have been recorded. And for findings of this snapshot about memory that is reached: tickers
 * that nobody drains, blocks that only pointers into their middle reach, blocks of rings of finalizers.
 *
 * A search may take as long as marking did, and not often: snapshots by interval search again when the last
 * search's time was less than 1/PART of what has passed since. A snapshot that is asked what holds certain stacks or a block
 * (contract.h, "path") looks for those alone, longer, and forwards (path_forward.c). */
#include "agent/snapshot/child.h"

#include <math.h>
#include <string.h>

#include "agent/os/os.h"
#include "agent/profile/profile.h"

enum { BLOCKS = 8, GROWN = 8, WAITS = 8, FINDINGS = 8, ALL = BLOCKS + GROWN + WAITS + FINDINGS };
enum { LEAST_BYTES = 64 << 10, LEAST_PART = 100, PART = 50, EACH = 8, REMEMBERED = 4096, IN_EVIDENCE = 1200 };
_Static_assert((unsigned)ALL <= PATH_TARGETS && (unsigned)SEEP_WANTED * 2 <= ALL, "one search for all");
static const uint64_t LEAST_NS = 100000000, MOST_NS = 1000000000, ASKED_NS = 10000000000;
static const uint64_t NOTE_KEY = 0x70617468; /* of the time before which none by interval searches */

struct sample {
    struct object_ref o;
    uint32_t born_ms;
};
struct few {
    struct sample at[EACH];
    unsigned n;
};
struct holder {
    uint32_t stack;
    bool wait;
    bool asked;                /* for the block at `object` */
    struct finding *finding;   /* of this one: its example */
    double bytes;              /* in use, estimated */
    double grown;              /* since the last search */
    unsigned lost;             /* sampled blocks that are not reached */
    uint64_t tasks;            /* that wait */
    uint64_t since_ns;         /* the one that waits longest */
    uintptr_t object;          /* what it waits for */
    struct few oldest, newest; /* sampled blocks; or what is waited for */
};

static int more_bytes(const void *a, const void *b)
{
    const struct holder *x = a, *y = b;
    return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : x->stack < y->stack ? -1 : x->stack > y->stack;
}

static int more_tasks(const void *a, const void *b)
{
    const struct holder *x = a, *y = b;
    return x->tasks < y->tasks ? 1 : x->tasks > y->tasks ? -1 : x->stack < y->stack ? -1 : x->stack > y->stack;
}

static int more_grown(const void *a, const void *b)
{
    const struct holder *x = a, *y = b;
    return x->grown < y->grown ? 1 : x->grown > y->grown ? -1 : more_bytes(a, b);
}

/* Stacks with bytes in use, by bytes. Returns their sum. */
static double stacks_in_use(const struct judgement *j, struct child_vec *all)
{
    struct child_map index = {0};
    double rate = (double)prof_rate(), sum = 0;
    for (uint32_t b = 1; b <= j->nbuckets; b++) {
        const struct prof_bucket *p = bucket_get(b);
        if (!p || p->alloc_bytes <= p->free_bytes) continue;
        double bytes = (double)(p->alloc_bytes - p->free_bytes);
        if (rate > 1) bytes /= -expm1(-(double)p->size / rate);
        struct holder *h = child_group(&index, all, p->stack, sizeof *h);
        h->stack = p->stack;
        h->bytes += bytes;
        sum += bytes;
    }
    child_sort(all->items, all->n, sizeof(struct holder), more_bytes);
    return sum;
}

/* What each has more than at the last search; of the first search nothing is known. */
static void note_growth(struct child_vec *all, bool first)
{
    for (size_t i = 0; i < all->n && i < REMEMBERED; i++) {
        struct holder *h = (struct holder *)all->items + i;
        uint64_t *before = judge_note((uint64_t)h->stack << 32 ^ NOTE_KEY);
        if (!before) return;
        if (!first) h->grown = h->bytes - (double)*before;
        *before = (uint64_t)h->bytes;
    }
}

/* The BLOCKS with the most bytes, then the GROWN of the rest that grew most. */
static unsigned by_bytes(const struct judgement *j, struct holder *out, bool first)
{
    struct child_vec all = {0};
    double sum = stacks_in_use(j, &all);
    struct holder *h = (struct holder *)all.items;
    unsigned n = 0;
    note_growth(&all, first);
    while (n < all.n && n < BLOCKS && h[n].bytes >= LEAST_BYTES && h[n].bytes * LEAST_PART >= sum) n++;
    for (unsigned i = 0; i < n; i++) out[i] = h[i];
    child_sort(h + n, all.n - n, sizeof *h, more_grown);
    for (size_t i = n; i < all.n && n < BLOCKS + GROWN && h[i].grown >= LEAST_BYTES; i++) out[n++] = h[i];
    return n;
}

/* The EACH oldest, or newest, in order. */
static void keep(struct few *l, struct sample s, bool oldest)
{
    unsigned at = l->n;
    while (at > 0 && (oldest ? (int32_t)(s.born_ms - l->at[at - 1].born_ms) < 0
                             : (int32_t)(s.born_ms - l->at[at - 1].born_ms) > 0))
        at--;
    if (at == EACH) return;
    if (l->n < EACH) l->n++;
    for (unsigned i = l->n - 1; i > at; i--) l->at[i] = l->at[i - 1];
    l->at[at] = s;
}

static void add_object(struct holder *h, struct object_ref o, uint32_t born_ms)
{
    keep(&h->oldest, (struct sample){o, born_ms}, true);
    keep(&h->newest, (struct sample){o, born_ms}, false);
}

static unsigned objects_of(const struct holder *h, struct object_ref *out)
{
    unsigned n = 0;
    for (unsigned i = 0; i < h->newest.n; i++) out[n++] = h->newest.at[i].o;
    for (unsigned i = 0; i < h->oldest.n; i++) out[n++] = h->oldest.at[i].o;
    return n;
}

/* Their sampled blocks that are reached. */
static void choose_blocks(const struct marker *m, const struct judgement *j, struct holder *h, unsigned n)
{
    uint8_t *of = scratch_alloc(j->nbuckets + 1); /* bucket → holder + 1 */
    for (uint32_t b = 1; b <= j->nbuckets; b++)
        for (unsigned k = 0; k < n; k++)
            if (!h[k].wait && bucket_get(b) && h[k].stack == bucket_get(b)->stack) of[b] = (uint8_t)(k + 1);
    for (uint32_t id = 0; n && id < m->nspans; id++) {
        struct heap_sample_walk w = {.span = m->mspans[id]};
        for (const struct heap_sample *s; (s = heap_sample_next(&w)) != NULL;) {
            struct object_ref o = {id, w.index};
            if (s->bucket > j->nbuckets || !of[s->bucket]) continue;
            if (mark_is_free(m, o)) continue;
            if (mark_is_marked(m, o))
                add_object(&h[of[s->bucket] - 1], o, s->time_ms);
            else
                h[of[s->bucket] - 1].lost++;
        }
    }
}

/* The places where tasks wait for something that is reached, most tasks first. */
static void waits_in_use(const struct judgement *j, struct child_vec *all)
{
    struct child_map index = {0};
    for (size_t i = 0; i < j->ntasks; i++) {
        const struct task_rec *t = &j->tasks[i];
        if (!t->blocked || !t->live || !t->stack || !t->nwaits) continue;
        struct holder *h = child_group(&index, all, t->stack, sizeof *h);
        h->stack = t->stack;
        h->wait = true;
        h->tasks++;
        for (uint32_t k = 0; k < t->nwaits; k++) {
            const struct wait_rec *w = &j->waits[t->waits + k];
            if (!w->reached || !w->object || (h->object && h->since_ns <= t->blocked_since_ns)) continue;
            h->object = w->object;
            h->since_ns = t->blocked_since_ns;
        }
    }
    child_sort(all->items, all->n, sizeof(struct holder), more_tasks);
}

static unsigned by_tasks(const struct judgement *j, struct holder *out)
{
    struct child_vec all = {0};
    waits_in_use(j, &all);
    const struct holder *h = (const struct holder *)all.items;
    unsigned n = 0;
    for (size_t i = 0; i < all.n && n < WAITS; i++)
        if (h[i].object) out[n++] = h[i];
    return n;
}

static unsigned by_findings(const struct judgement *j, struct holder *out)
{
    unsigned n = 0;
    for (size_t i = 0; i < j->findings.n && n < FINDINGS; i++) {
        struct finding *f = (struct finding *)j->findings.items + i;
        if (f->path == PATH_NONE) continue;
        out[n] = (struct holder){.stack = f->stack, .finding = f};
        add_object(&out[n++], f->example, 0);
    }
    return n;
}

static bool is_wanted(const struct snapshot_request *req, uint32_t stack)
{
    uint64_t key = stack_key(stack);
    for (unsigned i = 0; i < req->nwanted; i++)
        if (req->wanted[i] == key) return true;
    return false;
}

static unsigned add_wanted(const struct snapshot_request *req, const struct child_vec *of, struct holder *out)
{
    const struct holder *h = (const struct holder *)of->items;
    unsigned n = 0;
    for (size_t i = 0; i < of->n && n < SEEP_WANTED; i++)
        if ((!h[i].wait || h[i].object) && is_wanted(req, h[i].stack)) out[n++] = h[i];
    return n;
}

/* What the request asks for. */
static unsigned by_request(const struct judgement *j, const struct snapshot_request *req, struct holder *out)
{
    struct child_vec stacks = {0}, waits = {0};
    if (req->wanted_address) {
        out[0] = (struct holder){.asked = true, .object = req->wanted[0]};
        return 1;
    }
    stacks_in_use(j, &stacks);
    waits_in_use(j, &waits);
    unsigned n = add_wanted(req, &stacks, out);
    return n + add_wanted(req, &waits, out + n);
}

/* Into its evidence, an object, where there is room. */
static void tell_finding(struct finding *f, const char *steps)
{
    size_t n = strlen(f->evidence);
    if (n + strlen(steps) + sizeof ",\"path\":" >= sizeof f->evidence) return;
    f->evidence[n - 1] = 0;
    finding_add(f, "%s\"path\":%s}", n > 2 ? "," : "", steps);
}

static void record(struct judgement *j, const struct holder *h, const char *steps)
{
    if (h->finding) {
        tell_finding(h->finding, steps);
        return;
    }
    *(struct path_rec *)child_vec_add(&j->paths, sizeof(struct path_rec)) =
        (struct path_rec){.kind = h->asked  ? "object"
                                  : h->wait ? "wait"
                                            : "block",
                          .stack = h->stack,
                          .steps = steps};
}

/* The block that is asked for, if one is allocated there: it is looked for, or nothing reaches it. */
static void find_asked(struct marker *m, struct holder *h)
{
    struct object_ref o;
    if (!mark_resolve(m, h->object, &o) || mark_is_free(m, o)) return;
    h->stack = object_site(m, o);
    if (mark_is_marked(m, o))
        add_object(h, o, 0);
    else
        h->lost++;
}

static void search(struct marker *m, const struct snapshot_job *job, struct judgement *j, struct holder *h, unsigned n,
                   uint64_t deadline_ns)
{
    bool request = job->request.nwanted > 0;
    static char text[ALL][2400]; /* of the child, which lives for one snapshot */
    struct path_target t[ALL];
    struct object_ref object[ALL][2 * EACH];
    const struct holder *of[ALL];
    unsigned nt = 0;
    for (unsigned i = 0; i < n; i++) {
        struct object_ref o;
        if (h[i].asked) {
            find_asked(m, &h[i]);
        } else if (h[i].wait && mark_resolve(m, h[i].object, &o)) {
            add_object(&h[i], o, 0);
        } else if (h[i].wait) { /* static: where it stands is all */
            path_of_word(m, h[i].object, text[i], sizeof text[i]);
            record(j, &h[i], text[i]);
        }
        unsigned n_of = objects_of(&h[i], object[nt]);
        if (n_of == 0 && request && h[i].lost) record(j, &h[i], "[{\"at\":\"unreached\"}]");
        if (n_of == 0) continue;
        t[nt] = (struct path_target){.kind = h[i].finding ? h[i].finding->path
                                             : h[i].wait  ? PATH_WAIT
                                                          : PATH_BLOCK,
                                     .ring = h[i].finding ? h[i].finding->ring : (struct object_ref){0},
                                     .of = object[nt],
                                     .n = n_of,
                                     .buf = text[i],
                                     .size = h[i].finding ? IN_EVIDENCE : sizeof text[i]};
        of[nt++] = &h[i];
    }
    bool all = false;
    if (nt && request)
        all = path_find_forward(m, job, j, t, nt, deadline_ns);
    else if (nt)
        path_find(m, job, j, t, nt, deadline_ns);
    for (unsigned i = 0; i < nt; i++)
        if (t[i].found || request)
            record(j, of[i], t[i].found ? t[i].buf : all ? "[{\"at\":\"hidden\"}]" : "[{\"at\":\"late\"}]");
}

void holders_find(struct marker *m, const struct snapshot_job *job, struct judgement *j, uint64_t mark_ns)
{
    struct holder h[ALL];
    uint64_t begin = os_mono_ns(), *next = judge_note(NOTE_KEY);
    if (job->request.nwanted > 0) {
        unsigned asked = by_request(j, &job->request, h);
        if (!job->request.wanted_address) choose_blocks(m, j, h, asked);
        if (asked) search(m, job, j, h, asked, begin + ASKED_NS);
        return;
    }
    if (job->request.trigger == TRIGGER_INTERVAL && (!next || begin < *next)) return;
    uint64_t most = mark_ns < LEAST_NS ? LEAST_NS : mark_ns > MOST_NS ? MOST_NS : mark_ns;
    unsigned n = by_bytes(j, h, !next || *next == 0);
    choose_blocks(m, j, h, n);
    n += by_tasks(j, h + n);
    n += by_findings(j, h + n);
    if (n) search(m, job, j, h, n, begin + most);
    uint64_t end = os_mono_ns();
    if (next) *next = end + PART * (end - begin);
}
