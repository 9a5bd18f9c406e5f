#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A program with a malloc of its own: it runs, its snapshots say that nothing of it was seen, and a gate
# does not pass on them.
set -u
. tests/stress/agent.inc
SEEP_RATE=1 SEEP_INTERVAL=20ms preload "$BUILD/tests/e2e/own_malloc" > "$TMP/out" 2> "$TMP/err"
is "exit code" 0 $?
is "output" "own malloc" "$(cat "$TMP/out")"
is "messages" "" "$(cat "$TMP/err")"
snapshots_at_least 2
is "blocks unreachable" 0 "$(sql 'SELECT sum(unreachable_objects) FROM snapshot')"

"$BUILD/seep" leaks "$REC" > "$TMP/leaks" || fail "leaks"
grep -q "not seen: it has a malloc of its own" "$TMP/leaks" || { cat "$TMP/leaks"; fail "leaks does not say it"; }
"$BUILD/seep" gate -o "$TMP/gate.seep" -- "$BUILD/tests/e2e/own_malloc" > "$TMP/gate" 2>&1
is "gate" 3 $?
grep -q "FAIL: no data: not one allocation was seen" "$TMP/gate" || { cat "$TMP/gate"; fail "gate does not say it"; }
