/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of Go's goroutine profile with debug=2. */
#include <string.h>

#include "analyzer/import/profile.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct profile p = {.path = "input"};
    struct err e = {0};
    if (memchr(data, 0, n)) return 0; /* profile_read() sees to that */
    char *text = arena_strndup(&p.arena, (const char *)data, n);
    profile_decode_goroutines(&p, text, n, &e);
    profile_free(&p);
    return 0;
}
