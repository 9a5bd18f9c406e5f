#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every stack recorded in real programs, by the tracer and by recognised traces, is libunwind's: libc, C++, interpreters,
# a compiler, coroutines, signal handlers; stacks with and without a cut.
set -u
BUILD=${BUILD:-build}
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
ldconfig -p 2>/dev/null | grep -q 'libunwind\.so\.8' || exit 77
lib=$PWD/$BUILD/libseep.so
case $BUILD in /*) lib=$BUILD/libseep.so ;; esac

check() {
    rate=$1 depth=$2
    shift 2
    if ! env SEEP_RATE="$rate" SEEP_DEPTH="$depth" SEEP_DEBUG=unwindcheck=1 LD_PRELOAD="$lib" "$@" >/dev/null 2>"$out"; then
        echo "failed: $*"; tail -n 5 "$out"; exit 1
    fi
    if ! grep -q 'unwindcheck: every' "$out"; then
        echo "nothing was checked: $*"; exit 1
    fi
    if grep -q 'unwindcheck: stack' "$out"; then
        echo "differs: $*"; grep -m 5 'unwindcheck: stack' "$out"; exit 1
    fi
}

check 1 64 perl -e 'my %h; $h{$_} = [1 .. 3] for 1 .. 300; print join q(,), sort { $a <=> $b } keys %h'
check 1 20 python3 -S -c 'import re, json; print(re.sub(r"(\d+)", lambda m: m.group(1) * 2, json.dumps(list(range(50)))))'
check 64 128 python3 -S -c '
def f(n): return [n] + f(n - 1) if n else []
print(len(f(40)))'
printf '#include <map>\n#include <string>\nint f(const std::map<std::string, int> &m) { return m.count("x") ? m.at("x") : 0; }\n' |
    check 4096 64 g++ -O1 -S -x c++ - -o /dev/null
check 1 64 "$BUILD/tests/profile/co_stacks"
exit 0
