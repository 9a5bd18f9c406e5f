#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Programs that close everything, reset every signal, end main by pthread_exit, become daemons …: each sees with the
# agent, and a snapshot each 20 ms, what it sees without it; its exit code and its buffered output stay.
set -u
. tests/stress/agent.inc
P=$BUILD/tests/stress/life
cd "$TMP" || exit 1

end_of() { # MODE EXPECTED_CODE EXPECTED_OUTPUT
    out=$(preload "$P" end "$1" 2>/dev/null)
    is "exit code of end $1" "$2" $?
    is "output of end $1" "$3" "$out"
    snapshots_at_least 1
    is "trigger of end $1" exit "$(sql 'SELECT trigger FROM snapshot ORDER BY id DESC LIMIT 1')"
    rm -f "$REC"
}
end_of r 7 buffered
end_of e 44 buffered
end_of _ 5 ""
end_of E 8 ""
end_of q 6 ""
end_of a 134 ""

for mode in signals block close wait spawn pthread_exit pthread_exit_alone daemon churn exec popen fork_storm setuid \
    altstack trigger; do
    rm -f "$REC"
    expected=ok
    : > "$TMP/err0"
    if [ $mode != trigger ]; then # whose signal kills it without the agent
        expected=$("$P" $mode 2>"$TMP/err0")
        is "$mode without the agent" 0 $?
    fi
    out=$(SEEP_SIGNAL=12 SEEP_INTERVAL=20ms preload "$P" $mode 2>"$TMP/err1")
    is "exit code of $mode" 0 $?
    is "output of $mode" "$expected" "$out"
    is "messages of $mode" "$(cat "$TMP/err0")" "$(cat "$TMP/err1")"
    snapshots_at_least 1
    case $mode in
    daemon) is "the daemon's interval snapshots" 1 "$(sql "SELECT count(*) > 2 FROM snapshot WHERE trigger = 'interval'
        AND process = (SELECT max(id) FROM process)")" ;;
    trigger) is "snapshots by signal" 1 "$(sql "SELECT count(*) FROM snapshot WHERE trigger = 'signal'")" ;;
    esac
done

rm -f "$REC"
LD_PRELOAD=$LIB "$P" alone > out 2> err || fail "alone: $(cat out err)"
LD_PRELOAD=$LIB "$P" record > out 2>&1 || fail "record: $(cat out)"
is "recorded by the program" "api by the program" "$(sql 'SELECT trigger || " " || label FROM snapshot LIMIT 1')"
rm -f "$REC"
preload "$P" limits > out 2>&1
case $? in 0 | 77) ;; *) fail "limits: $(cat out)" ;; esac
rm -f "$REC"
SEEP_FOLLOW=0 preload "$P" daemon > out 2>&1 || fail "daemon, not followed: $(cat out)"
is "processes recorded with SEEP_FOLLOW=0" 1 "$(sql 'SELECT count(*) FROM process')"
