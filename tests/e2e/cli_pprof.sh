#!/bin/sh
# go tool pprof reads our export, and its total is ours to the byte.
set -eu
command -v go >/dev/null && command -v sqlite3 >/dev/null || exit 77
seep=$(realpath "$BUILD/seep")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sh tests/golden/mk_recording.inc "$work/r.seep"
cd "$work"
export HOME="$work" PPROF_TMPDIR="$work"
fail() { echo "$*"; exit 1; }
total() { # profile, sample type
    go tool pprof -raw "$1" 2>/dev/null | awk -v col="$2" '
        /^Samples:/ { on = 1; getline; next } /^Locations/ { on = 0 }
        on && /^ *-?[0-9]/ { sub(":.*", ""); split($0, v, " "); sum += v[col] } END { printf "%d", sum }'
}
ours() { "$seep" top --json "$@" | sed -n "/\"total\"/,/}/s/.*\"$field\": \([0-9]*\).*/\1/p"; }
"$seep" export --pprof -o all.pb.gz r.seep
"$seep" export --pprof --process 1234 --snapshot last -o last.pb.gz r.seep
"$seep" export --pprof --process 1234 --snapshot warm -o warm.pb.gz r.seep
"$seep" export --pprof --process 1234 --base warm -o growth.pb.gz r.seep
i=1
for field in alloc_objects alloc_bytes inuse_objects inuse_bytes unreachable_objects unreachable_bytes; do
    a=$(total all.pb.gz $i) b=$(ours r.seep)
    [ "$a" = "$b" ] || fail "$field: pprof $a, seep $b"
    a=$(total warm.pb.gz $i) b=$(ours --process 1234 --snapshot warm r.seep)
    [ "$a" = "$b" ] || fail "warm $field: pprof $a, seep $b"
    a=$(total growth.pb.gz $i) b=$(($(total last.pb.gz $i) - $(total warm.pb.gz $i)))
    [ "$a" = "$b" ] || fail "growth $field: $a, not $b"
    i=$((i + 1))
done
field=inuse_bytes
go tool pprof -unit=B -top -sample_index=inuse_space all.pb.gz >top.txt 2>&1 || fail "pprof -top: $(cat top.txt)"
grep -q "$(ours r.seep)B total" top.txt || fail "total of pprof -top: $(cat top.txt)"
go tool pprof -unit=B -top -sample_index=inuse_space -diff_base warm.pb.gz last.pb.gz >diff.txt 2>&1 || fail "-diff_base: $(cat diff.txt)"
go tool pprof -top all.pb.gz 2>/dev/null | grep -q 'Type: inuse_space' || fail "inuse_space is not the default"
want=$(ours r.seep)
pprof() { go tool pprof -unit=B -sample_index=inuse_space "$@" all.pb.gz 2>/dev/null; }
pprof -tree >tree.txt
grep -q "accounting for ${want}B, 100% of ${want}B total" tree.txt || fail "-tree: $(cat tree.txt)"
a=$(awk '$1 ~ /^[0-9]+B?$/ && $2 ~ /%$/ && $3 ~ /%$/ { sub("B", "", $1); sum += $1 } END { printf "%d", sum }' tree.txt)
[ "$a" = "$want" ] || fail "-tree: flat sums up to $a, not $want"
a=$(pprof -traces | awk '/^ *[0-9]+B / { sub("B", "", $1); sum += $1 } END { printf "%d", sum }')
[ "$a" = "$want" ] || fail "-traces: $a, not $want"
a=$(pprof -tags | sed -n 's/^ *bytes: Total \([0-9]*\).*/\1/p')
[ "$a" = "$want" ] || fail "-tags: $a, not $want"
pprof -peek 'libjob' | grep -q '| *\[libjob.so.2.1\]' || fail "-peek"
# Tasks, as Go has them of goroutines.
"$seep" export --pprof --tasks -o tasks.pb.gz r.seep
n=$("$seep" tasks --json r.seep | sed -n 's/^      "tasks": \([0-9]*\),/\1/p' | awk '{ sum += $1 } END { print sum }')
[ "$n" = 4 ] && [ "$(total tasks.pb.gz 1)" = "$n" ] || fail "tasks: pprof $(total tasks.pb.gz 1), seep $n"
go tool pprof -tags tasks.pb.gz >tags.txt 2>/dev/null
grep -q 'chan send' tags.txt && grep -q 'leaked' tags.txt || fail "no labels of tasks: $(cat tags.txt)"
go tool pprof -top -tagfocus=verdict=leaked tasks.pb.gz 2>/dev/null | grep -q 'Showing nodes accounting for 2,' || fail "-tagfocus"
go tool pprof -raw all.pb.gz 2>/dev/null | grep -q 'aa00000000000000000000000000000000000001' || fail "no build id"
rc=0; "$seep" export --pprof -o all.pb.gz r.seep 2>/dev/null || rc=$?
[ $rc = 4 ] || fail "an existing profile was replaced"
"$seep" export -f -o all.pb.gz r.seep
"$seep" export -o - r.seep | cmp - all.pb.gz || fail "standard output differs"
