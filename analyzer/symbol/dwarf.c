/* SPDX-License-Identifier: Apache-2.0
 *
 * DWARF: address → unit → function and the calls inlined into it → file and line.
 *
 * Three steps, each built once: unit ranges for the file (from the units' own DW_AT_ranges, since .debug_aranges is often
 * missing), the tree of functions and inlined calls for a unit when it is first asked, names for a DIE when it is
 * first met. A lookup is then two binary searches, the line table's own, and a walk over one function's inlined calls.
 *
 * Invariants: 1. ranges and functions are sorted by lo; 2. a function's inlined calls are contiguous and in preorder,
 * so those that cover an address come outermost first. Limits: of split DWARF whose .dwo is not there, or packed into a
 * .dwp (libdw reads them from 0.191 on), functions and lines are right and inlined calls missing; a tree deeper than
 * MAX_DEPTH is cut, so that a hostile file cannot overflow the stack. Dropped: dwarf_getscopes, which walks the unit's
 * whole tree for each address. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/symbol/symbol_internal.h"

enum { MAX_DEPTH = 200, MAX_INLINE = 64 };

struct die_name {
    const char *function, *linkage;
};

void dwarf_free(struct sym_image *im)
{
    for (size_t i = 0; i < im->nunits; i++) {
        free(im->units[i].dies);
        free(im->units[i].functions);
        free(im->units[i].inlines);
    }
    free(im->units);
    free(im->ranges);
}

static int by_lo(const void *a, const void *b)
{
    const struct unit_range *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

void dwarf_index(struct sym_image *im, Dwarf *dw)
{
    size_t cap = 0, cap_ranges = 0;
    Dwarf_CU *cu = NULL;
    Dwarf_Die die, sub;
    uint8_t type;
    while (dwarf_get_units(dw, cu, &cu, NULL, &type, &die, &sub) == 0) {
        if (type != DW_UT_compile && type != DW_UT_skeleton) continue;
        if (type == DW_UT_skeleton && sub.addr) die = sub; /* split DWARF, when its file was found */
        if (im->nunits == cap) im->units = xrealloc(im->units, cap = cap * 2 + 64, sizeof *im->units);
        uint32_t index = (uint32_t)im->nunits;
        Dwarf_Addr base, lo, hi;
        bool any = false;
        for (ptrdiff_t off = 0; (off = dwarf_ranges(&die, off, &base, &lo, &hi)) > 0;) {
            if (lo >= hi || lo == 0) continue; /* 0: code the linker threw away */
            if (im->nranges == cap_ranges)
                im->ranges = xrealloc(im->ranges, cap_ranges = cap_ranges * 2 + 256, sizeof *im->ranges);
            im->ranges[im->nranges++] = (struct unit_range){lo, hi, index};
            any = true;
        }
        if (any) im->units[im->nunits++] = (struct unit){.die = die};
    }
    if (im->nranges) qsort(im->ranges, im->nranges, sizeof *im->ranges, by_lo);
}

/* ---- one unit's tree */
#define PUSH(array, n, cap, value)                                                            \
    do {                                                                                      \
        if ((n) == (cap)) (array) = xrealloc((array), (cap) = (cap)*2 + 64, sizeof *(array)); \
        (array)[(n)++] = (value);                                                             \
    } while (0)

static void walk(struct unit *u, Dwarf_Die *parent, size_t function, unsigned depth);

static void visit(struct unit *u, Dwarf_Die *die, size_t function, unsigned depth)
{
    int tag = dwarf_tag(die);
    Dwarf_Addr base, lo, hi;
    if (tag == DW_TAG_subprogram) {
        size_t begin = u->nfunctions, first = u->ninlines;
        uint32_t index = (uint32_t)u->ndies;
        for (ptrdiff_t off = 0; (off = dwarf_ranges(die, off, &base, &lo, &hi)) > 0;)
            if (lo < hi && lo != 0) {
                struct scope s = {lo, hi, index, (uint32_t)first, 0};
                PUSH(u->functions, u->nfunctions, u->capfunctions, s);
            }
        if (u->nfunctions == begin) return; /* a declaration or an abstract instance */
        PUSH(u->dies, u->ndies, u->capdies, *die);
        walk(u, die, begin, depth + 1);
        for (size_t i = begin; i < u->nfunctions && u->functions[i].die == index; i++)
            u->functions[i].last = (uint32_t)u->ninlines;
    } else if (tag == DW_TAG_inlined_subroutine && function != SIZE_MAX) {
        uint32_t index = (uint32_t)u->ndies;
        for (ptrdiff_t off = 0; (off = dwarf_ranges(die, off, &base, &lo, &hi)) > 0;)
            if (lo < hi) {
                struct scope s = {lo, hi, index, 0, 0};
                PUSH(u->inlines, u->ninlines, u->capinlines, s);
            }
        PUSH(u->dies, u->ndies, u->capdies, *die);
        walk(u, die, function, depth + 1);
    } else if (tag == DW_TAG_lexical_block || tag == DW_TAG_namespace || tag == DW_TAG_structure_type ||
               tag == DW_TAG_class_type || tag == DW_TAG_module) {
        walk(u, die, function, depth + 1);
    }
}

static void walk(struct unit *u, Dwarf_Die *parent, size_t function, unsigned depth)
{
    Dwarf_Die die;
    if (depth > MAX_DEPTH || dwarf_child(parent, &die) != 0) return;
    do {
        visit(u, &die, function, depth);
    } while (dwarf_siblingof(&die, &die) == 0);
}

static int scope_by_lo(const void *a, const void *b)
{
    const struct scope *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static void unit_build(struct unit *u)
{
    Dwarf_Attribute attr;
    u->built = true;
    u->comp_dir = dwarf_formstring(dwarf_attr(&u->die, DW_AT_comp_dir, &attr));
    if (dwarf_getsrcfiles(&u->die, &u->files, &u->nfiles) != 0) u->nfiles = 0;
    walk(u, &u->die, SIZE_MAX, 0);
    if (u->nfunctions) qsort(u->functions, u->nfunctions, sizeof *u->functions, scope_by_lo);
}

/* ---- lookup */
static const struct die_name *name_of(struct sym_image *im, Dwarf_Die *die)
{
    struct symbolizer *s = im->owner;
    uint64_t key = (uintptr_t)die->addr;
    struct die_name *n = map_get(&s->names, key);
    if (n) return n;
    Dwarf_Attribute attr;
    n = arena_alloc(&s->arena, sizeof *n);
    n->linkage = dwarf_formstring(dwarf_attr_integrate(die, DW_AT_linkage_name, &attr));
    const char *plain = dwarf_formstring(dwarf_attr_integrate(die, DW_AT_name, &attr));
    if (!n->linkage) n->linkage = plain;
    n->function = n->linkage ? symbol_demangle(&s->arena, n->linkage) : NULL;
    if (n->function == n->linkage && plain) n->function = plain;
    map_put(&s->names, key, n);
    return n;
}

static const char *call_file(const struct unit *u, Dwarf_Die *die)
{
    Dwarf_Attribute attr;
    Dwarf_Word index;
    if (!dwarf_attr(die, DW_AT_call_file, &attr) || dwarf_formudata(&attr, &index) != 0 || index >= u->nfiles)
        return NULL;
    return dwarf_filesrc(u->files, (size_t)index, NULL, NULL);
}

static unsigned call_line(Dwarf_Die *die)
{
    Dwarf_Attribute attr;
    Dwarf_Word line;
    if (!dwarf_attr(die, DW_AT_call_line, &attr) || dwarf_formudata(&attr, &line) != 0 || line > 1u << 30) return 0;
    return (unsigned)line;
}

static struct unit *find_unit(struct sym_image *im, uint64_t pc)
{
    size_t n = begun_at(im->ranges, im->nranges, sizeof *im->ranges, pc);
    return n > 0 && pc < im->ranges[n - 1].hi ? &im->units[im->ranges[n - 1].unit] : NULL;
}

static const struct scope *find_function(const struct unit *u, uint64_t pc)
{
    size_t n = begun_at(u->functions, u->nfunctions, sizeof *u->functions, pc);
    return n > 0 && pc < u->functions[n - 1].hi ? &u->functions[n - 1] : NULL;
}

unsigned dwarf_lookup(struct sym_image *im, uint64_t addr, struct sym_line *out, unsigned max)
{
    uint64_t pc = addr + im->bias - im->dwarf_bias;
    struct unit *u = find_unit(im, pc);
    if (!u) return 0;
    if (!u->built) unit_build(u);

    struct sym_line at = {.comp_dir = u->comp_dir};
    Dwarf_Line *line = dwarf_getsrc_die(&u->die, pc);
    int number = 0;
    if (line) at.file = dwarf_linesrc(line, NULL, NULL);
    if (line && dwarf_lineno(line, &number) == 0 && number > 0) at.line = (unsigned)number;

    const struct scope *fn = find_function(u, pc);
    if (!fn) {
        if (!at.file) return 0;
        out[0] = at;
        return 1;
    }
    /* Outermost first: the function, then the inlined calls that cover pc. */
    uint32_t chain[MAX_INLINE], n = 0;
    chain[n++] = fn->die;
    for (uint32_t i = fn->first; i < fn->last && n < MAX_INLINE; i++)
        if (u->inlines[i].lo <= pc && pc < u->inlines[i].hi && u->inlines[i].die != chain[n - 1])
            chain[n++] = u->inlines[i].die;
    unsigned count = 0;
    for (uint32_t i = n; i-- > 0 && count < max; count++) {
        const struct die_name *name = name_of(im, &u->dies[chain[i]]);
        out[count] = at;
        out[count].function = name->function;
        out[count].linkage = name->linkage;
        /* The caller stands where it called what was inlined. */
        at.file = call_file(u, &u->dies[chain[i]]);
        at.line = call_line(&u->dies[chain[i]]);
    }
    return count;
}
