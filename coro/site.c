/* SPDX-License-Identifier: Apache-2.0
 *
 * Creation stacks at the cost of a few loads. Unwinding and interning the stack of each co_go() would cost more than the rest of
 * it, and programs start coroutines from few places. So each m remembers, for the last stacks it captured, where on the stack
 * each return address stood, relative to the caller's frame. When the same call comes again and every one of those words
 * still holds the same address, the stack is the same.
 *
 * Invariants
 *   1. An entry is used only after every return address was compared: it is never a guess by call site alone.
 *   2. Entries are the m's own: no lock. A coroutine that changes its m finds another cache.
 * Allocates metadata once per m. Stacks deeper than DEPTH are captured each time. */
#include "coro/runtime.h"

#include "agent/profile/profile.h"
#include "agent/util/critical.h"

enum { SITES = 64, DEPTH = 24 };

struct site {
    uintptr_t ra;
    uint32_t stack, n;
    size_t reach; /* bytes from the caller's frame to the end of the last of them */
    struct {
        uintptr_t offset; /* of the word that holds pc, from the caller's frame, in bytes; increasing */
        uintptr_t pc;
    } at[DEPTH]; /* but for ra itself */
};

static COLD uint32_t capture(struct site *s, uintptr_t ra, uintptr_t cfa)
{
    uintptr_t all[PROF_MAX_DEPTH], *pcs = all;
    agent_enter();
    unsigned n = unwind_here(all, PROF_MAX_DEPTH, 0);
    unsigned own = 0;
    while (own < n && own < 8 && all[own] != ra) own++; /* the runtime's frames, however they were inlined */
    if (own < n && all[own] == ra) pcs += own, n -= own;
    uint32_t id = stack_intern(pcs, n);
    agent_leave();
    if (!s) return id;
    s->ra = 0;
    if (!id || n == 0 || n > DEPTH || pcs[0] != ra) return id;
    struct g *self = context_self();
    const uintptr_t *base = (const uintptr_t *)cfa;
    size_t words = (self->stack_hi - cfa) / sizeof *base, at = 0;
    for (unsigned i = 1; i < n; i++, at++) {
        while (at < words && base[at] != pcs[i]) at++;
        if (at >= words) return id;
        s->at[i - 1].offset = at * sizeof *base;
        s->at[i - 1].pc = pcs[i];
    }
    s->reach = at * sizeof *base;
    s->stack = id;
    s->n = n - 1;
    s->ra = ra;
    return id;
}

uint32_t site_here(struct m *m, uintptr_t ra, uintptr_t cfa)
{
    if (unlikely(!m)) return capture(NULL, ra, cfa);
    if (unlikely(!m->sites)) {
        m->sites = persistent_alloc(SITES * sizeof(struct site), 64, OS_META);
        if (!m->sites) return capture(NULL, ra, cfa);
    }
    struct g *self = context_self();
    /* Deeper or shallower calls of the same place go to other entries. */
    struct site *s = &m->sites[(ra ^ ra >> 7 ^ (self->stack_hi - cfa) >> 4) % SITES];
    if (unlikely(s->ra != ra)) return capture(s, ra, cfa);
    if (unlikely(self->stack_hi - cfa < s->reach)) return capture(s, ra, cfa);
    for (uint32_t i = 0; i < s->n; i++)
        if (unlikely(*(const uintptr_t *)(cfa + s->at[i].offset) != s->at[i].pc)) return capture(s, ra, cfa);
    return s->stack;
}
