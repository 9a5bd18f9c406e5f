#!/bin/sh
# docs/json.md names every member that the commands print as JSON.
set -eu
command -v sqlite3 >/dev/null || exit 77
bad=0
members() { # every path of the file, arrays without their index, shared objects under their own name
    sqlite3 :memory: "SELECT DISTINCT fullkey FROM json_tree(readfile('$1')) WHERE typeof(key) = 'text'" |
        sed -E 's/\[[0-9]+\]/[]/g; s/"//g; s/^\$\.//
            s/.*(stack)\[\]\.([a-z_]+)$/frame.\2/; s/^.*site\.([a-z_]+)$/site.\1/
            s/^(.*\.)?snapshots\[\]\.([a-z_]+)$/snapshot.\2/; s/^findings\[\]\.([a-z_]+)$/finding.\1/
            s/evidence\..*/evidence/; s/^findings\[\]\.evidence$/finding.evidence/; s/stats\..*/stats/'
}
n=0
for f in tests/golden/*_json.out; do
    case $f in *sarif*) continue ;; esac
    for m in $(members "$f" | sort -u); do
        n=$((n + 1))
        grep -qF "\`$m\`" docs/json.md || { echo "${f##*/}: docs/json.md does not know $m"; bad=1; }
    done
done
[ $n -gt 200 ] || { echo "only $n members were looked at"; bad=1; }
exit $bad
