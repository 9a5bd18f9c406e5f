/* SPDX-License-Identifier: Apache-2.0
 *
 * The words of rules.def and wait_reasons.def by number. Pure functions; async-signal-safe. */
#ifndef SEEP_NAMES_H
#define SEEP_NAMES_H

#include "agent/contract/contract.h"
#include "agent/contract/task.h"

struct seep_rule_text {
    const char *name, *finds, *todo;
};

static inline const struct seep_rule_text *seep_rule_text(enum seep_rule rule)
{
    static const struct seep_rule_text rules[] = {
#define RULE(id, name, finds, todo) {name, finds, todo},
#include "agent/contract/rules.def"
#undef RULE
    };
    return &rules[rule];
}

/* At file scope, so that debuggers find it by this name (tools/seep-gdb.py). */
static const char *const seep_wait_texts[] = {
#define WAIT_REASON(id, text, proof) text,
#include "agent/contract/wait_reasons.def"
#undef WAIT_REASON
};

static inline const char *seep_wait_text(enum seep_wait_reason reason)
{
    return seep_wait_texts[reason];
}

#endif
