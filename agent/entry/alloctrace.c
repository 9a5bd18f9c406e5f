/* SPDX-License-Identifier: Apache-2.0
 *
 * The recorder of SEEP_DEBUG=alloctrace=PATH (%p in PATH: the process id). Format: alloctrace.h.
 *
 *   heap_traced → no span is ever in reach of a fast path (mcache.c) → malloc_slow, free_slow, heap_alloc, realloc
 *               → one record each, under one lock → file mapped in windows
 *
 * A run without a trace pays nothing on the fast paths. A traced one is slow; order counts there, not time.
 *
 * Invariants
 *   1. The order of records is one that can be replayed: an allocation is noted after it, a free before it, so an
 *      address is in the table once at most.
 *   2. Only the process that began the trace writes to it: a child of fork or vfork shares the mapping and is left out by its
 *      process id, before the lock.
 *   3. Whatever goes wrong ends the trace with one line, not the program. Killed at any moment, the file is good.
 * Lock: trace.lock. Never allocates from the heap. Not async-signal-safe, as malloc. */
#include "agent/entry/alloctrace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/heap/heap.h"
#include "agent/os/os.h"
#include "agent/os/syscall_x86_64.h"
#include "agent/util/critical.h"
#include "agent/util/lock.h"
#include "agent/util/log.h"
#include "agent/util/options.h"

enum { WINDOW_RECORDS = 1 << 20, FIRST_CAPACITY = 1 << 16, MAX_THREADS = UINT16_MAX };
#define WINDOW_BYTES (sizeof(struct trace_record) * WINDOW_RECORDS) /* a multiple of the page size */

struct entry {
    uintptr_t address; /* 0: unused */
    uint32_t object;
};

bool heap_traced;
size_t calloc_clear_bytes = 256;

static struct {
    struct lock lock;
    int pid, fd;
    bool ended;
    struct trace_record *window;
    uint64_t window_offset;
    size_t at; /* record in the window */
    struct entry *table;
    size_t capacity, live; /* a power of two, at most half full */
    uint32_t *free_objects;
    uint32_t nfree, nobjects, nthreads;
} trace = {.lock = LOCK_INIT(RANK_PERSISTENT)};

static void end_trace(const char *why, long error)
{
    if (!trace.ended) log_line("alloctrace: %s (error %ld): the trace ends here", why, error);
    trace.ended = true;
}

/* ---- Addresses → object numbers: open addressing, linear probing. */
static size_t home(uintptr_t address)
{
    return (size_t)(((uint64_t)address >> 3) * 0x9e3779b97f4a7c15u >> 20) & (trace.capacity - 1);
}

static struct entry *find(uintptr_t address)
{
    size_t i = home(address);
    while (trace.table[i].address && trace.table[i].address != address) i = (i + 1) & (trace.capacity - 1);
    return &trace.table[i];
}

static bool table_grow(void)
{
    size_t old_capacity = trace.capacity, capacity = old_capacity ? old_capacity * 2 : FIRST_CAPACITY;
    struct entry *old = trace.table, *table = os_alloc(capacity * sizeof *table, OS_OTHER);
    uint32_t *free_objects = os_alloc(capacity / 2 * sizeof *free_objects, OS_OTHER);
    if (!table || !free_objects) return false;
    trace.table = table;
    trace.capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].address) *find(old[i].address) = old[i];
    if (trace.nfree) memcpy(free_objects, trace.free_objects, trace.nfree * sizeof *free_objects);
    if (old) {
        os_free(old, old_capacity * sizeof *old);
        os_free(trace.free_objects, old_capacity / 2 * sizeof *free_objects);
    }
    trace.free_objects = free_objects;
    return true;
}

static bool table_room(void)
{
    if (trace.live + 1 < trace.capacity / 2 || table_grow()) return true;
    end_trace("no memory for its table", ENOMEM);
    return false;
}

/* The entries after a removed one move up, so that no probe ends too early. */
static void table_remove(struct entry *e)
{
    size_t hole = (size_t)(e - trace.table), mask = trace.capacity - 1;
    for (size_t i = (hole + 1) & mask; trace.table[i].address; i = (i + 1) & mask) {
        if (((i - home(trace.table[i].address)) & mask) < ((i - hole) & mask)) continue;
        trace.table[hole] = trace.table[i];
        hole = i;
    }
    trace.table[hole].address = 0;
    trace.live--;
}

/* ---- The file. */
static bool window_next(void)
{
    uint64_t offset = trace.window ? trace.window_offset + WINDOW_BYTES : 0;
    long rc = sys3(SYS_ftruncate, trace.fd, (long)(offset + WINDOW_BYTES), 0);
    if (rc == 0) rc = sys6(SYS_mmap, 0, WINDOW_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, trace.fd, (long)offset);
    if (rc < 0 && rc > -4096) {
        end_trace("the file can't grow", -rc);
        return false;
    }
    if (trace.window) sys3(SYS_munmap, (long)trace.window, WINDOW_BYTES, 0);
    trace.window = (struct trace_record *)rc;
    trace.window_offset = offset;
    trace.at = 0;
    return true;
}

static void put(enum trace_op op, uint32_t object, size_t size, size_t align)
{
    if (agent_tls.trace_thread == 0) {
        if (trace.nthreads == MAX_THREADS) {
            end_trace("too many threads", ENOSPC);
            return;
        }
        agent_tls.trace_thread = ++trace.nthreads;
    }
    if (trace.at == WINDOW_RECORDS && !window_next()) return;
    struct trace_record *r = &trace.window[trace.at++];
    r->object = object;
    r->size = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX;
    r->align_log2 = (uint8_t)(align ? __builtin_ctzl(align) : 0);
    r->thread = (uint16_t)(agent_tls.trace_thread - 1);
    __atomic_store_n(&r->op, (uint8_t)op, __ATOMIC_RELEASE); /* the record counts from here on */
}

/* ---- Calls. */
static bool trace_enter(void)
{
    if (agent_tls.trace_mute || trace.ended || os_getpid() != trace.pid) return false;
    lock_acquire(&trace.lock);
    return true;
}

static void object_free(struct entry *e)
{
    uint32_t object = e->object;
    table_remove(e);
    put(TRACE_FREE, object, 0, 0);
    trace.free_objects[trace.nfree++] = object;
}

static void object_add(uintptr_t address, enum trace_op op, size_t size, size_t align)
{
    if (!table_room()) return;
    struct entry *e = find(address);
    if (e->address) { /* a vfork child freed it unseen */
        object_free(e);
        e = find(address);
    }
    *e = (struct entry){address, trace.nfree ? trace.free_objects[--trace.nfree] : trace.nobjects++};
    trace.live++;
    put(op, e->object, size, align);
}

void trace_alloc(void *p, size_t size, size_t align, unsigned flags)
{
    if (!p || !trace_enter()) return;
    object_add((uintptr_t)p, align ? TRACE_ALIGNED : flags & HEAP_ZERO ? TRACE_CALLOC : TRACE_MALLOC, size, align);
    lock_release(&trace.lock);
}

void trace_free(void *p)
{
    if (!trace_enter()) return;
    struct entry *e = find((uintptr_t)p);
    if (e->address) object_free(e);
    lock_release(&trace.lock);
}

/* The number leaves the table with the old address, before another thread can get that, and comes back with the new. */
void *trace_realloc(void *p, size_t size)
{
    uint32_t object = UINT32_MAX;
    if (!p || !trace_enter()) return heap_realloc(p, size);
    struct entry *e = find((uintptr_t)p);
    if (e->address) {
        object = e->object;
        table_remove(e);
    }
    lock_release(&trace.lock);
    agent_tls.trace_mute++;
    void *q = heap_realloc(p, size);
    agent_tls.trace_mute--;
    if (object == UINT32_MAX || !trace_enter()) return q;
    if (table_room()) {
        *find((uintptr_t)(q ? q : p)) = (struct entry){(uintptr_t)(q ? q : p), object};
        trace.live++;
        if (q) put(TRACE_REALLOC, object, size, 0);
    }
    lock_release(&trace.lock);
    return q;
}

/* PATH with %p replaced. */
static bool trace_path(char *out, size_t size, int pid)
{
    char path[4096];
    if (!options_debug_string("alloctrace", path, sizeof path)) return false;
    char *p = strstr(path, "%p");
    if (p) *p = 0;
    size_t n = p ? fmt_string(out, size, "%s%d%s", path, pid, p + 2) : fmt_string(out, size, "%s", path);
    return n > 0;
}

void trace_init(void)
{
    char path[4096];
    trace.pid = os_getpid();
    if (!trace_path(path, sizeof path, trace.pid)) return;
    long fd = sys4(SYS_openat, AT_FDCWD, (long)path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        log_line("alloctrace: %s can't be created (error %ld): nothing is traced", path, -fd);
        return;
    }
    trace.fd = (int)fd;
    if (!table_room() || !window_next()) return;
    struct trace_header *h = (struct trace_header *)trace.window;
    memcpy(h->magic, TRACE_MAGIC, sizeof h->magic);
    h->pid = (uint32_t)trace.pid;
    trace.at = 1;
    calloc_clear_bytes = 0;
    heap_traced = true;
}
