/* SPDX-License-Identifier: Apache-2.0
 *
 * Suppression files of all three forms, and their patterns against a finding. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/report/suppress.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct image image = {.path = "/opt/app/libjob.so.2", .build_id = "aa", .name = "libjob.so"};
    static struct sym_line lines[2][2] = {
        {{.function = "fetch_one", .linkage = "_Z9fetch_onev", .file = "src/query.c", .line = 88},
         {.function = "std::vector<int>::push_back(int&&)", .linkage = "_ZNSt6vectorIiE9push_backEOi", .line = 3}},
        {{.function = "main", .file = "src/main.c", .line = 9}}};
    static struct frame frames[] = {
        {.id = 1, .image = &image, .offset = 64, .resolved = true, .nlines = 2, .lines = lines[0]},
        {.id = 2, .resolved = true, .offset = 4096},
        {.id = 3, .image = &image, .offset = 99, .resolved = true, .nlines = 1, .lines = lines[1]}};
    static struct frame *list[] = {&frames[0], &frames[1], &frames[2]};
    static struct stack stack = {.id = 1, .n = 3, .frames = list};
    static struct process process = {.id = 1, .pid = 7, .exe = "/opt/app/server", .argv = "server"};
    static struct snapshot snapshot = {.id = 1, .process = &process};
    struct recording r = {.processes = &process, .nprocesses = 1};
    struct finding f[] = {
        {.id = "a41f09c2", .rule = "unreachable-memory", .snapshot = &snapshot, .stack = &stack, .direct = 1},
        {.id = "a41f09c3", .rule = "stuck-send", .snapshot = &snapshot, .stack = &stack, .tasks = true}};
    struct suppressions s = {0};
    struct err e = {0};
    if (suppress_parse("input", (const char *)data, n, &s, &e) == 0) suppress_apply(&r, &s, f, 2, "2026-01-01");
    suppress_free(&s);
    arena_free(&r.arena);
    return 0;
}
