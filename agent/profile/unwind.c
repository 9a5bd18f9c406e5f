/* SPDX-License-Identifier: Apache-2.0
 *
 * Entry points of the tracer: the caller's stack, a stopped stack; the three modes of SEEP_UNWIND.
 *
 *   fast       .eh_frame rows through a cache (unwind_fast.c)
 *   fp         the agent's own frames by .eh_frame, then the frame-pointer chain
 *   libunwind  unw_backtrace of libunwind.so.8, loaded by the constructor; fast until then. It takes the loader's lock.
 *
 * Memory safety: [sp, hi) of a stack known from the thread's entry or from the hint in agent_tls is mapped, since sp is
 * in it and stacks grow down. On any other stack (a signal's, a program's own coroutine) each page is asked for
 * first: rt_sigprocmask with an invalid `how` reads the set and then fails, with EFAULT where it can't be read.
 *
 * Invariant: unwind_here() leaves out frames of libseep.so at the leaf end (where the agent is linked into the program
 * itself they cannot be told apart and stay); unwind_stopped() reports all, since a task waits inside the runtime.
 * Allocates nothing, takes no lock except in libunwind mode; fast and fp are async-signal-safe. */
#include "agent/profile/internal.h"
#include "agent/profile/unwind.h"

#include "agent/entry/entry.h"
#include "agent/util/log.h"
#include "agent/util/options.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <sys/syscall.h>
#include <unistd.h>

enum mode { MODE_FAST, MODE_FP, MODE_LIBUNWIND }; /* the order of the option's values */

uintptr_t unwind_own_lo, unwind_own_hi;
static enum mode mode;
static int (*unw_backtrace_fn)(void **, int); /* atomic; NULL until loaded */
static bool checking;                         /* SEEP_DEBUG=unwindcheck=1 */

extern int _dl_find_object(void *, struct dl_find_object *) __attribute__((weak));

void unwind_init(void)
{
    mode = (enum mode)agent_options.unwind;
    struct dl_find_object o;
    if (_dl_find_object && _dl_find_object((void *)(uintptr_t)&unwind_init, &o) == 0 && o.dlfo_link_map &&
        o.dlfo_link_map->l_name && o.dlfo_link_map->l_name[0]) {
        unwind_own_lo = (uintptr_t)o.dlfo_map_start;
        unwind_own_hi = (uintptr_t)o.dlfo_map_end;
    }
}

void unwind_late_init(void)
{
    bool check = unwind_own_hi && options_debug("unwindcheck", 0);
    if ((mode != MODE_LIBUNWIND && !check) || unw_backtrace_fn) return;
    /* Local: its _Unwind_* must not come between the program and libgcc. */
    void *lib = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
    void *fn = lib ? dlsym(lib, "unw_backtrace") : NULL;
    if (!fn) {
        log_line("libunwind.so.8 can't be loaded: %s", check ? "unwindcheck is off" : "SEEP_UNWIND=fast is used");
        return;
    }
    if (check && mode == MODE_FAST) {
        log_line("unwindcheck: every recorded stack is compared with libunwind's");
        checking = true;
    }
    __atomic_store_n((void **)(void *)&unw_backtrace_fn, fn, __ATOMIC_RELEASE);
}

/* ---- Windows. */
static bool page_readable(uintptr_t addr)
{
    int keep = errno;
    long r = syscall(SYS_rt_sigprocmask, -1, addr, NULL, 8);
    bool readable = r == -1 && errno == EINVAL;
    errno = keep;
    return readable;
}

bool window_read_slow(struct window *w, uintptr_t addr, uintptr_t *out)
{
    if (!w->probe || (addr & (sizeof *out - 1)) || addr < 4096) return false;
    const uintptr_t page = 4096; /* the smallest: a larger real page is asked for more than once */
    if (!page_readable(addr)) return false;
    w->lo = addr & ~(page - 1);
    w->hi = w->lo + page;
    w->words = page / sizeof *out;
    *out = *(const uintptr_t *)addr;
    return true;
}

void window_rebase(struct window *w, uintptr_t sp)
{
    if (w->fixed) return;
    w->probe = !(sp >= w->home_lo && sp < w->home_hi);
    w->lo = w->probe ? 0 : sp;
    w->hi = w->probe ? 0 : w->home_hi; /* an empty window: the first read asks */
    w->words = (w->hi - w->lo) / sizeof(uintptr_t);
}

/* The window of the caller's own stack. */
static void window_own(struct window *w, uintptr_t sp)
{
    const struct agent_tls *t = &agent_tls;
    *w = (struct window){.home_lo = t->stack_lo, .home_hi = t->stack_hi};
    if (t->thread && !(sp >= t->stack_lo && sp < t->stack_hi) && t->thread->stack_hi) {
        w->home_lo = t->thread->stack_lo;
        w->home_hi = t->thread->stack_hi;
    }
    window_rebase(w, sp);
}

/* ---- Modes. */
static bool is_own(uintptr_t pc)
{
    return pc - unwind_own_lo < unwind_own_hi - unwind_own_lo;
}

static unsigned walk_fp(struct frame_regs *regs, struct window *w, uintptr_t *pcs, unsigned max, unsigned skip)
{
    /* Up to the first frame that is not ours rbp is whatever the program had in it. */
    bool exact = true;
    unsigned n = 0, i = 0;
    while (unwind_own_hi ? is_own(regs->reg[ARCH_RA]) : i++ < skip)
        if (!unwind_step_full(regs, w, &exact)) return 0;
    uintptr_t fp = regs->reg[ARCH_FP], next, ra = regs->reg[ARCH_RA], low = regs->reg[ARCH_SP];
    while (n < max) {
        pcs[n++] = ra;
        if (fp < low || !window_read(w, fp, &next) || !window_read(w, fp + sizeof ra, &ra) || ra == 0) break;
        low = fp + 2 * sizeof ra;
        fp = next;
    }
    return n;
}

/* from: the return address at which the caller's frames begin. */
static unsigned walk_libunwind(uintptr_t *pcs, unsigned max, unsigned skip, uintptr_t from)
{
    void *all[PROF_MAX_DEPTH + 16];
    int got = unw_backtrace_fn(all, PROF_MAX_DEPTH + 16), i = 0;
    unsigned n = 0;
    while (i < got && (uintptr_t)all[i] != from) i++;
    if (i == got) i = 0;
    if (!unwind_own_hi) i += (int)skip;
    for (; i < got && n < max; i++) {
        uintptr_t pc = (uintptr_t)all[i];
        if (n == 0 && is_own(pc)) continue;
        pcs[n++] = pc;
    }
    return n;
}

__attribute__((noinline)) unsigned unwind_here(uintptr_t *pcs, unsigned max, unsigned skip)
{
    if (mode == MODE_LIBUNWIND && __atomic_load_n(&unw_backtrace_fn, __ATOMIC_ACQUIRE))
        return walk_libunwind(pcs, max, skip, (uintptr_t)__builtin_return_address(0));
    struct frame_regs regs;
    ARCH_CAPTURE(regs.reg);
    regs.known = ARCH_CALLEE_SAVED | 1u << ARCH_SP | 1u << ARCH_RA;
    struct window w;
    window_own(&w, regs.reg[ARCH_SP]);
    if (mode == MODE_FP) return walk_fp(&regs, &w, pcs, max, skip + 1);
    return unwind_walk(&regs, &w, pcs, max, skip + 1, true);
}

/* SEEP_DEBUG=unwindcheck=1: says where the stack that was recorded is not libunwind's. */
static void check_stack(uint32_t id, unsigned max)
{
    uintptr_t theirs[PROF_MAX_DEPTH];
    const uintptr_t *ours;
    unsigned n = stack_get(id, &ours, NULL), m = walk_libunwind(theirs, max, 0, (uintptr_t)__builtin_return_address(0)),
             i = 0;
    while (i < n && i < m && ours[i] == theirs[i]) i++;
    if (i < n || i < m)
        log_line("unwindcheck: stack %u differs: %u frames, libunwind's %u; frame %u is %p, libunwind's %p", id, n, m,
                 i, i < n ? (void *)ours[i] : NULL, i < m ? (void *)theirs[i] : NULL);
}

static __attribute__((noinline)) uint32_t intern_walked(const struct frame_regs *regs, unsigned max, unsigned skip)
{
    uintptr_t pcs[PROF_MAX_DEPTH];
    uint32_t id = TRACE_NONE;
    if (mode == MODE_FAST) {
        struct window w;
        window_own(&w, regs->reg[ARCH_SP]);
        id = trace_intern(regs, &w, pcs, max, skip + 1);
    }
    return id == TRACE_NONE ? stack_intern(pcs, unwind_here(pcs, max, skip + 2)) : id;
}

__attribute__((noinline)) uint32_t unwind_intern(unsigned max, unsigned skip)
{
    struct frame_regs regs;
    ARCH_CAPTURE(regs.reg);
    regs.known = ARCH_CALLEE_SAVED | 1u << ARCH_SP | 1u << ARCH_RA;
    const uintptr_t sp = regs.reg[ARCH_SP], lo = agent_tls.stack_lo, hi = agent_tls.stack_hi;
    uint32_t id = mode == MODE_FAST && sp - lo < hi - lo ? trace_recall(sp, regs.reg[ARCH_FP], hi, max) : 0;
    if (!id) id = intern_walked(&regs, max, skip);
    if (__builtin_expect(checking, 0)) check_stack(id, max);
    return id;
}

/* False: sp is not on the stack that the image is of. */
static bool begin_stopped(const struct unwind_regs *regs, uintptr_t stack_lo, uintptr_t stack_hi, const void *image,
                          struct frame_regs *out, struct window *w)
{
    struct frame_regs r = {.known = 1u << ARCH_RA | 1u << ARCH_SP | 1u << ARCH_FP};
    r.reg[ARCH_RA] = regs->pc;
    r.reg[ARCH_SP] = regs->sp;
    r.reg[ARCH_FP] = regs->fp;
    if (regs->complete) {
        r.reg[ARCH_RBX] = regs->rbx;
        r.reg[ARCH_R12] = regs->r12;
        r.reg[ARCH_R13] = regs->r13;
        r.reg[ARCH_R14] = regs->r14;
        r.reg[ARCH_R15] = regs->r15;
        r.known |= ARCH_CALLEE_SAVED;
    }
    *out = r;
    *w = (struct window){.home_lo = stack_lo, .home_hi = stack_hi};
    if (image) {
        w->fixed = true;
        w->lo = regs->sp;
        w->hi = stack_hi;
        w->words = (stack_hi - regs->sp) / sizeof(uintptr_t);
        w->delta = (uintptr_t)image - regs->sp;
        if (regs->sp < stack_lo || regs->sp >= stack_hi) return false;
    } else {
        window_rebase(w, regs->sp);
    }
    return true;
}

unsigned unwind_stopped(const struct unwind_regs *regs, uintptr_t stack_lo, uintptr_t stack_hi, const void *image,
                        uintptr_t *pcs, unsigned max)
{
    struct frame_regs r;
    struct window w;
    if (!begin_stopped(regs, stack_lo, stack_hi, image, &r, &w)) return 0;
    if (max > PROF_MAX_DEPTH) max = PROF_MAX_DEPTH;
    return unwind_walk(&r, &w, pcs, max, 0, false);
}

uintptr_t unwind_owner(const struct unwind_regs *regs, uintptr_t stack_lo, uintptr_t stack_hi, const void *image,
                       uintptr_t at)
{
    struct frame_regs r;
    struct window w;
    bool exact = true, here = false;
    if (!begin_stopped(regs, stack_lo, stack_hi, image, &r, &w)) return 0;
    const struct prof_module *libc = modules_find((uintptr_t)__errno_location, modules_generation());
    uintptr_t first = 0;
    for (unsigned n = 0; n < PROF_MAX_DEPTH; n++) {
        uintptr_t pc = r.reg[ARCH_RA] + exact, sp = r.reg[ARCH_SP];
        bool more = unwind_step_full(&r, &w, &exact);
        here = here || !more || at < r.reg[ARCH_SP] || r.reg[ARCH_SP] < sp;
        if (here && !first) first = pc;
        bool own = pc - 1 - unwind_own_lo < unwind_own_hi - unwind_own_lo;
        if (here && !own && (!libc || modules_find(pc - 1, modules_generation()) != libc)) return pc;
        if (!more) break;
    }
    return first;
}
