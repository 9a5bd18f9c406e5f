#!/bin/sh
# What the repository never holds: absolute paths of somebody's machine, work left open, generated or binary files.
set -eu
bad=0
complain() { [ -z "$2" ] || { echo "$1:"; echo "$2" | head -20; bad=1; }; }
complain "paths of a work place or a home" \
    "$(git grep -nE '(^|[^A-Za-z0-9_.$}-])/(work|home|root|Users)/[A-Za-z0-9_.]' -- . ':!tests/lint/words.sh' ':!LICENSE' || true)"
complain "work left open" \
    "$(git grep -nEw 'TODO|FIXME|XXX|HACK' -- '*.c' '*.h' '*.S' '*.cc' '*.sh' '*.mk' '*.sql' '*.def' '*.md' Makefile ':!tests/lint/words.sh' || true)"
complain "build output in the repository" "$(git ls-files '*.o' '*.a' '*.so' '*.seep' '*.pb.gz' 'build*/*')"
complain "C files without a licence line" \
    "$(git ls-files '*.c' '*.h' '*.S' '*.cc' | while read -r f; do head -n 3 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$f"; done)"
complain "files above 1,000 lines" \
    "$(git ls-files '*.c' '*.h' '*.S' '*.cc' | while read -r f; do n=$(wc -l <"$f"); [ "$n" -le 1000 ] || echo "$f ($n)"; done)"
complain "test scripts that are not executable" \
    "$(git ls-files 'tests/*/*.sh' | while read -r f; do [ -x "$f" ] || echo "$f"; done)"
complain "no preprocessor conditionals of architecture or system outside agent/os, coro/context* and coro_arch.h" \
    "$(git grep -nE '^[[:space:]]*#[[:space:]]*(if|ifdef|ifndef|elif).*(__x86_64__|__aarch64__|__linux__)' -- '*.c' '*.h' ':!agent/os/*' ':!coro/context.h' ':!coro/include/coro_arch.h' || true)"
exit $bad
