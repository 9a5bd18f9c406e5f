#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Pause and length of a snapshot of 1 GiB of live 64-byte objects on 4 KiB pages, from the recording itself.
#     bench/snapshot.sh RESULT.json      (make bench-snapshot; BENCH_ROUNDS, BENCH_MIB)
set -euo pipefail
result=$1
rounds=${BENCH_ROUNDS:-7}
mib=${BENCH_MIB:-1024}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Three heaps in rotated order, one process each, after a warm-up; sampling at its default.
all=(random sequential chain)
for ((r = 0; r <= rounds; r++)); do
    for i in 0 1 2; do
        load=${all[(r + i) % 3]}
        echo "bench snapshot: $load, round $r of $rounds" >&2
        # The second snapshot is the steady state: the first one also meets every module for the first time.
        env LD_PRELOAD="$SEEP_LIB" SEEP_OUT="$dir/$load.$r" SEEP_EXIT=0 SEEP_DEBUG=thp=0 \
            "$BENCH_BIN/snapshot/graph" "$mib" "$load" 2
        sqlite3 -separator ' ' "$dir/$load.$r" \
            "SELECT '$load', $r, pause_ns, mark_ns, duration_ns, live_bytes, unreachable_bytes, threads_missed,
                    (SELECT value FROM stat WHERE snapshot = snapshot.id AND name = 'sys')
             FROM snapshot WHERE seq = 2" >>"$dir/rows"
        rm -f "$dir/$load.$r"
    done
done

want=$(((rounds + 1) * ${#all[@]}))
[ "$(wc -l <"$dir/rows")" = $want ] || { echo "bench: snapshots are missing: $(wc -l <"$dir/rows") of $want" >&2; exit 1; }
awk -v least=$((mib * 1048576)) '$6 < least || $7 > least / 100 || $8 != 0 { print "bench: not what was to be measured: " $0; bad = 1 }
    END { exit bad }' "$dir/rows" >&2

commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
mkdir -p "$(dirname "$result")"
awk -v machine="$("$BENCH_BIN/run" -m)" -v commit="$commit" -v mib="$mib" -v rounds="$rounds" -v out="$result.tmp" '
function sorted(load, k,    n, i, j, t) { # samples of metric k in order, into v[1..n]
    n = 0
    for (i = 1; i <= rows; i++) if (who[i] == load && round[i] > 0) v[++n] = m[i, k]
    for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j - 1] > v[j]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
    return n
}
function median(load, k,    n) { n = sorted(load, k); return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2 }
function bar(name, value, limit, unit) {
    printf "%s {\"name\": \"%s\", \"value\": %.3f, \"limit\": %g, \"better\": \"lower\", \"unit\": \"%s\", \"holds\": %s}",
        comma, name, value, limit, unit, value <= limit ? "true" : "false" >out
    printf "%s  %-52s %9.2f %s  (limit %g)\n", value <= limit ? "holds " : "MISSES", name, value, unit, limit
    comma = ",\n"
}
{ rows++; who[rows] = $1; round[rows] = $2; m[rows, 1] = $3 / 1e6; m[rows, 2] = $4 / 1e6; m[rows, 3] = $5 / 1e6; m[rows, 4] = $9 / $6 }
END {
    name[1] = "pause, ms"; name[2] = "mark, ms"; name[3] = "length, ms"; name[4] = "agent and heap / live"
    printf "suite snapshot, %d MiB of live 64-byte objects, 4 KiB pages, %d rounds: median (min … max)\n\n", mib, rounds
    for (k = 1; k <= 4; k++) {
        printf "%-22s", name[k]
        for (l = 1; l <= 3; l++) {
            load = l == 1 ? "random" : l == 2 ? "sequential" : "chain"
            n = sorted(load, k)
            printf "  %s %.2f (%.2f … %.2f)", load, median(load, k), v[1], v[n]
        }
        printf "\n"
    }
    printf "\n"
    printf "{\n\"suite\": \"snapshot\",\n\"machine\": %s,\n\"commit\": \"%s\",\n\"samples\": [", machine, commit >out
    comma = "\n"
    for (i = 1; i <= rows; i++) if (round[i] > 0) {
        printf "%s {\"load\": \"%s\", \"who\": \"seep\", \"round\": %d, \"pause_ms\": %.3f, \"mark_ms\": %.3f, \"length_ms\": %.3f, \"sys_per_live\": %.4f}",
            comma, who[i], round[i], m[i, 1], m[i, 2], m[i, 3], m[i, 4] >out
        comma = ",\n"
    }
    printf "\n],\n\"bars\": [" >out
    comma = "\n"
    bar("pause of a snapshot, random order", median("random", 1), 40 * mib / 1024, "ms")
    bar("pause of a snapshot, sequential", median("sequential", 1), 40 * mib / 1024, "ms")
    bar("marking, random order", median("random", 2), 250 * mib / 1024, "ms")
    bar("marking, sequential", median("sequential", 2), 250 * mib / 1024, "ms")
    bar("the whole analysis, random order", median("random", 3), 1000 * mib / 1024, "ms")
    printf "\n]\n}\n" >out
}' "$dir/rows"
mv "$result.tmp" "$result"
echo
echo "written: $result"
