#!/bin/bash
# Finalizers: what their interface promises, without a recording; the two rules, and their repaired twins.
. tests/control/control.inc
out=$(LD_PRELOAD="$PWD/$BUILD/libseep.so" "$BUILD/tests/control/finalizers" 2>"$TMPDIR/err") || { fail "finalizers: $out"; cat "$TMPDIR/err"; }

# What holds the blocks: the ring, from the block and back to it; the queue.
path_is() { # program, lines from "held by" on, as patterns
    "$SEEP" leaks "$TMPDIR/$1-leak.seep" | grep -E '^    (held by|via|keeps) ' >"$TMPDIR/path"
    shift
    [ "$(wc -l <"$TMPDIR/path")" = $# ] || fail "the path has not $# steps"
    for line; do
        read -r have || have=
        case $have in $line) ;; *) fail "not \"$line\": $have" ;; esac
    done <"$TMPDIR/path"
}
planted finalizer_cycle finalizer-cycle 10 node_new
path_is finalizer_cycle 'held by  itself, by its pointer at +0' 'via      block of 16 B, by its pointer at +0, from node_new() *' 'keeps    block of 16 B, from node_new() *'
CONFIDENCE=likely planted finalizer_backlog finalizer-backlog 19..20 say_goodbye use_some
path_is finalizer_backlog 'held by  the queue of finalizers that are due' 'keeps    block of 112 B, from use_some() *'
exit $failed
