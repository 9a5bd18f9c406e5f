/* SPDX-License-Identifier: Apache-2.0
 *
 * Functions of seep.h that concern snapshots and tasks. Those of the heap are in seep_api_heap.c. */
#include "agent/entry/entry.h"
#include "agent/include/seep.h"

#include <errno.h>
#include <string.h>

#include "agent/contract/contract.h"
#include "agent/snapshot/snapshot.h"

SEEP_EXPORT const char *seep_version(void)
{
    return SEEP_VERSION;
}

SEEP_EXPORT int seep_snapshot(const char *label)
{
    struct snapshot_request req = {.trigger = TRIGGER_API};
    struct snapshot_result res;
    size_t n = label ? strlen(label) : 0;
    if (n >= sizeof req.label) return -EINVAL;
    if (n) memcpy(req.label, label, n);
    int saved = errno;
    life_init();
    if (!process_is_known()) return -EAGAIN;
    int rc = life_recording() && !agent_thread_running() ? agent_thread_start() : 0;
    (void)rc; /* without a thread the snapshot is taken on this one */
    rc = snapshot_request(&req, &res, -1);
    errno = saved;
    return rc == 0 || rc == -ENODEV || rc == -EAGAIN ? rc : rc == -ENOMEM || rc == -ETIMEDOUT ? -EAGAIN : -EIO;
}

SEEP_EXPORT int seep_record(const char *path)
{
    if (!path) return -EINVAL;
    int saved = errno;
    int rc = life_record(path);
    errno = saved;
    return rc;
}

SEEP_EXPORT int seep_register_tasks(const struct seep_task_provider *provider)
{
    return provider_register(provider);
}
