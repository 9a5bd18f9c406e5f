#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The coroutine runtime under everything at once, on 1, 2 and 8 processors; longer with FULL=1.
set -eu
rounds=20
[ "${FULL:-0}" = 1 ] && rounds=400
for procs in 1 2 8; do
    CORO_MAXPROCS=$procs timeout 50 "$BUILD/tests/stress/co_churn" "$rounds"
done
