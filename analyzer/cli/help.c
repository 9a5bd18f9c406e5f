/* SPDX-License-Identifier: Apache-2.0
 *
 * seep help: the commands, one command's own help, or the agent's options and the rules, from their tables. */
#include <inttypes.h>
#include <string.h>

#include "agent/contract/names.h"
#include "analyzer/cli/cli.h"

static const struct {
    const char *name, *unit, *text;
    uint64_t def;
    const char *help;
} options[] = {
#define OPT_U64(id, name, def, lo, hi, unit, help) {name, unit, NULL, def, help},
#define OPT_STR(id, name, def, help)               {name, "", def, 0, help},
#define OPT_ENUM(id, name, def, values, help)      {name, values, values, def, help},
#include "agent/contract/options.def"
#undef OPT_U64
#undef OPT_STR
#undef OPT_ENUM
};

static void help_options(void)
{
    puts("Environment of the agent; the options of `seep run` set it.\n");
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const char *unit = options[i].unit, *text = options[i].text;
        char def[64];
        if (text) /* of an enum the default's word, else the string */
            for (uint64_t k = 0; k < options[i].def && strchr(text, '|'); k++) text = strchr(text, '|') + 1;
        if (text)
            snprintf(def, sizeof def, "%.*s", (int)strcspn(text, "|"), text);
        else if (strcmp(unit, "ms") == 0)
            snprintf(def, sizeof def, "%" PRIu64 "ms", options[i].def);
        else
            snprintf(def, sizeof def, "%" PRIu64, options[i].def);
        printf("  %-17s %s", options[i].name, options[i].help);
        if (text && *unit) printf(" (%s)", unit);
        printf(*def ? "; default %s\n" : "\n%s", def);
    }
}

static void help_rules(void)
{
    puts("What is detected, and what to do about it.\n");
    for (int i = 0; i < SEEP_RULE_COUNT; i++) {
        const struct seep_rule_text *t = seep_rule_text((enum seep_rule)i);
        printf("  %-21s %s\n  %-21s do: %s\n", t->name, t->finds, "", t->todo);
    }
}

static void help_commands(void)
{
    puts("Usage: seep COMMAND [OPTION…] …\n\n"
         "Finds leaks of memory and of coroutines in programs, and says how sure it is.\n");
    for (const struct command *c = commands; c->name; c++) printf("  %-11s %s\n", c->name, c->summary);
    puts("\nTo begin:\n"
         "  seep run -o server.seep -- ./server     record a program\n"
         "  seep leaks server.seep                  what leaked\n"
         "  seep gate -- ./test_suite               fail when a test run leaks\n"
         "\n`seep help COMMAND` explains one command, `seep help options` the agent's environment,\n"
         "`seep help rules` what is detected; seep(1) explains all.\n"
         "Exit codes: 0 clean, 1 leaks found, 2 usage, 3 bad input, 4 could not run.");
}

int cmd_help(int argc, char **argv)
{
    const char *about = argc > 1 && argv[1][0] != '-' ? argv[1] : "help";
    for (const struct command *c = commands; c->name; c++) {
        if (strcmp(c->name, about) != 0 || c->run == cmd_help) continue;
        char full[64], help[] = "--help";
        snprintf(full, sizeof full, "seep %s", c->name);
        char *args[] = {full, help, NULL};
        return c->run(2, args);
    }
    if (strcmp(about, "options") == 0)
        help_options();
    else if (strcmp(about, "rules") == 0)
        help_rules();
    else if (strcmp(about, "help") == 0)
        help_commands();
    else
        return fail(EXIT_USAGE, "\"%s\" is no command; `seep help` lists them", about);
    return fflush(stdout) == 0 ? 0 : EXIT_CANNOT;
}
