/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads: one polls a flag without ever waiting (PLANTED), one polls it once a millisecond, one waits in a system call. The process takes
 * three snapshots. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static volatile bool flag;

static void nap(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}
static bool is_set(void)
{
    return flag;
}
static void *polls_hard(void *p)
{
    while (!is_set()) {}
    return p;
}
static void *polls_softly(void *p)
{
    while (!is_set()) nap(1);
    return p;
}
static void *reads(void *p)
{
    char c;
    if (read(*(int *)p, &c, 1) < 0) abort();
    return p;
}

int main(void)
{
    int fds[2];
    pthread_t t;
    int (*snapshot)(const char *);
    *(void **)&snapshot = dlsym(RTLD_DEFAULT, "seep_snapshot");
    if (!snapshot || pipe(fds)) return 2;
    if (pthread_create(&t, NULL, polls_hard, NULL) || pthread_create(&t, NULL, polls_softly, NULL) ||
        pthread_create(&t, NULL, reads, fds))
        return 2;
    for (int i = 0; i < 3; i++) {
        nap(60);
        if (snapshot("")) return 3;
    }
    _exit(0);
}
