/* SPDX-License-Identifier: Apache-2.0
 *
 * One frame up, fast: the pc → rule cache and the step that uses it, inlined into the walks (unwind_fast.c, trace.c).
 *
 * Nearly every frame needs four facts: whether the CFA counts from rsp or rbp, by how much, that the return address is
 * below it, and where rbp was saved. They fit one word, which a cache keeps by pc. A frame that needs more (a signal
 * frame, a PLT entry, a CFA in rbx) is FAST_FULL: the walk begins anew with every register (unwind_full.c).
 *
 * Invariants
 *   1. A cache entry is two words, rule and pc ^ mix(rule): a reader that sees words of two writers finds a pc
 *      that is not its own and takes it as a miss. No lock, no sequence number.
 *   2. unwind_flush() changes what mix() adds, so entries from before it match nothing, those still on
 *      their way into the cache included.
 *   3. The stack pointer rises from frame to frame.
 *   4. Stack memory is read through the window only.
 * Allocates nothing, takes no lock, async-signal-safe. */
#ifndef SEEP_PROFILE_UNWIND_STEP_H
#define SEEP_PROFILE_UNWIND_STEP_H

#include "agent/profile/unwind.h"

enum rule_class { FAST_NONE, FAST_SP, FAST_FP, FAST_FP_DEREF, FAST_END, FAST_FULL };
enum fp_class { FP_SAME, FP_CFA, FP_FP };

/* A rule, kind: bits 0–2 · where rbp is: 3–4 · its offset: 8–35 · CFA offset: 36–63, both signed. */
#define RULE_KIND(r)    ((enum rule_class)((r)&7))
#define RULE_FP(r)      ((enum fp_class)((r) >> 3 & 3))
#define RULE_FP_OFF(r)  ((uintptr_t)((int64_t)((r) << 28) >> 36))
#define RULE_CFA_OFF(r) ((uintptr_t)((int64_t)(r) >> 36))

enum { RULE_CACHE_LOG2 = 14 };
struct rule_entry {
    uint64_t check, rule;
};
extern struct rule_entry rule_cache[1u << RULE_CACHE_LOG2];
extern uint64_t rule_salt;

static inline uint64_t rule_mix(uint64_t rule, uint64_t salt)
{
    return rule * 0x9fb21c651e98df25ull + salt;
}

uint64_t rule_miss(uintptr_t pc, uint64_t salt, size_t at);

static inline uint64_t rule_lookup(uintptr_t pc, uint64_t salt)
{
    size_t at = (size_t)((pc * 0x9e3779b97f4a7c15ull) >> (64 - RULE_CACHE_LOG2));
    uint64_t rule = __atomic_load_n(&rule_cache[at].rule, __ATOMIC_RELAXED);
    uint64_t check = __atomic_load_n(&rule_cache[at].check, __ATOMIC_RELAXED);
    if (__builtin_expect((check ^ rule_mix(rule, salt)) == pc, 1)) return rule;
    return rule_miss(pc, salt, at);
}

/* Generated code has no unwind information but mostly keeps the frame-pointer chain. */
struct chain {
    uintptr_t pc, sp, fp;
};
bool step_chain(struct window *w, struct chain *c);

struct walk {
    uintptr_t pc, sp, fp;
    uintptr_t back; /* the first pc is exact, return addresses are looked up one byte before */
    uint64_t salt;
    uintptr_t *pcs;
    unsigned n, max, skip;
    bool drop_own;
};

static inline void walk_begin(struct walk *k, const struct frame_regs *regs, uintptr_t *pcs, unsigned max,
                              unsigned skip, bool drop_own)
{
    *k = (struct walk){.pc = regs->reg[ARCH_RA],
                       .sp = regs->reg[ARCH_SP],
                       .fp = regs->reg[ARCH_FP],
                       .salt = __atomic_load_n(&rule_salt, __ATOMIC_RELAXED),
                       .pcs = pcs,
                       .max = max,
                       .skip = skip,
                       .drop_own = drop_own};
}

/* Leaf frames are left out: with drop_own those in libseep.so where that is known, else the first `skip`. Only one of
 * both: with inlining the agent may have fewer frames than `skip`, and the next is the program's. */
static inline void walk_emit(struct walk *k, uintptr_t pc)
{
    if (__builtin_expect(k->n == 0, 0)) {
        if (k->drop_own && unwind_own_hi) {
            if (pc - unwind_own_lo < unwind_own_hi - unwind_own_lo) return;
        } else if (k->skip) {
            k->skip--;
            return;
        }
    }
    k->pcs[k->n++] = pc;
}

enum step_result {
    STEP_OK,
    STEP_END,
    STEP_STOP,
    STEP_FULL
}; /* END: outermost by its rule; STOP: nothing more is known */

/* What a step read, for trace.c. */
struct step_reads {
    bool used_fp;           /* the frame's rbp mattered */
    uintptr_t ra_at, fp_at; /* where the return address and rbp were read; fp_at 0: rbp is the same */
    uintptr_t cfa_at;       /* where the CFA was read, or 0 */
    bool chain;             /* guessed by the frame pointer */
};

static inline __attribute__((always_inline)) enum step_result walk_step(struct walk *k, struct window *w,
                                                                        struct step_reads *reads)
{
    uint64_t rule = rule_lookup(k->pc - k->back, k->salt);
    uintptr_t cfa, ra, at = 0;
    if (__builtin_expect(RULE_KIND(rule) == FAST_SP, 1)) {
        cfa = k->sp + RULE_CFA_OFF(rule);
    } else if (RULE_KIND(rule) == FAST_FP) {
        cfa = k->fp + RULE_CFA_OFF(rule);
    } else if (RULE_KIND(rule) == FAST_FP_DEREF) {
        at = k->fp + RULE_CFA_OFF(rule);
        if (!window_read(w, at, &cfa)) return STEP_STOP;
    } else if (RULE_KIND(rule) == FAST_NONE) {
        if (reads) reads->chain = true;
        k->back = 1;
        struct chain c = {k->pc, k->sp, k->fp};
        if (!step_chain(w, &c)) return STEP_STOP;
        k->pc = c.pc;
        k->sp = c.sp;
        k->fp = c.fp;
        return STEP_OK;
    } else {
        return RULE_KIND(rule) == FAST_FULL ? STEP_FULL : STEP_END;
    }
    if (cfa <= k->sp || !window_read(w, cfa - sizeof ra, &ra) || ra == 0) return STEP_STOP;
    if (reads) {
        *reads = (struct step_reads){.ra_at = cfa - sizeof ra, .cfa_at = at};
        reads->used_fp = RULE_KIND(rule) != FAST_SP || RULE_FP(rule) == FP_FP;
    }
    if (RULE_FP(rule) != FP_SAME) {
        at = (RULE_FP(rule) == FP_CFA ? cfa : k->fp) + RULE_FP_OFF(rule);
        uintptr_t fp; /* k's address must not be taken, it lives in registers */
        if (!window_read(w, at, &fp)) {
            if (at >= k->sp) return STEP_STOP;
            fp = k->fp; /* at the ret of a function, rbp is popped already, though its rule says otherwise */
        }
        k->fp = fp;
        if (reads) reads->fp_at = at;
    }
    k->sp = cfa;
    k->pc = ra;
    k->back = 1;
    return STEP_OK;
}

#endif
