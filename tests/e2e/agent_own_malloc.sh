#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A program with a malloc of its own: it runs, and its snapshots say that nothing of it was seen.
set -u
. tests/stress/agent.inc
SEEP_RATE=1 SEEP_INTERVAL=20ms preload "$BUILD/tests/e2e/own_malloc" > "$TMP/out" 2> "$TMP/err"
is "exit code" 0 $?
is "output" "own malloc" "$(cat "$TMP/out")"
is "messages" "" "$(cat "$TMP/err")"
snapshots_at_least 2
is "blocks unreachable" 0 "$(sql 'SELECT sum(unreachable_objects) FROM snapshot')"
