/* SPDX-License-Identifier: Apache-2.0
 *
 * A program that uses all of the malloc family from several threads, waits, forks, asks for snapshots, and takes NULL for an answer.
 * Every block's bytes are looked at. Ends with "intact" and how many requests were refused.
 * With "lazy": kibibytes that are lazily free, and resident, after a peak. With "pressure freed|kept": lazily free before and after
 * the program has needed memory for something else. */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 2, LIVE = 40, OPS = 300, BIG = 3 << 20 };

static unsigned refused;

static void die(const char *what)
{
    (void)!write(2, what, strlen(what));
    (void)!write(2, "\n", 1);
    _exit(3);
}

static void *got(void *p)
{
    if (p) return p;
    if (errno != ENOMEM) die("NULL without ENOMEM");
    __atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
    return NULL;
}

struct block {
    unsigned char *p, mark;
    size_t n;
};

static void fill(struct block *b, unsigned char *p, size_t n, unsigned char mark)
{
    *b = (struct block){p, mark, n};
    if (!p) return;
    p[0] = p[n / 2] = p[n - 1] = mark;
    for (size_t i = 0; i < n; i += 4096) p[i] = mark;
}

static void look(const struct block *b, size_t n)
{
    if (!b->p) return;
    if (b->p[0] != b->mark || (n == b->n && (b->p[n / 2] != b->mark || b->p[n - 1] != b->mark))) die("bytes changed");
    for (size_t i = 0; i < n; i += 4096)
        if (b->p[i] != b->mark) die("bytes changed");
}

static size_t size_of(uint32_t r)
{
    if (r % 100 < 70) return 1 + r / 100 % 500;
    if (r % 100 < 95) return 1 + r / 100 % 30000;
    if (r % 100 < 99) return 1 + r / 100 % 300000;
    return 1 + r / 100 % BIG;
}

static void *zeros(size_t n)
{
    unsigned char *p = got(calloc(1, n));
    for (size_t i = 0; p && i < n; i += 512)
        if (p[i] != 0) die("calloc: not clear");
    return p;
}

static void *aligned(size_t n, uint32_t r)
{
    void *p = NULL;
    size_t align = (size_t)16 << r % 12;
    int rc = posix_memalign(&p, align, n);
    if (rc != 0 && rc != ENOMEM) die("posix_memalign: neither 0 nor ENOMEM");
    if (rc == ENOMEM) __atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
    if (p && (uintptr_t)p % align != 0) die("not aligned");
    return rc == 0 ? p : NULL;
}

static void *work(void *arg)
{
    struct block b[LIVE] = {{0}};
    uint32_t r = (uint32_t)(uintptr_t)arg * 7919 + 1;
    for (int i = 0; i < OPS; i++) {
        r = r * 1664525 + 1013904223;
        struct block *k = &b[(r >> 8) % LIVE];
        size_t n = size_of(r >> 4);
        unsigned char mark = (unsigned char)(r >> 3);
        if (r % 5 == 0 && k->p) {
            unsigned char *p = got(realloc(k->p, n));
            struct block was = {p ? p : k->p, k->mark, k->n};
            look(&was, p && n < k->n ? n : k->n);
            if (p) fill(k, p, n, mark);
            continue;
        }
        look(k, k->n);
        free(k->p);
        fill(k, r % 5 == 1 ? zeros(n) : r % 5 == 2 ? aligned(n, r >> 9) : got(malloc(n)), n, mark);
        if (i % 150 == 149) malloc_trim(0);
    }
    for (int i = 0; i < LIVE; i++) {
        look(&b[i], b[i].n);
        free(b[i].p);
    }
    return NULL;
}

static void in_threads(void)
{
    pthread_t t[THREADS];
    int made = 0;
    for (uintptr_t i = 0; i < THREADS; i++) made += pthread_create(&t[made], NULL, work, (void *)(i + 2)) == 0;
    work((void *)1);
    while (made > 0) pthread_join(t[--made], NULL);
}

/* Freed by another thread, and a peak that goes back while the program waits. */
static void *give(void *p)
{
    free(p);
    return NULL;
}

static void peak(void)
{
    enum { N = 10 };
    void *p[N];
    pthread_t t;
    for (int i = 0; i < N; i++)
        if ((p[i] = got(malloc(1 << 20))) != NULL) memset(p[i], 1, 1 << 20);
    for (int i = 1; i < N; i++) free(p[i]);
    if (pthread_create(&t, NULL, give, p[0]) == 0)
        pthread_join(t, NULL);
    else
        free(p[0]);
    nanosleep(&(struct timespec){0, 50000000}, NULL);
}

static long kib(const char *what)
{
    char line[256];
    long v = -1;
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, what, strlen(what)) == 0) v = atol(line + strlen(what));
    if (f) fclose(f);
    return v;
}

/* Written, and freed above the memory limit or not. */
static void much(int mib, int freed)
{
    static void *p[1000];
    for (int i = 0; i < mib * 4; i++) memset(p[i] = malloc(256 << 10), 1, 256 << 10);
    for (int i = 0; freed && i < mib * 4; i++) free(p[i]);
    nanosleep(&(struct timespec){0, 400000000}, NULL);
}

static int lazily(void)
{
    much(64, 1);
    printf("%ld %ld\n", kib("LazyFree:"), kib("Rss:"));
    return 0;
}

/* 100 MiB of the heap, then 100 that are not of the heap. */
static int pressure(int freed)
{
    const size_t n = 100u << 20;
    much(100, freed);
    long before = kib("LazyFree:");
    char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return 5;
    memset(p, 1, n);
    printf("%ld %ld\n", before, kib("LazyFree:"));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "lazy") == 0) return lazily();
    if (argc > 2 && strcmp(argv[1], "pressure") == 0) return pressure(strcmp(argv[2], "freed") == 0);
    int (*snapshot)(const char *);
    *(void **)&snapshot = dlsym(RTLD_DEFAULT, "seep_snapshot");
    in_threads();
    peak();
    if (snapshot) snapshot("middle"); /* may fail */
    pid_t pid = fork();
    if (pid == 0) {
        work((void *)9);
        _exit(0);
    }
    if (pid > 0) {
        int status;
        if (waitpid(pid, &status, 0) != pid || status != 0) die("the child died");
    }
    in_threads();
    struct mallinfo2 m = mallinfo2();
    if (m.uordblks > m.arena + m.hblkhd) die("mallinfo2");
    char line[64];
    int n = snprintf(line, sizeof line, "intact, %u refused\n", refused);
    return write(1, line, (size_t)n) == n ? 0 : 4;
}
