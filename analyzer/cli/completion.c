/* SPDX-License-Identifier: Apache-2.0
 *
 * seep completion: scripts for bash, zsh and fish, made from the table of commands and from the options that each command itself
 * parses by, so that they cannot fall behind. Each command is called with args_visitor set, and comes back from args_parse() at once. */
#include <stdio.h>
#include <string.h>

#include "analyzer/cli/cli.h"

enum { MAX_OPTIONS = 64 };
static struct argp_option found[MAX_OPTIONS];
static size_t nfound;

static void collect(const struct argp *argp)
{
    for (const struct argp_option *o = argp->options; o && (o->name || o->doc); o++)
        if (o->name && nfound < MAX_OPTIONS) found[nfound++] = *o;
    for (const struct argp_child *c = argp->children; c && c->argp; c++) collect(c->argp);
}

static void options_of(const struct command *c)
{
    char full[64];
    char *argv[] = {full, NULL};
    snprintf(full, sizeof full, "seep %s", c->name);
    nfound = 0;
    if (c->run == cmd_help) return; /* it has none */
    args_visitor = collect;
    c->run(1, argv);
    args_visitor = NULL;
}

static bool has_key(const struct argp_option *o)
{
    return o->key > ' ' && o->key < 0x7f;
}

/* Text of our own tables inside single quotes of a shell. */
static void quoted(const char *s, const char *also)
{
    for (; *s; s++) {
        if (*s == '\'')
            fputs("'\\''", stdout);
        else if (strchr(also, *s))
            printf("\\%c", *s);
        else
            putchar(*s);
    }
}

static void bash(void)
{
    puts("# bash completion of seep; made by `seep completion bash`\n_seep()\n{\n    local "
         "cur=${COMP_WORDS[COMP_CWORD]} words=\n    if [ "
         "\"$COMP_CWORD\" = 1 ]; then");
    printf("        COMPREPLY=($(compgen -W '");
    for (const struct command *c = commands; c->name; c++) printf("%s ", c->name);
    puts("' -- \"$cur\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in");
    for (const struct command *c = commands; c->name; c++) {
        options_of(c);
        printf("    %s) words='", c->name);
        for (size_t i = 0; i < nfound; i++) printf("--%s ", found[i].name);
        if (c->run == cmd_help)
            for (const struct command *d = commands; d->name; d++) printf("%s ", d->name);
        puts("--help' ;;");
    }
    puts("    esac\n    if [[ $cur == -* || ${COMP_WORDS[1]} == help ]]; then\n        COMPREPLY=($(compgen -W "
         "\"$words\" -- \"$cur\"))\n    "
         "else\n        COMPREPLY=($(compgen -f -- \"$cur\"))\n    fi\n}\ncomplete -o filenames -F _seep seep");
}

static void zsh(void)
{
    puts("#compdef seep\n# zsh completion of seep; made by `seep completion zsh`\n_seep() {\n    local -a commands\n   "
         " commands=(");
    for (const struct command *c = commands; c->name; c++) {
        printf("        '%s:", c->name);
        quoted(c->summary, ":");
        puts("'");
    }
    puts("    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n    case "
         "$words[2] in");
    for (const struct command *c = commands; c->name; c++) {
        options_of(c);
        printf("    %s) _arguments", c->name);
        for (size_t i = 0; i < nfound; i++) {
            printf(" \\\n        '--%s%s[", found[i].name, found[i].arg ? "=" : "");
            quoted(found[i].doc ? found[i].doc : "", "[]:");
            printf("]%s%s'", found[i].arg ? ":" : "", found[i].arg ? found[i].arg : "");
        }
        puts(" \\\n        '--help[explain the command]' '*:file:_files' ;;");
    }
    puts("    esac\n}\n_seep \"$@\"");
}

static void fish(void)
{
    puts("# fish completion of seep; made by `seep completion fish`");
    for (const struct command *c = commands; c->name; c++) {
        printf("complete -c seep -n __fish_use_subcommand -f -a %s -d '", c->name);
        quoted(c->summary, "");
        puts("'");
    }
    for (const struct command *c = commands; c->name; c++) {
        options_of(c);
        for (size_t i = 0; i < nfound; i++) {
            printf("complete -c seep -n '__fish_seen_subcommand_from %s' -l %s", c->name, found[i].name);
            if (has_key(&found[i])) printf(" -s %c", found[i].key);
            printf("%s -d '", found[i].arg ? " -r" : "");
            quoted(found[i].doc ? found[i].doc : "", "");
            puts("'");
        }
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    const char **shell = state->input;
    if (key == ARGP_KEY_ARG && *shell) args_fail(state, "\"%s\" is one operand too many", arg);
    if (key == ARGP_KEY_ARG) *shell = arg;
    if (key == ARGP_KEY_END && !*shell) args_fail(state, "no shell is named: bash, zsh or fish");
    return key == ARGP_KEY_ARG || key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
}

int cmd_completion(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "bash|zsh|fish",
        .doc = "Prints a completion script for a shell.\v"
               "Examples:\n  seep completion bash >/etc/bash_completion.d/seep\n  seep completion zsh "
               ">\"${fpath[1]}/_seep\"\n"
               "  seep completion fish >~/.config/fish/completions/seep.fish",
    };
    static const struct {
        const char *shell;
        void (*print)(void);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    const char *shell = NULL;
    int code = args_parse(&argp, argc, argv, 0, &shell);
    if (code) return code;
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        if (strcmp(shells[i].shell, shell) != 0) continue;
        shells[i].print();
        return fflush(stdout) == 0 ? EXIT_CLEAN : EXIT_CANNOT;
    }
    return fail(EXIT_USAGE, "seep completion: \"%s\" is none of bash, zsh, fish; see `seep help completion`", shell);
}
