/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels and select in many orders, against a sequential model.
 *
 * A program is some coroutines with a few operations each, made from a seed. It runs under CORO_SEED's drawn order, so each
 * operation is one step of the whole and the order of steps is a second seed. The model (Go's specification, "Send statements",
 * "Receive operator", "Select statements"; waiters are served first in, first out) is told when an operation begins and when it
 * is over, and knows: whether it may go on at once, which cases are ready, what it gets; who is woken with what; who is stuck in
 * the end. A program that fails is made smaller while it fails in any of some orders, and told with its seed. That this finds
 * faults is shown on a model that serves the waiters last in, first out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "coro/include/coro.h"
#include "coro/runq.h"
#include "tests/unit/coro_test.h"

enum { CHANS = 3, TASKS = 5, OPS = 5, CASES = 3, MAX_CAP = 2, NONE = -1 };

/* ---- programs */

struct op {
    int n;         /* cases; 0: yield */
    bool nonblock; /* with a default case */
    struct {
        int ch;
        bool send;
    } c[CASES];
};
struct program {
    int ntasks, nops[TASKS], cap[CHANS];
    struct op op[TASKS][OPS];
};

static uint64_t rng_state;
static int rng(int below)
{
    rng_state = rng_state * 6364136223846793005ull + 1442695040888963407ull;
    return (int)((rng_state >> 33) % (unsigned)below);
}

static void make_program(struct program *p, uint64_t seed)
{
    rng_state = seed;
    *p = (struct program){.ntasks = 2 + rng(TASKS - 1)};
    for (int c = 0; c < CHANS; c++) p->cap[c] = rng(MAX_CAP + 1);
    for (int t = 0; t < p->ntasks; t++) {
        p->nops[t] = 1 + rng(OPS);
        for (int i = 0; i < p->nops[t]; i++) {
            struct op *o = &p->op[t][i];
            int kind = rng(8);
            o->n = kind == 0 ? 0 : kind < 5 ? 1 : 2 + rng(CASES - 1);
            o->nonblock = rng(6) == 0;
            for (int k = 0; k < o->n; k++) o->c[k].ch = rng(CHANS), o->c[k].send = rng(2);
        }
    }
}

static void print_program(const struct program *p, uint64_t order)
{
    print_message("CORO_SEED=%llu, channels of %d %d %d\n", (unsigned long long)order, p->cap[0], p->cap[1], p->cap[2]);
    for (int t = 0; t < p->ntasks; t++) {
        print_message("  coroutine %d:", t);
        for (int i = 0; i < p->nops[t]; i++) {
            const struct op *o = &p->op[t][i];
            print_message(o->n == 0 ? " yield" : o->n > 1 ? " select(" : " ");
            for (int k = 0; k < o->n; k++)
                print_message("%s%s %c", k ? ", " : "", o->c[k].send ? "send" : "recv", 'a' + o->c[k].ch);
            print_message("%s%s;", o->nonblock && o->n ? " or not" : "", o->n > 1 ? ")" : "");
        }
        print_message("\n");
    }
}

/* ---- the model. Task TASKS is main. */

enum state { IDLE, AT_ONCE, BLOCKED, WOKEN, ENDED };
struct waiter {
    int task, at;
    long value; /* to send */
};
struct queue {
    struct waiter w[TASKS * CASES];
    int n;
};
static struct {
    bool lifo; /* the planted fault */
    int cap[CHANS], n[CHANS];
    long ring[CHANS][MAX_CAP];
    struct queue recv[CHANS], send[CHANS];
    enum state state[TASKS + 1];
    int ready[TASKS + 1]; /* AT_ONCE: mask of cases that may go */
    int at[TASKS + 1];    /* WOKEN: the case and what it got */
    long got[TASKS + 1];
    int running; /* AT_ONCE: nobody else may do anything before it is over */
    const char *broken;
    uint64_t trace;
} M;

static void broken(const char *why)
{
    if (!M.broken) M.broken = why;
}

static void leave_queues(int task)
{
    for (int c = 0; c < 2 * CHANS; c++) {
        struct queue *q = c < CHANS ? &M.recv[c] : &M.send[c - CHANS];
        int n = 0;
        for (int i = 0; i < q->n; i++)
            if (q->w[i].task != task) q->w[n++] = q->w[i];
        q->n = n;
    }
}

static struct waiter take(struct queue *q)
{
    struct waiter w = q->w[M.lifo ? q->n - 1 : 0];
    leave_queues(w.task);
    M.state[w.task] = WOKEN;
    M.at[w.task] = w.at;
    return w;
}

static bool may_go(int ch, bool send)
{
    return send ? M.recv[ch].n || M.n[ch] < M.cap[ch] : M.send[ch].n || M.n[ch];
}

static void model_begin(int task, const struct op *o, const long *values)
{
    if (M.running != NONE) broken("an operation that could go on was parked");
    if (M.broken) return;
    M.ready[task] = 0;
    for (int k = 0; k < o->n; k++) M.ready[task] |= may_go(o->c[k].ch, o->c[k].send) << k;
    if (M.ready[task] || o->nonblock) {
        M.state[task] = AT_ONCE;
        M.running = task;
        return;
    }
    M.state[task] = BLOCKED;
    for (int k = 0; k < o->n; k++) {
        struct queue *q = o->c[k].send ? &M.send[o->c[k].ch] : &M.recv[o->c[k].ch];
        q->w[q->n++] = (struct waiter){task, k, values[k]};
    }
}

static void go_send(int ch, long value)
{
    if (M.recv[ch].n)
        M.got[take(&M.recv[ch]).task] = value;
    else
        M.ring[ch][M.n[ch]++] = value;
}

static long go_recv(int ch)
{
    if (M.n[ch] == 0) return take(&M.send[ch]).value; /* hand to hand */
    long v = M.ring[ch][0];
    M.n[ch]--;
    memmove(M.ring[ch], M.ring[ch] + 1, sizeof(long) * (MAX_CAP - 1));
    if (M.send[ch].n) M.ring[ch][M.n[ch]++] = take(&M.send[ch]).value;
    return v;
}

static void model_end(int task, const struct op *o, const long *values, int at, long got)
{
    if (M.broken) return; /* the model's books are of no use any more */
    M.trace = (M.trace ^ (uint64_t)(unsigned)(task * 16 + at + 1)) * (uint64_t)0x100000001b3;
    if (M.state[task] == WOKEN) {
        if (M.running != NONE) broken("an operation that could go on was parked");
        if (at != M.at[task]) broken("woken by another case than was served");
        if (at >= 0 && !o->c[at].send && got != M.got[task]) broken("woken with another value than was sent");
    } else if (M.state[task] == AT_ONCE) {
        M.running = NONE;
        if (at < 0) {
            if (M.ready[task]) broken("the default was taken, but a case is ready");
        } else if (!(M.ready[task] >> at & 1)) {
            broken("a case went that is not ready");
        } else if (o->c[at].send) {
            go_send(o->c[at].ch, values[at]);
        } else if (go_recv(o->c[at].ch) != got) {
            broken("received another value than the first");
        }
    } else {
        broken("went on, but nothing woke it");
    }
    M.state[task] = IDLE;
}

/* ---- running a program */

static const struct program *now;
static co_chan *chans[CHANS];
static long next_value;
static int ended;

static int do_op(int task, const struct op *o)
{
    long values[CASES], got = 0;
    struct co_case cases[CASES];
    for (int k = 0; k < o->n; k++) {
        values[k] = ++next_value;
        cases[k] = (struct co_case){.ch = chans[o->c[k].ch], .kind = o->c[k].send ? CO_SEND : CO_RECV};
        cases[k].elem = o->c[k].send ? &values[k] : &got;
    }
    model_begin(task, o, values);
    int at = 0;
    if (o->nonblock)
        at = o->n > 1       ? (int)co_try_select(cases, (size_t)o->n)
             : o->c[0].send ? (co_try_send(cases[0].ch, &values[0]) ? 0 : NONE)
                            : (co_try_recv(cases[0].ch, &got, &cases[0].ok) ? 0 : NONE);
    else if (o->n > 1)
        at = (int)co_select(cases, (size_t)o->n);
    else if (o->c[0].send)
        co_send(cases[0].ch, &values[0]);
    else
        co_recv(cases[0].ch, &got);
    model_end(task, o, values, at, got);
    return at;
}

static void run_task(void *arg)
{
    int task = (int)(intptr_t)arg;
    for (int i = 0; i < now->nops[task] && !M.broken; i++) {
        const struct op *o = &now->op[task][i];
        if (o->n)
            do_op(task, o);
        else
            co_yield_now();
    }
    M.state[task] = ENDED;
    ended++;
}

static bool others_run(void)
{
    return !runq_empty(context_self()->m->p) || atomic_load(&sched.nglobal);
}

static void let_them_run(void)
{
    while (others_run()) co_yield_now();
    for (int t = 0; t < now->ntasks; t++)
        if (M.state[t] != BLOCKED && M.state[t] != ENDED) broken("parked, but it could go on");
}

/* What is wrong, or NULL. Only on processor one, from main. */
static const char *run_program(const struct program *p, uint64_t order, bool lifo, uint64_t *trace)
{
    now = p;
    memset(&M, 0, sizeof M);
    M.lifo = lifo;
    M.running = NONE;
    next_value = 0;
    ended = 0;
    for (int c = 0; c < CHANS; c++) {
        M.cap[c] = p->cap[c];
        chans[c] = co_make(long, (size_t)p->cap[c]);
    }
    co_yield_now(); /* main is a coroutine now */
    runq_set_seed(order);
    for (int t = 0; t < p->ntasks; t++) co_go(run_task, (void *)(intptr_t)t);
    let_them_run();
    *trace = M.trace;
    for (int round = 0; ended < p->ntasks && !M.broken;
         round++) { /* main frees the stuck ones, by the model's rules too */
        struct op o = {.n = 1, .nonblock = true, .c = {{.ch = round / 2 % CHANS, .send = round % 2}}};
        do_op(TASKS, &o);
        let_them_run();
        if (round > 1000) broken("stuck, but nothing frees it");
    }
    for (int c = 0; c < CHANS && !M.broken; c++) co_chan_free(chans[c]);
    return M.broken;
}

/* ---- exploring and shrinking. Each try is a process: after a failure nothing in it can be relied on. */

static bool fails(const struct program *p, uint64_t first, unsigned orders, bool lifo, uint64_t *which, char *why)
{
    int fd[2];
    struct {
        uint64_t order;
        char why[80];
    } report = {0};
    if (pipe(fd) != 0) fail();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        for (int s = 1; s < 32; s++) signal(s, SIG_DFL); /* not the test framework's */
        alarm(20);
        for (uint64_t o = first; o < first + orders; o++) {
            uint64_t trace;
            const char *said = run_program(p, o, lifo, &trace);
            if (!said) continue;
            report.order = o;
            snprintf(report.why, sizeof report.why, "%s", said);
            if (write(fd[1], &report, sizeof report) != (ssize_t)sizeof report) _exit(2);
            _exit(1);
        }
        _exit(0);
    }
    close(fd[1]);
    bool told = read(fd[0], &report, sizeof report) == (ssize_t)sizeof report;
    close(fd[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    if (status == 0) return false;
    *which = report.order;
    snprintf(why, sizeof report.why, "%s", told ? report.why : "the process died");
    return true;
}

/* Leaves one thing out after the other: a coroutine, an operation, a case. */
static bool smaller(struct program *p, int step)
{
    for (int t = 0; t < p->ntasks; t++, step--) {
        if (step == 0) {
            for (int k = t; k + 1 < p->ntasks; k++) {
                p->nops[k] = p->nops[k + 1];
                memcpy(p->op[k], p->op[k + 1], sizeof p->op[k]);
            }
            p->ntasks--;
            return true;
        }
    }
    for (int t = 0; t < p->ntasks; t++)
        for (int i = 0; i < p->nops[t]; i++, step--)
            if (step == 0) {
                memmove(&p->op[t][i], &p->op[t][i + 1], sizeof(struct op) * (size_t)(p->nops[t] - i - 1));
                p->nops[t]--;
                return true;
            }
    for (int t = 0; t < p->ntasks; t++)
        for (int i = 0; i < p->nops[t]; i++)
            for (int k = 0; p->op[t][i].n > 1 && k < p->op[t][i].n; k++, step--)
                if (step == 0) {
                    struct op *o = &p->op[t][i];
                    memmove(&o->c[k], &o->c[k + 1], sizeof o->c[0] * (size_t)(o->n - k - 1));
                    o->n--;
                    return true;
                }
    return false;
}

static void shrink(struct program *p, bool lifo, uint64_t *order, char *why)
{
    for (int step = 0;;) {
        struct program q = *p;
        if (!smaller(&q, step)) return;
        if (fails(&q, 1, 40, lifo, order, why)) {
            *p = q;
            step = 0;
        } else {
            step++;
        }
    }
}

enum { ORDERS = 60 };

static int explore(int programs, bool lifo, struct program *p)
{
    static char why[80];
    uint64_t order = 0;
    for (int i = 0; i < programs; i++) {
        make_program(p, (uint64_t)i * 77 + 5);
        if (!fails(p, 1, ORDERS, lifo, &order, why)) continue;
        shrink(p, lifo, &order, why);
        print_message("%s: %s\n", lifo ? "the planted fault was found" : "BROKEN", why);
        print_program(p, order);
        return i + 1;
    }
    return 0;
}

static int programs(int quick, int full)
{
    return getenv("FULL") ? full : quick;
}

static void test_as_specified(void **state)
{
    (void)state;
    struct program p;
    if (explore(programs(400, 5000), false, &p) != 0) fail_msg("channels are not as specified");
}

static void test_planted_fault_is_found(void **state)
{
    (void)state;
    struct program p;
    if (explore(150, true, &p) == 0) fail_msg("a model that is wrong was not noticed");
    int ops = 0;
    for (int t = 0; t < p.ntasks; t++) ops += p.nops[t];
    if (p.ntasks > 3 || ops > 4) fail_msg("%d coroutines with %d operations: not made smaller", p.ntasks, ops);
}

static void test_seed_decides(void)
{
    struct program p;
    uint64_t first = 0, again = 0, other = 0;
    bool differs = false;
    for (uint64_t i = 1; i < 40; i++) {
        make_program(&p, i);
        assert_true(!run_program(&p, i, false, &first));
        assert_true(!run_program(&p, i, false, &again));
        assert_true(!run_program(&p, i + 1000, false, &other));
        assert_true(first == again);
        differs = differs || first != other;
    }
    assert_true(differs);
}

int main(void)
{
    setenv("CORO_SEED", "1", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_as_specified),
                                       cmocka_unit_test(test_planted_fault_is_found), RUN(test_seed_decides)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
