/* SPDX-License-Identifier: Apache-2.0
 *
 * The harness's data, all of it: a plan (plan.c) is read, run (run.c), reckoned up (figures.c) and written (output.c). */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stdbool.h>
#include <stdio.h>

enum { MAX_WHO = 16, MAX_LOAD = 40, MAX_BAR = 48, MAX_WORDS = 24, MAX_ROUNDS = 63, MAX_METRICS = 24, MAX_PAIRS = 8 };
enum { WALL, CPU, RSS, FIRST_OWN }; /* metrics that every sample has */

enum kind { PEER, OURS, OTHER }; /* OTHER takes part in probes only */
struct who {
    char *name, *env[MAX_WORDS];
    enum kind kind;
};
struct load {
    char *name, *argv[MAX_WORDS];
    bool is_probe;       /* no part of aggregates over the loads */
    int rounds;          /* of a load as many as of the suite */
    bool takes[MAX_WHO]; /* contestants */
};
struct bar {
    char *aggregate, *metric, *who, *reference, *unit, *name;
    const char *where; /* the load of a max */
    double limit, value;
    bool higher, holds, is_note;
};

/* Two contestants that each round also runs one right after the other, so many times a load. */
struct pairing {
    int who, reference, times;
};

extern char *suite;
extern struct pairing pairing;
extern double pairs[MAX_LOAD][MAX_ROUNDS * MAX_PAIRS][2][FIRST_OWN]; /* of WHO, of REFERENCE */
extern struct who who[MAX_WHO];
extern struct load load[MAX_LOAD];
extern struct bar bar[MAX_BAR];
extern int nwho, nload, nbar, rounds;
extern char *metric_name[MAX_METRICS];
extern int nmetrics;
extern double samples[MAX_LOAD][MAX_WHO][MAX_ROUNDS][MAX_METRICS]; /* NAN: not measured */

_Noreturn void die(const char *what, const char *which);
void read_plan(const char *path);
int find_who(const char *name); /* or dies, as the following */
int find_load(const char *name);
int find_metric(const char *name, bool add);
const char *line_of(const char *command, char *buf, int size); /* first line of its output, or "unknown" */

double median_of(int l, int w, int m);
void compute_bars(void);

void print_tables(void);
void put_machine(FILE *f);
void write_json(const char *path);

#endif
