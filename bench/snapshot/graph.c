/* SPDX-License-Identifier: Apache-2.0
 *
 * A live heap of 64-byte objects, reachable from one global only, and snapshots of it.
 *     graph MIB random|sequential|chain|list SNAPSHOTS [huge] [lost]
 * random, sequential: a binary tree; its nodes lie in random order or in the order of the tree. list: one list in the order of
 * addresses. chain: one in random order, where each step must wait for memory and no marker can look ahead; how long a bare loop
 * over it takes is printed. huge: on huge pages, where the kernel can (MADV_COLLAPSE). lost: the global is cleared, nothing
 * reaches the nodes. Run with the agent preloaded; every figure is in the recording. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "seep.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

extern int seep_snapshot(const char *label) __attribute__((weak));

struct node {
    struct node *left, *right;
    uint64_t payload[6];
};

struct node *volatile root; /* the only way in */

/* Huge pages under all nodes; returns how many MiB have none. */
static size_t make_huge(struct node *const *all, size_t n)
{
    const uintptr_t HUGE = 2 << 20;
    uintptr_t lo = UINTPTR_MAX, hi = 0;
    size_t failed = 0;
    for (size_t i = 0; i < n; i++) {
        if ((uintptr_t)all[i] < lo) lo = (uintptr_t)all[i];
        if ((uintptr_t)all[i] > hi) hi = (uintptr_t)all[i];
    }
    for (uintptr_t p = lo & ~(HUGE - 1); p <= hi; p += HUGE) {
        int rc, tries = 100; /* EAGAIN: a page was in use just then */
        while ((rc = madvise((void *)p, HUGE, MADV_COLLAPSE)) != 0 && errno == EAGAIN && --tries) usleep(1000);
        failed += rc != 0;
    }
    return failed * 2;
}

/* The floor for a list: nothing but its loads. */
static void walk(const struct node *p)
{
    struct timespec a, b;
    size_t n = 0;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (; p; p = p->left) n++;
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("bare loop: %zu nodes, %.1f ms\n", n,
           (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6);
}

int main(int argc, char **argv)
{
    if (argc < 4) return 2;
    size_t n = (size_t)atol(argv[1]) * (1u << 20) / sizeof(struct node);
    int random = strcmp(argv[2], "chain") == 0 || strcmp(argv[2], "random") == 0;
    int chain = strcmp(argv[2], "chain") == 0 || strcmp(argv[2], "list") == 0, huge = 0, lost = 0;
    for (int i = 4; i < argc; i++) {
        huge |= strcmp(argv[i], "huge") == 0;
        lost |= strcmp(argv[i], "lost") == 0;
    }
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
    if (huge) printf("%zu MiB are not on huge pages\n", make_huge(all, n));
    if (chain) walk(root);
    if (lost) root = NULL;
    memset(all, 0, n * sizeof *all);
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
