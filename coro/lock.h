/* SPDX-License-Identifier: Apache-2.0
 *
 * The runtime's lock: one word, a short spin, then a futex. Held for tens of instructions, so it needs neither the critical
 * section nor the rank of an agent lock: a snapshot's child never takes one, and a stopped holder goes on when the world does. It may be
 * released by another m's code than took it (invariant 2 of types.h), never by another process. */
#ifndef CORO_LOCK_H
#define CORO_LOCK_H

#include <stdint.h>

struct colock {
    uint32_t word; /* 0 free, 1 held, 2 held and somebody sleeps */
};

void colock_slow(uint32_t *word);
void colock_wake(uint32_t *word);

static inline void word_lock(uint32_t *word)
{
    uint32_t expected = 0;
    if (!__atomic_compare_exchange_n(word, &expected, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) colock_slow(word);
}

static inline void word_unlock(uint32_t *word)
{
    if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) == 2) colock_wake(word);
}

static inline void colock_acquire(struct colock *l)
{
    word_lock(&l->word);
}
static inline void colock_release(struct colock *l)
{
    word_unlock(&l->word);
}

#endif
