/* SPDX-License-Identifier: Apache-2.0
 *
 * The same request for many ranges at once: guards and page release for coroutine stacks. One process_madvise(2) on ourselves for up
 * to 256 ranges; where it is refused, one madvise(2) each. Ranges are page-aligned and Ready (os.h). Thread-safe, no allocation;
 * 0 or a negative errno. */
#ifndef SEEP_OS_RANGES_H
#define SEEP_OS_RANGES_H

#include <stddef.h>
#include <stdint.h>

struct os_range {
    uintptr_t lo;
    size_t size;
};

/* An access gives SIGSEGV, without a mapping of its own (MADV_GUARD_INSTALL, Linux 6.13). -EINVAL: the kernel can't, or the range is locked
 * in memory; some of the ranges may be guarded then. */
int os_guard(const struct os_range *r, unsigned n);
/* The same by mprotect: two more mappings each. -ENOMEM at the kernel's limit of mappings. */
int os_guard_protect(const struct os_range *r);
/* Takes guards away. */
int os_unguard(const struct os_range *r, unsigned n);
/* Gives the pages back at once; guards stay. -EINVAL: locked in memory. */
int os_release(const struct os_range *r, unsigned n);

#endif
