/* SPDX-License-Identifier: Apache-2.0
 *
 * A recording that is sound as an SQLite file and wrong in what it says: any value of any row replaced by another, of any type, rows
 * left out and doubled. Its schema has no constraints, since a hostile file needs to have none.
 *
 * Input: a byte for the command, then edits of 4 bytes: row (of all tables), column, kind of value, argument. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/store/store_internal.h"
#include "tests/fuzz/fuzz.h"

static const char *const rows[] = {
    "process|1|77|1|1700000000000000000|5000000000|'/opt/app/server'|'server'|'web1'|'0.1.0'|4096",
    "process|2|78|77|1700000000000000000|5000000000|'/opt/app/server'|'worker'|'web1'|'0.1.0'|4096",
    "image|1|'/opt/app/server'|'aa01'",
    "image|2|'/opt/lib/libc.so.6'|''",
    "mapping|1|1|93824992231424|93824992301056|4096|93824992227328|0",
    "frame|1|1|4660",
    "frame|2|2|600000",
    "frame|3|NULL|47244640256",
    "symbol|1|0|'fetch_one'|'src/query.c'|88",
    "symbol|1|1|'run'|'src/query.c'|61",
    "stack|1|1001|x'010000000200000003000000'",
    "stack|2|1002|x'02000000010000000100000001000000'",
    "stack|3|1003|x''",
    "snapshot|1|1|1|'interval'|'warm'|1700000010000000000|15000000000|8|9|10|524288|2|0|1000|10485760|0|0|0|0",
    "snapshot|2|1|2|'interval'|''|1700000020000000000|25000000000|8|9|10|524288|2|0|1100|11485760|0|0|0|0",
    "snapshot|3|1|3|'interval'|''|1700000030000000000|35000000000|8|9|10|524288|2|0|1200|12485760|0|0|0|0",
    "snapshot|4|1|4|'interval'|''|1700000040000000000|45000000000|8|9|10|524288|2|0|1300|13485760|0|0|0|0",
    "snapshot|5|1|5|'interval'|''|1700000050000000000|55000000000|8|9|10|524288|2|0|1400|14485760|0|0|0|0",
    "snapshot|6|1|6|'interval'|''|1700000060000000000|65000000000|8|9|10|524288|2|0|1500|15485760|0|0|0|0",
    "snapshot|7|1|7|'interval'|''|1700000070000000000|75000000000|8|9|10|524288|2|0|1600|16485760|0|0|0|0",
    "snapshot|8|1|8|'exit'|'end'|1700000080000000000|85000000000|8|9|10|524288|2|1|1700|17485760|40|4096|2|64",
    "snapshot|9|2|1|'exit'|''|1700000090000000000|95000000000|8|9|10|1|1|0|10|4096|0|0|0|0",
    "stat|8|'rss'|41943040",
    "stat|8|'cgroup_limit'|536870912",
    "stat|8|'mallocs'|123456",
    "rss|8|'heap-in-use'|''|33554432|0|33554432",
    "rss|8|'heap-lazy-free'|''|4194304|4194304|4194304",
    "rss|8|'image'|'/opt/app/server'|4194304|0|8388608",
    "heap|1|1|1024|20|20000|10|10000|0|0|0|0",
    "heap|2|1|1024|30|30000|10|10000|0|0|0|0",
    "heap|3|1|1024|40|40000|10|10000|0|0|0|0",
    "heap|4|1|1024|50|50000|10|10000|0|0|0|0",
    "heap|5|1|1024|60|60000|10|10000|0|0|0|0",
    "heap|6|1|1024|70|70000|10|10000|0|0|0|0",
    "heap|7|1|1024|80|80000|10|10000|0|0|0|0",
    "heap|8|1|1024|90|90000|10|10000|5|5000|1|1000",
    "heap|8|2|1048576|9|9437184|2|2097152|4|4194304|0|0",
    "heap|9|2|64|9|500|2|100|0|0|0|0",
    "age|8|1|10|20|20000",
    "age|8|2|16|7|7340032",
    "task|8|'coro'|7|'worker'|'waiting'|'chan send'|0|60000000000|2|1|8192|640|3|1000|'leaked'",
    "task|8|'coro'|8|''|'waiting'|'sleep'|1|30000000000|2|1|8192|640|3|1000|'live'",
    "task|8|'thread'|77|'server'|'running'|''|0|0|NULL|NULL|65536|2048|0|5000000|'live'",
    "wait|8|'coro'|7|0|140000000000|'chan'|0",
    "finding|1|8|'unreachable-memory'|'proven'|1|NULL|''|7|13192|2570.9|2632000.4|1|80000000000|'{\"direct\":5}'",
    "finding|2|8|'stuck-send'|'proven'|2|1|'chan send'|2|16384|2|16384|0|60000000000|'{\"kept_bytes\":99}'",
    ("finding|3|8|'subslice-retention'|'likely'|1|NULL|''|2|16384|2|16384|0|6|"
     "'{\"path\":[{\"at\":\"global\",\"module\":\"/opt/app/"
     "server\",\"offset\":64},{\"at\":\"block\",\"bytes\":9,\"offset\":8,\"module\":\"/opt/app/"
     "server\",\"site\":4660}]}'"),
    "event|1|1|1700000101000000000|'exit'|'exit 0'",
    "path|8|'block'|1|'[{\"at\":\"global\",\"module\":\"/opt/app/"
    "server\",\"offset\":64},{\"at\":\"block\",\"bytes\":9}]'",
    "path|7|'wait'|2|'[{\"at\":\"task\",\"task\":7},{\"at\":\"blocks\",\"n\":9},{\"at\":\"block\",\"bytes\":9}]'",
};
enum { ROWS = sizeof rows / sizeof *rows };

static const char *value(unsigned kind, unsigned arg, char *text, size_t size)
{
    static const char *const fixed[] = {
        "NULL",
        "''",
        "-1",
        "0",
        "1",
        "9223372036854775807",
        "-9223372036854775807 - 1",
        "9e999",
        "-0.5",
        "1e18",
        "x'ff00ff'",
        "CAST(x'c328ff1b5b324a' AS TEXT)",
        "'<script>' || char(27) || '[2J' || char(0) || char(8238)",
        "'../../../../etc/passwd'",
        "'{\"path\":[{\"at\":\"block\",\"module\":3,\"site\":-1},7,null,{}],\"kept_bytes\":-4}'",
        "'[{\"at\":\"blocks\",\"n\":-1},{\"at\":\"block\",\"bytes\":1e9}]'",
        "'{\"path\":{\"at\":[]},\"slope_per_s\":1e308,\"snapshots\":1e30}'",
        "'[1'",
        "'proven'",
        "'growing'",
        "'leaked'",
        "4611686018427387904",
        "2147483648",
        "4294967295",
        "printf('%.*c', 100000, 'y')",
        "zeroblob(40000)",
        "x'02000000' || randomblob(0)",
    };
    enum { FIXED = sizeof fixed / sizeof *fixed };
    if (kind % 32 < FIXED) return fixed[kind % 32];
    if (kind % 3 == 0)
        snprintf(text, size, "%u", arg);
    else if (kind % 3 == 1)
        snprintf(text, size, "%lld", (long long)1 << arg % 63);
    else
        snprintf(text, size, "x'%02x000000%02x0000000100'", arg & 3, arg);
    return text;
}

/* The schema as it is, less its constraints. */
static char *schema(void)
{
    static char *made;
    if (made) return made;
    made = malloc(strlen(store_schema_sql) + 1);
    char *to = made;
    for (const char *s = store_schema_sql; *s;) {
        size_t n = strncmp(s, " NOT NULL", 9) == 0 ? 9 : strncmp(s, " UNIQUE", 7) == 0 && s[7] != ' ' ? 7 : 0;
        if (n)
            s += n;
        else
            *to++ = *s++;
    }
    *to = 0;
    return made;
}

static void put_row(sqlite3 *db, unsigned at, const uint8_t *edits, size_t n)
{
    char row[512], sql[4096], text[64];
    unsigned cols = 0;
    for (const char *s = rows[at]; *s; s++) cols += *s == '|';
    snprintf(row, sizeof row, "%s", rows[at]);
    char *next = row, *word = strsep(&next, "|");
    int copies = 1, len = snprintf(sql, sizeof sql, "INSERT OR IGNORE INTO %s VALUES (", word);
    for (unsigned col = 0; (word = strsep(&next, "|")); col++) {
        for (size_t i = 0; i + 4 <= n; i += 4) {
            if (edits[i] % ROWS != at || (edits[i + 1] & 31) % cols != col) continue;
            word = (char *)(uintptr_t)value(edits[i + 2], edits[i + 3], text, sizeof text);
            if (edits[i + 1] & 128) copies = 0;
            if (edits[i + 1] & 64) copies = 2;
        }
        len += snprintf(sql + len, sizeof sql - (size_t)len, "%s%s", col ? "," : "", word);
    }
    snprintf(sql + len, sizeof sql - (size_t)len, ")");
    while (copies-- > 0) sqlite3_exec(db, sql, NULL, NULL, NULL);
}

/* The file without rows, made once. */
static const uint8_t *empty(size_t *n)
{
    static uint8_t *made;
    static sqlite3_int64 size;
    sqlite3 *db = NULL;
    if (!made) {
        if (sqlite3_open(":memory:", &db) != SQLITE_OK || sqlite3_exec(db, schema(), NULL, NULL, NULL) != SQLITE_OK)
            abort();
        made = sqlite3_serialize(db, "main", &size, 0);
        sqlite3_close(db);
    }
    *n = (size_t)size;
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    sqlite3 *db = NULL;
    size_t size;
    if (n == 0 || n > 1 + 4 * 64) return 0;
    const uint8_t *start = empty(&size);
    if (sqlite3_open(fuzz_file(start, size), &db) != SQLITE_OK) abort();
    sqlite3_exec(db, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN", NULL, NULL, NULL);
    for (unsigned i = 0; i < ROWS; i++) put_row(db, i, data + 1, n - 1);
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(db);
    fuzz_command(data[0] % FUZZ_COMMANDS);
    return 0;
}
