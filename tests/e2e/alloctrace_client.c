/* SPDX-License-Identifier: Apache-2.0
 *
 * For alloctrace.sh.
 *     alloctrace_client run            makes the calls below; sizes mark them
 *     alloctrace_client check TRACE    finds them in the trace, in their order, with their objects and threads */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/entry/alloctrace.h"

enum {
    MALLOC_N = 103,
    CALLOC_N = 77,
    REALLOC_N = 100049,
    ALIGNED_N = 1013,
    THREAD_N = 1019,
    CHILD_N = 1021,
    BIG_N = 300007
};

static void *in_thread(void *arg)
{
    (void)arg;
    return malloc(THREAD_N);
}

static int run(void)
{
    void *of_thread, *aligned;
    pthread_t t;
    void *a = malloc(MALLOC_N), *b = calloc(7, CALLOC_N / 7), *big = malloc(BIG_N);
    void *moved = realloc(a, REALLOC_N);
    if (posix_memalign(&aligned, 256, ALIGNED_N) != 0 || !b || !big || !moved) return 1;
    if (pthread_create(&t, NULL, in_thread, NULL) != 0 || pthread_join(t, &of_thread) != 0) return 1;
    pid_t child = fork();
    if (child == 0) {
        void *volatile p = malloc(CHILD_N);
        free(p);
        _exit(0);
    }
    if (waitpid(child, NULL, 0) != child) return 1;
    free(of_thread);
    free(moved);
    free(b);
    free(aligned);
    free(big);
    return 0;
}

static struct trace_record *record;
static size_t nrecords;

/* The index of the one record of that kind; ends the check when there is none, or are two. */
static size_t the_only(enum trace_op op, uint32_t size)
{
    size_t at = nrecords;
    for (size_t i = 0; i < nrecords; i++) {
        if (record[i].op != op || record[i].size != size) continue;
        if (at != nrecords) printf("two records of op %d, size %u\n", (int)op, size), exit(1);
        at = i;
    }
    if (at == nrecords) printf("no record of op %d, size %u\n", (int)op, size), exit(1);
    return at;
}

/* The next record of the object after i: must be its free, and by thread 0. */
static size_t freed(size_t i)
{
    size_t j = i + 1;
    while (j < nrecords && record[j].object != record[i].object) j++;
    if (j == nrecords || record[j].op != TRACE_FREE || record[j].thread != 0)
        printf("object %u is not freed by the main thread\n", record[i].object), exit(1);
    return j;
}

static int check(const char *path)
{
    struct trace_header h;
    FILE *f = fopen(path, "rb");
    if (!f || fread(&h, sizeof h, 1, f) != 1 || memcmp(h.magic, TRACE_MAGIC, sizeof h.magic) != 0) return 1;
    record = calloc(1 << 20, sizeof *record);
    if (!record) return 1;
    nrecords = fread(record, sizeof *record, 1 << 20, f);
    fclose(f);
    for (size_t i = 0; i < nrecords; i++)
        if (record[i].op == TRACE_END) nrecords = i;
    size_t a = the_only(TRACE_MALLOC, MALLOC_N), b = the_only(TRACE_CALLOC, CALLOC_N);
    size_t big = the_only(TRACE_MALLOC, BIG_N), moved = the_only(TRACE_REALLOC, REALLOC_N);
    size_t aligned = the_only(TRACE_ALIGNED, ALIGNED_N), thread = the_only(TRACE_MALLOC, THREAD_N);
    if (!(a < b && b < big && big < moved && moved < aligned && aligned < thread)) return puts("wrong order"), 1;
    if (record[a].object != record[moved].object) return puts("realloc changed the object"), 1;
    if (record[aligned].align_log2 != 8) return puts("wrong alignment"), 1;
    if (record[a].thread != 0 || record[thread].thread != 1) return puts("wrong threads"), 1;
    if (!(thread < freed(thread) && freed(thread) < freed(moved) && freed(moved) < freed(b) &&
          freed(b) < freed(aligned) && freed(aligned) < freed(big)))
        return puts("wrong order of frees"), 1;
    for (size_t i = 0; i < nrecords; i++)
        if (record[i].size == CHILD_N) return puts("a forked child is in its parent's trace"), 1;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "run") == 0) return run();
    if (argc == 3 && strcmp(argv[1], "check") == 0) return check(argv[2]);
    return 2;
}
