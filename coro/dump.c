/* SPDX-License-Identifier: Apache-2.0
 *
 * SIGQUIT: all stacks on standard error, then death by SIGQUIT as without us (a core file, where the limits allow one). As in Go, but
 * for the core file.
 *
 * The handler only asks; sysmon writes, since it holds no lock and is interrupted in nothing. Before the first coroutine there is no
 * sysmon, and the handler itself writes. A program with a handler of its own keeps it, installed before or later.
 *
 * What runs can be read by its own thread only. So the dumping thread sends SIGQUIT with a mark of ours to each thread that runs a
 * coroutine; its handler walks the stack that it interrupted, and a system call is continued as after a snapshot. Who does not answer within a moment is listed without frames; its late answer
 * goes to memory that is kept for it. */
#include "coro/dump.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "agent/profile/arch.h"
#include "agent/profile/profile.h"
#include "agent/snapshot/snapshot.h"
#include "coro/include/coro.h"

enum { MOST = 512, PATIENCE_MS = 500 };
static const int mark;
static _Atomic bool asked;
static struct asking {
    unsigned n;
    _Atomic unsigned answers;
    struct dump_running all[];
} * _Atomic asking;

/* ---- on the thread that is asked */

static void answer(const ucontext_t *uc)
{
    struct asking *a = atomic_load(&asking);
    struct g *self = context_self();
    if (!a || !self) return;
    struct m *m = self->m;
    struct g *g = atomic_load(&m->curg);
    for (unsigned i = 0; i < a->n; i++) {
        struct dump_running *to = &a->all[i];
        if (to->m != m) continue;
        struct unwind_regs regs = arch_interrupted(uc);
        if (g && regs.sp >= g->stack_lo && regs.sp < g->stack_hi) {
            to->depth = unwind_stopped(&regs, g->stack_lo, g->stack_hi, NULL, to->pcs, DUMP_DEPTH);
            atomic_store(&to->g, g);
        }
        atomic_fetch_add(&a->answers, 1);
    }
}

static void on_quit(int sig, siginfo_t *si, void *uc)
{
    (void)sig;
    int *e = __errno_location(), saved = *e;
    if (si->si_code == SI_QUEUE && si->si_value.sival_ptr == (const void *)&mark) {
        stop_note_interrupted(uc);
        answer(uc);
        *e = saved;
        return;
    }
    atomic_store(&asked, true);
    if (!atomic_load(&sched.sysmon_started)) {
        dump_if_asked();
    } else if (__atomic_exchange_n(&sched.sysmon_word, 0, __ATOMIC_ACQ_REL)) {
        os_futex_wake(&sched.sysmon_word, 1);
    }
    *e = saved;
}

/* ---- on the one that asks */

static bool quit_is_ours(void)
{
    struct sigaction now;
    return sigaction(SIGQUIT, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_quit;
}

struct dump_running *dump_running(unsigned *n)
{
    struct g *self = context_self();
    if (!quit_is_ours() || atomic_load(&asking)) return NULL;
    struct asking *a = os_alloc(sizeof *a + MOST * sizeof *a->all, OS_OTHER);
    if (!a) return NULL;
    for (struct m *m = atomic_load(&sched.all_m); m && a->n < MOST; m = m->all_link)
        if (m->tid && atomic_load(&m->curg) && (!self || m != self->m)) a->all[a->n++].m = m;
    atomic_store(&asking, a);
    unsigned sent = 0;
    for (unsigned i = 0; i < a->n; i++) {
        siginfo_t si;
        memset(&si, 0, sizeof si);
        si.si_signo = SIGQUIT;
        si.si_code = SI_QUEUE;
        si.si_pid = os_getpid();
        si.si_uid = getuid();
        si.si_value.sival_ptr = (void *)(uintptr_t)&mark;
        sent += syscall(SYS_rt_tgsigqueueinfo, os_getpid(), a->all[i].m->tid, SIGQUIT, &si) == 0;
    }
    for (int ms = 0; ms < PATIENCE_MS && atomic_load(&a->answers) < sent; ms++) {
        uint32_t nap = 0;
        os_futex_wait(&nap, 0, 1000000);
    }
    atomic_store(&asking, NULL);
    *n = a->n;
    return a->all;
}

void dump_running_free(struct dump_running *all, unsigned n)
{
    struct asking *a = all ? (struct asking *)(void *)((char *)all - offsetof(struct asking, all)) : NULL;
    if (a && atomic_load(&a->answers) == n) os_free(a, sizeof *a + MOST * sizeof *a->all);
}

void dump_if_asked(void)
{
    if (likely(!atomic_load_explicit(&asked, memory_order_relaxed)) || !atomic_exchange(&asked, false)) return;
    static const char title[] = "seep: SIGQUIT: all coroutines\n";
    os_write(2, title, sizeof title - 1);
    if (context_self())
        co_dump(2);
    else
        report_all(2);
    sigset_t quit;
    sigemptyset(&quit);
    sigaddset(&quit, SIGQUIT);
    signal(SIGQUIT, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &quit, NULL);
    raise(SIGQUIT);
}

void dump_fork_child(struct m *m)
{
    atomic_store(&asking, NULL);
    atomic_store(&asked, false);
    if (m) m->tid = os_gettid();
}

void dump_install(void)
{
    struct sigaction old, sa = {.sa_sigaction = on_quit, .sa_flags = SA_ONSTACK | SA_RESTART | SA_SIGINFO};
    sigemptyset(&sa.sa_mask);
    if (sigaction(SIGQUIT, NULL, &old) != 0 || old.sa_flags & SA_SIGINFO || old.sa_handler != SIG_DFL) return;
    sigaction(SIGQUIT, &sa, NULL);
}
