/* SPDX-License-Identifier: Apache-2.0
 *
 * Side files of names: {"seep_symbols": 1, "frames": [[identity, offset, [function, linkage, file, folder, line], …],
 * …]}, where the identity is the build id, or the path of a file without one. A frame's own file, when it is there and
 * right, goes before. */
#include "analyzer/model/side.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/contract/stack_key.h"

enum { MAX_SIDE = 512 << 20, MAX_LINES = 64 };

struct side_frame {
    unsigned n;
    struct sym_line lines[];
};

static const char *identity(const struct frame *f)
{
    return *f->image->build_id ? f->image->build_id : f->image->path;
}

static const char *word(struct recording *r, const json_t *j)
{
    const char *s = json_string_value(j);
    return s && *s ? arena_strdup(&r->arena, s) : NULL;
}

static bool add(struct recording *r, const json_t *j)
{
    const char *id = json_string_value(json_array_get(j, 0)), *offset = json_string_value(json_array_get(j, 1));
    size_t n = json_array_size(j);
    if (!id || !offset || n < 3 || n - 2 > MAX_LINES) return false;
    struct side_frame *f = arena_alloc(&r->arena, sizeof *f + (n - 2) * sizeof f->lines[0]);
    for (size_t i = 2; i < n; i++) {
        const json_t *l = json_array_get(j, i), *line = json_array_get(l, 4);
        if (json_array_size(l) != 5 || !json_is_integer(line)) return false;
        json_int_t number = json_integer_value(line);
        f->lines[f->n++] = (struct sym_line){word(r, json_array_get(l, 0)), word(r, json_array_get(l, 1)),
                                             word(r, json_array_get(l, 2)), word(r, json_array_get(l, 3)),
                                             number > 0 && number < INT32_MAX ? (unsigned)number : 0};
    }
    map_put(&r->side, seep_frame_key(id, strtoull(offset, NULL, 16)), f);
    return true;
}

int side_load(struct recording *r, const char *path, struct err *e)
{
    struct stat st;
    json_error_t why;
    struct buf b = {0};
    const char *side = arena_printf(&r->arena, "%s.symbols", path);
    if (lstat(side, &st) != 0 && errno == ENOENT) return 0;
    if (file_read(side, MAX_SIDE, &b, e)) {
        buf_free(&b);
        return e->code;
    }
    json_t *j = json_loadb(b.data ? b.data : "", b.len, JSON_REJECT_DUPLICATES, &why),
           *list = json_object_get(j, "frames"), *x;
    size_t i;
    if (!json_is_array(list) || json_integer_value(json_object_get(j, "seep_symbols")) != 1)
        err_set(e, EXIT_INPUT, "%s: not a file of names; remove it, or make it anew by `seep symbolize -f`", side);
    json_array_foreach(list, i, x)
    {
        if (!e->code && !add(r, x))
            err_set(e, EXIT_INPUT, "%s: entry %zu is damaged; make it anew by `seep symbolize -f`", side, i + 1);
    }
    json_decref(j);
    buf_free(&b);
    return e->code;
}

bool side_lookup(struct recording *r, struct frame *f)
{
    if (r->side.n == 0 || !f->image) return false;
    struct side_frame *s = map_get(&r->side, seep_frame_key(identity(f), f->offset));
    if (!s) return false;
    f->lines = s->lines;
    f->nlines = s->n;
    ((struct image *)map_get(&r->images, (uint64_t)f->image->id))->named = true;
    return true;
}

void side_write(struct recording *r, struct buf *b, size_t *frames, size_t *named)
{
    size_t all = 0;
    int64_t *ids = NULL;
    *frames = *named = 0;
    buf_puts(b, "{\"seep_symbols\": 1, \"frames\": [");
    for (struct query *q = store_query(r->store, "SELECT id FROM frame WHERE image IS NOT NULL ORDER BY id", 0);
         query_next(q);) {
        if ((all & (all - 1)) == 0) ids = xrealloc(ids, all ? all * 2 : 1, sizeof *ids);
        ids[all++] = query_int(q, 0, "frame.id");
    }
    for (size_t i = 0; i < all; i++) {
        const struct frame *f = frame_resolve(r, recording_frame(r, ids[i]));
        progress_step("looking up symbols", i, all);
        ++*frames;
        if (!f->nlines || !f->image) continue;
        buf_puts(b, *named ? ",\n[" : "\n[");
        ++*named;
        buf_json(b, identity(f));
        buf_printf(b, ", \"%llx\"", (unsigned long long)f->offset);
        for (unsigned k = 0; k < f->nlines; k++) {
            const char *words[] = {f->lines[k].function, f->lines[k].linkage, f->lines[k].file, f->lines[k].comp_dir};
            buf_puts(b, ", [");
            for (int w = 0; w < 4; w++) {
                buf_json(b, words[w] ? words[w] : "");
                buf_puts(b, ", ");
            }
            buf_printf(b, "%u]", f->lines[k].line);
        }
        buf_puts(b, "]");
    }
    buf_puts(b, "\n]}\n");
    free(ids);
}
