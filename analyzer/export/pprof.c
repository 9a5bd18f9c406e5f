/* SPDX-License-Identifier: Apache-2.0
 *
 * Encoding profile.proto (github.com/google/pprof, proto/profile.proto; field numbers below are its own).
 *
 * Inlined calls are lines of one location, innermost first. Addresses lie inside the call (return address - 1) and inside
 * the mapping of the first process that had the image. Mappings say that symbols are there already, so pprof
 * does not look for them again. */
#include "analyzer/export/pprof.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "agent/contract/stack_key.h"
#include "analyzer/export/proto.h"

enum {
    P_SAMPLE_TYPE = 1,
    P_SAMPLE,
    P_MAPPING,
    P_LOCATION,
    P_FUNCTION,
    P_STRINGS,
    P_TIME = 9,
    P_DURATION,
    P_PERIOD_TYPE,
    P_PERIOD,
    P_COMMENT,
    P_DEFAULT_TYPE
};

struct mapping {
    const struct image *image;
    uint64_t id, lo, hi, file_offset, bias;
    bool functions, lines, inlines;
};

struct encoder {
    const struct samples *in;
    struct buf *out;
    struct buf strings; /* encoded string table */
    uint64_t nstrings, nlocations, nfunctions;
    struct map string_ids;   /* hash of text → struct interned * chain */
    struct map function_ids; /* hash → id + 1 */
    struct map location_ids; /* frame id → location id */
    struct mapping *mappings;
    size_t nmappings, cap;
    struct arena arena;
};

struct interned {
    struct interned *next;
    const char *text;
    uint64_t id;
};

static uint64_t string_id(struct encoder *e, const char *s)
{
    if (!s || !*s) return 0;
    uint64_t h = seep_key_string(SEEP_KEY_INIT, s);
    struct interned *first = map_get(&e->string_ids, h);
    for (struct interned *i = first; i; i = i->next)
        if (strcmp(i->text, s) == 0) return i->id;
    struct interned *new = arena_alloc(&e->arena, sizeof *new);
    *new = (struct interned){first, s, e->nstrings++};
    map_put(&e->string_ids, h, new);
    /* The format asks for UTF-8, and names may be anything. */
    struct buf clean = {0};
    buf_escape(&clean, s, strlen(s));
    proto_bytes(&e->strings, P_STRINGS, clean.data, clean.len);
    buf_free(&clean);
    return new->id;
}

static void value_type(struct encoder *e, unsigned field, const char *type, const char *unit)
{
    struct buf m = {0};
    proto_uint(&m, 1, string_id(e, type));
    proto_uint(&m, 2, string_id(e, unit));
    proto_message(e->out, field, &m);
    buf_free(&m);
}

/* Where images were mapped: of the chosen processes, the first that had it. */
static void load_mappings(struct encoder *e)
{
    static const char sql[] =
        "SELECT image, start_addr, end_addr, file_offset, bias FROM mapping WHERE process = ? ORDER BY start_addr";
    struct recording *r = e->in->r;
    for (size_t i = 0; i < e->in->nsnaps; i++) {
        size_t before = e->nmappings;
        for (struct query *q = store_query(r->store, sql, 1, e->in->snaps[i]->process->id); query_next(q);) {
            const struct image *im = recording_image(r, query_int(q, 0, "mapping.image"));
            bool known = false;
            for (size_t j = 0; j < before; j++) known = known || e->mappings[j].image == im;
            if (known || !im) continue;
            if (e->nmappings == e->cap)
                e->mappings = xrealloc(e->mappings, e->cap = e->cap * 2 + 32, sizeof *e->mappings);
            struct mapping *m = &e->mappings[e->nmappings++];
            *m = (struct mapping){im,
                                  e->nmappings,
                                  (uint64_t)query_int(q, 1, "mapping.start_addr"),
                                  (uint64_t)query_int(q, 2, "mapping.end_addr"),
                                  (uint64_t)query_count(q, 3, "mapping.file_offset"),
                                  (uint64_t)query_int(q, 4, "mapping.bias"),
                                  false,
                                  false,
                                  false};
        }
    }
}

static struct mapping *find_mapping(struct encoder *e, const struct image *im, uint64_t offset)
{
    struct mapping *any = NULL;
    for (size_t i = 0; i < e->nmappings; i++) {
        struct mapping *m = &e->mappings[i];
        if (m->image != im) continue;
        any = m;
        if (m->bias + offset >= m->lo && m->bias + offset < m->hi) return m;
    }
    return any;
}

static uint64_t function_id(struct encoder *e, const struct sym_line *l)
{
    uint64_t name = string_id(e, l->function), linkage = string_id(e, l->linkage ? l->linkage : l->function),
             file = string_id(e, l->file);
    uint64_t key = seep_key_u64(seep_key_u64(seep_key_u64(SEEP_KEY_INIT, name), linkage), file);
    uint64_t id = (uint64_t)(uintptr_t)map_get(&e->function_ids, key);
    if (id) return id;
    id = ++e->nfunctions;
    map_put(&e->function_ids, key, (void *)(uintptr_t)id);
    struct buf m = {0};
    proto_uint(&m, 1, id);
    proto_uint(&m, 2, name);
    proto_uint(&m, 3, linkage);
    proto_uint(&m, 4, file);
    proto_message(e->out, P_FUNCTION, &m);
    buf_free(&m);
    return id;
}

static uint64_t location_id(struct encoder *e, struct frame *frame)
{
    uint64_t id = (uint64_t)(uintptr_t)map_get(&e->location_ids, (uint64_t)frame->id);
    if (id) return id;
    id = ++e->nlocations;
    map_put(&e->location_ids, (uint64_t)frame->id, (void *)(uintptr_t)id);
    const struct frame *f = frame_resolve(e->in->r, frame);
    struct mapping *map = f->image ? find_mapping(e, f->image, f->offset) : NULL;
    struct buf m = {0}, line = {0};
    proto_uint(&m, 1, id);
    proto_uint(&m, 2, map ? map->id : 0);
    proto_uint(&m, 3, (map ? map->bias : 0) + f->offset - (f->offset > 0));
    for (unsigned i = 0; i < f->nlines; i++) {
        if (!f->lines[i].function) continue;
        proto_uint(&line, 1, function_id(e, &f->lines[i]));
        proto_uint(&line, 2, f->lines[i].line);
        proto_message(&m, 4, &line);
        if (!map) continue;
        map->functions = true;
        map->lines = map->lines || f->lines[i].line;
        map->inlines = map->inlines || f->nlines > 1;
    }
    proto_message(e->out, P_LOCATION, &m);
    buf_free(&m);
    buf_free(&line);
    return id;
}

static void samples(struct encoder *e)
{
    uint64_t *ids = NULL;
    size_t cap = 0;
    for (size_t i = 0; i < e->in->n; i++) {
        const struct sample *x = &e->in->list[i];
        uint64_t values[MAX_TYPES];
        for (unsigned k = 0; k < e->in->ntypes; k++) values[k] = (uint64_t)x->values[k];
        if (x->stack->n > cap) ids = xrealloc(ids, cap = x->stack->n, sizeof *ids);
        for (unsigned j = 0; j < x->stack->n; j++) ids[j] = location_id(e, x->stack->frames[j]);
        struct buf m = {0}, label = {0};
        proto_packed(&m, 1, ids, x->stack->n);
        proto_packed(&m, 2, values, e->in->ntypes);
        for (unsigned k = 0; k < x->nlabels; k++) {
            const struct label *l = &x->labels[k];
            proto_uint(&label, 1, string_id(e, l->key));
            proto_uint(&label, 2, string_id(e, l->text));
            proto_int(&label, 3, l->text ? 0 : l->number);
            proto_uint(&label, 4, string_id(e, l->unit));
            proto_message(&m, 3, &label);
        }
        proto_message(e->out, P_SAMPLE, &m);
        buf_free(&m);
        buf_free(&label);
    }
    free(ids);
}

static void mappings(struct encoder *e)
{
    for (size_t i = 0; i < e->nmappings; i++) {
        const struct mapping *map = &e->mappings[i];
        struct buf m = {0};
        proto_uint(&m, 1, map->id);
        proto_uint(&m, 2, map->lo);
        proto_uint(&m, 3, map->hi);
        proto_uint(&m, 4, map->file_offset);
        proto_uint(&m, 5, string_id(e, map->image->path));
        proto_uint(&m, 6, string_id(e, map->image->build_id));
        proto_uint(&m, 7, map->functions);
        proto_uint(&m, 8, map->lines);
        proto_uint(&m, 9, map->lines);
        proto_uint(&m, 10, map->inlines);
        proto_message(e->out, P_MAPPING, &m);
        buf_free(&m);
    }
}

/* pprof takes the first mapping for the program itself. */
static void main_first(struct encoder *e)
{
    const char *exe = e->in->nsnaps ? e->in->snaps[0]->process->exe : "";
    for (size_t i = 1; i < e->nmappings; i++) {
        if (strcmp(e->mappings[i].image->path, exe) != 0) continue;
        struct mapping swap = e->mappings[0];
        e->mappings[0] = e->mappings[i];
        e->mappings[i] = swap;
        break;
    }
    for (size_t i = 0; i < e->nmappings; i++) e->mappings[i].id = i + 1;
}

void pprof_encode(const struct samples *in, const char *comment, struct buf *out)
{
    struct encoder e = {.in = in, .out = out, .nstrings = 1};
    proto_bytes(&e.strings, P_STRINGS, "", 0);
    for (unsigned i = 0; i < in->ntypes; i++) value_type(&e, P_SAMPLE_TYPE, in->types[i].name, in->types[i].unit);
    load_mappings(&e);
    main_first(&e);
    samples(&e);
    mappings(&e);

    int64_t time = 0, start = INT64_MAX, rate = 0;
    for (size_t i = 0; i < in->nsnaps; i++) {
        const struct snapshot *s = in->snaps[i];
        if (s->unix_ns > time) time = s->unix_ns;
        if (s->process->start_unix_ns < start) start = s->process->start_unix_ns;
        if (s->rate_bytes > rate) rate = s->rate_bytes;
    }
    proto_int(out, P_TIME, time);
    int64_t duration;
    if (!__builtin_sub_overflow(time, start, &duration) && duration > 0) proto_int(out, P_DURATION, duration);
    if (in->period) value_type(&e, P_PERIOD_TYPE, in->period, "bytes");
    if (in->period) proto_int(out, P_PERIOD, rate);
    uint64_t note = string_id(&e, comment);
    if (note) proto_packed(out, P_COMMENT, &note, 1);
    proto_uint(out, P_DEFAULT_TYPE, string_id(&e, in->types[in->preferred].name));
    buf_add(out, e.strings.data, e.strings.len);

    buf_free(&e.strings);
    map_free(&e.string_ids);
    map_free(&e.function_ids);
    map_free(&e.location_ids);
    free(e.mappings);
    arena_free(&e.arena);
}

int gzip_compress(const struct buf *in, struct buf *out)
{
    z_stream z = {0};
    unsigned char chunk[16384];
    if (in->len > UINT32_MAX || deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return -1;
    z.next_in = (unsigned char *)in->data;
    z.avail_in = (uInt)in->len;
    int rc;
    do {
        z.next_out = chunk;
        z.avail_out = sizeof chunk;
        rc = deflate(&z, Z_FINISH);
        buf_add(out, chunk, sizeof chunk - z.avail_out);
    } while (rc == Z_OK);
    deflateEnd(&z);
    return rc == Z_STREAM_END ? 0 : -1;
}
