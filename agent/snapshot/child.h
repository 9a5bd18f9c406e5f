/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the snapshot's child share: child.c drives, in this order,
 *
 *     collect spans ─▶ roots ─▶ mark ─▶ judge (tasks, then memory) ─▶ account (RSS) ─▶ write (SQLite)
 *
 * on the child's frozen copy of the process.
 *
 * Invariants
 *   1. One thread. Nothing here runs in the parent, except child_prepare_*.
 *   2. Memory comes from scratch_alloc() (os_alloc, never the heap, never freed: the child exits), so the heap that
 *      is judged does not change.
 *   3. A failure leaves by child_fail(): one message, one errno, no half-written recording. */
#ifndef SEEP_SNAPSHOT_CHILD_H
#define SEEP_SNAPSHOT_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/contract/contract.h"
#include "agent/heap/heap.h"
#include "agent/snapshot/snapshot.h"

/* ---- child.c */
void *scratch_alloc(size_t size); /* zeroed, 16-byte aligned; fails by child_fail() */
_Noreturn void child_fail(int error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Whole of a /proc file, terminated by a 0 byte; NULL when it can't be read. */
char *child_read_file(const char *path, size_t *len);
void child_sort(void *base, size_t n, size_t size, int (*cmp)(const void *, const void *)); /* in place, not stable */

/* Counters by 64-bit key, for groups of anything. Key 0 is allowed. Grows; never shrinks. */
struct child_map_entry {
    uint64_t key;
    uint32_t value; /* 1-based; 0: empty entry */
};
struct child_map {
    struct child_map_entry *entries;
    size_t mask, used;
};
uint32_t *child_map_slot(struct child_map *m, uint64_t key); /* 0 when new: the caller stores a value > 0 at once */
uint32_t child_map_get(const struct child_map *m, uint64_t key);
void child_map_room(struct child_map *m, size_t n); /* for n in all, at once */

/* A growing array of equal items. */
struct child_vec {
    char *items;
    size_t n, room;
};
void *child_vec_add(struct child_vec *v, size_t item_size); /* zeroed */
/* The item of a key; zeroed when the key is new. index is of these items alone, which are added here only. */
void *child_group(struct child_map *index, struct child_vec *items, uint64_t key, size_t item_size);

/* ---- mark.c: spans, mark bits; mark_drain.c: the marker */
struct span_rec {
    uintptr_t base;
    uint32_t magic; /* ceil(2^32 / elem): slot = offset * magic >> 32; 0: one large object */
    uint32_t nelems;
    uint32_t elem;  /* bytes; of a large object: 0, see span_elem() */
    uint32_t words; /* first of its mark words */
    uint32_t npages;
    uint32_t noscan;
};
#define PAGE_SHIFT_SEEP 13
#define ARENA_SHIFT     26
#define ARENA_PAGES     (1u << (ARENA_SHIFT - PAGE_SHIFT_SEEP))

/* What the inner loop needs of a span stands in the entry of each of its pages, and in a small table of shapes that
 * stays in the first-level cache: kind << 54 | how far into the span the page is << 32 | first mark word; 0: no span. */
struct span_kind {
    uint32_t elem, magic, nelems;
    uint16_t noscan, covered; /* covered: references to its objects are noted by cover.c */
};
enum { SPAN_KINDS = 1024, SPAN_KIND_LARGE = 1, ENTRY_IN_MASK = 0x3fffff };

/* 64 slots. What the marker always wants of them stands in marker.marks, where a cache line is for 512. */
struct mark_word {
    uint64_t inner; /* reached, and so far only by pointers into its middle */
    uint64_t free;
    uint64_t extra; /* judge: watched for; then: indirectly unreachable */
};

struct object_ref { /* a resolved pointer */
    uint32_t span;  /* index into spans[] */
    uint32_t index; /* slot */
};

struct mark_range {
    uintptr_t lo, hi;
};

struct mark_ranges { /* a stack */
    struct mark_range *at;
    size_t n, room;
};

/* The heap in chunks of a few MiB, and the pointers into each that were found and not yet looked at (mark_chunks.c). */
enum { MARK_BLOCK = 126 };
struct mark_block {          /* aligned to its size */
    uint32_t at[MARK_BLOCK]; /* offsets in the chunk, from the last one down */
    struct mark_block *next;
};
/* An object of a chunk, marked and not yet scanned. */
struct mark_new {
    uint32_t at, size; /* offset in the chunk */
};
struct mark_chunk {
    struct mark_block *first, *last; /* NULL: none, and not in the queue */
    uint32_t *to;                    /* of one with flags: as marker.to */
    uint32_t words;                  /* the first mark word of its spans, + 1 */
    uint16_t flags;
    uint8_t blocks; /* that wait, at most MARK_RIPE */
    bool queued;
};
enum {
    CHUNK_COVERED = 1, /* has objects that cover.c wants to know references to */
    CHUNK_TURN = 2     /* its turn: its pointers are marked at once */
};

/* Pointers of one turn to the 64 slots of a mark word. */
struct mark_found {
    uint64_t start, inner; /* to their starts, to their middles */
};

/* A page of small slots. */
struct mark_page {
    uintptr_t page; /* from in.lo on; UINTPTR_MAX: none */
    uint32_t word;  /* first mark word of the span it is of */
    uint32_t in;    /* how far into that it is */
    uint32_t magic, elem, noscan;
};

/* Where words that are marked from stand. */
struct origin {
    enum origin_kind { FROM_MEMORY, FROM_STACK, FROM_REGISTER, FROM_TASK, FROM_KERNEL, FROM_RING } kind;
    uint64_t id; /* of a stack or register: the thread; of FROM_TASK: index of the task; of FROM_RING: of the target */
    uintptr_t delta; /* they stand at their address in the program plus this */
};

/* What makes a word a pointer. */
struct filter_ranges {
    uintptr_t keep;    /* bits of a word that make an address */
    uintptr_t lo, len; /* the heap, [lo, lo + len]: the end counts; lo is aligned to 64 MiB */
    /* While the marker watches: stacks of blocked tasks, [slo, slo + slen). */
    uintptr_t slo[2], slen[2];
};

struct marker {
    struct filter_ranges in;
    uint64_t **pages;    /* 64 MiB each → 8192 page entries; where there is no span, one array of zeros for all */
    uint32_t **span_ids; /* the same → index into spans[] */
    struct span_kind kinds[SPAN_KINDS];
    uint32_t nkinds;
    struct span_rec *spans;
    struct mspan **mspans;
    uint32_t nspans;
    uint64_t *marks; /* of each mark word: reached, or free */
    struct mark_word *words;
    size_t nwords;
    struct mark_ranges small, large; /* marked and not yet scanned: objects; (rests of) large objects */
    struct mark_chunk *chunks;
    uint32_t **
        to; /* of each: above the next free place in its last block; at its start, there is none or the chunk has flags */
    uint32_t nchunks, chunk_shift, chunk_mask;
    struct mark_new *fresh; /* of the chunk whose turn it is */
    uint32_t *turns;        /* ring of the chunks that have pointers */
    uint32_t first_turn, nturns;
    uint32_t *ripe, nripe; /* chunks that have MARK_RIPE blocks, the last one first */
    struct mark_page now;  /* where the last pointer was marked at once */
    /* Of the chunk whose turn it is; all zero in between. */
    struct mark_found *found; /* by mark word, from that of the first page on */
    uint8_t *found_pages;     /* pages with some, not 0 */
    struct mark_block *free_blocks;
    size_t used_blocks, max_blocks;
    unsigned filter; /* enum filter_kind */
    /* watch: count what is marked, and call hit() for each object whose `extra` bit is set */
    bool watch;
    uint64_t marked_objects, marked_bytes;
    void (*hit)(void *arg, struct object_ref o);
    void *hit_arg;
    /* ... and call stack_word() for each word that points into one of in's stacks */
    void (*stack_word)(void *arg, uintptr_t p);
    struct cover *cover; /* not NULL: what references to large objects cover is noted */
    /* Not NULL: mark_words() and what uses it mark nothing but tell what they are given. */
    void (*visit)(void *arg, const uintptr_t *lo, const uintptr_t *hi, const struct origin *from);
    void *visit_arg;
    struct origin origin; /* of what mark_words() is given */
};

static inline size_t span_elem(const struct span_rec *s)
{
    return s->elem ? s->elem : (size_t)s->npages << 13;
}
static inline uint64_t object_key(struct object_ref o) /* of a child_map */
{
    return (uint64_t)o.span << 32 | o.index;
}
/* Which bits of a span's mark word are slots. */
static inline uint64_t span_slots(const struct span_rec *s, uint32_t word)
{
    uint32_t left = s->nelems - word * 64;
    return left >= 64 ? ~0ull : (1ull << left) - 1;
}

void mark_collect(struct marker *m); /* spans and free slots; nothing is marked */
/* mark_chunks.c, for mark_collect(); span_pages: the most that a span of small slots has. */
void mark_chunks_init(struct marker *m, size_t heap_bytes, size_t span_pages);
/* A span at [lo, hi), of which word is the first mark word; in the order of addresses within a chunk. */
void mark_chunks_words(struct marker *m, uintptr_t lo, uintptr_t hi, uint32_t word);
/* References into [lo, hi) are of interest to cover.c. */
void mark_chunks_cover(struct marker *m, uintptr_t lo, uintptr_t hi);
/* off: from in.lo. */
static inline uint64_t mark_page_entry(const struct marker *m, uintptr_t off)
{
    return m->pages[off >> ARENA_SHIFT][(off >> PAGE_SHIFT_SEEP) & (ARENA_PAGES - 1)];
}
static inline uint32_t mark_entry_kind(uint64_t entry)
{
    return (uint32_t)(entry >> 54);
}
/* Of an entry of a small class: how far into the span off is. */
static inline uint32_t mark_entry_in(uint64_t entry, uintptr_t off)
{
    return (uint32_t)(off & ((1u << PAGE_SHIFT_SEEP) - 1)) + ((uint32_t)(entry >> 32) & ENTRY_IN_MASK);
}
/* ... the slot of off, and *in, how far into the span off is. */
static inline uint32_t mark_slot_of(const struct span_kind *k, uint64_t entry, uintptr_t off, uint32_t *in)
{
    *in = mark_entry_in(entry, off);
    return (uint32_t)((uint64_t)*in * k->magic >> 32);
}
/* product: of a magic number. Its low half is less than that where nothing is left over: Lemire, Kaser, Kurz, "Faster remainder by
 * direct computation", 2019. */
static inline bool mark_divides(uint64_t product, uint32_t magic)
{
    return (uint32_t)product < magic;
}
/* The slot that holds p, allocated or not. */
bool mark_resolve(const struct marker *m, uintptr_t p, struct object_ref *o);
static inline size_t mark_index(const struct marker *m, struct object_ref o)
{
    return m->spans[o.span].words + (o.index >> 6);
}
static inline struct mark_word *mark_word_of(const struct marker *m, struct object_ref o)
{
    return &m->words[mark_index(m, o)];
}
static inline bool mark_is_marked(const struct marker *m, struct object_ref o)
{
    return (m->marks[mark_index(m, o)] >> (o.index & 63)) & 1;
}
static inline bool mark_is_free(const struct marker *m, struct object_ref o)
{
    return (mark_word_of(m, o)->free >> (o.index & 63)) & 1;
}
static inline uintptr_t object_base(const struct marker *m, struct object_ref o)
{
    const struct span_rec *s = &m->spans[o.span];
    return s->base + (uintptr_t)o.index * s->elem;
}
/* p is where no allocated block begins: the slot that ends there, if any. */
static inline bool mark_ends_at(const struct marker *m, uintptr_t p, struct object_ref *o)
{
    return mark_resolve(m, p - 1, o) && object_base(m, *o) + span_elem(&m->spans[o->span]) == p;
}
/* Bits of the slots of a span's mark word that nothing reaches (free ones count as reached). */
static inline uint64_t mark_unreached(const struct marker *m, const struct span_rec *s, uint32_t word)
{
    return ~m->marks[s->words + word] & span_slots(s, word);
}
/* Aligned words of [lo, hi) are roots. The memory must be readable. Marks what it can; mark_drain() finishes. */
void mark_words(struct marker *m, const void *lo, const void *hi);
/* The same; words that point into [self_lo, self_hi) do not count as pointers. */
void mark_words_but(struct marker *m, const void *lo, const void *hi, uintptr_t self_lo, uintptr_t self_hi);
void mark_value(struct marker *m, uintptr_t v);
void mark_drain(struct marker *m);

/* ---- roots.c */
struct root_stats {
    uint64_t bytes;  /* scanned */
    bool incomplete; /* something that may hold pointers could not be read: no proofs */
    const char *why; /* when incomplete */
    uint32_t nmappings;
};
void roots_mark(struct marker *m, const struct snapshot_job *job, struct root_stats *stats);
void roots_mark_range(uintptr_t lo, uintptr_t hi); /* pages of private memory that are present */
/* The same; words that point into [self_lo, self_hi) do not count. */
void roots_mark_range_but(uintptr_t lo, uintptr_t hi, uintptr_t self_lo, uintptr_t self_hi);
/* The top of a thread's stack without its thread descriptor and static TLS, or the words that the kernel put on main's. */
void roots_mark_thread(const struct stopped_thread *t); /* its registers and its stack */
uintptr_t roots_stack_top(uintptr_t stack_lo, uintptr_t stack_hi, uintptr_t tls);

/* ---- judge.c */
enum task_doom {
    DOOM_NONE,
    DOOM_RING,   /* one of a ring of owners: who waits for it waits for itself */
    DOOM_BEHIND, /* waits for one of a ring, or for one behind it */
    DOOM_BEFORE  /* proven by an earlier snapshot, and it has not run since */
};
struct task_rec {
    uint64_t id;
    const char *name;
    uint8_t provider, state, reason;
    bool wakeable, blocked, live, is_thread;
    uint8_t doom; /* enum task_doom: leaked whatever can be reached */
    uint16_t nregs;
    uint32_t nwaits, waits;       /* waits: first index in judge.waits */
    uint32_t regs;                /* first index in judge.regs */
    uint32_t create_stack, stack; /* stack ids */
    uint64_t blocked_since_ns;
    uintptr_t stack_lo, stack_hi, sp, pc, fp;
    uintptr_t stack_top; /* below it are the frames of the program */
    const void *image;   /* the live part of its stack stands there: packed, or a copy */
    bool copied;
    uint64_t committed_bytes, schedules, cpu_ns;
    uintptr_t ref; /* seep_task.ref */
    bool
        pointed_into; /* a live word outside of its frames points into them; known of blocked ones and those with a ref */
    uint32_t defer_depth;
    uint32_t awaited;       /* first of the waits for what stands on its stack, + 1 */
    uint32_t ring;          /* of DOOM_RING: the next one of the ring, + 1 */
    uint64_t first_seen_ns; /* mono_ns of the first snapshot that proved it leaked; 0: not leaked */
};
struct wait_rec {
    uintptr_t object;
    uint64_t owner; /* id of the task that holds it, of the same provider; 0: unknown */
    uint32_t task;  /* index of the waiter */
    uint32_t next;  /* + 1: next wait for the same object */
    uint8_t kind;
    bool reached;
};
/* From where a path may lead to an object: see found_by() in path.c. */
enum path_kind {
    PATH_NONE,
    PATH_ANY,
    PATH_BLOCK, /* from stacks only where nothing else is found */
    PATH_WAIT,  /* the same, and not from stacks of tasks that wait */
    PATH_RING   /* from one block: of a ring of finalizers, which keeps itself */
};
struct finding {
    enum seep_rule rule;
    enum seep_confidence confidence;
    uint32_t stack, create_stack; /* stack ids, 0: none */
    enum seep_wait_reason reason;
    uint64_t objects, bytes;
    double est_objects, est_bytes;
    bool sampled;
    uint64_t oldest_ns;
    enum path_kind path;       /* not PATH_NONE: holders.c adds what holds */
    struct object_ref example; /* this */
    struct object_ref ring;    /* PATH_RING: from there */
    char evidence[2048];
};
/* Appends to the evidence, a JSON object; what does not fit is left out. Returns its length. */
size_t finding_add(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct bucket_verdict { /* per bucket id: sampled objects in use */
    uint64_t unreachable, unreachable_bytes, interior, interior_bytes, direct;
    struct object_ref interior_one;
    uint32_t oldest_ms, oldest_interior_ms; /* greatest ages */
};
struct age_rec {
    uint32_t stack, bucket;
    uint64_t objects, bytes;
};
struct path_rec {     /* a row of the table path */
    const char *kind; /* as there */
    uint32_t stack;   /* 0: not known */
    const char *steps;
};
struct judgement {
    struct task_rec *tasks;
    size_t ntasks;
    struct wait_rec *waits;
    size_t nwaits;
    uint64_t leaked_tasks;
    struct child_vec findings; /* of struct finding */
    struct bucket_verdict *buckets;
    uint32_t nbuckets;
    struct child_vec ages;  /* of struct age_rec */
    struct child_vec paths; /* of struct path_rec */
    uint64_t live_objects, live_bytes, unreachable_objects, unreachable_bytes, interior_objects, interior_bytes;
    uint64_t direct_objects, direct_bytes; /* of the unreachable: heads */
    bool proofs;
    const char *no_proofs_why;
};
/* Appends why nothing is proven, where that is so. */
void finding_add_doubt(struct finding *f, const struct judgement *j);
/* Copies the providers' tasks; before roots_mark(). */
void judge_collect(struct marker *m, const struct snapshot_job *job, struct judgement *j);
/* The thread is blocked where only other tasks can wake it: its registers and frames are no roots. Of what is left of
 * its stack roots.c decides. */
bool judge_is_waiting_thread(int tid);
bool judge_owns_stack(uintptr_t lo, uintptr_t hi); /* some task that is no thread has its stack there */
/* After roots_mark(): tasks, then memory. */
void judge_tasks(struct marker *m, const struct snapshot_job *job, struct judgement *j);
void judge_heap(struct marker *m, const struct snapshot_job *job, struct judgement *j);

/* ---- judge_cycle.c */
void judge_cycles(struct judgement *j);                                      /* rings of owners: sets doom and `ring` */
void judge_tell_cycles(struct judgement *j, const struct snapshot_job *job); /* findings */

/* ---- judge_sticky.c: what snapshots remember of each other */
void judge_sticky_prepare(void);                                          /* in the parent, before the stop */
bool judge_sticky_owns(uintptr_t lo, uintptr_t hi);                       /* the table is there: no root */
void judge_recall(struct judgement *j);                                   /* sets doom and first_seen_ns */
void judge_remember(struct judgement *j, const struct snapshot_job *job); /* sets first_seen_ns */
uint64_t *judge_note(uint64_t key); /* a word that later snapshots will find again, 0 at first; NULL: no room */

/* ---- judge_timers.c */
void timers_collect(struct marker *m);
bool timers_wake(struct object_ref o); /* a pending timer will send on it */
void timers_judge(const struct snapshot_job *job, struct judgement *j);
void defers_judge(const struct snapshot_job *job, struct judgement *j);

/* ---- judge_final.c: blocks with finalizers; after the tasks */
void finalizers_judge(struct marker *m, const struct snapshot_job *job, struct judgement *j);

/* ---- judge_empty.c: before judge_heap() */
void empty_arrays_mark(struct marker *m);

/* ---- judge_escape.c: pointers into dead parts of stacks; after judge_heap() */
void escape_judge(struct marker *m, const struct snapshot_job *job, struct judgement *j);

/* ---- judge_groups.c */
/* Leaked tasks by site, with what only they keep: scan(task) marks from a task's stack. */
void judge_groups(struct marker *m, const struct snapshot_job *job, struct judgement *j,
                  void (*scan)(const struct task_rec *t, const struct snapshot_job *job));
void judge_unwind(const struct snapshot_job *job, struct judgement *j); /* fills task_rec.stack */
/* Where to begin; *image: of its stack, or NULL. False: not known. */
bool judge_task_regs(const struct snapshot_job *job, const struct task_rec *t, struct unwind_regs *regs,
                     const void **image, bool *interrupted);

/* ---- cover.c: how much of a large object the references to it cover */
enum { COVER_MIN_BYTES = 5461 }; /* smaller ones can't waste what counts */
void cover_init(struct marker *m);
/* The word at w, one of [w, end), points into object o. */
void cover_note(struct marker *m, struct object_ref o, const uintptr_t *w, const uintptr_t *end);
void cover_judge(struct marker *m, const struct snapshot_job *job, struct judgement *j); /* after judge_heap() */

/* ---- path.c: from a root to one object of each target, as a JSON array in buf; found: it was, in time. */
enum { PATH_TARGETS = 32 };
struct path_target {
    enum path_kind kind;
    const struct object_ref *of;
    unsigned n;
    struct object_ref ring; /* PATH_RING: from there */
    bool found;
    char *buf;
    size_t size;
};
void path_find(struct marker *m, const struct snapshot_job *job, const struct judgement *j, struct path_target *targets,
               unsigned n, uint64_t deadline_ns);
/* ---- path_forward.c: the same for targets that are asked for; all that are reached are found, but those that nothing but a timer or a
 * finalizer keeps. PATH_RING is not for it. False: there was no time for all. */
bool path_find_forward(struct marker *m, const struct snapshot_job *job, const struct judgement *j,
                       struct path_target *targets, unsigned n, uint64_t deadline_ns);

/* ---- path_steps.c */
struct path_root {
    struct origin from;
    uintptr_t at; /* of the word */
};
struct path_step {
    struct object_ref o;
    size_t offset; /* of the pointer to the next one */
};
void path_write(struct marker *m, const struct snapshot_job *job, const struct judgement *j,
                const struct path_target *t, const struct path_root *root, const struct path_step *steps, size_t n);
/* A block and what holds it, a step without members. Returns the length. */
size_t path_under(struct marker *m, const char *at, struct object_ref of, char *buf, size_t size);
/* Where a word stands, as such an array of one or two: a global, or a block that is live. Returns the length. */
size_t path_of_word(struct marker *m, uintptr_t at, char *buf, size_t size);
void judge_visit_tasks(const struct snapshot_job *job); /* in visit mode: every stack of a task that is no thread */
uint32_t object_site(struct marker *m, struct object_ref o); /* stack id of a sampled object's allocation, or 0 */

/* ---- store_intern.c */
uint64_t stack_key(uint32_t id); /* of stack_key.h; costs as much as its frames */

/* ---- holders.c: paths for what was asked for, or the stacks with most bytes and most waiting tasks; after all verdicts */
void holders_find(struct marker *m, const struct snapshot_job *job, struct judgement *j, uint64_t mark_ns);

/* ---- account.c */
struct rss_row {
    const char *part, *name;
    uint64_t rss_bytes, lazy_free_bytes, size_bytes;
};
struct account {
    struct child_vec rows; /* of struct rss_row; parts are disjoint and add up to rss_bytes */
    uint64_t rss_bytes, size_bytes;
    uint64_t hidden_bytes; /* of the program's memory that fork does not copy: may hold pointers we do not see */
    bool known;
};
void account_read(struct account *a, int pid, const struct snapshot_job *job);

/* ---- write.c: the recording */
struct process_start;
struct snapshot_times {
    uint64_t mark_ns, duration_ns;
};
/* Everything in one transaction. Fails by child_fail(). */
void write_snapshot(const struct snapshot_job *job, const struct process_start *who, const struct snapshot_times *times,
                    const struct judgement *j, const struct account *a);

#endif
