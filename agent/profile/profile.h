/* SPDX-License-Identifier: Apache-2.0
 *
 * The sampling profiler: which allocation is sampled, its stack, its bucket, and the modules that code
 * addresses belong to.
 *
 * The sampling decision depends on the slot size only (gap exponential with mean `rate`, as nextSample in Go's
 * runtime/malloc.go), so every object of a bucket (stack, slot size) had the same probability
 * 1 - exp(-size/rate) and bucket sums are unbiased by one factor each. */
#ifndef SEEP_PROFILE_H
#define SEEP_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/heap/heap.h"

void prof_init(void);      /* idempotent; calls options_init itself */
void prof_late_init(void); /* from the constructor: reads the modules, loads libunwind when SEEP_UNWIND asks for it */

/* The first gap of a new cache's sample counter: the heap stores it when it makes a cache. A cache that begins with
 * 0 instead would sample its first allocation always. */
int64_t prof_first_gap(void);

/* Up to this rate in bytes so many objects are recorded that the same stacks come again and again, and that they have
 * spans of their own. */
enum { PROF_OFTEN_RATE = 16384 };
extern bool prof_often;

/* ---- Called by the heap, inside a critical section, with no heap lock held. */
/* The thread's sample counter fell below 0 on an allocation: *gap is the next. Is the object to be recorded? Then the heap
 * finds a slot for it, of a span that it tells of all its frees, and calls prof_record(); else prof_unrecorded(). */
bool prof_due(int64_t *gap);
void prof_record(struct heap_sample *record, size_t slot_bytes, size_t requested);
void prof_unrecorded(void *p);
/* The calling thread's allocations are no leaks from now on, or again may be; nests. */
void prof_no_leak(bool begin);
/* The slot is being freed; its record was made, and is none afterwards. */
void prof_free(struct heap_sample *record);
/* realloc in place: the sampled object's requested size changed. */
void prof_resize(struct heap_sample *record, size_t requested);
/* A place for the record of a slot of a small span, empty; NULL: no memory. In spans of sampled objects it stays until the span
 * goes, in others until prof_free_listed(), and prof_listed() finds it. */
struct heap_sample *prof_place(struct mspan *span, uint32_t index);
struct heap_sample *prof_listed(struct mspan *span, uint32_t index);
void prof_free_listed(struct mspan *span, uint32_t index);
/* The span goes back to the page heap: no slot is sampled any more. */
void prof_span_freed(struct mspan *span);

/* ---- Stacks. */
enum { PROF_MAX_DEPTH = 128 };
struct unwind_regs {
    uintptr_t pc, sp, fp;
    uintptr_t rbx, r12, r13, r14, r15;
    bool complete; /* the callee-saved ones besides fp are known */
};
/* The caller's own stack, return addresses leaf first. Frames of libseep.so at the leaf end are left out; where the agent
 * is linked into the program itself, `skip` of the caller's frames instead. Thread-safe, no allocation from the heap, no
 * lock of libc. */
unsigned unwind_here(uintptr_t *pcs, unsigned max, unsigned skip);
/* A stopped stack [sp, stack_hi). In the child or in a stopped world. image: where the bytes of [sp, hi) stand, NULL: in place. */
unsigned unwind_stopped(const struct unwind_regs *regs, uintptr_t stack_lo, uintptr_t stack_hi, const void *image,
                        uintptr_t *pcs, unsigned max);
/* As a return address, the function in whose frame the word at `at` stands, or the first above that is not the C library's or the
 * agent's: a frame of theirs may hold what a caller had in a register. 0: not known. */
uintptr_t unwind_owner(const struct unwind_regs *regs, uintptr_t stack_lo, uintptr_t stack_hi, const void *image,
                       uintptr_t at);
/* Intern a stack: an id from 1, 0 when there is no memory. Ids are stable for the life of the process. The same
 * addresses in two module generations are two ids: who writes them out by their symbols must sum equal ones. */
uint32_t stack_intern(const uintptr_t *pcs, unsigned n);
/* Interned stack of the caller: for creation stacks of tasks. Thread-safe; enters a critical section itself. */
uint32_t prof_stack_here(unsigned skip);
unsigned stack_get(uint32_t id, const uintptr_t **pcs, uint32_t *module_generation);
uint32_t stack_count(void); /* ids 1 … count */

/* ---- Buckets: (stack, slot size). Counters are atomic and cumulative, of sampled objects. When the profiler's
 * memory is at its bound, new stacks count in buckets of the empty stack (no frames), so that sums stay true. */
struct prof_bucket {
    uint32_t stack;
    uint32_t id;
    uint64_t size;                                   /* slot size */
    uint64_t allocs, alloc_bytes, frees, free_bytes; /* bytes as requested */
    uint64_t pad[2];                                 /* threads write it: a cache line each */
};
uint32_t bucket_count(void); /* ids 1 … count */
const struct prof_bucket *bucket_get(uint32_t id);
uint64_t prof_rate(void);

/* ---- Modules. A module that was unloaded keeps its entry. Readers are lock-free. */
struct prof_module {
    const char *path;           /* never NULL; the executable's real path, "[vdso]" for the vdso */
    const char *build_id;       /* hex, "" when there is none */
    uintptr_t bias;             /* run-time address minus ELF virtual address */
    uintptr_t text_lo, text_hi; /* of the executable segment; one entry per executable segment */
    uint64_t file_offset;
    uint32_t loaded, unloaded; /* generations; unloaded 0: still there */
};
/* Generation of the module map: from 1, rises when a module was unloaded. A mere load does not raise it, since it
 * changes the meaning of no address (modules.c). */
uint32_t modules_generation(void);
/* Re-reads the loaded modules by dl_iterate_phdr. Takes the loader's lock: only with critical == 0 and no agent lock. */
void modules_refresh(void);
uint32_t modules_count(void);
const struct prof_module *modules_get(uint32_t i); /* 0 … count - 1 */
/* The module that covered pc in that generation, or NULL. */
const struct prof_module *modules_find(uintptr_t pc, uint32_t generation);

/* Writable segments of the loaded modules as found by the last refresh, libseep's own left out: roots of the marker. */
int modules_data(int (*fn)(void *arg, uintptr_t lo, uintptr_t hi, const char *path), void *arg);

/* Rules cached by the tracer are dropped: called around dlclose. */
void unwind_flush(void);

uint64_t prof_lock_waits(void); /* for all the profiler's locks, since the start */

void prof_fork_prepare(void);
void prof_fork_parent(void);
void prof_fork_child(void);

#endif
