/* SPDX-License-Identifier: Apache-2.0
 *
 * Deferred calls, panics, and co_exit(). Model: Go's runtime/panic.go; what Go does at the return of a function is done here at the
 * return of co_call(), at the end of a co_scope, and at the end of the coroutine, since C has no other place.
 *
 *   co_panic: runs the deferred calls on top of the stack that panicked, newest first. When one of them recovers, the co_call() in which it
 *   was deferred returns false (longjmp), or the coroutine ends when it was in none. When none does: report with the stack, exit 2.
 *
 * Invariants
 *   1. The list of deferred calls is in the order of frames: those of inner co_calls come first. A call is taken out before it runs.
 *   2. Frames and records are blocks of the heap, so that arguments of deferred calls are seen by the marker, and nothing outside a
 *      stack points into it but `panic` while deferred calls of a panic run.
 *   3. A panic that began within a deferred call of another, and is recovered further out, ends both; if the other one was co_exit(), that
 *      goes on.
 * Each coroutine has its own records: no lock. */
#include "coro/defer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include "coro/include/coro.h"
#include "coro/report.h"

struct frame {
    struct frame *outer;
    uint32_t depth; /* frames outside of it, and itself */
    uint32_t base;  /* deferred calls when it began */
    jmp_buf env;
};
struct deferred {
    struct deferred *next;
    struct frame *frame; /* the innermost co_call when it was deferred; NULL: none */
    co_fn *fn;
    void *arg;
};
struct panic {
    struct panic *outer;
    void *value;
    uint32_t frame_depth; /* of the code that panicked */
    bool recovered, is_exit;
    bool own; /* co_panic()'s: reported with that word */
    char text[200];
};
struct unwinding {
    struct deferred *top;
    struct frame *frame;
    struct panic *panic; /* whose deferred calls run now */
    struct deferred *free_deferred;
    struct frame *free_frame;
    uint32_t depth; /* deferred calls */
    char text[200]; /* of the panic recovered last */
};

static void *need(size_t size)
{
    void *p = heap_alloc(size, 0, HEAP_ZERO);
    if (!p) report_fatal("no memory for a deferred call");
    return p;
}

static struct unwinding *unwinding_of(struct g *g)
{
    if (unlikely(!g->unwinding)) g->unwinding = need(sizeof *g->unwinding);
    return g->unwinding;
}

uint32_t defer_depth(const struct g *g)
{
    return g->unwinding ? g->unwinding->depth : 0;
}

/* ---- deferred calls */

CO_EXPORT void co_defer(co_fn *fn, void *arg)
{
    struct unwinding *u = unwinding_of(runtime_parker("co_defer"));
    struct deferred *d = u->free_deferred;
    if (d)
        u->free_deferred = d->next;
    else
        d = need(sizeof *d);
    *d = (struct deferred){u->top, u->frame, fn, arg};
    u->top = d;
    u->depth++;
}

/* Takes the newest one out and runs it; the coroutine may be on another thread afterwards. Returns its frame. */
static struct frame *run_top(struct unwinding *u)
{
    struct deferred *d = u->top;
    struct frame *frame = d->frame;
    co_fn *fn = d->fn;
    void *arg = d->arg;
    u->top = d->next;
    u->depth--;
    *d = (struct deferred){.next = u->free_deferred};
    u->free_deferred = d;
    fn(arg);
    return frame;
}

static void run_down_to(struct unwinding *u, uint32_t depth)
{
    while (u->depth > depth) run_top(u);
}

CO_EXPORT co_scope co_scope_begin(void)
{
    return (co_scope){unwinding_of(runtime_parker("co_scope_begin"))->depth};
}

CO_EXPORT void co_scope_end(co_scope *s)
{
    run_down_to(unwinding_of(runtime_parker("co_scope_end")), s->depth);
}

/* At the end of a coroutine. */
void defer_finish(struct g *g)
{
    struct unwinding *u = g->unwinding;
    run_down_to(u, 0);
    for (struct deferred *d; (d = u->free_deferred) != NULL; heap_free(d)) u->free_deferred = d->next;
    for (struct frame *f; (f = u->frame) != NULL; heap_free(f)) u->frame = f->outer;
    for (struct frame *f; (f = u->free_frame) != NULL; heap_free(f)) u->free_frame = f->outer;
    g->unwinding = NULL;
    heap_free(u);
}

/* ---- co_call */

static struct frame *frame_push(struct unwinding *u)
{
    struct frame *f = u->free_frame;
    if (f)
        u->free_frame = f->outer;
    else
        f = need(sizeof *f);
    f->outer = u->frame;
    f->depth = u->frame ? u->frame->depth + 1 : 1;
    f->base = u->depth;
    u->frame = f;
    return f;
}

static void frame_pop(struct unwinding *u)
{
    struct frame *f = u->frame;
    u->frame = f->outer;
    f->outer = u->free_frame;
    u->free_frame = f;
}

/* Nothing of this function is kept over the second return of _setjmp() but what it reads anew. */
CO_EXPORT __attribute__((noinline)) bool co_call(co_fn *fn, void *arg)
{
    struct frame *f = frame_push(unwinding_of(runtime_parker("co_call")));
    bool returned = _setjmp(f->env) == 0;
    if (returned) fn(arg);
    struct unwinding *u = runtime_self()->unwinding; /* u->frame is f again */
    run_down_to(u, u->frame->base);
    frame_pop(u);
    return returned;
}

/* ---- panics */

static _Noreturn void end(struct g *g)
{
    defer_finish(g);
    if (g->name && g->cls == STACK_CLASSES) exit(0); /* main() returns */
    sched_exit(g);
}

/* Panics that began within the frame at this depth or further in are over. True: one of them was co_exit(). */
static bool abandon(struct unwinding *u, uint32_t depth)
{
    bool leaving = false;
    while (u->panic && u->panic->frame_depth >= depth) {
        leaving |= u->panic->is_exit;
        u->panic = u->panic->outer;
    }
    return leaving;
}

static _Noreturn void unwind(struct g *g, struct panic *p)
{
    struct unwinding *u = g->unwinding;
    p->outer = u->panic;
    p->frame_depth = u->frame ? u->frame->depth : 0;
    u->panic = p;
    while (u->top) {
        struct frame *f = run_top(u);
        if (!p->recovered) continue;
        if (abandon(u, f ? f->depth : 0)) { /* co_exit() can't be recovered from */
            *p = (struct panic){.outer = u->panic, .frame_depth = p->frame_depth, .is_exit = true};
            u->panic = p;
            continue;
        }
        if (!f) end(context_self());
        while (u->frame != f) frame_pop(u);
        longjmp(f->env, 1);
    }
    if (p->is_exit) {
        u->panic = NULL;
        defer_finish(g);
        sched_exit(g);
    }
    struct panic_text texts[8];
    unsigned n = 0;
    for (const struct panic *o = p; o && n < 8; o = o->outer)
        if (!o->is_exit) texts[n++] = (struct panic_text){o->text, o->own};
    report_panic(texts, n);
}

static void set_text(struct panic *p, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void set_text(struct panic *p, const char *fmt, va_list ap)
{
    fmt_vstring(p->text, sizeof p->text, fmt ? fmt : "(no message)", ap);
}

CO_EXPORT void co_panic(void *value, const char *fmt, ...)
{
    struct g *g = runtime_parker("co_panic");
    unwinding_of(g);
    struct panic p = {.value = value, .own = true};
    va_list ap;
    va_start(ap, fmt);
    set_text(&p, fmt, ap);
    va_end(ap);
    unwind(g, &p);
}

_Noreturn void runtime_panic(const char *fmt, ...)
{
    struct g *g = context_self();
    struct panic p = {0};
    va_list ap;
    va_start(ap, fmt);
    set_text(&p, fmt, ap);
    va_end(ap);
    if (!g || g->is_g0 || !g->unwinding) report_panic(&(struct panic_text){p.text, false}, 1);
    unwind(g, &p);
}

CO_EXPORT void *co_recover(const char **text)
{
    struct g *g = context_self();
    struct unwinding *u = g ? g->unwinding : NULL;
    struct panic *p = u ? u->panic : NULL;
    if (text) *text = NULL;
    /* Within a co_call() that a deferred call made, there is no panic. */
    if (!p || p->recovered || p->is_exit || (u->frame ? u->frame->depth : 0) != p->frame_depth) return NULL;
    p->recovered = true;
    __builtin_memcpy(u->text, p->text, sizeof u->text);
    if (text) *text = u->text;
    return p->value ? p->value : u->text;
}

CO_EXPORT void co_exit(void)
{
    struct g *g = runtime_parker("co_exit");
    if (!g->unwinding) sched_exit(g);
    struct panic p = {.is_exit = true};
    unwind(g, &p);
}
