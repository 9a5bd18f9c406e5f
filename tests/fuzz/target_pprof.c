/* SPDX-License-Identifier: Apache-2.0
 *
 * pprof's protobuf, plain or gzipped, from the file to the recording that is made of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/import/profile.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct profile p;
    struct err e = {0};
    char out[128];
    snprintf(out, sizeof out, "%s.seep", fuzz_file(data, n));
    if (profile_read(fuzz_path(), &p, &e) == 0) {
        int64_t tasks = 0;
        for (size_t i = 0; i < p.nsamples && tasks < 1000; i++) tasks += p.samples[i].tasks;
        /* A row for each task is right and slow. */
        if (tasks < 1000) profiles_record(&p, 1, out, true, &e);
        unlink(out);
    }
    profile_free(&p);
    return 0;
}
