/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is packed, and when; and timers that are let go. Only a snapshot's child can say that no word outside of a stack points into it, or that
 * nothing reaches a timer. Both stay true in the program until the coroutine has run; of the timer, for ever.
 *
 *     pack_scan_prepare  world stopped: maps a table that the child will share
 *     pack_scan_rests    child: writes down whose stack is its own, with a stamp of the wait
 *     pack_scan_finish   program: packs those with the same stamp that have waited long enough
 *
 * Every snapshot does that. Without one the runtime asks for its own, which is not recorded: each CORO_PACK_AFTER seconds, in co_pack(),
 * and each minute for CORO_TIMER_GC=1.
 *
 * "Long enough": since before the last snapshot and for a second at least, or as CORO_PACK_AFTER and co_pack() say.
 * Not done while the kernel may write to memory by itself (io_uring, aio: their buffers need no pointer in the program), while SIGSEGV is
 * not ours, and where guards cost mappings (old kernels, locked memory).
 * Runs on the thread that took the snapshot. One at a time, as snapshots are. No locks, no allocation from the heap. */
#include "coro/pack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/entry/entry.h"
#include "agent/snapshot/raw.h"
#include "agent/snapshot/snapshot.h"
#include "coro/include/coro.h"

enum { LOST_MAX = 1 << 16 };
static const uint64_t S_NS = 1000000000, TIMER_GC_NS = 60 * S_NS;

static struct {
    bool off;          /* CORO_PACK_AFTER=off */
    uint64_t after_ns; /* CORO_PACK_AFTER; 0: not set */
    bool timers;       /* CORO_TIMER_GC */
    uint64_t every_ns, due_ns;
} option;

/* What a child tells: one mapping, made anew for each. */
static struct told {
    uint64_t nlost;
    uintptr_t lost[LOST_MAX];
    uint64_t stamps[]; /* by index of the descriptor; 0: nothing is known */
} * table;
static uint32_t table_n;
static size_t table_bytes;
static uint64_t stop_ns, last_stop_ns; /* when the world stood still for this snapshot, and for the last one */
static _Atomic uint64_t asked;         /* co_pack() waits: its least wait + 1 */
static _Atomic uint64_t packed_ever;

void pack_scan_init(void)
{
    const char *s = getenv("CORO_PACK_AFTER"), *gc = getenv("CORO_TIMER_GC");
    option.timers = gc && !strcmp(gc, "1");
    option.off = s && !strcmp(s, "off");
    if (s && *s && !option.off) {
        char *end;
        unsigned long v = strtoul(s, &end, 10);
        if (*end || v == 0 || v > 1000000)
            log_line("coro: CORO_PACK_AFTER=%s is neither a number of seconds nor \"off\"; ignored", s);
        else
            option.after_ns = v * S_NS;
    }
    option.every_ns = option.after_ns;
    if (option.timers && (!option.every_ns || option.every_ns > TIMER_GC_NS)) option.every_ns = TIMER_GC_NS;
}

/* By sysmon, about once a second. */
void pack_tick(uint64_t now_ns)
{
    if (!option.every_ns) return;
    if (option.due_ns == 0) option.due_ns = now_ns + option.every_ns;
    if (now_ns < option.due_ns) return;
    option.due_ns = now_ns + option.every_ns;
    if (!agent_thread_running() && agent_thread_start() != 0) return;
    snapshot_post(TRIGGER_PROVIDERS);
}

/* ---- the three steps */

static void drop_table(void)
{
    struct told *t = table;
    table = NULL; /* first: a fork() in between must not give it back twice */
    if (t) os_free(t, table_bytes);
}

void pack_scan_prepare(void)
{
    drop_table();
    table_n = g_count();
    if (option.off && !option.timers) return;
    table_bytes = sizeof *table + table_n * sizeof *table->stamps;
    table = os_share(table_bytes, OS_META);
    stop_ns = os_mono_ns();
}

void pack_scan_rests(uintptr_t ref)
{
    if (table && ref - 1 < table_n) table->stamps[ref - 1] = pack_stamp(g_at((uint32_t)ref - 1));
}

void pack_scan_timer_lost(uintptr_t object)
{
    if (table && option.timers && table->nlost < LOST_MAX) table->lost[table->nlost++] = object;
}

/* Does something of the program's make the kernel write to memory later? */
static bool kernel_writes(void)
{
    static char buf[16384];
    size_t kept = 0;
    bool found = false;
    int fd = raw_open("/proc/self/maps", O_RDONLY, 0);
    if (fd < 0) return true;
    for (long n; !found && (n = raw_read(fd, buf + kept, sizeof buf - 1 - kept)) > 0;) {
        size_t len = kept + (size_t)n;
        for (char *p = buf; !found && (p = memchr(p, '[', len - (size_t)(p - buf))) != NULL; p++) {
            size_t left = len - (size_t)(p - buf);
            found = (left >= 10 && !memcmp(p, "[io_uring]", 10)) || (left >= 6 && !memcmp(p, "[aio] ", 6));
        }
        kept = len < 16 ? len : 16;
        memmove(buf, buf + len - kept, kept);
    }
    raw_close(fd);
    return found;
}

static void pack_all(uint64_t before_ns)
{
    static struct pack_candidate c[PACK_BATCH];
    unsigned n = 0;
    uint64_t begin = os_mono_ns(), had = atomic_load(&packed_ever), had_bytes = atomic_load(&pack_bytes);
    for (uint32_t i = 0; i <= table_n; i++) {
        if (n == PACK_BATCH || (i == table_n && n)) {
            int r = pack_some(c, n);
            if (r < 0) return;
            atomic_fetch_add(&packed_ever, (uint64_t)r);
            n = 0;
        }
        if (i == table_n || !table->stamps[i]) continue;
        struct g *g = g_at(i);
        if (g->blocked_ns <= before_ns) c[n++] = (struct pack_candidate){g, table->stamps[i]};
    }
    uint64_t done = atomic_load(&packed_ever) - had;
    if (done)
        log_verbose(2, "coro: packed %lu coroutines, %lu ns and %lu bytes each", (unsigned long)done,
                    (unsigned long)((os_mono_ns() - begin) / done),
                    (unsigned long)((atomic_load(&pack_bytes) - had_bytes) / done));
}

void pack_scan_finish(bool told)
{
    if (!table) return;
    uint64_t before = last_stop_ns < stop_ns - S_NS ? last_stop_ns : stop_ns - S_NS;
    if (option.after_ns) before = stop_ns - option.after_ns;
    uint64_t want = atomic_load(&asked);
    if (want) before = stop_ns - (want - 1);
    if (told) {
        for (uint64_t i = 0; i < table->nlost; i++) timer_let_go(table->lost[i]);
        if (!option.off && before && before < stop_ns + 1 && stack_guards_are_free() && report_has_faults() &&
            !kernel_writes())
            pack_all(before);
        last_stop_ns = stop_ns;
    }
    drop_table();
}

/* ---- asked for by the program */

struct call {
    uint64_t parked_ns;
    long result;
};

static void look(void *arg)
{
    static uint32_t busy;
    struct call *c = arg;
    while (__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE)) {
        uint32_t nap = 0;
        os_futex_wait(&nap, 0, 1000000);
    }
    uint64_t had = atomic_load(&packed_ever);
    struct snapshot_request req = {.trigger = TRIGGER_PROVIDERS};
    struct snapshot_result res = {0};
    atomic_store(&asked, c->parked_ns + 1);
    int rc = snapshot_request(&req, &res, -1);
    atomic_store(&asked, 0);
    c->result = rc < 0 ? rc : (long)(atomic_load(&packed_ever) - had);
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
}

CO_EXPORT long co_pack(uint64_t parked_ns)
{
    struct g *g = runtime_self();
    struct call c = {.parked_ns = parked_ns};
    if (!process_is_known()) return -EAGAIN;
    if (g && g->m->p)
        co_blocking(look, &c);
    else
        look(&c);
    return c.result;
}

void pack_scan_fork_child(void)
{
    drop_table();
    atomic_store(&asked, 0);
    option.due_ns = 0;
}
