/* SPDX-License-Identifier: Apache-2.0
 *
 * One emitter, two faces: a command describes its result once, and it comes out as text for people or as
 * JSON for programs. Calls with a key give JSON members; emit_line and table columns give text; a
 * face leaves out what is not its own.
 *
 * Invariants: 1. whatever is printed in the text face is escaped here, only our own newlines and colours
 * pass; 2. the JSON face prints exactly one value and a newline; 3. colour is never the only carrier. */
#ifndef ANALYZER_REPORT_EMIT_H
#define ANALYZER_REPORT_EMIT_H

#include <stdio.h>

#include "analyzer/util/util.h"

enum emit_style { STYLE_PLAIN, STYLE_BOLD, STYLE_BAD, STYLE_GOOD, STYLE_DIM };

struct emit_table;
struct emit {
    FILE *out;
    bool json, color;
    unsigned width; /* columns of the terminal; 0: none, lines are as long as they are */
    unsigned depth;
    bool first; /* no member yet in the innermost object or array */
    bool in_array[64];
    struct emit_table *table;
};

/* Colour is used on a terminal unless NO_COLOR is set. */
void emit_init(struct emit *e, FILE *out, bool json);
/* 0, or EXIT_CANNOT with a message when the output could not be written. */
int emit_finish(struct emit *e);

/* ---- JSON face. key: NULL inside an array. */
void emit_object(struct emit *e, const char *key);
void emit_array(struct emit *e, const char *key);
void emit_end(struct emit *e);
void emit_str(struct emit *e, const char *key, const char *value); /* NULL: null */
void emit_int(struct emit *e, const char *key, int64_t value);
void emit_real(struct emit *e, const char *key, double value);
void emit_bool(struct emit *e, const char *key, bool value);
void emit_raw(struct emit *e, const char *key, const char *json); /* valid JSON text, from our own printer */

/* ---- Text face: one line. */
void emit_line(struct emit *e, enum emit_style style, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A styled head, then the rest of the line plain. */
void emit_head(struct emit *e, enum emit_style style, const char *head, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void emit_blank(struct emit *e);

/* ---- Both faces: a table. Text aligns columns with a title; JSON makes an array of objects of the columns with a key. */
enum emit_kind {
    COL_TEXT,
    COL_COUNT,
    COL_BYTES,
    COL_NS,
    COL_PERCENT,
    COL_DELTA_COUNT,
    COL_DELTA_BYTES,
    COL_MINOR = 16
};
struct emit_col {
    const char *key, *title;
    int kind; /* enum emit_kind, + n * COL_MINOR: on a terminal that is too narrow the columns of the largest n go first */
};
void emit_table(struct emit *e, const char *key, const struct emit_col *cols, unsigned n);
void emit_cell_str(struct emit *e, const char *value);
void emit_cell_int(struct emit *e, int64_t value);
void emit_cell_real(struct emit *e, double value); /* percent: a fraction of 1 */
/* After the cells and, for JSON, after further members of the row's object. */
void emit_row(struct emit *e);
/* A line of text between rows, aligned with nothing. */
void emit_table_note(struct emit *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void emit_table_end(struct emit *e);

/* ---- Units, into a small buffer that is reused after 16 calls. */
bool unit_set(const char *name); /* of all byte figures from now on: auto, B, KiB, MiB, GiB */
const char *unit_bytes(int64_t bytes);
const char *unit_delta_bytes(int64_t bytes);
const char *unit_count(int64_t n); /* 1,234,567 */
const char *unit_ns(int64_t ns);
const char *unit_seconds(double seconds);
/* What grows by so much a second, a unit of time that suits the span it was seen over: "1.2 MiB/h". */
const char *unit_rate(double per_second, double span_seconds, bool count);
const char *unit_time(int64_t unix_ns);              /* 2026-11-22 08:15:00 UTC */
const char *unit_plural(int64_t n, const char *one); /* "1 block", "1,234 blocks" */

#endif
