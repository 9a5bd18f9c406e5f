#!/bin/bash
# Tickers and timers that nobody can stop any more, and calls that are deferred and never made.
. tests/control/control.inc
planted co_ticker leaked-ticker 5 poll_for_a_while
planted co_after_loop leaked-timer 150 serve
SEEP_EXIT=0
export SEEP_EXIT
CONFIDENCE=growing planted co_defer_loop defer-pileup 120 serves main
# What only one recorded snapshot has seen does not grow.
"$SEEP" gate --fail-on growing --rate 1 -o "$TMPDIR/once.seep" -- "$BUILD/tests/control/co_defer_loop" leak once >"$TMPDIR/report" 2>&1 ||
    { fail "one snapshot, and growing"; cat "$TMPDIR/report"; }
[ "$(sqlite3 "$TMPDIR/once.seep" "SELECT count(*) FROM snapshot")" = 1 ] || fail "not one snapshot"
exit $failed
