#!/bin/sh
# Prints a SQL file as C string literals, comments and blank lines left out.
# usage: sql_to_c.sh FILE.sql
set -eu
sed -e 's/[[:space:]]*--.*$//' -e '/^[[:space:]]*$/d' -e 's/\\/\\\\/g' -e 's/"/\\"/g' \
    -e 's/^/"/' -e 's/$/\\n"/' "$1"
