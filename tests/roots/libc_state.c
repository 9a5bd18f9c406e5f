/* SPDX-License-Identifier: Apache-2.0
 *
 * What libc keeps: streams, environment, locale, directories, tree, hash table, time zone.
 * expect: 0 unreachable */
#include "root.h"

#include <dirent.h>
#include <locale.h>
#include <search.h>
#include <time.h>
#include <unistd.h>

static int compare(const void *a, const void *b)
{
    return (a > b) - (a < b);
}

int main(void)
{
    static void *tree;
    static DIR *dir;
    static FILE *file;
    time_t now = 0;
    setenv("TESTS_ROOT", "value", 1);
    setlocale(LC_ALL, "C.UTF-8");
    setvbuf(stdout, NULL, _IOFBF, 5000);
    puts("buffered");
    dir = opendir("/");
    readdir(dir);
    file = fopen("/proc/self/maps", "r");
    fgetc(file);
    tsearch("key", &tree, compare);
    hcreate(100);
    localtime(&now);
    return check();
}
