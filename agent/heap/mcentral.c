/* SPDX-License-Identifier: Apache-2.0
 *
 * Central lists: the spans with free slots that no cache owns, one list a span class.
 *
 *   thread exit → mcentral_push        mcache_refill → mcentral_pop
 *   last remote free of such a span → mcentral_try_free
 *
 * Full spans are in no list (types.h): Go's full sets are there to be swept, and nothing sweeps malloc's memory.
 *
 * Invariants
 *   1. span.central is true exactly while the span is in the list, and changes under the lock.
 *   2. A span in the list has no owner, and REMOTE_FULL is not set.
 *   3. A span whose slots are all free leaves the list at once: the free that makes `remote` count as many as `used`
 *      sees to it; when two threads miss each other there, mcentral_sweep finds it.
 * Locks: mcentral.lock, then mheap.lock. */
#include "agent/heap/types.h"

#include "agent/util/critical.h"

static void drop(struct mcentral *c, struct mspan *s)
{
    list_remove(&c->partial, s);
    __atomic_store_n(&s->central, false, __ATOMIC_RELEASE);
    __atomic_store_n(&c->npartial, c->npartial - 1, __ATOMIC_RELAXED);
}

struct mspan *mcentral_pop(struct mcache *mc, unsigned span_class)
{
    struct mcentral *c = &mheap.central[span_class];
    if (__atomic_load_n(&c->npartial, __ATOMIC_RELAXED) == 0) return NULL;
    lock_acquire(&c->lock);
    struct mspan *s = c->partial.head;
    if (s) {
        drop(c, s);
        span_adopt(mc, s);
    }
    lock_release(&c->lock);
    return s;
}

void mcentral_push(struct mspan *s)
{
    struct mcentral *c = &mheap.central[s->span_class];
    lock_acquire(&c->lock);
    span_set_owner(s, NULL);
    list_push_back(&c->partial, s);
    __atomic_store_n(&s->central, true, __ATOMIC_SEQ_CST);
    __atomic_store_n(&c->npartial, c->npartial + 1, __ATOMIC_RELAXED);
    bool empty = REMOTE_COUNT(__atomic_load_n(&s->remote, __ATOMIC_SEQ_CST)) == s->used;
    if (empty) drop(c, s);
    lock_release(&c->lock);
    if (empty) span_delete(agent_tls.mcache, s);
}

void mcentral_try_free(struct mspan *s, unsigned span_class)
{
    struct mcentral *c = &mheap.central[span_class];
    lock_acquire(&c->lock);
    /* The structure may have been recycled meanwhile. `central` is read first: when it is set for another class, then so
     * was span_class before it. */
    bool empty = __atomic_load_n(&s->central, __ATOMIC_ACQUIRE) &&
                 __atomic_load_n(&s->span_class, __ATOMIC_RELAXED) == span_class &&
                 REMOTE_COUNT(__atomic_load_n(&s->remote, __ATOMIC_ACQUIRE)) == s->used;
    if (empty) drop(c, s);
    lock_release(&c->lock);
    if (empty) span_delete(agent_tls.mcache, s);
}

size_t mcentral_sweep(void)
{
    size_t pages = 0;
    for (unsigned i = 0; i < SPAN_CLASSES; i++) {
        struct mcentral *c = &mheap.central[i];
        if (__atomic_load_n(&c->npartial, __ATOMIC_RELAXED) == 0) continue;
        struct mspan *dead = NULL;
        lock_acquire(&c->lock);
        for (struct mspan *s = c->partial.head, *next; s; s = next) {
            next = s->next;
            if (REMOTE_COUNT(__atomic_load_n(&s->remote, __ATOMIC_ACQUIRE)) != s->used) continue;
            drop(c, s);
            s->next = dead;
            dead = s;
        }
        lock_release(&c->lock);
        for (struct mspan *s = dead, *next; s; s = next) {
            next = s->next;
            pages += s->npages;
            span_delete(NULL, s);
        }
    }
    return pages;
}
