/* SPDX-License-Identifier: Apache-2.0
 *
 * Findings about tasks that three snapshots make together, where no proof exists because something still reaches what they wait for:
 *
 *   stuck-task     blocked at one operation all the time, while more of their kind come, or for very long
 *   growing-site   tasks that wake by the clock and go on, and none of which ever ends, while more of them come
 *   spinning-task  on a processor all the time without once giving it up
 *
 * A snapshot lists tasks in the order of their ids, so three of them are merged in one pass; memory is linear in groups, not in
 * tasks. Every rule asks for a task of the first snapshot: where that has none, the others are not read.
 *
 * "Unchanged" between two snapshots: it stands where it stood and has not been scheduled. For a thread the times
 * scheduled are its voluntary switches, and being stopped for a snapshot costs it a few: STOP_SWITCHES.
 *
 * Tried and dropped: counting tasks by creation site only. A server's handlers come and go, and a few that stay drown in them; what
 * counts is who of the first snapshot is still unchanged in the last. */
#include <stdlib.h>
#include <string.h>

#include "agent/contract/stack_key.h"
#include "analyzer/model/trend.h"

enum { SNAPS = 3, STOP_SWITCHES = 4, MANY = 10, RISE = 2, STRONG_RISE = 4 };
static const int64_t SECOND = 1000000000;
static const int64_t LONG_NS = 60 * SECOND;        /* a slow accumulation must last that long */
static const int64_t VERY_LONG_NS = 600 * SECOND;  /* without an accumulation */
static const int64_t THREAD_SPIN_NS = 10 * SECOND; /* a thread may compute that long in one function */

#define TASK_SQL(n)                                                                                                \
    "SELECT provider, task, state, wait_reason, wakeable, blocked_ns, ifnull(create_stack, 0), ifnull(stack, 0), " \
    "stack_bytes, schedules, cpu_ns, verdict FROM task WHERE snapshot = ? ORDER BY provider, task /* " n " */"
static const char *const task_sql[SNAPS] = {TASK_SQL("first"), TASK_SQL("second"), TASK_SQL("third")};

enum kind { OTHER, WAITS, RUNS, FAMILY };

struct task {
    const char *provider; /* interned: equal pointers are equal */
    const char *reason;
    int64_t id, blocked_ns, create, stack, bytes, schedules, cpu_ns;
    enum kind kind;
    bool clock, thread, leaked;
};

struct cursor {
    struct query *q;
    struct task task;
    bool more;
};

struct group { /* of kind WAITS: created, standing and waiting alike; RUNS, FAMILY: created at one place */
    const char *provider, *reason;
    enum kind kind;
    int64_t create, stack;
    int64_t had[SNAPS];       /* tasks in each snapshot */
    int64_t stayed[SNAPS];    /* of those, unchanged until the last; of a family: still there in the last */
    int64_t clocked, waiting; /* over the three: those that the clock will wake, of all that wait */
    int64_t bytes, oldest_ns, least_ns, cpu_ns, woken;
};

struct run {
    struct recording *r;
    struct snapshot *const *three;
    struct cursor cursors[SNAPS];
    struct map words, groups, stuck; /* strings by hash; groups; creation stacks of stuck tasks */
    struct group **list;
    size_t n, cap;
};

static const char *intern(struct run *u, const char *s)
{
    uint64_t key = seep_key_string(SEEP_KEY_INIT, s);
    const char *kept = map_get(&u->words, key);
    if (!kept) map_put(&u->words, key, (void *)(uintptr_t)(kept = arena_strdup(&u->r->arena, s)));
    return kept;
}

static enum kind kind_of(const char *state)
{
    if (strcmp(state, "running") == 0) return RUNS;
    return strcmp(state, "waiting") == 0 || strcmp(state, "syscall") == 0 ? WAITS : OTHER;
}

static void advance(struct run *u, int i)
{
    struct cursor *c = &u->cursors[i];
    c->more = query_next(c->q);
    if (!c->more) return;
    const char *state = query_text(c->q, 2, "task.state"), *reason = query_text(c->q, 3, "task.wait_reason");
    bool wakeable = query_int(c->q, 4, "task.wakeable") != 0;
    c->task = (struct task){.provider = intern(u, query_text(c->q, 0, "task.provider")),
                            .id = query_int(c->q, 1, "task.task"),
                            .kind = kind_of(state),
                            .clock = wakeable && strcmp(state, "waiting") == 0 && strcmp(reason, "io wait") != 0,
                            .reason = intern(u, reason),
                            .blocked_ns = query_count(c->q, 5, "task.blocked_ns"),
                            .create = query_count(c->q, 6, "task.create_stack"),
                            .stack = query_count(c->q, 7, "task.stack"),
                            .bytes = query_count(c->q, 8, "task.stack_bytes"),
                            .schedules = query_count(c->q, 9, "task.schedules"),
                            .cpu_ns = query_count(c->q, 10, "task.cpu_ns"),
                            .leaked = strcmp(query_text(c->q, 11, "task.verdict"), "leaked") == 0};
    c->task.thread = strcmp(c->task.provider, "thread") == 0;
}

static int by_key(const struct task *a, const struct task *b)
{
    int c = a->provider == b->provider ? 0 : strcmp(a->provider, b->provider);
    return c ? c : (a->id > b->id) - (a->id < b->id);
}

static int64_t span_ns(const struct run *u, int from)
{
    int64_t d = u->three[SNAPS - 1]->mono_ns - u->three[from]->mono_ns;
    return d > 0 ? d : 0;
}

static bool not_scheduled(const struct run *u, const struct task *before, int i, const struct task *last)
{
    int64_t more = last->schedules - before->schedules;
    if (!last->thread) return more == 0;
    return more >= 0 && more <= STOP_SWITCHES * (u->three[SNAPS - 1]->seq - u->three[i]->seq);
}

static bool same_function(struct recording *r, struct frame *a, struct frame *b)
{
    struct site s = frame_site(frame_resolve(r, a), 0), t = frame_site(frame_resolve(r, b), 0);
    return s.image == t.image && s.function && t.function && strcmp(s.function, t.function) == 0;
}

/* It is still in the same call: the callers are the same, and the function; that may have called another, or two. */
static bool same_call(struct recording *r, int64_t a, int64_t b)
{
    if (a == b) return a != 0;
    if (!a || !b) return false;
    const struct stack *x = recording_stack(r, a), *y = recording_stack(r, b);
    const struct stack *shorter = x->n < y->n ? x : y, *longer = x->n < y->n ? y : x;
    unsigned n = shorter->n, more = longer->n - n;
    if (n == 0 || more > 2) return false;
    for (unsigned i = 1; i < n; i++)
        if (shorter->frames[i] != longer->frames[i + more]) return false;
    return same_function(r, shorter->frames[0], longer->frames[more]);
}

static bool unchanged(struct run *u, const struct task *before, int i, const struct task *last)
{
    if (before->kind != last->kind || !not_scheduled(u, before, i, last)) return false;
    if (last->kind == WAITS) return before->stack == last->stack && before->reason == last->reason;
    return last->cpu_ns > before->cpu_ns && (!last->thread || same_call(u->r, before->stack, last->stack));
}

static struct group *group_of(struct run *u, const struct task *t, enum kind kind)
{
    uint64_t key = seep_key_u64(seep_key_u64(SEEP_KEY_INIT, (uint64_t)t->create), (uint64_t)kind);
    if (kind == WAITS) key = seep_key_u64(seep_key_string(key, t->reason), (uint64_t)t->stack);
    key = seep_key_string(key, t->provider);
    struct group *g = map_get(&u->groups, key);
    if (g) return g;
    if (u->n == u->cap) u->list = xrealloc(u->list, u->cap = u->cap * 2 + 64, sizeof *u->list);
    g = u->list[u->n++] = arena_alloc(&u->r->arena, sizeof *g);
    *g = (struct group){.provider = t->provider, .kind = kind, .create = t->create, .least_ns = INT64_MAX};
    map_put(&u->groups, key, g);
    return g;
}

static void note_last(const struct run *u, struct group *g, const struct task *first, const struct task *last)
{
    int64_t age = span_ns(u, 0); /* known since then */
    if (g->kind == WAITS && last->blocked_ns > age) age = last->blocked_ns;
    if (age > g->oldest_ns) g->oldest_ns = age;
    if (age < g->least_ns) g->least_ns = age;
    add_capped(&g->cpu_ns, last->cpu_ns - first->cpu_ns);
    g->woken += last->schedules > first->schedules;
}

static void add_to(struct run *u, struct group *g, const struct task *const t[SNAPS], int i, bool stayed)
{
    g->had[i]++;
    g->stayed[i] += stayed;
    g->waiting += t[i]->kind == WAITS;
    g->clocked += t[i]->clock;
    if (i == SNAPS - 1) {
        add_capped(&g->bytes, t[i]->bytes);
        g->stack = t[i]->stack;
        g->reason = t[i]->reason;
    }
    if (i == 0 && stayed) note_last(u, g, t[0], t[SNAPS - 1]);
}

/* One task in up to three snapshots. */
static void add_task(struct run *u, const struct task *const t[SNAPS])
{
    const struct task *last = t[SNAPS - 1];
    bool there = last && !last->leaked;
    bool same = there && t[1] && unchanged(u, t[1], 1, last);
    for (int i = 0; i < SNAPS; i++) {
        if (!t[i] || t[i]->leaked) continue;
        bool stayed = i == SNAPS - 1 || (i == 1 ? same : same && unchanged(u, t[0], 0, last));
        if (t[i]->kind != OTHER) add_to(u, group_of(u, t[i], t[i]->kind), t, i, stayed);
        if (t[i]->create) add_to(u, group_of(u, t[i], FAMILY), t, i, there);
    }
}

static void merge(struct run *u)
{
    for (int i = 0; i < SNAPS; i++) {
        u->cursors[i].q = store_query(u->r->store, task_sql[i], 1, u->three[i]->id);
        advance(u, i);
    }
    while (u->cursors[0].more || u->n) { /* nothing is told without a task that is there in the first */
        const struct task *least = NULL, *t[SNAPS] = {0};
        for (int i = 0; i < SNAPS; i++)
            if (u->cursors[i].more && (!least || by_key(&u->cursors[i].task, least) < 0)) least = &u->cursors[i].task;
        if (!least) break;
        for (int i = 0; i < SNAPS; i++)
            if (u->cursors[i].more && by_key(&u->cursors[i].task, least) == 0) t[i] = &u->cursors[i].task;
        add_task(u, t);
        for (int i = 0; i < SNAPS; i++)
            if (t[i]) advance(u, i);
    }
    for (int i = 0; i < SNAPS; i++) query_end(u->cursors[i].q);
}

/* ---- the rules */

/* Objects that the group's tasks wait for: one for a pool of workers, as many as tasks where each has its own. */
static int64_t objects_of(const struct run *u, const struct group *g)
{
    static const char sql[] = "SELECT count(DISTINCT w.object) FROM task t JOIN wait w ON w.snapshot = t.snapshot AND "
                              "w.provider = t.provider AND w.task = t.task WHERE t.snapshot = ? AND t.create_stack = ? "
                              "AND t.stack = ?";
    struct query *q = store_query(u->r->store, sql, 3, u->three[SNAPS - 1]->id, g->create, g->stack);
    int64_t n = query_next(q) ? query_count(q, 0, "wait.object") : 0;
    query_end(q);
    return n;
}

/* NULL, or why the group is stuck; *n: how many of it. */
static const char *stuck_because(const struct run *u, const struct group *g, int64_t *n)
{
    const int64_t *had = g->had, *stayed = g->stayed;
    int64_t whole = span_ns(u, 0), rise = had[2] - had[0];
    if (stayed[0] < 1) return NULL;
    *n = had[2];
    bool none_left = stayed[0] == had[0] && stayed[1] == had[1];
    if (none_left && had[0] < had[1] && had[1] < had[2] && rise >= STRONG_RISE && whole >= SECOND / 4)
        return "more come and none goes";
    if (whole >= LONG_NS && stayed[1] > stayed[0] && had[0] <= had[1] && had[1] <= had[2] && rise >= RISE) {
        *n = stayed[1];
        return "more come and stay";
    }
    if (none_left && had[0] == had[1] && had[1] == had[2] && had[0] >= MANY && g->least_ns >= VERY_LONG_NS &&
        strcmp(g->reason, "io wait") != 0 && objects_of(u, g) * 2 >= had[0])
        return "each waits for something of its own, for very long";
    return NULL;
}

static bool grows(const struct run *u, const struct group *g)
{
    return g->stayed[0] >= 1 && g->stayed[0] == g->had[0] && g->stayed[1] == g->had[1] && g->had[0] < g->had[1] &&
           g->had[1] < g->had[2] && g->had[2] - g->had[0] >= STRONG_RISE && span_ns(u, 0) >= SECOND / 4 &&
           g->clocked * 10 >= g->waiting * 9 && g->clocked * 4 >= g->had[2];
}

static bool spins(const struct run *u, const struct group *g)
{
    bool thread = strcmp(g->provider, "thread") == 0;
    return g->stayed[0] >= 1 && span_ns(u, 0) >= (thread ? THREAD_SPIN_NS : SECOND / 4);
}

static void tell(struct run *u, const struct group *g, struct finding **f, size_t *n)
{
    const char *why = NULL;
    struct finding x = {.tasks = true, .rows = 1, .noun = "task", .snapshot = u->three[SNAPS - 1]};
    x.objects = g->had[SNAPS - 1];
    x.stack = g->stack ? recording_stack(u->r, g->stack) : NULL;
    x.create_stack = g->create ? recording_stack(u->r, g->create) : NULL;
    x.wait_reason = g->reason;
    x.confidence = SEEP_LIKELY;
    if (!x.stack && !x.create_stack) return;
    if (g->kind == WAITS && g->create && (why = stuck_because(u, g, &x.objects)) != NULL) {
        x.rule = "stuck-task";
    } else if (g->kind == FAMILY && grows(u, g) && !map_get(&u->stuck, (uint64_t)g->create)) {
        x.rule = "growing-site";
        x.confidence = SEEP_GROWING;
        x.wait_reason = "";
        x.stack = NULL;
        why = "more come, they wake by the clock, and none ends";
    } else if (g->kind == RUNS && spins(u, g)) {
        x.rule = "spinning-task";
        x.objects = g->stayed[0];
        why = "on a processor in all three snapshots, not once given up";
    } else {
        return;
    }
    x.seen_objects = x.objects;
    x.bytes = x.seen_bytes = g->bytes;
    x.oldest_ns = g->oldest_ns;
    x.evidence = arena_printf(
        &u->r->arena,
        "{\"snapshots\":%d,\"seconds\":%.6g,\"because\":\"%s\",\"counts\":[%lld,%lld,%lld],\"unchanged\":%lld,"
        "\"blocked_at_least_s\":%.6g,\"cpu_s\":%.6g,\"woken\":%lld}",
        SNAPS, (double)span_ns(u, 0) / 1e9, why, (long long)g->had[0], (long long)g->had[1], (long long)g->had[2],
        (long long)g->stayed[0], (double)g->least_ns / 1e9, (double)g->cpu_ns / 1e9, (long long)g->woken);
    if (g->kind == WAITS) map_put(&u->stuck, (uint64_t)g->create, u);
    struct site site = stack_site(u->r, x.create_stack ? x.create_stack : x.stack);
    if (g->kind == FAMILY)
        trend_fingerprint(u->r, x.rule, &site, true, x.id);
    else /* what runs stands elsewhere each time */
        fingerprint(u->r, x.rule, x.wait_reason, g->kind == RUNS && g->create ? NULL : x.stack, x.create_stack, x.id);
    for (size_t i = 0; i < *n; i++)
        if (strcmp((*f)[i].id, x.id) == 0 && (*f)[i].snapshot == x.snapshot) return;
    *findings_push(f, n) = x;
}

static void look_at(struct recording *r, struct snapshot *const *three, struct finding **f, size_t *n)
{
    struct run u = {.r = r, .three = three};
    merge(&u);
    for (size_t i = 0; i < u.n; i++)
        if (u.list[i]->kind != FAMILY) tell(&u, u.list[i], f, n);
    for (size_t i = 0; i < u.n; i++)
        if (u.list[i]->kind == FAMILY) tell(&u, u.list[i], f, n);
    free(u.list);
    map_free(&u.words);
    map_free(&u.groups);
    map_free(&u.stuck);
}

void findings_add_stuck(struct recording *r, struct snapshot *last, size_t before, struct finding **f, size_t *n)
{
    if (before + 1 < SNAPS) return;
    struct snapshot *const newest[SNAPS] = {last - 2, last - 1, last};
    look_at(r, newest, f, n);
    if (before + 1 == SNAPS) return;
    struct snapshot *const all[SNAPS] = {last - before, last - before / 2, last};
    look_at(r, all, f, n);
}
