/* SPDX-License-Identifier: Apache-2.0
 *
 * What the corpus programs share. A case is a function that starts coroutines on objects of its own and ends; in its leak form some of them
 * then wait for ever, in its fixed form all of them end. `PROGRAM leak|fixed [CASE]` runs all cases or one; `PROGRAM twice TIMES [CASE]`
 * the leak form of each TIMES times, with two snapshots, and says how many coroutines are left of how many; `PROGRAM list` prints what a
 * leak check should find: case, function, wait reason, rules (any of), number.
 *
 * In the fixed form the objects are noted and freed when every coroutine has ended. In the leak form nothing but the stuck
 * coroutines may know them. step() and after() force the schedule that a case needs. */
#ifndef CORPUS_H
#define CORPUS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coro.h"
#include "seep.h"

#define MS 1000000ull

struct k { /* the objects of a case */
    bool fixed;
    int step;
    co_chan *a, *b, *c;
    co_mutex m, n;
    co_rwmutex rw;
    co_waitgroup wg;
    co_cond cond;
    co_ctx *ctx;
};

struct expected { /* alternatives separated by |: a ring of lock owners is one finding, at the place of one of them */
    const char *function, *reason, *rules;
    int count;
};
struct corpus_case {
    const char *name;
    void (*run)(struct k *k);
    struct expected expected[4];
};

static bool fixed_form;
static struct {
    void *p;
    void (*drop)(void *);
} noted[4096];
static unsigned nnoted;

static void *note(void *p, void (*drop)(void *))
{
    if (!p) abort();
    if (!fixed_form) return p;
    unsigned i = __atomic_fetch_add(&nnoted, 1, __ATOMIC_RELAXED);
    if (i >= sizeof noted / sizeof *noted) abort();
    noted[i].p = p;
    noted[i].drop = drop;
    return p;
}
static inline void drop_chan(void *p)
{
    co_chan_free(p);
}
static inline void drop_ctx(void *p)
{
    co_ctx_free(p);
}
static inline void drop_ticker(void *p)
{
    co_ticker_free(p);
}
static inline co_chan *chan(size_t cap)
{
    return note(co_make(int, cap), drop_chan);
}
static inline co_chan *after_ns(uint64_t ns)
{
    return note(co_after(ns), drop_chan);
}
static inline co_ctx *cancelable(void)
{
    return note(co_with_cancel(co_background()), drop_ctx);
}
/* Macros, so that the case's own function is the one that waits. */
#define put(ch) co_send((ch), &(int){1})
#define get(ch) co_recv((ch), NULL)

/* The schedule: step() counts, after(k, n) waits until n steps were taken. settle(): who is about to wait, waits. */
static inline void step(struct k *k)
{
    __atomic_fetch_add(&k->step, 1, __ATOMIC_ACQ_REL);
}
static inline void after(struct k *k, int n)
{
    while (__atomic_load_n(&k->step, __ATOMIC_ACQUIRE) < n) co_sleep_ns(100000);
}
static inline void settle(void)
{
    co_sleep_ns(3 * MS);
}
#define GO(fn) co_go((co_fn *)(void (*)(void *))(fn), k) /* of a function that takes a struct k * */

static unsigned nrun;
static void start_case(void *arg)
{
    const struct corpus_case *c = arg;
    struct k *k = note(calloc(1, sizeof *k), free);
    k->fixed = fixed_form;
    c->run(k);
    __atomic_fetch_add(&nrun, 1, __ATOMIC_RELEASE);
}

static int list(const struct corpus_case *cases, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        for (const struct expected *e = cases[i].expected; e->function; e++)
            printf("%s\t%s\t%s\t%s\t%d\n", cases[i].name, e->function, e->reason, e->rules, e->count);
    return 0;
}

static int corpus_main(int argc, char **argv, const struct corpus_case *cases, unsigned n)
{
    const char *form = argc > 1 ? argv[1] : "leak";
    if (strcmp(form, "list") == 0) return list(cases, n);
    fixed_form = strcmp(form, "fixed") == 0;
    bool twice = strcmp(form, "twice") == 0 && argc > 2;
    int times = twice ? atoi(argv[2]) : 1;
    const char *only = twice ? argv[3] : argv[1] ? argv[2] : NULL; /* argv ends with NULL */
    uint64_t left = 1;                                             /* coroutines at the end */
    unsigned all = 0;
    for (unsigned i = 0; i < n * (unsigned)times; i++) {
        const struct corpus_case *c = &cases[i % n];
        if (only && *only && strcmp(only, c->name) != 0) continue;
        co_go(start_case, (void *)(uintptr_t)c);
        all++;
        for (const struct expected *e = c->expected; e->function && !fixed_form; e++) left += (unsigned)e->count;
    }
    for (int ms = 0; ms < 5000 && (__atomic_load_n(&nrun, __ATOMIC_ACQUIRE) < all || co_count() > left); ms++)
        co_sleep_ns(MS);
    if (!fixed_form) { /* the last ones are on their way to where they wait */
        co_sleep_ns(60 * MS);
        if (!twice) return 0;
        printf("left %llu of %llu\n", (unsigned long long)co_count() - 1, (unsigned long long)left - 1);
        fflush(stdout);
        if (seep_snapshot("first") || seep_snapshot("second")) return 3;
        _exit(0);
    }
    if (co_count() > 1) {
        fprintf(stderr, "a fixed form does not end\n");
        co_dump(2);
        return 9;
    }
    for (unsigned i = 0; i < nnoted; i++) noted[i].drop(noted[i].p);
    return 0;
}
#define CORPUS_MAIN(cases)                                                      \
    int main(int argc, char **argv)                                             \
    {                                                                           \
        return corpus_main(argc, argv, cases, sizeof(cases) / sizeof *(cases)); \
    }

#endif
