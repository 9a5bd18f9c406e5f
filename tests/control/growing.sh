#!/bin/bash
# A list in a global grows: growing, and not proven. A cache with a bound does not.
. tests/control/control.inc
SEEP_EXIT=0
export SEEP_EXIT
CONFIDENCE=growing planted co_growing growing-site 120 add

# What `seep run` says at its end is what `seep leaks` says.
"$SEEP" run --rate 1 -o "$TMPDIR/run.seep" -- "$BUILD/tests/control/co_growing" leak >/dev/null 2>"$TMPDIR/summary"
"$SEEP" leaks "$TMPDIR/run.seep" >"$TMPDIR/leaks"
for file in summary leaks; do
    grep -q '^LEAK .*1 growing' "$TMPDIR/$file" && grep -q 'growing-site' "$TMPDIR/$file" || { fail "$file: no growing-site"; cat "$TMPDIR/$file"; }
done
exit $failed
