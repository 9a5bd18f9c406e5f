#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A control group's limit: what the heap gave back, at once or lazily, is not in the way of what the program needs; what is live is (the
# control: the kernel ends that one). And the recording notes the limit. Skipped where no group can be made.
set -u
. tests/stress/agent.inc
PROGRAM=$BUILD/tests/stress/every_call
LIMIT=$((160 << 20))
V1=/sys/fs/cgroup/memory V2=/sys/fs/cgroup
if [ -w $V1/cgroup.procs ] && mkdir $V1/seep-test.$$ 2>/dev/null; then
    GROUP=$V1/seep-test.$$
    LIMIT_FILE=memory.limit_in_bytes
elif [ -w $V2/cgroup.procs ] && mkdir $V2/seep-test.$$ 2>/dev/null; then
    GROUP=$V2/seep-test.$$
    LIMIT_FILE=memory.max
else
    echo "no control group can be made here"
    exit 77
fi
trap 'rm -rf "$TMP"; rmdir "$GROUP"' EXIT INT TERM
echo $LIMIT >"$GROUP/$LIMIT_FILE" 2>/dev/null || { echo "no memory controller"; exit 77; }

# in_group COMMAND …
in_group() {
    sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$GROUP" "$@" 2>"$TMP/err"
}

for policy in 1 0; do
    out=$(LD_PRELOAD=$LIB SEEP_DEBUG=madvdontneed=$policy SEEP_MEMLIMIT=8M in_group "$PROGRAM" pressure freed)
    rc=$?
    [ $rc = 0 ] || fail "policy $policy: exit $rc, $out $(cat "$TMP/err")"
    set -- $out # KiB lazily free before and after the pressure
    if [ $policy = 0 ]; then
        [ "$1" -ge 65536 ] && [ "$2" -lt "$1" ] || fail "MADV_FREE: $1 KiB lazily free, then $2"
    else
        [ "$1" = 0 ] || fail "MADV_DONTNEED: $1 KiB lazily free"
    fi
done
LD_PRELOAD=$LIB in_group "$PROGRAM" pressure kept >/dev/null
rc=$?
[ $rc -gt 128 ] || fail "the limit was not one: exit $rc"

SEEP_OUT=$REC SEEP_MEMLIMIT=123M LD_PRELOAD=$LIB in_group /bin/true || fail "recorded: $(cat "$TMP/err")"
is "limits in the recording" "cgroup_limit|$LIMIT
memlimit|$((123 << 20))" "$(sql "SELECT name, value FROM stat WHERE name LIKE '%limit' ORDER BY 1")"
