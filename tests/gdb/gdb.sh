#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tools/seep-gdb.py: co-list and co-bt in a process that stopped, and in a core file of it. Skipped without gdb, or where it
# may not trace.
set -u
command -v gdb >/dev/null || { echo "gdb is not installed"; exit 77; }
program=$BUILD/tests/gdb/co_parked
run_gdb() { timeout 50 gdb -nx -batch -iex 'set debuginfod enabled off' -iex 'set auto-load off' "$@" 2>&1; }
ask=(-ex 'source tools/seep-gdb.py' -ex co-list -ex 'co-bt all' -ex 'co-bt 999')
outs=
for how in "" packed; do
    live=live$how dead=dead$how
    run_gdb "$program" -ex 'handle SIG64 nostop noprint pass' -ex "run $how" "${ask[@]}" >"$TMPDIR/$live"
    grep -q 'Operation not permitted\|Could not trace' "$TMPDIR/$live" && { echo "gdb may not trace here"; exit 77; }
    grep -q 'exited with code 03' "$TMPDIR/$live" && { echo "nothing is packed on this kernel"; continue; }
    outs="$outs $live"
    # gdb's own generate-core-file loses what shares a megabyte with a guard; the kernel's core files have everything.
    rm -f "$TMPDIR"/core*
    (cd "$TMPDIR" && ulimit -c unlimited && "$OLDPWD/$program" $how) >/dev/null 2>&1
    core=$(ls "$TMPDIR"/core* 2>/dev/null | head -n 1)
    if [ -n "$core" ]; then
        run_gdb "$program" "$core" "${ask[@]}" >"$TMPDIR/$dead"
        outs="$outs $dead"
    else
        echo "no core file is written here ($(cat /proc/sys/kernel/core_pattern)): the live process only"
    fi
done
failed=0
for out in $outs; do
    for want in '"first" \[chan receive\] inner_receive (.*co_parked.c:1' '"second" \[select\] selector (' \
        '"third" \[mutex lock\] locker (' '4 coroutines' '^#[0-9 ]* inner_receive at .*co_parked.c:' \
        '^#[0-9 ]* receiver at ' '^#[0-9 ]* selector at ' 'no such coroutine' '"main" \[running\] on thread'; do
        grep -q "$want" "$TMPDIR/$out" || { echo "$out: nothing like: $want"; failed=1; }
    done
done
[ $failed = 0 ] || for out in $outs; do echo "--- $out"; tail -40 "$TMPDIR/$out"; done
exit $failed
