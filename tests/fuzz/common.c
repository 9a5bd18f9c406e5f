/* SPDX-License-Identifier: Apache-2.0
 *
 * What the fuzz targets share. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/cli/cli.h"
#include "tests/fuzz/fuzz.h"

static char dir[64], path[80];

static void clean(void)
{
    unlink(path);
    rmdir(dir);
}

const char *fuzz_path(void)
{
    if (*path) return path;
    snprintf(dir, sizeof dir, "%s/seep-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir)) abort();
    snprintf(path, sizeof path, "%s/input", dir);
    atexit(clean);
    return path;
}

const char *fuzz_file(const uint8_t *data, size_t n)
{
    int fd = open(fuzz_path(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, n) != (ssize_t)n || close(fd) != 0) abort();
    return path;
}

/* Standard output must go somewhere else for the time, and the program's own must be there again after it. */
static int silence(int fd)
{
    fflush(NULL);
    int saved = dup(fd), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (saved < 0 || null < 0 || dup2(null, fd) < 0) abort();
    close(null);
    return saved;
}

static void speak(int fd, int saved)
{
    fflush(NULL);
    dup2(saved, fd);
    close(saved);
}

void fuzz_command(unsigned which)
{
    static const struct {
        int (*run)(int argc, char **argv);
        const char *options[4];
    } table[FUZZ_COMMANDS] = {
        {cmd_info, {NULL}},
        {cmd_top, {"--stacks", NULL}},
        {cmd_top, {"--sort=cum", "--json", NULL}},
        {cmd_tree, {NULL}},
        {cmd_tasks, {"--full", NULL}},
        {cmd_leaks, {"--full", NULL}},
        {cmd_leaks, {"--json", NULL}},
        {cmd_diff, {"--stacks", NULL}},
        {cmd_trend, {"--all", NULL}},
        {cmd_rss, {"--full", NULL}},
        {cmd_export, {"--pprof", "-o", "-", NULL}},
        {cmd_export, {"--speedscope", "--tasks", "-o", "-"}},
        {cmd_report, {"-o", "-", NULL}},
        {cmd_gate, {"--fail-on=proven,likely,growing", NULL}},
        {cmd_leaks, {"--path=fetch", NULL}},
    };
    char *argv[8] = {strdup("seep fuzz")};
    int argc = 1;
    for (int i = 0; i < 4 && table[which].options[i]; i++) argv[argc++] = strdup(table[which].options[i]);
    argv[argc++] = strdup(path);
    int out = silence(1), err = silence(2);
    int code = table[which].run(argc, argv);
    speak(2, err);
    speak(1, out);
    for (int i = 0; i < argc; i++) free(argv[i]);
    bool asked = table[which].run == cmd_leaks && code == EXIT_USAGE; /* no path of that name */
    if (!asked && code != EXIT_CLEAN && code != EXIT_LEAKS && code != EXIT_INPUT && code != EXIT_CANNOT) abort();
}
