/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the files of analyzer/symbol only. */
#ifndef ANALYZER_SYMBOL_INTERNAL_H
#define ANALYZER_SYMBOL_INTERNAL_H

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>

#include "analyzer/symbol/symbol.h"

/* A symbol with a size: [lo, hi). Sorted by lo. */
struct elf_sym {
    uint64_t lo, hi;
    const char *name;
};

/* A function or an inlined call, with its ranges flattened: one entry a range. */
struct scope {
    uint64_t lo, hi;
    uint32_t die;         /* index into dies */
    uint32_t first, last; /* of a function: its inlined calls, [first, last) of unit.inlines */
};

struct unit {
    Dwarf_Die die;
    bool built;
    const char *comp_dir;
    Dwarf_Files *files;
    size_t nfiles;
    Dwarf_Die *dies;
    size_t ndies, capdies;
    struct scope *functions, *inlines; /* functions sorted by lo; inlines outermost first within a function */
    size_t nfunctions, capfunctions, ninlines, capinlines;
};

struct unit_range {
    uint64_t lo, hi;
    uint32_t unit;
};

struct sym_image {
    struct sym_image *next;
    struct symbolizer *owner;
    char *path, *build_id;
    int64_t not_after_ns;
    bool opened;
    const char *problem;
    Dwfl *dwfl;
    Dwfl_Module *module;
    uint64_t bias, dwarf_bias;   /* what libdwfl adds to ELF addresses */
    struct elf_sym *syms, *data; /* code, variables */
    size_t nsyms, ndata;
    struct unit *units;
    size_t nunits;
    struct unit_range *ranges; /* sorted by lo */
    size_t nranges;
};

struct symbolizer {
    struct sym_image *images;
    struct arena arena;
    struct map names; /* Dwarf_Die address → const struct die_name * */
    char *debug_path;
    struct elf_sym *jit; /* generated code, sorted, disjoint */
    size_t njit;
};
extern struct symbol_policy symbol_policy;

/* debuginfod.c: path of a fetched file in s's arena; NULL: there is none. */
const char *debuginfod_fetch(struct symbolizer *s, const char *build_id, bool executable);

/* image.c: how many entries of a list begin at addr or before; each has its uint64_t lo first, and is sorted by it. */
size_t begun_at(const void *list, size_t n, size_t size, uint64_t addr);
/* The symbol of a sorted list that covers addr; NULL: none. */
const struct elf_sym *find_symbol(const struct elf_sym *list, size_t n, uint64_t addr);

/* dwarf.c */
void dwarf_index(struct sym_image *im, Dwarf *dw);
unsigned dwarf_lookup(struct sym_image *im, uint64_t addr, struct sym_line *out, unsigned max);
void dwarf_free(struct sym_image *im);

#endif
