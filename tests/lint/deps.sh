#!/bin/sh
# The dependency rule, over the includes: coro → agent; analyzer → agent/contract only; agent → neither;
# agent/contract → itself only. The same for the public headers that bring in others of ours.
set -eu
bad=0
check() { # folder, what it may include (regular expression over paths from the root)
    files=$(git ls-files "$1/*.c" "$1/*.h" "$1/*.S" "$1/*.def")
    [ -n "$files" ] || { echo "nothing in $1"; bad=1; return; }
    # shellcheck disable=SC2086
    out=$(grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"[^"]*/' $files | grep -vE "include[[:space:]]*\"($2)" || true)
    [ -z "$out" ] || { echo "$1 may include only $2:"; echo "$out"; bad=1; }
    out=$(grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"\.\.' $files || true)
    [ -z "$out" ] || { echo "includes are written from the root:"; echo "$out"; bad=1; }
}
# (agent/include/seep_stats.h is the table of agent/contract.)
check agent 'agent/'
check agent/contract 'agent/contract/'
check coro 'agent/|coro/'
check analyzer 'analyzer/|agent/contract/'
# Names without a folder: files beside the including one, generated ones, and the two public headers where allowed.
out=$(git ls-files 'analyzer/*.c' 'analyzer/*.h' | xargs grep -nHE '#[[:space:]]*include[[:space:]]*["<](seep|coro)\.h[">]' || true)
[ -z "$out" ] || { echo "the analyzer shares no code with what it looks at:"; echo "$out"; bad=1; }
out=$(git ls-files 'agent/*.c' 'agent/*.h' | xargs grep -nHE '#[[:space:]]*include[[:space:]]*["<]coro\.h[">]' || true)
[ -z "$out" ] || { echo "the agent knows nothing of coro:"; echo "$out"; bad=1; }
# Only one file knows SQLite inside the agent.
out=$(git ls-files 'agent/*.[ch]' | xargs grep -lE '#[[:space:]]*include[[:space:]]*<sqlite3\.h>' || true)
for f in $out; do
    case $f in
    agent/snapshot/*) ;;
    *) echo "$f includes sqlite3.h: only agent/snapshot knows SQLite"; bad=1 ;;
    esac
done
exit $bad
