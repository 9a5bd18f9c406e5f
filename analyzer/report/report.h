/* SPDX-License-Identifier: Apache-2.0
 *
 * What several commands print: stacks, the snapshots that a report is about, findings. */
#ifndef ANALYZER_REPORT_H
#define ANALYZER_REPORT_H

#include "analyzer/model/model.h"
#include "analyzer/report/emit.h"

/* JSON: an array of frames, leaf first, inlined calls as frames of their own. */
void report_stack_json(struct emit *e, struct recording *r, const char *key, struct stack *s);
/* JSON: members of the current object: function, file, line, module, offset. */
void report_site_json(struct emit *e, const struct site *s);
/* Text: one line a frame, `indent` columns in, from the first user line on unless full; max 0: all. */
void report_stack_text(struct emit *e, struct recording *r, const char *head, struct stack *s, unsigned max, bool full);

/* "snapshot 3 (exit) of redis-server [1234], 2026-…" and the exact totals; warnings where the data is incomplete. */
void report_snapshots(struct emit *e, struct recording *r, struct snapshot *const *snaps, size_t n);
/* "command [pid]" shortened for a line. */
const char *report_process(struct recording *r, const struct process *p);

/* Which of the modules looked into have no symbols, and why; the C library and the like are left out. After everything
 * that names code was printed. */
void report_symbols(struct emit *e, struct recording *r);

struct finding_counts {
    int64_t by_confidence[SEEP_INFO + 1]; /* findings that are not known */
    int64_t known, suppressed;            /* by the baseline, by suppressions */
    int64_t memory_bytes, tasks;          /* bytes and tasks of those counted as failing by report_count's mask */
};
void report_count(const struct finding *f, size_t n, unsigned fail_mask, struct finding_counts *out);
/* Something worse than info that is not known. */
bool report_is_leak(const struct finding_counts *c);
/* seen: an allocation of some snapshot's process was. name: "LEAK", "CLEAN", "NO DATA"; words: the counts, or why there are none. */
struct verdict {
    const char *name, *words;
    bool leak, seen, good;
};
struct verdict report_verdict(struct recording *r, const struct finding_counts *c, struct snapshot *const *snaps,
                              size_t n);
/* "2 proven, 1 likely", "no leak was found", "no leak was found; 3 info" */
const char *report_counts_text(struct recording *r, const struct finding_counts *c);
/* The findings, grouped by process where there are several; those known to the baseline are only counted. */
void report_findings(struct emit *e, struct recording *r, const struct finding *f, size_t n, int64_t limit, bool full);
/* One finding as text; nothing in the JSON face. */
void report_finding(struct emit *e, struct recording *r, const struct finding *f, bool full);
/* One step of what keeps a finding's memory: a root, then blocks, the kept one last. */
struct path_step {
    const char *words;
    struct site site; /* where a block was allocated; of a stack, the function whose frame holds the pointer */
    bool placed;      /* site is known */
    bool stack;
};
/* 0: no path was recorded. In r's arena. */
size_t report_path(struct recording *r, const struct finding *f, struct path_step **out);
/* Text: a line a step; without full the middle of a long one is left out. */
void report_path_text(struct emit *e, struct recording *r, const struct finding *f, bool full);
/* Text: a line for a finding without a path. */
void report_held_by(struct emit *e, struct recording *r, const struct finding *f);
/* Findings of recording_paths(): where, and all of the path. */
void report_held(struct emit *e, struct recording *r, const struct finding *f, size_t n);
/* The first user line of where it waits or was allocated; all zero where no stack is known. */
struct site finding_site(struct recording *r, const struct finding *f);
/* "12 blocks · 3.3 MiB (estimated ± 0.4 MiB) · oldest 41 min" */
const char *report_amount(struct recording *r, const struct finding *f);

#endif
