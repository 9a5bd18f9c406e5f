/* SPDX-License-Identifier: Apache-2.0
 *
 * Verdict and findings of the page, through the two faces that `seep leaks` has, so that the words are the same: the text as it
 * is for those without scripts, and each finding as JSON with the line that sums it up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void finding(const struct html_input *in, const struct finding *x, struct buf *out)
{
    struct face f;
    if (!face_open(&f, true)) return;
    emit_object(&f.e, NULL);
    emit_str(&f.e, "amount", report_amount(in->r, x));
    emit_int(&f.e, "process_id", x->snapshot->process->id);
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
    size_t n = findings_load(in->r, in->snaps, in->nsnaps, &list);
    size_t shown = in->limit && (size_t)in->limit < n ? (size_t)in->limit : n;
    report_count(list, n, 0, &counts);
    const char *verdict = report_is_leak(&counts) ? "LEAK" : "CLEAN", *words = report_counts_text(in->r, &counts);
    snapshots_text(in, &about);
    buf_printf(out, ",\"verdict\":\"%s\",\"counts\":", verdict);
    buf_json(out, words);
    lines_json(out, "about", &about);
    buf_printf(out, ",\"findings_total\":%zu,\"findings\":[", n);
    for (size_t i = 0; i < shown; i++) {
        if (i) buf_puts(out, ",");
        finding(in, &list[i], out);
    }
    buf_puts(out, "]");

    buf_printf(text, "%s  %s\n%.*s", verdict, words, (int)about.len, about.data ? about.data : "");
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
