/* SPDX-License-Identifier: Apache-2.0
 *
 * Retention: large objects of which the references to them cover a small part.
 *
 * While marking, each reference to a large object says what it covers:
 *   pointer, length, capacity   three words with length <= capacity, both within the object: the capacity
 *   pointer, length             two words, the second within the object: the length
 *   pointer                     to the end of the object
 * The unit of a length is not in memory. An address that is not aligned is that of a text: bytes. Otherwise elements may have up to
 * UNIT bytes, so that what is called covered errs towards more. A pointer to the start of a block, or just behind a header of up to
 * HEADER bytes as strings and allocators of their own put there, is mostly its owner's and no slice: the word after it counts as
 * a length only when it is no likely flag or count of references.
 *
 * Words in memory have no type: a cursor and a peak behind a buffer's pointer look like a length and a capacity. So nothing here
 * is ever called proven: likely where all references are triples into the middle, else a note.
 *
 * Each word is scanned once, so each reference is noted once. An object with a plain pointer to its start costs one look at a
 * byte from then on; one with over MAX_REFS slices is taken for covered.
 *
 * Reported: waste of 4 KiB and more that is three quarters and more of the object; grouped by the site of the
 * allocation, with the path from a root to the largest one. */
#include "agent/snapshot/child.h"

#include <string.h>

#include "agent/os/os.h"
#include "agent/util/log.h"

enum { UNIT = 64, HEADER = 64, MAX_REFS = 64, LEAST_LENGTH = 16, WASTE_BYTES = 4096, PATHS = 8 };
static const uint64_t PATHS_NS = 1500000000;

struct interval {
    uint32_t next; /* + 1 */
    uint64_t lo, hi;
};

struct covered { /* a large object */
    struct object_ref o;
    uint32_t first, refs;     /* first: interval + 1 */
    bool full, guessed, text; /* guessed: from something less than three words into the middle */
};

struct cover {
    struct child_map index; /* object → covered, + 1 */
    struct child_vec objects, intervals;
};

void cover_init(struct marker *m)
{
    static struct cover c;
    c = (struct cover){0};
    m->cover = &c;
}

static struct covered *covered_of(struct cover *c, struct object_ref o)
{
    struct covered *v = child_group(&c->index, &c->objects, object_key(o), sizeof *v);
    v->o = o;
    return v;
}

void cover_note(struct marker *m, struct object_ref o, const uintptr_t *w, const uintptr_t *end)
{
    size_t size = span_elem(&m->spans[o.span]);
    if (size < COVER_MIN_BYTES) return;
    struct covered *v = covered_of(m->cover, o);
    if (v->full) return;
    uintptr_t at = (*w & m->in.keep) - object_base(m, o);
    size_t rest = size - at, unit = *w % 8 ? 1 : UNIT, n = 0;
    bool front = at < HEADER;
    bool triple = end - w > 2 && w[1] <= w[2] && w[2] > 0 && w[2] <= rest && (!front || w[2] >= LEAST_LENGTH);
    bool pair = !triple && end - w > 1 && w[1] > 0 && w[1] <= rest && (!front || w[1] >= LEAST_LENGTH);
    if (triple || pair) n = triple ? w[2] : w[1];
    v->refs++;
    if ((!n && front) || v->refs > MAX_REFS) {
        v->full = true;
        return;
    }
    if (front || !triple) v->guessed = true;
    if (unit == 1) v->text = true;
    size_t bytes = n && n < rest / unit ? n * unit : rest;
    struct interval *i = child_vec_add(&m->cover->intervals, sizeof *i);
    *i = (struct interval){.lo = at, .hi = at + bytes, .next = v->first};
    v->first = (uint32_t)m->cover->intervals.n;
}

static int by_lo(const void *a, const void *b)
{
    const struct interval *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static uint64_t union_bytes(const struct cover *c, const struct covered *v)
{
    struct interval all[MAX_REFS + 1];
    size_t n = 0;
    const struct interval *items = (const struct interval *)c->intervals.items;
    for (uint32_t i = v->first; i && n <= MAX_REFS; i = items[i - 1].next) all[n++] = items[i - 1];
    child_sort(all, n, sizeof *all, by_lo);
    uint64_t sum = 0, hi = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t lo = all[i].lo > hi ? all[i].lo : hi;
        if (all[i].hi > lo) sum += all[i].hi - lo;
        if (all[i].hi > hi) hi = all[i].hi;
    }
    return sum;
}

uint32_t object_site(struct marker *m, struct object_ref o)
{
    const struct heap_sample *s = heap_sample_of(m->mspans[o.span], o.index);
    return s && s->bucket <= bucket_count() ? bucket_get(s->bucket)->stack : 0;
}

/* Bytes that the program asked for, where that is known. */
static uint64_t requested(struct marker *m, struct object_ref o)
{
    const struct heap_sample *s = heap_sample_of(m->mspans[o.span], o.index);
    size_t size = span_elem(&m->spans[o.span]);
    return s && s->requested < size ? s->requested : size;
}

struct site {
    uint32_t stack;
    bool text, guessed;
    uint64_t objects, bytes, used, refs;
    struct object_ref largest;
    uint64_t largest_bytes;
};

static int more_waste(const void *a, const void *b)
{
    const struct site *x = a, *y = b;
    uint64_t p = x->bytes - x->used, q = y->bytes - y->used;
    return p > q ? -1 : p < q;
}

static void add_object(struct marker *m, struct child_map *index, struct child_vec *sites, const struct covered *v)
{
    uint64_t size = requested(m, v->o), used = v->full ? size : union_bytes(m->cover, v);
    if (used > size) used = size;
    if (size - used < WASTE_BYTES || (size - used) * 4 < size * 3) return;
    uint32_t stack = object_site(m, v->o);
    uint64_t key = (uint64_t)stack << 2 | (uint64_t)v->text << 1 | v->guessed;
    struct site *s = child_group(index, sites, key, sizeof *s);
    s->stack = stack;
    s->text = v->text;
    s->guessed = v->guessed;
    s->objects++;
    s->bytes += size;
    s->used += used;
    s->refs += v->refs;
    if (size > s->largest_bytes) {
        s->largest_bytes = size;
        s->largest = v->o;
    }
}

static void emit(struct judgement *j, const struct site *s, const char *path)
{
    struct finding *f = child_vec_add(&j->findings, sizeof *f);
    *f = (struct finding){.rule = s->text ? SEEP_RULE_SUBSTRING_RETENTION : SEEP_RULE_SUBSLICE_RETENTION,
                          .confidence = s->guessed ? SEEP_INFO : SEEP_LIKELY,
                          .stack = s->stack,
                          .objects = s->objects,
                          .bytes = s->bytes,
                          .est_objects = (double)s->objects,
                          .est_bytes = (double)s->bytes};
    finding_add(f, "{\"retained_bytes\":%lu,\"used_bytes\":%lu,\"references\":%lu", (unsigned long)s->bytes,
                (unsigned long)s->used, (unsigned long)s->refs);
    finding_add_doubt(f, j);
    if (!s->stack) finding_add(f, ",\"unsampled\":1");
    if (path) finding_add(f, ",\"path\":%s", path);
    finding_add(f, "}");
}

void cover_judge(struct marker *m, const struct snapshot_job *job, struct judgement *j)
{
    struct child_map index = {0};
    struct child_vec sites = {0};
    const struct covered *v = (const struct covered *)m->cover->objects.items;
    for (size_t i = 0; i < m->cover->objects.n; i++) add_object(m, &index, &sites, &v[i]);
    struct site *s = (struct site *)sites.items;
    child_sort(s, sites.n, sizeof *s, more_waste);
    static char text[PATHS][1600];
    struct path_target paths[PATHS] = {0};
    unsigned npaths = sites.n < PATHS ? (unsigned)sites.n : PATHS;
    for (unsigned i = 0; i < npaths; i++)
        paths[i] = (struct path_target){.of = &s[i].largest, .n = 1, .buf = text[i], .size = sizeof text[i]};
    if (npaths) path_find(m, job, j, paths, npaths, os_mono_ns() + PATHS_NS);
    for (size_t i = 0; i < sites.n; i++) emit(j, &s[i], i < npaths && paths[i].found ? paths[i].buf : NULL);
}
