/* SPDX-License-Identifier: Apache-2.0
 *
 * Graphs and trees of calls from the rows of a heap. A place that occurs several times in one stack (recursion) counts once in its cum.
 * Cost: rows times depth. */
#include "analyzer/model/graph.h"

#include <stdlib.h>
#include <string.h>

#include "agent/contract/stack_key.h"

uint64_t graph_key(const struct site *s, enum graph_level level)
{
    if (level == GRAPH_LINES || !s->function) return site_key(s);
    return seep_key_string(seep_key_string(SEEP_KEY_INIT, s->image ? s->image->name : ""), s->function);
}

/* index + 1 of the node with that key, which is made where it is missing. */
struct nodes {
    struct graph_node *items;
    size_t n, cap;
    struct map at;
    size_t *seen; /* row in which the node was met last */
};

static size_t node_of(struct nodes *g, uint64_t key, const struct site *site)
{
    size_t at = (size_t)(uintptr_t)map_get(&g->at, key);
    if (at) return at - 1;
    if (g->n == g->cap) {
        g->cap = g->cap * 2 + 64;
        g->items = xrealloc(g->items, g->cap, sizeof *g->items);
        g->seen = xrealloc(g->seen, g->cap, sizeof *g->seen);
    }
    g->items[g->n] = (struct graph_node){.key = key, .site = *site};
    g->seen[g->n++] = 0;
    map_put(&g->at, key, (void *)(uintptr_t)g->n);
    return g->n - 1;
}

size_t graph_nodes(struct recording *r, const struct heap *h, struct filter *f, enum graph_level level,
                   struct graph_node **out)
{
    struct nodes g = {0};
    const struct site *lines = NULL;
    size_t n = 0;
    for (size_t i = 0; i < h->n; i++) {
        const struct heap_row *row = &h->rows[i];
        progress_step("looking up symbols", i, h->n);
        n = stack_path(r, f, row->stack, &lines);
        for (size_t j = 0; j < n; j++) {
            size_t at = node_of(&g, graph_key(&lines[j], level), &lines[j]);
            struct graph_node *x = &g.items[at];
            if (j == 0)
                for (int k = 0; k < FIG_COUNT; k++) figure_add(&x->flat[k], &row->fig[k]);
            if (g.seen[at] == i + 1) continue;
            g.seen[at] = i + 1;
            for (int k = 0; k < FIG_COUNT; k++) figure_add(&x->cum[k], &row->fig[k]);
        }
    }
    map_free(&g.at);
    free(g.seen);
    *out = g.items;
    return g.n;
}

static int by_weight(const void *a, const void *b)
{
    const struct graph_edge *x = a, *y = b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    if (x->caller != y->caller) return x->caller < y->caller ? -1 : 1;
    return x->callee < y->callee ? -1 : x->callee > y->callee;
}

size_t graph_edges(struct recording *r, const struct heap *h, struct filter *f, int fig, struct graph_edge **out)
{
    struct map at = {0};
    struct graph_edge *e = NULL;
    size_t n = 0, cap = 0, *seen = NULL;
    for (size_t i = 0; i < h->n; i++) {
        const struct site *lines = NULL;
        size_t len = stack_path(r, f, h->rows[i].stack, &lines);
        int64_t w = h->rows[i].fig[fig].bytes;
        for (size_t j = 0; w && j + 1 < len; j++) {
            uint64_t callee = graph_key(&lines[j], GRAPH_FUNCTIONS), caller = graph_key(&lines[j + 1], GRAPH_FUNCTIONS);
            uint64_t key = seep_key_u64(seep_key_u64(SEEP_KEY_INIT, caller), callee);
            size_t k = (size_t)(uintptr_t)map_get(&at, key);
            if (!k) {
                if (n == cap) {
                    cap = cap * 2 + 64;
                    e = xrealloc(e, cap, sizeof *e);
                    seen = xrealloc(seen, cap, sizeof *seen);
                }
                e[n] = (struct graph_edge){caller, callee, 0};
                seen[n] = 0;
                map_put(&at, key, (void *)(uintptr_t)(k = ++n));
            }
            if (seen[k - 1] == i + 1) continue;
            seen[k - 1] = i + 1;
            add_capped(&e[k - 1].weight, w);
        }
    }
    map_free(&at);
    free(seen);
    if (n) qsort(e, n, sizeof *e, by_weight);
    *out = e;
    return n;
}

/* ---- tree */
static struct tree_node *sorting;

static int by_cum(const void *a, const void *b)
{
    const struct tree_node *x = &sorting[*(const size_t *)a], *y = &sorting[*(const size_t *)b];
    if (x->cum != y->cum) return x->cum > y->cum ? -1 : 1;
    return *(const size_t *)a < *(const size_t *)b ? -1 : 1;
}

/* Depth first, siblings by cum, without recursion: a stack may be 10,000 frames deep. */
static void order(struct tree_node *t, size_t n, struct tree_node *out)
{
    size_t *first = xcalloc(n + 1, sizeof *first), *kids = xcalloc(n + 1, sizeof *kids),
           *todo = xcalloc(n + 1, sizeof *todo);
    size_t *place = xcalloc(n, sizeof *place), ntodo = 0, m = 0;
    for (size_t i = 1; i < n; i++) first[t[i].parent + 1]++;
    for (size_t i = 0; i < n; i++) first[i + 1] += first[i];
    size_t *fill = xcalloc(n, sizeof *fill);
    for (size_t i = 1; i < n; i++) kids[first[t[i].parent] + fill[t[i].parent]++] = i;
    sorting = t;
    for (size_t i = 0; i < n; i++) qsort(kids + first[i], first[i + 1] - first[i], sizeof *kids, by_cum);
    todo[ntodo++] = 0;
    while (ntodo) {
        size_t i = todo[--ntodo];
        place[i] = m;
        out[m] = t[i];
        if (i) out[m].parent = place[t[i].parent];
        m++;
        for (size_t k = first[i + 1]; k-- > first[i];) todo[ntodo++] = kids[k];
    }
    free(first);
    free(kids);
    free(todo);
    free(place);
    free(fill);
}

size_t graph_tree(struct recording *r, const struct heap *h, struct filter *f, int fig, struct tree_node **out)
{
    struct map at = {0};
    size_t n = 1, cap = 64;
    struct tree_node *t = xcalloc(cap, sizeof *t);
    for (size_t i = 0; i < h->n; i++) {
        const struct site *lines = NULL;
        int64_t w = h->rows[i].fig[fig].bytes;
        size_t node = 0, len = w ? stack_path(r, f, h->rows[i].stack, &lines) : 0;
        add_capped(&t[0].cum, w);
        for (size_t j = len; j-- > 0;) {
            uint64_t key = seep_key_u64(seep_key_u64(SEEP_KEY_INIT, node), graph_key(&lines[j], GRAPH_FUNCTIONS));
            size_t k = (size_t)(uintptr_t)map_get(&at, key);
            if (!k) {
                if (n == cap) t = xrealloc(t, cap *= 2, sizeof *t);
                t[n] = (struct tree_node){.site = lines[j], .parent = node, .depth = t[node].depth + 1};
                map_put(&at, key, (void *)(uintptr_t)(k = n++));
            }
            node = k;
            add_capped(&t[node].cum, w);
        }
        add_capped(&t[node].flat, w);
    }
    map_free(&at);
    *out = xcalloc(n, sizeof **out);
    order(t, n, *out);
    free(t);
    return n;
}
