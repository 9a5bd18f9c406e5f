/* SPDX-License-Identifier: Apache-2.0
 *
 * SARIF 2.1.0 (OASIS, sarif-schema-2.1.0.json). One run; a rule object for each rule that occurs; a result for each finding with its
 * place, its stacks, a code flow (of a task from where it was created to where it waits, of kept memory the path from its root), and its
 * id as partial fingerprint, which is the same in every run, so that a service knows a finding again.
 *
 * Units: lines from 1; file names as URI references, relative where the compiler's were. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/contract/names.h"
#include "analyzer/report/ci.h"

static void text(struct emit *e, const char *key, const char *value)
{
    emit_object(e, key);
    emit_str(e, "text", value);
    emit_end(e);
}

static const char *uri(struct arena *a, const char *file)
{
    struct buf b = {0};
    if (*file == '/') buf_puts(&b, "file://");
    for (const unsigned char *p = (const unsigned char *)file; *p; p++)
        if (isalnum(*p) || strchr("/-._~", *p))
            buf_add(&b, p, 1);
        else
            buf_printf(&b, "%%%02X", *p);
    const char *s = arena_strdup(a, b.data ? b.data : "");
    buf_free(&b);
    return s;
}

static const char *relative(const struct site *s)
{
    const char *file = s->file ? s->file : s->image ? s->image->path : "unknown";
    size_t n = s->comp_dir && s->file ? strlen(s->comp_dir) : 0;
    if (n && strncmp(file, s->comp_dir, n) == 0 && file[n] == '/') file += n + 1;
    while (strncmp(file, "./", 2) == 0) file += 2;
    return file;
}

/* Members of a location object. */
static void location(struct emit *e, struct recording *r, const struct site *s, const char *message)
{
    emit_object(e, "physicalLocation");
    emit_object(e, "artifactLocation");
    emit_str(e, "uri", uri(&r->arena, relative(s)));
    emit_end(e);
    if (s->file && s->line) {
        emit_object(e, "region");
        emit_int(e, "startLine", s->line);
        emit_end(e);
    }
    emit_end(e);
    emit_array(e, "logicalLocations");
    emit_object(e, NULL);
    emit_str(e, "fullyQualifiedName", site_function(&r->arena, s));
    emit_str(e, "kind", "function");
    emit_end(e);
    emit_end(e);
    if (message) text(e, "message", message);
}

static void stack(struct emit *e, struct recording *r, const char *what, struct stack *s)
{
    if (!s || s->n == 0) return;
    emit_object(e, NULL);
    text(e, "message", what);
    emit_array(e, "frames");
    for (unsigned i = 0; i < s->n; i++) {
        const struct frame *f = frame_resolve(r, s->frames[i]);
        for (unsigned j = 0; j == 0 || j < f->nlines; j++) {
            struct site site = frame_site(f, j);
            emit_object(e, NULL);
            emit_object(e, "location");
            location(e, r, &site, NULL);
            emit_end(e);
            if (site.image) emit_str(e, "module", site.image->name);
            emit_end(e);
        }
    }
    emit_end(e);
    emit_end(e);
}

static void flow_begin(struct emit *e)
{
    emit_array(e, "codeFlows");
    emit_object(e, NULL);
    emit_array(e, "threadFlows");
    emit_object(e, NULL);
    emit_array(e, "locations");
}

/* site NULL: it has none. */
static void flow_step(struct emit *e, struct recording *r, const struct site *site, const char *words, int order)
{
    emit_object(e, NULL);
    emit_object(e, "location");
    if (site)
        location(e, r, site, words);
    else
        text(e, "message", words);
    emit_end(e);
    emit_int(e, "executionOrder", order);
    emit_end(e);
}

static void flow_end(struct emit *e)
{
    for (int i = 0; i < 5; i++) emit_end(e);
}

/* From the root to what it keeps. */
static void retention(struct emit *e, struct recording *r, const struct finding *f)
{
    struct path_step *steps = NULL;
    size_t n = report_path(r, f, &steps);
    if (n == 0) return;
    flow_begin(e);
    for (size_t i = 0; i < n; i++) flow_step(e, r, steps[i].placed ? &steps[i].site : NULL, steps[i].words, (int)i + 1);
    flow_end(e);
}

/* From where the task was created to where it waits. */
static void flow(struct emit *e, struct recording *r, const struct finding *f)
{
    const struct {
        struct stack *stack;
        const char *message;
    } steps[] = {{f->create_stack, "created here"},
                 {f->stack,
                  *f->wait_reason ? arena_printf(&r->arena, "waits here for ever: %s", f->wait_reason) : "waits here"}};
    if (!f->create_stack || !f->stack) {
        retention(e, r, f);
        return;
    }
    flow_begin(e);
    for (int i = 0; i < 2; i++) {
        struct site site = stack_site(r, steps[i].stack);
        flow_step(e, r, &site, steps[i].message, i + 1);
    }
    flow_end(e);
}

/* at: where each rule that occurs stands among them, in the order of rules.def; -1: it does not occur. */
static void number_rules(const struct gate_result *g, int at[SEEP_RULE_COUNT])
{
    int n = 0;
    for (int i = 0; i < SEEP_RULE_COUNT; i++) at[i] = -1;
    for (size_t i = 0; i < g->n; i++) {
        int rule = rule_index(g->findings[i].rule);
        if (rule >= 0) at[rule] = 0;
    }
    for (int i = 0; i < SEEP_RULE_COUNT; i++)
        if (at[i] == 0) at[i] = n++;
}

static void result(struct emit *e, const struct gate_result *g, const struct finding *f, const int *at)
{
    static const char *const levels[] = {"error", "warning", "warning", "note"};
    struct recording *r = g->r;
    struct site site = finding_site(r, f);
    int rule = rule_index(f->rule);
    emit_object(e, NULL);
    emit_str(e, "ruleId", f->rule);
    if (rule >= 0) emit_int(e, "ruleIndex", at[rule]);
    emit_str(e, "level", levels[f->confidence]);
    text(e, "message",
         arena_printf(&r->arena, "%s: %s in %s: %s", confidence_name(f->confidence),
                      rule_finds(f->rule) ? rule_finds(f->rule) : f->rule, site_function(&r->arena, &site),
                      report_amount(r, f)));
    emit_array(e, "locations");
    emit_object(e, NULL);
    location(e, r, &site, NULL);
    emit_end(e);
    emit_end(e);
    emit_object(e, "partialFingerprints");
    emit_str(e, "seepId/v1", f->id);
    emit_end(e);
    flow(e, r, f);
    emit_array(e, "stacks");
    stack(e, r, f->tasks ? "where it waits" : "where it was allocated", f->stack);
    stack(e, r, "where it was created", f->create_stack);
    emit_end(e);
    if (g->baseline) emit_str(e, "baselineState", f->known && !f->suppressed ? "unchanged" : "new");
    emit_array(e, "suppressions");
    if (f->suppressed) {
        emit_object(e, NULL);
        emit_str(e, "kind", "external");
        emit_str(e, "status", "accepted");
        emit_str(e, "justification", f->suppressed);
        emit_end(e);
    }
    emit_end(e);
    emit_object(e, "properties");
    emit_int(e, "objects", f->objects);
    emit_int(e, "bytes", f->bytes);
    emit_int(e, "pid", f->snapshot->process->pid);
    emit_end(e);
    emit_end(e);
}

/* The rules that occur, in the order of rules.def. */
static void driver(struct emit *e, const int *at)
{
    emit_object(e, "tool");
    emit_object(e, "driver");
    emit_str(e, "name", "seep");
    emit_str(e, "version", SEEP_VERSION);
    emit_array(e, "rules");
    for (int i = 0; i < SEEP_RULE_COUNT; i++) {
        const struct seep_rule_text *t = seep_rule_text((enum seep_rule)i);
        if (at[i] < 0) continue;
        emit_object(e, NULL);
        emit_str(e, "id", t->name);
        text(e, "shortDescription", t->finds);
        text(e, "help", t->todo);
        emit_end(e);
    }
    emit_end(e);
    emit_end(e);
    emit_end(e);
}

void sarif_write(const struct gate_result *g, struct buf *out)
{
    char *data = NULL;
    size_t n = 0;
    int at[SEEP_RULE_COUNT];
    FILE *f = open_memstream(&data, &n);
    if (!f) return;
    number_rules(g, at);
    struct emit em, *e = &em;
    emit_init(e, f, true);
    emit_object(e, NULL);
    emit_str(e, "$schema", "https://json.schemastore.org/sarif-2.1.0.json");
    emit_str(e, "version", "2.1.0");
    emit_array(e, "runs");
    emit_object(e, NULL);
    driver(e, at);
    emit_array(e, "invocations");
    emit_object(e, NULL);
    emit_bool(e, "executionSuccessful", g->problem == NULL);
    emit_int(e, "exitCode", g->exit);
    if (g->problem) {
        emit_array(e, "toolExecutionNotifications");
        emit_object(e, NULL);
        emit_str(e, "level", "error");
        text(e, "message", g->problem);
        emit_end(e);
        emit_end(e);
    }
    emit_end(e);
    emit_end(e);
    emit_array(e, "results");
    for (size_t i = 0; i < g->n; i++) result(e, g, &g->findings[i], at);
    emit_end(e);
    emit_str(e, "columnKind", "unicodeCodePoints");
    emit_end(e);
    emit_end(e);
    emit_end(e);
    fputc('\n', f);
    fclose(f);
    buf_add(out, data, n);
    free(data);
}
