/* SPDX-License-Identifier: Apache-2.0
 *
 * Coroutines for C: goroutines, channels and select, on a few OS threads. Link with -lseep.
 *
 * main() is the first coroutine: nothing has to be started, and a program that never calls a co_ function pays
 * nothing. Coroutines are multiplexed on CORO_MAXPROCS threads (environment; default: the CPUs online) and may go on
 * on another thread after every call that can block; main() too. When main() returns, the process exits.
 *
 * Who may call. Functions marked [parks] need a coroutine: main() or something started by co_go(). All others may be
 * called from any thread. None is async-signal-safe. None may be called while a pthread mutex is held that another
 * coroutine of the same thread wants: the thread would wait for itself.
 *
 * Errors. Functions returning int give 0 or a negative errno, except the I/O functions, which are like their namesakes
 * in POSIX: -1 and errno. Misuse that Go answers with a panic (send on a closed channel, close of a nil channel, a
 * negative waitgroup, unlock of an unlocked mutex) is reported on standard error with the stack and ends the process
 * with exit status 2. */
#ifndef SEEP_CORO_H
#define SEEP_CORO_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* errno belongs to the OS thread, and compilers assume that its address is the same all through a function. A coroutine
 * that resumed on another thread would then read the wrong one, so here errno is a call that is made each time. The value
 * itself follows the coroutine. Include this header wherever errno is used after a call that can park. */
int *co_errno_location(void);
#undef errno
#define errno (*co_errno_location())

/* ---- Coroutines. */
typedef void co_fn(void *arg);

struct co_attr {
    size_t stack_limit_bytes; /* 0: 256 KiB. Rounded up to 64 KiB, 256 KiB, 1, 8, 64 MiB or 1 GiB, guard included */
    const char *name;         /* NULL, or a string that outlives the coroutine */
};

/* Starts fn(arg) as a coroutine. 0, -ENOMEM, -EAGAIN (no thread could be created), or -EINVAL (limit over 1 GiB). */
int co_go(co_fn *fn, void *arg);
int co_go_attr(const struct co_attr *attr, co_fn *fn, void *arg);

void co_yield_now(void); /* [parks] lets the others run */
#ifndef __cpp_impl_coroutine
static inline void co_yield (void) /* the same; this name is a keyword in C++20 */
{
    co_yield_now();
}
#endif
void co_sleep_ns(uint64_t ns); /* [parks] at least that long */
#ifdef __cplusplus
#define CO_NORETURN [[noreturn]]
#else
#define CO_NORETURN _Noreturn
#endif
/* [parks] Runs the deferred calls and ends the calling coroutine. In main(): the others go on, and the process ends by their exit() or
 * by the deadlock report. */
CO_NORETURN void co_exit(void);

/* ---- Deferred calls and panics. A deferred call runs, newest first, when the innermost co_scope or co_call() around it ends, however that
 * happens, or else at the end of the coroutine. (main() has no such end: use a scope.) */
void co_defer(co_fn *fn, void *arg);
/* [parks] Runs fn(arg), then what it deferred. False: it panicked, and a call that it deferred recovered. */
bool co_call(co_fn *fn, void *arg);

typedef struct co_scope {
    uint32_t depth;
} co_scope;
co_scope co_scope_begin(void);
void co_scope_end(co_scope *s);
/* A scope that ends with the block, by return, goto or its brace: { CO_SCOPE; co_defer(…); … } */
#define CO_SCOPE         CO_SCOPE_1(__LINE__)
#define CO_SCOPE_1(line) CO_SCOPE_2(line)
#define CO_SCOPE_2(line) co_scope co_scope_##line __attribute__((cleanup(co_scope_end), unused)) = co_scope_begin()

/* Runs the deferred calls of this coroutine, innermost first. If one of them recovers, the co_call() in which that was deferred returns
 * false; if it was deferred outside of any, the coroutine ends. Else: report with the stack, exit status 2. fmt may be NULL. Misuse of
 * channels and waitgroups panics like this; that of locks can't be recovered from. */
CO_NORETURN void co_panic(void *value, const char *fmt, ...)
#if defined __GNUC__
    __attribute__((format(printf, 2, 3)))
#endif
    ;
/* In a deferred call that runs because of a panic: that panic's value (its text, when the value is NULL), and it is over. Else NULL.
 * The text is valid until the coroutine's next recovery. text may be NULL. */
void *co_recover(const char **text);

/* ---- Blocking calls, and who is running. */
/* Runs fn(arg) here, in this coroutine, while its processor is lent to the others: for calls that block the thread (files,
 * getaddrinfo, a foreign library). fn may not call a function that parks. [parks] */
void co_blocking(co_fn *fn, void *arg);

/* From here on the calling coroutine runs on this thread only, and nothing else does: for libraries that keep state by thread. Nested;
 * the end of the coroutine unlocks. main() before its first call that parks is on the process's main thread. Switching to or from a
 * locked coroutine is a switch of threads. */
void co_lock_thread(void);
void co_unlock_thread(void);

uint64_t co_self_id(void);          /* id of the calling coroutine, from 1 (main, when it came first); 0 outside */
const char *co_name(void);          /* its name; NULL: none */
void co_set_name(const char *name); /* the string must outlive the coroutine */
unsigned co_maxprocs(void);         /* processors: coroutines that run at the same time */
uint64_t co_count(void);            /* coroutines alive, main included */

/* ---- Channels. A channel is one block of the heap; free it with co_chan_free(). NULL is Go's nil channel: sending and
 * receiving block for ever, try forms never succeed, closing is misuse. Elements are copied. */
typedef struct co_chan co_chan;

#define CO_NOSCAN 1u /* elements hold no pointers: the leak marker need not look into the buffer */

/* cap 0: unbuffered. NULL with errno EINVAL (size out of range) or ENOMEM. */
co_chan *co_chan_make(size_t elem_size, size_t cap);
co_chan *co_chan_make_flags(size_t elem_size, size_t cap, unsigned flags);
#define co_make(T, cap) co_chan_make(sizeof(T), (cap))
/* Gives the memory back. Misuse while a coroutine waits on it. NULL is fine. */
void co_chan_free(co_chan *ch);

void co_send(co_chan *ch, const void *elem); /* [parks] */
/* [parks] True: *elem is a sent value. False: the channel is closed and drained, *elem is cleared. elem may be NULL. While it waits
 * *elem is cleared, so that a loop's variable does not keep alive what it received last. */
bool co_recv(co_chan *ch, void *elem);
void co_close(co_chan *ch);
bool co_try_send(co_chan *ch, const void *elem); /* false: would block */
/* False: would block. True: as co_recv, with its result in *ok (ok may be NULL). */
bool co_try_recv(co_chan *ch, void *elem, bool *ok);
size_t co_len(const co_chan *ch); /* elements queued; 0 for NULL */
size_t co_cap(const co_chan *ch);

/* ---- Select. */
enum co_case_kind { CO_SEND, CO_RECV };
struct co_case {
    co_chan *ch; /* NULL: this case is never ready */
    enum co_case_kind kind;
    void *elem; /* CO_SEND: the value to send; CO_RECV: where to put it, may be NULL */
    bool ok;    /* CO_RECV, out: as the result of co_recv */
};
/* Waits until one case can go on, does it, and returns its index; among several that are ready the choice is random.
 * No case: blocks for ever. [parks] */
size_t co_select(struct co_case *cases, size_t n);
/* The same without waiting: -1 when no case is ready (Go's default). */
long co_try_select(struct co_case *cases, size_t n);

/* ---- Timers and tickers. Each has a channel of uint64_t: CLOCK_MONOTONIC at the moment it fired. The channel looks unbuffered; nothing
 * stale is received after a stop or reset. Freeing stops; misuse while a coroutine waits on the channel. What is pending keeps its memory
 * alive: a ticker runs until it is stopped or freed. */
typedef struct co_timer co_timer;
typedef struct co_ticker co_ticker;
co_chan *co_after(uint64_t ns);                             /* fires once; freed by co_chan_free(), before or after */
co_timer *co_timer_new(uint64_t ns);                        /* fires once */
co_timer *co_after_func(uint64_t ns, co_fn *fn, void *arg); /* then runs fn(arg) in a coroutine of its own */
co_chan *co_timer_chan(co_timer *t);                        /* NULL for co_after_func's */
/* True: it was pending (or fired without that its value was received), and does not fire. False: stopped or fired before. */
bool co_timer_stop(co_timer *t);
bool co_timer_reset(co_timer *t, uint64_t ns); /* as stop; then it fires in ns */
void co_timer_free(co_timer *t);
co_ticker *co_ticker_new(
    uint64_t period_ns); /* a tick that nobody has taken when the next comes: that one is dropped */
co_chan *co_ticker_chan(co_ticker *t);
void co_ticker_stop(co_ticker *t); /* does not close the channel */
void co_ticker_reset(co_ticker *t, uint64_t period_ns);
uint64_t co_ticker_dropped(co_ticker *t);
void co_ticker_free(co_ticker *t);

/* ---- Contexts: cancellation, deadlines and values, handed down from who asks to who works. Cancelling one cancels all below it. The
 * pointer of co_with_…() belongs to the caller: co_ctx_free() cancels and releases it, in any order of parents and children. Making one
 * gives NULL when there is no memory. */
typedef struct co_ctx co_ctx;
co_ctx *co_background(void); /* never cancelled, never freed; its co_ctx_done() is NULL */
co_ctx *co_with_cancel(co_ctx *parent);
co_ctx *co_with_timeout(co_ctx *parent, uint64_t ns);
co_ctx *co_with_deadline(co_ctx *parent, uint64_t mono_ns);          /* CLOCK_MONOTONIC */
co_ctx *co_with_value(co_ctx *parent, const void *key, void *value); /* keys are compared by address */
co_ctx *co_without_cancel(co_ctx *parent);                           /* its values only */
void co_ctx_cancel(co_ctx *c);                          /* the first one counts; of a value context: nothing */
void co_ctx_cancel_cause(co_ctx *c, const char *cause); /* cause: a string that outlives the context */
void co_ctx_free(co_ctx *c);                            /* NULL is fine */
co_chan *co_ctx_done(const co_ctx *c);                  /* closed when it is cancelled; NULL: it can't be */
int co_ctx_err(const co_ctx *c);                        /* 0, -ECANCELED or -ETIMEDOUT */
const char *co_ctx_cause(const co_ctx *c);              /* NULL: not cancelled */
bool co_ctx_deadline(const co_ctx *c, uint64_t *mono_ns);
void *co_ctx_value(const co_ctx *c, const void *key); /* of the nearest context with that key; NULL: none */

/* ---- Synchronization. Zeroed memory is a valid, unused one of each. Not to be copied, nor freed while in use. Their fields are the
 * runtime's. */
typedef struct co_waitgroup {
    uint32_t lock;
    uint32_t waiters;
    int64_t count;
    void *first, *last;
} co_waitgroup;
void co_wg_add(co_waitgroup *wg, int64_t delta); /* misuse: a count below 0 */
void co_wg_done(co_waitgroup *wg);
void co_wg_wait(
    co_waitgroup *wg); /* [parks] until the count is 0. Misuse: an add before every such wait has returned */

typedef struct co_mutex {
    uint32_t lock;
    uint8_t state, flags;
    uint16_t quiet;
    uint64_t owner;
    void *first, *last;
} co_mutex;
void co_mutex_lock(co_mutex *m); /* [parks] */
bool co_mutex_try_lock(co_mutex *m);
void co_mutex_unlock(co_mutex *m); /* by any coroutine. Misuse: of an unlocked one */

#include "coro_arch.h" /* locking and unlocking in place, where the processor is known */

/* Many readers or one writer. A writer that waits keeps new readers out; its unlock lets in the readers that came meanwhile. So a
 * coroutine that locks for reading twice may wait for itself. */
typedef struct co_rwmutex {
    uint32_t lock;
    uint32_t writing, readers, waiting;
    uint64_t owner;
    void *first_reader, *last_reader, *first_writer, *last_writer;
} co_rwmutex;
void co_rwmutex_lock(co_rwmutex *m); /* [parks] */
bool co_rwmutex_try_lock(co_rwmutex *m);
void co_rwmutex_unlock(co_rwmutex *m);
void co_rwmutex_rlock(co_rwmutex *m); /* [parks] */
bool co_rwmutex_try_rlock(co_rwmutex *m);
void co_rwmutex_runlock(co_rwmutex *m);

typedef struct co_cond {
    uint32_t lock;
    void *first, *last;
} co_cond;
/* [parks] Unlocks m, waits for a signal or broadcast, locks m. There are no wake-ups without a cause, but the condition may have changed again
 * by then: test it in a loop. */
void co_cond_wait(co_cond *c, co_mutex *m);
void co_cond_signal(co_cond *c); /* the one that waits longest; with m held or not */
void co_cond_broadcast(co_cond *c);

typedef struct co_sem {
    uint32_t lock;
    uint64_t count;
    void *first, *last;
} co_sem;
#define CO_SEM(n) ((co_sem){0, (n), 0, 0})  /* with n permits */
void co_sem_acquire(co_sem *s, uint64_t n); /* [parks] in the order of arrival */
bool co_sem_try_acquire(co_sem *s, uint64_t n);
void co_sem_release(co_sem *s, uint64_t n);

typedef struct co_once {
    uint32_t done;
    co_mutex mutex;
} co_once;
/* [parks] Runs fn(arg) in the first call; every call returns when that one is over. A panic or co_exit() in fn counts as over. Misuse:
 * a call for the same co_once within fn. */
void co_once_do(co_once *o, co_fn *fn, void *arg);

/* ---- Slices: pointer, length, capacity, in three consecutive words, of memory that several may share. CO_SLICE(T) is a type; zeroed it
 * is Go's nil slice. Sub-slices share the memory of what they were taken from, and keep all of it alive: clone a small part that lives long.
 * Out of range is a panic. The macros take a pointer to the slice (any CO_SLICE) and evaluate it once. */
#define CO_SLICE(T)      \
    struct {             \
        T *data;         \
        size_t len, cap; \
    }
typedef struct {
    void *data;
    size_t len, cap;
} __attribute__((may_alias)) co_slice; /* what the functions see of each */
bool co_slice_make(co_slice *s, size_t elem_bytes, size_t len, size_t cap, unsigned flags); /* flags: CO_NOSCAN */
bool co_slice_append(co_slice *s, size_t elem_bytes, const void *elems, size_t n);
bool co_slice_grow(co_slice *s, size_t elem_bytes, size_t n); /* room for n more */
void co_slice_sub(co_slice *to, const co_slice *s, size_t elem_bytes, size_t lo, size_t hi, size_t max);
bool co_slice_clone(co_slice *to, const co_slice *s, size_t elem_bytes);
void co_slice_check(size_t index, size_t len); /* panics unless index < len */
void co_slice_free(co_slice *s);               /* of one that begins where its memory does; it is empty then */

#define co_make_slice(s, n, room) \
    co_slice_make((co_slice *)(s), sizeof *(s)->data, (n), (room), 0) /* zeroed; false: no memory */
#define co_append_n(s, elems, n) \
    co_slice_append((co_slice *)(s), sizeof *(s)->data, (1 ? (elems) : (s)->data), (n)) /* n elements; may move */
#define co_append(s, value)                                                 \
    (__extension__({                                                        \
        __typeof__(s) co_s_ = (s);                                          \
        __typeof__(*co_s_->data) co_v_ = (value);                           \
        co_slice_append((co_slice *)co_s_, sizeof *co_s_->data, &co_v_, 1); \
    }))
#define co_at(s, i)                        \
    (*__extension__({                      \
        __typeof__(s) co_s_ = (s);         \
        size_t co_i_ = (i);                \
        co_slice_check(co_i_, co_s_->len); \
        co_s_->data + co_i_;               \
    }))
/* Elements lo … hi - 1, with the rest of the capacity; co_cut: with that of hi - lo, so that an append moves it away. */
#define co_sub(s, lo, hi) co_sub_(s, lo, hi, SIZE_MAX)
#define co_cut(s, lo, hi) co_sub_(s, lo, hi, co_hi_)
#define co_sub_(s, lo, hi, max)                                                                         \
    (__extension__({                                                                                    \
        __typeof__(s) co_s_ = (s);                                                                      \
        __typeof__(*co_s_) co_to_;                                                                      \
        size_t co_hi_ = (hi);                                                                           \
        co_slice_sub((co_slice *)&co_to_, (co_slice *)co_s_, sizeof *co_s_->data, (lo), co_hi_, (max)); \
        co_to_;                                                                                         \
    }))
#define co_clone(s)                                                                  \
    (__extension__({                                                                 \
        __typeof__(s) co_s_ = (s);                                                   \
        __typeof__(*co_s_) co_to_;                                                   \
        co_slice_clone((co_slice *)&co_to_, (co_slice *)co_s_, sizeof *co_s_->data); \
        co_to_;                                                                      \
    })) /* its data is NULL when there is no memory */

/* ---- Strings: pointer and length; not terminated, never changed. Sub-strings share. */
typedef struct co_str {
    const char *data;
    size_t len;
} co_str;
co_str co_str_of(const char *text);                /* of a C string, shared */
co_str co_str_sub(co_str s, size_t lo, size_t hi); /* out of range: panic */
bool co_str_eq(co_str a, co_str b);
int co_str_cmp(co_str a, co_str b);        /* <0, 0, >0, byte by byte */
size_t co_str_find(co_str s, co_str part); /* index, or SIZE_MAX */
bool co_str_split(co_str s, co_str sep, co_str *before,
                  co_str *after); /* at the first sep; false: none, all is before */
/* New memory, to be given back by free(); data is NULL when there is none. */
co_str co_str_clone(co_str s);
co_str co_str_cat(co_str a, co_str b);
char *co_str_c(co_str s); /* terminated */

/* ---- I/O that parks the coroutine and not the thread. As read, write, accept4(…, SOCK_NONBLOCK | SOCK_CLOEXEC) and connect, but a
 * write to a socket that nobody reads gives EPIPE and no signal, and
 * a descriptor that is not a connected socket is made non-blocking and stays so. Not for regular files (they never would block: use
 * co_blocking). Before close(), no coroutine may be waiting for the descriptor: use shutdown() to wake those. [parks] */
ssize_t co_read(int fd, void *buf, size_t n);
ssize_t co_write(int fd, const void *buf, size_t n); /* all of it, unless there is an error */
int co_accept(int fd, struct sockaddr *addr, socklen_t *addrlen);
int co_connect(int fd, const struct sockaddr *addr, socklen_t addrlen);

/* Deadlines of a descriptor, absolute, CLOCK_MONOTONIC; 0: none. From then on its reads (and accepts) or writes (and connects) fail with
 * ETIMEDOUT, those that wait already too, until it is set anew. A deadline belongs to the number: clear it before close(). A write
 * that timed out may have written a part. 0, or -1 and errno. */
int co_set_deadline(int fd, uint64_t read_mono_ns, uint64_t write_mono_ns);

/* The same off the thread, on one that may block: [parks]. Results as of their namesakes (errno; EAI_… codes). */
int co_open(const char *path, int flags, mode_t mode);
ssize_t co_pread(int fd, void *buf, size_t n, off_t offset);
ssize_t co_pwrite(int fd, const void *buf, size_t n, off_t offset);
int co_fsync(int fd);
struct addrinfo;
int co_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result);

/* [parks] Packs the coroutines that have waited for parked_ns at least and whose stacks no word outside of them points into: the bytes that
 * are live move to a block of their size, the pages go back to the kernel. They come back when the coroutine runs, or when somebody
 * reads them after all. Returns how many, or a negative errno. Costs a fork of the process, as a snapshot does. Without it the runtime
 * packs after snapshots, or each CORO_PACK_AFTER seconds (environment; "off": never). */
long co_pack(uint64_t parked_ns);

/* SIGQUIT (Ctrl-\), unless the program handles it, does this on standard error before the process dies of it.
 * Writes every coroutine's state and stack to fd, identical stacks grouped. Those that run meanwhile are asked by the same signal;
 * where the program handles it, they are listed without their stack. */
void co_dump(int fd);

#ifdef __cplusplus
}
#endif
#endif
