#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The control socket: commands, bad ones, and clients that mean no good; the program and other clients are not held up.
set -u
. tests/stress/agent.inc
C=$BUILD/tests/e2e/agent_client
SEEP_CONTROL=1 LD_PRELOAD=$LIB sleep 60 &
pid=$!
trap 'kill $pid 2>/dev/null; rm -rf "$TMP"' EXIT

is ping "ok 0 " "$("$C" $pid ping)"
is "snapshot without a recording" "error nothing is being recorded" "$("$C" $pid 'snapshot x')"
is "relative path" "error the path must be absolute" "$("$C" $pid 'out rec.seep')"
echo "not a recording, but long enough to look at: ...................................." > "$TMP/text"
is "other file" "error the file exists and is not a recording" "$("$C" $pid "out $TMP/text")"
ln -s "$REC" "$TMP/link"
is "symbolic link" "error the path is a symbolic link" "$("$C" $pid "out $TMP/link")"
is out "ok 0 $REC" "$("$C" $pid "out $REC")"
is "out again" "error already recording" "$("$C" $pid "out $REC")"
is snapshot "ok 1 $REC" "$("$C" $pid 'snapshot a label')"
is "snapshot without a label" "ok 2 $REC" "$("$C" $pid snapshot)"
is labels "a label|" "$(sql "SELECT group_concat(label, '|') FROM snapshot WHERE trigger = 'control'")"
is unknown "error unknown command" "$("$C" $pid reboot)"
is "ping with more" "error unknown command" "$("$C" $pid 'ping me')"
bad="error what to look for is an address or up to 16 keys of stacks"
for what in "" x 0x 0x12,13 12,,13 12, 0123456789abcdef0 " 12" "$(seq -s , 17)"; do
    is "path $what" "$bad" "$("$C" $pid "path $what")"
done
is "a path to nothing" "ok 3 $REC" "$("$C" $pid "path 0x12")"
is "paths to nothing" "ok 4 $REC 0" "$("$C" $pid "path 12,0123456789abcdef") $(sql "SELECT count(*) FROM path")"
is "long label" "error the label is longer than 255 bytes or has control characters" \
    "$("$C" $pid "snapshot $(head -c 300 /dev/zero | tr '\0' a)")"
is "after bad clients" "ok 4 $REC" "$("$C" $pid @garbage @silent ping)"
case $("$C" $pid @long) in "error the line is too long" | "(cut)") ;; *) fail "long line" ;; esac
is "ping at the end" "ok 4 $REC" "$("$C" $pid ping)"
if [ "$(id -u)" = 0 ] && command -v setpriv > /dev/null; then
    is "another user" "(cut)" "$(setpriv --reuid 65534 --regid 65534 --clear-groups "$C" $pid ping)"
fi
kill $pid
wait $pid 2>/dev/null
is "the program's end" 143 $?
