/* SPDX-License-Identifier: Apache-2.0
 *
 * What the runtime needs of the machine: the switch, the first frame of a stack, and the TLS word that holds the current
 * coroutine. One context_ARCH.S implements it. A saved context is a pointer to a frame on its own stack; the
 * frame's layout is known here because provider.c reports its registers and report.c unwinds from it.
 *
 * Invariants
 *   1. A saved frame is 16-byte aligned, and everything live on the stack is at or above it.
 *   2. Control words of SSE and x87 belong to the coroutine (they are loaded where they differ); their sticky exception flags
 *      belong to the thread.
 *
 * Reading MXCSR costs three times the rest of a switch. Everything in <fenv.h> changes rounding and exception masks in MXCSR and in the
 * x87 control word alike, and the latter is cheap to read. So context_switch() looks at the x87 word only, and derives MXCSR from
 * it where it differs. What writes MXCSR alone (intrinsics: flush to zero) needs context_switch_full(), which compares both.
 * context_fp_strays() finds out, now and then, whether somebody did. context_switch_bare() leaves both to the thread. */
#ifndef CORO_CONTEXT_H
#define CORO_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct g;
struct m;

#if defined(__x86_64__)
struct context_frame {
    uint32_t mxcsr; /* 0: the one that belongs to x87_cw */
    uint16_t x87_cw, unused;
    uintptr_t r15, r14, r13, r12, rbx, rbp;
    uintptr_t pc;
};
_Static_assert(sizeof(struct context_frame) == 64, "context_x86_64.S pushes this frame");

/* What a switch hands to the code that runs after it: where the context that was left is saved, and its post. */
struct context_left {
    void **save;
    uintptr_t post;
};

/* Saves the caller's context in *save and goes on at the saved context `to`. Returns when something switches back, perhaps on
 * another thread, with what that one passed. entered: 0 is a hint that `to` was made by context_make() and never entered. */
typedef struct context_left context_switch_fn(void **save, void *to, uintptr_t post, uint64_t entered);
context_switch_fn context_switch, context_switch_full, context_switch_bare;

extern uint32_t context_mxcsr_base; /* what differs in MXCSR from the x87 word, as of the start */
extern bool context_fp_full;        /* context_switch_full() is in use */
void context_fp_init(void);
bool context_fp_strays(void); /* MXCSR is not the one that belongs to the x87 word */

/* The frame that, switched to, calls entry(a, b, post, save) on a fresh stack that ends at top; the last two are of the context
 * that was left. entry may not return. */
typedef void context_entry_fn(void *a, void *b, uintptr_t post, void **save);
void *context_make(uintptr_t top, context_entry_fn *entry, void *a, void *b);

/* What the program reads of its thread (coro_arch.h). */
struct context_here {
    struct g *self;
    uint64_t *rseq_cs; /* NULL: no restartable sequences on this thread */
    uint8_t lock_by;   /* what a mutex's state becomes: mutex.c */
    struct m *m;       /* of this thread, for ever; NULL: none of the runtime's */
};

/* Reads and sets a pointer of struct context_here, by hand and anew each time: a compiler may keep the address of a thread-local variable
 * over a switch, so C code never names it. */
#define CONTEXT_POINTER(type, get, set, at)                                                                           \
    static inline type *get(void)                                                                                     \
    {                                                                                                                 \
        type *p;                                                                                                      \
        __asm__ volatile("movq co_current_@gottpoff(%%rip), %0\n\tmovq %%fs:" #at "(%0), %0" : "=r"(p) : : "memory"); \
        return p;                                                                                                     \
    }                                                                                                                 \
    static inline void set(type *p)                                                                                   \
    {                                                                                                                 \
        uintptr_t off;                                                                                                \
        __asm__ volatile("movq co_current_@gottpoff(%%rip), %0\n\tmovq %1, %%fs:" #at "(%0)"                          \
                         : "=&r"(off)                                                                                 \
                         : "r"(p)                                                                                     \
                         : "memory");                                                                                 \
    }
/* The current coroutine of this thread; NULL on a thread that is none of the runtime's. */
CONTEXT_POINTER(struct g, context_self, context_set_self, 0)
CONTEXT_POINTER(uint64_t, context_rseq, context_set_rseq, 8)
/* The m of this thread, which is that of the current coroutine until it parks. Through the coroutine it would be known only when that is: each
 * switch then waits for what the one before stored. */
CONTEXT_POINTER(struct m, context_m, context_set_m, 24)
_Static_assert(offsetof(struct context_here, self) == 0 && offsetof(struct context_here, rseq_cs) == 8 &&
                   offsetof(struct context_here, lock_by) == 16 && offsetof(struct context_here, m) == 24,
               "known to the accessors and to coro_arch.h");
#undef CONTEXT_POINTER

static inline void context_rseq_done(void)
{
    uint64_t *p = context_rseq();
    if (p) *(volatile uint64_t *)p = 0;
}
static inline uint8_t context_lock_by(void)
{
    uintptr_t v;
    __asm__ volatile("movq co_current_@gottpoff(%%rip), %0\n\tmovzbl %%fs:16(%0), %k0" : "=r"(v) : : "memory");
    return (uint8_t)v;
}
static inline void context_set_lock_by(uint8_t how)
{
    uintptr_t off;
    __asm__ volatile("movq co_current_@gottpoff(%%rip), %0\n\tmovb %1, %%fs:16(%0)" : "=&r"(off) : "q"(how) : "memory");
}
/* Where a thread-local variable of the initial set stands, relative to the thread pointer: the same in every thread. */
static inline uintptr_t context_thread_pointer(void)
{
    uintptr_t tp;
    __asm__ volatile("movq %%fs:0, %0" : "=r"(tp));
    return tp;
}
static inline int context_tls_int(intptr_t offset)
{
    int v;
    __asm__ volatile("movl %%fs:(%1), %0" : "=r"(v) : "r"(offset) : "memory");
    return v;
}
static inline void context_tls_set_int(intptr_t offset, int v)
{
    __asm__ volatile("movl %0, %%fs:(%1)" : : "r"(v), "r"(offset) : "memory");
}
static inline void cpu_relax(void)
{
    __asm__ volatile("pause");
}
static inline uintptr_t context_sp(void)
{
    uintptr_t sp;
    __asm__ volatile("movq %%rsp, %0" : "=r"(sp));
    return sp;
}
#else
#error "coro: no context switch for this machine yet"
#endif

/* Makes the switch usable on this thread: true. A shadow stack (CET) would not follow it, so one that is on is switched off;
 * false: it is locked on. */
bool context_probe(void);

#endif
