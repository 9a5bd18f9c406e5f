#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A whole program with every allocation recorded: whole.sh python|gcc, by the contestant $BENCH_WHO:
#     bare            nothing recorded
#     seep-all        the agent with SEEP_RATE=1, a snapshot into a recording at exit
#     heaptrack       as it is called by hand: interprets and compresses while the program runs
#     heaptrack-raw   only the raw data, compressed
# Prints the wall time of the program and of what its tool does before it is done. A recording without data fails.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
case $1 in
# Objects from malloc, not from Python's own pools: this is how CPython is looked at with any tool for malloc.
python) command=(/usr/bin/python3 bench/traces/python.py 6) && export PYTHONMALLOC=malloc ;;
gcc)
    gcc -E -std=gnu11 -O2 -D_GNU_SOURCE -I. bench/replay/replay.c -o "$dir/in.i"
    command=("$(gcc -print-prog-name=cc1)" -quiet -fpreprocessed -std=gnu11 -O1 -g "$dir/in.i" -o "$dir/out.s")
    ;;
esac

now() { echo "${EPOCHREALTIME/[.,]/}"; }
begin=$(now)
case $BENCH_WHO in
bare) "${command[@]}" >/dev/null ;;
seep-all) SEEP_RATE=1 SEEP_OUT=$dir/recording LD_PRELOAD=$SEEP_LIB "${command[@]}" >/dev/null ;;
heaptrack) heaptrack -o "$dir/recording" "${command[@]}" >/dev/null 2>&1 ;;
heaptrack-raw) heaptrack -r -o "$dir/recording" "${command[@]}" >/dev/null 2>&1 ;;
esac
end=$(now)
if [ "$BENCH_WHO" != bare ]; then
    [ -n "$(find "$dir" -name 'recording*' -size +8k)" ] || { echo "whole.sh: $BENCH_WHO recorded nothing" >&2; exit 1; }
fi
echo "metric wall_s $((end - begin))e-6"
