#!/bin/sh
# merge, symbolize, watch: rows that reach the other file whole, names that travel beside it, growth of a running process.
set -eu
command -v sqlite3 >/dev/null || exit 77
seep=$(realpath "$BUILD/seep")
[ -e "$BUILD/libseep.so" ] || exit 77
top=$PWD
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
sh tests/golden/mk_recording.inc "$work/a.seep"
sh tests/golden/mk_series.inc "$work/b.seep"
cd "$work"
export NO_COLOR=1
bad=0
"$seep" merge all.seep a.seep b.seep a.seep >out
grep -q '3 processes, 15 snapshots' out || { echo "not all was merged"; cat out; bad=1; }
# what the commands say of each process stays the same, but for the name of the file
for p in 1234 1240; do
    for c in top tasks leaks rss; do
        "$seep" $c --json --process $p a.seep | sed 's/a\.seep//' >one
        "$seep" $c --json --process $p all.seep | sed 's/all\.seep//' >two
        cmp -s one two || { echo "$c of $p differs"; diff one two | head -n 5; bad=1; }
    done
done
"$seep" trend --json b.seep | sed 's/b\.seep//' >one
"$seep" trend --json --process 77 all.seep | sed 's/all\.seep//' >two
cmp -s one two || { echo "trend differs"; bad=1; }
[ "$(sqlite3 all.seep 'SELECT count(*) FROM event')" = 1 ] || { echo "events are there twice"; bad=1; }
rc=0
"$seep" merge all.seep a.seep 2>/dev/null || rc=$?
[ $rc = 4 ] || { echo "an existing file: exit $rc"; bad=1; }
rc=0
"$seep" merge -f all.seep a.seep "$top/LICENSE" 2>/dev/null || rc=$?
[ $rc = 3 ] && "$seep" info all.seep >/dev/null || { echo "a bad source: exit $rc"; bad=1; }
sqlite3 b.seep "UPDATE stack SET frames = x'63000000' WHERE id = 3"
rc=0
"$seep" merge bad.seep a.seep b.seep 2>/dev/null || rc=$?
[ $rc = 3 ] && [ ! -e bad.seep ] || { echo "a damaged source: exit $rc"; bad=1; }
! ls ./*.merge* 2>/dev/null || { echo "a temporary file was left"; bad=1; }

# names
${CC:-cc} -g -O1 -o lost "$top/examples/lost_block.c"
"$seep" run -q --rate 1 -o lost.seep -- ./lost --leak >/dev/null
"$seep" leaks lost.seep >before
sum=$(md5sum <lost.seep)
cp lost.seep bare.seep
"$seep" symbolize lost.seep >/dev/null
rm lost
"$seep" leaks bare.seep | grep -q 'no symbols for' || { echo "names without a file"; bad=1; }
"$seep" leaks lost.seep >after
diff before after || { echo "names did not travel"; bad=1; }
[ "$(md5sum <lost.seep)" = "$sum" ] || { echo "the recording was changed"; bad=1; }
rc=0
"$seep" symbolize lost.seep 2>/dev/null || rc=$?
[ $rc = 4 ] || { echo "replaced without -f: $rc"; bad=1; }
echo '{"seep_symbols": 1, "frames": [["x"]]}' >lost.seep.symbols
rc=0
"$seep" leaks lost.seep >/dev/null 2>&1 || rc=$?
[ $rc = 3 ] || { echo "a damaged file of names: $rc"; bad=1; }

# a running process
cat >grow.c <<'C'
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *kept[4000];
int main(void)
{
    for (int i = 0; i < 4000; i++) {
        kept[i] = memset(malloc(10000), 1, 10000);
        usleep(5000);
    }
    return 0;
}
C
${CC:-cc} -g -O0 -o grow grow.c
"$seep" run -q --rate 1 -o grow.seep -- ./grow &
runner=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
    sleep 0.2
    pid=$(pgrep -P $runner || true)
    [ -z "$pid" ] || "$seep" snapshot "$pid" >/dev/null 2>&1 && break
done
"$seep" watch --every 1 --count 2 "$pid" >out || { echo "watch: exit $?"; bad=1; }
grep -q 'grow.c:' out || { echo "watch names no growth"; cat out; bad=1; }
exit $bad
