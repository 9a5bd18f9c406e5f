#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# One load of bench/snapshot.plan. Figures come from the recording; of two snapshots the second counts, the first one also meets
# every module for the first time.
#     run.sh heap SHAPE [huge] [lost]   bench/snapshot/graph, BENCH_MIB (1024) of objects
#     run.sh tasks SHAPE COUNT          bench/snapshot/tasks
#     run.sh exit                       a hello program with and without a snapshot at its exit
# Metrics: pause_ms (the program stands still), mark_ms (spans, roots, tasks, heap), length_ms (from the stop to the last verdict), memory (of
# the analysis, against the heap's pages), over_loop (mark_ms against a loop that only follows the list), ms.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mib=${BENCH_MIB:-1024}

recorded() { # CONDITION_ON_THE_SECOND_SNAPSHOT ENVIRONMENT... PROGRAM...
    local must=$1
    shift
    env LD_PRELOAD="$SEEP_LIB" SEEP_OUT="$dir/r" SEEP_EXIT=0 SEEP_VERBOSE=2 "$@" >"$dir/out" 2>"$dir/err" || { cat "$dir/err" >&2; exit 1; }
    [ "$(sqlite3 "$dir/r" "SELECT threads_missed = 0 AND $must FROM snapshot WHERE seq = 2")" = 1 ] ||
        { echo "bench: not what was to be measured: $must" >&2; exit 1; }
    sqlite3 -separator ' ' "$dir/r" "SELECT 'metric pause_ms', pause_ns / 1e6 FROM snapshot WHERE seq = 2 UNION ALL
        SELECT 'metric mark_ms', mark_ns / 1e6 FROM snapshot WHERE seq = 2 UNION ALL
        SELECT 'metric length_ms', duration_ns / 1e6 FROM snapshot WHERE seq = 2"
}

case $1 in
heap)
    shape=$2 thp=0 reached="live_bytes >= $mib * 1048576 AND unreachable_bytes < live_bytes / 100"
    shift
    [[ " $* " != *" huge "* ]] || thp=1
    [[ " $* " != *" lost "* ]] || reached="unreachable_bytes >= $mib * 1048000"
    recorded "$reached" SEEP_DEBUG=thp=$thp "$BENCH_BIN/snapshot/graph" "$mib" "$shape" 2 "${@:2}"
    if [ $thp = 1 ]; then grep -q '^0 MiB are not' "$dir/out" || { cat "$dir/out" >&2; exit 1; }; fi
    awk -v bytes="$(sqlite3 "$dir/r" "SELECT value FROM stat WHERE snapshot = 2 AND name = 'heap_inuse'")" '
        / snapshot 2: / { for (i = 1; i < NF; i++) if ($i == "memory") print "metric memory", $(i + 1) * 1024 / bytes }' "$dir/err"
    if [ "$shape" = chain ]; then
        awk -v mark="$(sqlite3 "$dir/r" "SELECT mark_ns / 1e6 FROM snapshot WHERE seq = 2")" '/^bare loop/ { print "metric over_loop", mark / $5 }' "$dir/out"
    fi
    ;;
tasks)
    leaked=0
    [ "$2" != stuck ] || leaked=$3
    recorded "(SELECT count(*) FROM task WHERE snapshot = snapshot.id AND verdict = 'leaked') = $leaked" "$BENCH_BIN/snapshot/tasks" "$2" "$3"
    ;;
exit)
    times() { # of 20 runs
        local begin=$EPOCHREALTIME
        for ((i = 0; i < 20; i++)); do
            env LD_PRELOAD="$SEEP_LIB" SEEP_OUT="$dir/$1.$i" SEEP_EXIT="$1" "$BENCH_BIN/probe/hello" >/dev/null
        done
        echo $(((${EPOCHREALTIME/./} - ${begin/./})))
    }
    without=$(times 0)
    with=$(times 1)
    [ -s "$dir/1.19" ]
    echo "metric ms $(awk -v a="$without" -v b="$with" 'BEGIN { print (b - a) / 20 / 1000 }')"
    ;;
esac
