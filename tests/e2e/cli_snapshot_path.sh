#!/bin/sh
# seep snapshot --path: what holds a block of a running program, by its address, and those of a function. What cannot be told is said.
set -eu
seep=$(realpath "$BUILD/seep")
[ -e "$BUILD/libseep.so" ] || exit 77
held=$(realpath "$BUILD/tests/e2e/held")
work=$(mktemp -d)
run= pid=
trap 'kill $pid $run 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
bad=0
shows() { # what, lines in the answer as patterns, in their order
    what=$1
    shift
    "$seep" snapshot --path "$what" "$pid" >out 2>&1 || { echo "--path $what: exit $?"; cat out; bad=1; return; }
    sed 's/^ *//' out >lines
    for line; do
        sed -n "/^$line/,\$p" lines >rest
        [ -s rest ] || { echo "--path $what: no \"$line\" where it should be in"; cat out; bad=1; return; }
        sed 1d rest >lines
    done
}
refuse() { # exit code, words, what
    rc=0
    err=$("$seep" snapshot --path "$3" "$pid" 2>&1) || rc=$?
    [ $rc = "$1" ] && [ "$(printf '%s\n' "$err" | wc -l)" = 1 ] && printf '%s' "$err" | grep -q "$2" ||
        { echo "--path \"$3\": exit $rc: $err"; bad=1; }
}
start() { # rate, sessions
    rm -f s.seep
    : >addresses
    "$seep" run -q --rate "$1" -o s.seep -- sh -c "echo \$\$ >pid; exec $held ${2:-100}" >addresses &
    run=$!
    n=0; while [ "$(grep -c 0x addresses || true)" != 6 ] && [ $n -lt 400 ]; do sleep 0.02; n=$((n + 1)); done
    pid=$(cat pid)
    n=0; until "$seep" snapshot "$pid" >out 2>&1 || [ $n -ge 100 ]; do sleep 0.02; n=$((n + 1)); done
}
address() { sed -n "$1p" addresses; }
stop() {
    kill "$pid"
    wait $run 2>/dev/null || true
}

start 1
shows "$(address 1)" 'alloc .*session_new()' 'held by  global sessions' 'via .* block of 128 B' 'keeps    block of 128 B, from session_new()'
shows "$(address 2)" 'held by  global sessions' 'via .* block of 128 B' 'keeps    block of 32 B, from session_new()'
shows "$(address 3)" 'alloc .*plant()' 'held by  nothing: no root'
refuse 4 "no block is allocated at" "$(address 4)"
shows "$(address 5)" 'held by  global end' 'keeps    block of 1.0 MiB, from plant()'
shows "$(address 6)" "held by  stack of thread $pid, in main()" 'keeps    block of 112 B, from main()'
refuse 4 "no block is allocated at" 0X10
shows session_new 'held by  global sessions' 'keeps    block of 128 B' 'held by  global sessions' 'keeps    block of 32 B'
shows plant 'held by  global table' 'keeps    block of 1.0 MiB'
refuse 4 "no sampled block in use" session_old
refuse 4 "no sampled block in use" 0xno
refuse 2 "takes an address or a function" ""
"$seep" snapshot --path "$(address 1)" --json "$pid" | /usr/bin/python3 -c '
import json, sys
p, = json.load(sys.stdin)["paths"]
assert p["kind"] == "object" and p["site"]["function"] == "session_new", p
steps = p["evidence"]["path"]
assert int(steps[-1]["stack"], 16) > 0 and steps[0]["at"] == "global" and steps[-1]["bytes"] == 128 and sum(s.get("n", 1) for s in steps) == 52, steps
' || { echo "JSON"; bad=1; }
stop

# However deep it lies. A block that was not sampled has a path, too; a process that does not record has a recording made.
start 0 200000
shows "$(address 1)" 'alloc .*not sampled' 'held by  global sessions' 'via      … 99,9.. more blocks' 'keeps    block of 128 B'
stop
: >addresses
LD_PRELOAD=$(dirname "$seep")/libseep.so SEEP_CONTROL=1 SEEP_RATE=1 "$held" >addresses &
run=$! pid=$!
n=0; while [ "$(grep -c 0x addresses || true)" != 6 ] && [ $n -lt 400 ]; do sleep 0.02; n=$((n + 1)); done
refuse 4 "does not record" session_new
"$seep" snapshot -o late.seep --path session_new "$pid" >out 2>&1 && grep -q 'held by  global sessions' out || { echo "recording begun by it:"; cat out; bad=1; }
exit $bad
