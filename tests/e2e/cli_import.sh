#!/bin/sh
# Profiles of a real Go program: their figures are go tool pprof's to the byte, its blocked goroutines are found by wait reason and
# place, in the protobuf and in the text, and the other commands work on what was imported.
set -eu
command -v go >/dev/null || { echo "go is not installed"; exit 77; }
command -v sqlite3 >/dev/null || exit 77
seep=$(realpath "$BUILD/seep")
service=$(realpath tests/e2e/go/service.go)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cp "$service" "$work/src/main.go"
cd "$work/src"
printf 'module example.org/service\n\ngo 1.19\n' >go.mod
# Its cache is kept, since the first build compiles Go's library.
GOCACHE=${GOCACHE:-$(dirname "$seep")/go-cache} HOME=$work GOFLAGS=-mod=mod GOTOOLCHAIN=local go build -o service . || { echo "go build failed"; exit 1; }
./service
export HOME="$work" PPROF_TMPDIR="$work"
fail() { echo "$*"; exit 1; }
"$seep" import -o service.seep heap2.pb.gz goroutine.txt heap1.pb.gz
[ "$("$seep" info --json service.seep | grep -c '"trigger": "import"')" = 2 ] || fail "snapshots: $("$seep" info service.seep)"
# The text has no time but its file's, which is of a clock with coarse ticks: it belongs to the heap profile that it is nearest to.
second=$(sqlite3 service.seep "SELECT max(unix_ns) - 3000000 FROM snapshot")
touch -d "@$((second / 1000000000)).$(printf %09d $((second % 1000000000)))" goroutine.txt
"$seep" import -o early.seep heap2.pb.gz goroutine.txt heap1.pb.gz
[ "$(sqlite3 early.seep "SELECT count(*) FROM snapshot")" = 2 ] || fail "early: $("$seep" info early.seep)"
total() { go tool pprof -raw "$1" 2>/dev/null | awk -v col="$2" '
    /^Samples:/ { on = 1; getline; next } /^Locations/ { on = 0 }
    on && /^ *[0-9]/ { sub(":.*", ""); split($0, v, " "); sum += v[col] } END { printf "%d", sum }'; }
ours() { "$seep" top --json --snapshot "$2" service.seep | sed -n "/\"total\"/,/}/s/.*\"$1\": \([0-9]*\).*/\1/p"; }
for which in first:heap1 last:heap2; do
    i=1
    for field in alloc_objects alloc_bytes inuse_objects inuse_bytes; do
        a=$(total "${which#*:}.pb.gz" $i) b=$(ours $field "${which%:*}")
        [ "$a" = "$b" ] || fail "$which $field: pprof $a, seep $b"
        i=$((i + 1))
    done
done
"$seep" top service.seep | grep -q 'main.fill() .*main.go:18$' || fail "$("$seep" top service.seep)"
"$seep" diff service.seep first last | grep -q '^+.*MiB.*main.fill()' || "$seep" diff service.seep first last | grep -q '^+[0-9.]* KiB .*main.fill()' || fail "$("$seep" diff service.seep first last)"
check() { # recording: seven senders, three at a mutex, one of each other kind
    "$seep" tasks "$1" >tasks.txt
    grep -qE '^ +7  goroutine  waiting  chan send +unknown .*main.sendForever\(\)' tasks.txt || fail "senders: $(cat tasks.txt)"
    grep -qE '^ +3  goroutine  waiting  mutex lock' tasks.txt || fail "mutex: $(cat tasks.txt)"
    grep -qE '^ +1  goroutine  waiting  sleep' tasks.txt || fail "sleep: $(cat tasks.txt)"
    grep -qE '^ +1  goroutine  waiting  select \(no cases\)' tasks.txt || fail "select: $(cat tasks.txt)"
    grep -qE '^ +1  goroutine  running' tasks.txt || fail "running: $(cat tasks.txt)"
}
check service.seep
check early.seep
"$seep" import -o proto.seep goroutine.pb.gz
check proto.seep
"$seep" leaks service.seep | grep -q 'nothing is proven' || fail "a proof of an import"
"$seep" export --pprof -o again.pb.gz service.seep
[ "$(total again.pb.gz 4)" = "$(total heap2.pb.gz 4)" ] || fail "exported again: $(total again.pb.gz 4)"
go tool pprof -top -sample_index=inuse_space again.pb.gz 2>/dev/null | grep -q 'main.fill' || fail "names are lost"
"$seep" report -o service.html service.seep
# What is not a profile is one line and leaves no file.
head -c 300 heap2.pb.gz >cut.pb.gz
printf 'heap profile: 1: 2 [3: 4] @ heap/1048576\n' >text.txt
gunzip -c heap2.pb.gz | head -c 1000 >cut.pb
: >empty
for bad in cut.pb.gz text.txt cut.pb empty service.seep /dev/null nowhere; do
    rc=0; "$seep" import -o bad.seep heap1.pb.gz $bad 2>err.txt || rc=$?
    [ $rc = 3 ] && [ "$(wc -l <err.txt)" = 1 ] && [ ! -e bad.seep ] || fail "$bad: exit $rc, $(cat err.txt)"
done
rc=0; "$seep" import -o service.seep heap1.pb.gz 2>/dev/null || rc=$?
[ $rc = 4 ] || fail "an existing recording was replaced"
