/* SPDX-License-Identifier: Apache-2.0
 *
 * What keeps a finding's memory: the path of its evidence, from a root to the block, in words (docs/detectors.md, subslice-retention).
 * Shared by the text, the page and SARIF.
 *
 * The evidence comes from a file that nobody vouches for: a step that is not understood is left out. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/report/report.h"

static const struct image *image_of_path(struct recording *r, const char *path)
{
    const struct image *best = NULL;
    for (size_t i = 0; path && i < r->images.cap; i++) {
        const struct image *im = r->images.slots[i].value;
        if (im && strcmp(im->path, path) == 0 && (!best || im->id < best->id)) best = im;
    }
    return best;
}

static int64_t number(const json_t *j, const char *key)
{
    const json_t *v = json_object_get(j, key);
    return json_is_integer(v) && json_integer_value(v) >= 0 ? json_integer_value(v) : -1;
}

static const char *global_words(struct recording *r, const json_t *step, const struct image *im)
{
    uint64_t offset = (uint64_t)number(step, "offset"), at = 0;
    const char *path = json_string_value(json_object_get(step, "module")), *name = NULL;
    if (!path || (int64_t)offset < 0) return "a global";
    if (im) name = recording_data_name(r, im, offset, &at);
    const char *where = arena_printf(&r->arena, "%s+0x%llx", path_base(path), (unsigned long long)offset);
    if (!name) return arena_printf(&r->arena, "global %s", where);
    if (at) name = arena_printf(&r->arena, "%s+%llu", name, (unsigned long long)at);
    return arena_printf(&r->arena, "global %s (%s)", name, where);
}

static const char *block_words(struct recording *r, const json_t *step)
{
    int64_t bytes = number(step, "bytes"), offset = number(step, "offset");
    const char *s = bytes >= 0 ? arena_printf(&r->arena, "block of %s", unit_bytes(bytes)) : "block";
    return offset >= 0 ? arena_printf(&r->arena, "%s, by its pointer at +%lld", s, (long long)offset) : s;
}

#define NOTHING "nothing: no root and no live block holds a pointer to it"

/* Of a kind that needs no more than its name. */
static const char *fixed_words(const char *at)
{
    if (strcmp(at, "kernel") == 0) return "what the kernel keeps for the program";
    if (strcmp(at, "finalizers") == 0) return "the queue of finalizers that are due";
    if (strcmp(at, "unreached") == 0) return NOTHING;
    if (strcmp(at, "hidden") == 0) return "the runtime: a timer, or a call of a finalizer, needs it";
    if (strcmp(at, "late") == 0) return "(it is reached; no path was found in 10 seconds)";
    return NULL;
}

/* Where a block was allocated: by its stack, or by that's first address in older recordings. */
static bool block_site(struct recording *r, const json_t *step, struct site *out)
{
    static const char sql[] = "SELECT id FROM stack WHERE hash = ?";
    const char *key = json_string_value(json_object_get(step, "stack"));
    char *end = NULL;
    uint64_t hash = key ? strtoull(key, &end, 16) : 0;
    if (!key || !*key || *end) return false;
    struct query *q = store_query(r->store, sql, 1, (int64_t)hash);
    int64_t id = query_next(q) ? query_int(q, 0, "stack.id") : 0;
    query_end(q);
    struct stack *s = id > 0 ? recording_stack(r, id) : NULL;
    if (s && s->n) *out = stack_site(r, s);
    return s && s->n;
}

static bool read_step(struct recording *r, const json_t *step, struct path_step *out)
{
    const char *at = json_string_value(json_object_get(step, "at"));
    const struct image *im = image_of_path(r, json_string_value(json_object_get(step, "module")));
    int64_t site = number(step, "site"), thread = number(step, "thread"), task = number(step, "task"),
            address = number(step, "address");
    *out = (struct path_step){0};
    if (!at) return false;
    if (strcmp(at, "global") == 0)
        out->words = global_words(r, step, im);
    else if (strcmp(at, "stack") == 0 || strcmp(at, "register") == 0)
        out->words = arena_printf(&r->arena, "%s of thread %lld", at, (long long)thread);
    else if (strcmp(at, "task") == 0)
        out->words = arena_printf(&r->arena, "stack of task %lld", (long long)task);
    else if (strcmp(at, "memory") == 0)
        out->words = arena_printf(&r->arena, "memory at 0x%llx", (unsigned long long)address);
    else if (strcmp(at, "itself") == 0)
        out->words = arena_printf(&r->arena, "itself, by its pointer at +%lld", (long long)number(step, "offset"));
    else if (strcmp(at, "ring") == 0)
        out->words = arena_printf(&r->arena, "a ring of finalizers: %s", block_words(r, step));
    else if (strcmp(at, "block") == 0)
        out->words = block_words(r, step);
    else if (strcmp(at, "blocks") == 0 && number(step, "n") > 0)
        out->words = arena_printf(&r->arena, "… %s", unit_plural(number(step, "n"), "more block"));
    else if (!(out->words = fixed_words(at)))
        return false;
    out->stack = strcmp(at, "stack") == 0 || strcmp(at, "task") == 0;
    bool block = strcmp(at, "block") == 0 || strcmp(at, "ring") == 0;
    if (block && block_site(r, step, &out->site)) {
        out->placed = true;
    } else if ((out->stack || block) && im && site > 0) {
        struct frame *f = arena_alloc(&r->arena, sizeof *f);
        *f = (struct frame){.id = -1, .image = im, .offset = (uint64_t)site};
        out->site = frame_site(frame_resolve(r, f), 0);
        out->placed = true;
    }
    return true;
}

/* One more node of a list. */
static bool is_same(const struct path_step *a, const struct path_step *b)
{
    return strcmp(a->words, b->words) == 0 && a->placed == b->placed &&
           (!a->placed || (a->site.image == b->site.image && a->site.offset == b->site.offset));
}

size_t report_path(struct recording *r, const struct finding *f, struct path_step **out)
{
    json_t *j = json_loads(f->evidence, 0, NULL), *list = json_object_get(j, "path");
    size_t n = 0, most = json_array_size(list);
    size_t *same = xcalloc(most + 1, sizeof *same);
    *out = arena_alloc(&r->arena, (most + 1) * sizeof **out);
    for (size_t i = 0; i < most; i++) {
        struct path_step *s = &(*out)[n];
        if (!read_step(r, json_array_get(list, i), s)) continue;
        if (n > 0 && is_same(s - 1, s))
            same[n - 1]++;
        else
            n++;
    }
    for (size_t i = 0; i < n; i++)
        if (same[i]) (*out)[i].words = arena_printf(&r->arena, "%s, %zu in a row", (*out)[i].words, same[i] + 1);
    free(same);
    json_decref(j);
    return n;
}

void report_path_text(struct emit *e, struct recording *r, const struct finding *f, bool full)
{
    enum { SHORT = 5 };
    struct path_step *steps = NULL;
    size_t n = e->json ? 0 : report_path(r, f, &steps);
    for (size_t i = 0; i < n; i++) {
        const struct path_step *s = &steps[i];
        if (!full && n > SHORT && i >= 2 && i + 2 < n) {
            if (i == 2) emit_line(e, STYLE_DIM, "    via      … %zu more, see --full", n - 4);
            continue;
        }
        bool named = s->site.function || s->site.file;
        emit_line(e, STYLE_PLAIN, "    %-8s %s%s%s%s%s",
                  i + 1 == n && f->tasks ? "awaits"
                  : i == 0               ? "held by"
                  : i + 1 < n            ? "via"
                                         : "keeps",
                  s->words,
                  !s->placed ? ""
                  : s->stack ? ", in "
                             : ", from ",
                  s->placed ? site_function(&r->arena, &s->site) : "", named ? " " : "",
                  named ? site_place(&r->arena, &s->site) : "");
    }
}

/* Where no path was recorded: what is known of who holds it. */
static const char *held_by(const struct finding *f)
{
    if (strcmp(f->rule, "unreachable-memory") == 0) return f->direct ? NOTHING : "other lost blocks, and nothing else";
    if (strcmp(f->rule, "unreachable-interior") == 0) return "pointers into its middle";
    if (strcmp(f->rule, "leaked-ticker") == 0 || strcmp(f->rule, "leaked-timer") == 0)
        return "the runtime's heap of timers, and nothing else";
    if (strcmp(f->rule, "finalizer-cycle") == 0) return "itself: a ring of blocks with finalizers, and nothing else";
    if (strcmp(f->rule, "finalizer-backlog") == 0) return "the queue of finalizers that are due";
    if (strcmp(f->rule, "defer-pileup") == 0) return "the task, until the function that defers returns";
    if (strcmp(f->rule, "spinning-task") == 0) return "itself: a task that runs can reach whatever is on its stack";
    if (strcmp(f->rule, "unreturned-memory") == 0) return "nothing: it is free";
    if (f->confidence == SEEP_PROVEN && f->tasks) return "its own stack, and those of tasks that are stuck with it";
    return "(no path was recorded; `seep snapshot --path FUNCTION PID` has the running program look for it)";
}

void report_held_by(struct emit *e, struct recording *r, const struct finding *f)
{
    struct path_step *steps;
    if (report_path(r, f, &steps) == 0) emit_line(e, STYLE_PLAIN, "    %-8s %s", "held by", held_by(f));
}
