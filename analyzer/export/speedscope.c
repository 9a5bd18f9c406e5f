/* SPDX-License-Identifier: Apache-2.0
 *
 * speedscope's file format (jlfwong/speedscope, file-format-schema.json): frames shared by all profiles, one sampled profile
 * for each type of value. Its weights are positive: of a difference only what grew is written. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/contract/stack_key.h"
#include "analyzer/export/samples.h"

struct frames {
    struct map ids; /* hash → index + 1 */
    struct buf json;
    size_t n;
};

static size_t frame_index(struct recording *r, struct frames *f, const struct site *site)
{
    const char *name = site->function ? site->function : site_function(&r->arena, site),
               *file = site->file ? site->file : "";
    uint64_t key = seep_key_u64(seep_key_string(seep_key_string(SEEP_KEY_INIT, name), file), site->line);
    size_t at = (size_t)(uintptr_t)map_get(&f->ids, key);
    if (at) return at - 1;
    buf_puts(&f->json, f->n ? ",\n{\"name\":" : "{\"name\":");
    buf_json(&f->json, name);
    if (*file) {
        buf_puts(&f->json, ",\"file\":");
        buf_json(&f->json, file);
        if (site->line) buf_printf(&f->json, ",\"line\":%u", site->line);
    }
    buf_puts(&f->json, "}");
    map_put(&f->ids, key, (void *)(uintptr_t)++f->n);
    return f->n - 1;
}

static bool profile(const struct samples *s, struct frames *f, unsigned type, bool first, struct buf *out)
{
    struct buf weights = {0};
    int64_t total = 0;
    const char *sep = "";
    for (size_t i = 0; i < s->n; i++) {
        int64_t v = s->list[i].values[type];
        size_t n;
        if (v <= 0) continue;
        if (weights.len == 0)
            buf_printf(out, "%s{\"type\":\"sampled\",\"name\":\"%s\",\"unit\":\"%s\",\"startValue\":0,\"samples\":[",
                       first ? "" : ",\n", s->types[type].name,
                       strcmp(s->types[type].unit, "bytes") == 0 ? "bytes" : "none");
        struct site *lines = stack_lines(s->r, s->list[i].stack, &n);
        struct site none = {.function = "(no stack)"};
        buf_printf(out, "%s[", sep);
        for (size_t j = 0; j < n; j++) buf_printf(out, j ? ",%zu" : "%zu", frame_index(s->r, f, &lines[j]));
        if (n == 0) buf_printf(out, "%zu", frame_index(s->r, f, &none));
        buf_puts(out, "]");
        buf_printf(&weights, "%s%" PRId64, sep, v);
        add_capped(&total, v);
        sep = ",";
    }
    if (weights.len) buf_printf(out, "],\"weights\":[%s],\"endValue\":%" PRId64 "}", weights.data, total);
    bool any = weights.len > 0;
    buf_free(&weights);
    return any;
}

void speedscope_encode(const struct samples *s, const char *name, struct buf *out)
{
    struct frames f = {0};
    struct buf profiles = {0};
    unsigned n = 0, active = 0;
    for (unsigned t = 0; t < s->ntypes; t++) {
        if (!profile(s, &f, t, n == 0, &profiles)) continue;
        if (t == s->preferred) active = n;
        n++;
    }
    buf_puts(out,
             "{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\",\"exporter\":\"seep " SEEP_VERSION
             "\",\"name\":");
    buf_json(out, name);
    buf_printf(out, ",\"activeProfileIndex\":%u,\"shared\":{\"frames\":[%s]},\n\"profiles\":[%s]}\n", active,
               f.json.data ? f.json.data : "", profiles.data ? profiles.data : "");
    map_free(&f.ids);
    buf_free(&f.json);
    buf_free(&profiles);
}
