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

/* Memory from the agent's heap that the marker sees as what it is. Free with seep_free or free. NULL with errno ENOMEM. */
#define SEEP_NOSCAN 1u /* holds no pointers */
#define SEEP_ZERO   2u /* cleared */
void *seep_new(size_t size, unsigned flags);
void seep_free(void *p);

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

/* A program's own task provider (fibers, an event loop): see seep_task.h. 0, -EINVAL, or -ENOSPC (8 at most). */
struct seep_task_provider;
int seep_register_tasks(const struct seep_task_provider *provider);

#ifdef __cplusplus
}
#endif
#endif
