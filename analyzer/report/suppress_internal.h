/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by suppress.c and suppress_read.c only. */
#ifndef ANALYZER_REPORT_SUPPRESS_INTERNAL_H
#define ANALYZER_REPORT_SUPPRESS_INTERNAL_H

/* Memcheck's names of what became of a block. */
enum leak_kind { LEAK_DEFINITE = 1, LEAK_INDIRECT = 2, LEAK_POSSIBLE = 4, LEAK_REACHABLE = 8, LEAK_ALL = 15 };

#endif
