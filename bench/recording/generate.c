/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes a large recording, to measure the analyzer by: SNAPSHOTS snapshots a minute apart with STACKS stacks of 4 to 24 frames each, one stack in
 * 50 growing, one in 20 filling up and the rest steady, and TASKS tasks of 200 kinds in the last snapshot. The same arguments give the same
 * rows. The schema is read from agent/contract/schema.sql, so it runs from the root of the tree.
 *
 *   generate FILE [SNAPSHOTS [STACKS [TASKS]]]
 *   generate --code FILE IMAGE BUILD_ID LOW HIGH N    one snapshot: N stacks of one address each, evenly between the ELF addresses */
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sqlite3 *db;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "generate: %s: %s\n", what, db ? sqlite3_errmsg(db) : "");
    exit(1);
}

static void run(const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) die(sql);
}

static sqlite3_stmt *prepare(const char *sql)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK) die(sql);
    return st;
}

/* Binds n integers and runs the statement. */
static void put(sqlite3_stmt *st, int n, ...)
{
    va_list ap;
    va_start(ap, n);
    for (int i = 1; i <= n; i++) sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
    va_end(ap);
    if (sqlite3_step(st) != SQLITE_DONE) die("insert");
    sqlite3_reset(st);
}

static uint64_t seed = 88172645463325252ull;
static uint64_t dice(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % n;
}

static void schema(void)
{
    static char text[1 << 18];
    FILE *f = fopen("agent/contract/schema.sql", "r");
    if (!f) die("agent/contract/schema.sql is not there; run it from the root of the tree");
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    run(text);
}

static void stacks(int64_t n)
{
    enum { FRAMES = 20000 };
    sqlite3_stmt *frame = prepare("INSERT INTO frame VALUES (?, 1, ?)"),
                 *stack = prepare("INSERT INTO stack VALUES (?, ?, ?)");
    for (int64_t i = 1; i <= FRAMES; i++) put(frame, 2, i, 4096 + i * 16);
    for (int64_t i = 1; i <= n; i++) {
        uint32_t ids[24];
        unsigned depth = 4 + (unsigned)dice(21);
        for (unsigned k = 0; k < depth; k++)
            ids[k] = k == 0 ? (uint32_t)(1 + i % FRAMES) : 1 + (uint32_t)dice(FRAMES / (1u << (k < 10 ? k : 10)));
        sqlite3_bind_int64(stack, 1, i);
        sqlite3_bind_int64(stack, 2, i * 7919);
        sqlite3_bind_blob(stack, 3, ids, (int)(depth * 4), SQLITE_STATIC);
        if (sqlite3_step(stack) != SQLITE_DONE) die("stack");
        sqlite3_reset(stack);
    }
    sqlite3_finalize(frame);
    sqlite3_finalize(stack);
}

static void snapshots(int64_t n, int64_t nstacks)
{
    sqlite3_stmt *snap = prepare("INSERT INTO snapshot VALUES (?1, 1, ?1, 'interval', '', 1700000000000000000 + ?1 * "
                                 "60000000000, 5000000000 + ?1 * "
                                 "60000000000, 900000, 900000, 1000000, 524288, 8, 0, ?2, ?2 * 100, 0, 0, 0, 0)");
    sqlite3_stmt *heap = prepare("INSERT INTO heap VALUES (?1, ?2, ?3, ?4, ?4 * ?3, ?5, ?5 * ?3, 0, 0, 0, 0)");
    sqlite3_stmt *age = prepare("INSERT INTO age VALUES (?, ?, ?, ?, ?)");
    sqlite3_stmt *rss = prepare("INSERT INTO rss VALUES (?1, 'heap-in-use', '', ?2, 0, ?2)");
    sqlite3_stmt *stat = prepare("INSERT INTO stat VALUES (?1, 'rss', ?2)");
    sqlite3_stmt *find =
        prepare("INSERT INTO finding (snapshot, rule, confidence, stack, objects, bytes, est_objects, est_bytes, "
                "sampled, oldest_ns, evidence) "
                "VALUES (?1, 'unreachable-memory', 'proven', ?2, 3, 300, 30, 3000, 1, 1000000, '{\"direct\":3}')");
    for (int64_t s = 1; s <= n; s++) {
        int64_t live = 0;
        for (int64_t k = 1; k <= nstacks; k++) {
            int64_t size = 64 << (k % 8), inuse = k % 50 == 0   ? s
                                                  : k % 20 == 0 ? (s < n / 3 ? s : n / 3)
                                                                : 100 + (int64_t)dice(20);
            int64_t freed = s * (k % 7);
            put(heap, 5, s, k, size, inuse + freed, freed);
            if (s == n) put(age, 5, s, k, (int64_t)dice(20), inuse, inuse * size);
            live += inuse;
        }
        put(snap, 2, s, live);
        put(rss, 2, s, live * 100);
        put(stat, 2, s, live * 100);
        if (s % 10 == 0)
            for (int64_t k = 1; k <= 20; k++) put(find, 2, s, 1 + k * 13 % nstacks);
    }
    sqlite3_finalize(snap);
    sqlite3_finalize(heap);
    sqlite3_finalize(age);
    sqlite3_finalize(rss);
    sqlite3_finalize(stat);
    sqlite3_finalize(find);
}

static void tasks(int64_t snapshot, int64_t n, int64_t nstacks)
{
    sqlite3_stmt *task = prepare("INSERT INTO task VALUES (?1, 'coro', ?2, '', 'waiting', 'chan receive', 0, ?3, ?4, "
                                 "?5, 4096, 700, 3, 1000, 'live')");
    for (int64_t i = 1; i <= n; i++)
        put(task, 5, snapshot, i, 1000000 + i, 1 + i % 20 % nstacks, 1 + i % 200 % nstacks);
    sqlite3_finalize(task);
}

static void open_new(const char *path)
{
    unlink(path);
    if (sqlite3_open(path, &db) != SQLITE_OK) die(path);
    run("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN");
    schema();
    run("INSERT INTO process VALUES (1, 77, 1, 1700000000000000000, 5000000000, '/opt/app/server', 'server', 'web1', "
        "'0.1.0', 4096)");
}

static int code(char **argv)
{
    int64_t low = strtoll(argv[3], NULL, 0), high = strtoll(argv[4], NULL, 0), n = strtoll(argv[5], NULL, 0);
    if (n < 1 || high - low < n) die("the addresses are not as many");
    open_new(argv[0]);
    sqlite3_stmt *image = prepare("INSERT INTO image VALUES (1, ?, ?)");
    sqlite3_bind_text(image, 1, argv[1], -1, SQLITE_STATIC);
    sqlite3_bind_text(image, 2, argv[2], -1, SQLITE_STATIC);
    if (sqlite3_step(image) != SQLITE_DONE) die("image");
    sqlite3_finalize(image);
    run("INSERT INTO snapshot VALUES (1, 1, 1, 'exit', '', 1700000000000000000, 6000000000, 0, 0, 0, 1, 1, 0, 1, 1, 0, "
        "0, "
        "0, 0)");
    sqlite3_stmt *frame = prepare("INSERT INTO frame VALUES (?, 1, ?)"),
                 *stack = prepare("INSERT INTO stack VALUES (?, ?, ?)"),
                 *heap = prepare("INSERT INTO heap VALUES (1, ?, 64, 1, 64, 0, 0, 0, 0, 0, 0)");
    for (int64_t i = 1; i <= n; i++) {
        uint32_t id = (uint32_t)i;
        put(frame, 2, i, low + (high - low) / n * i);
        sqlite3_bind_int64(stack, 1, i);
        sqlite3_bind_int64(stack, 2, i * 7919);
        sqlite3_bind_blob(stack, 3, &id, 4, SQLITE_STATIC);
        if (sqlite3_step(stack) != SQLITE_DONE) die("stack");
        sqlite3_reset(stack);
        put(heap, 1, i);
    }
    sqlite3_finalize(frame);
    sqlite3_finalize(stack);
    sqlite3_finalize(heap);
    run("COMMIT");
    sqlite3_close(db);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 8 && strcmp(argv[1], "--code") == 0) return code(argv + 2);
    if (argc < 2) die("usage: generate FILE [SNAPSHOTS [STACKS [TASKS]]]");
    int64_t n = argc > 2 ? atoll(argv[2]) : 1000, nstacks = argc > 3 ? atoll(argv[3]) : 5000,
            ntasks = argc > 4 ? atoll(argv[4]) : 1000000;
    if (n < 1 || nstacks < 1 || ntasks < 0) die("counts are positive");
    open_new(argv[1]);
    run("INSERT INTO image VALUES (1, '/opt/app/server', 'aa00000000000000000000000000000000000001')");
    stacks(nstacks);
    snapshots(n, nstacks);
    tasks(n, ntasks, nstacks);
    run("COMMIT");
    sqlite3_close(db);
    return 0;
}
