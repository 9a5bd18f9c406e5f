#!/bin/sh
# Prints a header of the source tree as it is installed: tables (*.def) that it includes stand in their place.
# usage: inline_header.sh FILE.h
set -eu
awk -v dir="$(dirname "$1")" '
    match($0, /^[ \t]*#[ \t]*include[ \t]*"[^"]*\.def"/) {
        file = $0
        gsub(/^[^"]*"|"[^"]*$/, "", file)
        path = file ~ /\// ? file : dir "/" file
        n = 0
        while ((getline line <path) > 0) { print line; n++ }
        if (n == 0) { print "cannot read " path >"/dev/stderr"; exit 1 }
        close(path)
        next
    }
    { print }' "$1"
