#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Records the traces that bench-alloc replays, from real programs, here and now:
#     bench/record_traces.sh LIBSEEP DIR       → DIR/{redis,python,gcc,sqlite}.trace
# A trace that is there and newer than this script and the agent's recorder is kept. Some hundred thousand to two million
# calls each. Every program ends by itself or is ended here.
set -euo pipefail
lib=$(realpath "$1")
dir=$2
mkdir -p "$dir"
dir=$(realpath "$dir")
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

fresh() {
    [ -s "$dir/$1.trace" ] && [ "$dir/$1.trace" -nt "$0" ] && [ "$dir/$1.trace" -nt agent/entry/alloctrace.c ] &&
        [ "$dir/$1.trace" -nt bench/traces/python.py ]
}
# traced NAME COMMAND...: the command's first process, traced. The loader's variable is set for it alone.
traced() {
    local name=$1
    shift
    rm -f "$dir/$name.part"
    env SEEP_RATE=0 SEEP_DEBUG="alloctrace=$dir/$name.part" LD_PRELOAD="$lib" "$@"
}
keep() {
    [ -s "$dir/$1.part" ] || { echo "bench: no trace of $1" >&2; exit 1; }
    mv "$dir/$1.part" "$dir/$1.trace"
    echo "bench: traced $1" >&2
}

# Debian's own interpreter, whatever else is in the PATH. Objects come from malloc, not from Python's own pools.
if ! fresh python; then
    PYTHONMALLOC=malloc PYTHONHASHSEED=1 traced python /usr/bin/python3 bench/traces/python.py 12
    keep python
fi

# The compiler proper.
if ! fresh gcc; then
    cc1=$(gcc -print-prog-name=cc1)
    gcc -E -std=gnu11 -O2 -D_GNU_SOURCE -I. -Iagent/include bench/replay/replay.c -o "$work/1.i"
    traced gcc "$cc1" -quiet -fpreprocessed -std=gnu11 -O2 -g "$work/1.i" -o "$work/1.s"
    keep gcc
fi

if ! fresh sqlite; then
    cat >"$work/load.sql" <<'SQL'
CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, score REAL, note TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO t SELECT i, printf('name %d', i * 7919 % 100003), i * 0.5, substr('the quick brown fox jumps', 1 + i % 20) FROM n;
COMMIT;
CREATE INDEX by_name ON t(name);
SELECT count(*), sum(length(note)) FROM t WHERE name LIKE '%99%';
SELECT note, count(*), group_concat(id) FROM t WHERE id % 7 = 0 GROUP BY note ORDER BY 2 DESC;
UPDATE t SET note = name || note WHERE id % 3 = 0;
SELECT a.name, upper(b.note) FROM t a JOIN t b ON b.name = a.name WHERE a.score > 45000 ORDER BY b.note;
DELETE FROM t WHERE id % 5 = 0;
VACUUM;
SQL
    traced sqlite sqlite3 -batch "$work/t.db" ".read $work/load.sql" >/dev/null
    keep sqlite
fi

if ! fresh redis; then
    traced redis redis-server --port 0 --unixsocket "$work/redis.sock" --save '' --appendonly no --daemonize no \
        --dir "$work" --loglevel warning >"$work/log" &
    server=$!
    for ((i = 0; i < 100; i++)); do
        [ -S "$work/redis.sock" ] && redis-cli -s "$work/redis.sock" ping >/dev/null 2>&1 && break
        sleep 0.1
    done
    redis-benchmark -s "$work/redis.sock" -q -n 20000 -r 20000 -d 64 -c 20 -P 8 \
        -t set,get,incr,lpush,lpop,sadd,hset,zadd,mset >/dev/null
    redis-benchmark -s "$work/redis.sock" -q -n 5000 -r 5000 -d 2000 -c 20 -t set,lrange_100 >/dev/null
    redis-cli -s "$work/redis.sock" flushall async >/dev/null
    redis-cli -s "$work/redis.sock" shutdown nosave >/dev/null 2>&1 || true
    wait "$server" || { cat "$work/log" >&2; exit 1; }
    server=
    keep redis
fi
