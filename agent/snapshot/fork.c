/* SPDX-License-Identifier: Apache-2.0
 *
 * One snapshot, as the parent sees it:
 *
 *     prepare ─▶ gate ─▶ stop ─▶ providers ─▶ clone ─▶ resume ─▶ gate open ─▶ wait for the child ─▶ providers' finish
 *
 * The clone has exit signal 0 and copies everything: the program gets no SIGCHLD and its wait(-1) never returns the child
 * (only __WALL and __WCLONE would). The child runs on a stack of its own, closes every descriptor, blocks all signals,
 * leaves no core, and is the first that the kernel kills when memory runs out.
 *
 * Runs on the agent's thread; or on a thread of the program that has none (exit of a forked child). One at a time.
 * What parent and child share is one page: the result, the pause, a word for the child's end.
 * Seen by the program: RLIMIT_NPROC counts the child; RUSAGE_CHILDREN includes it.
 * Allocates nothing on the heap between stop and resume. */
#include "agent/snapshot/snapshot.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "agent/entry/entry.h"
#include "agent/gc/finalizer.h"
#include "agent/heap/heap.h"
#include "agent/os/os.h"
#include "agent/snapshot/raw.h"
#include "agent/snapshot/stop_x86_64.h"
#include "agent/util/critical.h"
#include "agent/util/log.h"
#include "agent/util/options.h"

enum { CHILD_STACK_BYTES = 1 << 20 };
static const uint64_t CHILD_LIMIT_NS = 600ull * 1000000000;

struct shared {
    struct snapshot_result result;
    uint64_t pause_ns;
    uint32_t pause_known;
    uint32_t done; /* the child has written its result */
};

static struct shared *shared;
static char *child_stack;
/* Two words to wait for, outside of critical sections: os_word_enter(). */
static uint32_t busy; /* one snapshot at a time */
static uint32_t gate;
static uint32_t seq;

uint32_t snapshot_seq(void)
{
    return __atomic_load_n(&seq, __ATOMIC_RELAXED);
}

void snapshot_gate_enter(void)
{
    os_word_enter(&gate);
}
void snapshot_gate_leave(void)
{
    os_word_leave(&gate);
}

/* The page is shared with the parent process: the child gets a new one when it needs one. */
void snapshot_fork_child(void)
{
    busy = gate = seq = 0;
    shared = NULL;
    stop_fork_child();
}

/* A word of the shared page: not a private futex. */
static void shared_wait(uint32_t *word, uint32_t value, int64_t ns)
{
    struct timespec ts = {ns / 1000000000, ns % 1000000000};
    sys6(SYS_futex, (long)word, FUTEX_WAIT, value, (long)&ts, 0, 0);
}

static void shared_set(uint32_t *word)
{
    __atomic_store_n(word, 1, __ATOMIC_RELEASE);
    sys6(SYS_futex, (long)word, FUTEX_WAKE, INT_MAX, 0, 0, 0);
}

/* ---- The child */

/* The parent may have gone (exec, exit_group) before it could tell: then what the child saw of the pause counts. */
uint64_t snapshot_job_pause(const struct snapshot_job *job)
{
    for (int i = 0; i < 1000 && !__atomic_load_n(&shared->pause_known, __ATOMIC_ACQUIRE); i++) {
        if (sys3(SYS_getppid, 0, 0, 0) != process_start()->pid) break;
        shared_wait(&shared->pause_known, 0, 5000000);
    }
    return __atomic_load_n(&shared->pause_known, __ATOMIC_ACQUIRE) ? shared->pause_ns : job->pause_ns;
}

static void first_to_be_killed(void)
{
    int fd = raw_open("/proc/self/oom_score_adj", O_WRONLY, 0);
    if (fd < 0) return;
    sys3(SYS_write, fd, (long)"1000", 4);
    raw_close(fd);
}

static void child_main(void *arg)
{
    struct snapshot_job *job = arg;
    job->pause_ns = os_mono_ns() - job->mono_ns;
    struct rlimit none = {0, 0};
    agent_in_child = true;
    raw_sigmask(SIG_SETMASK, &ALL_SIGNALS, NULL);
    sys6(SYS_prlimit64, 0, RLIMIT_CORE, (long)&none, 0, 0, 0);
    sys3(SYS_close_range, 0, (long)~0u, 0);
    sys6(SYS_prctl, PR_SET_NAME, (long)"seep-snapshot", 0, 0, 0, 0);
    first_to_be_killed();
    heap_enter_child();
    threads_provider_job(job);
    int rc = snapshot_child(job);
    shared->result.error = rc;
    shared_set(&shared->done);
    os_exit(rc != 0);
}

/* ---- The parent */

static int prepare_memory(void)
{
    if (!shared) { /* not through os.h: this page is no memory of the agent's alone */
        long p = sys6(SYS_mmap, 0, (long)os_page_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (p < 0 && p > -4096) return (int)p;
        shared = (struct shared *)p;
        _Static_assert(sizeof(struct shared) <= 4096, "one page");
    }
    if (!child_stack) child_stack = os_alloc(CHILD_STACK_BYTES, OS_OTHER);
    return child_stack ? 0 : -ENOMEM;
}

static void sleep_ns(uint64_t ns)
{
    struct timespec ts = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    sys3(SYS_nanosleep, (long)&ts, 0, 0);
}

/* The program may have reaped it by __WALL: then the shared word is what we know. */
static int wait_child(int pid, uint64_t begin_ns)
{
    uint64_t pause = 200000;
    bool killed = false;
    int pidfd = agent_thread_is_self() ? (int)sys3(SYS_pidfd_open, pid, 0, 0) : -1;
    for (;;) {
        int status = 0;
        long r = sys6(SYS_wait4, pid, (long)&status, __WALL | WNOHANG, 0, 0, 0);
        if (r == pid || r == -ECHILD) {
            if (pidfd >= 0) raw_close(pidfd);
            if (__atomic_load_n(&shared->done, __ATOMIC_ACQUIRE)) return 0;
            if (killed) return -ETIMEDOUT;
            return r == pid && WIFSIGNALED(status) ? -WTERMSIG(status) - 10000 : -EIO;
        }
        if (!killed && os_mono_ns() - begin_ns > CHILD_LIMIT_NS) {
            sys3(SYS_kill, pid, SIGKILL, 0);
            killed = true;
        }
        if (pidfd >= 0) {
            struct pollfd p = {.fd = pidfd, .events = POLLIN};
            struct timespec ts = {0, 100000000};
            sys6(SYS_ppoll, (long)&p, 1, (long)&ts, 0, 0, 0);
        } else {
            sleep_ns(pause);
            if (pause < 20000000) pause *= 2;
        }
        if (agent_thread_is_self()) heap_background_tick();
    }
}

static int failed(struct snapshot_result *out, int error, const char *what)
{
    out->error = error;
    if (!out->message[0]) fmt_string(out->message, sizeof out->message, "%s (error %d)", what, -error);
    return error;
}

static void tell_finish(bool told)
{
    for (unsigned i = 0; i < provider_count(); i++) {
        const struct seep_task_provider *p = provider_get(i);
        if (p->finish) p->finish(p->ctx, told);
    }
    finalizers_finish(told);
}

static int take(const struct snapshot_request *req, struct snapshot_result *out)
{
    static struct snapshot_job job;
    int rc = prepare_memory();
    if (rc < 0) return failed(out, rc, "no memory for a snapshot");
    memset(&job, 0, sizeof job);
    memset(shared, 0, sizeof *shared);
    job.request = *req;
    job.request.label[sizeof job.request.label - 1] = 0;
    job.out = agent_options.out;
    job.result = &shared->result;
    snapshot_child_prepare();

    snapshot_gate_enter();
    modules_refresh(); /* takes the loader's lock: behind the gate, so that no fork() of the program copies it held by us */
    job.seq = __atomic_add_fetch(&seq, 1, __ATOMIC_RELAXED);
    rc = stop_world_patiently(&job.threads, &job.nthreads, &job.nmissed, &job.mono_ns);
    job.unix_ns = os_unix_ns();
    if (rc < 0) {
        snapshot_gate_leave();
        return failed(out, rc, "a thread of the program did not stop in time");
    }
    for (unsigned i = 0; i < provider_count(); i++) {
        const struct seep_task_provider *p = provider_get(i);
        if (p->prepare) p->prepare(p->ctx);
    }
    long pid = sys6(SYS_clone, 0, 0, 0, 0, 0, 0);
    if (pid == 0) arch_call_on_stack(child_stack + CHILD_STACK_BYTES, child_main, &job);
    resume_world();
    uint64_t now = os_mono_ns();
    shared->pause_ns = now - job.mono_ns;
    shared_set(&shared->pause_known);
    snapshot_gate_leave();
    if (pid < 0) {
        tell_finish(false);
        return failed(out, (int)pid, "the process can't be forked now");
    }

    rc = wait_child((int)pid, now);
    tell_finish(rc == 0 && shared->result.error == 0 && req->trigger != TRIGGER_EXIT);
    *out = shared->result;
    out->seq = job.seq;
    out->pause_ns = shared->pause_ns;
    if (rc <= -10000) {
        fmt_string(out->message, sizeof out->message, "the snapshot's process died of signal %d", -rc - 10000);
        return failed(out, -EIO, "");
    }
    if (rc < 0) return failed(out, rc, rc == -ETIMEDOUT ? "the snapshot took too long" : "the snapshot's process died");
    return out->error ? failed(out, out->error, "the snapshot was not written") : 0;
}

/* One line for a failure, and once a minute for the same one again. */
static void tell(int error, const struct snapshot_result *res)
{
    static int last_error;
    static uint64_t last_ns;
    uint64_t now = os_mono_ns();
    if (error == last_error && now - last_ns < 60ull * 1000000000 && agent_options.verbose == 0) return;
    last_error = error;
    last_ns = now;
    if (strncmp(res->message, "snapshot ", 9) == 0)
        log_line("%s", res->message);
    else
        log_line("snapshot %u lost: %s", snapshot_seq(), res->message);
}

int snapshot_take(const struct snapshot_request *req, struct snapshot_result *out)
{
    struct snapshot_result ignored;
    if (!out) out = &ignored;
    memset(out, 0, sizeof *out);
    if (!life_recording() && snapshot_is_recorded(req)) {
        fmt_string(out->message, sizeof out->message, "nothing is being recorded");
        return out->error = -ENODEV;
    }
    os_word_enter(&busy);
    int rc = take(req, out);
    os_word_leave(&busy);
    if (rc < 0) tell(rc, out);
    return rc;
}
