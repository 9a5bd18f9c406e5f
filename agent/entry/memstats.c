/* SPDX-License-Identifier: Apache-2.0
 *
 * The allocator's statistics for people and programs: text, JSON, and the XML of glibc's malloc_info. All figures are
 * those of one seep_read_memstats(); the rows of classes and locks are read after it.
 *
 *   seep_write_memstats, malloc_stats → emit → write(2)        malloc_info → stdio
 *
 * The first two allocate nothing and take no lock but the heap's. */
#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/entry/entry.h"
#include "agent/heap/heap.h"
#include "agent/profile/profile.h"
#include "agent/include/seep.h"
#include "agent/os/os.h"

struct stat_row {
    const char *name, *unit;
    size_t offset;
};
static const struct stat_row stat_rows[] = {
#define STAT(field, unit, meaning) {#field, unit, offsetof(struct seep_memstats, field)},
#include "agent/contract/stats.def"
#undef STAT
};
enum { ROWS = sizeof stat_rows / sizeof stat_rows[0] };

static uint64_t stat_value(const struct seep_memstats *m, const struct stat_row *r)
{
    uint64_t v;
    memcpy(&v, (const char *)m + r->offset, sizeof v);
    return v;
}

struct emitter {
    int fd, error;
    size_t n;
    char buf[2048];
};

static void flush(struct emitter *e)
{
    for (size_t at = 0; at < e->n && !e->error;) {
        long r = os_write(e->fd, e->buf + at, e->n - at);
        if (r == -EINTR) continue;
        if (r <= 0) e->error = r < 0 ? (int)r : -EIO;
        if (r > 0) at += (size_t)r;
    }
    e->n = 0;
}

/* One line or less at a time. */
static __attribute__((format(printf, 2, 3))) void emit(struct emitter *e, const char *format, ...)
{
    va_list ap;
    if (sizeof e->buf - e->n < 512) flush(e);
    va_start(ap, format);
    int n = vsnprintf(e->buf + e->n, sizeof e->buf - e->n, format, ap);
    va_end(ap);
    if (n > 0) e->n += (size_t)n;
}

static void write_text(struct emitter *e, const struct seep_memstats *m, const struct heap_class_stat *c,
                       const struct heap_lock_stats *l)
{
    for (int i = 0; i < ROWS; i++)
        emit(e, "%-14s %14lu %s\n", stat_rows[i].name, stat_value(m, &stat_rows[i]), stat_rows[i].unit);
    emit(e, "lock waits     pages %lu, central lists %lu, caches %lu, samples %lu, profile %lu\n", l->pages, l->central,
         l->caches, l->samples, prof_lock_waits());
    emit(e, "%6s %8s %12s %10s %12s %8s %8s\n", "size", "spans", "bytes", "objects", "bytes", "cached", "waits");
    for (int i = 0; i < HEAP_CLASSES; i++) {
        if (c[i].spans == 0) continue;
        emit(e, "%6lu %8lu %12lu %10lu %12lu %8lu %8lu\n", c[i].size, c[i].spans, c[i].span_bytes, c[i].objects,
             c[i].object_bytes, c[i].cached, c[i].contended);
    }
}

static void write_json(struct emitter *e, const struct seep_memstats *m, const struct heap_class_stat *c,
                       const struct heap_lock_stats *l)
{
    emit(e, "{\"version\":1");
    for (int i = 0; i < ROWS; i++) emit(e, ",\"%s\":%lu", stat_rows[i].name, stat_value(m, &stat_rows[i]));
    emit(e,
         ",\"lock_waits\":{\"pages\":%lu,\"central\":%lu,\"caches\":%lu,\"samples\":%lu,\"profile\":%lu},"
         "\"classes\":[",
         l->pages, l->central, l->caches, l->samples, prof_lock_waits());
    for (int i = 0; i < HEAP_CLASSES; i++)
        emit(e,
             "%s{\"size\":%lu,\"spans\":%lu,\"span_bytes\":%lu,\"objects\":%lu,\"object_bytes\":%lu,\"cached\":%lu,"
             "\"lock_waits\":%lu}",
             i ? "," : "", c[i].size, c[i].spans, c[i].span_bytes, c[i].objects, c[i].object_bytes, c[i].cached,
             c[i].contended);
    emit(e, "]}\n");
}

SEEP_EXPORT int seep_write_memstats(int fd, int json)
{
    struct emitter e = {.fd = fd};
    struct seep_memstats m = {.size = sizeof m};
    struct heap_class_stat c[HEAP_CLASSES];
    struct heap_lock_stats l;
    seep_read_memstats(&m);
    heap_class_stats(c);
    heap_lock_stats(&l);
    if (json)
        write_json(&e, &m, c, &l);
    else
        write_text(&e, &m, c, &l);
    flush(&e);
    return e.error;
}

SEEP_EXPORT void malloc_stats(void)
{
    seep_write_memstats(2, 0);
}

/* As glibc writes it: what is free, by size; then sums. */
SEEP_EXPORT int malloc_info(int options, FILE *f)
{
    if (options != 0) return EINVAL;
    struct seep_memstats m = {.size = sizeof m};
    struct heap_class_stat c[HEAP_CLASSES];
    uint64_t count = 0, bytes = 0;
    seep_read_memstats(&m);
    heap_class_stats(c);
    fprintf(f, "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n");
    for (int i = 1; i < HEAP_CLASSES; i++) {
        uint64_t room = c[i].span_bytes / c[i].size, n = room > c[i].objects ? room - c[i].objects : 0;
        if (n == 0) continue;
        fprintf(f, "  <size from=\"%lu\" to=\"%lu\" total=\"%lu\" count=\"%lu\"/>\n", c[i - 1].size + 1, c[i].size,
                n * c[i].size, n);
        count += n;
        bytes += n * c[i].size;
    }
    fprintf(
        f,
        "</sizes>\n<total type=\"fast\" count=\"0\" size=\"0\"/>\n<total type=\"rest\" count=\"%lu\" size=\"%lu\"/>\n"
        "<system type=\"current\" size=\"%lu\"/>\n<system type=\"max\" size=\"%lu\"/>\n"
        "<aspace type=\"total\" size=\"%lu\"/>\n<aspace type=\"mprotect\" size=\"%lu\"/>\n</heap>\n",
        count, bytes, m.heap_sys - m.heap_released, m.heap_sys, m.heap_sys, m.heap_sys);
    fprintf(f,
            "<total type=\"fast\" count=\"0\" size=\"0\"/>\n<total type=\"rest\" count=\"%lu\" size=\"%lu\"/>\n"
            "<total type=\"mmap\" count=\"%lu\" size=\"%lu\"/>\n<system type=\"current\" size=\"%lu\"/>\n"
            "<system type=\"max\" size=\"%lu\"/>\n<aspace type=\"total\" size=\"%lu\"/>\n"
            "<aspace type=\"mprotect\" size=\"%lu\"/>\n</malloc>\n",
            count, bytes, c[0].objects, m.large_alloc, m.sys - m.heap_released, m.sys, m.sys, m.sys);
    return 0;
}
