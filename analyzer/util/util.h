/* SPDX-License-Identifier: Apache-2.0
 *
 * What every file of the analyzer leans on: errors as values, an arena, a map by 64-bit key, a growing
 * byte buffer. Single threaded. Running out of memory ends the program with one line and exit 4. */
#ifndef ANALYZER_UTIL_H
#define ANALYZER_UTIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit codes of every command. */
enum { EXIT_CLEAN = 0, EXIT_LEAKS = 1, EXIT_USAGE = 2, EXIT_INPUT = 3, EXIT_CANNOT = 4 };

/* An error is an exit code and one line: what, why, what to do. code 0: no error; the first error stays. */
struct err {
    int code;
    char text[1024];
};
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* One line on standard error, "seep: …" or, of a command, "seep NAME: …", control characters escaped. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* say(), and the code back: return fail(EXIT_USAGE, …). */
int fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int fail_err(const struct err *e);

void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n, size_t size);
char *xstrdup(const char *s);

/* Adds v; what does not fit stays at the end of the range and can be negated. For figures of a hostile recording. */
static inline void add_capped(int64_t *sum, int64_t v)
{
    if (__builtin_add_overflow(*sum, v, sum)) *sum = v > 0 ? INT64_MAX : INT64_MIN + 1;
}

/* Memory that goes away at once. */
struct arena_block;
struct arena {
    struct arena_block *head;
};
void *arena_alloc(struct arena *a, size_t n); /* cleared, aligned to 16 */
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void arena_free(struct arena *a);

/* uint64 → pointer. NULL values mean absent. */
struct map_slot {
    uint64_t key;
    void *value;
};
struct map {
    struct map_slot *slots;
    size_t n, cap;
};
void *map_get(const struct map *m, uint64_t key);
void map_put(struct map *m, uint64_t key, void *value);
void map_free(struct map *m);

/* A growing byte buffer; data is always followed by a NUL that len does not count. */
struct buf {
    char *data;
    size_t len, cap;
};
void buf_add(struct buf *b, const void *p, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void buf_free(struct buf *b);

/* Appends s so that a terminal shows it and does nothing else: control characters, invalid UTF-8 and
 * direction overrides become \xNN or \u{NNNN}. */
void buf_escape(struct buf *b, const char *s, size_t n);
/* Appends s as a JSON string with its quotes; invalid UTF-8 becomes U+FFFD. */
void buf_json(struct buf *b, const char *s);
size_t text_width(const char *s); /* code points */

const char *path_base(const char *path);

/* Tells how far a long piece of work is; cheap enough for each thousandth of it. progress_end() before anything is printed. */
void progress_step(const char *what, size_t done, size_t all);
void progress_end(void);
/* Writes path in one step; a regular file that is there is replaced, anything else refused. */
int file_replace(const char *path, const struct buf *b, struct err *e);
/* Reads a regular file of at most max bytes. */
int file_read(const char *path, size_t max, struct buf *out, struct err *e);
/* Does s match the pattern? * is any text, ? one character where `question`; linear in memory, at worst quadratic in time. */
bool glob_match(const char *pattern, const char *s, bool question);

#endif
