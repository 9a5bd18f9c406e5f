/* SPDX-License-Identifier: Apache-2.0
 *
 * The rule cache's slow side, and the walk up a stack by it (unwind_step.h has the fast side and the invariants).
 *
 * Allocates nothing, takes no lock, async-signal-safe. */
#include "agent/profile/unwind_step.h"

struct rule_entry rule_cache[1u << RULE_CACHE_LOG2] __attribute__((aligned(64)));
uint64_t rule_salt = 0x5851f42d4c957f2dull;

void unwind_flush(void)
{
    __atomic_fetch_add(&rule_salt, 0x9e3779b97f4a7c15ull, __ATOMIC_RELAXED);
}

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

__attribute__((noinline)) uint64_t rule_miss(uintptr_t pc, uint64_t salt, size_t at)
{
    uint64_t rule = rule_of(pc);
    if (rule != FAST_NONE) { /* code without information may be a module that is not there yet */
        __atomic_store_n(&rule_cache[at].rule, rule, __ATOMIC_RELAXED);
        __atomic_store_n(&rule_cache[at].check, pc ^ rule_mix(rule, salt), __ATOMIC_RELAXED);
    }
    return rule;
}

bool step_chain(struct window *w, struct chain *c)
{
    uintptr_t fp, ra;
    if (c->fp < c->sp || !window_read(w, c->fp, &fp) || !window_read(w, c->fp + sizeof ra, &ra)) return false;
    if (ra == 0 || (fp != 0 && fp <= c->fp)) return false;
    *c = (struct chain){.pc = ra, .sp = c->fp + 2 * sizeof ra, .fp = fp};
    return true;
}

unsigned unwind_walk(const struct frame_regs *regs, struct window *w, uintptr_t *pcs, unsigned max, unsigned skip,
                     bool drop_own)
{
    const struct window w0 = *w;
    struct walk k;
    if (max == 0) return 0;
    walk_begin(&k, regs, pcs, max, skip, drop_own);
    for (;;) {
        walk_emit(&k, k.pc);
        if (k.n == max) return k.n;
        enum step_result r = walk_step(&k, w, NULL);
        if (__builtin_expect(r != STEP_OK, 0)) {
            if (r != STEP_FULL) return k.n;
            *w = w0;
            return unwind_walk_full(regs, w, pcs, max, skip, drop_own);
        }
    }
}
