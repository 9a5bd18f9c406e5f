/* SPDX-License-Identifier: Apache-2.0
 *
 * Ten nodes in rings of two, with a finalizer each: neither is before the other. The twin sets the finalizers on handles that
 * the nodes point to and that point to nothing, and cleans up in its own calls. Run under the agent. */
#include "seep.h"
#include "tests/control/plant.h"

#pragma weak seep_set_finalizer
#pragma weak seep_gc

struct handle {
    int fd;
};

struct node {
    struct node *peer;
    struct handle *handle;
};

static bool leak;

static void close_handle(void *p, void *arg)
{
    (void)arg;
    free(p);
}

static struct node *node_new(void)
{
    struct node *n = calloc(1, sizeof *n);
    n->handle = calloc(1, sizeof *n->handle);
    if (leak)
        seep_set_finalizer(n, close_handle, NULL); /* PLANTED */
    else
        seep_set_finalizer(n->handle, close_handle, NULL);
    return n;
}

static __attribute__((noinline)) void pair(void)
{
    struct node *a = node_new(), *b = node_new();
    a->peer = b;
    b->peer = a;
    if (leak) return;
    free(a);
    free(b);
}

int main(int argc, char **argv)
{
    leak = leaking(argc, argv);
    for (int i = 0; i < 5; i++) pair();
    scrub();
    return 0;
}
