/* SPDX-License-Identifier: Apache-2.0
 *
 * Size classes: tables made at build time by heap/gen/size_classes.c. */
#ifndef SEEP_HEAP_SIZE_CLASSES_H
#define SEEP_HEAP_SIZE_CLASSES_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-const-variable"
#include "size_classes.inc"
#pragma GCC diagnostic pop

/* Class for a request of at most SMALL_MAX_BYTES by the C ABI: aligned to 16. */
static inline unsigned abi_class(size_t size)
{
    if (size <= FINE_MAX_BYTES) return abi_to_class[size];
    return abi_to_class128[(size - FINE_MAX_BYTES + 127) >> 7];
}

/* Class for collected memory: every class, 8-byte alignment. */
static inline unsigned gc_class(size_t size)
{
    if (size <= FINE_MAX_BYTES) return size_to_class8[(size + 7) >> 3];
    return size_to_class128[(size - FINE_MAX_BYTES + 127) >> 7];
}

#endif
