/* SPDX-License-Identifier: Apache-2.0
 *
 * Go's goroutines: the text of debug=2 and of a panic,
 *     goroutine 18 [chan send, 7 minutes]:
 *     main.worker(0xc0000b4000)
 *     <tab>/src/worker.go:22 +0x25
 *     created by main.main in goroutine 1
 *     <tab>/src/main.go:41 +0x8d
 * and what a goroutine waits for, by Go's own word where there is one (runtime/runtime2.go, waitReasonStrings) and by the functions
 * on top of its stack. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/import/profile.h"

/* ---- wait reasons */
static const char *const words[][2] = {
    {"chan send", "chan send"},
    {"chan receive", "chan receive"},
    {"chan send (nil chan)", "chan send (nil chan)"},
    {"chan receive (nil chan)", "chan receive (nil chan)"},
    {"select", "select"},
    {"select (no cases)", "select (no cases)"},
    {"sync.Mutex.Lock", "mutex lock"},
    {"sync.RWMutex.RLock", "rwmutex read lock"},
    {"sync.RWMutex.Lock", "rwmutex write lock"},
    {"sync.WaitGroup.Wait", "waitgroup wait"},
    {"sync.Cond.Wait", "cond wait"},
    {"IO wait", "io wait"},
    {"sleep", "sleep"},
    {"syscall", "system call"},
};
/* A function near the leaf, and what waiting in it means. The first that is met counts, from the leaf on. */
static const struct {
    const char *function, *reason;
} functions[] = {
    {"runtime.chansend1", "chan send"},
    {"runtime.chanrecv1", "chan receive"},
    {"runtime.chanrecv2", "chan receive"},
    {"runtime.selectgo", "select"},
    {"runtime.block", "select (no cases)"},
    {"sync.(*RWMutex).RLock", "rwmutex read lock"},
    {"sync.(*RWMutex).Lock", "rwmutex write lock"},
    {"sync.(*Mutex).Lock", "mutex lock"},
    {"sync.(*Mutex).lockSlow", "mutex lock"},
    {"internal/sync.(*Mutex).lockSlow", "mutex lock"},
    {"sync.(*WaitGroup).Wait", "waitgroup wait"},
    {"sync.(*Cond).Wait", "cond wait"},
    {"internal/poll.runtime_pollWait", "io wait"},
    {"time.Sleep", "sleep"},
    {"syscall.Syscall", "system call"},
    {"syscall.Syscall6", "system call"},
    {"syscall.RawSyscall6", "system call"},
};

static const char *by_functions(const struct prof_sample *s)
{
    enum { DEEPEST = 8 };
    for (size_t i = 0; i < s->depth && i < DEEPEST; i++)
        for (size_t j = 0; j < s->stack[i]->nlines; j++)
            for (size_t k = 0; k < sizeof functions / sizeof *functions; k++)
                if (strcmp(s->stack[i]->lines[j].function, functions[k].function) == 0) return functions[k].reason;
    return NULL;
}

void goroutine_waits(struct prof_sample *s, const char *go_reason)
{
    const char *leaf = s->depth && s->stack[0]->nlines ? s->stack[0]->lines[0].function : "";
    const char *reason = NULL, *seen = by_functions(s);
    if (go_reason && (strcmp(go_reason, "running") == 0 || strcmp(go_reason, "runnable") == 0)) {
        s->state = go_reason;
        s->wait_reason = "";
        return;
    }
    for (size_t i = 0; go_reason && i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i][0], go_reason) == 0) reason = words[i][1];
    /* Before Go 1.20 every lock is "semacquire". */
    if (go_reason && !reason && strncmp(go_reason, "semacquire", 10) == 0) reason = seen ? seen : "semaphore";
    if (go_reason && !reason) reason = go_reason;
    bool parked = strcmp(leaf, "runtime.gopark") == 0 || strcmp(leaf, "runtime.goparkunlock") == 0;
    if (!go_reason) reason = seen;
    s->wait_reason = reason ? reason : "";
    s->state = reason && strcmp(reason, "system call") == 0 ? "syscall" : reason || parked ? "waiting" : "running";
}

/* ---- the text */
struct reader {
    struct profile *p;
    char *at, *end;
    size_t capsamples;
    const struct prof_location **stack;
    size_t depth, capstack;
};

static char *next_line(struct reader *r)
{
    if (r->at >= r->end) return NULL;
    char *line = r->at, *nl = memchr(line, '\n', (size_t)(r->end - line));
    r->at = nl ? nl + 1 : r->end;
    if (nl) *nl = 0;
    size_t n = strlen(line);
    if (n && line[n - 1] == '\r') line[n - 1] = 0;
    return line;
}

/* "main.(*T).run(0x1, {0x2, 0x3})" → "main.(*T).run"; the arguments are the last balanced parentheses. */
static void cut_arguments(char *line)
{
    size_t n = strlen(line);
    if (n == 0 || line[n - 1] != ')') return;
    int depth = 0;
    for (size_t i = n; i-- > 0;) {
        depth += (line[i] == ')') - (line[i] == '(');
        if (depth == 0) {
            if (i > 0) line[i] = 0;
            return;
        }
    }
}

/* The place is the next line: "<tab>FILE:LINE +0x25". */
static const struct prof_location *location(struct reader *r, const char *function)
{
    struct prof_line l = {function, "", 0};
    if (r->at < r->end && *r->at == '\t') {
        char *place = next_line(r) + 1, *space = strrchr(place, ' ');
        if (space && space[1] == '+') *space = 0;
        char *colon = strrchr(place, ':');
        if (colon && strspn(colon + 1, "0123456789") == strlen(colon + 1) && strlen(colon + 1) < 9) {
            l.line = atoi(colon + 1);
            *colon = 0;
        }
        l.file = place;
    }
    struct prof_location *x = arena_alloc(&r->p->arena, sizeof *x);
    *x = (struct prof_location){.module = "", .build_id = "", .nlines = 1};
    x->lines = arena_alloc(&r->p->arena, sizeof *x->lines);
    *x->lines = l;
    return x;
}

static struct prof_sample *begin(struct reader *r, const char *head)
{
    char *end = NULL;
    errno = 0;
    long long id = strtoll(head + strlen("goroutine "), &end, 10);
    const char *open = strchr(end, '[');
    size_t n = open ? strcspn(open + 1, ",]") : 0;
    if (errno || id <= 0 || !open || n == 0) return NULL;
    if (r->p->nsamples == r->capsamples)
        r->p->samples = xrealloc(r->p->samples, r->capsamples = r->capsamples * 2 + 64, sizeof *r->p->samples);
    struct prof_sample *s = &r->p->samples[r->p->nsamples++];
    *s = (struct prof_sample){.tasks = 1, .task_id = id};
    s->wait_reason = arena_strndup(&r->p->arena, open + 1, n);
    const char *minutes = strstr(open, " minutes");
    if (minutes) {
        const char *from = minutes;
        while (from > open && from[-1] >= '0' && from[-1] <= '9') from--;
        long long m = minutes - from < 9 ? atoll(from) : 0; /* 190 years */
        s->blocked_ns = m * 60 * INT64_C(1000000000);
    }
    return s;
}

static void end_goroutine(struct reader *r, struct prof_sample *s)
{
    if (!s) return;
    s->stack = arena_alloc(&r->p->arena, (r->depth + 1) * sizeof *s->stack);
    if (r->depth) memcpy(s->stack, r->stack, r->depth * sizeof *s->stack);
    s->depth = r->depth;
    goroutine_waits(s, s->wait_reason);
    r->depth = 0;
}

int profile_decode_goroutines(struct profile *p, char *text, size_t n, struct err *e)
{
    struct reader r = {.p = p, .at = text, .end = text + n};
    struct prof_sample *s = NULL;
    bool inside = false;
    p->kind = PROF_TASKS;
    p->main_module = "";
    for (char *line; (line = next_line(&r));) {
        if (strncmp(line, "goroutine ", 10) == 0 && strchr(line, '[')) {
            end_goroutine(&r, s);
            s = begin(&r, line);
            inside = s != NULL;
        } else if (*line == 0) {
            inside = false;
        } else if (inside && *line != '\t' && *line != ' ') {
            bool created = strncmp(line, "created by ", 11) == 0;
            if (strncmp(line, "...", 3) == 0) continue; /* "...additional frames elided..." */
            if (created) {
                line += 11;
                char *in = strstr(line, " in goroutine ");
                if (in) *in = 0;
            } else {
                cut_arguments(line);
            }
            const struct prof_location *l = location(&r, line);
            if (created) {
                s->created = l;
                continue;
            }
            if (r.depth == r.capstack) r.stack = xrealloc(r.stack, r.capstack = r.capstack * 2 + 64, sizeof *r.stack);
            r.stack[r.depth++] = l;
        }
    }
    end_goroutine(&r, s);
    /* The arena is what outlives the reader. */
    struct prof_sample *kept = arena_alloc(&p->arena, (p->nsamples + 1) * sizeof *kept);
    if (p->nsamples) memcpy(kept, p->samples, p->nsamples * sizeof *kept);
    free(p->samples);
    free(r.stack);
    p->samples = kept;
    if (p->nsamples == 0) return err_set(e, EXIT_INPUT, "%s: holds no goroutine", p->path);
    return 0;
}
