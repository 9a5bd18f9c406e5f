/* SPDX-License-Identifier: Apache-2.0
 *
 * The stacks of coroutines that run while others are dumped: each thread is asked to walk its own. */
#ifndef CORO_DUMP_H
#define CORO_DUMP_H

#include "coro/runtime.h"

enum { DUMP_DEPTH = 48 };
struct dump_running {
    struct m *m;
    _Atomic(struct g *) g; /* that it ran when it was asked; NULL: it has not answered, or ran none */
    unsigned depth;
    uintptr_t pcs[DUMP_DEPTH];
};
/* Of the threads but the caller's. NULL: SIGQUIT is not ours, or there is none. Those that do not answer in time have no g. */
struct dump_running *dump_running(unsigned *n);
void dump_running_free(struct dump_running *all, unsigned n);

void report_all(int fd); /* report.c: co_dump() without the caller */

#endif
