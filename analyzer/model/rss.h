/* SPDX-License-Identifier: Apache-2.0
 *
 * Resident memory, each byte under one heading that a person can act on. */
#ifndef ANALYZER_MODEL_RSS_H
#define ANALYZER_MODEL_RSS_H

#include "analyzer/model/model.h"

enum rss_kind {
    RSS_BLOCKS, /* the program's allocated blocks */
    RSS_HOLES,  /* the rest of the pages they stand on */
    RSS_IDLE,
    RSS_LAZY,
    RSS_STACKS,
    RSS_AGENT,
    RSS_IMAGES,
    RSS_FILES,
    RSS_SHARED,
    RSS_FOREIGN, /* mapped by the program itself, or by an allocator of its own */
    RSS_OTHER,   /* parts that a newer agent knows */
    RSS_LOST,    /* what the kernel counts and no part holds: pages that came or went between the two readings */
    RSS_KINDS
};
/* What a kind is, whether it is memory in use ("in use"), no leak ("not a leak") or worth a look ("look"), why, and what to do. */
struct rss_words {
    const char *key, *name, *verdict, *why, *todo;
};
extern const struct rss_words rss_words[RSS_KINDS];

struct rss_part {
    enum rss_kind kind;
    const char *part, *name; /* as recorded */
    int64_t rss_bytes, lazy_bytes, size_bytes;
};
struct rss {
    struct rss_part *parts; /* as recorded, by kind, then size; heap-in-use is two: blocks and holes */
    size_t n;
    int64_t kinds[RSS_KINDS], total, heap_alloc; /* total: the kernel's figure, and the sum of kinds */
};
void rss_load(struct recording *r, const struct snapshot *s, struct rss *out);
void rss_free(struct rss *x);
/* Bytes that no block uses. */
int64_t rss_unreturned(const struct rss *x);
/* unreturned-memory, where there is much of it. False: there is not. */
bool rss_finding(struct recording *r, struct snapshot *s, struct finding *out);

#endif
