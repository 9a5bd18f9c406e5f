/* SPDX-License-Identifier: Apache-2.0
 *
 * seep help: the commands, or one command's own help. */
#include <string.h>

#include "analyzer/cli/cli.h"

int cmd_help(int argc, char **argv)
{
    if (argc > 1 && argv[1][0] != '-') {
        for (const struct command *c = commands; c->name; c++) {
            if (strcmp(c->name, argv[1]) != 0 || c->run == cmd_help) continue;
            char full[64], help[] = "--help";
            snprintf(full, sizeof full, "seep %s", c->name);
            char *args[] = {full, help, NULL};
            return c->run(2, args);
        }
        if (strcmp(argv[1], "help") != 0)
            return fail(EXIT_USAGE, "\"%s\" is no command; `seep help` lists them", argv[1]);
    }
    puts("Usage: seep COMMAND [OPTION…] …\n\n"
         "Finds leaks of memory and of coroutines in programs, and says how sure it is.\n");
    for (const struct command *c = commands; c->name; c++) printf("  %-10s %s\n", c->name, c->summary);
    puts("\nTo begin:\n"
         "  seep run -o server.seep -- ./server     record a program\n"
         "  seep leaks server.seep                  what leaked\n"
         "  seep gate -- ./test_suite               fail when a test run leaks\n"
         "\n`seep help COMMAND` explains one command; seep(1) explains all.\n"
         "Exit codes: 0 clean, 1 leaks found, 2 usage, 3 bad input, 4 could not run.");
    return fflush(stdout) == 0 ? 0 : EXIT_CANNOT;
}
