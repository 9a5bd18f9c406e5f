/* SPDX-License-Identifier: Apache-2.0
 *
 * Exports as text: folded stacks, CSV, JSON. Names are escaped as on a terminal, and what separates fields is replaced. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/export/samples.h"
#include "analyzer/report/report.h"

/* "outer;inner", or "(no stack)". A ';' inside a name would be another frame. */
static void put_folded(struct recording *r, const struct stack *s, struct buf *out)
{
    size_t n;
    struct site *lines = stack_lines(r, s, &n);
    if (n == 0) buf_puts(out, "(no stack)");
    for (size_t i = 0; i < n; i++) {
        const char *name = lines[i].function ? lines[i].function : site_function(&r->arena, &lines[i]);
        size_t at;
        if (i) buf_puts(out, ";");
        at = out->len;
        buf_escape(out, name, strlen(name));
        for (; at < out->len; at++)
            if (out->data[at] == ';') out->data[at] = ':';
    }
}

void folded_encode(const struct samples *s, unsigned type, struct buf *out)
{
    for (size_t i = 0; i < s->n;) {
        /* Rows of one stack stand together. */
        struct stack *stack = s->list[i].stack;
        int64_t sum = 0;
        for (; i < s->n && s->list[i].stack == stack; i++) add_capped(&sum, s->list[i].values[type]);
        if (sum == 0) continue;
        put_folded(s->r, stack, out);
        buf_printf(out, " %" PRId64 "\n", sum);
    }
}

static void csv_cell(struct buf *out, const char *text)
{
    struct buf clean = {0};
    buf_escape(&clean, text, strlen(text));
    buf_puts(out, "\"");
    for (size_t i = 0; i < clean.len; i++) {
        if (clean.data[i] == '"') buf_puts(out, "\"");
        buf_add(out, &clean.data[i], 1);
    }
    buf_puts(out, "\"");
    buf_free(&clean);
}

static const struct label *find_label(const struct sample *x, const char *key)
{
    for (unsigned i = 0; i < x->nlabels; i++)
        if (strcmp(x->labels[i].key, key) == 0) return &x->labels[i];
    return NULL;
}

void csv_encode(const struct samples *s, struct buf *out)
{
    static const char *const heap_keys[] = {"bytes", NULL};
    static const char *const task_keys[] = {"provider", "state", "wait_reason", "verdict", "name", "created_at", NULL};
    const char *const *keys = s->period ? heap_keys : task_keys;
    for (int k = 0; keys[k]; k++) buf_printf(out, "%s,", s->period ? "size_bytes" : keys[k]);
    for (unsigned t = 0; t < s->ntypes; t++) buf_printf(out, "%s,", s->types[t].name);
    buf_puts(out, "function,place,stack\r\n");
    for (size_t i = 0; i < s->n; i++) {
        const struct sample *x = &s->list[i];
        for (int k = 0; keys[k]; k++) {
            const struct label *l = find_label(x, keys[k]);
            if (l && l->text) csv_cell(out, l->text);
            if (l && !l->text) buf_printf(out, "%" PRId64, l->number);
            buf_puts(out, ",");
        }
        for (unsigned t = 0; t < s->ntypes; t++) buf_printf(out, "%" PRId64 ",", x->values[t]);
        struct site site = stack_site(s->r, x->stack);
        struct buf stack = {0};
        csv_cell(out, site_function(&s->r->arena, &site));
        buf_puts(out, ",");
        csv_cell(out, site_place(&s->r->arena, &site));
        buf_puts(out, ",");
        put_folded(s->r, x->stack, &stack);
        csv_cell(out, stack.data);
        buf_puts(out, "\r\n");
        buf_free(&stack);
    }
}

int json_encode(const struct samples *s, const char *comment, struct buf *out)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    struct emit e;
    if (!f) return -1;
    emit_init(&e, f, true);
    emit_object(&e, NULL);
    emit_str(&e, "command", "export");
    emit_str(&e, "comment", comment);
    emit_array(&e, "types");
    for (unsigned t = 0; t < s->ntypes; t++) {
        emit_object(&e, NULL);
        emit_str(&e, "name", s->types[t].name);
        emit_str(&e, "unit", s->types[t].unit);
        emit_end(&e);
    }
    emit_end(&e);
    emit_array(&e, "samples");
    for (size_t i = 0; i < s->n; i++) {
        const struct sample *x = &s->list[i];
        emit_object(&e, NULL);
        emit_object(&e, "values");
        for (unsigned t = 0; t < s->ntypes; t++) emit_int(&e, s->types[t].name, x->values[t]);
        emit_end(&e);
        emit_object(&e, "labels");
        for (unsigned k = 0; k < x->nlabels; k++)
            if (x->labels[k].text)
                emit_str(&e, x->labels[k].key, x->labels[k].text);
            else
                emit_int(&e, x->labels[k].key, x->labels[k].number);
        emit_end(&e);
        report_stack_json(&e, s->r, "stack", x->stack);
        emit_end(&e);
    }
    emit_end(&e);
    emit_end(&e);
    int rc = emit_finish(&e);
    fclose(f);
    buf_add(out, text, len);
    free(text);
    return rc;
}
