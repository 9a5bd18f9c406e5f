/* SPDX-License-Identifier: Apache-2.0
 *
 * seep info: what a recording holds. Processes and snapshots, then the memory of the chosen snapshots by where it is. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/cli/cli.h"
#include "analyzer/report/report.h"

static const struct {
    const char *name, *unit, *meaning;
} stats[] = {
#define STAT(field, unit, meaning) {#field, unit, meaning},
#include "agent/contract/stats.def"
#undef STAT
    {"rss", "bytes", "resident, as the kernel counts it"},
    {"vsize", "bytes", "address space"},
};

static void processes(struct emit *e, struct recording *r)
{
    static const struct emit_col cols[] = {{"pid", "PID", COL_TEXT},
                                           {"ppid", NULL, COL_COUNT},
                                           {"start_unix_ns", NULL, COL_COUNT},
                                           {NULL, "STARTED", COL_TEXT},
                                           {"snapshots", "SNAPSHOTS", COL_COUNT},
                                           {"exe", NULL, COL_TEXT},
                                           {"host", NULL, COL_TEXT},
                                           {"agent_version", NULL, COL_TEXT},
                                           {"command", "COMMAND", COL_TEXT}};
    emit_table(e, "processes", cols, sizeof cols / sizeof *cols);
    for (size_t i = 0; i < r->nprocesses; i++) {
        const struct process *p = &r->processes[i];
        if (e->json)
            emit_cell_int(e, p->pid);
        else
            emit_cell_str(e, arena_printf(&r->arena, "%lld", (long long)p->pid));
        emit_cell_int(e, p->ppid);
        emit_cell_int(e, p->start_unix_ns);
        emit_cell_str(e, unit_time(p->start_unix_ns));
        emit_cell_int(e, (int64_t)p->nsnapshots);
        emit_cell_str(e, p->exe);
        emit_cell_str(e, p->host);
        emit_cell_str(e, p->agent_version);
        emit_cell_str(e, process_command(r, p));
        emit_row(e);
    }
    emit_table_end(e);
}

static void snapshots(struct emit *e, struct recording *r, const struct view *v)
{
    static const struct emit_col cols[] = {{"pid", "PID", COL_TEXT},
                                           {"seq", "#", COL_COUNT},
                                           {"trigger", "TRIGGER", COL_TEXT},
                                           {"label", "LABEL", COL_TEXT},
                                           {"unix_ns", NULL, COL_COUNT},
                                           {"since_start_ns", "AT", COL_NS},
                                           {"pause_ns", "PAUSE", COL_NS},
                                           {"mark_ns", NULL, COL_COUNT},
                                           {"duration_ns", "LENGTH", COL_NS},
                                           {"rate_bytes", NULL, COL_COUNT},
                                           {"threads", "THREADS", COL_COUNT},
                                           {"threads_missed", NULL, COL_COUNT},
                                           {"live_objects", NULL, COL_COUNT},
                                           {"live_bytes", "LIVE", COL_BYTES},
                                           {"unreachable_objects", NULL, COL_COUNT},
                                           {"unreachable_bytes", "UNREACHABLE", COL_BYTES},
                                           {"interior_objects", NULL, COL_COUNT},
                                           {"interior_bytes", "INTERIOR", COL_BYTES}};
    size_t total = 0, seen = 0;
    for (size_t i = 0; i < r->nsnapshots; i++) total += !v->select.pid || r->snapshots[i].process->pid == v->select.pid;
    emit_table(e, "snapshots", cols, sizeof cols / sizeof *cols);
    for (size_t i = 0; i < r->nsnapshots; i++) {
        const struct snapshot *s = &r->snapshots[i];
        if (v->select.pid && s->process->pid != v->select.pid) continue;
        /* The first and the last ones tell the story. */
        size_t at = seen++, keep = v->limit ? (size_t)v->limit : total;
        if (at >= (keep + 1) / 2 && at < total - keep / 2) {
            if (at == (keep + 1) / 2) emit_table_note(e, "… %zu more, see --limit 0", total - keep);
            if (!e->json) continue;
        }
        if (e->json)
            emit_cell_int(e, s->process->pid);
        else
            emit_cell_str(e, arena_printf(&r->arena, "%lld", (long long)s->process->pid));
        emit_cell_int(e, s->seq);
        emit_cell_str(e, s->trigger);
        emit_cell_str(e, *s->label || e->json ? s->label : "-");
        emit_cell_int(e, s->unix_ns);
        emit_cell_int(e, s->mono_ns > s->process->start_mono_ns ? s->mono_ns - s->process->start_mono_ns : 0);
        emit_cell_int(e, s->pause_ns);
        emit_cell_int(e, s->mark_ns);
        emit_cell_int(e, s->duration_ns);
        emit_cell_int(e, s->rate_bytes);
        emit_cell_int(e, s->threads);
        emit_cell_int(e, s->threads_missed);
        emit_cell_int(e, s->live_objects);
        emit_cell_int(e, s->live_bytes);
        emit_cell_int(e, s->unreachable_objects);
        emit_cell_int(e, s->unreachable_bytes);
        emit_cell_int(e, s->interior_objects);
        emit_cell_int(e, s->interior_bytes);
        emit_row(e);
    }
    emit_table_end(e);
}

/* Resident memory by part, and the allocator's statistics, of one snapshot. */
static void memory(struct emit *e, struct recording *r, const struct snapshot *s)
{
    static const struct emit_col rss[] = {{"part", "RSS OF", COL_TEXT},
                                          {"name", "NAME", COL_TEXT},
                                          {"rss_bytes", "RESIDENT", COL_BYTES},
                                          {"lazy_free_bytes", "LAZILY FREED", COL_BYTES},
                                          {"size_bytes", "MAPPED", COL_BYTES}};
    emit_object(e, NULL);
    emit_int(e, "pid", s->process->pid);
    emit_int(e, "snapshot", s->seq);
    emit_blank(e);
    emit_line(e, STYLE_BOLD, "Memory of %s at snapshot %lld (%s)", report_process(r, s->process), (long long)s->seq,
              s->trigger);
    emit_table(e, "rss", rss, 5);
    static const char sql[] = "SELECT part, name, rss_bytes, lazy_free_bytes, size_bytes FROM rss WHERE snapshot = ? "
                              "ORDER BY rss_bytes DESC, part, name";
    int64_t sum = 0, small = 0, nsmall = 0;
    for (struct query *q = store_query(r->store, sql, 1, s->id); query_next(q);) {
        int64_t bytes = query_count(q, 2, "rss.rss_bytes");
        add_capped(&sum, bytes);
        /* Small file mappings are one line for people. */
        const char *part = query_text(q, 0, "rss.part"), *name = query_text(q, 1, "rss.name");
        if (!e->json && *name && bytes < 256 << 10) {
            small += bytes;
            nsmall++;
            continue;
        }
        emit_cell_str(e, part);
        emit_cell_str(e, *name || e->json ? name : "-");
        emit_cell_int(e, bytes);
        emit_cell_int(e, query_count(q, 3, "rss.lazy_free_bytes"));
        emit_cell_int(e, query_count(q, 4, "rss.size_bytes"));
        emit_row(e);
    }
    if (nsmall)
        emit_table_note(e, "and %s below 256 KiB, together %s", unit_plural(nsmall, "mapping"), unit_bytes(small));
    if (sum) emit_table_note(e, "sum %s", unit_bytes(sum));
    emit_table_end(e);
    emit_blank(e);
    emit_object(e, "stats");
    for (struct query *q =
             store_query(r->store, "SELECT name, value FROM stat WHERE snapshot = ? ORDER BY name", 1, s->id);
         query_next(q);) {
        const char *name = query_text(q, 0, "stat.name"), *unit = "", *meaning = "";
        int64_t value = query_int(q, 1, "stat.value");
        for (size_t i = 0; i < sizeof stats / sizeof *stats; i++)
            if (strcmp(stats[i].name, name) == 0) unit = stats[i].unit, meaning = stats[i].meaning;
        bool bytes = strcmp(unit, "bytes") == 0;
        emit_int(e, name, value);
        emit_line(e, STYLE_PLAIN, "  %-16s %14s  %s", name, bytes ? unit_bytes(value) : unit_count(value), meaning);
    }
    emit_end(e);
    emit_end(e);
}

static void events(struct emit *e, struct recording *r)
{
    static const struct emit_col cols[] = {{"pid", "PID", COL_TEXT},
                                           {"unix_ns", NULL, COL_COUNT},
                                           {NULL, "WHEN", COL_TEXT},
                                           {"kind", "EVENT", COL_TEXT},
                                           {"detail", "DETAIL", COL_TEXT}};
    static const char sql[] = "SELECT ifnull(p.pid, 0), e.unix_ns, e.kind, e.detail FROM event e LEFT JOIN process p "
                              "ON p.id = e.process ORDER BY e.id LIMIT 1000";
    bool any = false;
    for (struct query *q = store_query(r->store, sql, 0); query_next(q);) {
        int64_t pid = query_count(q, 0, "event.process"), at = query_int(q, 1, "event.unix_ns");
        if (!any) {
            emit_blank(e);
            emit_table(e, "events", cols, 5);
        }
        any = true;
        if (e->json)
            emit_cell_int(e, pid);
        else
            emit_cell_str(e, pid ? arena_printf(&r->arena, "%lld", (long long)pid) : "-");
        emit_cell_int(e, at);
        emit_cell_str(e, unit_time(at));
        emit_cell_str(e, query_text(q, 2, "event.kind"));
        emit_cell_str(e, query_text(q, 3, "event.detail"));
        emit_row(e);
    }
    if (any) emit_table_end(e);
}

static const struct argp_child children[] = {{&view_argp, 0, NULL, 0}, {0}};
static error_t parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    if (key == ARGP_KEY_INIT) state->child_inputs[0] = state->input;
    return key == ARGP_KEY_INIT ? 0 : ARGP_ERR_UNKNOWN;
}

int cmd_info(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "FILE",
        .doc =
            "Shows the processes and snapshots of a recording, and the memory of the last snapshot of each process.\v"
            "Examples:\n  seep info server.seep\n  seep info --process 1234 --snapshot first --json server.seep",
        .children = children};
    struct view v = {.limit = 20};
    struct emit e;
    int code = 0;
    if ((code = args_parse(&argp, argc, argv, 0, &v))) return code;
    struct recording *r = view_open(&v, NULL, NULL, &code);
    if (!r) return code;
    struct snapshot **snaps = NULL;
    size_t n = 0;
    struct err none = {0};
    /* A recording without snapshots is still shown, unless certain ones were asked for. */
    if (select_snapshots(r, &v.select, &snaps, &n, &none) && (v.select.snapshot || v.select.pid)) {
        recording_close(r);
        return fail_err(&none);
    }
    /* Rows are read while they are printed, so what is printed waits until all of it was read. */
    char *text = NULL;
    size_t length = 0;
    FILE *held = open_memstream(&text, &length);
    emit_init(&e, stdout, v.json);
    if (held) e.out = held;
    emit_object(&e, NULL);
    emit_str(&e, "command", "info");
    emit_str(&e, "file", v.file);
    emit_int(&e, "format", SEEP_FORMAT_VERSION);
    emit_line(&e, STYLE_BOLD, "%s: %s, %s", v.file, unit_plural((int64_t)r->nprocesses, "process"),
              unit_plural((int64_t)r->nsnapshots, "snapshot"));
    emit_blank(&e);
    if (r->nprocesses) processes(&e, r);
    if (r->nsnapshots) {
        emit_blank(&e);
        snapshots(&e, r, &v);
    }
    emit_array(&e, "memory");
    for (size_t i = 0; i < n && (e.json || i < 3); i++) memory(&e, r, snaps[i]);
    emit_end(&e);
    if (n > 3) emit_line(&e, STYLE_DIM, "… and %zu more processes, see --process", n - 3);
    events(&e, r);
    emit_end(&e);
    emit_blank(&e);
    emit_line(&e, STYLE_PLAIN,
              r->nsnapshots ? "next: seep leaks %s" : "no snapshot was recorded; next: seep run -o NEW.seep -- COMMAND",
              v.file);
    if (v.json) fputc('\n', e.out);
    if (held) fclose(held);
    e = (struct emit){.out = stdout};
    if (!view_failed(r, &code)) {
        if (length) fwrite(text, 1, length, stdout);
        code = emit_finish(&e);
    }
    free(text);
    recording_close(r);
    return code;
}
