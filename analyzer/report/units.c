/* SPDX-License-Identifier: Apache-2.0
 *
 * Figures for people: KiB and MiB, human durations, thousands apart. Pure; results live in a ring of 16. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "analyzer/report/emit.h"

static char *ring(void)
{
    static char buffers[16][64];
    static unsigned next;
    return buffers[next++ % 16];
}

static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
static int fixed = -1; /* index of names, -1: what suits */

bool unit_set(const char *name)
{
    fixed = -1;
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0) fixed = i;
    return fixed >= 0 || strcmp(name, "auto") == 0;
}

static const char *bytes(int64_t v, const char *sign)
{
    char *s = ring();
    double d = (double)v;
    unsigned u = 0;
    if (d < 0) d = -d;
    while (fixed >= 0 ? (int)u < fixed : d >= 1023.95 && u < 6) d /= 1024, u++;
    if (v < 0) sign = "-";
    snprintf(s, 64, u == 0 ? "%s%.0f %s" : "%s%.1f %s", sign, d, names[u]);
    return s;
}

const char *unit_bytes(int64_t v)
{
    return bytes(v, "");
}
const char *unit_delta_bytes(int64_t v)
{
    return bytes(v, v > 0 ? "+" : "");
}

const char *unit_count(int64_t n)
{
    char digits[32], *s = ring(), *out = s;
    uint64_t v = n < 0 ? -(uint64_t)n : (uint64_t)n;
    int len = snprintf(digits, sizeof digits, "%" PRIu64, v);
    if (n < 0) *out++ = '-';
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) *out++ = ',';
        *out++ = digits[i];
    }
    *out = 0;
    return s;
}

const char *unit_ns(int64_t ns)
{
    char *s = ring();
    double d = (double)ns;
    if (d < 1e3)
        snprintf(s, 64, "%.0f ns", d);
    else if (d < 999.5e3)
        snprintf(s, 64, "%.3g µs", d / 1e3);
    else if (d < 999.5e6)
        snprintf(s, 64, "%.3g ms", d / 1e6);
    else if (d < 120e9)
        snprintf(s, 64, d < 10e9 ? "%.1f s" : "%.0f s", d / 1e9);
    else if (d < 7200e9)
        snprintf(s, 64, "%.0f min", d / 60e9);
    else if (d < 48 * 3600e9)
        snprintf(s, 64, "%.0f h", d / 3600e9);
    else
        snprintf(s, 64, "%.0f days", d / 86400e9);
    return s;
}

const char *unit_seconds(double seconds)
{
    return unit_ns(seconds < 9e9 ? (int64_t)(seconds * 1e9) : INT64_MAX);
}

const char *unit_rate(double per_second, double span, bool count)
{
    char *s = ring();
    double by = span < 120 ? 1 : span < 7200 ? 60 : span < 48 * 3600 ? 3600 : 86400, v = per_second * by;
    const char *per = span < 120 ? "s" : span < 7200 ? "min" : span < 48 * 3600 ? "h" : "day";
    if (v > 9e18) v = 9e18;
    if (v < -9e18) v = -9e18;
    if (count)
        snprintf(s, 64, "%.3g/%s", v, per);
    else
        snprintf(s, 64, "%s/%s", unit_bytes((int64_t)v), per);
    return s;
}

const char *unit_time(int64_t unix_ns)
{
    char *s = ring();
    time_t t = (time_t)(unix_ns / 1000000000);
    struct tm tm;
    if (!gmtime_r(&t, &tm) || strftime(s, 64, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0) snprintf(s, 64, "?");
    return s;
}

const char *unit_plural(int64_t n, const char *one)
{
    char *s = ring();
    size_t len = strlen(one);
    bool es = n != 1 && len > 1 && (one[len - 1] == 's' || one[len - 1] == 'h');
    snprintf(s, 64, "%s %s%s", unit_count(n), one, n == 1 ? "" : es ? "es" : "s");
    return s;
}
