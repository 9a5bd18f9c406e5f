/* SPDX-License-Identifier: Apache-2.0
 *
 * What only the tracer asks of modules.c. */
#ifndef SEEP_PROFILE_MODULES_H
#define SEEP_PROFILE_MODULES_H

#include <stdint.h>

/* .eh_frame_hdr of the loaded module that covers pc by the last refresh, or NULL. Lock-free. */
const uint8_t *modules_eh_frame_hdr(uintptr_t pc);

#endif
