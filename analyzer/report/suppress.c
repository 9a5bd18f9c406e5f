/* SPDX-License-Identifier: Apache-2.0
 *
 * Which findings a suppression hides. Reading the files is suppress_read.c's.
 *
 * A Memcheck entry is matched against the stack's frames from the leaf on; its stack begins in the allocator, ours at the allocator's
 * caller, so one frame that stands for every allocation function is put before ours. "..." stands for any number of frames. */
#include "analyzer/report/suppress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "analyzer/report/suppress_internal.h"

static const char *const allocators[] = {
    "malloc",        "calloc", "realloc", "memalign", "posix_memalign",
    "aligned_alloc", "valloc", "_Znwm",   "_Znam",    "operator new(unsigned long)"};

/* The lines of a stack, inlined calls apart; line i of frame lines[i]. */
struct trail {
    const struct sym_line **lines; /* NULL: no symbols */
    const struct image **images;
    size_t n;
};

static void add_stack(struct recording *r, struct trail *t, struct stack *s)
{
    for (unsigned i = 0; s && i < s->n; i++) {
        const struct frame *f = frame_resolve(r, s->frames[i]);
        for (unsigned j = 0; j == 0 || j < f->nlines; j++) {
            if ((t->n & (t->n - 1)) == 0) {
                size_t cap = t->n ? t->n * 2 : 1;
                t->lines = xrealloc(t->lines, cap, sizeof *t->lines);
                t->images = xrealloc(t->images, cap, sizeof *t->images);
            }
            t->lines[t->n] = j < f->nlines ? &f->lines[j] : NULL;
            t->images[t->n++] = f->image;
        }
    }
}

/* LeakSanitizer's patterns match anywhere unless anchored. */
static bool part_match(const char *pattern, const char *s)
{
    struct buf b = {0};
    size_t n = strlen(pattern);
    bool head = *pattern == '^', tail = n > 0 && pattern[n - 1] == '$';
    buf_puts(&b, head ? "" : "*");
    buf_add(&b, pattern + head, n > (size_t)head + tail ? n - head - tail : 0);
    buf_puts(&b, tail ? "" : "*");
    bool yes = s && glob_match(b.data, s, false);
    buf_free(&b);
    return yes;
}

static bool lsan_match(const struct suppression *s, const struct trail *t)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct sym_line *l = t->lines[i];
        if (l && (part_match(s->name, l->function) || part_match(s->name, l->linkage) || part_match(s->name, l->file)))
            return true;
        if (t->images[i] && part_match(s->name, t->images[i]->path)) return true;
    }
    return false;
}

static bool either(const char *pattern, const char *a, const char *b)
{
    return (a && glob_match(pattern, a, true)) || (b && glob_match(pattern, b, true));
}

/* frame -1: the allocator. */
static bool frame_match(const char *pattern, const struct trail *t, long frame)
{
    const char *what = pattern + 4;
    if (frame < 0) {
        if (strncmp(pattern, "obj:", 4) == 0) return strstr(what, "vgpreload") != NULL || strcmp(what, "*") == 0;
        for (size_t i = 0; i < sizeof allocators / sizeof *allocators; i++)
            if (strncmp(pattern, "fun:", 4) == 0 && glob_match(what, allocators[i], true)) return true;
        return false;
    }
    const struct sym_line *l = t->lines[frame];
    const struct image *im = t->images[frame];
    if (strncmp(pattern, "obj:", 4) == 0) return im && glob_match(what, im->path, true);
    if (strncmp(pattern, "fun:", 4) == 0) return l && either(what, l->linkage, l->function);
    /* src:FILE or src:FILE:LINE */
    if (!l || !l->file) return false;
    char line[32];
    const char *colon = strrchr(what, ':');
    bool numbered = colon && colon[1] && strspn(colon + 1, "0123456789") == strlen(colon + 1);
    char *file = xstrdup(what);
    if (numbered) file[colon - what] = 0;
    snprintf(line, sizeof line, "%u", l->line);
    bool yes = either(file, l->file, path_base(l->file)) && (!numbered || strcmp(colon + 1, line) == 0);
    free(file);
    return yes;
}

/* Does the whole pattern match the first frames from `first` on? at[j]: frames up to j can be used up by the pattern so far. */
static bool frames_match(const struct suppression *s, const struct trail *t, long first)
{
    size_t n = t->n + (size_t)-first;
    bool *at = xcalloc(n + 1, sizeof *at), any = false;
    at[0] = true;
    for (size_t p = 0; p < s->nframes; p++) {
        if (strcmp(s->frames[p], "...") == 0) {
            for (size_t j = 1; j <= n; j++) at[j] = at[j] || at[j - 1];
            continue;
        }
        for (size_t j = n; j > 0; j--) at[j] = at[j - 1] && frame_match(s->frames[p], t, (long)(j - 1) + first);
        at[0] = false;
    }
    for (size_t j = 0; j <= n; j++) any = any || at[j];
    free(at);
    return any;
}

static bool memcheck_match(const struct suppression *s, const struct finding *f, const struct trail *t)
{
    unsigned kind = LEAK_REACHABLE;
    if (strcmp(f->rule, "unreachable-memory") == 0)
        kind = f->indirect && !f->direct ? LEAK_INDIRECT : LEAK_DEFINITE;
    else if (strcmp(f->rule, "unreachable-interior") == 0)
        kind = LEAK_POSSIBLE;
    return (s->leaks & kind) && (frames_match(s, t, -1) || frames_match(s, t, 0));
}

static bool ours_match(struct recording *r, const struct suppression *s, const struct finding *f, const struct trail *t)
{
    if (*s->id && strcmp(s->id, f->id) != 0) return false;
    if (s->rule && !glob_match(s->rule, f->rule, true)) return false;
    if (!s->function && !s->file && !s->module) return true;
    for (size_t i = 0; i < t->n; i++) {
        const struct sym_line *l = t->lines[i];
        const struct image *im = t->images[i];
        struct site site = {.image = im};
        if (l) site.file = l->file, site.comp_dir = l->comp_dir;
        if (s->function && !(l && either(s->function, l->function, l->linkage))) continue;
        if (s->file && !(site.file && either(s->file, site.file, site_place(&r->arena, &site)))) continue;
        if (s->module && !(im && either(s->module, im->name, im->path))) continue;
        return true;
    }
    return false;
}

static const char *reason(struct recording *r, const struct suppression *s)
{
    if (s->why && *s->why) return arena_strdup(&r->arena, s->why);
    return arena_printf(&r->arena, "%s%s (%s:%u)", s->kind == SUPPRESS_LSAN ? "leak:" : "", s->name, path_base(s->path),
                        s->line);
}

void suppress_apply(struct recording *r, struct suppressions *all, struct finding *f, size_t n, const char *today)
{
    char now[16];
    time_t t = time(NULL);
    struct tm tm;
    if (!today && gmtime_r(&t, &tm) && strftime(now, sizeof now, "%Y-%m-%d", &tm)) today = now;
    for (size_t k = 0; k < all->n; k++)
        all->items[k].expired = *all->items[k].until && strcmp(today ? today : "9999-99-99", all->items[k].until) > 0;
    for (size_t i = 0; i < n && all->n; i++) {
        struct trail trail = {0};
        bool memory = !f[i].tasks;
        add_stack(r, &trail, f[i].stack);
        add_stack(r, &trail, f[i].create_stack);
        for (size_t k = 0; k < all->n; k++) {
            struct suppression *s = &all->items[k];
            bool hit = s->kind == SUPPRESS_OURS       ? ours_match(r, s, &f[i], &trail)
                       : s->kind == SUPPRESS_MEMCHECK ? memory && memcheck_match(s, &f[i], &trail)
                                                      : memory && lsan_match(s, &trail);
            if (!hit) continue;
            s->used++; /* an expired one is no unused one */
            if (s->expired || f[i].suppressed) continue;
            f[i].suppressed = reason(r, s);
            f[i].known = true;
        }
        free(trail.lines);
        free(trail.images);
    }
}

void suppress_free(struct suppressions *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct suppression *x = &s->items[i];
        for (size_t j = 0; j < x->nframes; j++) free(x->frames[j]);
        free(x->frames);
        free(x->name);
        free(x->rule);
        free(x->function);
        free(x->file);
        free(x->module);
        free(x->why);
    }
    for (size_t i = 0; i < s->npaths; i++) free(s->paths[i]);
    free(s->paths);
    free(s->items);
    *s = (struct suppressions){0};
}
