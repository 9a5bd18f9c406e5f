/* SPDX-License-Identifier: Apache-2.0
 *
 * Patterns of leaks in services, after Uber's studies of partial deadlocks in Go (Saioc et al., CGO 2024 and ASPLOS 2025): what
 * real programs do wrong again and again. */
#include "tests/corpus/corpus.h"

/* 1. The caller returns early, on an error, and never receives. */
static void answer_premature(struct k *k)
{
    put(k->a);
}
static void premature_return(struct k *k)
{
    k->a = chan(k->fixed ? 1 : 0);
    GO(answer_premature);
}

/* 2. The caller gives up when its deadline passes. */
static void answer_late(struct k *k)
{
    after(k, 1);
    put(k->a);
}
static void timeout_leak(struct k *k)
{
    k->a = chan(k->fixed ? 1 : 0);
    GO(answer_late);
    struct co_case c[] = {{.ch = k->a, .kind = CO_RECV}, {.ch = after_ns(MS), .kind = CO_RECV}};
    co_select(c, 2);
    step(k);
    if (!k->fixed) co_chan_free(c[1].ch);
}

/* 3. Many answer, the first one is taken. */
static void answer_one_of_many(struct k *k)
{
    put(k->a);
}
static void n_cast(struct k *k)
{
    k->a = chan(k->fixed ? 5 : 0);
    for (int i = 0; i < 5; i++) GO(answer_one_of_many);
    get(k->a);
}

/* 4. An error and then the result as well: two sends, one receive. */
static void send_twice(struct k *k)
{
    put(k->a);
    if (!k->fixed) put(k->a);
}
static void double_send(struct k *k)
{
    k->a = chan(0);
    GO(send_twice);
    get(k->a);
}

/* 5. A loop over a channel that nobody closes. */
static void consume_all(struct k *k)
{
    while (co_recv(k->a, NULL)) continue;
}
static void unclosed_range(struct k *k)
{
    k->a = chan(0);
    for (int i = 0; i < 3; i++) GO(consume_all);
    for (int i = 0; i < 6; i++) put(k->a);
    if (k->fixed) co_close(k->a);
}

/* 6. Start without Stop: a worker listens on channels of an object that was dropped. */
static void serve_until_stopped(struct k *k)
{
    for (;;) {
        struct co_case c[] = {{.ch = k->a, .kind = CO_RECV}, {.ch = k->b, .kind = CO_RECV}};
        if (co_select(c, 2) == 1) return;
    }
}
static void contract_violation(struct k *k)
{
    k->a = chan(0);
    k->b = chan(0);
    GO(serve_until_stopped);
    put(k->a);
    if (k->fixed) co_close(k->b);
}

/* 7. A worker waits for the cancel of a context that nobody cancels. */
static void await_cancel(struct k *k)
{
    get(co_ctx_done(k->ctx));
}
static void lost_cancel(struct k *k)
{
    k->ctx = cancelable();
    GO(await_cancel);
    if (k->fixed) co_ctx_cancel(k->ctx);
}

/* 8. Done() of the background context. */
static void await_background(struct k *k)
{
    struct co_case c[] = {{.ch = k->fixed ? k->a : NULL, .kind = CO_RECV},
                          {.ch = co_ctx_done(co_background()), .kind = CO_RECV}};
    co_select(c, 2);
}
static void background_done(struct k *k)
{
    k->a = chan(0);
    GO(await_background);
    co_close(k->a);
    if (!k->fixed) co_chan_free(k->a);
}

/* 9. One of the workers fails before its done. */
static void fails_before_done(struct k *k)
{
    if (k->fixed) co_wg_done(&k->wg);
}
static void await_workers(struct k *k)
{
    co_wg_wait(&k->wg);
}
static void missing_done(struct k *k)
{
    co_wg_add(&k->wg, 2);
    GO(fails_before_done);
    GO(await_workers);
    co_wg_done(&k->wg);
}

/* 10. The consumers of a pipeline leave on the first error; both earlier stages stay. */
static void produce(struct k *k)
{
    for (int i = 0; i < 4; i++) {
        int v = i;
        struct co_case c[] = {{.ch = k->a, .kind = CO_SEND, .elem = &v},
                              {.ch = k->fixed ? k->c : NULL, .kind = CO_RECV}};
        if (co_select(c, 2) == 1) return;
    }
}
static void transform(struct k *k)
{
    for (int i = 0; i < 4; i++) {
        int v = i;
        get(k->a);
        struct co_case c[] = {{.ch = k->b, .kind = CO_SEND, .elem = &v},
                              {.ch = k->fixed ? k->c : NULL, .kind = CO_RECV}};
        if (co_select(c, 2) == 1) return;
    }
}
static void pipeline(struct k *k)
{
    k->a = chan(0);
    k->b = chan(0);
    k->c = chan(0);
    GO(produce);
    GO(transform);
    get(k->b);
    settle();
    if (k->fixed) co_close(k->c);
}

/* 11. A loop over a channel that nobody sends on any more: its only sender had nothing to say. */
static void sends_nothing(struct k *k)
{
    if (k->fixed) co_close(k->a);
}
static void await_first(struct k *k)
{
    while (co_recv(k->a, NULL)) {}
}
static void no_sender(struct k *k)
{
    k->a = chan(0);
    GO(sends_nothing);
    GO(await_first);
}

/* 12. Each of N workers sends an error or a result; the caller leaves at the first error. */
static void work_or_fail(struct k *k)
{
    put(k->a);
}
static void early_return(struct k *k)
{
    k->a = chan(k->fixed ? 3 : 0);
    for (int i = 0; i < 3; i++) GO(work_or_fail);
    for (int i = 0; i < 3; i++) {
        get(k->a);
        if (i == 0) return; /* it was an error */
    }
}

/* 13. A loop over a select, none of whose cases ever ends it. */
static void select_for_ever(struct k *k)
{
    for (;;) {
        struct co_case c[] = {{.ch = k->a, .kind = CO_RECV},
                              {.ch = k->b, .kind = CO_RECV},
                              {.ch = k->fixed ? k->c : NULL, .kind = CO_RECV}};
        if (co_select(c, 3) == 2) return;
    }
}
static void no_exit(struct k *k)
{
    k->a = chan(0);
    k->b = chan(0);
    k->c = chan(0);
    GO(select_for_ever);
    put(k->a);
    put(k->b);
    if (k->fixed) co_close(k->c);
}

static const struct corpus_case cases[] = {
    {"premature-return", premature_return, {{"answer_premature", "chan send", "stuck-send", 1}}},
    {"timeout", timeout_leak, {{"answer_late", "chan send", "stuck-send", 1}}},
    {"n-cast", n_cast, {{"answer_one_of_many", "chan send", "stuck-send", 4}}},
    {"double-send", double_send, {{"send_twice", "chan send", "stuck-send", 1}}},
    {"unclosed-range", unclosed_range, {{"consume_all", "chan receive", "stuck-recv", 3}}},
    {"contract", contract_violation, {{"serve_until_stopped", "select", "stuck-select", 1}}},
    {"lost-cancel", lost_cancel, {{"await_cancel", "chan receive", "stuck-recv", 1}}},
    {"background", background_done, {{"await_background", "select", "stuck-nil-chan|stuck-select", 1}}},
    {"missing-done", missing_done, {{"await_workers", "waitgroup wait", "stuck-wait", 1}}},
    {"pipeline", pipeline, {{"produce", "select", "stuck-select", 1}, {"transform", "select", "stuck-select", 1}}},
    {"no-sender", no_sender, {{"await_first", "chan receive", "stuck-recv", 1}}},
    {"early-return", early_return, {{"work_or_fail", "chan send", "stuck-send", 2}}},
    {"no-exit", no_exit, {{"select_for_ever", "select", "stuck-select", 1}}},
};
CORPUS_MAIN(cases)
