/* SPDX-License-Identifier: Apache-2.0
 *
 * Storage and parser of util/fault.h. Async-signal-safe, allocates nothing. */
#include "agent/util/fault.h"

#ifdef SEEP_FAULT

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const names[FAULT_COUNT] = {"reserve",         "map",     "used",  "unused",  "madv_free",
                                               "alloc",           "remap",   "guard", "protect", "release",
                                               "process_madvise", "barrier", "call"};

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
    if (!__atomic_load_n(&state.ready, __ATOMIC_ACQUIRE)) {
        if (!environ) return false; /* the very first calls, before libc has it */
        fault_set(getenv("SEEP_FAULT"));
    }
    if ((uint32_t)f != state.kind) return false;
    uint64_t n = __atomic_add_fetch(&state.calls, 1, __ATOMIC_RELAXED);
    return state.from <= n && n <= state.to;
}

/* Without agent/os: this is called from inside its system calls. */
static void say(long n)
{
    char line[64] = "seep: fault: system call ", digits[24];
    size_t at = strlen(line), k = 0;
    for (; n > 0; n /= 10) digits[k++] = (char)('0' + n % 10);
    while (k > 0) line[at++] = digits[--k];
    line[at++] = '\n';
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(SYS_write), "D"(2), "S"(line), "d"(at) : "rcx", "r11", "memory");
}

long fault_syscall(long n)
{
    long error;
    switch (n) {
    case SYS_mmap:
    case SYS_mprotect:
    case SYS_madvise:
    case SYS_mremap:
    case SYS_munmap: error = -ENOMEM; break;
    case SYS_clone:
    case SYS_tgkill: error = -EAGAIN; break;
    case SYS_openat:
    case SYS_memfd_create: error = -EMFILE; break;
    case SYS_close_range:
    case SYS_unshare:
    case SYS_getrandom: error = -ENOSYS; break;
    default: return 0;
    }
    if (!fault_here(FAULT_CALL)) return 0;
    say(n);
    return error;
}

#else
typedef int fault_nothing_here; /* a translation unit is never empty */
#endif
