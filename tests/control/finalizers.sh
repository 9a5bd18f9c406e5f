#!/bin/bash
# Finalizers: what their interface promises, without a recording; the two rules, and their repaired twins.
. tests/control/control.inc
out=$(LD_PRELOAD="$PWD/$BUILD/libseep.so" "$BUILD/tests/control/finalizers" 2>"$TMPDIR/err") || { fail "finalizers: $out"; cat "$TMPDIR/err"; }
planted finalizer_cycle finalizer-cycle 10 node_new
CONFIDENCE=likely planted finalizer_backlog finalizer-backlog 19..20 say_goodbye use_some
exit $failed
