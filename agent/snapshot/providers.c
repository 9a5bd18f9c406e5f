/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of task providers. Registered once, never removed; readers need no lock. */
#include "agent/snapshot/snapshot.h"

#include <errno.h>

enum { MAX_PROVIDERS = 8 };
static const struct seep_task_provider *providers[MAX_PROVIDERS];
static uint32_t count;
static uint32_t writing;

unsigned provider_count(void)
{
    return __atomic_load_n(&count, __ATOMIC_ACQUIRE);
}

const struct seep_task_provider *provider_get(unsigned i)
{
    return i < provider_count() ? providers[i] : NULL;
}

/* A writer may be stopped while it holds `writing`; readers never wait for it. */
int provider_register(const struct seep_task_provider *p)
{
    if (!p || p->version != SEEP_TASK_PROVIDER_VERSION || !p->name || !p->iterate) return -EINVAL;
    while (__atomic_exchange_n(&writing, 1, __ATOMIC_ACQUIRE)) os_yield();
    int rc = -ENOSPC;
    uint32_t n = count;
    for (uint32_t i = 0; i < n; i++)
        if (providers[i] == p) rc = 0;
    if (rc != 0 && n < MAX_PROVIDERS) {
        providers[n] = p;
        __atomic_store_n(&count, n + 1, __ATOMIC_RELEASE);
        rc = 0;
    }
    __atomic_store_n(&writing, 0, __ATOMIC_RELEASE);
    return rc;
}
