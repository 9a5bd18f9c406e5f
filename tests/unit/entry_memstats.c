/* SPDX-License-Identifier: Apache-2.0
 *
 * Statistics as text, JSON and XML: they parse as far as sscanf goes, and the rows of classes add up to the sums. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/include/seep.h"

static char text[65536];

static void read_back(int fd)
{
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
}

static uint64_t value(const char *key)
{
    const char *at = strstr(text, key);
    assert_non_null(at);
    return strtoull(at + strlen(key), NULL, 10);
}

static uint64_t sum(const char *key)
{
    uint64_t total = 0;
    for (const char *at = text; (at = strstr(at, key)) != NULL; at += strlen(key))
        total += strtoull(at + strlen(key), NULL, 10);
    return total;
}

static void adds_up(void **state)
{
    (void)state;
    void *keep[500];
    for (int i = 0; i < 500; i++) keep[i] = malloc((size_t)i * 100);
    for (int i = 0; i < 500; i += 3) free(keep[i]);
    FILE *f = tmpfile();
    assert_int_equal(seep_write_memstats(fileno(f), 1), 0);
    read_back(fileno(f));
    assert_int_equal(value("{\"version\":"), 1);
    assert_int_equal(sum("\"objects\":"), value("\"heap_objects\":"));
    assert_int_equal(sum("\"object_bytes\":"), value("\"heap_alloc\":"));
    assert_int_equal(sum("\"span_bytes\":"), value("\"heap_inuse\":"));
    assert_int_equal(value("\"heap_sys\":"), value("\"heap_inuse\":") + value("\"heap_idle\":"));
    assert_true(sum("\"cached\":") > 0);
    assert_string_equal(text + strlen(text) - 3, "]}\n");
    fclose(f);

    f = tmpfile();
    assert_int_equal(seep_write_memstats(fileno(f), 0), 0);
    read_back(fileno(f));
    assert_true(value("heap_alloc ") >= 300 * 1000);
    fclose(f);

    f = tmpfile();
    assert_int_equal(malloc_info(0, f), 0);
    assert_int_equal(malloc_info(1, f), EINVAL);
    fflush(f);
    read_back(fileno(f));
    assert_int_equal(strncmp(text, "<malloc version=\"1\">\n<heap nr=\"0\">", 34), 0);
    assert_string_equal(text + strlen(text) - 10, "</malloc>\n");
    fclose(f);
    assert_int_equal(seep_write_memstats(-1, 0), -EBADF);
    for (int i = 0; i < 500; i++) {
        if (i % 3 != 0) free(keep[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(adds_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
