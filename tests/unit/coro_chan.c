/* SPDX-License-Identifier: Apache-2.0
 *
 * Channel semantics, one row for each rule, with the place in the Go specification (go.dev/ref/spec) or in the documentation of the
 * runtime that states it. Rows that end the process run in a forked child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "coro/include/coro.h"
#include "tests/unit/coro_test.h"

static void yields(int n)
{
    while (n--) co_yield_now();
}

struct job {
    co_chan *ch;
    long value;
    bool ok, done;
};
static void send_job(void *p)
{
    struct job *j = p;
    co_send(j->ch, &j->value);
    j->done = true;
}
static void recv_job(void *p)
{
    struct job *j = p;
    j->ok = co_recv(j->ch, &j->value);
    j->done = true;
}
static void wait_done(const struct job *j)
{
    while (!__atomic_load_n(&j->done, __ATOMIC_ACQUIRE)) co_yield_now();
}

/* ---- rules: each returns true when it holds */

static bool unbuffered_meets(void)
{
    struct job j = {.ch = co_make(long, 0), .value = 7};
    long v = 0;
    co_go(send_job, &j);
    yields(100);
    bool early = __atomic_load_n(&j.done, __ATOMIC_ACQUIRE);
    bool ok = co_recv(j.ch, &v);
    wait_done(&j);
    co_chan_free(j.ch);
    return !early && ok && v == 7;
}

static bool buffered_does_not_wait(void)
{
    co_chan *c = co_make(long, 3);
    for (long i = 0; i < 3; i++)
        if (!co_try_send(c, &i)) return false;
    long v = 9;
    bool full = !co_try_send(c, &v) && co_len(c) == 3 && co_cap(c) == 3;
    for (long i = 0; i < 3; i++)
        if (!co_recv(c, &v) || v != i) return false;
    bool empty = !co_try_recv(c, &v, NULL) && co_len(c) == 0;
    co_chan_free(c);
    return full && empty;
}

static bool fifo_with_waiting_senders(void)
{
    co_chan *c = co_make(long, 1);
    struct job j[8];
    for (long i = 0; i < 8; i++) {
        j[i] = (struct job){.ch = c, .value = i};
        co_go(send_job, &j[i]);
        while (i > 0 && co_len(c) == 0) co_yield_now();
        yields(400); /* it is waiting before the next one starts */
    }
    bool order = true;
    for (long i = 0; i < 8; i++) {
        long v = -1;
        co_recv(c, &v);
        order = order && v == i;
    }
    for (int i = 0; i < 8; i++) wait_done(&j[i]);
    co_chan_free(c);
    return order;
}

static bool closed_gives_rest_then_zero(void)
{
    co_chan *c = co_make(long, 2);
    long v = 5;
    co_send(c, &v);
    co_close(c);
    bool first = co_recv(c, &v) && v == 5;
    v = 99;
    bool second = !co_recv(c, &v) && v == 0;
    v = 99;
    bool ok = true;
    bool third = co_try_recv(c, &v, &ok) && !ok && v == 0;
    co_chan_free(c);
    return first && second && third;
}

static bool close_wakes_receivers(void)
{
    co_chan *c = co_make(long, 0);
    struct job j[3];
    for (int i = 0; i < 3; i++) {
        j[i] = (struct job){.ch = c, .value = 77, .ok = true};
        co_go(recv_job, &j[i]);
    }
    yields(1000);
    co_close(c);
    bool ok = true;
    for (int i = 0; i < 3; i++) {
        wait_done(&j[i]);
        ok = ok && !j[i].ok && j[i].value == 0;
    }
    co_chan_free(c);
    return ok;
}

static bool nil_len_cap_try(void)
{
    long v = 0;
    return co_len(NULL) == 0 && co_cap(NULL) == 0 && !co_try_send(NULL, &v) && !co_try_recv(NULL, &v, NULL);
}

static bool large_elements(void)
{
    struct big {
        char bytes[1000];
    } in, out;
    co_chan *c = co_make(struct big, 0);
    co_chan *b = co_make(struct big, 2);
    memset(&in, 'x', sizeof in);
    memset(&out, 0, sizeof out);
    co_send(b, &in);
    bool one = co_recv(b, &out) && memcmp(&in, &out, sizeof in) == 0;
    co_chan_free(b);
    co_chan_free(c);
    return one;
}

struct big_job {
    co_chan *ch;
    char fill;
};
static void send_big(void *p)
{
    struct big_job *j = p;
    char bytes[300];
    memset(bytes, j->fill, sizeof bytes);
    co_send(j->ch, bytes);
}
static bool large_elements_by_hand_off(void)
{
    struct big_job j = {co_chan_make(300, 0), 'q'};
    char out[300] = {0};
    co_go(send_big, &j);
    yields(300);
    bool ok = co_recv(j.ch, out) && out[0] == 'q' && out[299] == 'q';
    co_go(send_big, &j); /* and with the receiver first */
    ok = ok && co_recv(j.ch, out) && out[0] == 'q' && out[299] == 'q';
    co_chan_free(j.ch);
    return ok;
}

static bool empty_elements(void)
{
    co_chan *c = co_chan_make(0, 2);
    co_send(c, NULL);
    bool ok = co_len(c) == 1 && co_recv(c, NULL);
    co_chan_free(c);
    return ok;
}

static bool discarded_value(void)
{
    struct job j = {.ch = co_make(long, 0), .value = 3};
    co_go(send_job, &j);
    bool ok = co_recv(j.ch, NULL);
    wait_done(&j);
    co_chan_free(j.ch);
    return ok;
}

static bool channel_of_channels(void)
{
    co_chan *outer = co_make(co_chan *, 1), *inner = co_make(long, 1), *got = NULL;
    long v = 42;
    co_send(outer, &inner);
    co_recv(outer, &got);
    co_send(got, &v);
    v = 0;
    co_recv(inner, &v);
    co_chan_free(inner);
    co_chan_free(outer);
    return got == inner && v == 42;
}

static bool absurd_sizes(void)
{
    errno = 0;
    bool a = co_chan_make(8, (size_t)1 << 60) == NULL && errno == EINVAL;
    errno = 0;
    bool b = co_chan_make(0, (size_t)1 << 60) == NULL && errno == EINVAL;
    errno = 0;
    bool c = co_chan_make(SIZE_MAX / 2, 2) == NULL && errno == EINVAL;
    return a && b && c;
}

static bool select_takes_the_ready_one(void)
{
    co_chan *a = co_make(long, 1), *b = co_make(long, 1);
    long v = 6, got = 0;
    co_send(b, &v);
    struct co_case cases[] = {{.ch = a, .kind = CO_RECV, .elem = &got}, {.ch = b, .kind = CO_RECV, .elem = &got}};
    size_t i = co_select(cases, 2);
    bool ok = i == 1 && got == 6 && cases[1].ok && co_try_select(cases, 2) == -1;
    co_chan_free(a);
    co_chan_free(b);
    return ok;
}

static bool select_is_woken_and_leaves_no_trace(void)
{
    co_chan *a = co_make(long, 0), *b = co_make(long, 0);
    struct job j = {.ch = b, .value = 8};
    long got = 0, out = 5;
    struct co_case cases[] = {{.ch = a, .kind = CO_SEND, .elem = &out},
                              {.ch = NULL, .kind = CO_RECV},
                              {.ch = b, .kind = CO_RECV, .elem = &got}};
    co_go(send_job, &j);
    size_t i = co_select(cases, 3);
    wait_done(&j);
    long v = 0;
    bool clean = !co_try_recv(a, &v, NULL) && !co_try_send(b, &v);
    co_chan_free(a); /* both would complain about a waiter */
    co_chan_free(b);
    return i == 2 && got == 8 && clean;
}

static bool select_is_fair(void)
{
    co_chan *c[4];
    struct co_case cases[4];
    int n[4] = {0};
    long v = 0;
    for (int i = 0; i < 4; i++) {
        c[i] = co_make(long, 1);
        cases[i] = (struct co_case){.ch = c[i], .kind = CO_RECV, .elem = &v};
        co_send(c[i], &v);
    }
    for (int k = 0; k < 4000; k++) {
        size_t i = co_select(cases, 4);
        n[i]++;
        co_send(c[i], &v);
    }
    bool ok = true;
    for (int i = 0; i < 4; i++) {
        ok = ok && n[i] > 700 && n[i] < 1300; /* 1000 ± 11 standard deviations */
        co_chan_free(c[i]);
    }
    return ok;
}

static bool select_same_channel_twice(void)
{
    struct job j = {.ch = co_make(long, 0), .value = 4};
    long x = 0, y = 0;
    struct co_case cases[] = {{.ch = j.ch, .kind = CO_RECV, .elem = &x}, {.ch = j.ch, .kind = CO_RECV, .elem = &y}};
    co_go(send_job, &j);
    size_t i = co_select(cases, 2);
    wait_done(&j);
    bool ok = (i == 0 ? x : y) == 4;
    co_chan_free(j.ch);
    return ok;
}

static bool select_many_cases(void)
{
    enum { N = 300 };
    static co_chan *c[N];
    static struct co_case cases[N];
    long v = 1, got = 0;
    for (int i = 0; i < N; i++) {
        c[i] = co_make(long, 1);
        cases[i] = (struct co_case){.ch = c[i], .kind = CO_RECV, .elem = &got};
    }
    co_send(c[217], &v);
    size_t first = co_select(cases, N);
    struct job j = {.ch = c[111], .value = 2};
    co_go(send_job, &j);
    size_t second = co_select(cases, N);
    wait_done(&j);
    for (int i = 0; i < N; i++) co_chan_free(c[i]);
    return first == 217 && second == 111 && got == 2;
}

static bool select_sees_close(void)
{
    co_chan *c = co_make(long, 0);
    long v = 9;
    struct co_case one = {.ch = c, .kind = CO_RECV, .elem = &v, .ok = true};
    co_close(c);
    bool ok = co_select(&one, 1) == 0 && !one.ok && v == 0;
    co_chan_free(c);
    return ok;
}

static const struct row {
    const char *rule, *source;
    bool (*holds)(void);
} rows[] = {
    {"unbuffered: communication succeeds only when both are ready", "spec, Channel types", unbuffered_meets},
    {"buffered: no waiting while there is room, or an element", "spec, Channel types", buffered_does_not_wait},
    {"channels are first-in-first-out queues", "spec, Channel types", fifo_with_waiting_senders},
    {"a closed channel gives what was sent, then zero values and false", "spec, Receive operator",
     closed_gives_rest_then_zero},
    {"close wakes all receivers with zero and false", "spec, Close", close_wakes_receivers},
    {"len and cap of nil are 0; nil is never ready", "spec, Length and capacity; Channel types", nil_len_cap_try},
    {"elements of any size are copied", "spec, Channel types", large_elements},
    {"large elements by direct hand-off", "runtime/chan.go", large_elements_by_hand_off},
    {"elements of size 0 count", "spec, Channel types", empty_elements},
    {"a received value may be discarded", "spec, Receive operator", discarded_value},
    {"channels can be sent over channels", "spec, Channel types", channel_of_channels},
    {"sizes out of range are refused", "spec, Making slices, maps and channels", absurd_sizes},
    {"select does a case that can proceed; default when none", "spec, Select statements", select_takes_the_ready_one},
    {"select waits, nil cases never proceed, one case happens", "spec, Select statements",
     select_is_woken_and_leaves_no_trace},
    {"the choice among ready cases is uniform", "spec, Select statements", select_is_fair},
    {"one channel in several cases", "spec, Select statements", select_same_channel_twice},
    {"hundreds of cases", "spec, Select statements", select_many_cases},
    {"select receives from a closed channel at once", "spec, Select statements", select_sees_close},
};

static void test_rules(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].holds()) continue;
        fprintf(stderr, "broken: %s (%s)\n", rows[i].rule, rows[i].source);
        _exit(1);
    }
}

/* ---- what ends the process */

static void send_on_closed(void)
{
    co_chan *c = co_make(int, 1);
    int v = 0;
    co_close(c);
    co_send(c, &v);
}
static void close_soon(void *c)
{
    yields(200);
    co_close(c);
}
static void closed_while_sending(void)
{
    co_chan *c = co_make(int, 0);
    int v = 0;
    co_go(close_soon, c);
    co_send(c, &v);
}
static void close_twice(void)
{
    co_chan *c = co_make(int, 0);
    co_close(c);
    co_close(c);
}
static void close_nil(void)
{
    co_close(NULL);
}
static void select_send_on_closed(void)
{
    co_chan *c = co_make(int, 1);
    int v = 0;
    struct co_case one = {.ch = c, .kind = CO_SEND, .elem = &v};
    co_close(c);
    co_select(&one, 1);
}
static void nil_send(void)
{
    int v = 0;
    co_send(NULL, &v);
}
static void nil_recv(void)
{
    co_recv(NULL, NULL);
}
static void empty_select(void)
{
    co_select(NULL, 0);
}
static void use_after_free(void)
{
    static long fake[32];
    co_recv((co_chan *)(void *)fake, NULL);
}

static const struct fatal {
    const char *says, *source;
    void (*does)(void);
} fatals[] = {
    {"send on closed channel", "spec, Send statements", send_on_closed},
    {"send on closed channel", "spec, Close", closed_while_sending},
    {"close of closed channel", "spec, Close", close_twice},
    {"close of nil channel", "spec, Close", close_nil},
    {"send on closed channel", "spec, Select statements", select_send_on_closed},
    {"[chan send (nil chan)]", "spec, Channel types: a nil channel is never ready", nil_send},
    {"[chan receive (nil chan)]", "spec, Channel types", nil_recv},
    {"[select (no cases)]", "spec, Select statements", empty_select},
    {"is not a channel", "own", use_after_free},
};

static void test_fatal(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof fatals / sizeof *fatals; i++) {
        int fd[2];
        if (pipe(fd) != 0) fail();
        pid_t pid = fork();
        if (pid == 0) {
            dup2(fd[1], 2);
            close(fd[0]);
            close(fd[1]);
            alarm(10);
            fatals[i].does();
            _exit(0);
        }
        close(fd[1]);
        char text[8192];
        size_t n = 0;
        ssize_t r;
        while ((r = read(fd[0], text + n, sizeof text - 1 - n)) > 0) n += (size_t)r;
        text[n] = '\0';
        close(fd[0]);
        int status;
        waitpid(pid, &status, 0);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 2 || !strstr(text, fatals[i].says))
            fail_msg("%s (%s): status 0x%x, said: %s", fatals[i].says, fatals[i].source, (unsigned)status, text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fatal), RUN(test_rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
