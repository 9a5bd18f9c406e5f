#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each system call of the agent that may fail for want of memory, descriptors or processes fails once, and from each on all fail: the program
# goes on, gets NULL with ENOMEM or notices nothing, and no byte of its blocks changes. In a build with FAULT=1.
# FULL=1: every call; else the first 30, and each ninth pair after them.
set -u
. tests/stress/agent.inc
FAULT=${FAULT_BUILD:-$BUILD-fault}
[ -n "${FAULT_BUILD:-}" ] || make -s BUILD="$FAULT" FAULT=1 OPT=-O1 agent >"$TMP/make" 2>&1 || { cat "$TMP/make"; exit 1; }
case $FAULT in /*) ;; *) FAULT=$PWD/$FAULT ;; esac
PROGRAM=$BUILD/tests/stress/every_call

# one NUMBER[+]: leaves $TMP/hit.NUMBER when a call was made to fail.
one() {
    d=$TMP/$1
    mkdir "$d"
    SEEP_FAULT=call:$1 SEEP_RATE=1 SEEP_OUT=$d/rec.seep LD_PRELOAD=$FAULT/libseep.so timeout 50 "$PROGRAM" >"$d/out" 2>"$d/err"
    rc=$?
    case $(cat "$d/out") in intact,*) ;; *) rc=no-answer ;; esac
    [ $rc = 0 ] || { echo "call $1: $rc"; cat "$d/out" "$d/err"; } >"$TMP/failed.$1"
    grep -q 'seep: fault: system call' "$d/err" && : >"$TMP/hit.$1"
    rm -r "$d"
}

wanted() {
    [ "${FULL:-0}" = 1 ] || [ "$1" -le 30 ] || [ $(($1 / 2 % 9)) = 0 ]
}

# Every second call from $1 on, until none is hit any more; from every fifth on all of them.
half() {
    n=$1
    while :; do
        if wanted "$n"; then
            one "$n"
            [ "$n" -le 30 ] || [ -e "$TMP/hit.$n" ] || return
            [ $((n % 10)) -ge 2 ] || one "$n+"
        fi
        n=$((n + 2))
    done
}
half 1 &
half 2
wait $!
ls "$TMP"/failed.* >/dev/null 2>&1 && { cat "$TMP"/failed.* | head -40; fail "not all of them"; }
# That it is the agent's calls that failed: many did, the first ones too.
hits=$(ls "$TMP" | grep -c '^hit\.')
[ -e "$TMP/hit.1" ] && [ -e "$TMP/hit.30" ] && [ "$hits" -ge 40 ] || fail "only $hits calls were made to fail"


# MADV_FREE that the kernel refuses with EINVAL: MADV_DONTNEED from then on. Kibibytes lazily free, and resident.
lazy() {
    SEEP_FAULT=$1 SEEP_DEBUG=madvdontneed=0 SEEP_MEMLIMIT=8M LD_PRELOAD=$FAULT/libseep.so "$PROGRAM" lazy 2>&1
}
set -- $(lazy none)
[ "$1" -ge 32768 ] && [ "$2" -ge 32768 ] || fail "MADV_FREE: $1 KiB lazily free, $2 resident"
for spec in madv_free:1 madv_free:1+; do
    set -- $(lazy $spec)
    [ "$1" = 0 ] && [ "$2" -lt 32768 ] || fail "$spec: $1 KiB lazily free, $2 resident"
done
exit 0
