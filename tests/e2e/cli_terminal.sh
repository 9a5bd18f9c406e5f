#!/bin/sh
# On a terminal tables are as wide as it is and colours are used; in a pipe everything is there and no escape character, nor with NO_COLOR.
set -eu
command -v script >/dev/null && command -v sqlite3 >/dev/null || { echo "script or sqlite3 is not installed"; exit 77; }
seep=$(realpath "$BUILD/seep")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sh tests/golden/mk_recording.inc "$work/r.seep"
sh tests/golden/mk_series.inc "$work/s.seep"
cd "$work"
unset NO_COLOR
export TERM=xterm
bad=0
say() { echo "$*"; bad=1; }
tty() { # columns, command…
    cols=$1
    shift
    printf 'stty cols %s\n"%s" %s\n' "$cols" "$seep" "$*" >cmd.sh
    script -qec "sh cmd.sh" /dev/null </dev/null | tr -d '\r' >raw
    sed "s/$(printf '\033')\[[0-9;]*m//g" raw >text
}
table() { awk -v head="$1" 'index($0, head) { on = 1 } on && NF == 0 { exit } on && !/^…|^and |^ +[^ ].*: / { print }' text; }
widest() { sed 's/…/x/g; s/±/x/g' | awk '{ if (length($0) > n) n = length($0) } END { print n + 0 }'; }
for cols in 60 80 100; do
    tty $cols top r.seep
    w=$(table FLAT | widest)
    [ "$w" -gt 40 ] && [ "$w" -le $cols ] || say "top on $cols columns is $w wide"
    table FLAT | grep -q 'FUNCTION' || say "top on $cols columns lost its functions"
done
tty 70 diff r.seep
w=$(table 'IN USE' | widest)
[ "$w" -gt 40 ] && [ "$w" -le 70 ] || say "diff is $w wide"
tty 90 rss s.seep
grep -q '^ *do: ' text || say "rss on a narrow terminal lost its advice"
tty 300 top r.seep
grep -q 'SUM%.*UNREACHABLE.*PLACE' text || say "a column is missing where there is room"
grep -q "$(printf '\033\[')" raw || say "no colour on a terminal"
NO_COLOR=1 tty 300 top r.seep
! grep -q "$(printf '\033\[')" raw || say "a colour in spite of NO_COLOR"
TERM=dumb tty 300 top r.seep
! grep -q "$(printf '\033\[')" raw || say "a colour on a dumb terminal"
"$seep" top r.seep >pipe
grep -q 'SUM%.*UNREACHABLE.*PLACE' pipe || say "a column is missing in a pipe"
! grep -q "$(printf '\033')" pipe || say "an escape character in a pipe"
exit $bad
