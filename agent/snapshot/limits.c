/* SPDX-License-Identifier: Apache-2.0
 *
 * limits.h. In /proc/self/cgroup, "0::/path" is version 2 and "4:memory:/path" version 1; mountinfo says where the hierarchy
 * is mounted and which part of it (in a container often the group itself). Allocates by os_alloc only. */
#include "agent/snapshot/limits.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/snapshot/child.h"
#include "agent/util/log.h"

/* The next line of *at, ended by a zero; NULL: no more. */
static char *next_line(char **at)
{
    char *line = *at, *end = strchr(line, '\n');
    if (!*line) return NULL;
    *at = end ? end + 1 : line + strlen(line);
    if (end) *end = '\0';
    return line;
}

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)) != NULL; p += n) {
        if ((p == list || p[-1] == ',') && (p[n] == '\0' || p[n] == ',')) return true;
    }
    return false;
}

/* "0::/path" or "4:memory,hugetlb:/path": the path, when the line is of that version. */
static const char *path_of(const char *line, bool v2)
{
    const char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
    char names[128];
    if (!path || (size_t)(path - list) > sizeof names) return NULL;
    memcpy(names, list + 1, (size_t)(path - list - 1));
    names[path - list - 1] = '\0';
    return (v2 ? names[0] == '\0' : has_word(names, "memory")) ? path + 1 : NULL;
}

/* A line of mountinfo: id parent major:minor ROOT POINT options … - TYPE source SUPER */
static bool mount_of(char *line, bool v2, char **root, char **point)
{
    char *type = strstr(line, " - "), *field[5], *save = NULL;
    if (!type || strncmp(type + 3, v2 ? "cgroup2 " : "cgroup ", v2 ? 8 : 7) != 0) return false;
    const char *super = strrchr(type, ' ');
    if (!v2 && !has_word(super + 1, "memory")) return false;
    for (int i = 0; i < 5; i++)
        if (!(field[i] = strtok_r(i ? NULL : line, " ", &save))) return false;
    *root = field[3];
    *point = field[4];
    return true;
}

static uint64_t limit_in(const char *dir, bool v2)
{
    char path[4096];
    fmt_string(path, sizeof path, "%s/%s", dir, v2 ? "memory.max" : "memory.limit_in_bytes");
    const char *text = child_read_file(path, NULL);
    if (!text || text[0] < '0' || text[0] > '9') return 0; /* "max" */
    uint64_t v = strtoull(text, NULL, 10);
    return v >= 1ull << 62 ? 0 : v; /* version 1 says "none" so */
}

/* From the group up to what is mounted. */
static uint64_t lowest(const char *point, const char *root, const char *path, bool v2)
{
    char dir[4096];
    size_t skip = strlen(root), top = strlen(point);
    uint64_t least = 0;
    if (strcmp(root, "/") == 0) skip = 0;
    if (strncmp(path, root, skip) != 0 || (skip > 0 && path[skip] != '\0' && path[skip] != '/'))
        path = ""; /* seen from another namespace */
    else
        path += skip;
    if (top + strlen(path) + 32 > sizeof dir) return 0;
    fmt_string(dir, sizeof dir, "%s%s", point, path);
    for (;;) {
        uint64_t v = limit_in(dir, v2);
        if (v && (least == 0 || v < least)) least = v;
        char *slash = strrchr(dir, '/');
        if (strlen(dir) <= top || !slash) return least;
        *slash = '\0';
    }
}

uint64_t cgroup_limit_of(char *groups, char *mounts)
{
    uint64_t least = 0;
    const char *path[2] = {NULL, NULL};
    for (char *line; (line = next_line(&groups)) != NULL;) {
        for (int v2 = 0; v2 < 2; v2++)
            if (!path[v2]) path[v2] = path_of(line, v2);
    }
    for (char *line; (line = next_line(&mounts)) != NULL;) {
        char *root, *point;
        bool v2 = strstr(line, " - cgroup2 ") != NULL;
        if (!path[v2] || !mount_of(line, v2, &root, &point)) continue;
        uint64_t v = lowest(point, root, path[v2], v2);
        if (v && (least == 0 || v < least)) least = v;
    }
    return least;
}

uint64_t cgroup_limit(void)
{
    char *groups = child_read_file("/proc/self/cgroup", NULL), *mounts = child_read_file("/proc/self/mountinfo", NULL);
    return groups && mounts ? cgroup_limit_of(groups, mounts) : 0;
}
