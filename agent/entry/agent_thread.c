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
 * Calls that want a single thread, or the same answer from each (credentials.c): the thread ends for their time.
 *
 *     agent_thread_away ─▶ RUNNING → LEAVING, woken ─▶ it ends ─▶ no such thread ─▶ the call ─▶ agent_thread_back: started
 *
 * Meanwhile it counts as running: requests wait for it, and the next interval is due when it was. Clients of the socket are
 * cut. `away` counts such calls, guarded by away_word, which is held with the program's signals blocked.
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
#include <sys/wait.h>
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
static const uint64_t LIMIT_NS = 610 * 1000000000ull; /* a snapshot is waited for to its end (snapshot/fork.c) */
static const uint64_t HANDLER_LIMIT_NS = 5 * 1000000000ull;

enum state { NONE, STARTING, RUNNING, LEAVING };
static uint32_t state;
enum { STAY, ASKED, GOING };
static uint32_t leave;
static uint32_t away_word, away; /* os_word_enter(); calls that run without the thread */
static bool lost;                /* it could not be started again: forked children shall have theirs */
static int32_t agent_tid;
static uint32_t wake_sent;
static char *stack; /* kept for the life of the process */
static uint64_t fork_ns, usual_mask, deferred_mask;
static bool mask_known;
uint32_t agent_thread_wanted;

bool agent_thread_running(void)
{
    uint32_t s = __atomic_load_n(&state, __ATOMIC_ACQUIRE);
    return s == RUNNING || s == LEAVING;
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
    if (every == 0 || !life_recording() || exit_snapshot_begun()) { /* that of the exit is the last one */
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
    uint64_t mask = ALL_SIGNALS & ~(1ull << (agent_options.stop_signal - 1));
    long rc = sys6(SYS_ppoll, (long)fds, n, (long)&ts, (long)&mask, sizeof mask, 0);
    __atomic_store_n(&wake_sent, 0, __ATOMIC_RELEASE);
    if (n > 0) control_serve(fds, rc > 0 ? n : 0);
}

/* What it has open goes with its table; the socket's name must be free at once. */
static void end(struct thread *slot)
{
    __atomic_store_n(&agent_tid, 0, __ATOMIC_RELEASE);
    control_end();
    thread_end(slot);
    os_futex_wake(&leave, INT_MAX);
}

static bool told_to_leave(void)
{
    uint32_t asked = ASKED;
    return __atomic_compare_exchange_n(&leave, &asked, GOING, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void *agent_main(void *slot)
{
    ((struct thread *)slot)->frames_hi = (uintptr_t)__builtin_frame_address(0);
    raw_sigmask(SIG_SETMASK, &ALL_SIGNALS, NULL);
    private_descriptors();
    sys6(SYS_prctl, PR_SET_NAME, (long)"seep", 0, 0, 0, 0);
    thread_begin(slot);
    if (agent_options.control) {
        int rc = control_open();
        if (rc < 0) log_verbose(1, "no control socket (error %d): `seep snapshot` can't reach this process", -rc);
    }
    if (tick.gap_ns == 0) tick.gap_ns = TICK_NS;
    drill_ns = (uint64_t)options_debug("stop", 0) * MS;
    drill_due_ns = drill_ns ? 0 : UINT64_MAX;
    __atomic_store_n(&agent_tid, os_gettid(), __ATOMIC_RELEASE);
    __atomic_store_n(&state, RUNNING, __ATOMIC_RELEASE);
    os_futex_wake(&state, INT_MAX);
    while (!told_to_leave()) {
        snapshot_run_requests();
        interval(os_mono_ns());
        background(os_mono_ns());
        drill(os_mono_ns());
        wait_for_work(os_mono_ns());
    }
    end(slot);
    return NULL;
}

/* ---- Starting it */

static int create(struct thread *slot)
{
    pthread_attr_t attr;
    pthread_t id;
    uint64_t before = 0;
    if (!stack) stack = os_alloc(STACK_BYTES, OS_OTHER);
    if (!stack) return ENOMEM;
    int rc = pthread_attr_init(&attr);
    if (rc != 0) return rc;
    rc = pthread_attr_setstack(&attr, stack, STACK_BYTES);
    if (rc == 0) rc = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (rc == 0) {
        raw_sigmask(SIG_SETMASK, &ALL_SIGNALS, &before);
        rc = pthread_create_plain(&id, &attr, agent_main, slot);
        raw_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attr);
    return rc;
}

static uint64_t current_mask(void)
{
    uint64_t mask = 0;
    raw_sigmask(SIG_BLOCK, NULL, &mask);
    return mask;
}

/* In state STARTING. */
static int start(void)
{
    struct thread *slot = thread_new();
    if (slot) slot->is_agent = true;
    int rc = slot ? create(slot) : ENOMEM;
    if (rc != 0) {
        if (slot) thread_free(slot);
        __atomic_store_n(&state, NONE, __ATOMIC_RELEASE);
        os_futex_wake(&state, INT_MAX);
        return -rc;
    }
    while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) == STARTING) os_futex_wait(&state, STARTING, 100 * (int64_t)MS);
    lost = false;
    return 0;
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
    if (!mask_known) {
        usual_mask = current_mask();
        mask_known = true;
    }
    return start();
}

/* ---- Ending it for a while */

static uint64_t block_signals(void)
{
    uint64_t most = ALL_SIGNALS & ~(1ull << (agent_options.stop_signal - 1)), before = 0;
    raw_sigmask(SIG_BLOCK, &most, &before);
    return before;
}

static void unblock_signals(uint64_t before)
{
    raw_sigmask(SIG_SETMASK, &before, NULL);
}

/* True when the kernel no longer counts it to the process. */
static bool wait_gone(int tid, uint64_t end_ns)
{
    struct timespec ts = {0, 20000};
    while (sys3(SYS_tgkill, os_getpid(), tid, 0) == 0) {
        if (os_mono_ns() > end_ns) return false;
        sys3(SYS_nanosleep, (long)&ts, 0, 0);
        if (ts.tv_nsec < 1000000) ts.tv_nsec *= 2;
    }
    /* Its number goes a moment before its place in the group. This looks, under the lock that the exit holds, and takes nothing. */
    sys6(SYS_waitid, P_ALL, 0, 0, WEXITED | WNOHANG | WNOWAIT, 0, 0);
    return true;
}

static bool make_leave(uint64_t limit_ns)
{
    uint64_t end_ns = os_mono_ns() + limit_ns;
    uint32_t asked = ASKED;
    int tid = __atomic_load_n(&agent_tid, __ATOMIC_ACQUIRE);
    __atomic_store_n(&leave, ASKED, __ATOMIC_RELEASE);
    __atomic_store_n(&state, LEAVING, __ATOMIC_RELEASE);
    while (__atomic_load_n(&leave, __ATOMIC_ACQUIRE) == ASKED && os_mono_ns() < end_ns) {
        agent_thread_wake();
        os_futex_wait(&leave, ASKED, 100 * (int64_t)MS);
    }
    if (__atomic_compare_exchange_n(&leave, &asked, STAY, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        __atomic_store_n(&state, RUNNING, __ATOMIC_RELEASE);
        return false;
    }
    if (!wait_gone(tid, os_mono_ns() + HANDLER_LIMIT_NS)) stack = NULL; /* it still stands there */
    __atomic_store_n(&leave, STAY, __ATOMIC_RELEASE);
    return true;
}

/* More signals blocked than when it was started: it may be a handler, which may have interrupted malloc or libc. */
static bool perhaps_in_handler(uint64_t mask)
{
    return (mask & ~usual_mask) != 0;
}

bool agent_thread_away(void)
{
    if (!agent_thread_running() || agent_tls.critical || agent_in_child || !process_is_known() ||
        agent_thread_is_self())
        return false;
    bool gone = true;
    uint64_t before = block_signals();
    os_word_enter(&away_word);
    if (away == 0)
        gone = agent_thread_running() && make_leave(perhaps_in_handler(before) ? HANDLER_LIMIT_NS : LIMIT_NS);
    away += gone;
    os_word_leave(&away_word);
    unblock_signals(before);
    return gone;
}

static void start_again(uint64_t mask)
{
    if (perhaps_in_handler(mask)) {
        fork_ns = os_mono_ns();
        deferred_mask = mask;
        __atomic_store_n(&state, NONE, __ATOMIC_RELEASE);
        __atomic_store_n(&agent_thread_wanted, 1, __ATOMIC_RELEASE);
        return;
    }
    __atomic_store_n(&state, STARTING, __ATOMIC_RELEASE);
    int rc = start();
    if (rc == 0) return;
    lost = true;
    log_line("the agent's thread can't be started again (error %d): snapshots only at exit", -rc);
}

void agent_thread_back(void)
{
    int saved = errno;
    uint64_t before = block_signals();
    os_word_enter(&away_word);
    if (away > 0 && --away == 0 && process_is_known()) start_again(before);
    os_word_leave(&away_word);
    unblock_signals(before);
    errno = saved;
}

bool agent_thread_lost(void)
{
    return lost;
}

/* ---- In a forked child */

void agent_thread_fork_child(void)
{
    bool had = state != NONE || agent_thread_wanted || lost;
    state = NONE;
    leave = STAY;
    away_word = away = 0;
    lost = false;
    interval_due_ns = 0;
    agent_tid = 0;
    wake_sent = 0;
    memset(&tick, 0, sizeof tick);
    control_close();
    agent_thread_wanted = had && agent_options.follow;
    if (!agent_thread_wanted) return;
    fork_ns = os_mono_ns();
    usual_mask = deferred_mask = current_mask();
    mask_known = true;
}

void agent_thread_start_deferred(bool will_block)
{
    if (agent_tls.critical || agent_in_child || !process_is_known()) return;
    if (!will_block && os_mono_ns() - fork_ns < DEFER_NS) return;
    if (current_mask() & ~deferred_mask) return;
    int saved = errno;
    if (!__atomic_exchange_n(&agent_thread_wanted, 0, __ATOMIC_ACQ_REL)) return;
    int rc = agent_thread_start();
    if (rc < 0) log_line("no thread for the agent in process %d (error %d): snapshots only at exit", os_getpid(), -rc);
    errno = saved;
}
