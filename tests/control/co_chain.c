/* SPDX-License-Identifier: Apache-2.0
 *
 * Coroutines that wait, and that nothing may be said of: one on a channel in a global; 300 in a chain, each of which passes on what it
 * receives, the first of whose channels main holds. Eight others check at the same time, and find nothing. With the leak main lets go of
 * the chain, and all of it is stuck. */
#include <stdio.h>
#include <unistd.h>

#include "coro.h"
#include "seep.h"
#include "tests/control/plant.h"

enum { LINKS = 300, CHECKERS = 8 };
static co_chan *global;
static int wrong;

static void on_global(void *arg)
{
    (void)arg;
    co_recv(global, NULL);
}

struct link {
    co_chan *from, *to;
};
static void pass_on(void *arg)
{
    struct link l = *(struct link *)arg;
    int v = 0;
    free(arg);
    co_recv(l.from, &v); /* PLANTED */
    co_send(l.to, &v);
}

static __attribute__((noinline)) co_chan *chain(void)
{
    co_chan *first = co_make(int, 0), *from = first;
    for (int i = 0; i < LINKS; i++) {
        struct link *l = malloc(sizeof *l);
        *l = (struct link){from, co_make(int, 0)};
        from = l->to;
        co_go(pass_on, l); /* CREATED */
    }
    return first;
}

static void checks(void *wg)
{
    static struct seep_check_report r[CHECKERS];
    static int n;
    struct seep_check_report *mine = &r[__atomic_fetch_add(&n, 1, __ATOMIC_RELAXED)];
    if (seep_check(mine) != 0 || mine->total != 0) __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
    co_wg_done(wg);
}

int main(int argc, char **argv)
{
    static co_waitgroup wg;
    global = co_make(int, 0);
    co_go(on_global, NULL);
    co_chan *volatile first = chain();
    co_sleep_ns(20000000);
    co_wg_add(&wg, CHECKERS);
    for (int i = 0; i < CHECKERS; i++) co_go(checks, &wg);
    co_wg_wait(&wg);
    if (wrong) printf("%d of the checks found something\n", wrong);
    if (leaking(argc, argv)) first = NULL;
    scrub();
    co_sleep_ns(20000000);
    if (seep_snapshot("end")) return 3;
    fflush(stdout);
    _exit(wrong || (first && co_len(first)));
}
