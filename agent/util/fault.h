/* SPDX-License-Identifier: Apache-2.0
 *
 * Fault injection: in builds with -DSEEP_FAULT, SEEP_FAULT=name:n makes the n-th call of that kind (from 1) fail,
 * and name:n+ makes it and all later ones fail. "call": the n-th of all direct system calls that may fail for want of
 * something (memory, descriptors, processes: fault.c); each that fails is told on standard error. In other builds fault_here() is false at compile time. */
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
    FAULT_CALL,            /* "call" */
    FAULT_COUNT
};

#ifdef SEEP_FAULT
bool fault_here(enum fault f);
long fault_syscall(long n);       /* what a system call is to return without being made; 0: it is to be made */
void fault_set(const char *spec); /* for tests: as the environment variable; NULL: none */
#else
#define fault_here(f) ((void)(f), false)
#endif

#endif
