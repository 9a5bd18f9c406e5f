/* SPDX-License-Identifier: Apache-2.0
 *
 * DWARF expressions as .eh_frame uses them: PLT entries (the CFA depends on pc), functions that realign their stack
 * (the CFA is read from a frame slot), the kernel's signal frame (registers stand in a ucontext).
 *
 * Operations: DWARF 5, §2.5. One that makes no sense here (locations of variables, calls) fails the frame.
 * Invariants: 1. memory is read through the window only; 2. at most MAX_STEPS operations, so a loop ends.
 * Allocates nothing, takes no lock, async-signal-safe. */
#include "agent/profile/unwind.h"
#include "agent/profile/leb.h"

enum { STACK = 24, MAX_STEPS = 256 };

enum {
    OP_addr = 0x03,
    OP_deref = 0x06,
    OP_const1u = 0x08, /* then 1s 2u 2s 4u 4s 8u 8s */
    OP_const8s = 0x0f,
    OP_constu = 0x10,
    OP_consts = 0x11,
    OP_dup = 0x12,
    OP_drop = 0x13,
    OP_over = 0x14,
    OP_pick = 0x15,
    OP_swap = 0x16,
    OP_rot = 0x17,
    OP_abs = 0x19,
    OP_and = 0x1a,
    OP_div = 0x1b,
    OP_minus = 0x1c,
    OP_mod = 0x1d,
    OP_mul = 0x1e,
    OP_neg = 0x1f,
    OP_not = 0x20,
    OP_or = 0x21,
    OP_plus = 0x22,
    OP_plus_uconst = 0x23,
    OP_shl = 0x24,
    OP_shr = 0x25,
    OP_shra = 0x26,
    OP_xor = 0x27,
    OP_bra = 0x28,
    OP_eq = 0x29,
    OP_ge = 0x2a,
    OP_gt = 0x2b,
    OP_le = 0x2c,
    OP_lt = 0x2d,
    OP_ne = 0x2e,
    OP_skip = 0x2f,
    OP_lit0 = 0x30,
    OP_breg0 = 0x70,
    OP_bregx = 0x92,
    OP_deref_size = 0x94,
    OP_nop = 0x96
};

static bool binary(uint8_t op, uintptr_t a, uintptr_t b, uintptr_t *out)
{
    intptr_t sa = (intptr_t)a, sb = (intptr_t)b;
    switch (op) {
    case OP_and: *out = a & b; return true;
    case OP_div:
        if (sb == 0 || sb == -1) return false;
        *out = (uintptr_t)(sa / sb);
        return true;
    case OP_minus: *out = a - b; return true;
    case OP_mod:
        if (b == 0) return false;
        *out = a % b;
        return true;
    case OP_mul: *out = a * b; return true;
    case OP_or: *out = a | b; return true;
    case OP_plus: *out = a + b; return true;
    case OP_shl: *out = b < 64 ? a << b : 0; return true;
    case OP_shr: *out = b < 64 ? a >> b : 0; return true;
    case OP_shra: *out = (uintptr_t)(sa >> (b < 64 ? b : 63)); return true;
    case OP_xor: *out = a ^ b; return true;
    case OP_eq: *out = sa == sb; return true;
    case OP_ge: *out = sa >= sb; return true;
    case OP_gt: *out = sa > sb; return true;
    case OP_le: *out = sa <= sb; return true;
    case OP_lt: *out = sa < sb; return true;
    case OP_ne: *out = sa != sb; return true;
    default: return false;
    }
}

bool dwarf_expr(const uint8_t *expr, const struct frame_regs *regs, struct window *w, bool push_cfa, uintptr_t cfa,
                uintptr_t *out)
{
    const uint8_t *p = expr;
    uint64_t len = leb_u(&p);
    const uint8_t *end = p + len, *begin = p;
    uintptr_t s[STACK];
    unsigned n = 0;
    if (push_cfa) s[n++] = cfa;

    for (unsigned steps = 0; p < end; steps++) {
        if (steps == MAX_STEPS || n > STACK - 2) return false;
        uint8_t op = *p++;
        if (op >= OP_lit0 && op < OP_lit0 + 32) {
            s[n++] = op - OP_lit0;
            continue;
        }
        if ((op >= OP_breg0 && op < OP_breg0 + 32) || op == OP_bregx) {
            uint64_t r = op == OP_bregx ? leb_u(&p) : (uint64_t)(op - OP_breg0);
            int64_t off = leb_s(&p);
            if (r >= ARCH_REGS || !(regs->known >> r & 1)) return false;
            s[n++] = regs->reg[r] + (uintptr_t)off;
            continue;
        }
        if (op >= OP_and && op <= OP_ne && op != OP_neg && op != OP_not && op != OP_plus_uconst && op != OP_bra) {
            if (n < 2 || !binary(op, s[n - 2], s[n - 1], &s[n - 2])) return false;
            n--;
            continue;
        }
        if (op >= OP_const1u && op <= OP_const8s) {
            unsigned size = 1u << ((op - OP_const1u) / 2);
            s[n++] = (uintptr_t)read_int(&p, size, (op & 1) != 0);
            continue;
        }
        switch (op) {
        case OP_addr: s[n++] = (uintptr_t)read_int(&p, 8, false); break;
        case OP_constu: s[n++] = leb_u(&p); break;
        case OP_consts: s[n++] = (uintptr_t)leb_s(&p); break;
        case OP_nop: break;
        case OP_dup:
            if (n < 1) return false;
            s[n] = s[n - 1];
            n++;
            break;
        case OP_drop:
            if (n < 1) return false;
            n--;
            break;
        case OP_over:
            if (n < 2) return false;
            s[n] = s[n - 2];
            n++;
            break;
        case OP_pick: {
            uint8_t i = *p++;
            if (i >= n) return false;
            s[n] = s[n - 1 - i];
            n++;
            break;
        }
        case OP_swap: {
            if (n < 2) return false;
            uintptr_t t = s[n - 1];
            s[n - 1] = s[n - 2];
            s[n - 2] = t;
            break;
        }
        case OP_rot: {
            if (n < 3) return false;
            uintptr_t t = s[n - 1];
            s[n - 1] = s[n - 2];
            s[n - 2] = s[n - 3];
            s[n - 3] = t;
            break;
        }
        case OP_deref:
            if (n < 1 || !window_read(w, s[n - 1], &s[n - 1])) return false;
            break;
        case OP_deref_size: {
            uint8_t size = *p++;
            uintptr_t at, word;
            if (n < 1 || size == 0 || size > 8) return false;
            at = s[n - 1];
            if ((at & 7) + size > 8 || !window_read(w, at & ~(uintptr_t)7, &word)) return false;
            word >>= 8 * (at & 7);
            s[n - 1] = size == 8 ? word : word & (((uintptr_t)1 << (8 * size)) - 1);
            break;
        }
        case OP_abs:
            if (n < 1) return false;
            if ((intptr_t)s[n - 1] < 0) s[n - 1] = 0 - s[n - 1];
            break;
        case OP_neg:
            if (n < 1) return false;
            s[n - 1] = 0 - s[n - 1];
            break;
        case OP_not:
            if (n < 1) return false;
            s[n - 1] = ~s[n - 1];
            break;
        case OP_plus_uconst:
            if (n < 1) return false;
            s[n - 1] += leb_u(&p);
            break;
        case OP_bra:
        case OP_skip: {
            int64_t d = read_int(&p, 2, true);
            if (op == OP_bra) {
                if (n < 1) return false;
                if (s[--n] == 0) break;
            }
            if (d < begin - p || d > end - p) return false;
            p += d;
            break;
        }
        default: return false;
        }
    }
    if (n < 1) return false;
    *out = s[n - 1];
    return true;
}
