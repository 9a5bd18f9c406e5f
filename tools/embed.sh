#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Prints a file as the elements of a C array, with a NUL after them: embed.sh FILE
set -eu
od -An -v -tu1 "$1" | sed -e 's/[0-9][0-9]*/&,/g' -e 's/ //g'
echo 0
