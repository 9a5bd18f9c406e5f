#!/bin/sh
# Mistakes in the call: one line, exit 2. Help and version: exit 0.
set -eu
seep=$(realpath "$BUILD/seep")
bad=0
usage() {
    rc=0
    err=$("$seep" "$@" 2>&1 >/dev/null) || rc=$?
    [ $rc = 2 ] && [ "$(printf '%s\n' "$err" | wc -l)" = 1 ] || { echo "seep $*: exit $rc: $err"; bad=1; }
}
usage
usage nonsense
usage top
usage top --bogus x
usage top -n
usage top -n many x
usage top --sort size x
usage leaks a b
usage top --focus '(' x
usage top --unit miles x
usage peek x
usage peek x '('
usage list x
usage tree --min-percent 101 x
usage diff a b c d
usage run
usage run --rate
usage run --rate lots -- true
usage run --depth 0 -- true
usage run --depth 1000 -- true
usage run --interval 5x -- true
usage run --unwind magic -- true
usage rss
usage trend
usage trend --points -1 x
usage trend --limit-bytes 0 x
usage gate
usage gate --fail-on sure -- true
usage gate --ignore 123 -- true
usage gate --max-bytes -5 -- true
usage export x
usage snapshot
usage snapshot abc
usage snapshot 1 2
usage gate --self-test --fail-on sure
usage suppress
usage suppress --why x
usage suppress a41f09c2
usage suppress --why x xyz
usage suppress --why x --until tomorrow a41f09c2
usage baseline keep a b
usage baseline update a
usage merge a
usage symbolize
usage symbolize a b
usage watch
usage watch --every 0 1
usage completion
usage completion tcsh
usage help nonsense
SEEP_RATE=lots
export SEEP_RATE
usage run -- true
unset SEEP_RATE
for c in run snapshot info top list peek tree tasks leaks diff trend rss gate suppress baseline export merge symbolize watch completion; do
    "$seep" help $c | grep -q Examples || { echo "help $c has no examples"; bad=1; }
    "$seep" $c --help >/dev/null || { echo "$c --help fails"; bad=1; }
done
"$seep" --version | grep -q '^seep [0-9]' || bad=1
"$seep" --help >/dev/null
exit $bad
