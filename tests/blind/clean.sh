#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The example servers have no leak. Under load, with a snapshot every 300 ms, nothing is found in them: not proven, not likely, not growing.
set -u
unset SEEP_OUT SEEP_RATE SEEP_INTERVAL LD_PRELOAD
seep=$PWD/$BUILD/seep
examples=$PWD/$BUILD/examples
seconds=2
[ -z "${FULL:-}" ] || seconds=20
failed=0

start() { # name command...: begins the server, recorded; $pid; the port it says
    local name=$1 tries=0
    shift
    SEEP_EXIT=1 "$seep" run --interval 300ms -o "$TMPDIR/$name.seep" -- "$@" >"$TMPDIR/$name.out" 2>&1 &
    pid=$!
    until grep -qE 'listening on|serving on' "$TMPDIR/$name.out"; do
        sleep 0.02
        [ $((tries += 1)) -lt 250 ] && kill -0 $pid 2>/dev/null || { echo "FAIL $name: did not start"; cat "$TMPDIR/$name.out"; exit 1; }
    done
    port=$(sed -n 's/.*listening on .*:\([0-9]*\)$/\1/p' "$TMPDIR/$name.out")
}
finish() { # name, server's pid
    local n code=0
    kill -TERM "$(pgrep -P "$2")" 2>/dev/null
    wait "$2"
    n=$(sqlite3 "$TMPDIR/$1.seep" 'SELECT count(*) FROM snapshot')
    [ "$n" -ge 4 ] || { echo "FAIL $1: $n snapshots"; failed=1; }
    "$seep" leaks --limit 0 --json "$TMPDIR/$1.seep" >"$TMPDIR/$1.json"
    /usr/bin/python3 - "$1" "$TMPDIR/$1.json" "$n" <<'PY' || failed=1
import json, sys
name, path, n = sys.argv[1:]
found = [f for f in json.load(open(path))["findings"] if f["confidence"] != "info"]
print("%-5s %s snapshots, %d findings" % (name, n, len(found)))
for f in found:
    print("FAIL %s: %s %s at %s(), %d: %s" % (name, f["confidence"], f["rule"], f["site"]["function"], f["objects"], f["evidence"]))
sys.exit(bool(found))
PY
}

start kvd "$examples/kvd" -p 0
kvd=$pid
redis-benchmark -p "$port" -q -l -c 30 -P 4 -r 1000 -n 20000 -t set,get,incr >/dev/null 2>&1 &
load1=$!
start httpd "$examples/httpd" -p 0
httpd=$pid
wrk -t 1 -c 30 -d "$seconds" "http://127.0.0.1:$port/" >/dev/null 2>&1 &
load2=$!
start jobd "$examples/jobd" "$TMPDIR/jobd.sock"
jobd=$pid
(until [ -e "$TMPDIR/stop" ]; do "$examples/jobd" --client "$TMPDIR/jobd.sock" 100 || break; done) >/dev/null 2>&1 &
load3=$!
wait $load2
kill $load1
touch "$TMPDIR/stop"
wait $load1 $load3 2>/dev/null
finish kvd $kvd
finish httpd $httpd
finish jobd $jobd
exit $failed
