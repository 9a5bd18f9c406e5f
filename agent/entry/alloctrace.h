/* SPDX-License-Identifier: Apache-2.0
 *
 * SEEP_DEBUG=alloctrace=PATH: every call of the malloc family, in a file that bench/replay plays on any malloc. This header
 * is the format of that file, and what the heap's slow paths call.
 *
 * The file: a header, then records in the order of the calls over all threads, up to the first whose op is 0
 * (the file is mapped ahead of what is written, so its tail is zeros). Little-endian, no padding.
 * Objects have numbers; a freed object's number is used again. */
#ifndef SEEP_ENTRY_ALLOCTRACE_H
#define SEEP_ENTRY_ALLOCTRACE_H

#include <stddef.h>
#include <stdint.h>

enum trace_op {
    TRACE_END,
    TRACE_MALLOC,  /* operator new as well */
    TRACE_CALLOC,  /* size: of all elements together */
    TRACE_REALLOC, /* of an object, which keeps its number */
    TRACE_ALIGNED, /* align_log2 */
    TRACE_FREE,    /* size: 0 */
    TRACE_OPS
};

struct trace_header {
    char magic[8]; /* TRACE_MAGIC */
    uint32_t pid;
};
#define TRACE_MAGIC "seeptrc1"

struct trace_record {
    uint32_t object;
    uint32_t size; /* bytes; 4 GiB and more: UINT32_MAX */
    uint8_t op;    /* enum trace_op */
    uint8_t align_log2;
    uint16_t thread; /* from 0, in order of the first call */
};
_Static_assert(sizeof(struct trace_record) == 12 && sizeof(struct trace_header) == 12, "no padding");

#pragma GCC visibility push(hidden)
void trace_init(void); /* once, before the first allocation is served; sets heap_traced when it is asked for */
void trace_alloc(void *p, size_t size, size_t align, unsigned flags); /* after it; p may be NULL */
void trace_free(void *p);                                             /* before it */
void *trace_realloc(void *p, size_t size);                            /* in place of heap_realloc() */
#pragma GCC visibility pop

#endif
