/* SPDX-License-Identifier: Apache-2.0
 *
 * Storage and parser of util/fault.h. Async-signal-safe, allocates nothing. */
#include "agent/util/fault.h"

#ifdef SEEP_FAULT

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[FAULT_COUNT] = {"reserve", "map",   "used",    "unused",  "madv_free",       "alloc",
                                               "remap",   "guard", "protect", "release", "process_madvise", "barrier"};

static struct {
    uint32_t ready;
    uint32_t kind;
    uint64_t from, to; /* calls that fail, from 1 */
    uint64_t calls;
} state = {.kind = FAULT_COUNT};

void fault_set(const char *spec)
{
    state.kind = FAULT_COUNT;
    state.calls = 0;
    __atomic_store_n(&state.ready, 1, __ATOMIC_RELEASE);
    if (!spec) return;
    for (uint32_t f = 0; f < FAULT_COUNT; f++) {
        size_t n = strlen(names[f]);
        if (strncmp(spec, names[f], n) != 0 || spec[n] != ':') continue;
        const char *s = spec + n + 1;
        uint64_t v = 0;
        while (*s >= '0' && *s <= '9') v = v * 10 + (uint64_t)(*s++ - '0');
        state.from = v;
        state.to = *s == '+' ? UINT64_MAX : v;
        state.kind = f;
    }
}

bool fault_here(enum fault f)
{
    if (!__atomic_load_n(&state.ready, __ATOMIC_ACQUIRE)) fault_set(getenv("SEEP_FAULT"));
    if ((uint32_t)f != state.kind) return false;
    uint64_t n = __atomic_add_fetch(&state.calls, 1, __ATOMIC_RELAXED);
    return state.from <= n && n <= state.to;
}

#else
typedef int fault_nothing_here; /* a translation unit is never empty */
#endif
