#!/bin/sh
# seep gate: 1 on a leak, 0 without, 3 without data, 4 for a command that fails by itself; policy and baseline.
set -eu
seep=$(realpath "$BUILD/seep")
[ -e "$BUILD/libseep.so" ] || exit 77
src=$(realpath examples/lost_block.c)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
bad=0
${CC:-cc} -g -O1 -o lost "$src"
gate() { # expected code, arguments
    want=$1
    shift
    rc=0
    "$seep" gate "$@" >out 2>&1 || rc=$?
    [ $rc = "$want" ] || { echo "gate $*: exit $rc, not $want"; cat out; bad=1; }
}
gate 1 -o leak.seep -- ./lost --leak
grep -q '^FAIL ' out || { echo "no FAIL line"; bad=1; }
grep -q 'lost_block.c:[0-9]* session_new()' out || { echo "the allocating line is not named"; cat out; bad=1; }
id=$(grep session_new -B 1 out | grep -o '^\[[0-9a-f]*' | tr -d '[' | head -n 1)
gate 0 -- ./lost
grep -q '^PASS ' out || { echo "no PASS line"; bad=1; }
! ls lost.*.seep 2>/dev/null || { echo "a clean run left its recording"; bad=1; }
gate 0 --ignore "$id" -- ./lost --leak
gate 0 --max-bytes 1G leak.seep
gate 1 --max-bytes 1K leak.seep
gate 0 --fail-on growing leak.seep
# the id is the same in another run, of another build with other lines
sed 's/^static struct session \*session_new/\n\n\n&/' "$src" >lost2.c
${CC:-cc} -g -O0 -o lost lost2.c
gate 0 --ignore "$id" -- ./lost --leak
# baseline
"$seep" baseline update base.json leak.seep >/dev/null
gate 0 --baseline base.json leak.seep
grep -q 'baseline: 1 known, 0 fixed' out || { echo "baseline is not counted"; cat out; bad=1; }
gate 0 -o clean.seep --baseline base.json -- ./lost
grep -q 'baseline: 0 known, 1 fixed' out || { echo "fixed is not counted"; cat out; bad=1; }
"$seep" baseline prune base.json clean.seep >/dev/null
grep -q session_new base.json && { echo "prune left it"; bad=1; }
echo '{"seep_baseline": 1, "findings": [{"id": "xyz"}]}' >broken.json
gate 3 --baseline broken.json leak.seep
gate 3 --baseline absent.json leak.seep
# the command's own failure, and no data
gate 4 -- sh -c 'exit 5'
grep -q 'exit code 5' out || { echo "the command's failure is not named"; cat out; bad=1; }
gate 3 -- sh -c 'kill -KILL $$'
gate 3 --no-exit-snapshot -- true
grep -q 'no data' out || { echo "no data is not said"; bad=1; }
gate 3 absent.seep
gate 4 -- ./absent
exit $bad
