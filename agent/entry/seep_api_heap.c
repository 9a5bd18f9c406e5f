/* SPDX-License-Identifier: Apache-2.0
 *
 * seep.h, the part about memory. */
#include "agent/include/seep.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "agent/entry/entry.h"
#include "agent/gc/finalizer.h"
#include "agent/heap/heap.h"
#include "agent/snapshot/snapshot.h"

SEEP_EXPORT void *seep_new(size_t size, unsigned flags)
{
    unsigned f = (flags & SEEP_ZERO ? HEAP_ZERO : 0) | (flags & SEEP_NOSCAN ? HEAP_NOSCAN : 0);
    return heap_alloc(size, 0, f);
}

SEEP_EXPORT void seep_free(void *p)
{
    finalizer_forget((uintptr_t)p);
    heap_free(p);
}

SEEP_EXPORT size_t seep_release(void)
{
    return heap_release(0);
}

SEEP_EXPORT int seep_read_memstats(struct seep_memstats *out)
{
    if (!out || out->size < sizeof out->size + sizeof(uint64_t) || out->size > 1 << 16) return -EINVAL;
    struct seep_memstats m = {.size = sizeof m};
    heap_stats(&m);
    for (unsigned i = 0; i < provider_count(); i++) {
        const struct seep_task_provider *p = provider_get(i);
        size_t inuse = 0;
        if (p->stack_sys) p->stack_sys(p->ctx, &inuse);
        m.stack_inuse += inuse;
    }
    size_t size = out->size, n = size < sizeof m ? size : sizeof m;
    memset(out, 0, size);
    memcpy(out, &m, n);
    out->size = size;
    return 0;
}
