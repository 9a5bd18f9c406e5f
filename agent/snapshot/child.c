/* SPDX-License-Identifier: Apache-2.0
 *
 * The snapshot's child: what runs after the fork, and the little that must be done in the parent before it.
 *
 * The child maps what it needs itself (its mappings are its own), so nothing is reserved in the program's
 * address space between snapshots. Memory: 4 bits a slot, 48 bytes a span, 12 bytes a page of 8 KiB, and pointers that wait,
 * at most 1/32 of the heap: 7 % of a heap of 16-byte objects, 4.2 % of one of 64-byte objects.
 *
 * Errors: child_fail() jumps back to snapshot_child(), which returns the errno; the message is in the result. */
#include "agent/snapshot/child.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include "agent/entry/entry.h"
#include "agent/gc/finalizer.h"
#include "agent/os/os.h"
#include "agent/profile/profile.h"
#include "agent/snapshot/check.h"
#include "agent/snapshot/raw.h"
#include "agent/snapshot/roots.h"
#include "agent/util/log.h"

static const struct snapshot_job *current;
static jmp_buf failed;

/* ---- memory */

#define CHUNK (1u << 20)
static struct {
    char *p, *end;
} arena;

static bool own_mapping(size_t size)
{
    return size > CHUNK / 4;
}

void *scratch_alloc(size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (own_mapping(size)) {
        void *p = os_alloc(size, OS_OTHER);
        if (!p) child_fail(-ENOMEM, "no memory for the analysis (%zu bytes)", size);
        if (size >= 2 * CHUNK) os_huge(p, size, true);
        return p;
    }
    if ((size_t)(arena.end - arena.p) < size) {
        bool first = !arena.end;
        arena.p = os_alloc(CHUNK, OS_OTHER);
        if (!arena.p) {
            arena.end = NULL;
            child_fail(-ENOMEM, "no memory for the analysis");
        }
        if (!first) os_populate(arena.p, CHUNK); /* a page fault each takes twice as long */
        arena.end = arena.p + CHUNK;
    }
    void *p = arena.p;
    arena.p += size;
    return p;
}

/* p is of scratch_alloc(), or NULL and old_size 0. */
static void *scratch_grow(void *p, size_t old_size, size_t size)
{
    if (own_mapping(old_size)) {
        p = os_remap(p, old_size, size);
        if (!p) child_fail(-ENOMEM, "no memory for the analysis (%zu bytes)", size);
        return p;
    }
    void *new = scratch_alloc(size);
    if (old_size) memcpy(new, p, old_size);
    return new;
}

_Noreturn void child_fail(int error, const char *fmt, ...)
{
    struct snapshot_result *r = current->result;
    va_list ap;
    va_start(ap, fmt);
    fmt_vstring(r->message, sizeof r->message, fmt, ap);
    va_end(ap);
    r->error = error;
    longjmp(failed, 1);
}

char *child_read_file(const char *path, size_t *len)
{
    int fd = raw_open(path, O_RDONLY, 0);
    if (fd < 0) return NULL;
    size_t n = 0, room = 256 << 10;
    char *buf = os_alloc(room, OS_OTHER);
    for (;;) {
        if (!buf) child_fail(-ENOMEM, "no memory for the analysis");
        long r = raw_read(fd, buf + n, room - 1 - n);
        if (r == -EINTR) continue;
        if (r < 0) {
            raw_close(fd);
            os_free(buf, room);
            return NULL;
        }
        if (r == 0) break;
        n += (size_t)r;
        if (n == room - 1) {
            buf = os_remap(buf, room, room * 2);
            room *= 2;
        }
    }
    raw_close(fd);
    buf[n] = 0;
    if (len) *len = n;
    return buf;
}

void *child_vec_add(struct child_vec *v, size_t item_size)
{
    if (v->n == v->room) {
        size_t room = v->room ? v->room * 2 : 16;
        v->items = scratch_grow(v->items, v->n * item_size, room * item_size);
        v->room = room;
    }
    return v->items + v->n++ * item_size;
}

/* ---- maps */

/* Eight keys in a row are neighbours: objects of one span are asked for in their order. */
static size_t map_index(const struct child_map *m, uint64_t key)
{
    uint64_t h = (key >> 3) * 0x9e3779b97f4a7c15ull;
    size_t i = (size_t)((h ^ (h >> 32)) << 3 | (key & 7)) & m->mask;
    while (m->entries[i].value && m->entries[i].key != key) i = (i + 1) & m->mask;
    return i;
}

static void map_grow(struct child_map *m, size_t mask)
{
    struct child_map old = *m;
    m->mask = mask;
    m->entries = scratch_alloc((mask + 1) * sizeof *m->entries);
    for (size_t i = 0; old.entries && i <= old.mask; i++)
        if (old.entries[i].value) m->entries[map_index(m, old.entries[i].key)] = old.entries[i];
}

uint32_t *child_map_slot(struct child_map *m, uint64_t key)
{
    if (!m->entries || m->used * 2 > m->mask) map_grow(m, m->entries ? m->mask * 2 + 1 : 63);
    size_t i = map_index(m, key);
    if (!m->entries[i].value) {
        m->used++;
        m->entries[i].key = key;
    }
    return &m->entries[i].value;
}

void child_map_room(struct child_map *m, size_t n)
{
    size_t mask = 63;
    while (n * 2 > mask) mask = mask * 2 + 1;
    if (mask > m->mask) map_grow(m, mask);
}

uint32_t child_map_get(const struct child_map *m, uint64_t key)
{
    return m->entries ? m->entries[map_index(m, key)].value : 0;
}

void *child_group(struct child_map *index, struct child_vec *items, uint64_t key, size_t item_size)
{
    uint32_t *slot = child_map_slot(index, key);
    if (*slot) return items->items + (*slot - 1) * item_size;
    void *item = child_vec_add(items, item_size);
    *slot = (uint32_t)items->n;
    return item;
}

/* Heapsort: libc's qsort may call malloc. */
void child_sort(void *base, size_t n, size_t size, int (*cmp)(const void *, const void *))
{
    char *a = base;
    char tmp[512];
    if (size > sizeof tmp) child_fail(-E2BIG, "items of %zu bytes are not sorted", size);
    if (n < 2) return;
    size_t ordered = 1;
    while (ordered < n && cmp(a + (ordered - 1) * size, a + ordered * size) <= 0) ordered++;
    if (ordered == n) return; /* often so */
    for (size_t start = n / 2, end = n; end > 1;) {
        if (start > 0) {
            start--;
        } else {
            end--;
            memcpy(tmp, a, size);
            memcpy(a, a + end * size, size);
            memcpy(a + end * size, tmp, size);
        }
        for (size_t root = start; root * 2 + 1 < end;) {
            size_t kid = root * 2 + 1;
            if (kid + 1 < end && cmp(a + kid * size, a + (kid + 1) * size) < 0) kid++;
            if (cmp(a + root * size, a + kid * size) >= 0) break;
            memcpy(tmp, a + root * size, size);
            memcpy(a + root * size, a + kid * size, size);
            memcpy(a + kid * size, tmp, size);
            root = kid;
        }
    }
}

/* ---- findings */

size_t finding_add(struct finding *f, const char *fmt, ...)
{
    size_t n = strlen(f->evidence);
    va_list ap;
    va_start(ap, fmt);
    n += fmt_vstring(f->evidence + n, sizeof f->evidence - n, fmt, ap);
    va_end(ap);
    return n;
}

void finding_add_doubt(struct finding *f, const struct judgement *j)
{
    if (j->proofs) return;
    finding_add(f, "%s\"no_proof\":\"%s\"", f->evidence[strlen(f->evidence) - 1] == '{' ? "" : ",", j->no_proofs_why);
}

/* ---- the parent's side */

void snapshot_child_prepare(void)
{
    roots_kernel_prepare();
    judge_sticky_prepare();
    finalizers_prepare();
}

/* ---- the child's */

static size_t own_bytes(void)
{
    return os_kind_bytes(OS_OTHER) + os_kind_bytes(OS_GC);
}

static void run(const struct snapshot_job *job)
{
    static struct marker m;
    static struct judgement j;
    static struct root_stats roots;
    static struct account a;
    uint64_t begin = os_mono_ns();
    size_t before = own_bytes();
    account_read(&a, process_start()->pid, job); /* first: the program runs on and its figures with it */
    uint64_t t0 = os_mono_ns();
    mark_collect(&m);
    cover_init(&m);
    judge_collect(&m, job, &j);
    roots_mark(&m, job, &roots);
    j.no_proofs_why = job->nmissed       ? "a thread did not stop, its registers are unknown"
                      : roots.incomplete ? roots.why
                      : a.hidden_bytes   ? "the program excludes memory from fork"
                                         : NULL;
    j.proofs = !j.no_proofs_why;
    judge_tasks(&m, job, &j);
    finalizers_judge(&m, job, &j);
    if (job->request.trigger == TRIGGER_PROVIDERS) return;
    uint64_t t1 = os_mono_ns();
    empty_arrays_mark(&m);
    judge_heap(&m, job, &j);
    cover_judge(&m, job, &j);
    if (!job->request.check) escape_judge(&m, job, &j);
    uint64_t t2 = os_mono_ns();
    if (!job->request.check) holders_find(&m, job, &j, t1 - t0);
    struct snapshot_times times = {t1 - t0, t2 - (job->mono_ns ? job->mono_ns : begin)};
    job->result->duration_ns = times.duration_ns;
    job->result->unreachable_objects = j.unreachable_objects;
    job->result->unreachable_bytes = j.unreachable_bytes;
    job->result->leaked_tasks = j.leaked_tasks;
    log_verbose(2,
                "snapshot %u: account %lu us, mark %lu us, judge %lu us, paths %lu us, roots %lu KiB, memory %lu KiB",
                job->seq, (unsigned long)(t0 - begin) / 1000, (unsigned long)(t1 - t0) / 1000,
                (unsigned long)(t2 - t1) / 1000, (unsigned long)(os_mono_ns() - t2) / 1000,
                (unsigned long)roots.bytes / 1024, (unsigned long)(own_bytes() - before) / 1024);
    if (job->request.check)
        check_fill(job, &j);
    else
        write_snapshot(job, process_start(), &times, &j, &a);
}

int snapshot_child(const struct snapshot_job *job)
{
    current = job;
    job->result->seq = job->seq;
    if (setjmp(failed) == 0) {
        run(job);
        job->result->error = 0;
        job->result->message[0] = 0;
    }
    return job->result->error;
}
