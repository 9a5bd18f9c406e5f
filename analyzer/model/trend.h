/* SPDX-License-Identifier: Apache-2.0
 *
 * Does a series grow? And the series themselves: bytes in use of each allocation site, tasks of each creation site. */
#ifndef ANALYZER_MODEL_TREND_H
#define ANALYZER_MODEL_TREND_H

#include "analyzer/model/model.h"

enum { TREND_MIN = 8, TREND_POINTS = 60 };

enum trend_verdict {
    TREND_TOO_FEW, /* fewer than TREND_MIN points */
    TREND_STEADY,  /* no rise that chance does not explain */
    TREND_PLATEAU, /* rose and then stayed: a cache that filled, a start-up */
    TREND_FALLS,   /* falls back by half of its range and more: a saw-tooth, load that went */
    TREND_GROWING,
};
struct trend {
    size_t n;
    enum trend_verdict verdict;
    double slope, lo, hi; /* Theil–Sen, with its 95 % confidence interval; units of y by units of t */
    double p;             /* Mann–Kendall, one-sided */
    double rise;          /* slope times the time covered */
};
/* t ascending. noise: standard error of one y; a rise below twice of it, or below least, is none. */
void trend_of(const double *t, const double *y, size_t n, double noise, double least, struct trend *out);
const char *trend_word(enum trend_verdict v);

struct series {
    struct site site;
    uint64_t key;
    struct stack *stack;              /* one of them */
    bool tasks;                       /* y counts tasks of a creation site, else bytes of an allocation site */
    double *y;                        /* what is in use and reachable */
    double *lost;                     /* of memory: unreachable, which is another rule's */
    double noise;                     /* standard error of the last y */
    int64_t bytes, objects;           /* at the last snapshot; of tasks: their stacks */
    int64_t seen_bytes, seen_objects; /* as sampled */
    struct trend trend;
};
struct trends {
    struct process *process;
    struct snapshot **snaps;
    double *t; /* seconds since the first */
    size_t n;
    struct series *series; /* those that changed at all; growing ones first, by rise */
    size_t count;
    bool tasks_skipped; /* more tasks in a snapshot than max_tasks */
    double *live;       /* exact: bytes of the heap at each snapshot */
    struct trend live_trend;
    int64_t limit_bytes; /* of memory as recorded, 0: none */
    double used;         /* bytes of what the limit counts, at the last snapshot: RSS */
};
/* The snapshots of a process up to `last` (NULL: all), at most `points` of them, evenly chosen (0: all). max_tasks: do not count tasks
 * where a snapshot has more (0: no bound). */
void trends_load(struct recording *r, struct process *p, const struct snapshot *last, size_t points, int64_t max_tasks,
                 struct trends *out);
void trends_free(struct trends *t);
/* Seconds until `limit` is reached from `now` by slope; negative: never. */
double trend_until(double now, double slope, double limit);

/* The id of a growing-site: by its function, since which of its stacks is the largest changes. */
void trend_fingerprint(struct recording *r, const char *rule, const struct site *s, bool tasks, char id[9]);

/* stuck.c: stuck-task, spinning-task, and growing-site of tasks by the clock, from `last` and the `before` snapshots of its process
 * that stand before it. */
void findings_add_stuck(struct recording *r, struct snapshot *last, size_t before, struct finding **f, size_t *n);

/* What findings_load() gives and what needs several snapshots or the process as a whole: growing-site, stuck-task, spinning-task,
 * unreturned-memory; sorted. */
size_t findings_all(struct recording *r, struct snapshot *const *snaps, size_t nsnaps, struct finding **f);

/* held.c: a path into the evidence of those that several snapshots make, where one was recorded. */
void findings_add_paths(struct recording *r, struct finding *f, size_t n);
/* What holds blocks that were allocated, or what tasks wait for, in functions whose name has `function` in it: the newest path of each
 * stack, as findings of no rule with nothing but a path in their evidence; noun is the path's kind. */
size_t recording_paths(struct recording *r, struct snapshot *const *snaps, size_t nsnaps, const char *function,
                       struct finding **f);
/* What holds the block that s was asked for; the same, at most one. */
size_t recording_asked(struct recording *r, struct snapshot *s, struct finding **f);
/* Stacks with blocks in use, most bytes first, then those where tasks wait, most tasks first, that such a function is in: their keys,
 * at most `most` of each. */
size_t stacks_named(struct recording *r, const struct snapshot *s, const char *function, uint64_t *keys, size_t most);

#endif
