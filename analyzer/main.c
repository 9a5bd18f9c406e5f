/* SPDX-License-Identifier: Apache-2.0
 *
 * seep: the table of commands. Each command is one file of cli/, reads through store/ and model/, and prints through
 * report/emit.h:  load → symbolize → compute → render. */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "analyzer/cli/cli.h"

const struct command commands[] = {
    {"run", cmd_run, "record a command and its children"},
    {"snapshot", cmd_snapshot, "take a snapshot of a running process now"},
    {"info", cmd_info, "processes, snapshots and memory of a recording"},
    {"top", cmd_top, "where memory was allocated"},
    {"list", cmd_list, "source lines of functions, with what each allocated"},
    {"peek", cmd_peek, "callers and callees of functions"},
    {"tree", cmd_tree, "the tree of calls by bytes"},
    {"tasks", cmd_tasks, "what coroutines and threads do"},
    {"leaks", cmd_leaks, "what leaked, with the proof"},
    {"diff", cmd_diff, "what changed between two snapshots or recordings"},
    {"trend", cmd_trend, "what grows over the snapshots, and what only filled"},
    {"rss", cmd_rss, "why the process is as large as it is, and what of it is no leak"},
    {"gate", cmd_gate, "fail a build on leaks"},
    {"suppress", cmd_suppress, "hide one finding, with a reason, for gate"},
    {"baseline", cmd_baseline, "accept the findings of today, for gate"},
    {"export", cmd_export, "write a profile for other tools"},
    {"import", cmd_import, "make a recording of profiles of a Go program"},
    {"report", cmd_report, "write one HTML page about a recording"},
    {"symbolize", cmd_symbolize, "note names beside a recording, for machines without the files"},
    {"merge", cmd_merge, "many recordings into one"},
    {"watch", cmd_watch, "print what grows in a running process"},
    {"completion", cmd_completion, "completion script for bash, zsh or fish"},
    {"help", cmd_help, "this text, or a command's"},
    {NULL, NULL, NULL},
};

int main(int argc, char **argv)
{
    int planted;
    if (self_test_planted(argc, argv, &planted)) return planted;
    setlocale(LC_CTYPE, "");
    if (argc < 2) return fail(EXIT_USAGE, "no command is named; `seep help` lists them");
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        puts("seep " SEEP_VERSION);
        return 0;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    for (const struct command *c = commands; c->name; c++) {
        if (strcmp(name, c->name) != 0) continue;
        char full[64];
        snprintf(full, sizeof full, "seep %s", c->name);
        argv[1] = full;
        return c->run(argc - 1, argv + 1);
    }
    return fail(EXIT_USAGE, "\"%s\" is no command; `seep help` lists them", name);
}
