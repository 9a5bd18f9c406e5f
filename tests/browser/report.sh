#!/bin/sh
# The page of `seep report` in headless Chromium: what it shows, what it does, what it must not do. SHOTS=FOLDER keeps screenshots.
set -eu
command -v sqlite3 >/dev/null || { echo "sqlite3 is not installed"; exit 77; }
chromium=$(command -v chromium || command -v chromium-browser) || { echo "chromium is not installed"; exit 77; }
modules=$(tools/npm.sh tests/browser) || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sh tests/browser/mk_report.inc "$work/server.seep" "$BUILD/tests/browser/evil"
"$BUILD/seep" report -o "$work/report.html" "$work/server.seep"
size=$(wc -c <"$work/report.html")
[ "$size" -lt 512000 ] || { echo "the page has $size bytes"; exit 1; }
! grep -qE '(src|href)="?(https?:)?//' "$work/report.html" || { echo "the page names an address"; exit 1; }
[ "$(grep -c '<script>alert' "$work/report.html")" = 0 ] || { echo "markup of the recording is in the page"; exit 1; }
CHROMIUM=$chromium HOME=$work node tests/browser/report.mjs "$modules" "$work/report.html" "${SHOTS:-}"
