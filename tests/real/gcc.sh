#!/bin/bash
# gcc -O1 on a generated file of 5,000 lines: the object file must be the same to the byte.
# timeout: 180
. tests/real/real.inc

# 250 functions of 20 lines.
generate() {
    awk 'BEGIN {
        print "#include <stddef.h>"
        for (f = 0; f < 250; f++) {
            printf "struct s%d { int a[%d]; double d; char name[%d]; };\n", f, f % 9 + 1, f % 31 + 1
            printf "int f%d(struct s%d *s, size_t n, int x)\n{\n    int sum = %d;\n", f, f, f
            printf "    for (size_t i = 0; i < n; i++) {\n"
            for (k = 0; k < 9; k++)
                printf "        sum += s[i].a[%d] * (x ^ %d) + (int)s[i].d %% %d;\n", k % (f % 9 + 1), f * 31 + k, k + 3
            printf "        switch (sum & 3) {\n        case 0: sum -= x; break;\n        case 1: sum ^= (int)i; break;\n        }\n    }\n"
            printf "    return %s;\n}\n", f ? "sum + f" f - 1 "(0, 0, sum)" : "sum"
        }
    }'
}

workload() {
    generate >big.c
    wc -l <big.c
    real_agent gcc -O1 -g -w -c big.c -o big.o || return
    cksum <big.o
}
# The path of the source is in the debug information: every run must see the same one.
in_same_place() { rm -rf "$TMPDIR/here" && mkdir "$TMPDIR/here" && cd "$TMPDIR/here" && workload; }
real_run gcc in_same_place
n=$(sqlite3 "$TMPDIR/1.seep" "SELECT count(*) FROM process WHERE exe LIKE '%/cc1'")
[ "$n" -ge 1 ] || fail "the compiler proper was not recorded"
exit $failed
