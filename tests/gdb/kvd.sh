#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# co-list and co-bt on a core file of examples/kvd: connections that wait for a command, some of them packed. Skipped without gdb
# or core files.
set -u
command -v gdb >/dev/null || { echo "gdb is not installed"; exit 77; }
kvd=$PWD/$BUILD/examples/kvd script=$PWD/tools/seep-gdb.py
cd "$TMPDIR" || exit 1
ulimit -c unlimited
CORO_PACK_AFTER=1 SEEP_VERBOSE=2 "$kvd" -p 0 >out 2>err &
pid=$!
trap 'kill -9 $pid 2>/dev/null' EXIT
for _ in $(seq 200); do grep -q '[0-9]' out && break; sleep 0.02; done
port=$(grep -o '[0-9]*$' out | head -n 1)
for i in 4 5 6 7; do
    eval "exec $i<>/dev/tcp/127.0.0.1/$port" || { cat out err; exit 1; }
    printf 'SET a%s 1\r\n' $i >&$i
    read -r answer <&$i
    [ "${answer%?}" = +OK ] || { echo "kvd said: $answer"; exit 1; }
done
for _ in $(seq 300); do grep -q 'coro: packed' err && break; sleep 0.02; done
grep -q 'coro: packed' err || echo "nothing is packed on this kernel"
kill -ABRT $pid
wait $pid 2>/dev/null
core=$(ls core* 2>/dev/null | head -n 1)
[ -n "$core" ] || { echo "no core file is written here ($(cat /proc/sys/kernel/core_pattern))"; exit 77; }
timeout 50 gdb -nx -batch -iex 'set debuginfod enabled off' -iex 'set auto-load off' "$kvd" "$core" \
    -ex "source $script" -ex co-list -ex 'co-bt all' >dead 2>&1
failed=0
[ "$(grep -c '^coroutine .*"connection" \[io wait\] connection (.*kvd\.c:' dead)" = 4 ] || { echo "four connections should wait"; failed=1; }
grep -q '^coroutine 1 "main" \[io wait\] main (.*kvd\.c:' dead || { echo "main should wait for connections"; failed=1; }
[ "$(grep -c '^#[0-9]*  *coroutine_main at ' dead)" = 4 ] || { echo "their stacks should end in coroutine_main"; failed=1; }
[ $failed = 0 ] || { cat err; head -80 dead; }
exit $failed
