/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed coroutines. In the order of the flow:
 *
 *     pack_scan.c   who has stayed parked, and whose stack no word outside of it points into (the snapshot's child says so)
 *     pack.c        their stacks' live bytes go to a block of the store, and back
 *     pack_store.c  the blocks
 *     stack_rest.c  the stacks' pages */
#ifndef CORO_PACK_H
#define CORO_PACK_H

#include "coro/runtime.h"

/* ---- pack.c */
struct pack_candidate {
    struct g *g;
    uint64_t stamp; /* pack_stamp() as of when it was seen to be parked with its registers saved */
};
/* Of one wait of one coroutine: never 0. */
static inline uint64_t pack_stamp(const struct g *g)
{
    return (g->id * 0x9e3779b97f4a7c15u + g->schedules) | (uint64_t)1 << 63;
}
/* Packs those that have not run since. Returns how many; -1: packing is not possible here any more (one line said why). One caller
 * at a time, not a coroutine that is among them. */
int pack_some(const struct pack_candidate *c, unsigned n);
enum { PACK_BATCH = STACK_REST_BATCH };

/* The live part of a waiting coroutine's stack: where it stands now, and the address that it is for. */
struct pack_view {
    const char *bytes; /* begins with its saved context */
    uintptr_t sp;
    size_t size;
    bool packed;
};
/* False: somebody is just moving it. Without locks: in a running world what was read must be checked by pack_stamp() and status. */
bool pack_view(const struct g *g, struct pack_view *v);

/* ---- pack_store.c */
void *pack_store_alloc(size_t n); /* 16-byte aligned; NULL: no memory */
void pack_store_free(void *p);
size_t pack_store_bytes(void); /* address space in use */

/* ---- pack_scan.c */
void pack_scan_prepare(void); /* in a stopped world, before the child is forked */
void pack_scan_rests(uintptr_t ref);
void pack_scan_timer_lost(uintptr_t object);
void pack_scan_finish(bool told);

#endif
