/* SPDX-License-Identifier: Apache-2.0
 *
 * What the child of an in-process check hands back, in memory shared with the program. */
#ifndef SEEP_SNAPSHOT_CHECK_H
#define SEEP_SNAPSHOT_CHECK_H

#include "agent/contract/contract.h"
#include "agent/snapshot/snapshot.h"

enum { CHECK_FINDINGS = 200, CHECK_FRAMES = 16 };

struct check_data {
    uint32_t done, n, total; /* n of total stand below */
    uint32_t unsettled;      /* tasks and threads that were about to run, the caller left out */
    uint64_t leaked_tasks, unreachable_objects, unreachable_bytes;
    bool proofs;
    struct {
        uint8_t rule, confidence, reason, nframes, ncreated;
        uint64_t objects, bytes;
        uintptr_t frames[CHECK_FRAMES], created[CHECK_FRAMES];
    } findings[CHECK_FINDINGS];
};

struct judgement;
void check_fill(const struct snapshot_job *job, const struct judgement *j); /* in the child */

#endif
