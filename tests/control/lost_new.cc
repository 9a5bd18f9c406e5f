/* SPDX-License-Identifier: Apache-2.0
 *
 * 25 C++ objects made by new and never deleted; each owns a vector, which hangs on it. */
#include <vector>

#include "tests/control/plant.h"

struct Order {
    int id;
    std::vector<int> lines;
    explicit Order(int i) : id(i), lines(100, i) {}
};

static Order *current;

static __attribute__((noinline)) Order *make_order(int id)
{
    return new Order(id); /* PLANTED */
}

int main(int argc, char **argv)
{
    bool leak = leaking(argc, argv);
    for (int i = 0; i < 25; i++) {
        current = make_order(i);
        if (!leak) delete current;
        current = nullptr;
    }
    scrub();
    return 0;
}
