/* SPDX-License-Identifier: Apache-2.0
 *
 * Suppressions: the three forms of one file, which lines are refused, what each hides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "analyzer/report/suppress.h"

#include <cmocka.h> /* after ours: it defines fail() as a macro */

static struct err e;

static struct suppressions parse(const char *text)
{
    struct suppressions s = {0};
    e = (struct err){0};
    suppress_parse("t.supp", text, strlen(text), &s, &e);
    return s;
}

/* A stack of three named frames: inner (libjob.so), run (server, src/run.c:7), main. */
static struct sym_line lines[] = {{"inner()", "_Z5innerv", "/b/job.c", "/b", 3},
                                  {"run", "run", "/b/src/run.c", "/b", 7},
                                  {"main", "main", "/b/main.c", "/b", 1}};
static struct image images[] = {{.path = "/opt/libjob.so.2", .name = "libjob.so", .build_id = ""},
                                {.path = "/opt/server", .name = "server", .build_id = ""}};
static struct frame frames[] = {{.image = &images[0], .resolved = true, .nlines = 1, .lines = &lines[0]},
                                {.image = &images[1], .resolved = true, .nlines = 1, .lines = &lines[1]},
                                {.image = &images[1], .resolved = true, .nlines = 1, .lines = &lines[2]}};
static struct frame *at[] = {&frames[0], &frames[1], &frames[2]};
static struct stack stack = {.n = 3, .frames = at};

static bool hides(const char *text, const char *rule, const char *today)
{
    struct recording r = {0};
    struct finding f = {.id = "a41f09c2",
                        .rule = rule,
                        .tasks = rule_is_about_tasks(rule),
                        .stack = &stack,
                        .wait_reason = "",
                        .direct = 1};
    struct suppressions s = parse(text);
    assert_int_equal(e.code, 0);
    suppress_apply(&r, &s, &f, 1, today);
    bool yes = f.suppressed != NULL;
    assert_int_equal(yes, f.known);
    suppress_free(&s);
    arena_free(&r.arena);
    return yes;
}

static bool mem(const char *text)
{
    return hides(text, "unreachable-memory", "2026-11-22");
}

static void lsan(void **state)
{
    (void)state;
    assert_true(mem("# comment\nleak:inner\n"));
    assert_true(mem("leak:libjob.so\n"));
    assert_true(mem("leak:src/run.c\nrace:anything\n"));
    assert_true(mem("leak:^run$"));
    assert_true(mem("leak:r*n$"));
    assert_false(mem("leak:^un$"));
    assert_false(mem("leak:^ma$"));
    assert_false(mem("leak:outer"));
    assert_false(hides("leak:run", "stuck-send", NULL));
}

static void memcheck(void **state)
{
    (void)state;
    assert_true(
        mem("{\n name\n Memcheck:Leak\n match-leak-kinds: definite\n fun:malloc\n fun:_Z5inner*\n fun:run\n}\n"));
    assert_true(mem("{\n name\n Memcheck:Leak\n fun:*alloc\n ...\n fun:main\n}\n"));
    assert_true(mem("{\n name\n Memcheck:Leak\n obj:/opt/libjob*\n}\n"));
    assert_true(mem("{\n name\n Memcheck,Addrcheck:Leak\n ...\n src:run.c:7\n}\n"));
    assert_false(mem("{\n name\n Memcheck:Leak\n ...\n src:run.c:8\n}\n"));
    assert_false(mem("{\n name\n Memcheck:Leak\n fun:malloc\n fun:run\n}\n"));
    assert_false(mem("{\n name\n Memcheck:Leak\n match-leak-kinds: possible,reachable\n ...\n fun:run\n}\n"));
    assert_true(
        hides("{\n n\n Memcheck:Leak\n match-leak-kinds: possible\n ...\n fun:run\n}\n", "unreachable-interior", NULL));
    assert_false(mem("{\n name\n Memcheck:Param\n write(buf)\n fun:run\n}\n{\n n\n Helgrind:Race\n fun:run\n}\n"));
}

static void ours(void **state)
{
    (void)state;
    assert_true(mem("[a41f09c2]\nwhy = known\n"));
    assert_false(mem("[a41f09c3]\nwhy = known\n"));
    assert_true(hides("[peer]\nrule = stuck-*\nfunction = run\nwhy = known\n", "stuck-send", NULL));
    assert_false(hides("[peer]\nrule = stuck-*\nfunction = walk\nwhy = known\n", "stuck-send", NULL));
    assert_true(mem("[x]\nfile = src/run.c\nwhy = w"));
    assert_true(mem("[x]\nmodule = libjob*\nwhy = w\n"));
    const char *dated = "[a41f09c2]\nwhy = w\nuntil = 2026-11-22\n";
    assert_true(hides(dated, "stuck-send", "2026-11-22"));
    assert_false(hides(dated, "stuck-send", "2026-11-23"));
}

static void refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"leak:\n",
                                      "nonsense\n",
                                      "{\n a\n Memcheck:Leak\n fun:x\n",
                                      "{\n a\n Memcheck:Leak\n}\n",
                                      "{\n a\n Memcheck:Leak\n foo:x\n}\n",
                                      "{\n a\n Memcheck:Leak\n match-leak-kinds: mine\n fun:a\n}\n",
                                      "[x\n",
                                      "[a41f09c2]\n",
                                      "[name]\nwhy = w\n",
                                      "[a41f09c2]\nwhy = w\nuntil = 2026-13-01\n",
                                      "why = w\n",
                                      "a: b\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct suppressions s = parse(bad[i]);
        if (e.code != EXIT_INPUT) print_error("accepted: %s\n", bad[i]);
        assert_int_equal(e.code, EXIT_INPUT);
        assert_non_null(strstr(e.text, "t.supp:"));
        suppress_free(&s);
    }
}

static void written(void **state)
{
    (void)state;
    struct buf b = {0};
    suppress_write(&b, "a41f09c2", NULL, "run src/run.c:7", "one\n[two]\nleak:x", "2027-01-31");
    struct suppressions s = parse(b.data);
    assert_int_equal(e.code, 0);
    assert_int_equal(s.n, 1);
    assert_string_equal(s.items[0].why, "one [two] leak:x");
    assert_string_equal(s.items[0].until, "2027-01-31");
    suppress_free(&s);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lsan), cmocka_unit_test(memcheck), cmocka_unit_test(ours),
                                       cmocka_unit_test(refused), cmocka_unit_test(written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
