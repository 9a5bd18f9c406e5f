/* SPDX-License-Identifier: Apache-2.0
 *
 * Profiles into a recording: one process, a snapshot for each moment. A heap and a goroutine profile taken within MERGE_NS of each other
 * are one snapshot.
 *
 * A location with names is a frame whose offset is a number made of the names, so that the same code is the same frame in
 * every profile, text or protobuf, of every build; its names go to the symbol table. Figures are stored at rate 1: they are
 * estimates of the other runtime's own sampler and stay as they are. */
#include <stdlib.h>
#include <string.h>

#include "agent/contract/contract.h"
#include "agent/contract/stack_key.h"
#include "analyzer/import/profile.h"
#include "analyzer/store/store.h"

enum { MAX_TASKS = 4000000, MAX_DEPTH = 16384 };
static const int64_t MERGE_NS = INT64_C(10) * 1000000000;

struct target {
    struct writer *w;
    struct err *e;
    struct map images, frames, stacks; /* key → id */
    const char *main_module;
    int64_t snapshot, seq, tasks, next_task;
};

static const char *hex_or_none(const char *s)
{
    return s[strspn(s, "0123456789abcdef")] ? "" : s;
}

static int64_t image_id(struct target *t, const char *path, const char *build_id)
{
    uint64_t key = seep_key_string(seep_key_string(SEEP_KEY_INIT, path), build_id);
    int64_t id = (int64_t)(uintptr_t)map_get(&t->images, key);
    if (id) return id;
    id = writer_row(t->w, "INSERT INTO image (path, build_id) VALUES (?, ?)", "tt", path, build_id);
    map_put(&t->images, key, (void *)(uintptr_t)id);
    return id;
}

/* *key: the frame's key in stacks. */
static int64_t frame_id(struct target *t, const struct prof_location *l, uint64_t *key)
{
    /* With names neither the build nor the address counts. */
    const char *module = *l->module ? l->module : t->main_module, *build = l->nlines ? "" : hex_or_none(l->build_id);
    uint64_t offset = l->address;
    if (l->nlines) {
        offset = SEEP_KEY_INIT;
        for (size_t i = 0; i < l->nlines; i++) {
            offset = seep_key_string(offset, l->lines[i].function);
            offset = seep_key_u64(seep_key_string(offset, l->lines[i].file), (uint64_t)l->lines[i].line);
        }
    }
    offset &= INT64_MAX;
    *key = seep_frame_key(*build ? build : module, offset);
    int64_t id = (int64_t)(uintptr_t)map_get(&t->frames, *key);
    if (id) return id;
    id = writer_row(t->w, "INSERT INTO frame (image, offset) VALUES (?, ?)", "ii", image_id(t, module, build),
                    (int64_t)offset);
    map_put(&t->frames, *key, (void *)(uintptr_t)id);
    for (size_t i = 0; i < l->nlines; i++)
        writer_row(t->w, "INSERT INTO symbol VALUES (?, ?, ?, ?, ?)", "iitti", id, (int64_t)i, l->lines[i].function,
                   l->lines[i].file, l->lines[i].line);
    return id;
}

static int64_t stack_id(struct target *t, const struct prof_location *const *stack, size_t depth)
{
    struct buf frames = {0};
    uint64_t key = SEEP_KEY_INIT;
    for (size_t i = 0; i < depth && i < MAX_DEPTH; i++) {
        uint64_t frame_key;
        uint64_t id = (uint64_t)frame_id(t, stack[i], &frame_key);
        const unsigned char le[4] = {(unsigned char)id, (unsigned char)(id >> 8), (unsigned char)(id >> 16),
                                     (unsigned char)(id >> 24)};
        key = seep_stack_key_add(key, frame_key);
        buf_add(&frames, le, 4);
    }
    int64_t id = (int64_t)(uintptr_t)map_get(&t->stacks, key);
    if (!id) {
        id = writer_row(t->w, "INSERT INTO stack (hash, frames) VALUES (?, ?)", "ib", (int64_t)key, frames.data,
                        frames.len);
        map_put(&t->stacks, key, (void *)(uintptr_t)id);
    }
    buf_free(&frames);
    return id;
}

static void begin_snapshot(struct target *t, const struct profile *p, int64_t start_ns)
{
    t->snapshot =
        writer_row(t->w,
                   "INSERT INTO snapshot (process, seq, trigger, label, unix_ns, mono_ns, pause_ns, mark_ns, "
                   "duration_ns, rate_bytes, threads, threads_missed, live_objects, live_bytes, unreachable_objects, "
                   "unreachable_bytes, interior_objects, interior_bytes) VALUES (1, ?, 'import', ?, ?, ?, 0, 0, 0, 1, "
                   "0, 0, 0, 0, 0, 0, 0, 0)",
                   "itii", ++t->seq, path_base(p->path), p->unix_ns, p->unix_ns - start_ns);
    t->next_task = 1;
}

static void put_heap(struct target *t, const struct profile *p)
{
    int64_t objects = 0, bytes = 0;
    for (size_t i = 0; i < p->nsamples; i++) {
        const struct prof_sample *s = &p->samples[i];
        int64_t allocs = s->alloc_objects > s->inuse_objects ? s->alloc_objects : s->inuse_objects;
        int64_t alloc_bytes = s->alloc_bytes > s->inuse_bytes ? s->alloc_bytes : s->inuse_bytes;
        int64_t size = s->size_bytes ? s->size_bytes : allocs ? alloc_bytes / allocs : 0;
        add_capped(&objects, s->inuse_objects);
        add_capped(&bytes, s->inuse_bytes);
        writer_row(
            t->w,
            "INSERT INTO heap VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0) ON CONFLICT DO UPDATE SET "
            "allocs = min(allocs + excluded.allocs, 1 << 62), alloc_bytes = min(alloc_bytes + excluded.alloc_bytes, 1 "
            "<< 62), "
            "frees = min(frees + excluded.frees, 1 << 62), free_bytes = min(free_bytes + excluded.free_bytes, 1 << 62)",
            "iiiiiii", t->snapshot, stack_id(t, s->stack, s->depth), size, allocs, alloc_bytes,
            allocs - s->inuse_objects, alloc_bytes - s->inuse_bytes);
    }
    writer_row(t->w, "UPDATE snapshot SET live_objects = ?, live_bytes = ? WHERE id = ?", "iii", objects, bytes,
               t->snapshot);
}

static void put_tasks(struct target *t, const struct profile *p)
{
    for (size_t i = 0; i < p->nsamples && !t->e->code; i++) {
        const struct prof_sample *s = &p->samples[i];
        int64_t stack = stack_id(t, s->stack, s->depth), created = s->created ? stack_id(t, &s->created, 1) : 0;
        if (s->tasks > MAX_TASKS - t->tasks) {
            err_set(t->e, EXIT_INPUT, "%s: more than %d goroutines in all", p->path, MAX_TASKS);
            return;
        }
        t->tasks += s->tasks;
        for (int64_t k = 0; k < s->tasks; k++)
            writer_row(
                t->w,
                "INSERT INTO task VALUES (?, 'goroutine', ?, '', ?, ?, 0, ?, nullif(?, 0), nullif(?, 0), 0, 0, 0, 0, "
                "'unknown')",
                "iittiii", t->snapshot, t->next_task++, s->state, s->wait_reason, s->blocked_ns, created, stack);
    }
}

static int by_time(const void *a, const void *b)
{
    const struct profile *x = a, *y = b;
    if (x->unix_ns != y->unix_ns) return x->unix_ns < y->unix_ns ? -1 : 1;
    return (int)x->kind - (int)y->kind;
}

/* The profile behind i begins another snapshot, and i is nearer to it: a file's time may be some milliseconds old when it is set. */
static bool belongs_to_next(const struct profile *list, size_t n, size_t i, unsigned kinds)
{
    return i + 1 < n && kinds & 1u << list[i + 1].kind &&
           list[i + 1].unix_ns - list[i].unix_ns < list[i].unix_ns - list[i - 1].unix_ns;
}

int profiles_record(struct profile *list, size_t n, const char *path, bool force, struct err *e)
{
    struct target t = {.e = e, .main_module = ""};
    qsort(list, n, sizeof *list, by_time);
    for (size_t i = 0; i < n && !*t.main_module; i++) t.main_module = list[i].main_module;
    if (!*t.main_module) t.main_module = "go";
    if (store_create(path, force, e) != 0 || !(t.w = writer_open(path, e))) return e->code;
    writer_row(
        t.w,
        "INSERT INTO process (id, pid, ppid, start_unix_ns, start_mono_ns, exe, argv, host, agent_version, page_bytes) "
        "VALUES (1, 1, 0, ?, 0, ?, ?, '', 'import " SEEP_VERSION "', 4096)",
        "itt", list[0].unix_ns, t.main_module, path_base(t.main_module));
    unsigned kinds = 0; /* in the snapshot that is being written */
    for (size_t i = 0; i < n && !e->code; i++) {
        bool joins = i > 0 && !(kinds & 1u << list[i].kind) && list[i].unix_ns - list[i - 1].unix_ns <= MERGE_NS &&
                     !belongs_to_next(list, n, i, kinds);
        if (!joins) {
            begin_snapshot(&t, &list[i], list[0].unix_ns);
            kinds = 0;
        }
        kinds |= 1u << list[i].kind;
        if (list[i].kind == PROF_HEAP)
            put_heap(&t, &list[i]);
        else
            put_tasks(&t, &list[i]);
    }
    writer_close(t.w, e->code == 0, e);
    map_free(&t.images);
    map_free(&t.frames);
    map_free(&t.stacks);
    return e->code;
}
