#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# coro.h compiles as C11 and as C++17 and C++20, alone, with warnings as errors; exceptions thrown and caught in a coroutine work.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/h.c" <<'END'
#include "coro.h"
int main(void) { co_yield(); return errno; }
END
cat >"$dir/h.cc" <<'END'
#include "coro.h"
#include <stdexcept>
#include <string>
static co_waitgroup wg;
static void thrower(void *arg)
{
    try {
        co_yield_now();
        throw std::runtime_error("thrown in a coroutine");
    } catch (const std::exception &e) {
        *static_cast<bool *>(arg) = std::string(e.what()) == "thrown in a coroutine";
    }
    co_wg_done(&wg);
}
int main()
{
    bool caught = false;
    CO_SLICE(int) numbers = {};
    co_append(&numbers, 4);
    auto part = co_sub(&numbers, 0, 1);
    if (co_at(&part, 0) != 4) return 7;
    co_wg_add(&wg, 1);
    co_go(thrower, &caught);
    co_wg_wait(&wg);
    return caught ? 0 : 1;
}
END
link="-L$BUILD -lseep -Wl,-rpath,$(cd "$BUILD" && pwd)"
warn="-Wall -Wextra -Wpedantic -Werror -Icoro/include"
${CC:-cc} -std=c11 $warn -o "$dir/c" "$dir/h.c" $link
for std in c++17 c++20; do
    ${CXX:-c++} -std=$std $warn -o "$dir/$std" "$dir/h.cc" $link
    "$dir/$std"
done
"$dir/c"
