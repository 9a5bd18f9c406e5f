/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed coroutines, for bench/coro.plan:   pack packed COUNT
 * COUNT coroutines wait, each with about 512 bytes of live stack. Prints what one costs at rest (memory and page tables of the process); how
 * long packing one takes, beyond the snapshot that finds them (the runtime says so with SEEP_VERBOSE=2); and what unpacking one adds to its
 * resumption: that of all from their first wait, packed, against that from the second, which is not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "coro.h"

static co_chan *gate[3];
static co_waitgroup back[3];
static _Atomic long waiting;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Resident memory and page tables. */
static long used_bytes(void)
{
    char line[256];
    long kib = 0, v;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %ld", &v) == 1 || sscanf(line, "VmPTE: %ld", &v) == 1) kib += v;
    if (f) fclose(f);
    return kib * 1024;
}

static void waiter(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        volatile char frame[320]; /* with the frames of the runtime 512 bytes or a little more */
        frame[0] = frame[sizeof frame - 1] = 1;
        waiting++;
        co_recv(gate[i], NULL);
        co_wg_done(&back[i]);
    }
}

static void all_wait(long n)
{
    while (waiting < n) co_yield ();
    co_sleep_ns(10000000);
}

/* The runtime's line about it, from standard error. */
static long said_ns(int fd, unsigned long *stack_bytes)
{
    static char text[65536];
    unsigned long n, ns;
    if (pread(fd, text, sizeof text - 1, 0) <= 0) return -1;
    const char *line = strstr(text, "packed ");
    return line && sscanf(line, "packed %lu coroutines, %lu ns and %lu bytes each", &n, &ns, stack_bytes) == 3
               ? (long)ns
               : -1;
}

static double resume(int i)
{
    double begin = now();
    co_close(gate[i]);
    co_wg_wait(&back[i]);
    return now() - begin;
}

int main(int argc, char **argv)
{
    long n = argc == 3 ? atol(argv[2]) : 0;
    if (n <= 0) {
        fprintf(stderr, "usage: pack packed COUNT\n");
        return 2;
    }
    int log = memfd_create("log", 0), err = dup(2);
    dup2(log, 2);
    for (int i = 0; i < 3; i++) {
        gate[i] = co_make(int, 0);
        co_wg_add(&back[i], n);
    }
    long before = used_bytes();
    for (long i = 0; i < n; i++)
        if (co_go(waiter, NULL) != 0) return 1;
    all_wait(n);
    long packed = co_pack(0);
    dup2(err, 2);
    unsigned long stack_bytes = 0;
    long pack_ns = said_ns(log, &stack_bytes);
    if (packed < n - n / 1000 || pack_ns < 0 || stack_bytes < 512) {
        fprintf(stderr, "%ld of %ld packed, %lu bytes each, %ld ns; is SEEP_VERBOSE=2 set?\n", packed, n, stack_bytes,
                pack_ns);
        return 1;
    }
    printf("metric pack_ns %ld\n", pack_ns);
    printf("metric bytes %.1f\n", (double)(used_bytes() - before) / (double)n);
    double first = resume(0);
    all_wait(2 * n);
    double second = resume(1);
    printf("metric unpack_ns %.0f\n", (first - second) / (double)n);
    fflush(stdout);
    _Exit(0);
}
