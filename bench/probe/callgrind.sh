#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Instructions of a program under the contestant's malloc, by callgrind:
#     callgrind.sh total COMMAND...    metric instructions
#     callgrind.sh paths COMMAND       metric malloc_insn, free_insn: in malloc and free themselves, for each of 200,000 calls
set -euo pipefail
what=$1
shift
preload=${LD_PRELOAD:-}
unset LD_PRELOAD
out=$(mktemp)
trap 'rm -f "$out" "$out.log"' EXIT
# Without the synonym valgrind would look for a malloc to replace in the preloaded library.
if ! LD_PRELOAD=$preload valgrind --tool=callgrind --soname-synonyms=somalloc=nouserintercepts \
    --callgrind-out-file="$out" "$@" >"$out.log" 2>&1; then
    cat "$out.log" >&2
    exit 1
fi
if [ "$what" = total ]; then
    awk '/^summary:|^totals:/ { print "metric instructions", $2; found = 1; exit } END { exit !found }' "$out"
else
    callgrind_annotate --threshold=100 "$out" | tr -d , | awk '
        # A line for each file that code was inlined from; only the first names the library.
        !/=>/ && match($0, /:(malloc|free)( \[.*)?$/) { insn = $1; sub(/ \[.*/, ""); sub(/.*:/, ""); n[$0] += insn }
        END {
            if (!n["malloc"] || !n["free"]) { print "callgrind: no malloc or no free in its figures" >"/dev/stderr"; exit 1 }
            print "metric malloc_insn", n["malloc"] / 200000; print "metric free_insn", n["free"] / 200000
        }'
fi
