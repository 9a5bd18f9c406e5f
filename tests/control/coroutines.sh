#!/bin/bash
# Stuck coroutines: rule, count, where they wait, where they were created; the repaired twins are clean.
. tests/control/control.inc
planted co_send stuck-send 20 fetch first_wins
planted co_recv stuck-recv 5 work dispatch
# On one thread too.
CORO_MAXPROCS=1
export CORO_MAXPROCS
rm -f "$TMPDIR"/*.seep
planted co_send stuck-send 20 fetch first_wins
planted co_recv stuck-recv 5 work dispatch
exit $failed
