/* SPDX-License-Identifier: Apache-2.0
 *
 * Finalizers: what is to be called when nothing reaches a block any more.
 *
 *     seep_set_finalizer ─▶ SET ─▶ (a snapshot's child finds it unreachable) ─▶ READY ─▶ the finalizers' thread
 *
 * The table is memory of the agent's own: it keeps no block alive. What keeps one alive is decided by
 * snapshot/judge_final.c: every finalizer's argument, and each block whose turn has come until its call returns.
 *
 * Invariants
 *   1. An entry's generation changes with each change of its state, so a verdict of the child about what an index held at
 *      the stop never falls on what it holds now.
 *   2. Entries do not move: the child walks them by index in a frozen copy.
 * Locks: one, RANK_FINALIZERS. Nothing here allocates from the heap. Not async-signal-safe. */
#ifndef SEEP_GC_FINALIZER_H
#define SEEP_GC_FINALIZER_H

#include <stdbool.h>
#include <stdint.h>

typedef void finalizer_fn(void *p, void *arg);

enum finalizer_state { FINALIZER_FREE, FINALIZER_SET, FINALIZER_READY };

struct finalizer {
    uintptr_t object; /* start of the block; 0 in READY: called off */
    finalizer_fn *fn;
    void *arg;
    uint64_t since_ns; /* READY: since when. CLOCK_MONOTONIC */
    uint32_t next;     /* index + 1 in the chain of its hash, in the queue, or among the free ones */
    uint32_t generation;
    uint32_t stack; /* id of who set it */
    uint32_t state;
};

/* The call that is being made. */
struct finalizer_call {
    void *object, *arg;
    finalizer_fn *fn;
    uint64_t since_ns;
    uint32_t stack;
    int tid; /* 0: none */
};

/* fn NULL: none any more. Replaces one that is set. 0, -ENOMEM, or -ENOENT when there was none to remove. */
int finalizer_set(uintptr_t object, finalizer_fn *fn, void *arg, uint32_t stack);
/* The block is freed: whatever was set is off. Cheap while none is set. */
void finalizer_forget(uintptr_t object);

/* ---- The finalizers' thread. */
bool finalizer_begin(struct finalizer_call *out); /* the oldest that is ready; false: none */
void finalizer_end(void);
void finalizer_wait(void);       /* until something may have become ready */
uint64_t finalizers_made(void);  /* how many have become ready, ever */
bool finalizers_any(void);       /* set or ready */
uint64_t finalizers_queue(void); /* ready and not begun */

/* ---- Around a snapshot. */
void finalizers_prepare(void);     /* in the parent, before the stop */
void finalizers_finish(bool told); /* in the parent, when the child has ended; told: its verdicts count */
const struct finalizer *finalizer_at(uint32_t i); /* in the child; i < finalizers_slots() */
uint32_t finalizers_slots(void);
void finalizer_verdict(uint32_t i); /* in the child: nothing reaches it, its turn has come */
const struct finalizer_call *finalizer_current(void);

/* ---- Around fork(). In the child no call is being made. */
void finalizers_fork_prepare(void);
void finalizers_fork_parent(void);
void finalizers_fork_child(void);

#endif
