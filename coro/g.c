/* SPDX-License-Identifier: Apache-2.0
 *
 * Coroutine descriptors: a table that only grows, free lists of dead ones with their stacks, and the pool of wait nodes.
 *
 * Invariants
 *   1. A descriptor is never moved or given back; `id` tells its lives apart.
 *   2. Dead ones of the default stack class stand on a p's LIFO list (at most FREE_GS), the rest on a global list of their class: warm
 *      ones first. What stayed warm and unused for a second gives its pages back by halves and is cold.
 * Locks: the free lists' one, then the stack arena's. Allocates metadata, never from the heap. */
#include "coro/runtime.h"

#include <errno.h>

enum { CHUNK = 256, MAX_CHUNKS = 1 << 16, SUDOG_CHUNK = 64, TRIM_MAX = 1024, AHEAD = 16 };

static struct colock lock; /* guards what follows */
static struct g *chunks[MAX_CHUNKS];
static _Atomic uint32_t ndescriptors;
static struct g_list warm[STACK_CLASSES], cold[STACK_CLASSES]; /* LIFO */
static uint32_t low_warm[STACK_CLASSES];                       /* fewest warm ones since the last trim */
static struct sudog *free_sudogs;
static struct g *_Atomic main_g;
static uint64_t last_trim_ns;

static void push_front(struct g_list *l, struct g *g)
{
    g->link = l->head;
    l->head = g;
    if (!l->tail) l->tail = g;
    l->n++;
}

/* With the lock held. */
static struct g *descriptor(void)
{
    uint32_t n = atomic_load_explicit(&ndescriptors, memory_order_relaxed);
    if (n / CHUNK == MAX_CHUNKS) return NULL;
    if (n % CHUNK == 0 && !chunks[n / CHUNK]) {
        if (!global_reserve(n + CHUNK)) return NULL;
        chunks[n / CHUNK] = persistent_alloc(CHUNK * sizeof(struct g), 64, OS_META);
        if (!chunks[n / CHUNK]) return NULL;
    }
    struct g *g = &chunks[n / CHUNK][n % CHUNK];
    return g;
}
static void descriptor_publish(void)
{
    atomic_fetch_add_explicit(&ndescriptors, 1, memory_order_release);
}

/* Takes and gives by halves of what a p keeps. */
static void p_fill(struct p *p)
{
    for (int i = 0; i < FREE_GS / 2 && warm[STACK_DEFAULT].n > 1; i++) {
        struct g *g = list_pop(&warm[STACK_DEFAULT]);
        g->link = p->free_g;
        p->free_g = g;
        p->free_gs++;
    }
}
static void p_drain(struct p *p)
{
    for (int i = 0; i < FREE_GS / 2 && p->free_g; i++) {
        struct g *g = p->free_g;
        p->free_g = g->link;
        p->free_gs--;
        push_front(&warm[STACK_DEFAULT], g);
    }
}

COLD struct g *g_new_slow(struct p *p, size_t stack_limit, int *error)
{
    struct g *g = NULL;
    int cls = stack_class(stack_limit);
    if (cls < 0) {
        *error = -EINVAL;
        return NULL;
    }
    colock_acquire(&lock);
    if (p && cls == STACK_DEFAULT) p_fill(p);
    g = list_pop(&warm[cls]);
    if (warm[cls].n < low_warm[cls]) low_warm[cls] = warm[cls].n;
    if (!g) g = list_pop(&cold[cls]);
    if (!g && (g = descriptor()) != NULL) {
        if (stack_alloc(cls, g_count(), &g->stack_lo, &g->stack_hi)) {
            g->cls = (uint8_t)cls;
            descriptor_publish();
        } else {
            g = NULL;
        }
    }
    colock_release(&lock);
    if (!g) *error = -ENOMEM;
    return g;
}

COLD void g_free_slow(struct p *p, struct g *g)
{
    if (g->cls == STACK_CLASSES) return; /* main's stack is its thread's */
    colock_acquire(&lock);
    push_front(&warm[g->cls], g);
    if (g->cls == STACK_DEFAULT) p_drain(p);
    colock_release(&lock);
}

struct g *g_new_main(uintptr_t lo, uintptr_t hi)
{
    colock_acquire(&lock);
    struct g *g = descriptor();
    if (g) {
        g->stack_lo = lo;
        g->stack_hi = hi;
        g->cls = STACK_CLASSES;
        descriptor_publish();
        atomic_store(&main_g, g);
    }
    colock_release(&lock);
    return g;
}

struct g *g_main(void)
{
    return atomic_load(&main_g);
}

uint64_t g_next_id(struct p *p)
{
    enum { BATCH = 16 };
    if (!p) return atomic_fetch_add(&sched.next_id, 1);
    if (p->next_id == p->end_id) {
        p->next_id = atomic_fetch_add(&sched.next_id, BATCH);
        p->end_id = p->next_id + BATCH;
    }
    return p->next_id++;
}

static void fetch(const struct g *g)
{
    enum { LINES = 5, LINE = 64 };
    for (int i = 0; i < LINES; i++) __builtin_prefetch((const char *)g->sp + i * LINE);
}

int g_each(int (*fn)(void *arg, struct g *g), void *arg)
{
    uint32_t n = atomic_load_explicit(&ndescriptors, memory_order_acquire);
    for (uint32_t i = 0; i < n; i++) {
        /* Each stack is a page of its own, in no cache: what is live of it is fetched AHEAD of its use. */
        if (i + AHEAD < n) fetch(&chunks[(i + AHEAD) / CHUNK][(i + AHEAD) % CHUNK]);
        int stop = fn(arg, &chunks[i / CHUNK][i % CHUNK]);
        if (stop) return stop;
    }
    return 0;
}

uint32_t g_count(void)
{
    return atomic_load_explicit(&ndescriptors, memory_order_acquire);
}
struct g *g_at(uint32_t index)
{
    return &chunks[index / CHUNK][index % CHUNK];
}
struct g *g_by_stack(uintptr_t addr)
{
    uint32_t index;
    return stack_owner(addr, &index) ? g_at(index) : NULL;
}

/* By sysmon, about once a tick. */
void g_trim_tick(uint64_t now_ns)
{
    if (now_ns - last_trim_ns < 1000000000u) return;
    last_trim_ns = now_ns;
    pack_tick(now_ns);
    for (int cls = 0; cls < STACK_CLASSES; cls++) {
        if (!warm[cls].n) continue; /* a glance; the lock makes it sure */
        struct g *batch[64];
        colock_acquire(&lock);
        uint32_t want = low_warm[cls] - low_warm[cls] / 2;
        low_warm[cls] = warm[cls].n;
        colock_release(&lock);
        if (want > TRIM_MAX) want = TRIM_MAX;
        while (want) {
            unsigned n = 0;
            colock_acquire(&lock);
            while (n < 64 && n < want && warm[cls].n) batch[n++] = list_pop(&warm[cls]);
            colock_release(&lock);
            if (!n) break;
            stack_release_pages(batch, n);
            want -= n;
            colock_acquire(&lock);
            for (unsigned i = 0; i < n; i++) push_front(&cold[cls], batch[i]);
            colock_release(&lock);
        }
    }
}

/* A p's pool is empty: more from the common one. False: no memory. */
COLD bool sudog_fill(struct p *p)
{
    colock_acquire(&lock);
    for (int i = 0; i < SUDOG_CHUNK && free_sudogs; i++) {
        struct sudog *s = free_sudogs;
        free_sudogs = s->more;
        sudog_put(p, s);
    }
    colock_release(&lock);
    if (p->free_sudog) return true;
    struct sudog *block = persistent_alloc(SUDOG_CHUNK * sizeof(struct sudog), 16, OS_META);
    if (!block) return false;
    for (int i = 0; i < SUDOG_CHUNK; i++) sudog_put(p, &block[i]);
    return true;
}

/* A p's pool is full. */
COLD void sudog_drain(struct p *p)
{
    colock_acquire(&lock);
    while (p->free_sudogs > SUDOG_MAX / 2) {
        struct sudog *t = p->free_sudog;
        p->free_sudog = t->more;
        p->free_sudogs--;
        t->more = free_sudogs;
        free_sudogs = t;
    }
    colock_release(&lock);
}

static int orphan(void *self, struct g *g)
{
    if (g != self && g_status(g) != G_DEAD) g_set_status(g, G_ORPHAN);
    return 0;
}

/* Only self goes on here. Lists that another thread may have been changing are dropped with what they hold. */
void g_fork_child(struct g *self)
{
    lock = (struct colock){0};
    for (int c = 0; c < STACK_CLASSES; c++) warm[c] = cold[c] = (struct g_list){0};
    free_sudogs = NULL;
    g_each(orphan, self);
}
