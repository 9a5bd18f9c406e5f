/* SPDX-License-Identifier: Apache-2.0
 *
 * Parser of contract/options.def: environment → agent_options.
 *
 * Invariants
 *   1. options_init() runs once; threads that come meanwhile wait for it.
 *   2. A value that can't be used leaves the default and gives one line.
 * The first malloc may come before libc has stored the environment pointer; then the environment is read from
 * /proc/self/environ. No locks, no allocation. */
#include "agent/util/options.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "agent/os/os.h"
#include "agent/os/syscall_x86_64.h"
#include "agent/util/log.h"

enum opt_type { TYPE_U64, TYPE_STR, TYPE_ENUM };

struct option_row {
    const char *name;
    const char *unit; /* of a number: "", "bytes", "ms", "count", "level"; of an enum: its values */
    enum opt_type type;
    size_t offset;
    uint64_t def, lo, hi;
    const char *text; /* default of a string */
};

static const struct option_row rows[] = {
#define OPT_U64(id, name, def, lo, hi, unit, help) \
    {name, unit, TYPE_U64, offsetof(struct agent_options, id), def, lo, hi, NULL},
#define OPT_STR(id, name, def, help) {name, "", TYPE_STR, offsetof(struct agent_options, id), 0, 0, 0, def},
#define OPT_ENUM(id, name, def, values, help) \
    {name, values, TYPE_ENUM, offsetof(struct agent_options, id), def, 0, 0, NULL},
#include "agent/contract/options.def"
#undef OPT_U64
#undef OPT_STR
#undef OPT_ENUM
};
enum { NROWS = sizeof rows / sizeof rows[0], STR_SIZE = sizeof agent_options.out };

struct agent_options agent_options;
static uint32_t state; /* 0 new, 1 being parsed, 2 ready */

/* Digits, of sizes and times with a fraction of up to 6 digits, and the unit's suffix; false: not a number of that unit, or it does not
 * fit, or it is more than nothing and less than one. */
static bool parse_u64(const char *s, const char *unit, uint64_t *out)
{
    static const struct {
        const char *unit, *suffix;
        uint64_t factor;
    } suffixes[] = {
        {"bytes", "", 1},         {"bytes", "K", 1u << 10}, {"bytes", "M", 1u << 20},
        {"bytes", "G", 1u << 30}, {"ms", "", 1000},         {"ms", "ms", 1},
        {"ms", "s", 1000},        {"ms", "m", 60000},       {"ms", "h", 3600000},
    };
    uint64_t v = 0, factor = 0, parts = 0, scale = 1;
    const char *p = s;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v)) return false;
    }
    if (p == s) return false;
    if (*p == '.') {
        for (p++; *p >= '0' && *p <= '9' && scale < 1000000; p++) {
            parts = parts * 10 + (uint64_t)(*p - '0');
            scale *= 10;
        }
        if (scale == 1) return false;
    }
    if (strcmp(unit, "bytes") != 0 && strcmp(unit, "ms") != 0) factor = *p == '\0';
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        if (strcmp(suffixes[i].unit, unit) == 0 && strcmp(suffixes[i].suffix, p) == 0) factor = suffixes[i].factor;
    }
    if (factor == 0 || (scale > 1 && factor == 1) || __builtin_mul_overflow(v, factor, out)) return false;
    if (__builtin_add_overflow(*out, parts * factor / scale, out)) return false;
    return *out != 0 || (v == 0 && parts == 0);
}

/* Index of s in "a|b|c", or -1. */
static int parse_enum(const char *s, const char *values)
{
    size_t n = strlen(s);
    for (int i = 0;; i++) {
        const char *end = strchr(values, '|');
        size_t len = end ? (size_t)(end - values) : strlen(values);
        if (len == n && strncmp(values, s, n) == 0) return i;
        if (!end) return -1;
        values = end + 1;
    }
}

static void *field(const struct option_row *r)
{
    return (char *)&agent_options + r->offset;
}

static void set_default(const struct option_row *r)
{
    if (r->type == TYPE_U64) memcpy(field(r), &r->def, sizeof r->def);
    if (r->type == TYPE_STR) memcpy(field(r), r->text, strlen(r->text) + 1);
    if (r->type == TYPE_ENUM) *(int *)field(r) = (int)r->def;
}

static void set_value(const struct option_row *r, const char *s)
{
    uint64_t v;
    int e;
    switch (r->type) {
    case TYPE_U64:
        if (!parse_u64(s, r->unit, &v) || v < r->lo || v > r->hi)
            log_line("%s=%s is not from %lu to %lu %s: the default %lu is used", r->name, s, r->lo, r->hi, r->unit,
                     r->def);
        else
            memcpy(field(r), &v, sizeof v);
        break;
    case TYPE_STR:
        if (strlen(s) >= STR_SIZE)
            log_line("%s is longer than %d bytes: ignored", r->name, (int)STR_SIZE - 1);
        else
            memcpy(field(r), s, strlen(s) + 1);
        break;
    case TYPE_ENUM:
        e = parse_enum(s, r->unit);
        if (e < 0)
            log_line("%s=%s is not one of %s: the default is used", r->name, s, r->unit);
        else
            *(int *)field(r) = e;
        break;
    }
}

/* One "NAME=value" of the environment. */
static void take_variable(const char *var)
{
    if (strncmp(var, "SEEP_", 5) != 0) return;
    for (size_t i = 0; i < NROWS; i++) {
        size_t n = strlen(rows[i].name);
        if (strncmp(var, rows[i].name, n) == 0 && var[n] == '=') set_value(&rows[i], var + n + 1);
    }
}

/* Variables longer than the buffer are skipped; ours are shorter. */
static void read_proc_environ(void)
{
    char buf[2 * STR_SIZE];
    size_t have = 0;
    bool skipping = false;
    long fd = sys4(SYS_openat, AT_FDCWD, (long)"/proc/self/environ", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return;
    for (;;) {
        long n = sys3(SYS_read, fd, (long)(buf + have), (long)(sizeof buf - have));
        if (n <= 0) break;
        have += (size_t)n;
        size_t at = 0;
        for (const char *end; (end = memchr(buf + at, '\0', have - at)) != NULL; at = (size_t)(end - buf) + 1) {
            if (!skipping) take_variable(buf + at);
            skipping = false;
        }
        if (at == 0 && have == sizeof buf) {
            skipping = true;
            have = 0;
        } else {
            memmove(buf, buf + at, have - at);
            have -= at;
        }
    }
    sys3(SYS_close, fd, 0, 0);
}

static __attribute__((noinline)) void parse(void)
{
    for (size_t i = 0; i < NROWS; i++) set_default(&rows[i]);
    if (environ)
        for (char **e = environ; *e; e++) take_variable(*e);
    else
        read_proc_environ();
}

void options_init(void)
{
    if (__atomic_load_n(&state, __ATOMIC_ACQUIRE) == 2) return;
    uint32_t new = 0;
    if (__atomic_compare_exchange_n(&state, &new, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
        parse();
        __atomic_store_n(&state, 2, __ATOMIC_RELEASE);
    } else {
        while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != 2) os_yield();
    }
}

/* The value of KEY; *end: behind it. NULL: KEY is not there. */
static const char *debug_value(const char *key, const char **end)
{
    options_init();
    size_t n = strlen(key);
    for (const char *s = agent_options.debug; *s;) {
        *end = strchr(s, ',');
        if (!*end) *end = s + strlen(s);
        if ((size_t)(*end - s) > n && strncmp(s, key, n) == 0 && s[n] == '=') return s + n + 1;
        s = **end ? *end + 1 : *end;
    }
    return NULL;
}

int64_t options_debug(const char *key, int64_t def)
{
    const char *end, *p = debug_value(key, &end);
    if (!p) return def;
    int64_t v = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++) v = v * 10 + (*p - '0');
    return v;
}

bool options_debug_string(const char *key, char *out, size_t size)
{
    const char *end, *p = debug_value(key, &end);
    if (!p || p == end || (size_t)(end - p) >= size) return false;
    memcpy(out, p, (size_t)(end - p));
    out[end - p] = 0;
    return true;
}
