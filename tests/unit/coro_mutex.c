/* SPDX-License-Identifier: Apache-2.0
 *
 * The two ways to unlock a mutex (coro/mutex.c): many that are new are contended for the first time while their holder lets go, and no
 * wake-up is lost; with the kernel's help for it, without, and when it ends halfway. CORO_MAXPROCS=2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "coro/include/coro.h"
#include "coro/mutex.h"
#include "tests/unit/coro_test.h"
#include "tests/unit/refuse.h"

enum { FRESH = 100000, SLOW_FRESH = 2000, SIDES = 2 };

static struct fresh {
    co_mutex m;
    int n;
} fresh[FRESH];
static co_waitgroup wg;
static int count;
static _Atomic int at[SIDES];

/* Each side takes the same mutexes in the same order, some moments apart. */
static void side(void *arg)
{
    int me = (int)(intptr_t)arg;
    uint32_t r = (uint32_t)me + 1;
    for (int i = 0; i < count; i++) {
        at[me] = i;
        for (int other = 0; other < SIDES; other++)
            for (int spins = 0; at[other] < i; spins++)
                if (spins > 2000) co_yield_now();
        r = r * 1664525 + 1013904223;
        for (volatile uint32_t n = r >> 27; n; n = n - 1) continue;
        co_mutex_lock(&fresh[i].m);
        int v = fresh[i].n;
        for (volatile uint32_t n = r >> 18 & 15; n; n = n - 1) continue;
        fresh[i].n = v + 1;
        co_mutex_unlock(&fresh[i].m);
    }
    at[me] = count;
    co_wg_done(&wg);
}
static int contended(int n) /* of the first n; each was taken by all sides, and is free */
{
    int yes = 0;
    count = n;
    for (int i = 0; i < SIDES; i++) at[i] = 0;
    memset(fresh, 0, sizeof fresh);
    co_wg_add(&wg, SIDES);
    for (intptr_t i = 0; i < SIDES; i++) co_go(side, (void *)i);
    co_wg_wait(&wg);
    for (int i = 0; i < n; i++) {
        assert_int_equal(fresh[i].n, SIDES);
        assert_int_equal(fresh[i].m.state, 0);
        assert_int_equal(fresh[i].m.owner, 0);
        assert_true(!fresh[i].m.first);
        yes += fresh[i].m.flags != 0;
    }
    return yes;
}

static void first_contention(void)
{
    mutex_settle_max = UINT32_MAX;
    assert_true(co_count() == 1);
    if (!mutex_here()) return; /* no rseq: the following test is the same */
    int yes = 0;
    int rounds = getenv("FULL") ? 20 : 4;
    for (int round = 0; round < rounds; round++) yes += contended(FRESH);
    assert_true(yes > FRESH / 50);
}
static void without_membarrier(void)
{
    REFUSE({SYS_membarrier, ENOSYS, 0, 0, false});
    assert_true(co_count() == 1);
    assert_true(!mutex_here());
    assert_int_equal(contended(FRESH), FRESH);
}
static void membarrier_ends(void)
{
    assert_true(co_count() == 1);
    contended(SLOW_FRESH);
    REFUSE({SYS_membarrier, EPERM, 0, 0, false});
    contended(SLOW_FRESH);
}
static void rare_barriers(void) /* after the first ten, locks are by word for a while */
{
    mutex_settle_max = 10;
    assert_true(co_count() == 1);
    contended(FRESH);
    co_mutex_lock(&fresh[0].m);
    co_mutex_unlock(&fresh[0].m);
}

static void wait_once(void *m)
{
    co_mutex_lock(m);
    co_mutex_unlock(m);
    co_wg_done(&wg);
}
/* Once waited for, it goes by the word; after many unlocks without a waiter, in place again. */
static void becomes_quiet(void)
{
    static co_mutex m;
    assert_true(co_count() == 1);
    if (!mutex_here()) return;
    for (int round = 0; round < 3; round++) {
        co_mutex_lock(&m);
        co_wg_add(&wg, 1);
        co_go(wait_once, &m);
        yield_times(3);
        assert_int_equal(m.flags, 1);
        co_mutex_unlock(&m);
        co_wg_wait(&wg);
        int i = 0;
        for (; i < 10000 && m.flags; i++) {
            co_mutex_lock(&m);
            co_mutex_unlock(&m);
        }
        assert_true(i > 1000 && i < 10000);
        assert_int_equal(m.state, 0);
    }
}

/* The last of those that share it frees it: an unlock touches nothing after it let go. */
struct shared {
    co_mutex m;
    int refs;
    char *page;
};
static void drop(void *arg)
{
    struct shared *s = arg;
    co_mutex_lock(&s->m);
    bool last = --s->refs == 0;
    co_mutex_unlock(&s->m);
    if (last) munmap(s->page, 4096);
    co_wg_done(&wg);
}
static void last_one_frees(void)
{
    enum { OBJECTS = 20000, REFS = 4 };
    for (int i = 0; i < OBJECTS; i++) {
        char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(page != MAP_FAILED);
        struct shared *s = (struct shared *)page;
        *s = (struct shared){.refs = REFS, .page = page};
        co_wg_add(&wg, REFS);
        for (int k = 0; k < REFS; k++) co_go(drop, s);
        if (i % 8 == 7) co_wg_wait(&wg);
    }
    co_wg_wait(&wg);
}

int main(void)
{
    setenv("CORO_MAXPROCS", "2", 1);
    const struct CMUnitTest tests[] = {
        RUN(first_contention), RUN(without_membarrier), RUN(membarrier_ends),
        RUN(rare_barriers),    RUN(becomes_quiet),      RUN(last_one_frees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
