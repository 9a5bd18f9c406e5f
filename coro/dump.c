/* SPDX-License-Identifier: Apache-2.0
 *
 * SIGQUIT: all stacks on standard error, then death by SIGQUIT as without us (a core file, where the limits allow one). As in Go, but
 * for the core file.
 *
 * The handler only asks; sysmon writes, since it holds no lock and is interrupted in nothing. Before the first coroutine there is no
 * sysmon, and the handler itself writes. A program with a handler of its own keeps it, installed before or later. */
#include "coro/runtime.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "coro/include/coro.h"

static _Atomic bool asked;

void dump_if_asked(void)
{
    if (likely(!atomic_load_explicit(&asked, memory_order_relaxed)) || !atomic_exchange(&asked, false)) return;
    static const char title[] = "seep: SIGQUIT: all coroutines\n\n";
    os_write(2, title, sizeof title - 1);
    co_dump(2);
    sigset_t quit;
    sigemptyset(&quit);
    sigaddset(&quit, SIGQUIT);
    signal(SIGQUIT, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &quit, NULL);
    raise(SIGQUIT);
}

static void on_quit(int sig)
{
    (void)sig;
    int *e = __errno_location(), saved = *e;
    atomic_store(&asked, true);
    if (!atomic_load(&sched.sysmon_started)) {
        dump_if_asked();
    } else if (__atomic_exchange_n(&sched.sysmon_word, 0, __ATOMIC_ACQ_REL)) {
        os_futex_wake(&sched.sysmon_word, 1);
    }
    *e = saved;
}

void dump_install(void)
{
    struct sigaction old, sa = {.sa_handler = on_quit, .sa_flags = SA_ONSTACK | SA_RESTART};
    sigemptyset(&sa.sa_mask);
    if (sigaction(SIGQUIT, NULL, &old) != 0 || old.sa_flags & SA_SIGINFO || old.sa_handler != SIG_DFL) return;
    sigaction(SIGQUIT, &sa, NULL);
}
