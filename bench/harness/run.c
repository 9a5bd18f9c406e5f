/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs contestants side by side: for each round and load each contestant once, in rotated order, after one warm-up;
 * prints a table of medians and writes samples and bars as JSON.
 *
 *     run PLAN RESULT.json        BENCH_ROUNDS=7 rounds
 *     run -m                      prints the machine's description, a JSON object
 *
 * A plan is lines of
 *     suite NAME
 *     who NAME [VAR=VALUE]...             environment of a contestant; a value with a * is a path's pattern
 *     load NAME COMMAND [ARGUMENT]...
 *     bar AGGREGATE METRIC WHO REFERENCE LIMIT NAME...
 * where AGGREGATE is geomean or max over the loads, METRIC wall or rss, and REFERENCE a contestant, or best or
 * median of the peers. Peers are all but those whose name begins with "seep". $VAR in a word is expanded.
 *
 * Invariants
 *   1. A contestant that is missing, fails or dies ends the whole run with exit 1: no figure without all of them.
 *   2. Ratios are formed from medians of the same run; nothing is compared across runs. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <gnu/libc-version.h>

enum { MAX_WHO = 16, MAX_LOAD = 32, MAX_BAR = 32, MAX_WORDS = 24, MAX_ROUNDS = 101 };

struct sample {
    double wall_s, cpu_s, rss_kib;
};
struct who {
    char *name, *env[MAX_WORDS];
};
struct load {
    char *name, *argv[MAX_WORDS];
};
struct bar {
    char *aggregate, *metric, *who, *reference, *name;
    double limit, value;
    bool holds;
};

static char *suite = "unnamed";
static struct who who[MAX_WHO];
static struct load load[MAX_LOAD];
static struct bar bar[MAX_BAR];
static int nwho, nload, nbar, rounds = 7;
static struct sample samples[MAX_LOAD][MAX_WHO][MAX_ROUNDS];

static _Noreturn void die(const char *what, const char *which)
{
    fprintf(stderr, "bench: %s: %s\n", which, what);
    exit(1);
}

/* ---- The plan. */

/* First line that a command prints, or "unknown". */
static const char *line_of(const char *command, char *buf, int size)
{
    FILE *p = popen(command, "r");
    if (!p || !fgets(buf, size, p)) snprintf(buf, (size_t)size, "unknown");
    if (p) pclose(p);
    buf[strcspn(buf, "\n")] = 0;
    return buf;
}

/* The loader only warns when it cannot preload, and the contestant would be glibc under another name. */
static void check_preload(const char *library)
{
    char command[4200], line[256];
    if (access(library, R_OK) != 0) die("is missing", library);
    snprintf(command, sizeof command, "LD_PRELOAD='%s' ls -d / 2>&1", library);
    if (strcmp(line_of(command, line, sizeof line), "/") != 0) die(line, library);
}

/* The word with a leading $VAR replaced; VAR=pattern with a * becomes VAR=path. */
static char *expand(const char *word)
{
    char buf[4096];
    const char *dollar = strchr(word, '$');
    if (dollar) {
        char var[64];
        int n = 0;
        if (sscanf(dollar + 1, "%63[A-Z_]%n", var, &n) != 1 || !getenv(var)) die("unknown variable", word);
        snprintf(buf, sizeof buf, "%.*s%s%s", (int)(dollar - word), word, getenv(var), dollar + 1 + n);
    } else {
        snprintf(buf, sizeof buf, "%s", word);
    }
    char *eq = strchr(buf, '=');
    if (eq && strchr(eq, '*')) {
        glob_t g;
        if (glob(eq + 1, 0, NULL, &g) || g.gl_pathc != 1)
            die("no file, or several, of this name (see tools/setup.sh bench)", word);
        snprintf(eq + 1, sizeof buf - (size_t)(eq + 1 - buf), "%s", g.gl_pathv[0]);
        globfree(&g);
    }
    if (eq && strncmp(buf, "LD_PRELOAD=", 11) == 0) check_preload(eq + 1);
    return strdup(buf);
}

static void read_plan(const char *path)
{
    char line[4096];
    FILE *f = fopen(path, "r");
    if (!f) die(strerror(errno), path);
    while (fgets(line, sizeof line, f)) {
        char *w[MAX_WORDS + 1] = {0}, *save = NULL;
        int n = 0;
        for (char *s = strtok_r(line, " \t\n", &save); s && n < MAX_WORDS - 1; s = strtok_r(NULL, " \t\n", &save))
            w[n++] = expand(s);
        if (n == 0 || *w[0] == '#') continue;
        if (strcmp(w[0], "suite") == 0 && n == 2) {
            suite = w[1];
        } else if (strcmp(w[0], "who") == 0 && n >= 2 && nwho < MAX_WHO) {
            who[nwho].name = w[1];
            memcpy(who[nwho++].env, w + 2, sizeof(char *) * (size_t)(n - 2));
        } else if (strcmp(w[0], "load") == 0 && n >= 3 && nload < MAX_LOAD) {
            if (access(w[2], X_OK) != 0) die("is missing", w[2]);
            load[nload].name = w[1];
            memcpy(load[nload++].argv, w + 2, sizeof(char *) * (size_t)(n - 2));
        } else if (strcmp(w[0], "bar") == 0 && n >= 7 && nbar < MAX_BAR) {
            char name[1024] = "";
            for (int i = 6; i < n; i++) {
                strncat(name, w[i], sizeof name - strlen(name) - 2);
                if (i + 1 < n) strcat(name, " ");
            }
            bar[nbar++] = (struct bar){w[1], w[2], w[3], w[4], strdup(name), atof(w[5]), 0, false};
        } else {
            die("cannot read this line of the plan", w[0]);
        }
    }
    fclose(f);
    if (!nwho || !nload) die("names no contestant or no load", path);
}

/* ---- Running. */

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

static struct sample run_once(const struct load *l, const struct who *w)
{
    struct rusage ru;
    int status;
    double begin = now();
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        for (char *const *e = w->env; *e; e++) putenv(*e);
        execv(l->argv[0], l->argv);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &ru) != pid) die(strerror(errno), l->name);
    double end = now();
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "bench: %s under %s ended with %s %d\n", l->name, w->name,
                WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        exit(1);
    }
    return (struct sample){end - begin, seconds(ru.ru_utime) + seconds(ru.ru_stime), (double)ru.ru_maxrss};
}

static void run_all(void)
{
    for (int r = -1; r < rounds; r++) {
        fprintf(stderr, r < 0 ? "bench %s: warm-up\n" : "bench %s: round %d of %d\n", suite, r + 1, rounds);
        for (int l = 0; l < nload; l++) {
            for (int i = 0; i < nwho; i++) {
                int w = (i + l + r + 1) % nwho;
                struct sample s = run_once(&load[l], &who[w]);
                if (r >= 0) samples[l][w][r] = s;
            }
        }
    }
}

/* ---- Figures. */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double metric(const struct sample *s, const char *name)
{
    return strcmp(name, "rss") == 0 ? s->rss_kib : strcmp(name, "cpu") == 0 ? s->cpu_s : s->wall_s;
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static double median_of(int l, int w, const char *m)
{
    double v[MAX_ROUNDS];
    for (int r = 0; r < rounds; r++) v[r] = metric(&samples[l][w][r], m);
    return median(v, rounds);
}

static int find_who(const char *name)
{
    for (int i = 0; i < nwho; i++)
        if (strcmp(who[i].name, name) == 0) return i;
    return -1;
}

static bool is_peer(int w)
{
    return strncmp(who[w].name, "seep", 4) != 0;
}

static double reference(int l, const struct bar *b)
{
    double v[MAX_WHO];
    int n = 0, w = find_who(b->reference);
    if (w >= 0) return median_of(l, w, b->metric);
    for (w = 0; w < nwho; w++)
        if (is_peer(w)) v[n++] = median_of(l, w, b->metric);
    if (!n) die("no such contestant", b->reference);
    double m = median(v, n);
    return strcmp(b->reference, "best") == 0 ? v[0] : m;
}

static void compute_bars(void)
{
    for (struct bar *b = bar; b < bar + nbar; b++) {
        int w = find_who(b->who);
        if (w < 0) die("no such contestant", b->who);
        double sum = 0, most = 0;
        for (int l = 0; l < nload; l++) {
            double ratio = median_of(l, w, b->metric) / reference(l, b);
            sum += log(ratio);
            if (ratio > most) most = ratio;
        }
        b->value = strcmp(b->aggregate, "max") == 0 ? most : exp(sum / nload);
        b->holds = b->value <= b->limit;
    }
}

/* ---- Output. */

static void print_table(const char *m, const char *unit, double scale)
{
    printf("\n%-12s", unit);
    for (int w = 0; w < nwho; w++) printf(" %12s", who[w].name);
    printf("\n");
    for (int l = 0; l < nload; l++) {
        printf("%-12s", load[l].name);
        for (int w = 0; w < nwho; w++) printf(" %12.3f", median_of(l, w, m) * scale);
        printf("\n");
    }
}

static void put_string(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') fputc('\\', f);
        if ((unsigned char)*s >= ' ') fputc(*s, f);
    }
    fputc('"', f);
}

static void put_machine(FILE *f)
{
    char buf[256];
    struct utsname u;
    uname(&u);
    fprintf(f, "{\"cpu\": ");
    put_string(f, line_of("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo", buf, sizeof buf));
    fprintf(f, ", \"cores\": %ld, \"kernel\": ", sysconf(_SC_NPROCESSORS_ONLN));
    put_string(f, u.release);
    fprintf(f, ", \"libc\": \"glibc %s\", \"compiler\": \"gcc %s\"}", gnu_get_libc_version(), __VERSION__);
}

static void write_json(const char *path)
{
    char buf[256], tmp[4096];
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    FILE *f = fopen(tmp, "w");
    if (!f) die(strerror(errno), tmp);
    fprintf(f, "{\n\"suite\": \"%s\",\n\"machine\": ", suite);
    put_machine(f);
    fprintf(f, ",\n\"commit\": ");
    put_string(f, line_of("git describe --always --dirty 2>/dev/null", buf, sizeof buf));
    fprintf(f, ",\n\"samples\": [");
    const char *comma = "\n";
    for (int l = 0; l < nload; l++)
        for (int w = 0; w < nwho; w++)
            for (int r = 0; r < rounds; r++, comma = ",\n") {
                const struct sample *s = &samples[l][w][r];
                fprintf(f,
                        "%s {\"load\": \"%s\", \"who\": \"%s\", \"round\": %d, \"wall_s\": %.4f, \"cpu_s\": %.4f, "
                        "\"rss_kib\": %.0f}",
                        comma, load[l].name, who[w].name, r + 1, s->wall_s, s->cpu_s, s->rss_kib);
            }
    fprintf(f, "\n],\n\"bars\": [");
    comma = "\n";
    for (const struct bar *b = bar; b < bar + nbar; b++, comma = ",\n") {
        fprintf(f, "%s {\"name\": ", comma);
        put_string(f, b->name);
        fprintf(f, ", \"value\": %.3f, \"limit\": %.2f, \"better\": \"lower\", \"unit\": \"ratio\", \"holds\": %s}",
                b->value, b->limit, b->holds ? "true" : "false");
    }
    fprintf(f, "\n]\n}\n");
    if (ferror(f) || fclose(f) || rename(tmp, path)) die(strerror(errno), path);
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
    if (rounds < 1 || rounds > MAX_ROUNDS) die("must be 1 to 101", "BENCH_ROUNDS");
    read_plan(argv[1]);
    run_all();
    compute_bars();
    printf("suite %s, medians of %d rounds\n", suite, rounds);
    print_table("wall", "wall, s", 1);
    print_table("cpu", "cpu, s", 1);
    print_table("rss", "rss, MiB", 1.0 / 1024);
    printf("\n");
    for (const struct bar *b = bar; b < bar + nbar; b++)
        printf("%s  %-60s %7.3f  (limit %.2f)\n", b->holds ? "holds " : "MISSES", b->name, b->value, b->limit);
    write_json(argv[2]);
    printf("\nwritten: %s\n", argv[2]);
    return 0;
}
