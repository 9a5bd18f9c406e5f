/* SPDX-License-Identifier: Apache-2.0
 *
 * Untrusted text: nothing reaches a terminal or a JSON reader as it came. Units. */
#include "analyzer/report/emit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void escapes(const char *in, const char *want)
{
    struct buf b = {0};
    buf_escape(&b, in, strlen(in));
    assert_string_equal(b.data, want);
    buf_free(&b);
}

static void terminal(void **state)
{
    (void)state;
    escapes("plain · µs", "plain · µs");
    escapes("\x1b[31mred\n\t\x7f", "\\x1b[31mred\\x0a\\x09\\x7f");
    escapes("\xc2\x9b"
            "31m",
            "\\u{9b}31m"); /* the one-character form of ESC [ */
    escapes("a\xe2\x80\xae"
            "b",
            "a\\u{202e}b"); /* right-to-left override */
    escapes("\xff\xc0\x80\xed\xa0\x80", "\\xff\\xc0\\x80\\xed\\xa0\\x80");
    escapes("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80");
}

static void json_text(void **state)
{
    (void)state;
    const char *nasty = "quote\" back\\ \n\x01 \xff \xe2\x80\xa8 ok";
    struct buf b = {0};
    buf_json(&b, nasty);
    json_t *j = json_loads(b.data, JSON_DECODE_ANY, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(j), "quote\" back\\ \n\x01 \xef\xbf\xbd \xe2\x80\xa8 ok");
    json_decref(j);
    buf_free(&b);
}

static void emitter_json_is_json(void **state)
{
    (void)state;
    static const struct emit_col cols[] = {{"n", "N", COL_COUNT}, {NULL, "TEXT", COL_TEXT}, {"s", NULL, COL_TEXT}};
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    struct emit e;
    emit_init(&e, f, true);
    emit_object(&e, NULL);
    emit_table(&e, "rows", cols, 3);
    for (int i = 0; i < 3; i++) {
        emit_cell_int(&e, i);
        emit_cell_str(&e, "only text");
        emit_cell_str(&e, "only \"json\"");
        emit_int(&e, "more", i * i);
        emit_row(&e);
    }
    emit_table_end(&e);
    emit_line(&e, STYLE_BAD, "not seen");
    emit_array(&e, "empty");
    emit_end(&e);
    emit_end(&e);
    assert_int_equal(emit_finish(&e), 0);
    fclose(f);
    json_t *j = json_loads(text, 0, NULL);
    assert_non_null(j);
    json_t *rows = json_object_get(j, "rows");
    assert_int_equal(json_array_size(rows), 3);
    assert_int_equal(json_object_size(json_array_get(rows, 2)), 3);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(rows, 2), "more")), 4);
    json_decref(j);
    free(text);
}

static void units(void **state)
{
    (void)state;
    assert_string_equal(unit_bytes(0), "0 B");
    assert_string_equal(unit_bytes(1023), "1023 B");
    assert_string_equal(unit_bytes(1024), "1.0 KiB");
    assert_string_equal(unit_bytes(1048575), "1.0 MiB");
    assert_string_equal(unit_bytes(-1536), "-1.5 KiB");
    assert_string_equal(unit_delta_bytes(1536), "+1.5 KiB");
    assert_string_equal(unit_count(1234567), "1,234,567");
    assert_string_equal(unit_count(-1000), "-1,000");
    assert_string_equal(unit_ns(1500), "1.5 µs");
    assert_string_equal(unit_ns(41 * 60000000000), "41 min");
    assert_string_equal(unit_plural(1, "block"), "1 block");
    assert_string_equal(unit_plural(2, "process"), "2 processes");
    assert_true(strlen(unit_bytes(INT64_MAX)) < 16 && strlen(unit_bytes(INT64_MIN)) < 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(terminal),
        cmocka_unit_test(json_text),
        cmocka_unit_test(emitter_json_is_json),
        cmocka_unit_test(units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
