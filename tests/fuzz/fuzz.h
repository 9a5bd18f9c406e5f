/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz targets: LLVMFuzzerTestOneInput as libFuzzer names it. Each target is one file; it is linked with libFuzzer (fuzz.sh, FULL=1) or
 * with replay.c, which runs the kept corpus.
 *
 * What only reads files gets one file of its own, in memory where /dev/shm is, and writes its answers to /dev/null. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The path of this process's file, in a folder that is removed at its end. */
const char *fuzz_path(void);
/* Makes it hold data. */
const char *fuzz_file(const uint8_t *data, size_t n);
/* Runs a command of the analyzer on it; nothing is printed. Input must not reach its arguments. */
void fuzz_command(unsigned which);
enum { FUZZ_COMMANDS = 15 };

#endif
