#!/bin/bash
# Checks from inside a program, with no recording: under the preloaded agent.
set -u
out=$(SEEP_RATE=1 LD_PRELOAD="$PWD/$BUILD/libseep.so" "$BUILD/tests/control/in_process" 2>"$TMPDIR/err")
code=$?
echo "$out"
[ $code = 0 ] || { cat "$TMPDIR/err"; exit 1; }
grep -q 'three: 1 findings, 0 leaked tasks, .* in 3 blocks' "$TMPDIR/err" || { cat "$TMPDIR/err"; exit 1; }
SEEP_RATE=1 LD_PRELOAD="$PWD/$BUILD/libseep.so" "$BUILD/tests/control/in_process" end >/dev/null 2>&1
code=$?
[ $code = 23 ] || { echo "__lsan_do_leak_check: exit code $code, expected 23"; exit 1; }
