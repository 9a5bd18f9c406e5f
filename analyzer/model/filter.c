/* SPDX-License-Identifier: Apache-2.0
 *
 * focus, ignore, hide and show: regular expressions over frames. The answer for a line is kept by the line's address, since the
 * same few lines stand in many stacks. */
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/model/graph.h"

struct filter {
    regex_t re[FILTER_KINDS];
    bool set[FILTER_KINDS];
    struct map known[FILTER_KINDS]; /* address of a sym_line or image → 1 no, 2 yes */
    struct site *path;
    size_t cap;
    struct filter *next; /* all of them, for the end */
};
static struct filter *filters;

static void filters_free(void)
{
    for (struct filter *f; (f = filters);) {
        filters = f->next;
        for (int k = 0; k < FILTER_KINDS; k++) {
            if (f->set[k]) regfree(&f->re[k]);
            map_free(&f->known[k]);
        }
        free(f->path);
        free(f);
    }
}

int filter_set(struct filter **f, enum filter_kind kind, const char *regex, struct err *e)
{
    static const char *const names[] = {"focus", "ignore", "hide", "show"};
    if (!*f) {
        *f = xcalloc(1, sizeof **f);
        if (!filters) atexit(filters_free);
        (*f)->next = filters;
        filters = *f;
    }
    if ((*f)->set[kind]) regfree(&(*f)->re[kind]);
    int rc = regcomp(&(*f)->re[kind], regex, REG_EXTENDED | REG_NOSUB);
    (*f)->set[kind] = rc == 0;
    if (rc == 0) return 0;
    char why[128];
    regerror(rc, &(*f)->re[kind], why, sizeof why);
    return err_set(e, EXIT_USAGE, "--%s \"%s\": %s", names[kind], regex, why);
}

static bool hit(const regex_t *re, const char *s)
{
    return s && regexec(re, s, 0, NULL, 0) == 0;
}

static bool matches(struct filter *f, int kind, const struct frame *frame, unsigned j)
{
    const struct sym_line *l = j < frame->nlines ? &frame->lines[j] : NULL;
    uint64_t key = (uint64_t)(l ? (uintptr_t)l : (uintptr_t)frame);
    uintptr_t known = (uintptr_t)map_get(&f->known[kind], key);
    if (known) return known == 2;
    const regex_t *re = &f->re[kind];
    bool yes = (l && (hit(re, l->function) || hit(re, l->file))) || (frame->image && hit(re, frame->image->path));
    map_put(&f->known[kind], key, (void *)(uintptr_t)(yes ? 2 : 1));
    return yes;
}

static bool any(struct recording *r, struct filter *f, int kind, struct stack *s)
{
    for (unsigned i = 0; s && i < s->n; i++) {
        const struct frame *frame = frame_resolve(r, s->frames[i]);
        for (unsigned j = 0; j == 0 || j < frame->nlines; j++)
            if (matches(f, kind, frame, j)) return true;
    }
    return false;
}

bool filter_keeps(struct recording *r, struct filter *f, struct stack *s)
{
    if (!f) return true;
    if (f->set[FILTER_FOCUS] && !any(r, f, FILTER_FOCUS, s)) return false;
    return !(f->set[FILTER_IGNORE] && any(r, f, FILTER_IGNORE, s));
}

void heap_filter(struct recording *r, struct heap *h, struct filter *f)
{
    size_t kept = 0;
    if (!f) return;
    memset(h->total, 0, sizeof h->total);
    for (size_t i = 0; i < h->n; i++) {
        if (!filter_keeps(r, f, h->rows[i].stack)) continue;
        h->rows[kept++] = h->rows[i];
        for (int k = 0; k < FIG_COUNT; k++) figure_add(&h->total[k], &h->rows[i].fig[k]);
    }
    h->n = kept;
}

size_t findings_filter(struct recording *r, struct filter *f, struct finding *list, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!f || filter_keeps(r, f, list[i].stack) ||
            (list[i].create_stack && filter_keeps(r, f, list[i].create_stack)))
            list[kept++] = list[i];
    return kept;
}

size_t stack_path(struct recording *r, struct filter *f, struct stack *s, const struct site **lines)
{
    static struct filter none;
    size_t n = 0, first = SIZE_MAX;
    if (!f) f = &none;
    for (unsigned i = 0; i < s->n; i++) {
        const struct frame *frame = frame_resolve(r, s->frames[i]);
        for (unsigned j = 0; j == 0 || j < frame->nlines; j++) {
            if (f->set[FILTER_HIDE] && matches(f, FILTER_HIDE, frame, j)) continue;
            if (f->set[FILTER_SHOW] && !matches(f, FILTER_SHOW, frame, j)) continue;
            if (n == f->cap) f->path = xrealloc(f->path, f->cap = f->cap * 2 + 64, sizeof *f->path);
            f->path[n] = frame_site(frame, j);
            if (first == SIZE_MAX && site_is_user(&f->path[n])) first = n;
            n++;
        }
    }
    if (first == SIZE_MAX) { /* all of it is the library's: as stack_site() has it */
        for (first = 0; first < n && f->path[first].function && function_is_library(f->path[first].function);) first++;
        if (first == n) first = 0;
    }
    *lines = f->path + first;
    return n - first;
}
