/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows that snapshots and processes share: images, frames, stacks.
 *
 * The agent's stack id is turned into a key that does not depend on the process (contract/stack_key.h); a stack that is
 * in the recording costs one look-up, a new one its frames as well. Each distinct (address, module generation) is resolved
 * once a snapshot. Linear in the frames of the stacks that are used. */
#include "agent/snapshot/store.h"

#include <string.h>

#include "agent/contract/stack_key.h"
#include "agent/profile/profile.h"

struct frame_rec {
    uint64_t key, offset;
    int64_t image, row; /* row 0: not looked up yet */
};

static struct {
    int64_t process;
    int64_t *stack_rows; /* by stack id */
    uint32_t nstacks;
    struct child_map by_pc;
    struct child_vec frames; /* of struct frame_rec */
    struct child_map image_index;
    struct child_vec image_rows; /* of int64_t */
    sqlite3_stmt *image_add, *image_get, *frame_add, *frame_get, *stack_get, *stack_add, *mapping_add;
} I;

const char *store_text(const char *s)
{
    static char buf[8192];
    size_t n = 0;
    const unsigned char *p = (const unsigned char *)s;
    while (*p && n < sizeof buf - 4) {
        unsigned len = *p < 0x80                 ? 1
                       : *p >= 0xc2 && *p < 0xe0 ? 2
                       : *p >= 0xe0 && *p < 0xf0 ? 3
                       : *p >= 0xf0 && *p < 0xf5 ? 4
                                                 : 0;
        bool ok = len > 0;
        for (unsigned i = 1; ok && i < len; i++) ok = (p[i] & 0xc0) == 0x80;
        if (ok && len == 3) ok = !(p[0] == 0xe0 && p[1] < 0xa0) && !(p[0] == 0xed && p[1] >= 0xa0);
        if (ok && len == 4) ok = !(p[0] == 0xf0 && p[1] < 0x90) && !(p[0] == 0xf4 && p[1] >= 0x90);
        if (!ok) {
            memcpy(buf + n, "\xef\xbf\xbd", 3);
            n += 3;
            p++;
            continue;
        }
        memcpy(buf + n, p, len);
        n += len;
        p += len;
    }
    buf[n] = 0;
    return buf;
}

void intern_begin(int64_t process)
{
    I.process = process;
    I.nstacks = stack_count();
    I.stack_rows = scratch_alloc((I.nstacks + 1) * sizeof *I.stack_rows);
    I.image_add = store_prepare("INSERT OR IGNORE INTO image (path, build_id) VALUES (?1, ?2)");
    I.image_get = store_prepare("SELECT id FROM image WHERE path = ?1 AND build_id = ?2");
    I.frame_add = store_prepare("INSERT OR IGNORE INTO frame (image, offset) VALUES (?1, ?2)");
    I.frame_get = store_prepare("SELECT id FROM frame WHERE ifnull(image, 0) = ?1 AND offset = ?2");
    I.stack_get = store_prepare("SELECT id FROM stack WHERE hash = ?1");
    I.stack_add = store_prepare("INSERT INTO stack (hash, frames) VALUES (?1, ?2)");
    I.mapping_add = store_prepare("INSERT OR REPLACE INTO mapping (process, image, start_addr, end_addr, file_offset,"
                                  " bias, unloaded) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
}

static int64_t intern_image(const struct prof_module *m)
{
    uint64_t key = seep_key_string(seep_key_string(SEEP_KEY_INIT, m->build_id), m->path);
    uint32_t *slot = child_map_slot(&I.image_index, key);
    if (!*slot) {
        const char *path = store_text(m->path);
        store_run(I.image_add, "tt", path, m->build_id);
        int64_t row = store_get(I.image_get, "tt", path, m->build_id);
        *(int64_t *)child_vec_add(&I.image_rows, sizeof row) = row;
        *slot = (uint32_t)I.image_rows.n;
    }
    return ((int64_t *)I.image_rows.items)[*slot - 1];
}

void intern_mappings(void)
{
    for (uint32_t i = 0; i < modules_count(); i++) {
        const struct prof_module *m = modules_get(i);
        store_run(I.mapping_add, "iiiiiii", I.process, intern_image(m), (int64_t)m->text_lo, (int64_t)m->text_hi,
                  (int64_t)m->file_offset, (int64_t)m->bias, (int64_t)(m->unloaded != 0));
    }
}

/* The image of a frame, if there is one; its offset and its key. */
static const struct prof_module *resolve(uintptr_t pc, uint32_t generation, uint64_t *offset, uint64_t *key)
{
    const struct prof_module *m = modules_find(pc - 1, generation);
    *offset = m ? pc - m->bias : pc;
    *key = seep_frame_key(!m ? "" : m->build_id[0] ? m->build_id : m->path, *offset);
    return m;
}

/* A return address may be one past the end of its function, and of its module: look at the byte before it. */
static uint32_t frame_of(uintptr_t pc, uint32_t generation)
{
    uint32_t *slot = child_map_slot(&I.by_pc, pc + ((uint64_t)generation << 47));
    if (*slot) return *slot - 1;
    struct frame_rec *f = child_vec_add(&I.frames, sizeof *f);
    *slot = (uint32_t)I.frames.n;
    const struct prof_module *m = resolve(pc, generation, &f->offset, &f->key);
    if (m) f->image = intern_image(m);
    return (uint32_t)I.frames.n - 1;
}

static uint32_t frame_row(uint32_t index)
{
    struct frame_rec *f = (struct frame_rec *)I.frames.items + index;
    if (!f->row) {
        store_run(I.frame_add, "ri", f->image, (int64_t)f->offset);
        f->row = sqlite3_changes(store_db) ? sqlite3_last_insert_rowid(store_db)
                                           : store_get(I.frame_get, "ii", f->image, (int64_t)f->offset);
    }
    return (uint32_t)f->row;
}

uint64_t stack_key(uint32_t id)
{
    const uintptr_t *pcs;
    uint32_t generation;
    uint64_t hash = SEEP_KEY_INIT, offset, key;
    unsigned n = stack_get(id, &pcs, &generation);
    for (unsigned i = 0; i < n && i < PROF_MAX_DEPTH; i++) {
        resolve(pcs[i], generation, &offset, &key);
        hash = seep_stack_key_add(hash, key);
    }
    return hash;
}

static int64_t add_stack(uint64_t hash, const uint32_t *frames, unsigned n)
{
    sqlite3_bind_int64(I.stack_add, 1, (int64_t)hash);
    sqlite3_bind_blob(I.stack_add, 2, frames, (int)(n * sizeof *frames), SQLITE_STATIC);
    if (sqlite3_step(I.stack_add) != SQLITE_DONE) store_fail();
    sqlite3_reset(I.stack_add);
    return sqlite3_last_insert_rowid(store_db);
}

int64_t intern_unknown_stack(void)
{
    int64_t row = store_get(I.stack_get, "i", (int64_t)SEEP_KEY_INIT);
    return row ? row : add_stack(SEEP_KEY_INIT, (const uint32_t[]){0}, 0);
}

int64_t intern_stack(uint32_t id)
{
    static uint32_t frames[PROF_MAX_DEPTH];
    const uintptr_t *pcs;
    uint32_t generation;
    if (id == 0 || id > I.nstacks) return 0;
    if (I.stack_rows[id]) return I.stack_rows[id];
    unsigned n = stack_get(id, &pcs, &generation);
    if (n > PROF_MAX_DEPTH) n = PROF_MAX_DEPTH;
    uint64_t hash = SEEP_KEY_INIT;
    for (unsigned i = 0; i < n; i++) {
        frames[i] = frame_of(pcs[i], generation);
        hash = seep_stack_key_add(hash, ((struct frame_rec *)I.frames.items)[frames[i]].key);
    }
    int64_t row = store_get(I.stack_get, "i", (int64_t)hash);
    if (!row) {
        for (unsigned i = 0; i < n; i++) frames[i] = frame_row(frames[i]);
        row = add_stack(hash, frames, n);
    }
    return I.stack_rows[id] = row;
}
