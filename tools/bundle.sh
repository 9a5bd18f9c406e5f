#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Bundles analyzer/report/html/src by esbuild into OUT/bundle.js and OUT/bundle.css: bundle.sh OUT
set -eu
out=$1
modules=$("$(dirname "$0")/npm.sh" analyzer/report/html)
for kind in js css; do
    NODE_PATH=$modules "$modules/.bin/esbuild" "analyzer/report/html/src/main.$kind" --bundle --minify --format=iife \
        --target=es2020 --charset=utf8 --legal-comments=inline --log-level=warning --outfile="$out/bundle.$kind"
done
