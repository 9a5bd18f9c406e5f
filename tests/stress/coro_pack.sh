#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Packing as fast as it can while coroutines wake each other, with snapshots recorded meanwhile. FULL=1: half a minute.
set -u
seconds=1
[ "${FULL:-0}" = 1 ] && seconds=30
SEEP_OUT="$TMPDIR/out.seep" SEEP_INTERVAL=50 "$BUILD/tests/stress/co_pack" $seconds
