#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# How many of the corpus' stuck coroutines are proven by the first snapshot, and by the second: every case, several times a run. In all, at
# least 98.4 % by the first and 99.96 % by the second, and each case in each run in which it showed. FULL=1: twenty runs of each program,
# with a table.
# timeout: 300
set -u
unset SEEP_OUT SEEP_RATE SEEP_INTERVAL LD_PRELOAD
seep=$PWD/$BUILD/seep
runs=1 times=5
[ -z "${FULL:-}" ] || runs=20 times=10
for source in tests/corpus/co_*.c; do
    name=$(basename "$source" .c)
    program=$BUILD/tests/corpus/$name
    "$program" list >"$TMPDIR/$name.expected" || { echo "FAIL: $name does not list its cases"; exit 1; }
    for ((run = 1; run <= runs; run++)); do
        file=$TMPDIR/$name.seep
        rm -f "$file"
        SEEP_EXIT=0 "$seep" run -o "$file" -- "$program" twice $times "${CASE:-}" >"$TMPDIR/$name.$run.out" 2>&1 ||
            { echo "FAIL: $name did not run"; cat "$TMPDIR/$name.$run.out"; exit 1; }
        for label in first second; do
            "$seep" leaks --json --limit 0 --snapshot $label "$file" >"$TMPDIR/$name.$run.$label.json" || exit 1
        done
    done
done
/usr/bin/python3 - "$TMPDIR" $runs $times "${CASE:-}" <<'PY'
import glob, json, os, re, sys
tmp, runs, times, only = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
wrong, total, seen_by = 0, 0, {"first": 0, "second": 0}
rows = []
for path in sorted(glob.glob(tmp + "/*.expected")):
    name = os.path.basename(path)[:-len(".expected")]
    found = {}
    shown = []
    for run in range(1, runs + 1):
        left, want = map(int, re.search(r"left (\d+) of (\d+)", open("%s/%s.%d.out" % (tmp, name, run)).read()).groups())
        shown.append(left == want)
        for label in seen_by:
            found[run, label] = [f for f in json.load(open("%s/%s.%d.%s.json" % (tmp, name, run, label)))["findings"] if f["wait_reason"]]
    for line in open(path):
        case, function, reason, rules, count = line.rstrip("\n").split("\t")
        if only and case != only:
            continue
        n = {"first": 0, "second": 0}
        rule, confidence, missed = set(), set(), 0
        for (run, label), findings in found.items():
            hits = [f for f in findings if f["site"]["function"] in function.split("|") and f["wait_reason"] in reason.split("|") and
                    f["rule"] in rules.split("|") and f["confidence"] == "proven"]
            n[label] += sum(f["objects"] for f in hits)
            rule.update(f["rule"] for f in hits)
            confidence.update(f["confidence"] for f in hits)
            missed += not hits
        want = int(count) * times * runs
        if int(count) < 1000: # the cases of a thousand would outweigh all others
            total += want
            for label in seen_by:
                seen_by[label] += n[label]
        bad = missed or n["second"] > want or not all(shown)
        wrong += bool(bad)
        rows.append("%-4s %-18s %-32s %6d %6d  %-26s %-8s %2d/%-2d  %6.2f %6.2f" % ("FAIL" if bad else "ok", case, function, want, n["second"],
            ",".join(sorted(rule)), ",".join(sorted(confidence)), sum(shown), runs, 100.0 * n["first"] / want, 100.0 * n["second"] / want))
share = {label: 100.0 * seen_by[label] / total for label in seen_by}
bad = share["first"] < 98.4 or share["second"] < 99.96
if wrong or bad or runs > 1:
    print("     %-18s %-32s %6s %6s  %-26s %-8s %-5s  %6s %6s" % ("case", "function", "expect", "found", "rule", "", "shown", "% 1st", "% 2nd"))
    print("\n".join(rows))
print("%d coroutines: %.2f %% by the first snapshot, %.2f %% by the second" % (total, share["first"], share["second"]))
sys.exit(bool(wrong or bad))
PY
