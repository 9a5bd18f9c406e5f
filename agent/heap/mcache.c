/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread's cache: the spans it allocates from, and how it gets and gives them.
 *
 *   mcache_refill: the current span has neither free nor uncarved slots →
 *     1. what other threads freed in it → 2. else it becomes full and is let go →
 *     3. the cache's own partial spans, oldest first → 4. the central list → 5. a new span
 *
 * Oldest first, because a span that just stopped being full has one free slot, and one that has waited has many.
 *
 * Invariants
 *   1. span.owner == mc means: only mc's thread writes its free list, used and bump; it is current or in mc's partial list.
 *   2. A span is marked full (REMOTE_FULL) by its owner only, by compare-and-swap from "nothing in remote", after
 *      its owner field was cleared. Hence a remote free comes either before (and the owner sees it, and keeps the span) or
 *      after (and its thread sees REMOTE_FULL, and owns the span).
 *   3. A bin's `fine` agrees with alloc[] for the classes of the C ABI.
 *   4. Empty spans kept in a cache, large ones included, are at most IDLE_MAX_PAGES together, beyond the current ones.
 * Locks: none but mheap.cache_lock for the list of caches; callees take theirs. In critical sections. */
#include "agent/heap/types.h"

#include <string.h>

#include "agent/entry/alloctrace.h"
#include "agent/profile/profile.h"
#include "agent/util/critical.h"
#include "agent/util/options.h"

enum { MAX_DROP = 8 };

struct mcache heap_no_cache;
struct mspan empty_span = {.fast = NO_CACHE, .owner = NO_CACHE};
uint64_t heap_key = 0xa5c3000000000000ull;
static struct
{ /* the one cache that no thread owns; a cache line of its own, as what is beside it every malloc reads */
    struct lock lock; /* taken before all locks of the heap */
    struct mcache *cache;
    uint8_t pad[40];
} shared __attribute__((aligned(64))) = {.lock = LOCK_INIT(RANK_CORO)};

/* ---- Current spans */
void mcache_make_current(struct mcache *mc, struct mspan *s)
{
    unsigned sc = s->span_class;
    s->current = true;
    mc->alloc[sc] = s;
    bin_setup(mc, s);
    if (fine_class(sc) && !heap_traced) mc->bin[sc >> 1].fine = is_near(s) ? s : &empty_span;
}

/* Forgets the current span of a class; the span itself is not touched, it may be another thread's by now. */
static void forget_current(struct mcache *mc, unsigned sc)
{
    mc->alloc[sc] = &empty_span;
    if (fine_class(sc)) mc->bin[sc >> 1].fine = &empty_span;
}

/* ---- Ownership */
void span_set_owner(struct mspan *s, struct mcache *mc)
{
    bool special = !mc || s->span_class >= PLAIN_CLASSES || heap_traced || agent_options.check >= 1;
    s->fast = special ? NO_CACHE : mc;
    __atomic_store_n(&s->owner, mc, __ATOMIC_RELEASE);
}

bool span_collect(struct mspan *s)
{
    if (__atomic_load_n(&s->remote, __ATOMIC_RELAXED) == 0) return false;
    uint64_t w = __atomic_exchange_n(&s->remote, 0, __ATOMIC_ACQUIRE);
    struct slot *first = (struct slot *)REMOTE_ADDR(w);
    if (!first) return false;
    if (s->free) {
        struct slot *last = first;
        for (uint32_t left = REMOTE_COUNT(w); left > 1; left--) {
            last = slot_decode(last->link);
            if (!last || !slot_plausible(last)) heap_bad_link(s, last);
        }
        last->link = slot_encode(s->free);
    }
    s->free = first;
    s->used -= REMOTE_COUNT(w);
    return true;
}

void span_adopt(struct mcache *mc, struct mspan *s)
{
    span_set_owner(s, mc);
    span_collect(s);
}

/* The owner's current span has no slot left. True: it is let go. False: another thread has just freed one. */
static bool let_go_full(struct mcache *mc, struct mspan *s)
{
    uint64_t nothing = 0;
    s->current = false;
    span_set_owner(s, NULL);
    if (__atomic_compare_exchange_n(&s->remote, &nothing, REMOTE_FULL, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        return true;
    span_set_owner(s, mc);
    s->current = true;
    return false;
}

static bool has_slot(const struct mspan *s)
{
    return s->free != NULL || s->bump < s->limit;
}

static void unidle(struct mcache *mc, struct mspan *s)
{
    if (!s->idle) return;
    s->idle = false;
    mc->idle_pages -= (uint32_t)s->npages;
}

static bool is_empty(const struct mspan *s)
{
    return REMOTE_COUNT(__atomic_load_n(&s->remote, __ATOMIC_RELAXED)) == s->used;
}

/* The oldest partial span. Empty ones that queue up, because other threads freed in them what this one does not
 * allocate again, go back to the page heap: without this, of two threads that free each other's blocks one collects ever
 * more spans while the other makes new ones. */
static struct mspan *take_partial(struct mcache *mc, unsigned sc)
{
    struct span_list *l = &mc->partial[sc];
    struct mspan *s;
    for (int i = 0; (s = l->head) != NULL; i++) {
        list_remove(l, s);
        if (i == MAX_DROP || s->idle || !l->head || !is_empty(s) || !is_empty(l->head)) break;
        span_collect(s);
        span_delete(mc, s);
    }
    return s;
}

struct mspan *mcache_refill(struct mcache *mc, unsigned sc)
{
    struct mspan *s = mc->alloc[sc];
    if (s != &empty_span) {
        if (has_slot(s) || span_collect(s)) return s;
        if (!let_go_full(mc, s)) {
            span_collect(s);
            return s;
        }
    }
    s = take_partial(mc, sc);
    if (s) {
        unidle(mc, s);
        span_collect(s);
    } else if (!(s = mcentral_pop(mc, sc))) {
        s = span_new(mc, class_to_span_pages[size_class_of(sc)], 0, sc, SPAN_SMALL);
        if (s) span_set_owner(s, mc);
    }
    if (!s) {
        forget_current(mc, sc);
        return NULL;
    }
    mcache_make_current(mc, s);
    if (sc >= PLAIN_CLASSES) mc->sampled = true;
    if (__builtin_expect(agent_options.check >= 2, 0)) span_check(s);
    return s;
}

/* The owner freed the last slot of s. */
void span_now_empty(struct mcache *mc, struct mspan *s)
{
    if (s->current || s->idle) return;
    if (mc->idle_pages + s->npages <= IDLE_MAX_PAGES) {
        s->idle = true;
        mc->idle_pages += (uint32_t)s->npages;
        return;
    }
    list_remove(&mc->partial[s->span_class], s);
    span_delete(mc, s);
}

static unsigned classes_of(const struct mcache *mc)
{
    return mc->sampled ? SPAN_CLASSES : PLAIN_CLASSES;
}

static size_t release_idle(struct mcache *mc, bool tails)
{
    bins_flush(mc);
    size_t pages = large_release_spare(mc);
    for (unsigned sc = 0; sc < classes_of(mc); sc++) {
        struct mspan *cur = mc->alloc[sc];
        if (cur != &empty_span) {
            span_collect(cur);
            if (cur->used == 0) {
                forget_current(mc, sc);
                cur->current = false;
                list_push_back(&mc->partial[sc], cur);
            } else if (tails) {
                span_tail(cur);
            }
        }
        for (struct mspan *s = mc->partial[sc].head, *next; s; s = next) {
            next = s->next;
            span_collect(s);
            if (s->used != 0) {
                if (tails) span_tail(s);
                continue;
            }
            list_remove(&mc->partial[sc], s);
            unidle(mc, s);
            pages += s->npages;
            span_delete(mc, s);
        }
    }
    return pages;
}

size_t mcache_release_idle(struct mcache *mc, bool tails)
{
    size_t pages = release_idle(mc, tails);
    lock_acquire(&shared.lock);
    if (shared.cache && shared.cache != mc) {
        pages += release_idle(shared.cache, tails);
        stash_flush(shared.cache);
    }
    lock_release(&shared.lock);
    return pages;
}

/* ---- Sample counter */
void mcache_arm(struct mcache *mc, int64_t bytes)
{
    /* So many bytes at once that the count below them can't overflow. */
    const int64_t most = (int64_t)8 << (COUNT_BITS - 1);
    uint64_t count = (uint64_t)mc->sample & ((1u << COUNT_BITS) - 1);
    int64_t left = mc->sample >> COUNT_BITS;
    mc->mallocs += count;
    mc->bytes += (uint64_t)((int64_t)mc->sample_armed - left);
    int64_t now = bytes < 0 ? 0 : bytes < most ? bytes : most;
    mc->sample_rest = bytes < 0 ? 0 : bytes - now;
    mc->sample_armed = (uint64_t)now;
    mc->sample = now << COUNT_BITS;
}

void heap_set_next_sample(int64_t bytes)
{
    if (agent_tls.mcache) mcache_arm(agent_tls.mcache, bytes);
}

/* ---- Life */
void heap_init(void)
{
    static uint32_t done;
    if (__atomic_load_n(&done, __ATOMIC_ACQUIRE)) return;
    options_init();
    lock_acquire(&mheap.cache_lock);
    if (!done) {
        for (unsigned i = 0; i < SPAN_CLASSES; i++) mheap.central[i].lock.rank = RANK_MCENTRAL;
        uint64_t r = os_random();
        /* Top byte 0x81 … 0xfd and a low byte of the two that is neither 0 nor all ones: see slot_encode(). */
        uint64_t top = 0x8100 | (r >> 32 & 0x7c00) | (r >> 40 & 0xfe) | 1;
        trace_init();
        heap_key = top << 48 | (r & 0xffffffffffffull);
        __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
    }
    lock_release(&mheap.cache_lock);
}

static struct mcache *mcache_new(void)
{
    heap_init();
    lock_acquire(&mheap.cache_lock);
    struct mcache *mc = mheap.free_caches;
    if (mc) {
        mheap.free_caches = mc->next_free;
    } else if ((mc = persistent_alloc(sizeof *mc, 64, OS_META)) != NULL) {
        usage_add(&mheap.mcache_bytes, sizeof *mc);
        for (unsigned i = 0; i < SPAN_CLASSES; i++) mc->alloc[i] = &empty_span;
        bins_init(mc);
        mc->next_all = mheap.caches;
        __atomic_store_n(&mheap.caches, mc, __ATOMIC_RELEASE);
    }
    if (mc) {
        mc->in_use = true;
        mheap.ncaches++;
    }
    lock_release(&mheap.cache_lock);
    return mc;
}

void mcache_bind(struct mcache *mc)
{
    agent_tls.mcache = mc;
    agent_tls.fast = mc ? mc : &heap_no_cache;
}

struct mcache *mcache_get(void)
{
    if (agent_tls.mcache) return agent_tls.mcache;
    struct mcache *mc = mcache_new();
    if (!mc) return NULL;
    mcache_arm(mc, prof_first_gap());
    mcache_bind(mc);
    return mc;
}

static void mcache_free(struct mcache *mc)
{
    bins_flush(mc);
    large_release_spare(mc);
    for (unsigned sc = 0; sc < classes_of(mc); sc++) {
        struct mspan *s = mc->alloc[sc];
        if (s != &empty_span) {
            forget_current(mc, sc);
            if (has_slot(s) || span_collect(s) || !let_go_full(mc, s)) {
                s->current = false;
                list_push_back(&mc->partial[sc], s);
            }
        }
        while ((s = mc->partial[sc].head) != NULL) {
            list_remove(&mc->partial[sc], s);
            unidle(mc, s);
            span_collect(s);
            if (s->used == 0)
                span_delete(mc, s);
            else
                mcentral_push(s);
        }
    }
    mc->sampled = false;
    stash_flush(mc);
    mcache_arm(mc, 0);
    lock_acquire(&mheap.cache_lock);
    mheap.dead_bytes += mc->bytes + mc->large_bytes;
    mheap.dead_mallocs += mc->mallocs + mc->large_mallocs;
    mc->bytes = mc->mallocs = mc->large_bytes = mc->large_mallocs = 0;
    mc->in_use = false;
    mheap.ncaches--;
    mc->next_free = mheap.free_caches;
    mheap.free_caches = mc;
    lock_release(&mheap.cache_lock);
}

void heap_thread_exit(void)
{
    struct mcache *mc = agent_tls.mcache;
    agent_tls.heap_exited = 1;
    if (!mc || agent_in_child) return;
    agent_enter();
    mcache_bind(NULL);
    mcache_free(mc);
    agent_leave();
}

/* The one cache that no thread owns: of threads past their exit, for libc frees and allocates a little after the last
 * destructor. */
struct mcache *mcache_shared(void)
{
    lock_acquire(&shared.lock);
    if (!shared.cache && (shared.cache = mcache_new()) != NULL) {
        mcache_arm(shared.cache, INT64_MAX);
        lock_acquire(&mheap.cache_lock);
        mheap.ncaches--; /* it counts threads */
        lock_release(&mheap.cache_lock);
    }
    if (!shared.cache) lock_release(&shared.lock);
    return shared.cache;
}

void mcache_shared_end(void)
{
    lock_release(&shared.lock);
}

uint64_t mcache_shared_waits(void)
{
    return __atomic_load_n(&shared.lock.contended, __ATOMIC_RELAXED);
}

struct mcache *mcache_borrow(void)
{
    struct mcache *mc = mcache_shared();
    mcache_bind(mc);
    return mc;
}

void mcache_return(void)
{
    mcache_bind(NULL);
    mcache_shared_end();
}

/* ---- Fork. In the child the other threads' caches stay as they are: one may have been in the middle of a change. What is
 * free in their spans is lost to the child, as is what they would have freed. */
void heap_fork_prepare_first(void)
{
    heap_init();
    lock_acquire(&shared.lock);
}

void heap_fork_prepare(void)
{
    lock_acquire(&mheap.cache_lock);
    for (unsigned i = 0; i < SPAN_CLASSES; i++) lock_acquire(&mheap.central[i].lock);
    lock_acquire(&mheap.lock);
    persistent_fork(true);
    os_fork_lock();
}

static void fork_release(void)
{
    os_fork_unlock();
    persistent_fork(false);
    lock_release(&mheap.lock);
    for (unsigned i = SPAN_CLASSES; i-- > 0;) lock_release(&mheap.central[i].lock);
    lock_release(&mheap.cache_lock);
    lock_release(&shared.lock);
}

void heap_fork_parent(void)
{
    fork_release();
}

void heap_fork_child(void)
{
    fork_release();
    scavenge_fork_child();
}
