/* SPDX-License-Identifier: Apache-2.0
 *
 * seep.h, the part about finalizers, and the thread that makes their calls.
 *
 * The thread is the program's as far as descriptors, signals' dispositions and the marker go: it is made by the thread of the
 * program that first sets a finalizer, by pthread_create's wrapper. All signals but the stop signal are blocked in it, so that no
 * handler of the program runs there. It ends with the process; calls that are due then are not made (as in Go).
 * A forked child has none until it sets a finalizer or calls seep_gc(); the call that another thread of its parent was in
 * is not made again. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "agent/entry/entry.h"
#include "agent/entry/internal.h"
#include "agent/gc/finalizer.h"
#include "agent/heap/heap.h"
#include "agent/include/seep.h"
#include "agent/profile/profile.h"
#include "agent/snapshot/raw.h"
#include "agent/snapshot/snapshot.h"
#include "agent/util/options.h"

static uint32_t thread_started;

/* The thread waits for long where its call has been: stale words there would keep what was finalized. */
static __attribute__((noinline)) void clear_below(void)
{
    char area[4096];
    memset(area, 0, sizeof area);
    __asm__ volatile("" : : "r"(area) : "memory");
}

static void *finalizer_main(void *arg)
{
    sys6(SYS_prctl, PR_SET_NAME, (long)"seep-finalizer", 0, 0, 0, 0);
    for (;;) {
        struct finalizer_call call;
        if (!finalizer_begin(&call)) {
            finalizer_wait();
            continue;
        }
        call.fn(call.object, call.arg);
        memset(&call, 0, sizeof call);
        __asm__ volatile("" : : "r"(&call) : "memory");
        clear_below();
        finalizer_end();
    }
    return arg;
}

static int start_thread(void)
{
    pthread_t id;
    pthread_attr_t attr;
    uint64_t most = ALL_SIGNALS & ~(1ull << (agent_options.stop_signal - 1)), before = 0;
    if (__atomic_exchange_n(&thread_started, 1, __ATOMIC_ACQ_REL)) return 0;
    int rc = pthread_attr_init(&attr);
    if (rc == 0) rc = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (rc == 0) {
        raw_sigmask(SIG_SETMASK, &most, &before);
        rc = pthread_create(&id, &attr, finalizer_main, NULL);
        raw_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attr);
    }
    if (rc != 0) __atomic_store_n(&thread_started, 0, __ATOMIC_RELEASE);
    return -rc;
}

void finalizer_thread_fork_child(void)
{
    thread_started = 0;
}

SEEP_EXPORT int seep_set_finalizer(void *p, seep_finalizer *fn, void *arg)
{
    struct heap_object o;
    int saved = errno;
    if (!p || !heap_find((uintptr_t)p, &o) || o.base != (uintptr_t)p) return -EINVAL;
    life_init();
    int rc = fn && process_is_known() ? start_thread() : 0;
    if (rc == 0) rc = finalizer_set(o.base, fn, arg, fn ? prof_stack_here(1) : 0);
    errno = saved;
    return rc;
}

SEEP_EXPORT int seep_gc(void)
{
    int saved = errno;
    life_init();
    if (!process_is_known()) return -EAGAIN;
    if (finalizers_any() && start_thread() < 0) return -EAGAIN;
    struct snapshot_request req = {.trigger = TRIGGER_PROVIDERS}; /* judges finalizers too, and no more */
    struct snapshot_result res = {0};
    uint64_t before = finalizers_made();
    int rc = snapshot_request(&req, &res, -1);
    if (rc == 0) rc = (int)(finalizers_made() - before);
    errno = saved;
    return rc == -ETIMEDOUT || rc == -ENOMEM ? -EAGAIN : rc;
}
