#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# make demo: seep on two programs, from recording to report.
#   1. Debian's redis-server, which nobody here wrote, under redis-benchmark on a Unix socket
#   2. examples/jobd, a job server of coroutines, with its leak switched on, and then off
# Everything stays in ./demo-out (DEMO_OUT). Exits 0 only when each step showed what it should; nothing is left running.
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
seep=$BUILD/seep
out=${DEMO_OUT:-demo-out}

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
plain_say() { printf '\n== %s\n' "$*"; }
[ -t 1 ] || say() { plain_say "$@"; }
show() { # prints a command as a user would type it, then runs it
    printf '\n$ %s\n' "${*//$BUILD\/seep/seep}"
    "$@"
}
die() {
    echo "demo: $*" >&2
    exit 1
}

for f in "$seep" "$BUILD/libseep.so" "$BUILD/examples/jobd" "$BUILD/examples/lost_block"; do
    [ -x "$f" ] || die "$f is missing: run make first"
done
for c in redis-server redis-benchmark redis-cli sqlite3; do
    command -v $c >/dev/null || die "$c is missing: run tools/setup.sh demo"
done

mkdir -p $out
rm -f $out/*.seep $out/*.seep-journal $out/*.pb.gz $out/*.txt $out/*.log
socks=$(mktemp -d)
started=()
cleanup() {
    local pids=()
    for pid in "${started[@]}"; do pids+=("$pid" $(child_of "$pid" 2>/dev/null)); done
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do
        for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$socks"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

wait_for() { # what, command...
    local what=$1
    shift
    for _ in $(seq 200); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.05
    done
    die "$what did not come up"
}
child_of() { # the process that `seep run` started
    cut -d' ' -f1 </proc/"$1"/task/"$1"/children
}
ended() { # what: the last process started, which has 30 s to end by itself; its code is in $code
    for _ in $(seq 300); do
        kill -0 "$run" 2>/dev/null || break
        sleep 0.1
    done
    kill -0 "$run" 2>/dev/null && die "$1 does not end"
    code=0
    wait "$run" || code=$?
    started=()
}
snapshots() { sqlite3 "$1" "SELECT count(*) FROM snapshot"; }
expect_code() { # code, command...
    local want=$1 got=0
    shift
    show "$@" || got=$?
    [ $got = "$want" ] || die "exit code $got, expected $want: $*"
}

say "1. redis-server under load, a snapshot a second"
sock=$socks/redis
printf '\n$ seep run -o %s/redis.seep --interval 1s -- redis-server --port 0 --unixsocket SOCK &\n' $out
$seep run -o $out/redis.seep --interval 1s -- redis-server --port 0 --unixsocket "$sock" --save '' --dir "$socks" \
    >$out/redis-server.log 2>$out/redis-run.log &
run=$!
started+=($run)
wait_for redis-server redis-cli -s "$sock" ping
redis=$(redis-cli -s "$sock" info server | tr -d '\r' | sed -n 's/^process_id://p')
[ "$(child_of $run)" = "$redis" ] || die "redis-server is not the process that seep started"
show redis-benchmark -s "$sock" -n 60000 -c 30 -P 4 -r 20000 -d 200 -q -t set,get,lpush,hset,zadd |
    tr '\r' '\n' | grep -E '^\$|per second' || die "redis-benchmark failed"
sleep 1.2
expect_code 0 "$seep" snapshot "$redis" --label after-load
redis-cli -s "$sock" shutdown nosave >/dev/null
ended redis-server
cat $out/redis-run.log
[ $code = 0 ] || die "redis-server ended with $code"
n=$(snapshots $out/redis.seep)
[ "$n" -ge 3 ] || die "only $n snapshots of redis-server"

expect_code 0 "$seep" info $out/redis.seep
expect_code 0 "$seep" top $out/redis.seep --snapshot after-load -n 8
show "$seep" export --pprof $out/redis.seep --snapshot after-load -o $out/redis.pb.gz -f
show "$seep" leaks $out/redis.seep --snapshot after-load -n 2 | tee $out/redis-leaks.txt
proven=$(sqlite3 $out/redis.seep "SELECT count(*) FROM finding WHERE confidence = 'proven'
    AND snapshot = (SELECT id FROM snapshot WHERE label = 'after-load')")
[ "$proven" = 0 ] || echo "demo: $proven proven finding(s) in redis-server; docs/demo.md says what they are"

say "2. a job server with a leak: an unbuffered channel that nobody reads any more"
sock=$socks/jobs
printf '\n$ seep run --rate 1 -o %s/jobd.seep --interval 1s -- jobd --leak SOCK &\n' $out
$seep run --rate 1 -o $out/jobd.seep --interval 1s -- "$BUILD/examples/jobd" --leak "$sock" >$out/jobd.log 2>$out/jobd-run.log &
run=$!
started+=($run)
wait_for jobd test -S "$sock"
show "$BUILD/examples/jobd" --client "$sock" 500
sleep 1.2
jobd=$(child_of $run)
expect_code 0 "$seep" snapshot "$jobd" --label after-load
kill -TERM "$jobd"
ended jobd
cat $out/jobd-run.log
expect_code 0 "$seep" tasks $out/jobd.seep --snapshot after-load
show "$seep" leaks $out/jobd.seep --snapshot after-load | tee $out/jobd-leaks.txt
grep -qE 'PROVEN +stuck-send' $out/jobd-leaks.txt || die "the stuck coroutines of jobd were not found"
grep -qE 'PROVEN +unreachable-memory' $out/jobd-leaks.txt || die "the lost memory of jobd was not found"
[ "$(grep -cE '(waits|created|alloc) .*jobd\.c:[0-9]+' $out/jobd-leaks.txt)" -ge 3 ] || die "no file and line of jobd's leaks"
show "$seep" export --pprof $out/jobd.seep -o $out/jobd.pb.gz -f

say "3. the gate for CI: with the leak it fails, without it passes"
expect_code 1 "$seep" gate -f -o $out/lost_block.seep -- "$BUILD/examples/lost_block" --leak
expect_code 0 "$seep" gate -f -o $out/lost_block-fixed.seep -- "$BUILD/examples/lost_block"

if command -v go >/dev/null; then
    say "4. the export in Go's own tool"
    show go tool pprof -top -sample_index=inuse_space -nodecount=8 $out/redis.pb.gz 2>&1 | head -n 16
fi

say "left in $out"
for f in $out/*.seep $out/*.pb.gz; do
    [ -s "$f" ] || die "$f is empty"
    printf '  %-34s %8s bytes' "$f" "$(stat -c %s "$f")"
    case $f in *.seep) printf '  %s snapshots' "$(snapshots "$f")" ;; esac
    echo
done
for f in $out/*.seep; do [ "$(sqlite3 "$f" 'PRAGMA integrity_check')" = ok ] || die "$f is damaged"; done
echo
echo "next: $seep top $out/redis.seep"
