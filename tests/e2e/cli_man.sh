#!/bin/sh
# The manual knows every command, every option of every command, and every variable of the agent with its own words.
set -eu
seep=$(realpath "$BUILD/seep")
man=docs/man/seep.1
bad=0
for c in $("$seep" help | sed -n 's/^  \([a-z]*\) .*/\1/p' | grep -v seep); do
    grep -q -e "seep $c" -e "Cm $c" $man || { echo "no $c"; bad=1; }
    [ "$c" = help ] && continue
    for o in $("$seep" help "$c" | sed -n 's/^  \(-., \|    \)--\([a-z-]*\).*/\2/p' | sort -u); do
        grep -q -e "Fl -$o" $man || { echo "no --$o (of $c)"; bad=1; }
    done
done
"$seep" help options | sed -n 's/^  SEEP/SEEP/p' | while read -r name text; do
    grep -q "^\.It Ev $name\$" $man || { echo "no $name"; exit 1; }
    grep -qF "$text." $man || { echo "$name: the manual does not say: $text"; exit 1; }
done || bad=1
if command -v groff >/dev/null; then
    warnings=$(groff -mandoc -Tutf8 -ww -z $man 2>&1) || true
    [ -z "$warnings" ] || { echo "$warnings"; bad=1; }
fi
exit $bad
