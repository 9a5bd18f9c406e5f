/* SPDX-License-Identifier: Apache-2.0
 *
 * Protocol buffers, wire types 0 and 2. Pure. */
#include "analyzer/export/proto.h"

void proto_varint(struct buf *b, uint64_t v)
{
    unsigned char bytes[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) bytes[n++] = (unsigned char)(v | 0x80);
    bytes[n++] = (unsigned char)v;
    buf_add(b, bytes, n);
}

void proto_uint(struct buf *b, unsigned field, uint64_t v)
{
    if (v == 0) return;
    proto_varint(b, (uint64_t)field << 3);
    proto_varint(b, v);
}

void proto_int(struct buf *b, unsigned field, int64_t v)
{
    proto_uint(b, field, (uint64_t)v);
}

void proto_bytes(struct buf *b, unsigned field, const void *p, size_t n)
{
    proto_varint(b, (uint64_t)field << 3 | 2);
    proto_varint(b, n);
    buf_add(b, p, n);
}

void proto_message(struct buf *b, unsigned field, struct buf *message)
{
    proto_bytes(b, field, message->data, message->len);
    message->len = 0;
}

void proto_packed(struct buf *b, unsigned field, const uint64_t *values, size_t n)
{
    struct buf packed = {0};
    if (n == 0) return;
    for (size_t i = 0; i < n; i++) proto_varint(&packed, values[i]);
    proto_message(b, field, &packed);
    buf_free(&packed);
}
