/* SPDX-License-Identifier: Apache-2.0
 *
 * The page of `seep report`: one HTML file that holds its data, its code and its style, and asks no network for anything.
 *
 * html_page.c puts the page together around one JSON value; the other files each write members of that value. Text goes into it by
 * buf_json(), and every '<' of the value is escaped before it stands in the page, so that no name can end the element. */
#ifndef ANALYZER_REPORT_HTML_H
#define ANALYZER_REPORT_HTML_H

#include "analyzer/model/model.h"

struct html_input {
    struct recording *r;
    const char *file;
    int64_t pid;             /* 0: every process */
    struct snapshot **snaps; /* whose findings are shown, one a process */
    size_t nsnaps;
    struct snapshot *shown, *base; /* what the flame graph shows first; base NULL: no difference */
    int64_t limit;                 /* most findings; 0: all */
};
/* Reads the recording and writes the page. Errors of the recording are asked of it afterwards. */
void html_page(const struct html_input *in, struct buf *out);

/* ---- Members of the JSON value, each with a comma before it. */
/* snapshots, processes, memory and tasks over time (html_series.c) */
void html_series(const struct html_input *in, struct buf *out);
/* Call tree, functions, and the metrics of every snapshot (html_stacks.c) */
void html_stacks(const struct html_input *in, struct buf *out);
/* verdict, findings, what the snapshots are (html_findings.c). text: the same as `seep leaks` prints it. */
void html_findings(const struct html_input *in, struct buf *out, struct buf *text);

/* The snapshots that the page has: those of in->pid. */
bool html_has(const struct html_input *in, const struct snapshot *s);

/* ---- Compact numbers: LEB128, signed ones zigzag, in base64. */
void pack_uint(struct buf *b, uint64_t v);
void pack_int(struct buf *b, int64_t v);
void pack_json(struct buf *out, const char *key, const struct buf *packed); /* ,"key":"base64" */

#endif
