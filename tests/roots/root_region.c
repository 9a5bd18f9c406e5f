/* SPDX-License-Identifier: Apache-2.0
 * expect: 1 reached */
#include <sys/mman.h>
#include <unistd.h>

#include "tests/roots/root.h"

int seep_root(const void *p, size_t size) __attribute__((weak));
int seep_unroot(const void *p, size_t size) __attribute__((weak));

/* Memory of a file that we only read is no root, unless the program says so. One of two is taken back. */
static __attribute__((noinline)) char *in_file(void)
{
    char name[] = "/tmp/seep-root-XXXXXX";
    int fd = mkstemp(name);
    void *p = plant();
    if (fd < 0 || unlink(name) != 0 || write(fd, &p, sizeof p) != sizeof p || ftruncate(fd, 4096) != 0) exit(3);
    char *at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) exit(3);
    return at;
}

int main(void)
{
    char *a = in_file(), *b = in_file();
    if (seep_root(a, 4096) != 0 || seep_root(b, 4096) != 0 || seep_unroot(b, 4096) != 0) return 5;
    if (seep_unroot(b, 4096) == 0) return 6;
    return check();
}
