/* SPDX-License-Identifier: Apache-2.0
 *
 * Verdict and findings of the page, through the two faces that `seep leaks` has, so that the words are the same: the text as it
 * is for those without scripts, and each finding as JSON with the line that sums it up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/model/trend.h"
#include "analyzer/report/html.h"
#include "analyzer/report/report.h"

/* A face of the emitter that ends in memory. */
struct face {
    struct emit e;
    char *text;
    size_t len;
};

static bool face_open(struct face *f, bool json)
{
    *f = (struct face){0};
    FILE *out = open_memstream(&f->text, &f->len);
    if (!out) return false;
    emit_init(&f->e, out, json);
    f->e.color = false;
    return true;
}

static void face_close(struct face *f, struct buf *out)
{
    fclose(f->e.out);
    buf_add(out, f->text, f->len);
    free(f->text);
}

static void lines_json(struct buf *out, const char *key, const struct buf *text)
{
    const char *sep = "";
    buf_printf(out, ",\"%s\":[", key);
    for (size_t from = 0; from < text->len;) {
        size_t n = strcspn(text->data + from, "\n");
        char *line = strndup(text->data + from, n);
        buf_puts(out, sep);
        buf_json(out, line ? line : "");
        free(line);
        sep = ",";
        from += n + 1;
    }
    buf_puts(out, "]");
}

static void snapshots_text(const struct html_input *in, struct buf *out)
{
    struct face f;
    if (!face_open(&f, false)) return;
    report_snapshots(&f.e, in->r, in->snaps, in->nsnaps);
    face_close(&f, out);
}

/* The lines of the text face, "    label    words", but for those that the page draws from the stacks. Appends [["label","words"],…]. */
static void told(const struct html_input *in, const struct finding *x, struct buf *out)
{
    static const char drawn[] = " alloc waits created stack ";
    enum { INDENT = 4, LABEL = 8 };
    struct face f;
    struct buf text = {0};
    const char *sep = "";
    if (!face_open(&f, false)) return;
    report_findings(&f.e, in->r, x, 1, 0, true);
    face_close(&f, &text);
    buf_puts(out, "[");
    for (char *line = text.data, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        char label[LABEL + 3];
        size_t n = LABEL;
        if (strspn(line, " ") != INDENT || strlen(line) <= INDENT + LABEL) continue;
        while (n > 0 && line[INDENT + n - 1] == ' ') n--;
        snprintf(label, sizeof label, " %.*s ", (int)n, line + INDENT);
        const char *words = line + INDENT + LABEL;
        if (strstr(drawn, label)) continue;
        label[n + 1] = 0;
        buf_printf(out, "%s[", sep);
        buf_json(out, label + 1);
        buf_puts(out, ",");
        buf_json(out, words + strspn(words, " "));
        buf_puts(out, "]");
        sep = ",";
    }
    buf_puts(out, "]");
    buf_free(&text);
}

static void finding(const struct html_input *in, const struct finding *x, struct buf *out)
{
    struct face f;
    if (!face_open(&f, true)) return;
    emit_object(&f.e, NULL);
    emit_str(&f.e, "amount", report_amount(in->r, x));
    emit_bool(&f.e, "tasks", rule_is_about_tasks(x->rule));
    emit_int(&f.e, "process_id", x->snapshot->process->id);
    struct buf lines = {0};
    told(in, x, &lines);
    emit_raw(&f.e, "lines", lines.data ? lines.data : "[]");
    buf_free(&lines);
    struct site created = x->create_stack ? stack_site(in->r, x->create_stack) : (struct site){0};
    emit_object(&f.e, "created_site");
    report_site_json(&f.e, &created);
    emit_end(&f.e);
    report_findings(&f.e, in->r, x, 1, 0, true);
    emit_end(&f.e);
    face_close(&f, out);
}

void html_findings(const struct html_input *in, struct buf *out, struct buf *text)
{
    struct finding *list = NULL;
    struct finding_counts counts;
    struct buf about = {0};
    struct face f;
    size_t n = findings_all(in->r, in->snaps, in->nsnaps, &list);
    size_t shown = in->limit && (size_t)in->limit < n ? (size_t)in->limit : n;
    report_count(list, n, 0, &counts);
    struct verdict v = report_verdict(in->r, &counts, in->snaps, in->nsnaps);
    snapshots_text(in, &about);
    buf_printf(out, ",\"verdict\":\"%s\",\"counts\":", v.name);
    buf_json(out, v.words);
    lines_json(out, "about", &about);
    buf_printf(out, ",\"findings_total\":%zu,\"findings\":[", n);
    for (size_t i = 0; i < shown; i++) {
        if (i) buf_puts(out, ",");
        finding(in, &list[i], out);
    }
    buf_puts(out, "]");

    buf_printf(text, "%s  %s\n%.*s", v.name, v.words, (int)about.len, about.data ? about.data : "");
    if (face_open(&f, false)) {
        report_findings(&f.e, in->r, list, n, in->limit, false);
        report_symbols(&f.e, in->r);
        face_close(&f, text);
    }
    struct buf notes = {0};
    if (face_open(&f, false)) {
        report_symbols(&f.e, in->r);
        face_close(&f, &notes);
    }
    lines_json(out, "notes", &notes);
    buf_free(&notes);
    buf_free(&about);
    free(list);
}
