#!/bin/sh
# A writer that was killed in the middle of a snapshot: the earlier snapshots are shown, the recording and its journal
# stay as they are. A folder that cannot be written is no obstacle.
set -eu
command -v sqlite3 >/dev/null || exit 77
seep=$(realpath "$BUILD/seep")
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
mkdir "$work/d" "$work/tmp"
sh tests/golden/mk_recording.inc "$work/d/r.seep"
cd "$work"
"$seep" leaks d/r.seep >before 2>&1
# A cache of a few pages makes SQLite write into the file before the commit; the copy is what a kill leaves.
sqlite3 d/r.seep <<'SQL'
PRAGMA cache_size = 2;
PRAGMA cache_spill = 1;
BEGIN;
UPDATE heap SET allocs = allocs + 1000000;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
INSERT INTO task SELECT 2, 'coro', 1000 + i, 'half', 'waiting', '', 0, 0, NULL, NULL, 0, 0, 0, 0, 'live' FROM n;
.shell cp d/r.seep d/h.seep; cp d/r.seep-journal d/h.seep-journal
ROLLBACK;
SQL
[ -s d/h.seep-journal ] || { echo "no journal was left"; exit 1; }
sums=$(cat d/h.seep d/h.seep-journal | md5sum)
chmod a-w d
TMPDIR=$work/tmp "$seep" leaks d/h.seep >after 2>&1 || { cat after; exit 1; }
sed 's/h\.seep/r.seep/' after | diff before - || exit 1
TMPDIR=$work/tmp "$seep" tasks d/h.seep | grep -q half && { echo "half a transaction is shown"; exit 1; }
[ "$(cat d/h.seep d/h.seep-journal | md5sum)" = "$sums" ] || { echo "the recording was changed"; exit 1; }
[ -z "$(ls tmp)" ] || { echo "left behind: $(ls tmp)"; exit 1; }
# As a source of a merge it is recovered too.
chmod u+w d
"$seep" merge m.seep d/h.seep >/dev/null 2>err || { cat err; echo "merge of a recording with a journal"; exit 1; }
"$seep" leaks m.seep >after 2>&1 && sed 's/m\.seep/r.seep/g' after >a && sed 's/d\/r\.seep/r.seep/g' before | diff - a || exit 1
"$seep" tasks m.seep | grep -q half && { echo "half a transaction was merged"; exit 1; }
[ "$(cat d/h.seep d/h.seep-journal | md5sum)" = "$sums" ] || { echo "the recording was changed by a merge"; exit 1; }
exit 0
