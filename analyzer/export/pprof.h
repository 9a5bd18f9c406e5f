/* SPDX-License-Identifier: Apache-2.0
 *
 * pprof profiles (profile.proto): the heap of the chosen snapshots, or its difference to a base. */
#ifndef ANALYZER_EXPORT_PPROF_H
#define ANALYZER_EXPORT_PPROF_H

#include "analyzer/model/model.h"

struct pprof_input {
    struct recording *r;
    const struct heap *heap;
    struct snapshot *const *snaps;
    size_t nsnaps;
    const char *comment; /* NULL: none */
};
/* The uncompressed profile. */
void pprof_encode(const struct pprof_input *in, struct buf *out);
/* gzip, as pprof files are. 0, or -1 when zlib fails. */
int gzip_compress(const struct buf *in, struct buf *out);

#endif
