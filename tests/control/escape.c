/* SPDX-License-Identifier: Apache-2.0
 *
 * Two workers register something of their own frames with a global table and return from there: the pointers are left behind. The twin
 * takes them out again. Then they wait, in a call whose frames do not reach down to where they stood. */
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include "tests/control/plant.h"

enum { WORKERS = 2 };
struct watch {
    struct watch *next;
    int fd;
};
static struct table {
    struct watch *watches[WORKERS];
} * table;
static bool leak;
static int fds[2];

static __attribute__((noinline)) void use_deep_stack(long i)
{
    char below[8192];
    struct watch mine = {.fd = (int)i};
    memset(below, 1, sizeof below);
    __asm__ volatile("" ::"r"(below) : "memory");
    table->watches[i] = &mine;
    nap(1);
    if (!leak) table->watches[i] = NULL;
}
static __attribute__((noinline)) void step_down(long i)
{
    char above[16384];
    memset(above, 1, sizeof above);
    __asm__ volatile("" ::"r"(above) : "memory");
    use_deep_stack(i);
}
static void *works(void *i)
{
    char c;
    step_down((long)i);
    if (read(fds[0], &c, 1) < 0) abort();
    return i;
}

int main(int argc, char **argv)
{
    int (*snapshot)(const char *);
    pthread_t t;
    leak = leaking(argc, argv);
    *(void **)&snapshot = dlsym(RTLD_DEFAULT, "seep_snapshot");
    if (!snapshot || pipe(fds)) return 2;
    table = calloc(1, sizeof *table); /* PLANTED */
    for (long i = 0; i < WORKERS; i++)
        if (pthread_create(&t, NULL, works, (void *)i)) return 2;
    nap(100);
    if (snapshot("") || snapshot("") || snapshot("")) return 3;
    _exit(0);
}
