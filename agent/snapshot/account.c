/* SPDX-License-Identifier: Apache-2.0
 *
 * The account of RSS: every byte the kernel counts for the program, in parts that are disjoint and add up.
 *
 * The figures are those of /proc/PID/smaps of the program, read right after it was released; what it did
 * in between is in them. A mapping that holds several things (the kernel merges neighbours) is split by the pages that are present in
 * the child's page tables, and what is left over of it goes to its last part, so the sum is the kernel's.
 *
 *   heap        in-use, idle, lazy-free (given back by MADV_FREE, still counted by the kernel)
 *   agent       meta, gc, profile, other
 *   stack       main, threads, coroutines
 *   image       by path: code and data of modules, the .bss that follows included
 *   file, shared, anon  by name
 */
#include "agent/snapshot/child.h"
#include "agent/snapshot/roots.h"

#include <string.h>

#include "agent/os/os.h"
#include "agent/profile/profile.h"
#include "agent/snapshot/raw.h"
#include "agent/util/log.h"

enum what { W_HEAP, W_META, W_GC, W_PROF, W_STACK, W_OTHER, W_THREAD, W_COUNT };
static const struct {
    const char *part, *name;
} label[W_COUNT] = {
    [W_HEAP] = {"heap-in-use", ""},   [W_META] = {"agent", "meta"},        [W_GC] = {"agent", "gc"},
    [W_PROF] = {"agent", "profile"},  [W_STACK] = {"stack", "coroutines"}, [W_OTHER] = {"agent", "other"},
    [W_THREAD] = {"stack", "threads"}};
_Static_assert((int)W_HEAP == (int)OS_HEAP && (int)W_OTHER == (int)OS_OTHER, "kinds of regions come first");

struct piece {
    uintptr_t lo, hi;
    enum what what;
};

static struct {
    struct account *a;
    struct child_map index, images;
    struct child_vec pieces; /* sorted */
    int pagemap;
    size_t page;
    uint64_t heap_rss, heap_lazy, heap_size, heap_inuse;
    char last_image[4096];
    uintptr_t last_end;
} A;

static uint64_t hash_of(const char *part, const char *name)
{
    uint64_t h = 0xcbf29ce484222325ull;
    for (; *part; part++) h = (h ^ (unsigned char)*part) * 0x100000001b3ull;
    h = (h ^ 0xff) * 0x100000001b3ull;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001b3ull;
    return h;
}

static void add(const char *part, const char *name, uint64_t rss, uint64_t lazy, uint64_t size)
{
    struct rss_row *r = child_group(&A.index, &A.a->rows, hash_of(part, name), sizeof *r);
    if (!r->name) {
        size_t n = strlen(name) + 1;
        char *copy = scratch_alloc(n);
        memcpy(copy, name, n);
        r->part = part;
        r->name = copy;
    }
    r->rss_bytes += rss;
    r->lazy_free_bytes += lazy;
    r->size_bytes += size;
}

/* Bytes of [lo, hi) that are present in the child, which is what the program had at the fork. */
static uint64_t present(uintptr_t lo, uintptr_t hi)
{
    static uint64_t entries[4096];
    uint64_t pages = 0;
    size_t first = lo / A.page, last = (hi + A.page - 1) / A.page;
    while (first < last) {
        size_t n = last - first < 4096 ? last - first : 4096;
        long got = A.pagemap >= 0 ? raw_pread(A.pagemap, entries, n * 8, first * 8) : -1;
        if (got <= 0) return 0;
        n = (size_t)got / 8;
        for (size_t i = 0; i < n; i++) pages += entries[i] >> 63;
        first += n;
    }
    return pages * A.page;
}

/* ---- what is where */

static void add_piece(uintptr_t lo, uintptr_t hi, enum what what)
{
    if (lo < hi) *(struct piece *)child_vec_add(&A.pieces, sizeof(struct piece)) = (struct piece){lo, hi, what};
}

/* The agent's regions as they were at the fork. What the child maps may stand where the program has memory that fork does
 * not copy, so they are listed before it maps anything. */
enum { REGIONS = 8192 };
static struct os_region regions[REGIONS];
static size_t nregions;

static void note_region(void *arg, const struct os_region *r)
{
    (void)arg;
    if (nregions < REGIONS) regions[nregions++] = *r;
}

static int by_lo(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static int inuse_pages(void *arg, uintptr_t lo, uintptr_t hi, enum heap_page_state state)
{
    (void)arg;
    if (state == HEAP_PAGE_INUSE) A.heap_inuse += present(lo, hi);
    return 0;
}

/* ---- mappings */

struct vma {
    struct root_mapping map;
    uint64_t rss, lazy;
    bool hidden;
};

static void take(enum what what, uint64_t rss, uint64_t lazy, uint64_t size)
{
    if (what == W_HEAP) {
        A.heap_rss += rss;
        A.heap_lazy += lazy;
        A.heap_size += size;
    } else {
        add(label[what].part, label[what].name, rss, lazy, size);
    }
}

/* Files that some of the program's code comes from: looked up before the lines are cut. */
static void note_images(const char *text)
{
    for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
        const char *perms = strchr(p, ' '), *path = perms ? strchr(perms, '/') : NULL, *end = strchr(p, '\n');
        if (!end || !path || path > end || (*p >= 'A' && *p <= 'Z') || perms[3] != 'x') continue;
        char name[4096];
        size_t n = (size_t)(end - path) < sizeof name ? (size_t)(end - path) : sizeof name - 1;
        memcpy(name, path, n);
        name[n] = 0;
        *child_map_slot(&A.images, hash_of("", name)) = 1;
    }
}

static bool is_image(const char *path)
{
    return child_map_get(&A.images, hash_of("", path)) != 0;
}

/* Memory of the program itself. */
static void add_rest(const struct vma *v, uint64_t rss, uint64_t lazy, uint64_t size)
{
    const struct root_mapping *m = &v->map;
    if (strcmp(m->path, "[stack]") == 0)
        add("stack", "main", rss, lazy, size);
    else if (m->path[0] == '/' && is_image(m->path))
        add("image", m->path, rss, lazy, size);
    else if (m->shared)
        add("shared", m->path, rss, lazy, size);
    else if (m->path[0] == '/')
        add("file", m->path, rss, lazy, size);
    else if (m->path[0] == 0 && m->lo == A.last_end && m->writable && A.last_image[0])
        add("image", A.last_image, rss, lazy, size); /* .bss */
    else
        add("anon", m->path, rss, lazy, size);
}

static void one_mapping(const struct vma *v, size_t *next)
{
    const struct piece *p = (const struct piece *)A.pieces.items;
    const struct root_mapping *m = &v->map;
    uint64_t rss = v->rss, lazy = v->lazy, size = m->hi - m->lo;
    A.a->rss_bytes += rss;
    A.a->size_bytes += size;
    while (*next < A.pieces.n && p[*next].hi <= m->lo) (*next)++;
    uintptr_t done = m->lo;
    for (size_t i = *next; i < A.pieces.n && p[i].lo < m->hi; i++) {
        uintptr_t lo = p[i].lo > done ? p[i].lo : done, hi = p[i].hi < m->hi ? p[i].hi : m->hi;
        if (lo >= hi) continue;
        done = hi;
        uint64_t part = rss, part_lazy = lazy;
        if (hi - lo < size) { /* not the whole of what is left */
            part = present(lo, hi);
            if (part > rss) part = rss;
            part_lazy = p[i].what == W_HEAP ? (lazy < part ? lazy : part) : 0;
        }
        take(p[i].what, part, part_lazy, hi - lo);
        rss -= part;
        lazy -= part_lazy < lazy ? part_lazy : lazy;
        size -= hi - lo;
    }
    if (size) add_rest(v, rss, lazy, size);
    if (size && v->hidden && !m->shared) A.a->hidden_bytes += rss;
    if (m->path[0] == '/') {
        A.last_image[0] = 0;
        if (is_image(m->path)) strncpy(A.last_image, m->path, sizeof A.last_image - 1);
    }
    A.last_end = m->hi;
}

static uint64_t field_kib(const char *line)
{
    uint64_t v = 0;
    while (*line && *line != ':') line++;
    for (; *line && *line != '\n'; line++)
        if (*line >= '0' && *line <= '9') v = v * 10 + (uint64_t)(*line - '0');
    return v << 10;
}

/* MADV_DONTFORK and MADV_WIPEONFORK: what is there is not in the child. */
static bool has_flag(const char *line, const char *flag)
{
    for (; *line && *line != '\n'; line++)
        if (line[0] == ' ' && line[1] == flag[0] && line[2] == flag[1]) return true;
    return false;
}

static void parse(char *text)
{
    struct vma v = {0};
    size_t next = 0;
    bool open = false;
    for (char *p = text; p && *p;) {
        if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f')) {
            if (open) one_mapping(&v, &next);
            v = (struct vma){0};
            open = true;
            p = root_mapping_parse(p, &v.map);
            continue;
        }
        if (strncmp(p, "Rss:", 4) == 0) v.rss = field_kib(p);
        if (strncmp(p, "LazyFree:", 9) == 0) v.lazy = field_kib(p);
        if (strncmp(p, "VmFlags:", 8) == 0) v.hidden = has_flag(p, "dc") || has_flag(p, "wf");
        p = strchr(p, '\n');
        if (p) p++;
    }
    if (open) one_mapping(&v, &next);
}

void account_read(struct account *a, int pid, const struct snapshot_job *job)
{
    char path[40];
    fmt_string(path, sizeof path, "/proc/%d/smaps", pid);
    os_regions(note_region, NULL); /* before anything else */
    A.a = a;
    A.page = os_page_size();
    char *text = child_read_file(path, NULL);
    if (!text || !*text) return;
    a->known = true;
    A.pagemap = raw_open("/proc/self/pagemap", O_RDONLY, 0);
    for (size_t i = 0; i < nregions; i++) add_piece(regions[i].lo, regions[i].hi, (enum what)regions[i].kind);
    for (unsigned i = 0; i < job->nthreads; i++) {
        const struct stopped_thread *t = &job->threads[i];
        if (t->stack_lo < t->stack_hi && t->tid != pid) add_piece(t->stack_lo, t->stack_hi, W_THREAD);
    }
    child_sort(A.pieces.items, A.pieces.n, sizeof(struct piece), by_lo);
    heap_walk_pages(inuse_pages, NULL);
    note_images(text);
    parse(text);
    if (A.heap_size) {
        uint64_t lazy = A.heap_lazy, inuse = A.heap_inuse;
        if (inuse > A.heap_rss) inuse = A.heap_rss;
        if (lazy > A.heap_rss - inuse) lazy = A.heap_rss - inuse;
        uint64_t idle = A.heap_rss - inuse - lazy;
        add("heap-in-use", "", inuse, 0, inuse);
        add("heap-lazy-free", "", lazy, lazy, lazy);
        add("heap-idle", "", idle, 0, A.heap_size - inuse - lazy);
    }
    if (A.pagemap >= 0) raw_close(A.pagemap);
}
