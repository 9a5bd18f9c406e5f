/* SPDX-License-Identifier: Apache-2.0
 *
 * Tasks, grouped by what they do and where they came from: a million coroutines are a few lines. Groups are built while
 * rows stream by; memory is linear in groups, not in tasks. */
#include <stdlib.h>
#include <string.h>

#include "agent/contract/stack_key.h"
#include "analyzer/model/model.h"

static int by_weight(const void *a, const void *b)
{
    const struct task_group *x = a, *y = b;
    bool lx = strcmp(x->verdict, "leaked") == 0, ly = strcmp(y->verdict, "leaked") == 0;
    if (lx != ly) return lx ? -1 : 1;
    if (x->tasks != y->tasks) return x->tasks > y->tasks ? -1 : 1;
    if (x->stack_bytes != y->stack_bytes) return x->stack_bytes > y->stack_bytes ? -1 : 1;
    int c = strcmp(x->provider, y->provider);
    return c ? c : strcmp(x->name, y->name);
}

size_t tasks_load(struct recording *r, struct snapshot *const *snaps, size_t nsnaps, struct task_group **out)
{
    static const char sql[] =
        "SELECT provider, state, wait_reason, verdict, name, ifnull(stack, 0), ifnull(create_stack, 0), "
        "wakeable, blocked_ns, stack_bytes, live_bytes, schedules, cpu_ns FROM task WHERE snapshot = ?";
    struct map groups = {0};
    size_t n = 0, cap = 0;
    *out = NULL;
    for (size_t i = 0; i < nsnaps; i++) {
        for (struct query *q = store_query(r->store, sql, 1, snaps[i]->id); query_next(q);) {
            uint64_t key = SEEP_KEY_INIT;
            for (int c = 0; c < 4; c++) key = seep_key_string(key, query_text(q, c, "a word of task"));
            int64_t stack = query_count(q, 5, "task.stack"), create = query_count(q, 6, "task.create_stack");
            key = seep_key_u64(seep_key_u64(key, (uint64_t)stack), (uint64_t)create);
            size_t at = (size_t)(uintptr_t)map_get(&groups, key);
            if (at == 0) {
                if (n == cap) *out = xrealloc(*out, cap = cap * 2 + 64, sizeof **out);
                (*out)[n] = (struct task_group){
                    .provider = arena_strdup(&r->arena, query_text(q, 0, "task.provider")),
                    .state = arena_strdup(&r->arena, query_text(q, 1, "task.state")),
                    .wait_reason = arena_strdup(&r->arena, query_text(q, 2, "task.wait_reason")),
                    .verdict = arena_strdup(&r->arena, query_text(q, 3, "task.verdict")),
                    .name = arena_strdup(&r->arena, query_text(q, 4, "task.name")),
                    .stack = stack ? recording_stack(r, stack) : NULL,
                    .create_stack = create ? recording_stack(r, create) : NULL,
                };
                at = ++n;
                map_put(&groups, key, (void *)(uintptr_t)at);
            }
            struct task_group *g = &(*out)[at - 1];
            int64_t blocked = query_count(q, 8, "task.blocked_ns");
            g->tasks++;
            g->wakeable += query_count(q, 7, "task.wakeable") != 0;
            if (blocked > g->oldest_ns) g->oldest_ns = blocked;
            add_capped(&g->stack_bytes, query_count(q, 9, "task.stack_bytes"));
            add_capped(&g->live_bytes, query_count(q, 10, "task.live_bytes"));
            add_capped(&g->schedules, query_count(q, 11, "task.schedules"));
            add_capped(&g->cpu_ns, query_count(q, 12, "task.cpu_ns"));
        }
    }
    map_free(&groups);
    if (n) qsort(*out, n, sizeof **out, by_weight);
    return n;
}
