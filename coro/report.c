/* SPDX-License-Identifier: Apache-2.0
 *
 * What the runtime says when a program can't go on, and co_dump(): misuse, deadlock, stack overflow.
 *
 *     seep: fatal: send on closed channel 0x7f…
 *     coroutine 7 "reader" [running]:
 *         serve_one+0x41 (/srv/jobd+0x24f1)
 *         created by
 *         main+0x118 (/srv/jobd+0x2211)
 *
 * Misuse and deadlock end the process by _exit(2): the state of the program is not to be trusted with its exit handlers, and its
 * stdio buffers are not written, as after abort(). An overflow dies by SIGSEGV after its report, or goes to the handler
 * that the program had installed before.
 *
 * Reports of other coroutines read stacks that may be in motion: a coroutine that ran meanwhile is listed without frames, or with those that its
 * thread told (dump.c). The
 * overflow report runs in a signal handler on the alternate stack: no lock of libc but the loader's, taken by dladdr(). */
#include "coro/dump.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "agent/contract/names.h"
#include "agent/profile/arch.h"
#include "agent/profile/profile.h"
#include "agent/util/critical.h"
#include "coro/include/coro.h"
#include "coro/report.h"

enum { DEPTH = DUMP_DEPTH, MAX_GROUPS = 128 };

static void say(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(int fd, const char *fmt, ...)
{
    char line[640];
    va_list ap;
    va_start(ap, fmt);
    size_t n = fmt_vstring(line, sizeof line, fmt, ap);
    va_end(ap);
    for (size_t at = 0; at < n;) {
        long w = os_write(fd, line + at, n - at);
        if (w <= 0) return;
        at += (size_t)w;
    }
}

static void say_frames(int fd, const uintptr_t *pcs, unsigned n, bool first_exact)
{
    for (unsigned i = 0; i < n && i < DEPTH; i++) {
        unsigned same = 0;
        while (i > 0 && i + same < n && pcs[i + same] == pcs[i - 1]) same++;
        if (same > 1) { /* recursion */
            say(fd, "    … the same %u times\n", same);
            i += same - 1;
            continue;
        }
        Dl_info in;
        uintptr_t pc = pcs[i], at = pc - (i > 0 || !first_exact); /* a return address may be past its function */
        char name[160];
        uintptr_t offset;
        if (!dladdr((void *)at, &in) || !in.dli_fname) {
            say(fd, "    0x%lx\n", (unsigned long)pc);
            continue;
        }
        uintptr_t base = (uintptr_t)in.dli_fbase;
        if (report_symbol(in.dli_fname, base, at, name, sizeof name, &offset))
            say(fd, "    %s+0x%lx (%s+0x%lx)\n", name, (unsigned long)(pc - offset), in.dli_fname,
                (unsigned long)(at - base));
        else
            say(fd, "    %s+0x%lx\n", in.dli_fname, (unsigned long)(at - base));
    }
    if (n > DEPTH) say(fd, "    … and more\n");
}

static void say_created(int fd, uint32_t stack)
{
    const uintptr_t *pcs;
    unsigned n = stack ? stack_get(stack, &pcs, NULL) : 0;
    if (!n) return;
    say(fd, "  created by\n");
    say_frames(fd, pcs, n, false);
}

static void say_title(int fd, const struct g *g, const char *state, uint64_t since_ns)
{
    uint64_t seconds = since_ns ? (os_mono_ns() - since_ns) / 1000000000 : 0;
    say(fd, "coroutine %llu%s%s%s [%s", (unsigned long long)g->id, g->name ? " \"" : "", g->name ? g->name : "",
        g->name ? "\"" : "", state);
    if (seconds >= 120)
        say(fd, ", %llu minutes", (unsigned long long)(seconds / 60));
    else if (seconds)
        say(fd, ", %llu s", (unsigned long long)seconds);
    say(fd, "]:\n");
}

/* ---- all coroutines, grouped */

struct group {
    uint64_t hash;
    const struct g *first;
    uint64_t n, since_ns;
    const char *state;
    uint32_t create_stack;
    unsigned depth;
    uintptr_t pcs[DEPTH];
};
struct groups {
    const struct dump_running *running;
    unsigned nrunning;
    unsigned n;
    uint64_t beyond; /* coroutines that found no room */
    const struct g *self;
    struct group group[MAX_GROUPS];
};

static int collect(void *arg, struct g *g)
{
    struct groups *all = arg;
    enum g_status s = g_status(g);
    if (s == G_DEAD || s == G_ORPHAN || !g->id || g == all->self) return 0;
    struct group one = {.first = g, .n = 1, .create_stack = g->create_stack};
    uint64_t schedules = g->schedules;
    one.state = s == G_RUNNING ? "running" : s == G_RUNNABLE ? "runnable" : seep_wait_text(g->reason);
    if (s == G_WAITING || s == G_RUNNABLE) {
        one.depth = g_pcs(g, one.pcs, DEPTH);
        if (g->schedules != schedules || g_status(g) != s) one.depth = 0, one.state = "running";
    }
    for (unsigned i = 0; i < all->nrunning && one.depth == 0; i++) {
        if (atomic_load(&all->running[i].g) != g) continue;
        one.depth = all->running[i].depth;
        memcpy(one.pcs, all->running[i].pcs, sizeof one.pcs);
    }
    one.since_ns = s == G_WAITING || s == G_SYSCALL ? g->blocked_ns : 0;
    uint64_t h = one.create_stack * 0x9e3779b97f4a7c15ull ^ (uintptr_t)one.state;
    for (unsigned i = 0; i < one.depth; i++) h = (h ^ one.pcs[i]) * 0x100000001b3ull;
    one.hash = h;
    for (unsigned i = 0; i < all->n; i++) {
        struct group *o = &all->group[i];
        if (o->hash != h) continue;
        o->n++;
        if (one.since_ns && one.since_ns < o->since_ns) o->since_ns = one.since_ns;
        return 0;
    }
    if (all->n < MAX_GROUPS)
        all->group[all->n++] = one;
    else
        all->beyond++;
    return 0;
}

static void say_others(int fd, const struct g *self)
{
    struct groups *all = os_alloc(sizeof *all, OS_OTHER);
    if (!all) return;
    all->self = self;
    all->running = dump_running(&all->nrunning);
    g_each(collect, all);
    for (unsigned i = 0; i < all->n; i++) {
        const struct group *o = &all->group[i];
        say(fd, "\n");
        if (o->n > 1) say(fd, "%llu coroutines like this:\n", (unsigned long long)o->n);
        say_title(fd, o->first, o->state, o->since_ns);
        say_frames(fd, o->pcs, o->depth, false);
        say_created(fd, o->create_stack);
    }
    if (all->beyond) say(fd, "\n… and %llu more, of other kinds\n", (unsigned long long)all->beyond);
    dump_running_free((struct dump_running *)(uintptr_t)all->running, all->nrunning);
    os_free(all, sizeof *all);
}

void report_all(int fd)
{
    say_others(fd, NULL);
}

static void say_self(int fd, const struct g *g)
{
    uintptr_t pcs[DEPTH];
    agent_enter();
    unsigned n = unwind_here(pcs, DEPTH, 0);
    agent_leave();
    if (g && !g->is_g0)
        say_title(fd, g, "running", 0);
    else
        say(fd, "thread %d:\n", os_gettid());
    say_frames(fd, pcs, n, false);
    if (g && !g->is_g0) say_created(fd, g->create_stack);
}

CO_EXPORT void co_dump(int fd)
{
    struct g *g = runtime_self();
    say_self(fd, g);
    say_others(fd, g);
}

/* ---- the ends */

_Noreturn void report_fatal(const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    fmt_vstring(text, sizeof text, fmt, ap);
    va_end(ap);
    say(2, "seep: fatal: %s\n\n", text);
    say_self(2, context_self());
    _exit(2);
}

_Noreturn void report_panic(const struct panic_text *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        say(2, "%s%s%s\n",
            i ? "    while the deferred calls of a panic ran: " : "seep: fatal: ", p[i].own ? "panic: " : "",
            p[i].text);
    say(2, "\n");
    say_self(2, context_self());
    _exit(2);
}

_Noreturn void report_deadlock(void)
{
    say(2, "seep: fatal: deadlock: every coroutine is asleep and nothing can wake one\n");
    say_others(2, NULL);
    _exit(2);
}

static struct sigaction program_handler;
static pthread_key_t thread_key;
static void on_thread_end(void *m);
static void make_thread_key(void)
{
    pthread_key_create(&thread_key, on_thread_end);
}

static void say_overflow(struct g *g, uintptr_t addr, const ucontext_t *uc)
{
    say(2,
        "seep: fatal: stack overflow: coroutine %llu%s%s%s reached the limit of its stack (%llu KiB) at %p; "
        "a larger limit is set by co_go_attr()\n\n",
        (unsigned long long)g->id, g->name ? " \"" : "", g->name ? g->name : "", g->name ? "\"" : "",
        (unsigned long long)((g->stack_hi - g->stack_lo + 65535) / 65536 * 64), (void *)addr);
    struct unwind_regs regs = arch_interrupted(uc);
    uintptr_t pcs[DEPTH + 1];
    /* sp may be inside the guard by less than a frame: what is read of the stack is above. */
    unsigned n = unwind_stopped(&regs, g->stack_lo, g->stack_hi, NULL, pcs, DEPTH + 1);
    say_title(2, g, "running", 0);
    say_frames(2, pcs, n, true);
    say_created(2, g->create_stack);
}

static void on_fault(int sig, siginfo_t *si, void *ctx)
{
    uintptr_t addr = (uintptr_t)si->si_addr, slot;
    static _Atomic bool reported;
    int *e = __errno_location(), saved = *e;
    bool again = si->si_code > 0 && pack_fault(addr);
    *e = saved;
    if (again) return;
    if (si->si_code > 0 && stack_guard_at(addr, &slot)) {
        struct g *self = context_self();
        struct g *g = g_by_stack(slot);
        if (g && g == self && !atomic_exchange(&reported, true)) say_overflow(g, addr, ctx);
    }
    if (program_handler.sa_flags & SA_SIGINFO) {
        program_handler.sa_sigaction(sig, si, ctx);
    } else if (program_handler.sa_handler != SIG_DFL && program_handler.sa_handler != SIG_IGN) {
        program_handler.sa_handler(sig);
    } else {
        signal(SIGSEGV, SIG_DFL);
        if (si->si_code <= 0) raise(SIGSEGV); /* sent, not caused: it would not come again */
    }
}

/* An m never ends; what ends it is pthread_exit() in a coroutine, or a cancellation. Its frames are unwound by now. */
static void on_thread_end(void *m)
{
    const struct g *g = atomic_load(&((struct m *)m)->curg);
    say(2,
        "seep: fatal: a coroutine ended its thread (pthread_exit, or pthread_cancel): co_exit() ends a coroutine\n\n");
    if (g) {
        say_title(2, g, "running", 0);
        say_created(2, g->create_stack);
    }
    _exit(2);
}

void report_watch_thread(struct m *m)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_thread_key);
    pthread_setspecific(thread_key, m);
    m->tid = os_gettid();
}

bool report_has_faults(void)
{
    struct sigaction now;
    return sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_fault;
}

void report_install(void)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGSEGV, &sa, &program_handler);
}
