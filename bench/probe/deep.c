/* SPDX-License-Identifier: Apache-2.0
 *
 * The price of a recorded allocation: blocks of 64 bytes from 16 places, each below 20 calls of different functions
 * (not recursion, which would be kind to a cache of rules). Prints ns_malloc and ns_free; to be run with SEEP_RATE=1
 * and SEEP_RATE=0, the difference is the price. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BATCH = 1000, BATCHES = 400 };

static void *volatile sink;
typedef void *fn(unsigned site);

#define SITE(k)               \
    case k:                   \
        sink = malloc(64);    \
        __asm__ volatile(""); \
        break
static __attribute__((noinline)) void *f0(unsigned site)
{
    switch (site & 15) {
        SITE(0);
        SITE(1);
        SITE(2);
        SITE(3);
        SITE(4);
        SITE(5);
        SITE(6);
        SITE(7);
        SITE(8);
        SITE(9);
        SITE(10);
        SITE(11);
        SITE(12);
        SITE(13);
        SITE(14);
        SITE(15);
    }
    return sink;
}
/* The addition after the call keeps it from being a jump. The assertion takes the semicolon. */
#define LEVEL(n, below)                                  \
    static __attribute__((noinline)) void *n(unsigned s) \
    {                                                    \
        char *p = below(s + 1);                          \
        __asm__ volatile("" : "+r"(p));                  \
        return p;                                        \
    }                                                    \
    _Static_assert(1, "")
LEVEL(f1, f0);
LEVEL(f2, f1);
LEVEL(f3, f2);
LEVEL(f4, f3);
LEVEL(f5, f4);
LEVEL(f6, f5);
LEVEL(f7, f6);
LEVEL(f8, f7);
LEVEL(f9, f8);
LEVEL(f10, f9);
LEVEL(f11, f10);
LEVEL(f12, f11);
LEVEL(f13, f12);
LEVEL(f14, f13);
LEVEL(f15, f14);
LEVEL(f16, f15);
LEVEL(f17, f16);
LEVEL(f18, f17);

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(void)
{
    static void *block[BATCH];
    double malloc_ns = 0, free_ns = 0;
    for (int n = 0; n < BATCHES; n++) {
        double a = now_ns();
        for (unsigned i = 0; i < BATCH; i++) block[i] = f18(i);
        double b = now_ns();
        for (unsigned i = 0; i < BATCH; i++) free(block[i]);
        malloc_ns += b - a;
        free_ns += now_ns() - b;
    }
    printf("metric ns_malloc %.2f\nmetric ns_free %.2f\nmetric ns_pair %.2f\n", malloc_ns / BATCH / BATCHES,
           free_ns / BATCH / BATCHES, (malloc_ns + free_ns) / BATCH / BATCHES);
    return 0;
}
