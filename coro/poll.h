/* SPDX-License-Identifier: Apache-2.0
 *
 * What poll.c shares with io.c: the entry of a descriptor. */
#ifndef CORO_POLL_H
#define CORO_POLL_H

#include "coro/types.h"

struct pollfd_entry {
    struct colock lock;
    bool plain; /* a hint: was no socket when last used */
    struct g_list readers, writers;
};

struct pollfd_entry *poll_entry(int fd); /* NULL: no such descriptor, or no memory */

#endif
