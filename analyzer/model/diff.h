/* SPDX-License-Identifier: Apache-2.0
 *
 * The difference of two points in time, of one recording or of two. */
#ifndef ANALYZER_MODEL_DIFF_H
#define ANALYZER_MODEL_DIFF_H

#include "analyzer/model/model.h"

enum { AGE_BUCKETS = 64 };
struct diff_row {
    uint64_t key;
    struct stack *stack; /* of b where it has one, else of a */
    struct site site;
    bool in_a, in_b;
    struct figure a[FIG_COUNT], b[FIG_COUNT];
    /* Sampled bytes in use at b by age: bucket i is [2^i, 2^(i+1)) ms, 0 also younger. */
    int64_t ages[AGE_BUCKETS];
};
/* Rows whose figures differ, by growth of bytes in use. Sites meet by module, function and line, what is left by module
 * and function in the order of lines, so that an edit above does not part them. Stacks meet by build id and offset,
 * what is left by functions and lines, then by functions: another build. *out is to be freed. */
size_t diff_heaps(struct recording *ra, const struct heap *a, struct recording *rb, const struct heap *b, bool by_stack,
                  struct diff_row **out);

/* Fills the ages of rows that diff_heaps() gave, from the snapshots of b. */
void diff_ages(struct recording *rb, struct snapshot *const *snaps, size_t n, bool by_stack, struct diff_row *rows,
               size_t nrows);
/* Of the bytes in use at b, the share that is older than so long; 0 where no age is known. */
double diff_survived(const struct diff_row *row, double older_ms);

#endif
