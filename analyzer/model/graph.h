/* SPDX-License-Identifier: Apache-2.0
 *
 * Stacks as graphs of lines or functions, with pprof's words: flat is what a place allocated itself (or through library functions it
 * called), cum what it and everything it called did. Which stacks and frames count is a filter's. */
#ifndef ANALYZER_MODEL_GRAPH_H
#define ANALYZER_MODEL_GRAPH_H

#include "analyzer/model/model.h"

/* Stacks with focus and without ignore in some frame; of their frames those with show and without hide. A frame matches by function, file
 * or module. POSIX extended regular expressions. */
struct filter;
enum filter_kind { FILTER_FOCUS, FILTER_IGNORE, FILTER_HIDE, FILTER_SHOW, FILTER_KINDS };
/* Filters live until the program ends. Adds one; a second of the same kind replaces the first. 0, or *e set with EXIT_USAGE. */
int filter_set(struct filter **f, enum filter_kind kind, const char *regex, struct err *e);
bool filter_keeps(struct recording *r, struct filter *f, struct stack *s); /* f NULL: all; s NULL: none of focus */
/* Drops the rows of stacks that do not count, and sums anew. */
void heap_filter(struct recording *r, struct heap *h, struct filter *f);

/* The lines of a stack that count, leaf first, from the first line of the user's own code on. Valid until the next call. */
size_t stack_path(struct recording *r, struct filter *f, struct stack *s, const struct site **lines);

/* Keeps the findings one of whose stacks counts; returns how many. */
size_t findings_filter(struct recording *r, struct filter *f, struct finding *list, size_t n);

enum graph_level { GRAPH_LINES, GRAPH_FUNCTIONS };
struct graph_node {
    uint64_t key;
    struct site site;
    struct figure flat[FIG_COUNT], cum[FIG_COUNT];
};
uint64_t graph_key(const struct site *s, enum graph_level level);
/* In the order they were met. *out is to be freed. */
size_t graph_nodes(struct recording *r, const struct heap *h, struct filter *f, enum graph_level level,
                   struct graph_node **out);

/* Calls between functions. */
struct graph_edge {
    uint64_t caller, callee; /* graph_key */
    int64_t weight;
};
size_t graph_edges(struct recording *r, const struct heap *h, struct filter *f, int fig, struct graph_edge **out);

/* The tree of calls from the outermost function on. parent is an index; the first node stands for all. */
struct tree_node {
    struct site site;
    size_t parent, depth;
    int64_t flat, cum;
};
/* Parents before children, siblings by cum. */
size_t graph_tree(struct recording *r, const struct heap *h, struct filter *f, int fig, struct tree_node **out);

#endif
