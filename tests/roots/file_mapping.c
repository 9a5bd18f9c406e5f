/* SPDX-License-Identifier: Apache-2.0
 *
 * A page of a privately mapped file that was written to.
 * expect: 1 reached */
#include "root.h"

#include <fcntl.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
    (void)argc;
    int fd = open(argv[0], O_RDONLY);
    void **p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) return 5;
    p[600] = plant();
    return check();
}
