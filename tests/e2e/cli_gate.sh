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
# suppressions: ours, LeakSanitizer's, valgrind's
gate 1 -f -o leak.seep -- ./lost --leak
"$seep" suppress "$id" --why "known to be lost" -o ours.supp leak.seep >/dev/null
gate 0 --suppress ours.supp leak.seep
grep -q 'where = session_new() .*lost2.c' ours.supp || { echo "the place is not noted"; cat ours.supp; bad=1; }
rc=0
"$seep" suppress "$id" --why again -o ours.supp >/dev/null 2>&1 || rc=$?
[ $rc = 4 ] || { echo "the same id twice: exit $rc"; bad=1; }
"$seep" suppress "$id" --why old --until 2020-01-01 -o old.supp >/dev/null
gate 1 --suppress old.supp leak.seep
grep -q 'expired .* on 2020-01-01' out || { echo "expiry is not told"; cat out; bad=1; }
echo leak:session_new >lsan.supp
gate 0 --suppress lsan.supp --suppress ours.supp leak.seep
printf '{\n sessions\n Memcheck:Leak\n fun:malloc\n fun:session_new\n}\n{\n absent\n Memcheck:Leak\n fun:absent\n}\n' >vg.supp
gate 0 --suppress vg.supp leak.seep
grep -q 'unused  absent' out || { echo "an unused suppression is not told"; cat out; bad=1; }
echo 'leek:x' >broken.supp
gate 3 --suppress broken.supp leak.seep
# files for other tools, also when nothing could be judged
gate 1 --junit j.xml --sarif s.sarif leak.seep
grep -q '<failure type="unreachable-memory"' j.xml || { echo "no failure in JUnit's file"; bad=1; }
grep -q "\"seepId/v1\": \"$id\"" s.sarif || { echo "no fingerprint in SARIF's file"; bad=1; }
gate 3 --junit j.xml --sarif s.sarif --no-exit-snapshot -- true
grep -q 'no data' j.xml && grep -q '<error' j.xml || { echo "JUnit's file does not tell that there is no data"; bad=1; }
grep -q '"executionSuccessful": false' s.sarif || { echo "SARIF's file does not tell that there is no data"; bad=1; }
# the gate finds a leak that it plants
gate 0 --self-test
gate 1 --self-test -- ./lost --leak
# the command's own failure, and no data
gate 4 -- sh -c 'exit 5'
grep -q 'exit code 5' out || { echo "the command's failure is not named"; cat out; bad=1; }
gate 3 -- sh -c 'kill -KILL $$'
gate 3 --no-exit-snapshot -- true
grep -q 'no data' out || { echo "no data is not said"; bad=1; }
gate 3 absent.seep
gate 4 -- ./absent
exit $bad
