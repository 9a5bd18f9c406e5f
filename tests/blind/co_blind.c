/* SPDX-License-Identifier: Apache-2.0
 *
 * What no proof can see, one kind a mode: coroutines that will never end although something alive still knows what they wait for, or the
 * clock wakes them for ever. They accumulate as in a server that leaks one a request: ten, then thirty, then N, with a snapshot after
 * each step. `co_blind list` prints mode, rule, function; `co_blind MODE [COUNT]` runs one.
 *
 * Those that spin, and the tickers that nobody reads, are there from the beginning. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "coro.h"
#include "seep.h"

enum { N = 50, STEP_MS = 150 };
#define MS   1000000ull
#define HOUR 3600000000000ull

/* ---- reachable from globals */
static co_chan *global_chan;
static void on_global_chan(void *p)
{
    int v = 1;
    (void)p;
    co_send(global_chan, &v);
}
static void go_global_chan(int i)
{
    (void)i;
    if (!global_chan) global_chan = co_make(int, 0);
    co_go(on_global_chan, NULL);
}

static struct session {
    struct session *next;
    unsigned key;
    co_chan *events;
} * sessions[16];
static void on_map_entry(void *p)
{
    struct session *s = p;
    co_recv(s->events, NULL);
}
static void go_global_map(int i)
{
    struct session *s = calloc(1, sizeof *s);
    s->key = (unsigned)i * 2654435761u;
    s->events = co_make(int, 0);
    s->next = sessions[s->key % 16];
    sessions[s->key % 16] = s;
    co_go(on_map_entry, s);
}

static struct request {
    struct request *next;
    co_mutex m;
    co_cond done;
    bool is_done;
} * requests;
static void on_list_entry(void *p)
{
    struct request *r = p;
    co_mutex_lock(&r->m);
    while (!r->is_done) co_cond_wait(&r->done, &r->m);
    co_mutex_unlock(&r->m);
}
static void go_global_list(int i)
{
    struct request *r = calloc(1, sizeof *r);
    (void)i;
    r->next = requests;
    requests = r;
    co_go(on_list_entry, r);
}

static co_mutex global_lock;
static void on_global_lock(void *p)
{
    (void)p;
    co_mutex_lock(&global_lock);
    co_mutex_unlock(&global_lock);
}
static void forgets_unlock(void *p)
{
    (void)p;
    co_mutex_lock(&global_lock);
}
static void go_global_lock(int i)
{
    if (i == 0) {
        co_go(forgets_unlock, NULL);
        co_sleep_ns(2 * MS);
    }
    co_go(on_global_lock, NULL);
}

static co_waitgroup global_wg;
static void on_global_wg(void *p)
{
    (void)p;
    co_wg_wait(&global_wg);
}
static void go_global_wg(int i)
{
    if (i == 0) co_wg_add(&global_wg, 1);
    co_go(on_global_wg, NULL);
}

/* ---- a live stack: main's */
static void on_live_stack(void *ch)
{
    co_recv(ch, NULL);
}

/* ---- the clock */
static void by_ticker(void *p)
{
    uint64_t now;
    (void)p;
    co_ticker *t = co_ticker_new(5 * MS);
    for (;;) co_recv(co_ticker_chan(t), &now);
}
static void go_ticker_loop(int i)
{
    (void)i;
    co_go(by_ticker, NULL);
}
static void by_after(void *p)
{
    (void)p;
    for (;;) {
        co_chan *after = co_after(5 * MS);
        co_recv(after, NULL);
        co_chan_free(after);
    }
}
static void go_after_loop(int i)
{
    (void)i;
    co_go(by_after, NULL);
}
static void by_sleep(void *p)
{
    (void)p;
    for (;;) co_sleep_ns(5 * MS);
}
static void go_sleep_loop(int i)
{
    (void)i;
    co_go(by_sleep, NULL);
}
static void by_select(void *p)
{
    uint64_t now;
    (void)p;
    co_ticker *t = co_ticker_new(5 * MS);
    for (;;) {
        struct co_case c[] = {{.ch = global_chan, .kind = CO_RECV},
                              {.ch = co_ticker_chan(t), .kind = CO_RECV, .elem = &now}};
        if (co_select(c, 2) == 0) return;
    }
}
static void go_select_ticker(int i)
{
    (void)i;
    if (!global_chan) global_chan = co_make(int, 0);
    co_go(by_select, NULL);
}
static void by_far_timeout(void *p)
{
    struct co_case c[] = {{.ch = p, .kind = CO_RECV}, {.ch = co_after(24 * HOUR), .kind = CO_RECV}};
    co_select(c, 2);
}
static void go_far_timeout(int i)
{
    (void)i;
    co_go(by_far_timeout, co_make(int, 0));
}
static void by_long_sleep(void *p)
{
    (void)p;
    co_sleep_ns(24 * HOUR);
}
static void go_long_sleep(int i)
{
    (void)i;
    co_go(by_long_sleep, NULL);
}

/* ---- children of a live context */
static co_ctx *server_ctx;
static void on_context(void *p)
{
    co_recv(co_ctx_done(p), NULL);
}
static void go_live_context(int i)
{
    if (i == 0) server_ctx = co_with_cancel(co_background());
    co_go(on_context, co_with_cancel(server_ctx));
}

/* ---- descriptors */
static void on_accept(void *p)
{
    co_accept((int)(intptr_t)p, NULL, NULL);
}
static void go_accept(int i)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "seep-blind-%d-%d", getpid(), i);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 1)) abort();
    co_go(on_accept, (void *)(intptr_t)fd);
}
static void on_pipe(void *p)
{
    char c;
    co_read((int)(intptr_t)p, &c, 1);
}
static void go_pipe(int i)
{
    int fd[2];
    (void)i;
    if (pipe(fd)) abort();
    co_go(on_pipe, (void *)(intptr_t)fd[0]);
}

/* ---- processors */
static volatile bool never;
static void spins(void *p)
{
    (void)p;
    while (!never) {}
}
static void go_spin(int i)
{
    (void)i;
    co_go(spins, NULL);
}

/* ---- ticks that nobody takes */
static co_ticker *undrained[N];
__attribute__((noinline)) static void starts_ticker(int i)
{
    undrained[i] = co_ticker_new(MS);
}

/* ---- Nothing wrong with these: a pool that has nothing to do, one that lives by the clock, requests that come and go. */
static void go_pool(int i)
{
    if (!global_chan) global_chan = co_make(int, 0);
    if (i < 8) co_go(on_global_chan, NULL);
}
static void go_clock_pool(int i)
{
    if (i < 8) co_go(by_ticker, NULL);
}
static void one_request(void *p)
{
    (void)p;
    co_sleep_ns(STEP_MS * MS + STEP_MS * MS / 2);
}
static void go_requests(int i)
{
    (void)i;
    co_go(one_request, NULL);
}
/* All of them wait at one place, and each is woken now and then. */
static void one_connection(void *p)
{
    for (;;) co_recv(p, NULL);
}
static void wakes_all(void *p)
{
    (void)p;
    for (;; co_sleep_ns(MS))
        for (unsigned i = 0; i < 16; i++)
            for (struct session *s = sessions[i]; s; s = s->next) co_try_send(s->events, &(int){1});
}
static void go_connections(int i)
{
    struct session *s = calloc(1, sizeof *s);
    if (i == 0) co_go(wakes_all, NULL);
    s->events = co_make(int, 0);
    s->next = sessions[0];
    co_go(one_connection, s->events);
    sessions[0] = s;
}

static const struct mode {
    const char *name;
    void (*go)(int i);
    const char *rule, *function;
    bool at_once;
} modes[] = {
    {"global-chan", go_global_chan, "stuck-task", "on_global_chan", false},
    {"global-map", go_global_map, "stuck-task", "on_map_entry", false},
    {"global-list", go_global_list, "stuck-task", "on_list_entry", false},
    {"global-lock", go_global_lock, "stuck-task", "on_global_lock", false},
    {"global-waitgroup", go_global_wg, "stuck-task", "on_global_wg", false},
    {"live-stack", NULL, "stuck-task", "on_live_stack", false},
    {"live-context", go_live_context, "stuck-task", "on_context", false},
    {"ticker-loop", go_ticker_loop, "growing-site", "go_ticker_loop", false},
    {"after-loop", go_after_loop, "growing-site", "go_after_loop", false},
    {"sleep-loop", go_sleep_loop, "growing-site", "go_sleep_loop", false},
    {"select-ticker", go_select_ticker, "growing-site", "go_select_ticker", false},
    {"far-timeout", go_far_timeout, "stuck-task", "by_far_timeout", false},
    {"long-sleep", go_long_sleep, "stuck-task", "by_long_sleep", false},
    {"accept", go_accept, "stuck-task", "on_accept", false},
    {"pipe", go_pipe, "stuck-task", "on_pipe", false},
    {"spin", go_spin, "spinning-task", "spins", true},
    {"undrained-ticker", starts_ticker, "undrained-ticker", "starts_ticker", true},
    {"idle-pool", go_pool, "none", "-", false},
    {"clock-pool", go_clock_pool, "none", "-", false},
    {"requests", go_requests, "none", "-", false},
    {"connections", go_connections, "none", "-", false},
};
enum { MODES = sizeof modes / sizeof *modes };

int main(int argc, char **argv)
{
    int n = argc > 2 ? atoi(argv[2]) : N, until[] = {n / 5, n * 3 / 5, n};
    const struct mode *m = NULL;
    co_chan *held[N] = {NULL};
    for (int k = 0; k < MODES; k++) {
        if (argc > 1 && strcmp(argv[1], "list") == 0)
            printf("%s\t%s\t%s\n", modes[k].name, modes[k].rule, modes[k].function);
        if (argc > 1 && strcmp(argv[1], modes[k].name) == 0) m = &modes[k];
    }
    if (n < 1 || n > N) return 2;
    if (!m) return argc > 1 && strcmp(argv[1], "list") == 0 ? 0 : 2;
    for (int step = 0, i = 0; step < 3; step++) {
        for (; i < (m->at_once ? n : until[step]); i++) {
            if (m->go)
                m->go(i);
            else
                co_go(on_live_stack, held[i] = co_make(int, 0));
        }
        co_sleep_ns(STEP_MS * MS);
        for (int k = 0; k < n && m->go == starts_ticker;
             k++) /* on a busy machine ticks come late, and several as one */
            while (co_ticker_dropped(undrained[k]) <= 100) co_sleep_ns(MS);
        if (seep_snapshot(m->name)) return 3;
    }
    _exit(!m->go && !held[0]); /* main's stack is alive until here */
}
