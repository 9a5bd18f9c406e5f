/* SPDX-License-Identifier: Apache-2.0
 *
 * Roots: every word outside of the heap from which the program could still reach a block.
 *
 *   registers, start arguments       of every stopped thread but the agent's
 *   thread stacks                    [sp - 128, top): the red zone below sp counts; all of it where sp is elsewhere
 *   private mappings                 pages written to, readable or not: data, bss, brk, anonymous memory, TLS, RELRO
 *   shared writable mappings         pages in memory; devices are left out
 *   providers' roots()
 *   what the kernel keeps for the program and gives back: epoll's data, timers' values (roots_kernel.c)
 * Left out: the agent's own regions (the heap is one of them) and data, providers' stacks (judge.c decides on those),
 * the dead parts of stacks, stacks of ended threads and of the agent's thread except their thread
 * descriptors (glibc keeps those of cached stacks, and their DTV is a block of the heap).
 *
 * Invariants
 *   1. A page that is not present is never touched: huge sparse mappings cost a pagemap read, and guard pages no fault.
 *   2. What can't be read makes the roots incomplete, and then nothing is called proven. */
#include "agent/snapshot/child.h"
#include "agent/snapshot/roots.h"

#include <errno.h>
#include <string.h>

#include "agent/entry/entry.h"
#include "agent/os/os.h"
#include "agent/snapshot/hints.h"
#include "agent/snapshot/raw.h"
#include "agent/util/options.h"

#define PM_PRESENT       (1ull << 63)
#define PM_SWAP          (1ull << 62)
#define PM_FILE          (1ull << 61) /* a page of a file, or of shared memory */
#define PM_GUARD         (1ull << 58) /* Linux >= 6.15 */
#define RED_ZONE         128
#define ENTRIES          8192
#define GENERAL_REGS     16
#define HIDDEN_MAX       (1ull << 30) /* PROT_NONE mappings over this are reservations */
#define TLS_BELOW_TP     4096         /* static TLS of libc below the thread pointer, generously */
#define DESCRIPTOR_BYTES 2304         /* glibc's struct pthread */

extern char _end[] __attribute__((visibility("hidden")));
extern void *__libc_stack_end __attribute__((weak)); /* ld.so: where main's stack began */

struct range {
    uintptr_t lo, hi;
};

static struct roots {
    struct marker *m;
    struct root_stats *stats;
    int pagemap, mem;
    uint64_t *entries;      /* of pagemap */
    unsigned char *in_core; /* of mincore */
    char *copy;             /* 64 KiB, for pages that are not to be touched in place */
    size_t page;
    bool globals, stacks, registers, tls; /* SEEP_ROOTS */
    uintptr_t self_lo, self_hi;           /* words that point there do not count */
    struct child_vec out;                 /* of struct range: left out; sorted, disjoint */
} R;

static void incomplete(const char *why)
{
    if (!R.stats->incomplete) R.stats->why = why;
    R.stats->incomplete = true;
}

/* ---- pages */

static void scan_in_place(uintptr_t lo, uintptr_t hi)
{
    R.stats->bytes += hi - lo;
    mark_words_but(R.m, (const void *)lo, (const void *)hi, R.self_lo, R.self_hi);
}

/* Through /proc/self/mem: a page that can't be read is an error code there, not a signal. */
static void scan_copied(uintptr_t lo, uintptr_t hi)
{
    while (lo < hi) {
        size_t n = hi - lo < 65536 ? hi - lo : 65536;
        long got = R.mem >= 0 ? raw_pread(R.mem, R.copy, n, lo) : -EBADF;
        if (got <= 0) { /* a guard, or past the end of a file: skip one page */
            if (R.mem < 0) incomplete("/proc/self/mem could not be opened");
            lo = (lo / R.page + 1) * R.page;
            continue;
        }
        R.stats->bytes += (size_t)got;
        R.m->origin.delta = (uintptr_t)R.copy - lo;
        mark_words_but(R.m, R.copy, R.copy + got, R.self_lo, R.self_hi);
        R.m->origin.delta = 0;
        lo += (size_t)got;
    }
}

enum page_use { PAGE_SKIP, PAGE_IN_PLACE, PAGE_COPY };

static enum page_use use_of(uint64_t e, const struct root_mapping *map)
{
    if (e & PM_GUARD) return PAGE_SKIP;
    if (e & PM_PRESENT) {
        if (!map->shared && (e & PM_FILE)) return PAGE_SKIP; /* still as in the file */
        return map->readable ? PAGE_IN_PLACE : PAGE_COPY;
    }
    return e & PM_SWAP ? PAGE_COPY : PAGE_SKIP;
}

static void scan_run(uintptr_t lo, uintptr_t hi, enum page_use use)
{
    if (use == PAGE_IN_PLACE)
        scan_in_place(lo, hi);
    else if (use == PAGE_COPY)
        scan_copied(lo, hi);
}

/* One stretch of at most ENTRIES pages, lo and hi inside its first and last page. */
static void scan_pages(uintptr_t lo, uintptr_t hi, const struct root_mapping *map)
{
    size_t first = lo / R.page, n = (hi + R.page - 1) / R.page - first;
    bool by_core = map->shared || R.pagemap < 0;
    if (!by_core && raw_pread(R.pagemap, R.entries, n * 8, first * 8) != (long)(n * 8)) by_core = true;
    if (by_core) {
        long r = sys3(SYS_mincore, (long)(first * R.page), (long)(n * R.page), (long)R.in_core);
        if (r < 0) {
            if (r != -ENOMEM) incomplete("mincore failed");
            return;
        }
        for (size_t i = 0; i < n; i++) R.entries[i] = R.in_core[i] & 1 ? PM_PRESENT : 0;
    }
    uintptr_t run = lo;
    enum page_use last = PAGE_SKIP;
    for (size_t i = 0; i < n; i++) {
        enum page_use use = use_of(R.entries[i], map);
        if (use == PAGE_IN_PLACE && map->shared) use = PAGE_COPY; /* its file may shrink meanwhile */
        uintptr_t at = i ? (first + i) * R.page : lo;
        if (use == last) continue;
        scan_run(run, at, last);
        run = at;
        last = use;
    }
    scan_run(run, hi, last);
}

static void scan_present(uintptr_t lo, uintptr_t hi, const struct root_mapping *map)
{
    while (lo < hi) {
        uintptr_t end = (lo / R.page + ENTRIES) * R.page;
        if (end > hi) end = hi;
        scan_pages(lo, end, map);
        lo = end;
    }
}

static const struct root_mapping private_memory = {.readable = true, .writable = true};

void roots_mark_range(uintptr_t lo, uintptr_t hi)
{
    scan_present(lo, hi, &private_memory);
}

void roots_mark_range_but(uintptr_t lo, uintptr_t hi, uintptr_t self_lo, uintptr_t self_hi)
{
    R.self_lo = self_lo;
    R.self_hi = self_hi;
    roots_mark_range(lo, hi);
    R.self_lo = R.self_hi = 0;
}

static bool is_present(uintptr_t p)
{
    uint64_t e = 0;
    if (R.pagemap >= 0 && raw_pread(R.pagemap, &e, 8, p / R.page * 8) == 8) return e & PM_PRESENT;
    unsigned char c = 0;
    return sys3(SYS_mincore, (long)(p / R.page * R.page), 1, (long)&c) == 0 && (c & 1);
}

/* ---- what is left out */

static void leave_out(uintptr_t lo, uintptr_t hi)
{
    if (lo >= hi) return;
    struct range *r = child_vec_add(&R.out, sizeof *r);
    *r = (struct range){lo, hi};
}

static void leave_out_region(void *arg, const struct os_region *r)
{
    (void)arg;
    leave_out(r->lo, r->hi);
}

static int leave_out_stacks(void *arg, uintptr_t lo, uintptr_t hi)
{
    (void)arg;
    leave_out(lo, hi);
    return 0;
}

static int mark_provider_range(void *arg, uintptr_t lo, uintptr_t hi)
{
    (void)arg;
    roots_mark_range(lo, hi);
    return 0;
}

static int by_lo(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static void merge_out(void)
{
    struct range *r = (struct range *)R.out.items;
    size_t n = 0;
    child_sort(r, R.out.n, sizeof *r, by_lo);
    for (size_t i = 0; i < R.out.n; i++) {
        if (n && r[i].lo <= r[n - 1].hi) {
            if (r[i].hi > r[n - 1].hi) r[n - 1].hi = r[i].hi;
        } else {
            r[n++] = r[i];
        }
    }
    R.out.n = n;
}

/* ---- threads */

static bool inside(uintptr_t p, uintptr_t lo, uintptr_t hi)
{
    return p >= lo && p < hi;
}

/* glibc's descriptor at the thread pointer: its first and third words point to itself. */
static bool is_descriptor(uintptr_t tp)
{
    if (tp == 0 || tp % 16 != 0 || !is_present(tp)) return false;
    const uintptr_t *w = (const uintptr_t *)tp;
    return w[0] == tp && w[2] == tp;
}

/* The thread's table of TLS blocks: the descriptor points to its second entry. */
static void mark_dtv(uintptr_t tp)
{
    if (R.tls && is_descriptor(tp)) mark_value(R.m, ((const uintptr_t *)tp)[1] - 2 * sizeof(uintptr_t));
}

/* A stack on which nothing runs for the program: its descriptor counts, and static TLS as long as the thread is there. */
static void mark_descriptor(const struct thread *t)
{
    uintptr_t from = t->ended ? t->tls : t->tls - TLS_BELOW_TP;
    if (!t->ended && inside(t->frames_hi, from, t->tls)) from = t->frames_hi;
    mark_dtv(t->tls);
    roots_mark_range(from > t->stack_lo ? from : t->stack_lo, t->stack_hi);
}

uintptr_t roots_stack_top(uintptr_t stack_lo, uintptr_t stack_hi, uintptr_t tls)
{
    if (inside(tls, stack_lo, stack_hi)) {
        for (const struct thread *t = threads_first(); t; t = t->next)
            if (t->tls == tls && t->tid && inside(t->frames_hi, stack_lo, tls)) return t->frames_hi;
        return stack_lo; /* not known: none of it is taken for frames */
    }
    uintptr_t end = &__libc_stack_end ? (uintptr_t)__libc_stack_end : 0;
    return inside(end, stack_lo, stack_hi) ? end : stack_hi;
}

/* How many of all_regs may hold what counts. In a system call made by the C library no vector register does, since none
 * outlives a call; in one of ours no register but those that a call preserves. What they hold is stale. */
static unsigned live_regs(const struct stopped_thread *t)
{
    static const struct prof_module *libc, *ours;
    unsigned all =
        t->nregs < sizeof t->all_regs / sizeof *t->all_regs ? t->nregs : sizeof t->all_regs / sizeof *t->all_regs;
    if (!t->in_syscall || !t->captured) return all;
    const struct prof_module *m = modules_find(t->regs.pc, modules_generation());
    if (!libc) libc = modules_find((uintptr_t)__errno_location, modules_generation());
    if (!ours) ours = modules_find((uintptr_t)live_regs, modules_generation());
    if (m && m == ours) return 0;
    return m && m == libc && all > GENERAL_REGS ? GENERAL_REGS : all;
}

/* A blocked thread that may never run again: what others may read of it. judge.c decides about the rest. */
static void waiting_thread(const struct stopped_thread *t)
{
    uintptr_t top = roots_stack_top(t->stack_lo, t->stack_hi, t->tls);
    mark_dtv(t->tls);
    leave_out(t->stack_lo, t->stack_hi);
    roots_mark_range_but(top, t->stack_hi, t->stack_lo, t->stack_hi);
    if (inside(t->tls, t->stack_lo, t->stack_hi) || !is_descriptor(t->tls)) return;
    leave_out(t->tls, t->tls + DESCRIPTOR_BYTES); /* main's: it points to frames of main */
    roots_mark_range_but(t->tls, t->tls + DESCRIPTOR_BYTES, t->stack_lo, t->stack_hi);
}

static void from(enum origin_kind kind, uint64_t id)
{
    R.m->origin.kind = kind;
    R.m->origin.id = id;
}

void roots_mark_thread(const struct stopped_thread *t)
{
    from(FROM_REGISTER, (uint64_t)t->tid);
    unsigned nregs = live_regs(t);
    for (unsigned i = 0; R.registers && i < nregs; i++) mark_value(R.m, t->all_regs[i]);
    const uintptr_t regs[] = {t->regs.sp,  t->regs.fp,  t->regs.rbx, t->regs.r12,
                              t->regs.r13, t->regs.r14, t->regs.r15, t->start_arg};
    for (unsigned i = 0; R.registers && i < sizeof regs / sizeof *regs; i++) mark_value(R.m, regs[i]);
    mark_dtv(t->tls);
    from(FROM_STACK, (uint64_t)t->tid);
    if (t->stack_lo >= t->stack_hi) return; /* its mapping is scanned whole */
    uintptr_t sp = t->regs.sp, lo = t->stack_lo;
    if (inside(sp, lo, t->stack_hi)) {
        if (sp - RED_ZONE > lo) lo = sp - RED_ZONE;
    } else if (judge_owns_stack(lo, t->stack_hi)) {
        return; /* it is a task's, and the task is parked: judge.c decides */
    }
    bool here = inside(t->tls, lo, t->stack_hi);
    uintptr_t tls = here && t->tls - TLS_BELOW_TP > lo ? t->tls - TLS_BELOW_TP : here ? lo : t->stack_hi;
    if (R.stacks) roots_mark_range(lo, tls);
    if (here && R.tls) roots_mark_range(tls, t->stack_hi);
}

static void one_thread(const struct stopped_thread *t)
{
    if (t->is_agent) return; /* quiet_threads() */
    if (judge_is_waiting_thread(t->tid)) {
        waiting_thread(t);
        return;
    }
    roots_mark_thread(t);
    if (t->stack_lo < t->stack_hi) leave_out(t->stack_lo, t->stack_hi);
}

/* Ended ones and the agent's. */
static void quiet_threads(const struct snapshot_job *job)
{
    for (const struct thread *t = threads_first(); t; t = t->next) {
        if (!(t->ended || t->is_agent) || !inside(t->tls, t->stack_lo, t->stack_hi)) continue;
        bool reused = false; /* by a thread, or unmapped and mapped again by the program */
        for (unsigned i = 0; i < job->nthreads && t->ended; i++)
            reused |= inside(job->threads[i].regs.sp, t->stack_lo, t->stack_hi);
        if (reused || !is_descriptor(t->tls)) continue;
        leave_out(t->stack_lo, t->stack_hi);
        mark_descriptor(t);
    }
}

/* ---- mappings */

/* The next line of maps: "lo-hi perms offset dev inode   path". */
char *root_mapping_parse(char *line, struct root_mapping *m)
{
    char *p = line;
    if (!*p) return NULL;
    uintptr_t v[2] = {0, 0};
    for (int i = 0; i < 2; i++, p++)
        for (; *p && *p != '-' && *p != ' '; p++) v[i] = v[i] * 16 + (uintptr_t)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
    *m = (struct root_mapping){.lo = v[0], .hi = v[1]};
    m->readable = p[0] == 'r';
    m->writable = p[1] == 'w';
    m->shared = p[3] == 's';
    for (int fields = 0; fields < 4 && *p && *p != '\n'; fields++) {
        while (*p && *p != ' ' && *p != '\n') p++;
        while (*p == ' ') p++;
    }
    m->path = p;
    char *end = strchr(p, '\n');
    if (!end) return p + strlen(p);
    *end = 0;
    return end + 1;
}

static bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool wanted(const struct root_mapping *m)
{
    if (starts_with(m->path, "[v")) return false; /* vdso, vvar, vsyscall */
    if (judge_sticky_owns(m->lo, m->hi)) return false;
    if (!m->shared) return m->readable || m->hi - m->lo <= HIDDEN_MAX;
    bool device =
        starts_with(m->path, "/dev/") && !starts_with(m->path, "/dev/shm/") && !starts_with(m->path, "/dev/zero");
    return m->writable && m->readable && !device;
}

static void scan_mapping(const struct root_mapping *m, size_t *next)
{
    const struct range *out = (const struct range *)R.out.items;
    uintptr_t lo = m->lo;
    R.stats->nmappings++;
    while (*next < R.out.n && out[*next].hi <= lo) (*next)++;
    for (size_t i = *next; lo < m->hi; i++) {
        uintptr_t end = i < R.out.n && out[i].lo < m->hi ? out[i].lo : m->hi;
        if (lo < end) scan_present(lo, end, m);
        if (end == m->hi) break;
        lo = out[i].hi;
    }
}

/* The agent's own library, code to .bss, unless it is linked into the program: then they can't be told apart. */
static void leave_out_agent(void)
{
    static char exe[4096], path[4096];
    long n = raw_readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    char *maps = child_read_file("/proc/self/maps", NULL);
    if (!maps) return;
    struct root_mapping m;
    uintptr_t first = 0; /* of the file whose mappings we are in */
    for (char *p = maps; (p = root_mapping_parse(p, &m));) {
        if (m.path[0] == '/' && strcmp(m.path, path) != 0) {
            strncpy(path, m.path, sizeof path - 1);
            first = m.lo;
        }
        if (inside((uintptr_t)leave_out_agent, m.lo, m.hi)) break;
    }
    if (strcmp(path, exe) != 0) leave_out(first, (uintptr_t)_end);
}

static int scan_module(void *arg, uintptr_t lo, uintptr_t hi, const char *path)
{
    (void)arg;
    (void)path;
    roots_mark_range(lo, hi);
    return 0;
}

static int leave_out_module(void *arg, uintptr_t lo, uintptr_t hi, const char *path)
{
    (void)path;
    return leave_out_stacks(arg, lo, hi);
}

static void mark_hint(void *arg, uintptr_t p, size_t size)
{
    (void)arg;
    if (size)
        scan_copied(p, p + size); /* whatever memory it is */
    else
        mark_value(R.m, p);
}

static bool named(const char *list, const char *word)
{
    const char *p = strstr(list, word);
    size_t n = strlen(word);
    return p && (p == list || p[-1] == ',') && (p[n] == ',' || p[n] == 0);
}

/* A list that names no kind at all is a mistake. */
static void read_kinds(void)
{
    const char *list = agent_options.roots;
    R.globals = named(list, "globals");
    R.stacks = named(list, "stacks");
    R.registers = named(list, "registers");
    R.tls = named(list, "tls");
    if (!(R.globals || R.stacks || R.registers || R.tls)) R.globals = R.stacks = R.registers = R.tls = true;
    if (!(R.globals && R.stacks && R.registers && R.tls)) incomplete("SEEP_ROOTS leaves roots out");
}

void roots_mark(struct marker *m, const struct snapshot_job *job, struct root_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    R.m = m;
    R.stats = stats;
    R.out = (struct child_vec){0};
    read_kinds();
    if (!R.page) {
        R.page = os_page_size();
        R.entries = scratch_alloc(ENTRIES * 8);
        R.in_core = scratch_alloc(ENTRIES);
        R.copy = scratch_alloc(65536);
        R.pagemap = raw_open("/proc/self/pagemap", O_RDONLY, 0);
        R.mem = raw_open("/proc/self/mem", O_RDONLY, 0);
    }
    size_t len;
    char *maps = child_read_file("/proc/self/maps", &len);
    leave_out_agent();
    for (unsigned i = 0; i < job->nthreads; i++) one_thread(&job->threads[i]);
    from(FROM_MEMORY, 0);
    quiet_threads(job);
    for (unsigned i = 0; i < provider_count(); i++) {
        const struct seep_task_provider *p = provider_get(i);
        if (p->stacks) p->stacks(p->ctx, leave_out_stacks, NULL);
        if (p->roots) p->roots(p->ctx, mark_provider_range, NULL);
    }
    hints_each(mark_hint, NULL);
    if (!R.globals) modules_data(leave_out_module, NULL);
    scratch_alloc(1 << 20); /* the vector below grows within memory that is already noted as the agent's */
    os_regions(leave_out_region, NULL);
    merge_out();
    if (maps) {
        struct root_mapping map;
        size_t next = 0;
        for (char *p = maps; (p = root_mapping_parse(p, &map));)
            if (wanted(&map)) scan_mapping(&map, &next);
    } else {
        incomplete("/proc/self/maps could not be read");
        modules_data(scan_module, NULL);
    }
    from(FROM_KERNEL, 0);
    roots_kernel_mark(m);
    from(FROM_MEMORY, 0);
    mark_drain(m); /* the files stay open for roots_mark_range() */
}
