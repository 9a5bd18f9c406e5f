/* SPDX-License-Identifier: Apache-2.0
 *
 * Mutex. Model: Go's sync.Mutex: normally an unlock wakes the first waiter, which competes with whoever comes by (throughput); when a
 * waiter has waited for 1 ms, unlock hands the mutex over to the queue in order until the queue is empty or its head came lately (no
 * starvation). `owner` is the id of the coroutine that locked it, for the detectors; any coroutine may unlock.
 *
 * A lock is a compare-and-swap of the byte `state`, 0 → HERE or BY_WORD. An unlock is one of two:
 *
 *   here     coro_arch.h, in the program: if state is HERE and flags are 0, a plain store of 0 to state. The three instructions are
 *            a restartable sequence (rseq): a thread that is preempted or interrupted within them does not go on there but calls
 *   by word  the function co_mutex_unlock(): all of it with the lock word held, under which the queue and the flags stand too.
 *
 * Invariants
 *   1. Who waits has set CONTENDED, with the word held, before it is in the queue, and from then on no unlock `here` begins to
 *      succeed: one that had read flags before was restarted, or is over, when os_restart() has returned.
 *   2. So with CONTENDED set and settled each unlock takes the word: the waiter looks at state and queues under it, and no wake-up is lost.
 *   3. What was locked BY_WORD needs none of that: its unlock takes the word in any case.
 *   4. An unlock by word sets CONTENDED before state is 0. So the next holder, too, goes by the word, which is this one's last access: the
 *      mutex may stand in memory that the next holder frees. (An unlock `here` ends with its store.)
 *   5. STARVING, with the word held: state is not 0, for each unlock hands over. So nobody takes it by himself.
 *
 * Of 1: os_restart() is MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, of which membarrier(2) says that each thread that runs a restartable
 * sequence meanwhile restarts it; the kernel (ipi_rseq() in kernel/sched/membarrier.c) makes the caller's stores visible to it first.
 * A thread that does not run has been through a context switch, which restarts it and is a full fence. A sequence that
 * begins later reads CONTENDED; the store of one that ended earlier stands before the fence of that interrupt, and is seen.
 *
 * It costs 0.4 µs, or 11 when threads run on other processors, once for each mutex: when nobody has waited for 4,096 unlocks in a row,
 * CONTENDED is taken back. Where that would happen a thousand times a second (mutexes that are new and contended at once), locks
 * are BY_WORD for a while. They always are where the kernel has no rseq, libc registers none (glibc does since 2.35), or membarrier()
 * is forbidden. Should it fail later only, the waiter asks again each millisecond until the holder is gone.
 *
 * Tried and dropped: an unlock that stores 0 and then looks for waiters once more (Dekker's algorithm with membarrier() on the waiter's side):
 * as fast, but the look comes after the release, when the mutex may be freed memory. State and flags in one word: a
 * compare-and-swap that is wider than the store before it waits for that, 7 ns against 2.2. Two atomic operations: 4.2. */
#include "coro/mutex.h"

#include <dlfcn.h>

#include "coro/sync.h"

enum { HERE = 1, BY_WORD = 2 };       /* state: locked, and how it may be unlocked */
enum { CONTENDED = 1, STARVING = 2 }; /* flags; guarded by the word, but that an unlock `here` reads them */
enum { STARVE_NS = 1000000, QUIET = 4096 };
enum { SETTLE_WINDOW_NS = 1000000000, ASK_NS = 1000000 };

_Static_assert(offsetof(co_mutex, last) - offsetof(co_mutex, first) == sizeof(void *), "a struct waitq");
_Static_assert(offsetof(co_mutex, state) == 4 && offsetof(co_mutex, flags) == 5, "known to coro_arch.h");

/* ---- may locks be HERE? */

static ptrdiff_t rseq_cs_at;                         /* from the thread pointer; 0: no such thing */
static _Atomic bool can_settle;                      /* os_restart() has worked and not failed */
static _Atomic uint64_t window_ns, by_word_until_ns; /* CLOCK_MONOTONIC */
static _Atomic uint32_t settled;                     /* since window_ns */

uint32_t mutex_settle_max = 1000;

/* What this thread locks with from now on. */
static void choose(void)
{
    uint64_t until = atomic_load_explicit(&by_word_until_ns, memory_order_relaxed);
    bool here = atomic_load(&can_settle) && (likely(!until) || os_mono_ns() >= until);
    context_set_lock_by(here ? HERE : BY_WORD);
}

bool mutex_here(void)
{
    return context_lock_by() == HERE;
}

void mutex_init(void)
{
    const ptrdiff_t *offset = dlsym(RTLD_DEFAULT, "__rseq_offset");
    const unsigned *size = dlsym(RTLD_DEFAULT, "__rseq_size");
    enum { RSEQ_CS = 8 }; /* in struct rseq */
    if (offset && size && *size) rseq_cs_at = *offset + RSEQ_CS;
}

void mutex_probe(void)
{
    if (rseq_cs_at && os_restart() == 0) atomic_store(&can_settle, true);
}

void mutex_thread_init(void)
{
    if (!rseq_cs_at) return;
    context_set_rseq((uint64_t *)(context_thread_pointer() + (uintptr_t)rseq_cs_at));
    choose();
}

/* False: not possible. */
static bool settle(void)
{
    if (!atomic_load(&can_settle)) return false;
    if (os_restart() != 0) {
        atomic_store(&can_settle, false);
        return false;
    }
    uint64_t now = os_mono_ns();
    if (now - atomic_load(&window_ns) > SETTLE_WINDOW_NS) {
        atomic_store(&window_ns, now);
        atomic_store(&settled, 0);
    }
    if (atomic_fetch_add(&settled, 1) == mutex_settle_max)
        atomic_store(&by_word_until_ns, now + 10 * (uint64_t)SETTLE_WINDOW_NS);
    return true;
}

/* ---- lock */

static inline bool take(co_mutex *m, uint8_t how)
{
    uint8_t expected = 0;
    return __atomic_compare_exchange_n(&m->state, &expected, how, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* With the word held and the mutex locked: from now on it is unlocked by the word only. */
static bool contend(co_mutex *m)
{
    if (m->flags & CONTENDED) return true;
    __atomic_exchange_n(&m->flags, CONTENDED, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&m->state, __ATOMIC_SEQ_CST) == BY_WORD || settle()) return true;
    m->flags = 0;
    return false;
}

static COLD void lock_slow(co_mutex *m)
{
    struct g *g = runtime_parker("co_mutex_lock");
    struct waitq *q = WAITQ(m, first);
    uint64_t since = 0;
    choose();
    for (;;) {
        word_lock(&m->lock);
        bool queue = false;
        if (!take(m, BY_WORD)) {
            queue = contend(m);
            if (!queue) {
                word_unlock(&m->lock);
                co_sleep_ns(ASK_NS);
                continue;
            }
            queue = !take(m, BY_WORD);
        }
        if (!queue) {
            m->owner = g->id;
            word_unlock(&m->lock);
            return;
        }
        m->quiet = 0;
        if (since && os_mono_ns() - since > STARVE_NS) m->flags |= STARVING;
        struct sudog *s = wait_node(g, m, SEEP_OBJ_MUTEX);
        if (!since) {
            since = os_mono_ns();
            waitq_push(q, s);
        } else { /* woken and not quick enough: first again */
            s->next = q->first;
            if (q->first)
                q->first->prev = s;
            else
                q->last = s;
            q->first = s;
        }
        s->slot[0] = since;
        sched_park(g, (uintptr_t)&m->lock, SEEP_WAIT_MUTEX);
        g->waits = NULL;
        if (s->ok) return; /* handed over */
    }
}

CO_EXPORT void(co_mutex_lock)(co_mutex *m)
{
    (void)runtime_self(); /* started, so that the holder is known and further locks are done in place */
    if (unlikely(!take(m, context_lock_by())))
        lock_slow(m);
    else
        m->owner = holder_id();
}

CO_EXPORT bool co_mutex_try_lock(co_mutex *m)
{
    if (__atomic_load_n(&m->state, __ATOMIC_RELAXED) || !take(m, context_lock_by())) return false;
    m->owner = holder_id();
    return true;
}

/* ---- unlock by word */

CO_EXPORT void(co_mutex_unlock)(co_mutex *m)
{
    struct waitq *q = WAITQ(m, first);
    context_rseq_done();
    word_lock(&m->lock);
    if (unlikely(!__atomic_load_n(&m->state, __ATOMIC_RELAXED))) {
        word_unlock(&m->lock);
        report_fatal("unlock of unlocked mutex %p", (void *)m);
    }
    struct sudog *s = waitq_pop(q);
    bool hand_over = s && m->flags & STARVING;
    if (hand_over) {
        m->owner = s->g->id;
        m->flags = CONTENDED;
        if (q->first && os_mono_ns() - q->first->slot[0] > STARVE_NS) m->flags |= STARVING;
        __atomic_store_n(&m->state, BY_WORD, __ATOMIC_RELEASE);
    } else if (unlikely(!s && ++m->quiet >= QUIET)) {
        m->quiet = 0;
        m->flags = 0;
        choose();
        if (context_lock_by() == HERE) {
            m->state = HERE;
            word_unlock(&m->lock);
            co_mutex_unlock(m); /* here; or again by the word */
            return;
        }
        m->flags = CONTENDED;
        __atomic_store_n(&m->state, 0, __ATOMIC_RELEASE);
    } else {
        if (!q->first) m->flags = CONTENDED;
        m->owner = 0;
        __atomic_store_n(&m->state, 0, __ATOMIC_RELEASE);
    }
    word_unlock(&m->lock);
    if (s) sudog_wake(s, hand_over);
}
