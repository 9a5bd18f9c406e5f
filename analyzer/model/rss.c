/* SPDX-License-Identifier: Apache-2.0
 *
 * Resident memory by kind. Invariant: the kinds add up to the kernel's figure (stat "rss"); where the parts do not, the difference is
 * a kind of its own and is shown. */
#include "analyzer/model/rss.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/contract/stack_key.h"

const struct rss_words rss_words[RSS_KINDS] = {
    [RSS_BLOCKS] = {"blocks", "allocated blocks", "in use", "what the program allocated and has not freed",
                    "seep top, seep leaks"},
    [RSS_HOLES] = {"holes", "holes between blocks", "not a leak",
                   "fragmentation: a page stays as long as one block on it lives",
                   "keep short-lived and long-lived blocks apart"},
    [RSS_IDLE] = {"idle", "idle heap", "not a leak", "freed, and kept up to the retained goal for the next allocations",
                  "malloc_trim(0), or SEEP_MEMLIMIT"},
    [RSS_LAZY] = {"lazy", "lazily freed heap", "not a leak",
                  "given back by MADV_FREE: the kernel counts it until it needs it",
                  "nothing; SEEP_DEBUG=madvdontneed=1 gives back at once"},
    [RSS_STACKS] = {"stacks", "stacks", "in use", "of threads and coroutines", "seep tasks"},
    [RSS_AGENT] = {"agent", "the agent", "not a leak", "tables of the heap and of the recording",
                   "a higher SEEP_RATE samples less"},
    [RSS_IMAGES] = {"images", "programs and libraries", "in use",
                    "code and data of loaded files; most is shared with other processes", "nothing"},
    [RSS_FILES] = {"files", "mapped files", "not a leak", "page cache that the kernel takes back when it needs it",
                   "unmap files that are done with"},
    [RSS_SHARED] = {"shared", "shared memory", "look", "shared mappings; they may outlive the process",
                    "see who else maps it"},
    [RSS_FOREIGN] = {"foreign", "mapped by the program itself", "look",
                     "mmap, brk or an allocator of its own: seep does not see into it",
                     "see the names; count what you map"},
    [RSS_OTHER] = {"other", "other", "look", "of a kind this seep does not know", "use a newer seep"},
    [RSS_LOST] = {"unattributed", "not attributed", "not a leak", "pages that came or went while it was read",
                  "nothing"},
};

static const struct {
    const char *part;
    enum rss_kind kind;
} kinds[] = {{"heap-in-use", RSS_BLOCKS}, {"heap-idle", RSS_IDLE}, {"heap-lazy-free", RSS_LAZY},
             {"agent", RSS_AGENT},        {"stack", RSS_STACKS},   {"image", RSS_IMAGES},
             {"file", RSS_FILES},         {"shared", RSS_SHARED},  {"anon", RSS_FOREIGN}};

static void add(struct rss *x, struct rss_part part)
{
    x->parts = xrealloc(x->parts, x->n + 1, sizeof *x->parts);
    x->parts[x->n++] = part;
    add_capped(&x->kinds[part.kind], part.rss_bytes);
}

static int by_kind(const void *a, const void *b)
{
    const struct rss_part *x = a, *y = b;
    if (x->kind != y->kind) return (int)x->kind - (int)y->kind;
    if (x->rss_bytes != y->rss_bytes) return x->rss_bytes > y->rss_bytes ? -1 : 1;
    int c = strcmp(x->part, y->part);
    return c ? c : strcmp(x->name, y->name);
}

void rss_load(struct recording *r, const struct snapshot *s, struct rss *x)
{
    static const char sql[] = "SELECT part, name, rss_bytes, lazy_free_bytes, size_bytes FROM rss WHERE snapshot = ?";
    int64_t sum = 0;
    *x = (struct rss){0};
    x->heap_alloc = stat_of(r, s, "SELECT value FROM stat WHERE snapshot = ? AND name = 'heap_alloc'");
    for (struct query *q = store_query(r->store, sql, 1, s->id); query_next(q);) {
        struct rss_part p = {.kind = RSS_OTHER,
                             .part = arena_strdup(&r->arena, query_text(q, 0, "rss.part")),
                             .name = arena_strdup(&r->arena, query_text(q, 1, "rss.name")),
                             .rss_bytes = query_count(q, 2, "rss.rss_bytes"),
                             .lazy_bytes = query_count(q, 3, "rss.lazy_free_bytes"),
                             .size_bytes = query_count(q, 4, "rss.size_bytes")};
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            if (strcmp(kinds[i].part, p.part) == 0) p.kind = kinds[i].kind;
        add_capped(&sum, p.rss_bytes);
        /* Pages of spans in use hold the blocks, and holes. */
        if (p.kind == RSS_BLOCKS && x->heap_alloc >= 0 && x->heap_alloc < p.rss_bytes) {
            struct rss_part holes = p;
            holes.kind = RSS_HOLES;
            holes.rss_bytes -= x->heap_alloc;
            holes.size_bytes = holes.rss_bytes;
            p.rss_bytes = x->heap_alloc;
            add(x, holes);
        }
        add(x, p);
    }
    x->total = stat_of(r, s, "SELECT value FROM stat WHERE snapshot = ? AND name = 'rss'");
    if (x->total < 0) x->total = sum;
    if (x->n && x->total != sum)
        add(x, (struct rss_part){.kind = RSS_LOST, .part = "", .name = "", .rss_bytes = x->total - sum});
    if (x->n) qsort(x->parts, x->n, sizeof *x->parts, by_kind);
}

void rss_free(struct rss *x)
{
    free(x->parts);
    *x = (struct rss){0};
}

int64_t rss_unreturned(const struct rss *x)
{
    int64_t sum = x->kinds[RSS_HOLES];
    add_capped(&sum, x->kinds[RSS_IDLE]);
    add_capped(&sum, x->kinds[RSS_LAZY]);
    return sum;
}

bool rss_finding(struct recording *r, struct snapshot *s, struct finding *f)
{
    struct rss x;
    rss_load(r, s, &x);
    int64_t bytes = rss_unreturned(&x), page = s->process->page_bytes > 0 ? s->process->page_bytes : 4096;
    bool much = bytes > 16 << 20 && bytes > x.total / 4;
    *f = (struct finding){.rule = "unreturned-memory",
                          .confidence = SEEP_INFO,
                          .noun = "page",
                          .snapshot = s,
                          .wait_reason = "",
                          .rows = 1};
    f->bytes = f->seen_bytes = bytes;
    f->objects = f->seen_objects = bytes / page;
    f->evidence = arena_printf(
        &r->arena, "{\"idle_bytes\":%lld,\"lazy_free_bytes\":%lld,\"hole_bytes\":%lld,\"rss_bytes\":%lld}",
        (long long)x.kinds[RSS_IDLE], (long long)x.kinds[RSS_LAZY], (long long)x.kinds[RSS_HOLES], (long long)x.total);
    uint64_t key = seep_key_string(SEEP_KEY_INIT, f->rule);
    snprintf(f->id, sizeof f->id, "%08x", (unsigned)(key ^ key >> 32));
    rss_free(&x);
    return much;
}
