/* SPDX-License-Identifier: Apache-2.0
 *
 * A leak of coroutines by a channel that nobody closes: a stage of a pipeline receives until its input is closed, and the
 * stage before it forgets to say that it is done.
 *
 *     seep gate -- stuck_recv            exit 1: stuck-recv, waits in sum_lines(), created in count_file()
 *     seep gate -- stuck_recv --fixed    exit 0: close when done */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coro.h"

enum { FILES = 50, LINES = 20 };

struct stage {
    co_chan *lines; /* of int: lengths */
    long total;
    char buffer[4096];
};

static long grand_total;
static co_mutex total_lock;

static void sum_lines(void *arg)
{
    struct stage *s = arg;
    int length;
    while (co_recv(s->lines, &length)) s->total += length;
    co_mutex_lock(&total_lock);
    grand_total += s->total;
    co_mutex_unlock(&total_lock);
    co_chan_free(s->lines);
    free(s);
}

static void count_file(int file, int fixed)
{
    struct stage *s = calloc(1, sizeof *s);
    if (!s) exit(4);
    co_chan *lines = co_make(int, 4);
    s->lines = lines;
    co_go(sum_lines, s);
    for (int i = 0; i < LINES; i++) {
        int length = (file * 7 + i * 13) % 80;
        co_send(lines, &length);
    }
    if (fixed) co_close(lines);
}

int main(int argc, char **argv)
{
    int fixed = argc > 1 && strcmp(argv[1], "--fixed") == 0;
    for (int i = 0; i < FILES; i++) count_file(i, fixed);
    co_sleep_ns(5000000);
    printf("%d files, %ld characters counted; %llu coroutines left\n", FILES, grand_total,
           (unsigned long long)co_count() - 1);
    return 0;
}
