/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables. JSON rows go out at once; text rows are kept until the end, when the widths are known. Text columns are left-aligned,
 * figures right-aligned; no line ends in blanks. On a terminal that is too narrow columns go that say nothing (all cells are equal) or
 * are minor, then long texts are cut; in a pipe everything is there. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/report/emit.h"

enum { MAX_COLS = 24 };

struct line {
    char *cells[MAX_COLS]; /* escaped; NULL: empty */
    char *note;            /* instead of cells */
};

struct emit_table {
    struct emit_col cols[MAX_COLS];
    int minor[MAX_COLS];
    unsigned ncols, col; /* col: the next cell's */
    struct line *lines;
    size_t n, cap;
};

static char *escaped(const char *s)
{
    struct buf b = {0};
    buf_escape(&b, s, strlen(s));
    return b.data ? b.data : xstrdup("");
}

static struct line *new_line(struct emit_table *t)
{
    if (t->n == t->cap) t->lines = xrealloc(t->lines, t->cap = t->cap * 2 + 16, sizeof *t->lines);
    t->lines[t->n] = (struct line){0};
    return &t->lines[t->n++];
}

void emit_table(struct emit *e, const char *key, const struct emit_col *cols, unsigned n)
{
    if (n > MAX_COLS || e->table) abort();
    struct emit_table *t = e->table = xcalloc(1, sizeof *t);
    memcpy(t->cols, cols, n * sizeof *cols);
    t->ncols = n;
    for (unsigned i = 0; i < n; i++) {
        t->minor[i] = cols[i].kind / COL_MINOR;
        t->cols[i].kind = cols[i].kind % COL_MINOR;
    }
    if (e->json) {
        emit_array(e, key);
        return;
    }
    struct line *head = new_line(t);
    for (unsigned i = 0; i < n; i++)
        if (cols[i].title) head->cells[i] = xstrdup(cols[i].title);
}

/* Starts the row where it is not begun, and gives the column of this cell. */
static unsigned begin_cell(struct emit *e)
{
    struct emit_table *t = e->table;
    if (t->col == 0) {
        if (e->json)
            emit_object(e, NULL);
        else
            new_line(t);
    }
    if (t->col >= t->ncols) abort();
    return t->col++;
}

static void text_cell(struct emit_table *t, unsigned i, const char *s)
{
    if (t->cols[i].title) t->lines[t->n - 1].cells[i] = escaped(s);
}

void emit_cell_str(struct emit *e, const char *value)
{
    unsigned i = begin_cell(e);
    const char *key = e->table->cols[i].key;
    if (!e->json)
        text_cell(e->table, i, value ? value : "-");
    else if (key)
        emit_str(e, key, value);
}

void emit_cell_int(struct emit *e, int64_t v)
{
    unsigned i = begin_cell(e);
    const struct emit_col *c = &e->table->cols[i];
    if (e->json) {
        if (c->key) emit_int(e, c->key, v);
        return;
    }
    char signed_count[64];
    const char *s = unit_count(v);
    if (c->kind == COL_BYTES) s = unit_bytes(v);
    if (c->kind == COL_DELTA_BYTES) s = unit_delta_bytes(v);
    if (c->kind == COL_NS) s = v ? unit_ns(v) : "-";
    if (c->kind == COL_DELTA_COUNT && v > 0) {
        snprintf(signed_count, sizeof signed_count, "+%s", s);
        s = signed_count;
    }
    text_cell(e->table, i, s);
}

void emit_cell_real(struct emit *e, double v)
{
    unsigned i = begin_cell(e);
    const struct emit_col *c = &e->table->cols[i];
    if (e->json) {
        if (c->key) emit_real(e, c->key, v);
        return;
    }
    char s[64];
    if (c->kind == COL_PERCENT)
        snprintf(s, sizeof s, "%.1f%%", v * 100);
    else
        snprintf(s, sizeof s, "%.3g", v);
    text_cell(e->table, i, s);
}

void emit_row(struct emit *e)
{
    if (e->table->col != e->table->ncols) abort();
    e->table->col = 0;
    if (e->json) emit_end(e);
}

void emit_table_note(struct emit *e, const char *fmt, ...)
{
    if (e->json) return;
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    new_line(e->table)->note = escaped(b.data);
    buf_free(&b);
}

/* Keeps `width` columns of s: its beginning, or of a place its end, with the line. */
static void cut(char **s, size_t width, bool tail)
{
    struct buf b = {0};
    const char *from = *s;
    if (text_width(*s) <= width || width < 2) return;
    if (tail)
        for (size_t drop = text_width(*s) - width + 1; *from && drop; drop--)
            for (from++; (*from & 0xc0) == 0x80;) from++;
    if (tail) buf_puts(&b, "…");
    for (size_t n = 0; *from && n + 1 < width; n++) do
            buf_add(&b, from++, 1);
        while ((*from & 0xc0) == 0x80);
    if (!tail) buf_puts(&b, "…");
    free(*s);
    *s = b.data;
}

static bool says_nothing(const struct emit_table *t, unsigned col)
{
    const char *first = NULL;
    for (size_t i = 1; i < t->n; i++) {
        const char *s = t->lines[i].cells[col];
        if (!s) continue;
        if (first && strcmp(first, s) != 0) return false;
        first = s;
    }
    return first && (strcmp(first, "-") == 0 || strcmp(first, "0") == 0 || strcmp(first, "0 B") == 0 ||
                     strcmp(first, "0.0%") == 0);
}

/* On a terminal that is too narrow columns of the largest rank go first; 0: it stays. */
static int rank_of(const struct emit_table *t, unsigned col)
{
    return t->cols[col].kind != COL_TEXT && says_nothing(t, col) ? 256 : t->minor[col];
}

/* Makes the table as wide as the terminal. */
static void fit(struct emit_table *t, size_t *width, size_t max)
{
    enum { LEAST = 9 };
    for (;;) {
        size_t total = 0, shown = 0, longest = 0, second = LEAST;
        int drop = -1, best = 0, long_col = -1;
        for (unsigned c = 0; c < t->ncols; c++) {
            if (!t->cols[c].title) continue;
            total += width[c] + (shown++ ? 2 : 0);
            int rank = rank_of(t, c);
            if (rank > best) {
                best = rank;
                drop = (int)c;
            }
            if (t->cols[c].kind != COL_TEXT) continue;
            if (width[c] > longest) {
                if (longest > second) second = longest;
                longest = width[c];
                long_col = (int)c;
            } else if (width[c] > second) {
                second = width[c];
            }
        }
        if (total <= max) return;
        if (drop >= 0) {
            t->cols[drop].title = NULL;
            continue;
        }
        if (long_col < 0 || longest <= LEAST) return;
        /* The longest texts meet before any of them gets shorter than the next one. */
        size_t to = longest > total - max ? longest - (total - max) : 0;
        if (to < second) to = second < longest ? second : longest - 1;
        for (size_t i = 0; i < t->n; i++)
            if (t->lines[i].cells[long_col])
                cut(&t->lines[i].cells[long_col], to, strcmp(t->cols[long_col].title, "PLACE") == 0);
        width[long_col] = to;
    }
}

static void print_lines(struct emit *e)
{
    struct emit_table *t = e->table;
    size_t width[MAX_COLS] = {0}, rows = 0;
    for (size_t i = 1; i < t->n; i++) rows += !t->lines[i].note;
    for (size_t i = 0; i < t->n; i++)
        for (unsigned c = 0; c < t->ncols; c++)
            if (t->lines[i].cells[c] && text_width(t->lines[i].cells[c]) > width[c])
                width[c] = text_width(t->lines[i].cells[c]);
    if (e->width) fit(t, width, e->width);
    for (size_t i = rows ? 0 : 1; i < t->n; i++) { /* a heading alone is not shown */
        const struct line *l = &t->lines[i];
        struct buf b = {0};
        buf_puts(&b, l->note ? l->note : "");
        for (unsigned c = 0, shown = 0; c < t->ncols && !l->note; c++) {
            if (!t->cols[c].title) continue;
            const char *s = l->cells[c] ? l->cells[c] : "";
            int pad = (int)(width[c] - text_width(s));
            bool text = t->cols[c].kind == COL_TEXT;
            buf_printf(&b, "%s%*s%s%*s", shown++ ? "  " : "", text ? 0 : pad, "", s, text ? pad : 0, "");
        }
        while (b.len > 0 && b.data[b.len - 1] == ' ') b.data[--b.len] = 0;
        bool bold = e->color && i == 0;
        fprintf(e->out, "%s%s%s\n", bold ? "\x1b[1m" : "", b.data, bold ? "\x1b[0m" : "");
        buf_free(&b);
    }
}

void emit_table_end(struct emit *e)
{
    struct emit_table *t = e->table;
    if (e->json)
        emit_end(e);
    else
        print_lines(e);
    for (size_t i = 0; i < t->n; i++) {
        for (unsigned c = 0; c < t->ncols; c++) free(t->lines[i].cells[c]);
        free(t->lines[i].note);
    }
    free(t->lines);
    free(t);
    e->table = NULL;
}
