#!/bin/bash
# Blocks reached by interior pointers only are told apart, and are no leak by themselves.
. tests/control/control.inc
gate interior leak 0
check interior unreachable-interior 20 make_buffer "" info
"$SEEP" leaks "$TMPDIR/interior-leak.seep" >"$TMPDIR/leaks"
grep -A 5 unreachable-interior "$TMPDIR/leaks" | grep -q 'held by  global ' || { fail "what holds it is not said"; cat "$TMPDIR/leaks"; }
clean interior
exit $failed
