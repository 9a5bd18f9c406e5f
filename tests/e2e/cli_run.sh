#!/bin/sh
# seep run: the command keeps its exit code, output, signals and environment; the recording is private and named after it.
set -eu
seep=$(realpath "$BUILD/seep")
[ -e "$BUILD/libseep.so" ] || exit 77
agent=$(realpath "$BUILD/libseep.so")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "$*"; exit 1; }
rc=0; "$seep" run -q -- sh -c 'echo out; echo err >&2; exit 7' >out 2>err || rc=$?
[ $rc = 7 ] || fail "exit code $rc, not 7: $(cat err)"
[ "$(cat out)" = out ] || fail "output: $(cat out)"
[ "$(cat err)" = err ] || fail "standard error: $(cat err)"
ls sh.*.seep >/dev/null || fail "no recording of its name"
[ "$(stat -c %a sh.*.seep)" = 600 ] || fail "mode $(stat -c %a sh.*.seep)"
"$seep" info sh.*.seep | grep -q "exit 7" || fail "the end of the command is not noted"
rc=0; "$seep" run -q -o k.seep -- sh -c 'kill -KILL $$' 2>err || rc=$?
[ $rc = 137 ] || fail "killed: exit code $rc"
"$seep" info k.seep | grep -q SIGKILL || fail "the signal is not noted"
LD_PRELOAD= "$seep" run -q -o e.seep -- sh -c 'echo "$LD_PRELOAD|$SEEP_OUT|$SEEP_RATE"' >out
[ "$(cat out)" = "$agent|$work/e.seep|" ] || fail "environment: $(cat out)"
rc=0; "$seep" run -q -o e.seep -- true 2>err || rc=$?
[ $rc = 4 ] || fail "an existing recording was replaced"
"$seep" run -q -f -o e.seep --rate 1 -- true
[ "$("$seep" info --json e.seep | grep -c '"pid"')" -ge 1 ] || fail "-f: nothing recorded"
# signals are passed on
"$seep" run -q -o s.seep -- sh -c 'trap "exit 9" TERM; touch ready; while :; do sleep 0.05; done' &
pid=$!
n=0; while [ ! -e ready ] && [ $n -lt 200 ]; do sleep 0.02; n=$((n + 1)); done
kill -TERM $pid
rc=0; wait $pid || rc=$?
[ $rc = 9 ] || fail "SIGTERM: exit code $rc"
# the summary is on standard error, verdict first, the next command last
"$seep" run -o v.seep --rate 1 -- echo hello >out 2>err
[ "$(cat out)" = hello ] || fail "output with a summary: $(cat out)"
sed -n 2p err | grep -q -E '^(CLEAN|LEAK)  ' || fail "no verdict first: $(cat err)"
tail -n 1 err | grep -q '^next: seep ' || fail "no next command: $(cat err)"
# A label for the last snapshot of each process.
"$seep" run -q -o l.seep --label v1.2 -- sh -c 'true; true' 2>err
"$seep" top --snapshot v1.2 l.seep >/dev/null || fail "no snapshot with the label of --label"
rc=0; "$seep" run -q -o l2.seep --label "$(printf 'a\033b')" -- true 2>err || rc=$?
[ $rc = 2 ] && [ ! -e l2.seep ] || fail "a label with an escape character: $rc"
"$seep" run -q -o i.seep --interval 0.05s -- sleep 0.4
[ "$("$seep" info --json i.seep | grep -c '"trigger": "interval"')" -ge 2 ] || fail "--interval with a decimal"
