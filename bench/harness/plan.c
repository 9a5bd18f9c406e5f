/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads a plan: lines of words, # begins a comment line, $VAR in a word is expanded.
 *
 *     suite NAME
 *     peer|ours|other NAME [VAR=VALUE]...      a contestant and its environment; a value with a * is a path's pattern.
 *                                              Loads are run by peers and ours, probes by whom they name
 *     pair WHO REFERENCE TIMES                 each round runs each load by these two so many times more, one right after
 *                                              the other, each first in turn: for bars `paired`
 *     load NAME COMMAND...                     takes part in the aggregates
 *     probe NAME ROUNDS WHO[,WHO]... COMMAND...   does not; ROUNDS 0: as many as loads; 3x: three times as many, after the others
 *     bar AGGREGATE METRIC WHO REFERENCE LIMIT UNIT NAME...
 *
 * AGGREGATE   geomean, max     of WHO's medians over REFERENCE's, over the loads; REFERENCE a contestant, or the best or the
 *                              median of the peers
 *             paired           the same as geomean, each load's ratio the median of the pairs' own ratios
 *             on:LOAD          WHO's median over REFERENCE's; REFERENCE WHO,WHO: the smallest of theirs; -: WHO's alone
 *             more:LOAD        WHO's median less REFERENCE's
 *             scaling:ONE,TWO  of TWO, the same work on each of two threads: median of the rounds' 2 * ONE / TWO
 *             loads:ONE,TWO    median of the rounds' ONE / TWO
 * METRIC      wall_s, cpu_s, rss_kib, or one that the program prints as a line "metric NAME VALUE"
 * LIMIT       at most; >=LIMIT: at least; -: none, the figure is only printed */
#include "bench/harness/harness.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The loader only warns when it cannot preload, and the contestant would be glibc under another name. */
static void check_preload(const char *library)
{
    char command[4200], line[256];
    if (access(library, R_OK) != 0) die("is missing", library);
    snprintf(command, sizeof command, "LD_PRELOAD='%s' ls -d / 2>&1", library);
    if (strcmp(line_of(command, line, sizeof line), "/") != 0) die(line, library);
}

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

static void take_who(enum kind kind, char **w, int n)
{
    if (nwho == MAX_WHO) die("too many contestants", w[1]);
    who[nwho].name = w[1];
    who[nwho].kind = kind;
    memcpy(who[nwho++].env, w + 2, sizeof(char *) * (size_t)(n - 2));
}

static int probe_rounds(const char *word)
{
    int n = atoi(word);
    if (word[strlen(word) - 1] == 'x') return n * rounds < MAX_ROUNDS ? n * rounds : MAX_ROUNDS;
    return n > 0 && n < rounds ? n : rounds;
}

static void take_load(char **w, int n, bool is_probe)
{
    int first = is_probe ? 4 : 2;
    if (nload == MAX_LOAD) die("too many loads", w[1]);
    struct load *l = &load[nload++];
    if (access(w[first], X_OK) != 0) die("is missing", w[first]);
    l->name = w[1];
    l->is_probe = is_probe;
    memcpy(l->argv, w + first, sizeof(char *) * (size_t)(n - first));
    l->rounds = is_probe ? probe_rounds(w[2]) : rounds;
    if (!is_probe) {
        for (int i = 0; i < nwho; i++) l->takes[i] = who[i].kind != OTHER;
        return;
    }
    char *save = NULL;
    for (char *s = strtok_r(w[3], ",", &save); s; s = strtok_r(NULL, ",", &save)) l->takes[find_who(s)] = true;
}

static void take_pair(char **w)
{
    pairing = (struct pairing){find_who(w[1]), find_who(w[2]), atoi(w[3])};
    if (pairing.times < 1 || pairing.times > MAX_PAIRS) die("must be 1 to 8", w[3]);
}

static void take_bar(char **w, int n)
{
    char name[1024] = "";
    if (nbar == MAX_BAR) die("too many bars", w[1]);
    for (int i = 7; i < n; i++) {
        strncat(name, w[i], sizeof name - strlen(name) - 2);
        if (i + 1 < n) strcat(name, " ");
    }
    bool higher = strncmp(w[5], ">=", 2) == 0;
    bar[nbar++] = (struct bar){.aggregate = w[1],
                               .metric = w[2],
                               .who = w[3],
                               .reference = w[4],
                               .unit = w[6],
                               .name = strdup(name),
                               .limit = atof(w[5] + (higher ? 2 : 0)),
                               .is_note = strcmp(w[5], "-") == 0,
                               .higher = higher};
}

void read_plan(const char *path)
{
    char line[4096];
    FILE *f = fopen(path, "r");
    if (!f) die(strerror(errno), path);
    while (fgets(line, sizeof line, f)) {
        char *w[MAX_WORDS + 1] = {0}, *save = NULL;
        int n = 0;
        if (line[strspn(line, " \t")] == '#') continue;
        for (char *s = strtok_r(line, " \t\n", &save); s; s = strtok_r(NULL, " \t\n", &save)) {
            if (n == MAX_WORDS - 1) die("too many words in the line that begins so", w[0]);
            w[n++] = expand(s);
        }
        if (n == 0) continue;
        if (strcmp(w[0], "suite") == 0 && n == 2)
            suite = w[1];
        else if (strcmp(w[0], "peer") == 0 && n >= 2)
            take_who(PEER, w, n);
        else if (strcmp(w[0], "ours") == 0 && n >= 2)
            take_who(OURS, w, n);
        else if (strcmp(w[0], "other") == 0 && n >= 2)
            take_who(OTHER, w, n);
        else if (strcmp(w[0], "pair") == 0 && n == 4)
            take_pair(w);
        else if (strcmp(w[0], "load") == 0 && n >= 3)
            take_load(w, n, false);
        else if (strcmp(w[0], "probe") == 0 && n >= 5)
            take_load(w, n, true);
        else if (strcmp(w[0], "bar") == 0 && n >= 8)
            take_bar(w, n);
        else
            die("cannot read this line of the plan", w[0]);
    }
    fclose(f);
    if (!nwho || !nload) die("names no contestant or no load", path);
}
