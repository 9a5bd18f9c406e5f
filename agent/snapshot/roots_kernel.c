/* SPDX-License-Identifier: Apache-2.0
 *
 * Roots that are in the kernel: a server may keep a connection's block by nothing but epoll_event.data, a library its state
 * by nothing but a POSIX timer's value. Both are shown by /proc/PID/fdinfo/FD ("tfd: … data: HEX") and /proc/PID/timers
 * ("signal: N/HEX").
 *
 * They are read twice, before the stop and after the fork, since neither belongs to the frozen copy: a value that was there
 * at the moment of the stop is in one of the readings unless it came and went between them. Only adds roots. */
#include "agent/snapshot/roots.h"

#include <dirent.h>
#include <string.h>

#include "agent/os/os.h"
#include "agent/snapshot/raw.h"
#include "agent/util/log.h"

/* Kept from the parent's reading: the child inherits it. Grown, never given back. */
static struct {
    uintptr_t *v;
    size_t n, room;
    int pid;
} values;

static void add(uintptr_t v)
{
    if (v == 0) return;
    if (values.n == values.room) {
        size_t room = values.room ? values.room * 2 : 512;
        uintptr_t *p = values.v ? os_remap(values.v, values.room * sizeof *p, room * sizeof *p)
                                : os_alloc(room * sizeof *p, OS_OTHER);
        if (!p) return;
        values.v = p;
        values.room = room;
    }
    values.v[values.n++] = v;
}

/* The hexadecimal numbers that follow `key` in the file. */
static void read_values(const char *path, const char *key, char skip_to)
{
    static char buf[16384];
    int fd = raw_open(path, O_RDONLY, 0);
    if (fd < 0) return;
    size_t have = 0, key_len = strlen(key);
    for (;;) {
        long n = raw_read(fd, buf + have, sizeof buf - 1 - have);
        if (n <= 0) break;
        have += (size_t)n;
        buf[have] = 0;
        char *p = buf, *eol;
        for (; (eol = strchr(p, '\n')); p = eol + 1) {
            *eol = 0;
            char *at = strstr(p, key);
            if (!at) continue;
            at += key_len;
            if (skip_to && !(at = strchr(at, skip_to))) continue;
            if (skip_to) at++;
            while (*at == ' ') at++;
            uintptr_t v = 0;
            for (;; at++) {
                if (*at >= '0' && *at <= '9')
                    v = v * 16 + (uintptr_t)(*at - '0');
                else if (*at >= 'a' && *at <= 'f')
                    v = v * 16 + (uintptr_t)(*at - 'a' + 10);
                else
                    break;
            }
            add(v);
        }
        have -= (size_t)(p - buf);
        if (have == sizeof buf - 1) have = 0; /* no line is that long */
        memmove(buf, p, have);
    }
    raw_close(fd);
}

struct dirent64_kernel {
    uint64_t ino;
    int64_t off;
    unsigned short len;
    unsigned char type;
    char name[];
};

static void read_all(int pid)
{
    static char dir[64], path[96], link[64];
    static _Alignas(16) char buf[8192];
    fmt_string(dir, sizeof dir, "/proc/%d/fd", pid);
    int fd = raw_open(dir, O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0) {
        for (long n; (n = sys3(SYS_getdents64, fd, (long)buf, sizeof buf)) > 0;) {
            for (long at = 0; at < n;) {
                const struct dirent64_kernel *d = (const void *)(buf + at);
                at += d->len;
                if (d->name[0] == '.') continue;
                fmt_string(path, sizeof path, "/proc/%d/fd/%s", pid, d->name);
                long len = raw_readlink(path, link, sizeof link - 1);
                if (len <= 0) continue;
                link[len] = 0;
                if (strcmp(link, "anon_inode:[eventpoll]") != 0) continue;
                fmt_string(path, sizeof path, "/proc/%d/fdinfo/%s", pid, d->name);
                read_values(path, "data:", 0);
            }
        }
        raw_close(fd);
    }
    fmt_string(path, sizeof path, "/proc/%d/timers", pid);
    read_values(path, "signal:", '/');
}

void roots_kernel_prepare(void)
{
    values.pid = os_getpid();
    values.n = 0;
    read_all(values.pid);
}

void roots_kernel_mark(struct marker *m)
{
    if (values.pid) read_all(values.pid);
    for (size_t i = 0; i < values.n; i++) mark_value(m, values.v[i]);
}
