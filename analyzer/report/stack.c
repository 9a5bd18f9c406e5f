/* SPDX-License-Identifier: Apache-2.0
 *
 * Stacks and snapshots as text and JSON. */
#include <string.h>

#include "analyzer/report/report.h"

void report_site_json(struct emit *e, const struct site *s)
{
    if (!e->json) return;
    emit_str(e, "function", s->function);
    emit_str(e, "file", s->file);
    emit_int(e, "line", s->line);
    emit_str(e, "module", s->image ? s->image->path : NULL);
    emit_str(e, "build_id", s->image ? s->image->build_id : NULL);
    char offset[32];
    snprintf(offset, sizeof offset, "0x%llx", (unsigned long long)s->offset);
    emit_str(e, "offset", offset);
}

void report_stack_json(struct emit *e, struct recording *r, const char *key, struct stack *s)
{
    if (!e->json) return;
    emit_array(e, key);
    for (unsigned i = 0; s && i < s->n; i++) {
        const struct frame *f = frame_resolve(r, s->frames[i]);
        for (unsigned j = 0; j == 0 || j < f->nlines; j++) {
            struct site site = frame_site(f, j);
            emit_object(e, NULL);
            report_site_json(e, &site);
            emit_bool(e, "inlined", j + 1 < f->nlines);
            emit_end(e);
        }
    }
    emit_end(e);
}

void report_stack_text(struct emit *e, struct recording *r, const char *head, struct stack *s, unsigned max, bool full)
{
    if (e->json || !s) return;
    /* From the first of the user's lines to the last: what lies outside is the library's. */
    unsigned at = 0, first = 0, last = 0, total = 0, shown = 0;
    for (unsigned i = 0; i < s->n; i++) {
        const struct frame *f = frame_resolve(r, s->frames[i]);
        for (unsigned j = 0; j == 0 || j < f->nlines; j++, total++) {
            struct site site = frame_site(f, j);
            if (!site_is_user(&site)) continue;
            if (!last) first = total;
            last = total + 1;
        }
    }
    if (full || !last) first = 0, last = total;
    if (!full && last - first < 2) return; /* its one line is said already */
    for (unsigned i = 0; i < s->n; i++) {
        const struct frame *f = frame_resolve(r, s->frames[i]);
        for (unsigned j = 0; j == 0 || j < f->nlines; j++, at++) {
            if (at < first || at >= last || (max && !full && shown == max)) continue;
            struct site site = frame_site(f, j);
            bool named = site.function || site.file; /* else module and offset say it all */
            const char *function = site_function(&r->arena, &site);
            emit_line(e, STYLE_PLAIN, "    %-8s %-24s %s", shown++ == 0 ? head : "",
                      named ? site_place(&r->arena, &site) : function, named ? function : "");
        }
    }
    if (last - first > shown) emit_line(e, STYLE_DIM, "    %-8s … %u more, see --full", "", last - first - shown);
}

const char *report_process(struct recording *r, const struct process *p)
{
    const char *command = process_command(r, p);
    bool cut = text_width(command) > 60;
    size_t n = 0;
    for (size_t width = 0; command[n] && width < 57; n++) width += (command[n + 1] & 0xc0) != 0x80;
    return arena_printf(&r->arena, "%.*s%s [%lld]", cut ? (int)n : (int)strlen(command), command, cut ? "…" : "",
                        (long long)p->pid);
}

void report_snapshots(struct emit *e, struct recording *r, struct snapshot *const *snaps, size_t n)
{
    emit_array(e, "snapshots");
    for (size_t i = 0; i < n; i++) {
        const struct snapshot *s = snaps[i];
        emit_object(e, NULL);
        emit_int(e, "pid", s->process->pid);
        emit_str(e, "command", process_command(r, s->process));
        emit_int(e, "seq", s->seq);
        emit_str(e, "trigger", s->trigger);
        emit_str(e, "label", s->label);
        emit_int(e, "unix_ns", s->unix_ns);
        emit_int(e, "rate_bytes", s->rate_bytes);
        emit_int(e, "threads_missed", s->threads_missed);
        emit_int(e, "live_objects", s->live_objects);
        emit_int(e, "live_bytes", s->live_bytes);
        emit_int(e, "unreachable_objects", s->unreachable_objects);
        emit_int(e, "unreachable_bytes", s->unreachable_bytes);
        emit_int(e, "interior_objects", s->interior_objects);
        emit_int(e, "interior_bytes", s->interior_bytes);
        emit_end(e);
        if (i < 4 || n < 7) {
            emit_line(e, STYLE_PLAIN, "  %s  snapshot %lld (%s%s%s), %s", report_process(r, s->process),
                      (long long)s->seq, s->trigger, *s->label ? ", " : "", s->label, unit_time(s->unix_ns));
            if (strcmp(s->trigger, "import") == 0)
                emit_line(e, STYLE_PLAIN,
                          "    live %s in %s, by the profile's own estimate; it does not say what can be reached, so "
                          "nothing is proven",
                          unit_bytes(s->live_bytes), unit_plural(s->live_objects, "block"));
            else if (snapshot_is_blind(r, s))
                emit_line(e, STYLE_BAD,
                          "    not seen: it has a malloc of its own, so nothing can be said of its memory");
            else
                emit_line(e, STYLE_PLAIN, "    live %s in %s, unreachable %s in %s, exact; %s",
                          unit_bytes(s->live_bytes), unit_plural(s->live_objects, "block"),
                          unit_bytes(s->unreachable_bytes), unit_plural(s->unreachable_objects, "block"),
                          s->rate_bytes == 0 ? "no stacks: sampling was off (--rate 0)"
                          : s->rate_bytes == 1
                              ? "every allocation's stack is known"
                              : arena_printf(&r->arena, "stacks sampled every %s", unit_bytes(s->rate_bytes)));
        } else if (i == 4) {
            emit_line(e, STYLE_DIM, "  … and %zu more processes", n - 4);
        }
        if (s->threads_missed)
            emit_line(e, STYLE_BAD, "    incomplete: %s did not stop in time, so nothing is proven here",
                      unit_plural(s->threads_missed, "thread"));
    }
    emit_end(e);
}

void report_symbols(struct emit *e, struct recording *r)
{
    bool any = false;
    emit_array(e, "modules_without_symbols");
    for (size_t i = 0; i < r->images.cap; i++) {
        const struct image *im = r->images.slots[i].value;
        const char *why = im && im->symbols && !im->library && !im->named ? symbol_image_problem(im->symbols) : NULL;
        if (!why) continue;
        emit_object(e, NULL);
        emit_str(e, "module", im->path);
        emit_str(e, "build_id", im->build_id);
        emit_str(e, "why", why);
        emit_end(e);
        if (!any) emit_blank(e);
        any = true;
        emit_line(e, STYLE_DIM, "no symbols for %s: %s", im->path, why);
    }
    emit_end(e);
}
