#!/bin/bash
# nginx with a master and a worker: files, an index, compression and a proxy to itself, under wrk; reloaded once in the middle.
# timeout: 240
. tests/real/real.inc
seconds=2
[ -z "${FULL:-}" ] || seconds=20

configure() { # folder port
    mkdir -p "$1/html" "$1/tmp" "$1/logs"
    for i in 1 2 3 4 5 6 7 8; do head -c $((i * 9000)) /usr/bin/env | base64 >"$1/html/$i.txt"; done
    echo hello >"$1/html/index.html"
    cat >"$1/nginx.conf" <<CONF
worker_processes 2;
daemon off;
pid $1/nginx.pid;
error_log $1/logs/error.log warn;
events { worker_connections 256; }
http {
    access_log $1/logs/access.log;
    types { text/plain txt; text/html html; }
    client_body_temp_path $1/tmp/body; proxy_temp_path $1/tmp/proxy; fastcgi_temp_path $1/tmp/fcgi;
    uwsgi_temp_path $1/tmp/uwsgi; scgi_temp_path $1/tmp/scgi;
    gzip on; gzip_types text/plain;
    proxy_cache_path $1/tmp/cache keys_zone=c:1m;
    server {
        listen 127.0.0.1:$2;
        location / { root $1/html; autoindex on; }
        location /again/ { proxy_pass http://127.0.0.1:$2/; proxy_cache c; }
        location = /status { stub_status; }
    }
}
CONF
}
free_port() { /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# A master must not outlive the test.
trap 'for f in "$TMPDIR"/*/nginx.pid; do [ ! -s "$f" ] || kill -9 $(cat "$f") $(pgrep -P "$(cat "$f")") 2>/dev/null; done' EXIT

workload() {
    local port pid tries=0 code
    port=$(free_port)
    configure "$1" "$port"
    [ "$(id -u)" != 0 ] || sed -i '1i user root;' "$1/nginx.conf"
    real_agent nginx -e "$1/logs/start.log" -c "$1/nginx.conf" >"$1.log" 2>"$1.server-err" &
    pid=$!
    until curl -s -o /dev/null "http://127.0.0.1:$port/"; do
        kill -0 $pid 2>/dev/null && [ $((tries += 1)) -lt 200 ] || { cat "$1.log" "$1.server-err" "$1/logs/"* >&2; return 1; }
        sleep 0.05
    done
    wrk -t 1 -c 20 -d ${seconds}s "http://127.0.0.1:$port/5.txt" >"$1.wrk" 2>&1 || return
    for i in 1 2 3 4 5 6 7 8; do
        curl -s --compressed "http://127.0.0.1:$port/$i.txt" | cksum
        curl -s "http://127.0.0.1:$port/again/$i.txt" | cksum
    done
    kill -HUP "$(cat "$1/nginx.pid")"
    sleep 0.5
    wrk -t 1 -c 20 -d 1s "http://127.0.0.1:$port/again/3.txt" >>"$1.wrk" 2>&1 || return
    curl -s "http://127.0.0.1:$port/" | cksum
    curl -s -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:$port/none"
    kill -QUIT "$(cat "$1/nginx.pid")"
    wait $pid
    code=$?
    echo "server: $code"
    grep '^seep:' "$1.server-err" >&2
    grep -E 'alert|emerg|crit' "$1/logs/error.log"
    return $code
}
real_run nginx workload
n=$(sqlite3 "$TMPDIR/524288.seep" "SELECT count(DISTINCT pid) FROM process WHERE exe LIKE '%nginx'")
[ "$n" -ge 5 ] || fail "$n processes, expected a master and four workers"
exit $failed
