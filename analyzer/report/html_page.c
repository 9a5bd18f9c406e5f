/* SPDX-License-Identifier: Apache-2.0
 *
 * The page around the data: head, style, what is shown without scripts, data, code. A content security policy forbids every
 * request, so that a mistake in the page cannot become one.
 *
 * Invariant: what comes from the recording passes put_html() (text between tags) or put_script() (JSON between script tags). */
#include <string.h>
#include <time.h>

#include "analyzer/report/html.h"

static const unsigned char bundle_js[] = {
#include "report_js.inc"
};
static const unsigned char bundle_css[] = {
#include "report_css.inc"
};

static void put_html(struct buf *out, const char *s, size_t n)
{
    struct buf clean = {0};
    buf_escape(&clean, s, n);
    for (size_t i = 0; i < clean.len; i++) switch (clean.data[i]) {
        case '<': buf_puts(out, "&lt;"); break;
        case '>': buf_puts(out, "&gt;"); break;
        case '&': buf_puts(out, "&amp;"); break;
        case '"': buf_puts(out, "&quot;"); break;
        case '\'': buf_puts(out, "&#39;"); break;
        default: buf_add(out, &clean.data[i], 1);
        }
    buf_free(&clean);
}

/* '<' occurs in JSON only inside strings, where it may be written as an escape. */
static void put_script(struct buf *out, const struct buf *json)
{
    size_t from = 0;
    for (size_t i = 0; i < json->len; i++) {
        if (json->data[i] != '<') continue;
        buf_add(out, json->data + from, i - from);
        buf_puts(out, "\\u003c");
        from = i + 1;
    }
    buf_add(out, json->data + from, json->len - from);
}

/* The text face of a report ends lines by '\n', which put_html would show. */
static void put_text(struct buf *out, const struct buf *text)
{
    for (size_t from = 0; from < text->len;) {
        const char *end = memchr(text->data + from, '\n', text->len - from);
        size_t n = end ? (size_t)(end - text->data) - from : text->len - from;
        put_html(out, text->data + from, n);
        buf_puts(out, "\n");
        from += n + 1;
    }
}

bool html_has(const struct html_input *in, const struct snapshot *s)
{
    return !in->pid || s->process->pid == in->pid;
}

void pack_uint(struct buf *b, uint64_t v)
{
    unsigned char bytes[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) bytes[n++] = (unsigned char)(v | 0x80);
    bytes[n++] = (unsigned char)v;
    buf_add(b, bytes, n);
}

void pack_int(struct buf *b, int64_t v)
{
    pack_uint(b, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
}

void pack_json(struct buf *out, const char *key, const struct buf *packed)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)packed->data;
    buf_printf(out, ",\"%s\":\"", key);
    for (size_t i = 0; i < packed->len; i += 3) {
        size_t left = packed->len - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                        left > 2 ? digits[v & 63] : '='};
        buf_add(out, four, 4);
    }
    buf_puts(out, "\"");
}

void html_page(const struct html_input *in, struct buf *out)
{
    struct buf data = {0}, text = {0};
    const char *name = path_base(in->file);
    buf_puts(&data, "{\"version\":\"" SEEP_VERSION "\",\"file\":");
    buf_json(&data, name);
    html_series(in, &data);
    html_stacks(in, &data);
    html_findings(in, &data, &text);
    buf_puts(&data, "}");

    buf_puts(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">\n"
        "<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"seep " SEEP_VERSION
        "\">\n<link rel=\"icon\" href=\"data:,\">\n<title>");
    put_html(out, name, strlen(name));
    buf_puts(out, " · seep</title>\n<style>\n");
    buf_add(out, bundle_css, sizeof bundle_css - 1);
    buf_puts(out, "</style>\n</head>\n<body>\n<main id=\"page\"></main>\n<noscript><pre>");
    put_text(out, &text);
    buf_puts(out, "\nCharts and flame graphs need scripts, which this browser has switched off.\n</pre></noscript>\n"
                  "<script type=\"application/json\" id=\"data\">");
    put_script(out, &data);
    buf_puts(out, "</script>\n<script>\n");
    buf_add(out, bundle_js, sizeof bundle_js - 1);
    buf_puts(out, "</script>\n</body>\n</html>\n");
    buf_free(&data);
    buf_free(&text);
}
