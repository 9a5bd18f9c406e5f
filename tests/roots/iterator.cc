/* SPDX-License-Identifier: Apache-2.0
 *
 * C++: of a vector's memory only the end iterator is left. It belongs to that block as long as no other begins there.
 * expect: 1 interior */
#include <cstddef>

extern "C" {
int seep_snapshot(const char *label) __attribute__((weak));
size_t malloc_usable_size(void *p);
}

enum { PLANTED = 4007, BLOCKS = 32 };
static char *end;

__attribute__((noinline)) static void keep()
{
    char *p[BLOCKS];
    int last = 0;
    for (auto &q : p) q = new char[PLANTED];
    for (int i = 1; i < BLOCKS; i++)
        if (p[i] > p[last]) last = i;
    end = p[last] + malloc_usable_size(p[last]);
    for (int i = 0; i < BLOCKS; i++)
        if (i != last) delete[] p[i];
    for (auto &q : p) q = nullptr;
}

__attribute__((noinline)) static int check()
{
    volatile char dead[32768];
    for (auto &c : dead) c = 0;
    return seep_snapshot && seep_snapshot("check") == 0 ? 0 : 4;
}

int main()
{
    keep();
    return check();
}
