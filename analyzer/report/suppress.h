/* SPDX-License-Identifier: Apache-2.0
 *
 * Suppressions: what is known and not to be told. One file may hold three forms, told apart by how a line begins:
 *
 *   leak:PATTERN             LeakSanitizer's: part of a function's, file's or module's name; * any text, ^ and $ its ends
 *   { NAME                   Memcheck's: fun: obj: src: and ... lines, matched against the stack from its leaf on
 *     Memcheck:Leak …
 *   }
 *   [ID] or [NAME]           ours: an id, or patterns that must all hold, with a reason and a last day
 *   rule = stuck-send
 *   function = fetch_*
 *   file = src/query.c
 *   module = libjob.so*
 *   why = the peer's bug 123
 *   until = 2027-01-31
 *
 * # begins a comment. The first two hide lost and growing memory only. */
#ifndef ANALYZER_REPORT_SUPPRESS_H
#define ANALYZER_REPORT_SUPPRESS_H

#include "analyzer/model/model.h"

enum suppress_kind { SUPPRESS_LSAN, SUPPRESS_MEMCHECK, SUPPRESS_OURS };

struct suppression {
    enum suppress_kind kind;
    char *name; /* the pattern, the name, or what stood in brackets */
    const char *path;
    unsigned line;
    char id[9]; /* ours: "" where it goes by patterns */
    char *rule, *function, *file, *module, *why;
    char until[11]; /* YYYY-MM-DD, the last day it holds; "" for ever */
    unsigned leaks; /* Memcheck: bits of enum leak_kind */
    char **frames;  /* Memcheck: "fun:…", "obj:…", "src:…", "..." */
    size_t nframes;
    bool expired;
    size_t used; /* findings hidden */
};
struct suppressions {
    struct suppression *items;
    size_t n;
    char **paths;
    size_t npaths;
};
/* Adds what the file holds. */
int suppress_read(const char *path, struct suppressions *out, struct err *e);
int suppress_parse(const char *path, const char *text, size_t n, struct suppressions *out, struct err *e);
/* Marks the findings that are hidden. today: YYYY-MM-DD, NULL: by the clock (UTC). */
void suppress_apply(struct recording *r, struct suppressions *s, struct finding *f, size_t n, const char *today);
void suppress_free(struct suppressions *s);
bool suppress_is_date(const char *text);
/* The text of one entry of ours. Line ends in why become blanks. */
void suppress_write(struct buf *b, const char *id, const char *rule, const char *site, const char *why,
                    const char *until);

#endif
