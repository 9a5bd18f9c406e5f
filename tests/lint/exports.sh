#!/bin/sh
# libseep.so exports what tests/lint/exports.txt lists and nothing else, all of it from agent/entry or coro; and it needs
# no library beyond libc's.
set -eu
lib=$BUILD/libseep.so
[ -f "$lib" ] || { echo "$lib is missing"; exit 1; }
nm -D --defined-only --format=posix "$lib" | awk '$2 != "A" { print $1 }' | sed 's/@.*//' | sort -u >"$TMPDIR/exported"
sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' tests/lint/exports.txt | sort -u >"$TMPDIR/allowed"
[ -s "$TMPDIR/exported" ] || { echo "nothing is exported"; exit 1; }
bad=0
grep -vxE -f "$TMPDIR/allowed" "$TMPDIR/exported" >"$TMPDIR/extra" || true
[ ! -s "$TMPDIR/extra" ] || { echo "exported, but not in tests/lint/exports.txt:"; cat "$TMPDIR/extra"; bad=1; }
while read -r pattern; do
    grep -qxE "$pattern" "$TMPDIR/exported" || { echo "not exported: $pattern"; bad=1; }
done <"$TMPDIR/allowed"
needed=$(objdump -p "$lib" | awk '$1 == "NEEDED" { print $2 }' | grep -vxE 'lib(c|m|dl|pthread)\.so\.[0-9]+|ld-linux-[a-z0-9-]+\.so\.[0-9]+' || true)
[ -z "$needed" ] || { echo "the agent needs more than libc:"; echo "$needed"; bad=1; }
objdump -p "$lib" | grep -q 'SONAME *libseep\.so' || { echo "no soname"; bad=1; }
# Every TLS access of the agent is initial-exec: a call of __tls_get_addr may allocate.
! nm -D --undefined-only "$lib" | grep -w __tls_get_addr || { echo "the agent calls __tls_get_addr"; bad=1; }
exit $bad
