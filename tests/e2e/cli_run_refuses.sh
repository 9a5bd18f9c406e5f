#!/bin/sh
# What cannot be recorded is refused before anything is started or created: one line, exit 4.
set -eu
seep=$(realpath "$BUILD/seep")
[ -e "$BUILD/libseep.so" ] || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
bad=0
refuse() { # words, arguments of seep
    words=$1
    shift
    rc=0
    err=$("$seep" "$@" 2>&1 >/dev/null) || rc=$?
    if [ $rc != 4 ] || [ "$(printf '%s\n' "$err" | wc -l)" != 1 ] || ! printf '%s' "$err" | grep -q -- "$words"; then
        echo "seep $*: exit $rc: $err"
        bad=1
    fi
}
refuse "no such command" run -- no_such_command_anywhere
refuse "no such command" run -- ./absent
echo data >plain
refuse "not executable" run -- ./plain
mkdir folder
refuse "directory" run -- ./folder
printf '#!/no/such/interpreter\n' >script
chmod +x script
refuse "interpreter" run -- ./script
if echo 'int main(void) { return 0; }' | ${CC:-cc} -static -x c -o static - 2>/dev/null; then
    refuse "not dynamically linked: preloading cannot work" run -- ./static
    printf '#!%s/static\n' "$work" >script
    refuse "not dynamically linked" gate -- ./script
fi
cp /bin/true other
printf '\267\000' | dd of=other bs=1 seek=18 conv=notrunc 2>/dev/null # e_machine: AArch64
refuse "another machine" run -- ./other
cp /bin/true small
printf '\001' | dd of=small bs=1 seek=4 conv=notrunc 2>/dev/null # 32-bit
refuse "32-bit" run -- ./small
refuse "not there" run --agent /no/agent.so -- true
refuse "not a shared library" run --agent "$work/plain" -- true
touch kept.seep
refuse "exists" run -o kept.seep -- true
[ ! -s kept.seep ] || { echo "an existing file was written"; bad=1; }
ln -s target link.seep
refuse "symbolic link" run -o link.seep -- true
refuse "symbolic link" run -f -o link.seep -- true
[ ! -e target ] || { echo "written through a link"; bad=1; }
refuse "directory" run -f -o folder -- true
refuse "No such file" run -o absent/x.seep -- true
mkfifo fifo
refuse "regular file" run -f -o fifo -- true
if [ "$(id -u)" = 0 ]; then
    cp /bin/true suid
    chown 1 suid && chmod 4755 suid
    refuse "setuid" run -- ./suid
    mkdir small_disk
    if mount -t tmpfs -o size=16k tmpfs small_disk 2>/dev/null; then
        rc=0
        refuse "space" run -o small_disk/x.seep -- true
        [ -z "$(ls small_disk)" ] || { echo "left on the full disk: $(ls small_disk)"; bad=1; }
        umount small_disk
    fi
fi
[ -z "$(ls ./*.seep | grep -v -e kept -e link)" ] || { echo "a recording was left: $(ls)"; bad=1; }
exit $bad
