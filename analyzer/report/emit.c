/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON face and lines of text; tables are in table.c. */
#include "analyzer/report/emit.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

void emit_init(struct emit *e, FILE *out, bool json)
{
    progress_end();
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    *e = (struct emit){.out = out, .json = json, .first = true};
    struct winsize size;
    if (!json && isatty(fileno(out)) && ioctl(fileno(out), TIOCGWINSZ, &size) == 0) e->width = size.ws_col;
    e->color = !json && !(no && *no) && !(term && strcmp(term, "dumb") == 0) && isatty(fileno(out));
}

int emit_finish(struct emit *e)
{
    if (e->json) fputc('\n', e->out);
    if (fflush(e->out) == 0 && !ferror(e->out)) return 0;
    if (errno == EPIPE) return EXIT_CANNOT;
    return fail(EXIT_CANNOT, "standard output: cannot be written: %s", strerror(errno));
}

/* ---- JSON */
static void member(struct emit *e, const char *key)
{
    if (!e->first) fputc(',', e->out);
    if (e->depth > 0) fprintf(e->out, "\n%*s", (int)e->depth * 2, "");
    if (key && e->depth > 0 && !e->in_array[e->depth]) {
        struct buf b = {0};
        buf_json(&b, key);
        fprintf(e->out, "%s: ", b.data);
        buf_free(&b);
    }
    e->first = false;
}

static void open_value(struct emit *e, const char *key, bool array)
{
    if (!e->json) return;
    member(e, key);
    fputc(array ? '[' : '{', e->out);
    if (e->depth + 1 >= sizeof e->in_array) abort();
    e->in_array[++e->depth] = array;
    e->first = true;
}

void emit_object(struct emit *e, const char *key)
{
    open_value(e, key, false);
}
void emit_array(struct emit *e, const char *key)
{
    open_value(e, key, true);
}

void emit_end(struct emit *e)
{
    if (!e->json) return;
    bool array = e->in_array[e->depth--];
    if (!e->first) fprintf(e->out, "\n%*s", (int)e->depth * 2, "");
    fputc(array ? ']' : '}', e->out);
    e->first = false;
}

void emit_raw(struct emit *e, const char *key, const char *json)
{
    if (!e->json) return;
    member(e, key);
    fputs(json, e->out);
}

void emit_str(struct emit *e, const char *key, const char *value)
{
    struct buf b = {0};
    if (value)
        buf_json(&b, value);
    else
        buf_puts(&b, "null");
    emit_raw(e, key, b.data);
    buf_free(&b);
}

void emit_int(struct emit *e, const char *key, int64_t value)
{
    char s[32];
    snprintf(s, sizeof s, "%" PRId64, value);
    emit_raw(e, key, s);
}

void emit_real(struct emit *e, const char *key, double value)
{
    char s[40];
    snprintf(s, sizeof s, "%.6g", value);
    emit_raw(e, key, isfinite(value) ? s : "null");
}

void emit_bool(struct emit *e, const char *key, bool value)
{
    emit_raw(e, key, value ? "true" : "false");
}

/* ---- text */
static const char *style_code(enum emit_style style)
{
    static const char *const codes[] = {"", "\x1b[1m", "\x1b[1;31m", "\x1b[1;32m", "\x1b[2m"};
    return codes[style];
}

static void put_styled(struct emit *e, enum emit_style style, const char *s, size_t n)
{
    struct buf b = {0};
    buf_escape(&b, s, n);
    if (!b.data) return;
    if (e->color && style != STYLE_PLAIN)
        fprintf(e->out, "%s%s\x1b[0m", style_code(style), b.data);
    else
        fputs(b.data, e->out);
    buf_free(&b);
}

/* Length without trailing blanks. */
static size_t trimmed(const struct buf *b)
{
    size_t n = b->len;
    while (n > 0 && b->data[n - 1] == ' ') n--;
    return n;
}

void emit_line(struct emit *e, enum emit_style style, const char *fmt, ...)
{
    if (e->json) return;
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    put_styled(e, style, b.data, trimmed(&b));
    fputc('\n', e->out);
    buf_free(&b);
}

void emit_head(struct emit *e, enum emit_style style, const char *head, const char *fmt, ...)
{
    if (e->json) return;
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    put_styled(e, style, head, strlen(head));
    put_styled(e, STYLE_PLAIN, b.data, trimmed(&b));
    fputc('\n', e->out);
    buf_free(&b);
}

void emit_blank(struct emit *e)
{
    if (!e->json) fputc('\n', e->out);
}
