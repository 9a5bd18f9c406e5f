/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's own thread: takes snapshots, listens on the control socket, drives the heap's background work.
 *
 * It blocks every signal but the two that libc needs (setuid and its kin reach every thread by one), and has a descriptor
 * table of its own that starts empty, so nothing the program closes, dups or limits concerns it. It waits in one
 * ppoll() that unblocks the stop signal: sending that is how others wake it, and no wake is lost between a look and the
 * wait. An idle process is not woken: the background tick runs each 100 ms only while the process uses CPU time, and
 * backs off to seconds.
 *
 * Forked children: the thread is not there. agent_thread_start_deferred() starts it when the child makes a call that
 * may block, or is older than a moment; never with more signals blocked than at the fork, since that may be a signal
 * handler, where pthread_create is not safe. A child that has just been forked to exec pays one flag.
 *
 * Its failures are one line each and never the program's. */
#include "agent/entry/entry.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "agent/entry/internal.h"
#include "agent/heap/heap.h"
#include "agent/os/os.h"
#include "agent/snapshot/raw.h"
#include "agent/snapshot/snapshot.h"
#include "agent/util/critical.h"
#include "agent/util/log.h"
#include "agent/util/options.h"

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif

enum { STACK_BYTES = 256 << 10 };
static const uint64_t MS = 1000000;
static const uint64_t TICK_NS = 100 * 1000000ull, TICK_MAX_NS = 5000 * 1000000ull;
static const uint64_t BUSY_TICKS = 50; /* after the last use of CPU: what was freed is given back */
static const uint64_t DEFER_NS = 20 * 1000000ull;

enum state { NONE, STARTING, RUNNING };
static uint32_t state;
static int32_t agent_tid;
static uint32_t wake_sent;
static char *stack; /* kept for the life of the process */
static uint64_t fork_ns, fork_mask;
uint32_t agent_thread_wanted;

bool agent_thread_running(void)
{
    return __atomic_load_n(&state, __ATOMIC_ACQUIRE) == RUNNING;
}

bool agent_thread_is_self(void)
{
    const struct thread *t = agent_tls.thread;
    return t && t->is_agent;
}

void agent_thread_wake(void)
{
    int tid = __atomic_load_n(&agent_tid, __ATOMIC_ACQUIRE);
    if (tid == 0 || !process_is_known()) return;
    if (__atomic_exchange_n(&wake_sent, 1, __ATOMIC_ACQ_REL)) return;
    long rc = sys3(SYS_tgkill, os_getpid(), tid, (long)agent_options.stop_signal);
    if (rc != 0)
        __atomic_store_n(&wake_sent, 0, __ATOMIC_RELEASE); /* no room for a signal: the next look will see it */
}

/* ---- The thread */

static void private_descriptors(void)
{
    if (sys3(SYS_close_range, 0, (long)~0u, CLOSE_RANGE_UNSHARE) == 0) return;
    if (sys3(SYS_unshare, CLONE_FILES, 0, 0) != 0) return; /* shared then: what we open may be closed under us */
    int dir = raw_open("/proc/thread-self/fd", O_RDONLY | O_DIRECTORY, 0);
    char buf[1024];
    long n;
    while (dir >= 0 && (n = sys3(SYS_getdents64, dir, (long)buf, sizeof buf)) > 0) {
        unsigned short len;
        for (long at = 0; at < n; at += len) {
            memcpy(&len, buf + at + 16, sizeof len);
            int fd = buf[at + 19] == '.' ? dir : atoi(buf + at + 19);
            if (fd != dir) raw_close(fd);
        }
    }
    if (dir >= 0) raw_close(dir);
}

static uint64_t process_cpu_ns(void)
{
    struct timespec ts = {0, 0};
    sys3(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, (long)&ts, 0);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* When the background tick is due next. */
static struct {
    uint64_t due_ns, gap_ns, cpu_ns, quiet;
} tick;

static void background(uint64_t now)
{
    if (now < tick.due_ns) return;
    heap_background_tick();
    uint64_t cpu = process_cpu_ns();
    bool active = cpu - tick.cpu_ns > MS;
    tick.quiet = active ? 0 : tick.quiet + 1;
    tick.cpu_ns = process_cpu_ns();
    tick.gap_ns = tick.quiet < BUSY_TICKS ? TICK_NS : tick.gap_ns * 2;
    if (tick.gap_ns > TICK_MAX_NS) tick.gap_ns = TICK_MAX_NS;
    tick.due_ns = now + tick.gap_ns;
}

static uint64_t interval_due_ns;

static void interval(uint64_t now)
{
    uint64_t every = agent_options.interval * MS;
    if (every == 0 || !life_recording()) {
        interval_due_ns = UINT64_MAX;
        return;
    }
    if (interval_due_ns == UINT64_MAX || interval_due_ns == 0) interval_due_ns = now + every;
    if (now < interval_due_ns) return;
    struct snapshot_request req = {.trigger = TRIGGER_INTERVAL};
    snapshot_take(&req, NULL);
    now = os_mono_ns(); /* one that took longer than the interval is not made up for */
    interval_due_ns += every;
    if (interval_due_ns <= now) interval_due_ns = now + every;
}

/* SEEP_DEBUG=stop=MS: stops and resumes the program each MS milliseconds and does nothing else. For tests. */
static uint64_t drill_ns, drill_due_ns = UINT64_MAX;

static void drill(uint64_t now)
{
    const struct stopped_thread *threads;
    unsigned n, missed;
    if (now < drill_due_ns) return;
    snapshot_gate_enter();
    int rc = stop_world(&threads, &n, &missed);
    if (rc == 0) resume_world();
    snapshot_gate_leave();
    if (rc < 0) log_line("stop drill: error %d", -rc);
    drill_due_ns = os_mono_ns() + drill_ns;
}

static void wait_for_work(uint64_t now)
{
    struct pollfd fds[1 + CONTROL_CLIENTS];
    unsigned n = control_poll_fds(fds);
    uint64_t until = tick.due_ns < interval_due_ns ? tick.due_ns : interval_due_ns;
    if (until > drill_due_ns) until = drill_due_ns;
    if (n > 1 && until > now + 100 * MS) until = now + 100 * MS; /* clients time out */
    uint64_t left = until > now ? until - now : 0;
    if (snapshot_requested()) left = 0;
    struct timespec ts = {(time_t)(left / 1000000000), (long)(left % 1000000000)};
    uint64_t mask = ~(3ull << 31) & ~(1ull << (agent_options.stop_signal - 1));
    long rc = sys6(SYS_ppoll, (long)fds, n, (long)&ts, (long)&mask, sizeof mask, 0);
    __atomic_store_n(&wake_sent, 0, __ATOMIC_RELEASE);
    if (n > 0) control_serve(fds, rc > 0 ? n : 0);
}

static void *agent_main(void *slot)
{
    uint64_t all = ~(3ull << 31);
    sys6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, sizeof all, 0, 0);
    private_descriptors();
    sys6(SYS_prctl, PR_SET_NAME, (long)"seep", 0, 0, 0, 0);
    thread_begin(slot);
    if (agent_options.control) {
        int rc = control_open();
        if (rc < 0) log_verbose(1, "no control socket (error %d): `seep snapshot` can't reach this process", -rc);
    }
    tick.gap_ns = TICK_NS;
    interval_due_ns = 0;
    drill_ns = (uint64_t)options_debug("stop", 0) * MS;
    drill_due_ns = drill_ns ? 0 : UINT64_MAX;
    __atomic_store_n(&agent_tid, os_gettid(), __ATOMIC_RELEASE);
    __atomic_store_n(&state, RUNNING, __ATOMIC_RELEASE);
    os_futex_wake(&state, INT_MAX);
    for (;;) {
        snapshot_run_requests();
        interval(os_mono_ns());
        background(os_mono_ns());
        drill(os_mono_ns());
        wait_for_work(os_mono_ns());
    }
    return NULL;
}

/* ---- Starting it */

static int create(struct thread *slot)
{
    pthread_attr_t attr;
    pthread_t id;
    uint64_t all = ~(3ull << 31), before = 0;
    if (!stack) stack = os_alloc(STACK_BYTES, OS_OTHER);
    if (!stack) return ENOMEM;
    int rc = pthread_attr_init(&attr);
    if (rc != 0) return rc;
    rc = pthread_attr_setstack(&attr, stack, STACK_BYTES);
    if (rc == 0) rc = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (rc == 0) {
        sys6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&before, sizeof all, 0, 0);
        rc = pthread_create_plain(&id, &attr, agent_main, slot);
        sys6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, sizeof all, 0, 0);
    }
    pthread_attr_destroy(&attr);
    return rc;
}

int agent_thread_start(void)
{
    uint32_t none = NONE;
    if (!process_is_known()) return -EPERM;
    if (!__atomic_compare_exchange_n(&state, &none, STARTING, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) == STARTING)
            os_futex_wait(&state, STARTING, 100 * (int64_t)MS);
        return agent_thread_running() ? 0 : -EAGAIN;
    }
    __atomic_store_n(&agent_thread_wanted, 0, __ATOMIC_RELEASE);
    struct thread *slot = thread_new();
    if (slot) slot->is_agent = true;
    int rc = slot ? create(slot) : ENOMEM;
    if (rc != 0) {
        if (slot) thread_free(slot);
        __atomic_store_n(&state, NONE, __ATOMIC_RELEASE);
        return -rc;
    }
    while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) == STARTING) os_futex_wait(&state, STARTING, 100 * (int64_t)MS);
    return 0;
}

/* ---- In a forked child */

static uint64_t current_mask(void)
{
    uint64_t mask = 0;
    sys6(SYS_rt_sigprocmask, SIG_BLOCK, 0, (long)&mask, sizeof mask, 0, 0);
    return mask;
}

void agent_thread_fork_child(void)
{
    bool had = state != NONE || agent_thread_wanted;
    state = NONE;
    agent_tid = 0;
    wake_sent = 0;
    memset(&tick, 0, sizeof tick);
    control_close();
    agent_thread_wanted = had && agent_options.follow;
    if (!agent_thread_wanted) return;
    fork_ns = os_mono_ns();
    fork_mask = current_mask();
}

void agent_thread_start_deferred(bool will_block)
{
    if (agent_tls.critical || agent_in_child || !process_is_known()) return;
    if (!will_block && os_mono_ns() - fork_ns < DEFER_NS) return;
    if (current_mask() & ~fork_mask) return;
    int saved = errno;
    if (!__atomic_exchange_n(&agent_thread_wanted, 0, __ATOMIC_ACQ_REL)) return;
    int rc = agent_thread_start();
    if (rc < 0) log_line("no thread for the agent in process %d (error %d): snapshots only at exit", os_getpid(), -rc);
    errno = saved;
}
