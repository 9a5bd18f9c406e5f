#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes sure that the Debian packages of a group are installed (tools/packages.txt):
#     tools/setup.sh build|test|full|demo|bench
# Nothing to do: silent, a few milliseconds, no network. Something missing: installs it as root or through
# sudo without a password, else prints the one command to run and exits 1. Services that come with a
# package (redis-server) are not started.
set -eu
here=$(dirname "$0")

case "${1:-}" in
build) groups=build ;;
test | demo | bench) groups="build $1" ;;
full) groups="build test full" ;;
*)
    echo "usage: tools/setup.sh build|test|full|demo|bench" >&2
    exit 2
    ;;
esac

wanted=$(awk -v groups="$groups" 'BEGIN { split(groups, g, " "); for (i in g) want[g[i]] = 1 }
    $1 in want { print $2 }' "$here/packages.txt" | sort -u)

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "seep: this is not a Debian system; the set-up needs what these Debian packages hold:" $wanted >&2
    echo "seep: install them by hand, and put a no-op dpkg-query in the PATH to go on" >&2
    exit 1
fi

missing_packages() {
    # shellcheck disable=SC2086 # a list of names
    dpkg-query -W -f='${db:Status-Status} ${Package} ${Provides}\n' $wanted 2>/dev/null |
        awk -v wanted="$wanted" '$1 == "installed" { for (i = 2; i <= NF; i++) { sub(",$", "", $i); have[$i] = 1 } }
            END { n = split(wanted, w, /[ \n]+/); for (i = 1; i <= n; i++) if (!(w[i] in have)) print w[i] }'
}

missing=$(missing_packages | tr '\n' ' ')
missing=${missing% }
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    echo "seep: packages are missing and installing them needs root. Run this, then try again:" >&2
    echo "    sudo apt-get install -y $missing" >&2
    exit 1
fi

echo "seep: installing $missing"

# A policy of "no service may start" for as long as the installation lasts, unless there is a policy already.
policy=${SEEP_SETUP_POLICY:-/usr/sbin/policy-rc.d}
made_policy=
if [ ! -e "$policy" ] && printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null 2>&1; then
    $as_root chmod 755 "$policy"
    made_policy=1
fi
log=$(mktemp)
cleanup() {
    rm -f "$log"
    [ -z "$made_policy" ] || $as_root rm -f "$policy"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

install() {
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends \
        -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 $missing </dev/null >"$log" 2>&1
}
# The package lists may be absent or old: update them once when the first try fails.
if ! install; then
    $as_root apt-get update -q </dev/null >"$log" 2>&1 || { cat "$log" >&2; echo "seep: apt-get update failed" >&2; exit 1; }
    install || { tail -n 20 "$log" >&2; echo "seep: could not install: $missing" >&2; exit 1; }
fi

still=$(missing_packages | tr '\n' ' ')
if [ -n "$still" ]; then
    echo "seep: still missing after the installation: $still" >&2
    exit 1
fi
