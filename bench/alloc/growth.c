/* SPDX-License-Identifier: Apache-2.0
 *
 * realloc growth: 64 buffers grow side by side, as strings and arrays do, some by a bit and some by half, to 1 MiB at
 * most; then they begin anew. */
#include "bench/alloc/load.h"

enum { BUFFERS = 64, STEPS = 500000, LIMIT = 1 << 20 };

int main(int argc, char **argv)
{
    static struct {
        unsigned char *p;
        size_t size;
    } b[BUFFERS];
    struct rng r = {0x94d049bb133111ebu};
    for (long n = load_scale(argc, argv) * STEPS; n > 0; n--) {
        uint32_t i = rng_below(&r, BUFFERS);
        size_t size = b[i].size + (rng_below(&r, 16) ? 16 + rng_below(&r, 64) : b[i].size / 2 + 64);
        if (size > LIMIT) {
            free(b[i].p);
            b[i].p = NULL;
            b[i].size = 0;
            continue;
        }
        b[i].p = realloc(b[i].p, size);
        if (!b[i].p) return 4;
        memset(b[i].p + b[i].size, 1, size - b[i].size);
        b[i].size = size;
    }
    return 0;
}
