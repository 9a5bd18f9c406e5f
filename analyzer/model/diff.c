/* SPDX-License-Identifier: Apache-2.0
 *
 * Joins the groups of two heaps by key. */
#include "analyzer/model/diff.h"

#include <stdlib.h>
#include <string.h>

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

size_t diff_heaps(struct recording *ra, const struct heap *a, struct recording *rb, const struct heap *b, bool by_stack,
                  struct diff_row **out)
{
    struct heap_group *ga = NULL, *gb = NULL;
    size_t na = heap_group(ra, a, by_stack, &ga), nb = heap_group(rb, b, by_stack, &gb), n = 0, kept = 0;
    struct map at = {0};
    struct diff_row *rows = xcalloc(na + nb, sizeof *rows);
    for (size_t i = 0; i < na; i++) {
        rows[n] = (struct diff_row){.key = ga[i].key, .stack = ga[i].stack, .site = ga[i].site, .in_a = true};
        memcpy(rows[n].a, ga[i].fig, sizeof rows[n].a);
        map_put(&at, ga[i].key, (void *)(uintptr_t)++n);
    }
    for (size_t i = 0; i < nb; i++) {
        size_t j = (size_t)(uintptr_t)map_get(&at, gb[i].key);
        if (j == 0) {
            rows[n] = (struct diff_row){.key = gb[i].key};
            j = ++n;
        }
        struct diff_row *d = &rows[j - 1];
        d->in_b = true;
        d->stack = gb[i].stack;
        d->site = gb[i].site;
        memcpy(d->b, gb[i].fig, sizeof d->b);
    }
    for (size_t i = 0; i < n; i++)
        if (differs(&rows[i])) rows[kept++] = rows[i];
    if (kept) qsort(rows, kept, sizeof *rows, by_growth);
    map_free(&at);
    free(ga);
    free(gb);
    *out = rows;
    return kept;
}
