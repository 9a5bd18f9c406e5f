/* SPDX-License-Identifier: Apache-2.0
 *
 * What a gate leaves for other tools: JUnit's XML for the test view of a CI, SARIF 2.1.0 for code scanning. */
#ifndef ANALYZER_REPORT_CI_H
#define ANALYZER_REPORT_CI_H

#include "analyzer/report/report.h"

struct gate_result {
    struct recording *r; /* NULL where there is no data; then problem says why */
    struct finding *findings;
    size_t n;
    struct snapshot *const *snaps;
    size_t nsnaps;
    unsigned fail_mask; /* bits of enum seep_confidence */
    bool failed;        /* the policy is exceeded */
    bool baseline;      /* one was given */
    int exit;
    const char *command; /* for people */
    const char *problem; /* what kept the gate from judging, or the command's own failure; NULL: nothing */
};
void junit_write(const struct gate_result *g, struct buf *out);
void sarif_write(const struct gate_result *g, struct buf *out);

#endif
