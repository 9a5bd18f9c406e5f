/* SPDX-License-Identifier: Apache-2.0
 *
 * Which allocation is sampled, and its books.
 *
 *   malloc: counter -= slot size; below 0 → prof_due: next gap → a slot for it → prof_record: stack → bucket → record
 *   free:   the slot has a record → prof_free: record out → bucket
 *
 * A record belongs to whoever holds the slot: it is written before malloc returns the block, and read, changed and taken by
 * the thread that frees or resizes the block. Hence no lock.
 *
 * Invariants
 *   1. The gap is the integer part of an exponential variable with mean `rate`, hence geometric and memoryless; an
 *      object of s bytes is sampled iff the gap left is below s: with probability 1 - exp(-s/rate), independent
 *      of every other object, of the stack, and of what was requested inside the slot (docs/sampling.md).
 *   2. The gap counts from the end of the object that was sampled, whatever of it lay beyond the old gap: this is
 *      right because the gap has no memory, and an object is sampled once at most.
 *   3. An allocation made while the profiler itself runs in this thread (in_profile) draws its gap and is not recorded.
 * Locks: none here; those of samples.c (free lists), bucket.c, stacktab.c, one after another. Not async-signal-safe.
 * Units: bytes; gaps in bytes of slots. */
#include "agent/profile/internal.h"

#include <string.h>

#include "agent/profile/arch.h"
#include "agent/profile/unwind.h"
#include "agent/snapshot/hints.h"
#include "agent/util/options.h"

static struct {
    uint64_t rate;
    uint64_t seed;   /* of the generators' seeds: atomic; 0: to be had from the kernel */
    uint64_t seeded; /* generators seeded so far: atomic */
    bool fixed;      /* by SEEP_DEBUG=seed */
    unsigned depth;
    uint32_t ready;
} prof;

bool prof_often;

/* -ln(u) of u = n / 2^53, n in [1, 2^53]: n = m * 2^e with m in [sqrt(1/2), sqrt(2)), and ln m = 2 atanh((m-1)/(m+1))
 * by its series; the first term left out is below 1e-13. */
static double minus_log(uint64_t n)
{
    const double ln2 = 0.693147180559945309417;
    const uint64_t least = 0x3fe6a09e667f3bcdull; /* of sqrt(1/2), as bits */
    double m = (double)(int64_t)n;
    uint64_t bits;
    memcpy(&bits, &m, sizeof bits);
    int64_t e = (int64_t)(bits - least) >> 52;
    bits -= (uint64_t)e << 52;
    memcpy(&m, &bits, sizeof m);
    double s = (m - 1) / (m + 1), q = s * s;
    double a = 1.0 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q * (1.0 / 11 + q * (1.0 / 13))))));
    return (double)(53 - e) * ln2 - 2 * s * a;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

int64_t prof_gap(uint64_t *rng, uint64_t rate)
{
    if (rate == 0) return INT64_MAX;
    if (rate == 1) return 0; /* the next object of any size takes the counter below 0 */
    double gap = minus_log((next_random(rng) >> 11) + 1) * (double)rate;
    return gap > 0 ? (int64_t)gap : 0;
}

static int64_t thread_gap(void)
{
    struct agent_tls *t = &agent_tls;
    if (t->rng == 0 && prof.rate > 1) {
        uint64_t seed = __atomic_load_n(&prof.seed, __ATOMIC_RELAXED), none = 0;
        if (seed == 0) { /* from the kernel once, not for each of many short threads */
            seed = os_random() | 1;
            if (!__atomic_compare_exchange_n(&prof.seed, &none, seed, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
                seed = none;
        }
        uint64_t mixed = seed + __atomic_fetch_add(&prof.seeded, 1, __ATOMIC_RELAXED);
        t->rng = next_random(&mixed) | 1;
    }
    return prof_gap(&t->rng, prof.rate);
}

void prof_init(void)
{
    if (__atomic_load_n(&prof.ready, __ATOMIC_ACQUIRE)) return;
    /* Threads that race here store the same values. */
    options_init();
    prof.rate = agent_options.rate;
    prof.depth = (unsigned)agent_options.depth;
    int64_t seed = options_debug("seed", 0);
    if (seed != 0 && !prof.fixed) {
        prof.seed = (uint64_t)seed;
        prof.fixed = true;
    }
    if (prof.depth == 0 || prof.depth > PROF_MAX_DEPTH) prof.depth = PROF_MAX_DEPTH;
    unwind_init();
    prof_often = prof.rate != 0 && prof.rate <= PROF_OFTEN_RATE;
    traces_init(prof_often);
    buckets_init(prof_often);
    __atomic_store_n(&prof.ready, 1, __ATOMIC_RELEASE);
}

void prof_late_init(void)
{
    prof_init();
    modules_refresh();
    unwind_late_init();
}

uint64_t prof_rate(void)
{
    prof_init();
    return prof.rate;
}

int64_t prof_first_gap(void)
{
    prof_init();
    if (agent_tls.no_leak) return 0;
    return thread_gap();
}

bool prof_due(int64_t *gap)
{
    if (__builtin_expect(!__atomic_load_n(&prof.ready, __ATOMIC_ACQUIRE), 0)) prof_init();
    if (__builtin_expect(agent_tls.no_leak != 0, 0)) { /* each allocation comes here */
        *gap = 0;
        return false;
    }
    *gap = thread_gap();
    return !agent_tls.in_profile && !agent_in_child && prof.rate != 0;
}

/* Inside of seep_no_leak_begin(): ignored, and not in the profile. */
void prof_unrecorded(void *p)
{
    if (__builtin_expect(agent_tls.no_leak != 0, 0)) hints_add((uintptr_t)p, 0);
}

/* Milliseconds of CLOCK_MONOTONIC, wrapping; good to 1 ms: the clock is read again when the cycle counter has moved
 * on by about half a millisecond. */
static uint32_t now_ms(void)
{
    static uint64_t ticks_at, ms_at; /* racy on purpose: each pair that can be read is off by at most a tick */
    uint64_t t = arch_ticks();
    if (__builtin_expect(t - __atomic_load_n(&ticks_at, __ATOMIC_ACQUIRE) < (1u << 20), 1))
        return (uint32_t)__atomic_load_n(&ms_at, __ATOMIC_RELAXED);
    uint64_t ms = os_mono_ns() / 1000000;
    __atomic_store_n(&ms_at, ms, __ATOMIC_RELAXED);
    __atomic_store_n(&ticks_at, t, __ATOMIC_RELEASE);
    return (uint32_t)ms;
}

/* Record and counters change in one critical section, so a snapshot sees both or neither. */
void prof_record(struct heap_sample *record, size_t slot_bytes, size_t requested)
{
    agent_tls.in_profile = 1;
    struct prof_bucket *b = bucket_for(unwind_intern(prof.depth, 1), slot_bytes);
    if (b) {
        __atomic_fetch_add(&b->allocs, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&b->alloc_bytes, requested, __ATOMIC_RELAXED);
        *record = (struct heap_sample){.bucket = b->id, .time_ms = now_ms(), .requested = requested};
    }
    agent_tls.in_profile = 0;
}

void prof_no_leak(bool begin)
{
    agent_enter();
    agent_tls.no_leak += begin ? 1u : agent_tls.no_leak ? -1u : 0;
    heap_set_next_sample(agent_tls.no_leak ? 0
                                           : thread_gap()); /* gaps have no memory: a new one is as good as the rest */
    agent_leave();
}

void prof_free(struct heap_sample *record)
{
    struct prof_bucket *b = bucket_mut(record->bucket);
    __atomic_fetch_add(&b->frees, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&b->free_bytes, record->requested, __ATOMIC_RELAXED);
    *record = (struct heap_sample){0};
}

/* The difference is booked as allocated or as freed bytes: neither counter ever falls. */
void prof_resize(struct heap_sample *record, size_t requested)
{
    struct prof_bucket *b = bucket_mut(record->bucket);
    if (requested >= record->requested)
        __atomic_fetch_add(&b->alloc_bytes, requested - record->requested, __ATOMIC_RELAXED);
    else
        __atomic_fetch_add(&b->free_bytes, record->requested - requested, __ATOMIC_RELAXED);
    record->requested = requested;
}

__attribute__((noinline)) uint32_t prof_stack_here(unsigned skip)
{
    prof_init();
    agent_enter();
    uint32_t id = 0;
    if (!agent_tls.in_profile) {
        agent_tls.in_profile = 1;
        id = unwind_intern(prof.depth, skip + 1);
        agent_tls.in_profile = 0;
    }
    agent_leave();
    return id;
}

uint64_t prof_lock_waits(void)
{
    return stack_waits() + bucket_waits() + samples_waits();
}

void prof_fork_prepare(void)
{
    modules_fork(0);
    samples_fork(0);
    bucket_fork(0);
    stack_fork(0);
}

void prof_fork_parent(void)
{
    stack_fork(1);
    bucket_fork(1);
    samples_fork(1);
    modules_fork(1);
}

void prof_fork_child(void)
{
    stack_fork(2);
    bucket_fork(2);
    samples_fork(2);
    modules_fork(2);
    agent_tls.rng = 0; /* a sequence of its own */
    if (!prof.fixed) prof.seed = 0;
}
