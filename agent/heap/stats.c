/* SPDX-License-Identifier: Apache-2.0
 *
 * Statistics (contract/stats.def), put together on demand: the fast paths only keep the sample counter, whose parts
 * are bytes and mallocs, and each span's count of used slots.
 *
 *   objects in use = sum over spans of used - freed remotely      frees = mallocs - objects in use
 *
 * Invariants
 *   1. The sums stated in stats.def hold within one reading: sums are made of the very values that are reported.
 *   2. mallocs, frees and total_alloc never fall from one reading to the next, though threads run on meanwhile and a
 *      reading may be off by what they do during it.
 * Locks: mheap.cache_lock around the reading of caches and of what was said last. Units: bytes. */
#include "agent/heap/types.h"

#include "agent/include/seep.h"

struct census {
    uint64_t objects, bytes, large_bytes; /* bytes: of small objects alone */
};

static void count_class(struct heap_class_stat *k, const struct mspan *s, uint64_t live)
{
    k->spans++;
    k->objects += live;
    k->object_bytes += live * s->elem_size;
    k->span_bytes += (uint64_t)s->npages << HPAGE_SHIFT;
}

/* Lock-free: page-map entries come and go meanwhile, structures stay readable. class: SIZE_CLASSES; may be NULL. */
static struct census take_census(struct heap_class_stat *class)
{
    struct census c = {0};
    for (const struct region *r = __atomic_load_n(&mheap.regions, __ATOMIC_ACQUIRE); r; r = r->next) {
        for (size_t i = 0; i < REGION_ARENAS; i++) {
            const struct arena *a = __atomic_load_n(&r->arenas[i], __ATOMIC_ACQUIRE);
            size_t pages = a ? __atomic_load_n(&a->mapped_pages, __ATOMIC_ACQUIRE) : 0;
            for (size_t page = 0; page < pages;) {
                const struct mspan *s = __atomic_load_n(&r->spans[i * ARENA_PAGES + page], __ATOMIC_ACQUIRE);
                uintptr_t at = a->base + (page << HPAGE_SHIFT);
                size_t npages = s ? __atomic_load_n(&s->npages, __ATOMIC_RELAXED) : 0;
                if (!s || s->base != at || npages == 0) {
                    page++;
                    continue;
                }
                uint32_t used = __atomic_load_n(&s->used, __ATOMIC_RELAXED);
                uint32_t remote = REMOTE_COUNT(__atomic_load_n(&s->remote, __ATOMIC_RELAXED));
                uint64_t live = used > remote ? used - remote : 0;
                c.objects += live;
                *(s->state == SPAN_LARGE ? &c.large_bytes : &c.bytes) += live * s->elem_size;
                if (class) count_class(&class[s->state == SPAN_LARGE ? 0 : span_size_class(s)], s, live);
                page += npages;
            }
        }
    }
    return c;
}

static void add_cache(const struct mcache *mc, uint64_t *mallocs, uint64_t *bytes)
{
    int64_t sample = __atomic_load_n(&mc->sample, __ATOMIC_RELAXED);
    *mallocs += mc->mallocs + mc->large_mallocs + ((uint64_t)sample & ((1u << COUNT_BITS) - 1));
    *bytes += mc->bytes + mc->large_bytes + (uint64_t)((int64_t)mc->sample_armed - (sample >> COUNT_BITS));
}

static uint64_t raise(uint64_t *seen, uint64_t value)
{
    if (value > *seen) *seen = value;
    return *seen;
}

static void fill(struct seep_memstats *out)
{
    uint64_t mallocs = mheap.dead_mallocs, bytes = mheap.dead_bytes;
    for (const struct mcache *mc = mheap.caches; mc; mc = mc->next_all) add_cache(mc, &mallocs, &bytes);
    struct census c = take_census(NULL);
    uint64_t binned = 0, binned_bytes = 0;
    for (const struct mcache *mc = mheap.caches; mc; mc = mc->next_all) binned += bins_count(mc, &binned_bytes);
    c.objects -= binned < c.objects ? binned : c.objects;
    /* From the small ones only: slots move into bins between the two readings, large objects never do. */
    c.bytes -= binned_bytes < c.bytes ? binned_bytes : c.bytes;
    c.bytes += c.large_bytes;

    out->heap_objects = c.objects;
    out->heap_alloc = c.bytes;
    out->large_alloc = c.large_bytes;
    out->frees = raise(&mheap.seen_frees, mallocs > c.objects ? mallocs - c.objects : 0);
    out->mallocs = out->frees + out->heap_objects;
    out->total_alloc = raise(&mheap.seen_bytes, bytes > c.bytes ? bytes : c.bytes);

    /* In this order: what is in use was mapped before, what is released is read last and cut to what is idle. */
    uint64_t inuse = __atomic_load_n(&mheap.inuse_pages, __ATOMIC_ACQUIRE) << HPAGE_SHIFT;
    uint64_t sys = __atomic_load_n(&mheap.mapped_pages, __ATOMIC_ACQUIRE) << HPAGE_SHIFT;
    uint64_t released = __atomic_load_n(&mheap.released_pages, __ATOMIC_ACQUIRE) << HPAGE_SHIFT;
    out->heap_sys = sys;
    out->heap_inuse = inuse < sys ? inuse : sys;
    out->heap_idle = sys - out->heap_inuse;
    out->heap_released = released < out->heap_idle ? released : out->heap_idle;

    out->mspan_sys = __atomic_load_n(&mheap.mspan_bytes, __ATOMIC_RELAXED);
    out->mcache_sys = __atomic_load_n(&mheap.mcache_bytes, __ATOMIC_RELAXED);
    out->buckhash_sys = os_kind_bytes(OS_PROF);
    out->gc_sys = os_kind_bytes(OS_GC);
    out->stack_sys = os_kind_bytes(OS_STACK);
    uint64_t meta = os_kind_bytes(OS_META), named = out->mspan_sys + out->mcache_sys;
    out->other_sys = os_kind_bytes(OS_OTHER) + (meta > named ? meta - named : 0);
    out->sys = out->heap_sys + out->mspan_sys + out->mcache_sys + out->buckhash_sys + out->gc_sys + out->stack_sys +
               out->other_sys;
    out->scavenged = __atomic_load_n(&mheap.scavenged_bytes, __ATOMIC_RELAXED);
    out->arenas = __atomic_load_n(&mheap.arenas, __ATOMIC_RELAXED);
    out->threads = mheap.ncaches;
}

void heap_class_stats(struct heap_class_stat *out)
{
    for (unsigned c = 0; c < SIZE_CLASSES; c++) out[c] = (struct heap_class_stat){.size = class_to_size[c]};
    take_census(out);
    for (const struct mcache *mc = __atomic_load_n(&mheap.caches, __ATOMIC_ACQUIRE); mc; mc = mc->next_all) {
        for (unsigned c = 1; c < SIZE_CLASSES; c++) {
            uint64_t n = bin_count(mc, c);
            if (n > out[c].objects) n = out[c].objects;
            out[c].cached += n;
            out[c].objects -= n;
            out[c].object_bytes -= n * class_to_size[c];
        }
    }
    for (unsigned sc = 0; sc < SPAN_CLASSES; sc++) out[size_class_of(sc)].contended += mheap.central[sc].lock.contended;
}

void heap_lock_stats(struct heap_lock_stats *out)
{
    *out = (struct heap_lock_stats){
        .pages = mheap.lock.contended, .caches = mheap.cache_lock.contended, .samples = mcache_shared_waits()};
    for (unsigned sc = 0; sc < SPAN_CLASSES; sc++) out->central += mheap.central[sc].lock.contended;
}

static void clear(struct seep_memstats *out)
{
    size_t size = out->size;
    *out = (struct seep_memstats){.size = size};
}

void heap_stats(struct seep_memstats *out)
{
    clear(out);
    lock_acquire(&mheap.cache_lock);
    fill(out);
    lock_release(&mheap.cache_lock);
}

void heap_stats_stopped(struct seep_memstats *out)
{
    clear(out);
    fill(out);
}
