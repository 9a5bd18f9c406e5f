/* SPDX-License-Identifier: Apache-2.0
 *
 * One snapshot into the recording: rows of contract/schema.sql, one transaction. Every text that came from the
 * program passes store_text(). */
#include "agent/snapshot/store.h"

#include <string.h>
#include <sys/utsname.h>

#include "agent/contract/names.h"
#include "agent/contract/stack_key.h"
#include "agent/entry/entry.h"
#include "agent/include/seep.h"
#include "agent/os/os.h"
#include "agent/profile/profile.h"
#include "agent/snapshot/limits.h"
#include "agent/snapshot/raw.h"
#include "agent/util/options.h"

static const char *const trigger_names[] = SNAPSHOT_TRIGGER_NAMES;
static const char *const confidence_names[] = SEEP_CONFIDENCE_NAMES;
static const char *const state_names[] = SEEP_TASK_STATE_NAMES;
static const char *const kind_names[] = SEEP_OBJECT_KIND_NAMES;

static int64_t write_process(const struct process_start *who)
{
    static char exe[4096];
    struct utsname host;
    sqlite3_stmt *get = store_prepare("SELECT id FROM process WHERE pid = ?1 AND start_unix_ns = ?2");
    int64_t row = store_get(get, "ii", (int64_t)who->pid, (int64_t)who->start_unix_ns);
    if (row) return row;
    long n = raw_readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    size_t len = 0;
    char *argv = child_read_file("/proc/self/cmdline", &len);
    for (size_t i = 0; argv && i + 1 < len; i++)
        if (!argv[i]) argv[i] = SEEP_ARGV_SEP;
    if (sys3(SYS_uname, (long)&host, 0, 0) < 0) host.nodename[0] = 0;
    sqlite3_stmt *add = store_prepare(
        "INSERT INTO process (pid, ppid, start_unix_ns, start_mono_ns, exe, argv, host, agent_version, page_bytes)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
    /* text one by one: store_text() has one buffer */
    sqlite3_bind_text(add, 5, store_text(exe), -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(add, 6, store_text(argv ? argv : ""), -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(add, 7, store_text(host.nodename), -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(add, 8, SEEP_VERSION, -1, SQLITE_STATIC);
    sqlite3_bind_int64(add, 9, (int64_t)os_page_size());
    store_run(add, "iiii", (int64_t)who->pid, (int64_t)who->ppid, (int64_t)who->start_unix_ns,
              (int64_t)who->start_mono_ns);
    return sqlite3_last_insert_rowid(store_db);
}

static int64_t write_head(const struct snapshot_job *job, int64_t process, const struct snapshot_times *times,
                          const struct judgement *j)
{
    sqlite3_stmt *s = store_prepare(
        "INSERT INTO snapshot (process, seq, trigger, label, unix_ns, mono_ns, pause_ns, mark_ns, duration_ns,"
        " rate_bytes, threads, threads_missed, live_objects, live_bytes, unreachable_objects, unreachable_bytes,"
        " interior_objects, interior_bytes)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)");
    unsigned threads = 0;
    for (unsigned i = 0; i < job->nthreads; i++) threads += !job->threads[i].is_agent;
    store_run(s, "iittiiiiiiiiiiiiii", process, (int64_t)job->seq, trigger_names[job->request.trigger],
              store_text(job->request.label), (int64_t)job->unix_ns, (int64_t)job->mono_ns,
              (int64_t)snapshot_job_pause(job), (int64_t)times->mark_ns, (int64_t)times->duration_ns,
              (int64_t)prof_rate(), (int64_t)threads, (int64_t)job->nmissed, (int64_t)j->live_objects,
              (int64_t)j->live_bytes, (int64_t)j->unreachable_objects, (int64_t)j->unreachable_bytes,
              (int64_t)j->interior_objects, (int64_t)j->interior_bytes);
    return sqlite3_last_insert_rowid(store_db);
}

static void write_stats(int64_t snapshot, const struct account *a)
{
    struct seep_memstats stats = {.size = sizeof stats};
    heap_stats_stopped(&stats);
    sqlite3_stmt *s = store_prepare("INSERT INTO stat (snapshot, name, value) VALUES (?1, ?2, ?3)");
#define STAT(field, unit, meaning) store_run(s, "iti", snapshot, #field, (int64_t)stats.field);
#include "agent/contract/stats.def"
#undef STAT
    uint64_t cgroup = cgroup_limit();
    if (agent_options.memlimit) store_run(s, "iti", snapshot, "memlimit", (int64_t)agent_options.memlimit);
    if (cgroup) store_run(s, "iti", snapshot, "cgroup_limit", (int64_t)cgroup);
    if (!a->known) return;
    store_run(s, "iti", snapshot, "rss", (int64_t)a->rss_bytes);
    store_run(s, "iti", snapshot, "vsize", (int64_t)a->size_bytes);
    s = store_prepare("INSERT INTO rss (snapshot, part, name, rss_bytes, lazy_free_bytes, size_bytes)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET"
                      " rss_bytes = rss_bytes + excluded.rss_bytes,"
                      " lazy_free_bytes = lazy_free_bytes + excluded.lazy_free_bytes,"
                      " size_bytes = size_bytes + excluded.size_bytes");
    const struct rss_row *r = (const struct rss_row *)a->rows.items;
    for (size_t i = 0; i < a->rows.n; i++, r++)
        store_run(s, "ittiii", snapshot, r->part, store_text(r->name), (int64_t)r->rss_bytes,
                  (int64_t)r->lazy_free_bytes, (int64_t)r->size_bytes);
}

/* Two of the agent's stacks may be one in the recording (a module that was unloaded and loaded again): sums. */
static void write_heap(int64_t snapshot, const struct judgement *j)
{
    sqlite3_stmt *s = store_prepare(
        "INSERT INTO heap (snapshot, stack, size_bytes, allocs, alloc_bytes, frees, free_bytes, unreachable,"
        " unreachable_bytes, interior, interior_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        " ON CONFLICT DO UPDATE SET allocs = allocs + excluded.allocs,"
        " alloc_bytes = alloc_bytes + excluded.alloc_bytes, frees = frees + excluded.frees,"
        " free_bytes = free_bytes + excluded.free_bytes, unreachable = unreachable + excluded.unreachable,"
        " unreachable_bytes = unreachable_bytes + excluded.unreachable_bytes,"
        " interior = interior + excluded.interior, interior_bytes = interior_bytes + excluded.interior_bytes");
    for (uint32_t b = 1; b <= j->nbuckets; b++) {
        const struct prof_bucket *p = bucket_get(b);
        const struct bucket_verdict *v = &j->buckets[b];
        int64_t stack = p ? intern_stack(p->stack) : 0;
        if (!stack) continue;
        store_run(s, "iiiiiiiiiii", snapshot, stack, (int64_t)p->size, (int64_t)p->allocs, (int64_t)p->alloc_bytes,
                  (int64_t)p->frees, (int64_t)p->free_bytes, (int64_t)v->unreachable, (int64_t)v->unreachable_bytes,
                  (int64_t)v->interior, (int64_t)v->interior_bytes);
    }
    s = store_prepare("INSERT INTO age (snapshot, stack, bucket, objects, bytes) VALUES (?1, ?2, ?3, ?4, ?5)"
                      " ON CONFLICT DO UPDATE SET objects = objects + excluded.objects,"
                      " bytes = bytes + excluded.bytes");
    const struct age_rec *a = (const struct age_rec *)j->ages.items;
    for (size_t i = 0; i < j->ages.n; i++, a++) {
        int64_t stack = intern_stack(a->stack);
        if (stack) store_run(s, "iiiii", snapshot, stack, (int64_t)a->bucket, (int64_t)a->objects, (int64_t)a->bytes);
    }
}

static void write_tasks(const struct snapshot_job *job, int64_t snapshot, const struct judgement *j)
{
    sqlite3_stmt *s = store_prepare(
        "INSERT OR REPLACE INTO task (snapshot, provider, task, name, state, wait_reason, wakeable, blocked_ns,"
        " create_stack, stack, stack_bytes, live_bytes, schedules, cpu_ns, verdict)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)");
    sqlite3_stmt *w = store_prepare("INSERT OR REPLACE INTO wait (snapshot, provider, task, seq, object, kind, reached)"
                                    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
    for (size_t i = 0; i < j->ntasks; i++) {
        const struct task_rec *t = &j->tasks[i];
        const char *provider = provider_get(t->provider)->name;
        const char *verdict = t->live ? "live" : j->proofs ? "leaked" : "unknown";
        uint64_t since = t->state == SEEP_TASK_WAITING ? t->blocked_since_ns : 0;
        bool inside = t->sp >= t->stack_lo && t->sp < t->stack_hi;
        store_run(s, "ititttiirriiiit", snapshot, provider, (int64_t)t->id, store_text(t->name), state_names[t->state],
                  seep_wait_text(t->reason), (int64_t)t->wakeable,
                  (int64_t)(since && since < job->mono_ns ? job->mono_ns - since : 0), intern_stack(t->create_stack),
                  intern_stack(t->stack), (int64_t)t->committed_bytes, (int64_t)(inside ? t->stack_hi - t->sp : 0),
                  (int64_t)t->schedules, (int64_t)t->cpu_ns, verdict);
        for (uint32_t k = 0; k < t->nwaits; k++) {
            const struct wait_rec *o = &j->waits[t->waits + k];
            store_run(w, "itiiiti", snapshot, provider, (int64_t)t->id, (int64_t)k, (int64_t)o->object,
                      kind_names[o->kind <= SEEP_OBJ_OTHER ? o->kind : SEEP_OBJ_OTHER],
                      (int64_t)(o->reached || !t->blocked));
        }
    }
}

static void write_findings(int64_t snapshot, const struct judgement *j)
{
    sqlite3_stmt *s = store_prepare(
        "INSERT INTO finding (snapshot, rule, confidence, stack, create_stack, wait_reason, objects, bytes,"
        " est_objects, est_bytes, sampled, oldest_ns, evidence)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)");
    const struct finding *f = (const struct finding *)j->findings.items;
    for (size_t i = 0; i < j->findings.n; i++, f++)
        store_run(s, "ittrrtiiddiit", snapshot, seep_rule_text(f->rule)->name, confidence_names[f->confidence],
                  intern_stack(f->stack), intern_stack(f->create_stack), seep_wait_text(f->reason), (int64_t)f->objects,
                  (int64_t)f->bytes, f->est_objects, f->est_bytes, (int64_t)f->sampled, (int64_t)f->oldest_ns,
                  f->evidence);
}

static void write_paths(int64_t snapshot, const struct judgement *j)
{
    if (!store_has_paths()) return; /* begun by an older agent */
    sqlite3_stmt *s =
        store_prepare("INSERT OR IGNORE INTO path (snapshot, kind, stack, steps) VALUES (?1, ?2, ?3, ?4)");
    const struct path_rec *p = (const struct path_rec *)j->paths.items;
    for (size_t i = 0; i < j->paths.n; i++, p++) {
        int64_t stack = p->stack ? intern_stack(p->stack) : intern_unknown_stack();
        store_run(s, "itit", snapshot, p->kind, stack, p->steps);
    }
}

void write_snapshot(const struct snapshot_job *job, const struct process_start *who, const struct snapshot_times *times,
                    const struct judgement *j, const struct account *a)
{
    store_open(job);
    int64_t process = write_process(who);
    int64_t snapshot = write_head(job, process, times, j);
    intern_begin(process);
    intern_mappings();
    write_stats(snapshot, a);
    write_heap(snapshot, j);
    write_tasks(job, snapshot, j);
    write_findings(snapshot, j);
    write_paths(snapshot, j);
    store_commit();
}
