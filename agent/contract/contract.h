/* SPDX-License-Identifier: Apache-2.0
 *
 * Constants that the agent, the coroutine runtime and the analyzer agree on. No state, no code with
 * side effects: every component may include this folder, and the analyzer includes nothing else of
 * the agent. */
#ifndef SEEP_CONTRACT_H
#define SEEP_CONTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEEP_VERSION "0.1.0"

/* Identity of a recording, as in schema.sql (a test compares them). */
#define SEEP_APPLICATION_ID 0x73656570
#define SEEP_FORMAT_VERSION 1

/* Arguments in process.argv are joined by this character. */
#define SEEP_ARGV_SEP '\x1f'

/* Control socket: an abstract Unix stream socket named "\0seep/<pid>". The client sends one line,
 *     snapshot LABEL\n      take a snapshot; LABEL may be empty
 *     path WHAT\n           take one that looks for what holds WHAT: the block at an address, "0x…", or what was allocated, or is
 *                           waited for, at up to SEEP_WANTED stacks, by their keys (stack_key.h): 16 hexadecimal digits each, commas between
 *     out PATH\n            record to PATH from now on (absolute; refused when already recording)
 *     ping\n
 * and reads one line: "ok SNAPSHOT_SEQ RECORDING_PATH\n" or "error TEXT\n". Both sides check the peer's
 * credentials: same user, or root. */
#define SEEP_CONTROL_PREFIX "seep/"
enum { SEEP_WANTED = 16 };

enum seep_confidence { SEEP_PROVEN, SEEP_LIKELY, SEEP_GROWING, SEEP_INFO };
#define SEEP_CONFIDENCE_NAMES                 \
    {                                         \
        "proven", "likely", "growing", "info" \
    }

enum seep_rule {
#define RULE(id, name, finds, todo) SEEP_RULE_##id,
#include "rules.def"
#undef RULE
    SEEP_RULE_COUNT
};

#endif
