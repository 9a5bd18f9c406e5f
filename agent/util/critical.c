/* SPDX-License-Identifier: Apache-2.0
 *
 * Storage of util/critical.h. */
#include "agent/util/critical.h"

__thread struct agent_tls agent_tls __attribute__((tls_model("initial-exec"))) = {.fast = &heap_no_cache};
bool agent_in_child;
