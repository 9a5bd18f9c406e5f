/* SPDX-License-Identifier: Apache-2.0
 *
 * JUnit XML as CI servers read it: one test case that says whether the gate could judge, and one for each finding: failed by the
 * policy, skipped when it is known, suppressed or not counted, passed when the policy tolerates it.
 *
 * Invariant: what comes from outside is escaped for terminals first and for XML then, so no character that XML 1.0 forbids is left. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/report/ci.h"

static void xml(struct buf *b, const char *s)
{
    struct buf safe = {0};
    /* Line ends stay: the text of a finding has lines. */
    for (const char *p = s; *p;) {
        size_t n = strcspn(p, "\n");
        buf_escape(&safe, p, n);
        if (p[n]) buf_puts(&safe, "\n");
        p += n + (p[n] != 0);
    }
    for (size_t i = 0; i < safe.len; i++) {
        char c = safe.data[i];
        if (c == '&')
            buf_puts(b, "&amp;");
        else if (c == '<')
            buf_puts(b, "&lt;");
        else if (c == '>')
            buf_puts(b, "&gt;");
        else if (c == '"')
            buf_puts(b, "&quot;");
        else
            buf_add(b, &c, 1);
    }
    buf_free(&safe);
}

static void attr(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, " %s=\"", name);
    xml(b, value);
    buf_puts(b, "\"");
}

static bool counted(const struct gate_result *g, const struct finding *f)
{
    return !f->known && (g->fail_mask & 1u << f->confidence);
}

static void body(struct buf *b, const struct gate_result *g, const struct finding *f)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (!out) return;
    struct emit e;
    emit_init(&e, out, false);
    report_finding(&e, g->r, f, true);
    fclose(out);
    xml(b, text + strspn(text, "\n"));
    free(text);
}

static void test_case(struct buf *b, const struct gate_result *g, const struct finding *f)
{
    struct recording *r = g->r;
    struct site site = finding_site(r, f);
    buf_puts(b, "    <testcase");
    attr(b, "classname", arena_printf(&r->arena, "seep.%s", f->rule));
    attr(b, "name",
         arena_printf(&r->arena, "[%s] %s %s", f->id, site_function(&r->arena, &site), site_place(&r->arena, &site)));
    if (site.file) attr(b, "file", site.file);
    if (site.line) attr(b, "line", arena_printf(&r->arena, "%u", site.line));
    buf_puts(b, ">\n      ");
    if (f->known) {
        buf_puts(b, "<skipped");
        attr(b, "message",
             f->suppressed ? arena_printf(&r->arena, "suppressed: %s", f->suppressed) : "known by the baseline");
        buf_puts(b, "/>");
    } else if (!counted(g, f)) {
        buf_puts(b, "<skipped");
        attr(b, "message", arena_printf(&r->arena, "%s: does not count by --fail-on", confidence_name(f->confidence)));
        buf_puts(b, "/>");
    } else if (g->failed) {
        buf_puts(b, "<failure");
        attr(b, "type", f->rule);
        attr(b, "message", arena_printf(&r->arena, "%s: %s", confidence_name(f->confidence), report_amount(r, f)));
        buf_puts(b, ">");
        body(b, g, f);
        buf_puts(b, "</failure>");
    } else {
        buf_puts(b, "<system-out>within what the policy tolerates\n");
        body(b, g, f);
        buf_puts(b, "</system-out>");
    }
    buf_puts(b, "\n    </testcase>\n");
}

void junit_write(const struct gate_result *g, struct buf *b)
{
    size_t failures = 0, skipped = 0, errors = g->problem != NULL;
    for (size_t i = 0; i < g->n; i++) {
        bool c = counted(g, &g->findings[i]);
        failures += c && g->failed;
        skipped += !c;
    }
    char counts[128];
    snprintf(counts, sizeof counts, " tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" skipped=\"%zu\"", g->n + 1,
             failures, errors, skipped);
    buf_puts(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    buf_printf(b, "<testsuites name=\"seep gate\"%s>\n  <testsuite", counts);
    attr(b, "name", g->command);
    buf_puts(b, counts);
    buf_puts(b, ">\n    <testcase classname=\"seep.gate\" name=\"the run could be judged\"");
    if (g->problem) {
        buf_puts(b, ">\n      <error");
        attr(b, "message", g->problem);
        buf_puts(b, "/>\n    </testcase>\n");
    } else {
        buf_puts(b, "/>\n");
    }
    for (size_t i = 0; i < g->n; i++) test_case(b, g, &g->findings[i]);
    buf_puts(b, "  </testsuite>\n</testsuites>\n");
}
