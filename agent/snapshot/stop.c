/* SPDX-License-Identifier: Apache-2.0
 *
 * Stop and resume of every other thread of the process, by a real-time signal. No ptrace.
 *
 *     stop_world: list /proc/self/task ─▶ signal each thread ─▶ wait for answers ─▶ until no new thread appears
 *     handler:    critical section? note it and return : publish registers ─▶ answer ─▶ sleep until resume
 *
 * The signal carries a token, (generation, slot), in its value: the handler needs no lookup and a late signal of an
 * earlier stop is told apart.
 *
 * Slot states: REQUESTED → PUBLISHING → PARKED by the handler; REQUESTED → GONE, MISSED or HELPER by the stopper.
 * Invariants
 *   1. A parked thread is in no critical section: it holds no agent lock and no structure half-made.
 *   2. A thread that does not answer is left out (MISSED) only while the kernel shows it blocked in a system call, outside of
 *      critical sections, with our signal pending: it can't run an instruction of the program before the handler. One
 *      that runs and does not answer in time makes the stop fail.
 *   3. Nothing is allocated on the program's heap, and no lock is held by the stopper when it waits.
 * The handler is async-signal-safe, uses no libc and leaves errno alone. */
#include "agent/snapshot/snapshot.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>

#include "agent/entry/entry.h"
#include "agent/os/os.h"
#include "agent/snapshot/raw.h"
#include "agent/snapshot/stop_x86_64.h"
#include "agent/util/critical.h"
#include "agent/util/log.h"
#include "agent/util/options.h"

enum slot_state { FREE, REQUESTED, PUBLISHING, PARKED, MISSED, HELPER, GONE };

enum {
    SLOT_BITS = 20,
    MAX_SLOTS = 1 << 16,
    BLOCKED_GRACE_MS = 50, /* for a thread in uninterruptible sleep: on a disk, or until a vfork child is done */
    DEAF_GRACE_MS = 3,     /* libc blocks all signals for moments, when it makes and ends threads */
    MAGIC_UID = 0x73656570,
};

static struct {
    struct stopped_thread *threads; /* reserved for MAX_SLOTS, ready for `ready` */
    uint32_t *states;
    unsigned ready, n;
    uint32_t generation; /* 1 … 4095 */
    uint32_t epoch;      /* odd: stopped; what parked threads sleep on */
    uint32_t answers, expected;
    bool hasty;      /* do not stand still for a thread in uninterruptible sleep */
    unsigned asleep; /* threads given up because they were in one */
} S;

/* ---- The stopped side */

static long queue_signal(int tid, uint32_t token)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = (int)agent_options.stop_signal;
    info.si_code = SI_QUEUE;
    info.si_pid = os_getpid();
    info.si_uid = MAGIC_UID;
    info.si_value.sival_int = (int)token;
    return sys6(SYS_rt_tgsigqueueinfo, info.si_pid, tid, info.si_signo, (long)&info, 0, 0);
}

static void park(uint32_t token, const ucontext_t *uc)
{
    uint32_t epoch = __atomic_load_n(&S.epoch, __ATOMIC_ACQUIRE), slot = token & ((1u << SLOT_BITS) - 1);
    if (!(epoch & 1) || token >> SLOT_BITS != __atomic_load_n(&S.generation, __ATOMIC_RELAXED))
        return; /* of the past */
    uint32_t want = REQUESTED;
    if (__atomic_compare_exchange_n(&S.states[slot], &want, PUBLISHING, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        struct stopped_thread *t = &S.threads[slot];
        arch_capture(t, uc);
        t->captured = true;
        __atomic_store_n(&S.states[slot], PARKED, __ATOMIC_RELEASE);
        if (__atomic_add_fetch(&S.answers, 1, __ATOMIC_ACQ_REL) == __atomic_load_n(&S.expected, __ATOMIC_ACQUIRE))
            os_futex_wake(&S.answers, 1);
    }
    while (__atomic_load_n(&S.epoch, __ATOMIC_ACQUIRE) == epoch) os_futex_wait(&S.epoch, epoch, -1);
}

/* The wrapper of the call looks at eintr_ours: 1, it failed with EINTR; 2, it returned, perhaps less than it would have
 * without us. A signal of the program that is already pending gets its EINTR. */
void stop_note_interrupted(const void *uctx)
{
    const ucontext_t *uc = uctx;
    uint64_t pending = 0, mask;
    uint32_t how = arch_syscall_interrupted(uc) ? 1 : arch_syscall_returned(uc) ? 2 : 0;
    if (how == 0) return;
    memcpy(&mask, &uc->uc_sigmask, sizeof mask);
    sys3(SYS_rt_sigpending, (long)&pending, sizeof pending, 0);
    pending &= ~(1ull << (agent_options.stop_signal - 1));
    if ((pending & ~mask) == 0) agent_tls.eintr_ours = how;
}

void stop_handler(int sig, siginfo_t *info, void *uctx)
{
    if (info->si_code != SI_QUEUE || info->si_uid != MAGIC_UID || info->si_pid != os_getpid()) {
        if (!agent_thread_is_self()) signals_forward_stop(sig, info, uctx);
        return;
    }
    uint32_t token = (uint32_t)info->si_value.sival_int;
    if (agent_tls.critical > 0) {
        agent_tls.stop_pending = token;
        return;
    }
    park(token, uctx);
    stop_note_interrupted(uctx);
}

/* Called by agent_leave() as the outermost section ends. */
void agent_stop_now(void)
{
    uint32_t token = agent_tls.stop_pending;
    agent_tls.stop_pending = 0;
    if (token) queue_signal(os_gettid(), token);
}

/* ---- The stopper's side */

/* Slots for n threads. Grows in place: a parked thread holds a pointer into the arrays. */
static bool make_room(unsigned n)
{
    enum { STEP = 256 };
    if (n <= S.ready) return true;
    if (n > MAX_SLOTS) return false;
    if (!S.threads) S.threads = os_reserve(NULL, (size_t)MAX_SLOTS * sizeof *S.threads, 0, OS_OTHER);
    if (!S.states) S.states = os_alloc((size_t)MAX_SLOTS * sizeof *S.states, OS_OTHER);
    if (!S.threads || !S.states) return false; /* what is there stays for the next try */
    size_t page = os_page_size();
    size_t from = (S.ready * sizeof *S.threads + page - 1) & ~(page - 1);
    size_t to = ((size_t)(n + STEP) * sizeof *S.threads + page - 1) & ~(page - 1);
    if (to > (size_t)MAX_SLOTS * sizeof *S.threads) to = ((size_t)MAX_SLOTS * sizeof *S.threads) & ~(page - 1);
    char *p = (char *)S.threads;
    if (os_map(p + from, to - from) != 0 || os_used(p + from, to - from) != 0) return false;
    S.ready = (unsigned)(to / sizeof *S.threads);
    return n <= S.ready;
}

static bool is_known(int tid)
{
    /* The kernel lists threads in the order of their creation, so a known one is mostly where the last search ended. */
    static unsigned hint;
    for (unsigned i = 0; i < S.n; i++) {
        unsigned at = hint + i < S.n ? hint + i : hint + i - S.n;
        if (S.threads[at].tid != tid) continue;
        hint = at + 1 < S.n ? at + 1 : 0;
        return true;
    }
    hint = 0;
    return false;
}

static struct stopped_thread *add_slot(int tid, enum slot_state state)
{
    struct stopped_thread *t = &S.threads[S.n];
    memset(t, 0, offsetof(struct stopped_thread, all_regs));
    t->nregs = 0;
    t->tid = tid;
    t->stack_lo = t->stack_hi = t->tls = 0;
    t->create_stack_id = 0;
    t->start_routine = t->start_arg = 0;
    t->name[0] = 0;
    __atomic_store_n(&S.states[S.n++], (uint32_t)state, __ATOMIC_RELEASE);
    return t;
}

static void request(int tid)
{
    unsigned slot = S.n;
    add_slot(tid, REQUESTED);
    if (queue_signal(tid, S.generation << SLOT_BITS | slot) == -ESRCH) S.states[slot] = GONE;
}

static __attribute__((noinline)) void add_self(int tid)
{
    struct stopped_thread *t = add_slot(tid, PARKED);
    arch_capture_self(t);
    t->captured = true;
}

/* Signals every thread not yet known. Returns how many there were, or a negative errno. */
static int request_new(int self)
{
    char buf[4096];
    int fresh = 0;
    int dir = raw_open("/proc/self/task", O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0) return dir;
    long n;
    while ((n = sys3(SYS_getdents64, dir, (long)buf, sizeof buf)) > 0) {
        unsigned short len;
        for (long at = 0; at < n; at += len) {
            const char *name = buf + at + 19; /* struct linux_dirent64 */
            memcpy(&len, buf + at + 16, sizeof len);
            int tid = name[0] == '.' ? 0 : atoi(name);
            if (tid <= 0 || tid == self || is_known(tid)) continue;
            if (!make_room(S.n + 1)) {
                n = -ENOMEM;
                break;
            }
            request(tid);
            fresh++;
        }
        if (n < 0) break;
    }
    raw_close(dir);
    return n < 0 ? (int)n : fresh;
}

static long read_task_file(int tid, const char *what, char *buf, size_t size)
{
    char path[64];
    fmt_string(path, sizeof path, "/proc/self/task/%d/%s", tid, what);
    int fd = raw_open(path, O_RDONLY, 0);
    if (fd < 0) return fd;
    long n = raw_read(fd, buf, size - 1);
    raw_close(fd);
    buf[n > 0 ? n : 0] = 0;
    return n;
}

struct task_status {
    char state; /* 'X': gone */
    bool deaf;  /* blocks the stop signal */
};

static struct task_status task_status(int tid)
{
    char buf[2048];
    struct task_status s = {.state = 'X'};
    if (read_task_file(tid, "status", buf, sizeof buf) <= 0) return s;
    const char *state = strstr(buf, "\nState:\t"), *blocked = strstr(buf, "\nSigBlk:\t");
    s.state = state ? state[8] : '?';
    s.deaf = blocked && (strtoul(blocked + 9, NULL, 16) >> (agent_options.stop_signal - 1) & 1);
    return s;
}

static const struct thread *registered(int tid)
{
    for (const struct thread *t = threads_first(); t; t = t->next)
        if (__atomic_load_n(&t->tid, __ATOMIC_ACQUIRE) == tid) return t;
    return NULL;
}

/* "NR ARG… SP PC" while blocked in a system call, "running" otherwise. The call's number, or -1. A thread that has not yet
 * woken from the stop before this one will answer. */
static int blocked_at(int tid, struct unwind_regs *regs)
{
    char buf[256];
    if (read_task_file(tid, "syscall", buf, sizeof buf) <= 0 || buf[0] == 'r' || buf[0] == '-') return -1;
    char *args;
    int nr = (int)strtol(buf, &args, 10);
    if (nr == SYS_futex && strtoul(args, NULL, 16) == (uintptr_t)&S.epoch) return -1;
    char *pc = strrchr(buf, ' ');
    if (!pc) return -1;
    *pc = 0;
    char *sp = strrchr(buf, ' ');
    if (!sp) return -1;
    *regs = (struct unwind_regs){.pc = strtoul(pc + 1, NULL, 16), .sp = strtoul(sp + 1, NULL, 16)};
    return nr;
}

/* Looks at a thread that has not answered for waited_ms. Uninterruptible sleep may take seconds, and a thread that blocks
 * the signal never answers: what is known of those must do, and soon. */
static void examine(unsigned i, uint64_t waited_ms)
{
    struct stopped_thread *t = &S.threads[i];
    struct task_status status = task_status(t->tid);
    struct unwind_regs regs;
    enum slot_state to = GONE;
    if (status.state != 'X' && status.state != 'Z' && status.state != 'x') {
        uint64_t limit = status.deaf || (S.hasty && status.state == 'D') ? DEAF_GRACE_MS
                         : status.state == 'D'                           ? BLOCKED_GRACE_MS
                                                                         : UINT64_MAX;
        if (limit > agent_options.stop_timeout) limit = agent_options.stop_timeout;
        if (waited_ms < limit) return;
        const struct thread *r = registered(t->tid);
        if (r && r->state && __atomic_load_n(&r->state->critical, __ATOMIC_RELAXED) > 0) return;
        int nr = blocked_at(t->tid, &regs);
        if (nr < 0) return;
        /* libc's own thread for SIGEV_THREAD timers holds nothing of the program's. */
        to = status.deaf && nr == SYS_rt_sigtimedwait && (!r || r->found) ? HELPER : MISSED;
    }
    /* It may be answering right now: then what it says counts, and the slot is not ours to write. */
    uint32_t want = REQUESTED;
    if (!__atomic_compare_exchange_n(&S.states[i], &want, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) return;
    if (to == GONE) return;
    S.asleep += !status.deaf;
    t->regs = regs;
    t->in_syscall = true;
}

/* True when every thread has answered or was given up. */
static bool wait_answers(uint64_t begin_ns)
{
    for (uint64_t slice_ns = 1000000;;) {
        uint32_t seen = __atomic_load_n(&S.answers, __ATOMIC_ACQUIRE);
        uint32_t open = 0;
        for (unsigned i = 0; i < S.n; i++) {
            uint32_t s = __atomic_load_n(&S.states[i], __ATOMIC_ACQUIRE);
            open += s == REQUESTED || s == PUBLISHING;
        }
        if (open == 0) return true;
        __atomic_store_n(&S.expected, seen + open, __ATOMIC_RELEASE);
        if (os_futex_wait(&S.answers, seen, (int64_t)slice_ns) != -ETIMEDOUT) continue;
        uint64_t waited_ms = (os_mono_ns() - begin_ns) / 1000000;
        for (unsigned i = 0; i < S.n; i++)
            if (S.states[i] == REQUESTED) examine(i, waited_ms);
        if (waited_ms > agent_options.stop_timeout + 100) return false;
        if (slice_ns < 8000000) slice_ns *= 2;
    }
}

/* Leaves out threads that are gone; adds what the registry knows. Parked threads look at S.epoch only, late ones find a
 * state that is not REQUESTED: entries may move. */
static unsigned complete(void)
{
    unsigned n = 0, missed = 0;
    for (unsigned i = 0; i < S.n; i++) {
        if (S.states[i] == GONE) continue;
        missed += S.states[i] == MISSED;
        if (n != i) {
            S.threads[n] = S.threads[i];
            S.states[n] = S.states[i];
        }
        n++;
    }
    S.n = n;
    return missed;
}

static void add_registry(void)
{
    unsigned at = 0;
    for (const struct thread *r = threads_first(); r; r = r->next) {
        int tid = __atomic_load_n(&r->tid, __ATOMIC_ACQUIRE);
        if (tid <= 0) continue;                    /* -1: its argument is in its creator's frames */
        for (unsigned i = 0; i < S.n; i++, at++) { /* both lists are in the order of creation, mostly */
            if (at >= S.n) at = 0;
            struct stopped_thread *t = &S.threads[at];
            if (t->tid != tid) continue;
            t->stack_lo = r->stack_lo;
            t->stack_hi = r->stack_hi;
            if (!t->tls) t->tls = r->tls;
            t->create_stack_id = r->create_stack;
            t->start_routine = (uintptr_t)r->routine;
            t->start_arg = (uintptr_t)r->arg;
            t->is_agent = r->is_agent;
            break;
        }
    }
}

int stop_world(const struct stopped_thread **threads, unsigned *n, unsigned *missed)
{
    if (!make_room(1)) return -ENOMEM;
    int self = os_gettid();
    uint64_t begin_ns = os_mono_ns();
    S.n = S.asleep = 0;
    S.generation = S.generation % 4095 + 1;
    __atomic_store_n(&S.answers, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&S.expected, UINT32_MAX, __ATOMIC_RELAXED);
    __atomic_add_fetch(&S.epoch, 1, __ATOMIC_ACQ_REL); /* odd: stopped */

    if (!agent_thread_is_self()) add_self(self);
    int fresh;
    do {
        fresh = request_new(self);
        if (fresh >= 0 && !wait_answers(begin_ns)) fresh = -EAGAIN;
    } while (fresh > 0);
    if (fresh < 0) {
        resume_world();
        return fresh;
    }
    *missed = complete();
    add_registry();
    *threads = S.threads;
    *n = S.n;
    return 0;
}

int stop_world_patiently(const struct stopped_thread **threads, unsigned *n, unsigned *missed, uint64_t *begin_ns)
{
    enum { TRIES = 5, LATE_TRIES = 2 };
    int rc = 0, late = 0;
    for (int i = 0; i < TRIES; i++) {
        *begin_ns = os_mono_ns();
        S.hasty = i < TRIES - 1;
        rc = stop_world(threads, n, missed);
        /* -EAGAIN: one that could run did not get a processor in time. */
        if (rc == -EAGAIN ? ++late == LATE_TRIES : rc < 0 || !S.hasty || S.asleep == 0) break;
        if (rc == 0) resume_world();
        struct timespec ts = {0, 10000000l << (2 * i)}; /* 10 ms … 640 ms: the disk's time, while the program runs on */
        sys3(SYS_nanosleep, (long)&ts, 0, 0);
    }
    S.hasty = false;
    return rc;
}

void resume_world(void)
{
    __atomic_add_fetch(&S.epoch, 1, __ATOMIC_ACQ_REL);
    os_futex_wake(&S.epoch, INT_MAX);
}

/* In a forked child: nobody is stopped, and the arrays are its own. */
void stop_fork_child(void)
{
    S.epoch &= ~1u;
    S.n = 0;
}
