/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests for snapshots: from any thread to the agent's.
 *
 *     snapshot_request ─▶ slot: FREE → WANTED ─▶ (agent's thread) RUNNING → DONE ─▶ requester frees it
 *     snapshot_post    ─▶ bit of the trigger  ─▶ (agent's thread)
 *
 * A requester that gives up leaves its slot ABANDONED; the agent frees it. Posted triggers of one kind collapse into one
 * snapshot, requests do not: each has a label.
 *
 * Locks: the slots' lock (RANK_SNAPSHOT) is held for the change of a state only, never while a snapshot runs.
 * snapshot_post is async-signal-safe, the rest is not. Allocates nothing. */
#include "agent/snapshot/snapshot.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "agent/entry/entry.h"
#include "agent/os/os.h"
#include "agent/util/critical.h"
#include "agent/util/lock.h"

enum slot_state { FREE, WANTED, RUNNING, DONE, ABANDONED };
enum { SLOTS = 16 };

static struct slot {
    uint32_t state;
    uint32_t done; /* futex */
    uint64_t order;
    struct snapshot_request req;
    struct snapshot_result res;
} slots[SLOTS];
static uint64_t next_order;
static struct lock lock = LOCK_INIT(RANK_SNAPSHOT);
static uint32_t posted; /* bit per trigger */

static struct slot *put(const struct snapshot_request *req)
{
    struct slot *s = NULL;
    lock_acquire(&lock);
    for (int i = 0; i < SLOTS && !s; i++)
        if (slots[i].state == FREE) s = &slots[i];
    if (s) {
        s->state = WANTED;
        s->done = 0;
        s->order = ++next_order;
        s->req = *req;
    }
    lock_release(&lock);
    return s;
}

/* 1: the result is in *out. 0: not yet. */
static int finish(struct slot *s, struct snapshot_result *out, bool give_up)
{
    int got = 0;
    lock_acquire(&lock);
    if (s->state == DONE) {
        if (out) *out = s->res;
        s->state = FREE;
        got = 1;
    } else if (give_up) {
        s->state = s->state == WANTED ? FREE : ABANDONED;
    }
    lock_release(&lock);
    return got;
}

int snapshot_request(const struct snapshot_request *req, struct snapshot_result *out, int64_t timeout_ns)
{
    static const int64_t LOOK_NS = 200000000; /* a wake may be lost where RLIMIT_SIGPENDING is exhausted */
    struct snapshot_result res = {0};
    if (agent_thread_is_self()) return snapshot_take(req, out);
    if (!life_recording() && snapshot_is_recorded(req)) {
        if (out) *out = (struct snapshot_result){.error = -ENODEV};
        return -ENODEV;
    }
    if (agent_thread_lost() && req->trigger != TRIGGER_EXIT) {
        /* Where children go to a new PID namespace, ours would be its first process and end it. */
        if (out) *out = (struct snapshot_result){.error = -EAGAIN, .message = "the agent's thread can't be started"};
        return -EAGAIN;
    }
    if (!agent_thread_running()) return snapshot_take(req, out);
    uint64_t end = os_mono_ns() + (uint64_t)timeout_ns;
    struct slot *s = put(req);
    if (!s) {
        if (out) *out = (struct snapshot_result){.error = -EAGAIN, .message = "too many snapshots are asked for"};
        return -EAGAIN;
    }
    for (;;) {
        agent_thread_wake();
        agent_thread_poll(true);
        int64_t left = timeout_ns < 0 ? LOOK_NS : (int64_t)(end - os_mono_ns());
        bool late = (timeout_ns >= 0 && left <= 0) || agent_thread_lost();
        if (finish(s, &res, late)) break;
        if (late) {
            res = (struct snapshot_result){.error = -ETIMEDOUT, .message = "the snapshot was not finished in time"};
            break;
        }
        os_futex_wait(&s->done, 0, left < LOOK_NS ? left : LOOK_NS);
    }
    if (out) *out = res;
    return res.error;
}

void snapshot_post(enum snapshot_trigger trigger)
{
    __atomic_or_fetch(&posted, 1u << trigger, __ATOMIC_RELEASE);
    agent_thread_wake();
}

bool snapshot_requested(void)
{
    if (__atomic_load_n(&posted, __ATOMIC_RELAXED)) return true;
    for (int i = 0; i < SLOTS; i++)
        if (__atomic_load_n(&slots[i].state, __ATOMIC_RELAXED) == WANTED) return true;
    return false;
}

static struct slot *take_next(void)
{
    struct slot *s = NULL;
    lock_acquire(&lock);
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].state == WANTED && (!s || slots[i].order < s->order)) s = &slots[i];
    if (s) s->state = RUNNING;
    lock_release(&lock);
    return s;
}

void snapshot_run_requests(void)
{
    struct slot *s;
    while ((s = take_next())) {
        struct snapshot_result res;
        snapshot_take(&s->req, &res);
        lock_acquire(&lock);
        s->res = res;
        s->state = s->state == ABANDONED ? FREE : DONE;
        __atomic_store_n(&s->done, 1, __ATOMIC_RELEASE);
        lock_release(&lock);
        os_futex_wake(&s->done, INT_MAX);
    }
    uint32_t bits = __atomic_exchange_n(&posted, 0, __ATOMIC_ACQUIRE);
    for (int t = 0; bits; t++, bits >>= 1) {
        struct snapshot_request req = {.trigger = (enum snapshot_trigger)t};
        if (bits & 1) snapshot_take(&req, NULL);
    }
}

void requests_fork_prepare(void)
{
    lock_acquire(&lock);
}
void requests_fork_parent(void)
{
    lock_release(&lock);
}

void requests_fork_child(void)
{
    memset(slots, 0, sizeof slots);
    posted = 0;
    lock_release(&lock);
}
