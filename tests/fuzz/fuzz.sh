#!/bin/bash
# The kept inputs of every fuzz target, replayed: with sanitizers in the whole suite, without them where a pattern is given. With FULL=1
# (make test-full) then libFuzzer on each target for FUZZ_SECONDS (60), from these inputs, two at a time. What crashes is left in
# $BUILD-fuzz/crash; what else is worth keeping: $BUILD-fuzz/tests/fuzz/NAME.fuzz -merge=1 -use_counters=0 NEW OLD…
# timeout: 900
set -eu
bin=${SAN_BUILD:-$BUILD}/tests/fuzz
export UBSAN_OPTIONS=print_stacktrace=1
names=$(for t in tests/fuzz/target_*.c; do basename "${t#*target_}" .c; done)
bad=0
for name in $names; do
    [ "$(ls "tests/fuzz/corpus/$name" | wc -l)" -ge 10 ] || { echo "$name has no corpus"; exit 1; }
    "$bin/$name" "tests/fuzz/corpus/$name" >"$TMPDIR/out" 2>&1 || { echo "$name:"; tail -n 30 "$TMPDIR/out"; bad=1; }
    grep -q '^[0-9]* inputs$' "$TMPDIR/out" || { echo "$name ended early"; bad=1; }
done
[ "${FULL:-}" ] || exit $bad

command -v clang >/dev/null || { echo "clang is not installed: tools/setup.sh full"; exit 1; }
fuzz=$BUILD-fuzz
make -s -j2 BUILD="$fuzz" CC=clang CFLAGS="-O1 -g" SAN=fuzzer-no-link,address,undefined fuzz-targets
mkdir -p "$fuzz/crash"
one() {
    mkdir "$TMPDIR/$1"
    rc=0 len=
    [ "$1" != rows ] || len="-len_control=0 -max_len=129" # edits of one byte are none
    # shellcheck disable=SC2086
    "$fuzz/tests/fuzz/$1.fuzz" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=512 -print_final_stats=1 $len \
        -artifact_prefix="$fuzz/crash/$1-" "$TMPDIR/$1" "tests/fuzz/corpus/$1" >"$fuzz/crash/$1.log" 2>&1 || rc=$?
    echo "$1: $(sed -n 's/^stat::number_of_executed_units: *//p' "$fuzz/crash/$1.log") runs"
    [ $rc = 0 ] || { echo "$1 failed, see $fuzz/crash:"; tail -n 40 "$fuzz/crash/$1.log"; }
    return $rc
}
running=()
for name in $names; do
    one "$name" &
    running+=($!)
    [ ${#running[@]} -lt 2 ] && continue
    wait "${running[0]}" || bad=1
    running=("${running[@]:1}")
done
for pid in "${running[@]}"; do wait "$pid" || bad=1; done
exit $bad
