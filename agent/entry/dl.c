/* SPDX-License-Identifier: Apache-2.0
 *
 * dlclose: the modules that go are noted before they go, so that stacks in them keep their names and build ids.
 *
 *   dlclose ─▶ modules_refresh ─▶ the real dlclose ─▶ modules_refresh (marks what is gone, raises the generation)
 *
 * dlopen and dlmopen are not wrapped, on purpose: glibc looks at the caller's return address for RUNPATH, $ORIGIN and the
 * namespace, so a call from here would search as libseep.so. It is not needed either: unwinding asks
 * _dl_find_object, which knows a module from its load on, and a module that nobody noticed when it came is
 * noticed before a dlclose, before a snapshot, and then covers the stacks taken since (profile/modules.c).
 * dlclose takes a handle and looks at no caller.
 *
 * Locks: none. Called outside critical sections; takes the loader's lock through dl_iterate_phdr. */
#include "agent/entry/entry.h"

#include "agent/profile/profile.h"
#include "agent/util/critical.h"

#include <dlfcn.h>

SEEP_EXPORT int dlclose(void *handle);

int dlclose(void *handle)
{
    static int (*next)(void *);
    int (*fn)(void *) = __atomic_load_n(&next, __ATOMIC_RELAXED);
    if (!fn) {
        *(void **)(void *)&fn = next_symbol("dlclose");
        if (!fn) return -1;
        __atomic_store_n(&next, fn, __ATOMIC_RELAXED);
    }
    bool safe = agent_tls.critical == 0 && !agent_in_child;
    if (safe) modules_refresh();
    int rc = fn(handle);
    if (safe) modules_refresh();
    return rc;
}
