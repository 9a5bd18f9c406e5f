/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's own formatter and its messages.
 *
 *   log_line → fmt_vstring → one write(2) to standard error of the program
 *
 * Invariants
 *   1. A message is one write of at most LINE_MAX bytes and ends with a newline, so lines of threads never mix.
 *   2. errno and every lock are left alone: any context may log.
 * The agent's own thread has a private, empty descriptor table: there, and in a snapshot's child, the program's descriptor 2
 * is fetched with pidfd_getfd, or opened through /proc, and closed after the message. */
#include "agent/util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <dlfcn.h>
#include <stdint.h>

#include "agent/entry/entry.h"
#include "agent/os/os.h"
#include "agent/os/syscall_x86_64.h"
#include "agent/profile/profile.h"
#include "agent/util/critical.h"
#include "agent/util/options.h"

enum { LINE_MAX_BYTES = 1024, FATAL_FRAMES = 32 };

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* ---- Formatting */
struct out {
    char *buf;
    size_t size, len;
};

static void put(struct out *o, char c)
{
    if (o->len + 1 < o->size) o->buf[o->len++] = c;
}

static void put_number(struct out *o, uint64_t v, unsigned base)
{
    char digits[20];
    unsigned n = 0;
    do digits[n++] = "0123456789abcdef"[v % base];
    while ((v /= base) != 0);
    while (n > 0) put(o, digits[--n]);
}

static int64_t take_signed(va_list *ap, int longs)
{
    return longs ? va_arg(*ap, long) : va_arg(*ap, int);
}

static uint64_t take_unsigned(va_list *ap, int longs)
{
    return longs ? va_arg(*ap, unsigned long) : va_arg(*ap, unsigned);
}

size_t fmt_vstring(char *buf, size_t size, const char *fmt, va_list args)
{
    if (size == 0) return 0;
    struct out o = {buf, size, 0};
    va_list ap;
    va_copy(ap, args);
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            put(&o, *fmt);
            continue;
        }
        int longs = 0;
        for (fmt++; *fmt == 'l' || *fmt == 'z'; fmt++) longs++; /* all of them are 64-bit here */
        switch (*fmt) {
        case 's': {
            const char *s = va_arg(ap, const char *);
            for (s = s ? s : "(null)"; *s; s++) put(&o, *s);
            break;
        }
        case 'd': {
            int64_t v = take_signed(&ap, longs);
            if (v < 0) put(&o, '-');
            put_number(&o, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10);
            break;
        }
        case 'u': put_number(&o, take_unsigned(&ap, longs), 10); break;
        case 'x': put_number(&o, take_unsigned(&ap, longs), 16); break;
        case 'p':
            put(&o, '0');
            put(&o, 'x');
            put_number(&o, (uintptr_t)va_arg(ap, void *), 16);
            break;
        case 'c': put(&o, (char)va_arg(ap, int)); break;
        case '\0': fmt--; break;
        default: put(&o, *fmt); break;
        }
    }
    va_end(ap);
    o.buf[o.len] = '\0';
    return o.len;
}

size_t fmt_string(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    size_t n = fmt_vstring(buf, size, fmt, ap);
    va_end(ap);
    return n;
}

/* ---- Writing */
static int program_stderr(bool *close_it)
{
    *close_it = false;
    if (!agent_in_child && !agent_thread_is_self()) return 2;
    long pid = agent_in_child ? sys3(SYS_getppid, 0, 0, 0) : os_getpid();
    *close_it = true;
    long pidfd = sys3(SYS_pidfd_open, pid, 0, 0);
    if (pidfd >= 0) {
        long fd = sys3(SYS_pidfd_getfd, pidfd, 2, 0);
        sys3(SYS_close, pidfd, 0, 0);
        if (fd >= 0) return (int)fd;
    }
    char path[40];
    fmt_string(path, sizeof path, "/proc/%ld/fd/2", pid);
    return (int)sys4(SYS_openat, AT_FDCWD, (long)path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY, 0);
}

static void emit(const char *prefix, const char *fmt, va_list ap)
{
    int saved = errno;
    char line[LINE_MAX_BYTES];
    size_t n = fmt_string(line, sizeof line, "%s", prefix);
    n += fmt_vstring(line + n, sizeof line - n - 1, fmt, ap);
    line[n++] = '\n';
    bool close_it;
    int fd = program_stderr(&close_it);
    if (fd >= 0) {
        os_write(fd, line, n);
        if (close_it) sys3(SYS_close, fd, 0, 0);
    }
    errno = saved;
}

void log_line(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    emit("seep: ", fmt, ap);
    va_end(ap);
}

void log_verbose(int level, const char *fmt, ...)
{
    if ((int)agent_options.verbose < level) return;
    va_list ap;
    va_start(ap, fmt);
    emit("seep: ", fmt, ap);
    va_end(ap);
}

static void plain_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void plain_line(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    emit("", fmt, ap);
    va_end(ap);
}

/* ---- The end */
#ifdef DLFO_STRUCT_HAS_EH_DBASE /* glibc 2.35 and later: lock-free, unlike dladdr */
extern __typeof__(_dl_find_object) _dl_find_object __attribute__((weak));

static void print_frame(unsigned i, uintptr_t pc)
{
    struct dl_find_object o;
    if (_dl_find_object && _dl_find_object((void *)(pc - 1), &o) == 0) {
        const char *name = o.dlfo_link_map->l_name;
        plain_line("    #%u %p %s+0x%lx", i, (void *)pc, name && *name ? name : "main program",
                   (unsigned long)(pc - o.dlfo_link_map->l_addr));
        return;
    }
    plain_line("    #%u %p", i, (void *)pc);
}
#else
static void print_frame(unsigned i, uintptr_t pc)
{
    plain_line("    #%u %p", i, (void *)pc);
}
#endif

void log_fatal(const char *fmt, ...)
{
    static uint32_t dying; /* a fault inside the unwinder must not come back here for ever */
    va_list ap;
    va_start(ap, fmt);
    emit("seep: ", fmt, ap);
    va_end(ap);
    if (__atomic_exchange_n(&dying, 1, __ATOMIC_RELAXED) == 0) {
        agent_tls.critical++; /* nothing may stop this thread any more */
        uintptr_t pcs[FATAL_FRAMES];
        unsigned n = unwind_here(pcs, FATAL_FRAMES, 0);
        for (unsigned i = 0; i < n; i++) print_frame(i, pcs[i]);
    }
    os_abort();
}
