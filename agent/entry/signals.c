/* SPDX-License-Identifier: Apache-2.0
 *
 * The program must be able to do with signals what it likes, and the stop signal must reach every thread. So the program's
 * view of that one signal is kept apart from the kernel's:
 *
 *   sigaction, signal and kin   its handler, flags and mask are remembered and reported back, never installed
 *   masks                       the signal is taken out of every set that is about to be blocked or waited for; whether
 *                               the program believes it blocked is a bit of the thread's
 *   sigaltstack                 the agent's alternate stack looks like none
 *
 * A stop signal that the agent did not send goes to the program's remembered handler.
 *
 * SEEP_SIGNAL: the agent's handler for it is installed while the program has none of its own; a handler that the program
 * installs wins, SIG_DFL and SIG_IGN are remembered only.
 *
 * Not covered: direct system calls, and the handler's view when it edits uc_sigmask.
 * Everything here but the initialisation is async-signal-safe, as the functions wrapped are. */
#include "agent/entry/entry.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "agent/entry/internal.h"
#include "agent/os/os.h"
#include "agent/snapshot/raw.h"
#include "agent/snapshot/snapshot.h"
#include "agent/util/critical.h"
#include "agent/util/log.h"
#include "agent/util/options.h"

typedef void handler_fn(int);

NEXT(sigaction, int, (int, const struct sigaction *, struct sigaction *));
NEXT(signal, handler_fn *, (int, handler_fn *));
NEXT(sysv_signal, handler_fn *, (int, handler_fn *));
NEXT(sigset, handler_fn *, (int, handler_fn *));
NEXT(sigignore, int, (int));
NEXT(sighold, int, (int));
NEXT(siginterrupt, int, (int, int));
NEXT(sigprocmask, int, (int, const sigset_t *, sigset_t *));
NEXT(pthread_sigmask, int, (int, const sigset_t *, sigset_t *));
NEXT(sigwait, int, (const sigset_t *, int *));
NEXT(signalfd, int, (int, const sigset_t *, int));
NEXT(sigaltstack, int, (const stack_t *, stack_t *));

void signals_resolve(void)
{
    RESOLVE(sigaction);
    RESOLVE(signal);
    RESOLVE(sysv_signal);
    RESOLVE(sigset);
    RESOLVE(sigignore);
    RESOLVE(sighold);
    RESOLVE(siginterrupt);
    RESOLVE(sigprocmask);
    RESOLVE(pthread_sigmask);
    RESOLVE(sigwait);
    RESOLVE(signalfd);
    RESOLVE(sigaltstack);
}

/* What the program believes to have installed for the signals that are ours. */
static struct {
    int sig; /* 0: not taken */
    struct sigaction act;
} hidden[2];                   /* the stop signal, SEEP_SIGNAL */
static uint64_t mask_had_stop; /* bit per signal: its handler's mask, as the program gave it, has the stop signal */

static int stop_signal(void)
{
    return hidden[0].sig;
}

static struct sigaction *hidden_action(int sig)
{
    for (int i = 0; i < 2; i++)
        if (hidden[i].sig == sig && sig != 0) return &hidden[i].act;
    return NULL;
}

static bool is_handler(const struct sigaction *a)
{
    return (a->sa_flags & SA_SIGINFO) || (a->sa_handler != SIG_DFL && a->sa_handler != SIG_IGN);
}

const sigset_t *signals_filter(const sigset_t *set, sigset_t *copy)
{
    int stop = stop_signal();
    if (!set || stop == 0 || sigismember(set, stop) != 1) return set;
    *copy = *set;
    sigdelset(copy, stop);
    return copy;
}

/* ---- Dispositions */

/* Installs ours through libc, which knows the restorer; returns what was there before. */
static int install(int sig, void (*fn)(int, siginfo_t *, void *), struct sigaction *old)
{
    struct sigaction act;
    memset(&act, 0, sizeof act);
    act.sa_sigaction = fn;
    act.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    sigfillset(&act.sa_mask);
    FIND(sigaction);
    return next_sigaction(sig, &act, old);
}

SEEP_EXPORT int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
    FIND(sigaction);
    struct sigaction *mine = hidden_action(sig);
    if (unlikely(mine)) {
        struct sigaction before = *mine;
        if (act && process_is_known()) {
            *mine = *act;
            if (sig != stop_signal() && is_handler(act)) { /* SEEP_SIGNAL is the program's from now on */
                hidden[1].sig = 0;
                if (next_sigaction(sig, act, NULL) != 0) return -1;
            } else if (sig == stop_signal() && is_handler(act)) {
                log_verbose(1,
                            "signal %d stops threads for snapshots: the program's handler for it may not run "
                            "as it expects; choose another by SEEP_STOP_SIGNAL",
                            sig);
            }
        }
        if (old) *old = before;
        return 0;
    }
    struct sigaction copy;
    bool had = false;
    if (act && stop_signal() && sigismember(&act->sa_mask, stop_signal()) == 1) {
        copy = *act;
        sigdelset(&copy.sa_mask, stop_signal());
        act = &copy;
        had = true;
    }
    int rc = next_sigaction(sig, act, old);
    if (rc == 0 && sig > 0 && sig <= 64) {
        uint64_t bit = 1ull << (sig - 1);
        if (old && (__atomic_load_n(&mask_had_stop, __ATOMIC_RELAXED) & bit)) sigaddset(&old->sa_mask, stop_signal());
        if (act && had) __atomic_or_fetch(&mask_had_stop, bit, __ATOMIC_RELAXED);
        if (act && !had && mask_had_stop) __atomic_and_fetch(&mask_had_stop, ~bit, __ATOMIC_RELAXED);
    }
    return rc;
}

/* signal() and kin on one of our signals. */
static handler_fn *hidden_signal(int sig, handler_fn *fn, int flags)
{
    struct sigaction act, old;
    memset(&act, 0, sizeof act);
    act.sa_handler = fn;
    act.sa_flags = flags;
    if (sigaction(sig, &act, &old) != 0) return SIG_ERR;
    return old.sa_handler;
}

SEEP_EXPORT handler_fn *signal(int sig, handler_fn *fn)
{
    FIND(signal);
    if (unlikely(hidden_action(sig) != NULL)) return hidden_signal(sig, fn, SA_RESTART);
    return next_signal(sig, fn);
}

SEEP_EXPORT handler_fn *bsd_signal(int sig, handler_fn *fn);
SEEP_EXPORT handler_fn *bsd_signal(int sig, handler_fn *fn)
{
    return signal(sig, fn);
}

SEEP_EXPORT handler_fn *sysv_signal(int sig, handler_fn *fn)
{
    FIND(sysv_signal);
    if (unlikely(hidden_action(sig) != NULL)) return hidden_signal(sig, fn, (int)(SA_RESETHAND | SA_NODEFER));
    return next_sysv_signal(sig, fn);
}

SEEP_EXPORT handler_fn *__sysv_signal(int sig, handler_fn *fn);
SEEP_EXPORT handler_fn *__sysv_signal(int sig, handler_fn *fn)
{
    return sysv_signal(sig, fn);
}

SEEP_EXPORT int siginterrupt(int sig, int on)
{
    FIND(siginterrupt);
    return unlikely(hidden_action(sig) != NULL) ? 0 : next_siginterrupt(sig, on);
}

/* ---- Masks */

typedef int mask_fn(int, const sigset_t *, sigset_t *);

static int change_mask(mask_fn *next, int how, const sigset_t *set, sigset_t *old)
{
    int stop = stop_signal();
    sigset_t copy;
    struct thread *t = agent_tls.thread;
    bool was = t && t->stop_blocked;
    bool named = set && stop && sigismember(set, stop) == 1;
    const sigset_t *use = named && how != SIG_UNBLOCK ? signals_filter(set, &copy) : set;
    int rc = next(how, use, old);
    if (rc != 0) return rc;
    if (old && was) sigaddset(old, stop);
    if (set && t && (named || how == SIG_SETMASK)) t->stop_blocked = named && how != SIG_UNBLOCK;
    return 0;
}

SEEP_EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    FIND(sigprocmask);
    return change_mask(next_sigprocmask, how, set, old);
}

SEEP_EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    FIND(pthread_sigmask);
    return change_mask(next_pthread_sigmask, how, set, old);
}

/* System V's forms. */
static int hold(int sig, int how)
{
    sigset_t set;
    sigemptyset(&set);
    if (sigaddset(&set, sig) != 0) return -1;
    return sigprocmask(how, &set, NULL);
}

SEEP_EXPORT int sighold(int sig)
{
    FIND(sighold);
    return unlikely(hidden_action(sig) != NULL) ? hold(sig, SIG_BLOCK) : next_sighold(sig);
}

SEEP_EXPORT int sigignore(int sig)
{
    FIND(sigignore);
    if (unlikely(hidden_action(sig) != NULL)) return hidden_signal(sig, SIG_IGN, 0) == SIG_ERR ? -1 : 0;
    return next_sigignore(sig);
}

SEEP_EXPORT handler_fn *sigset(int sig, handler_fn *fn)
{
    FIND(sigset);
    struct sigaction *mine = hidden_action(sig);
    if (likely(!mine)) return next_sigset(sig, fn);
    if (fn == SIG_HOLD) {
        handler_fn *before = mine->sa_handler;
        return hold(sig, SIG_BLOCK) != 0 ? SIG_ERR : before;
    }
    (void)hold(sig, SIG_UNBLOCK);
    return hidden_signal(sig, fn, 0);
}

/* ---- Waiting for signals. sigsuspend, sigwaitinfo and sigtimedwait are in eintr.c. */

SEEP_EXPORT int sigwait(const sigset_t *set, int *sig)
{
    sigset_t copy;
    FIND(sigwait);
    agent_thread_poll(true);
    return next_sigwait(signals_filter(set, &copy), sig);
}

SEEP_EXPORT int signalfd(int fd, const sigset_t *set, int flags)
{
    sigset_t copy;
    FIND(signalfd);
    return next_signalfd(fd, signals_filter(set, &copy), flags);
}

/* ---- Alternate stack */

SEEP_EXPORT int sigaltstack(const stack_t *set, stack_t *old)
{
    FIND(sigaltstack);
    struct thread *t = agent_tls.thread;
    stack_t before;
    int rc = next_sigaltstack(set, &before);
    if (rc != 0) return rc;
    bool ours = t && t->altstack && before.ss_sp == t->altstack;
    if (ours && !(before.ss_flags & SS_ONSTACK)) before = (stack_t){.ss_flags = SS_DISABLE};
    if (set && (set->ss_flags & SS_DISABLE) && t && t->altstack) {
        stack_t again = {.ss_sp = t->altstack, .ss_size = THREAD_ALTSTACK_BYTES};
        next_sigaltstack(&again, NULL);
    }
    if (old) *old = before;
    return 0;
}

/* ---- Ours */

void signals_forward_stop(int sig, siginfo_t *info, void *uctx)
{
    const struct sigaction *a = hidden_action(sig);
    if (!a || !is_handler(a)) return;
    if (a->sa_flags & SA_SIGINFO)
        a->sa_sigaction(sig, info, uctx);
    else
        a->sa_handler(sig);
}

void signals_init(void)
{
    signals_resolve();
    int sig = (int)agent_options.stop_signal;
    if (install(sig, stop_handler, &hidden[0].act) != 0) {
        log_line("signal %d can't be caught: no snapshots", sig);
        return;
    }
    hidden[0].sig = sig;
    uint64_t bit = 1ull << (sig - 1); /* blocked since before exec, perhaps */
    raw_sigmask(SIG_UNBLOCK, &bit, NULL);
}

static void trigger_handler(int sig, siginfo_t *info, void *uctx)
{
    (void)sig;
    (void)info;
    if (!process_is_known()) return;
    stop_note_interrupted(uctx);
    snapshot_post(TRIGGER_SIGNAL);
}

void signals_trigger_init(void)
{
    int sig = (int)agent_options.signal;
    struct sigaction old;
    FIND(sigaction);
    if (sig == stop_signal() || next_sigaction(sig, NULL, &old) != 0) {
        log_line("SEEP_SIGNAL: signal %d can't be used", sig);
        return;
    }
    if (is_handler(&old)) return; /* a library's constructor was here first */
    if (install(sig, trigger_handler, &old) != 0) {
        log_line("SEEP_SIGNAL: signal %d can't be caught", sig);
        return;
    }
    hidden[1].act = old;
    hidden[1].sig = sig;
}
