/* SPDX-License-Identifier: Apache-2.0
 *
 * seep: the agent's public interface. Link with -lseep, or run under `seep run` and call through weak
 * references. Every function is thread-safe. None is async-signal-safe unless it says so. */
#ifndef SEEP_H
#define SEEP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of the agent that is running, "MAJOR.MINOR.PATCH". Async-signal-safe. */
const char *seep_version(void);

/* Takes a snapshot and waits until it is stored. label: at most 255 bytes, NULL: none.
 * Returns 0, or a negative errno: -ENODEV nothing is being recorded, -EAGAIN the process can't be forked now, -EIO the recording could
 * not be written (one line on standard error says why). The program goes on in every case. */
int seep_snapshot(const char *label);

/* Begins recording to path (absolute or relative to the current directory), which must not exist or be a recording of seep.
 * Returns 0, -EBUSY when already recording, or a negative errno. */
int seep_record(const char *path);

/* ---- Checks inside a program, for tests. The same snapshot and the same verdicts, but nothing is recorded. */
enum { SEEP_CHECK_FINDINGS = 32, SEEP_CHECK_FRAMES = 16 };
struct seep_check_finding {
    const char *rule, *confidence, *wait_reason; /* strings that live for ever; wait_reason: "" where there is none */
    uint64_t objects, bytes; /* tasks and their stacks, or blocks; those of memory that were sampled */
    unsigned nframes, ncreated;
    void *frames[SEEP_CHECK_FRAMES];  /* where it waits or was allocated, leaf first; none: not sampled */
    void *created[SEEP_CHECK_FRAMES]; /* of tasks */
};
struct seep_check_report {
    uint64_t leaked_tasks, unreachable_objects, unreachable_bytes; /* exact */
    int doubtful;      /* 1: something could not be looked at, so nothing is proven */
    unsigned n, total; /* findings below; in all */
    struct seep_check_finding findings[SEEP_CHECK_FINDINGS];
};
/* Looks for leaks now: memory that nothing points to, tasks that can never run again, and what else is proven or likely. Before that, tasks
 * that are about to run get up to 100 ms to do so. Returns the number of findings, or a negative errno: -EAGAIN, the process
 * can't be forked now. Not from a signal handler. [parks when called by a coroutine] */
int seep_check(struct seep_check_report *out);
/* seep_check(), told on standard error, one line for each finding and its frames; where: named in the first line, may be NULL. Returns
 * the number of findings, or 1 when the check was not possible: a test that was not made has not passed. */
int seep_verify_none(const char *where);
/* The same with options. size: sizeof(struct seep_verify_options). ignore: names of functions up to a NULL, or NULL; a finding with one of
 * them in its stacks does not count (names as the dynamic symbol table has them: link with -rdynamic). retries: so many more looks
 * while something is found, with waits of 1, 2, 4 … 100 ms before them. */
struct seep_verify_options {
    size_t size;
    const char *const *ignore;
    unsigned retries;
};
int seep_verify_none_but(const char *where, const struct seep_verify_options *options);

/* The block that p points into, and what only it keeps, is no leak. -EINVAL: p is not in a block of the heap. */
int seep_ignore(const void *p);
/* [p, p + size) may hold pointers that count, from now on until seep_unroot() with the same values (-ENOENT: not known). For
 * memory that the agent can't know of: a device, a file of another process. 0 or -ENOMEM. */
int seep_root(const void *p, size_t size);
int seep_unroot(const void *p, size_t size);
/* What the calling thread allocates between them is no leak. Nests. */
void seep_no_leak_begin(void);
void seep_no_leak_end(void);

/* Memory from the agent's heap that the marker sees as what it is. Free with seep_free or free. NULL with errno ENOMEM. */
#define SEEP_NOSCAN 1u /* holds no pointers */
#define SEEP_ZERO   2u /* cleared */
void *seep_new(size_t size, unsigned flags);
void seep_free(void *p);

/* ---- Finalizers: fn(p, arg) is called when nothing reaches the block p any more. Set on any block of the heap, by its start; a later
 * call replaces the last one; fn NULL takes it back. 0, -EINVAL: p is no block's start, -ENOENT: there was none to take back, -ENOMEM, or
 * -EAGAIN: no thread could be made.
 *   - Found by each snapshot, seep_check() and seep_gc(), when those can prove it; never before, and not at exit.
 *   - fn runs once, on a thread of its own with all signals blocked, one call at a time. p is whole and what it points to as well; fn
 *     usually ends with seep_free(p), and may set a finalizer on p again.
 *   - Of two blocks with finalizers of which one points to the other, that one comes first. Where they reach each other none ever runs
 *     (finalizer-cycle). arg stays reachable while the finalizer is set: it must not lead to p.
 *   - Free such a block by seep_free(), which takes the finalizer back. Pointers to it must stand where the marker looks (docs/detectors.md).
 */
typedef void seep_finalizer(void *p, void *arg);
int seep_set_finalizer(void *p, seep_finalizer *fn, void *arg);
/* One cycle now: finds the blocks that nothing reaches and queues their finalizers. Returns how many were queued, or -EAGAIN: the process
 * can't be forked now. */
int seep_gc(void);

/* Returns idle pages of the heap to the kernel at once. Bytes given back. */
size_t seep_release(void);

/* Allocator statistics. All figures are 64-bit; the sums stated in docs/allocator.md hold within one reading.
 * size: set by the caller to sizeof(struct seep_memstats); fields that a newer header knows and the running agent does not are 0. */
struct seep_memstats {
    size_t size;
#define STAT(field, unit, meaning) uint64_t field;
#include "seep_stats.h"
#undef STAT
};
int seep_read_memstats(struct seep_memstats *out); /* 0, or -EINVAL when size is not plausible */

/* The same as text, "name value unit" a line, or as one JSON object, with a row for each size class and the waits for the heap's locks.
 * Allocates nothing. 0, or a negative errno of write. */
int seep_write_memstats(int fd, int json);

/* A program's own task provider (fibers, an event loop): see seep_task.h. 0, -EINVAL, or -ENOSPC (8 at most). */
struct seep_task_provider;
int seep_register_tasks(const struct seep_task_provider *provider);

#ifdef __cplusplus
}
#endif
#endif
