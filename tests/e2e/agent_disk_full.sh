#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The disk fills while a program is recorded: the program runs on to its end, one line says what was lost, and the
# snapshots before are whole. Needs root for a small disk of its own.
set -u
. tests/stress/agent.inc
[ "$(id -u)" = 0 ] || { echo "needs root to mount a small disk"; exit 77; }
mkdir "$TMP/disk"
mount -t tmpfs -o size=512k small_disk "$TMP/disk" 2> /dev/null || { echo "a tmpfs can't be mounted here"; exit 77; }
trap 'umount "$TMP/disk"; rm -rf "$TMP"' EXIT INT TERM
REC=$TMP/disk/rec.seep

# 5,000 stacks at rate 1 come with each snapshot: the disk is full after a few.
SEEP_RATE=1 SEEP_INTERVAL=50ms preload perl -e '
    my @keep;
    for my $i (1 .. 60) {
        push @keep, map { { n => $_, s => "x" x $_ } } 1 .. 200;
        select undef, undef, undef, 0.05;
        dd() if $i == 20;
    }
    sub dd { open my $f, ">", "'"$TMP"'/disk/filler" or die; print $f "x" x 400000; }
    print scalar(@keep), " kept\n"; exit 7' > "$TMP/out" 2> "$TMP/err"
is "exit code" 7 $?
is "output" "12000 kept" "$(cat "$TMP/out")"
lost=$(grep -c '^seep: snapshot [0-9]* lost: ' "$TMP/err")
[ "$lost" -ge 1 ] || { cat "$TMP/err"; fail "nothing was said of the lost snapshots"; }
[ "$lost" -le 2 ] || { cat "$TMP/err"; fail "the same was said $lost times"; }
grep -q 'disk' "$TMP/err" || { cat "$TMP/err"; fail "the reason is not named"; }
snapshots_at_least 1
is "integrity" ok "$(sql 'PRAGMA integrity_check')"
"$BUILD/seep" info "$REC" > "$TMP/info" || fail "the recording can't be read"
