#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Libraries that allocate, start threads and register fork handlers before the agent's constructor; thread-local variables
# of every model in linked and loaded modules; snapshots meanwhile.
set -u
. tests/stress/agent.inc
CC=${CC:-cc}
src="-x c tests/e2e/agent_early.inc -x none"
$CC -shared -fPIC -DLIB -DSYM=linked $src -o "$TMP/liblinked.so" &&
    $CC -shared -fPIC -DLIB -DSYM=loaded $src -o "$TMP/libloaded.so" &&
    $CC $src -o "$TMP/early" -g -L"$TMP" -llinked -Wl,-rpath,"$TMP" -ldl -lpthread || fail "cannot compile"
for rate in 524288 1; do
    out=$(SEEP_RATE=$rate SEEP_INTERVAL=20ms preload timeout 30 "$TMP/early" "$TMP/libloaded.so" 2>&1)
    is "output at rate $rate" ok "$out"
done
snapshots_at_least 3
# Preloaded before and after another library of that kind.
is "before" ok "$(SEEP_OUT=$REC LD_PRELOAD="$LIB $TMP/libloaded.so" "$TMP/early" "$TMP/libloaded.so" 2>&1)"
is "after" ok "$(SEEP_OUT=$REC LD_PRELOAD="$TMP/libloaded.so $LIB" "$TMP/early" "$TMP/libloaded.so" 2>&1)"
