#!/bin/sh
# The text exports: every format comes to the totals of `seep top`, names can't break a format, files are not replaced.
set -eu
command -v sqlite3 >/dev/null || exit 77
seep=$(realpath "$BUILD/seep")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sh tests/golden/mk_recording.inc "$work/r.seep"
cd "$work"
sqlite3 r.seep "UPDATE image SET path = '/opt/app/a;b \"c\", d' || char(10) || '=e' WHERE id = 2"
fail() { echo "$*"; exit 1; }
ours() { "$seep" top --json r.seep | sed -n "/\"total\"/,/}/s/.*\"$1\": \([0-9]*\).*/\1/p"; }
for pair in alloc_objects:alloc_objects alloc_space:alloc_bytes inuse_objects:inuse_objects inuse_space:inuse_bytes \
    unreachable_objects:unreachable_objects unreachable_space:unreachable_bytes; do
    type=${pair%:*} want=$(ours "${pair#*:}")
    a=$("$seep" export --folded --type "$type" -o - r.seep | awk '{ sum += $NF } END { printf "%d", sum }')
    [ "$a" = "$want" ] || fail "folded $type: $a, not $want"
    "$seep" export --json -f -o r.json r.seep
    a=$(sqlite3 :memory: "SELECT sum(json_extract(value, '\$.values.$type')) FROM json_each(json_extract(CAST(readfile('r.json') AS TEXT), '\$.samples'))")
    [ "$a" = "$want" ] || fail "json $type: $a, not $want"
    "$seep" export --csv -f -o r.csv r.seep
    a=$(sqlite3 :memory: ".mode csv" ".import r.csv t" "SELECT sum($type) FROM t")
    [ "$a" = "$want" ] || fail "csv $type: $a, not $want"
done
"$seep" export --folded -o - r.seep | grep -q '^server+0x2000;a:b "c", d\\x0a=e+0x200;libc.so.6+0x927c0 [0-9]*$' ||
    fail "folded: $("$seep" export --folded -o - r.seep)"
[ "$(sqlite3 :memory: ".mode csv" ".import r.csv t" "SELECT count(*) FROM t WHERE function = 'a;b \"c\", d\x0a=e+0x200'")" = 1 ] || fail "csv: $(cat r.csv)"
"$seep" export --csv --tasks -o tasks.csv r.seep
[ "$(sqlite3 :memory: ".mode csv" ".import tasks.csv t" "SELECT sum(tasks) FROM t WHERE verdict = 'leaked' AND wait_reason = 'chan send'")" = 2 ] || fail "tasks: $(cat tasks.csv)"
rc=0; "$seep" export --csv -o tasks.csv r.seep 2>/dev/null || rc=$?
[ $rc = 4 ] || fail "an existing file was replaced"
for bad in "--csv --folded" "--folded --type sizes" "--tasks --base first" "--csv --type inuse_space"; do
    rc=0; "$seep" export $bad -o x r.seep 2>err.txt || rc=$?
    [ $rc = 2 ] && [ "$(wc -l <err.txt)" = 1 ] && [ ! -e x ] || fail "$bad: exit $rc, $(cat err.txt)"
done
