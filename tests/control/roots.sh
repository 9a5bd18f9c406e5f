#!/bin/bash
# Every kind of root keeps its block: nothing may be reported.
. tests/control/control.inc
clean clean_roots
[ "$(sqlite3 "$recording" "SELECT count(*) FROM finding WHERE confidence = 'proven'")" = 0 ] || fail "a false proof"
exit $failed
