/* SPDX-License-Identifier: Apache-2.0
 *
 * Baselines: the findings a project has accepted, as sorted JSON to be committed and reviewed:
 *     {"seep_baseline": 1, "findings": [{"id": "a41f09c2", "rule": "…", "site": "fetch_one()", "why": "…"}]}
 * Only id decides; the rest is for readers. */
#ifndef ANALYZER_REPORT_BASELINE_H
#define ANALYZER_REPORT_BASELINE_H

#include "analyzer/model/model.h"

struct baseline_entry {
    char id[9];
    char *rule, *site, *why;
    bool seen; /* matched a finding */
};
struct baseline {
    struct baseline_entry *entries; /* by id */
    size_t n;
};
int baseline_read(const char *path, struct baseline *out, struct err *e);
bool baseline_is_id(const char *text);
/* Sets known on the findings that it holds. */
void baseline_apply(struct baseline *b, struct finding *f, size_t n);
/* Adds the findings it lacks; with prune it drops what is no longer found. */
void baseline_update(struct recording *r, struct baseline *b, const struct finding *f, size_t n, bool prune);
/* Replaces path in one step. */
int baseline_write(const char *path, const struct baseline *b, struct err *e);
void baseline_free(struct baseline *b);

#endif
