#!/bin/bash
# CPython and three of its own test modules.
# timeout: 400
. tests/real/real.inc

# Hundreds of short threads and forks, on a machine that may be busy.
MISSED_ALLOWED=5

workload() {
    # The regression tests print times; what must not change is which of them passed.
    real_agent /usr/bin/python3 -m test -w test_json test_dict test_threading >"$1.log" 2>&1
    local code=$?
    grep -E '^(All|[0-9]+) .*(OK|failed|skipped)|^Tests? result|: *(SUCCESS|FAILURE)' "$1.log" | sed -E 's/ in [0-9.]+ .*//'
    [ $code = 0 ] || tail -n 60 "$1.log" >&2
    grep '^seep:' "$1.log" >&2
    return $code
}
real_run python3 workload
exit $failed
