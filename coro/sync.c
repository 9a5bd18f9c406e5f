/* SPDX-License-Identifier: Apache-2.0
 *
 * Waitgroup. Model: Go's sync.WaitGroup. A count and a list of waiters under one lock; whoever brings the count to 0 wakes all of them and does not touch the
 * waitgroup afterwards, so it may stand on the stack of the one that waits. Who was woken and finds it counting again reports that.
 * It begins with its lock word: sched.c releases that after the waiter's switch. */
#include "coro/defer.h"
#include "coro/sync.h"

_Static_assert(offsetof(co_waitgroup, last) - offsetof(co_waitgroup, first) == sizeof(void *), "a struct waitq");

CO_EXPORT void co_wg_add(co_waitgroup *wg, int64_t delta)
{
    struct sudog *woken = NULL;
    uint32_t n;
    int64_t count;
    word_lock(&wg->lock);
    bool overflow = __builtin_add_overflow(wg->count, delta, &count);
    if (unlikely(overflow || count < 0)) {
        word_unlock(&wg->lock);
        runtime_panic(overflow ? "waitgroup counter overflow (%p)" : "negative waitgroup counter (%p)", (void *)wg);
    }
    wg->count = count;
    if (count == 0) {
        woken = take_all(WAITQ(wg, first), &n);
        wg->waiters = 0;
    }
    word_unlock(&wg->lock);
    wake_list(woken);
}

CO_EXPORT void co_wg_done(co_waitgroup *wg)
{
    co_wg_add(wg, -1);
}

CO_EXPORT void co_wg_wait(co_waitgroup *wg)
{
    struct g *g = runtime_parker("co_wg_wait");
    word_lock(&wg->lock);
    if (wg->count == 0) {
        word_unlock(&wg->lock);
        return;
    }
    wg->waiters++;
    waitq_push(WAITQ(wg, first), wait_node(g, wg, SEEP_OBJ_WAITGROUP));
    sched_park(g, (uintptr_t)&wg->lock, SEEP_WAIT_WAITGROUP);
    g->waits = NULL;
    if (unlikely(__atomic_load_n(&wg->count, __ATOMIC_RELAXED) != 0))
        runtime_panic("waitgroup %p is reused before a previous co_wg_wait has returned", (void *)wg);
}
