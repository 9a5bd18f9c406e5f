/* SPDX-License-Identifier: Apache-2.0
 *
 * Debug files from the servers of DEBUGINFOD_URLS, only after symbol_allow(): the library is opened then and not before, and what it
 * brings is checked by build id as every other file. It keeps a cache of its own (~/.cache/debuginfod_client). */
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#include "analyzer/symbol/symbol_internal.h"

typedef void *begin_fn(void);
typedef int find_fn(void *client, const unsigned char *build_id, int len, char **path);
typedef void end_fn(void *client);

const char *debuginfod_fetch(struct symbolizer *s, const char *build_id, bool executable)
{
    static void *library;
    if (!library) library = dlopen("libdebuginfod.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return NULL;
    /* POSIX: a data pointer that dlsym returns may be a function's. */
    begin_fn *begin = (begin_fn *)(uintptr_t)dlsym(library, "debuginfod_begin");
    find_fn *find =
        (find_fn *)(uintptr_t)dlsym(library, executable ? "debuginfod_find_executable" : "debuginfod_find_debuginfo");
    end_fn *end = (end_fn *)(uintptr_t)dlsym(library, "debuginfod_end");
    void *client = begin && find && end ? begin() : NULL;
    if (!client) return NULL;
    char *path = NULL;
    const char *kept = NULL;
    /* A length of 0 says that the build id is hexadecimal text. */
    int fd = find(client, (const unsigned char *)build_id, 0, &path);
    if (fd >= 0) close(fd);
    if (fd >= 0 && path) kept = arena_strdup(&s->arena, path);
    free(path);
    end(client);
    return kept;
}
