/* SPDX-License-Identifier: Apache-2.0
 *
 * Text that comes from outside: escaped for people and for JSON; errors and messages. Everything that a
 * recording, an ELF file or an agent says passes through here before it is printed. */
#include "analyzer/util/util.h"

#include <stdio.h>
#include <string.h>

/* Decodes one code point of s[0..n). Returns its length, 0 when it is not valid UTF-8. */
static size_t utf8_decode(const unsigned char *s, size_t n, uint32_t *out)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80             ? 1
                 : (s[0] & 0xe0) == 0xc0 ? 2
                 : (s[0] & 0xf0) == 0xe0 ? 3
                 : (s[0] & 0xf8) == 0xf0 ? 4
                                         : 0;
    if (len == 0 || len > n) return 0;
    uint32_t c = len == 1 ? s[0] : s[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (c < lowest[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return 0;
    *out = c;
    return len;
}

/* Controls, line and paragraph separators, direction marks and overrides, invisible joiners, byte order mark. */
static bool is_unsafe(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
}

void buf_escape(struct buf *b, const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    for (size_t i = 0; i < n;) {
        uint32_t c = 0;
        size_t len = utf8_decode(p + i, n - i, &c);
        if (len == 0 || (len == 1 && is_unsafe(c)))
            buf_printf(b, "\\x%02x", p[i]);
        else if (is_unsafe(c))
            buf_printf(b, "\\u{%x}", c);
        else
            buf_add(b, p + i, len);
        i += len ? len : 1;
    }
}

void buf_json(struct buf *b, const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t n = strlen(s);
    buf_puts(b, "\"");
    for (size_t i = 0; i < n;) {
        uint32_t c = 0;
        size_t len = utf8_decode(p + i, n - i, &c);
        if (len == 0)
            buf_puts(b, "\\ufffd");
        else if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", (int)c);
        else if (is_unsafe(c))
            buf_printf(b, "\\u%04x", c);
        else
            buf_add(b, p + i, len);
        i += len ? len : 1;
    }
    buf_puts(b, "\"");
}

size_t text_width(const char *s)
{
    size_t n = 0;
    for (; *s; s++) n += (*s & 0xc0) != 0x80;
    return n;
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (e->code) return e->code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return e->code = code;
}

static void vsay(const char *fmt, va_list ap)
{
    struct buf raw = {0}, line = {0};
    buf_vprintf(&raw, fmt, ap);
    if (strncmp(raw.data, "seep ", 5) != 0) buf_puts(&line, "seep: "); /* a command says its own name */
    buf_escape(&line, raw.data, raw.len);
    buf_puts(&line, "\n");
    fflush(stdout);
    fwrite(line.data, 1, line.len, stderr);
    buf_free(&raw);
    buf_free(&line);
}

void say(const char *fmt, ...)
{
    progress_end();
    va_list ap;
    va_start(ap, fmt);
    vsay(fmt, ap);
    va_end(ap);
}

int fail(int code, const char *fmt, ...)
{
    progress_end();
    va_list ap;
    va_start(ap, fmt);
    vsay(fmt, ap);
    va_end(ap);
    return code;
}

int fail_err(const struct err *e)
{
    say("%s", e->text);
    return e->code;
}

bool glob_match(const char *p, const char *s, bool question)
{
    const char *star = NULL, *from = NULL;
    while (*s) {
        if (*p == '*') {
            star = p++;
            from = s;
        } else if (*p && (*p == *s || (question && *p == '?'))) {
            p++;
            s++;
        } else if (star) {
            p = star + 1;
            s = ++from;
        } else {
            return false;
        }
    }
    while (*p == '*') p++;
    return *p == 0;
}
