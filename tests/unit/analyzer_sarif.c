/* SPDX-License-Identifier: Apache-2.0
 *
 * SARIF has the shape that its published schema asks for: every object has the members it must have, no other, of the right type,
 * for results of every confidence, with and without stacks. The tables below restate sarif-schema-2.1.0.json for the objects we write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <jansson.h>

#include "analyzer/report/ci.h"

#include <cmocka.h> /* after ours: it defines fail() as a macro */

/* kind NAME: "member:type" words; ! before a member that must be there. Types: s i b o, or a kind; [] for arrays. */
static const char *const shapes[][2] = {
    {"log", "$schema:s !version:s !runs:[]run"},
    {"run", "!tool:tool invocations:[]invocation results:[]result columnKind:s"},
    {"tool", "!driver:driver"},
    {"driver", "!name:s version:s rules:[]rule"},
    {"rule", "!id:s shortDescription:text help:text"},
    {"text", "!text:s"},
    {"invocation", "!executionSuccessful:b exitCode:i toolExecutionNotifications:[]notification"},
    {"notification", "!message:text level:s"},
    {"result",
     "!message:text ruleId:s ruleIndex:i level:s locations:[]location partialFingerprints:strings codeFlows:[]codeFlow "
     "stacks:[]stack baselineState:s suppressions:[]suppression properties:any"},
    {"location", "physicalLocation:physical logicalLocations:[]logical message:text"},
    {"physical", "artifactLocation:artifact region:region"},
    {"artifact", "uri:s"},
    {"region", "startLine:i"},
    {"logical", "fullyQualifiedName:s kind:s"},
    {"codeFlow", "!threadFlows:[]threadFlow"},
    {"threadFlow", "!locations:[]threadFlowLocation"},
    {"threadFlowLocation", "location:location executionOrder:i"},
    {"stack", "!frames:[]stackFrame message:text"},
    {"stackFrame", "location:location module:s"},
    {"suppression", "!kind:s status:s justification:s"},
};

static void check(const json_t *j, const char *kind);

static void member(const json_t *v, const char *type, const char *name)
{
    bool ok = true;
    if (strncmp(type, "[]", 2) == 0) {
        ok = json_is_array(v);
        for (size_t i = 0; ok && i < json_array_size(v); i++) member(json_array_get(v, i), type + 2, name);
    } else if (strcmp(type, "s") == 0) {
        ok = json_is_string(v);
    } else if (strcmp(type, "i") == 0) {
        ok = json_is_integer(v) && json_integer_value(v) >= 0;
    } else if (strcmp(type, "b") == 0) {
        ok = json_is_boolean(v);
    } else {
        check(v, type);
    }
    if (!ok) fail_msg("%s is no %s", name, type);
}

static void check(const json_t *j, const char *kind)
{
    const char *shape = NULL, *key;
    json_t *v;
    if (!json_is_object(j)) fail_msg("not an object: %s", kind);
    if (strcmp(kind, "any") == 0) return;
    if (strcmp(kind, "strings") == 0) {
        json_object_foreach((json_t *)(uintptr_t)j, key, v) assert_true(json_is_string(v));
        return;
    }
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(shapes[i][0], kind) == 0) shape = shapes[i][1];
    assert_non_null(shape);
    size_t known = 0;
    char words[1024];
    snprintf(words, sizeof words, "%s", shape);
    for (char *save = NULL, *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        bool must = *w == '!';
        char *type = strchr(w, ':');
        *type++ = 0;
        v = json_object_get(j, w + must);
        if (must && !v) fail_msg("%s lacks %s", kind, w + must);
        if (!v) continue;
        known++;
        member(v, type, w + must);
    }
    if (known != json_object_size(j)) fail_msg("%s has a member that the schema does not know", kind);
}

static struct sym_line lines[] = {{"send<int>(\x1b[31m)", "s", "/b/src dir/a%.c", "/b", 3},
                                  {"main", "main", "/elsewhere/m.c", "/b", 0}};
static struct image image = {.path = "/opt/ser ver", .name = "ser ver", .build_id = ""};
static struct frame frames[] = {{.image = &image, .resolved = true, .nlines = 1, .lines = &lines[0]},
                                {.image = &image, .resolved = true, .nlines = 1, .lines = &lines[1]},
                                {.resolved = true, .offset = 77}};
static struct frame *one[] = {&frames[0], &frames[2]}, *two[] = {&frames[1]};
static struct stack stacks[] = {{.n = 2, .frames = one}, {.n = 1, .frames = two}};

static json_t *written(struct gate_result *g)
{
    struct buf b = {0};
    json_error_t why;
    sarif_write(g, &b);
    json_t *j = json_loads(b.data, JSON_REJECT_DUPLICATES, &why);
    if (!j) fail_msg("not JSON: %s", why.text);
    buf_free(&b);
    check(j, "log");
    return j;
}

static void results(void **state)
{
    (void)state;
    struct recording r = {0};
    struct process p = {.pid = 7};
    struct snapshot s = {.process = &p};
    struct finding f[] = {{.id = "a41f09c2",
                           .rule = "stuck-send",
                           .noun = "coroutine",
                           .confidence = SEEP_PROVEN,
                           .snapshot = &s,
                           .stack = &stacks[0],
                           .create_stack = &stacks[1],
                           .wait_reason = "chan send",
                           .objects = 3},
                          {.id = "a41f09c3",
                           .rule = "unreachable-memory",
                           .noun = "block",
                           .confidence = SEEP_LIKELY,
                           .snapshot = &s,
                           .wait_reason = "",
                           .known = true},
                          {.id = "a41f09c4",
                           .rule = "of-a-newer-agent",
                           .noun = "block",
                           .confidence = SEEP_INFO,
                           .snapshot = &s,
                           .stack = &stacks[1],
                           .wait_reason = "",
                           .known = true,
                           .suppressed = "bug 1"}};
    struct gate_result g = {.r = &r, .findings = f, .n = 3, .exit = 1, .baseline = true, .command = "x"};
    json_t *j = written(&g), *list = json_object_get(json_array_get(json_object_get(j, "runs"), 0), "results");
    assert_int_equal(json_array_size(list), 3);
    json_t *a = json_array_get(list, 0);
    assert_string_equal(json_string_value(json_object_get(json_object_get(a, "partialFingerprints"), "seepId/v1")),
                        "a41f09c2");
    assert_string_equal(json_string_value(json_object_get(a, "level")), "error");
    assert_int_equal(json_array_size(json_object_get(a, "codeFlows")), 1);
    json_t *place = json_object_get(json_array_get(json_object_get(a, "locations"), 0), "physicalLocation");
    assert_string_equal(json_string_value(json_object_get(json_object_get(place, "artifactLocation"), "uri")),
                        "src%20dir/a%25.c");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(place, "region"), "startLine")), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 1), "baselineState")), "unchanged");
    assert_int_equal(json_array_size(json_object_get(json_array_get(list, 2), "suppressions")), 1);
    assert_null(json_object_get(json_array_get(list, 2), "ruleIndex"));
    json_decref(j);
    arena_free(&r.arena);
}

static void no_data(void **state)
{
    (void)state;
    struct gate_result g = {.exit = 3, .command = "x", .problem = "no data \xff"};
    json_t *j = written(&g), *run = json_array_get(json_object_get(j, "runs"), 0);
    assert_true(
        json_is_false(json_object_get(json_array_get(json_object_get(run, "invocations"), 0), "executionSuccessful")));
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(results), cmocka_unit_test(no_data)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
