# SPDX-License-Identifier: Apache-2.0
#
# Coroutines in gdb, in a live process and in a core file:
#     (gdb) source …/share/seep/seep-gdb.py
#     (gdb) co-list                 every coroutine: id, name, state, where it waits
#     (gdb) co-bt 17                the stack of coroutine 17
#     (gdb) co-bt all               of every coroutine that is on no thread
# Needs the debug information of libseep.so. One that runs has its stack on its thread: `thread N`, `bt`.
#
# gdb unwinds from a thread's registers, which can't be written in a core file. So for co-bt an unwinder stands in for the caller
# of the thread's innermost frame: it hands out the registers that the coroutine saved when it parked.
#
# The stack of a packed coroutine stands elsewhere (coro/pack.c). Its bytes are written to a file in the form of an ELF image with one read-only
# section for each, at the addresses of the stack, and gdb is told to believe such sections more than memory.
import os
import struct
import tempfile

import gdb
from gdb.unwinder import Unwinder

STATES = ["dead", "runnable", "running", "waiting", "system call", "orphan"]
FRAME = [("r15", "r15"), ("r14", "r14"), ("r13", "r13"), ("r12", "r12"), ("rbx", "rbx"), ("rbp", "rbp")]


def symbol(name, of):
    try:
        return gdb.parse_and_eval("'%s'::%s" % (of, name))
    except gdb.error:
        return gdb.parse_and_eval(name)


def coroutines():
    """Every descriptor in use."""
    try:
        n = int(symbol("ndescriptors", "g.c"))
        chunks = symbol("chunks", "g.c")
    except gdb.error as e:
        raise gdb.GdbError("no coroutines, or no debug information of libseep.so (%s)" % e)
    for i in range(n):
        g = chunks[i // 256][i % 256]
        if int(g["id"]) and STATES[int(g["status"])] not in ("dead", "orphan"):
            yield g


def text(value):
    return value.string(errors="replace") if int(value) else None


def state_of(g):
    state = STATES[int(g["status"])]
    if state == "waiting":
        return text(symbol("seep_wait_texts", "report.c")[int(g["reason"])]) or state
    return state


def title(g):
    name = text(g["name"])
    return "coroutine %d%s [%s]" % (int(g["id"]), ' "%s"' % name if name else "", state_of(g))


def thread_of(g):
    """The number of the thread it is on, or None."""
    if STATES[int(g["status"])] not in ("running", "system call"):
        return None
    lo, hi = int(g["stack_lo"]), int(g["stack_hi"])
    now = gdb.selected_thread()
    try:
        for t in gdb.selected_inferior().threads():
            t.switch()
            sp = int(gdb.selected_frame().read_register("rsp")) & (1 << 64) - 1
            if lo <= sp < hi:
                return t.num
    finally:
        now.switch()
    return None


PACKED = 2  # G_PACKED of coro/types.h; its size in units of 16 bytes stands in the bits from 8 on


def is_packed(g):
    return bool(int(g["flags"]) & PACKED)


def packed_sp(g):
    return int(g["stack_hi"]) - (int(g["flags"]) >> 8) * 16


class Overlay:
    """While it lasts gdb reads the stacks of these coroutines as if they were in their places."""

    def __init__(self, gs):
        self.gs = [g for g in gs if is_packed(g)]
        self.path = None

    def image(self):
        """ELF header, contents, section names, section headers."""
        names = b"\0.stack\0.shstrtab\0"
        body, sections = bytearray(64), [struct.pack("<IIQQQQIIQQ", *[0] * 10)]
        for g in self.gs:
            size = int(g["stack_hi"]) - packed_sp(g)
            sections.append(struct.pack("<IIQQQQIIQQ", 1, 1, 2, packed_sp(g), len(body), size, 0, 0, 16, 0))
            body += bytes(gdb.selected_inferior().read_memory(int(g["sp"]), size))
        sections.append(struct.pack("<IIQQQQIIQQ", 8, 3, 0, 0, len(body), len(names), 0, 0, 1, 0))
        body += names
        body += bytes(-len(body) % 8)
        body[:64] = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, 0, 0, len(body), 0, 64, 56, 0, 64,
                                len(sections), len(sections) - 1)
        return bytes(body) + b"".join(sections)

    def __enter__(self):
        if not self.gs:
            return
        with tempfile.NamedTemporaryFile(suffix=".elf", delete=False) as f:
            self.path = f.name
            f.write(self.image())
        self.before = gdb.parameter("trust-readonly-sections")
        self.confirm = gdb.parameter("confirm")
        gdb.execute("set confirm off", to_string=True)
        gdb.execute("set trust-readonly-sections on", to_string=True)
        gdb.execute("add-symbol-file " + self.path, to_string=True)
        gdb.execute("maintenance flush dcache", to_string=True)

    def __exit__(self, *exception):
        if not self.path:
            return
        gdb.execute('remove-symbol-file "%s"' % self.path, to_string=True)
        gdb.execute("set trust-readonly-sections " + ("on" if self.before else "off"), to_string=True)
        gdb.execute("set confirm " + ("on" if self.confirm else "off"), to_string=True)
        gdb.execute("maintenance flush dcache", to_string=True)
        os.unlink(self.path)


class Parked(Unwinder):
    """Goes from the innermost frame of the selected thread to where `g` parked."""

    def __init__(self):
        super().__init__("seep coroutine")
        self.g = None
        self.enabled = True

    def __call__(self, pending):
        if self.g is None or pending.level() != 0:
            return None
        frame = self.g["sp"].cast(gdb.lookup_type("struct context_frame").pointer())
        word = gdb.lookup_type("unsigned long")

        class Id:
            pass

        sp = gdb.Value(packed_sp(self.g)) if is_packed(self.g) else self.g["sp"]
        sp = sp.cast(gdb.lookup_type("struct context_frame").pointer())
        here = Id()
        here.sp, here.pc = sp.cast(word), frame["pc"].cast(word)  # gdb wants callers at higher addresses than callees
        info = pending.create_unwind_info(here)
        for reg, field in FRAME:
            info.add_saved_register(reg, frame[field].cast(word))
        info.add_saved_register("rip", frame["pc"].cast(word))
        info.add_saved_register("rsp", (sp + 1).cast(word))
        return info


parked = Parked()
gdb.unwinder.register_unwinder(None, parked, replace=True)


def is_own(pc):
    return os.path.basename(gdb.solib_name(pc) or "").startswith("libseep.so")


def frames(g, limit):
    """Of one that is on no thread, innermost first, as (function, file:line or module, is it the runtime's)."""
    out = []
    parked.g = g
    gdb.invalidate_cached_frames()
    try:
        f = gdb.newest_frame().older()
        while f is not None and f.is_valid() and len(out) < limit:
            where = f.find_sal()
            name = f.name() or "0x%x" % f.pc()
            if name == "context_entry":
                break
            place = "%s:%d" % (where.symtab.filename, where.line) if where.symtab else gdb.solib_name(f.pc()) or "?"
            out.append((name, place, is_own(f.pc())))
            f = f.older()
    except gdb.error as e:
        out.append(("(%s)" % e, "", False))
    finally:
        parked.g = None
        gdb.invalidate_cached_frames()
    return out


def where(g):
    """The first frame that is not the runtime's."""
    for name, place, own in frames(g, 16):
        if not own:
            return "%s (%s)" % (name, place)
    return ""


def batches(items, size):
    some = []
    for item in items:
        some.append(item)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


class CoList(gdb.Command):
    """co-list: every coroutine with its state and where it waits."""

    def __init__(self):
        super().__init__("co-list", gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        n = 0
        for some in batches(coroutines(), 1000):
            with Overlay(some):
                for g in some:
                    n += 1
                    t = thread_of(g)
                    running = STATES[int(g["status"])] in ("running", "system call")
                    place = "on thread %d" % t if t else "" if running else where(g)
                    print("%s %s" % (title(g), place))
        print("%d coroutines" % n)


class CoBt(gdb.Command):
    """co-bt ID|all: the stack of a coroutine that is on no thread."""

    def __init__(self):
        super().__init__("co-bt", gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        if arg.strip() != "all" and not arg.strip().isdigit():
            raise gdb.GdbError("co-bt ID, or co-bt all; co-list has the ids")
        found = False
        for g in coroutines():
            if arg.strip() != "all" and int(g["id"]) != int(arg):
                continue
            found = True
            print(title(g))
            if STATES[int(g["status"])] in ("running", "system call"):
                t = thread_of(g)
                print("    it is on thread %s: use `thread %s` and `bt`" % (t, t) if t else "    it is on a thread")
                continue
            with Overlay([g]):
                for i, (name, place, _) in enumerate(frames(g, 200)):
                    print("#%-3d %s at %s" % (i, name, place))
        if not found:
            raise gdb.GdbError("no such coroutine")


CoList()
CoBt()
