/* SPDX-License-Identifier: Apache-2.0
 *
 * What snapshots remember of each other: when a task was first proven leaked, and notes of other rules (judge_note). A proof stays a proof as long as the task has
 * not run, even if a stale word seems to reach it now, so that reports do not flicker.
 *
 * One table in memory shared by the process and its snapshots' children: the child writes, the next child reads. Nothing is
 * removed; a full table forgets new tasks only. An entry's key says which wait it was: provider, id and the number of times
 * the task was scheduled. Threads are scheduled by every stop, so theirs says what they wait for instead, and only the time
 * is kept, not the verdict.
 *
 * The parent maps the table before the stop (sticky_prepare); pages that are not used cost nothing. One snapshot at a time,
 * so no locks. */
#include "agent/snapshot/child.h"

#include <sys/mman.h>

#include "agent/os/os.h"
#include "agent/snapshot/raw.h"

struct entry {
    uint64_t key; /* 0: free */
    uint64_t mono_ns;
};
enum { ENTRIES = 1 << 21, TRIES = 64 };

static struct table {
    uint64_t ntasks; /* remembered; the rest are notes */
    struct entry at[ENTRIES];
} * table;
static int table_pid;

void judge_sticky_prepare(void)
{
    if (table && table_pid == os_getpid()) return;
    table_pid = os_getpid(); /* a forked child's tasks are others: the table of its parent is not its own */
    long p = sys6(SYS_mmap, 0, (long)sizeof *table, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                  -1, 0);
    if (table) sys3(SYS_munmap, (long)table, (long)sizeof *table, 0);
    table = p < 0 && p > -4096 ? NULL : (struct table *)p;
    if (table) sys3(SYS_madvise, p, (long)sizeof *table, MADV_DONTDUMP);
}

bool judge_sticky_owns(uintptr_t lo, uintptr_t hi)
{
    return table && lo < (uintptr_t)(table + 1) && hi > (uintptr_t)table;
}

static uint64_t key_of(const struct judgement *j, const struct task_rec *t)
{
    uint64_t what = t->is_thread ? t->nwaits ? j->waits[t->waits].object : 0 : t->schedules;
    uint64_t h = (t->id * 16 + t->provider) * 0x9e3779b97f4a7c15ull ^ what * 0xc2b2ae3d27d4eb4full;
    h ^= h >> 29;
    return h ? h : 1;
}

static size_t place_of(uint64_t key)
{
    return (size_t)(key * 0x9e3779b97f4a7c15ull >> 32);
}

static struct entry *find(uint64_t key, bool add)
{
    size_t at = place_of(key);
    for (int i = 0; table && i < TRIES; i++, at++) {
        struct entry *e = &table->at[at % ENTRIES];
        if (e->key == key || (add && !e->key)) return e;
        if (!e->key) return NULL;
    }
    return NULL;
}

/* The table is larger than caches. */
static void fetch_ahead(const struct judgement *j, size_t i)
{
    enum { AHEAD = 16 };
    if (table && i + AHEAD < j->ntasks)
        __builtin_prefetch(&table->at[place_of(key_of(j, &j->tasks[i + AHEAD])) % ENTRIES]);
}

void judge_recall(struct judgement *j)
{
    for (size_t i = 0; table && table->ntasks && i < j->ntasks; i++) {
        struct task_rec *t = &j->tasks[i];
        fetch_ahead(j, i);
        const struct entry *e = t->blocked ? find(key_of(j, t), false) : NULL;
        if (!e) continue;
        t->first_seen_ns = e->mono_ns;
        if (!t->is_thread && t->doom == DOOM_NONE) t->doom = DOOM_BEFORE;
    }
}

void judge_remember(struct judgement *j, const struct snapshot_job *job)
{
    for (size_t i = 0; j->proofs && i < j->ntasks; i++) {
        struct task_rec *t = &j->tasks[i];
        fetch_ahead(j, i);
        if (t->live || t->first_seen_ns) continue;
        struct entry *e = find(key_of(j, t), true);
        t->first_seen_ns = job->mono_ns;
        if (!e) continue;
        table->ntasks++;
        e->mono_ns = job->mono_ns;
        e->key = key_of(j, t);
    }
}

uint64_t *judge_note(uint64_t key)
{
    key ^= key >> 29;
    if (!key) key = 1;
    struct entry *e = find(key, true);
    if (!e) return NULL;
    e->key = key;
    return &e->mono_ns;
}
