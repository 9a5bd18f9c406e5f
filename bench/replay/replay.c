/* SPDX-License-Identifier: Apache-2.0
 *
 * Plays a trace of SEEP_DEBUG=alloctrace (agent/entry/alloctrace.h) on whatever malloc the process has.
 *     replay [-n PASSES] [-t PERCENT] TRACE
 * One thread for each of the trace, each with its own calls in their order. What a thread frees must have been allocated:
 * every allocation and every realloc makes a new value, every free and realloc consumes one and waits for it. Values have
 * one producer and one consumer, and the trace is in an order that once happened, so nothing can wait for ever.
 *
 * Blocks are written: first and last byte, and one word in PERCENT (100) of their pages. What the program never freed is freed
 * after each pass. Only the passes are timed; the replayer's own arrays are mapped, not allocated, and taken off the
 * peak. Prints, for the harness: metric wall_s, cpu_s, rss_kib, own_kib, calls. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/entry/alloctrace.h"

enum { MAX_THREADS = 512, PAGE = 4096, NONE = -1 };

struct call {
    int32_t in, out; /* values; NONE */
    uint32_t size;
    uint8_t op, align_log2;
};
struct program {
    struct call *call;
    size_t n;
};

static struct program program[MAX_THREADS];
static unsigned nthreads;
static _Atomic(unsigned char *) *value; /* NULL: not produced yet, or consumed */
static int32_t nvalues, *left;          /* left: what the program never freed */
static size_t nleft;
static size_t own_bytes, page_stride = PAGE;

static _Noreturn void die(const char *what, const char *path)
{
    fprintf(stderr, "replay: %s: %s\n", path, what);
    exit(1);
}

static void *own(size_t size)
{
    void *p = mmap(NULL, size ? size : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p == MAP_FAILED) die(strerror(errno), "mmap");
    own_bytes += (size + PAGE - 1) / PAGE * PAGE;
    return p;
}

static double clock_s(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- Loading: twice through the file with a small buffer, once to count and once to fill. */
static size_t for_records(const char *path, void (*fn)(const struct trace_record *))
{
    static struct trace_record buf[4096];
    struct trace_header h;
    size_t n = 0;
    ssize_t got;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) die(strerror(errno), path);
    if (read(fd, &h, sizeof h) != (ssize_t)sizeof h || memcmp(h.magic, TRACE_MAGIC, sizeof h.magic) != 0)
        die("not a trace", path);
    while ((got = read(fd, buf, sizeof buf)) > 0) {
        for (size_t i = 0; i < (size_t)got / sizeof buf[0]; i++, n++) {
            if (buf[i].op == TRACE_END) goto end;
            if (buf[i].op >= TRACE_OPS || buf[i].thread >= MAX_THREADS || buf[i].align_log2 > 40)
                die("not a record that I know, or too many threads", path);
            fn(&buf[i]);
        }
    }
end:
    close(fd);
    return n;
}

static uint32_t nobjects;
static int32_t *current; /* object → value */

static void count(const struct trace_record *r)
{
    if (r->object >= nobjects) nobjects = r->object + 1;
    if (r->thread >= nthreads) nthreads = r->thread + 1u;
    if (r->op != TRACE_FREE) nvalues++;
    program[r->thread].n++;
}

static void fill(const struct trace_record *r)
{
    struct program *p = &program[r->thread];
    struct call *c = &p->call[p->n++];
    *c = (struct call){NONE, NONE, r->size, r->op, r->align_log2};
    if (r->op == TRACE_FREE || r->op == TRACE_REALLOC) {
        c->in = current[r->object];
        if (c->in == NONE) die("frees what is not allocated", "trace");
        current[r->object] = NONE;
    }
    if (r->op != TRACE_FREE) current[r->object] = c->out = nvalues++;
}

static size_t load(const char *path)
{
    size_t n = for_records(path, count);
    if (n == 0 || nvalues == 0) die("no calls in it", path);
    for (unsigned t = 0; t < nthreads; t++) {
        program[t].call = own(program[t].n * sizeof(struct call));
        program[t].n = 0;
    }
    value = own((size_t)nvalues * sizeof *value);
    current = mmap(NULL, nobjects * sizeof *current, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (current == MAP_FAILED) die(strerror(errno), path);
    for (uint32_t i = 0; i < nobjects; i++) current[i] = NONE;
    nvalues = 0;
    for_records(path, fill);
    for (uint32_t i = 0; i < nobjects; i++) nleft += current[i] != NONE;
    left = own(nleft * sizeof *left);
    nleft = 0;
    for (uint32_t i = 0; i < nobjects; i++)
        if (current[i] != NONE) left[nleft++] = current[i];
    munmap(current, nobjects * sizeof *current);
    return n;
}

/* ---- Playing. */
static void touch(unsigned char *p, size_t size)
{
    p[0] = 1;
    p[size - 1] = 1;
    for (size_t i = page_stride; i < size; i += page_stride) p[i] = 1;
}

static unsigned char *produce(const struct call *c, void *old)
{
    void *p = NULL;
    switch (c->op) {
    case TRACE_MALLOC: p = malloc(c->size); break;
    case TRACE_CALLOC: p = calloc(1, c->size); break;
    case TRACE_REALLOC: p = realloc(old, c->size ? c->size : 1); break;
    case TRACE_ALIGNED:
        if (posix_memalign(&p, (size_t)1 << (c->align_log2 < 3 ? 3 : c->align_log2), c->size) != 0) p = NULL;
        break;
    default: break;
    }
    if (!p) die("out of memory", "replay");
    if (c->size) touch(p, c->size);
    return p;
}

static void *play(void *arg)
{
    const struct program *prog = arg;
    for (const struct call *c = prog->call, *end = c + prog->n; c < end; c++) {
        unsigned char *old = NULL;
        if (c->in != NONE) {
            while (!(old = atomic_load_explicit(&value[c->in], memory_order_acquire))) sched_yield();
            atomic_store_explicit(&value[c->in], NULL, memory_order_relaxed);
        }
        if (c->op == TRACE_FREE)
            free(old);
        else
            atomic_store_explicit(&value[c->out], produce(c, old), memory_order_release);
    }
    return NULL;
}

static void pass(void)
{
    pthread_t t[MAX_THREADS];
    for (unsigned i = 1; i < nthreads; i++)
        if (pthread_create(&t[i], NULL, play, &program[i]) != 0) die("no thread", "replay");
    play(&program[0]);
    for (unsigned i = 1; i < nthreads; i++) pthread_join(t[i], NULL);
    for (size_t i = 0; i < nleft; i++) {
        free(atomic_load_explicit(&value[left[i]], memory_order_relaxed));
        atomic_store_explicit(&value[left[i]], NULL, memory_order_relaxed);
    }
}

int main(int argc, char **argv)
{
    long passes = 1, percent = 100;
    for (int o; (o = getopt(argc, argv, "n:t:")) != -1;) {
        if (o == 'n') passes = atol(optarg);
        if (o == 't') percent = atol(optarg);
        if (o == '?') argc = 0;
    }
    if (argc != optind + 1 || passes < 1 || percent < 1 || percent > 100) {
        fputs("usage: replay [-n PASSES] [-t PERCENT] TRACE\n", stderr);
        return 2;
    }
    page_stride = (size_t)(PAGE * 100 / percent);
    size_t calls = load(argv[optind]);
    double wall = clock_s(CLOCK_MONOTONIC), cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID);
    for (long i = 0; i < passes; i++) pass();
    wall = clock_s(CLOCK_MONOTONIC) - wall;
    cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    struct rusage ru;
    getrusage(RUSAGE_SELF, &ru);
    printf("metric wall_s %.6f\nmetric cpu_s %.6f\nmetric rss_kib %ld\nmetric own_kib %zu\nmetric calls %zu\n", wall,
           cpu, ru.ru_maxrss - (long)(own_bytes / 1024), own_bytes / 1024, calls * (size_t)passes);
    return 0;
}
