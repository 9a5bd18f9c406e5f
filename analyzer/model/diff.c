/* SPDX-License-Identifier: Apache-2.0
 *
 * Joins the groups of two heaps by key. */
#include "analyzer/model/diff.h"

#include <stdlib.h>
#include <string.h>

#include "agent/contract/stack_key.h"

static int64_t growth(const struct diff_row *d, int fig)
{
    return d->b[fig].bytes - d->a[fig].bytes;
}

static int by_growth(const void *x, const void *y)
{
    const struct diff_row *a = x, *b = y;
    int64_t ga = growth(a, FIG_INUSE), gb = growth(b, FIG_INUSE);
    if (ga != gb) return ga > gb ? -1 : 1;
    int64_t aa = growth(a, FIG_ALLOC), ab = growth(b, FIG_ALLOC);
    if (aa != ab) return aa > ab ? -1 : 1;
    return a->key < b->key ? -1 : a->key > b->key;
}

static bool differs(const struct diff_row *d)
{
    for (int k = 0; k < FIG_COUNT; k++)
        if (d->a[k].bytes != d->b[k].bytes || d->a[k].objects != d->b[k].objects) return true;
    return false;
}

/* What a group of the other build is known by. pass 0: itself; 1: names and lines; 2: names. */
static uint64_t meeting_key(struct recording *r, const struct heap_group *g, bool by_stack, int pass)
{
    if (pass == 0) return g->key;
    uint64_t key = SEEP_KEY_INIT;
    struct stack one = {0}, *s = by_stack ? g->stack : &one;
    for (unsigned i = 0; i < (by_stack ? s->n : 1); i++) {
        const struct frame *f = by_stack ? frame_resolve(r, s->frames[i]) : NULL;
        for (unsigned j = 0; j == 0 || (f && j < f->nlines); j++) {
            struct site site = f ? frame_site(f, j) : g->site;
            if (f && !site_is_user(&site)) continue; /* another libc is no other program */
            key = seep_key_string(key, site.image ? site.image->name : "");
            if (!site.function) key = seep_key_u64(key, site.offset); /* nothing to go by in another build */
            if (!site.function && site.image) key = seep_key_string(key, site.image->build_id);
            if (site.function) key = seep_key_string(key, function_stem(&r->arena, site.function));
            if (pass == 1) key = seep_key_u64(key, site.line);
        }
    }
    return key;
}

/* Groups with the same key meet in the order of their lines: next[i] is the next free one with the key of i. */
static int by_line(const void *x, const void *y)
{
    const struct heap_group *a = x, *b = y;
    if (a->site.line != b->site.line) return a->site.line < b->site.line ? -1 : 1;
    return a->key < b->key ? -1 : a->key > b->key;
}

size_t diff_heaps(struct recording *ra, const struct heap *a, struct recording *rb, const struct heap *b, bool by_stack,
                  struct diff_row **out)
{
    struct heap_group *ga = NULL, *gb = NULL;
    size_t na = heap_group(ra, a, by_stack, &ga), nb = heap_group(rb, b, by_stack, &gb), n = 0, kept = 0;
    if (na) qsort(ga, na, sizeof *ga, by_line);
    if (nb) qsort(gb, nb, sizeof *gb, by_line);
    size_t *mate = xcalloc(na + 1, sizeof *mate); /* of ga: index + 1 in gb */
    bool *taken = xcalloc(nb + 1, sizeof *taken);
    for (int pass = 0; pass < (ra == rb ? 1 : 3); pass++) {
        struct map first = {0};
        size_t *next = xcalloc(nb + 1, sizeof *next);
        for (size_t i = nb; i-- > 0;) {
            if (taken[i]) continue;
            uint64_t key = meeting_key(rb, &gb[i], by_stack, pass);
            next[i] = (size_t)(uintptr_t)map_get(&first, key);
            map_put(&first, key, (void *)(uintptr_t)(i + 1));
        }
        for (size_t i = 0; i < na; i++) {
            if (mate[i]) continue;
            uint64_t key = meeting_key(ra, &ga[i], by_stack, pass);
            size_t at = (size_t)(uintptr_t)map_get(&first, key);
            if (!at) continue;
            mate[i] = at;
            taken[at - 1] = true;
            map_put(&first, key, (void *)(uintptr_t)next[at - 1]);
        }
        map_free(&first);
        free(next);
    }
    struct diff_row *rows = xcalloc(na + nb + 1, sizeof *rows);
    for (size_t i = 0; i < na; i++) {
        struct diff_row *d = &rows[n++];
        *d = (struct diff_row){.key = ga[i].key, .stack = ga[i].stack, .site = ga[i].site, .in_a = true};
        memcpy(d->a, ga[i].fig, sizeof d->a);
        if (!mate[i]) continue;
        const struct heap_group *g = &gb[mate[i] - 1];
        d->in_b = true;
        d->key = g->key;
        d->stack = g->stack;
        d->site = g->site;
        memcpy(d->b, g->fig, sizeof d->b);
    }
    for (size_t i = 0; i < nb; i++) {
        if (taken[i]) continue;
        struct diff_row *d = &rows[n++];
        *d = (struct diff_row){.key = gb[i].key, .stack = gb[i].stack, .site = gb[i].site, .in_b = true};
        memcpy(d->b, gb[i].fig, sizeof d->b);
    }
    for (size_t i = 0; i < n; i++)
        if (differs(&rows[i])) rows[kept++] = rows[i];
    if (kept) qsort(rows, kept, sizeof *rows, by_growth);
    free(mate);
    free(taken);
    free(ga);
    free(gb);
    *out = rows;
    return kept;
}

void diff_ages(struct recording *rb, struct snapshot *const *snaps, size_t n, bool by_stack, struct diff_row *rows,
               size_t nrows)
{
    static const char sql[] = "SELECT stack, bucket, bytes FROM age WHERE snapshot = ?";
    struct map at = {0};
    for (size_t i = 0; i < nrows; i++)
        if (rows[i].in_b) map_put(&at, rows[i].key, &rows[i]);
    for (size_t i = 0; i < n; i++)
        for (struct query *q = store_query(rb->store, sql, 1, snaps[i]->id); query_next(q);) {
            struct stack *s = recording_stack(rb, query_count(q, 0, "age.stack"));
            int64_t bucket = query_count(q, 1, "age.bucket"), bytes = query_count(q, 2, "age.bytes");
            struct site site = by_stack ? (struct site){0} : stack_site(rb, s);
            struct diff_row *row = map_get(&at, by_stack ? s->hash : site_key(&site));
            if (!row || bucket >= AGE_BUCKETS) continue;
            add_capped(&row->ages[bucket], bytes);
        }
    map_free(&at);
}

double diff_survived(const struct diff_row *row, double older_ms)
{
    double all = 0, old = 0, from = 1;
    for (int i = 0; i < AGE_BUCKETS; i++, from *= 2) {
        double bytes = (double)row->ages[i];
        all += bytes;
        /* A bucket that the moment lies in counts by its part. */
        old += older_ms <= from ? bytes : older_ms >= from * 2 ? 0 : bytes * (from * 2 - older_ms) / from;
    }
    return all > 0 ? old / all : 0;
}
