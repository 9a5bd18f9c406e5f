#!/bin/sh
# Completion scripts know every command and option, and the shells that are here can read them.
set -eu
seep=$(realpath "$BUILD/seep")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
for shell in bash zsh fish; do
    "$seep" completion $shell >"$work/$shell"
    for c in $("$seep" help | sed -n 's/^  \([a-z]*\) .*/\1/p' | grep -v seep); do
        grep -qw "$c" "$work/$shell" || { echo "$shell: no $c"; bad=1; }
        [ "$c" = help ] && continue
        for o in $("$seep" help "$c" | sed -n 's/^  \(-., \|    \)--\([a-z-]*\).*/\2/p' | grep -v '^help$\|^usage$\|^version$'); do
            case $shell in
            bash) grep -q "^    $c) .*--$o " "$work/$shell" ;;
            zsh) sed -n "/^    $c) /,/;;/p" "$work/$shell" | grep -q -e "'--$o[=[]" ;;
            fish) grep -q "seen_subcommand_from $c' -l $o " "$work/$shell" ;;
            esac || { echo "$shell: no --$o of $c"; bad=1; }
        done
    done
    if command -v $shell >/dev/null; then $shell -n "$work/$shell" || bad=1; fi
done
if command -v bash >/dev/null; then
    got=$(bash -c ". $work/bash; COMP_WORDS=(seep top --fo); COMP_CWORD=2; _seep; echo \"\${COMPREPLY[*]}\"")
    [ "$got" = "--focus" ] || { echo "bash completes --fo to $got"; bad=1; }
fi
exit $bad
