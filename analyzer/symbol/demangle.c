/* SPDX-License-Identifier: Apache-2.0
 *
 * C++ names. The C++ library's own demangler is loaded when the first mangled name is met, so that seep neither links nor
 * needs it: without it names stay as they are in the symbol table. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/symbol/symbol.h"

typedef char *demangle_fn(const char *, char *, size_t *, int *);

const char *symbol_demangle(struct arena *a, const char *name)
{
    static demangle_fn *demangle;
    static bool tried;
    if (strncmp(name, "_Z", 2) != 0 || strlen(name) > 16384) return name;
    if (!tried) {
        tried = true;
        void *lib = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
        if (!lib) lib = dlopen("libc++abi.so.1", RTLD_NOW | RTLD_LOCAL);
        void *fn = lib ? dlsym(lib, "__cxa_demangle") : NULL;
        memcpy(&demangle, &fn, sizeof fn);
    }
    int status = 0;
    char *text = demangle ? demangle(name, NULL, NULL, &status) : NULL;
    if (!text) return name;
    const char *kept = arena_strdup(a, text);
    free(text);
    return kept;
}
