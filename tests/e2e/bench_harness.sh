#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The benchmark harness: bars are reckoned right from metrics that programs print, and a contestant that is missing, that
# fails, or a figure that nobody measured ends it with an error and without a result.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cc -std=gnu11 -O1 -D_GNU_SOURCE -I. -o "$dir/run" bench/harness/*.c -lm

cat >"$dir/load" <<'SH'
#!/bin/sh
[ "${FAILS:-}" ] && exit 3
echo "metric wall_s $1"; echo "metric rss_kib $((1000 * FACTOR))"; echo "metric price $((10 * FACTOR))"
SH
chmod +x "$dir/load"
cat >"$dir/good" <<PLAN
suite test
peer one FACTOR=1
peer three FACTOR=3
ours seep FACTOR=2
other alone FACTOR=7
load a $dir/load 1
load b $dir/load 4
probe p 1 alone $dir/load 9
bar geomean wall_s seep best 1.00 ratio equal times
bar max rss_kib seep median 0.99 ratio memory
bar more:a price seep one 10 ns more
bar on:p price alone - 6.9 ns a value
bar scaling:a,b wall_s seep - >=0.5 ratio scaling
bar on:a wall_s seep one - ratio for comparison
PLAN
BENCH_ROUNDS=3 "$dir/run" "$dir/good" "$dir/result" >"$dir/out" 2>/dev/null
for want in 'equal times", "value": 1.0000.*true' 'memory", "value": 1.0000.*false' 'more", "value": 10.0000.*true' \
    'a value", "value": 70.0000.*false' 'scaling", "value": 0.5000.*true'; do
    grep -q "$want" "$dir/result" || { echo "not in the result: $want"; cat "$dir/result"; exit 1; }
done
grep -q '^MISSES  memory' "$dir/out"
grep -q '^        for comparison *1.000 ratio$' "$dir/out"
[ "$(grep -c '"holds"' "$dir/result")" = 5 ]
[ "$(grep -c '"round"' "$dir/result")" = 19 ] # 3 contestants, 2 loads, 3 rounds; the probe once

refused() {
    rm -f "$dir/result"
    if BENCH_ROUNDS=1 "$dir/run" "$dir/plan" "$dir/result" >"$dir/out" 2>"$dir/err" || [ -e "$dir/result" ]; then
        echo "$1: no error"
        exit 1
    fi
    grep -q "^bench: .*$2" "$dir/err" || { echo "$1: wrong message"; cat "$dir/err"; exit 1; }
}
sed 's/^ours seep/& FAILS=1/' "$dir/good" >"$dir/plan" && refused 'a contestant fails' 'under seep ended with status 3'
sed 's|^peer one|& LD_PRELOAD=/nowhere/lib.so|' "$dir/good" >"$dir/plan" && refused 'no library' '/nowhere/lib.so: is missing'
sed 's|^peer one|& LD_PRELOAD=/nowhere/lib*.so|' "$dir/good" >"$dir/plan" && refused 'no such file' 'no file, or several'
sed 's|^load a .*|load a /nowhere/load|' "$dir/good" >"$dir/plan" && refused 'no program' '/nowhere/load: is missing'
sed 's/ price alone/ cost alone/' "$dir/good" >"$dir/plan" && refused 'no metric' 'cost: nobody measured it'
sed 's/^bar on:p price alone/bar on:p price seep/' "$dir/good" >"$dir/plan" && refused 'not run' 'a value: not measured'
