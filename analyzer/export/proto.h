/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing protocol buffers: the wire format and nothing more. Numbers that are 0 and strings that are empty are left out, as the
 * format's defaults say. */
#ifndef ANALYZER_EXPORT_PROTO_H
#define ANALYZER_EXPORT_PROTO_H

#include "analyzer/util/util.h"

void proto_varint(struct buf *b, uint64_t v);
void proto_uint(struct buf *b, unsigned field, uint64_t v);
void proto_int(struct buf *b, unsigned field, int64_t v); /* int64: ten bytes where negative */
void proto_bytes(struct buf *b, unsigned field, const void *p, size_t n);
void proto_message(struct buf *b, unsigned field, struct buf *message);             /* empties message */
void proto_packed(struct buf *b, unsigned field, const uint64_t *values, size_t n); /* repeated numbers */

#endif
