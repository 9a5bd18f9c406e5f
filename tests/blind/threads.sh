#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A thread that spins is found, one that polls with a pause and one that waits are not. A thread may compute for a while in one function, so
# ten seconds are asked for: the recording's clock is set forward instead of waiting.
set -u
unset SEEP_OUT SEEP_RATE SEEP_INTERVAL LD_PRELOAD
seep=$PWD/$BUILD/seep
file=$TMPDIR/spin.seep
SEEP_EXIT=0 "$seep" run -o "$file" -- "$BUILD/tests/blind/spin_thread" >"$TMPDIR/out" 2>&1 || { cat "$TMPDIR/out"; exit 1; }
found() {
    "$seep" leaks --limit 0 --json "$file" | /usr/bin/python3 -c '
import json, sys
for f in json.load(sys.stdin)["findings"]:
    if f["confidence"] != "info":
        print(f["rule"], f["confidence"], f["objects"], f["create_stack"][0]["function"], f["evidence"]["cpu_s"] > 0)'
}
[ -z "$(found)" ] || { echo "FAIL: after a tenth of a second:"; found; exit 1; }
sqlite3 "$file" 'UPDATE snapshot SET mono_ns = mono_ns + seq * 6000000000'
got=$(found)
[ "$got" = "spinning-task likely 1 main True" ] && exit 0
echo "FAIL: found: $got"
sqlite3 -header -column "$file" 'SELECT snapshot, task, state, schedules, cpu_ns, stack FROM task ORDER BY task, snapshot'
exit 1
