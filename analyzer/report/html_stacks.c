/* SPDX-License-Identifier: Apache-2.0
 *
 * The call tree of the page and, on its leaves, what every snapshot measured: the data of the flame graphs and of their differences.
 *
 *   choose   stacks are ranked by their greatest share of any total, over all snapshots or 64 of them evenly spread
 *   tree     the chosen ones become paths of one tree of functions, outermost first; stacks that only differ by line
 *            are one leaf ("site")
 *   measure  each snapshot is read once; a site keeps only its changes: (snapshots since the last change, change)
 *   cut      when the changes exceed the budget, the lowest ranked sites go
 * What is not chosen or cut is told by the totals of each snapshot, which are of all stacks: the page shows the rest as a box.
 * The set is the same for all snapshots, so that a difference of two never shows a stack as new that was only left out.
 *
 * Packed: nodes (id - parent, function), sites (node), and per metric and site a count of changes, then the changes. Rows are scaled
 * one by one as everywhere (scale.c), so totals are those of `seep top`. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/contract/stack_key.h"
#include "analyzer/report/html.h"

enum { INUSE, INUSE_OBJECTS, ALLOC, UNREACHABLE, TASKS, CREATED, METRICS };
static const struct {
    const char *name, *unit;
} metrics[METRICS] = {
    {"inuse_space", "bytes"},       {"inuse_objects", "count"}, {"alloc_space", "bytes"},
    {"unreachable_space", "bytes"}, {"tasks", "count"},         {"tasks_created", "count"},
};
enum { MAX_STACKS = 20000, RANKED_SNAPSHOTS = 64, BUDGET_BYTES = 6 << 20, MEMORY_BYTES = 64 << 20 };
static const int64_t MOST = INT64_C(1) << 53; /* what JavaScript counts exactly */

struct ranked {
    int64_t stack;
    double share;
    int64_t now[METRICS]; /* of the snapshot that is being ranked */
};
struct site_data {
    uint32_t node;
    uint32_t since[METRICS]; /* snapshot of the last change */
    uint32_t changes[METRICS];
    int64_t now[METRICS], last[METRICS];
    struct buf packed[METRICS];
};
struct tree {
    const struct html_input *in;
    struct recording *r;
    struct arena arena;
    struct map ranks;    /* stack id + 1 → index + 1 */
    struct ranked *list; /* then sorted by share */
    size_t nlist, caplist;
    struct map of_stack; /* stack id + 1 → site index + 1 */
    struct site_data *sites;
    size_t nsites, cut; /* sites from cut on are left out */
    size_t packed_bytes;
    struct map children; /* hash of (parent, function) → node; node_parent and node_function tell collisions apart */
    uint32_t *node_parent, *node_function;
    size_t nnodes, capnodes;
    struct map functions; /* hash of (name, module, file) → index + 1 */
    struct buf function_json;
    size_t nfunctions;
    struct map strings; /* hash → index + 1 */
    struct buf string_json;
    size_t nstrings;
    int64_t total[METRICS];   /* of the snapshot that is being measured */
    int64_t *totals[METRICS]; /* of each snapshot */
};

static int64_t sum(int64_t a, int64_t b)
{
    add_capped(&a, b);
    return a > MOST ? MOST : a;
}

/* ---- reading: one snapshot's rows, each told to a function */
typedef void row_fn(struct tree *t, int64_t stack, const int64_t value[METRICS]);

static int64_t positive(int64_t a, int64_t b)
{
    return a > b ? a - b : 0;
}

static void read_snapshot(struct tree *t, const struct snapshot *s, row_fn *told)
{
    static const char heap_sql[] =
        "SELECT stack, size_bytes, allocs, alloc_bytes, frees, free_bytes, unreachable, unreachable_bytes "
        "FROM heap WHERE snapshot = ? ORDER BY stack, size_bytes";
    static const char task_sql[] = "SELECT ifnull(stack, 0), count(*) FROM task WHERE snapshot = ? GROUP BY 1";
    static const char create_sql[] =
        "SELECT create_stack, count(*) FROM task WHERE snapshot = ? AND create_stack IS NOT NULL GROUP BY 1";
    struct store *store = t->r->store;
    int64_t value[METRICS] = {0};
    for (struct query *q = store_query(store, heap_sql, 1, s->id); query_next(q);) {
        int64_t v[8];
        for (int c = 0; c < 8; c++) v[c] = query_count(q, c, "a figure of heap");
        struct figure alloc = scale_row(v[2], v[3], v[1], s->rate_bytes);
        struct figure inuse = scale_row(positive(v[2], v[4]), positive(v[3], v[5]), v[1], s->rate_bytes);
        struct figure lost = scale_row(v[6], v[7], v[1], s->rate_bytes);
        value[INUSE] = inuse.bytes;
        value[INUSE_OBJECTS] = inuse.objects;
        value[ALLOC] = alloc.bytes;
        value[UNREACHABLE] = lost.bytes;
        told(t, v[0], value);
    }
    memset(value, 0, sizeof value);
    for (struct query *q = store_query(store, task_sql, 1, s->id); query_next(q);) {
        value[TASKS] = query_count(q, 1, "a count");
        told(t, query_count(q, 0, "task.stack"), value);
    }
    memset(value, 0, sizeof value);
    for (struct query *q = store_query(store, create_sql, 1, s->id); query_next(q);) {
        value[CREATED] = query_count(q, 1, "a count");
        told(t, query_count(q, 0, "task.create_stack"), value);
    }
}

/* ---- choose */
static void rank_row(struct tree *t, int64_t stack, const int64_t value[METRICS])
{
    size_t at = (size_t)(uintptr_t)map_get(&t->ranks, (uint64_t)stack + 1);
    if (at == 0) {
        if (t->nlist == t->caplist) t->list = xrealloc(t->list, t->caplist = t->caplist * 2 + 256, sizeof *t->list);
        t->list[t->nlist++] = (struct ranked){.stack = stack};
        at = t->nlist;
        map_put(&t->ranks, (uint64_t)stack + 1, (void *)(uintptr_t)at);
    }
    int64_t *now = t->list[at - 1].now;
    for (int m = 0; m < METRICS; m++) now[m] = sum(now[m], value[m]);
}

static void rank_snapshot(struct tree *t, const struct snapshot *s)
{
    double total[METRICS] = {0};
    read_snapshot(t, s, rank_row);
    for (size_t i = 0; i < t->nlist; i++)
        for (int m = 0; m < METRICS; m++) total[m] += (double)t->list[i].now[m];
    for (size_t i = 0; i < t->nlist; i++) {
        struct ranked *x = &t->list[i];
        for (int m = 0; m < METRICS; m++)
            if (x->now[m] && (double)x->now[m] / total[m] > x->share) x->share = (double)x->now[m] / total[m];
        memset(x->now, 0, sizeof x->now);
    }
}

static int by_share(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->share != y->share) return x->share > y->share ? -1 : 1;
    return x->stack < y->stack ? -1 : x->stack > y->stack;
}

static void choose(struct tree *t)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < t->r->nsnapshots; i++) n += html_has(t->in, &t->r->snapshots[i]);
    for (size_t i = 0; i < t->r->nsnapshots; i++) {
        const struct snapshot *s = &t->r->snapshots[i];
        if (!html_has(t->in, s)) continue;
        /* Every one, or those where the evenly spread count goes up. */
        size_t k = at++;
        bool spread = n <= RANKED_SNAPSHOTS || k * RANKED_SNAPSHOTS / n != (k + 1) * RANKED_SNAPSHOTS / n;
        progress_step("ranking stacks", k, n);
        if (spread || s == t->in->shown || s == t->in->base) rank_snapshot(t, s);
    }
    if (t->nlist) qsort(t->list, t->nlist, sizeof *t->list, by_share);
}

/* ---- tree */
static uint32_t string_index(struct tree *t, const char *s)
{
    uint64_t key = seep_key_string(SEEP_KEY_INIT, s);
    size_t at = (size_t)(uintptr_t)map_get(&t->strings, key);
    if (at == 0) {
        struct buf clean = {0};
        buf_escape(&clean, s, strlen(s));
        if (t->nstrings) buf_puts(&t->string_json, ",");
        buf_json(&t->string_json, clean.data ? clean.data : "");
        buf_free(&clean);
        at = ++t->nstrings;
        map_put(&t->strings, key, (void *)(uintptr_t)at);
    }
    return (uint32_t)at - 1;
}

static uint32_t function_index(struct tree *t, const struct site *site)
{
    uint32_t module = string_index(t, site->image ? site->image->name : "");
    const char *name = site->function ? site->function : site_function(&t->arena, site), *file = site->file;
    size_t dir = site->comp_dir ? strlen(site->comp_dir) : 0;
    if (file && dir && strncmp(file, site->comp_dir, dir) == 0 && file[dir] == '/') file += dir + 1;
    uint32_t words[3] = {string_index(t, name), module, string_index(t, file ? file : "")};
    uint64_t key = SEEP_KEY_INIT;
    for (int i = 0; i < 3; i++) key = seep_key_u64(key, words[i]);
    size_t at = (size_t)(uintptr_t)map_get(&t->functions, key);
    if (at == 0) {
        buf_printf(&t->function_json, "%s[%u,%u,%u,%d]", t->nfunctions ? "," : "", words[0], words[1], words[2],
                   site_is_user(site));
        at = ++t->nfunctions;
        map_put(&t->functions, key, (void *)(uintptr_t)at);
    }
    return (uint32_t)at - 1;
}

/* Node 0 is the root. */
static uint32_t child(struct tree *t, uint32_t parent, uint32_t function)
{
    uint64_t key = seep_key_u64(seep_key_u64(SEEP_KEY_INIT, parent), function);
    uintptr_t at;
    while ((at = (uintptr_t)map_get(&t->children, key)) != 0) {
        if (t->node_parent[at] == parent && t->node_function[at] == function) return (uint32_t)at;
        key++;
    }
    if (t->nnodes == t->capnodes) {
        t->capnodes = t->capnodes * 2 + 1024;
        t->node_parent = xrealloc(t->node_parent, t->capnodes, sizeof *t->node_parent);
        t->node_function = xrealloc(t->node_function, t->capnodes, sizeof *t->node_function);
    }
    if (t->nnodes == 0) t->nnodes = 1;
    at = t->nnodes++;
    t->node_parent[at] = parent;
    t->node_function[at] = function;
    map_put(&t->children, key, (void *)at);
    return (uint32_t)at;
}

static uint32_t path_of(struct tree *t, struct stack *s)
{
    uint32_t node = 0;
    for (unsigned i = s->n; i-- > 0;) {
        const struct frame *f = frame_resolve(t->r, s->frames[i]);
        for (unsigned j = f->nlines ? f->nlines : 1; j-- > 0;) {
            struct site site = frame_site(f, j);
            node = child(t, node, function_index(t, &site));
        }
    }
    return node ? node : child(t, 0, function_index(t, &(struct site){.function = "(no stack)"}));
}

static void grow_tree(struct tree *t)
{
    struct map of_node = {0};
    size_t n = t->nlist < MAX_STACKS ? t->nlist : MAX_STACKS;
    t->sites = xcalloc(n + 1, sizeof *t->sites);
    for (size_t i = 0; i < n; i++) {
        uint32_t node = path_of(t, recording_stack(t->r, t->list[i].stack));
        size_t at = (size_t)(uintptr_t)map_get(&of_node, node);
        if (at == 0) {
            t->sites[t->nsites++].node = node;
            at = t->nsites;
            map_put(&of_node, node, (void *)(uintptr_t)at);
        }
        map_put(&t->of_stack, (uint64_t)t->list[i].stack + 1, (void *)(uintptr_t)at);
    }
    t->cut = t->nsites;
    map_free(&of_node);
}

/* ---- measure and cut */
static void measure_row(struct tree *t, int64_t stack, const int64_t value[METRICS])
{
    for (int m = 0; m < METRICS; m++) t->total[m] = sum(t->total[m], value[m]);
    size_t at = (size_t)(uintptr_t)map_get(&t->of_stack, (uint64_t)stack + 1);
    if (at == 0 || at > t->cut) return;
    int64_t *now = t->sites[at - 1].now;
    for (int m = 0; m < METRICS; m++) now[m] = sum(now[m], value[m]);
}

static void cut_to(struct tree *t, size_t bytes)
{
    while (t->packed_bytes > bytes && t->cut > 0) {
        struct site_data *s = &t->sites[--t->cut];
        for (int m = 0; m < METRICS; m++) {
            t->packed_bytes -= s->packed[m].len;
            buf_free(&s->packed[m]);
        }
    }
}

static void measure(struct tree *t, const struct snapshot *s, uint32_t at)
{
    memset(t->total, 0, sizeof t->total);
    read_snapshot(t, s, measure_row);
    for (int m = 0; m < METRICS; m++) t->totals[m][at] = t->total[m];
    for (size_t i = 0; i < t->cut; i++) {
        struct site_data *x = &t->sites[i];
        for (int m = 0; m < METRICS; m++) {
            if (x->now[m] == x->last[m]) continue;
            size_t before = x->packed[m].len;
            pack_uint(&x->packed[m], at - x->since[m]);
            pack_int(&x->packed[m], x->now[m] - x->last[m]);
            t->packed_bytes += x->packed[m].len - before;
            x->since[m] = at;
            x->last[m] = x->now[m];
            x->changes[m]++;
        }
        memset(x->now, 0, sizeof x->now);
    }
    if (t->packed_bytes > MEMORY_BYTES) cut_to(t, MEMORY_BYTES / 2);
}

/* ---- out */
static void put_metric(struct tree *t, struct buf *out, int m, size_t nsnapshots)
{
    struct buf packed = {0};
    buf_printf(out, "%s{\"name\":\"%s\",\"unit\":\"%s\",\"totals\":[", m ? "," : "", metrics[m].name, metrics[m].unit);
    for (size_t i = 0; i < nsnapshots; i++) buf_printf(out, i ? ",%" PRId64 : "%" PRId64, t->totals[m][i]);
    buf_puts(out, "]");
    for (size_t i = 0; i < t->cut; i++) {
        pack_uint(&packed, t->sites[i].changes[m]);
        if (t->sites[i].packed[m].len) buf_add(&packed, t->sites[i].packed[m].data, t->sites[i].packed[m].len);
    }
    pack_json(out, "changes", &packed);
    buf_puts(out, "}");
    buf_free(&packed);
}

static void put_tree(struct tree *t, struct buf *out, size_t nsnapshots)
{
    struct buf nodes = {0}, sites = {0};
    buf_printf(out, ",\"strings\":[%s],\"functions\":[%s]", t->string_json.data ? t->string_json.data : "",
               t->function_json.data ? t->function_json.data : "");
    for (size_t i = 1; i < t->nnodes; i++) {
        pack_uint(&nodes, i - t->node_parent[i]);
        pack_uint(&nodes, t->node_function[i]);
    }
    for (size_t i = 0; i < t->cut; i++) pack_uint(&sites, t->sites[i].node);
    pack_json(out, "nodes", &nodes);
    pack_json(out, "sites", &sites);
    buf_printf(out, ",\"stacks\":%zu,\"metrics\":[", t->nlist);
    for (int m = 0; m < METRICS; m++) put_metric(t, out, m, nsnapshots);
    buf_puts(out, "]");
    buf_free(&nodes);
    buf_free(&sites);
}

void html_stacks(const struct html_input *in, struct buf *out)
{
    struct tree t = {.in = in, .r = in->r};
    size_t n = 0;
    choose(&t);
    grow_tree(&t);
    for (int m = 0; m < METRICS; m++) t.totals[m] = xcalloc(in->r->nsnapshots + 1, sizeof *t.totals[m]);
    for (size_t i = 0; i < in->r->nsnapshots; i++) {
        progress_step("reading snapshots", i, in->r->nsnapshots);
        if (html_has(in, &in->r->snapshots[i])) measure(&t, &in->r->snapshots[i], (uint32_t)n++);
    }
    progress_end();
    cut_to(&t, BUDGET_BYTES);
    put_tree(&t, out, n);

    for (size_t i = 0; i < t.nsites; i++)
        for (int m = 0; m < METRICS; m++) buf_free(&t.sites[i].packed[m]);
    for (int m = 0; m < METRICS; m++) free(t.totals[m]);
    free(t.sites);
    free(t.list);
    free(t.node_parent);
    free(t.node_function);
    map_free(&t.ranks);
    map_free(&t.of_stack);
    map_free(&t.children);
    map_free(&t.functions);
    map_free(&t.strings);
    buf_free(&t.function_json);
    buf_free(&t.string_json);
    arena_free(&t.arena);
}
