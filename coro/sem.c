/* SPDX-License-Identifier: Apache-2.0
 *
 * Weighted semaphore. Model: golang.org/x/sync/semaphore: strictly first come, first served, so that a large request is not
 * starved by small ones. Who waits is handed its permits; how many it wants stands in its node. */
#include "coro/sync.h"

_Static_assert(offsetof(co_sem, last) - offsetof(co_sem, first) == sizeof(void *), "a struct waitq");

CO_EXPORT bool co_sem_try_acquire(co_sem *s, uint64_t n)
{
    word_lock(&s->lock);
    bool got = s->count >= n && !s->first;
    if (got) s->count -= n;
    word_unlock(&s->lock);
    return got;
}

CO_EXPORT void co_sem_acquire(co_sem *s, uint64_t n)
{
    struct g *g = runtime_parker("co_sem_acquire");
    word_lock(&s->lock);
    if (s->count >= n && !s->first) {
        s->count -= n;
        word_unlock(&s->lock);
        return;
    }
    struct sudog *w = wait_node(g, s, SEEP_OBJ_SEMAPHORE);
    w->slot[0] = n;
    waitq_push(WAITQ(s, first), w);
    sched_park(g, (uintptr_t)&s->lock, SEEP_WAIT_SEMAPHORE);
    g->waits = NULL;
}

CO_EXPORT void co_sem_release(co_sem *s, uint64_t n)
{
    struct waitq *q = WAITQ(s, first);
    struct sudog *woken = NULL, **end = &woken;
    word_lock(&s->lock);
    if (unlikely(__builtin_add_overflow(s->count, n, &s->count))) {
        word_unlock(&s->lock);
        report_fatal("semaphore %p has too many permits", (void *)s);
    }
    while (q->first && q->first->slot[0] <= s->count) {
        struct sudog *w = waitq_pop(q); /* the first, but for those that a fork left behind */
        if (!w) break;
        uint64_t want = w->slot[0];
        if (want > s->count) { /* not the one that was looked at */
            w->next = q->first;
            if (q->first)
                q->first->prev = w;
            else
                q->last = w;
            q->first = w;
            break;
        }
        s->count -= want;
        *end = w;
        end = &w->next;
    }
    word_unlock(&s->lock);
    wake_list(woken);
}
