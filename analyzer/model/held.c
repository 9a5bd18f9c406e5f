/* SPDX-License-Identifier: Apache-2.0
 *
 * What holds memory that is no leak by itself: the table path (the agent's holders.c), for findings that need several snapshots, and for
 * any function or block that is asked for.
 *
 * Paths are searched for in some snapshots only: the newest one up to the finding's is taken. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/model/trend.h"

/* JSON that is an array of objects, tidied; NULL: damaged, and noted. */
static json_t *steps_of(struct recording *r, const char *text)
{
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *step;
    size_t i;
    bool good = json_is_array(j);
    json_array_foreach(j, i, step) good = good && json_is_object(step);
    if (good) return j;
    store_damaged(r->store, "path.steps is not a JSON array of objects");
    json_decref(j);
    return NULL;
}

static json_t *path_of(struct recording *r, const struct snapshot *s, bool wait, int64_t stack, int64_t *seq)
{
    static const char sql[] =
        "SELECT p.steps, s.seq FROM path p JOIN snapshot s ON s.id = p.snapshot WHERE p.stack = ?1 AND "
        "p.kind = iif(?4, 'wait', 'block') AND s.process = ?2 AND s.seq <= ?3 ORDER BY s.seq DESC LIMIT 1";
    json_t *j = NULL;
    struct query *q = store_query(r->store, sql, 4, stack, s->process->id, s->seq, (int64_t)wait);
    if (query_next(q)) {
        *seq = query_count(q, 1, "snapshot.seq");
        j = steps_of(r, query_text(q, 0, "path.steps"));
    }
    query_end(q);
    return j;
}

/* Where most tasks that were started there wait: the id of that stack, 0 when there are none. */
static int64_t waits_at(struct recording *r, const struct finding *f)
{
    static const char sql[] =
        "SELECT stack FROM (SELECT stack FROM task WHERE snapshot = ? AND create_stack = ? AND stack > 0 LIMIT 1000) "
        "GROUP BY stack ORDER BY count(*) DESC, stack LIMIT 1";
    struct query *q = store_query(r->store, sql, 2, f->snapshot->id, f->create_stack->id);
    int64_t id = query_next(q) ? query_count(q, 0, "task.stack") : 0;
    query_end(q);
    return id;
}

static void add_path(struct recording *r, struct finding *f)
{
    bool stuck = strcmp(f->rule, "stuck-task") == 0, wait = stuck || f->tasks;
    int64_t stack = f->stack ? f->stack->id : 0, seq = 0;
    if (!stuck && strcmp(f->rule, "growing-site") != 0) return;
    if (!stack && wait && f->create_stack) stack = waits_at(r, f);
    json_t *steps = stack ? path_of(r, f->snapshot, wait, stack, &seq) : NULL;
    json_t *j = steps ? json_loads(f->evidence, 0, NULL) : NULL;
    if (json_is_object(j)) {
        json_object_set(j, "path", steps);
        json_object_set_new(j, "path_seq", json_integer(seq));
        char *text = json_dumps(j, JSON_COMPACT);
        f->evidence = arena_strdup(&r->arena, text);
        free(text);
    }
    json_decref(j);
    json_decref(steps);
}

void findings_add_paths(struct recording *r, struct finding *f, size_t n)
{
    if (!store_has(r->store, "path")) return;
    for (size_t i = 0; i < n; i++) add_path(r, &f[i]);
}

static bool is_in(struct recording *r, struct stack *s, const char *function)
{
    for (unsigned i = 0; i < s->n; i++) {
        const struct frame *f = frame_resolve(r, s->frames[i]);
        for (unsigned k = 0; k < f->nlines; k++)
            if (f->lines[k].function && strstr(f->lines[k].function, function)) return true;
    }
    return false;
}

/* A path alone. */
static void push_path(struct recording *r, struct finding **f, size_t *n, struct stack *stack, struct snapshot *s,
                      const char *kind, const char *text)
{
    json_t *steps = steps_of(r, text);
    char *tidy = steps ? json_dumps(steps, JSON_COMPACT) : NULL;
    if (tidy)
        *findings_push(f, n) = (struct finding){.rule = "",
                                                .noun = kind,
                                                .stack = stack,
                                                .snapshot = s,
                                                .tasks = strcmp(kind, "wait") == 0,
                                                .wait_reason = "",
                                                .evidence = arena_printf(&r->arena, "{\"path\":%s}", tidy)};
    free(tidy);
    json_decref(steps);
}

/* Up to a process's last one, the newest first; ids of stacks that have one already are in `seen`. The table is read once. */
static void paths_until(struct recording *r, struct snapshot *last, const char *function, struct map *seen,
                        struct finding **f, size_t *n)
{
    static const char sql[] =
        "SELECT p.stack, p.kind, p.steps, s.seq FROM path p CROSS JOIN snapshot s ON s.id = p.snapshot "
        "WHERE s.process = ? AND s.seq <= ? AND p.kind <> 'object' ORDER BY s.seq DESC, p.kind, p.stack";
    struct query *q = store_query(r->store, sql, 2, last->process->id, last->seq);
    for (struct snapshot *s = last; query_next(q);) {
        int64_t seq = query_count(q, 3, "snapshot.seq");
        while (s > r->snapshots && s[-1].process == last->process && s->seq > seq) s--;
        int64_t id = query_count(q, 0, "path.stack");
        bool wait = strcmp(query_text(q, 1, "path.kind"), "wait") == 0;
        struct stack *stack = recording_stack(r, id);
        uint64_t key = (uint64_t)id * 2 + wait;
        if (!stack || map_get(seen, key) || !is_in(r, stack, function)) continue;
        map_put(seen, key, stack);
        push_path(r, f, n, stack, s, wait ? "wait" : "block", query_text(q, 2, "path.steps"));
    }
    query_end(q);
}

size_t recording_paths(struct recording *r, struct snapshot *const *snaps, size_t nsnaps, const char *function,
                       struct finding **f)
{
    struct map seen = {0};
    size_t n = 0;
    *f = NULL;
    if (!store_has(r->store, "path")) return 0;
    for (size_t i = 0; i < nsnaps; i++) paths_until(r, snaps[i], function, &seen, f, &n);
    map_free(&seen);
    return n;
}

size_t recording_asked(struct recording *r, struct snapshot *s, struct finding **f)
{
    static const char sql[] = "SELECT stack, steps FROM path WHERE snapshot = ? AND kind = 'object'";
    size_t n = 0;
    *f = NULL;
    if (!store_has(r->store, "path")) return 0;
    struct query *q = store_query(r->store, sql, 1, s->id);
    if (query_next(q))
        push_path(r, f, &n, recording_stack(r, query_count(q, 0, "path.stack")), s, "object",
                  query_text(q, 1, "path.steps"));
    query_end(q);
    return n;
}

static size_t keys_of(struct recording *r, struct query *q, const char *function, uint64_t *keys, size_t most)
{
    size_t n = 0;
    while (n < most && query_next(q)) {
        struct stack *stack = recording_stack(r, query_count(q, 0, "stack"));
        if (is_in(r, stack, function)) keys[n++] = stack->hash;
    }
    query_end(q);
    return n;
}

size_t stacks_named(struct recording *r, const struct snapshot *s, const char *function, uint64_t *keys, size_t most)
{
    static const char blocks[] = "SELECT stack FROM heap WHERE snapshot = ? AND allocs > frees GROUP BY stack "
                                 "ORDER BY sum(alloc_bytes - free_bytes) DESC, stack";
    static const char waits[] =
        "SELECT stack FROM task WHERE snapshot = ? AND blocked_ns > 0 AND stack > 0 GROUP BY stack "
        "ORDER BY count(*) DESC, stack";
    size_t n = keys_of(r, store_query(r->store, blocks, 1, s->id), function, keys, most);
    return n + keys_of(r, store_query(r->store, waits, 1, s->id), function, keys + n, most);
}
