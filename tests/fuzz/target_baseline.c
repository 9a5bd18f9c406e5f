/* SPDX-License-Identifier: Apache-2.0
 *
 * Baselines, and the file of names that may stand beside a recording: both are JSON that people and tools write. */
#include "analyzer/model/side.h"
#include "analyzer/report/baseline.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct baseline b = {0};
    struct err e = {0}, again = {0};
    struct finding f[] = {{.id = "a41f09c2", .rule = "stuck-send"}};
    fuzz_file(data, n);
    if (baseline_read(fuzz_path(), &b, &e) == 0) {
        baseline_apply(&b, f, 1);
        if (baseline_write(fuzz_path(), &b, &e) != 0) return 1;
        size_t entries = b.n;
        baseline_free(&b);
        /* What is written is read back, as many entries. */
        if (baseline_read(fuzz_path(), &b, &again) != 0 || b.n != entries) __builtin_trap();
    }
    baseline_free(&b);

    char side[128];
    struct recording r = {0};
    struct err why = {0};
    snprintf(side, sizeof side, "%s.symbols", fuzz_path());
    fuzz_file(data, n);
    if (rename(fuzz_path(), side) != 0) return 0;
    side_load(&r, fuzz_path(), &why);
    unlink(side);
    map_free(&r.side);
    arena_free(&r.arena);
    return 0;
}
