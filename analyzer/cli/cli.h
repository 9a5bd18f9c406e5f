/* SPDX-License-Identifier: Apache-2.0
 *
 * Commands: one file each behind the table in main.c, and the arguments they share. */
#ifndef ANALYZER_CLI_H
#define ANALYZER_CLI_H

#include <argp.h>
#include <limits.h>

#include "analyzer/model/graph.h"
#include "analyzer/report/emit.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is "seep NAME"; returns the exit code */
    const char *summary;
};
extern const struct command commands[]; /* ends with a NULL name */
int cmd_run(int argc, char **argv);
int cmd_snapshot(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_peek(int argc, char **argv);
int cmd_tree(int argc, char **argv);
int cmd_tasks(int argc, char **argv);
int cmd_leaks(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_trend(int argc, char **argv);
int cmd_rss(int argc, char **argv);
int cmd_gate(int argc, char **argv);
int cmd_suppress(int argc, char **argv);
int cmd_baseline(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_merge(int argc, char **argv);
int cmd_symbolize(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_completion(int argc, char **argv);
int cmd_help(int argc, char **argv);

/* Not NULL: args_parse() shows it the parser and returns EXIT_USAGE instead of parsing (completion.c). */
extern void (*args_visitor)(const struct argp *argp);
/* Parses by argp; a mistake is one line and EXIT_USAGE, and --help ends the program with 0. 0: go on. */
int args_parse(const struct argp *argp, int argc, char **argv, unsigned flags, void *input);
/* From inside a parser: one line, then the program ends with EXIT_USAGE. */
void args_fail(const struct argp_state *state, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));
int64_t args_number(const struct argp_state *state, const char *name, const char *text, int64_t lo, int64_t hi);

/* ---- Options of the commands that look into a recording; a child parser with a struct view as input. */
struct view {
    const char *file;
    const char *operands[3]; /* operands after FILE */
    unsigned noperands, max_operands;
    struct selector select;
    struct symbol_policy symbols;
    bool json, full;
    int64_t limit; /* 0: all */
    const char *sort;
    struct filter *filter; /* of filter_argp; NULL: none */
};
enum {
    KEY_SNAPSHOT = 0x100,
    KEY_PROCESS,
    KEY_JSON,
    KEY_FULL,
    KEY_SORT,
    KEY_UNIT,
    KEY_DEBUG_DIR,
    KEY_DEBUGINFOD,
    KEY_JIT_MAPS,
    KEY_FOCUS,
    KEY_IGNORE_STACKS,
    KEY_HIDE,
    KEY_SHOW,
    KEY_PRIVATE
};
extern const struct argp view_argp;
/* --focus, --ignore, --hide, --show; a child parser with a struct view as input. The program's exit frees the filter. */
extern const struct argp filter_argp;
/* Which bytes a command weighs by, as --sort has it: inuse, alloc, unreachable. FIG_… */
int args_figure(const struct argp_state *state, const char *word);
/* Commands about the functions that a regular expression names: list and peek. A weighed_view is their parser's input. */
struct weighed_view {
    struct view view;
    int figure; /* FIG_…, of --sort */
};
struct re_pattern_buffer;
/* By its name, with or without the parentheses that follow it in print. */
bool function_matches(const struct re_pattern_buffer *regex, const char *name);
extern const struct argp_option function_options[];
extern const struct argp_child function_children[];
error_t function_parse(int key, char *arg, struct argp_state *state);
/* Opens view->file and selects. NULL with the message printed and *code set. */
struct recording *view_open(struct view *v, struct snapshot ***snaps, size_t *n, int *code);
/* True when reading met an error, which is then printed; asked before the first output. */
bool view_failed(struct recording *r, int *code);

/* Writes b to path in one step, or to standard output where path is "-", which is refused with no_terminal (NULL: allowed)
 * when it is a terminal. An exit code, with the message printed (save.c). */
int file_save(const char *path, bool force, const struct buf *b, const char *no_terminal);

/* ---- Running a command under the agent (launch.c), shared by run and gate. */
struct launch {
    char *out;         /* path of the recording; NULL: a name is made from the command */
    const char *agent; /* --agent; NULL: found */
    bool force;
    const char *label;      /* of the last snapshot of each process; NULL: none */
    const char *env[16][2]; /* settings of the agent: name, value */
    unsigned nenv;
    char **command;
};
extern const struct argp launch_argp; /* a child parser with a struct launch as input */
struct outcome {
    int pid;
    int code;   /* exit code of the command; 128 + signal */
    int signal; /* 0: it exited */
};
/* Starts the command, passes signals on, waits. 0, or an exit code with the message printed. l->out is then absolute. */
int launch_run(struct launch *l, struct outcome *out);
/* Checks that name can run under the agent (elf_check.c). On success *path is allocated. */
int command_check(const char *name, const char *agent, char **path, struct err *e);
/* The agent's path, allocated; NULL with *e set. */
char *agent_find(const char *given, struct err *e);
void launch_default(struct launch *l, const char *name, const char *value); /* unless set already */

/* Asks the agent of pid for a snapshot (snapshot.c). out, label: NULL or as the options of seep snapshot. 0, or an exit
 * code with the message printed. */
struct snapshot_reply {
    char text[PATH_MAX + 64]; /* "ok SEQ PATH" */
    long long seq;
    const char *path; /* of the recording; NULL: the process does not record to a file */
};
int snapshot_ask(int pid, const char *label, const char *out, struct snapshot_reply *reply);
/* The same with a request of contract.h, a line without its end. */
int snapshot_request(int pid, const char *out, const char *request, struct snapshot_reply *reply);
/* seep snapshot --path (snapshot_path.c): what holds the block at an address, or those of a function. An exit code. */
int snapshot_path(int pid, const char *out, const char *what, bool json);

/* ---- gate --self-test (self_test.c): does this gate find a leak on this machine, and nothing where there is none? 0, or an
 * exit code with the message printed. */
int gate_self_test(const char *agent);
/* What the self-test runs under the agent: true and *code set when argv asks for it (an argument that is in no help). */
bool self_test_planted(int argc, char **argv, int *code);

#endif
