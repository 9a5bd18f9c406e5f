/* SPDX-License-Identifier: Apache-2.0
 * Calls that a second thread makes fail, one kind a run. Then it waits for the file that tells that snapshots go on.
 *
 *   credentials raw                    says "yes" when user namespaces can be made here
 *   credentials ids|user|setns|threads  makes the calls, prints "done", and waits for its stdin to close */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int capset(void *header, const void *data);

static void must(const char *what, int rc)
{
    if (rc == 0) return;
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static void must_fail(const char *what, int rc, int expected)
{
    if (rc == -1 && errno == expected) return;
    printf("%s: %d, errno %d, expected -1, %d\n", what, rc, errno, expected);
    exit(1);
}

/* Its own thread keeps only what the calls below need, by a direct call: the others keep all. */
static void drop_capabilities(void)
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct d[2] = {{0}};
    d[0].effective = d[0].permitted = 1u << CAP_SETUID;
    must("capset", (int)syscall(SYS_capset, &h, d));
}

static void ids(void)
{
    gid_t group = 65534;
    must("setgroups", setgroups(1, &group));
    must("setresgid", setresgid(65534, 65534, 65534));
    drop_capabilities();
    must_fail("setgroups without the capability", setgroups(0, NULL), EPERM);
    must_fail("setgid without the capability", setgid(0), EPERM);
    must_fail("initgroups without the capability", initgroups("root", 0), EPERM);
    must("seteuid", seteuid(65534));
    must("setresuid", setresuid(65534, 65534, 65534));
    must_fail("setuid back", setuid(0), EPERM);
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    must("capset to nothing", capset(&h, none));
    must_fail("setreuid", setreuid(0, 0), EPERM);
    must_fail("setregid", setregid(0, 0), EPERM);
    must_fail("setegid", setegid(0), EPERM);
}

static void user(void)
{
    must("unshare", unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS));
    pid_t child = fork();
    if (child == 0) _exit(getpid() == 1 ? 7 : 8);
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 7 << 8) must("the new PID namespace's first process", -1);
    must_fail("unshare of nonsense", unshare(1), EINVAL);
}

/* A child makes the namespaces, the parent enters them. */
static void enter(void)
{
    int made[2], go[2];
    char path[64], c;
    must("pipe", pipe(made) | pipe(go));
    pid_t child = fork();
    if (child == 0) {
        close(go[1]);
        must("unshare in the child", unshare(CLONE_NEWUSER | CLONE_NEWNS));
        if (write(made[1], "x", 1) != 1 || read(go[0], &c, 1) < 0) _exit(1);
        _exit(0);
    }
    close(made[1]);
    if (read(made[0], &c, 1) != 1) exit(1);
    snprintf(path, sizeof path, "/proc/%d/ns/user", (int)child);
    int ns = open(path, O_RDONLY);
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int)child);
    int mounts = open(path, O_RDONLY);
    must("setns of a user namespace", setns(ns, 0));
    must("setns of a mount namespace", setns(mounts, CLONE_NEWNS));
    must_fail("setns with another type", setns(mounts, CLONE_NEWUSER), EINVAL);
    close(go[1]);
    int status;
    waitpid(child, &status, 0);
    must("the child", status);
}

/* Many threads at once; then a handler, which interrupts a thread that only waits: libc's lock is not made to be interrupted. */
static volatile int go, over, handled;
static int begun;

static void handler(int sig)
{
    int saved = errno;
    (void)sig;
    if (seteuid(geteuid()) != 0) abort();
    handled++;
    errno = saved;
}

static void *same(void *arg)
{
    while (!__atomic_load_n(&begun, __ATOMIC_ACQUIRE)) usleep(100);
    for (int i = 0; i < 20; i++) {
        errno = 77;
        if (setegid(getegid()) != 0 || seteuid(geteuid()) != 0 || errno != 77) abort();
        free(malloc((size_t)(100 + i)));
    }
    return arg;
}

static void *signals(void *main_thread)
{
    while (!over) {
        if (go) pthread_kill(*(pthread_t *)main_thread, SIGUSR1);
        usleep(5000);
    }
    go = 0;
    return NULL;
}

static void threads(void)
{
    pthread_t id[4], self = pthread_self();
    struct sigaction act = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &act, NULL);
    for (int i = 1; i < 4; i++) must("thread", pthread_create(&id[i], NULL, same, NULL));
    __atomic_store_n(&begun, 1, __ATOMIC_RELEASE);
    for (int i = 1; i < 4; i++) pthread_join(id[i], NULL);
    must("thread", pthread_create(&id[0], NULL, signals, &self));
    go = 1;
    while (handled < 10) usleep(100);
    over = 1;
    while (go) usleep(100);
    pthread_join(id[0], NULL);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    char c;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!strcmp(what, "raw")) return puts(syscall(SYS_unshare, CLONE_NEWUSER) == 0 ? "yes" : "no") < 0;
    if (!strcmp(what, "ids")) ids();
    if (!strcmp(what, "user")) user();
    if (!strcmp(what, "setns")) enter();
    if (!strcmp(what, "threads")) threads();
    printf("%d\n", (int)getpid());
    while (read(0, &c, 1) > 0) {}
    return 0;
}
