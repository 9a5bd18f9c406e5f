#!/bin/bash
# At the default rate: 8,192 lost blocks of 32 KiB, estimated from some 500 samples. Standard error 4.4 %; five of them are allowed.
. tests/control/control.inc
RATE=524288
planted sampled unreachable-memory 6390..9994 make_page
# The marker's own total is exact, whatever the sampler saw.
exact=$(sqlite3 "$TMPDIR/sampled-leak.seep" "SELECT max(unreachable_objects) FROM snapshot")
[ "$exact" -ge 8191 ] && [ "$exact" -le 8220 ] || fail "the exact count is $exact"
exit $failed
