/* SPDX-License-Identifier: Apache-2.0
 *
 * Programs that do with processes, threads and signals what existing preloaded checkers break on. One mode each;
 * exit code 0 and "ok" on standard output when the program saw what it would see without the agent. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x)                                                             \
    do {                                                                     \
        if (!(x)) {                                                          \
            printf("%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #x, errno); \
            fflush(stdout);                                                  \
            _exit(99);                                                       \
        }                                                                    \
    } while (0)

extern char **environ;

static void work_ms(int ms) /* allocates and frees for so long, sleeping in between */
{
    struct timespec begin, now;
    void *p[16] = {0};
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (unsigned i = 0;; i++) {
        free(p[i % 16]);
        p[i % 16] = malloc(1 + i * 37 % 3000);
        CHECK(p[i % 16]);
        memset(p[i % 16], 1, 1 + i * 37 % 3000);
        if (i % 64 == 0) usleep(200);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 >= ms) break;
    }
    for (int i = 0; i < 16; i++) free(p[i]);
}

static void *worker(void *ms)
{
    work_ms((int)(long)ms);
    return NULL;
}

typedef int api(const char *); /* NULL without the agent */
#define API(name) __extension__((api *)dlsym(RTLD_DEFAULT, #name))

static int snapshot(const char *label)
{
    api *fn = API(seep_snapshot);
    return fn ? fn(label) : 0;
}

/* Every signal back to its default, twice, as shells and daemons do. */
static int m_signals(void)
{
    for (int round = 0; round < 2; round++)
        for (int s = 1; s <= 64; s++) {
            struct sigaction act, old;
            if (s == SIGKILL || s == SIGSTOP || s == 32 || s == 33) continue;
            CHECK(signal(s, SIG_IGN) != SIG_ERR);
            CHECK(signal(s, SIG_DFL) == SIG_IGN);
            memset(&act, 0, sizeof act);
            act.sa_handler = SIG_IGN;
            sigfillset(&act.sa_mask);
            CHECK(sigaction(s, &act, NULL) == 0);
            CHECK(sigaction(s, NULL, &old) == 0);
            CHECK(old.sa_handler == SIG_IGN && sigismember(&old.sa_mask, SIGRTMAX) == 1);
            CHECK(signal(s, SIG_DFL) == SIG_IGN);
        }
    CHECK(snapshot("signals") == 0);
    return 0;
}

static void *blocked_worker(void *arg)
{
    sigset_t all, now;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_BLOCK, &all, NULL) == 0);
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0);
    for (int s = 1; s <= 64; s++) CHECK(s == SIGKILL || s == SIGSTOP || s == 32 || s == 33 || sigismember(&now, s));
    work_ms(100);
    CHECK(sigprocmask(SIG_UNBLOCK, &all, NULL) == 0);
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0);
    for (int s = 1; s <= 64; s++) CHECK(sigismember(&now, s) == 0);
    return arg;
}

static int m_block(void)
{
    pthread_t t[4];
    for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, blocked_worker, NULL);
    usleep(20000);
    CHECK(snapshot("blocked") == 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    return 0;
}

static int m_close(void)
{
    for (int fd = 3; fd < 4096; fd++) close(fd);
    syscall(436 /* close_range */, 3, ~0u, 0);
    CHECK(snapshot("closed") == 0);
    CHECK(dup(1) == 3); /* descriptors are numbered as without an agent */
    return 0;
}

static void on_child(int sig)
{
    (void)!write(2, sig == SIGCHLD ? "SIGCHLD\n" : "?\n", 8);
}

static int m_wait(void)
{
    int status;
    signal(SIGCHLD, on_child); /* the only one that may come is that of our child */
    for (int i = 0; i < 5; i++) CHECK(snapshot("wait") == 0);
    CHECK(waitpid(-1, &status, WNOHANG) == -1 && errno == ECHILD);
    pid_t pid = fork();
    if (pid == 0) _exit(3);
    CHECK(wait(&status) == pid && WEXITSTATUS(status) == 3);
    CHECK(wait(&status) == -1 && errno == ECHILD);
    return 0;
}

static void *last_words(void *arg)
{
    work_ms(150);
    printf("buffered, "); /* flushed by exit, which the last thread's end calls */
    return arg;
}

static int m_pthread_exit(void)
{
    pthread_t t;
    setvbuf(stdout, NULL, _IOFBF, 4096);
    pthread_create(&t, NULL, last_words, NULL);
    printf("ok\n");
    pthread_exit(NULL);
}

static int m_pthread_exit_alone(void)
{
    printf("ok\n");
    pthread_exit(NULL);
}

static int m_daemon(void)
{
    int p[2];
    char c;
    CHECK(pipe(p) == 0);
    if (fork() == 0) {
        setsid();
        if (fork() != 0) _exit(0);
        struct epoll_event e;
        int ep = epoll_create1(0);
        if (chdir("/") != 0) _exit(1);
        for (int i = 0; i < 30; i++) {
            void *q = malloc(1000);
            epoll_wait(ep, &e, 1, 10);
            free(q);
        }
        (void)!write(p[1], "x", 1);
        exit(0);
    }
    CHECK(wait(NULL) > 0);
    close(p[1]);
    CHECK(read(p[0], &c, 1) == 1);
    CHECK(read(p[0], &c, 1) == 0); /* its exit, snapshot included */
    return 0;
}

static int m_fork_storm(void)
{
    pthread_t t[3];
    for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, worker, (void *)400l);
    for (int i = 0; i < 100; i++) {
        int status;
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            void *p[50];
            for (int k = 0; k < 50; k++) p[k] = malloc((size_t)k * 100);
            for (int k = 0; k < 50; k++) free(p[k]);
            kill(getpid(), SIGKILL); /* no exit snapshot: this is about fork */
        }
        CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    }
    for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
    return 0;
}

static void *short_lived(void *arg)
{
    void *p = malloc(10 + (size_t)arg % 100);
    free(p);
    return arg;
}

static int m_churn(void)
{
    for (long i = 0; i < 1500; i++) {
        pthread_t t;
        void *back;
        CHECK(pthread_create(&t, NULL, short_lived, (void *)i) == 0);
        CHECK(pthread_join(t, &back) == 0 && back == (void *)i);
    }
    return 0;
}

static char *self;

static int m_exec(void)
{
    const char *n = getenv("CHAIN");
    char next[16];
    snprintf(next, sizeof next, "%d", n ? atoi(n) + 1 : 1);
    if (n && atoi(n) >= 8) return 0;
    setenv("CHAIN", next, 1);
    execl(self, self, "exec", (char *)NULL);
    return 1;
}

static int m_popen(void)
{
    char line[64] = "";
    FILE *f = popen("echo from a shell", "r");
    CHECK(f && fgets(line, sizeof line, f) && strcmp(line, "from a shell\n") == 0);
    CHECK(pclose(f) == 0);
    CHECK(WEXITSTATUS(system("exit 9")) == 9);
    return 0;
}

static int m_spawn(void)
{
    pid_t pid;
    int status;
    char *argv[] = {"true", NULL};
    CHECK(posix_spawnp(&pid, "true", NULL, NULL, argv, environ) == 0);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    for (int i = 0; i < 20; i++) {
        pid = vfork();
        if (pid == 0) _exit(4);
        CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 4);
    }
    CHECK(snapshot("after vfork") == 0);
    return 0;
}

static int m_setuid(void)
{
    pthread_t t[3];
    for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, worker, (void *)200l);
    for (int i = 0; i < 50; i++) { /* each reaches every thread by a signal of libc's */
        CHECK(setgid(getgid()) == 0);
        CHECK(setuid(getuid()) == 0);
        usleep(1000);
    }
    for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
    return 0;
}

static char alt[1 << 16];
static volatile int on_alt;
static void alt_handler(int sig)
{
    char here;
    (void)sig;
    on_alt = &here >= alt && &here < alt + sizeof alt;
}

static int m_altstack(void)
{
    stack_t s = {.ss_sp = alt, .ss_size = sizeof alt}, old;
    struct sigaction act;
    CHECK(sigaltstack(NULL, &old) == 0 && (old.ss_flags & SS_DISABLE));
    CHECK(sigaltstack(&s, &old) == 0 && (old.ss_flags & SS_DISABLE));
    CHECK(sigaltstack(NULL, &old) == 0 && old.ss_sp == alt);
    memset(&act, 0, sizeof act);
    act.sa_handler = alt_handler;
    act.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR1, &act, NULL);
    raise(SIGUSR1);
    CHECK(on_alt);
    CHECK(snapshot("altstack") == 0);
    s.ss_flags = SS_DISABLE;
    CHECK(sigaltstack(&s, NULL) == 0);
    CHECK(sigaltstack(NULL, &old) == 0 && (old.ss_flags & SS_DISABLE));
    return 0;
}

static int tasks(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    CHECK(d);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int m_alone(void) /* without SEEP_OUT no thread is there until it is asked for */
{
    CHECK(tasks() == 1);
    CHECK(snapshot("nothing is recorded") == -ENODEV);
    CHECK(tasks() == 1);
    api *record = API(seep_record);
    if (!record) return 0;
    CHECK(record("/dev/null") < 0 && record("/nowhere/at/all") == 0); /* the second fails when it is written */
    CHECK(record("again") == -EBUSY);
    CHECK(tasks() == 2);
    CHECK(snapshot("can't be written") == -EIO);
    return 0;
}

static int m_record(void)
{
    api *record = API(seep_record);
    CHECK(record && record("rec.seep") == 0 && chdir("/") == 0);
    CHECK(snapshot("by the program") == 0);
    return 0;
}

static volatile int usr2;
static void on_usr2(int sig)
{
    (void)sig;
    usr2++;
}

static int m_trigger(void) /* SEEP_SIGNAL=USR2: ours, until the program has a handler */
{
    CHECK(signal(SIGUSR2, SIG_DFL) == SIG_DFL);
    raise(SIGUSR2);
    work_ms(200);
    CHECK(signal(SIGUSR2, on_usr2) == SIG_DFL);
    raise(SIGUSR2);
    CHECK(usr2 == 1 && signal(SIGUSR2, SIG_DFL) == on_usr2);
    return 0;
}

static int m_limits(void) /* the snapshot can't be forked; the program does not notice */
{
    struct rlimit r = {0, 0};
    if (getuid() == 0 && setresuid(65534, 65534, 65534) != 0) return 77;
    CHECK(setrlimit(RLIMIT_NPROC, &r) == 0);
    CHECK(snapshot("no process") == -EAGAIN);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(void);
} modes[] = {
    {"signals", m_signals}, {"block", m_block},   {"close", m_close},
    {"wait", m_wait},       {"spawn", m_spawn},   {"pthread_exit", m_pthread_exit},
    {"daemon", m_daemon},   {"churn", m_churn},   {"pthread_exit_alone", m_pthread_exit_alone},
    {"exec", m_exec},       {"popen", m_popen},   {"fork_storm", m_fork_storm},
    {"setuid", m_setuid},   {"alone", m_alone},   {"altstack", m_altstack},
    {"trigger", m_trigger}, {"record", m_record}, {"limits", m_limits},
};

int main(int argc, char **argv)
{
    self = argv[0];
    if (argc == 3 && strcmp(argv[1], "end") == 0) { /* how it ends: with a buffer that only exit() flushes */
        setvbuf(stdout, NULL, _IOFBF, 4096);
        printf("buffered\n");
        switch (argv[2][0]) {
        case 'r': return 7;
        case 'e': exit(300);
        case '_': _exit(5);
        case 'E': _Exit(8);
        case 'q': quick_exit(6);
        case 'a': abort();
        case 'k': raise(SIGKILL);
        }
    }
    for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(argv[1], modes[i].name) == 0) {
            int rc = modes[i].run();
            if (rc == 0) puts("ok");
            return rc;
        }
    return 2;
}
