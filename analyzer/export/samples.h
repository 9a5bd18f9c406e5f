/* SPDX-License-Identifier: Apache-2.0
 *
 * What every export writes: stacks with values of one or more types and with labels. Made from the heap, one sample for each
 * row of (stack, size), or from tasks, one for each group that does the same at the same place.
 *
 * Invariant: values are the integers that `seep top` and `seep tasks` sum, so all formats have the same totals. */
#ifndef ANALYZER_EXPORT_SAMPLES_H
#define ANALYZER_EXPORT_SAMPLES_H

#include "analyzer/model/model.h"

enum { MAX_TYPES = 6, MAX_LABELS = 6 };
struct sample_type {
    const char *name, *unit;
};
struct label {
    const char *key, *text; /* text NULL: a number */
    int64_t number;
    const char *unit;
};
struct sample {
    struct stack *stack;
    int64_t values[MAX_TYPES];
    struct label labels[MAX_LABELS];
    unsigned nlabels;
};
struct samples {
    struct recording *r;
    struct snapshot *const *snaps;
    size_t nsnaps;
    const struct sample_type *types;
    unsigned ntypes, preferred;
    const char *period; /* what the period counts; NULL: there is none */
    struct sample *list;
    size_t n;
};
/* Rows of h that have any value. h must live as long. */
void samples_of_heap(struct recording *r, const struct heap *h, struct snapshot *const *snaps, size_t nsnaps,
                     struct samples *out);
void samples_of_tasks(struct recording *r, struct snapshot *const *snaps, size_t nsnaps, struct samples *out);
void samples_free(struct samples *s);
int samples_type(const struct samples *s, const char *name); /* -1: none of that name */

/* The lines of a stack, inlined ones too, outermost first; NULL-terminated for no stack. In r's arena. */
struct site *stack_lines(struct recording *r, const struct stack *s, size_t *n);

/* ---- Formats */
/* "outer;inner;leaf VALUE", one line a stack, of one type (Brendan Gregg's flamegraph.pl and many others). */
void folded_encode(const struct samples *s, unsigned type, struct buf *out);
/* speedscope's file format: one profile for each type that has values. */
void speedscope_encode(const struct samples *s, const char *name, struct buf *out);
/* RFC 4180, one line a sample: labels, values, site, stack. */
void csv_encode(const struct samples *s, struct buf *out);
/* {"types": […], "samples": [{"values": {…}, "labels": {…}, "stack": […]}]}; frames as in every --json. */
int json_encode(const struct samples *s, const char *comment, struct buf *out);

#endif
