#!/bin/bash
# make install: the staged tree is complete, a program compiles and links against it through pkg-config, in C and in C++,
# `seep` finds its library, and make uninstall takes everything back.
set -euo pipefail
prefix=$TMPDIR/opt
make -s BUILD="$BUILD" PREFIX="$prefix" install >"$TMPDIR/log"

(cd "$prefix" && find . -type f | sort) >"$TMPDIR/have"
cat >"$TMPDIR/want" <<LIST
./bin/seep
./include/coro.h
./include/coro_arch.h
./include/seep.h
./include/seep_stats.h
./include/seep_task.h
./lib/libseep.so
./lib/pkgconfig/seep.pc
./share/bash-completion/completions/seep
./share/fish/vendor_completions.d/seep.fish
./share/man/man1/seep.1
./share/seep/seep-gdb.py
./share/zsh/site-functions/_seep
LIST
diff "$TMPDIR/want" "$TMPDIR/have"
! grep -rn "$PWD" "$prefix/include" "$prefix/lib/pkgconfig" "$prefix/share" || { echo "a path of the build tree was installed"; exit 1; }

export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
flags=$(pkg-config --cflags --libs seep)
cat >"$TMPDIR/p.c" <<'C'
#include <coro.h>
#include <seep.h>
#include <seep_task.h>
#include <stdio.h>
static void worker(void *ch)
{
    int v = 42;
    co_send(ch, &v);
}
int main(void)
{
    struct seep_memstats s = {.size = sizeof s};
    co_chan *ch = co_make(int, 0);
    int got = 0;
    if (co_go(worker, ch) || !co_recv(ch, &got)) return 1;
    co_chan_free(ch);
    if (seep_read_memstats(&s) || s.heap_objects == 0 || SEEP_WAIT_COUNT < 2) return 2;
    printf("%d %s\n", got, seep_version());
    return 0;
}
C
# shellcheck disable=SC2086
"${CC:-cc}" -std=gnu11 -Wall -Wextra -Werror -o "$TMPDIR/p" "$TMPDIR/p.c" $flags -Wl,-rpath,"$prefix/lib"
version=$(pkg-config --modversion seep)
[ "$(cd / && "$TMPDIR/p")" = "42 $version" ]
cat >"$TMPDIR/q.cc" <<'CC'
#include <seep.h>
#include <coro.h>
#include <seep_task.h>
int main() { return seep_version()[0] == 0; }
CC
# shellcheck disable=SC2086
"${CXX:-c++}" -std=c++17 -Wall -Wextra -Werror -o "$TMPDIR/q" "$TMPDIR/q.cc" $flags -Wl,-rpath,"$prefix/lib"
"$TMPDIR/q"

# The command finds the library that was installed with it, from any folder.
(cd / && "$prefix/bin/seep" run -o "$TMPDIR/r.seep" -- /bin/ls / >/dev/null)
"$prefix/bin/seep" info "$TMPDIR/r.seep" >"$TMPDIR/info"
grep -q . "$TMPDIR/info"

# Staged elsewhere: nothing knows of DESTDIR.
make -s BUILD="$BUILD" PREFIX=/usr LIBDIR=/usr/lib/x DESTDIR="$TMPDIR/stage" install >"$TMPDIR/log"
[ -f "$TMPDIR/stage/usr/lib/x/libseep.so" ]
grep -qx 'libdir=/usr/lib/x' "$TMPDIR/stage/usr/lib/x/pkgconfig/seep.pc"
! grep -rn stage "$TMPDIR/stage/usr/lib/x/pkgconfig" || { echo "DESTDIR in seep.pc"; exit 1; }

make -s BUILD="$BUILD" PREFIX="$prefix" uninstall
[ -z "$(find "$prefix" -type f)" ] || { find "$prefix" -type f; echo "left after uninstall"; exit 1; }
