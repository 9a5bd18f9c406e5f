/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables for people, JSON for machines (docs/benchmarks.md), from the same samples. */
#include "bench/harness/harness.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static bool in_table(int w)
{
    return who[w].kind != OTHER;
}

static void print_table(int m, const char *title, double scale)
{
    printf("\n%-12s", title);
    for (int w = 0; w < nwho; w++)
        if (in_table(w)) printf(" %10s", who[w].name);
    printf("\n");
    for (int l = 0; l < nload; l++) {
        if (load[l].is_probe) continue;
        printf("%-12s", load[l].name);
        for (int w = 0; w < nwho; w++)
            if (in_table(w)) printf(" %10.3f", median_of(l, w, m) * scale);
        printf("\n");
    }
}

/* Each contestant against the best peer of each load: who loses where. */
static void print_ratios(int m, const char *title)
{
    double sum[MAX_WHO] = {0};
    int n = 0;
    printf("\n%-12s", title);
    for (int w = 0; w < nwho; w++)
        if (in_table(w)) printf(" %10s", who[w].name);
    printf("\n");
    for (int l = 0; l < nload; l++) {
        if (load[l].is_probe) continue;
        double best = INFINITY;
        for (int w = 0; w < nwho; w++)
            if (who[w].kind == PEER) best = fmin(best, median_of(l, w, m));
        printf("%-12s", load[l].name);
        for (int w = 0; w < nwho; w++) {
            if (!in_table(w)) continue;
            printf(" %10.2f", median_of(l, w, m) / best);
            sum[w] += log(median_of(l, w, m) / best);
        }
        printf("\n");
        n++;
    }
    printf("%-12s", "geomean");
    for (int w = 0; w < nwho; w++)
        if (in_table(w)) printf(" %10.2f", exp(sum[w] / n));
    printf("\n");
}

static void print_probes(void)
{
    for (int l = 0; l < nload; l++) {
        if (!load[l].is_probe) continue;
        printf("\nprobe %s\n", load[l].name);
        for (int w = 0; w < nwho; w++) {
            if (!load[l].takes[w]) continue;
            printf("    %-12s", who[w].name);
            for (int m = 0; m < nmetrics; m++)
                if (!isnan(median_of(l, w, m))) printf(" %s %.4g ", metric_name[m], median_of(l, w, m));
            printf("\n");
        }
    }
}

/* Half the distance from least to most, in parts of the median: what a ratio is worth today. */
static void print_noise(void)
{
    double sum = 0;
    int n = 0;
    for (int l = 0; l < nload; l++) {
        for (int w = 0; w < nwho && !load[l].is_probe; w++) {
            if (!load[l].takes[w]) continue;
            double lo = INFINITY, hi = 0;
            for (int r = 0; r < rounds; r++) {
                lo = fmin(lo, samples[l][w][r][WALL]);
                hi = fmax(hi, samples[l][w][r][WALL]);
            }
            sum += (hi - lo) / 2 / median_of(l, w, WALL);
            n++;
        }
    }
    if (n) printf("\nnoise: a sample's wall time lies within ±%.0f %% of its median, on average\n", 100 * sum / n);
}

static void print_loads(void)
{
    print_table(WALL, "wall, s", 1);
    print_table(CPU, "cpu, s", 1);
    print_table(RSS, "rss, MiB", 1.0 / 1024);
    print_ratios(WALL, "wall / best");
    print_ratios(CPU, "cpu / best");
    print_ratios(RSS, "rss / best");
}

void print_tables(void)
{
    bool any = false;
    for (int l = 0; l < nload; l++) any |= !load[l].is_probe;
    if (any) print_loads();
    print_probes();
    print_noise();
    printf("\n");
    for (const struct bar *b = bar; b < bar + nbar; b++) {
        printf("%s  %-66s %9.3f %s",
               b->is_note ? "      "
               : b->holds ? "holds "
                          : "MISSES",
               b->name, b->value, b->unit);
        if (!b->is_note) printf("  (%s %g)", b->higher ? "at least" : "limit", b->limit);
        printf("%s%s\n", b->where ? "  " : "", b->where ? b->where : "");
    }
}

static void put_string(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') fputc('\\', f);
        if ((unsigned char)*s >= ' ') fputc(*s, f);
    }
    fputc('"', f);
}

void put_machine(FILE *f)
{
    char buf[256];
    struct utsname u;
    uname(&u);
    fprintf(f, "{\"cpu\": ");
    put_string(f, line_of("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo", buf, sizeof buf));
    fprintf(f, ", \"cores\": %ld, \"kernel\": ", sysconf(_SC_NPROCESSORS_ONLN));
    put_string(f, u.release);
    fprintf(f, ", \"libc\": \"glibc %s\", \"compiler\": \"gcc %s\"}", gnu_get_libc_version(), __VERSION__);
}

static void put_sample(FILE *f, int l, int w, int r)
{
    const double *s = samples[l][w][r];
    fprintf(f,
            " {\"load\": \"%s\", \"who\": \"%s\", \"round\": %d, \"wall_s\": %.4f, \"cpu_s\": %.4f, \"rss_kib\": %.0f",
            load[l].name, who[w].name, r + 1, s[WALL], s[CPU], s[RSS]);
    for (int m = FIRST_OWN; m < nmetrics; m++)
        if (!isnan(s[m])) fprintf(f, ", \"%s\": %.6g", metric_name[m], s[m]);
    fprintf(f, "}");
}

void write_json(const char *path)
{
    char buf[256], tmp[4096];
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    FILE *f = fopen(tmp, "w");
    if (!f) die(strerror(errno), tmp);
    fprintf(f, "{\n\"suite\": \"%s\",\n\"machine\": ", suite);
    put_machine(f);
    fprintf(f, ",\n\"commit\": ");
    put_string(f, line_of("git describe --always --dirty 2>/dev/null", buf, sizeof buf));
    fprintf(f, ",\n\"samples\": [");
    const char *comma = "\n";
    for (int l = 0; l < nload; l++)
        for (int w = 0; w < nwho; w++)
            for (int r = 0; r < load[l].rounds && load[l].takes[w]; r++, comma = ",\n") {
                fputs(comma, f);
                put_sample(f, l, w, r);
            }
    fprintf(f, "\n],\n\"pairs\": [");
    comma = "\n";
    for (int l = 0; l < nload && pairing.times; l++)
        for (int k = 0; k < load[l].rounds * pairing.times && !load[l].is_probe; k++, comma = ",\n")
            fprintf(
                f,
                "%s {\"load\": \"%s\", \"who\": \"%s\", \"reference\": \"%s\", \"wall_s\": [%.4f, %.4f], \"cpu_s\": "
                "[%.4f, %.4f]}",
                comma, load[l].name, who[pairing.who].name, who[pairing.reference].name, pairs[l][k][0][WALL],
                pairs[l][k][1][WALL], pairs[l][k][0][CPU], pairs[l][k][1][CPU]);
    fprintf(f, "\n],\n\"bars\": [");
    comma = "\n";
    for (const struct bar *b = bar; b < bar + nbar; b++) {
        if (b->is_note) continue;
        fprintf(f, "%s {\"name\": ", comma);
        comma = ",\n";
        put_string(f, b->name);
        fprintf(f, ", \"value\": %.4f, \"limit\": %g, \"better\": \"%s\", \"unit\": \"%s\", \"holds\": %s}", b->value,
                b->limit, b->higher ? "higher" : "lower", b->unit, b->holds ? "true" : "false");
    }
    fprintf(f, "\n]\n}\n");
    if (ferror(f) || fclose(f) || rename(tmp, path)) die(strerror(errno), path);
}
