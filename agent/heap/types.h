/* SPDX-License-Identifier: Apache-2.0
 *
 * The structures of the heap, together, because their relations are the design:
 *
 *   address ──root[16 GiB]──▶ region ──page──▶ span ──offset * inverse──▶ slot
 *   address ──/ 16──▶ mark: is it a used slot, and of which class? All that free needs
 *   thread ──▶ mcache ──span class──▶ current span ──▶ free list, then the part never carved
 *                     └──▶ partial spans (owned, with free slots)
 *   mcentral (one a span class) ──▶ partial spans nobody owns
 *   mheap ──▶ pages: per region five levels of summaries over bitmaps of 4 MiB chunks
 *
 * A small span is in one of these places:
 *   current   of one mcache: owner is that cache
 *   partial   in a list of one mcache: owner is that cache
 *   central   in a mcentral's list: no owner
 *   full      nowhere: no owner, REMOTE_FULL set in `remote`; found again by the first free of one of its slots
 * Who clears REMOTE_FULL by compare-and-swap owns the span from then on: whoever frees first adopts the span, so that a
 * consumer's later frees are local ones, and no thread ever has to be woken to look at its spans.
 *
 * Units: pages are heap pages of 8 KiB unless a name says otherwise. */
#ifndef SEEP_HEAP_TYPES_H
#define SEEP_HEAP_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/heap/heap.h"
#include "agent/heap/size_classes.h"
#include "agent/util/lock.h"

enum {
    HPAGE_SHIFT = 13,
    HPAGE_BYTES = 1 << HPAGE_SHIFT,
    CHUNK_PAGES = 512, /* of one bitmap: 4 MiB */
    CHUNK_WORDS = CHUNK_PAGES / 64,
    ARENA_SHIFT = 26,
    ARENA_PAGES = 1 << (ARENA_SHIFT - HPAGE_SHIFT),
    ARENA_CHUNKS = ARENA_PAGES / CHUNK_PAGES,
    REGION_SHIFT = 34, /* what one entry of the root covers: 256 arenas */
    REGION_ARENAS = 1 << (REGION_SHIFT - ARENA_SHIFT),
    REGION_CHUNKS = REGION_ARENAS * ARENA_CHUNKS,
    REGION_PAGES = 1 << (REGION_SHIFT - HPAGE_SHIFT),
    ROOT_ENTRIES = 1 << (48 - REGION_SHIFT),
    PLAIN_CLASSES = 2 * SIZE_CLASSES,
    SPAN_CLASSES = 2 * PLAIN_CLASSES, /* from PLAIN_CLASSES on: the same for sampled objects */
    HUGE_PAGES = 256,                 /* of a huge page: 2 MiB */
    PCACHE_PAGES = 64,                /* pages of a thread's page cache */
    PCACHE_MAX_ALLOC = 16,            /* requests below this go through it */
};
#define ARENA_BYTES ((size_t)1 << ARENA_SHIFT)
#define CHUNK_BYTES ((size_t)CHUNK_PAGES << HPAGE_SHIFT)
#define HUGE_BYTES  ((size_t)HUGE_PAGES << HPAGE_SHIFT)
#define HEAP_HINT   ((uintptr_t)0x00c0 << 32)
#define MARKS_HINT  ((uintptr_t)0x00b0 << 32)

struct mcache;
_Static_assert((int)HEAP_CLASSES == (int)SIZE_CLASSES, "heap.h");

/* Never a cache: `fast` of a span whose frees must take the slow path. */
#define NO_CACHE ((struct mcache *)1)

/* A free slot's first word holds the encoded address of the next one; see slot_encode(). */
struct slot {
    uint64_t link;
};

enum span_state { SPAN_UNUSED, SPAN_SMALL, SPAN_LARGE };

/* mspan.remote: slots freed by threads that do not own the span, with their number. */
#define REMOTE_FULL       ((uint64_t)1 << 63)
#define REMOTE_ONE        ((uint64_t)1 << 48)
#define REMOTE_ADDR(w)    ((uintptr_t)((w) & (REMOTE_ONE - 1)))
#define REMOTE_COUNT(w)   ((uint32_t)(((w) & ~REMOTE_FULL) >> 48))
#define REMOTE_NEXT(w, p) ((((w) & ~REMOTE_FULL) & ~(REMOTE_ONE - 1)) + REMOTE_ONE + (uintptr_t)(p))

/* What is known of a slot without reading it or its span: a byte for each 16 bytes of the heap, at the slot's first ones. Who frees
 * a slot sets MARK_FREE, who hands it out the number of its bin, so every second free is seen, and every free of what is not
 * the start of a slot. A byte, not some bits: slots side by side belong to different threads.
 *   MARK_FREE      free, wherever it waits, or never handed out; no slot begins here; or of a large span
 *   1 …            used: its size class, whose bin it may go into
 *   MARK_NO_BIN    used, of a class without a bin: see fine_class()
 *   MARK_SAMPLED   used, and has a record in its span's list */
enum mark { MARK_FREE, MARK_NO_BIN = SIZE_CLASSES, MARK_SAMPLED, MARKS };
enum { MARK_SHIFT = 4, NEAR_CLASSES = REGION_PAGES };
#define CHUNK_MARKS (CHUNK_BYTES >> MARK_SHIFT)
#define NEAR_STEP   (ARENA_BYTES >> MARK_SHIFT)

/* First cache line: all that malloc and free touch when bins don't serve them. Guarded by ownership: only the owner's thread writes `free`, `used`, `bump`.
 * Structures are recycled but never unmapped, so a stale pointer to one can always be read. */
struct mspan {
    struct mcache *fast; /* the owner while its frees need nothing special, else NO_CACHE */
    uintptr_t base;
    struct slot *free; /* slots free in this span, last freed first */
    uintptr_t bump;    /* slots from here to limit were never carved */
    uintptr_t limit;
    uint32_t used;       /* slots allocated; those in `remote` and in bins still count */
    uint16_t span_class; /* size class * 2 + noscan, + PLAIN_CLASSES when for sampled objects */
    uint8_t mark;        /* of its used slots */
    uint8_t state;       /* enum span_state; atomic for threads that do not own it */
    uint64_t inverse;    /* class_to_inverse */
    size_t elem_size;    /* of a large span: all its pages */
    /* Second line. */
    uint64_t remote; /* atomic: see REMOTE_* */
    struct mcache *owner;
    size_t npages;
    __extension__ union {
        struct heap_sample *samples; /* of a large span and of spans of sampled objects; stays until the span goes */
        struct sample_node *listed;  /* of other small ones; guarded by profile/samples.c */
    };
    uint32_t nelems;  /* of the span; 1 for a large one */
    bool needzero;    /* memory never carved may hold old bytes */
    bool central;     /* in its mcentral's list; guarded by that lock, atomic for others */
    bool idle : 1;    /* empty and kept in the owner's list */
    bool current : 1; /* of its owner */
    __extension__ union {
        struct {
            struct mspan *next, *prev; /* of the list it is in; free structures: next only */
        };
        struct heap_sample record; /* of a large span, which is in no list: what `samples` then points to */
    };
    bool binned; /* in a snapshot's child: some of its slots are in bins */
};
_Static_assert(offsetof(struct mspan, remote) == 64 && sizeof(struct mspan) == 128, "two cache lines");

struct span_list {
    struct mspan *head, *tail;
};

/* Pages cached by a thread: bits of the 64 from base on that are free; they count as allocated in the bitmap. */
struct pcache {
    uintptr_t base; /* 0: empty */
    uint64_t free, scav;
};

enum { SPAN_STASH = 32, SPARE_PAGES = 16, IDLE_MAX_PAGES = 128 };

/* Slots of a class that the thread freed last, of any span, to be allocated next: a stack. They count as used in their
 * spans. See bins.c. What malloc and free need of it at each call is in mcache.top … cost. */
struct bin {
    struct mspan
        *fine;       /* alloc[] of the class for malloc_carve(); &empty_span when traced, or where marks are not near */
    uint32_t size;   /* of a slot; 0: not set up yet */
    uint32_t missed; /* frees that found it full, since it grew */
    uint32_t grow_at;  /* when there were so many and it is then found empty, it grows */
    uint32_t changing; /* odd while base and top are moved: for readers in other threads */
};

/* One thread's cache. Guarded by its thread. Structures are recycled and never unmapped. */
struct mcache {
    int64_t sample; /* bytes left << COUNT_BITS, plus mallocs since it was set; below 0: sample */
    /* Bins, by mark: a slot's mark is the number of its bin. Those of MARK_FREE, MARK_NO_BIN and MARK_SAMPLED have no room. */
    uintptr_t *top[MARKS];       /* the next free place */
    uintptr_t *base[MARKS];      /* the lowest; top == base: empty */
    uintptr_t *end[MARKS];       /* top == end: full */
    uint64_t cost[SIZE_CLASSES]; /* of the class: malloc subtracts it from the sample counter */
    struct bin bin[MARKS];
    struct mspan *alloc[SPAN_CLASSES]; /* current spans; &empty_span when there is none */
    struct span_list partial[SPAN_CLASSES];
    uint64_t sample_armed;   /* bytes that `sample` was set to */
    int64_t sample_rest;     /* gap beyond it */
    uint64_t bytes, mallocs; /* small ones before `sample` was set; readers tolerate a racing reset */
    uint64_t large_bytes, large_mallocs;
    uint64_t bin_bytes;  /* that its bins may hold beyond what each may at first */
    uint32_t idle_pages; /* in idle spans of `partial`, and in spare */
    uint32_t nstash;
    struct mspan *stash;                  /* unused span structures */
    struct mspan *spare[SPARE_PAGES + 1]; /* freed large spans of so many pages, used 0; linked by next */
    struct pcache pages;
    struct mcache *next_all;  /* list of all caches; never shrinks */
    struct mcache *next_free; /* guarded by mheap.cache_lock */
    uint32_t rests;           /* scavenge.c: of the program, that it has seen */
    bool sampled;             /* it had spans of sampled objects */
    bool in_use;              /* has a thread; guarded by mheap.cache_lock */
} __attribute__((aligned(64)));

struct mcentral {
    struct lock lock;
    struct span_list partial; /* guarded by lock */
    uint32_t npartial;        /* atomic hint */
    uint8_t pad[20];
};

/* ---- Pages. A run of free pages: how many at the start, the longest, how many at the end. */
struct summary {
    uint32_t start, max, end;
};

struct chunk {
    uint64_t alloc[CHUNK_WORDS]; /* 1: not free (or never mapped) */
    uint64_t scav[CHUNK_WORDS];  /* 1: free and given back to the kernel, or never touched */
    uint8_t *marks;              /* of its addresses; once there they stay */
};

struct arena {
    uintptr_t base;
    size_t mapped_pages; /* grown: Prepared; the rest is Reserved */
    uint32_t huge;       /* a bit for 2 MiB each: MADV_HUGEPAGE */
    uint32_t broken;     /* was, until a part of it was given back */
    struct chunk chunks[ARENA_CHUNKS];
};

/* 16 GiB of address space. The levels below the root: 8, 64, 512 and 4096 (one a chunk) summaries. */
struct region {
    uintptr_t base;
    struct mspan **spans; /* one a page; readable everywhere, writable for arenas that exist */
    struct region *next;  /* in address order */
    struct arena *arenas[REGION_ARENAS];
    struct summary top;
    struct summary l1[8], l2[64], l3[512], l4[REGION_CHUNKS];
};

struct mheap {
    struct lock lock; /* RANK_MHEAP: everything here but what says otherwise */
    struct region *regions;
    uintptr_t grow_lo, grow_hi; /* Reserved address space that comes next */
    struct mspan *free_spans;   /* unused structures */
    uint64_t mapped_pages;      /* atomic for readers, as the following */
    uint64_t inuse_pages;       /* of spans */
    uint64_t released_pages;    /* scavenged and free */
    uint64_t large_pages;       /* of large spans */
    uint64_t scavenged_bytes;
    uint64_t arenas;
    uint64_t mspan_bytes, mcache_bytes;            /* of metadata */
    uint64_t bin_bytes;                            /* of all caches' bin_bytes */
    uint64_t dead_bytes, dead_mallocs;             /* of caches given back */
    uint64_t seen_mallocs, seen_frees, seen_bytes; /* stats.c: what was said last; guarded by cache_lock */
    bool lazy;                                     /* pages were given back by MADV_FREE: they may hold old bytes */
    struct lock cache_lock;                        /* RANK_MCACHE */
    struct mcache *caches, *free_caches;
    uint32_t ncaches; /* in use */
    struct mcentral central[SPAN_CLASSES];
};

#pragma GCC visibility push(hidden)
extern struct mheap mheap;
extern struct region *heap_regions[ROOT_ENTRIES];
extern struct mspan **heap_root[ROOT_ENTRIES]; /* region.spans, moved down so that the page's number is the index */
extern uintptr_t heap_first; /* base of the first region, and its spans: most programs have no other */
extern struct mspan **heap_first_spans;
/* Where the marks of most addresses are: those of [lo, lo + slots * 16) stand from `map` on, and NEAR_CLASSES below it the classes
 * of the pages there: mspan.mark, 0 for no span. The rest: mark_far(). Grows only. */
extern struct heap_near {
    uintptr_t lo;
    size_t slots;
    uint8_t *map;
    uintptr_t moved; /* map, so that an address / 16 is the index */
} heap_near;
extern struct mspan empty_span; /* a span without slots: the first malloc of a class fails over to the slow path */
extern uint64_t heap_key;       /* of encoded links */
#pragma GCC visibility pop

/* ---- Look-ups of the fast paths. */
struct mspan *span_of_far(uintptr_t p);

static inline struct mspan *span_of(uintptr_t p)
{
    uintptr_t page = (p - heap_first) >> HPAGE_SHIFT;
    if (__builtin_expect(page >= REGION_PAGES, 0)) return span_of_far(p);
    return __atomic_load_n(&heap_first_spans[page], __ATOMIC_ACQUIRE);
}

static inline struct mspan *span_of_any(uintptr_t p)
{
    if (__builtin_expect(p >> REGION_SHIFT >= ROOT_ENTRIES, 0)) return NULL;
    struct mspan *const *pages = heap_root[p >> REGION_SHIFT];
    if (__builtin_expect(pages == NULL, 0)) return NULL;
    return __atomic_load_n(&pages[p >> HPAGE_SHIFT], __ATOMIC_ACQUIRE);
}

/* The key's high bits are neither those of an address nor of text nor all ones, so a word whose high bits
 * become zero when decoded is a link, or one of 65,536 random words. */
static inline uint64_t slot_encode(const struct slot *next)
{
    return (uintptr_t)next ^ heap_key;
}

static inline struct slot *slot_decode(uint64_t link)
{
    return (struct slot *)(uintptr_t)(link ^ heap_key);
}

static inline bool slot_plausible(const struct slot *p)
{
    return ((uintptr_t)p >> 48) == 0;
}

__extension__ typedef unsigned __int128 uint128;

static inline uint32_t span_index(const struct mspan *s, uintptr_t p)
{
    return (uint32_t)(((uint128)(p - s->base) * s->inverse) >> 64);
}

/* p is the start of a slot of the small span s. */
static inline bool span_slot_start(const struct mspan *s, uintptr_t p)
{
    return (p - s->base) * s->inverse < s->inverse;
}

/* The size class of a span class. */
static inline unsigned size_class_of(unsigned sc)
{
    return (sc < PLAIN_CLASSES ? sc : sc - PLAIN_CLASSES) >> 1;
}

/* The number of p among the slots of heap_near, too large where p is not there or not a multiple of 16: that rotates bits of
 * it to the top. */
static inline size_t near_slot(uintptr_t p)
{
    uintptr_t at = p - heap_near.lo;
    return at >> MARK_SHIFT | at << (64 - MARK_SHIFT);
}

uint8_t *mark_far(uintptr_t p);

static inline uint8_t *near_mark(uintptr_t p)
{
    return (uint8_t *)(heap_near.moved + (p >> MARK_SHIFT));
}

/* Of the slot's page; map: heap_near.map. */
static inline uint8_t *near_class(uint8_t *map, size_t slot)
{
    return map - NEAR_CLASSES + (slot >> (HPAGE_SHIFT - MARK_SHIFT));
}

static inline bool is_near(const struct mspan *s)
{
    uintptr_t last = s->base + (s->npages << HPAGE_SHIFT) - (1 << MARK_SHIFT);
    return near_slot(s->base) < heap_near.slots && near_slot(last) < heap_near.slots;
}

/* Of p; NULL where no slot can begin. */
static inline uint8_t *mark_of(uintptr_t p)
{
    size_t at = near_slot(p);
    return __builtin_expect(at < heap_near.slots, 1) ? heap_near.map + at : mark_far(p);
}

static inline unsigned span_size_class(const struct mspan *s)
{
    return size_class_of(s->span_class);
}

/* Its records are in a list. */
static inline bool span_lists(const struct mspan *s)
{
    return s->state == SPAN_SMALL && s->span_class < PLAIN_CLASSES;
}

/* Of a class whose slots go through bins and the fast paths. */
static inline bool fine_class(unsigned sc)
{
    return sc < PLAIN_CLASSES && !(sc & 1);
}

static inline bool span_noscan(const struct mspan *s)
{
    return s->span_class & 1;
}

static inline uint64_t class_cost(size_t size)
{
    return ((uint64_t)size << COUNT_BITS) - 1;
}

/* ---- lists.c … all static: lists are doubly linked and short. */
static inline void list_push_back(struct span_list *l, struct mspan *s)
{
    s->next = NULL;
    s->prev = l->tail;
    if (l->tail)
        l->tail->next = s;
    else
        l->head = s;
    l->tail = s;
}

static inline void list_push_front(struct span_list *l, struct mspan *s)
{
    s->prev = NULL;
    s->next = l->head;
    if (l->head)
        l->head->prev = s;
    else
        l->tail = s;
    l->head = s;
}

static inline void list_remove(struct span_list *l, struct mspan *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        l->head = s->next;
    if (s->next)
        s->next->prev = s->prev;
    else
        l->tail = s->prev;
    s->next = s->prev = NULL;
}

/* ---- persistent.c */
void persistent_fork(bool prepare);

/* ---- arena.c, under mheap.lock */
bool arena_grow(size_t npages); /* makes at least npages more free pages, contiguous ones */
struct arena *arena_of(uintptr_t p);
/* Of the huge page at p, in arena.huge. */
static inline uint32_t huge_bit(uintptr_t p)
{
    return 1u << ((p / HUGE_BYTES) % (ARENA_BYTES / HUGE_BYTES));
}
struct region *region_of(uintptr_t p);
struct chunk *chunk_of(uintptr_t p); /* in an arena that exists */
/* The marks of [lo, hi), in which nothing is used, go back as far as they are whole pages. No lock needed. */
void marks_unused(uintptr_t lo, uintptr_t hi);

/* ---- pagealloc.c, under mheap.lock. Addresses are of pages; 0: none. */
uintptr_t pages_find(size_t npages);
/* Marks them allocated; *scavenged: how many had been given back. */
void pages_take(uintptr_t base, size_t npages, size_t *scavenged);
void pages_free(uintptr_t base, size_t npages, bool scavenged);
/* Are the npages at base free? */
bool pages_are_free(uintptr_t base, size_t npages);
bool pages_check(void);

/* ---- pagecache.c. The owner's thread; pcache_fill and pcache_flush under mheap.lock. */
uintptr_t pcache_take(struct pcache *c, size_t npages, size_t *scavenged);
bool pcache_give(struct pcache *c, uintptr_t base, size_t npages);
bool pcache_fill(struct pcache *c);
void pcache_flush(struct pcache *c);

/* ---- span.c. mc: the caller's cache, or NULL. */
struct mspan *span_new(struct mcache *mc, size_t npages, size_t align_bytes, unsigned span_class,
                       enum span_state state);
void span_delete(struct mcache *mc, struct mspan *s); /* all its slots are free; nobody else knows it */
void span_set_pages(const struct mspan *s, size_t from, size_t to, struct mspan *value);
void stash_flush(struct mcache *mc);
void usage_add(uint64_t *counter, int64_t pages);
void span_set_owner(struct mspan *s, struct mcache *mc); /* NULL: nobody */

/* ---- mcache.c */
void mcache_bind(struct mcache *mc); /* to the calling thread; NULL: none */
struct mcache *mcache_get(void);     /* of the calling thread, made when needed; NULL: no memory */
struct mspan *mcache_refill(struct mcache *mc, unsigned span_class); /* a span with a free slot; NULL: no memory */
void mcache_make_current(struct mcache *mc, struct mspan *s);
bool span_collect(struct mspan *s); /* by the owner: remote frees become local ones */
void span_now_empty(struct mcache *mc, struct mspan *s);
void span_adopt(struct mcache *mc, struct mspan *s);
void mcache_arm(struct mcache *mc, int64_t bytes);
size_t mcache_release_idle(struct mcache *mc, bool tails); /* and of the shared one; pages. tails: see tails.c */
struct mcache *mcache_shared(void);                        /* locked until mcache_shared_end(); NULL: no memory */
void mcache_shared_end(void);
uint64_t mcache_shared_waits(void); /* for its lock, since the start */
struct mcache *mcache_borrow(void); /* for threads past their exit: the shared one, as agent_tls.mcache */
void mcache_return(void);

/* ---- bins.c */
void bins_flush(struct mcache *mc); /* by the owner: all slots in bins go back to their spans */
void bins_init(struct mcache *mc);
void bin_setup(struct mcache *mc, const struct mspan *s); /* before the first slot of the class comes */
void bin_grow(struct mcache *mc, unsigned c);             /* an empty one, if it may */
uint64_t bin_count(const struct mcache *mc, unsigned c);  /* by any thread, as the next one */
uint64_t bins_count(const struct mcache *mc, uint64_t *bytes);
void bins_note(void); /* in a snapshot's child: mspan.binned */

/* ---- tails.c */
size_t span_tail(struct mspan *s); /* by the owner; bytes given back */

/* ---- mcentral.c */
struct mspan *mcentral_pop(struct mcache *mc, unsigned span_class);
void mcentral_push(struct mspan *s);
void mcentral_try_free(struct mspan *s, unsigned span_class); /* perhaps its last slot was freed */
size_t mcentral_sweep(void);                                  /* frees what is empty; pages */

/* ---- large.c */
void *large_alloc(struct mcache *mc, size_t size, size_t align, unsigned flags);
void large_free(struct mcache *mc, struct mspan *s);
size_t large_release_spare(struct mcache *mc);     /* pages */
void *large_realloc(struct mspan *s, size_t size); /* in place or by moving pages; NULL: the caller copies */

/* ---- scavenge.c */
void scavenge_freed(size_t npages); /* a span's pages were freed; no heap lock is held */
void scavenge_taken(size_t npages); /* so many that were released are in use again */
void scavenge_fork_child(void);

/* ---- child.c */
void *child_alloc(size_t size, size_t align);
size_t child_usable_size(const void *p);

/* ---- check.c: each returns true, or says what is wrong and aborts. */
bool span_check(const struct mspan *s);
bool heap_check(void); /* with no other thread in the heap */
_Noreturn void heap_bad_free(const void *p, const char *why);
_Noreturn void heap_bad_link(const struct mspan *s, const struct slot *p);

/* ---- alloc.c */
void *malloc_slow(size_t size, unsigned flags);
void *malloc_medium(size_t size);
void *malloc_carve(size_t size, struct mcache *mc, size_t c);
void *malloc_sampled(size_t size, void *p, struct mcache *mc, uint64_t cost); /* p: what it would have got */
void *class_alloc_slow(unsigned span_class, size_t requested, unsigned flags);
void free_slow(void *p);
void free_far(void *p);                            /* its mark is not near */
void free_full(void *p, struct mcache *mc);        /* its bin has no room, or it is no slot */
void free_emptied(struct mspan *s);                /* the last slot of a span of the caller's was freed */
void slot_give(struct mcache *mc, struct slot *p); /* to its span, whoever owns that; mc: the caller's */

#endif
