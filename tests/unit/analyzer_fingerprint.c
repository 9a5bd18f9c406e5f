/* SPDX-License-Identifier: Apache-2.0
 *
 * A finding's id: what must change it and what must not. And which lines are the user's own. */
#include "analyzer/model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static struct recording rec;

static struct image app = {.id = 1, .path = "/opt/app/server", .build_id = "aa01", .name = "server"};
static struct image app_rebuilt = {.id = 2, .path = "/usr/bin/server", .build_id = "bb02", .name = "server"};
static struct image libc = {.id = 3, .path = "/lib/libc.so.6", .build_id = "cc03", .name = "libc.so", .library = true};

static struct frame *frame(struct image *im, uint64_t offset, const char *function, unsigned line)
{
    struct frame *f = arena_alloc(&rec.arena, sizeof *f);
    *f = (struct frame){.image = im, .offset = offset, .resolved = true};
    if (!function) return f;
    f->nlines = 1;
    f->lines = arena_alloc(&rec.arena, sizeof *f->lines);
    f->lines[0] = (struct sym_line){.function = function, .linkage = function, .file = "a.c", .line = line};
    return f;
}

static struct stack *stack(unsigned n, ...)
{
    struct stack *s = arena_alloc(&rec.arena, sizeof *s);
    va_list ap;
    va_start(ap, n);
    s->n = n;
    s->frames = arena_alloc(&rec.arena, (n + 1) * sizeof *s->frames);
    for (unsigned i = 0; i < n; i++) s->frames[i] = va_arg(ap, struct frame *);
    va_end(ap);
    return s;
}

static const char *id(const char *rule, struct stack *s, struct stack *create)
{
    char *out = arena_alloc(&rec.arena, 9);
    fingerprint(&rec, rule, "", s, create, out);
    assert_int_equal(strlen(out), 8);
    assert_int_equal(strspn(out, "0123456789abcdef"), 8);
    return out;
}

static void stays(void **state)
{
    (void)state;
    const char *base =
        id("r", stack(3, frame(&libc, 10, "malloc", 0), frame(&app, 20, "new_job", 40), frame(&app, 30, "main", 90)),
           NULL);
    /* other lines and offsets, another build in another folder, other library frames, a clone by the compiler, recursion */
    assert_string_equal(
        base,
        id("r", stack(3, frame(&libc, 10, "malloc", 0), frame(&app, 21, "new_job", 43), frame(&app, 33, "main", 95)),
           NULL));
    assert_string_equal(
        base, id("r", stack(2, frame(&app_rebuilt, 7, "new_job", 1), frame(&app_rebuilt, 8, "main", 2)), NULL));
    assert_string_equal(base, id("r",
                                 stack(4, frame(&libc, 11, "calloc", 0), frame(&app, 1, "xmalloc", 3),
                                       frame(&app, 20, "new_job.constprop.0", 40), frame(&app, 30, "main", 90)),
                                 NULL));
    assert_string_equal(base, id("r",
                                 stack(4, frame(&app, 20, "new_job", 40), frame(&app, 21, "new_job", 41),
                                       frame(&app, 30, "main", 90), frame(&libc, 5, NULL, 0)),
                                 NULL));
    /* a fixed value: ids are kept in baselines, so the algorithm may not change */
    assert_string_equal(base, "40f58c60");
}

static void changes(void **state)
{
    (void)state;
    struct stack *s = stack(2, frame(&app, 20, "new_job", 40), frame(&app, 30, "main", 90));
    struct stack *other = stack(2, frame(&app, 20, "new_task", 40), frame(&app, 30, "main", 90));
    const char *base = id("r", s, NULL);
    assert_string_not_equal(base, id("r2", s, NULL));
    assert_string_not_equal(base, id("r", other, NULL));
    assert_string_not_equal(base, id("r", s, other));
    assert_string_not_equal(id("r", s, other), id("r", other, s));
    /* without symbols the build counts */
    assert_string_not_equal(id("r", stack(1, frame(&app, 20, NULL, 0)), NULL),
                            id("r", stack(1, frame(&app_rebuilt, 20, NULL, 0)), NULL));
    assert_string_equal(id("r", stack(1, frame(&app, 20, NULL, 0)), NULL),
                        id("r", stack(1, frame(&app, 20, NULL, 0)), NULL));
    /* only library frames: they are all there is to tell by */
    assert_string_not_equal(id("r", stack(1, frame(&libc, 1, "a", 1)), NULL),
                            id("r", stack(1, frame(&libc, 1, "b", 1)), NULL));
}

static void sites(void **state)
{
    (void)state;
    struct site s = stack_site(
        &rec, stack(4, frame(&libc, 1, "malloc", 0), frame(&app, 2, "operator new(unsigned long)", 1),
                    frame(&app, 3, "std::vector<int>::reserve(unsigned long)", 2), frame(&app, 4, "load", 7)));
    assert_string_equal(site_function(&rec.arena, &s), "load()");
    assert_string_equal(site_place(&rec.arena, &s), "a.c:7");
    s = stack_site(&rec, stack(1, frame(&app, 0x4321, NULL, 0)));
    assert_string_equal(site_function(&rec.arena, &s), "server+0x4321");
    s = stack_site(&rec, stack(0));
    assert_string_equal(site_function(&rec.arena, &s), "(no stack)");
    assert_true(module_is_library(module_name(&rec.arena, "/lib/x86_64-linux-gnu/libc.so.6")));
    assert_true(module_is_library(module_name(&rec.arena, "/x/libstdc++.so.6.0.30")));
    assert_true(module_is_library(module_name(&rec.arena, "/x/libseep.so")));
    assert_true(module_is_library(module_name(&rec.arena, "/lib64/ld-linux-x86-64.so.2")));
    assert_false(module_is_library(module_name(&rec.arena, "/x/libcjson.so.1")));
    assert_false(module_is_library(module_name(&rec.arena, "/x/.sockets/run")));
    assert_string_equal(function_stem(&rec.arena, "f.isra.0.cold"), "f");
    assert_string_equal(function_stem(&rec.arena, "g(int) [clone .part.3]"), "g(int)");
    assert_string_equal(function_stem(&rec.arena, ".cold"), ".cold");
}

static int cleanup(void **state)
{
    (void)state;
    arena_free(&rec.arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(stays), cmocka_unit_test(changes), cmocka_unit_test(sites)};
    return cmocka_run_group_tests(tests, NULL, cleanup);
}
