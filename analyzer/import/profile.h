/* SPDX-License-Identifier: Apache-2.0
 *
 * Profiles of other runtimes in memory: what pprof's protobuf files and Go's goroutine dumps have in common. One profile becomes
 * one snapshot, or half of one (record.c).
 *
 * Input is not trusted. Invariants: 1. indexes are checked when they are read, so that a profile that was returned leads
 * nowhere outside itself; 2. memory is linear in the (unpacked) input, which is limited. */
#ifndef ANALYZER_IMPORT_PROFILE_H
#define ANALYZER_IMPORT_PROFILE_H

#include "analyzer/util/util.h"

struct prof_line {
    const char *function, *file; /* "": not known */
    int64_t line;
};
struct prof_location {
    uint64_t address;
    const char *module, *build_id; /* "": not known */
    struct prof_line *lines;       /* innermost first */
    size_t nlines;
};
enum prof_kind { PROF_HEAP, PROF_TASKS };
struct prof_sample {
    const struct prof_location **stack; /* leaf first */
    size_t depth;
    int64_t alloc_objects, alloc_bytes, inuse_objects, inuse_bytes, size_bytes; /* heap */
    int64_t tasks, task_id, blocked_ns;                                         /* tasks; task_id 0: not known */
    const char *state, *wait_reason;                                            /* as task.h and wait_reasons.def */
    const struct prof_location *created;                                        /* NULL: not known */
};
struct profile {
    const char *path;
    enum prof_kind kind;
    int64_t unix_ns;
    const char *main_module; /* "": not known */
    struct prof_sample *samples;
    size_t nsamples;
    struct arena arena; /* all of the above but path */
};
/* Reads a heap or goroutine profile: protobuf, gzipped or not, or the text of debug=2. */
int profile_read(const char *path, struct profile *out, struct err *e);
void profile_free(struct profile *p);

/* ---- the formats, from memory */
int profile_decode_pprof(struct profile *p, const unsigned char *data, size_t n, struct err *e);
int profile_decode_goroutines(struct profile *p, char *text, size_t n, struct err *e);
/* State and wait reason from the functions on top of a goroutine's stack, and from the reason that Go prints (NULL: none). */
void goroutine_waits(struct prof_sample *s, const char *go_reason);

/* ---- recording: profiles sorted by time; neighbours of two kinds less than MERGE_NS apart are one snapshot. */
int profiles_record(struct profile *list, size_t n, const char *path, bool force, struct err *e);

#endif
