/* SPDX-License-Identifier: Apache-2.0
 *
 * Futex lock in three states (0 free, 1 held, 2 held and perhaps waited for), after Drepper, "Futexes are tricky",
 * mutex 2. A short spin first: holders are in critical sections that never block.
 *
 * Allocates nothing; not for signal handlers. With SEEP_LOCK_CHECK each thread keeps the ranks it holds, and a lock
 * taken out of order, or released by a thread that does not hold it, is fatal. */
#include "agent/util/lock.h"

#include "agent/os/os.h"
#include "agent/os/syscall_x86_64.h"
#include "agent/util/critical.h"
#include "agent/util/log.h"

enum { SPINS = 60 };

#ifdef SEEP_LOCK_CHECK
enum { MAX_HELD = 512 }; /* fork() holds one for each span class */
static __thread struct {
    uint32_t n, rank[MAX_HELD];
} held __attribute__((tls_model("initial-exec")));

static void check_acquire(const struct lock *l)
{
    /* Locks of one rank may be taken together: a fork takes whole families, in the order of their addresses. */
    if (held.n > 0 && held.rank[held.n - 1] > l->rank) {
        uint32_t have = held.rank[held.n - 1];
        held.n = 0;
        log_fatal("lock order: rank %u wanted while rank %u is held", l->rank, have);
    }
    if (held.n < MAX_HELD) held.rank[held.n] = l->rank;
    held.n++;
}

static void check_release(const struct lock *l)
{
    for (uint32_t i = held.n; i-- > 0;) {
        if (i >= MAX_HELD || held.rank[i] != l->rank) continue;
        for (; i + 1 < held.n; i++) held.rank[i] = held.rank[i + 1];
        held.n--;
        return;
    }
    log_fatal("lock of rank %u released, but not held", l->rank);
}
#else
#define check_acquire(l) ((void)0)
#define check_release(l) ((void)0)
#endif

static bool take(struct lock *l, uint32_t to)
{
    uint32_t zero = 0;
    return __atomic_compare_exchange_n(&l->word, &zero, to, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static __attribute__((noinline)) void acquire_slow(struct lock *l)
{
    for (int i = 0; i < SPINS; i++) {
        if (__atomic_load_n(&l->word, __ATOMIC_RELAXED) == 0 && take(l, 1)) {
            l->contended++;
            return;
        }
        cpu_pause();
    }
    while (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE) != 0) os_futex_wait(&l->word, 2, -1);
    l->contended++;
}

void lock_acquire(struct lock *l)
{
    agent_enter();
    check_acquire(l);
    if (!take(l, 1)) acquire_slow(l);
}

bool lock_try(struct lock *l)
{
    agent_enter();
    if (take(l, 1)) {
        check_acquire(l);
        return true;
    }
    agent_leave();
    return false;
}

void lock_release(struct lock *l)
{
    check_release(l);
    if (__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2) os_futex_wake(&l->word, 1);
    agent_leave();
}
