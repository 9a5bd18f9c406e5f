/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread-local variable of a module loaded by dlopen.
 * expect: 1 reached */
#include "root.h"

#include <dlfcn.h>

int main(int argc, char **argv)
{
    void *so = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (!so) return 5;
    void (*keep)(void *);
    *(void **)&keep = dlsym(so, "keep");
    keep(plant());
    return check();
}
