#!/bin/sh
# list, peek, tree and top with names and sources: lines, callers, filters.
set -eu
seep=$(realpath "$BUILD/seep")
[ -e "$BUILD/libseep.so" ] || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
bad=0
cat >prog.c <<'C'
#include <stdlib.h>
#include <string.h>
static void *kept[64];
static int n;
__attribute__((noinline)) static void leaf(size_t size)
{
    kept[n] = malloc(size);
    memset(kept[n++], 1, size);
}
__attribute__((noinline)) static void left(void)
{
    leaf(30000);
    leaf(10000);
}
__attribute__((noinline)) static void right(void)
{
    leaf(60000);
}
int main(void)
{
    left();
    right();
    return 0;
}
C
${CC:-cc} -g -O0 -o prog prog.c
"$seep" run -q --rate 1 -o r.seep -- ./prog
has() { # pattern, arguments
    want=$1
    shift
    "$seep" "$@" >out 2>&1 || { echo "$*: exit $?"; cat out; bad=1; }
    grep -qE "$want" out || { echo "$*: no line matches $want"; cat out; bad=1; }
}
has '97.7 KiB +97.7 KiB +7      kept\[n\] = malloc\(size\);' list r.seep '^leaf'
has '39.1 KiB +12      leaf\(10000\)|29.3 KiB +12      leaf\(30000\)' list r.seep '^left'
has '39.1 KiB +40.0%   from left\(\)' peek r.seep '^leaf'
has '58.6 KiB +60.0%   from right\(\)' peek r.seep '^leaf'
has '58.6 KiB +100.0%     to leaf\(\)' peek r.seep '^right'
has '60.0% +0 B +right\(\)' tree --focus prog.c --hide main r.seep
has '^58.6 KiB +100.0% +100.0% +58.6 KiB +100.0% .*leaf' top --focus right r.seep
has '^39.1 KiB .*leaf' top --ignore right --focus prog.c r.seep
has '^58.6 KiB .*right\(\)' top --hide leaf --focus prog.c r.seep
has '60000 B .*right\(\)' top --hide leaf --focus prog.c --unit B r.seep
has ' 97.7 KiB .*main\(\)' top --sort cum --focus prog.c r.seep
exit $bad
