#!/bin/bash
# Leak checks in the teardown of a program's own tests.
SEEP_RATE=1 "$BUILD/tests/verify/co_cmocka" >"$TMPDIR/out" 2>&1 || { cat "$TMPDIR/out"; exit 1; }
[ "$(grep -c 'forget+' "$TMPDIR/out")" -ge 2 ] || { echo "what was found was not told with its function"; cat "$TMPDIR/out"; exit 1; }
