#!/bin/sh
# Formatting: every C file as .clang-format says.
set -eu
command -v clang-format >/dev/null || { echo "clang-format is not installed"; exit 1; }
files=$(git ls-files '*.c' '*.h' '*.cc')
[ -n "$files" ] || { echo "no file to check"; exit 1; }
# shellcheck disable=SC2086 # names without blanks
clang-format --dry-run -Werror $files
