#!/bin/sh
# seep snapshot: from a process under the agent; and the processes that cannot be asked.
set -eu
seep=$(realpath "$BUILD/seep")
[ -e "$BUILD/libseep.so" ] || exit 77
work=$(mktemp -d)
chmod 755 "$work"
trap 'kill $run $plain 2>/dev/null || true; rm -rf "$work"' EXIT
run= plain=
cd "$work"
bad=0
refuse() {
    words=$1
    shift
    rc=0
    err=$("$@" 2>&1) || rc=$?
    [ $rc = 4 ] && [ "$(printf '%s\n' "$err" | wc -l)" = 1 ] && printf '%s' "$err" | grep -q "$words" ||
        { echo "$*: exit $rc: $err"; bad=1; }
}
sleep 60 &
plain=$!
refuse "does not run under the agent" "$seep" snapshot $plain
kill $plain; wait $plain 2>/dev/null || true
refuse "none of that number" "$seep" snapshot $plain
plain=
"$seep" run -q -o s.seep -- sh -c 'echo $$ >pid; exec sleep 60' &
run=$!
n=0; while [ ! -s pid ] && [ $n -lt 200 ]; do sleep 0.02; n=$((n + 1)); done
pid=$(cat pid)
n=0; until "$seep" snapshot --label first "$pid" >out 2>&1 || [ $n -ge 100 ]; do sleep 0.02; n=$((n + 1)); done
grep -q "s.seep" out || { echo "no snapshot: $(cat out)"; bad=1; }
"$seep" snapshot -l second "$pid" >out || bad=1
"$seep" info s.seep | grep -q second || { echo "the label is not in the recording"; "$seep" info s.seep; bad=1; }
"$seep" leaks --snapshot second s.seep >/dev/null || bad=1
agent=$(dirname "$seep")/libseep.so
SEEP_CONTROL=0 LD_PRELOAD=$agent sleep 60 &
plain=$!
n=0; until grep -q libseep /proc/$plain/maps || [ $n -ge 100 ]; do sleep 0.02; n=$((n + 1)); done
refuse "does not listen" "$seep" snapshot $plain
kill $plain; wait $plain 2>/dev/null || true
SEEP_CONTROL=1 LD_PRELOAD=$agent sleep 60 &
plain=$!
n=0; until "$seep" snapshot -o late.seep -l late $plain >out 2>&1 || [ $n -ge 100 ]; do sleep 0.02; n=$((n + 1)); done
"$seep" info late.seep | grep -q late || { echo "recording begun later: $(cat out)"; bad=1; }
refuse "." "$seep" snapshot -o again.seep $plain
kill $plain; wait $plain 2>/dev/null || true
plain=
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    cp "$seep" seep_copy && chmod 755 seep_copy
    refuse "belongs to another user" setpriv --reuid=65534 --regid=65534 --clear-groups ./seep_copy snapshot "$pid"
fi
kill "$pid" 2>/dev/null || true
wait $run 2>/dev/null || true
run=
exit $bad
