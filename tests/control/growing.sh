#!/bin/bash
# A list in a global grows: growing, and not proven. A cache with a bound does not.
. tests/control/control.inc
SEEP_EXIT=0
export SEEP_EXIT
CONFIDENCE=growing planted co_growing growing-site 120 add
# And what holds it, of the finding and of the function.
"$SEEP" run --rate 1 -o "$TMPDIR/run.seep" -- "$BUILD/tests/control/co_growing" leak >/dev/null 2>"$TMPDIR/summary"
for of in "$("$SEEP" leaks "$TMPDIR/run.seep" | sed -n 's/^\[\(.*\)\] GROWING.*/\1/p')" add; do
    "$SEEP" leaks --path "$of" "$TMPDIR/run.seep" >"$TMPDIR/path"
    [ "$(grep -E '^    (held by|keeps) ' "$TMPDIR/path" | sed 's/ (.*//; s/  */ /g')" = " held by global list
 keeps block of 4.0 KiB, from add() tests/control/co_growing.c:$(line_of co_growing PLANTED)" ] || { fail "no path of $of"; cat "$TMPDIR/path"; }
done
"$SEEP" leaks --path nowhere "$TMPDIR/run.seep" >"$TMPDIR/path" 2>&1
[ $? = 2 ] && grep -q 'no path to a block' "$TMPDIR/path" || { fail "a path of a function that is not there"; cat "$TMPDIR/path"; }

# What grows is looked for though twenty other places have more bytes.
"$SEEP" run --rate 1 -o "$TMPDIR/slow.seep" -- "$BUILD/tests/control/slow_growth" >/dev/null 2>&1
"$SEEP" leaks "$TMPDIR/slow.seep" >"$TMPDIR/path"
grep -A 6 growing-site "$TMPDIR/path" | grep -q 'held by  global list ' || { fail "what holds a small site that grows"; cat "$TMPDIR/path"; }

# What `seep run` says at its end is what `seep leaks` says.
"$SEEP" leaks "$TMPDIR/run.seep" >"$TMPDIR/leaks"
for file in summary leaks; do
    grep -q '^LEAK .*1 growing' "$TMPDIR/$file" && grep -q 'growing-site' "$TMPDIR/$file" || { fail "$file: no growing-site"; cat "$TMPDIR/$file"; }
done
exit $failed
