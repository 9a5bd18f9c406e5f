/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory limit of control groups, on file trees made for it: both versions, limits further up, containers, none. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/snapshot/limits.h"

static char top[] = "/tmp/seep-limits.XXXXXX";

static void put(const char *dir, const char *file, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", top, dir);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/%s/%s", top, dir, file);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static uint64_t limit(const char *groups, const char *root, const char *point, const char *type, const char *super)
{
    char g[256], m[512];
    snprintf(g, sizeof g, "%s", groups);
    snprintf(m, sizeof m,
             "22 1 0:20 / /proc rw shared:5 - proc proc rw\n"
             "31 23 0:28 %s %s%s rw,relatime shared:9 - %s cgroup %s\n",
             root, top, point, type, super);
    return cgroup_limit_of(g, m);
}

static void of_both_versions(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(top));
    put("", "cgroup.procs", "");
    put("a", "memory.max", "max\n");
    put("a/b", "memory.max", "1073741824\n");
    put("a/b/c", "memory.max", "2147483648\n");
    put("v1", "memory.limit_in_bytes", "9223372036854771712\n");
    put("v1/x", "memory.limit_in_bytes", "268435456\n");
    assert_int_equal(limit("0::/a/b/c\n", "/", "", "cgroup2", "rw"), 1u << 30); /* the one above is lower */
    assert_int_equal(limit("0::/a\n", "/", "", "cgroup2", "rw"), 0);
    assert_int_equal(limit("0::/\n", "/", "/a/b/c", "cgroup2", "rw"), 2u << 30); /* in a container */
    assert_int_equal(limit("0::/pods/b\n", "/pods", "/a", "cgroup2", "rw"), 1u << 30);
    assert_int_equal(limit("0::/../else\n", "/pods", "/a/b", "cgroup2", "rw"), 1u << 30);
    assert_int_equal(limit("9:cpu:/y\n8:memory,hugetlb:/x\n0::/\n", "/", "/v1", "cgroup", "rw,memory"), 256u << 20);
    assert_int_equal(limit("8:memory:/\n", "/", "/v1", "cgroup", "rw,memory"), 0);
    assert_int_equal(limit("8:memory:/x\n", "/", "/v1", "cgroup", "rw,cpu"), 0); /* another controller's */
    assert_int_equal(limit("8:memory:/gone\n", "/", "/v1", "cgroup", "rw,memory"), 0);
    assert_int_equal(limit("", "/", "", "cgroup2", "rw"), 0);
    char text[2][64] = {"garbage\n0::\n:::", " - cgroup2 \n1 2 3 - cgroup2 x y"};
    assert_int_equal(cgroup_limit_of(text[0], text[1]), 0);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", top);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(of_both_versions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
