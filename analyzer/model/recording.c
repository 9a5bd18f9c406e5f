/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading: processes, snapshots and images at once (small), stacks and frames when they are asked (many). Symbols come
 * with the frame's first use.
 *
 * Invariants: 1. a pointer handed out lives until recording_close; 2. ids that lead nowhere are damage. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/model/model.h"
#include "analyzer/model/side.h"

static void load_processes(struct recording *r)
{
    static const char sql[] =
        "SELECT id, pid, ppid, start_unix_ns, start_mono_ns, page_bytes, exe, argv, host, agent_version "
        "FROM process ORDER BY id";
    size_t cap = 0;
    for (struct query *q = store_query(r->store, sql, 0); query_next(q);) {
        if (r->nprocesses == cap) r->processes = xrealloc(r->processes, cap = cap * 2 + 16, sizeof *r->processes);
        r->processes[r->nprocesses++] = (struct process){
            .id = query_int(q, 0, "process.id"),
            .pid = query_count(q, 1, "process.pid"),
            .ppid = query_count(q, 2, "process.ppid"),
            .start_unix_ns = query_int(q, 3, "process.start_unix_ns"),
            .start_mono_ns = query_int(q, 4, "process.start_mono_ns"),
            .page_bytes = query_count(q, 5, "process.page_bytes"),
            .exe = arena_strdup(&r->arena, query_text(q, 6, "process.exe")),
            .argv = arena_strdup(&r->arena, query_text(q, 7, "process.argv")),
            .host = arena_strdup(&r->arena, query_text(q, 8, "process.host")),
            .agent_version = arena_strdup(&r->arena, query_text(q, 9, "process.agent_version")),
        };
    }
}

static struct process *find_process(struct recording *r, int64_t id)
{
    size_t lo = 0, hi = r->nprocesses;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (r->processes[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < r->nprocesses && r->processes[lo].id == id ? &r->processes[lo] : NULL;
}

static void load_snapshots(struct recording *r)
{
    static const char sql[] = "SELECT id, process, seq, trigger, label, unix_ns, mono_ns, pause_ns, mark_ns, "
                              "duration_ns, rate_bytes, threads, "
                              "threads_missed, live_objects, live_bytes, unreachable_objects, unreachable_bytes, "
                              "interior_objects, interior_bytes "
                              "FROM snapshot ORDER BY process, seq";
    size_t cap = 0;
    for (struct query *q = store_query(r->store, sql, 0); query_next(q);) {
        if (r->nsnapshots == cap) r->snapshots = xrealloc(r->snapshots, cap = cap * 2 + 16, sizeof *r->snapshots);
        struct snapshot *s = &r->snapshots[r->nsnapshots++];
        *s = (struct snapshot){
            .id = query_int(q, 0, "snapshot.id"),
            .process = find_process(r, query_int(q, 1, "snapshot.process")),
            .seq = query_count(q, 2, "snapshot.seq"),
            .trigger = arena_strdup(&r->arena, query_text(q, 3, "snapshot.trigger")),
            .label = arena_strdup(&r->arena, query_text(q, 4, "snapshot.label")),
            .unix_ns = query_int(q, 5, "snapshot.unix_ns"),
            .mono_ns = query_int(q, 6, "snapshot.mono_ns"),
            .pause_ns = query_count(q, 7, "snapshot.pause_ns"),
            .mark_ns = query_count(q, 8, "snapshot.mark_ns"),
            .duration_ns = query_count(q, 9, "snapshot.duration_ns"),
            .rate_bytes = query_count(q, 10, "snapshot.rate_bytes"),
            .threads = query_count(q, 11, "snapshot.threads"),
            .threads_missed = query_count(q, 12, "snapshot.threads_missed"),
            .live_objects = query_count(q, 13, "snapshot.live_objects"),
            .live_bytes = query_count(q, 14, "snapshot.live_bytes"),
            .unreachable_objects = query_count(q, 15, "snapshot.unreachable_objects"),
            .unreachable_bytes = query_count(q, 16, "snapshot.unreachable_bytes"),
            .interior_objects = query_count(q, 17, "snapshot.interior_objects"),
            .interior_bytes = query_count(q, 18, "snapshot.interior_bytes"),
        };
        if (s->process)
            s->process->nsnapshots++;
        else
            store_damaged(r->store, "snapshot %lld is of a process that is not there", (long long)s->id);
    }
}

static void load_images(struct recording *r)
{
    int64_t first = INT64_MAX;
    for (size_t i = 0; i < r->nprocesses; i++)
        if (r->processes[i].start_unix_ns < first) first = r->processes[i].start_unix_ns;
    for (struct query *q = store_query(r->store, "SELECT id, path, build_id FROM image", 0); query_next(q);) {
        struct image *im = arena_alloc(&r->arena, sizeof *im);
        im->id = query_int(q, 0, "image.id");
        im->path = arena_strdup(&r->arena, query_text(q, 1, "image.path"));
        im->build_id = arena_strdup(&r->arena, query_text(q, 2, "image.build_id"));
        im->name = module_name(&r->arena, im->path);
        im->library = module_is_library(im->name);
        im->first_seen_ns = first;
        map_put(&r->images, (uint64_t)im->id, im);
    }
}

struct recording *recording_open(const char *path, struct err *e)
{
    struct store *store = store_open(path, e);
    if (!store) return NULL;
    struct recording *r = xcalloc(1, sizeof *r);
    r->store = store;
    r->symbolizer = symbolizer_new();
    load_processes(r);
    load_snapshots(r);
    load_images(r);
    /* Addresses of generated code don't say of which process they are. */
    if (r->nprocesses == 1) symbolizer_jit(r->symbolizer, r->processes[0].pid, r->processes[0].start_unix_ns);
    r->named = store_has(store, "symbol");
    if (!recording_error(r)->code && side_load(r, path, e) == 0) return r;
    if (recording_error(r)->code) *e = *recording_error(r);
    recording_close(r);
    return NULL;
}

void recording_close(struct recording *r)
{
    if (!r) return;
    store_close(r->store);
    symbolizer_free(r->symbolizer);
    map_free(&r->images);
    map_free(&r->frames);
    map_free(&r->stacks);
    map_free(&r->side);
    free(r->processes);
    free(r->snapshots);
    arena_free(&r->arena);
    free(r);
}

const struct err *recording_error(const struct recording *r)
{
    return store_error(r->store);
}

const struct image *recording_image(struct recording *r, int64_t id)
{
    const struct image *im = map_get(&r->images, (uint64_t)id);
    if (!im) store_damaged(r->store, "image %lld is not there", (long long)id);
    return im;
}

struct frame *recording_frame(struct recording *r, int64_t id)
{
    struct frame *f = map_get(&r->frames, (uint64_t)id);
    if (f) return f;
    f = arena_alloc(&r->arena, sizeof *f);
    f->id = id;
    map_put(&r->frames, (uint64_t)id, f);
    struct query *q = store_query(r->store, "SELECT image, offset FROM frame WHERE id = ?", 1, id);
    if (query_next(q)) {
        if (!query_is_null(q, 0)) f->image = recording_image(r, query_int(q, 0, "frame.image"));
        f->offset = (uint64_t)query_int(q, 1, "frame.offset");
    } else {
        store_damaged(r->store, "frame %lld is not there", (long long)id);
    }
    query_end(q);
    return f;
}

struct stack *recording_stack(struct recording *r, int64_t id)
{
    struct stack *s = map_get(&r->stacks, (uint64_t)id);
    if (s) return s;
    s = arena_alloc(&r->arena, sizeof *s);
    s->id = id;
    map_put(&r->stacks, (uint64_t)id, s);
    if (id == 0) return s;
    struct query *q = store_query(r->store, "SELECT hash, frames FROM stack WHERE id = ?", 1, id);
    if (query_next(q)) {
        size_t n = 0;
        s->hash = (uint64_t)query_int(q, 0, "stack.hash");
        const unsigned char *b = query_blob(q, 1, &n, "stack.frames");
        if (n % 4) store_damaged(r->store, "stack %lld has %zu bytes of frames", (long long)id, n);
        s->n = (unsigned)(n / 4);
        s->frames = arena_alloc(&r->arena, (s->n + 1) * sizeof *s->frames);
        for (unsigned i = 0; i < s->n; i++, b += 4)
            s->frames[i] =
                recording_frame(r, (int64_t)b[0] | (int64_t)b[1] << 8 | (int64_t)b[2] << 16 | (int64_t)b[3] << 24);
    } else {
        store_damaged(r->store, "stack %lld is not there", (long long)id);
    }
    query_end(q);
    return s;
}

/* Names that came with the frame. */
static bool load_names(struct recording *r, struct frame *f)
{
    static const char sql[] = "SELECT function, file, line FROM symbol WHERE frame = ? ORDER BY seq";
    enum { MAX_LINES = 64 };
    struct query *q = store_query(r->store, sql, 1, f->id);
    while (f->nlines < MAX_LINES && query_next(q)) {
        if (!f->lines) f->lines = arena_alloc(&r->arena, MAX_LINES * sizeof *f->lines);
        struct sym_line *l = &f->lines[f->nlines++];
        int64_t line = query_count(q, 2, "symbol.line");
        l->function = l->linkage = arena_strdup(&r->arena, query_text(q, 0, "symbol.function"));
        l->file = arena_strdup(&r->arena, query_text(q, 1, "symbol.file"));
        if (!*l->file) l->file = NULL;
        l->line = line < 1 << 30 ? (unsigned)line : 0;
    }
    query_end(q);
    return f->nlines > 0;
}

static struct sym_image *symbols_of(struct recording *r, const struct image *image)
{
    struct image *im = map_get(&r->images, (uint64_t)image->id);
    if (!im->symbols) im->symbols = symbolizer_image(r->symbolizer, im->path, im->build_id, im->first_seen_ns);
    return im->symbols;
}

const struct frame *frame_resolve(struct recording *r, struct frame *f)
{
    enum { MAX_LINES = 64 };
    if (f->resolved) return f;
    f->resolved = true;
    if (r->named && load_names(r, f)) return f;
    if (!f->image && f->offset) {
        f->lines = arena_alloc(&r->arena, sizeof *f->lines);
        f->nlines = symbol_jit_lookup(r->symbolizer, f->offset - 1, f->lines);
    }
    if (!f->image || f->offset == 0) return f;
    struct sym_line lines[MAX_LINES];
    f->nlines = symbol_lookup(symbols_of(r, f->image), f->offset - 1, lines, MAX_LINES);
    if (f->nlines == 0 && side_lookup(r, f)) return f;
    f->lines = arena_alloc(&r->arena, (f->nlines + 1) * sizeof *f->lines);
    memcpy(f->lines, lines, f->nlines * sizeof *lines);
    return f;
}

const char *recording_data_name(struct recording *r, const struct image *image, uint64_t addr, uint64_t *into)
{
    return symbol_data(symbols_of(r, image), addr, into);
}

int64_t stat_of(struct recording *r, const struct snapshot *s, const char *sql)
{
    struct query *q = store_query(r->store, sql, 1, s->id);
    int64_t v = query_next(q) ? query_count(q, 0, "stat.value") : -1;
    query_end(q);
    return v;
}

const char *process_command(struct recording *r, const struct process *p)
{
    char *s = arena_strdup(&r->arena, *p->argv ? p->argv : p->exe), *out = s;
    /* Programs that rewrite their title leave a long run of separators. */
    for (const char *c = s; *c; c++) {
        bool blank = *c == SEEP_ARGV_SEP || *c == ' ';
        if (!blank)
            *out++ = *c;
        else if (out > s && out[-1] != ' ')
            *out++ = ' ';
    }
    while (out > s && out[-1] == ' ') out--;
    *out = 0;
    return s;
}
