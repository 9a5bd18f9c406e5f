/* SPDX-License-Identifier: Apache-2.0
 *
 * What a blocked thread waits for, without any wrapper: a thread that waits for a mutex, rwlock, condition variable, semaphore
 * or another thread's end sleeps in a futex call whose first argument stands inside that object, and its frames say which
 * function of libc made the call. So locking costs what it costs without us, contended or not.
 *
 * A thread counts as waiting only when all of this holds:
 *   1. the stop signal interrupted FUTEX_WAIT, which the kernel begins again: it was not woken;
 *   2. the call has no timeout;
 *   3. one of its innermost frames is in pthread_mutex_lock, pthread_cond_wait, pthread_rwlock_{rd,wr}lock or
 *      sem_wait of the C library; or it sleeps until another thread's tid is cleared, which is pthread_join. Threads that
 *      sleep in futex calls of their own (other runtimes) are not judged.
 * Who holds a mutex or a rwlock for writing stands in the object itself (glibc's layout on x86-64, since 2.25).
 * What this can't see: a thread that another one cancels later (pthread_cancel), and a signal handler of its own that
 * wakes it: a handler can reach what a global can. */
#include "agent/snapshot/thread_waits.h"

#include <dlfcn.h>
#include <elf.h>
#include <linux/futex.h>
#include <link.h>
#include <string.h>

#include "agent/entry/entry.h"
#include "agent/snapshot/raw.h"

enum { DEEPEST = 6, R10 = 2, RDI = 8, RSI = 9, RDX = 12, RAX = 13 }; /* of all_regs: the order of mcontext_t.gregs */
enum { JUMP = 0xe9, SLOW_BYTES = 256 }; /* x86-64's jmp rel32; sem_wait's slow path has about 200 */
enum { DESCRIPTOR = 2304 };             /* bytes of glibc's struct pthread */
enum { OWNER_AT = 8, WRITER_AT = 24 };  /* in pthread_mutex_t and pthread_rwlock_t */

static struct function {
    const char *name;
    enum seep_wait_reason reason;
    enum seep_object_kind kind;
    uintptr_t lo, hi;
    uintptr_t slow_lo, slow_hi; /* what it jumps to at its end: it has no frame of its own then */
} functions[] = {
    {"pthread_mutex_lock", SEEP_WAIT_MUTEX, SEEP_OBJ_MUTEX, 0, 0, 0, 0},
    {"pthread_cond_wait", SEEP_WAIT_COND, SEEP_OBJ_COND, 0, 0, 0, 0},
    {"pthread_rwlock_rdlock", SEEP_WAIT_RWMUTEX_R, SEEP_OBJ_RWMUTEX, 0, 0, 0, 0},
    {"pthread_rwlock_wrlock", SEEP_WAIT_RWMUTEX_W, SEEP_OBJ_RWMUTEX, 0, 0, 0, 0},
    {"sem_wait", SEEP_WAIT_SEMAPHORE, SEEP_OBJ_SEMAPHORE, 0, 0, 0, 0},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

void thread_waits_init(void)
{
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        void *p = next_symbol(functions[i].name);
        Dl_info info;
        const ElfW(Sym) *sym = NULL;
        if (!p || !dladdr1(p, &info, (void **)&sym, RTLD_DL_SYMENT) || !sym || sym->st_size == 0) continue;
        functions[i].lo = (uintptr_t)info.dli_saddr;
        functions[i].hi = functions[i].lo + sym->st_size;
        const unsigned char *end = (const unsigned char *)functions[i].hi;
        int32_t distance;
        if (sym->st_size < 16 || end[-5] != JUMP) continue;
        memcpy(&distance, end - 4, sizeof distance);
        uintptr_t slow = functions[i].hi + (uintptr_t)(intptr_t)distance;
        functions[i].slow_lo = slow;
        functions[i].slow_hi =
            slow < functions[i].lo && functions[i].lo - slow < SLOW_BYTES ? functions[i].lo : slow + SLOW_BYTES;
    }
}

static const struct function *function_of(const struct stopped_thread *t)
{
    uintptr_t pcs[DEEPEST];
    unsigned n = unwind_stopped(&t->regs, t->stack_lo, t->stack_hi, NULL, pcs, DEEPEST);
    for (unsigned i = 0; i < n; i++)
        for (unsigned f = 0; f < FUNCTIONS; f++)
            if ((pcs[i] - 1 >= functions[f].lo && pcs[i] - 1 < functions[f].hi) ||
                (pcs[i] - 1 >= functions[f].slow_lo && pcs[i] - 1 < functions[f].slow_hi))
                return &functions[f];
    return NULL;
}

/* 0 when it can't be read. */
static uint32_t word_at(uintptr_t p)
{
    static int mem = -2;
    uint32_t w = 0;
    if (mem == -2) mem = raw_open("/proc/self/mem", O_RDONLY, 0);
    return mem >= 0 && raw_pread(mem, &w, sizeof w, p) == (long)sizeof w ? w : 0;
}

/* Recursive and error-checking mutexes never wait for themselves; an owner that is no thread of ours is none. */
static uint64_t known_thread(const struct snapshot_job *job, uint32_t tid)
{
    for (unsigned i = 0; i < job->nthreads; i++)
        if ((uint32_t)job->threads[i].tid == tid) return tid;
    return 0;
}

/* The thread whose end t waits for: it sleeps until the tid in the other's descriptor is cleared. */
static const struct stopped_thread *joins(const struct snapshot_job *job, const struct stopped_thread *t, uintptr_t at)
{
    for (unsigned i = 0; i < job->nthreads; i++) {
        const struct stopped_thread *o = &job->threads[i];
        if (at - o->tls < DESCRIPTOR && (uint32_t)t->all_regs[RDX] == (uint32_t)o->tid &&
            word_at(at) == (uint32_t)o->tid)
            return o;
    }
    return NULL;
}

bool thread_waits(const struct snapshot_job *job, const struct stopped_thread *t, struct seep_wait *w,
                  enum seep_wait_reason *reason)
{
    if (!t->captured || !t->in_syscall || t->nregs < 16) return false;
    uint64_t op = t->all_regs[RSI] & (uint64_t)FUTEX_CMD_MASK;
    if (t->all_regs[RAX] != SYS_futex || t->all_regs[R10] != 0) return false;
    if (op != FUTEX_WAIT && op != FUTEX_WAIT_BITSET) return false;
    uintptr_t at = t->all_regs[RDI];
    const struct stopped_thread *joined = joins(job, t, at);
    if (joined) {
        *w = (struct seep_wait){.object = at, .kind = SEEP_OBJ_OTHER, .owner_task = (uint64_t)joined->tid};
        *reason = SEEP_WAIT_JOIN;
        return true;
    }
    const struct function *f = function_of(t);
    if (!f) return false;
    *w = (struct seep_wait){.object = at, .kind = f->kind};
    *reason = f->reason;
    if (f->kind == SEEP_OBJ_COND && op == FUTEX_WAIT) { /* it was signalled, and waits for the mutex */
        w->kind = SEEP_OBJ_MUTEX;
        *reason = SEEP_WAIT_MUTEX;
    }
    if (w->kind == SEEP_OBJ_MUTEX) {
        w->owner_task = known_thread(job, word_at(at + OWNER_AT) & FUTEX_TID_MASK);
    } else if (f->kind == SEEP_OBJ_RWMUTEX) { /* they sleep on its third or fourth word */
        w->object = at - (at % 8 == 4 ? 12 : 8);
        w->owner_task = known_thread(job, word_at(w->object + WRITER_AT));
    }
    return true;
}
