#!/bin/sh
# The golden tests and the bad recordings once more, by the analyzer with address and undefined-behaviour sanitizers. Only in the whole
# suite, which builds it.
# timeout: 300
set -eu
[ "${SAN_BUILD:-}" ] || { echo "no build with sanitizers: run without T"; exit 77; }
bad=0
for t in golden/golden golden/real e2e/cli_bad_recording; do
    BUILD=$SAN_BUILD UPDATE= "tests/$t.sh" || { echo "$t fails with sanitizers"; bad=1; }
done
exit $bad
