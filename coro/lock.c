/* SPDX-License-Identifier: Apache-2.0
 *
 * The waiting side of lock.h. */
#include "coro/lock.h"
#include "agent/os/os.h"
#include "coro/context.h"

enum { SPINS = 100, NAP_MIN_NS = 2000, NAP_MAX_NS = 100000 };

void colock_slow(uint32_t *word)
{
    int64_t nap = NAP_MIN_NS;
    for (int i = 0;; i++) {
        cpu_relax();
        uint32_t expected = 0;
        if (__atomic_load_n(word, __ATOMIC_RELAXED) == 0 &&
            __atomic_compare_exchange_n(word, &expected, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return;
        if (i < SPINS) continue;
        os_futex_wait(word, 1, nap);
        if (nap < NAP_MAX_NS) nap *= 2;
    }
}
