/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of finalizers: segments that are never moved or given back, a hash of addresses into them, and the queue of
 * those whose turn has come. See finalizer.h. */
#include "agent/gc/finalizer.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "agent/os/os.h"
#include "agent/util/critical.h"
#include "agent/util/lock.h"

enum { FIRST_SEGMENT = 256, SEGMENTS = 22 };

static struct lock lock = LOCK_INIT(RANK_FINALIZERS);
static struct {
    struct finalizer *segment[SEGMENTS]; /* of 256, 256, 512, 1024 … entries */
    uint32_t slots, used;                /* entries that exist; that are not free. atomic for readers */
    uint32_t free;                       /* first free one + 1 */
    uint32_t *heads, nheads;             /* hash: first of the chain + 1; a power of two of them */
    uint32_t first, last;                /* the queue, + 1 */
    uint32_t queued, word;               /* word: changes when something becomes ready; a futex */
    uint64_t made;
    struct finalizer_call current;
} F;
static uint32_t *verdicts; /* shared with the child: the generation it has judged, by index */
static uint32_t nverdicts;

static struct finalizer *entry(uint32_t i)
{
    if (i < FIRST_SEGMENT) return &F.segment[0][i];
    unsigned k = 31u - (unsigned)__builtin_clz(i / FIRST_SEGMENT); /* [256 << k, 512 << k) */
    return &F.segment[k + 1][i - ((uint32_t)FIRST_SEGMENT << k)];
}

static uint32_t *head_of(uintptr_t object)
{
    return &F.heads[((object >> 4) * 0x9e3779b97f4a7c15ull >> 32) & (F.nheads - 1)];
}

/* ---- room */

static bool more_entries(void)
{
    unsigned k = 0;
    while (k < SEGMENTS && F.segment[k]) k++;
    if (k == SEGMENTS) return false;
    uint32_t n = k ? (uint32_t)FIRST_SEGMENT << (k - 1) : FIRST_SEGMENT;
    struct finalizer *p = os_alloc(n * sizeof *p, OS_GC);
    if (!p) return false;
    F.segment[k] = p;
    for (uint32_t i = n; i-- > 0;) {
        p[i].next = F.free;
        F.free = F.slots + i + 1;
    }
    __atomic_store_n(&F.slots, F.slots + n, __ATOMIC_RELEASE);
    return true;
}

static bool more_heads(void)
{
    uint32_t n = F.nheads ? F.nheads * 2 : FIRST_SEGMENT;
    uint32_t *heads = os_alloc(n * sizeof *heads, OS_GC);
    if (!heads) return F.nheads != 0; /* longer chains */
    uint32_t *old = F.heads, nold = F.nheads;
    F.heads = heads;
    F.nheads = n;
    for (uint32_t i = 0; i < nold; i++)
        for (uint32_t at = old[i]; at;) {
            struct finalizer *f = entry(at - 1);
            uint32_t next = f->next, *head = head_of(f->object);
            f->next = *head;
            *head = at;
            at = next;
        }
    if (old) os_free(old, nold * sizeof *old);
    return true;
}

static struct finalizer *add(uintptr_t object)
{
    if (F.used >= F.nheads && !more_heads()) return NULL;
    if (!F.free && !more_entries()) return NULL;
    uint32_t at = F.free, *head = head_of(object);
    struct finalizer *f = entry(at - 1);
    F.free = f->next;
    __atomic_store_n(&F.used, F.used + 1, __ATOMIC_RELEASE);
    f->object = object;
    f->next = *head;
    *head = at;
    return f;
}

/* The link to the entry of the object, among those that are SET. */
static uint32_t *find(uintptr_t object)
{
    if (!F.nheads) return NULL;
    for (uint32_t *link = head_of(object); *link; link = &entry(*link - 1)->next)
        if (entry(*link - 1)->object == object) return link;
    return NULL;
}

static void release(uint32_t at)
{
    struct finalizer *f = entry(at - 1);
    *f = (struct finalizer){.generation = f->generation + 1, .next = F.free};
    F.free = at;
    __atomic_store_n(&F.used, F.used - 1, __ATOMIC_RELEASE);
}

static void remove_set(uint32_t *link)
{
    uint32_t at = *link;
    *link = entry(at - 1)->next;
    release(at);
}

/* ---- by the program */

int finalizer_set(uintptr_t object, finalizer_fn *fn, void *arg, uint32_t stack)
{
    int rc = 0;
    lock_acquire(&lock);
    uint32_t *link = find(object);
    struct finalizer *f = link ? entry(*link - 1) : NULL;
    if (!fn) {
        if (link)
            remove_set(link);
        else
            rc = -ENOENT;
    } else if (!f && !(f = add(object))) {
        rc = -ENOMEM;
    } else {
        f->fn = fn;
        f->arg = arg;
        f->stack = stack;
        f->generation++;
        f->state = FINALIZER_SET;
    }
    lock_release(&lock);
    return rc;
}

void finalizer_forget(uintptr_t object)
{
    if (!finalizers_any()) return;
    lock_acquire(&lock);
    uint32_t *link = find(object);
    if (link) remove_set(link);
    for (uint32_t at = F.first; at; at = entry(at - 1)->next)
        if (entry(at - 1)->object == object) entry(at - 1)->object = 0;
    lock_release(&lock);
}

/* ---- the finalizers' thread */

bool finalizer_begin(struct finalizer_call *out)
{
    bool found = false;
    lock_acquire(&lock);
    while (F.first && !found) {
        uint32_t at = F.first;
        struct finalizer *f = entry(at - 1);
        F.first = f->next;
        if (!F.first) F.last = 0;
        F.queued--;
        found = f->object != 0;
        if (found)
            F.current = (struct finalizer_call){.object = (void *)f->object,
                                                .arg = f->arg,
                                                .fn = f->fn,
                                                .since_ns = os_mono_ns(),
                                                .stack = f->stack,
                                                .tid = os_gettid()};
        release(at);
    }
    *out = F.current;
    lock_release(&lock);
    return found;
}

void finalizer_end(void)
{
    lock_acquire(&lock);
    F.current = (struct finalizer_call){0};
    lock_release(&lock);
}

void finalizer_wait(void)
{
    uint32_t seen = __atomic_load_n(&F.word, __ATOMIC_ACQUIRE);
    if (finalizers_queue() == 0) os_futex_wait(&F.word, seen, -1);
}

bool finalizers_any(void)
{
    return __atomic_load_n(&F.used, __ATOMIC_ACQUIRE) != 0;
}

uint64_t finalizers_made(void)
{
    return __atomic_load_n(&F.made, __ATOMIC_ACQUIRE);
}

uint64_t finalizers_queue(void)
{
    return __atomic_load_n(&F.queued, __ATOMIC_ACQUIRE);
}

/* ---- around a snapshot */

static void drop_verdicts(void)
{
    if (verdicts) os_free(verdicts, nverdicts * sizeof *verdicts);
    verdicts = NULL;
    nverdicts = 0;
}

void finalizers_prepare(void)
{
    uint32_t n = finalizers_any() ? __atomic_load_n(&F.slots, __ATOMIC_ACQUIRE) : 0;
    if (n > nverdicts) {
        lock_acquire(&lock); /* a child of fork() gives back what it finds */
        drop_verdicts();
        verdicts = os_share(n * sizeof *verdicts, OS_GC);
        nverdicts = verdicts ? n : 0; /* none this time */
        lock_release(&lock);
    } else if (verdicts) {
        memset(verdicts, 0, nverdicts * sizeof *verdicts);
    }
}

void finalizer_verdict(uint32_t i)
{
    if (i < nverdicts) verdicts[i] = entry(i)->generation;
}

void finalizers_finish(bool told)
{
    uint32_t n = 0;
    if (!told || !verdicts || !finalizers_any()) return;
    lock_acquire(&lock);
    for (uint32_t i = 0; i < nverdicts; i++) {
        struct finalizer *f = entry(i);
        if (verdicts[i] == 0 || f->state != FINALIZER_SET || f->generation != verdicts[i]) continue;
        uint32_t *link = find(f->object);
        *link = f->next;
        f->next = 0;
        f->state = FINALIZER_READY;
        f->generation++;
        f->since_ns = os_mono_ns();
        if (F.last)
            entry(F.last - 1)->next = i + 1;
        else
            F.first = i + 1;
        F.last = i + 1;
        n++;
    }
    F.queued += n;
    F.made += n;
    F.word += n;
    lock_release(&lock);
    if (n) os_futex_wake(&F.word, INT_MAX);
}

const struct finalizer *finalizer_at(uint32_t i)
{
    return entry(i);
}

uint32_t finalizers_slots(void)
{
    return __atomic_load_n(&F.slots, __ATOMIC_ACQUIRE);
}

const struct finalizer_call *finalizer_current(void)
{
    return &F.current;
}

/* ---- around fork() */

void finalizers_fork_prepare(void)
{
    lock_acquire(&lock);
}

void finalizers_fork_parent(void)
{
    lock_release(&lock);
}

/* The verdicts' memory is shared with the parent: this process gets its own. */
void finalizers_fork_child(void)
{
    lock_release(&lock);
    F.current = (struct finalizer_call){0};
    drop_verdicts();
}
