/* SPDX-License-Identifier: Apache-2.0
 *
 * A live heap of 64-byte objects, reachable from one global only, and snapshots of it.
 *     graph MIB random|sequential|chain SNAPSHOTS
 * random, sequential: a binary tree; its nodes lie in random order or in the order of the tree. chain: one list in random order,
 * where each step must wait for memory and no marker can look ahead. Run with the agent preloaded; every figure is in the
 * recording. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "seep.h"

extern int seep_snapshot(const char *label) __attribute__((weak));

struct node {
    struct node *left, *right;
    uint64_t payload[6];
};

struct node *volatile root; /* the only way in */

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    size_t n = (size_t)atol(argv[1]) * (1u << 20) / sizeof(struct node);
    int chain = strcmp(argv[2], "chain") == 0, random = chain || strcmp(argv[2], "random") == 0;
    if (!seep_snapshot || n < 2) {
        fputs("graph: no agent is preloaded, or no size\n", stderr);
        return 2;
    }
    struct node **all = malloc(n * sizeof *all);
    for (size_t i = 0; i < n; i++) {
        all[i] = malloc(sizeof(struct node));
        if (!all[i]) return 4;
        memset(all[i]->payload, 1, sizeof all[i]->payload);
    }
    uint64_t s = 0x9e3779b97f4a7c15u;
    for (size_t i = n - 1; random && i > 0; i--) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        size_t j = (size_t)((s >> 33) % (i + 1));
        struct node *t = all[i];
        all[i] = all[j];
        all[j] = t;
    }
    for (size_t i = 0; i < n; i++) {
        size_t left = chain ? i + 1 : 2 * i + 1, right = chain ? n : 2 * i + 2;
        all[i]->left = left < n ? all[left] : NULL;
        all[i]->right = right < n ? all[right] : NULL;
    }
    root = all[0];
    free(all);
    for (int i = 0; i < atoi(argv[3]); i++) {
        int r = seep_snapshot(argv[2]);
        if (r) {
            fprintf(stderr, "graph: snapshot failed: %d\n", r);
            return 1;
        }
    }
    return 0;
}
