/* SPDX-License-Identifier: Apache-2.0
 *
 * The difference of two points in time, of one recording or of two. */
#ifndef ANALYZER_MODEL_DIFF_H
#define ANALYZER_MODEL_DIFF_H

#include "analyzer/model/model.h"

struct diff_row {
    uint64_t key;
    struct stack *stack; /* of b where it has one, else of a */
    struct site site;
    bool in_a, in_b;
    struct figure a[FIG_COUNT], b[FIG_COUNT];
};
/* Rows whose figures differ, by growth of bytes in use. Sites meet by module, function and line; stacks by build
 * id and offset. *out is to be freed. */
size_t diff_heaps(struct recording *ra, const struct heap *a, struct recording *rb, const struct heap *b, bool by_stack,
                  struct diff_row **out);

#endif
