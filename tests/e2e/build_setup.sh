#!/bin/bash
# tools/setup.sh: silent when nothing is missing; without root or sudo it prints one command that names exactly what is missing, and
# stops; a wrong group is a usage error. (dpkg-query, id and sudo are stand-ins here: nothing is installed.)
set -euo pipefail
out=$(tools/setup.sh build)
[ -z "$out" ] || { echo "not silent: $out"; exit 1; }

export SEEP_SETUP_POLICY=$TMPDIR/policy
bin=$TMPDIR/bin
mkdir "$bin"
cat >"$bin/dpkg-query" <<'SH'
#!/bin/sh
shift 2
for p; do case $p in libdw-dev | libelf-dev) ;; *) echo "installed $p" ;; esac; done
exit 1
SH
printf '#!/bin/sh\necho 1000\n' >"$bin/id"
printf '#!/bin/sh\nexit 1\n' >"$bin/sudo"
printf '#!/bin/sh\necho "must not be called" >&2\nexit 1\n' >"$bin/apt-get"
chmod +x "$bin"/*
code=0
PATH=$bin:$PATH tools/setup.sh build 2>"$TMPDIR/err" || code=$?
[ $code = 1 ]
grep -qx '    sudo apt-get install -y libdw-dev libelf-dev' "$TMPDIR/err" || { cat "$TMPDIR/err"; exit 1; }
! grep -q 'must not be called' "$TMPDIR/err"

# As root it installs, once more after an update of the package lists, and does not believe apt-get's word alone.
printf '#!/bin/sh\necho 0\n' >"$bin/id"
cat >"$bin/apt-get" <<SH
#!/bin/sh
echo "\$*" >>"$TMPDIR/calls"
case "\$*" in *update*) touch "$TMPDIR/updated" ;; *) [ -e "$TMPDIR/updated" ] ;; esac
SH
code=0
PATH=$bin:$PATH tools/setup.sh build >"$TMPDIR/out" 2>"$TMPDIR/err" || code=$?
[ $code = 1 ]
grep -q 'still missing after the installation: libdw-dev libelf-dev' "$TMPDIR/err" || { cat "$TMPDIR/err"; exit 1; }
[ "$(wc -l <"$TMPDIR/calls")" = 3 ] || { cat "$TMPDIR/calls"; exit 1; }
[ ! -e "$SEEP_SETUP_POLICY" ] || { echo "the policy was left behind"; exit 1; }

code=0
tools/setup.sh everything 2>/dev/null || code=$?
[ $code = 2 ]
