#!/bin/sh
# The analyzer on a large recording (1,000 snapshots of 5,000 stacks, a million tasks in the last), and 100,000 distinct addresses of a program
# with DWARF (seep itself): each command once for the cache, then BENCH_ROUNDS times (7). Prints a table and writes
# bench/results/analyzer.json. BUILD names the build folder.
set -eu
build=${BUILD:-build} rounds=${BENCH_ROUNDS:-7} limit_s=1 limit_kib=307200
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p bench/results
echo "making the recording …" >&2
"$build/bench/recording/generate" "$work/big.seep" 1000 5000 1000000
bin=$(realpath "$build/seep")
set -- $(readelf -SW "$bin" | sed -n 's/^ *\[ *[0-9]*\] \.text *PROGBITS *\([0-9a-f]*\) [0-9a-f]* \([0-9a-f]*\) .*/\1 \2/p')
"$build/bench/recording/generate" --code "$work/code.seep" "$bin" "$(readelf -n "$bin" | sed -n 's/.*Build ID: //p')" $((0x$1)) $((0x$1 + 0x$2)) 100000
one() {
    case $1 in
    symbols) "$build/bench/recording/measure" "$build/seep" top "$work/code.seep" ;;
    *) "$build/bench/recording/measure" "$build/seep" "$1" "$work/big.seep" ;;
    esac
}
bad=0
: >"$work/samples"
: >"$work/bars"
printf '%-8s %10s %10s %10s %12s\n' command 'median s' 'min s' 'max s' 'peak KiB'
for c in leaks diff top trend tasks rss info symbols; do
    one $c >/dev/null
    : >"$work/walls"
    peak=0
    for r in $(seq "$rounds"); do
        set -- $(one $c)
        [ "$4" = 0 ] || { echo "seep $c: exit $4" >&2; exit 1; }
        echo "$1" >>"$work/walls"
        [ "$3" -gt $peak ] && peak=$3
        printf '{"load": "%s", "who": "seep", "round": %s, "wall_s": %s, "cpu_s": %s, "rss_kib": %s}\n' $c "$r" "$1" "$2" "$3" >>"$work/samples"
    done
    sort -n "$work/walls" >"$work/sorted"
    mid=$(sed -n "$(((rounds + 1) / 2))p" "$work/sorted")
    printf '%-8s %10s %10s %10s %12s\n' $c "$mid" "$(sed -n 1p "$work/sorted")" "$(tail -n 1 "$work/sorted")" $peak
    case $c in symbols)
        holds=$(awk "BEGIN { print ($mid < 5 ? \"true\" : \"false\") }")
        printf '{"name": "100,000 addresses of a program with DWARF", "value": %s, "limit": 5, "better": "lower", "unit": "s", "holds": %s}\n' "$mid" "$holds" >>"$work/bars"
        [ "$holds" = true ] || { echo "seep top of 100,000 addresses does not hold its bar"; bad=1; } ;;
    leaks | diff | top)
        holds=$(awk "BEGIN { print ($mid < $limit_s ? \"true\" : \"false\") }")
        fits=$(awk "BEGIN { print ($peak < $limit_kib ? \"true\" : \"false\") }")
        printf '{"name": "%s, large recording", "value": %s, "limit": %s, "better": "lower", "unit": "s", "holds": %s}\n' $c "$mid" $limit_s "$holds" >>"$work/bars"
        printf '{"name": "%s, peak memory", "value": %s, "limit": %s, "better": "lower", "unit": "bytes", "holds": %s}\n' $c $((peak * 1024)) $((limit_kib * 1024)) "$fits" >>"$work/bars"
        [ "$holds$fits" = truetrue ] || { echo "seep $c does not hold its bar"; bad=1; } ;;
    esac
done
join() { sed 's/^/    /; $!s/$/,/' "$1"; }
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1 | tr -d '"\\')
{
    printf '{\n  "suite": "analyzer",\n  "machine": {"cpu": "%s", "cores": %s, "kernel": "%s"},\n  "commit": "%s",\n' "$cpu" "$(nproc)" "$(uname -r)" \
        "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
    printf '  "samples": [\n%s\n  ],\n  "bars": [\n%s\n  ]\n}\n' "$(join "$work/samples")" "$(join "$work/bars")"
} >bench/results/analyzer.json
exit $bad
