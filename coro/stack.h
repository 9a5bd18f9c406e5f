/* SPDX-License-Identifier: Apache-2.0
 *
 * The arena's tables, for the two files that work on them: stack.c hands slots out, stack_rest.c takes their pages back while their
 * coroutines are packed. Sizes in bytes. */
#ifndef CORO_STACK_H
#define CORO_STACK_H

#include "coro/runtime.h"

enum { STACK_REGIONS = 16 };

struct stack_class {
    size_t slot, guard;
    uint32_t region_slots, batch;
};
extern const struct stack_class stack_classes[STACK_CLASSES];

struct stack_block; /* stack_rest.c */

struct region {
    uintptr_t lo;
    uint32_t nslots, ready, next; /* slots: in all, guarded and usable, handed out */
    uint32_t *owner;              /* of each slot: index of its descriptor */
    struct stack_block *blocks;   /* NULL: none ever rested */
};
/* The region that holds addr, or NULL. */
struct region *stack_region(uintptr_t addr, int *cls);
int stack_each_region(int (*fn)(void *arg, struct region *r, const struct stack_class *c), void *arg);

#endif
