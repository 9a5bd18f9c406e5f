/* SPDX-License-Identifier: Apache-2.0
 *
 * The waiting side of lock.h. */
#include "coro/lock.h"
#include "agent/os/os.h"
#include "coro/context.h"

void colock_slow(uint32_t *word)
{
    for (int i = 0; i < 40; i++) {
        cpu_relax();
        uint32_t expected = 0;
        if (__atomic_load_n(word, __ATOMIC_RELAXED) == 0 &&
            __atomic_compare_exchange_n(word, &expected, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return;
    }
    while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE) != 0) os_futex_wait(word, 2, -1);
}

void colock_wake(uint32_t *word)
{
    os_futex_wake(word, 1);
}
