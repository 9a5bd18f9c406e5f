#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs one load of bench/coro.plan as the contestant BENCH_WHO:   run.sh PROCESSORS LOAD COUNT
set -eu
export CORO_MAXPROCS="$1" GOMAXPROCS="$1"
program=$BENCH_WHO
case "$BENCH_WHO,$2" in
seep,switch*) program=switch ;;
seep,packed) program=pack; export SEEP_VERBOSE=2 ;;
esac
exec "$BENCH_BIN/coro/$program" "$2" "$3"
