/* SPDX-License-Identifier: Apache-2.0
 *
 * A block that only an epoll set knows.
 * expect: 1 reached */
#include "root.h"

#include <sys/epoll.h>
#include <unistd.h>

int main(void)
{
    int set = epoll_create1(0), fds[2];
    if (set < 0 || pipe(fds) < 0) return 5;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = plant()};
    epoll_ctl(set, EPOLL_CTL_ADD, fds[0], &e);
    e.data.ptr = NULL;
    return check();
}
