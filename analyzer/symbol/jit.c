/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of generated code from /tmp/perf-PID.map, which virtual machines write for perf: lines "START SIZE NAME" in hexadecimal.
 *
 * Anybody can put a file there, so it counts only after symbol_allow(), when it is a regular file of this user or of root,
 * not a link, and was last written after the process began (an older one is of another process with that number). Entries that
 * overlap are dropped: with code that was replaced nobody can tell which name was right. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "analyzer/symbol/symbol_internal.h"

enum { MOST_BYTES = 256 << 20 };

static int by_lo(const void *a, const void *b)
{
    const struct elf_sym *x = a, *y = b;
    if (x->lo != y->lo) return x->lo < y->lo ? -1 : 1;
    return x->hi < y->hi ? -1 : x->hi > y->hi;
}

/* Of entries that say the same one stays; of those that contradict each other none. */
static size_t settle(struct elf_sym *list, size_t n)
{
    size_t kept = 0;
    uint64_t end = 0;
    if (n) qsort(list, n, sizeof *list, by_lo);
    for (size_t i = 0; i < n; i++) {
        struct elf_sym s = list[i];
        if (s.lo < end) {
            struct elf_sym *last = kept ? &list[kept - 1] : NULL;
            bool same = last && last->lo == s.lo && last->hi == s.hi && strcmp(last->name, s.name) == 0;
            if (!same && last && last->hi > s.lo) kept--;
            if (s.hi > end) end = s.hi;
            continue;
        }
        list[kept++] = s;
        end = s.hi;
    }
    return kept;
}

static void parse(struct symbolizer *s, char *text)
{
    size_t cap = 0;
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        char *end;
        errno = 0;
        uint64_t lo = strtoull(line, &end, 16), size = *end == ' ' ? strtoull(end, &end, 16) : 0;
        if (errno || size == 0 || *end != ' ' || !end[1] || lo + size < lo) continue;
        if (s->njit == cap) s->jit = xrealloc(s->jit, cap = cap * 2 + 256, sizeof *s->jit);
        s->jit[s->njit++] = (struct elf_sym){lo, lo + size, arena_strdup(&s->arena, end + 1)};
    }
    s->njit = settle(s->jit, s->njit);
}

void symbolizer_jit(struct symbolizer *s, int64_t pid, int64_t start_unix_ns)
{
    char path[64];
    struct stat st;
    if (!symbol_policy.jit_maps) return;
    snprintf(path, sizeof path, "/tmp/perf-%lld.map", (long long)pid);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return;
    bool ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_uid == geteuid() || st.st_uid == 0) &&
              st.st_size <= MOST_BYTES && (int64_t)st.st_mtim.tv_sec >= start_unix_ns / 1000000000;
    struct buf text = {0};
    static char chunk[1 << 16];
    for (ssize_t n; ok && text.len <= MOST_BYTES && (n = read(fd, chunk, sizeof chunk)) > 0;)
        buf_add(&text, chunk, (size_t)n);
    close(fd);
    if (text.len) parse(s, text.data);
    buf_free(&text);
}

unsigned symbol_jit_lookup(struct symbolizer *s, uint64_t addr, struct sym_line *out)
{
    const struct elf_sym *found = find_symbol(s->jit, s->njit, addr);
    if (!found) return 0;
    *out = (struct sym_line){.function = found->name, .linkage = found->name};
    return 1;
}
