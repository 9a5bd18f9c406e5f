/* SPDX-License-Identifier: Apache-2.0
 *
 * The runtime's lock: one word, taken by compare-and-swap, released by a plain store (an atomic exchange would cost as much again as
 * taking it). Whoever finds it held spins a little, then naps and looks again: nobody is woken, for it is held for tens of
 * instructions and only a holder that the kernel has put aside keeps it for longer. It needs neither the critical
 * section nor the rank of an agent lock: a snapshot's child never takes one, and a stopped holder goes on when the world does. It may be
 * released by another m's code than took it (invariant 2 of types.h), never by another process. Its release is no full fence. */
#ifndef CORO_LOCK_H
#define CORO_LOCK_H

#include <stdint.h>

struct colock {
    uint32_t word; /* 0 free, 1 held */
};

void colock_slow(uint32_t *word);

static inline void word_lock(uint32_t *word)
{
    uint32_t expected = 0;
    if (__builtin_expect(!__atomic_compare_exchange_n(word, &expected, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED), 0))
        colock_slow(word);
}

static inline void word_unlock(uint32_t *word)
{
    __atomic_store_n(word, 0, __ATOMIC_RELEASE);
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
