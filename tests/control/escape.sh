#!/bin/bash
# Pointers to frames that have returned: told when they are still there two snapshots later.
. tests/control/control.inc
SEEP_EXIT=0
export SEEP_EXIT
CONFIDENCE=likely planted escape stack-escape 2 main
[ "$(sqlite3 "$TMPDIR/escape-leak.seep" "SELECT count(*) FROM finding WHERE rule = 'stack-escape' AND snapshot < 3")" = 0 ] || fail "told too early"
exit $failed
