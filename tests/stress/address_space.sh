#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Under RLIMIT_AS, recorded or not, the program gets NULL with ENOMEM and goes on; where there is room for it, it gets everything, whatever the
# reserved address space of an arena leaves of the limit.
set -u
. tests/stress/agent.inc
PROGRAM=$BUILD/tests/stress/every_call

# under KIB: how many requests were refused.
under() {
    (ulimit -v "$1" && LD_PRELOAD=$LIB exec timeout 50 "$PROGRAM") >"$TMP/out" 2>"$TMP/err"
    rc=$?
    case $rc,$(cat "$TMP/out") in 0,intact,*) ;; *) fail "$1 KiB: $rc, $(cat "$TMP/out" "$TMP/err")" ;; esac
    set -- $(cat "$TMP/out")
    refused=$2
}
for kib in 30000 40000 55000; do under $kib; done
for kib in 75000 80000 90000 100000 130000; do
    under $kib
    [ "$refused" = 0 ] || fail "$kib KiB: $refused requests were refused"
done
SEEP_OUT=$REC
export SEEP_OUT
for kib in 40000 80000 120000; do under $kib; done
under 30000
[ "$refused" -gt 0 ] || fail "30000 KiB were enough: nothing was tested"
