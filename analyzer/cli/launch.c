/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a command under the agent: checks it, makes the recording, sets LD_PRELOAD and the agent's environment, starts it, passes signals
 * on, waits for it.
 *
 *   check command and agent → fork → (child waits) → create the recording, named after the child → child execs → wait
 *
 * Invariants: 1. nothing is created where the command could not have run; 2. the command sees the signal dispositions and descriptors
 * that seep was started with; 3. an existing LD_PRELOAD stays, after ours; 4. a terminal's SIGINT and SIGQUIT reach the command by
 * themselves and are not sent twice. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "analyzer/cli/cli.h"

struct option_row {
    const char *name, *unit;
    char type; /* u, s, e */
    uint64_t lo, hi;
};
static const struct option_row rows[] = {
#define OPT_U64(id, name, def, lo, hi, unit, help) {name, unit, 'u', lo, hi},
#define OPT_STR(id, name, def, help)               {name, "", 's', 0, 0},
#define OPT_ENUM(id, name, def, values, help)      {name, values, 'e', 0, 0},
#include "agent/contract/options.def"
#undef OPT_U64
#undef OPT_STR
#undef OPT_ENUM
};

/* By the rules of options.def; false: not a value of that option. */
static bool value_ok(const struct option_row *o, const char *s)
{
    static const char *const bytes[] = {"", "K", "M", "G"}, *const ms[] = {"", "ms", "s", "m", "h"};
    static const uint64_t bytes_by[] = {1, 1 << 10, 1 << 20, 1 << 30}, ms_by[] = {1000, 1, 1000, 60000, 3600000};
    if (o->type == 's') return strlen(s) < 4096;
    if (o->type == 'e') {
        size_t n = strlen(s);
        for (const char *v = o->unit;; v++) {
            size_t len = strcspn(v, "|");
            if (len == n && strncmp(v, s, n) == 0) return true;
            v += len;
            if (!*v) return false;
        }
    }
    char *end;
    errno = 0;
    uint64_t v = strtoull(s, &end, 10), parts = 0, scale = 1, by = 0;
    if (*s < '0' || *s > '9' || errno) return false;
    if (*end == '.') {
        for (end++; *end >= '0' && *end <= '9' && scale < 1000000; end++, scale *= 10)
            parts = parts * 10 + (uint64_t)(*end - '0');
        if (scale == 1) return false;
    }
    bool is_bytes = strcmp(o->unit, "bytes") == 0, is_ms = strcmp(o->unit, "ms") == 0, none = v == 0 && parts == 0;
    if (*end == 0 && !is_ms) by = 1;
    for (size_t i = 0; i < 4 && is_bytes; i++)
        if (strcmp(end, bytes[i]) == 0) by = bytes_by[i];
    for (size_t i = 0; i < 5 && is_ms; i++)
        if (strcmp(end, ms[i]) == 0) by = ms_by[i];
    if (by == 0 || (scale > 1 && by == 1) || __builtin_mul_overflow(v, by, &v) ||
        __builtin_add_overflow(v, parts * by / scale, &v))
        return false;
    return (v != 0 || none) && v >= o->lo && v <= o->hi;
}

/* "1 to 128", "500ms to 5m" for people. */
static const char *range_of(const struct option_row *o, char out[96])
{
    if (o->type == 'e')
        snprintf(out, 96, "one of %s", o->unit);
    else if (strcmp(o->unit, "ms") == 0)
        snprintf(out, 96, "a time from %llu to %llu seconds, as 500ms, 1.5s, 5m or 1h",
                 (unsigned long long)o->lo / 1000, (unsigned long long)o->hi / 1000);
    else
        snprintf(out, 96, "a number from %llu to %llu%s", (unsigned long long)o->lo, (unsigned long long)o->hi,
                 strcmp(o->unit, "bytes") == 0 ? " bytes (K, M, G)" : "");
    return out;
}

static int check_settings(const struct launch *l)
{
    char range[96];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *value = getenv(rows[i].name);
        for (unsigned j = 0; j < l->nenv; j++)
            if (strcmp(l->env[j][0], rows[i].name) == 0) value = l->env[j][1];
        if (value && !value_ok(&rows[i], value))
            return fail(EXIT_USAGE, "%s=%s is out of range: it takes %s", rows[i].name, value,
                        range_of(&rows[i], range));
    }
    return 0;
}

void launch_default(struct launch *l, const char *name, const char *value)
{
    for (unsigned i = 0; i < l->nenv; i++)
        if (strcmp(l->env[i][0], name) == 0) return;
    if (getenv(name) || l->nenv == 16) return;
    l->env[l->nenv][0] = name;
    l->env[l->nenv++][1] = value;
}

/* ---- signals */
static volatile sig_atomic_t child_pid;

static void forward(int sig, siginfo_t *info, void *ctx)
{
    (void)ctx;
    int saved = errno;
    /* From the terminal (si_code > 0) the whole foreground group has it already. */
    if (child_pid > 0 && info->si_code <= 0) kill((pid_t)child_pid, sig);
    errno = saved;
}

static void catch_signals(void)
{
    static const int passed[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH};
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++) {
        struct sigaction old, new = {.sa_sigaction = forward, .sa_flags = SA_SIGINFO | SA_RESTART};
        /* What was ignored stays ignored, for the command too; handlers end at its exec by themselves. */
        if (sigaction(passed[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) sigaction(passed[i], &new, NULL);
    }
}

/* ---- the recording's name */
static char *absolute(const char *path)
{
    char *cwd = NULL, *out = NULL;
    if (path[0] == '/') return xstrdup(path);
    if ((cwd = getcwd(NULL, 0)) && asprintf(&out, "%s/%s", cwd, path) < 0) out = NULL;
    free(cwd);
    return out ? out : xstrdup(path);
}

static int make_recording(struct launch *l, int pid)
{
    struct err e = {0};
    char *name = NULL;
    if (!l->out && asprintf(&name, "%s.%d.seep", path_base(l->command[0]), pid) < 0)
        return fail(EXIT_CANNOT, "out of memory");
    const char *shown = l->out ? l->out : name;
    if (store_create(shown, l->force, &e) == 0) {
        char *full = absolute(shown);
        if (strlen(full) >= 4096) {
            unlink(shown);
            err_set(&e, EXIT_CANNOT, "%s: name too long; choose a shorter one with -o", shown);
        }
        free(l->out);
        l->out = full;
    }
    free(name);
    return e.code ? fail_err(&e) : 0;
}

/* ---- the child */
static _Noreturn void child(const struct launch *l, const char *path, const char *agent, int go, int report)
{
    char buf[PATH_MAX + 1];
    ssize_t n = 0;
    while ((n = read(go, buf, sizeof buf - 1)) < 0 && errno == EINTR) {}
    if (n <= 0) _exit(EXIT_CANNOT); /* no recording: the parent has said why */
    buf[n] = 0;
    const char *old = getenv("LD_PRELOAD");
    char *preload = NULL;
    if (asprintf(&preload, "%s%s%s", agent, old && *old ? ":" : "", old ? old : "") < 0) _exit(EXIT_CANNOT);
    setenv("LD_PRELOAD", preload, 1);
    for (unsigned i = 0; i < l->nenv; i++) setenv(l->env[i][0], l->env[i][1], 1);
    setenv("SEEP_OUT", buf, 1);
    execvp(path, l->command);
    int why = errno;
    if (write(report, &why, sizeof why) != sizeof why) _exit(EXIT_CANNOT);
    _exit(EXIT_CANNOT);
}

static void wait_for(pid_t pid, struct outcome *out)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    child_pid = 0;
    out->pid = (int)pid;
    out->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    out->code = out->signal ? 128 + out->signal : WEXITSTATUS(status);
}

static void note_end(const struct launch *l, const struct outcome *o)
{
    char detail[64];
    if (o->signal)
        snprintf(detail, sizeof detail, "SIG%s", sigabbrev_np(o->signal) ? sigabbrev_np(o->signal) : "?");
    else
        snprintf(detail, sizeof detail, "exit %d", o->code);
    store_add_event(l->out, o->pid, o->signal ? "signal" : "exit", detail);
}

int launch_run(struct launch *l, struct outcome *out)
{
    struct err e = {0};
    char *path = NULL, *agent = NULL;
    int go[2] = {-1, -1}, report[2] = {-1, -1}, code = check_settings(l), why = 0;
    if (code) return code;
    agent = agent_find(l->agent, &e);
    if (agent) command_check(l->command[0], agent, &path, &e);
    if (!e.code && l->out) store_check_new(l->out, l->force, &e);
    if (!e.code && (pipe2(go, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0))
        err_set(&e, EXIT_CANNOT, "%s: cannot be started: %s", l->command[0], strerror(errno));
    if (e.code) {
        code = fail_err(&e);
        goto end;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        code = fail(EXIT_CANNOT, "%s: cannot be started: %s", l->command[0], strerror(errno));
        goto end;
    }
    if (pid == 0) {
        close(go[1]);
        close(report[0]);
        child(l, path, agent, go[0], report[1]);
    }
    child_pid = pid;
    catch_signals();
    code = make_recording(l, (int)pid);
    close(report[1]);
    report[1] = -1;
    size_t len = code ? 0 : strlen(l->out);
    if (len && write(go[1], l->out, len) != (ssize_t)len)
        code = fail(EXIT_CANNOT, "%s: cannot be started", l->command[0]);
    close(go[1]);
    go[1] = -1;
    ssize_t n = 0;
    while ((n = read(report[0], &why, sizeof why)) < 0 && errno == EINTR) {}
    wait_for(pid, out);
    if (n == (ssize_t)sizeof why) {
        unlink(l->out);
        code = fail(EXIT_CANNOT, "%s: cannot be run: %s", l->command[0], strerror(why));
    }
    if (code == 0) note_end(l, out);
    if (code == 0 && l->label && store_label(l->out, l->label, &e)) say("%s", e.text);
end:
    for (int i = 0; i < 2; i++) {
        if (go[i] >= 0) close(go[i]);
        if (report[i] >= 0) close(report[i]);
    }
    free(path);
    free(agent);
    return code;
}

/* ---- options */
enum {
    KEY_RATE = 0x300,
    KEY_INTERVAL,
    KEY_NO_EXIT,
    KEY_NO_FOLLOW,
    KEY_DEPTH,
    KEY_UNWIND,
    KEY_AGENT,
    KEY_SIGNAL,
    KEY_LABEL
};

static const struct argp_option options[] = {
    {"output", 'o', "FILE", 0, "recording to make; default COMMAND.PID.seep", 10},
    {"force", 'f', NULL, 0, "replace FILE when it exists", 10},
    {"rate", KEY_RATE, "BYTES", 0, "mean bytes between sampled allocations: 1 is every allocation, 0 none", 11},
    {"interval", KEY_INTERVAL, "TIME", 0, "take a snapshot each TIME (500ms, 30s, 5m)", 11},
    {"label", KEY_LABEL, "TEXT", 0, "name the last snapshot of each process, for --snapshot and diff", 11},
    {"signal", KEY_SIGNAL, "N", 0, "take a snapshot when the process gets signal N", 11},
    {"no-exit-snapshot", KEY_NO_EXIT, NULL, 0, "take none when a process exits", 11},
    {"no-follow", KEY_NO_FOLLOW, NULL, 0, "do not record forked children", 11},
    {"depth", KEY_DEPTH, "N", 0, "deepest stack recorded, in frames", 11},
    {"unwind", KEY_UNWIND, "HOW", 0, "fast, fp or libunwind", 11},
    {"agent", KEY_AGENT, "FILE", 0, "libseep.so to preload; default: beside seep, or SEEP_AGENT", 11},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    static const struct {
        int key;
        const char *name;
    } sets[] = {{KEY_RATE, "SEEP_RATE"},    {KEY_INTERVAL, "SEEP_INTERVAL"}, {KEY_SIGNAL, "SEEP_SIGNAL"},
                {KEY_NO_EXIT, "SEEP_EXIT"}, {KEY_NO_FOLLOW, "SEEP_FOLLOW"},  {KEY_DEPTH, "SEEP_DEPTH"},
                {KEY_UNWIND, "SEEP_UNWIND"}};
    struct launch *l = state->input;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (key != sets[i].key) continue;
        unsigned at = 0;
        while (at < l->nenv && strcmp(l->env[at][0], sets[i].name) != 0) at++;
        l->env[at][0] = sets[i].name;
        l->env[at][1] = arg ? arg : "0";
        if (at == l->nenv) l->nenv++;
        return 0;
    }
    switch (key) {
    case 'o':
        free(l->out);
        l->out = xstrdup(arg);
        return 0;
    case 'f': l->force = true; return 0;
    case KEY_AGENT: l->agent = arg; return 0;
    case KEY_LABEL:
        for (const char *c = arg; *c; c++)
            if ((unsigned char)*c < ' ' || *c == 0x7f) args_fail(state, "--label has control characters");
        if (!*arg || strlen(arg) > 255) args_fail(state, "--label is empty or longer than 255 bytes");
        l->label = arg;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

const struct argp launch_argp = {.options = options, .parser = parse};
