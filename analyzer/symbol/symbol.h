/* SPDX-License-Identifier: Apache-2.0
 *
 * From (ELF file, address) to functions, files and lines, inlined ones included. Files are found by path, then by build
 * id under the debug folders; a file whose build id is not the recorded one is never used, so that a name is right or
 * absent. Nothing is fetched from a network, and no file that others may have put into /tmp is believed, unless
 * symbol_allow() was told so.
 *
 * Each file's tables are built once, when the first address of it is asked. */
#ifndef ANALYZER_SYMBOL_H
#define ANALYZER_SYMBOL_H

#include "analyzer/util/util.h"

struct symbolizer;
struct sym_image;

struct sym_line {
    const char *function; /* demangled; NULL: not known */
    const char *linkage;  /* as in the symbol table; NULL: not known */
    const char *file;     /* NULL: not known */
    const char *comp_dir; /* folder the file was compiled in; NULL: not known */
    unsigned line;        /* 0: not known */
};

/* What the user allows, for symbolizers made later. */
struct symbol_policy {
    bool debuginfod;       /* ask the servers of DEBUGINFOD_URLS */
    bool jit_maps;         /* believe /tmp/perf-PID.map */
    const char *debug_dir; /* looked into first; NULL: none */
};
void symbol_allow(const struct symbol_policy *p);

struct symbolizer *symbolizer_new(void);
void symbolizer_free(struct symbolizer *s);
/* build_id: lower-case hex, "" where the file has none. not_after_ns: a file without a build id that changed
 * after that moment is not the one recorded. Lives as long as the symbolizer. */
struct sym_image *symbolizer_image(struct symbolizer *s, const char *path, const char *build_id, int64_t not_after_ns);
/* The lines of the code at the ELF address, innermost first. 0: nothing is known. Strings live as long as
 * the symbolizer. A return address must be lowered by one first, to be inside its call. */
unsigned symbol_lookup(struct sym_image *im, uint64_t addr, struct sym_line *out, unsigned max);
/* The variable at the ELF address and how far into it; NULL: not known. */
const char *symbol_data(struct sym_image *im, uint64_t addr, uint64_t *into);
/* Names of code that process generated, where allowed; start: files older than it are of another. Then the name at an absolute
 * address: 1, or 0 where it is not known. */
void symbolizer_jit(struct symbolizer *s, int64_t pid, int64_t start_unix_ns);
unsigned symbol_jit_lookup(struct symbolizer *s, uint64_t addr, struct sym_line *out);
/* Why the image has no symbols, NULL when it has. */
const char *symbol_image_problem(struct sym_image *im);

/* Demangled by the C++ library where it is installed, else the name itself. In a. */
const char *symbol_demangle(struct arena *a, const char *name);

#endif
