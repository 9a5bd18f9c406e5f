/* SPDX-License-Identifier: Apache-2.0
 *
 * The walk with every register and the full rows of .eh_frame: for stacks with a frame that the fast rules can't express.
 *
 * Invariants: 1. a register is used only while its value is known; 2. the stack pointer rises from frame to frame
 * except out of a signal frame, and max bounds the walk; 3. stack memory is read through the window only.
 * Allocates nothing, takes no lock, async-signal-safe. */
#include "agent/profile/unwind_step.h"

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
        struct chain c = {regs->reg[ARCH_RA], regs->reg[ARCH_SP], regs->reg[ARCH_FP]};
        bool ok = (regs->known >> ARCH_FP & 1) && step_chain(w, &c);
        regs->reg[ARCH_RA] = c.pc;
        regs->reg[ARCH_SP] = c.sp;
        regs->reg[ARCH_FP] = c.fp;
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
    struct walk o;
    struct frame_regs r = *regs;
    bool exact = true;
    if (max == 0) return 0;
    walk_begin(&o, regs, pcs, max, skip, drop_own);
    do {
        walk_emit(&o, r.reg[ARCH_RA]);
    } while (o.n < max && unwind_step_full(&r, w, &exact));
    return o.n;
}
