/* SPDX-License-Identifier: Apache-2.0
 *
 * C++: new T[0] of a T with a destructor is a block that holds the number 0, and a pointer behind that: none into the middle of any array, and
 * yet the block is not lost.
 * expect: 0 unreachable */
#include <cstddef>

extern "C" int seep_snapshot(const char *label) __attribute__((weak));

struct counted {
    long text[2];
    ~counted() { text[0] = 0; }
};
enum { ARRAYS = 64 };
static counted *none[ARRAYS];

__attribute__((noinline)) static void keep()
{
    for (auto &p : none) p = new counted[0];
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
