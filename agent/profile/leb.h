/* SPDX-License-Identifier: Apache-2.0
 *
 * Little readers of DWARF data in memory: LEB128 and fixed-size integers, each moving the cursor on. */
#ifndef SEEP_PROFILE_LEB_H
#define SEEP_PROFILE_LEB_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The bits of a number of either sign. *shift: how many there are, 64 or more where all are. *last: its last byte. */
static inline uint64_t leb_bits(const uint8_t **p, unsigned *shift, uint8_t *last)
{
    uint64_t v = 0;
    *shift = 0;
    do {
        *last = *(*p)++;
        if (*shift < 64) v |= (uint64_t)(*last & 0x7f) << *shift;
        *shift += 7;
    } while (*last & 0x80);
    return v;
}

static inline uint64_t leb_u(const uint8_t **p)
{
    unsigned shift;
    uint8_t last;
    return leb_bits(p, &shift, &last);
}

static inline int64_t leb_s(const uint8_t **p)
{
    unsigned shift;
    uint8_t last;
    uint64_t v = leb_bits(p, &shift, &last);
    if (shift < 64 && (last & 0x40)) v |= ~0ull << shift;
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
