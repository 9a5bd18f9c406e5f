/* SPDX-License-Identifier: Apache-2.0
 *
 * Little readers of DWARF data in memory: LEB128 and fixed-size integers, each moving the cursor on. */
#ifndef SEEP_PROFILE_LEB_H
#define SEEP_PROFILE_LEB_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t leb_u(const uint8_t **p)
{
    uint64_t v = 0;
    unsigned shift = 0;
    uint8_t b;
    do {
        b = *(*p)++;
        if (shift < 64) v |= (uint64_t)(b & 0x7f) << shift;
        shift += 7;
    } while (b & 0x80);
    return v;
}

static inline int64_t leb_s(const uint8_t **p)
{
    uint64_t v = 0;
    unsigned shift = 0;
    uint8_t b;
    do {
        b = *(*p)++;
        if (shift < 64) v |= (uint64_t)(b & 0x7f) << shift;
        shift += 7;
    } while (b & 0x80);
    if (shift < 64 && (b & 0x40)) v |= ~0ull << shift;
    return (int64_t)v;
}

static inline int64_t read_int(const uint8_t **p, unsigned size, bool is_signed)
{
    uint64_t v = 0;
    memcpy(&v, *p, size);
    *p += size;
    if (is_signed && size < 8 && (v >> (8 * size - 1) & 1)) v |= ~0ull << (8 * size);
    return (int64_t)v;
}

#endif
