/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory for the child's SQLite, off the program's heap: blocks of 2^k bytes from a bump arena, a free list per k;
 * over 256 KiB a mapping of its own. A word before each block says its k, or the size of its mapping.
 *
 * One thread, in the child only. NULL when the kernel refuses, which SQLite reports as SQLITE_NOMEM. */
#include "agent/snapshot/store.h"

#include "agent/os/os.h"

enum { MIN_LOG2 = 5, MAX_LOG2 = 18, HEAD = 16 };
#define ARENA ((size_t)4 << 20)

struct block {
    struct block *next;
};

static struct {
    char *p, *end;
    struct block *free[MAX_LOG2 + 1];
} mem;

static size_t *head_of(void *p)
{
    return (size_t *)(void *)((char *)p - HEAD);
}

static unsigned log2_for(size_t n)
{
    unsigned k = MIN_LOG2;
    while (((size_t)1 << k) < n) k++;
    return k;
}

static void *mem_alloc(int size)
{
    size_t n = (size_t)size + HEAD;
    char *b;
    if (n > (size_t)1 << MAX_LOG2) {
        n = (n + 0xffff) & ~(size_t)0xffff;
        b = os_alloc(n, OS_OTHER);
        if (!b) return NULL;
        *(size_t *)(void *)b = n;
        return b + HEAD;
    }
    unsigned k = log2_for(n);
    if (mem.free[k]) {
        b = (char *)mem.free[k];
        mem.free[k] = mem.free[k]->next;
    } else {
        n = (size_t)1 << k;
        if ((size_t)(mem.end - mem.p) < n) {
            mem.p = os_alloc(ARENA, OS_OTHER);
            if (!mem.p) {
                mem.end = NULL;
                return NULL;
            }
            mem.end = mem.p + ARENA;
        }
        b = mem.p;
        mem.p += n;
    }
    *(size_t *)(void *)b = k;
    return b + HEAD;
}

static void mem_free(void *p)
{
    if (!p) return;
    size_t v = *head_of(p);
    if (v > MAX_LOG2) {
        os_free(head_of(p), v);
        return;
    }
    struct block *b = (struct block *)(void *)head_of(p);
    b->next = mem.free[v];
    mem.free[v] = b;
}

static int mem_size(void *p)
{
    if (!p) return 0;
    size_t v = *head_of(p);
    return (int)((v > MAX_LOG2 ? v : (size_t)1 << v) - HEAD);
}

static void *mem_realloc(void *p, int size)
{
    if (size <= mem_size(p)) return p;
    char *to = mem_alloc(size);
    if (!to) return NULL;
    const char *from = p;
    for (int i = 0, n = mem_size(p); i < n; i++) to[i] = from[i];
    mem_free(p);
    return to;
}

static int mem_roundup(int n)
{
    return (n + 7) & ~7;
}
static int mem_init(void *arg)
{
    (void)arg;
    return SQLITE_OK;
}
static void mem_shutdown(void *arg)
{
    (void)arg;
}

int store_config(void)
{
    static const sqlite3_mem_methods methods = {mem_alloc,   mem_free, mem_realloc,  mem_size,
                                                mem_roundup, mem_init, mem_shutdown, NULL};
    int rc = sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
    if (rc == SQLITE_OK) rc = sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    if (rc == SQLITE_OK) rc = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    if (rc == SQLITE_OK) rc = sqlite3_config(SQLITE_CONFIG_MMAP_SIZE, (sqlite3_int64)0, (sqlite3_int64)0);
    return rc;
}
