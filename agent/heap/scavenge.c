/* SPDX-License-Identifier: Apache-2.0
 *
 * Scavenger: gives idle pages back to the kernel, highest addresses first (allocation takes the lowest first).
 *
 *   heap_background_tick (every 100 ms) → goal → scavenge_some, while its CPU time lasts
 *   malloc_trim, seep_release           → heap_release: at once
 *
 * The goal: keep 10 % above what is in use, where "in use" is the greatest value of the last few seconds, sinking by
 * half a second (a program that frees and allocates again does not pay page faults for it). With a memory limit: what is
 * resident above 95 % of the limit goes at once. After runtime/mgcscavenge.go.
 *
 * Invariants
 *   1. Pages being given back are allocated in the bitmap meanwhile, so no lock is held during the system call.
 *   2. A run given back is at least MIN_PAGES long, unless everything is asked for; in the background,
 *      chunks that are nearly full are left alone.
 *   3. CPU time of the background scavenger is at most 1 % of the time that passed, and 100 ms (of 10 s) that may be saved
 *      up, and are there at the start: enough for 900 MiB of 4 KiB pages at 110 µs a MiB.
 * Locks: pace_lock, never waited for; mheap.lock for the bitmaps. Units: pages of the heap, nanoseconds. */
#include "agent/heap/types.h"

#include "agent/util/critical.h"
#include "agent/util/options.h"

enum {
    MIN_PAGES = 8,     /* 64 KiB */
    MAX_PAGES = 512,   /* at most so many in one system call: some 0.5 ms */
    DENSE_PAGES = 496, /* a chunk with so many pages in use (96.9 %) is not worth it */
    TICK_PAGES = 512,  /* freed ones between two looks at the clock */
    TICK_NS = 100000000,
    SAVED_NS = 100000000,
    RETAIN_PERCENT = 10,
    RETAIN_MIN_PAGES = 128, /* 1 MiB: never fight over less */
};

static struct lock pace_lock = LOCK_INIT(RANK_SCAVENGE);

/* Guarded by pace_lock. */
static struct {
    uint64_t last_ns, credit_ns;
    uint64_t peak; /* pages in use, decaying */
} pace = {.credit_ns = SAVED_NS};

static unsigned bit_at(const uint64_t *w, unsigned i)
{
    return w[i / 64] >> (i % 64) & 1;
}

static unsigned pages_in_use(const struct chunk *c)
{
    unsigned n = 0;
    for (int w = 0; w < CHUNK_WORDS; w++) n += (unsigned)__builtin_popcountll(c->alloc[w]);
    return n;
}

/* The highest run of idle pages in the chunk that are not yet given back. */
static unsigned highest_run(const struct chunk *c, unsigned min, unsigned *from)
{
    for (unsigned end = CHUNK_PAGES; end > 0;) {
        uint64_t idle = ~(c->alloc[(end - 1) / 64] | c->scav[(end - 1) / 64]);
        if (idle == 0 && end % 64 == 0) {
            end -= 64;
            continue;
        }
        if (!(idle >> ((end - 1) % 64) & 1)) {
            end--;
            continue;
        }
        unsigned lo = end - 1;
        while (lo > 0 && !bit_at(c->alloc, lo - 1) && !bit_at(c->scav, lo - 1)) lo--;
        if (end - lo >= min) {
            *from = lo;
            return end - lo;
        }
        end = lo;
    }
    return 0;
}

/* Under the lock: the next run below *cursor, or 0. */
static uintptr_t pick(uintptr_t *cursor, bool all, unsigned *n)
{
    for (;;) {
        const struct region *r = NULL;
        for (const struct region *i = mheap.regions; i && i->base < *cursor; i = i->next) r = i;
        if (!r) return 0;
        uintptr_t top = r->base + ((uintptr_t)1 << REGION_SHIFT);
        if (*cursor > top) *cursor = top;
        for (uintptr_t at = (*cursor - 1) & ~(CHUNK_BYTES - 1);; at -= CHUNK_BYTES) {
            const struct arena *a = arena_of(at);
            const struct chunk *c = a ? &a->chunks[(at / CHUNK_BYTES) % ARENA_CHUNKS] : NULL;
            unsigned from;
            if (c && r->l4[(at - r->base) / CHUNK_BYTES].max > 0 && (all || pages_in_use(c) < DENSE_PAGES) &&
                (*n = highest_run(c, all ? 1 : MIN_PAGES, &from)) > 0) {
                *cursor = at + CHUNK_BYTES; /* there may be more in this chunk */
                return at + ((uintptr_t)from << HPAGE_SHIFT);
            }
            *cursor = at;
            if (at == r->base) break;
        }
    }
}

static size_t give_back(uintptr_t *cursor, bool all, bool lazy)
{
    unsigned n;
    size_t scavenged;
    lock_acquire(&mheap.lock);
    uintptr_t p = pick(cursor, all, &n);
    if (p && n > MAX_PAGES) {
        p += (uintptr_t)(n - MAX_PAGES) << HPAGE_SHIFT;
        n = MAX_PAGES;
    }
    if (p) pages_take(p, n, &scavenged);
    if (p && lazy) mheap.lazy = true; /* before any of it can be had as zeroed */
    lock_release(&mheap.lock);
    if (!p) return 0;
    bool ok = os_unused((void *)p, (size_t)n << HPAGE_SHIFT, lazy) == 0;
    lock_acquire(&mheap.lock);
    pages_free(p, n, ok);
    lock_release(&mheap.lock);
    if (!ok) {
        *cursor = p & ~(CHUNK_BYTES - 1); /* not again in this pass */
        return 0;
    }
    usage_add(&mheap.scavenged_bytes, (int64_t)n << HPAGE_SHIFT);
    return (size_t)n << HPAGE_SHIFT;
}

static bool lazy_wanted(void)
{
    return options_debug("madvdontneed", 1) == 0;
}

size_t scavenge_some(size_t max_bytes, bool all)
{
    uintptr_t cursor = (uintptr_t)1 << 48;
    bool lazy = !all && lazy_wanted();
    size_t done = 0;
    while (done < max_bytes) {
        size_t n = give_back(&cursor, all, lazy);
        if (n == 0) break;
        done += n;
    }
    return done;
}

size_t heap_release(size_t keep_bytes)
{
    agent_enter();
    if (agent_tls.mcache) {
        mcache_release_idle(agent_tls.mcache);
        stash_flush(agent_tls.mcache);
    }
    mcentral_sweep();
    uint64_t idle = (__atomic_load_n(&mheap.mapped_pages, __ATOMIC_RELAXED) -
                     __atomic_load_n(&mheap.inuse_pages, __ATOMIC_RELAXED) -
                     __atomic_load_n(&mheap.released_pages, __ATOMIC_RELAXED))
                    << HPAGE_SHIFT;
    size_t n = idle > keep_bytes ? scavenge_some(idle - keep_bytes, true) : 0;
    agent_leave();
    return n;
}

static uint64_t load(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/* Pages that may stay resident. */
static uint64_t goal_pages(uint64_t inuse, uint64_t elapsed_ns)
{
    uint64_t sink = (pace.peak - (pace.peak < inuse ? pace.peak : inuse)) * 2 / 3;
    if (elapsed_ns < 1000000000) sink = sink * elapsed_ns / 1000000000;
    pace.peak -= sink;
    if (pace.peak < inuse) pace.peak = inuse;
    uint64_t goal = pace.peak + pace.peak * RETAIN_PERCENT / 100 + RETAIN_MIN_PAGES;
    uint64_t limit = agent_options.memlimit;
    if (limit != 0) {
        uint64_t other = 0;
        for (int k = 0; k < OS_KIND_COUNT; k++) other += k == OS_HEAP ? 0 : os_kind_bytes((enum os_kind)k);
        uint64_t room = limit / 100 * 95 > other ? (limit / 100 * 95 - other) >> HPAGE_SHIFT : 0;
        if (room < goal) goal = room > inuse ? room : inuse;
    }
    return goal;
}

static void tick(void)
{
    uint64_t now = os_mono_ns();
    uint64_t elapsed = pace.last_ns ? now - pace.last_ns : 0;
    pace.last_ns = now;
    pace.credit_ns += elapsed / 100;
    if (pace.credit_ns > SAVED_NS) pace.credit_ns = SAVED_NS;
    if (options_debug("scavenge", 1) == 0) return;
    uint64_t cpu = os_thread_cpu_ns(), spent = 0;
    uint64_t inuse = load(&mheap.inuse_pages), goal = goal_pages(inuse, elapsed);
    uint64_t resident = load(&mheap.mapped_pages) - load(&mheap.released_pages);
    if (resident > goal) mcentral_sweep();
    uintptr_t cursor = (uintptr_t)1 << 48;
    bool lazy = lazy_wanted(), hurry = agent_options.memlimit != 0 && resident << HPAGE_SHIFT > agent_options.memlimit;
    while (resident > goal && (spent < pace.credit_ns || hurry)) {
        size_t n = give_back(&cursor, hurry, lazy);
        if (n == 0) break;
        n >>= HPAGE_SHIFT;
        resident -= n < resident ? n : resident;
        spent = os_thread_cpu_ns() - cpu;
    }
    pace.credit_ns -= spent < pace.credit_ns ? spent : pace.credit_ns;
}

void heap_background_tick(void)
{
    if (!lock_try(&pace_lock)) return;
    tick();
    lock_release(&pace_lock);
}

/* Without the agent's thread (nothing is recorded) a thread that frees many pages makes the tick. */
void scavenge_freed(size_t npages)
{
    static uint64_t freed;
    if (__atomic_add_fetch(&freed, npages, __ATOMIC_RELAXED) < TICK_PAGES) return;
    __atomic_store_n(&freed, 0, __ATOMIC_RELAXED);
    if (!lock_try(&pace_lock)) return;
    if (os_mono_ns() - pace.last_ns >= TICK_NS) tick();
    lock_release(&pace_lock);
}
