/* SPDX-License-Identifier: Apache-2.0
 *
 * Contexts: one row for each rule of Go's package context. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "agent/include/seep.h"
#include "coro/include/coro.h"
#include "tests/unit/coro_test.h"

#define MS   1000000ull
#define HOUR 3600000000000ull

static bool done(const co_ctx *c)
{
    return co_try_recv(co_ctx_done(c), NULL, NULL);
}

static bool background(void)
{
    co_ctx *b = co_background();
    return !co_ctx_done(b) && co_ctx_err(b) == 0 && !co_ctx_deadline(b, NULL) && !co_ctx_value(b, &b) &&
           !co_ctx_cause(b);
}
static bool cancel(void)
{
    co_ctx *c = co_with_cancel(co_background());
    bool ok = co_ctx_done(c) && !done(c) && co_ctx_err(c) == 0 && co_ctx_done(c) == co_ctx_done(c);
    co_ctx_cancel(c);
    ok = ok && done(c) && co_ctx_err(c) == -ECANCELED && strcmp(co_ctx_cause(c), "context canceled") == 0;
    co_ctx_cancel(c);
    ok = ok && co_ctx_err(c) == -ECANCELED;
    co_ctx_free(c);
    return ok;
}
static bool cancel_cascades(void)
{
    co_ctx *top = co_with_cancel(co_background()), *value = co_with_value(top, &top, &top);
    co_ctx *a = co_with_cancel(value), *b = co_with_timeout(a, HOUR), *sibling = co_with_cancel(top);
    co_ctx_cancel(a);
    bool ok = done(a) && done(b) && !done(top) && !done(sibling) && !done(value) && co_ctx_err(b) == -ECANCELED;
    co_ctx_cancel(top);
    ok = ok && done(sibling) && done(value) && co_ctx_err(value) == -ECANCELED;
    co_ctx_free(top); /* before its children */
    ok = ok && co_ctx_value(b, &top) == &top;
    co_ctx_free(value);
    co_ctx_free(a);
    co_ctx_free(sibling);
    co_ctx_free(b);
    return ok;
}
static bool child_of_cancelled(void)
{
    co_ctx *top = co_with_cancel(co_background());
    co_ctx_cancel_cause(top, "why");
    co_ctx *c = co_with_timeout(top, HOUR), *v = co_with_value(c, &c, &c);
    bool ok = done(c) && done(v) && strcmp(co_ctx_cause(v), "why") == 0 && co_ctx_err(c) == -ECANCELED;
    co_ctx_free(v);
    co_ctx_free(c);
    co_ctx_free(top);
    return ok;
}
static bool timeout(void)
{
    co_ctx *c = co_with_timeout(co_background(), 3 * MS);
    co_ctx *k = co_with_cancel(c);
    bool ok = co_ctx_deadline(k, NULL) && !co_recv(co_ctx_done(k), NULL) && co_ctx_err(c) == -ETIMEDOUT;
    ok = ok && strcmp(co_ctx_cause(k), "context deadline exceeded") == 0;
    co_ctx_free(c);
    co_ctx_free(k);
    return ok;
}
static bool earlier_deadline_of_parent(void)
{
    uint64_t at = 0;
    co_ctx *p = co_with_deadline(co_background(), HOUR * 1000), *c = co_with_deadline(p, HOUR * 2000);
    bool ok = co_ctx_deadline(c, &at) && at == HOUR * 1000;
    co_ctx *sooner = co_with_deadline(p, HOUR * 500);
    ok = ok && co_ctx_deadline(sooner, &at) && at == HOUR * 500;
    co_ctx_free(sooner);
    co_ctx_free(c);
    co_ctx_free(p);
    return ok;
}
static bool deadline_passed(void)
{
    co_ctx *c = co_with_deadline(co_background(), 1);
    bool ok = done(c) && co_ctx_err(c) == -ETIMEDOUT;
    co_ctx_free(c);
    return ok;
}
static bool first_cause_counts(void)
{
    co_ctx *p = co_with_cancel(co_background()), *c = co_with_cancel(p);
    co_ctx_cancel_cause(c, "first");
    co_ctx_cancel_cause(p, "second");
    bool ok = strcmp(co_ctx_cause(c), "first") == 0 && strcmp(co_ctx_cause(p), "second") == 0;
    co_ctx_free(c);
    co_ctx_free(p);
    return ok;
}
static bool values(void)
{
    static char k1, k2, k3;
    int v1 = 1, v2 = 2, v3 = 3;
    co_ctx *a = co_with_value(co_background(), &k1, &v1), *b = co_with_cancel(a), *c = co_with_value(b, &k2, &v2);
    co_ctx *d = co_with_value(c, &k1, &v3);
    bool ok = co_ctx_value(d, &k1) == &v3 && co_ctx_value(c, &k1) == &v1 && co_ctx_value(d, &k2) == &v2;
    ok = ok && !co_ctx_value(d, &k3) && !co_ctx_value(a, &k2) && !co_ctx_done(a) && co_ctx_done(c) == co_ctx_done(b);
    co_ctx_free(a);
    co_ctx_free(b);
    co_ctx_free(c);
    co_ctx_free(d);
    return ok;
}
static bool without_cancel(void)
{
    co_ctx *a = co_with_cancel(co_background()), *v = co_with_value(a, &a, &v), *w = co_without_cancel(v);
    co_ctx_cancel(a);
    bool ok = !co_ctx_done(w) && co_ctx_err(w) == 0 && co_ctx_value(w, &a) == &v;
    co_ctx_free(w);
    co_ctx_free(v);
    co_ctx_free(a);
    return ok;
}
static uint64_t live(void)
{
    struct seep_memstats s = {.size = sizeof s};
    seep_read_memstats(&s);
    return s.mallocs - s.frees;
}
static bool children_are_released(void)
{
    co_ctx *top = co_with_cancel(co_background());
    for (int round = 0; round < 2; round++) {
        uint64_t before = live();
        for (int i = 0; i < 3000; i++) {
            co_ctx *c = co_with_timeout(top, HOUR), *k = co_with_cancel(c);
            co_ctx_free(i % 2 ? c : k);
            co_ctx_free(i % 2 ? k : c);
        }
        if (round && live() > before + 500) return false;
    }
    co_ctx_free(top);
    return true;
}

static void worker(void *arg)
{
    co_ctx *c = arg;
    struct co_case cases[] = {{.ch = co_ctx_done(c), .kind = CO_RECV}, {.ch = NULL, .kind = CO_RECV}};
    CHECK(co_select(cases, 2) == 0);
    co_ctx_free(c);
}
static void racer(void *arg)
{
    co_waitgroup *wg = arg;
    for (int i = 0; i < 300; i++) {
        co_ctx *top = co_with_timeout(co_background(), (uint64_t)(i % 7) * 5000 + 1);
        for (int k = 0; k < 4; k++) co_go(worker, co_with_timeout(top, (uint64_t)(k + i) % 5 * 4000 + 1));
        if (i % 3 == 0) co_ctx_cancel(top);
        if (i % 5) co_recv(co_ctx_done(top), NULL);
        co_ctx_free(top);
    }
    co_wg_done(wg);
}
static bool race(void)
{
    static co_waitgroup wg;
    co_wg_add(&wg, 6);
    for (int i = 0; i < 6; i++) co_go(racer, &wg);
    co_wg_wait(&wg);
    while (co_count() > 1) co_sleep_ns(100000);
    return true;
}

static const struct rule rows[] = {
    {"Background is never canceled, has no values, and no deadline; Done may be nil", "context.Background", background},
    {"Done is closed by cancel; Err is then Canceled; later calls do nothing", "context.CancelFunc", cancel},
    {"canceling cancels all children, nobody else", "package context", cancel_cascades},
    {"a child of a canceled context is canceled", "context.WithCancel", child_of_cancelled},
    {"a deadline that passes: DeadlineExceeded", "context.WithTimeout", timeout},
    {"the parent's earlier deadline holds", "context.WithDeadline", earlier_deadline_of_parent},
    {"a deadline in the past", "context.WithDeadline", deadline_passed},
    {"the first cause counts", "context.Cause", first_cause_counts},
    {"Value of the nearest context with the key", "context.Context.Value", values},
    {"WithoutCancel keeps values only", "context.WithoutCancel", without_cancel},
    {"canceling releases a child from its parent", "context.WithCancel", children_are_released},
    {"cancel, deadline and free at once", "own", race},
};
static void test_rules(void)
{
    CHECK_RULES(rows);
}

static void nil_parent(void)
{
    co_with_cancel(NULL);
}
static void nil_key(void)
{
    co_with_value(co_background(), NULL, NULL);
}
static void wait_for_background(void)
{
    co_recv(co_ctx_done(co_background()), NULL);
}
static const struct ending ends[] = {
    {nil_parent, 2, "context.go: panics", {"the context is NULL"}},
    {nil_key, 2, "context.go: panics", {"the key is NULL"}},
    {wait_for_background, 2, "a nil channel", {"[chan receive (nil chan)]"}},
};
static void test_ends(void **state)
{
    (void)state;
    CHECK_ENDINGS(ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ends), RUN(test_rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
