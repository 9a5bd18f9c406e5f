/* SPDX-License-Identifier: Apache-2.0
 *
 * Communication deadlocks after the kernels of GoBench (Yuan et al., CGO 2021): what waits for what, reduced and written
 * anew. Named as there, project and pull request. Contexts, channels, conditions. */
#include "tests/corpus/corpus.h"

/* cockroach10790: the one that collects commands goes on waiting after the context is cancelled. */
static void issue_commands(struct k *k)
{
    int v = 0;
    struct co_case c[] = {{.ch = k->a, .kind = CO_SEND, .elem = &v}, {.ch = co_ctx_done(k->ctx), .kind = CO_RECV}};
    co_select(c, 2);
    step(k);
}
static void collect_commands(struct k *k)
{
    after(k, 1);
    struct co_case c[] = {{.ch = k->a, .kind = CO_RECV},
                          {.ch = k->fixed ? co_ctx_done(k->ctx) : NULL, .kind = CO_RECV}};
    if (k->fixed)
        co_select(c, 2);
    else
        get(k->a);
}
static void cockroach10790(struct k *k)
{
    k->a = chan(0);
    k->ctx = cancelable();
    co_ctx_cancel(k->ctx);
    GO(issue_commands);
    GO(collect_commands);
}

/* cockroach13197, 13755: a transaction and its rows wait for a cancel that only a forgotten close gives. */
static void await_transaction(struct k *k)
{
    get(co_ctx_done(k->ctx));
}
static void cockroach13197(struct k *k)
{
    k->ctx = cancelable();
    GO(await_transaction);
    if (k->fixed) co_ctx_cancel(k->ctx);
}
static void await_rows(struct k *k)
{
    get(co_ctx_done(k->ctx));
    if (co_ctx_err(k->ctx) == 0) abort();
}
static void cockroach13755(struct k *k)
{
    k->ctx = note(co_with_timeout(co_background(), 3600000 * MS), drop_ctx);
    co_ctx_free(k->fixed ? NULL : k->ctx);
    k->ctx = cancelable();
    GO(await_rows);
    if (k->fixed) co_ctx_cancel(k->ctx);
}

/* cockroach18101: the reader of a channel leaves on cancel, its writer does not look. */
static void scatter(struct k *k)
{
    for (int i = 0; i < 3; i++) {
        struct co_case c[] = {{.ch = k->a, .kind = CO_SEND, .elem = &i}, {.ch = co_ctx_done(k->ctx), .kind = CO_RECV}};
        if (k->fixed) {
            if (co_select(c, 2) == 1) return;
        } else {
            co_send(k->a, &i);
        }
    }
}
static void cockroach18101(struct k *k)
{
    k->a = chan(1);
    k->ctx = cancelable();
    GO(scatter);
    get(k->a);
    co_ctx_cancel(k->ctx);
}

/* cockroach25456: a checksum is awaited that nobody computes any more. */
static void check_consistency(struct k *k)
{
    get(k->a);
}
static void cockroach25456(struct k *k)
{
    k->a = chan(0);
    GO(check_consistency);
    if (k->fixed) co_close(k->a);
}

/* cockroach35073: rows pushed at a receiver that is done. */
static void push_row(struct k *k)
{
    if (!k->fixed) {
        put(k->a);
        put(k->a);
    } else {
        co_try_send(k->a, &(int){1});
    }
}
static void push_metadata(struct k *k)
{
    after(k, 1);
    if (k->fixed)
        co_try_send(k->a, &(int){1});
    else
        put(k->a);
}
static void cockroach35073(struct k *k)
{
    k->a = chan(1);
    GO(push_row);
    settle();
    GO(push_metadata);
    step(k);
}

/* cockroach35931: an error is pushed into a full buffer under a lock. */
static void push_error(struct k *k)
{
    co_mutex_lock(&k->m);
    put(k->a);
    co_mutex_unlock(&k->m);
}
static void cockroach35931(struct k *k)
{
    k->a = chan(1);
    put(k->a);
    GO(push_error);
    if (k->fixed) get(k->a);
}

/* grpc1424: the watcher of addresses waits for a close that a failed dial skips. */
static void watch_addresses(struct k *k)
{
    while (co_recv(k->a, NULL)) continue;
}
static void grpc1424(struct k *k)
{
    k->a = chan(1);
    put(k->a);
    GO(watch_addresses);
    co_mutex_lock(&k->m);
    if (k->fixed) co_close(k->a);
    co_mutex_unlock(&k->m);
}

/* istio17860: the exit status of an agent that was aborted is sent to a loop that left. */
static void report_exit(struct k *k)
{
    after(k, 1);
    put(k->a);
}
static void agent_loop(struct k *k)
{
    struct co_case c[] = {{.ch = k->a, .kind = CO_RECV}, {.ch = co_ctx_done(k->ctx), .kind = CO_RECV}};
    co_select(c, 2);
    step(k);
}
static void istio17860(struct k *k)
{
    k->a = chan(k->fixed ? 1 : 0);
    k->ctx = cancelable();
    GO(report_exit);
    GO(agent_loop);
    co_ctx_cancel(k->ctx);
}

/* kubernetes11298: a condition whose signal came first; two receivers behind it. */
static void run_notifier(struct k *k)
{
    co_mutex_lock(&k->m);
    if (!k->fixed || !k->step) co_cond_wait(&k->cond, &k->m);
    co_mutex_unlock(&k->m);
    co_close(k->a);
}
static void await_notice(struct k *k)
{
    get(k->a);
}
static void await_notice_too(struct k *k)
{
    get(k->a);
}
static void kubernetes11298(struct k *k)
{
    k->a = chan(0);
    co_mutex_lock(&k->m);
    k->step = 1;
    co_cond_signal(&k->cond);
    co_mutex_unlock(&k->m);
    GO(run_notifier);
    GO(await_notice);
    GO(await_notice_too);
}

/* kubernetes70277: a poll whose ticker side ends without closing what the waiter reads. */
static void poll_loop(struct k *k)
{
    co_ticker *t = note(co_ticker_new(MS), drop_ticker);
    struct co_case c[] = {{.ch = co_ticker_chan(t), .kind = CO_RECV}, {.ch = k->b, .kind = CO_RECV}};
    while (co_select(c, 2) == 0) co_try_send(k->a, &(int){1});
    if (!k->fixed) co_ticker_free(t);
    if (k->fixed) co_close(k->a);
}
static void await_condition(struct k *k)
{
    while (co_recv(k->a, NULL)) continue;
}
static void kubernetes70277(struct k *k)
{
    k->a = chan(1);
    k->b = chan(0);
    GO(poll_loop);
    GO(await_condition);
    settle();
    co_close(k->b);
}

/* moby21233: progress is sent to a watcher that stopped; the one who waits for its end, too. */
static void send_progress(struct k *k)
{
    put(k->a);
    put(k->a);
    co_close(k->b);
}
static void await_transfer(struct k *k)
{
    struct co_case c[] = {{.ch = k->b, .kind = CO_RECV}, {.ch = NULL, .kind = CO_RECV}};
    co_select(c, 2);
    co_close(k->c);
}
static void await_release(struct k *k)
{
    get(k->c);
}
static void moby21233(struct k *k)
{
    k->a = chan(k->fixed ? 2 : 0);
    k->b = chan(0);
    k->c = chan(0);
    GO(send_progress);
    GO(await_transfer);
    GO(await_release);
    get(k->a);
}

/* moby33781: a health probe answers after its monitor gave up. */
static void probe(struct k *k)
{
    after(k, 1);
    put(k->a);
}
static void moby33781(struct k *k)
{
    k->a = chan(k->fixed ? 1 : 0);
    GO(probe);
    co_ctx *t = note(co_with_timeout(co_background(), MS), drop_ctx);
    struct co_case c[] = {{.ch = k->a, .kind = CO_RECV}, {.ch = co_ctx_done(t), .kind = CO_RECV}};
    co_select(c, 2);
    if (!k->fixed) co_ctx_free(t);
    step(k);
}

static const struct corpus_case cases[] = {
    {"cockroach10790", cockroach10790, {{"collect_commands", "chan receive", "stuck-recv", 1}}},
    {"cockroach13197", cockroach13197, {{"await_transaction", "chan receive", "stuck-recv", 1}}},
    {"cockroach13755", cockroach13755, {{"await_rows", "chan receive", "stuck-recv", 1}}},
    {"cockroach18101", cockroach18101, {{"scatter", "chan send", "stuck-send", 1}}},
    {"cockroach25456", cockroach25456, {{"check_consistency", "chan receive", "stuck-recv", 1}}},
    {"cockroach35073",
     cockroach35073,
     {{"push_row", "chan send", "stuck-send", 1}, {"push_metadata", "chan send", "stuck-send", 1}}},
    {"cockroach35931", cockroach35931, {{"push_error", "chan send", "stuck-send", 1}}},
    {"grpc1424", grpc1424, {{"watch_addresses", "chan receive", "stuck-recv", 1}}},
    {"istio17860", istio17860, {{"report_exit", "chan send", "stuck-send", 1}}},
    {"kubernetes11298",
     kubernetes11298,
     {{"run_notifier", "cond wait", "stuck-cond", 1},
      {"await_notice", "chan receive", "stuck-recv", 1},
      {"await_notice_too", "chan receive", "stuck-recv", 1}}},
    {"kubernetes70277", kubernetes70277, {{"await_condition", "chan receive", "stuck-recv", 1}}},
    {"moby21233",
     moby21233,
     {{"send_progress", "chan send", "stuck-send", 1},
      {"await_transfer", "select", "stuck-select", 1},
      {"await_release", "chan receive", "stuck-recv", 1}}},
    {"moby33781", moby33781, {{"probe", "chan send", "stuck-send", 1}}},
};
CORPUS_MAIN(cases)
