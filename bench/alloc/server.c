/* SPDX-License-Identifier: Apache-2.0
 *
 * A server's mix on one thread or two (server 1, server 2), or in two processes of one thread (server pair), the same work on
 * each: a request allocates 20 blocks, 90 % of them
 * small, writes the first line of each, and frees all but one, which lives in a cache of 20,000 entries until its place is
 * needed. With two threads one entry in 32 goes to the other's cache, which frees what is not its own
 * then. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/alloc/load.h"

enum { MAX_THREADS = 2, CACHE = 20000, REQUESTS = 400000, PER_REQUEST = 20, SHARED = 32 };

static void *cache[MAX_THREADS][CACHE];
static size_t threads;
static long requests;

static void *serve(void *arg)
{
    size_t me = (size_t)arg;
    struct rng r = {0x853c49e6748fea9bu + me};
    for (long n = 0; n < requests; n++) {
        void *block[PER_REQUEST];
        for (int i = 0; i < PER_REQUEST; i++) {
            size_t size = server_size(&r);
            block[i] = block_new(size);
            memset(block[i], i, size < 64 ? size : 64);
        }
        size_t owner = rng_below(&r, SHARED) ? me : (me + 1) % threads;
        void *old = __atomic_exchange_n(&cache[owner][rng_below(&r, CACHE)], block[0], __ATOMIC_ACQ_REL);
        free(old);
        for (int i = PER_REQUEST - 1; i > 0; i--) free(block[i]);
    }
    return NULL;
}

/* Two processes that have nothing in common, each begun by exec. */
static int pair(char **argv)
{
    int bad = 0, status;
    argv[1] = "1";
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork();
        if (pid < 0) return 4;
        if (pid == 0) {
            execv("/proc/self/exe", argv);
            _exit(127);
        }
    }
    for (int i = 0; i < 2; i++) bad |= wait(&status) < 0 || status != 0;
    return bad ? 4 : 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "pair") == 0) return pair(argv);
    pthread_t t[MAX_THREADS];
    threads = argc > 1 && atoi(argv[1]) == 2 ? 2 : 1;
    requests = load_scale(argc - 1, argv + 1) * REQUESTS;
    for (size_t i = 1; i < threads; i++)
        if (pthread_create(&t[i], NULL, serve, (void *)i)) return 4;
    serve(0);
    for (size_t i = 1; i < threads; i++) pthread_join(t[i], NULL);
    return 0;
}
