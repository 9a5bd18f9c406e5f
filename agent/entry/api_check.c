/* SPDX-License-Identifier: Apache-2.0
 *
 * seep_check() and seep_verify_none(): a snapshot whose verdicts come back to the program; and what a program says about its
 * own memory.
 *
 *     seep_check ─▶ snapshot_request(check) ─▶ stop, fork, judge ─▶ shared memory ─▶ report
 *         ▲                                                              │
 *         └────────── others were about to run: give them time ◀─────────┘
 *
 * One check at a time. Stacks of tasks that the child unwound are known to the child only, so frames come as addresses. */
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/contract/names.h"
#include "agent/entry/entry.h"
#include "agent/heap/heap.h"
#include "agent/include/seep.h"
#include "agent/os/os.h"
#include "agent/snapshot/check.h"
#include "agent/snapshot/hints.h"
#include "agent/snapshot/raw.h"
#include "agent/util/log.h"

_Static_assert((int)CHECK_FRAMES == (int)SEEP_CHECK_FRAMES, "one depth");

static const uint64_t SETTLE_NS = 100000000;
static const char *const confidences[] = SEEP_CONFIDENCE_NAMES;

static void let_others_run(uint64_t ns)
{
    for (unsigned i = 0; i < provider_count(); i++) {
        const struct seep_task_provider *p = provider_get(i);
        if (p->settle && p->settle(p->ctx, ns)) return;
    }
    struct timespec t = {0, (long)ns};
    sys3(SYS_nanosleep, (long)&t, 0, 0);
}

static int run(struct check_data *d)
{
    uint64_t waited = 0;
    for (uint64_t wait = 1000000;; wait *= 2) {
        struct snapshot_request req = {.trigger = TRIGGER_API, .check = d, .tid = os_gettid()};
        struct snapshot_result res = {0};
        __atomic_store_n(&d->done, 0, __ATOMIC_RELEASE);
        int rc = snapshot_request(&req, &res, -1);
        if (rc < 0) return rc;
        if (!__atomic_load_n(&d->done, __ATOMIC_ACQUIRE)) return -EIO;
        if (!d->unsettled || waited >= SETTLE_NS) return 0;
        if (wait > SETTLE_NS - waited) wait = SETTLE_NS - waited;
        let_others_run(wait);
        waited += wait;
    }
}

SEEP_EXPORT int seep_check(struct seep_check_report *out)
{
    int saved = errno;
    life_init();
    if (out) memset(out, 0, sizeof *out);
    if (!process_is_known()) return -EAGAIN;
    long p = sys6(SYS_mmap, 0, sizeof(struct check_data), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p < 0 && p > -4096) return -ENOMEM;
    struct check_data *d = (struct check_data *)p;
    int rc = run(d);
    if (rc == 0 && out) {
        out->leaked_tasks = d->leaked_tasks;
        out->unreachable_objects = d->unreachable_objects;
        out->unreachable_bytes = d->unreachable_bytes;
        out->doubtful = !d->proofs;
        out->total = d->total;
        for (; out->n < d->n && out->n < SEEP_CHECK_FINDINGS; out->n++) {
            struct seep_check_finding *to = &out->findings[out->n];
            __typeof__(d->findings[0]) *f = &d->findings[out->n];
            *to = (struct seep_check_finding){.rule = seep_rule_text(f->rule)->name,
                                              .confidence = confidences[f->confidence],
                                              .wait_reason = seep_wait_text(f->reason),
                                              .objects = f->objects,
                                              .bytes = f->bytes,
                                              .nframes = f->nframes,
                                              .ncreated = f->ncreated};
            memcpy(to->frames, f->frames, sizeof to->frames);
            memcpy(to->created, f->created, sizeof to->created);
        }
    }
    if (rc == 0) rc = (int)d->total;
    sys3(SYS_munmap, p, sizeof *d, 0);
    errno = saved;
    return rc == -ETIMEDOUT || rc == -ENOMEM ? -EAGAIN : rc;
}

static void tell_frames(const char *what, void *const *frames, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        Dl_info info;
        const char *pc = frames[i], *head = i ? "" : what;
        bool found = dladdr(pc - 1, &info) != 0;
        if (found && info.dli_sname)
            log_line("    %s %s+%lu", head, info.dli_sname, (unsigned long)(pc - (const char *)info.dli_saddr));
        else if (found && info.dli_fname)
            log_line("    %s %s+0x%lx", head, info.dli_fname, (unsigned long)(pc - (const char *)info.dli_fbase));
        else
            log_line("    %s 0x%lx", head, (unsigned long)pc);
    }
}

static bool has_function(void *const *frames, unsigned n, const char *name)
{
    for (unsigned i = 0; i < n; i++) {
        Dl_info info;
        if (dladdr((char *)frames[i] - 1, &info) && info.dli_sname && strcmp(info.dli_sname, name) == 0) return true;
    }
    return false;
}

static bool counts(const struct seep_check_finding *f, const char *const *ignore)
{
    for (; ignore && *ignore; ignore++)
        if (has_function(f->frames, f->nframes, *ignore) || has_function(f->created, f->ncreated, *ignore))
            return false;
    return true;
}

/* Findings that count; those that the report has no room for do. */
static int look(struct seep_check_report *r, const char *const *ignore)
{
    int rc = seep_check(r);
    if (rc <= 0) return rc;
    rc = (int)(r->total - r->n);
    for (unsigned i = 0; i < r->n; i++) rc += counts(&r->findings[i], ignore);
    return rc;
}

SEEP_EXPORT int seep_verify_none_but(const char *where, const struct seep_verify_options *options)
{
    static struct seep_check_report r; /* large; two threads that verify at once are told the same */
    struct seep_verify_options o = {0};
    if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    int rc = look(&r, o.ignore);
    for (uint64_t wait = 1000000; rc > 0 && o.retries > 0; o.retries--) {
        let_others_run(wait);
        wait = wait * 2 < SETTLE_NS ? wait * 2 : SETTLE_NS;
        rc = look(&r, o.ignore);
    }
    if (!where) where = "check";
    if (rc < 0) {
        log_line("%s: could not look for leaks (error %d)", where, -rc);
        return 1;
    }
    if (rc == 0) return 0;
    log_line("%s: %d findings, %lu leaked tasks, %lu bytes unreachable in %lu blocks%s", where, rc,
             (unsigned long)r.leaked_tasks, (unsigned long)r.unreachable_bytes, (unsigned long)r.unreachable_objects,
             r.doubtful ? "; not proven, since something could not be looked at" : "");
    for (unsigned i = 0; i < r.n; i++) {
        const struct seep_check_finding *f = &r.findings[i];
        if (!counts(f, o.ignore)) continue;
        log_line("  %s %s: %lu, %lu bytes%s%s", f->confidence, f->rule, (unsigned long)f->objects,
                 (unsigned long)f->bytes, f->wait_reason[0] ? ", waits: " : "", f->wait_reason);
        tell_frames("at", f->frames, f->nframes);
        tell_frames("created", f->created, f->ncreated);
    }
    if (r.n < r.total) log_line("  and %u more", r.total - r.n);
    return rc;
}

SEEP_EXPORT int seep_verify_none(const char *where)
{
    return seep_verify_none_but(where, NULL);
}

/* ---- What the program says about its memory */

SEEP_EXPORT int seep_ignore(const void *p)
{
    struct heap_object o;
    if (!heap_find((uintptr_t)p, &o)) return -EINVAL;
    return hints_add(o.base, 0) ? 0 : -ENOMEM;
}

SEEP_EXPORT int seep_root(const void *p, size_t size)
{
    if (!p || size == 0 || (uintptr_t)p + size < (uintptr_t)p) return -EINVAL;
    return hints_add((uintptr_t)p, size) ? 0 : -ENOMEM;
}

SEEP_EXPORT int seep_unroot(const void *p, size_t size)
{
    return size > 0 && hints_remove((uintptr_t)p, size) ? 0 : -ENOENT;
}

SEEP_EXPORT void seep_no_leak_begin(void)
{
    prof_no_leak(true);
}

SEEP_EXPORT void seep_no_leak_end(void)
{
    prof_no_leak(false);
}
