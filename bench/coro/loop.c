/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory that a switch among 100,000 coroutines touches, by a bare loop: what the machine gives.   loop many COUNT
 *
 * Of each: one line of a dense table of descriptors, and LINES lines at the top of a stack, which stand 256 KiB apart, each written
 * to; two of the frame that a coroutine leaves, of 80 bytes and more, are the least there can be. The stack's address stands in the descriptor. Both
 * are fetched ahead, at the distance of DISTANCES that is best here. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { MANY = 100000, STACK = 256 << 10, RECORD = 192, LINES = 2, SP = 0, WRITTEN = 48 };
static const long distances[] = {2, 4, 8, 16, 32};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static char *sp_of(char *table, long i)
{
    char *sp;
    memcpy(&sp, table + i % MANY * RECORD + SP, sizeof sp);
    return sp;
}

static double round_of(char *table, long count, long distance)
{
    double begin = now();
    for (long i = 0; i < count; i++) {
        __builtin_prefetch(table + (i + 2 * distance) % MANY * RECORD, 1);
        char *ahead = sp_of(table, i + distance), *sp = sp_of(table, i);
        for (int line = 0; line < LINES; line++) __builtin_prefetch(ahead + line * 64, 1);
        ++*(volatile long *)(table + i % MANY * RECORD + WRITTEN);
        for (int line = 0; line < LINES; line++) ++*(volatile long *)(sp + line * 64);
    }
    return (now() - begin) / (double)count;
}

int main(int argc, char **argv)
{
    if (argc != 3 || strcmp(argv[1], "many") != 0) return 2;
    long count = atol(argv[2]), n = sizeof distances / sizeof *distances;
    int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *stacks = mmap(NULL, (size_t)MANY * STACK, prot, flags, -1, 0);
    char *table = mmap(NULL, (size_t)MANY * RECORD, prot, flags, -1, 0);
    if (stacks == MAP_FAILED || table == MAP_FAILED) return 1;
    madvise(stacks, (size_t)MANY * STACK, MADV_NOHUGEPAGE);
    for (long i = 0; i < MANY; i++) {
        char *sp = stacks + (i + 1) * STACK - i % 32 * 64 - 256;
        memset(sp, 0, LINES * 64);
        memcpy(table + i * RECORD + SP, &sp, sizeof sp);
    }
    double best = 0;
    for (long d = 0; d < n; d++) {
        double ns = round_of(table, count / n, distances[d]);
        if (d == 0 || ns < best) best = ns;
    }
    printf("metric ns %.3f\n", best);
    return 0;
}
