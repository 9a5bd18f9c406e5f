/* SPDX-License-Identifier: Apache-2.0
 *
 * Once. Model: Go's sync.Once: the mutex makes every caller wait for the first, and the end is a deferred call, so that a panic in fn counts
 * as done. Go's documentation says that a call from within fn deadlocks; here it is reported, since the mutex knows its holder. */
#include "coro/sync.h"

static void finish(void *arg)
{
    co_once *o = arg;
    __atomic_store_n(&o->done, 1, __ATOMIC_RELEASE);
    co_mutex_unlock(&o->mutex);
}

CO_EXPORT void co_once_do(co_once *o, co_fn *fn, void *arg)
{
    if (likely(__atomic_load_n(&o->done, __ATOMIC_ACQUIRE))) return;
    const struct g *g = runtime_parker("co_once_do");
    if (__atomic_load_n(&o->mutex.owner, __ATOMIC_RELAXED) == g->id)
        report_fatal("co_once_do for %p within its own function: it would wait for itself", (void *)o);
    co_mutex_lock(&o->mutex);
    if (o->done) {
        co_mutex_unlock(&o->mutex);
        return;
    }
    co_scope s = co_scope_begin();
    co_defer(finish, o);
    fn(arg);
    co_scope_end(&s);
}
