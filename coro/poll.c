/* SPDX-License-Identifier: Apache-2.0
 *
 * The poller: coroutines that wait for a descriptor, over epoll. A descriptor is registered at its first wait, edge-triggered for both
 * directions, and then costs no further system call; an event that nobody waits for is remembered for the next one.
 *
 * The kernel forgets a descriptor that is closed, and nobody tells us. accept and connect, which make new ones, and an
 * end of file say that the next wait should register again. For all other ways to close and reuse a number there is the monitor: it
 * registers again what has waited for more than a tick (once a wait), and the kernel then reports what was missed.
 *
 * Invariants
 *   1. poll_waiters counts the coroutines in the lists of all entries; nobody needs to look into epoll at 0.
 *   2. An entry's lock is held from queueing a waiter until its registers are saved.
 *   3. A wake-up is a hint: the waiter tries its operation again.
 * Locks: the entry's (an object lock). Entries are metadata, made at a descriptor's first wait.
 *
 * Tried and dropped: arming for one event by EPOLL_CTL_MOD at each wait (a system call more for each request of a server); an epoll
 * instance for each p, and larger batches (no faster; figures in docs/coro.md). */
#include "coro/runtime.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "coro/include/coro.h"
#include "coro/poll.h"

enum { CHUNK = 1024, MAX_CHUNKS = 1024, EVENTS = 128 };

struct poll_count poll_waiters;
static struct pollfd_entry *_Atomic chunks[MAX_CHUNKS];
static struct colock lock; /* making the poller, and chunks */
static _Atomic int fds;    /* above every one that was waited for */
static _Atomic int epoll_fd = -1, break_fd = -1;
static _Atomic bool breaking;

bool poll_init(void)
{
    if (likely(atomic_load(&epoll_fd) >= 0)) return true;
    colock_acquire(&lock);
    if (atomic_load(&epoll_fd) < 0) {
        int ep = epoll_create1(EPOLL_CLOEXEC), ev = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        struct epoll_event e = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
        if (ep >= 0 && ev >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, ev, &e) == 0) {
            atomic_store(&break_fd, ev);
            atomic_store(&epoll_fd, ep);
        } else {
            if (ep >= 0) close(ep);
            if (ev >= 0) close(ev);
        }
    }
    colock_release(&lock);
    return atomic_load(&epoll_fd) >= 0;
}

struct pollfd_entry *poll_entry(int fd)
{
    if (fd < 0 || fd >= CHUNK * MAX_CHUNKS) return NULL;
    struct pollfd_entry *c = atomic_load_explicit(&chunks[fd / CHUNK], memory_order_acquire);
    if (unlikely(!c)) {
        colock_acquire(&lock);
        c = atomic_load(&chunks[fd / CHUNK]);
        if (!c) c = persistent_alloc(CHUNK * sizeof *c, 64, OS_META);
        atomic_store(&chunks[fd / CHUNK], c);
        colock_release(&lock);
        if (!c) return NULL;
    }
    return &c[fd % CHUNK];
}

/* With the entry's lock held: the kernel reports the state now and each change. 0 or a negative errno. */
static int arm(struct pollfd_entry *e, int fd)
{
    int first = e->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, other = e->registered ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = (uint64_t)fd};
    int ep = atomic_load(&epoll_fd);
    if (epoll_ctl(ep, first, fd, &ev) == 0 ||
        ((errno == EEXIST || errno == ENOENT) && epoll_ctl(ep, other, fd, &ev) == 0)) {
        e->registered = true;
        return 0;
    }
    return -errno;
}

void poll_forget(int fd, bool fresh)
{
    struct pollfd_entry *e = poll_entry(fd);
    if (!e) return;
    colock_acquire(&e->lock);
    e->registered = e->plain = e->ready_read = e->ready_write = e->drained = e->hangup = false;
    e->fresh = fresh;
    colock_release(&e->lock);
}

/* Waits until fd may be readable (or writable). 0, or a negative errno. */
int poll_wait(int fd, bool write, const char *caller)
{
    struct g *g = runtime_parker(caller);
    struct pollfd_entry *e = poll_entry(fd);
    if (!e) return fd < 0 ? -EBADF : -ENOMEM;
    if (!poll_init()) return -EMFILE;
    colock_acquire(&e->lock);
    bool *ready = write ? &e->ready_write : &e->ready_read;
    int err = *ready || e->registered ? 0 : arm(e, fd);
    if (err || *ready) {
        *ready = false;
        colock_release(&e->lock);
        return err == -EPERM ? 0 : err; /* EPERM: a file that can't be polled is always ready */
    }
    bool limited = (write ? e->write_deadline_ns : e->read_deadline_ns) != 0;
    if (unlikely(limited) && !deadline_begin(g, e, write)) {
        colock_release(&e->lock);
        return -ETIMEDOUT;
    }
    list_push(write ? &e->writers : &e->readers, g);
    e->checked = 0;
    sysmon_start();
    atomic_fetch_add(&poll_waiters.n, 1);
    if (unlikely(fd >= atomic_load_explicit(&fds, memory_order_relaxed))) atomic_store(&fds, fd + 1);
    if (!atomic_load(&sched.polling)) m_wake_one();
    sched_park(g, (uintptr_t)&e->lock, SEEP_WAIT_IO);
    return unlikely(limited) && deadline_end(g) ? -ETIMEDOUT : 0;
}

/* moved() is to follow, once for all. */
static void move(struct g_list *to, struct g_list *from)
{
    for (struct g *g; (g = list_pop(from)) != NULL;) list_push(to, g);
}

/* `out` had so many. For a moment more are counted than wait, never fewer. */
static void moved(const struct g_list *out, uint32_t had)
{
    if (out->n != had) atomic_fetch_sub(&poll_waiters.n, out->n - had);
}

/* The program closed our descriptors: all waiters try again and arm a new poller. */
static COLD void lost(struct g_list *out)
{
    atomic_store(&epoll_fd, -1);
    for (int c = 0; c < MAX_CHUNKS; c++) {
        struct pollfd_entry *chunk = atomic_load(&chunks[c]);
        for (int i = 0; chunk && i < CHUNK; i++) {
            colock_acquire(&chunk[i].lock);
            chunk[i].registered = false;
            move(out, &chunk[i].readers);
            move(out, &chunk[i].writers);
            colock_release(&chunk[i].lock);
        }
    }
}

static int wait_events(struct epoll_event *ev, int64_t timeout_ns)
{
    static _Atomic bool coarse;
    struct timespec ts = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    if (timeout_ns > 0 && !atomic_load(&coarse)) {
        long n = syscall(SYS_epoll_pwait2, atomic_load(&epoll_fd), ev, EVENTS, &ts, NULL, 0);
        if (n >= 0 || errno != ENOSYS) return n < 0 ? -errno : (int)n;
        atomic_store(&coarse, true);
    }
    int64_t ms = timeout_ns <= 0 ? timeout_ns : (timeout_ns + 999999) / 1000000;
    int n = epoll_wait(atomic_load(&epoll_fd), ev, EVENTS, ms > INT32_MAX ? INT32_MAX : (int)ms);
    return n < 0 ? -errno : n;
}

/* Entries and descriptors stand in no cache: the kernel worked on others' sockets since they were used. A glance without the lock. */
static inline void fetch_ahead(const struct epoll_event *ev, int i, int n)
{
    enum { STEP = 4 };
    if (i + 2 * STEP < n) __builtin_prefetch(poll_entry((int)ev[i + 2 * STEP].data.u64), 1);
    struct pollfd_entry *e = i + STEP < n ? poll_entry((int)ev[i + STEP].data.u64) : NULL;
    struct g *g = e ? __atomic_load_n(&e->readers.head, __ATOMIC_RELAXED) : NULL;
    if (!g) return;
    __builtin_prefetch(g, 1);
    __builtin_prefetch(&g->link, 1);
}

/* Adds those whose descriptor is ready to out. timeout_ns < 0: waits for ever. */
bool poll_ready(struct g_list *out, int64_t timeout_ns)
{
    struct epoll_event ev[EVENTS];
    if (!poll_init()) return false;
    uint32_t had = out->n;
    if (timeout_ns != 0) memset(ev, 0, sizeof ev); /* what stood there before would be a root while we sleep */
    int n = wait_events(ev, timeout_ns);
    if (n == -EBADF || n == -EINVAL) lost(out);
    for (int i = 0; i < n; i++) {
        fetch_ahead(ev, i, n);
        if (ev[i].data.u64 == UINT64_MAX) {
            uint64_t count;
            if (timeout_ns == 0) continue; /* meant for the one that sleeps */
            atomic_store(&breaking, false);
            if (read(atomic_load(&break_fd), &count, sizeof count) < 0) continue;
            continue;
        }
        int fd = (int)ev[i].data.u64;
        struct pollfd_entry *e = poll_entry(fd);
        colock_acquire(&e->lock);
        if (ev[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) e->hangup = true;
        if (ev[i].events & ~(uint32_t)EPOLLOUT) {
            if (!e->readers.n) e->ready_read = true;
            move(out, &e->readers);
        }
        if (ev[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
            if (!e->writers.n) e->ready_write = true;
            move(out, &e->writers);
        }
        colock_release(&e->lock);
    }
    moved(out, had);
    return out->n > 0;
}

/* By sysmon: registers again what has waited since the call before the last (all: whatever waits), once a wait. */
void poll_check(bool all, struct g_list *out)
{
    int n = atomic_load(&poll_waiters.n) ? atomic_load(&fds) : 0;
    uint32_t had = out->n;
    for (int fd = 0; fd < n; fd++) {
        struct pollfd_entry *chunk = atomic_load_explicit(&chunks[fd / CHUNK], memory_order_acquire);
        if (!chunk) {
            fd += CHUNK - 1 - fd % CHUNK;
            continue;
        }
        struct pollfd_entry *e = &chunk[fd % CHUNK];
        if (e->checked > 1 || (!e->readers.n && !e->writers.n)) continue; /* a glance; the lock makes it sure */
        colock_acquire(&e->lock);
        if ((e->readers.n || e->writers.n) && e->checked <= 1) {
            e->checked = all ? 2 : e->checked + 1;
            if (e->checked == 2 && arm(e, fd) != 0) { /* closed: they will see it */
                e->registered = false;
                move(out, &e->readers);
                move(out, &e->writers);
            }
        }
        colock_release(&e->lock);
    }
    moved(out, had);
}

void poll_break(void)
{
    uint64_t one = 1;
    if (atomic_exchange(&breaking, true)) return;
    if (write(atomic_load(&break_fd), &one, sizeof one) < 0) atomic_store(&breaking, false);
}

/* The epoll instance is shared with the parent and knows its descriptors: the child makes its own. */
void poll_fork_child(void)
{
    lock = (struct colock){0};
    if (atomic_load(&epoll_fd) >= 0) {
        close(atomic_load(&epoll_fd));
        close(atomic_load(&break_fd));
    }
    atomic_store(&epoll_fd, -1);
    atomic_store(&break_fd, -1);
    atomic_store(&breaking, false);
    atomic_store(&poll_waiters.n, 0);
    for (int c = 0; c < MAX_CHUNKS; c++) {
        struct pollfd_entry *chunk = atomic_load(&chunks[c]);
        for (int i = 0; chunk && i < CHUNK; i++) chunk[i] = (struct pollfd_entry){0};
    }
}
