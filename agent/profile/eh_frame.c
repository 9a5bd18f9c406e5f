/* SPDX-License-Identifier: Apache-2.0
 *
 * pc → the row of its CFA program, read from .eh_frame in memory.
 *
 *   pc ─_dl_find_object─▶ module's .eh_frame_hdr ─binary search─▶ FDE ─▶ CIE ─▶ run both programs up to pc ─▶ row
 *
 * Formats: LSB Core, "Exception Frames"; DWARF 5 §6.4. The search table must be in the encoding that every linker writes
 * (4-byte, relative to the header); a module without one has no unwind information for us.
 *
 * Invariants
 *   1. Only memory of loaded modules is read. A stack keeps the modules on it from being unloaded; a stray value on it
 *      may name a module that another thread is unloading, which _dl_find_object answers with "none" from then on.
 *   2. Registers beyond ARCH_REGS are parsed and forgotten.
 * Allocates nothing, takes no lock, async-signal-safe (_dl_find_object is: glibc manual, "Dynamic Linker
 * Introspection"). Where glibc is older than 2.35 the modules list serves. */
#include "agent/profile/internal.h"
#include "agent/profile/leb.h"
#include "agent/profile/modules.h"
#include "agent/profile/unwind.h"

#include <dlfcn.h>

enum {
    PE_FORMAT = 0x0f,
    PE_ULEB = 0x01,
    PE_UDATA2 = 0x02,
    PE_UDATA4 = 0x03,
    PE_UDATA8 = 0x04,
    PE_SLEB = 0x09,
    PE_SDATA2 = 0x0a,
    PE_SDATA4 = 0x0b,
    PE_SDATA8 = 0x0c,
    PE_APPLY = 0x70,
    PE_PCREL = 0x10,
    PE_DATAREL = 0x30,
    PE_INDIRECT = 0x80,
    PE_OMIT = 0xff
};

enum { REMEMBER = 4 }; /* nested remember_state; compilers use one, rarely two */

/* One pointer in encoding enc; data: what datarel is relative to. */
static bool read_encoded(const uint8_t **p, uint8_t enc, uintptr_t data, uintptr_t *out)
{
    const uintptr_t here = (uintptr_t)*p;
    int64_t v;
    switch (enc & PE_FORMAT) {
    case 0:
    case PE_UDATA8:
    case PE_SDATA8: v = read_int(p, 8, true); break;
    case PE_ULEB: v = (int64_t)leb_u(p); break;
    case PE_SLEB: v = leb_s(p); break;
    case PE_UDATA2: v = read_int(p, 2, false); break;
    case PE_SDATA2: v = read_int(p, 2, true); break;
    case PE_UDATA4: v = read_int(p, 4, false); break;
    case PE_SDATA4: v = read_int(p, 4, true); break;
    default: return false;
    }
    uintptr_t r = (uintptr_t)v;
    switch (enc & PE_APPLY) {
    case 0: break;
    case PE_PCREL: r += here; break;
    case PE_DATAREL: r += data; break;
    default: return false;
    }
    if (enc & PE_INDIRECT) return false; /* personality routines only, whose value nobody asks for */
    *out = r;
    return true;
}

extern int _dl_find_object(void *, struct dl_find_object *) __attribute__((weak));

static const uint8_t *find_hdr(uintptr_t pc)
{
    if (_dl_find_object) {
        struct dl_find_object o;
        return _dl_find_object((void *)pc, &o) == 0 ? o.dlfo_eh_frame : NULL;
    }
    return modules_eh_frame_hdr(pc);
}

/* The FDE whose range may hold pc: the last that begins at or below it. */
static const uint8_t *find_fde(uintptr_t pc)
{
    const uint8_t *hdr = find_hdr(pc);
    if (!hdr || hdr[0] != 1 || hdr[3] != (PE_DATAREL | PE_SDATA4)) return NULL;
    const uintptr_t base = (uintptr_t)hdr;
    const uint8_t *p = hdr + 4;
    uintptr_t frames, count;
    if (hdr[1] != PE_OMIT && !read_encoded(&p, hdr[1], base, &frames)) return NULL;
    if (hdr[2] == PE_OMIT || !read_encoded(&p, hdr[2], base, &count) || count == 0) return NULL;

    const struct {
        int32_t pc, fde;
    } *table = (const void *)p;
    int64_t want = (int64_t)(pc - base);
    if (want < table[0].pc) return NULL;
    uintptr_t lo = 0, hi = count;
    while (hi - lo > 1) {
        uintptr_t mid = lo + (hi - lo) / 2;
        if (table[mid].pc <= want)
            lo = mid;
        else
            hi = mid;
    }
    return (const uint8_t *)(base + (uintptr_t)(intptr_t)table[lo].fde);
}

struct cie {
    uint64_t code_align;
    int64_t data_align;
    uint32_t ra_reg;
    uint8_t fde_enc;
    bool has_aug, signal_frame;
    const uint8_t *program, *end;
};

/* Length field: sets *end, returns the entry's first byte after it. */
static const uint8_t *entry_begin(const uint8_t *p, const uint8_t **end)
{
    uint64_t len = (uint64_t)read_int(&p, 4, false);
    if (len == 0xffffffff) len = (uint64_t)read_int(&p, 8, false);
    *end = p + len;
    return len == 0 ? NULL : p;
}

static bool parse_cie(const uint8_t *at, struct cie *c)
{
    const uint8_t *p = entry_begin(at, &c->end);
    if (!p || read_int(&p, 4, false) != 0) return false;
    uint8_t version = *p++;
    if (version != 1 && version != 3) return false;
    const char *aug = (const char *)p;
    while (*p) p++;
    p++;
    c->code_align = leb_u(&p);
    c->data_align = leb_s(&p);
    c->ra_reg = version == 1 ? *p++ : (uint32_t)leb_u(&p);
    c->fde_enc = 0;
    c->signal_frame = false;
    c->has_aug = *aug == 'z';
    if (!c->has_aug) {
        c->program = p;
        return *aug == 0;
    }
    uint64_t aug_len = leb_u(&p);
    c->program = p + aug_len;
    for (aug++; *aug; aug++) {
        uintptr_t ignored;
        switch (*aug) {
        case 'R': c->fde_enc = *p++; break;
        case 'L': p++; break;
        case 'P': {
            uint8_t enc = *p++;
            if (!read_encoded(&p, enc & 0x7f, 0, &ignored)) return false;
            break;
        }
        case 'S': c->signal_frame = true; break;
        case 'B': break;
        default: return false;
        }
    }
    return true;
}

static void set_rule(struct unwind_row *row, uint64_t reg, enum rule_kind kind, int64_t off, const uint8_t *expr)
{
    if (reg >= ARCH_REGS) return;
    row->reg[reg] = (struct reg_rule){.kind = kind, .off = off, .expr = expr};
}

static const uint8_t *skip_block(const uint8_t *p)
{
    uint64_t len = leb_u(&p);
    return p + len;
}

struct program {
    const struct cie *cie;
    const struct unwind_row *initial; /* what DW_CFA_restore goes back to; NULL in the CIE's own program */
    uintptr_t loc, pc;                /* loc: where the current row begins */
};

/* Opcodes: DWARF 5, table 7.29. Runs until the row that holds pc is complete. */
static bool run(struct program *g, const uint8_t *p, const uint8_t *end, struct unwind_row *row)
{
    struct unwind_row saved[REMEMBER];
    unsigned nsaved = 0;
    const int64_t da = g->cie->data_align;
    while (p < end) {
        uint8_t op = *p++;
        uint64_t r, delta = 0;
        bool advance = false;
        switch (op >> 6) {
        case 1:
            delta = op & 0x3f;
            advance = true;
            break;
        case 2: set_rule(row, op & 0x3f, RULE_OFFSET, (int64_t)leb_u(&p) * da, NULL); continue;
        case 3:
            r = op & 0x3f;
            if (g->initial && r < ARCH_REGS) row->reg[r] = g->initial->reg[r];
            continue;
        default: break;
        }
        if (!advance) switch (op) {
            case 0x00: continue; /* nop */
            case 0x01: {         /* set_loc */
                uintptr_t to;
                if (!read_encoded(&p, g->cie->fde_enc, 0, &to)) return false;
                if (to > g->pc) return true;
                g->loc = to;
                continue;
            }
            case 0x02: /* advance_loc1 2 4 */
            case 0x03:
            case 0x04:
                delta = (uint64_t)read_int(&p, 1u << (op - 2), false);
                advance = true;
                break;
            case 0x05: /* offset_extended */
                r = leb_u(&p);
                set_rule(row, r, RULE_OFFSET, (int64_t)leb_u(&p) * da, NULL);
                continue;
            case 0x06: /* restore_extended */
                r = leb_u(&p);
                if (g->initial && r < ARCH_REGS) row->reg[r] = g->initial->reg[r];
                continue;
            case 0x07: set_rule(row, leb_u(&p), RULE_UNDEFINED, 0, NULL); continue;
            case 0x08: set_rule(row, leb_u(&p), RULE_SAME, 0, NULL); continue;
            case 0x09: /* register */
                r = leb_u(&p);
                set_rule(row, r, RULE_REGISTER, (int64_t)leb_u(&p), NULL);
                continue;
            case 0x0a: /* remember_state */
                if (nsaved == REMEMBER) return false;
                saved[nsaved++] = *row;
                continue;
            case 0x0b: /* restore_state */
                if (nsaved == 0) return false;
                *row = saved[--nsaved];
                continue;
            case 0x0c: /* def_cfa */
            case 0x12: /* def_cfa_sf */
                row->cfa_is_expr = false;
                row->cfa_reg = (uint32_t)leb_u(&p);
                row->cfa_off = op == 0x0c ? (int64_t)leb_u(&p) : leb_s(&p) * da;
                continue;
            case 0x0d: /* def_cfa_register */
                row->cfa_is_expr = false;
                row->cfa_reg = (uint32_t)leb_u(&p);
                continue;
            case 0x0e: row->cfa_off = (int64_t)leb_u(&p); continue; /* def_cfa_offset */
            case 0x13: row->cfa_off = leb_s(&p) * da; continue;     /* def_cfa_offset_sf */
            case 0x0f:                                              /* def_cfa_expression */
                row->cfa_is_expr = true;
                row->cfa_expr = p;
                p = skip_block(p);
                continue;
            case 0x10: /* expression */
            case 0x16: /* val_expression */
                r = leb_u(&p);
                set_rule(row, r, op == 0x10 ? RULE_EXPR : RULE_VALUE_EXPR, 0, p);
                p = skip_block(p);
                continue;
            case 0x11: /* offset_extended_sf */
                r = leb_u(&p);
                set_rule(row, r, RULE_OFFSET, leb_s(&p) * da, NULL);
                continue;
            case 0x14: /* val_offset */
                r = leb_u(&p);
                set_rule(row, r, RULE_VALUE, (int64_t)leb_u(&p) * da, NULL);
                continue;
            case 0x15: /* val_offset_sf */
                r = leb_u(&p);
                set_rule(row, r, RULE_VALUE, leb_s(&p) * da, NULL);
                continue;
            case 0x2e: leb_u(&p); continue; /* GNU_args_size: of no use here */
            case 0x2f:                      /* GNU_negative_offset_extended */
                r = leb_u(&p);
                set_rule(row, r, RULE_OFFSET, -((int64_t)leb_u(&p) * da), NULL);
                continue;
            default: return false;
            }
        g->loc += delta * g->cie->code_align;
        if (g->loc > g->pc) return true;
    }
    return true;
}

bool eh_frame_row(uintptr_t pc, struct unwind_row *row)
{
    const uint8_t *fde = find_fde(pc), *end;
    if (!fde) return false;
    const uint8_t *p = entry_begin(fde, &end);
    if (!p) return false;
    const uint8_t *cie_field = p;
    uint32_t cie_off = (uint32_t)read_int(&p, 4, false);
    struct cie cie;
    if (cie_off == 0 || !parse_cie(cie_field - cie_off, &cie)) return false;

    uintptr_t begin, range;
    if (!read_encoded(&p, cie.fde_enc, 0, &begin) || !read_encoded(&p, cie.fde_enc & PE_FORMAT, 0, &range))
        return false;
    if (pc < begin || pc - begin >= range) return false;
    if (cie.has_aug) p = skip_block(p);

    memset(row, 0, sizeof *row);
    row->ra_reg = cie.ra_reg;
    row->signal_frame = cie.signal_frame;
    struct program g = {.cie = &cie, .initial = NULL, .loc = begin, .pc = UINTPTR_MAX};
    if (!run(&g, cie.program, cie.end, row)) return false;
    struct unwind_row initial = *row;
    g = (struct program){.cie = &cie, .initial = &initial, .loc = begin, .pc = pc};
    return run(&g, p, end, row);
}
