#!/bin/sh
# Names from every place where debug information may be, and none where it is of another build: a name is right or absent.
set -eu
command -v sqlite3 >/dev/null || exit 77
seep=$(realpath "$BUILD/seep")
schema=$(realpath agent/contract/schema.sql)
work=$(mktemp -d)
pids=
trap 'for p in $pids; do kill $p 2>/dev/null || true; done; rm -rf "$work"; rm -f "/tmp/perf-$$.map"' EXIT
cd "$work"
export HOME="$work"
cat >prog.c <<'EOF'
static __attribute__((noinline)) int hidden_work(int x)
{
    return x * 3 + 1;
}
static inline __attribute__((always_inline)) int folded(int x)
{
    return hidden_work(x) + 2;
}
int main(int argc, char **argv)
{
    (void)argv;
    return folded(argc);
}
EOF
bad=0
recording() { # image (SQL), offset
    rm -f r.seep
    sqlite3 r.seep <"$schema"
    sqlite3 r.seep "INSERT INTO process VALUES (1, $$, 1, $(($(date +%s) - ${BORN:--5}))000000000, 5000000000, 'x', 'x', 'h', '0', 4096);
        INSERT INTO image VALUES (1, '$work/$1', '$3'); INSERT INTO frame VALUES (1, $4, $2);
        INSERT INTO stack VALUES (1, 1, x'01000000');
        INSERT INTO snapshot VALUES (1, 1, 1, 'exit', '', 1, 1, 0, 0, 0, 1, 1, 0, 1, 1, 0, 0, 0, 0);
        INSERT INTO heap VALUES (1, 1, 64, 1, 64, 0, 0, 0, 0, 0, 0);"
}
is() { # what, expected "stack place", options of seep
    what=$1 want=$2
    shift 2
    got=$("$seep" export --csv -o - "$@" r.seep | tail -n 1 | tr -d '"\r' | awk -F, '{ print $NF, $(NF - 1) }')
    [ "$got" = "$want" ] || { echo "$what: \"$got\", not \"$want\""; bad=1; }
}
id() { readelf -n "$1" | sed -n 's/.*Build ID: //p'; }
addr() { echo $((0x$(nm "$1" | awk '/hidden_work/ { print $1; exit }') + 3)); }
build() { # name, flags…
    name=$1
    shift
    ${CC:-cc} -O1 -g "$@" -o "$name" prog.c
    at=$(addr "$name")
    recording "$name" "$at" "$(id "$name")" 1
}
full="hidden_work prog.c:3" # or :4, by the compiler
build plain
case $("$seep" export --csv -o - r.seep) in *prog.c:4*) full="hidden_work prog.c:4" ;; esac
is plain "$full"
call=$(objdump -d plain | awk '/call.*<hidden_work>/ { getline; sub(":", "", $1); print $1; exit }')
recording plain $((0x$call)) "$(id plain)" 1
is inlined "main;folded prog.c:7"
build zipped -gz && is "compressed sections" "$full"
build old -gdwarf-4 && is "DWARF 4" "$full"
build noid -Wl,--build-id=none && is "no build id" "$full"
build split -gsplit-dwarf && is "split DWARF" "$full"
rm -f ./*.dwo
is "split DWARF without its other half" "$full"

# Separate debug files.
cp plain linked
objcopy --only-keep-debug plain linked.debug
strip linked
objcopy --add-gnu-debuglink=linked.debug linked
recording linked "$(addr plain)" "$(id plain)" 1
is .gnu_debuglink "$full"
mkdir .debug && mv linked.debug .debug/
is .debug "$full"
${CC:-cc} -O1 -g -DOTHER=1 -fno-inline -o other prog.c
objcopy --only-keep-debug other .debug/linked.debug
is "debug file of another build" "linked+$(printf '0x%x' "$(addr plain)") linked"
rm -r .debug
is stripped "linked+$(printf '0x%x' "$(addr plain)") linked"
mkdir -p "dir/.build-id/$(id plain | cut -c1-2)"
objcopy --only-keep-debug plain "dir/.build-id/$(id plain | cut -c1-2)/$(id plain | cut -c3-).debug"
is "--debug-dir" "$full" --debug-dir dir
mv linked elsewhere
is "--debug-dir, program gone" "$full" --debug-dir dir
mkdir sysroot && cp plain sysroot/linked
is "--debug-dir with programs" "$full" --debug-dir sysroot
cp other sysroot/linked
is "--debug-dir with another build" "linked+$(printf '0x%x' "$(addr plain)") linked" --debug-dir sysroot

# MiniDebugInfo: the names of functions, packed by xz inside the program.
if command -v xz >/dev/null; then
    cp plain mini
    objcopy -S --keep-symbol=hidden_work --keep-symbol=main plain names
    objcopy --only-keep-debug plain names.debug
    objcopy -S --remove-section=.comment --keep-symbol=hidden_work --keep-symbol=main names.debug names
    strip mini
    xz -f names
    objcopy --add-section .gnu_debugdata=names.xz mini
    recording mini "$(addr plain)" "$(id plain)" 1
    is MiniDebugInfo "hidden_work mini"
fi

# Rebuilt since: the recorded build id is another one.
recording plain "$(addr plain)" "$(id other)" 1
is rebuilt "plain+$(printf '0x%x' "$(addr plain)") plain"
# Without a build id the age decides.
BORN=100000 recording noid "$(addr noid)" "" 1
is "newer than the process" "noid+$(printf '0x%x' "$(addr noid)") noid"

# Generated code: only when allowed, of this user, newer than the process, and of one voice.
BORN=5 recording none 4096 "" NULL
printf 'ff0 20 jit_one()\n2000 10 jit_two\n' >"/tmp/perf-$$.map"
is "generated code" "0x1000 "
is "generated code, allowed" "jit_one() " --jit-maps
printf 'ff0 20 jit_one()\nff8 20 jit_three\nnonsense\n 1 2\nfffffffffffffff0 20 over\n' >"/tmp/perf-$$.map"
is "contradictions" "0x1000 " --jit-maps
printf 'ff0 20 jit_one()\n' >"/tmp/perf-$$.map"
touch -d '2001-01-01' "/tmp/perf-$$.map"
is "an old map" "0x1000 " --jit-maps
rm "/tmp/perf-$$.map"
printf 'ff0 20 jit_one()\n' >map
ln -s "$work/map" "/tmp/perf-$$.map"
is "a link" "0x1000 " --jit-maps

# The vdso, which is no file.
if command -v python3 >/dev/null; then
    python3 -c '
for l in open("/proc/self/maps"):
    if "[vdso]" in l:
        a, b = (int(x, 16) for x in l.split()[0].split("-"))
        m = open("/proc/self/mem", "rb"); m.seek(a); open("vdso", "wb").write(m.read(b - a))'
    if [ -s vdso ]; then
        at=$(readelf -W --dyn-syms vdso | awk '$8 ~ /^__vdso_gettimeofday/ { print $2; exit }')
        recording x $((0x$at + 1)) "$(id vdso)" 1
        sqlite3 r.seep "UPDATE image SET path = '[vdso]'"
        case $("$seep" export --folded -o - r.seep) in *gettimeofday*) ;; *) echo "no name in the vdso"; bad=1 ;; esac
        sqlite3 r.seep "UPDATE image SET build_id = 'aa'"
        case $("$seep" export --folded -o - r.seep) in *gettimeofday*) echo "a name in another vdso"; bad=1 ;; esac
    fi
fi

# debuginfod: a server of our own, asked only when allowed.
if command -v python3 >/dev/null && ldconfig -p | grep -q 'libdebuginfod\.so\.1'; then
    mkdir -p "www/buildid/$(id plain)"
    objcopy --only-keep-debug plain "www/buildid/$(id plain)/debuginfo"
    # Files without an extension of ours, an unused port.
    python3 -u -c '
import http.server, os
os.chdir("www")
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(s.server_port, file=open("../port.new", "w")); os.rename("../port.new", "../port")
s.serve_forever()' >access.log 2>&1 &
    pids=$!
    for _ in $(seq 100); do [ -s port ] && break; sleep 0.05; done
    export DEBUGINFOD_URLS="http://127.0.0.1:$(cat port)" DEBUGINFOD_CACHE_PATH="$work/cache" no_proxy=127.0.0.1
    recording gone "$(addr plain)" "$(id plain)" 1
    is "debuginfod, not asked" "gone+$(printf '0x%x' "$(addr plain)") gone"
    [ ! -s access.log ] || { echo "the server was asked: $(cat access.log)"; bad=1; }
    is debuginfod "$full" --debuginfod
    grep -q "GET /buildid/$(id plain)/debuginfo" access.log || { echo "the server was not asked"; bad=1; }
fi
exit $bad
