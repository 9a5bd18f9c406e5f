#!/bin/bash
# Large blocks kept for a small part of them, with the path that keeps them.
. tests/control/control.inc
CONFIDENCE=likely MORE_ALLOWED= planted subslice subslice-retention 8 read_message
"$SEEP" leaks --json --limit 0 "$TMPDIR/subslice-leak.seep" >"$TMPDIR/json"
/usr/bin/python3 - "$TMPDIR/json" <<'PY' || fail "evidence"
import json, sys
f, = [f for f in json.load(open(sys.argv[1]))["findings"] if f["rule"] == "subslice-retention"]
e = f["evidence"]
assert e["retained_bytes"] == 8 * 65536 and e["references"] == 8, e
assert 8 * 64 <= e["used_bytes"] <= 8 * 64 * 64, e
path = e["path"]
assert path[0]["at"] == "global" and path[0]["module"].endswith("/subslice"), path
assert [s["at"] for s in path[1:]] == ["block"] * (len(path) - 1) and path[-1]["bytes"] >= 65536, path
PY
id=$(/usr/bin/python3 -c 'import json, sys; print([f["id"] for f in json.load(open(sys.argv[1]))["findings"] if f["rule"] == "subslice-retention"][0])' "$TMPDIR/json")
"$SEEP" leaks --path "$id" "$TMPDIR/subslice-leak.seep" >"$TMPDIR/path" || fail "--path $id"
grep -q 'held by  global cache' "$TMPDIR/path" && grep -q 'keeps    block of 64.0 KiB, from read_message()' "$TMPDIR/path" ||
    { fail "the path is not shown"; cat "$TMPDIR/path"; }
[ "$(grep -c '^\[' "$TMPDIR/path")" = 1 ] || fail "--path shows more than one finding"
"$SEEP" leaks --path 00000000 "$TMPDIR/subslice-leak.seep" 2>/dev/null
[ $? = 2 ] || fail "--path with an unknown id"
exit $failed
