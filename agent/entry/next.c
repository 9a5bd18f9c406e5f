/* SPDX-License-Identifier: Apache-2.0
 *
 * The next definition of a function that we wrap: libc's, or that of a library preloaded after us.
 *
 * Wrappers keep what they find in a static pointer; the constructor fills them all, so that no wrapper resolves
 * anything in a signal handler or in a vfork child. dlsym() may allocate when the symbol is missing; it must not
 * be called from malloc. */
#include "agent/entry/entry.h"

#include <dlfcn.h>

void *next_symbol(const char *name)
{
    void *p = dlsym(RTLD_NEXT, name);
    if (!p) (void)dlerror(); /* the program's next dlerror() is not ours */
    return p;
}
