/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole stacks recognised: for small rates, where the same stacks are captured again and again.
 *
 * A trace is an interned stack with the places on the stack, relative to the sp of its frame KEY_FRAMES, at which its
 * return addresses stood. The walk goes through the agent's own frames and KEY_FRAMES of the program's as always; then, instead
 * of a chain of rule lookups, the words at the places are compared with the stack's addresses, each load independent of
 * the others, and the id of the stack is the answer: no hash over the frames, no lookup.
 *
 * Why a match is the truth and not a guess: by induction over the frames. Frame i has the same pc as the trace's and the
 * same sp relative to the base. If its rule counts from sp, its return address stands at the place recorded, and the word there
 * was compared: frame i+1 is the same. If its rule needs rbp (or a CFA kept in a slot), that value was compared
 * too, relative to the base: the walk that made the trace noted each word a rule depended on. Rules depend on pc only, and
 * the trace is void once rules were flushed.
 *
 * Invariants
 *   1. seq of an entry is odd while it is written; a reader that saw it change, or odd, has a miss.
 *   2. A reader checks seq before it follows `pcs`, and again at the end. Places it may have read half-written in between
 *      are checked against the window.
 *   3. A trace belongs to one generation of modules: whenever that rises, rules are flushed.
 * Locks: none; a writer that finds the entry taken gives up. Allocates its table once, metadata. */
#include "agent/profile/internal.h"
#include "agent/profile/unwind_step.h"

#include <string.h>

enum { KEY_FRAMES = 4, TRACES_LOG2 = 13, WORDS = 110, NO_PLACE = 0xffff };

struct trace {
    uint32_t seq;
    uint32_t stack;
    const uintptr_t *pcs; /* the stack's */
    uint64_t salt;        /* rules' */
    uint16_t n, nvalue;   /* places of return addresses; pairs (place, value) of other words */
    uint16_t fp;          /* rbp at the base, relative to it in words; NO_PLACE: any */
    uint16_t pad;
    uint16_t word[WORDS]; /* n places, then nvalue pairs; in words from the base */
};
_Static_assert(sizeof(struct trace) == 256, "four cache lines");

static struct trace *traces; /* atomic; NULL until first used */

static struct trace *table(void)
{
    struct trace *t = __atomic_load_n(&traces, __ATOMIC_ACQUIRE);
    if (t) return t;
    struct trace *mine = prof_meta(sizeof *t << TRACES_LOG2, 64), *none = NULL;
    if (!mine) return NULL;
    return __atomic_compare_exchange_n(&traces, &none, mine, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ? mine : none;
}

static inline uint16_t place(uintptr_t addr, uintptr_t base)
{
    uintptr_t w = (addr - base) / sizeof(uintptr_t);
    return addr < base || (addr & 7) || w >= NO_PLACE ? NO_PLACE : (uint16_t)w;
}

/* Id of the stack that the trace says, if every word it depends on is the same here; else 0. */
static uint32_t match(const struct trace *t, const struct walk *k, const struct window *w)
{
    uint32_t seq = __atomic_load_n(&t->seq, __ATOMIC_ACQUIRE), id = t->stack;
    const uintptr_t *pcs = t->pcs;
    unsigned n = t->n, nvalue = t->nvalue;
    uint64_t salt = t->salt;
    uint16_t fp = t->fp;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((seq & 1) || __atomic_load_n(&t->seq, __ATOMIC_RELAXED) != seq) return 0;
    if (salt != k->salt || n + KEY_FRAMES > k->max) return 0;
    for (unsigned i = 0; i < n + KEY_FRAMES; i += 8) __builtin_prefetch(pcs + i);
    const uintptr_t base = k->sp;
    const size_t room = (w->hi - base) / sizeof(uintptr_t); /* words that may be read */
    const uintptr_t *stack = (const uintptr_t *)(base + w->delta);
    for (unsigned i = 0; i < KEY_FRAMES; i++)
        if (pcs[i] != k->pcs[i]) return 0;
    if (fp != NO_PLACE && fp != place(k->fp, base)) return 0;
    for (unsigned i = 0; i < n; i++)
        if (t->word[i] >= room || stack[t->word[i]] != pcs[KEY_FRAMES + i]) return 0;
    for (const uint16_t *v = t->word + n; nvalue-- > 0; v += 2)
        if (v[0] >= room || v[1] != place(stack[v[0]], base)) return 0;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&t->seq, __ATOMIC_RELAXED) == seq ? id : 0;
}

/* What the walk notes from the base on. */
struct recorder {
    uintptr_t base, pending; /* where the present rbp was read; 0: at the base it was in the register */
    bool ok, checked;        /* the present rbp is noted already */
    struct trace t;
    uint16_t value[WORDS]; /* pairs */
};

static void note_value(struct recorder *r, uintptr_t at, uintptr_t value)
{
    uint16_t p = place(at, r->base), v = place(value, r->base);
    r->ok &= p != NO_PLACE && v != NO_PLACE && 2 * r->t.nvalue + 2u <= WORDS;
    if (!r->ok) return;
    r->value[2 * r->t.nvalue] = p;
    r->value[2 * r->t.nvalue + 1] = v;
    r->t.nvalue++;
}

static void note_step(struct recorder *r, const struct step_reads *s, uintptr_t fp_before, uintptr_t cfa)
{
    r->ok &= !s->chain;
    if (s->used_fp && !r->checked) {
        if (r->pending) {
            note_value(r, r->pending, fp_before);
        } else {
            r->t.fp = place(fp_before, r->base);
            r->ok &= r->t.fp != NO_PLACE;
        }
        r->checked = true;
    }
    if (s->cfa_at) note_value(r, s->cfa_at, cfa);
    uint16_t p = place(s->ra_at, r->base);
    r->ok &= p != NO_PLACE && r->t.n < WORDS;
    if (r->ok) r->t.word[r->t.n++] = p;
    if (s->fp_at) {
        r->pending = s->fp_at;
        r->checked = false;
    }
}

static void remember(struct trace *t, struct recorder *r, const struct walk *k, uint32_t id)
{
    const uintptr_t *pcs;
    if (!r->ok || r->t.n + 2u * r->t.nvalue > WORDS || r->t.n + (unsigned)KEY_FRAMES != k->n) return;
    if (stack_get(id, &pcs, NULL) != k->n) return; /* the profile is full: the empty stack stands for all */
    uint32_t seq = __atomic_load_n(&t->seq, __ATOMIC_RELAXED);
    if ((seq & 1) || !__atomic_compare_exchange_n(&t->seq, &seq, seq + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    t->stack = id;
    t->pcs = pcs;
    t->salt = k->salt;
    t->n = r->t.n;
    t->nvalue = r->t.nvalue;
    t->fp = r->t.fp;
    memcpy(t->word, r->t.word, r->t.n * sizeof t->word[0]);
    memcpy(t->word + r->t.n, r->value, 2u * r->t.nvalue * sizeof t->word[0]);
    __atomic_store_n(&t->seq, seq + 2, __ATOMIC_RELEASE);
}

static inline struct trace *entry_of(struct trace *all, const struct walk *k, const struct window *w)
{
    /* The distance from the stack's end rather than sp itself: threads with equal stacks share entries. */
    uint64_t h = w->hi - k->sp;
    for (unsigned i = 0; i < KEY_FRAMES; i++) h = (h ^ k->pcs[i]) * 0x9fb21c651e98df25ull;
    return &all[h >> (64 - TRACES_LOG2)];
}

static __attribute__((noinline)) uint32_t walk_on(struct trace *t, struct walk *k, struct window *w)
{
    struct recorder r = {.base = k->sp, .ok = t != NULL, .t = {.fp = NO_PLACE}};
    for (;;) {
        struct step_reads s = {0};
        uintptr_t fp = k->fp;
        enum step_result res = walk_step(k, w, &s);
        if (res == STEP_FULL) return TRACE_NONE;
        if (res != STEP_OK) {
            r.ok &= res == STEP_END; /* where it stopped for lack of knowledge, what was missing is not noted */
            break;
        }
        note_step(&r, &s, fp, k->sp);
        walk_emit(k, k->pc);
        if (k->n == k->max) break;
    }
    uint32_t id = stack_intern(k->pcs, k->n);
    if (t && id) remember(t, &r, k, id);
    return id;
}

uint32_t trace_intern(const struct frame_regs *regs, struct window *w, uintptr_t *pcs, unsigned max, unsigned skip)
{
    struct walk k;
    if (max <= KEY_FRAMES || w->probe) return TRACE_NONE;
    walk_begin(&k, regs, pcs, max, skip, true);
    for (;;) {
        walk_emit(&k, k.pc);
        if (k.n == KEY_FRAMES) break;
        enum step_result r = walk_step(&k, w, NULL);
        if (r == STEP_FULL) return TRACE_NONE;
        if (r != STEP_OK) return stack_intern(pcs, k.n);
    }
    struct trace *all = table(), *t = all ? entry_of(all, &k, w) : NULL;
    uint32_t id = t ? match(t, &k, w) : 0;
    return id ? id : walk_on(t, &k, w);
}
