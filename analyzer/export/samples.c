/* SPDX-License-Identifier: Apache-2.0
 *
 * Samples of the heap and of tasks. */
#include "analyzer/export/samples.h"

#include <stdlib.h>
#include <string.h>

static const struct sample_type heap_types[] = {
    {"alloc_objects", "count"}, {"alloc_space", "bytes"},         {"inuse_objects", "count"},
    {"inuse_space", "bytes"},   {"unreachable_objects", "count"}, {"unreachable_space", "bytes"},
};
static const struct sample_type task_types[] = {{"tasks", "count"}, {"stack_space", "bytes"}};

void samples_of_heap(struct recording *r, const struct heap *h, struct snapshot *const *snaps, size_t nsnaps,
                     struct samples *out)
{
    static const int order[] = {FIG_ALLOC, FIG_INUSE, FIG_UNREACHABLE};
    *out = (struct samples){.r = r,
                            .snaps = snaps,
                            .nsnaps = nsnaps,
                            .types = heap_types,
                            .ntypes = 6,
                            .preferred = 3,
                            .period = "space",
                            .list = xcalloc(h->n + 1, sizeof *out->list)};
    for (size_t i = 0; i < h->n; i++) {
        const struct heap_row *row = &h->rows[i];
        struct sample x = {.stack = row->stack, .nlabels = 1};
        bool any = false;
        for (int k = 0; k < 3; k++) {
            x.values[2 * k] = row->fig[order[k]].objects;
            x.values[2 * k + 1] = row->fig[order[k]].bytes;
        }
        for (int k = 0; k < 6; k++) any = any || x.values[k];
        x.labels[0] = (struct label){"bytes", NULL, row->size_bytes, "bytes"};
        if (any) out->list[out->n++] = x;
    }
}

void samples_of_tasks(struct recording *r, struct snapshot *const *snaps, size_t nsnaps, struct samples *out)
{
    static struct stack none;
    struct task_group *groups = NULL;
    size_t n = tasks_load(r, snaps, nsnaps, &groups);
    *out = (struct samples){.r = r,
                            .snaps = snaps,
                            .nsnaps = nsnaps,
                            .types = task_types,
                            .ntypes = 2,
                            .list = xcalloc(n + 1, sizeof *out->list)};
    for (size_t i = 0; i < n; i++) {
        const struct task_group *g = &groups[i];
        const struct label words[] = {{"provider", g->provider, 0, NULL},
                                      {"state", g->state, 0, NULL},
                                      {"wait_reason", g->wait_reason, 0, NULL},
                                      {"verdict", g->verdict, 0, NULL},
                                      {"name", g->name, 0, NULL}};
        struct sample *x = &out->list[out->n++];
        *x = (struct sample){.stack = g->stack ? g->stack : &none, .values = {g->tasks, g->stack_bytes}};
        for (size_t k = 0; k < sizeof words / sizeof *words; k++)
            if (words[k].text && *words[k].text) x->labels[x->nlabels++] = words[k];
        if (g->create_stack && g->create_stack->n) {
            struct site site = stack_site(r, g->create_stack);
            x->labels[x->nlabels++] = (struct label){"created_at", site_function(&r->arena, &site), 0, NULL};
        }
    }
    free(groups);
}

void samples_free(struct samples *s)
{
    free(s->list);
}

int samples_type(const struct samples *s, const char *name)
{
    for (unsigned i = 0; i < s->ntypes; i++)
        if (strcmp(s->types[i].name, name) == 0) return (int)i;
    return -1;
}

struct site *stack_lines(struct recording *r, const struct stack *s, size_t *n)
{
    size_t total = 0;
    for (unsigned i = 0; i < s->n; i++) {
        const struct frame *f = frame_resolve(r, s->frames[i]);
        total += f->nlines ? f->nlines : 1;
    }
    struct site *lines = arena_alloc(&r->arena, (total + 1) * sizeof *lines);
    *n = total;
    for (unsigned i = 0; i < s->n; i++) {
        const struct frame *f = frame_resolve(r, s->frames[i]);
        for (unsigned j = 0; j == 0 || j < f->nlines; j++) lines[--total] = frame_site(f, j);
    }
    return lines;
}
