/* SPDX-License-Identifier: Apache-2.0
 *
 * A recording in memory: processes and snapshots at once, stacks and frames when they are asked. Then what is
 * computed from it: scaled figures, sites, findings, differences.
 *
 * Units: bytes, nanoseconds. Figures are integers: each row of samples is scaled and rounded by scale_row() and
 * rows are then summed, so that every command and every export comes to the same total. */
#ifndef ANALYZER_MODEL_H
#define ANALYZER_MODEL_H

#include "agent/contract/contract.h"
#include "analyzer/store/store.h"
#include "analyzer/symbol/symbol.h"

/* ---- what a recording holds */
struct image {
    int64_t id;
    const char *path, *build_id;
    const char *name; /* base name without a version: libfoo.so */
    bool library;     /* of the C or C++ library, the loader or seep: never where a leak "is" */
    int64_t first_seen_ns;
    struct sym_image *symbols;
    bool named; /* some name came from beside the recording */
};

struct frame {
    int64_t id;
    const struct image *image; /* NULL: generated code */
    uint64_t offset;
    bool resolved;
    unsigned nlines;
    struct sym_line *lines; /* innermost first; none: no symbols */
};

struct stack {
    int64_t id;
    uint64_t hash;
    unsigned n;
    struct frame **frames; /* leaf first */
};

struct process {
    int64_t id, pid, ppid, start_unix_ns, start_mono_ns, page_bytes;
    const char *exe, *argv, *host, *agent_version;
    size_t nsnapshots;
};

struct snapshot {
    int64_t id, seq;
    struct process *process;
    const char *trigger, *label;
    int64_t unix_ns, mono_ns, pause_ns, mark_ns, duration_ns, rate_bytes;
    int64_t threads, threads_missed;
    int64_t live_objects, live_bytes, unreachable_objects, unreachable_bytes, interior_objects, interior_bytes;
};

struct recording {
    struct store *store;
    struct arena arena;
    struct symbolizer *symbolizer;
    struct process *processes;
    size_t nprocesses;
    struct snapshot *snapshots; /* by process, then seq */
    size_t nsnapshots;
    bool named; /* some frames came with names */
    struct map images, frames, stacks;
    struct map side; /* names beside the recording (side.h) */
};

struct recording *recording_open(const char *path, struct err *e);
void recording_close(struct recording *r);
/* The first error met while reading; asked before anything is printed. */
const struct err *recording_error(const struct recording *r);

struct stack *recording_stack(struct recording *r, int64_t id); /* 0 and damaged: an empty stack */
struct frame *recording_frame(struct recording *r, int64_t id);
const struct image *recording_image(struct recording *r, int64_t id);
/* Symbols of a frame, looked up once. */
const struct frame *frame_resolve(struct recording *r, struct frame *f);
/* The variable at an ELF address, and how far into it; NULL: not known. */
const char *recording_data_name(struct recording *r, const struct image *im, uint64_t addr, uint64_t *into);
/* A value from the table stat, by a literal of SQL that binds the snapshot; -1: there is none. */
int64_t stat_of(struct recording *r, const struct snapshot *s, const char *sql);
/* argv with spaces, in r's arena. */
const char *process_command(struct recording *r, const struct process *p);

/* ---- which snapshots are meant */
struct selector {
    const char *snapshot; /* NULL or "last", "first", a number within its process, or a label */
    int64_t pid;          /* 0: every process */
};
/* One snapshot for each process that has one so selected, oldest process first. 0 selected is an error (EXIT_INPUT). */
int select_snapshots(struct recording *r, const struct selector *sel, struct snapshot ***out, size_t *n, struct err *e);
/* Not one allocation was seen: the program has a malloc of its own, so an empty list of leaks means nothing. */
bool snapshot_is_blind(struct recording *r, const struct snapshot *s);

/* ---- sites in code */
struct site {
    const char *function; /* NULL: no symbols */
    const char *file;     /* as compiled; NULL: not known */
    const char *comp_dir;
    unsigned line;
    const struct image *image; /* NULL: generated code */
    uint64_t offset;
};
/* A site in one number: module, function and line, so that stacks of two builds meet where the code is the same. */
uint64_t site_key(const struct site *s);
/* The first line of the user's own code, before library frames; the leaf where there is none. */
struct site stack_site(struct recording *r, struct stack *s);
/* Line j of frame f; lines of a frame without symbols count as one. */
struct site frame_site(const struct frame *f, unsigned j);
bool site_is_user(const struct site *s);
const char *site_function(struct arena *a, const struct site *s); /* "fetch_one()" or "libx.so+0x12f" */
const char *site_place(struct arena *a, const struct site *s);    /* "src/query.c:88" or "libx.so" */
bool module_is_library(const char *name);
bool function_is_library(const char *function);
const char *module_name(struct arena *a, const char *path); /* base name, version after .so cut */
/* Function name without what compilers append (.constprop.0, .isra.0, .cold, …). */
const char *function_stem(struct arena *a, const char *function);

/* ---- figures */
struct figure {
    int64_t objects, bytes;
    double objects_var, bytes_var; /* sampling variance; 0: exact */
};
double scale_factor(int64_t size_bytes, int64_t rate_bytes); /* 0 when rate is 0: nothing was sampled */
struct figure scale_row(int64_t objects, int64_t bytes, int64_t size_bytes, int64_t rate_bytes);
void figure_add(struct figure *sum, const struct figure *f);
void figure_sub(struct figure *sum, const struct figure *f); /* variances still add */
int64_t figure_error(double variance);                       /* standard error, rounded */

enum { FIG_INUSE, FIG_ALLOC, FIG_UNREACHABLE, FIG_INTERIOR, FIG_COUNT };

/* Rows of heap, scaled. */
struct heap_row {
    struct stack *stack;
    int64_t size_bytes;
    struct figure fig[FIG_COUNT];
};
struct heap {
    struct heap_row *rows; /* by stack, then size */
    size_t n;
    struct figure total[FIG_COUNT];
    bool sampled; /* some snapshot had a rate above 1 */
    bool blind;   /* some snapshot had rate 0: no samples were taken */
};
/* The rows of all the snapshots, rows of the same (stack, size) summed. */
void heap_load(struct recording *r, struct snapshot *const *snaps, size_t n, struct heap *out);
/* a - b by (stack, size). */
void heap_sub(struct heap *a, const struct heap *b);
void heap_free(struct heap *h);

/* Rows of one site or one stack. */
struct heap_group {
    struct stack *stack; /* the one with most bytes in use */
    struct site site;
    uint64_t key;
    struct figure fig[FIG_COUNT];
    size_t nstacks;
};
size_t heap_group(struct recording *r, const struct heap *h, bool by_stack, struct heap_group **out);

/* ---- tasks */
struct task_group {
    const char *provider, *state, *wait_reason, *verdict;
    struct stack *stack, *create_stack; /* NULL: not known */
    int64_t tasks, oldest_ns, stack_bytes, live_bytes, schedules, cpu_ns, wakeable;
    const char *name; /* of the first */
};
size_t tasks_load(struct recording *r, struct snapshot *const *snaps, size_t n, struct task_group **out);

/* ---- findings */
struct finding {
    char id[9]; /* fingerprint: 8 hex digits */
    const char *rule;
    const char *noun; /* what the objects are: block, coroutine, task */
    int confidence;   /* enum seep_confidence */
    struct snapshot *snapshot;
    struct stack *stack, *create_stack; /* NULL: not known */
    const char *wait_reason;
    bool sampled;
    int64_t rows;                     /* findings of the recording that are one here */
    int64_t seen_objects, seen_bytes; /* as sampled */
    int64_t objects, bytes;           /* estimated */
    int64_t bytes_error;              /* standard error, 0: exact */
    int64_t oldest_ns;
    const char *evidence;     /* JSON object, valid */
    int64_t direct, indirect; /* of seen_objects: lost by themselves, hanging from other lost blocks; 0, 0: not told */
    bool tasks;               /* about tasks, not memory */
    bool known;               /* by the baseline or a suppression */
    const char *suppressed;   /* why, where a suppression hides it; else NULL */
};
struct finding *findings_push(struct finding **f, size_t *n); /* one more at the end, cleared */
void findings_sort(struct finding *f, size_t n);
size_t findings_load(struct recording *r, struct snapshot *const *snaps, size_t n, struct finding **out);
bool rule_is_about_tasks(const char *rule);
int rule_index(const char *rule);         /* enum seep_rule; -1: a rule this seep does not know */
const char *rule_finds(const char *rule); /* NULL: a rule this seep does not know */
const char *rule_todo(const char *rule);
int confidence_from_name(const char *name); /* -1: none of that name */
const char *confidence_name(int confidence);
void fingerprint(struct recording *r, const char *rule, const char *wait_reason, struct stack *stack,
                 struct stack *create, char id[9]);

#endif
