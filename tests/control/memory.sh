#!/bin/bash
# Lost memory in C and C++: rule, count, function and line; the repaired twins are clean.
. tests/control/control.inc
planted lost_loop unreachable-memory 100 make_record
planted lost_list unreachable-memory 50 push
# One of the fifty is lost, the others hang on it.
[ "$(sqlite3 "$TMPDIR/lost_list-leak.seep" "SELECT json_extract(evidence, '\$.direct') || ' ' || json_extract(evidence, '\$.indirect')
    FROM finding WHERE rule = 'unreachable-memory'")" = "1 49" ] || fail "the head of the list was not told from the rest"
planted lost_thread unreachable-memory 40 work
planted lost_realloc unreachable-memory 30 grow
ALSO=unreachable-memory planted lost_new unreachable-memory 25 make_order
exit $failed
