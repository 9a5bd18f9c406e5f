#!/bin/bash
# PostgreSQL: its start, a schema, queries of many kinds, pgbench over a Unix socket, a checkpoint and a fast shutdown. One process for each
# connection, shared memory, and an allocator of its own on malloc.
# timeout: 300
. tests/real/real.inc
PG=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -x "$PG/postgres" ] || { fail "PostgreSQL is not installed"; exit 1; }
transactions=300
[ -z "${FULL:-}" ] || transactions=10000

# The server refuses to run as root.
as_server() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else "$@"; fi; }
if [ "$(id -u)" = 0 ]; then
    base=$(mktemp -d /tmp/seep-pg.XXXXXX) && chown postgres "$base"
    mkdir "$base/lib" && cp "$LIB" "$base/lib/" && chmod 755 "$base/lib" && LIB=$base/lib/libseep.so
    chmod 755 "$base"
else
    base=$TMPDIR
fi
(cd / && as_server "$PG/initdb" -D "$base/template" -A trust -U u --no-sync -E UTF8 --no-locale >"$TMPDIR/initdb" 2>&1) ||
    { cat "$TMPDIR/initdb"; fail "initdb"; exit 1; }

# A server must not outlive the test.
end() {
    local f
    for f in "$base"/*/postmaster.pid; do [ ! -s "$f" ] || kill -QUIT "$(head -n 1 "$f")" 2>/dev/null; done
    [ "$base" = "$TMPDIR" ] || rm -rf "$base"
}
trap end EXIT

workload() {
    local data=$base/${rate:-plain} pid tries=0 code
    cp -a "$base/template" "$data"
    mkdir "$data/s" && chmod 777 "$data/s"
    recording=$data.seep
    local as=()
    [ -z "$rate" ] || as=(LD_PRELOAD="$LIB" SEEP_RATE=$rate SEEP_INTERVAL=1s SEEP_OUT="$recording")
    (cd / && as_server env "${as[@]}" "$PG/postgres" -D "$data" -k "$data/s" -c listen_addresses= -c fsync=off -c shared_buffers=16MB \
        >"$1.log" 2>"$1.server-err") &
    pid=$!
    until "$PG/psql" -h "$data/s" -U u -Atc 'SELECT 1' postgres >/dev/null 2>&1; do
        kill -0 $pid 2>/dev/null && [ $((tries += 1)) -lt 400 ] || { cat "$1.log" "$1.server-err" >&2; return 1; }
        sleep 0.05
    done
    "$PG/psql" -h "$data/s" -U u -At postgres <<'SQL' || return
CREATE TABLE t (id int PRIMARY KEY, a text, b numeric, c jsonb);
INSERT INTO t SELECT i, md5(i::text), i / 7.0, jsonb_build_object('i', i, 'l', ARRAY[i, i + 1]) FROM generate_series(1, 20000) i;
CREATE INDEX ON t (a text_pattern_ops);
ANALYZE t;
SELECT count(*), sum(b)::numeric(20, 3) FROM t WHERE a LIKE 'a%';
WITH RECURSIVE f (n, a, b) AS (SELECT 1, 1::numeric, 1::numeric UNION ALL SELECT n + 1, b, a + b FROM f WHERE n < 200) SELECT max(a) FROM f;
SELECT c->>'i', rank() OVER (ORDER BY b DESC) FROM t ORDER BY id LIMIT 5;
CREATE FUNCTION g(n int) RETURNS int LANGUAGE plpgsql AS $$ DECLARE s int := 0; BEGIN FOR i IN 1..n LOOP s := s + i % 7; END LOOP; RETURN s; END $$;
SELECT g(100000);
UPDATE t SET a = upper(a) WHERE id % 3 = 0;
DELETE FROM t WHERE id % 5 = 0;
VACUUM t;
SELECT count(DISTINCT a), md5(string_agg(a, '' ORDER BY id)) FROM t;
CHECKPOINT;
SQL
    "$PG/pgbench" -h "$data/s" -U u -i -q -s 1 postgres >"$1.bench" 2>&1 || return
    "$PG/pgbench" -h "$data/s" -U u -c 4 -j 1 -t $transactions -n postgres >>"$1.bench" 2>&1
    echo "pgbench: $?"
    sleep 1.2 # past one interval at least
    as_server kill -INT "$(head -n 1 "$data/postmaster.pid")"
    wait $pid
    code=$?
    echo "server: $code"
    grep '^seep:' "$1.server-err" >&2
    [ ! -e "$recording" ] || cp "$recording" "$1.seep"
    recording=$1.seep
    rm -rf "$data"
    return $code
}
real_run postgres workload
n=$(sqlite3 "$TMPDIR/524288.seep" "SELECT count(DISTINCT pid) FROM process")
[ "$n" -ge 8 ] || fail "$n processes, expected a postmaster, its helpers and backends"
exit $failed
