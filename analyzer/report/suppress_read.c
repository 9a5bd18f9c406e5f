/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads and writes suppression files; the forms are in suppress.h. A file is not trusted: a line that is understood by nobody is an
 * error with its number, since a suppression that is misread hides the wrong thing. Entries for other checks (race:, Memcheck:Param)
 * are passed over, so that a project's one file can be given as it is. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/report/baseline.h"
#include "analyzer/report/suppress.h"
#include "analyzer/report/suppress_internal.h"

enum { MAX_FILE = 16 << 20, MAX_FRAMES = 500 };

struct reader {
    const char *path, *at, *end;
    unsigned line;
    struct buf text; /* the line, without blanks around it */
    struct err *err;
};

static bool next_line(struct reader *r)
{
    r->text.len = 0;
    buf_puts(&r->text, "");
    if (r->at >= r->end) return false;
    const char *stop = memchr(r->at, '\n', (size_t)(r->end - r->at)), *a = r->at, *b = stop ? stop : r->end;
    r->line++;
    r->at = stop ? stop + 1 : r->end;
    while (a < b && isspace((unsigned char)*a)) a++;
    while (b > a && isspace((unsigned char)b[-1])) b--;
    buf_add(&r->text, a, (size_t)(b - a));
    if (strlen(r->text.data) != r->text.len) err_set(r->err, EXIT_INPUT, "%s:%u: a NUL byte", r->path, r->line);
    return true;
}

static struct suppression *add(struct suppressions *out, enum suppress_kind kind, const char *name, struct reader *r)
{
    out->items = xrealloc(out->items, out->n + 1, sizeof *out->items);
    struct suppression *s = &out->items[out->n++];
    *s = (struct suppression){.kind = kind, .name = xstrdup(name), .path = r->path, .line = r->line};
    return s;
}

static void bad(struct reader *r, const char *what)
{
    err_set(r->err, EXIT_INPUT, "%s:%u: %s: \"%.100s\"", r->path, r->line, what, r->text.data);
}

/* ---- LeakSanitizer: TYPE:PATTERN */
static bool read_lsan(struct reader *r, struct suppressions *out)
{
    static const char *const others[] = {"race",
                                         "race_top",
                                         "deadlock",
                                         "thread",
                                         "mutex",
                                         "signal",
                                         "called_from_lib",
                                         "interceptor",
                                         "interceptor_name",
                                         "interceptor_via_fun",
                                         "interceptor_via_lib",
                                         "odr_violation",
                                         "alloc_dealloc_mismatch",
                                         "vptr_check",
                                         "fun",
                                         "src",
                                         "type"};
    const char *line = r->text.data, *colon = strchr(line, ':');
    if (!colon) return false;
    if (strncmp(line, "leak:", 5) == 0) {
        if (!line[5])
            bad(r, "leak: without a pattern would hide everything");
        else
            add(out, SUPPRESS_LSAN, line + 5, r);
        return true;
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strlen(others[i]) == (size_t)(colon - line) && strncmp(line, others[i], (size_t)(colon - line)) == 0)
            return true;
    return false;
}

/* ---- Memcheck */
static unsigned leak_kinds(struct reader *r, const char *list)
{
    static const struct {
        const char *name;
        unsigned kind;
    } kinds[] = {{"definite", LEAK_DEFINITE},   {"indirect", LEAK_INDIRECT}, {"possible", LEAK_POSSIBLE},
                 {"reachable", LEAK_REACHABLE}, {"all", LEAK_ALL},           {"none", 0}};
    unsigned mask = 0;
    while (*list) {
        size_t n = strcspn(list, ", "), i = 0;
        while (i < 6 && (strlen(kinds[i].name) != n || strncmp(kinds[i].name, list, n) != 0)) i++;
        if (i < 6)
            mask |= kinds[i].kind;
        else if (n)
            bad(r, "a kind of leak nobody knows");
        list += n + strspn(list + n, ", ");
    }
    return mask;
}

static bool names_leak(const char *line)
{
    const char *colon = strchr(line, ':');
    if (!colon || strcmp(colon + 1, "Leak") != 0) return false;
    for (const char *p = line; p < colon;) { /* a list of tools */
        size_t n = strcspn(p, ",:");
        if (n == 8 && strncmp(p, "Memcheck", 8) == 0) return true;
        p += n + 1;
    }
    return false;
}

static void read_memcheck(struct reader *r, struct suppressions *out)
{
    unsigned begin = r->line;
    struct suppression s = {.kind = SUPPRESS_MEMCHECK, .path = r->path, .line = begin, .leaks = LEAK_ALL};
    bool leak = false, closed = false;
    for (unsigned n = 0; !closed && !r->err->code && next_line(r);) {
        const char *line = r->text.data;
        if (!*line || *line == '#') continue;
        if (strcmp(line, "}") == 0) {
            closed = true;
        } else if (n == 0) {
            s.name = xstrdup(line);
            n++;
        } else if (n == 1) {
            leak = names_leak(line);
            n++;
        } else if (leak && strncmp(line, "match-leak-kinds:", 17) == 0) {
            s.leaks = leak_kinds(r, line + 17 + strspn(line + 17, " \t"));
        } else if (leak) {
            if (strcmp(line, "...") != 0 && strncmp(line, "fun:", 4) != 0 && strncmp(line, "obj:", 4) != 0 &&
                strncmp(line, "src:", 4) != 0)
                bad(r, "neither fun:, obj:, src: nor ...");
            else if (s.nframes == MAX_FRAMES)
                bad(r, "too many frames");
            else {
                s.frames = xrealloc(s.frames, s.nframes + 1, sizeof *s.frames);
                s.frames[s.nframes++] = xstrdup(line);
            }
        }
    }
    if (!closed && !r->err->code)
        err_set(r->err, EXIT_INPUT, "%s:%u: the entry that begins here has no closing brace", r->path, begin);
    if (!r->err->code && leak && s.nframes == 0)
        err_set(r->err, EXIT_INPUT, "%s:%u: an entry without frames would hide everything", r->path, begin);
    if (!s.name) s.name = xstrdup("?");
    out->items = xrealloc(out->items, out->n + 1, sizeof *out->items);
    out->items[out->n++] = s; /* freed with the others, kept or not */
    if (!leak || r->err->code) {
        struct suppressions one = {.items = xcalloc(1, sizeof s), .n = 1};
        one.items[0] = out->items[--out->n];
        suppress_free(&one);
    }
}

/* ---- ours */
bool suppress_is_date(const char *s)
{
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    for (int i = 0; i < 10; i++)
        if (i == 4 || i == 7 ? s[i] != '-' : !isdigit((unsigned char)s[i])) return false;
    int month = atoi(s + 5), day = atoi(s + 8);
    return s[10] == 0 && month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1];
}

static bool key_value(struct reader *r, struct suppression *s)
{
    const char *line = r->text.data, *eq = strchr(line, '=');
    if (!eq) return false;
    size_t n = (size_t)(eq - line);
    while (n > 0 && isspace((unsigned char)line[n - 1])) n--;
    const char *value = eq + 1 + strspn(eq + 1, " \t");
    const struct {
        const char *name;
        char **to;
    } keys[] = {
        {"rule", &s->rule}, {"function", &s->function}, {"file", &s->file}, {"module", &s->module}, {"why", &s->why}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strlen(keys[i].name) != n || strncmp(keys[i].name, line, n) != 0) continue;
        free(*keys[i].to);
        *keys[i].to = xstrdup(value);
        return true;
    }
    if (n == 5 && strncmp(line, "until", 5) == 0) {
        if (suppress_is_date(value))
            memcpy(s->until, value, sizeof s->until);
        else
            bad(r, "not a date YYYY-MM-DD");
        return true;
    }
    return n == 5 && strncmp(line, "where", 5) == 0; /* for readers */
}

static void read_ours(struct reader *r, struct suppressions *out)
{
    size_t n = r->text.len;
    if (n < 3 || r->text.data[n - 1] != ']') {
        bad(r, "a head is [ID] or [NAME]");
        return;
    }
    r->text.data[n - 1] = 0;
    struct suppression *s = add(out, SUPPRESS_OURS, r->text.data + 1, r);
    if (baseline_is_id(s->name)) memcpy(s->id, s->name, sizeof s->id);
}

/* The reason is not left out: who meets the entry in a year wants to know. */
static void check_ours(struct suppressions *s, size_t from, struct err *e)
{
    for (size_t i = from; i < s->n; i++) {
        struct suppression *x = &s->items[i];
        if (x->kind != SUPPRESS_OURS) continue;
        if (!x->why || !*x->why) err_set(e, EXIT_INPUT, "%s:%u: [%s] has no \"why = …\"", x->path, x->line, x->name);
        if (!*x->id && !x->rule && !x->function && !x->file && !x->module)
            err_set(e, EXIT_INPUT, "%s:%u: [%s] is no id of 8 hex digits and names no rule, function, file or module",
                    x->path, x->line, x->name);
    }
}

int suppress_parse(const char *path, const char *text, size_t n, struct suppressions *out, struct err *e)
{
    size_t from = out->n;
    out->paths = xrealloc(out->paths, out->npaths + 1, sizeof *out->paths);
    struct reader r = {.path = out->paths[out->npaths++] = xstrdup(path), .at = text, .end = text + n, .err = e};
    bool ours = false;
    while (!e->code && next_line(&r)) {
        const char *line = r.text.data;
        if (!*line || *line == '#') continue;
        if (*line == '[') {
            read_ours(&r, out);
            ours = true;
        } else if (strcmp(line, "{") == 0) {
            read_memcheck(&r, out);
            ours = false;
        } else if (ours && key_value(&r, &out->items[out->n - 1])) {
            continue;
        } else if (read_lsan(&r, out)) {
            ours = false;
        } else {
            bad(&r, "no suppression: neither leak:PATTERN, a { … } entry, [ID], nor KEY = VALUE below one");
        }
    }
    buf_free(&r.text);
    if (!e->code) check_ours(out, from, e);
    return e->code;
}

int suppress_read(const char *path, struct suppressions *out, struct err *e)
{
    struct buf b = {0};
    if (file_read(path, MAX_FILE, &b, e) == 0) suppress_parse(path, b.data ? b.data : "", b.len, out, e);
    buf_free(&b);
    return e->code;
}

static void put_value(struct buf *b, const char *key, const char *value)
{
    if (!value || !*value) return;
    buf_printf(b, "%s = ", key);
    for (; *value; value++) {
        char c = *value;
        if ((unsigned char)c < ' ' || c == 0x7f) c = ' ';
        buf_add(b, &c, 1);
    }
    buf_puts(b, "\n");
}

void suppress_write(struct buf *b, const char *id, const char *rule, const char *site, const char *why,
                    const char *until)
{
    buf_printf(b, "%s[%s]\n", b->len ? "\n" : "", id);
    put_value(b, "rule", rule);
    put_value(b, "where", site);
    put_value(b, "why", why);
    put_value(b, "until", until);
}
