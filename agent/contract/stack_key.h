/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys of stacks that are the same in every process and on every machine. A frame's key is FNV-1a over its image's
 * identity and its offset; a stack's key is FNV-1a over its frames' keys, leaf first. Image identity is the build id
 * where there is one, else the path, else "" (generated code: the offset is the absolute address). Used for stack.hash in a
 * recording; pure functions. */
#ifndef SEEP_STACK_KEY_H
#define SEEP_STACK_KEY_H

#include <stddef.h>
#include <stdint.h>

#define SEEP_KEY_INIT 0xcbf29ce484222325ull

static inline uint64_t seep_key_bytes(uint64_t h, const void *p, size_t n)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 0x100000001b3ull;
    return h;
}

static inline uint64_t seep_key_string(uint64_t h, const char *s)
{
    while (*s) h = (h ^ (unsigned char)*s++) * 0x100000001b3ull;
    return h * 0x100000001b3ull; /* the terminator */
}

static inline uint64_t seep_key_u64(uint64_t h, uint64_t v)
{
    for (int i = 0; i < 8; i++) h = (h ^ ((v >> (8 * i)) & 0xff)) * 0x100000001b3ull;
    return h;
}

static inline uint64_t seep_frame_key(const char *image_identity, uint64_t offset)
{
    return seep_key_u64(seep_key_string(SEEP_KEY_INIT, image_identity), offset);
}

/* h: SEEP_KEY_INIT for the leaf's, then the value so far. */
static inline uint64_t seep_stack_key_add(uint64_t h, uint64_t frame_key)
{
    return seep_key_u64(h, frame_key);
}

#endif
