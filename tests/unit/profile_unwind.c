/* SPDX-License-Identifier: Apache-2.0
 *
 * The tracer against libunwind on real stacks: recursion, callbacks out of libc, C++, realigned and variable frames,
 * signal handlers on both kinds of stack, threads; and a stopped stack in place and as an image. */
#include <alloca.h>
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <cmocka.h>

#include "agent/profile/internal.h"
#include "agent/profile/unwind.h"

static int (*reference)(void **, int);
static unsigned compared, deepest;

/* Our stack here and libunwind's; the first frame, this function, differs in pc only. */
static __attribute__((noinline)) void compare(void)
{
    uintptr_t ours[PROF_MAX_DEPTH];
    void *theirs[PROF_MAX_DEPTH];
    unsigned n = unwind_here(ours, PROF_MAX_DEPTH, 0);
    int m = reference(theirs, PROF_MAX_DEPTH);
    assert_int_equal(n, m);
    assert_true(n > 3);
    for (unsigned i = 1; i < n; i++) assert_ptr_equal((void *)ours[i], theirs[i]);
    if (n > deepest) deepest = n;
    compared++;
}

static int order(const void *a, const void *b)
{
    compare();
    return *(const int *)a - *(const int *)b;
}

static __attribute__((noinline)) int recurse(int depth)
{
    volatile int here[5] = {depth};
    if (depth == 0) {
        compare();
        return 0;
    }
    return recurse(depth - 1) + here[0];
}

static __attribute__((noinline)) int variable(size_t n)
{
    volatile char *p = alloca(n);
    p[n - 1] = 1;
    compare();
    return p[n - 1];
}

static __attribute__((noinline)) int aligned(size_t n)
{
    volatile char fixed[64] __attribute__((aligned(64)));
    volatile char *p = alloca(n);
    fixed[1] = p[0] = (char)n;
    compare();
    return fixed[1];
}

static __attribute__((noinline)) int many_args(int a, int b, int c, int d, int e, int f, int g, int h, int i)
{
    compare();
    return a + b + c + d + e + f + g + h + i;
}

static void plain_frames(void **state)
{
    (void)state;
    compared = 0;
    int v[] = {3, 1, 2, 5, 4};
    qsort(v, 5, sizeof v[0], order);
    bsearch(&v[1], v, 5, sizeof v[0], order);
    for (int d = 0; d < 100; d += 9) recurse(d);
    for (size_t n = 1; n < 100000; n *= 3) variable(n), aligned(n);
    many_args(1, 2, 3, 4, 5, 6, 7, 8, 9);
    assert_true(compared > 40 && deepest > 90);
}

static void deepest_is_cut(void **state)
{
    (void)state;
    uintptr_t five[5], all[PROF_MAX_DEPTH];
    unsigned n = unwind_here(all, PROF_MAX_DEPTH, 0);
    assert_true(n > 5);
    assert_int_equal(unwind_here(five, 5, 0), 5);
    assert_memory_equal(five + 1, all + 1, sizeof five - sizeof five[0]);
    assert_int_equal(unwind_here(five, 5, 2), 5);
    assert_memory_equal(five, all + 2, sizeof five - 2 * sizeof five[0]);
    assert_int_equal(unwind_here(five, 0, 0), 0);
}

static void cxx_frames(void **state)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/../profile/so/deep.cc.so", (const char *)*state);
    void *lib = dlopen(path, RTLD_NOW);
    assert_non_null(lib);
    int (*deep)(void (*)(void));
    *(void **)&deep = dlsym(lib, "deep_call");
    assert_true(deep != NULL);
    compared = 0;
    deep(compare);
    assert_int_equal(compared, 3);
    dlclose(lib);
}

static void on_signal(int sig)
{
    (void)sig;
    compare();
}

static void signal_frames(void **state)
{
    (void)state;
    compared = 0;
    struct sigaction sa = {.sa_handler = on_signal}, old;
    sigaction(SIGUSR1, &sa, &old);
    raise(SIGUSR1);
    static char alt[65536];
    stack_t ss = {.ss_sp = alt, .ss_size = sizeof alt};
    assert_int_equal(sigaltstack(&ss, NULL), 0);
    sa.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    sigaction(SIGUSR1, &old, NULL);
    ss.ss_flags = SS_DISABLE;
    sigaltstack(&ss, NULL);
    assert_int_equal(compared, 2);
}

static void *on_thread(void *arg)
{
    recurse(7);
    return arg;
}

static void thread_frames(void **state)
{
    (void)state;
    compared = 0;
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, on_thread, NULL), 0);
    pthread_join(t, NULL);
    assert_int_equal(compared, 1);
}

/* A stack that stands elsewhere: the same frames, and nothing of the original is read. */
static __attribute__((noinline)) void stopped(void **state)
{
    (void)state;
    struct frame_regs f;
    ARCH_CAPTURE(f.reg);
    struct unwind_regs regs = {.pc = f.reg[ARCH_RA],
                               .sp = f.reg[ARCH_SP],
                               .fp = f.reg[ARCH_FP],
                               .rbx = f.reg[ARCH_RBX],
                               .r12 = f.reg[ARCH_R12],
                               .r13 = f.reg[ARCH_R13],
                               .r14 = f.reg[ARCH_R14],
                               .r15 = f.reg[ARCH_R15],
                               .complete = true};
    uintptr_t here[PROF_MAX_DEPTH], there[PROF_MAX_DEPTH], unknown[PROF_MAX_DEPTH];
    pthread_attr_t attr;
    void *low;
    size_t size;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstack(&attr, &low, &size);
    pthread_attr_destroy(&attr);
    uintptr_t hi = (uintptr_t)low + size;

    unsigned n = unwind_stopped(&regs, (uintptr_t)low, hi, NULL, here, PROF_MAX_DEPTH);
    assert_true(n > 4);
    assert_int_equal(unwind_stopped(&regs, 0, 0, NULL, unknown, PROF_MAX_DEPTH), n);
    assert_memory_equal(here, unknown, n * sizeof here[0]);

    char *image = malloc(hi - regs.sp);
    assert_non_null(image);
    memcpy(image, (void *)regs.sp, hi - regs.sp);
    assert_int_equal(unwind_stopped(&regs, (uintptr_t)low, hi, image, there, PROF_MAX_DEPTH), n);
    assert_memory_equal(here, there, n * sizeof here[0]);
    /* An image without frames in it: the frame of pc, and the end. */
    memset(image, 0, hi - regs.sp);
    assert_int_equal(unwind_stopped(&regs, (uintptr_t)low, hi, image, there, PROF_MAX_DEPTH), 1);
    /* Registers that make no sense are no reason to fault. */
    regs.sp = hi - 8;
    unwind_stopped(&regs, (uintptr_t)low, hi, NULL, there, PROF_MAX_DEPTH);
    regs.sp = 16;
    unwind_stopped(&regs, (uintptr_t)low, hi, NULL, there, PROF_MAX_DEPTH);
    regs.pc = 16;
    regs.fp = 3;
    assert_int_equal(unwind_stopped(&regs, 0, 0, NULL, there, PROF_MAX_DEPTH), 1);
    free(image);
}

int main(int argc, char **argv)
{
    (void)argc;
    void *lib = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
    *(void **)&reference = lib ? dlsym(lib, "unw_backtrace") : NULL;
    if (!reference) return 77;
    prof_init();
    char *folder = strdup(argv[0]);
    *strrchr(folder, '/') = 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_frames),
        cmocka_unit_test(deepest_is_cut),
        cmocka_unit_test_prestate(cxx_frames, folder),
        cmocka_unit_test(signal_frames),
        cmocka_unit_test(thread_frames),
        cmocka_unit_test(stopped),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    free(folder);
    return rc;
}
