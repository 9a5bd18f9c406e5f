/* SPDX-License-Identifier: Apache-2.0
 *
 * Registry of the program's threads: where their stacks and thread pointers are, who created them, and when
 * they have ended.
 *
 * A thread enters by pthread_create's wrapper (pthread.c), or when it first needs its entry (thread_self()). It leaves
 * in the destructor of a thread-specific key that re-arms itself until the last round, so that the program's own
 * destructors have run before the thread's cache goes back to the heap.
 *
 * glibc ends the process when the last thread ends by pthread_exit(); it counts the agent's thread too. So the last
 * thread of the program, when main has gone by pthread_exit(), calls exit(0) here.
 *
 * Invariants
 *   1. Entries are linked once and never unlinked or freed: readers need no lock. tid is stored last.
 *   2. tid: 0 free, -1 taken by a creator, else the thread's.
 *   3. The lock (RANK_THREADS) guards the hand-out of slots and alternate stacks only.
 * May allocate (pthread_getattr_np does). Not async-signal-safe. */
#include "agent/entry/entry.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "agent/entry/internal.h"
#include "agent/heap/heap.h"
#include "agent/os/os.h"
#include "agent/snapshot/hints.h"
#include "agent/profile/profile.h"
#include "agent/snapshot/raw.h"
#include "agent/util/critical.h"
#include "agent/util/lock.h"

static struct lock lock = LOCK_INIT(RANK_THREADS);
static struct thread *threads;   /* newest first */
static void *free_altstacks;     /* linked through their first word; guarded by lock */
static uint32_t running_threads; /* of the program: entries with a tid */
static pthread_key_t exit_key;
static bool have_key, ready;
static struct thread past_its_end; /* entry of a thread after its last destructor: it registers no more */
uint32_t threads_main_exited;

struct thread *threads_first(void)
{
    return __atomic_load_n(&threads, __ATOMIC_ACQUIRE);
}

/* ---- Slots */

enum { CHUNK = 32, REMEMBERED = 512 };

/* Under the lock. The slots of ended threads are used last: they know dead stacks. */
static struct thread *take_slot(void)
{
    struct thread *oldest = NULL;
    unsigned remembered = 0;
    for (struct thread *t = threads; t; t = t->next) {
        if (t->tid != 0) continue;
        if (!t->ended) return t;
        oldest = t;
        remembered++;
    }
    if (remembered >= REMEMBERED) return oldest;
    struct thread *chunk = persistent_alloc(CHUNK * sizeof *chunk, 16, OS_META);
    if (!chunk) return oldest;
    for (int i = 0; i < CHUNK; i++) {
        chunk[i].next = threads;
        __atomic_store_n(&threads, &chunk[i], __ATOMIC_RELEASE);
    }
    return threads;
}

struct thread *thread_new(void)
{
    lock_acquire(&lock);
    struct thread *t = take_slot();
    if (t) {
        struct thread *next = t->next;
        memset((char *)t + sizeof t->next, 0, sizeof *t - sizeof t->next);
        t->next = next;
        t->tid = -1;
    }
    lock_release(&lock);
    return t;
}

void thread_free(struct thread *t)
{
    __atomic_store_n(&t->tid, 0, __ATOMIC_RELEASE);
}

/* ---- Alternate stacks. The stop signal's frame must not land on a coroutine's or a tiny stack. Larger than the
 * handler needs, since a handler of the program that asks for SA_ONSTACK runs there too. */

static void *take_altstack(void)
{
    enum { BATCH = 16 };
    lock_acquire(&lock);
    if (!free_altstacks) {
        char *p = os_alloc((size_t)BATCH * THREAD_ALTSTACK_BYTES, OS_OTHER);
        for (int i = 0; p && i < BATCH; i++) {
            void **s = (void **)(p + (size_t)i * THREAD_ALTSTACK_BYTES);
            *s = free_altstacks;
            free_altstacks = s;
        }
    }
    void *s = free_altstacks;
    if (s) free_altstacks = *(void **)s;
    lock_release(&lock);
    return s;
}

static void give_altstack(void *s)
{
    lock_acquire(&lock);
    *(void **)s = free_altstacks;
    free_altstacks = s;
    lock_release(&lock);
}

static void set_altstack(struct thread *t)
{
    stack_t old;
    if (sys3(SYS_sigaltstack, 0, (long)&old, 0) != 0 || !(old.ss_flags & SS_DISABLE)) return;
    stack_t ours = {.ss_sp = take_altstack(), .ss_size = THREAD_ALTSTACK_BYTES};
    if (!ours.ss_sp) return;
    t->altstack = ours.ss_sp;
    sys3(SYS_sigaltstack, (long)&ours, 0, 0);
}

static void drop_altstack(struct thread *t)
{
    stack_t old, off = {.ss_flags = SS_DISABLE};
    if (!t->altstack) return;
    /* EPERM: the thread ends on it. It is lost then. */
    if (sys3(SYS_sigaltstack, 0, (long)&old, 0) != 0 || (old.ss_flags & SS_ONSTACK)) return;
    if (old.ss_sp == t->altstack) sys3(SYS_sigaltstack, (long)&off, 0, 0);
    void *s = t->altstack;
    t->altstack = NULL;
    give_altstack(s);
}

/* ---- Bounds */

static uintptr_t thread_pointer(void)
{
    uintptr_t tp;
    __asm__("mov %%fs:0, %0" : "=r"(tp));
    return tp;
}

/* main's stack grows: its lower bound is where the limit puts it. */
static void main_bounds(struct thread *t)
{
    char buf[4096];
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), lo = 0, hi = 0;
    int fd = raw_open("/proc/self/maps", O_RDONLY, 0);
    if (fd < 0) return;
    long n, have = 0;
    while (!hi && (n = raw_read(fd, buf + have, sizeof buf - 1 - (size_t)have)) > 0) {
        have += n;
        buf[have] = 0;
        char *line = buf, *end;
        for (; (end = strchr(line, '\n')); line = end + 1) {
            char *dash;
            uintptr_t a = strtoul(line, &dash, 16), b = strtoul(dash + 1, NULL, 16);
            if (a <= here && here < b) lo = a, hi = b;
        }
        have -= line - buf;
        memmove(buf, line, (size_t)have);
        if (have == sizeof buf - 1) have = 0; /* a path longer than the buffer: not the stack's line */
    }
    raw_close(fd);
    if (!hi) return;
    agent_tls.stack_lo = lo; /* of what is mapped now */
    agent_tls.stack_hi = hi;
    struct rlimit rl;
    uintptr_t room = getrlimit(RLIMIT_STACK, &rl) == 0 && rl.rlim_cur < (1ul << 30) ? rl.rlim_cur : 8ul << 20;
    t->stack_lo = hi - room < lo ? hi - room : lo;
    t->stack_hi = hi;
}

static void pthread_bounds(struct thread *t)
{
    pthread_attr_t attr;
    void *lo;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attr) != 0) return;
    if (pthread_attr_getstack(&attr, &lo, &size) == 0) {
        t->stack_lo = agent_tls.stack_lo = (uintptr_t)lo;
        t->stack_hi = agent_tls.stack_hi = (uintptr_t)lo + size;
    }
    pthread_attr_destroy(&attr);
}

/* ---- Begin and end */

void thread_begin(struct thread *t)
{
    int tid = os_gettid();
    t->tls = thread_pointer();
    t->state = &agent_tls;
    t->is_main = tid == os_getpid();
    agent_tls.thread = t;
    set_altstack(t);
    if (t->is_main)
        main_bounds(t);
    else
        pthread_bounds(t);
    for (struct thread *old = threads_first(); old; old = old->next) /* libc uses stacks again */
        if (old->ended && old->stack_lo < t->stack_hi && t->stack_lo < old->stack_hi) old->ended = false;
    if (have_key && !t->is_agent) pthread_setspecific(exit_key, t);
    __atomic_store_n(&t->tid, tid, __ATOMIC_RELEASE);
    if (!t->is_agent) __atomic_add_fetch(&running_threads, 1, __ATOMIC_RELAXED);
}

struct thread *thread_self(void)
{
    struct thread *t = agent_tls.thread;
    if (t || agent_tls.critical) return t;
    int saved = errno;
    t = thread_new();
    if (t) {
        t->found = true;
        thread_begin(t);
    }
    errno = saved;
    return t;
}

void thread_note(void)
{
    if (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) && !agent_in_child) (void)thread_self();
}

/* Every task of the process but the caller, the agent's and a main thread that is a zombie. */
static bool others_alive(void)
{
    char buf[1024];
    int self = os_gettid();
    int dir = raw_open("/proc/self/task", O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0) return true;
    bool found = false;
    long n;
    while (!found && (n = sys3(SYS_getdents64, dir, (long)buf, sizeof buf)) > 0) {
        for (long at = 0; at < n;) {
            const char *name = buf + at + 19;
            unsigned short len;
            memcpy(&len, buf + at + 16, sizeof len);
            at += len;
            if (name[0] == '.') continue;
            int tid = atoi(name);
            if (tid == self || tid == os_getpid()) continue;
            bool agent = false;
            for (struct thread *t = threads_first(); t; t = t->next) agent |= t->tid == tid && t->is_agent;
            found |= !agent;
        }
    }
    raw_close(dir);
    return found;
}

void thread_end(struct thread *t)
{
    bool last = !t->is_agent && __atomic_sub_fetch(&running_threads, 1, __ATOMIC_ACQ_REL) == 0;
    if (t->is_main) __atomic_store_n(&threads_main_exited, 1, __ATOMIC_RELEASE);
    if (last && agent_thread_running() && __atomic_load_n(&threads_main_exited, __ATOMIC_ACQUIRE) && !others_alive())
        exit(0);
    drop_altstack(t);
    heap_thread_exit();
    if (t->own_stack) t->stack_lo = t->stack_hi = 0;
    agent_tls.thread = &past_its_end;
    agent_tls.stack_lo = agent_tls.stack_hi = 0;
    t->state = NULL;
    __atomic_store_n(&t->ended, true, __ATOMIC_RELEASE);
    __atomic_store_n(&t->tid, 0, __ATOMIC_RELEASE);
}

static void on_thread_exit(void *arg)
{
    struct thread *t = arg;
    if (t != agent_tls.thread) return;
    if (++t->exit_rounds < PTHREAD_DESTRUCTOR_ITERATIONS && pthread_setspecific(exit_key, t) == 0) return;
    thread_end(t);
}

void threads_init(void)
{
    static bool done;
    if (done) return;
    done = true;
    have_key = pthread_key_create(&exit_key, on_thread_exit) == 0;
    pthread_resolve();
    thread_self();
    __atomic_store_n(&ready, true, __ATOMIC_RELEASE);
}

/* ---- Fork */

void threads_fork_prepare(void)
{
    lock_acquire(&lock);
}
void threads_fork_parent(void)
{
    lock_release(&lock);
}

/* The child's agent thread will have the stack of this one. Its descriptor is written over then, and what libc allocated for it, the table
 * of TLS blocks, is lost by our doing and not the program's. */
static void forget_agent(const struct thread *t)
{
    const uintptr_t *descriptor = (const uintptr_t *)t->tls;
    if (descriptor && descriptor[0] == t->tls && descriptor[2] == t->tls)
        hints_add(descriptor[1] - 2 * sizeof(uintptr_t), 0);
}

/* The stacks of the others are still mapped in the child; libc keeps them for new threads. */
void threads_fork_child(void)
{
    struct thread *self = agent_tls.thread;
    for (struct thread *t = threads; t; t = t->next) {
        if (t == self || t->tid == 0) continue;
        if (t->is_agent) forget_agent(t);
        if (t->altstack) {
            *(void **)t->altstack = free_altstacks;
            free_altstacks = t->altstack;
            t->altstack = NULL;
        }
        t->state = NULL;
        if (t->own_stack) t->stack_lo = t->stack_hi = 0;
        t->ended = true;
        t->tid = 0;
    }
    if (self) {
        self->tid = os_gettid();
        self->is_main = true; /* by its tid; its stack may be that of a pthread */
    }
    running_threads = self != NULL;
    threads_main_exited = 0;
    lock_release(&lock);
}
