/* SPDX-License-Identifier: Apache-2.0
 *
 * Decoding profile.proto (github.com/google/pprof, proto/profile.proto; field numbers below are its own). Two passes: tables
 * first, then samples, since messages may come in any order. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/import/profile.h"

struct span {
    const unsigned char *p, *end;
    bool bad;
};
struct field {
    unsigned number, wire;
    uint64_t value;
    struct span bytes;
};

static uint64_t varint(struct span *s)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (s->p == s->end) break;
        unsigned char b = *s->p++;
        if (shift == 63 && b > 1) break;
        v |= (uint64_t)(b & 127) << shift;
        if (b < 128) return v;
    }
    s->bad = true;
    return 0;
}

static bool next_field(struct span *s, struct field *f)
{
    if (s->bad || s->p == s->end) return false;
    uint64_t key = varint(s), n;
    *f = (struct field){.number = (unsigned)(key >> 3), .wire = key & 7};
    switch (f->wire) {
    case 0: f->value = varint(s); break;
    case 1:
    case 5: n = f->wire == 1 ? 8 : 4; goto skip;
    case 2:
        n = varint(s);
    skip:
        if (s->bad || n > (uint64_t)(s->end - s->p)) {
            s->bad = true;
            return false;
        }
        f->bytes = (struct span){s->p, s->p + n, false};
        s->p += n;
        break;
    default: s->bad = true;
    }
    return !s->bad;
}

struct function {
    uint64_t name, file;
};
struct mapping {
    uint64_t start, file_offset, file, build_id;
};
struct decoder {
    struct profile *p;
    struct err *e;
    struct span *strings;
    const char **texts; /* of strings, made when they are asked: a long one that many name must not be many */
    size_t nstrings, capstrings;
    struct map functions, mappings, locations; /* id + 1 → struct */
    struct mapping *first_mapping;
    struct span types[16];
    size_t ntypes;
    int value_of[4]; /* index of alloc_objects, alloc_space, inuse_objects, inuse_space */
    int tasks_value;
};

static int damaged(struct decoder *d, const char *what)
{
    return err_set(d->e, EXIT_INPUT, "%s: not a profile that can be read: %s", d->p->path, what);
}

static const char *string(struct decoder *d, uint64_t i)
{
    if (i >= d->nstrings) {
        damaged(d, "a string that is not there");
        return "";
    }
    const struct span *s = &d->strings[i];
    if (!d->texts[i]) d->texts[i] = arena_strndup(&d->p->arena, (const char *)s->p, (size_t)(s->end - s->p));
    return d->texts[i];
}

static void read_function(struct decoder *d, struct span m)
{
    struct function *fn = arena_alloc(&d->p->arena, sizeof *fn);
    struct field f;
    uint64_t id = 0;
    while (next_field(&m, &f)) {
        if (f.number == 1) id = f.value;
        if (f.number == 2) fn->name = f.value;
        if (f.number == 4) fn->file = f.value;
    }
    if (m.bad) damaged(d, "a function breaks off");
    map_put(&d->functions, id + 1, fn);
}

static void read_mapping(struct decoder *d, struct span m)
{
    struct mapping *map = arena_alloc(&d->p->arena, sizeof *map);
    struct field f;
    uint64_t id = 0;
    while (next_field(&m, &f)) {
        if (f.number == 1) id = f.value;
        if (f.number == 2) map->start = f.value;
        if (f.number == 4) map->file_offset = f.value;
        if (f.number == 5) map->file = f.value;
        if (f.number == 6) map->build_id = f.value;
    }
    if (m.bad) damaged(d, "a mapping breaks off");
    if (!d->first_mapping) d->first_mapping = map;
    map_put(&d->mappings, id + 1, map);
}

static void read_location(struct decoder *d, struct span m)
{
    struct prof_location *l = arena_alloc(&d->p->arena, sizeof *l);
    struct span again = m;
    struct field f, g;
    uint64_t id = 0, mapping = 0;
    size_t n = 0;
    while (next_field(&again, &f)) n += f.number == 4 && f.wire == 2;
    l->lines = arena_alloc(&d->p->arena, (n + 1) * sizeof *l->lines);
    while (next_field(&m, &f)) {
        if (f.number == 1) id = f.value;
        if (f.number == 2) mapping = f.value;
        if (f.number == 3) l->address = f.value;
        if (f.number != 4 || f.wire != 2) continue;
        struct prof_line line = {"", "", 0};
        while (next_field(&f.bytes, &g)) {
            const struct function *fn = g.number == 1 ? map_get(&d->functions, g.value + 1) : NULL;
            if (fn) line.function = string(d, fn->name);
            if (fn) line.file = string(d, fn->file);
            if (g.number == 2 && (int64_t)g.value > 0 && (int64_t)g.value < 1 << 30) line.line = (int64_t)g.value;
        }
        if (f.bytes.bad) damaged(d, "a line breaks off");
        if (*line.function) l->lines[l->nlines++] = line;
    }
    if (m.bad) damaged(d, "a location breaks off");
    const struct mapping *map = map_get(&d->mappings, mapping + 1);
    l->module = map ? string(d, map->file) : "";
    l->build_id = map ? string(d, map->build_id) : "";
    if (map) l->address = l->address - map->start + map->file_offset;
    map_put(&d->locations, id + 1, l);
}

/* Repeated numbers: packed or one by one. Appends to *list. */
static void numbers(const struct field *f, uint64_t **list, size_t *n, size_t *cap)
{
    struct span s = f->bytes;
    do {
        if (f->wire == 2 && s.p == s.end) return;
        uint64_t v = f->wire == 2 ? varint(&s) : f->value;
        if (s.bad) return;
        if (*n == *cap) *list = xrealloc(*list, *cap = *cap * 2 + 64, sizeof **list);
        (*list)[(*n)++] = v;
    } while (f->wire == 2);
}

static int64_t value_at(const uint64_t *v, size_t n, int index)
{
    return index >= 0 && (size_t)index < n && (int64_t)v[index] > 0 ? (int64_t)v[index] : 0;
}

static void read_sample(struct decoder *d, struct span m)
{
    struct prof_sample *s = &d->p->samples[d->p->nsamples];
    uint64_t *ids = NULL, *values = NULL;
    size_t nids = 0, capids = 0, nvalues = 0, capvalues = 0;
    struct field f, g;
    while (next_field(&m, &f)) {
        if (f.number == 1) numbers(&f, &ids, &nids, &capids);
        if (f.number == 2) numbers(&f, &values, &nvalues, &capvalues);
        if (f.number != 3 || f.wire != 2) continue;
        const char *key = "";
        int64_t number = 0;
        while (next_field(&f.bytes, &g)) {
            if (g.number == 1) key = string(d, g.value);
            if (g.number == 3) number = (int64_t)g.value;
        }
        if (strcmp(key, "bytes") == 0 && number > 0) s->size_bytes = number;
    }
    if (m.bad) damaged(d, "a sample breaks off");
    s->stack = arena_alloc(&d->p->arena, (nids + 1) * sizeof *s->stack);
    for (size_t i = 0; i < nids; i++) {
        const struct prof_location *l = map_get(&d->locations, ids[i] + 1);
        if (!l) damaged(d, "a location that is not there");
        if (l) s->stack[s->depth++] = l;
    }
    s->alloc_objects = value_at(values, nvalues, d->value_of[0]);
    s->alloc_bytes = value_at(values, nvalues, d->value_of[1]);
    s->inuse_objects = value_at(values, nvalues, d->value_of[2]);
    s->inuse_bytes = value_at(values, nvalues, d->value_of[3]);
    s->tasks = value_at(values, nvalues, d->tasks_value);
    if (d->p->kind == PROF_TASKS) goroutine_waits(s, NULL);
    if (s->tasks || s->alloc_objects || s->alloc_bytes || s->inuse_objects || s->inuse_bytes)
        d->p->nsamples++;
    else
        *s = (struct prof_sample){0};
    free(ids);
    free(values);
}

/* What the values are: Go's heap profiles and its goroutine profiles, and ours of tasks. */
static void read_types(struct decoder *d)
{
    static const char *const heap[] = {"alloc_objects", "alloc_space", "inuse_objects", "inuse_space"};
    bool any = false;
    for (int k = 0; k < 4; k++) d->value_of[k] = -1;
    d->tasks_value = -1;
    for (size_t i = 0; i < d->ntypes; i++) {
        struct field f;
        const char *name = "";
        while (next_field(&d->types[i], &f))
            if (f.number == 1) name = string(d, f.value);
        for (int k = 0; k < 4; k++)
            if (strcmp(name, heap[k]) == 0) d->value_of[k] = (int)i, any = true;
        if (strcmp(name, "goroutine") == 0 || strcmp(name, "goroutines") == 0 || strcmp(name, "tasks") == 0)
            d->tasks_value = (int)i;
    }
    d->p->kind = any ? PROF_HEAP : PROF_TASKS;
    if (!any && d->tasks_value < 0) damaged(d, "neither a heap nor a goroutine profile");
}

int profile_decode_pprof(struct profile *p, const unsigned char *data, size_t n, struct err *e)
{
    struct decoder d = {.p = p, .e = e};
    const struct span all = {data, data + n, false};
    struct span s = all;
    struct field f;
    size_t nsamples = 0;
    while (next_field(&s, &f)) {
        if (f.number == 1 && f.wire == 2 && d.ntypes < sizeof d.types / sizeof *d.types) d.types[d.ntypes++] = f.bytes;
        if (f.number == 2 && f.wire == 2) nsamples++;
        if (f.number == 6 && f.wire == 2) {
            if (d.nstrings == d.capstrings)
                d.strings = xrealloc(d.strings, d.capstrings = d.capstrings * 2 + 256, sizeof *d.strings);
            d.strings[d.nstrings++] = f.bytes;
        }
        if (f.number == 9 && (int64_t)f.value > 0) p->unix_ns = (int64_t)f.value;
    }
    if (s.bad) damaged(&d, "it breaks off");
    if (!d.nstrings && !e->code) damaged(&d, "it has no strings");
    d.texts = xcalloc(d.nstrings + 1, sizeof *d.texts);
    if (!e->code) read_types(&d);
    for (s = all; !e->code && next_field(&s, &f);) {
        if (f.number == 3 && f.wire == 2) read_mapping(&d, f.bytes);
        if (f.number == 5 && f.wire == 2) read_function(&d, f.bytes);
    }
    for (s = all; !e->code && next_field(&s, &f);)
        if (f.number == 4 && f.wire == 2) read_location(&d, f.bytes);
    p->samples = arena_alloc(&p->arena, (nsamples + 1) * sizeof *p->samples);
    for (s = all; !e->code && next_field(&s, &f);)
        if (f.number == 2 && f.wire == 2) read_sample(&d, f.bytes);
    p->main_module = d.first_mapping && !e->code ? string(&d, d.first_mapping->file) : "";
    free(d.strings);
    free(d.texts);
    map_free(&d.functions);
    map_free(&d.mappings);
    map_free(&d.locations);
    return e->code;
}
