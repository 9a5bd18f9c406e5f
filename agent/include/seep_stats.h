/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of struct seep_memstats. In the source tree the table is agent/contract/stats.def; `make install` puts that
 * table in this file's place. */
#include "agent/contract/stats.def"
