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
head -n 1 "$TMP/leaks" | grep -q "^NO DATA" || { cat "$TMP/leaks"; fail "leaks gives a verdict"; }
"$BUILD/seep" leaks --exit-code "$REC" > "$TMP/leaks"
is "leaks --exit-code" 3 $?
"$BUILD/seep" report -o - "$REC" | grep -q '"verdict":"NO DATA"' || fail "the page gives a verdict"
"$BUILD/seep" run -f -o "$TMP/run.seep" -- "$BUILD/tests/e2e/own_malloc" > "$TMP/run" 2>&1
grep -q "^NO DATA" "$TMP/run" || { cat "$TMP/run"; fail "the summary of run gives a verdict"; }

# Of several processes the ones that were not seen are counted, and may be made a failure.
"$BUILD/seep" gate -f -o "$TMP/both.seep" -- sh -c "$BUILD/tests/e2e/own_malloc; true" > "$TMP/gate" 2>&1
is "gate of two" 0 $?
grep -q "not seen: 1 of 2 processes" "$TMP/gate" || { cat "$TMP/gate"; fail "gate does not count who was not seen"; }
"$BUILD/seep" gate --all-seen "$TMP/both.seep" > "$TMP/gate" 2>&1
is "gate --all-seen" 3 $?
grep -q "no data of 1 of 2 processes" "$TMP/gate" || { cat "$TMP/gate"; fail "gate --all-seen does not say it"; }
