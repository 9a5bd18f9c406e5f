#!/bin/sh
# Every command on a recording made by hand, text and JSON, against the answers kept here.
# UPDATE=1 writes the answers anew; look at the difference before you commit it.
set -eu
command -v sqlite3 >/dev/null || exit 77
seep=$(realpath "$BUILD/seep")
want=$(realpath tests/golden)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sh tests/golden/mk_recording.inc "$work/server.seep"
sh tests/golden/mk_series.inc "$work/series.seep"
sum=$(md5sum <"$work/server.seep")
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
        cp "$1.out" "$want/$1.out"
    elif ! diff -u "$want/$1.out" "$1.out"; then
        bad=1
    fi
}
check info 0 info server.seep
check info_json 0 info --json server.seep
check top 0 top server.seep
check top_json 0 top --json --process 1234 --snapshot warm server.seep
check top_stacks 0 top --stacks --sort alloc --limit 2 server.seep
check top_cum 0 top --sort cum --unit KiB --process 1234 server.seep
check top_focus 0 top --focus libjob --hide 'lib(c|job)' server.seep
check list 0 list server.seep 'server\+0x1234'
check list_json 0 list --json server.seep server
check peek 0 peek server.seep 'server\+0x1234'
check peek_json 0 peek --json --sort alloc server.seep .
check tree 0 tree server.seep
check tree_json 0 tree --json --ignore libjob --levels 1 server.seep
check leaks_focus 0 leaks --ignore libjob --process 1234 server.seep
check tasks 0 tasks server.seep
check tasks_json 0 tasks --json --process 1234 server.seep
check leaks 0 leaks server.seep
check leaks_full 1 leaks --full --exit-code --process 1234 server.seep
check leaks_json 0 leaks --json server.seep
check leaks_first 0 leaks --snapshot first --process 1234 server.seep
check diff 0 diff server.seep
check diff_json 0 diff --json server.seep warm last
cp server.seep later.seep
sqlite3 later.seep "UPDATE heap SET allocs = allocs + 40, alloc_bytes = alloc_bytes + 4000 WHERE snapshot = 2 AND size_bytes = 1024;
    DELETE FROM finding WHERE rule = 'stuck-send'; UPDATE stack SET id = 77 WHERE id = 4; UPDATE heap SET stack = 77 WHERE stack = 4;"
check diff_two 0 diff --stacks server.seep later.seep
echo '{"seep_baseline": 1, "findings": [{"id": "7ce8d7f8"}]}' >base.json
check gate 1 gate server.seep
check gate_known 0 gate --ignore "$(grep -o '^\[[0-9a-f]*' leaks.out | sed -n 1p | tr -d '[')" --max-bytes 100M --max-tasks 2 server.seep
check gate_json 1 gate --json --fail-on likely server.seep
printf 'leak:libjob\nleak:nothing like it\n\n[22fa5216]\nwhy = until the peer is fixed\nuntil = 2020-01-31\n' >test.supp
check gate_suppress_json 1 gate --json --suppress test.supp server.seep
check gate_suppress 1 gate --suppress test.supp server.seep
check gate_files 1 gate --baseline base.json --suppress test.supp --junit gate.xml --sarif gate.sarif --limit 1 server.seep
cat gate.xml >gate_junit.out
cat gate.sarif >gate_sarif_json.out
same gate_junit
same gate_sarif_json
check trend 0 trend series.seep
check trend_json 0 trend --json --all series.seep
check trend_few 0 trend --process 1234 server.seep
check leaks_series 0 leaks series.seep
check gate_growing 1 gate --fail-on growing series.seep
check gate_likely 1 gate --fail-on likely --max-tasks 1 --limit 1 series.seep
check rss 0 rss series.seep
check rss_full 0 rss --full --process 1234 server.seep
check rss_json 0 rss --json series.seep
[ "$(sqlite3 :memory: "SELECT sum(json_extract(k.value, '\$.rss_bytes')) = json_extract(p.value, '\$.rss_bytes')
    FROM json_each(readfile('rss_json.out'), '\$.processes') p, json_each(p.value, '\$.kinds') k")" = 1 ] || { echo "rss does not add up"; bad=1; }
check merge_json 0 merge --json merged.seep server.seep series.seep
check symbolize_json 0 symbolize --json merged.seep
check baseline_json 0 baseline --json update fresh.json server.seep
check suppress_json 0 suppress --json 22fa5216 --why "until the peer is fixed" -o fresh.supp server.seep
"$seep" report --json --process 1240 server.seep >report_json.out || { echo "report --json"; bad=1; }
sed -i 's/"output_bytes": .*/"output_bytes": 1/' report_json.out # it grows with the page's code
same report_json
check help 0 help
[ "$(md5sum <server.seep)" = "$sum" ] || { echo "the recording was changed"; bad=1; }
for f in *_json.out; do
    [ "$(sqlite3 :memory: "SELECT json_valid(readfile('$f'))")" = 1 ] || { echo "$f: not JSON"; bad=1; }
done
! grep -l "$(printf '\033')" ./*.out || { echo "an escape character was printed"; bad=1; }
exit $bad
