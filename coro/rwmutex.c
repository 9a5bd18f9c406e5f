/* SPDX-License-Identifier: Apache-2.0
 *
 * Read-write mutex. Model: Go's sync.RWMutex: a writer that waits keeps new readers out, and a writer's unlock admits all readers that
 * came while it held or waited before the next writer.
 *
 * Invariants, with the lock word held
 *   1. writing and readers > 0 exclude each other.
 *   2. Who waits is handed what it waits for: it never tries again. Readers wait only while a writer holds or waits; a writer only
 *      while somebody holds.
 *   3. owner: the writer's id; or the ids of all readers combined by exclusive or, which with one reader is its id. */
#include "coro/sync.h"

_Static_assert(offsetof(co_rwmutex, last_reader) - offsetof(co_rwmutex, first_reader) == sizeof(void *), "a waitq");
_Static_assert(offsetof(co_rwmutex, last_writer) - offsetof(co_rwmutex, first_writer) == sizeof(void *), "a waitq");

/* With the lock held and nobody in: the first writer that waits gets in. */
static struct sudog *admit_writer(co_rwmutex *m)
{
    struct sudog *w = waitq_pop(WAITQ(m, first_writer));
    if (!w) {
        m->waiting = 0; /* those that waited are gone with a fork */
        return NULL;
    }
    m->waiting--;
    m->writing = 1;
    m->owner = w->g->id;
    return w;
}

CO_EXPORT bool co_rwmutex_try_lock(co_rwmutex *m)
{
    word_lock(&m->lock);
    bool got = !m->writing && !m->readers;
    if (got) {
        m->writing = 1;
        m->owner = holder_id();
    }
    word_unlock(&m->lock);
    return got;
}

CO_EXPORT void co_rwmutex_lock(co_rwmutex *m)
{
    struct g *g = runtime_parker("co_rwmutex_lock");
    word_lock(&m->lock);
    if (!m->writing && !m->readers) {
        m->writing = 1;
        m->owner = g->id;
        word_unlock(&m->lock);
        return;
    }
    m->waiting++;
    waitq_push(WAITQ(m, first_writer), wait_node(g, m, SEEP_OBJ_RWMUTEX));
    sched_park(g, (uintptr_t)&m->lock, SEEP_WAIT_RWMUTEX_W);
    g->waits = NULL;
}

CO_EXPORT void co_rwmutex_unlock(co_rwmutex *m)
{
    word_lock(&m->lock);
    if (unlikely(!m->writing)) {
        word_unlock(&m->lock);
        report_fatal("unlock of unlocked rwmutex %p", (void *)m);
    }
    m->writing = 0;
    m->owner = 0;
    struct sudog *woken = take_all(WAITQ(m, first_reader), &m->readers);
    for (const struct sudog *s = woken; s; s = s->next) m->owner ^= s->g->id;
    if (!woken && m->waiting) woken = admit_writer(m);
    word_unlock(&m->lock);
    wake_list(woken);
}

static bool enter_read(co_rwmutex *m)
{
    if (m->writing || m->waiting) return false;
    m->readers++;
    m->owner ^= holder_id();
    return true;
}

CO_EXPORT bool co_rwmutex_try_rlock(co_rwmutex *m)
{
    word_lock(&m->lock);
    bool got = enter_read(m);
    word_unlock(&m->lock);
    return got;
}

CO_EXPORT void co_rwmutex_rlock(co_rwmutex *m)
{
    struct g *g = runtime_parker("co_rwmutex_rlock");
    word_lock(&m->lock);
    if (enter_read(m)) {
        word_unlock(&m->lock);
        return;
    }
    waitq_push(WAITQ(m, first_reader), wait_node(g, m, SEEP_OBJ_RWMUTEX));
    sched_park(g, (uintptr_t)&m->lock, SEEP_WAIT_RWMUTEX_R);
    g->waits = NULL;
}

CO_EXPORT void co_rwmutex_runlock(co_rwmutex *m)
{
    struct sudog *woken = NULL;
    word_lock(&m->lock);
    if (unlikely(!m->readers)) {
        word_unlock(&m->lock);
        report_fatal("read unlock of unlocked rwmutex %p", (void *)m);
    }
    m->owner ^= holder_id();
    if (--m->readers == 0) {
        m->owner = 0;
        if (m->waiting) woken = admit_writer(m);
    }
    word_unlock(&m->lock);
    wake_list(woken);
}
