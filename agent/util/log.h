/* SPDX-License-Identifier: Apache-2.0
 *
 * One-line messages on standard error, "seep: …\n", written by one write(2). No libc formatting: usable from
 * malloc, from signal handlers and in the snapshot child. Formats: %s %d %u %x %p %c %% with l, ll and z;
 * field widths are not supported. Longer than 1 KiB is cut. errno is preserved.
 *
 * A caller on the agent's own thread has no standard error (its descriptor table is private), so
 * the message goes to /proc/<pid>/fd/2 there. */
#ifndef SEEP_UTIL_LOG_H
#define SEEP_UTIL_LOG_H

#include <stdarg.h>
#include <stddef.h>

void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_verbose(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* SEEP_VERBOSE */
_Noreturn void log_fatal(const char *fmt, ...)
    __attribute__((format(printf, 1, 2))); /* with the caller's stack; aborts */

/* Formats into buf (always terminated), returns the length without the terminator, at most size - 1. */
size_t fmt_string(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
size_t fmt_vstring(char *buf, size_t size, const char *fmt, va_list ap);

#endif
