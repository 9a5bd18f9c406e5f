/* SPDX-License-Identifier: Apache-2.0
 *
 * Packing: who is packed and who is not, and that nobody notices: resumed, read by others, looked at by snapshots, dumps and forked
 * children. CORO_MAXPROCS=2, so that packed ones are resumed by other threads. */
#pragma GCC optimize("no-optimize-sibling-calls") /* frames are looked for by name */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "agent/snapshot/snapshot.h"
#include "coro/include/coro.h"
#include "coro/pack.h"
#include "coro/stack.h"
#include "tests/unit/coro_test.h"
#include "tests/unit/refuse.h"

static co_chan *gate;
static co_waitgroup done;
static _Atomic int good;
static _Atomic unsigned ready; /* about to park */
static void wait_ready(unsigned n)
{
    while (ready < n) co_yield_now();
    ready = 0;
    co_sleep_ns(2000000);
}

/* Parks with a pattern of n bytes in its frame, and looks whether it is still there. */
static __attribute__((noinline)) void hold(unsigned n, unsigned seed)
{
    volatile unsigned char *p = __builtin_alloca(n);
    for (unsigned i = 0; i < n; i++) p[i] = (unsigned char)(i * 7 + seed);
    ready++;
    co_recv(gate, NULL);
    bool same = true;
    for (unsigned i = 0; i < n; i++) same = same && p[i] == (unsigned char)(i * 7 + seed);
    good += same;
}
static void holder(void *arg)
{
    unsigned n = (unsigned)(uintptr_t)arg;
    hold(n, n / 3);
    co_wg_done(&done);
}
static void start_holders(unsigned n, unsigned bytes, unsigned step)
{
    gate = co_make(int, 0);
    good = 0;
    for (unsigned i = 0; i < n; i++) {
        co_wg_add(&done, 1);
        assert_int_equal(co_go(holder, (void *)(uintptr_t)(bytes + i * step)), 0);
    }
    wait_ready(n);
}
static uint64_t packed(void)
{
    return pack_count;
}
/* A busy machine may be late with the last ones; then words that stand in stale registers may point anywhere: a few are left out. */
static long pack(uint64_t least)
{
    long n = 0;
    for (int i = 0; i < 100; i++) {
        long k = co_pack(0);
        n += k;
        if (k < 0 || packed() >= least) return n;
        co_sleep_ns(5000000);
    }
    return n;
}

static void all_come_back(void)
{
    start_holders(500, 64, 16);
    long n = pack(490);
    assert_true(n >= 490 && n <= 500 && packed() == (uint64_t)n);
    assert_true(pack_bytes > 500 * 64);
    assert_true(co_pack(0) <= 500 - n); /* there already */
    co_close(gate);
    co_wg_wait(&done);
    assert_int_equal(good, 500);
    assert_true(packed() == 0 && pack_bytes == 0);
    start_holders(500, 64, 16); /* the same stacks again, whose blocks are open now */
    assert_true(pack(490) >= 490);
    co_close(gate);
    co_wg_wait(&done);
    assert_int_equal(good, 500);
}

/* Every class of stack below 1 GiB, and depths at both sides of the limit. */
static void sizes(void)
{
    static const size_t limits[] = {64 << 10, 256 << 10, 1 << 20, 8 << 20, 64 << 20};
    gate = co_make(int, 0);
    for (unsigned i = 0; i < 5; i++)
        for (unsigned n = 0; n < 40; n++) {
            co_wg_add(&done, 1);
            co_go_attr(&(struct co_attr){.stack_limit_bytes = limits[i]}, holder, (void *)(uintptr_t)(n * 500 + 1));
        }
    wait_ready(200);
    long k = pack(5 * 26);
    assert_true(k >= 5 * 26 && k < 5 * 35); /* over 14 KiB they stay */
    co_close(gate);
    co_wg_wait(&done);
    assert_int_equal(good, 200);
}

/* ---- who is not packed */

static volatile uintptr_t outside;
static void shower(void *arg)
{
    volatile int local = 5;
    outside = (uintptr_t)&local ^ (uintptr_t)arg;
    co_recv(gate, NULL);
    good += local;
    co_wg_done(&done);
}
static void large(void *arg)
{
    struct {
        uint64_t w[5];
    } v = {{0}};
    co_recv(arg, &v);
    good += (int)v.w[3];
    co_wg_done(&done);
}
static void locked(void *arg)
{
    (void)arg;
    co_lock_thread();
    co_recv(gate, NULL);
    co_wg_done(&done);
}
static co_waitgroup waited;
static void waits_there(void *wg)
{
    co_wg_wait(wg);
    co_wg_done(&waited);
}
static void lends_waitgroup(void *arg)
{
    (void)arg;
    co_waitgroup here = {0};
    co_wg_add(&here, 1);
    co_wg_add(&waited, 1);
    co_go(waits_there, &here);
    co_recv(gate, NULL);
    co_wg_done(&here);
    co_wg_wait(&waited);
    co_wg_done(&done);
}
static void not_packed(co_fn *fn, void *arg)
{
    co_wg_add(&done, 1);
    co_go(fn, arg);
    co_sleep_ns(2000000);
    uint64_t before = packed();
    co_pack(0);
    co_pack(0);
    /* not that one; what else waits is packed already */
    assert_true(packed() <= before + (fn == lends_waitgroup));
}
static void who_is_not(void)
{
    gate = co_make(int, 0);
    co_chan *wide = co_chan_make(40, 0);
    not_packed(shower, NULL); /* a global points to its local variable */
    not_packed(large, wide);  /* the sender will write to its stack */
    not_packed(locked, NULL);
    not_packed(lends_waitgroup, NULL);
    uint64_t v[5] = {0, 0, 0, 1000, 0};
    co_send(wide, v);
    co_close(gate);
    co_wg_wait(&done);
    assert_int_equal(good, 1005);
    assert_true(co_pack(UINT64_MAX) == 0 && co_pack(UINT64_MAX / 2) == 0);
}

/* ---- stray accesses: through a pointer that no marker finds */

static const uintptr_t HIDE = 0x5a5a5a5a5a5a5a5a;
static void *strays(void *arg)
{
    volatile int *p = (volatile int *)(outside ^ HIDE);
    *(int *)arg = *p;
    *p = 77;
    return NULL;
}
static void stray_access(void)
{
    for (int others = 0; others < 2; others++) { /* alone, and with the whole block at rest */
        start_holders(others ? 64 : 0, 100, 0);
        co_wg_add(&done, 1);
        co_go(shower, (void *)HIDE);
        co_sleep_ns(1000000);
        uint64_t all = others ? 65 : 1;
        assert_true(pack(all) == (long)all);
        uint64_t before = packed();
        int seen = 0;
        pthread_t t; /* a thread that knows nothing of coroutines, on its own stack */
        pthread_create(&t, NULL, strays, &seen);
        pthread_join(t, NULL);
        assert_int_equal(seen, 5);
        assert_int_equal(packed(), before - 1);
        assert_true(pack(all) == 1); /* it may rest again */
        strays(&seen);
        assert_int_equal(seen, 77);
        co_close(gate);
        co_wg_wait(&done);
        assert_int_equal(good, 77 + (others ? 64 : 0));
    }
}

/* ---- what others see */

struct seen {
    unsigned images, frames;
    bool found;
};
static int look(void *arg, const struct seep_task *t)
{
    struct seen *s = arg;
    if (!t->stack_image) return 0;
    s->images++;
    assert_true(t->sp > t->stack_lo && t->sp < t->stack_hi && t->state == SEEP_TASK_WAITING && t->ref == 0);
    uintptr_t pcs[32];
    struct unwind_regs r = {.pc = t->pc, .sp = t->sp, .fp = t->fp};
    unsigned n = unwind_stopped(&r, t->stack_lo, t->stack_hi, t->stack_image, pcs, 32);
    for (unsigned i = 0; i < n; i++)
        s->found = s->found || (pcs[i] > (uintptr_t)hold && pcs[i] < (uintptr_t)hold + 512);
    s->frames = n;
    return 0;
}
static void seen_by_others(void)
{
    start_holders(50, 600, 0);
    assert_true(pack(45) >= 45);
    struct seen s = {0};
    for (unsigned i = 0; i < provider_count(); i++)
        if (!strcmp(provider_get(i)->name, "coro")) provider_get(i)->iterate(provider_get(i)->ctx, look, &s);
    assert_true(s.images >= 45 && s.found && s.frames >= 4);
    char text[65536] = "";
    int fd = memfd_create("dump", 0);
    co_dump(fd);
    assert_true(pread(fd, text, sizeof text - 1, 0) > 0);
    assert_true(strstr(text, "50 coroutines like this") && strstr(text, "hold+") && strstr(text, "[chan receive]"));
    assert_true(packed() >= 45); /* nobody had to be unpacked for that */
    pid_t pid = fork();          /* a child keeps the caller only, and what is packed there hinders nobody */
    if (pid == 0) {
        start_holders(20, 600, 0);
        co_close(gate);
        co_wg_add(&done, -50);
        co_wg_wait(&done);
        _exit(good == 20 ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    co_close(gate);
    co_wg_wait(&done);
    assert_int_equal(good, 50);
}

/* Only after two snapshots, and a second. */
static void by_snapshots(void)
{
    start_holders(20, 100, 0);
    struct snapshot_request req = {.trigger = TRIGGER_PROVIDERS};
    assert_int_equal(snapshot_request(&req, NULL, -1), 0);
    assert_int_equal(packed(), 0);
    assert_int_equal(snapshot_request(&req, NULL, -1), 0);
    assert_int_equal(packed(), 0);
    co_sleep_ns(1000000000);
    assert_int_equal(snapshot_request(&req, NULL, -1), 0);
    assert_true(packed() > 15);
    co_close(gate);
    co_wg_wait(&done);
    assert_int_equal(good, 20);
}
static void by_itself(void)
{
    setenv("CORO_PACK_AFTER", "1", 1);
    start_holders(20, 100, 0);
    for (int i = 0; i < 500 && packed() < 10; i++) co_sleep_ns(10000000);
    assert_true(packed() > 10);
    co_close(gate);
    co_wg_wait(&done);
    assert_int_equal(good, 20);
}
static void off(void)
{
    setenv("CORO_PACK_AFTER", "off", 1);
    start_holders(20, 100, 0);
    assert_int_equal(co_pack(0), 0);
}

/* ---- where it can't be */

static void no_packing_but_all_is_well(long expected)
{
    start_holders(100, 100, 30);
    long n = expected < 0 ? co_pack(0) : pack(90);
    assert_true(expected < 0 ? n <= 0 && packed() == 0 : n >= 90);
    co_close(gate);
    co_wg_wait(&done);
    assert_int_equal(good, 100);
}
static void no_barrier(void)
{
    REFUSE({SYS_membarrier, ENOSYS, 0, 0, false});
    no_packing_but_all_is_well(-1);
}
static void no_release(void)
{
    REFUSE({SYS_madvise, EINVAL, 3, MADV_DONTNEED, false}, {SYS_process_madvise, EINVAL, 0, 0, false});
    no_packing_but_all_is_well(-1);
}
static void late_no_release(void) /* the probe of one guard succeeds, then contents are moved, and come back */
{
    REFUSE({SYS_madvise, EINVAL, 2, 16384, true}, {SYS_process_madvise, EINVAL, 0, 0, false});
    no_packing_but_all_is_well(-1);
}
static void no_guards(void)
{
    REFUSE({SYS_madvise, EINVAL, 3, 102, false}, {SYS_process_madvise, EINVAL, 0, 0, false});
    no_packing_but_all_is_well(-1);
}
static void no_process_madvise(void) /* one call each, then */
{
    REFUSE({SYS_process_madvise, ENOSYS, 0, 0, false});
    no_packing_but_all_is_well(1);
}
static void no_return(void) /* blocks stay mapped: their slots rest alone */
{
    REFUSE({SYS_mmap, ENOMEM, 4, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, false});
    no_packing_but_all_is_well(1);
}
static void locked_memory(void)
{
    start_holders(100, 100, 30);
    if (mlockall(MCL_CURRENT) != 0) return; /* not allowed here */
    assert_true(co_pack(0) <= 0 && packed() == 0);
    co_close(gate);
    co_wg_wait(&done);
    assert_int_equal(good, 100);
}
static void own_handler(int sig)
{
    (void)sig;
    _exit(1);
}
static void handler_replaced(void)
{
    start_holders(100, 100, 30);
    signal(SIGSEGV, own_handler);
    assert_true(co_pack(0) == 0 && packed() == 0);
}

/* ---- with others awake */

static void pinger(void *c)
{
    int v = 0;
    while (co_recv(c, &v)) co_yield_now();
    co_wg_done(&done);
}
static void under_load(void)
{
    enum { PINGERS = 200 };
    static co_chan *c[PINGERS];
    for (int i = 0; i < PINGERS; i++) {
        c[i] = co_make(int, 0);
        co_wg_add(&done, 1);
        co_go(pinger, c[i]);
    }
    unsigned rng = 1;
    uint64_t ever = 0;
    for (int round = 0; round < 30; round++) {
        ever += (uint64_t)co_pack(0);
        for (int i = 0; i < 400; i++) {
            rng = rng * 1103515245 + 12345;
            co_send(c[rng >> 8 & 127], &i);
        }
    }
    assert_true(ever > 1000 && packed() > 50); /* the upper ones are never sent to */
    for (int i = 0; i < PINGERS; i++) co_close(c[i]);
    co_wg_wait(&done);
    assert_int_equal(packed(), 0);
}

/* The store by itself: blocks do not overlap, memory is used again. */
static void store(void)
{
    enum { N = 4000 };
    static char *p[N];
    static size_t size[N];
    unsigned rng = 7;
    for (int round = 0; round < 40000; round++) {
        rng = rng * 1103515245 + 12345;
        unsigned i = (rng >> 8) % N;
        if (p[i]) {
            for (size_t k = 0; k < size[i]; k += 8) assert_int_equal(*(uint64_t *)(p[i] + k), i);
            pack_store_free(p[i]);
            p[i] = NULL;
        } else {
            size[i] = 16 + (rng >> 12) % (STACK_REST_MAX / 16) * 16;
            assert_non_null(p[i] = pack_store_alloc(size[i]));
            assert_int_equal((uintptr_t)p[i] % 16, 0);
            for (size_t k = 0; k < size[i]; k += 8) *(uint64_t *)(p[i] + k) = i;
        }
    }
    size_t most = pack_store_bytes();
    for (int i = 0; i < N; i++)
        if (p[i]) pack_store_free(p[i]);
    for (int i = 0; i < 1000; i++) assert_non_null(p[i] = pack_store_alloc(512));
    assert_int_equal(pack_store_bytes(), most);
}

int main(void)
{
    setenv("CORO_MAXPROCS", "2", 1);
    const struct CMUnitTest tests[] = {
        RUN(all_come_back),      RUN(sizes),        RUN(who_is_not),      RUN(stray_access),
        RUN(seen_by_others),     RUN(by_snapshots), RUN(by_itself),       RUN(off),
        RUN(no_barrier),         RUN(no_release),   RUN(late_no_release), RUN(no_guards),
        RUN(no_process_madvise), RUN(no_return),    RUN(locked_memory),   RUN(handler_replaced),
        RUN(under_load),         RUN(store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
