/* SPDX-License-Identifier: Apache-2.0
 *
 * The heap as the rest of the agent sees it. The structures themselves are in heap/types.h. */
#ifndef SEEP_HEAP_H
#define SEEP_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/os/os.h"

struct mspan;
struct seep_memstats;

/* ---- Allocation. Any thread, at any time from the first instruction of the process on. */
enum heap_flags {
    HEAP_ZERO = 1,   /* cleared */
    HEAP_NOSCAN = 2, /* holds no pointers: never scanned by the marker */
};
/* NULL with errno ENOMEM when it can't be had. size 0 gives a unique block. align: a power of two, 0: the C
 * ABI's. */
void *heap_alloc(size_t size, size_t align, unsigned flags);
void heap_free(void *p); /* NULL is fine; a pointer that is not an allocated block's start: log_fatal */
void *heap_realloc(void *p, size_t size);
size_t heap_usable_size(const void *p); /* 0 for NULL */
size_t heap_release(size_t keep_bytes); /* malloc_trim: returns idle pages at once; bytes given back */

/* SEEP_DEBUG=alloctrace: set before the first allocation. Then nothing takes a fast path, and the slow ones tell
 * entry/alloctrace.c. calloc_clear_bytes: calloc up to here is malloc and a memset; 0 when traced. */
extern bool heap_traced;
extern size_t calloc_clear_bytes;

/* Life cycle, called by agent/entry. */
void heap_init(void);        /* idempotent */
void heap_thread_exit(void); /* gives the calling thread's cache back; malloc still works after it */
void heap_fork_prepare_first(
    void);                    /* the lock that is held while the profiler's are taken: before prof_fork_prepare() */
void heap_fork_prepare(void); /* every other heap lock */
void heap_fork_parent(void);
void heap_fork_child(void);      /* only the calling thread is left */
void heap_background_tick(void); /* scavenger's work, called by the agent's thread about every 100 ms; returns soon */
/* Waits of the program help (entry/pieces.h), and do all the work where that thread is not there. heap_waits_work: not 0 while
 * there is memory to give back; a wait longer than heap_wait_piece_ns() is then made in pieces of that length, with a
 * heap_wait_tick() after each that ended by time. It works every 100 ms at most, for 10 ms at most. Async-signal-safe;
 * give_cache (the thread's own cache too): only where no handler interrupted this thread in the heap. */
extern uint32_t heap_waits_work;
uint64_t heap_wait_piece_ns(void);
void heap_wait_tick(bool give_cache);

/* Sampling: bytes until the calling thread's next sample. The fast path of malloc subtracts the slot size and calls
 * prof_due() when it falls below 0. */
void heap_set_next_sample(int64_t bytes);

/* ---- Objects. Lock-free; any address, mapped or not. Exact in a stopped world. */
struct heap_object {
    uintptr_t base;
    size_t size; /* of the slot, or of the large span's object as rounded to pages */
    struct mspan *span;
    uint32_t index; /* slot in the span */
    bool noscan;
};
/* Finds the slot that holds address p, allocated or not. False: not in a span in use. */
bool heap_find(uintptr_t p, struct heap_object *out);

/* ---- Walking, in a stopped world or in the snapshot child only. No locks, no allocation. */
struct heap_span_info {
    struct mspan *span;
    uintptr_t base;
    size_t npages; /* of 8 KiB */
    size_t elem_size;
    uint32_t nelems;
    bool noscan;
    bool large;
    uint32_t dense_id; /* index of the span among all spans in use, from 0: for side tables */
};
typedef int heap_span_fn(void *arg, const struct heap_span_info *s);
int heap_walk_spans(heap_span_fn *fn, void *arg); /* in address order */
/* bits: nelems bits, rounded up to whole words; sets those of free slots, clears those of allocated ones. */
void heap_free_slots(struct mspan *s, uint64_t *bits);

/* ---- Samples: one record per sampled object. profile/ allocates them, the heap knows where they are:
 *   a large span          in the span itself
 *   a small span          in a list of the span; the slot's mark says that it has one
 *   where nearly every object is sampled (PROF_OFTEN_RATE), in spans of sampled objects alone, in a table a span */
struct heap_sample {
    uint32_t bucket;    /* 0: not sampled */
    uint32_t time_ms;   /* CLOCK_MONOTONIC, wraps */
    uint64_t requested; /* bytes */
};
struct sample_node {
    struct sample_node *next;
    uint32_t index; /* slot */
    struct heap_sample record;
};
/* Where a span's table is, or its list; NULL where it has the other. For profile/. */
struct heap_sample **heap_span_samples(struct mspan *s);
struct sample_node **heap_span_listed(struct mspan *s);
/* The slot's record, or NULL. In a stopped world, as the next: all records of a span, `index` being the slot's number.
 * Begins with {.span = s}. */
struct heap_sample *heap_sample_of(struct mspan *s, uint32_t index);
struct heap_sample_walk {
    struct mspan *span;
    uint32_t index, next;
    struct sample_node *node;
};
struct heap_sample *heap_sample_next(struct heap_sample_walk *w);
uint32_t heap_span_nelems(const struct mspan *s);
uint32_t heap_span_carved(const struct mspan *s); /* of a small one: the first so many slots may have been allocated */
size_t heap_span_elem_size(const struct mspan *s);
uintptr_t heap_slot_address(const struct mspan *s, uint32_t index);

/* ---- Metadata: never freed, off the program's heap, zeroed. NULL when the kernel refuses. */
void *persistent_alloc(size_t size, size_t align, enum os_kind kind);

/* ---- Statistics. */
void heap_stats(struct seep_memstats *out);         /* consistent: the parts add up */
void heap_stats_stopped(struct seep_memstats *out); /* the same in the child: no locks */
/* A size class; class 0 is the large blocks. A racy reading, each field for itself. */
enum { HEAP_CLASSES = 68 };
struct heap_class_stat {
    uint64_t size; /* of an object; 0: any */
    uint64_t spans, span_bytes;
    uint64_t objects, object_bytes; /* allocated */
    uint64_t cached;                /* free, in bins of threads */
    uint64_t contended;             /* waits for the class's central lists */
};
void heap_class_stats(struct heap_class_stat *out); /* HEAP_CLASSES of them */
struct heap_lock_stats {
    uint64_t pages, central, caches; /* waits since the start */
    uint64_t samples;                /* for the cache of threads past their exit */
};
void heap_lock_stats(struct heap_lock_stats *out);
/* What of [lo, hi), inside the heap's arenas, is in use, idle, and released: for the account of RSS. Stopped world. */
enum heap_page_state { HEAP_PAGE_INUSE, HEAP_PAGE_IDLE, HEAP_PAGE_RELEASED };
typedef int heap_pages_fn(void *arg, uintptr_t lo, uintptr_t hi, enum heap_page_state state);
int heap_walk_pages(heap_pages_fn *fn, void *arg); /* maximal runs, in address order */

/* ---- The snapshot child: allocations by libc or SQLite inside it come from a private bump arena. */
void heap_enter_child(void);

#endif
