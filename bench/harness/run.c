/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs contestants side by side: for each round and load each contestant once, in rotated order, after one warm-up, and
 * those that are compared most closely in pairs; prints tables of medians and writes samples and bars as JSON.
 *
 *     run PLAN RESULT.json        BENCH_ROUNDS=7 rounds; the plan's form: plan.c
 *     run -m                      prints the machine's description, a JSON object
 *
 * Wall time is from before the fork to after wait4, CPU time and peak RSS are wait4's, for the whole process. A program
 * can say better by lines "metric NAME VALUE" on its output (a replayer that takes off what is its own), and can add
 * metrics. BENCH_WHO in its environment names the contestant.
 *
 * Invariants
 *   1. A contestant that is missing, fails or dies ends the whole run with exit 1: no figure without all of them.
 *   2. Ratios are formed from medians of the same run; nothing is compared across runs. */
#include "bench/harness/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

char *suite = "unnamed";
struct who who[MAX_WHO];
struct load load[MAX_LOAD];
struct bar bar[MAX_BAR];
int nwho, nload, nbar, rounds = 7;
char *metric_name[MAX_METRICS] = {"wall_s", "cpu_s", "rss_kib"};
int nmetrics = FIRST_OWN;
struct pairing pairing;
double pairs[MAX_LOAD][MAX_ROUNDS * MAX_PAIRS][2][FIRST_OWN];
double samples[MAX_LOAD][MAX_WHO][MAX_ROUNDS][MAX_METRICS];

_Noreturn void die(const char *what, const char *which)
{
    fprintf(stderr, "bench: %s: %s\n", which, what);
    exit(1);
}

const char *line_of(const char *command, char *buf, int size)
{
    FILE *p = popen(command, "r");
    if (!p || !fgets(buf, size, p)) snprintf(buf, (size_t)size, "unknown");
    if (p) pclose(p);
    buf[strcspn(buf, "\n")] = 0;
    return buf;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void read_metrics(int fd, double *out)
{
    char line[4096], name[64];
    double value;
    FILE *f = fdopen(fd, "r");
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "metric %63s %lf", name, &value) == 2) out[find_metric(name, true)] = value;
    fclose(f);
}

static _Noreturn void become(const struct load *l, const struct who *w, int out)
{
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(out, 1);
    setenv("BENCH_WHO", w->name, 1);
    for (char *const *e = w->env; *e; e++) putenv(*e);
    execv(l->argv[0], l->argv);
    _exit(127);
}

static void run_once(const struct load *l, const struct who *w, double *out)
{
    struct rusage ru;
    int status, pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) != 0) die(strerror(errno), l->name);
    double begin = now();
    pid_t pid = fork();
    if (pid == 0) become(l, w, pipe_fds[1]);
    close(pipe_fds[1]);
    for (int m = FIRST_OWN; m < MAX_METRICS; m++) out[m] = NAN;
    double own[MAX_METRICS];
    for (int m = 0; m < MAX_METRICS; m++) own[m] = NAN;
    read_metrics(pipe_fds[0], own); /* until the process has closed it */
    if (pid < 0 || wait4(pid, &status, 0, &ru) != pid) die(strerror(errno), l->name);
    double end = now();
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "bench: %s under %s ended with %s %d\n", l->name, w->name,
                WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        exit(1);
    }
    out[WALL] = end - begin;
    out[CPU] = seconds(ru.ru_utime) + seconds(ru.ru_stime);
    out[RSS] = (double)ru.ru_maxrss;
    for (int m = 0; m < nmetrics; m++)
        if (!isnan(own[m])) out[m] = own[m];
}

static void run_pairs(int l, int r)
{
    for (int k = 0; k < pairing.times; k++) {
        for (int i = 0; i < 2; i++) {
            int side = (i + k + r + l) & 1;
            double out[MAX_METRICS];
            run_once(&load[l], &who[side ? pairing.reference : pairing.who], out);
            memcpy(pairs[l][r * pairing.times + k][side], out, sizeof pairs[0][0][0]);
        }
    }
}

/* A probe that runs once is not warmed up. */
static void run_all(void)
{
    int last = 0;
    for (int l = 0; l < nload; l++)
        if (load[l].rounds > last) last = load[l].rounds;
    for (int r = -1; r < last; r++) {
        fprintf(stderr, r < 0 ? "bench %s: warm-up\n" : "bench %s: round %d of %d\n", suite, r + 1, last);
        for (int l = 0; l < nload; l++) {
            if (r >= load[l].rounds || (r < 0 && load[l].is_probe && load[l].rounds == 1)) continue;
            for (int i = 0; i < nwho; i++) {
                int w = (i + l + r + 1) % nwho;
                double unused[MAX_METRICS];
                if (load[l].takes[w]) run_once(&load[l], &who[w], r < 0 ? unused : samples[l][w][r]);
            }
            if (r >= 0 && !load[l].is_probe) run_pairs(l, r);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "-m") == 0) {
        put_machine(stdout);
        printf("\n");
        return 0;
    }
    if (argc != 3) {
        fprintf(stderr, "usage: run PLAN RESULT.json | run -m\n");
        return 2;
    }
    const char *e = getenv("BENCH_ROUNDS");
    if (e && *e) rounds = atoi(e);
    if (rounds < 1 || rounds > MAX_ROUNDS) die("must be 1 to 63", "BENCH_ROUNDS");
    read_plan(argv[1]);
    double begin = now();
    run_all();
    compute_bars();
    printf("suite %s, medians of %d rounds, %.0f s\n", suite, rounds, now() - begin);
    print_tables();
    write_json(argv[2]);
    printf("\nwritten: %s\n", argv[2]);
    return 0;
}
