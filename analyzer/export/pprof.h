/* SPDX-License-Identifier: Apache-2.0
 *
 * pprof profiles (profile.proto): of the heap, of its difference to a base, or of tasks, as Go has them of goroutines. */
#ifndef ANALYZER_EXPORT_PPROF_H
#define ANALYZER_EXPORT_PPROF_H

#include "analyzer/export/samples.h"

/* The uncompressed profile. comment: NULL: none. */
void pprof_encode(const struct samples *in, const char *comment, struct buf *out);
/* gzip, as pprof files are. 0, or -1 when zlib fails. */
int gzip_compress(const struct buf *in, struct buf *out);

#endif
