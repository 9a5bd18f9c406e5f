/* SPDX-License-Identifier: Apache-2.0
 *
 * Fault injection: in builds with -DSEEP_FAULT, SEEP_FAULT=name:n makes the n-th call of that kind (from 1) fail,
 * and name:n+ makes it and all later ones fail. In other builds fault_here() is false at compile time. */
#ifndef SEEP_UTIL_FAULT_H
#define SEEP_UTIL_FAULT_H

#include <stdbool.h>

enum fault {
    FAULT_RESERVE,         /* "reserve" */
    FAULT_MAP,             /* "map" */
    FAULT_USED,            /* "used" */
    FAULT_UNUSED,          /* "unused" */
    FAULT_MADV_FREE,       /* "madv_free": with EINVAL */
    FAULT_ALLOC,           /* "alloc" */
    FAULT_REMAP,           /* "remap" */
    FAULT_GUARD,           /* "guard": with EINVAL, as a kernel that has none */
    FAULT_PROTECT,         /* "protect": a guard by mprotect */
    FAULT_RELEASE,         /* "release": with EINVAL, as of locked memory */
    FAULT_PROCESS_MADVISE, /* "process_madvise": with ENOSYS */
    FAULT_BARRIER,         /* "barrier" */
    FAULT_COUNT
};

#ifdef SEEP_FAULT
bool fault_here(enum fault f);
void fault_set(const char *spec); /* for tests: as the environment variable; NULL: none */
#else
#define fault_here(f) ((void)(f), false)
#endif

#endif
