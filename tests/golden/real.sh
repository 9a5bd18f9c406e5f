#!/bin/sh
# Every command on recordings of real programs (tests/golden/recordings), against the answers kept in real/.
# UPDATE=1 writes the answers anew; look at the difference before you commit it.
set -eu
command -v sqlite3 >/dev/null && command -v xz >/dev/null || { echo "sqlite3 or xz is not installed"; exit 77; }
seep=$(realpath "$BUILD/seep")
want=$(realpath tests/golden)/real
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for r in redis jobd httpd; do sh tests/golden/load.inc $r "$work"; done
for f in go_heap1.pb go_heap2.pb go_goroutines.txt; do xz -dc "tests/golden/recordings/$f.xz" >"$work/$f"; done
touch -d @1795344960 "$work/go_goroutines.txt" # a second after the second heap profile
cd "$work"
export NO_COLOR=1
bad=0
check() { # name, expected exit code, command…
    name=$1 code=$2
    shift 2
    rc=0
    "$seep" "$@" >"$name.out" 2>&1 || rc=$?
    [ "$rc" = "$code" ] || { echo "$name: exit $rc, not $code"; bad=1; }
    same "$name"
}
same() { # name
    if [ "${UPDATE:-}" ]; then
        mkdir -p "$want"
        cp "$1.out" "$want/$1.out"
    elif ! diff -u "$want/$1.out" "$1.out"; then
        bad=1
    fi
}
check import 0 import -o go.seep go_heap1.pb go_heap2.pb go_goroutines.txt
check import_again 4 import -o go.seep go_heap1.pb
for r in redis jobd httpd go; do
    sum=$(md5sum <$r.seep)
    check ${r}_info 0 info $r.seep
    check ${r}_top 0 top --limit 8 $r.seep
    check ${r}_tasks 0 tasks $r.seep
    check ${r}_leaks 0 leaks $r.seep
    check ${r}_diff 0 diff --limit 8 $r.seep first last
    check ${r}_trend 0 trend --limit 8 $r.seep
    check ${r}_rss 0 rss $r.seep
    check ${r}_tree 0 tree --levels 8 $r.seep
    check ${r}_folded 0 export --folded -o - $r.seep
    for c in info top tasks leaks diff trend rss tree; do
        "$seep" $c --json $r.seep >json && [ "$(sqlite3 :memory: "SELECT json_valid(readfile('json'))")" = 1 ] || { echo "$c --json $r: no JSON"; bad=1; }
    done
    "$seep" report -o $r.html $r.seep || bad=1
    [ "$(md5sum <$r.seep)" = "$sum" ] || { echo "$r.seep was changed"; bad=1; }
done
check redis_loaded 0 leaks --snapshot loaded --full redis.seep
check redis_top_cum 0 top --snapshot loaded --sort cum --limit 12 redis.seep
check redis_peek 0 peek --snapshot loaded redis.seep '^(dictAdd|lpInsert)$'
check redis_flushed 0 diff --limit 8 redis.seep loaded flushed
check redis_stacks 0 diff --stacks --limit 2 redis.seep loaded flushed
check redis_focus 0 top --snapshot loaded --focus pushGenericCommand --hide '^z' redis.seep
check redis_merge 0 merge all.seep redis.seep jobd.seep
check all_leaks 0 leaks all.seep
check list 0 list jobd.seep job_new
check csv 0 export --csv --snapshot after-load -o - jobd.seep
check speedscope 0 export --speedscope --tasks --snapshot after-load -o - jobd.seep
check gate 1 gate --max-bytes 1M --max-tasks 2 jobd.seep
check gate_clean 0 gate httpd.seep
check gate_go 0 gate --fail-on proven,growing go.seep
check baseline 0 baseline update base.json jobd.seep
cp base.json baseline_json.out
same baseline_json
check gate_known 0 gate --baseline base.json jobd.seep
check suppress 0 suppress 9687e841 --why "the reply is freed by the peer" --until 2099-12-31 -o leaks.supp jobd.seep
cp leaks.supp suppressions.out
same suppressions
check gate_suppressed 1 gate --suppress leaks.supp --junit gate.xml jobd.seep
sed 's/timestamp="[^"]*"//' gate.xml >gate_junit.out
same gate_junit
check prune 0 baseline prune base.json httpd.seep
check symbolize 0 symbolize -f jobd.seep
! grep -l "$(printf '\033')" ./*.out || { echo "an escape character was printed"; bad=1; }
exit $bad
