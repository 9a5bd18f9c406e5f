/* SPDX-License-Identifier: Apache-2.0
 *
 * The verdict on memory, after everything that can be marked is marked.
 *
 *   unreachable   allocated, and no pointer to any part of it was found
 *   interior      allocated, and only pointers into its middle were found
 * Exact counts come from the mark bits of all objects; counts by stack from the sampled objects, whose samples say which
 * bucket (stack, slot size) they belong to. Estimates scale each bucket by 1/(1 - exp(-size/rate)), then sum.
 *
 * Of the unreachable objects, one that another unreachable one points to is indirect: it leaked because its owner did. Of a
 * ring of blocks that only blocks of the ring point to, the first in address order is the head. */
#include "agent/snapshot/child.h"

#include <math.h>
#include <string.h>

#include "agent/os/os.h"
#include "agent/util/log.h"

static struct {
    struct marker *m;
    struct judgement *j;
    struct child_map ages;
} H;

/* ---- exact */

static void count_exact(void)
{
    for (uint32_t id = 0; id < H.m->nspans; id++) {
        const struct span_rec *s = &H.m->spans[id];
        uint64_t live = 0, unreachable = 0, interior = 0;
        for (uint32_t i = 0; i * 64 < s->nelems; i++) {
            const struct mark_word *w = &H.m->words[s->words + i];
            live += (uint64_t)__builtin_popcountll(~w->free & span_slots(s, i));
            unreachable += (uint64_t)__builtin_popcountll(mark_unreached(H.m, s, i));
            interior += (uint64_t)__builtin_popcountll(w->inner & span_slots(s, i));
        }
        H.j->live_objects += live;
        H.j->live_bytes += live * span_elem(s);
        H.j->unreachable_objects += unreachable;
        H.j->unreachable_bytes += unreachable * span_elem(s);
        H.j->interior_objects += interior;
        H.j->interior_bytes += interior * span_elem(s);
    }
}

/* ---- direct and indirect: `extra` is set for the indirect */

static bool bit_of(uint64_t word, uint32_t index)
{
    return (word >> (index & 63)) & 1;
}

/* Pointers to blocks, whose mark words are being fetched. */
enum { AHEAD = 32 };
static struct {
    size_t word; /* + 1; 0: none */
    uint64_t bit;
    uintptr_t start; /* where p is the start of a slot: p */
} ahead[AHEAD];
static unsigned ahead_at;

/* By the marker's rules: a pointer to where no allocated block begins keeps the one that ends there. */
static void ends_before(uintptr_t p)
{
    struct object_ref o;
    if (!mark_ends_at(H.m, p, &o)) return;
    mark_word_of(H.m, o)->extra |= 1ull << (o.index & 63) & ~H.m->marks[mark_index(H.m, o)];
}

static void leave_ahead(unsigned at)
{
    if (!ahead[at].word) return;
    struct mark_word *w = &H.m->words[ahead[at].word - 1];
    w->extra |= ahead[at].bit & ~H.m->marks[ahead[at].word - 1];
    if (__builtin_expect((w->free & ahead[at].bit) != 0, 0) && ahead[at].start) ends_before(ahead[at].start);
}

static void join_ahead(size_t word, uint32_t index, uintptr_t start)
{
    __builtin_prefetch(&H.m->words[word], 1);
    __builtin_prefetch(&H.m->marks[word]);
    leave_ahead(ahead_at);
    ahead[ahead_at].word = word + 1;
    ahead[ahead_at].bit = 1ull << (index & 63);
    ahead[ahead_at].start = start;
    ahead_at = (ahead_at + 1) % AHEAD;
}

static void note_pointer(uintptr_t p)
{
    uintptr_t off = p - H.m->in.lo;
    uint64_t e = mark_page_entry(H.m, off);
    uint32_t kind = mark_entry_kind(e);
    if (kind <= SPAN_KIND_LARGE) {
        struct object_ref o;
        if (mark_resolve(H.m, p, &o))
            join_ahead(mark_index(H.m, o), o.index, 0);
        else
            ends_before(p);
        return;
    }
    const struct span_kind *k = &H.m->kinds[kind];
    uint32_t in, i = mark_slot_of(k, e, off, &in);
    if (i < k->nelems)
        join_ahead((uint32_t)e + (i >> 6), i, i * k->elem == in ? p : 0);
    else
        ends_before(p);
}

static void note_children(struct object_ref o)
{
    const struct span_rec *s = &H.m->spans[o.span];
    if (s->noscan) return;
    uintptr_t base = object_base(H.m, o), size = span_elem(s);
    const uintptr_t *w = (const uintptr_t *)base, *end = w + size / 8;
    for (; w < end; w++) {
        uintptr_t p = *w & H.m->in.keep;
        if (p - H.m->in.lo <= H.m->in.len && p - base >= size) note_pointer(p);
    }
}

/* Bits of the words that belong to slots, as they are now: unreachable ones. */
static uint64_t *save_unmarked(void)
{
    uint64_t *saved = scratch_alloc(H.m->nwords * sizeof *saved);
    for (uint32_t id = 0; id < H.m->nspans; id++) {
        const struct span_rec *s = &H.m->spans[id];
        for (uint32_t i = 0; i * 64 < s->nelems; i++) saved[s->words + i] = mark_unreached(H.m, s, i);
    }
    return saved;
}

static void unmark(const uint64_t *saved)
{
    for (size_t i = 0; i < H.m->nwords; i++) {
        H.m->marks[i] &= ~saved[i];
        H.m->words[i].inner &= ~saved[i];
    }
}

/* Marks all that o reaches; o is not marked yet. */
static void flood(struct object_ref o)
{
    mark_value(H.m, object_base(H.m, o));
}

static void each_unreachable(void (*fn)(struct object_ref))
{
    for (uint32_t id = 0; id < H.m->nspans; id++) {
        const struct span_rec *s = &H.m->spans[id];
        for (uint32_t i = 0; i * 64 < s->nelems; i++)
            for (uint64_t bits = mark_unreached(H.m, s, i); bits; bits &= bits - 1)
                fn((struct object_ref){id, i * 64 + (uint32_t)__builtin_ctzll(bits)});
    }
}

static void flood_head(struct object_ref o)
{
    if (!bit_of(mark_word_of(H.m, o)->extra, o.index)) flood(o);
}

/* Perhaps the head of a ring, unless one further on reaches it. */
static void flood_ring(struct object_ref o)
{
    if (mark_is_marked(H.m, o)) return; /* by now */
    flood(o);
    mark_drain(H.m);
    mark_word_of(H.m, o)->extra &= ~(1ull << (o.index & 63));
}

/* Backwards from the last head found: what reaches an earlier one is known by then, so the rest is reached by its own ring alone. */
static void take_back_heads(const uint64_t *ring)
{
    for (uint32_t id = H.m->nspans; id-- > 0;) {
        const struct span_rec *s = &H.m->spans[id];
        for (uint32_t i = (s->nelems + 63) / 64; i-- > 0;) {
            struct mark_word *w = &H.m->words[s->words + i];
            for (uint64_t bits = ring[s->words + i] & ~w->extra; bits;) {
                uint64_t bit = 1ull << (63 - __builtin_clzll(bits));
                bits &= ~bit;
                if (H.m->marks[s->words + i] & bit) {
                    w->extra |= bit;
                    continue;
                }
                flood((struct object_ref){id, i * 64 + (uint32_t)__builtin_ctzll(bit)});
                mark_drain(H.m);
            }
        }
    }
}

static bool any_set(const uint64_t *bits)
{
    for (size_t i = 0; i < H.m->nwords; i++)
        if (bits[i]) return true;
    return false;
}

static void count_direct(void)
{
    for (uint32_t id = 0; id < H.m->nspans; id++) {
        const struct span_rec *s = &H.m->spans[id];
        for (uint32_t i = 0; i * 64 < s->nelems; i++) {
            uint64_t bits = mark_unreached(H.m, s, i) & ~H.m->words[s->words + i].extra;
            H.j->direct_objects += (uint64_t)__builtin_popcountll(bits);
            H.j->direct_bytes += (uint64_t)__builtin_popcountll(bits) * span_elem(s);
        }
    }
}

/* The marker floods from the heads; what it has marked is unmarked again in the end. */
static void tell_heads(void)
{
    struct cover *cover = H.m->cover;
    if (H.j->unreachable_objects == 0) return;
    memset(ahead, 0, sizeof ahead);
    each_unreachable(note_children);
    for (unsigned i = 0; i < AHEAD; i++) leave_ahead(i);
    uint64_t *lost = save_unmarked();
    H.m->cover = NULL;
    each_unreachable(flood_head);
    mark_drain(H.m);
    uint64_t *ring = save_unmarked();
    if (any_set(ring)) {
        each_unreachable(flood_ring);
        unmark(ring);
        take_back_heads(ring);
    }
    unmark(lost);
    H.m->cover = cover;
    count_direct();
}

/* ---- samples */

static void add_age(uint32_t stack, uint32_t age_ms, uint64_t bytes)
{
    uint32_t b = age_ms ? 31u - (uint32_t)__builtin_clz(age_ms) : 0;
    struct age_rec *a = child_group(&H.ages, &H.j->ages, (uint64_t)stack << 32 | b, sizeof *a);
    a->stack = stack;
    a->bucket = b;
    a->objects++;
    a->bytes += bytes;
}

static void one_sample(const struct heap_sample *h, struct object_ref o, uint32_t now_ms)
{
    if (h->bucket == 0 || h->bucket > H.j->nbuckets) return;
    const struct mark_word *w = mark_word_of(H.m, o);
    if (bit_of(w->free, o.index)) return;
    uint32_t age = now_ms - h->time_ms;
    if (age > INT32_MAX) age = 0; /* after the reading of the clock */
    add_age(bucket_get(h->bucket)->stack, age, h->requested);
    struct bucket_verdict *v = &H.j->buckets[h->bucket];
    if (!mark_is_marked(H.m, o)) {
        v->unreachable++;
        v->unreachable_bytes += h->requested;
        v->direct += !bit_of(w->extra, o.index);
        if (age > v->oldest_ms) v->oldest_ms = age;
    } else if (bit_of(w->inner, o.index)) {
        v->interior++;
        v->interior_bytes += h->requested;
        v->interior_one = o;
        if (age > v->oldest_interior_ms) v->oldest_interior_ms = age;
    }
}

static void walk_samples(uint64_t mono_ns)
{
    uint32_t now_ms = (uint32_t)(mono_ns / 1000000);
    for (uint32_t id = 0; id < H.m->nspans; id++) {
        struct heap_sample_walk w = {.span = H.m->mspans[id]};
        for (const struct heap_sample *s; (s = heap_sample_next(&w)) != NULL;)
            one_sample(s, (struct object_ref){id, w.index}, now_ms);
    }
}

/* ---- findings */

struct site {
    uint32_t stack, oldest_ms;
    uint64_t objects, bytes, direct;
    double est_objects, est_bytes;
    struct object_ref example; /* of blocks that are reached */
};

static struct site *site_of(struct child_map *map, struct child_vec *sites, uint32_t stack)
{
    struct site *s = child_group(map, sites, stack, sizeof *s);
    s->stack = stack;
    return s;
}

static void add_to_site(struct site *s, uint64_t objects, uint64_t bytes, uint64_t size, uint32_t oldest_ms)
{
    double rate = (double)prof_rate(), scale = rate > 1 ? -1 / expm1(-(double)size / rate) : 1;
    s->objects += objects;
    s->bytes += bytes;
    s->est_objects += (double)objects * scale;
    s->est_bytes += (double)bytes * scale;
    if (oldest_ms > s->oldest_ms) s->oldest_ms = oldest_ms;
}

static void emit(const struct site *s, enum seep_rule rule, enum seep_confidence confidence)
{
    struct finding *f = child_vec_add(&H.j->findings, sizeof *f);
    *f = (struct finding){.rule = rule,
                          .confidence = confidence,
                          .stack = s->stack,
                          .objects = s->objects,
                          .bytes = s->bytes,
                          .est_objects = s->est_objects,
                          .est_bytes = s->est_bytes,
                          .sampled = prof_rate() != 1,
                          .oldest_ns = (uint64_t)s->oldest_ms * 1000000,
                          .path = rule == SEEP_RULE_INTERIOR_ONLY ? PATH_BLOCK : PATH_NONE,
                          .example = s->example};
    finding_add(f, "{");
    if (rule == SEEP_RULE_UNREACHABLE_MEMORY)
        finding_add(f, "\"direct\":%lu,\"indirect\":%lu", (unsigned long)s->direct,
                    (unsigned long)(s->objects - s->direct));
    finding_add_doubt(f, H.j);
    finding_add(f, "}");
}

static void find_unreachable(void)
{
    struct child_map by_stack = {0}, by_stack_interior = {0};
    struct child_vec sites = {0}, interior = {0};
    for (uint32_t b = 1; b <= H.j->nbuckets; b++) {
        const struct bucket_verdict *v = &H.j->buckets[b];
        const struct prof_bucket *p = bucket_get(b);
        if (v->unreachable) {
            struct site *s = site_of(&by_stack, &sites, p->stack);
            add_to_site(s, v->unreachable, v->unreachable_bytes, p->size, v->oldest_ms);
            s->direct += v->direct;
        }
        if (v->interior) {
            struct site *s = site_of(&by_stack_interior, &interior, p->stack);
            add_to_site(s, v->interior, v->interior_bytes, p->size, v->oldest_interior_ms);
            s->example = v->interior_one;
        }
    }
    enum seep_confidence proven = H.j->proofs ? SEEP_PROVEN : SEEP_LIKELY;
    for (size_t i = 0; i < sites.n; i++)
        emit((const struct site *)sites.items + i, SEEP_RULE_UNREACHABLE_MEMORY, proven);
    for (size_t i = 0; i < interior.n; i++)
        emit((const struct site *)interior.items + i, SEEP_RULE_INTERIOR_ONLY, SEEP_INFO);
    if (sites.n || H.j->unreachable_objects == 0) return;
    /* None of them was sampled: what is known is how much, not where. */
    struct finding *f = child_vec_add(&H.j->findings, sizeof *f);
    *f = (struct finding){.rule = SEEP_RULE_UNREACHABLE_MEMORY,
                          .confidence = proven,
                          .objects = H.j->unreachable_objects,
                          .bytes = H.j->unreachable_bytes,
                          .est_objects = (double)H.j->unreachable_objects,
                          .est_bytes = (double)H.j->unreachable_bytes};
    finding_add(f, "{\"direct\":%lu,\"indirect\":%lu,\"unsampled\":1", (unsigned long)H.j->direct_objects,
                (unsigned long)(H.j->unreachable_objects - H.j->direct_objects));
    finding_add_doubt(f, H.j);
    finding_add(f, "}");
}

void judge_heap(struct marker *m, const struct snapshot_job *job, struct judgement *j)
{
    H.m = m;
    H.j = j;
    j->nbuckets = bucket_count();
    j->buckets = scratch_alloc((j->nbuckets + 1) * sizeof *j->buckets);
    count_exact();
    tell_heads();
    walk_samples(job->mono_ns ? job->mono_ns : os_mono_ns());
    find_unreachable();
}
