/* SPDX-License-Identifier: Apache-2.0
 *
 * Samples of the heap: read, scaled, merged over snapshots, subtracted, grouped by site.
 *
 * Invariants: 1. rows are sorted by (stack id, size), each pair once; 2. total[] is the sum of the rows, so whatever is made of
 * the rows (top, pprof) has the same total to the byte. */
#include <stdlib.h>
#include <string.h>

#include "agent/contract/stack_key.h"
#include "analyzer/model/model.h"

static int by_key(const void *a, const void *b)
{
    const struct heap_row *x = a, *y = b;
    if (x->stack->id != y->stack->id) return x->stack->id < y->stack->id ? -1 : 1;
    return x->size_bytes < y->size_bytes ? -1 : x->size_bytes > y->size_bytes;
}

/* Sorts, merges equal keys and sums up. */
static void settle(struct heap *h)
{
    size_t kept = 0;
    if (h->n) qsort(h->rows, h->n, sizeof *h->rows, by_key);
    memset(h->total, 0, sizeof h->total);
    for (size_t i = 0; i < h->n; i++) {
        for (int k = 0; k < FIG_COUNT; k++) figure_add(&h->total[k], &h->rows[i].fig[k]);
        if (kept && by_key(&h->rows[kept - 1], &h->rows[i]) == 0)
            for (int k = 0; k < FIG_COUNT; k++) figure_add(&h->rows[kept - 1].fig[k], &h->rows[i].fig[k]);
        else
            h->rows[kept++] = h->rows[i];
    }
    h->n = kept;
}

/* Counters are read while nothing runs, but a free may have been counted before its allocation was published. */
static int64_t minus(int64_t a, int64_t b)
{
    return a > b ? a - b : 0;
}

void heap_load(struct recording *r, struct snapshot *const *snaps, size_t n, struct heap *out)
{
    static const char sql[] =
        "SELECT stack, size_bytes, allocs, alloc_bytes, frees, free_bytes, unreachable, unreachable_bytes, "
        "interior, interior_bytes FROM heap WHERE snapshot = ? ORDER BY stack, size_bytes";
    size_t cap = 0;
    *out = (struct heap){0};
    for (size_t i = 0; i < n; i++) {
        int64_t rate = snaps[i]->rate_bytes;
        if (rate > 1) out->sampled = true;
        if (rate == 0) out->blind = true;
        for (struct query *q = store_query(r->store, sql, 1, snaps[i]->id); query_next(q);) {
            int64_t v[10];
            for (int c = 0; c < 10; c++) v[c] = query_count(q, c, "a figure of heap");
            if (out->n == cap) out->rows = xrealloc(out->rows, cap = cap * 2 + 256, sizeof *out->rows);
            struct heap_row *row = &out->rows[out->n++];
            row->stack = recording_stack(r, v[0]);
            row->size_bytes = v[1];
            row->fig[FIG_ALLOC] = scale_row(v[2], v[3], v[1], rate);
            row->fig[FIG_INUSE] = scale_row(minus(v[2], v[4]), minus(v[3], v[5]), v[1], rate);
            row->fig[FIG_UNREACHABLE] = scale_row(v[6], v[7], v[1], rate);
            row->fig[FIG_INTERIOR] = scale_row(v[8], v[9], v[1], rate);
        }
    }
    settle(out);
}

void heap_sub(struct heap *a, const struct heap *b)
{
    a->rows = xrealloc(a->rows, a->n + b->n + 1, sizeof *a->rows);
    for (size_t i = 0; i < b->n; i++) {
        struct heap_row row = {.stack = b->rows[i].stack, .size_bytes = b->rows[i].size_bytes};
        for (int k = 0; k < FIG_COUNT; k++) figure_sub(&row.fig[k], &b->rows[i].fig[k]);
        a->rows[a->n++] = row;
    }
    a->sampled |= b->sampled;
    a->blind |= b->blind;
    settle(a);
}

void heap_free(struct heap *h)
{
    free(h->rows);
    *h = (struct heap){0};
}

uint64_t site_key(const struct site *s)
{
    uint64_t k = seep_key_string(SEEP_KEY_INIT, s->image ? s->image->name : "");
    if (!s->function) return seep_key_u64(k, s->offset);
    k = seep_key_string(k, s->function);
    k = seep_key_string(k, s->file ? s->file : "");
    return seep_key_u64(k, s->line);
}

size_t heap_group(struct recording *r, const struct heap *h, bool by_stack, struct heap_group **out)
{
    struct map sites = {0};
    size_t n = 0, cap = 0;
    *out = NULL;
    for (size_t i = 0; i < h->n; i++) {
        struct heap_row *row = &h->rows[i];
        progress_step("looking up symbols", i, h->n);
        struct site site = stack_site(r, row->stack);
        uint64_t key = by_stack ? row->stack->hash : site_key(&site);
        size_t at = (size_t)(uintptr_t)map_get(&sites, key);
        if (at == 0) {
            if (n == cap) *out = xrealloc(*out, cap = cap * 2 + 64, sizeof **out);
            (*out)[n] = (struct heap_group){.site = site, .key = key};
            at = ++n;
            map_put(&sites, key, (void *)(uintptr_t)at);
        }
        struct heap_group *g = &(*out)[at - 1];
        /* Rows come sorted by stack: a new one is another stack. */
        if (i == 0 || h->rows[i - 1].stack != row->stack || g->nstacks == 0) g->nstacks++;
        if (!g->stack || row->fig[FIG_INUSE].bytes > g->fig[FIG_INUSE].bytes) g->stack = row->stack;
        for (int k = 0; k < FIG_COUNT; k++) figure_add(&g->fig[k], &row->fig[k]);
    }
    map_free(&sites);
    return n;
}
