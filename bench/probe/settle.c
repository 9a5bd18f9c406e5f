/* SPDX-License-Identifier: Apache-2.0
 *
 * What stays resident after a peak: ten generations of 30 MiB of blocks (the server's mix, all written), one after the other;
 * then all but one end. After 10 seconds: RSS against what is live; then malloc_trim; then all is freed, and malloc_trim
 * again. Generations, because where one block in ten stays here and there, no malloc can give back a page. A block now
 * and then keeps time going for those allocators that act only when they are called.
 *
 * Prints rss_over_live, trimmed_over_live, and left_of_peak after the last malloc_trim. RSS is above what the
 * process had at its start. */
#include <malloc.h>
#include <time.h>
#include <unistd.h>

#include "bench/alloc/load.h"

enum { GENERATIONS = 10, GENERATION_BYTES = 30 << 20, BLOCKS_MAX = 100000, KEPT = 3, WAIT_S = 10 };

static struct generation {
    void *block[BLOCKS_MAX];
    size_t n, bytes;
} generation[GENERATIONS];

static double resident_bytes(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%*d %ld", &pages) != 1) exit(4);
    fclose(f);
    return (double)pages * 4096;
}

static void grow_up(struct generation *g, struct rng *r)
{
    while (g->bytes < GENERATION_BYTES && g->n < BLOCKS_MAX) {
        size_t size = server_size(r);
        g->block[g->n] = block_new(size);
        memset(g->block[g->n++], 1, size);
        g->bytes += size;
    }
}

static void end(struct generation *g)
{
    for (size_t i = 0; i < g->n; i++) free(g->block[i]);
    g->n = g->bytes = 0;
}

int main(void)
{
    struct rng r = {0x510e527fade682d1u};
    memset(generation, 0xff, sizeof generation); /* resident from the start */
    memset(generation, 0, sizeof generation);
    double start = resident_bytes();
    for (int i = 0; i < GENERATIONS; i++) grow_up(&generation[i], &r);
    double peak = resident_bytes() - start, live = (double)generation[KEPT].bytes;
    for (int i = 0; i < GENERATIONS; i++)
        if (i != KEPT) end(&generation[i]);
    for (int i = 0; i < WAIT_S * 10; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        free(block_new(64));
    }
    printf("metric peak_mib %.1f\nmetric live_mib %.1f\n", peak / 1048576, live / 1048576);
    printf("metric rss_over_live %.3f\n", (resident_bytes() - start) / live);
    malloc_trim(0);
    printf("metric trimmed_over_live %.3f\n", (resident_bytes() - start) / live);
    end(&generation[KEPT]);
    malloc_trim(0);
    double left = resident_bytes() - start;
    printf("metric left_of_peak %.4f\n", (left > 0 ? left : 0) / peak);
    return 0;
}
