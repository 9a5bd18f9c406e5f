/* SPDX-License-Identifier: Apache-2.0
 *
 * A bar on standard error for work that takes more than a second, and only where that is a terminal. It is gone when the work is
 * done, so that it never mixes with what is printed. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "analyzer/util/util.h"

enum { WIDTH = 30 };
static int64_t begun_ns, drawn_ns;
static bool shown;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void progress_step(const char *what, size_t done, size_t all)
{
    static int terminal = -1;
    if (terminal < 0) {
        terminal = isatty(STDERR_FILENO);
        begun_ns = now_ns();
    }
    if (!terminal || all == 0) return;
    int64_t now = now_ns();
    if (now - begun_ns < 1000000000 || now - drawn_ns < 100000000) return;
    char bar[WIDTH + 1];
    size_t full = done >= all ? WIDTH : done * WIDTH / all;
    memset(bar, ' ', WIDTH);
    memset(bar, '=', full);
    bar[WIDTH] = 0;
    fprintf(stderr, "\r%-20.20s [%s] %3zu%%", what, bar, done >= all ? 100 : done * 100 / all);
    fflush(stderr);
    drawn_ns = now;
    shown = true;
}

void progress_end(void)
{
    if (shown) fputs("\r\x1b[K", stderr);
    shown = false;
}
