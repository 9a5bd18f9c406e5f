/* SPDX-License-Identifier: Apache-2.0
 *
 * A recording as bytes: corrupt pages, wrong headers, truncated files, journals that are none. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++) sum = sum * 31 + data[i];
    fuzz_file(data, n);
    fuzz_command(5);
    fuzz_command(sum % FUZZ_COMMANDS);
    return 0;
}
