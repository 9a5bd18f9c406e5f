/* SPDX-License-Identifier: Apache-2.0
 *
 * A path that path.c or path_forward.c has found, as a JSON array of its steps:
 *
 *     {"at":"global","module":PATH,"offset":ELF address}   {"at":"register","thread":TID}
 *     {"at":"stack","thread":TID, …} or {"at":"task","task":ID, …}, with the place in the frame's function as a block's site
 *     {"at":"memory","address":A}   {"at":"kernel"}
 *     {"at":"itself" or "ring", …}: the block itself, or another that never can be freed, with the members of "block"
 *     {"at":"finalizers"}: the queue of those that are due
 *     {"at":"block","bytes":N,"offset":of the pointer in it,"stack":key of its allocation's (stack_key.h), "module":PATH,"site":its first address}
 *     {"at":"blocks","n":how many more stand here}
 * and of holders.c, alone: {"at":"unreached"}; {"at":"late"}: not found in time; {"at":"hidden"}: reached, and by no root that can be named */
#include "agent/snapshot/child.h"

#include <string.h>

#include "agent/util/log.h"

enum { MAX_STEPS = 12 };

static struct out {
    struct marker *m;
    char *buf;
    size_t n, size;
} O;

#define PUT(...) (O.n += fmt_string(O.buf + O.n, O.size - O.n, __VA_ARGS__))

static void begin(struct marker *m, char *buf, size_t size)
{
    O = (struct out){m, buf, 0, size};
    PUT("[");
}

static size_t end(void)
{
    PUT("]");
    return O.n;
}

static void put_text(const char *path)
{
    for (const char *p = path; *p && O.n + 2 < O.size; p++)
        O.buf[O.n++] = *p == '"' || *p == '\\' || (unsigned char)*p < ' ' || (unsigned char)*p > 126 ? '?' : *p;
    O.buf[O.n] = 0;
}

struct segment {
    uintptr_t at;
    const char *path;
};
static int segment_at(void *arg, uintptr_t lo, uintptr_t hi, const char *path)
{
    struct segment *s = arg;
    if (s->at < lo || s->at >= hi) return 0;
    s->path = path;
    return 1;
}

static void put_memory(uintptr_t at)
{
    struct segment s = {.at = at};
    modules_data(segment_at, &s);
    for (uint32_t i = 0; s.path && i < modules_count(); i++) {
        const struct prof_module *m = modules_get(i);
        if (m->unloaded || strcmp(m->path, s.path) != 0) continue;
        PUT("{\"at\":\"global\",\"module\":\"");
        put_text(m->path);
        PUT("\",\"offset\":%lu}", (unsigned long)(at - m->bias));
        return;
    }
    PUT("{\"at\":\"memory\",\"address\":%lu}", (unsigned long)at);
}

/* pc: a return address. 0: not known. */
static void put_code(uintptr_t pc, uint32_t generation)
{
    const struct prof_module *m = pc ? modules_find(pc - 1, generation) : NULL;
    if (!m) return;
    PUT(",\"module\":\"");
    put_text(m->path);
    PUT("\",\"site\":%lu", (unsigned long)(pc - m->bias));
}

static void put_block(const char *at, struct object_ref of, bool pointer, size_t offset)
{
    const uintptr_t *pcs;
    uint32_t generation, site = object_site(O.m, of);
    PUT("{\"at\":\"%s\",\"bytes\":%lu", at, (unsigned long)span_elem(&O.m->spans[of.span]));
    if (pointer) PUT(",\"offset\":%lu", (unsigned long)offset);
    if (site && stack_get(site, &pcs, &generation) > 0) {
        PUT(",\"stack\":\"%lx\"", (unsigned long)stack_key(site));
        put_code(pcs[0], generation);
    }
    PUT("}");
}

static void put_thread(const struct snapshot_job *job, const struct path_root *r)
{
    const struct stopped_thread *t = job->threads;
    while (t < job->threads + job->nthreads && (uint64_t)t->tid != r->from.id) t++;
    PUT("{\"at\":\"stack\",\"thread\":%lu", (unsigned long)r->from.id);
    if (t < job->threads + job->nthreads && t->captured)
        put_code(unwind_owner(&t->regs, t->stack_lo, t->stack_hi, NULL, r->at), modules_generation());
    PUT("}");
}

static void put_task(const struct snapshot_job *job, const struct task_rec *t, uintptr_t at)
{
    struct unwind_regs regs;
    const void *image;
    bool interrupted;
    PUT("{\"at\":\"task\",\"provider\":\"%s\",\"task\":%lu", provider_get(t->provider)->name, (unsigned long)t->id);
    if (judge_task_regs(job, t, &regs, &image, &interrupted))
        put_code(unwind_owner(&regs, t->stack_lo, t->stack_hi, image, at), modules_generation());
    PUT("}");
}

static void put_root(const struct snapshot_job *job, const struct judgement *j, const struct path_target *t,
                     const struct path_root *r)
{
    unsigned long id = (unsigned long)r->from.id;
    switch (r->from.kind) {
    case FROM_STACK: put_thread(job, r); return;
    case FROM_REGISTER: PUT("{\"at\":\"register\",\"thread\":%lu}", id); return;
    case FROM_KERNEL: PUT("{\"at\":\"kernel\"}"); return;
    case FROM_RING: /* the block is what the path leads to, or a ring keeps that */
        put_block(object_key(t->ring) == object_key(t->of[0]) ? "itself" : "ring", t->ring, true,
                  r->at - object_base(O.m, t->ring));
        return;
    case FROM_TASK: put_task(job, &j->tasks[id], r->at); return;
    case FROM_MEMORY:
    default: put_memory(r->at); return;
    }
}

void path_write(struct marker *m, const struct snapshot_job *job, const struct judgement *j,
                const struct path_target *t, const struct path_root *root, const struct path_step *steps, size_t n)
{
    size_t told = 0;
    begin(m, t->buf, t->size);
    put_root(job, j, t, root);
    for (size_t i = 0; i < n; i++) {
        bool last = i + 1 == n;
        if ((i >= MAX_STEPS || O.n + 600 >= t->size) && !last) continue;
        if (last && i > told) PUT(",{\"at\":\"blocks\",\"n\":%lu}", (unsigned long)(i - told));
        PUT(",");
        put_block("block", steps[i].o, !last, steps[i].offset);
        told++;
    }
    end();
}

size_t path_under(struct marker *m, const char *at, struct object_ref of, char *buf, size_t size)
{
    begin(m, buf, size);
    PUT("{\"at\":\"%s\"},", at);
    put_block("block", of, false, 0);
    return end();
}

size_t path_of_word(struct marker *m, uintptr_t at, char *buf, size_t size)
{
    struct object_ref o;
    begin(m, buf, size);
    if (mark_resolve(m, at, &o)) {
        PUT("{\"at\":\"live\"},");
        put_block("block", o, true, at - object_base(m, o));
    } else {
        put_memory(at);
    }
    return end();
}
