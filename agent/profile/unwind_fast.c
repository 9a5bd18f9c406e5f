/* SPDX-License-Identifier: Apache-2.0
 *
 * The walk up a stack, and its cache pc → rule.
 *
 * Nearly every frame needs four facts: whether the CFA counts from rsp or rbp, by how much, that the return address is
 * below it, and where rbp was saved. They fit one word, which a cache keeps by pc. A frame that needs more (a signal
 * frame, a PLT entry, a CFA in rbx) restarts the walk with every register and the full rows (unwind_walk_full).
 *
 * Invariants
 *   1. A cache entry is two words, rule and pc ^ mix(rule): a reader that sees words of two writers finds a pc
 *      that is not its own and takes it as a miss. No lock, no sequence number.
 *   2. unwind_flush() changes what mix() adds, so entries from before it match nothing, those still on
 *      their way into the cache included.
 *   3. The stack pointer rises from frame to frame, except out of a signal frame. With max it bounds the walk.
 *   4. Stack memory is read through the window only.
 * Allocates nothing, takes no lock, async-signal-safe. */
#include "agent/profile/internal.h"
#include "agent/profile/unwind.h"

enum rule_class { FAST_NONE, FAST_SP, FAST_FP, FAST_FP_DEREF, FAST_END, FAST_FULL };
enum fp_class { FP_SAME, FP_CFA, FP_FP };

enum { CACHE_LOG2 = 14 };
static struct {
    uint64_t check, rule;
} cache[1u << CACHE_LOG2] __attribute__((aligned(64)));
static uint64_t cache_salt = 0x5851f42d4c957f2dull;

void unwind_flush(void)
{
    __atomic_fetch_add(&cache_salt, 0x9e3779b97f4a7c15ull, __ATOMIC_RELAXED);
}

static inline uint64_t mix(uint64_t rule, uint64_t salt)
{
    return rule * 0x9fb21c651e98df25ull + salt;
}

/* kind: bits 0–2 · where rbp is: 3–4 · its offset: 8–35 · CFA offset: 36–63, both signed. */
static uint64_t pack(enum rule_class kind, int64_t cfa_off, enum fp_class fp, int64_t fp_off)
{
    const int64_t lim = 1 << 27;
    if (cfa_off < -lim || cfa_off >= lim || fp_off < -lim || fp_off >= lim) return FAST_FULL;
    return (uint64_t)kind | (uint64_t)fp << 3 | ((uint64_t)fp_off & 0xfffffff) << 8 | (uint64_t)cfa_off << 36;
}

/* breg_fp(off): true and *off; deref: the expression goes on with one DW_OP_deref. */
static bool is_fp_expr(const uint8_t *e, bool deref, int64_t *off)
{
    unsigned len = e[0], i = 2; /* lengths of such expressions fit one byte */
    if (len < 2 || len > 12 || e[1] != 0x70 + ARCH_FP) return false;
    uint64_t v = 0;
    unsigned shift = 0;
    for (;; i++) {
        if (i > len || shift > 28) return false;
        v |= (uint64_t)(e[i] & 0x7f) << shift;
        shift += 7;
        if (!(e[i] & 0x80)) break;
    }
    *off = (int64_t)(v << (64 - shift)) >> (64 - shift);
    return deref ? i + 1 == len && e[len] == 0x06 : i == len;
}

static uint64_t rule_of(uintptr_t pc)
{
    struct unwind_row row;
    if (!eh_frame_row(pc, &row)) return FAST_NONE;
    const struct reg_rule *ra = &row.reg[ARCH_RA], *fp = &row.reg[ARCH_FP];
    if (row.ra_reg != ARCH_RA || row.signal_frame || row.reg[ARCH_SP].kind != RULE_SAME) return FAST_FULL;
    if (ra->kind == RULE_UNDEFINED) return FAST_END;
    if (ra->kind != RULE_OFFSET || ra->off != -(int64_t)sizeof(uintptr_t)) return FAST_FULL;

    enum fp_class fpc;
    int64_t fp_off = 0, cfa_off = row.cfa_off;
    if (fp->kind == RULE_SAME) {
        fpc = FP_SAME;
    } else if (fp->kind == RULE_OFFSET) {
        fpc = FP_CFA;
        fp_off = fp->off;
    } else if (fp->kind == RULE_EXPR && is_fp_expr(fp->expr, false, &fp_off)) {
        fpc = FP_FP;
    } else {
        return FAST_FULL;
    }
    if (row.cfa_is_expr)
        return is_fp_expr(row.cfa_expr, true, &cfa_off) ? pack(FAST_FP_DEREF, cfa_off, fpc, fp_off) : FAST_FULL;
    if (row.cfa_reg == ARCH_SP) return pack(FAST_SP, cfa_off, fpc, fp_off);
    if (row.cfa_reg == ARCH_FP) return pack(FAST_FP, cfa_off, fpc, fp_off);
    return FAST_FULL;
}

static __attribute__((noinline)) uint64_t rule_miss(uintptr_t pc, uint64_t salt, size_t at)
{
    uint64_t rule = rule_of(pc);
    if (rule != FAST_NONE) { /* code without information may be a module that is not there yet */
        __atomic_store_n(&cache[at].rule, rule, __ATOMIC_RELAXED);
        __atomic_store_n(&cache[at].check, pc ^ mix(rule, salt), __ATOMIC_RELAXED);
    }
    return rule;
}

static inline uint64_t rule_lookup(uintptr_t pc, uint64_t salt)
{
    size_t at = (size_t)((pc * 0x9e3779b97f4a7c15ull) >> (64 - CACHE_LOG2));
    uint64_t rule = __atomic_load_n(&cache[at].rule, __ATOMIC_RELAXED);
    uint64_t check = __atomic_load_n(&cache[at].check, __ATOMIC_RELAXED);
    if (__builtin_expect((check ^ mix(rule, salt)) == pc, 1)) return rule;
    return rule_miss(pc, salt, at);
}

/* Generated code has no unwind information but mostly keeps the frame-pointer chain. */
static bool step_chain(struct window *w, uintptr_t *pc, uintptr_t *sp, uintptr_t *fp)
{
    uintptr_t next_fp, ra;
    if (*fp < *sp || !window_read(w, *fp, &next_fp) || !window_read(w, *fp + sizeof(uintptr_t), &ra)) return false;
    if (ra == 0 || (next_fp != 0 && next_fp <= *fp)) return false;
    *pc = ra;
    *sp = *fp + 2 * sizeof(uintptr_t);
    *fp = next_fp;
    return true;
}

/* Where frames go. Leaf frames are left out: with drop_own those in libseep.so where that is known, else the first
 * `skip`. Only one of both: with inlining the agent may have fewer frames than `skip`, and the next is the program's. */
struct out {
    uintptr_t *pcs;
    unsigned n, max, skip;
    bool drop_own;
};
static inline void emit(struct out *o, uintptr_t pc)
{
    if (__builtin_expect(o->n == 0, 0)) {
        if (o->drop_own && unwind_own_hi) {
            if (pc - unwind_own_lo < unwind_own_hi - unwind_own_lo) return;
        } else if (o->skip) {
            o->skip--;
            return;
        }
    }
    o->pcs[o->n++] = pc;
}

unsigned unwind_walk(const struct frame_regs *regs, struct window *w, uintptr_t *pcs, unsigned max, unsigned skip,
                     bool drop_own)
{
    const struct window w0 = *w;
    struct out o = {.pcs = pcs, .max = max, .skip = skip, .drop_own = drop_own};
    uintptr_t pc = regs->reg[ARCH_RA], sp = regs->reg[ARCH_SP], fp = regs->reg[ARCH_FP];
    const uint64_t salt = __atomic_load_n(&cache_salt, __ATOMIC_RELAXED);
    uintptr_t back = 0; /* the first pc is exact, return addresses are looked up one byte before */

    if (max == 0) return 0;
    for (;; back = 1) {
        emit(&o, pc);
        if (o.n == max) return o.n;
        uint64_t rule = rule_lookup(pc - back, salt);
        uintptr_t cfa;
        int64_t cfa_off = (int64_t)rule >> 36;
        switch ((enum rule_class)(rule & 7)) {
        case FAST_SP: cfa = sp + (uintptr_t)cfa_off; break;
        case FAST_FP: cfa = fp + (uintptr_t)cfa_off; break;
        case FAST_FP_DEREF:
            if (!window_read(w, fp + (uintptr_t)cfa_off, &cfa)) return o.n;
            break;
        case FAST_NONE:
            if (!step_chain(w, &pc, &sp, &fp)) return o.n;
            continue;
        case FAST_FULL: *w = w0; return unwind_walk_full(regs, w, pcs, max, skip, drop_own);
        default: return o.n;
        }
        uintptr_t ra;
        if (cfa <= sp || !window_read(w, cfa - sizeof ra, &ra) || ra == 0) return o.n;
        unsigned fpc = (unsigned)(rule >> 3) & 3;
        if (fpc != FP_SAME) {
            int64_t fp_off = (int64_t)(rule << 28) >> 36;
            if (!window_read(w, (fpc == FP_CFA ? cfa : fp) + (uintptr_t)fp_off, &fp)) return o.n;
        }
        sp = cfa;
        pc = ra;
    }
}

/* A register of the caller by its rule. */
static bool apply_rule(const struct reg_rule *rule, unsigned reg, const struct frame_regs *regs, struct window *w,
                       uintptr_t cfa, uintptr_t *out)
{
    uintptr_t at;
    switch (rule->kind) {
    case RULE_SAME: *out = regs->reg[reg]; return (regs->known >> reg & 1) && (ARCH_CALLEE_SAVED >> reg & 1);
    case RULE_UNDEFINED: return false;
    case RULE_OFFSET: return window_read(w, cfa + (uintptr_t)rule->off, out);
    case RULE_VALUE: *out = cfa + (uintptr_t)rule->off; return true;
    case RULE_REGISTER:
        if (rule->off < 0 || rule->off >= ARCH_REGS || !(regs->known >> rule->off & 1)) return false;
        *out = regs->reg[rule->off];
        return true;
    case RULE_EXPR: return dwarf_expr(rule->expr, regs, w, true, cfa, &at) && window_read(w, at, out);
    case RULE_VALUE_EXPR: return dwarf_expr(rule->expr, regs, w, true, cfa, out);
    }
    return false;
}

bool unwind_step_full(struct frame_regs *regs, struct window *w, bool *exact)
{
    struct unwind_row row;
    const uintptr_t pc = regs->reg[ARCH_RA];
    if (!eh_frame_row(*exact ? pc : pc - 1, &row)) {
        bool ok = (regs->known >> ARCH_FP & 1) &&
                  step_chain(w, &regs->reg[ARCH_RA], &regs->reg[ARCH_SP], &regs->reg[ARCH_FP]);
        regs->known &= 1u << ARCH_RA | 1u << ARCH_SP | 1u << ARCH_FP;
        *exact = false;
        return ok;
    }
    uintptr_t cfa;
    if (row.cfa_is_expr) {
        if (!dwarf_expr(row.cfa_expr, regs, w, false, 0, &cfa)) return false;
    } else {
        if (row.cfa_reg >= ARCH_REGS || !(regs->known >> row.cfa_reg & 1)) return false;
        cfa = regs->reg[row.cfa_reg] + (uintptr_t)row.cfa_off;
    }
    struct frame_regs up = {.known = 0};
    for (unsigned r = 0; r < ARCH_REGS; r++) {
        if (r == ARCH_RA || (r == ARCH_SP && row.reg[r].kind == RULE_SAME)) continue;
        if (apply_rule(&row.reg[r], r, regs, w, cfa, &up.reg[r])) up.known |= 1u << r;
    }
    if (row.reg[ARCH_SP].kind == RULE_SAME) {
        up.reg[ARCH_SP] = cfa;
        up.known |= 1u << ARCH_SP;
    }
    if (row.ra_reg >= ARCH_REGS || row.reg[row.ra_reg].kind == RULE_SAME ||
        !apply_rule(&row.reg[row.ra_reg], row.ra_reg, regs, w, cfa, &up.reg[ARCH_RA]) || up.reg[ARCH_RA] == 0)
        return false;
    up.known |= 1u << ARCH_RA;
    if (!(up.known >> ARCH_SP & 1)) return false;
    if (row.signal_frame)
        window_rebase(w, up.reg[ARCH_SP]); /* the handler may have run on a stack of its own */
    else if (up.reg[ARCH_SP] <= regs->reg[ARCH_SP])
        return false;
    *exact = row.signal_frame;
    *regs = up;
    return true;
}

unsigned unwind_walk_full(const struct frame_regs *regs, struct window *w, uintptr_t *pcs, unsigned max, unsigned skip,
                          bool drop_own)
{
    struct out o = {.pcs = pcs, .max = max, .skip = skip, .drop_own = drop_own};
    struct frame_regs r = *regs;
    bool exact = true;
    if (max == 0) return 0;
    do {
        emit(&o, r.reg[ARCH_RA]);
    } while (o.n < max && unwind_step_full(&r, w, &exact));
    return o.n;
}
