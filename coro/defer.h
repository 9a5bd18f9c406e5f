/* SPDX-License-Identifier: Apache-2.0
 *
 * Deferred calls and panics as the rest of the runtime sees them. */
#ifndef CORO_DEFER_H
#define CORO_DEFER_H

#include "coro/runtime.h"

uint32_t defer_depth(const struct g *g); /* calls deferred and not yet run; in the snapshot's child too */
void defer_finish(struct g *g);          /* runs what is left, gives the memory back; g->unwinding is not NULL */

/* Misuse that a program can recover from, as from a run-time panic in Go. No lock may be held. */
_Noreturn void runtime_panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
