#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Kinds of leaks that have no proof: N = 50 of each, three snapshots. At least nine in ten are in the report, as likely or growing and with
# their evidence, and none is called proven. Beside them four that are no leaks. Prints a table. MODE=name: that one only. (Fifty that spin take a while on two processors: ten,
# unless FULL=1.)
# timeout: 120
set -u
unset SEEP_OUT SEEP_RATE SEEP_INTERVAL LD_PRELOAD
seep=$PWD/$BUILD/seep
program=$PWD/$BUILD/tests/blind/co_blind
"$program" list >"$TMPDIR/list" || exit 1

one() { # mode count
    local maxprocs=2 file=$TMPDIR/$1.seep
    [ "$1" = spin ] && maxprocs=$(($2 + 2))
    CORO_MAXPROCS=$maxprocs SEEP_EXIT=0 "$seep" run -o "$file" -- "$program" "$1" "$2" >"$TMPDIR/$1.out" 2>&1 || echo "did not run" >>"$TMPDIR/$1.out"
    "$seep" leaks --json --limit 0 "$file" >"$TMPDIR/$1.json"
}
while IFS=$'\t' read -r mode rule function; do
    [ -z "${MODE:-}" ] || [ "$MODE" = "$mode" ] || continue
    count=50
    [ "$mode" = spin ] && [ -z "${FULL:-}" ] && count=10
    printf '%s\t%s\t%s\t%s\n' "$mode" "$rule" "$function" $count >>"$TMPDIR/modes"
    one "$mode" $count &
    while [ "$(jobs -pr | wc -l)" -ge 6 ]; do wait -n; done
done <"$TMPDIR/list"
wait
/usr/bin/python3 - "$TMPDIR" <<'PY'
import json, sys
tmp = sys.argv[1]
failed = 0
needed = {"stuck-task": ["snapshots", "counts", "blocked_at_least_s"], "growing-site": ["snapshots", "counts"], "spinning-task": ["snapshots", "cpu_s"],
          "undrained-ticker": ["dropped", "period_ns"]}
for line in open(tmp + "/modes"):
    mode, rule, function, count = line.rstrip("\n").split("\t")
    found = json.load(open("%s/%s.json" % (tmp, mode)))["findings"]
    hits = [f for f in found if f["rule"] == rule and f["site"]["function"] == function]
    others = [f for f in found if f not in hits and f["confidence"] != "info"]
    n = sum(f["objects"] for f in hits)
    if rule == "none":
        n, count, others = 0, 0, [f for f in found if f["confidence"] != "info"]
    told = all(f["evidence"].get(k) for f in hits for k in needed.get(rule, []))
    if mode.startswith("global-") or mode in ("undrained-ticker", "select-ticker"):  # what keeps it from being proven is said, too
        told = told and all((f["evidence"].get("path") or [{}])[0].get("at") == "global" for f in hits)
    confidence = ",".join(sorted({f["confidence"] for f in hits})) or "-"
    ok = 0.9 * int(count) <= n <= int(count) and (confidence in ("likely", "growing") or rule == "none") and told and not others
    why = [f["evidence"].get("because") or "%d ticks dropped" % f["evidence"].get("dropped") for f in hits]
    print("%-4s %-17s %2d of %2s  %-16s %-8s %s" % ("ok" if ok else "FAIL", mode, n, count, rule, confidence, "; ".join(why)))
    for f in others:
        print("     also %s %s in %s(), %d" % (f["confidence"], f["rule"], f["site"]["function"], f["objects"]))
    if not ok:
        failed = 1
        print(open("%s/%s.out" % (tmp, mode)).read())
sys.exit(failed)
PY
