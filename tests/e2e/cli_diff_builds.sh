#!/bin/sh
# seep diff of two builds of a program whose lines moved and whose stacks have other addresses: what is the same meets.
set -eu
seep=$(realpath "$BUILD/seep")
[ -e "$BUILD/libseep.so" ] || exit 77
command -v sqlite3 >/dev/null || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
bad=0
cat >v1.c <<'C'
#include <stdlib.h>
void *kept[3000];
static int n;
__attribute__((noinline)) static void load(int count, int size)
{
    for (int i = 0; i < count; i++) kept[n++] = malloc((size_t)size);
}
__attribute__((noinline)) static void store(int count)
{
    for (int i = 0; i < count; i++) kept[n++] = malloc(500);
}
int main(int argc, char **argv)
{
    (void)argv;
    load(100, 1000);
    store(200 * argc);
    return 0;
}
C
sed 's/^static int n;/&\nstatic int more = 3;\n\n\n/; s/load(100, 1000)/load(100, 1000);\n    more++/' v1.c >v2.c
${CC:-cc} -g -O0 -o a v1.c
"$seep" run -q --rate 1 -o v1.seep -- ./a
"$seep" symbolize v1.seep >/dev/null
${CC:-cc} -g -O1 -fno-inline -o a v2.c
"$seep" run -q --rate 1 -o v2.seep -- ./a twice
for how in '' --stacks; do
    "$seep" diff $how --json --limit 0 --focus 'v[12]\.c' v1.seep v2.seep >out.json
    rows=$(sqlite3 :memory: "SELECT json_extract(value, '\$.site.function') || ' ' || json_extract(value, '\$.inuse_bytes_a') || ' ' ||
        json_extract(value, '\$.inuse_bytes_b') FROM json_each(readfile('out.json'), '\$.sites') ORDER BY 1")
    # load did not change, so it is not listed; a store that did not meet would be there twice
    [ "$rows" = "store 100000 200000" ] || { echo "diff $how: $rows"; bad=1; }
done
exit $bad
