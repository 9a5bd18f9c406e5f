/* SPDX-License-Identifier: Apache-2.0
 *
 * Start of the agent in a process image.
 *
 * The order in which things happen
 *   1. malloc is called while the loader still relocates: heap and profiler initialise themselves.
 *   2. Constructors of other libraries may create threads, register fork handlers, change signals: our
 *      wrappers call life_init() first.
 *   3. Our constructor: life_init(), and the agent's thread when there is something for it to do.
 * The agent's thread exists when SEEP_OUT is set, or when SEEP_CONTROL or SEEP_SIGNAL is set explicitly. A program
 * that only links libseep.so gets no thread and no signal handler but that of the stop signal, until it calls
 * seep_record() or seep_snapshot().
 *
 * Not async-signal-safe. May allocate. */
#include "agent/entry/entry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/contract/contract.h"
#include "agent/entry/internal.h"
#include "agent/heap/heap.h"
#include "agent/os/os.h"
#include "agent/profile/profile.h"
#include "agent/snapshot/raw.h"
#include "agent/snapshot/snapshot.h"
#include "agent/util/critical.h"
#include "agent/util/log.h"
#include "agent/util/options.h"

static struct process_start start;
static uint32_t recording; /* agent_options.out is final and not empty */

const struct process_start *process_start(void)
{
    return &start;
}

bool process_is_known(void)
{
    return start.pid == os_getpid();
}

static bool forked;
bool process_is_forked(void)
{
    return forked;
}

bool life_recording(void)
{
    return __atomic_load_n(&recording, __ATOMIC_ACQUIRE) != 0;
}

static void note_start(void)
{
    start.ppid = (int)sys3(SYS_getppid, 0, 0, 0);
    start.start_unix_ns = os_unix_ns();
    start.start_mono_ns = os_mono_ns();
    start.pid = os_getpid();
}

/* path made absolute into out[4096]. The program may change its directory before the first snapshot. */
static int absolute_path(const char *path, char *out, size_t size)
{
    char cwd[4096];
    if (!path[0]) return -ENOENT;
    if (path[0] == '/') return fmt_string(out, size, "%s", path) < strlen(path) ? -ENAMETOOLONG : 0;
    long n = sys3(SYS_getcwd, (long)cwd, sizeof cwd, 0);
    if (n < 0) return (int)n;
    if (strlen(cwd) + 1 + strlen(path) >= size) return -ENAMETOOLONG;
    fmt_string(out, size, "%s/%s", cwd, path);
    return 0;
}

/* 0: path is free to be created, or a recording, or an empty file. */
static int check_recording(const char *path)
{
    unsigned char head[72];
    struct stat st;
    int fd = raw_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
    if (fd == -ENOENT) return 0;
    if (fd < 0) return fd;
    long n = raw_fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? raw_read(fd, head, sizeof head) : -EINVAL;
    raw_close(fd);
    if (n == 0) return 0;
    if (n < (long)sizeof head || memcmp(head, "SQLite format 3", 16) != 0) return -EEXIST;
    uint32_t id = (uint32_t)head[68] << 24 | (uint32_t)head[69] << 16 | (uint32_t)head[70] << 8 | head[71];
    return id == SEEP_APPLICATION_ID ? 0 : -EEXIST;
}

int life_record(const char *path)
{
    static uint32_t busy;
    char full[sizeof agent_options.out];
    life_init();
    if (life_recording() || __atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE)) return -EBUSY;
    int rc = absolute_path(path, full, sizeof full);
    if (rc == 0) rc = check_recording(full);
    if (rc == 0) {
        memcpy(agent_options.out, full, sizeof full);
        __atomic_store_n(&recording, 1, __ATOMIC_RELEASE);
        rc = agent_thread_is_self() ? 0 : agent_thread_start();
        agent_thread_wake(); /* an interval may begin now */
    }
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
    return rc;
}

static bool set_explicitly(const char *name)
{
    const char *v = getenv(name);
    return v && *v;
}

/* state: 0 not begun, 1 under way, 2 done. A second thread can't be here before the first has finished: the wrapper that
 * creates it comes through here. Recursion (a wrapper called from inside) returns at once. */
static uint32_t state;

void life_init(void)
{
    if (__atomic_load_n(&state, __ATOMIC_ACQUIRE)) return;
    __atomic_store_n(&state, 1, __ATOMIC_RELEASE);
    int saved = errno;
    options_init();
    heap_init();
    prof_init();
    note_start();
    fork_init();
    threads_init();
    signals_init();
    eintr_resolve();
    eintr_io_resolve();
    credentials_resolve();
    threads_provider_init();
    if (agent_options.out[0]) {
        char full[sizeof agent_options.out];
        int rc = absolute_path(agent_options.out, full, sizeof full);
        if (rc == 0) {
            memcpy(agent_options.out, full, sizeof full);
            __atomic_store_n(&recording, 1, __ATOMIC_RELEASE);
        } else {
            log_line("SEEP_OUT: the path can't be made absolute (error %d): nothing is recorded", -rc);
        }
    }
    errno = saved;
    __atomic_store_n(&state, 2, __ATOMIC_RELEASE);
}

__attribute__((constructor)) static void life_constructor(void)
{
    int saved = errno;
    life_init();
    prof_late_init();
    exit_init();
    bool control = agent_options.control && set_explicitly("SEEP_CONTROL");
    bool trigger = agent_options.signal != 0;
    if (life_recording() || control || trigger) {
        int rc = agent_thread_start();
        if (rc < 0) log_line("no thread for the agent (error %d): snapshots only at exit", -rc);
    }
    if (trigger) signals_trigger_init();
    errno = saved;
}

/* Called by fork.c in a forked child, after the locks are free again. */
void life_fork_child(void)
{
    forked = true;
    note_start();
}
