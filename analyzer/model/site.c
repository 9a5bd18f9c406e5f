/* SPDX-License-Identifier: Apache-2.0
 *
 * Places in code as people name them, and which of them are the user's own. A leak is shown, grouped and fingerprinted at the first
 * line of the user's code, so the two tables here decide what every report says. */
#include <fnmatch.h>
#include <string.h>

#include "analyzer/model/model.h"

/* Modules that allocate or wait on somebody else's behalf. */
static const char *const library_modules[] = {
    "libseep.so",      "libc.so",      "libc-*.so",     "ld-linux*.so", "ld64.so",     "ld-*.so",      "libpthread.so",
    "libpthread-*.so", "libstdc++.so", "libc++.so",     "libc++abi.so", "libgcc_s.so", "libm.so",      "libdl.so",
    "librt.so",        "[vdso]",       "linux-vdso.so", "libasan.so",   "libtsan.so",  "ld-musl-*.so",
};

/* Functions of any module that only pass an allocation on; names ending in * are prefixes. */
static const char *const library_functions[] = {
    "aligned_alloc", "memalign",      "valloc", "pvalloc",     "asprintf",     "vasprintf", "getline", "getdelim",
    "seep_new",      "operator new*", "std::*", "void std::*", "__gnu_cxx::*", "g_slice_*", "_start",  "__libc_start_*",
};

/* And every wrapper that says so in its name: xmalloc, zmalloc_usable, CRYPTO_zalloc, PyObject_Malloc, g_malloc0, xstrdup. */
static const char *const allocator_words[] = {"malloc",   "calloc", "realloc", "reallocarray", "zalloc",
                                              "memalign", "strdup", "strndup", "memdup"};

static bool named_allocator(const char *function)
{
    if (strchr(function, '(') || strchr(function, ':')) return false; /* C++ says it with namespaces */
    for (size_t i = 0; i < sizeof allocator_words / sizeof *allocator_words; i++) {
        const char *at = strcasestr(function, allocator_words[i]);
        if (!at) continue;
        char next = at[strlen(allocator_words[i])];
        if (next == 0 || next == '_' || (next >= '0' && next <= '9') || next == '.') return true;
    }
    return false;
}

/* Go's standard library: its packages wait and allocate on behalf of whoever called them. */
static const char *const go_packages[] = {
    "runtime.", "runtime/", "sync.",    "sync/",   "internal/", "syscall.",   "time.",         "reflect.",
    "bytes.",   "strings.", "strconv.", "bufio.",  "io.",       "io/",        "fmt.",          "sort.",
    "slices.",  "maps.",    "errors.",  "os.",     "os/",       "net.",       "net/",          "encoding/",
    "context.", "log.",     "log/",     "regexp.", "regexp/",   "crypto/",    "compress/",     "text/",
    "html/",    "mime.",    "mime/",    "path/",   "unicode/",  "container/", "database/sql.", "hash/",
};

static bool in_go_library(const char *function)
{
    /* "log.constprop.0" is a C function. */
    static const char *const suffixes[] = {"constprop.", "isra.", "part.", "cold", "lto_priv.", "llvm.", "clone."};
    const char *dot = strchr(function, '.');
    for (size_t i = 0; dot && i < sizeof suffixes / sizeof *suffixes; i++)
        if (strncmp(dot + 1, suffixes[i], strlen(suffixes[i])) == 0) return false;
    for (size_t i = 0; i < sizeof go_packages / sizeof *go_packages; i++)
        if (strncmp(go_packages[i], function, strlen(go_packages[i])) == 0) return true;
    return false;
}

static bool matches(const char *pattern, const char *s)
{
    size_t n = strlen(pattern);
    return pattern[n - 1] == '*' ? strncmp(pattern, s, n - 1) == 0 : strcmp(pattern, s) == 0;
}

bool module_is_library(const char *name)
{
    for (size_t i = 0; i < sizeof library_modules / sizeof *library_modules; i++)
        if (fnmatch(library_modules[i], name, 0) == 0) return true;
    return false;
}

bool function_is_library(const char *function)
{
    for (size_t i = 0; i < sizeof library_functions / sizeof *library_functions; i++)
        if (matches(library_functions[i], function)) return true;
    return in_go_library(function) || named_allocator(function);
}

const char *module_name(struct arena *a, const char *path)
{
    const char *base = path_base(path), *so = strstr(base, ".so");
    if (so && (so[3] == '.' || so[3] == 0)) return arena_strndup(a, base, (size_t)(so + 3 - base));
    return arena_strdup(a, *base ? base : path);
}

const char *function_stem(struct arena *a, const char *function)
{
    static const char *const suffixes[] = {".constprop.", ".isra.", ".part.", ".cold",
                                           ".lto_priv.",  ".llvm.", ".clone."};
    const char *end = NULL;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        const char *at = strstr(function, suffixes[i]);
        if (at && at > function && (!end || at < end)) end = at;
    }
    /* The demangler writes the same as " [clone .cold]". */
    const char *clone = strstr(function, " [clone ");
    if (clone && (!end || clone < end)) end = clone;
    return end ? arena_strndup(a, function, (size_t)(end - function)) : function;
}

struct site frame_site(const struct frame *f, unsigned j)
{
    struct site s = {.image = f->image, .offset = f->offset};
    if (j >= f->nlines) return s;
    const struct sym_line *l = &f->lines[j];
    s.function = l->function;
    s.file = l->file;
    s.comp_dir = l->comp_dir;
    s.line = l->line;
    return s;
}

bool site_is_user(const struct site *s)
{
    return s->image && !s->image->library && !(s->function && function_is_library(s->function));
}

/* Of the runtime's own waits: what waits says more than how. */
static bool is_system_call(const struct site *s)
{
    if (!s->image || strcmp(s->image->name, "libseep.so") != 0) return false;
    return fnmatch("sys[0-9]", s->function, 0) == 0 || strncmp(s->function, "os_", 3) == 0;
}

struct site stack_site(struct recording *r, struct stack *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        const struct frame *f = frame_resolve(r, s->frames[i]);
        for (unsigned j = 0; j == 0 || j < f->nlines; j++) {
            struct site site = frame_site(f, j);
            if (site_is_user(&site)) return site;
        }
    }
    /* All of it is the library's: then the first function that does not merely pass the allocation on. */
    for (unsigned i = 0; i < s->n; i++) {
        struct site site = frame_site(frame_resolve(r, s->frames[i]), 0);
        if (!site.function || (!function_is_library(site.function) && !is_system_call(&site))) return site;
    }
    return s->n ? frame_site(frame_resolve(r, s->frames[0]), 0) : (struct site){0};
}

const char *site_function(struct arena *a, const struct site *s)
{
    if (s->function) {
        /* C++ names carry their parameters already. */
        size_t n = strlen(s->function);
        bool call = n > 0 && (strchr(s->function, '(') || s->function[n - 1] == ']');
        return call ? s->function : arena_printf(a, "%s()", s->function);
    }
    if (s->image) return arena_printf(a, "%s+0x%llx", path_base(s->image->path), (unsigned long long)s->offset);
    return s->offset ? arena_printf(a, "0x%llx", (unsigned long long)s->offset) : "(no stack)";
}

const char *site_place(struct arena *a, const struct site *s)
{
    if (s->file) {
        const char *file = s->file;
        size_t n = s->comp_dir ? strlen(s->comp_dir) : 0;
        if (n && strncmp(file, s->comp_dir, n) == 0 && file[n] == '/') file += n + 1;
        while (strncmp(file, "./", 2) == 0) file += 2;
        return s->line ? arena_printf(a, "%s:%u", file, s->line) : file;
    }
    if (s->image) return path_base(s->image->path);
    return "";
}
