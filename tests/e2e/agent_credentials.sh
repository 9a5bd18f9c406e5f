#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Programs that give up privileges or enter namespaces while the agent has a thread in them: their calls answer as without it, and it
# is back afterwards: its socket answers, and an interval's snapshot follows.
set -u
TMPDIR=/tmp # not in a folder that only root may enter
. tests/stress/agent.inc
C=$BUILD/tests/e2e/credentials
# Anybody may write the recording.
chmod 777 "$TMP"
umask 0
fresh() {
    rm -f "$REC"*
    preload env true
    chmod 666 "$REC"
}

# Two interval snapshots more than there were after the calls; nothing on stderr.
check() {
    local tries=0 pid seq
    fresh
    coproc P { SEEP_INTERVAL=100ms SEEP_OUT=$REC LD_PRELOAD=$LIB SEEP_EXIT=0 "$C" "$1" 2> "$TMP/err"; }
    local job=$P_PID in=${P[1]}
    read -r pid <&"${P[0]}" || fail "$1: ended"
    case $pid in *[!0-9]*) fail "$1: $pid" ;; esac
    case $("$BUILD/tests/e2e/agent_client" "$pid" ping) in "ok "*) ;; *) [ "$1" = threads ] || fail "$1: the socket does not answer" ;; esac
    seq=$(sql "SELECT count(*) FROM snapshot WHERE trigger = 'interval'" 2> /dev/null || echo 0)
    until [ "$(sql "SELECT count(*) FROM snapshot WHERE trigger = 'interval'" 2> /dev/null || echo 0)" -ge $((seq + 2)) ]; do
        [ $((tries += 1)) -lt 400 ] || { cat "$TMP/err"; fail "$1: no snapshot after the calls"; }
        sleep 0.05
    done
    eval "exec $in>&-"
    wait "$job"
    is "$1: exit code" 0 $?
    is "$1: stderr" "" "$(cat "$TMP/err")"
}

# A real program: exit code and output as without us.
same_as_plain() {
    local plain code
    plain=$("$@" 2>&1; echo "exit $?")
    fresh
    is "$*" "$plain" "$(preload "$@" 2>&1; echo "exit $?")"
}

check threads
ran=1
if [ "$(id -u)" = 0 ]; then
    check ids
    same_as_plain setpriv --reuid 65534 --clear-groups id -u
    same_as_plain setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set=-all --inh-caps=-all id
    same_as_plain setpriv --inh-caps=-all --reuid 65534 --clear-groups --no-new-privs id -G
    ran=2
fi
if [ "$("$C" raw)" = yes ]; then
    check user
    check setns
    same_as_plain unshare -Ur id -u
    same_as_plain unshare -Urpfm sh -c 'echo $$'
    same_as_plain unshare -Urn sh -c 'true; cat /proc/net/dev | wc -l'
    ran=$((ran + 2))
fi
[ $ran = 4 ] || exit 77
