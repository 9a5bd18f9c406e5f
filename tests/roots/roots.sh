#!/bin/bash
# Each program of this folder plants blocks of PLANTED bytes and says at its head what the snapshot must call them.
set -u
command -v sqlite3 >/dev/null || exit 77
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
failed=0 n=0
planted=$(sed -n 's/^#define PLANTED //p' tests/roots/root.h)
${CC:-cc} -shared -fPIC -g -o "$tmp/tls_module.so" tests/roots/so/tls_module.c || exit 1
for source in tests/roots/*.c tests/roots/*.cc; do
    name=$(basename "${source%.*}")
    expect=$(sed -n 's/^ \* expect: \(.*\) \*\/$/\1/p' "$source")
    env=$(sed -n 's/^ \* env: \(.*\)$/\1/p' "$source")
    file="$tmp/$name.seep"
    n=$((n + 1))
    if ! env $env SEEP_OUT="$file" SEEP_RATE=1 SEEP_EXIT=0 LD_PRELOAD="$PWD/$BUILD/libseep.so" \
        "$BUILD/tests/roots/$name" "$tmp/tls_module.so" >"$tmp/out" 2>&1; then
        echo "$name: did not run: $(head -1 "$tmp/out")"
        failed=1
        continue
    fi
    # reached, interior, unreachable: of the blocks of that size
    read -r reached interior unreachable all <<<"$(sqlite3 -separator ' ' "$file" "
        SELECT ifnull(sum(allocs - frees - unreachable - interior), 0), ifnull(sum(interior), 0),
               ifnull(sum(unreachable), 0), (SELECT max(unreachable_objects) FROM snapshot)
        FROM heap WHERE alloc_bytes = $planted * allocs")"
    case $expect in
    '0 unreachable') got="$all unreachable" ;; # of anything
    *likely) got=$(sqlite3 "$file" "SELECT sum(objects) || ' ' || confidence FROM finding") ;;
    *reached) got="$reached reached" ;;
    *interior) got="$interior interior" ;;
    *unreachable) got="$unreachable unreachable" ;;
    *) got="nothing expected" ;;
    esac
    if [ "$got" != "$expect" ]; then
        echo "$name: expected $expect, got $reached reached, $interior interior, $unreachable unreachable, $all in all"
        failed=1
    fi
done
[ $failed = 0 ] && echo "$n kinds of roots"
exit $failed
