#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The corpus of stuck coroutines: every case of every co_*.c is found, by function and wait reason, and nothing else is; the fixed forms
# are clean. Prints a table: case, function, expected and found number, rule, confidence. CASE=name: that one only.
set -u
unset SEEP_OUT SEEP_RATE SEEP_INTERVAL LD_PRELOAD
seep=$PWD/$BUILD/seep
failed=0
for source in tests/corpus/co_*.c; do
    name=$(basename "$source" .c)
    program=$BUILD/tests/corpus/$name
    "$program" list >"$TMPDIR/expected" || { echo "FAIL: $name does not list its cases"; failed=1; continue; }
    for form in leak fixed; do
        code=0
        "$seep" gate --rate 1 -o "$TMPDIR/$name-$form.seep" -- "$program" $form ${CASE:-} >"$TMPDIR/report" 2>&1 || code=$?
        [ $form = leak ] && want=1 || want=0
        [ $code = $want ] || { echo "FAIL: $name $form: exit code $code, expected $want"; cat "$TMPDIR/report"; failed=1; }
        "$seep" leaks --json --limit 0 "$TMPDIR/$name-$form.seep" >"$TMPDIR/$form.json"
    done
    /usr/bin/python3 - "$name" "$TMPDIR/expected" "$TMPDIR/leak.json" "${CASE:-}" <<'PY' || failed=1
import json, sys
program, expected, found, only = sys.argv[1:]
tasks = [f for f in json.load(open(found))["findings"] if f["object"] in ("coroutine", "task") or f.get("wait_reason")]
wrong = 0
seen = set()
for line in open(expected):
    case, function, reason, rules, count = line.rstrip("\n").split("\t")
    if only and case != only:
        continue
    hits = [f for f in tasks if f["site"]["function"] in function.split("|") and f["wait_reason"] in reason.split("|")]
    seen.update(id(f) for f in hits)
    n = sum(f["objects"] for f in hits)
    rule = ",".join(sorted({f["rule"] for f in hits})) or "-"
    confidence = ",".join(sorted({f["confidence"] for f in hits})) or "-"
    ok = n == int(count) and all(f["rule"] in rules.split("|") and f["confidence"] == "proven" for f in hits)
    wrong += not ok
    print("%-4s %-18s %-28s %-24s %3s %3d  %-16s %s" % ("ok" if ok else "FAIL", case, function, reason, count, n, rule, confidence))
for f in tasks:
    if id(f) not in seen:
        wrong += 1
        print("FAIL %-18s %-28s %-24s %3s %3d  %-16s %s" % ("(not expected)", f["site"]["function"], f["wait_reason"], 0, f["objects"], f["rule"], f["confidence"]))
sys.exit(wrong > 0)
PY
done
exit $failed
