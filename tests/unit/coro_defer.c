/* SPDX-License-Identifier: Apache-2.0
 *
 * Deferred calls, panics, recovery, co_exit: one row for each rule, with its source in Go's specification. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coro/include/coro.h"
#include "tests/unit/coro_test.h"

static char log_text[64];
static void log_char(void *c)
{
    size_t n = strlen(log_text);
    log_text[n] = (char)(intptr_t)c;
    log_text[n + 1] = '\0';
}
#define LOG(c)       log_char((void *)(intptr_t)(c))
#define DEFER_LOG(c) co_defer(log_char, (void *)(intptr_t)(c))
static bool logged(const char *want)
{
    bool same = strcmp(log_text, want) == 0;
    if (!same) fprintf(stderr, "logged \"%s\", not \"%s\"\n", log_text, want);
    log_text[0] = '\0';
    return same;
}

static void three(void *arg)
{
    (void)arg;
    DEFER_LOG('1');
    DEFER_LOG('2');
    DEFER_LOG('3');
    LOG('f');
}
static bool newest_first(void)
{
    return co_call(three, NULL) && logged("f321");
}
static void in_coroutine(void *ch)
{
    DEFER_LOG('d');
    co_defer((co_fn *)(void (*)(void *))co_close, ch);
    LOG('c');
}
static bool at_the_end_of_a_coroutine(void)
{
    co_chan *c = co_make(int, 0);
    co_go(in_coroutine, c);
    co_recv(c, NULL);
    yield_times(500);
    co_chan_free(c);
    return logged("cd");
}
static int scoped(bool early)
{
    CO_SCOPE;
    DEFER_LOG('a');
    if (early) return 1;
    {
        CO_SCOPE;
        DEFER_LOG('b');
        LOG('-');
    }
    LOG('+');
    return 2;
}
static bool scopes(void)
{
    return scoped(true) == 1 && logged("a") && scoped(false) == 2 && logged("-b+a");
}
static int the_value;
static void recover_it(void *arg)
{
    const char *text;
    void **got = arg;
    *got = co_recover(&text);
    if (*got && text) LOG(text[0]);
}
static void *recovered;
static void panics(void *arg)
{
    DEFER_LOG('1');
    co_defer(recover_it, &recovered);
    DEFER_LOG('2');
    co_panic(arg, "p%d", 1);
}
static bool recover_ends_the_panic(void)
{
    bool ok = !co_call(panics, &the_value) && recovered == &the_value && logged("2p1");
    ok = ok && !co_call(panics, NULL) && strcmp(recovered, "p1") == 0 && logged("2p1");
    return ok;
}
static void nothing_to_recover(void *arg)
{
    co_defer(recover_it, arg);
}
static bool recover_without_panic(void)
{
    void *got = &the_value;
    return co_recover(NULL) == NULL && co_call(nothing_to_recover, &got) && got == NULL;
}
static void inner_panics(void *arg)
{
    (void)arg;
    DEFER_LOG('i');
    co_panic(NULL, "x");
}
static void outer_recovers(void *arg)
{
    (void)arg;
    DEFER_LOG('o');
    co_defer(recover_it, &recovered);
    co_call(inner_panics, NULL);
    LOG('!'); /* not reached */
}
static bool recovery_returns_to_who_deferred(void)
{
    return !co_call(outer_recovers, NULL) && logged("ixo");
}
static void panics_again(void *arg)
{
    (void)arg;
    co_panic(NULL, "second");
}
static void replaces(void *arg)
{
    (void)arg;
    co_defer(recover_it, &recovered);
    co_defer(panics_again, NULL);
    co_panic(NULL, "first");
}
static bool newest_panic_is_recovered(void)
{
    bool ok = !co_call(replaces, NULL) && strcmp(recovered, "second") == 0 && logged("s");
    return ok && co_recover(NULL) == NULL && co_call(three, NULL) && logged("f321");
}
static void recovers_own(void *arg)
{
    (void)arg;
    void *seen = NULL;
    co_call(panics, &the_value); /* a panic of its own, over within */
    LOG(co_recover(NULL) ? 'Y' : 'N');
    recovered = seen;
}
static void nested(void *arg)
{
    (void)arg;
    co_defer(recovers_own, NULL);
    co_panic(NULL, "outer");
}
static bool panic_within_a_deferred_call(void)
{
    return !co_call(nested, NULL) && logged("2p1Y");
}
static void call_recovers(void *arg)
{
    (void)arg;
    void *got = &the_value;
    co_call(nothing_to_recover, &got); /* not called by the deferred call itself */
    LOG(got ? 'Y' : 'N');
    co_recover(NULL);
}
static void indirect(void *arg)
{
    (void)arg;
    co_defer(call_recovers, NULL);
    co_panic(NULL, "z");
}
static bool recover_only_directly(void)
{
    return !co_call(indirect, NULL) && logged("N");
}

static void panic_in_coroutine(void *ch)
{
    co_defer((co_fn *)(void (*)(void *))co_close, ch);
    co_defer(recover_it, &recovered);
    co_panic(NULL, "c");
}
static bool recovered_coroutine_ends(void)
{
    co_chan *c = co_make(int, 0);
    uint64_t before = co_count();
    co_go(panic_in_coroutine, c);
    co_recv(c, NULL);
    while (co_count() != before) co_yield_now();
    co_chan_free(c);
    return logged("c");
}
static void exits(void *ch)
{
    co_defer((co_fn *)(void (*)(void *))co_close, ch);
    co_defer(recover_it, &recovered);
    DEFER_LOG('e');
    co_exit();
}
static bool exit_runs_deferred(void)
{
    co_chan *c = co_make(int, 0);
    recovered = &the_value;
    co_go(exits, c);
    co_recv(c, NULL);
    yield_times(300);
    co_chan_free(c);
    return recovered == NULL && logged("e");
}
static void exit_in_call(void *arg)
{
    (void)arg;
    co_defer(recover_it, &recovered);
    co_defer(panics_again, NULL);
    co_exit();
}
static void exits_in_call(void *ch)
{
    co_defer((co_fn *)(void (*)(void *))co_close, ch);
    co_call(exit_in_call, NULL);
    LOG('!');
}
static bool exit_goes_on_after_recovery(void)
{
    co_chan *c = co_make(int, 0);
    co_go(exits_in_call, c);
    co_recv(c, NULL);
    yield_times(300);
    co_chan_free(c);
    return logged("s");
}
static void misuse(void *arg)
{
    co_defer(recover_it, &recovered);
    int v = 0;
    if (!arg) co_close(NULL);
    co_send(arg, &v);
}
static void misuse_select(void *arg)
{
    co_defer(recover_it, &recovered);
    int v = 0;
    struct co_case c[] = {{.ch = arg, .kind = CO_SEND, .elem = &v}};
    co_select(c, 1);
}
static bool misuse_is_a_panic(void)
{
    co_chan *c = co_make(int, 0);
    co_close(c);
    bool ok = !co_call(misuse, c) && strstr(recovered, "send on closed channel");
    ok = ok && !co_call(misuse_select, c) && strstr(recovered, "send on closed channel");
    ok = ok && !co_call(misuse, NULL) && strstr(recovered, "close of nil channel");
    co_chan_free(c); /* its lock was released */
    log_text[0] = '\0';
    return ok;
}
static void parks(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) co_sleep_ns(10000);
    LOG('p');
}
static void defers_parking(void *arg)
{
    (void)arg;
    co_defer(recover_it, &recovered);
    co_defer(parks, NULL);
    co_panic(NULL, "q");
}
static bool deferred_calls_may_park(void)
{
    return !co_call(defers_parking, NULL) && logged("pq");
}
static void deep(void *n)
{
    intptr_t k = (intptr_t)n;
    DEFER_LOG('.');
    if (k)
        co_call(deep, (void *)(k - 1));
    else
        co_panic(NULL, "deep");
}
static void deep_in_call(void *arg)
{
    co_defer(recover_it, &recovered);
    deep(arg);
}
static bool many_frames(void)
{
    for (int i = 0; i < 100; i++) {
        bool ok = !co_call(deep_in_call, (void *)20);
        if (!ok || !logged(".....................d")) return false;
    }
    return true;
}

static const struct rule rows[] = {
    {"deferred functions are invoked in the reverse order", "spec, Defer statements", newest_first},
    {"and at the end of a coroutine", "spec, Defer statements", at_the_end_of_a_coroutine},
    {"a scope ends by return or by its brace", "own", scopes},
    {"recover gives the panic's value and stops the panicking sequence", "spec, Handling panics",
     recover_ends_the_panic},
    {"recover is nil when not panicking", "spec, Handling panics", recover_without_panic},
    {"the function that deferred returns normally to its caller", "spec, Handling panics",
     recovery_returns_to_who_deferred},
    {"a panic in a deferred function replaces the first", "runtime/panic.go", newest_panic_is_recovered},
    {"a panic that is over within a deferred function leaves the first alone", "runtime/panic.go",
     panic_within_a_deferred_call},
    {"recover is nil when not called by the deferred function itself", "spec, Handling panics", recover_only_directly},
    {"a coroutine whose panic was recovered ends", "spec, Handling panics", recovered_coroutine_ends},
    {"Goexit runs deferred calls; it is no panic: recover is nil", "runtime.Goexit", exit_runs_deferred},
    {"Goexit goes on after the recovery of a later panic", "runtime/panic.go", exit_goes_on_after_recovery},
    {"send on closed channel, close of nil: run-time panics", "spec, Run-time panics", misuse_is_a_panic},
    {"deferred calls may park", "own", deferred_calls_may_park},
    {"a panic through many frames", "own", many_frames},
};
static void test_rules(void)
{
    CHECK_RULES(rows);
}

static void plain_panic(void)
{
    co_panic(NULL, "number %d", 42);
}
static void on_the_way(void *arg)
{
    (void)arg;
    static const char text[] = "deferred call ran\n";
    if (write(2, text, sizeof text - 1) < 0) _exit(1);
}
static void panic_in_another(void *arg)
{
    co_defer(on_the_way, arg);
    co_panic(arg, "oh");
    __asm__ volatile("");
}
static void unrecovered(void)
{
    co_go_attr(&(struct co_attr){.name = "unlucky"}, panic_in_another, NULL);
    co_sleep_ns(5000000000u);
}
static void twice(void *arg)
{
    (void)arg;
    co_defer(panics_again, NULL);
    co_panic(NULL, "first");
}
static void panic_in_panic(void)
{
    co_call(twice, NULL);
}
static void main_recovers(void)
{
    co_defer(recover_it, &recovered);
    co_panic(NULL, "m");
}
static const struct ending ends[] = {
    {plain_panic, 2, "spec, Handling panics", {"seep: fatal: panic: number 42", "plain_panic+"}},
    {unrecovered, 2, "spec, Handling panics", {"deferred call ran", "panic: oh", "\"unlucky\"", "panic_in_another+"}},
    {panic_in_panic, 2, "runtime/panic.go, printpanics", {"panic: second", "of a panic ran: panic: first"}},
    {main_recovers, 0, "main returns", {NULL}},
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
