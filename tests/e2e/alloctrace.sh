#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# SEEP_DEBUG=alloctrace: each kind of call is in the trace, in order, with its thread and object; the trace of one process only;
# a file that is there is not touched; and the trace can be replayed, under glibc's malloc and under the agent's.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
client=$BUILD/tests/e2e/alloctrace_client
lib=$(realpath "$BUILD/libseep.so")

SEEP_DEBUG=alloctrace=$dir/%p.trace LD_PRELOAD=$lib "$client" run
set -- "$dir"/*.trace
[ $# = 1 ] || { echo "one process, $# traces"; exit 1; }
"$client" check "$1"

before=$(cksum <"$1")
SEEP_DEBUG=seed=1,alloctrace=$1 LD_PRELOAD=$lib "$client" run 2>"$dir/err"
grep -q '^seep: alloctrace: .* nothing is traced$' "$dir/err" || { echo "no word of the file that is there"; cat "$dir/err"; exit 1; }
[ "$before" = "$(cksum <"$1")" ] || { echo "the file that was there is changed"; exit 1; }

# Every free must free something, and nothing may run out of order: under SEEP_CHECK=1 a mistake aborts.
cc -std=gnu11 -O1 -D_GNU_SOURCE -I. -o "$dir/replay" bench/replay/replay.c -lpthread
"$dir/replay" -n 3 "$1" >"$dir/out"
SEEP_CHECK=1 LD_PRELOAD=$lib "$dir/replay" -n 3 "$1" >>"$dir/out"
[ "$(grep -c '^metric calls [1-9]' "$dir/out")" = 2 ] || { cat "$dir/out"; exit 1; }
