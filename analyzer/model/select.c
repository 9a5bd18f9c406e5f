/* SPDX-License-Identifier: Apache-2.0
 *
 * Which snapshots a command means: by default the last one of every process. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/model/model.h"

static bool is_number(const char *s)
{
    return *s && strspn(s, "0123456789") == strlen(s) && strlen(s) < 18;
}

/* Does s answer to the selector? Of several, the last one counts (for "first", the first). */
static bool matches(const struct snapshot *s, const char *want)
{
    if (!want || strcmp(want, "last") == 0 || strcmp(want, "first") == 0) return true;
    if (is_number(want)) return s->seq == strtoll(want, NULL, 10);
    return strcmp(s->label, want) == 0;
}

bool snapshot_is_blind(struct recording *r, const struct snapshot *s)
{
    return s->live_objects == 0 &&
           stat_of(r, s, "SELECT value FROM stat WHERE snapshot = ? AND name = 'mallocs' AND value = 0") == 0;
}

int select_snapshots(struct recording *r, const struct selector *sel, struct snapshot ***out, size_t *n, struct err *e)
{
    bool first = sel->snapshot && strcmp(sel->snapshot, "first") == 0, known_pid = sel->pid == 0;
    const char *path = store_path(r->store);
    *n = 0;
    *out = arena_alloc(&r->arena, (r->nprocesses + 1) * sizeof **out);
    for (size_t p = 0; p < r->nprocesses; p++)
        if (r->processes[p].pid == sel->pid) known_pid = true;
    for (size_t i = 0; i < r->nsnapshots; i++) {
        struct snapshot *s = &r->snapshots[i];
        if ((sel->pid && s->process->pid != sel->pid) || !matches(s, sel->snapshot)) continue;
        bool same = *n > 0 && (*out)[*n - 1]->process == s->process;
        if (!same)
            (*out)[(*n)++] = s;
        else if (!first)
            (*out)[*n - 1] = s;
    }
    if (*n) return 0;
    if (r->nprocesses == 0)
        return err_set(e, EXIT_INPUT, "%s: holds no data: no process wrote to it; did the command run under the agent?",
                       path);
    if (!known_pid)
        return err_set(e, EXIT_INPUT, "%s: holds no process %lld; `seep info` lists them", path, (long long)sel->pid);
    if (r->nsnapshots == 0)
        return err_set(e, EXIT_INPUT, "%s: holds no snapshot; was the process killed, or run with --no-exit-snapshot?",
                       path);
    if (sel->snapshot)
        return err_set(e, EXIT_INPUT, "%s: holds no snapshot \"%s\"%s; `seep info` lists them", path, sel->snapshot,
                       sel->pid ? " of that process" : "");
    return err_set(e, EXIT_INPUT, "%s: holds no snapshot of process %lld; `seep info` lists them", path,
                   (long long)sel->pid);
}
