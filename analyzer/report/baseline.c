/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading and writing baselines. Invariant: entries are sorted by id, each once, so a diff of two baselines shows what
 * changed and nothing else. */
#include "analyzer/report/baseline.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "analyzer/report/report.h"

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct baseline_entry *)a)->id, ((const struct baseline_entry *)b)->id);
}

static struct baseline_entry *find(const struct baseline *b, const char *id)
{
    struct baseline_entry key = {0};
    if (b->n == 0) return NULL;
    snprintf(key.id, sizeof key.id, "%s", id);
    return bsearch(&key, b->entries, b->n, sizeof key, by_id);
}

static void drop(struct baseline_entry *x)
{
    free(x->rule);
    free(x->site);
    free(x->why);
}

/* Sorts; of equal ids the first stays. */
static void settle(struct baseline *b)
{
    size_t kept = 0;
    if (b->n) qsort(b->entries, b->n, sizeof *b->entries, by_id);
    for (size_t i = 0; i < b->n; i++) {
        if (kept && by_id(&b->entries[kept - 1], &b->entries[i]) == 0)
            drop(&b->entries[i]);
        else
            b->entries[kept++] = b->entries[i];
    }
    b->n = kept;
}

static void add(struct baseline *b, const char *id, const char *rule, const char *site, const char *why)
{
    b->entries = xrealloc(b->entries, b->n + 1, sizeof *b->entries);
    struct baseline_entry *x = &b->entries[b->n++];
    *x = (struct baseline_entry){.rule = xstrdup(rule), .site = xstrdup(site), .why = xstrdup(why)};
    snprintf(x->id, sizeof x->id, "%s", id);
}

static const char *text_of(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

bool baseline_is_id(const char *id)
{
    return strlen(id) == 8 && strspn(id, "0123456789abcdef") == 8;
}

int baseline_read(const char *path, struct baseline *out, struct err *e)
{
    json_error_t why;
    struct stat st;
    *out = (struct baseline){0};
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return err_set(e, EXIT_INPUT, "%s: no such baseline%s; `seep baseline` makes one", path,
                       errno && errno != ENOENT ? " that can be read" : "");
    json_t *j = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    if (!j) return err_set(e, EXIT_INPUT, "%s: not a baseline: line %d: %s", path, why.line, why.text);
    json_t *version = json_object_get(j, "seep_baseline"), *list = json_object_get(j, "findings"), *x;
    size_t i;
    if (!json_is_integer(version) || json_integer_value(version) < 1 || !json_is_array(list))
        err_set(e, EXIT_INPUT, "%s: not a baseline: it has no \"seep_baseline\" and \"findings\"", path);
    else if (json_integer_value(version) > 1)
        err_set(e, EXIT_INPUT, "%s: a baseline of version %lld, and this seep reads 1; use a newer seep", path,
                (long long)json_integer_value(version));
    json_array_foreach(list, i, x)
    {
        const char *id = text_of(x, "id");
        if (e->code) break;
        if (!baseline_is_id(id)) {
            err_set(e, EXIT_INPUT, "%s: finding %zu has no id of 8 hex digits", path, i + 1);
            break;
        }
        add(out, id, text_of(x, "rule"), text_of(x, "site"), text_of(x, "why"));
    }
    json_decref(j);
    settle(out);
    return e->code;
}

void baseline_apply(struct baseline *b, struct finding *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct baseline_entry *x = find(b, f[i].id);
        if (!x) continue;
        f[i].known = true;
        x->seen = true;
    }
}

void baseline_update(struct recording *r, struct baseline *b, const struct finding *f, size_t n, bool prune)
{
    size_t kept = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (prune && !b->entries[i].seen)
            drop(&b->entries[i]);
        else
            b->entries[kept++] = b->entries[i];
    }
    b->n = kept;
    for (size_t i = 0; i < n; i++) {
        struct site site = finding_site(r, &f[i]);
        if (!f[i].known) add(b, f[i].id, f[i].rule, site_function(&r->arena, &site), "");
    }
    settle(b);
}

int baseline_write(const char *path, const struct baseline *b, struct err *e)
{
    struct buf out = {0};
    buf_puts(&out, "{\n  \"seep_baseline\": 1,\n  \"findings\": [");
    for (size_t i = 0; i < b->n; i++) {
        const struct baseline_entry *x = &b->entries[i];
        buf_printf(&out, "%s\n    {\"id\": \"%s\", \"rule\": ", i ? "," : "", x->id);
        buf_json(&out, x->rule);
        buf_puts(&out, ", \"site\": ");
        buf_json(&out, x->site);
        buf_puts(&out, ", \"why\": ");
        buf_json(&out, x->why);
        buf_puts(&out, "}");
    }
    buf_puts(&out, b->n ? "\n  ]\n}\n" : "]\n}\n");
    file_replace(path, &out, e);
    buf_free(&out);
    return e->code;
}

void baseline_free(struct baseline *b)
{
    for (size_t i = 0; i < b->n; i++) drop(&b->entries[i]);
    free(b->entries);
    *b = (struct baseline){0};
}
