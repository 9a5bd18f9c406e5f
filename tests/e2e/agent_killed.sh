#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A program that dies by SIGKILL, again and again, whatever its snapshot's child is doing then; and a child that does: what was
# stored before can be read, and the next process appends.
set -u
. tests/stress/agent.inc
rounds=8
[ -z "${FULL:-}" ] || rounds=60
before=0 children=
for i in $(seq $rounds); do
    SEEP_OUT=$REC LD_PRELOAD=$LIB SEEP_RATE=1 SEEP_INTERVAL=1ms perl -e 'my @k; for (1 .. 400) { push @k, { n => $_ } for 1 .. 50; select undef, undef, undef, 0.01 }' &
    pid=$!
    sleep "0.$((i * 13 % 30 + 15))"
    # Every other time its snapshot child goes with it, in the middle of a transaction if it is writing.
    [ $((i % 2)) = 1 ] || children=$(cat /proc/$pid/task/*/children 2> /dev/null)
    kill -9 $pid $children 2> /dev/null
    wait $pid 2> /dev/null
    is "end of round $i" 137 $?
    "$BUILD/seep" info "$REC" > "$TMP/info" 2> "$TMP/err" || { cat "$TMP/err"; fail "round $i: the recording can't be read"; }
    have=$("$BUILD/seep" info --json "$REC" | tr ',' '\n' | grep -c '"trigger"')
    [ "$have" -ge "$before" ] || fail "round $i: $have snapshots, $before before"
    before=$have
done
[ "$before" -ge $rounds ] || fail "only $before snapshots in $rounds rounds"
preload true # waits for a child that is still writing, and rolls back what a dead one left
is "integrity" ok "$(sql 'PRAGMA integrity_check')"
