/* SPDX-License-Identifier: Apache-2.0
 *
 * Stacks where the system is short of something: address space, threads, guards; and what programs do on them: signals, longjmp, dlopen,
 * floating-point modes. Each in a process of its own, with system calls that fail by a filter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dlfcn.h>
#include <fenv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <xmmintrin.h>
#include <cmocka.h>

#include "coro/include/coro.h"
#include "coro/runtime.h"
#include "tests/unit/coro_test.h"
#include "tests/unit/refuse.h"

static co_chan *gate;
static co_waitgroup done;

static void echo(void *c)
{
    long v;
    while (co_recv(c, &v)) {
        v++;
        co_send(c, &v);
    }
    co_wg_done(&done);
}
/* Coroutines, channels and blocking calls do what they are for. */
static void nap(void *arg)
{
    (void)arg;
    usleep(100);
}
static void all_works(void)
{
    for (int i = 0; i < 20; i++) {
        co_chan *c = co_make(long, 0);
        long v = i;
        co_wg_add(&done, 1);
        assert_int_equal(co_go(echo, c), 0);
        co_send(c, &v);
        co_recv(c, &v);
        assert_int_equal(v, i + 1);
        co_close(c);
    }
    co_wg_wait(&done);
    co_blocking(nap, NULL);
    co_sleep_ns(1000000);
}

/* ---- address space */

static void waiter(void *arg)
{
    (void)arg;
    co_recv(gate, NULL);
    co_wg_done(&done);
}
static long size_kib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%ld", &pages) != 1) pages = 0;
    if (f) fclose(f);
    return pages * 4;
}
static long spawn_all(long most)
{
    for (long n = 0;; n++) {
        co_wg_add(&done, 1);
        int err = n < most ? co_go(waiter, NULL) : 1;
        if (!err) continue;
        co_wg_add(&done, -1);
        assert_true(err == 1 || err == -ENOMEM);
        return n;
    }
}
static void limited_address_space(void)
{
    struct rlimit l = {(rlim_t)(size_kib() + (512 << 10)) * 1024, RLIM_INFINITY};
    gate = co_make(int, 0);
    assert_int_equal(setrlimit(RLIMIT_AS, &l), 0);
    assert_int_equal(co_go_attr(&(struct co_attr){.stack_limit_bytes = 1 << 30}, waiter, NULL), -ENOMEM);
    long n = spawn_all(100000);
    assert_true(n >= 100 && n < 100000); /* it ended by -ENOMEM, in the middle of things */
    assert_int_equal(co_count(), n + 1);
    void *p = malloc(1 << 20); /* stacks have not taken it all */
    assert_non_null(p);
    free(p);
    co_close(gate);
    co_wg_wait(&done);
    assert_int_equal(co_count(), 1);
    gate = co_make(int, 0);
    assert_int_equal(spawn_all(n), n); /* the stacks of the first ones */
    co_close(gate);
    co_wg_wait(&done);
}
/* Memory ends while a batch of stacks is made usable. */
static void no_more_mappings(void)
{
    gate = co_make(int, 0);
    spawn_all(10);
    REFUSE({SYS_mprotect, ENOMEM, 0, 0, false}, {SYS_mmap, ENOMEM, 0, 0, false});
    long n = spawn_all(100000);
    assert_true(n < 10000 && co_count() == (uint64_t)(10 + n + 1));
    co_close(gate);
    co_wg_wait(&done);
    gate = co_make(int, 0);
    assert_int_equal(spawn_all(10 + n), 10 + n);
    co_close(gate);
    co_wg_wait(&done);
}

/* ---- threads: main()'s goes on alone */

static void no_threads(void)
{
    REFUSE({SYS_clone, EAGAIN, 0, 0, false}, {SYS_clone3, EAGAIN, 0, 0, false});
    all_works();
}
static void no_more_threads(void)
{
    all_works();
    REFUSE({SYS_clone, EAGAIN, 0, 0, false}, {SYS_clone3, EAGAIN, 0, 0, false});
    for (int i = 0; i < 5; i++) all_works();
}

/* ---- guards */

static void no_guards(void)
{
    REFUSE({SYS_madvise, EINVAL, 3, 102, false}, {SYS_process_madvise, EPERM, 0, 0, false});
    all_works();
    assert_false(stack_canaries); /* by mprotect */
}
static void no_process_madvise(void)
{
    REFUSE({SYS_process_madvise, ENOSYS, 0, 0, false});
    all_works();
    assert_true(stack_guards_are_free()); /* one call each */
}
static void no_guards_at_all(void)
{
    REFUSE({SYS_madvise, EINVAL, 3, 102, false}, {SYS_process_madvise, EPERM, 0, 0, false},
           {SYS_mprotect, ENOMEM, 3, PROT_NONE, false});
    all_works();
    assert_true(stack_canaries);
}
static void no_pidfd(void) /* nor a number for ourselves, as before Linux 6.14 */
{
    REFUSE({SYS_process_madvise, EBADF, 1, (uint32_t)-10001, false}, {SYS_pidfd_open, ENOSYS, 0, 0, false});
    all_works();
    assert_true(stack_guards_are_free());
}

/* ---- signals */

static volatile sig_atomic_t signals;
static void on_signal(int sig)
{
    char text[600];
    (void)sig;
    snprintf(text, sizeof text, "%g %d", 1.5, signals); /* on the stack of whoever runs */
    signals++;
}
static void signal_storm(void)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct itimerval every = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &sa, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
    for (int i = 0; i < 2000 && signals < 200; i++) all_works();
    setitimer(ITIMER_REAL, &never, NULL);
    assert_true(signals >= 200);
}
static void raiser(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        raise(SIGUSR1);
        co_yield_now();
    }
    co_wg_done(&done);
}
static void signals_on_every_stack(void)
{
    for (int alt = 0; alt < 2; alt++) {
        struct sigaction sa = {.sa_handler = on_signal, .sa_flags = alt ? SA_ONSTACK : 0};
        sigaction(SIGUSR1, &sa, NULL);
        signals = 0;
        co_lock_thread(); /* `signals` is counted by many threads: not exactly */
        co_unlock_thread();
        for (int i = 0; i < 50; i++) {
            co_wg_add(&done, 1);
            co_go_attr(&(struct co_attr){.stack_limit_bytes = 64 << 10}, raiser, NULL);
        }
        co_wg_wait(&done);
        assert_true(signals > 500);
    }
}

/* ---- longjmp */

static jmp_buf back;
static int jump_from(int depth);
static int (*volatile deeper)(int) = jump_from;
static int jump_from(int depth)
{
    volatile char frame[300];
    frame[0] = 1;
    co_yield_now();
    if (depth == 0) longjmp(back, 7 + frame[0]);
    return deeper(depth - 1) + frame[0];
}
static void jumper(void *ok)
{
    volatile int rounds = 0;
    for (volatile int i = 0; i < 10; i = i + 1) {
        int v = setjmp(back);
        if (v == 0) (void)jump_from(i);
        rounds = rounds + (v == 8);
    }
    *(bool *)ok = rounds == 10;
    co_wg_done(&done);
}
static void nobody(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++) co_yield_now();
    co_wg_done(&done);
}
static void longjmp_within(void)
{
    bool ok = false;
    co_wg_add(&done, 2);
    co_go(nobody, NULL);
    co_go(jumper, &ok);
    co_wg_wait(&done);
    assert_true(ok);
}

/* ---- the loader */

static void loader(void *ok)
{
    void *lib = dlopen("libresolv.so.2", RTLD_NOW | RTLD_LOCAL);
    *(bool *)ok = lib && dlsym(lib, "ns_name_ntop") != NULL;
    if (lib) dlclose(lib);
    co_wg_done(&done);
}
static void dlopen_in_a_coroutine(void)
{
    bool ok = false;
    co_wg_add(&done, 1);
    co_go_attr(&(struct co_attr){.stack_limit_bytes = 64 << 10}, loader, &ok);
    co_wg_wait(&done);
    assert_true(ok);
}

/* ---- CORO_FPU */

static int kept[2]; /* rounding mode, flush to zero */
static void sets_modes(void *arg)
{
    (void)arg;
    fesetround(FE_UPWARD);
    _MM_SET_FLUSH_ZERO_MODE(_MM_FLUSH_ZERO_ON);
    co_recv(gate, NULL);
    kept[0] = fegetround() == FE_UPWARD;
    kept[1] = _MM_GET_FLUSH_ZERO_MODE() == _MM_FLUSH_ZERO_ON;
    co_wg_done(&done);
}
static void modes(const char *option, int rounding, int flush)
{
    setenv("CORO_FPU", option, 1);
    gate = co_make(int, 0);
    co_wg_add(&done, 1);
    co_go(sets_modes, NULL);
    for (int i = 0; i < 10; i++) co_yield_now();
    fesetround(FE_TONEAREST); /* as the next function of this thread would want it */
    _MM_SET_FLUSH_ZERO_MODE(_MM_FLUSH_ZERO_OFF);
    co_close(gate);
    co_wg_wait(&done);
    assert_true(kept[0] == rounding && kept[1] == flush);
}
static void fpu_full(void)
{
    modes("full", 1, 1);
}
static void fpu_fenv(void)
{
    modes("fenv", 1, 0); /* what stands in MXCSR alone is not kept */
}
static void fpu_off(void)
{
    modes("off", 0, 0);
}
static void fpu_nonsense(void)
{
    modes("fast", 1, 0);
}

int main(void)
{
    setenv("CORO_MAXPROCS", "1", 1);
    const struct CMUnitTest tests[] = {
        RUN(limited_address_space),
        RUN(no_more_mappings),
        RUN(no_threads),
        RUN(no_more_threads),
        RUN(no_guards),
        RUN(no_process_madvise),
        RUN(no_guards_at_all),
        RUN(no_pidfd),
        RUN(signal_storm),
        RUN(signals_on_every_stack),
        RUN(longjmp_within),
        RUN(dlopen_in_a_coroutine),
        RUN(fpu_full),
        RUN(fpu_fenv),
        RUN(fpu_off),
        RUN(fpu_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
