/* SPDX-License-Identifier: Apache-2.0
 *
 * Test runner: runs programs and scripts, each in a session of its own with a time limit and an empty TMPDIR, prints
 * a line for each, the output of those that failed, and one closing line
 *     N passed, N failed, N skipped
 *
 * usage: runner [-j JOBS] [-t SECONDS] [-T PATTERN] TEST...
 *   TEST is a path, or NAME=PATH. A cmocka program counts by its cases, anything else as one.
 *   A script says a longer limit by a comment "# timeout: SECONDS" within its first 20 lines.
 *
 * Exit status of a test: 0 passed, 77 skipped, anything else failed.
 *
 * Invariants
 *   1. Whatever a test started is gone when its line is printed: each test has a supervisor that is the
 *      subreaper of everything below it. A test that leaves processes behind fails.
 *   2. No test run, or none matched: exit 1. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_SKIP = 77, EXIT_TIMEOUT = 124, EXIT_LEFTOVER = 125, EXIT_NOT_RUN = 126, MAX_OUTPUT_LINES = 200 };

struct test {
    const char *name, *path;
    pid_t pid;
    int limit_s;
    double begin;
    char tmpdir[64];
    char output[PATH_MAX];
};

struct tally {
    int passed, failed, skipped;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- The supervisor: one process for each test. */

/* Kills every child of this process, adopted ones included. Returns how many there were. */
static int kill_children(void)
{
    char line[512];
    int n = 0;
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        int pid = atoi(e->d_name);
        if (pid <= 0) continue;
        snprintf(line, sizeof line, "/proc/%d/stat", pid);
        FILE *f = fopen(line, "r");
        if (!f) continue;
        char *p = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
        fclose(f);
        char state = 'Z';
        int parent = 0;
        if (!p || sscanf(p + 1, " %c %d", &state, &parent) != 2 || parent != getpid()) continue;
        if (state == 'Z') {
            waitpid(pid, NULL, WNOHANG);
            continue;
        }
        kill(pid, SIGKILL);
        n++;
    }
    if (d) closedir(d);
    return n;
}

/* Children of killed children come to us in turn: repeat until there are none. */
static int kill_all(void)
{
    int n = 0;
    for (int round = 0; round < 1000; round++) {
        int found = kill_children();
        if (!n) n = found;
        pid_t r;
        while ((r = waitpid(-1, NULL, WNOHANG)) > 0) {}
        if (r < 0 && errno == ECHILD) break;
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
    return n;
}

/* A process that is just ending is no leftover: give orphans a moment before they are counted. */
static bool orphans_end(double seconds)
{
    for (double end = now() + seconds; now() < end;) {
        pid_t r;
        while ((r = waitpid(-1, NULL, WNOHANG)) > 0) {}
        if (r < 0 && errno == ECHILD) return true;
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    return false;
}

static _Noreturn void supervise(const struct test *t)
{
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigaddset(&chld, SIGTERM); /* the runner was interrupted */
    sigprocmask(SIG_BLOCK, &chld, NULL);
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGTERM);

    pid_t pid = fork();
    if (pid == 0) {
        sigprocmask(SIG_UNBLOCK, &chld, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        setenv("TMPDIR", t->tmpdir, 1);
        execl(t->path, t->path, (char *)NULL);
        fprintf(stderr, "runner: cannot execute %s: %s\n", t->path, strerror(errno));
        _exit(EXIT_NOT_RUN);
    }
    int status = -1;
    for (double end = now() + t->limit_s; pid > 0;) {
        pid_t r;
        int st;
        while ((r = waitpid(-1, &st, WNOHANG)) > 0)
            if (r == pid) status = st, pid = 0;
        if (!pid) break;
        double left = end - now();
        if (left <= 0) {
            kill_all();
            fprintf(stderr, "runner: still running after %d s, killed\n", t->limit_s);
            _exit(EXIT_TIMEOUT);
        }
        struct timespec ts = {(time_t)left, 100000000};
        if (sigtimedwait(&chld, NULL, &ts) == SIGTERM) {
            kill_all();
            _exit(EXIT_NOT_RUN);
        }
    }
    if (pid < 0) _exit(EXIT_NOT_RUN);
    if (!orphans_end(1.0)) {
        int n = kill_all();
        if (n) {
            fprintf(stderr, "runner: %d process(es) left behind, killed\n", n);
            _exit(EXIT_LEFTOVER);
        }
    }
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "runner: killed by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
        _exit(1);
    }
    _exit(WEXITSTATUS(status));
}

/* ---- The runner. */

static int limit_of(const char *path, int standard)
{
    char line[256];
    FILE *f = fopen(path, "r");
    for (int i = 0; f && i < 20 && fgets(line, sizeof line, f); i++) {
        int s;
        if (sscanf(line, "# timeout: %d", &s) == 1 && s > 0) standard = s;
    }
    if (f) fclose(f);
    return standard;
}

static void begin(struct test *t, int standard_limit)
{
    strcpy(t->tmpdir, "/tmp/seep-test-XXXXXX");
    if (!mkdtemp(t->tmpdir)) {
        perror("runner: mkdtemp");
        exit(1);
    }
    snprintf(t->output, sizeof t->output, "%s.out", t->tmpdir);
    t->limit_s = limit_of(t->path, standard_limit);
    t->begin = now();
    fflush(stdout);
    t->pid = fork();
    if (t->pid == 0) {
        int out = open(t->output, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND, 0600), in = open("/dev/null", O_RDONLY);
        dup2(in, 0);
        dup2(out, 1);
        dup2(out, 2);
        if (in > 2) close(in);
        if (out > 2) close(out);
        supervise(t);
    }
    if (t->pid < 0) {
        perror("runner: fork");
        exit(1);
    }
}

/* Counts the cases of a cmocka program by its closing lines. False: not cmocka's output. */
static bool cmocka_cases(const char *file, struct tally *c)
{
    char line[512];
    int n, groups = 0;
    FILE *f = fopen(file, "r");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "[==========] %d test(s) run.", &n) == 1) groups++;
        if (sscanf(line, "[  PASSED  ] %d test(s).", &n) == 1) c->passed += n;
        if (sscanf(line, "[  SKIPPED ] %d test(s)", &n) == 1) c->skipped += n;
        if (sscanf(line, "[  FAILED  ] %d test(s)", &n) == 1) c->failed += n;
    }
    if (f) fclose(f);
    return groups > 0;
}

static void show(const char *file)
{
    char line[1024];
    int n = 0;
    FILE *f = fopen(file, "r");
    while (f && fgets(line, sizeof line, f)) {
        if (++n > MAX_OUTPUT_LINES) continue;
        printf("    | %s%s", line, strchr(line, '\n') ? "" : "\n");
    }
    if (f) fclose(f);
    if (n > MAX_OUTPUT_LINES) printf("    | (%d more lines)\n", n - MAX_OUTPUT_LINES);
}

static void remove_tree(const char *dir)
{
    pid_t pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", "--", dir, (char *)NULL);
        _exit(127);
    }
    if (pid > 0) waitpid(pid, NULL, 0);
}

static void finish(struct test *t, int status, struct tally *sum)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    struct tally c = {0};
    if (!cmocka_cases(t->output, &c)) c = (struct tally){code == 0, code != 0 && code != EXIT_SKIP, code == EXIT_SKIP};
    /* A program that dies after or between its cases failed, whatever it printed before. */
    if (code != 0 && code != EXIT_SKIP && c.failed == 0) c.failed = 1;
    const char *word = c.failed ? "FAIL" : c.passed ? "PASS" : "SKIP";
    char cases[48] = "";
    if (c.passed + c.failed + c.skipped != 1)
        snprintf(cases, sizeof cases, "  (%d of %d cases)", c.passed, c.passed + c.failed + c.skipped);
    printf("%s  %-44s %6.2f s%s\n", word, t->name, now() - t->begin, cases);
    if (c.failed || c.skipped) show(t->output);
    unlink(t->output);
    remove_tree(t->tmpdir);
    sum->passed += c.passed;
    sum->failed += c.failed;
    sum->skipped += c.skipped;
    t->pid = 0;
}

/* T=pattern: a glob over the whole name, or a part of the name. */
static bool selected(const char *name, const char *pattern)
{
    return !pattern || !*pattern || fnmatch(pattern, name, 0) == 0 || strstr(name, pattern);
}

int main(int argc, char **argv)
{
    int jobs = 2, limit = 60, opt;
    const char *pattern = NULL;
    while ((opt = getopt(argc, argv, "j:t:T:")) != -1) {
        if (opt == 'j')
            jobs = atoi(optarg);
        else if (opt == 't')
            limit = atoi(optarg);
        else if (opt == 'T')
            pattern = optarg;
        else
            return 2;
    }
    if (jobs < 1 || limit < 1) return 2;

    struct test *tests = calloc((size_t)argc, sizeof *tests);
    int n = 0;
    for (int i = optind; i < argc; i++) {
        char *eq = strchr(argv[i], '=');
        if (eq) *eq = 0;
        if (selected(argv[i], pattern)) tests[n++] = (struct test){.name = argv[i], .path = eq ? eq + 1 : argv[i]};
    }

    struct tally sum = {0};
    double start = now();
    for (int next = 0, running = 0; next < n || running;) {
        if (next < n && running < jobs) {
            begin(&tests[next++], limit);
            running++;
            continue;
        }
        int status;
        pid_t pid = wait(&status);
        if (pid < 0 && errno == EINTR) continue;
        for (int i = 0; i < next; i++) {
            if (tests[i].pid != pid) continue;
            finish(&tests[i], status, &sum);
            running--;
        }
    }
    free(tests);
    printf("%.1f s\n", now() - start);
    if (sum.passed + sum.failed + sum.skipped == 0) printf("no test was run\n");
    printf("%d passed, %d failed, %d skipped\n", sum.passed, sum.failed, sum.skipped);
    return sum.failed || sum.passed == 0 ? 1 : 0;
}
