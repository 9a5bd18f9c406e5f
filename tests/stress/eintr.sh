#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# No waiting call of the program sees the snapshots: neither EINTR, nor a shorter wait, nor half a write.
set -u
. tests/stress/agent.inc
seconds=1
[ "${FULL:-}" ] && seconds=20
SEEP_DEBUG=stop=5 preload "$BUILD/tests/stress/eintr" $seconds > "$TMP/out" 2>&1 || fail "stops: $(cat "$TMP/out")"
SEEP_INTERVAL=50ms preload "$BUILD/tests/stress/eintr" $seconds > "$TMP/out" 2>&1 || fail "snapshots: $(cat "$TMP/out")"
snapshots_at_least 5
