/* SPDX-License-Identifier: Apache-2.0
 *
 * Scavenger: gives idle pages back to the kernel, highest addresses first (allocation takes the lowest first).
 *
 *   the agent's thread, every 100 ms    → heap_background_tick ─┐
 *   a thread that frees pages           → scavenge_freed ───────┼─▶ goal → give_back, while its CPU time lasts
 *   a thread in a wait (entry/eintr.h)  → heap_wait_tick ───────┘
 *   malloc_trim, seep_release           → heap_release: at once
 *
 * The last two of the three are for processes without the agent's thread (nothing is recorded): frees raise
 * heap_waits_work when there is something to give back, and the program's own waits for time or input are then made in
 * pieces with a tick in between, until the goal is reached. A thread whose piece ended by time also gives its cache
 * back. No thread, no timer, no signal: a process with one thread must stay one (unshare, setns), and a sandbox may
 * kill for a system call that the program would not have made.
 *
 * The goal: what is in use and a reserve. "In use" is the greatest value of the last few seconds, of which two thirds
 * of what is above the present value go in a second (a program that frees and allocates again does not pay page faults
 * for it). The reserve is 10 %, while new pages are being allocated; in a program that has come to rest it sinks
 * likewise, and then everything goes. With a memory limit: what is resident above 95 % of the limit goes at once, and
 * who takes pages beyond it gives as many back first. After runtime/mgcscavenge.go, whose reserve never sinks.
 *
 * Invariants
 *   1. Pages being given back are allocated in the bitmap meanwhile, so no lock is held during the system call. Their marks
 *      go with them.
 *   2. A run given back is at most 2 MiB (0.3 ms). By effort: ACTIVE, a program that allocates: runs of MIN_PAGES and
 *      more, nothing of chunks that are nearly full, nothing of huge pages more than half full; AT_REST: any run, but
 *      of huge pages only where an eighth is won; EVERYTHING: when asked for or above the limit.
 *   3. CPU time of the background scavenger is at most 1 % of the time that passed, and 100 ms (of 10 s) that may be
 *      saved up, and are there at the start: enough for 900 MiB of 4 KiB pages at 110 µs a MiB. One tick in a thread of
 *      the program is 2 ms (in a free) or 10 ms (in a wait) at most.
 *   4. heap_waits_work is 0 at the goal, and when nothing more can be given back.
 * Locks: pace_lock, never waited for; mheap.lock for the bitmaps. Units: pages of the heap, nanoseconds. */
#include "agent/heap/types.h"

#include "agent/util/critical.h"
#include "agent/util/options.h"

enum {
    MIN_PAGES = 8,     /* 64 KiB */
    DENSE_PAGES = 496, /* a chunk with so many pages in use (96.9 %) is not worth it */
    TICK_PAGES = 128,  /* freed ones between two looks at the books */
    TICK_NS = 100000000,
    SAVED_NS = 100000000,
    FREE_TICK_NS = 2000000,
    WAIT_TICK_NS = 10000000,
    PIECE_NS = 40000000, /* of a wait */
    THREADS_A_PIECE = 16,
    RETAIN_PERCENT = 10,
    RETAIN_MIN_PAGES = 128, /* 1 MiB more */
    QUIET_PAGES = 32,       /* allocated in a tick by a program at rest */
    RESERVE_TICKS = 8,      /* the reserve is filled by what is allocated in so many ticks */
    REST_PAGES = 8,         /* never fight over less */
};
#define MARKS_PAGE_OF (os_page_size() << MARK_SHIFT)
uint32_t heap_waits_work;
static uint32_t rests; /* how often the program came to rest */

static struct lock pace_lock = LOCK_INIT(RANK_SCAVENGE);

/* Guarded by pace_lock. */
static struct {
    uint64_t last_ns, credit_ns;
    uint64_t peak;      /* pages in use, sinking */
    uint64_t reserve;   /* pages kept above it */
    uint64_t allocated; /* pages since the start, at the last tick */
    bool at_rest;
    bool agent_thread; /* ticks */
} pace = {.credit_ns = SAVED_NS};

/* How much is worth a system call, and a huge page. */
enum effort { ACTIVE, AT_REST, EVERYTHING };

static unsigned bit_at(const uint64_t *w, unsigned i)
{
    return w[i / 64] >> (i % 64) & 1;
}

/* Of [lo, hi), in words. */
static unsigned pages_in_use(const struct chunk *c, unsigned lo, unsigned hi)
{
    unsigned n = 0;
    for (unsigned w = lo / 64; w < hi / 64; w++) n += (unsigned)__builtin_popcountll(c->alloc[w]);
    return n;
}

static unsigned pages_to_give(const struct chunk *c, unsigned lo, unsigned hi)
{
    unsigned n = 0;
    for (unsigned w = lo / 64; w < hi / 64; w++) n += (unsigned)__builtin_popcountll(~(c->alloc[w] | c->scav[w]));
    return n;
}

/* The highest run in [lo, hi) of idle pages that are not yet given back. */
static unsigned highest_run(const struct chunk *c, unsigned lo, unsigned hi, unsigned min, unsigned *from)
{
    for (unsigned end = hi; end > lo;) {
        uint64_t idle = ~(c->alloc[(end - 1) / 64] | c->scav[(end - 1) / 64]);
        if (idle == 0 && end % 64 == 0) {
            end -= 64;
            continue;
        }
        if (!(idle >> ((end - 1) % 64) & 1)) {
            end--;
            continue;
        }
        unsigned at = end - 1;
        while (at > lo && !bit_at(c->alloc, at - 1) && !bit_at(c->scav, at - 1)) at--;
        if (end - at >= min) {
            *from = at;
            return end - at;
        }
        end = at;
    }
    return 0;
}

/* Is it worth to give back a part of the huge page, and so to break it? */
static bool worth_breaking(const struct chunk *c, unsigned lo, enum effort effort)
{
    unsigned used = pages_in_use(c, lo, lo + HUGE_PAGES);
    if (used == 0 || effort == EVERYTHING) return true;
    return effort == ACTIVE ? used <= HUGE_PAGES / 2 : pages_to_give(c, lo, lo + HUGE_PAGES) >= HUGE_PAGES / 8;
}

/* The next run in the chunk at `at`, by halves, which are huge pages or would be. */
static unsigned run_in_chunk(const struct arena *a, uintptr_t at, enum effort effort, unsigned *from)
{
    const struct chunk *c = &a->chunks[(at / CHUNK_BYTES) % ARENA_CHUNKS];
    if (effort == ACTIVE && pages_in_use(c, 0, CHUNK_PAGES) >= DENSE_PAGES) return 0;
    for (unsigned lo = CHUNK_PAGES; lo > 0;) {
        lo -= HUGE_PAGES;
        if ((a->huge & huge_bit(at + ((uintptr_t)lo << HPAGE_SHIFT))) && !worth_breaking(c, lo, effort)) continue;
        unsigned n = highest_run(c, lo, lo + HUGE_PAGES, effort == ACTIVE ? MIN_PAGES : 1, from);
        if (n > 0) return n;
    }
    return 0;
}

/* Under the lock: the next run below *cursor, or 0. */
static uintptr_t pick(uintptr_t *cursor, enum effort effort, unsigned *n)
{
    for (;;) {
        const struct region *r = NULL;
        for (const struct region *i = mheap.regions; i && i->base < *cursor; i = i->next) r = i;
        if (!r) return 0;
        uintptr_t top = r->base + ((uintptr_t)1 << REGION_SHIFT);
        if (*cursor > top) *cursor = top;
        for (uintptr_t at = (*cursor - 1) & ~(CHUNK_BYTES - 1);; at -= CHUNK_BYTES) {
            const struct arena *a = arena_of(at);
            unsigned from;
            if (a && r->l4[(at - r->base) / CHUNK_BYTES].max > 0 && (*n = run_in_chunk(a, at, effort, &from)) > 0) {
                *cursor = at + CHUNK_BYTES; /* there may be more in this chunk */
                return at + ((uintptr_t)from << HPAGE_SHIFT);
            }
            *cursor = at;
            if (at == r->base) break;
        }
    }
}

/* A huge page of which a part goes while the rest is in use is to stay broken: the kernel would fill it up again behind our
 * back. One that is all idle may become one again. Called before the pages are taken. */
static bool set_huge(uintptr_t p)
{
    uintptr_t base = p & ~(HUGE_BYTES - 1);
    struct arena *a = arena_of(p);
    unsigned lo = (unsigned)(base / HUGE_BYTES % 2) * HUGE_PAGES;
    bool idle = pages_in_use(&a->chunks[(p / CHUNK_BYTES) % ARENA_CHUNKS], lo, lo + HUGE_PAGES) == 0;
    uint32_t bit = huge_bit(p);
    if (!((idle ? a->broken : a->huge) & bit)) return true;
    if (os_huge((void *)base, HUGE_BYTES, idle) != 0) return idle;
    /* In one call, for only then does the kernel (6.14) give the table of small pages back, which is in a huge one's way. */
    if (idle) os_unused((void *)base, HUGE_BYTES, false);
    a->huge ^= bit;
    a->broken ^= bit;
    return true;
}

static bool was_given(uintptr_t p)
{
    return bit_at(chunk_of(p)->scav, (unsigned)(p >> HPAGE_SHIFT) % CHUNK_PAGES);
}

/* The kernel's page of marks is of 8 pages. What of such eight is beside a run, and was given back before, is taken along, so that
 * nobody can have it while their marks go. */
static uintptr_t given_below(uintptr_t p)
{
    while (p % MARKS_PAGE_OF != 0 && was_given(p - HPAGE_BYTES)) p -= HPAGE_BYTES;
    return p;
}

static uintptr_t given_above(uintptr_t p)
{
    while (p % MARKS_PAGE_OF != 0 && was_given(p)) p += HPAGE_BYTES;
    return p;
}

static void pages_free_run(uintptr_t lo, uintptr_t hi, bool scavenged)
{
    if (lo < hi) pages_free(lo, (hi - lo) >> HPAGE_SHIFT, scavenged);
}

static size_t give_back(uintptr_t *cursor, enum effort effort, bool lazy)
{
    unsigned n;
    size_t scavenged;
    lock_acquire(&mheap.lock);
    uintptr_t p = pick(cursor, effort, &n), end = p + ((uintptr_t)n << HPAGE_SHIFT);
    bool ok = p && set_huge(p);
    uintptr_t lo = p ? given_below(p) : 0, hi = p ? given_above(end) : 0;
    if (p) pages_take(lo, (hi - lo) >> HPAGE_SHIFT, &scavenged);
    if (p && lazy) mheap.lazy = true; /* before any of it can be had as zeroed */
    lock_release(&mheap.lock);
    if (!p) return 0;
    ok = ok && os_unused((void *)p, end - p, lazy) == 0;
    if (ok) marks_unused(lo, hi);
    lock_acquire(&mheap.lock);
    pages_free_run(lo, p, true);
    pages_free_run(p, end, ok);
    pages_free_run(end, hi, true);
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

static size_t scavenge_all(size_t max_bytes)
{
    uintptr_t cursor = (uintptr_t)1 << 48;
    size_t done = 0;
    while (done < max_bytes) {
        size_t n = give_back(&cursor, EVERYTHING, false);
        if (n == 0) break;
        done += n;
    }
    return done;
}

size_t heap_release(size_t keep_bytes)
{
    agent_enter();
    if (agent_tls.mcache) {
        mcache_release_idle(agent_tls.mcache, true);
        stash_flush(agent_tls.mcache);
    }
    mcentral_sweep();
    uint64_t idle = (__atomic_load_n(&mheap.mapped_pages, __ATOMIC_RELAXED) -
                     __atomic_load_n(&mheap.inuse_pages, __ATOMIC_RELAXED) -
                     __atomic_load_n(&mheap.released_pages, __ATOMIC_RELAXED))
                    << HPAGE_SHIFT;
    size_t n = idle > keep_bytes ? scavenge_all(idle - keep_bytes) : 0;
    agent_leave();
    return n;
}

static uint64_t load(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static uint64_t resident_pages(void)
{
    uint64_t released = load(&mheap.released_pages), mapped = load(&mheap.mapped_pages);
    return mapped > released ? mapped - released : 0;
}

static uint64_t freed_pages;

/* Two thirds of it go in a second: 10.4 % in a tenth of one. */
static uint64_t sunk(uint64_t above, uint64_t elapsed_ns)
{
    for (; elapsed_ns >= TICK_NS && above > 0; elapsed_ns -= TICK_NS) above -= above * 104 / 1000 + 1;
    return above - above * 104 / 1000 * elapsed_ns / TICK_NS;
}

/* What the heap may hold of the limit, less a share of it that is to stay free. */
static uint64_t limit_pages(uint64_t percent)
{
    uint64_t other = 0, may = agent_options.memlimit / 100 * percent;
    for (int k = 0; k < OS_KIND_COUNT; k++) other += k == OS_HEAP ? 0 : os_kind_bytes((enum os_kind)k);
    return may > other ? (may - other) >> HPAGE_SHIFT : 0;
}

/* Pages that may stay resident. */
static uint64_t goal_pages(uint64_t inuse, uint64_t elapsed_ns)
{
    pace.peak = inuse + sunk(pace.peak > inuse ? pace.peak - inuse : 0, elapsed_ns);
    uint64_t allocated = inuse + load(&freed_pages);
    int64_t fresh = (int64_t)(allocated - pace.allocated) - (int64_t)(QUIET_PAGES * (1 + elapsed_ns / TICK_NS));
    uint64_t full = pace.peak * RETAIN_PERCENT / 100 + RETAIN_MIN_PAGES;
    pace.allocated = allocated;
    pace.reserve = sunk(pace.reserve, elapsed_ns) + (fresh > 0 ? (uint64_t)fresh * RESERVE_TICKS : 0);
    if (pace.reserve > full) pace.reserve = full;
    uint64_t goal = pace.peak + (pace.reserve > REST_PAGES ? pace.reserve : REST_PAGES);
    if (agent_options.memlimit != 0) {
        uint64_t room = limit_pages(95);
        if (room < goal) goal = room > inuse ? room : inuse;
    }
    return goal;
}

static void set_waits_work(bool on)
{
    if (__atomic_load_n(&heap_waits_work, __ATOMIC_RELAXED) != on)
        __atomic_store_n(&heap_waits_work, on, __ATOMIC_RELAXED);
}

static void tick(uint64_t most_ns)
{
    uint64_t now = os_mono_ns();
    uint64_t elapsed = pace.last_ns ? now - pace.last_ns : 0;
    __atomic_store_n(&pace.last_ns, now, __ATOMIC_RELAXED);
    pace.credit_ns += elapsed / 100;
    if (pace.credit_ns > SAVED_NS) pace.credit_ns = SAVED_NS;
    if (options_debug("scavenge", 1) == 0) {
        set_waits_work(false);
        return;
    }
    uint64_t cpu = os_thread_cpu_ns(), spent = 0, may = pace.credit_ns < most_ns ? pace.credit_ns : most_ns;
    uint64_t inuse = load(&mheap.inuse_pages), goal = goal_pages(inuse, elapsed);
    uint64_t resident = resident_pages();
    if (resident > goal) mcentral_sweep();
    uintptr_t cursor = (uintptr_t)1 << 48;
    bool hurry = agent_options.memlimit != 0 && resident << HPAGE_SHIFT > agent_options.memlimit;
    enum effort effort = hurry ? EVERYTHING : goal <= inuse + inuse / 64 + 2 * REST_PAGES ? AT_REST : ACTIVE;
    bool lazy = lazy_wanted(), stuck = false;
    while (resident > goal && !stuck && (spent < may || hurry)) {
        size_t n = give_back(&cursor, effort, lazy);
        stuck = n == 0;
        n >>= HPAGE_SHIFT;
        resident -= n < resident ? n : resident;
        spent = os_thread_cpu_ns() - cpu;
    }
    pace.credit_ns -= spent < pace.credit_ns ? spent : pace.credit_ns;
    bool comes_to_rest = effort == AT_REST && !pace.at_rest; /* then waits go on for once, for the threads' spans */
    pace.at_rest = effort == AT_REST;
    if (comes_to_rest) __atomic_add_fetch(&rests, 1, __ATOMIC_RELAXED);
    set_waits_work(comes_to_rest || (resident > inuse + 2 * REST_PAGES && !(stuck && effort != ACTIVE)));
}

void heap_background_tick(void)
{
    if (!lock_try(&pace_lock)) return;
    pace.agent_thread = true;
    tick(SAVED_NS);
    lock_release(&pace_lock);
}

static void paced_tick(uint64_t most_ns)
{
    if (os_coarse_ns() - load(&pace.last_ns) - TICK_NS > UINT64_MAX / 2 || !lock_try(&pace_lock)) return;
    if (os_mono_ns() - pace.last_ns >= TICK_NS) tick(most_ns);
    lock_release(&pace_lock);
}

void scavenge_freed(size_t npages)
{
    uint64_t now = __atomic_add_fetch(&freed_pages, npages, __ATOMIC_RELAXED);
    if (now / TICK_PAGES == (now - npages) / TICK_PAGES) return;
    if (resident_pages() <= load(&mheap.inuse_pages) + 2 * REST_PAGES) return;
    set_waits_work(true);
    paced_tick(FREE_TICK_NS);
}

void scavenge_taken(size_t npages)
{
    if (agent_options.memlimit == 0 || resident_pages() <= limit_pages(100)) return;
    scavenge_all(npages << HPAGE_SHIFT);
}

void heap_wait_tick(bool give_cache)
{
    if (agent_tls.critical != 0 || agent_in_child) return; /* a wait in a handler, in the middle of our work */
    struct mcache *mc = agent_tls.mcache;
    if (give_cache && mc) {
        uint32_t now = __atomic_load_n(&rests, __ATOMIC_RELAXED);
        agent_enter();
        mcache_release_idle(mc, mc->rests != now);
        mc->rests = now;
        stash_flush(mc);
        agent_leave();
    }
    if (!pace.agent_thread) paced_tick(WAIT_TICK_NS);
}

uint64_t heap_wait_piece_ns(void)
{
    uint32_t threads = __atomic_load_n(&mheap.ncaches, __ATOMIC_RELAXED);
    uint64_t many = 1 + threads / THREADS_A_PIECE; /* so that threads together wake no more often than a few would */
    return PIECE_NS * many;
}

/* In a forked child there is no agent's thread yet, and whoever held the lock is gone. */
void scavenge_fork_child(void)
{
    pace_lock = (struct lock)LOCK_INIT(RANK_SCAVENGE);
    pace.agent_thread = false;
}
