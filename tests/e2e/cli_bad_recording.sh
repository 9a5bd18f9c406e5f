#!/bin/sh
# Recordings that are none, or damaged: one line that says why, exit 3, and the file stays as it was.
# timeout: 180
set -eu
command -v sqlite3 >/dev/null || exit 77
seep=$(realpath "$BUILD/seep")
agent=$(realpath "$BUILD")/libseep.so
mk=$(realpath tests/golden/mk_recording.inc)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sh "$mk" "$work/good.seep"
cd "$work"
bad=0
refuse() { # file, words, command
    f=$1 words=$2 command=${3:-leaks}
    before=$(md5sum "$f" 2>/dev/null || true)
    rc=0
    "$seep" "$command" "$f" >out 2>err || rc=$?
    lines=$(wc -l <err)
    if [ "$rc" != 3 ] || [ "$lines" != 1 ] || [ -s out ] || ! grep -q "$words" err; then
        echo "$f ($command): exit $rc, $lines lines: $(cat err)"
        bad=1
    fi
    [ "$(md5sum "$f" 2>/dev/null || true)" = "$before" ] || { echo "$f: was changed"; bad=1; }
}
damage() { # name, SQL
    cp good.seep "$1"
    sqlite3 "$1" "PRAGMA writable_schema=ON; $2" >/dev/null
}
refuse missing.seep "no such recording"
: >empty.seep
refuse empty.seep "empty"
mkdir folder.seep
refuse folder.seep "directory"
echo "hello, this is a text file" >text.seep
refuse text.seep "not an SQLite file"
mkfifo pipe.seep
rc=0; "$seep" leaks pipe.seep 2>err || rc=$?
[ $rc = 3 ] && grep -q "not a regular file" err || { echo "fifo: $rc $(cat err)"; bad=1; }
for n in 10 99 4096 20000; do
    head -c $n good.seep >cut.seep
    refuse cut.seep "truncated"
done
sqlite3 other.seep "CREATE TABLE t (x)"
refuse other.seep "another application"
damage newer.seep "PRAGMA user_version = 2"
refuse newer.seep "newer seep"
damage zero.seep "PRAGMA user_version = 0"
refuse zero.seep "format version"
damage table.seep "CREATE TABLE passwords (x)"
refuse table.seep 'foreign table "passwords"'
damage view.seep "CREATE VIEW v AS SELECT 1"
refuse view.seep 'foreign view'
damage trigger.seep "CREATE TRIGGER t AFTER INSERT ON event BEGIN SELECT 1; END"
refuse trigger.seep 'foreign trigger'
damage dropped.seep "DROP TABLE task"
refuse dropped.seep "task"
damage column.seep "ALTER TABLE heap RENAME COLUMN frees TO f"
refuse column.seep "heap.frees is missing"
damage type.seep "UPDATE heap SET allocs = 'many' WHERE snapshot = 2"
refuse type.seep "not an integer" top
damage negative.seep "UPDATE heap SET alloc_bytes = -1 WHERE snapshot = 2"
refuse negative.seep "negative" top
damage live.seep "UPDATE snapshot SET live_bytes = -5"
damage rss.seep "UPDATE rss SET rss_bytes = 'x'"
refuse rss.seep "rss_bytes" info
refuse live.seep "live_bytes is negative"
damage nostack.seep "DELETE FROM stack WHERE id = 1"
refuse nostack.seep "stack 1 is not there"
damage noframe.seep "DELETE FROM frame WHERE id = 2"
refuse noframe.seep "frame 2 is not there" top
damage noimage.seep "DELETE FROM image WHERE id = 3"
refuse noimage.seep "image 3 is not there" top
damage blob.seep "UPDATE stack SET frames = x'0102' WHERE id = 1"
refuse blob.seep "bytes of frames"
damage noprocess.seep "DELETE FROM process WHERE id = 1"
refuse noprocess.seep "process that is not there"
damage evidence.seep "UPDATE finding SET evidence = '[1' WHERE id = 1"
refuse evidence.seep "evidence"
damage confidence.seep "UPDATE finding SET confidence = 'sure' WHERE id = 1"
refuse confidence.seep "confidence"
damage estimate.seep "UPDATE finding SET est_bytes = 9e999 WHERE id = 1"
refuse estimate.seep "plausible"
damage none.seep "DELETE FROM snapshot"
refuse none.seep "no snapshot"

# What cannot be right in any of the tables that a command reads: the same line from every command that reads it.
for c in trend rss tree gate; do
    refuse dropped.seep "task" $c
    refuse none.seep "no snapshot" $c
done
refuse rss.seep "rss_bytes" rss
refuse type.seep "not an integer" tree
refuse type.seep "not an integer" trend
damage task.seep "UPDATE task SET blocked_ns = -1"
refuse task.seep "blocked_ns is negative" tasks
refuse noframe.seep "frame 2 is not there" tree

# Odd, but not wrong: huge counts, stacks that lead round in a circle, a stack of 10,000 frames, text that is no UTF-8, names with terminal
# escapes. Every command answers, no sum turns negative, nothing raw reaches the terminal.
odd() { # name, SQL
    damage odd.seep "$2"
    for c in info top 'top --sort cum' tree tasks leaks 'leaks --full' diff trend rss 'peek odd.seep .' 'list odd.seep .' gate 'export --folded -o -' \
        'export --pprof -o -' 'export --speedscope -o -' 'report -o -' 'top --json' 'leaks --json'; do
        rc=0
        case $c in *odd.seep*) timeout 20 "$seep" $c ;; *) timeout 20 "$seep" $c odd.seep ;; esac >out 2>err || rc=$?
        [ $rc = 0 ] || { [ $rc = 1 ] && [ "$c" = gate ]; } || { echo "$1, $c: exit $rc: $(head -3 err)"; bad=1; }
        case $c in *pprof*) continue ;; esac
        ! grep -q "$(printf '[\033\001\010]')" out || { echo "$1, $c: a control character is printed"; bad=1; }
        iconv -f UTF-8 -t UTF-8 out >/dev/null || { echo "$1, $c: what is printed is no UTF-8"; bad=1; }
        case $c in diff | rss | 'export --speedscope'* | report*) ;; *) ! grep -qE '(^| )-[0-9.]+ [KMGTPE]?i?B' out || { echo "$1, $c: a negative size"; bad=1; } ;; esac
    done
}
odd "huge counts" "UPDATE heap SET allocs = 9223372036854775807, alloc_bytes = 9223372036854775807, frees = 0, free_bytes = 0, unreachable = 9223372036854775807,
    unreachable_bytes = 9223372036854775807; UPDATE snapshot SET live_bytes = 9223372036854775807; UPDATE rss SET rss_bytes = 9223372036854775807;
    UPDATE task SET stack_bytes = 9223372036854775807, blocked_ns = 9223372036854775807; UPDATE finding SET est_bytes = 9e15, bytes = 9223372036854775807"
odd "more freed than allocated" "UPDATE heap SET frees = allocs + 5, free_bytes = alloc_bytes + 500"
odd "a circle" "UPDATE stack SET frames = x'020000000300000002000000030000000200000003000000' WHERE id = 1"
i=0
while [ $i -lt 10000 ]; do
    printf '\002\000\000\000\003\000\000\000'
    i=$((i + 2))
done >deep
odd "a deep stack" "UPDATE stack SET frames = readfile('deep') WHERE id = 1"
odd "no UTF-8" "UPDATE process SET argv = CAST(x'c328fffe2f' AS TEXT), exe = CAST(x'80' AS TEXT); UPDATE image SET path = '/x/' || CAST(x'ff41c0af' AS TEXT) WHERE id = 1;
    UPDATE snapshot SET label = CAST(x'e28028' AS TEXT); UPDATE task SET name = CAST(x'f0808080' AS TEXT)"
odd "escapes" "UPDATE image SET path = '/x/' || char(27) || '[2J' || char(8) || char(1) WHERE id = 1; UPDATE process SET argv = char(27) || ']0;title' || char(7);
    UPDATE snapshot SET label = char(27) || '[31m'; UPDATE task SET name = char(27) || 'c', wait_reason = char(1); UPDATE rss SET name = char(27) || 'x';
    UPDATE event SET detail = char(27) || '[1m'"

# A journal that a killed writer left must not be played back into the recording that replaces it.
if [ -e "$agent" ]; then
    cp good.seep old.seep
    head -c 5000 /dev/urandom >old.seep-journal
    "$seep" run -q -f -o old.seep -- true
    [ ! -e old.seep-journal ] && "$seep" info old.seep >/dev/null || { echo "an old journal stayed"; bad=1; }
fi
# Corrupt pages in the middle: whatever is read, it ends in order.
size=$(wc -c <good.seep)
i=0
while [ $i -lt 12 ]; do
    cp good.seep corrupt.seep
    at=$((4096 + i * (size - 4096) / 12))
    printf '\377\001\200\377\377\377\377\377' | dd of=corrupt.seep bs=1 seek=$at conv=notrunc 2>/dev/null
    for c in info top tasks leaks diff trend rss tree 'peek corrupt.seep .' 'list corrupt.seep .' gate 'export -o -' 'report -o -' 'symbolize -f' 'merge -f m.seep'; do
        rc=0
        case $c in *corrupt.seep*) "$seep" $c ;; *) "$seep" $c corrupt.seep ;; esac >out 2>err || rc=$?
        case $rc in 0 | 3) ;; 1) [ "$c" = gate ] || { echo "corrupt at $at, $c: exit 1"; bad=1; } ;; *) echo "corrupt at $at, $c: exit $rc: $(head -3 err)"; bad=1 ;; esac
    done
    i=$((i + 1))
done
exit $bad
