/* SPDX-License-Identifier: Apache-2.0
 *
 * Names for the runtime's own reports; the analyzer has better ones (files, lines, inlined frames). */
#ifndef CORO_REPORT_H
#define CORO_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The function of the image at path, loaded at base, that address at belongs to; its start in *start. From the image's
 * symbol tables (static functions too), read anew at each call. No allocation. */
bool report_symbol(const char *path, uintptr_t base, uintptr_t at, char *name, size_t size, uintptr_t *start);

struct panic_text {
    const char *text;
    bool own; /* raised by the program itself */
};
/* A panic that nobody recovered from, and those within whose deferred calls it began: says so with the stack, and exits
 * with 2. */
_Noreturn void report_panic(const struct panic_text *p, unsigned n);

#endif
