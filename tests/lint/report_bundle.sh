#!/bin/sh
# The checked-in bundle of the report's page is what its sources give, and holds nothing that may not stand in a page.
set -eu
html=analyzer/report/html
for f in bundle.js bundle.css; do
    ! grep -qiE '</(script|style)' $html/$f || { echo "$f would end its element"; exit 1; }
    urls=$(grep -ohE 'https?://[^ "*)]*' $html/$f | grep -vx 'http://www.w3.org/2000/svg' || true)
    [ -z "$urls" ] || { echo "$f names addresses: $urls"; exit 1; }
done
grep -q 'Permission is hereby granted' $html/bundle.js || { echo "the licence of uPlot is not in the bundle"; exit 1; }
for lock in $html/package-lock.json tests/browser/package-lock.json; do
    ! grep -n '"resolved"' $lock || { echo "$lock names a registry"; exit 1; }
done
tools/npm.sh $html >/dev/null || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tools/bundle.sh "$work"
cmp $html/bundle.js "$work/bundle.js" && cmp $html/bundle.css "$work/bundle.css" || { echo "the bundle is old: make report-bundle"; exit 1; }
