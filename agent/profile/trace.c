/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole stacks recognised, since the same stacks are captured again and again.
 *
 * A trace is an interned stack with the places on the stack, relative to the sp of the program's first frame, at which its
 * return addresses stood. Instead of a chain of rule lookups the words at the places are compared with the stack's
 * addresses, each load independent of the others, and the id of the stack is the answer: no hash over the frames, no lookup. The
 * agent's own frames before them are recognised in the same way: there are few ways from malloc to the one place that
 * reads the registers.
 *
 * Which trace to compare with: the one that matched last where pc and depth were the same (`recent`); if that is not it, the walk
 * goes through KEY_FRAMES of the frames, whose addresses say where it would be.
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
 *   4. A way through the agent's own frames is complete before it is counted, and never changes: libseep stays.
 * Locks: none; a writer that finds the entry taken gives up. Allocates its table once, metadata. */
#include "agent/profile/internal.h"
#include "agent/profile/unwind_step.h"

#include <string.h>

enum { KEY_FRAMES = 4, MANY_LOG2 = 13, FEW_LOG2 = 9, WORDS = 110, NO_PLACE = 0xffff, OWN_FRAMES = 10, OWN_WAYS = 24 };

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
static unsigned traces_log2 = FEW_LOG2;

void traces_init(bool often)
{
    if (!__atomic_load_n(&traces, __ATOMIC_ACQUIRE)) traces_log2 = often ? MANY_LOG2 : FEW_LOG2;
}

static struct trace *table(void)
{
    struct trace *t = __atomic_load_n(&traces, __ATOMIC_ACQUIRE);
    if (t) return t;
    struct trace *mine = prof_meta(sizeof *t << traces_log2, 64), *none = NULL;
    if (!mine) return NULL;
    return __atomic_compare_exchange_n(&traces, &none, mine, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ? mine : none;
}

static inline uint16_t place(uintptr_t addr, uintptr_t base)
{
    uintptr_t w = (addr - base) / sizeof(uintptr_t);
    return addr < base || (addr & 7) || w >= NO_PLACE ? NO_PLACE : (uint16_t)w;
}

/* The program's first frame: where the agent's own end. */
struct first {
    uintptr_t pc, sp, fp;
};

/* Id of the stack that the trace says, if every word it depends on is the same here; else 0. [f->sp, hi) may be read. */
static inline uint32_t match(const struct trace *t, const struct first *f, uintptr_t hi, uint64_t now_salt,
                             unsigned max)
{
    uint32_t seq = __atomic_load_n(&t->seq, __ATOMIC_ACQUIRE), id = t->stack;
    const uintptr_t *pcs = t->pcs;
    unsigned n = t->n, nvalue = t->nvalue;
    uint64_t salt = t->salt;
    uint16_t fp = t->fp;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((seq & 1) || __atomic_load_n(&t->seq, __ATOMIC_RELAXED) != seq) return 0;
    if (salt != now_salt || n >= max || *pcs != f->pc) return 0;
    const uintptr_t base = f->sp;
    const size_t room = (hi - base) / sizeof(uintptr_t); /* words that may be read */
    const uintptr_t *stack = (const uintptr_t *)base;
    if (fp != NO_PLACE && fp != place(f->fp, base)) return 0;
    const uint16_t *v = t->word, *end = v + n;
    while (v < end) {
        pcs++;
        if (*v >= room || stack[*v] != *pcs) return 0;
        v++;
    }
    for (; nvalue-- > 0; v += 2)
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
    if (!r->ok || r->t.n + 2u * r->t.nvalue > WORDS || r->t.n + 1u != k->n) return;
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

/* ---- The agent's own frames */
struct own_way {
    uint16_t n;
    uint16_t sp, fp;         /* words from the base on: the program's frame; its rbp, NO_PLACE: still in the register */
    uint16_t at[OWN_FRAMES]; /* of the return addresses into the agent */
    uintptr_t ra[OWN_FRAMES];
};
static struct own_way own_ways[OWN_WAYS];
static uint32_t nown; /* atomic */

static bool is_own(uintptr_t pc)
{
    return pc - unwind_own_lo < unwind_own_hi - unwind_own_lo;
}

static inline bool own_matches(const struct own_way *o, const uintptr_t *stack)
{
    for (unsigned i = 0; i < o->n; i++)
        if (stack[o->at[i]] != o->ra[i]) return false;
    return !is_own(stack[o->sp - 1]) && stack[o->sp - 1] != 0;
}

/* Out of the agent: f begins as the frame that read the registers. False: to be walked. The way taken last is tried first. */
static inline bool own_match(struct first *f, uintptr_t hi)
{
    static uint32_t last; /* atomic; a hint */
    const size_t room = (hi - f->sp) / sizeof(uintptr_t);
    const uintptr_t *stack = (const uintptr_t *)f->sp;
    const uint32_t n = __atomic_load_n(&nown, __ATOMIC_ACQUIRE), begin = __atomic_load_n(&last, __ATOMIC_RELAXED);
    for (uint32_t i = 0, at = begin; i < n; i++, at = at + 1 < n ? at + 1 : 0) {
        const struct own_way *o = &own_ways[at];
        if (o->sp > room || !own_matches(o, stack)) continue;
        if (at != begin) __atomic_store_n(&last, at, __ATOMIC_RELAXED);
        f->pc = stack[o->sp - 1];
        f->sp += o->sp * sizeof(uintptr_t);
        if (o->fp != NO_PLACE) f->fp = stack[o->fp];
        return true;
    }
    return false;
}

static void own_remember(const struct own_way *o)
{
    static uint32_t busy;
    if (__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE) != 0) return;
    uint32_t n = nown;
    if (n < OWN_WAYS) {
        own_ways[n] = *o;
        __atomic_store_n(&nown, n + 1, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
}

/* The same by rules. Only ways on which every frame counts from sp are remembered. */
static __attribute__((noinline)) bool own_walk(struct walk *k, struct window *w)
{
    struct own_way o = {.fp = NO_PLACE};
    const uintptr_t base = k->sp;
    bool ok = true;
    while (is_own(k->pc)) {
        struct step_reads s = {0};
        if (walk_step(k, w, &s) != STEP_OK) return false;
        ok &= !s.chain && !s.used_fp && !s.cfa_at;
        if (s.fp_at) o.fp = place(s.fp_at, base);
        if (!is_own(k->pc)) break;
        ok &= o.n < OWN_FRAMES;
        if (!ok) continue;
        o.at[o.n] = place(s.ra_at, base);
        o.ra[o.n++] = k->pc;
    }
    o.sp = place(k->sp, base);
    if (ok && o.sp != NO_PLACE) own_remember(&o);
    return true;
}

/* To the program's first frame, which is k->pcs[0] then. */
static bool first_frame(struct walk *k, struct window *w)
{
    if (unwind_own_hi && !own_walk(k, w)) return false;
    for (walk_emit(k, k->pc); k->n == 0; walk_emit(k, k->pc))
        if (walk_step(k, w, NULL) != STEP_OK) return false;
    return true;
}

/* ---- The whole stack */
static uint16_t recent[1 << MANY_LOG2]; /* atomic: number of a trace, from 1; a hint. Only traces_log2 bits are used */

/* The distance from the stack's end rather than sp itself: threads with equal stacks share entries. */
static inline uint64_t key_begin(const struct first *f, uintptr_t hi)
{
    return ((hi - f->sp) * 0x9e3779b97f4a7c15ull ^ f->pc) * 0x9fb21c651e98df25ull;
}

static inline uint32_t recall(const struct trace *all, const struct first *f, uintptr_t hi, unsigned max)
{
    uint32_t at = __atomic_load_n(&recent[key_begin(f, hi) >> (64 - traces_log2)], __ATOMIC_RELAXED);
    return at ? match(&all[at - 1], f, hi, __atomic_load_n(&rule_salt, __ATOMIC_RELAXED), max) : 0;
}

uint32_t trace_recall(uintptr_t sp, uintptr_t fp, uintptr_t hi, unsigned max)
{
    struct first f = {.sp = sp, .fp = fp};
    const struct trace *all = __atomic_load_n(&traces, __ATOMIC_ACQUIRE);
    return all && own_match(&f, hi) ? recall(all, &f, hi, max) : 0;
}

/* By rules, noting what each depends on. k is at the first frame. */
static uint32_t walk_on(struct trace *t, struct walk *k, struct window *w)
{
    struct recorder r = {.base = k->sp, .ok = t != NULL, .t = {.fp = NO_PLACE}};
    while (k->n < k->max) {
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
    if (!first_frame(&k, w)) return TRACE_NONE;
    struct trace *all = table();
    if (!all) return walk_on(NULL, &k, w);
    const struct first f = {k.pc, k.sp, k.fp};
    uint64_t key = key_begin(&f, w->hi);
    uint16_t *hint = &recent[key >> (64 - traces_log2)];
    uint32_t id = unwind_own_hi ? 0 : recall(all, &f, w->hi, max); /* else trace_recall() has tried that */
    if (id) return id;
    struct walk ahead = k;
    while (ahead.n < KEY_FRAMES && walk_step(&ahead, w, NULL) == STEP_OK) {
        walk_emit(&ahead, ahead.pc);
        key = (key ^ ahead.pc) * 0x9fb21c651e98df25ull;
    }
    size_t at = key >> (64 - traces_log2);
    id = match(&all[at], &f, w->hi, k.salt, max);
    if (!id) id = walk_on(&all[at], &k, w);
    __atomic_store_n(hint, (uint16_t)(at + 1), __ATOMIC_RELAXED);
    return id;
}
