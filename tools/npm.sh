#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes the packages of a lock file available outside the source tree, and prints the node_modules folder:
#     tools/npm.sh FOLDER      FOLDER holds package.json and package-lock.json; the packages go to $BUILD/npm/FOLDER
# Done once per lock file. Exits 77 with the reason where there is no node, no npm, or no registry; what failed is not
# tried again for ten minutes.
set -eu
from=$1
to=${BUILD:-build}/npm/$from
skip() { echo "$*" >&2; exit 77; }
command -v node >/dev/null || skip "node is not installed"
command -v npm >/dev/null || skip "npm is not installed"
mkdir -p "$to"
to=$(realpath "$to")
exec 9>"$to/lock"
flock 9
if ! cmp -s "$from/package-lock.json" "$to/done"; then
    [ -z "$(find "$to/failed" -mmin -10 2>/dev/null)" ] || skip "$(cat "$to/failed")"
    cp "$from/package.json" "$from/package-lock.json" "$to"
    if ! (cd "$to" && npm ci --ignore-scripts --no-audit --no-fund --prefer-offline --fetch-retries=1) >"$to/log" 2>&1; then
        echo "npm ci of $from failed: $(grep -m 1 -iE 'npm (err!|error) [a-z]+ [a-z]' "$to/log" || tail -n 1 "$to/log")" >"$to/failed"
        skip "$(cat "$to/failed")"
    fi
    cp "$from/package-lock.json" "$to/done"
fi
echo "$to/node_modules"
