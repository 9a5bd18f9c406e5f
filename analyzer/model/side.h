/* SPDX-License-Identifier: Apache-2.0
 *
 * Names beside a recording: FILE.symbols, written by `seep symbolize` where the program's files are, read with the
 * recording where they are not. docs/schema.md describes it. The recording itself stays as it is. */
#ifndef ANALYZER_MODEL_SIDE_H
#define ANALYZER_MODEL_SIDE_H

#include "analyzer/model/model.h"

/* Reads FILE.symbols if it is there. A file that is damaged is an error. */
int side_load(struct recording *r, const char *path, struct err *e);
/* Fills f's lines from it. False: it does not know the frame. */
bool side_lookup(struct recording *r, struct frame *f);
/* Looks up every frame of the recording; what has a name is added to b as text of a side file. Counts both. */
void side_write(struct recording *r, struct buf *b, size_t *frames, size_t *named);

#endif
