/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening an ELF file and its debug file (libdwfl: .build-id folders, .gnu_debuglink, compressed and shared DWARF,
 * MiniDebugInfo), checking that it is the recorded one, and its symbol table.
 *
 * Invariants: 1. syms and data are sorted and hold only symbols with a size, so a gap has no name;
 * 2. an image with a problem answers nothing.
 *
 * Dropped: dwfl_module_addrinfo, which walks the whole symbol table for each address. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "analyzer/symbol/symbol_internal.h"

struct symbol_policy symbol_policy;

void symbol_allow(const struct symbol_policy *p)
{
    static char absolute[PATH_MAX];
    symbol_policy = *p;
    /* libdwfl takes a relative one for a folder beside the program. */
    if (p->debug_dir && realpath(p->debug_dir, absolute)) symbol_policy.debug_dir = absolute;
}

struct symbolizer *symbolizer_new(void)
{
    struct symbolizer *s = xcalloc(1, sizeof *s);
    struct buf path = {0};
    buf_puts(&path, ":.debug"); /* as gdb and elfutils look */
    if (symbol_policy.debug_dir) buf_printf(&path, ":%s", symbol_policy.debug_dir);
    buf_puts(&path, ":/usr/lib/debug");
    s->debug_path = path.data;
    if (!symbol_policy.debuginfod) unsetenv("DEBUGINFOD_URLS"); /* libdwfl would ask the network */
    return s;
}

static void image_free(struct sym_image *im)
{
    dwarf_free(im);
    if (im->dwfl) dwfl_end(im->dwfl);
    free(im->syms);
    free(im->data);
    free(im->path);
    free(im->build_id);
    free(im);
}

void symbolizer_free(struct symbolizer *s)
{
    if (!s) return;
    while (s->images) {
        struct sym_image *im = s->images;
        s->images = im->next;
        image_free(im);
    }
    map_free(&s->names);
    arena_free(&s->arena);
    free(s->debug_path);
    free(s->jit);
    free(s);
}

struct sym_image *symbolizer_image(struct symbolizer *s, const char *path, const char *build_id, int64_t not_after_ns)
{
    for (struct sym_image *im = s->images; im; im = im->next)
        if (strcmp(im->path, path) == 0 && strcmp(im->build_id, build_id) == 0) return im;
    struct sym_image *im = xcalloc(1, sizeof *im);
    im->owner = s;
    im->path = xstrdup(path);
    im->build_id = xstrdup(build_id);
    im->not_after_ns = not_after_ns;
    im->next = s->images;
    s->images = im;
    return im;
}

/* Same file as recorded? By build id; without one by its age. */
static bool is_recorded(const struct sym_image *im, const char *file)
{
    const unsigned char *id = NULL;
    GElf_Addr vaddr;
    int n = dwfl_module_build_id(im->module, &id, &vaddr);
    struct buf hex = {0};
    for (int i = 0; i < n; i++) buf_printf(&hex, "%02x", id[i]);
    bool same = strcmp(hex.data ? hex.data : "", im->build_id) == 0;
    buf_free(&hex);
    if (!same || n > 0) return same;
    struct stat st;
    return stat(file, &st) == 0 && (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec <= im->not_after_ns;
}

static bool try_file(struct sym_image *im, const char *file)
{
    static const Dwfl_Callbacks template = {.find_elf = dwfl_build_id_find_elf,
                                            .find_debuginfo = dwfl_standard_find_debuginfo,
                                            .section_address = dwfl_offline_section_address};
    static Dwfl_Callbacks callbacks;
    callbacks = template;
    callbacks.debuginfo_path = &im->owner->debug_path;
    struct stat st;
    /* Only regular files: a recorded path may name anything on this machine. */
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        im->problem = "the file is not there";
        return false;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        im->problem = "not a regular file";
        return false;
    }
    im->dwfl = dwfl_begin(&callbacks);
    if (im->dwfl) {
        dwfl_report_begin(im->dwfl);
        im->module = dwfl_report_elf(im->dwfl, path_base(file), file, fd, 0, true);
        dwfl_report_end(im->dwfl, NULL, NULL);
    }
    if (!im->module) close(fd);
    GElf_Addr bias = 0;
    if (im->module && dwfl_module_getelf(im->module, &bias) && is_recorded(im, file)) {
        im->bias = bias;
        im->problem = NULL;
        return true;
    }
    im->problem = im->module ? "the file is another build" : "not an ELF file";
    if (im->dwfl) dwfl_end(im->dwfl);
    im->dwfl = NULL;
    im->module = NULL;
    return false;
}

static int by_address(const void *a, const void *b)
{
    const struct elf_sym *x = a, *y = b;
    if (x->lo != y->lo) return x->lo < y->lo ? -1 : 1;
    /* Of several names the plainest stays first: fewest leading underscores, then shortest. */
    size_t ux = strspn(x->name, "_"), uy = strspn(y->name, "_");
    if (ux != uy) return ux < uy ? -1 : 1;
    size_t lx = strlen(x->name), ly = strlen(y->name);
    return lx != ly ? (lx < ly ? -1 : 1) : strcmp(x->name, y->name);
}

static void read_symbols(struct sym_image *im)
{
    int n = dwfl_module_getsymtab(im->module);
    if (n <= 0) return;
    im->syms = xcalloc((size_t)n, sizeof *im->syms);
    im->data = xcalloc((size_t)n, sizeof *im->data);
    for (int i = 0; i < n; i++) {
        GElf_Sym sym;
        GElf_Addr addr = 0;
        const char *name = dwfl_module_getsym_info(im->module, i, &sym, &addr, NULL, NULL, NULL);
        int type = GELF_ST_TYPE(sym.st_info);
        if (!name || !*name || sym.st_size == 0 || sym.st_shndx == SHN_UNDEF) continue;
        uint64_t lo = addr - im->bias;
        if (lo + sym.st_size < lo) continue;
        struct elf_sym s = {lo, lo + sym.st_size, name};
        if (type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE)
            im->syms[im->nsyms++] = s;
        else if (type == STT_OBJECT)
            im->data[im->ndata++] = s;
    }
    qsort(im->syms, im->nsyms, sizeof *im->syms, by_address);
    qsort(im->data, im->ndata, sizeof *im->data, by_address);
}

/* The kernel maps [vdso] into every process; ours is the recorded one when their build ids agree. */
static bool try_vdso(struct sym_image *im)
{
    const unsigned char *base = (const unsigned char *)(uintptr_t)getauxval(AT_SYSINFO_EHDR);
    char path[64];
    const Elf64_Ehdr *h = (const Elf64_Ehdr *)(uintptr_t)base;
    if (!base || memcmp(base, ELFMAG, SELFMAG) != 0 || h->e_ident[EI_CLASS] != ELFCLASS64) return false;
    /* Its section headers come last. */
    size_t size = h->e_shoff + (size_t)h->e_shnum * h->e_shentsize;
    int fd = memfd_create("vdso", MFD_CLOEXEC);
    if (fd < 0) return false;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    bool ok = write(fd, base, size) == (ssize_t)size && try_file(im, path);
    close(fd);
    return ok;
}

/* The file is not where it was: by its path or name under --debug-dir, by build id under the debug folders, from a server. */
static bool try_elsewhere(struct sym_image *im)
{
    const char *dir = symbol_policy.debug_dir, *why = im->problem;
    struct arena *a = &im->owner->arena;
    size_t len = strlen(im->build_id);
    bool has_id = len > 2 && strspn(im->build_id, "0123456789abcdef") == len;
    bool ok = dir && im->path[0] == '/' &&
              (try_file(im, arena_printf(a, "%s%s", dir, im->path)) ||
               try_file(im, arena_printf(a, "%s/%s", dir, path_base(im->path))));
    if (!ok && has_id) {
        const char *name = arena_printf(a, ".build-id/%.2s/%s.debug", im->build_id, im->build_id + 2);
        ok = (dir && try_file(im, arena_printf(a, "%s/%s", dir, name))) ||
             try_file(im, arena_printf(a, "/usr/lib/debug/%s", name));
    }
    for (int executable = 0; !ok && has_id && symbol_policy.debuginfod && executable < 2; executable++) {
        const char *file = debuginfod_fetch(im->owner, im->build_id, executable);
        ok = file && try_file(im, file);
    }
    if (!ok) im->problem = why;
    return ok;
}

static void image_open(struct sym_image *im)
{
    im->opened = true;
    im->problem = "not a file";
    bool ok = im->path[0] == '/' ? try_file(im, im->path) : strcmp(im->path, "[vdso]") == 0 && try_vdso(im);
    if (!ok && !try_elsewhere(im)) return;
    Dwarf_Addr dwarf_bias = 0;
    Dwarf *dw = dwfl_module_getdwarf(im->module, &dwarf_bias);
    im->dwarf_bias = dwarf_bias;
    if (dw) dwarf_index(im, dw);
    read_symbols(im);
    if (!im->nsyms && !im->nranges) im->problem = "stripped";
}

const char *symbol_image_problem(struct sym_image *im)
{
    if (!im->opened) image_open(im);
    return im->problem;
}

size_t begun_at(const void *list, size_t n, size_t size, uint64_t addr)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        uint64_t begin;
        memcpy(&begin, (const char *)list + mid * size, sizeof begin);
        if (begin <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct elf_sym *find_symbol(const struct elf_sym *list, size_t n, uint64_t addr)
{
    /* The nearest start that covers the address; of equal starts the first that does. */
    const struct elf_sym *best = NULL;
    for (size_t i = begun_at(list, n, sizeof *list, addr), looked = 0; i > 0 && looked < 16; i--, looked++) {
        const struct elf_sym *s = &list[i - 1];
        if (best && s->lo != best->lo) break;
        if (addr < s->hi) best = s;
    }
    return best;
}

unsigned symbol_lookup(struct sym_image *im, uint64_t addr, struct sym_line *out, unsigned max)
{
    if (!im->opened) image_open(im);
    if (im->problem || max == 0) return 0;
    unsigned n = dwarf_lookup(im, addr, out, max);
    if (n > 0 && out[n - 1].function) return n;
    const struct elf_sym *s = find_symbol(im->syms, im->nsyms, addr);
    if (!s) return n;
    if (n == 0) {
        out[0] = (struct sym_line){0};
        n = 1;
    }
    out[n - 1].linkage = s->name;
    out[n - 1].function = symbol_demangle(&im->owner->arena, s->name);
    return n;
}

const char *symbol_data(struct sym_image *im, uint64_t addr, uint64_t *into)
{
    if (!im->opened) image_open(im);
    const struct elf_sym *s = im->problem ? NULL : find_symbol(im->data, im->ndata, addr);
    if (!s) return NULL;
    *into = addr - s->lo;
    return symbol_demangle(&im->owner->arena, s->name);
}
