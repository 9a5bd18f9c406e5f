/* SPDX-License-Identifier: Apache-2.0
 *
 * C++'s new T[0], of a T with a destructor: a block of one word that holds the number of elements, 0, and a pointer just behind it.
 * Where another block begins there the pointer is taken for that one's (mark.c), and the array would be lost. So a block of one word that holds
 * 0 is kept when the block behind it is known by its start. That errs towards silence, for blocks of that size only.
 *
 * Between the marking and the verdicts on memory. Linear in slots of the smallest class; allocates nothing. */
#include "agent/snapshot/child.h"

static bool is_empty_array(const struct marker *m, struct object_ref o)
{
    uintptr_t base = object_base(m, o);
    struct object_ref next;
    if (*(const uintptr_t *)base != 0 || !mark_resolve(m, base + sizeof(uintptr_t), &next)) return false;
    const struct mark_word *w = mark_word_of(m, next);
    return mark_is_marked(m, next) && !((w->inner | w->free) >> (next.index & 63) & 1);
}

void empty_arrays_mark(struct marker *m)
{
    for (uint32_t id = 0; id < m->nspans; id++) {
        const struct span_rec *s = &m->spans[id];
        if (s->elem != sizeof(uintptr_t)) continue;
        for (uint32_t i = 0; i * 64 < s->nelems; i++) {
            uint64_t *mark = &m->marks[s->words + i];
            for (uint64_t lost = mark_unreached(m, s, i); lost; lost &= lost - 1) {
                struct object_ref o = {id, i * 64 + (uint32_t)__builtin_ctzll(lost)};
                if (is_empty_array(m, o)) *mark |= 1ull << (o.index & 63);
            }
        }
    }
}
