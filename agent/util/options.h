/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's options, parsed once from the environment by contract/options.def. options_init() may be called at
 * any time, from the first malloc on, allocates nothing, and is idempotent. */
#ifndef SEEP_UTIL_OPTIONS_H
#define SEEP_UTIL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agent_options {
#define OPT_U64(id, name, def, lo, hi, unit, help) uint64_t id;
#define OPT_STR(id, name, def, help)               char id[4096];
#define OPT_ENUM(id, name, def, values, help)      int id;
#include "agent/contract/options.def"
#undef OPT_U64
#undef OPT_STR
#undef OPT_ENUM
};

extern struct agent_options agent_options;
void options_init(void);

/* Value of KEY in SEEP_DEBUG ("a=1,b=0"), or def. */
int64_t options_debug(const char *key, int64_t def);
/* The same as text, up to the next comma, in out. False: KEY is not there, or its value is empty or does not fit. */
bool options_debug_string(const char *key, char *out, size_t size);

#endif
