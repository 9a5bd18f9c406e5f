#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# One round of wrk against the HTTP server of the contestant BENCH_WHO:   httpd.sh PROCESSORS CONNECTIONS
# The server is examples/httpd, or one of bench/coro/httpd; it shares the machine with wrk.
set -eu
export CORO_MAXPROCS="$1" GOMAXPROCS="$1"
ulimit -n 8192
case "$BENCH_WHO" in
seep) server=$BENCH_BIN/../examples/httpd ;;
*) server=$BENCH_BIN/coro/httpd-$BENCH_WHO ;;
esac
log=$(mktemp)
"$server" -p 0 >"$log" &
pid=$!
trap 'kill $pid 2>/dev/null; rm -f "$log"' EXIT
tries=0
until address=$(sed -n 's/^listening on //p' "$log") && [ -n "$address" ]; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || exit 1
    sleep 0.05
done
out=$(wrk -t 2 -c "$2" -d "${HTTPD_SECONDS:-2}" "http://$address/")
echo "$out" | awk '
    /Requests\/sec/ { rate = $2 }
    /Socket errors|Non-2xx/ { print "httpd: " $0 > "/dev/stderr"; bad = 1 }
    END { if (bad || rate <= 0) exit 1; print "metric requests_s", rate }'
