/* SPDX-License-Identifier: Apache-2.0
 *
 * The tracer's own contract: rules, memory it may read, and the walk.
 *
 *   unwind.c       entry points: modes, own frames left out, libunwind on request
 *   unwind_step.h  one frame by the pc → rule cache; unwind_fast.c: the walk by it
 *   trace.c        whole stacks recognised
 *   unwind_full.c  the walk with all registers
 *   eh_frame.c     pc → FDE → row of the CFA program
 *   dwarf_expr.c   expressions
 *   arch.h         register numbers
 *
 * Nothing here allocates or takes a lock. All reads of stack memory are inside a `window` or probed. */
#ifndef SEEP_PROFILE_UNWIND_H
#define SEEP_PROFILE_UNWIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/profile/profile.h"
#include "agent/profile/arch.h"

/* Stack memory that may be read: words in [lo, hi), which stand at address + delta. probe: nothing is known about the
 * memory, so each page is asked for first; [lo, hi) is then the page asked for last. */
struct window {
    uintptr_t lo, hi;
    uintptr_t words; /* in [lo, hi) */
    uintptr_t delta;
    uintptr_t home_lo, home_hi; /* the stack to return to out of a signal frame; 0, 0: unknown */
    bool probe;
    bool fixed; /* an image: no other memory may be read */
};
bool window_read_slow(struct window *w, uintptr_t addr, uintptr_t *out);
static inline bool window_read(struct window *w, uintptr_t addr, uintptr_t *out)
{
    uintptr_t off = addr - w->lo;
    /* Turned by three bits it is the number of the word, or something huge where it is no multiple of 8. */
    if (__builtin_expect((off >> 3 | off << 61) >= w->words, 0)) return window_read_slow(w, addr, out);
    __builtin_memcpy(out, (const void *)(addr + w->delta), sizeof *out);
    return true;
}
/* Opens the window on the stack that sp is on: home when it is that, by probing otherwise. */
void window_rebase(struct window *w, uintptr_t sp);

/* ---- One row of a CFA program. */
enum rule_kind {
    RULE_SAME = 0,  /* the register was not changed (the default) */
    RULE_UNDEFINED, /* it is lost; for the return address: the outermost frame */
    RULE_OFFSET,    /* stands at CFA + off */
    RULE_VALUE,     /* is CFA + off */
    RULE_REGISTER,  /* is in register off */
    RULE_EXPR,      /* stands at the expression's value */
    RULE_VALUE_EXPR /* is the expression's value */
};
struct reg_rule {
    enum rule_kind kind;
    int64_t off;
    const uint8_t *expr; /* length as ULEB128, then the bytes */
};
struct unwind_row {
    bool cfa_is_expr;
    uint32_t cfa_reg;
    int64_t cfa_off;
    const uint8_t *cfa_expr;
    struct reg_rule reg[ARCH_REGS];
    uint32_t ra_reg;
    bool signal_frame; /* the caller's pc is the interrupted instruction itself */
};
/* False: no unwind information covers pc. */
bool eh_frame_row(uintptr_t pc, struct unwind_row *row);

/* ---- Registers of a frame. */
struct frame_regs {
    uintptr_t reg[ARCH_REGS]; /* by DWARF number; ARCH_RA is the pc */
    uint32_t known;           /* bit per register */
};
bool dwarf_expr(const uint8_t *expr, const struct frame_regs *regs, struct window *w, bool push_cfa, uintptr_t cfa,
                uintptr_t *out);
/* One frame up, by the full row. False: the outermost frame, or nothing known. exact: regs' pc is not a return
 * address; updated for the next frame. */
bool unwind_step_full(struct frame_regs *regs, struct window *w, bool *exact);

/* pcs of the frame of regs and its callers, leaf first. Left out at the leaf end: with drop_own the agent's own frames
 * where libseep.so's mapping is known; else the first `skip`. */
unsigned unwind_walk(const struct frame_regs *regs, struct window *w, uintptr_t *pcs, unsigned max, unsigned skip,
                     bool drop_own);
unsigned unwind_walk_full(const struct frame_regs *regs, struct window *w, uintptr_t *pcs, unsigned max, unsigned skip,
                          bool drop_own);
/* The id of the interned stack of regs (trace.c), or TRACE_NONE: to be walked in full. pcs: room for max. */
#define TRACE_NONE UINT32_MAX
/* trace_recall() comes first: sp and fp are the caller's in the function that then calls trace_intern(), at the same instruction;
 * [sp, hi) is mapped. 0: not recognised. */
uint32_t trace_recall(uintptr_t sp, uintptr_t fp, uintptr_t hi, unsigned max);
uint32_t trace_intern(const struct frame_regs *regs, struct window *w, uintptr_t *pcs, unsigned max, unsigned skip);
/* unwind_here and stack_intern in one. */
uint32_t unwind_intern(unsigned max, unsigned skip);
void traces_init(bool often); /* often: many stacks are expected again and again, so that a large table pays */

/* libseep's own mapping, empty until known or when the agent is linked into the program. */
extern uintptr_t unwind_own_lo, unwind_own_hi;

void unwind_init(void);
void unwind_late_init(void);

#endif
