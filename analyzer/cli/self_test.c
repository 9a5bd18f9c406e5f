/* SPDX-License-Identifier: Apache-2.0
 *
 * seep gate --self-test: proves on this machine, with this agent, that a leak is found. A leak check passes most easily by not
 * working: an agent that is not preloaded, a kernel that refuses what it needs. seep runs itself under the agent twice, once
 * losing one block of a size that nothing else has and once freeing it, and looks for that block.
 *
 * The block is lost in a call of its own whose frame and registers are then overwritten, since a stale copy of the pointer would keep
 * the block reachable, rightly. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/cli/cli.h"
#include "analyzer/report/report.h"

enum { LOST_BYTES = 12345 };
static const char planted_word[] = "--planted-self-test";

static void *volatile held;

static __attribute__((noinline)) void take(void)
{
    held = malloc(LOST_BYTES);
    if (held) memset(held, 0x5a, LOST_BYTES);
}

static __attribute__((noinline)) int scrub(int seed)
{
    volatile char stack[8192];
    int sum = 0;
    for (size_t i = 0; i < sizeof stack; i++) stack[i] = (char)seed;
    for (size_t i = 0; i < sizeof stack; i += 64) sum += stack[i];
    return sum;
}

bool self_test_planted(int argc, char **argv, int *code)
{
    if (argc != 3 || strcmp(argv[1], planted_word) != 0) return false;
    bool lose = strcmp(argv[2], "lose") == 0;
    take();
    if (!lose) free(held);
    held = NULL;
    *code = scrub(1) == 0; /* 128 ones */
    return true;
}

/* Runs seep under the agent and counts: proven leaks, and the planted block among them. */
static int run(const char *agent, const char *how, int64_t *leaks, int64_t *planted, char id[9])
{
    char self[PATH_MAX], out[PATH_MAX];
    const char *tmp = getenv("TMPDIR");
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return fail(EXIT_CANNOT, "self-test: /proc/self/exe cannot be read");
    self[n] = 0;
    char word[sizeof planted_word], arg[8];
    memcpy(word, planted_word, sizeof word);
    snprintf(arg, sizeof arg, "%s", how);
    char *command[] = {self, word, arg, NULL};
    if (snprintf(out, sizeof out, "%s/seep-self-test.%d.seep", tmp && *tmp ? tmp : "/tmp", (int)getpid()) >=
        (int)sizeof out)
        return fail(EXIT_CANNOT, "self-test: TMPDIR is too long");
    struct launch l = {.out = xstrdup(out), .agent = agent, .command = command};
    struct outcome o;
    launch_default(&l, "SEEP_RATE", "1");
    int code = launch_run(&l, &o);
    if (code == 0) {
        struct err e = {0};
        struct selector all = {0};
        struct snapshot **snaps = NULL;
        struct finding *f = NULL;
        size_t nsnaps = 0;
        struct recording *r = recording_open(l.out, &e);
        if (r) select_snapshots(r, &all, &snaps, &nsnaps, &e);
        size_t nf = e.code ? 0 : findings_load(r, snaps, nsnaps, &f);
        for (size_t i = 0; i < nf; i++) {
            if (f[i].confidence != SEEP_PROVEN) continue;
            ++*leaks;
            if (strcmp(f[i].rule, "unreachable-memory") != 0 || f[i].objects != 1 || f[i].bytes != LOST_BYTES) continue;
            ++*planted;
            memcpy(id, f[i].id, 9);
        }
        if (!e.code) e = *recording_error(r);
        if (e.code)
            code = fail_err(&e);
        else if (o.code)
            code = fail(EXIT_CANNOT, "self-test: the planted program failed (%s %d)", o.signal ? "signal" : "exit code",
                        o.signal ? o.signal : o.code);
        free(f);
        recording_close(r);
        unlink(l.out);
    }
    free(l.out);
    return code;
}

int gate_self_test(const char *agent)
{
    int64_t leaks = 0, planted = 0;
    char id[9] = "";
    int code = run(agent, "lose", &leaks, &planted, id);
    if (code) return code;
    if (planted != 1 || leaks != 1)
        return fail(
            EXIT_CANNOT,
            "self-test: FAIL: one block of %d bytes was lost, and the gate found %lld leaks, %lld of them that one",
            LOST_BYTES, (long long)leaks, (long long)planted);
    leaks = planted = 0;
    code = run(agent, "keep", &leaks, &planted, id);
    if (code) return code;
    if (leaks)
        return fail(EXIT_CANNOT, "self-test: FAIL: nothing was lost, and the gate found %lld leaks", (long long)leaks);
    say("self-test: passed: a planted leak of %d bytes was found [%s], and a clean run is clean", LOST_BYTES, id);
    return 0;
}
