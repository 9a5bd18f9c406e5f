#!/bin/bash
# redis-server under redis-benchmark over a Unix socket, with a background save (a fork) in the middle.
# timeout: 240
. tests/real/real.inc
requests=20000
[ -z "${FULL:-}" ] || requests=400000

workload() {
    local sock=$1/s pid tries=0 code
    real_agent redis-server --port 0 --unixsocket "$sock" --save '' --daemonize no --dir "$1" >"$1.log" 2>"$1.server-err" &
    pid=$!
    until redis-cli -s "$sock" ping 2>/dev/null | grep -q PONG; do
        kill -0 $pid 2>/dev/null && [ $((tries += 1)) -lt 200 ] || { cat "$1.log" "$1.server-err" >&2; kill -9 $pid; return 1; }
        sleep 0.05
    done
    redis-benchmark -s "$sock" -n "$requests" -c 20 -P 4 -q -t set,get,incr,lpush,lrange_100,hset,zadd,mset -r 5000 -d 100 >"$1.bench" 2>&1
    echo "benchmark: $?"
    awk 'BEGIN { for (i = 0; i < 20000; i++) printf "SET key:%d value-%d\r\nHSET hash:%d f%d %d\r\n", i, i * i, i % 100, i, i }' |
        redis-cli -s "$sock" --pipe | grep -E '^errors'
    redis-cli -s "$sock" BGSAVE >/dev/null
    tries=0
    until redis-cli -s "$sock" info persistence | grep -q 'rdb_bgsave_in_progress:0'; do
        sleep 0.05
        [ $((tries += 1)) -lt 400 ] || break
    done
    redis-cli -s "$sock" info persistence | tr -d '\r' | grep rdb_last_bgsave_status
    redis-cli -s "$sock" --raw get key:1234
    redis-cli -s "$sock" hlen hash:7
    sleep 1.2 # past one interval at least
    redis-cli -s "$sock" shutdown nosave
    wait $pid
    code=$?
    echo "server: $code"
    grep '^seep:' "$1.server-err" >&2
    [ -s "$1/dump.rdb" ] || echo "no dump"
    return $code
}
real_run redis-server workload
n=$(sqlite3 "$TMPDIR/524288.seep" "SELECT count(*) FROM snapshot WHERE trigger = 'interval'")
[ "$n" -ge 1 ] || fail "no snapshot was taken while it ran"
exit $failed
