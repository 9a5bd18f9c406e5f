/* SPDX-License-Identifier: Apache-2.0
 *
 * The smallest program: one block, one line. Says its own peak RSS: what wait4 says has the harness's as its floor. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
    char *block = malloc(100), status[4096];
    if (!block) return 4;
    memcpy(block, "hello", 6);
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t n = read(fd, status, sizeof status - 1);
    if (n <= 0) return 4;
    status[n] = 0;
    const char *peak = strstr(status, "VmHWM:");
    if (!peak) return 4;
    printf("metric rss_kib %ld\n", atol(peak + 6));
    free(block);
    return 0;
}
