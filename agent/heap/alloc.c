/* SPDX-License-Identifier: Apache-2.0
 *
 * Allocation and free beyond the fast paths (fast.h), and the heap's interface for them (heap.h).
 *
 *   malloc_slow → class_alloc → sample → mcache_refill → span_pop → zero
 *   malloc_sampled: the fast path has a slot, but the sample counter is used up
 *   free_slow   → checks → profile → own span: push; full span: adopt, push; other's span: remote push
 *
 * Invariants
 *   1. A remote push is one compare-and-swap; it never waits. Nobody but the owner takes from `remote`, and takes all of
 *      it at once, so there is no ABA.
 *   2. The profile learns of a free before the slot can be allocated again.
 *   3. After a successful remote push the span may be gone: it is only looked at when the push cleared REMOTE_FULL, which
 *      makes it ours, and as a hint.
 * Runs in critical sections; the callees take the locks. errno is set to ENOMEM where NULL is returned. */
#include "agent/heap/fast.h"

#include <errno.h>
#include <string.h>

#include "agent/entry/alloctrace.h"
#include "agent/entry/entry.h"
#include "agent/profile/profile.h"
#include "agent/util/log.h"
#include "agent/util/options.h"

/* ---- The caller's cache */
static struct mcache *cache_enter(void)
{
    agent_enter();
    if (LIKELY(agent_tls.mcache != NULL)) return agent_tls.mcache;
    return agent_tls.heap_exited ? mcache_borrow() : mcache_get();
}

static void cache_leave(const struct mcache *mc)
{
    if (UNLIKELY(agent_tls.heap_exited) && mc) mcache_return();
    agent_leave();
}

static void *out_of_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

/* ---- Allocation */
/* A slot of the class from mc. In a critical section. */
static void *slot_take(struct mcache *mc, unsigned sc, bool zero)
{
    bool fresh = false;
    unsigned c = fine_class(sc) ? sc >> 1 : MARK_NO_BIN;
    struct slot *p = mc->top[c] != mc->base[c] ? bin_pop(mc, c, mc->top[c]) : NULL;
    size_t size = class_to_size[size_class_of(sc)];
    if (!p) {
        if (mc->bin[c].missed >= mc->bin[c].grow_at) bin_grow(mc, c);
        struct mspan *s = mc->alloc[sc];
        p = span_pop(s, size, &fresh);
        if (!p) {
            s = mcache_refill(mc, sc);
            if (!s) return NULL;
            p = span_pop(s, size, &fresh);
        }
        *mark_of((uintptr_t)p) = s->mark;
        zero &= !fresh || s->needzero;
    }
    if (zero) memset(p, 0, size);
    return p;
}

/* The counter fell below 0: either the gap is over, or another part of a long one begins. Is the object to be recorded? */
static bool sample_due(struct mcache *mc)
{
    int64_t rest = mc->sample_rest + (mc->sample >> COUNT_BITS), gap;
    bool part = mc->sample_rest > 0 && rest >= 0, due = !part && prof_due(&gap);
    mcache_arm(mc, part ? rest : gap);
    return due;
}

static void record(struct mspan *s, uintptr_t p, size_t requested)
{
    uint32_t index = span_index(s, p);
    struct heap_sample *r = prof_place(s, index);
    if (!r) return;
    prof_record(r, s->elem_size, requested);
    if (span_lists(s)) *mark_of(p) = MARK_SAMPLED;
}

static __attribute__((noinline)) void *sampled_alloc(struct mcache *mc, unsigned sc, size_t requested, bool zero)
{
    int saved = errno;
    bool due = sample_due(mc);
    void *p = slot_take(mc, due && prof_often ? PLAIN_CLASSES + sc : sc, zero);
    if (p && due)
        record(span_of((uintptr_t)p), (uintptr_t)p, requested);
    else if (p)
        prof_unrecorded(p);
    errno = saved;
    return p;
}

/* A slot of the class, counted, and sampled and cleared as asked. In a critical section. */
static void *class_alloc(struct mcache *mc, unsigned sc, size_t requested, unsigned flags)
{
    bool zero = (flags & HEAP_ZERO) != 0;
    int64_t cost = (int64_t)class_cost(class_to_size[sc >> 1]);
    mc->sample -= cost;
    if (UNLIKELY(mc->sample < 0)) return sampled_alloc(mc, sc, requested, zero);
    void *p = slot_take(mc, sc, zero);
    if (UNLIKELY(!p)) mc->sample += cost;
    return p;
}

static void *sized_alloc(size_t size, size_t align, unsigned sc, unsigned flags)
{
    if (UNLIKELY(agent_in_child)) return child_alloc(size, align);
    struct mcache *mc = cache_enter();
    void *p = NULL;
    if (mc) p = sc ? class_alloc(mc, sc, size, flags) : large_alloc(mc, size, align, flags);
    cache_leave(mc);
    if (UNLIKELY(agent_tls.thread == NULL)) thread_note();
    return p ? p : out_of_memory();
}

/* Span class for a request, 0 for a large one. */
static unsigned class_for(size_t size, size_t align, unsigned flags)
{
    if (size > SMALL_MAX_BYTES || align > HPAGE_BYTES) return 0;
    if (align > 8 && size < align) size = align; /* so that a class of at least the alignment is found */
    unsigned c = abi_class(size);
    while (align > 16 && c < SIZE_CLASSES && class_to_size[c] % align != 0) c++;
    return c < SIZE_CLASSES ? c * 2 + (flags & HEAP_NOSCAN ? 1 : 0) : 0;
}

__attribute__((noinline)) void *malloc_slow(size_t size, unsigned flags)
{
    if (UNLIKELY(size > PTRDIFF_MAX)) return out_of_memory();
    void *p = sized_alloc(size, 0, class_for(size, 0, flags), flags);
    if (UNLIKELY(heap_traced)) trace_alloc(p, size, 0, flags);
    return p;
}

__attribute__((noinline)) void *malloc_sampled(size_t size, void *p, struct mcache *mc, uint64_t cost)
{
    if (prof_often) { /* a slot of a span of sampled objects instead */
        mc->sample += (int64_t)cost;
        fast_free(p);
        return malloc_slow(size, 0);
    }
    int saved = errno;
    agent_enter();
    if (sample_due(mc))
        record(span_of((uintptr_t)p), (uintptr_t)p, size);
    else
        prof_unrecorded(p);
    agent_leave();
    if (UNLIKELY(agent_tls.thread == NULL)) thread_note();
    errno = saved;
    return p;
}

/* The bin is empty: of the current span, unless the bin is to grow, which it also says where there is no cache. */
__attribute__((noinline)) void *malloc_carve(size_t size, struct mcache *mc, size_t c)
{
    bool fresh;
    struct bin *b = &mc->bin[c];
    if (UNLIKELY(b->missed >= b->grow_at)) return malloc_slow(size, 0);
    struct slot *p = span_pop(b->fine, b->size, &fresh);
    if (UNLIKELY(p == NULL)) return malloc_slow(size, 0);
    *near_mark((uintptr_t)p) = (uint8_t)c;
    mc->sample -= (int64_t)mc->cost[c];
    return UNLIKELY(mc->sample < 0) ? malloc_sampled(size, p, mc, mc->cost[c]) : p;
}

/* Over FINE_MAX_BYTES. */
__attribute__((noinline)) void *malloc_medium(size_t size)
{
    if (UNLIKELY(size > SMALL_MAX_BYTES)) return malloc_slow(size, 0);
    return bin_take(agent_tls.fast, abi_to_class128[(size - FINE_MAX_BYTES + 127) >> 7], size);
}

void *heap_alloc(size_t size, size_t align, unsigned flags)
{
    if (UNLIKELY(size > PTRDIFF_MAX || align > PTRDIFF_MAX)) return out_of_memory();
    void *p = sized_alloc(size, align, class_for(size, align, flags), flags);
    if (UNLIKELY(heap_traced)) trace_alloc(p, size, align, flags);
    return p;
}

/* ---- Free */
void heap_bad_free(const void *p, const char *why)
{
    log_fatal("free of %p: %s", p, why);
}

void heap_bad_link(const struct mspan *s, const struct slot *p)
{
    log_fatal("malloc: block %p of %zu bytes was written to after free, or freed twice", (const void *)p, s->elem_size);
}

/* Its mark. */
static uint8_t *check_free(const struct mspan *s, uintptr_t p)
{
    if (UNLIKELY(!span_slot_start(s, p) || p >= s->bump))
        heap_bad_free((void *)p, "not the start of an allocated block");
    uint8_t *mark = mark_of(p);
    if (UNLIKELY(__atomic_load_n(mark, __ATOMIC_RELAXED) == MARK_FREE)) heap_bad_free((void *)p, "already free");
    return mark;
}

static void check_large(const struct mspan *s, uintptr_t p)
{
    if (UNLIKELY(p != s->base)) heap_bad_free((void *)p, "not the start of an allocated block");
    if (UNLIKELY(s->used == 0)) heap_bad_free((void *)p, "already free");
}

static void local_free(struct mcache *mc, struct mspan *s, struct slot *p)
{
    span_push(s, p);
    if (--s->used == 0) span_now_empty(mc, s);
}

/* s is not the caller's. */
static void remote_free(struct mcache *mc, struct mspan *s, struct slot *p)
{
    unsigned sc = s->span_class;
    uint32_t used = s->used;
    uint64_t old = __atomic_load_n(&s->remote, __ATOMIC_RELAXED), new;
    do {
        if (old & REMOTE_FULL) {
            if (!mc) return; /* no memory for a cache: the block stays allocated */
            new = 0;         /* nothing is in `remote` of a full span */
        } else {
            struct slot *last = (struct slot *)REMOTE_ADDR(old);
            p->link = slot_encode(last);
            new = REMOTE_NEXT(old, p);
        }
    } while (!__atomic_compare_exchange_n(&s->remote, &old, new, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    if (new == 0 && sc >= PLAIN_CLASSES) { /* no thread keeps it: the next one that samples will find it */
        span_adopt(mc, s);
        span_push(s, p);
        if (--s->used == 0)
            span_delete(mc, s);
        else
            mcentral_push(s);
    } else if (new == 0) {
        span_adopt(mc, s);
        list_push_back(&mc->partial[sc], s);
        local_free(mc, s, p);
    } else if (REMOTE_COUNT(new) == used && __atomic_load_n(&s->central, __ATOMIC_SEQ_CST)) {
        mcentral_try_free(s, sc);
    }
}

void slot_give(struct mcache *mc, struct slot *p)
{
    struct mspan *s = span_of((uintptr_t)p);
    if (mc && __atomic_load_n(&s->owner, __ATOMIC_RELAXED) == mc)
        local_free(mc, s, p);
    else
        remote_free(mc, s, p);
}

/* mark: of a small block. */
static void tell_profile(struct mspan *s, uintptr_t p, const uint8_t *mark)
{
    uint32_t index = span_index(s, p); /* 0 in a large one */
    if (span_lists(s)) {
        if (*mark == MARK_SAMPLED) prof_free_listed(s, index);
        return;
    }
    struct heap_sample *t = __atomic_load_n(&s->samples, __ATOMIC_ACQUIRE);
    if (t && t[index].bucket != 0) prof_free(&t[index]);
}

static void tell_resize(struct mspan *s, uintptr_t p, const uint8_t *mark, size_t size)
{
    struct heap_sample *t = span_lists(s) ? NULL : __atomic_load_n(&s->samples, __ATOMIC_ACQUIRE);
    if (LIKELY(!t && *mark != MARK_SAMPLED)) return;
    uint32_t index = span_index(s, p);
    agent_enter();
    struct heap_sample *r = t ? &t[index] : prof_listed(s, index);
    if (r && r->bucket != 0) prof_resize(r, size);
    agent_leave();
}

/* false: it is full. */
static bool bin_push(struct mcache *mc, unsigned c, uintptr_t p)
{
    if (mc->top[c] == mc->end[c]) return false;
    *mc->top[c] = p;
    ORDER();
    mc->top[c]++;
    return true;
}

__attribute__((noinline)) void free_slow(void *ptr)
{
    uintptr_t p = (uintptr_t)ptr;
    if (p == 0 || UNLIKELY(agent_in_child)) return;
    if (UNLIKELY(heap_traced)) trace_free(ptr);
    struct mspan *s = span_of(p);
    if (UNLIKELY(!s || p - s->base >= s->npages << HPAGE_SHIFT))
        heap_bad_free(ptr, "not allocated here, or already free");
    int saved = errno;
    struct mcache *mc = cache_enter();
    if (s->state == SPAN_LARGE) {
        check_large(s, p);
        tell_profile(s, p, NULL);
        large_free(mc, s);
    } else {
        uint8_t *mark = check_free(s, p);
        tell_profile(s, p, mark);
        if (mc) bin_setup(mc, s);
        *mark = MARK_FREE;
        if (!mc || !is_near(s) || !bin_push(mc, s->mark, p)) slot_give(mc, ptr);
    }
    cache_leave(mc);
    errno = saved;
}

__attribute__((noinline)) void free_emptied(struct mspan *s)
{
    if (s->current || s->idle) return;
    int saved = errno;
    agent_enter();
    span_now_empty(agent_tls.mcache, s);
    agent_leave();
    errno = saved;
}

/* To its span, when that is the caller's and nothing else is to be done. */
static ALWAYS_INLINE void free_local(void *ptr, uint8_t *mark, struct mcache *mc)
{
    struct mspan *s = *mark - 1u < MARK_NO_BIN ? span_of_any((uintptr_t)ptr) : NULL;
    if (UNLIKELY(!s || s->fast != mc)) {
        free_slow(ptr);
        return;
    }
    mc->bin[*mark].missed++;
    *mark = MARK_FREE;
    span_push(s, ptr);
    if (UNLIKELY(--s->used == 0)) free_emptied(s);
}

__attribute__((noinline)) void free_full(void *ptr, struct mcache *mc)
{
    free_local(ptr, near_mark((uintptr_t)ptr), mc);
}

__attribute__((noinline)) void free_far(void *ptr)
{
    uint8_t *mark = mark_far((uintptr_t)ptr);
    if (LIKELY(mark != NULL))
        free_local(ptr, mark, agent_tls.fast);
    else
        free_slow(ptr);
}

void heap_free(void *p)
{
    fast_free(p);
}

/* ---- Sizes */
size_t heap_usable_size(const void *ptr)
{
    uintptr_t p = (uintptr_t)ptr;
    if (p == 0) return 0;
    const struct mspan *s = span_of(p);
    if (!s) return agent_in_child ? child_usable_size(ptr) : 0;
    return s->elem_size;
}

/* Copies to a new block; the old one stays when there is no memory. */
static void *move_block(void *old, size_t old_size, size_t size)
{
    void *p = fast_malloc(size);
    if (!p) return NULL;
    memcpy(p, old, old_size < size ? old_size : size);
    fast_free(old);
    return p;
}

void *heap_realloc(void *ptr, size_t size)
{
    if (!ptr) return heap_alloc(size, 0, 0);
    if (size > PTRDIFF_MAX) return out_of_memory();
    uintptr_t p = (uintptr_t)ptr;
    struct mspan *s = span_of(p);
    if (agent_in_child) return move_block(ptr, s ? s->elem_size : child_usable_size(ptr), size);
    if (!s) heap_bad_free(ptr, "realloc of what was not allocated here, or is already free");
    if (s->state == SPAN_LARGE) {
        check_large(s, p);
        void *q = size > SMALL_MAX_BYTES ? large_realloc(s, size) : NULL;
        return q ? q : move_block(ptr, s->elem_size, size);
    }
    const uint8_t *mark = check_free(s, p);
    /* In place while the block is not twice too large. */
    if (size <= s->elem_size && size > s->elem_size / 2 - 1) {
        tell_resize(s, p, mark, size);
        return ptr;
    }
    return move_block(ptr, s->elem_size, size);
}
