/* SPDX-License-Identifier: Apache-2.0
 *
 * From samples to bars. What each aggregate means: plan.c. A bar whose figure was not measured ends the run: none passes
 * for want of data. */
#include "bench/harness/harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int find_who(const char *name)
{
    for (int i = 0; i < nwho; i++)
        if (strcmp(who[i].name, name) == 0) return i;
    die("no such contestant", name);
}

int find_load(const char *name)
{
    for (int i = 0; i < nload; i++)
        if (strcmp(load[i].name, name) == 0) return i;
    die("no such load", name);
}

int find_metric(const char *name, bool add)
{
    for (int i = 0; i < nmetrics; i++)
        if (strcmp(metric_name[i], name) == 0) return i;
    if (!add) die("nobody measured it", name);
    if (nmetrics == MAX_METRICS) die("too many metrics", name);
    metric_name[nmetrics] = strdup(name);
    return nmetrics++;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* NAN where a round has no such metric. */
double median_of(int l, int w, int m)
{
    double v[MAX_ROUNDS];
    for (int r = 0; r < load[l].rounds; r++) {
        v[r] = samples[l][w][r][m];
        if (!load[l].takes[w] || isnan(v[r])) return NAN;
    }
    return median(v, load[l].rounds);
}

static double reference(int l, int m, const char *name)
{
    double v[MAX_WHO];
    int n = 0;
    bool best = strcmp(name, "best") == 0;
    if (!best && strcmp(name, "median") != 0) return median_of(l, find_who(name), m);
    for (int w = 0; w < nwho; w++)
        if (who[w].kind == PEER) v[n++] = median_of(l, w, m);
    if (!n) die("no peers", name);
    double middle = median(v, n);
    return best ? v[0] : middle;
}

static double paired(int l, int m, int w, int ref)
{
    double v[MAX_ROUNDS * MAX_PAIRS];
    int n = load[l].rounds * pairing.times;
    if (n == 0 || w != pairing.who || ref != pairing.reference || m >= FIRST_OWN) return NAN;
    for (int k = 0; k < n; k++) v[k] = pairs[l][k][0][m] / pairs[l][k][1][m];
    return median(v, n);
}

static double over_loads(struct bar *b, int m, int w)
{
    double sum = 0, most = 0;
    int n = 0;
    for (int l = 0; l < nload; l++) {
        if (load[l].is_probe) continue;
        double ratio = strcmp(b->aggregate, "paired") == 0 ? paired(l, m, w, find_who(b->reference))
                                                           : median_of(l, w, m) / reference(l, m, b->reference);
        if (isnan(ratio)) return NAN;
        sum += log(ratio);
        if (ratio > most) {
            most = ratio;
            if (strcmp(b->aggregate, "max") == 0) b->where = load[l].name;
        }
        n++;
    }
    return strcmp(b->aggregate, "max") == 0 ? most : exp(sum / n);
}

static double on_load(const struct bar *b, int l, int m, int w)
{
    double value = median_of(l, w, m), least = INFINITY;
    if (strcmp(b->reference, "-") == 0) return value;
    char names[256], *save = NULL;
    snprintf(names, sizeof names, "%s", b->reference);
    for (char *s = strtok_r(names, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
        double v = median_of(l, find_who(s), m);
        if (!(v >= least)) least = v; /* NAN stays */
    }
    return value / least;
}

/* Median of the rounds' factor * ONE / TWO. */
static double two_loads(const char *loads, int m, int w, double factor)
{
    char one[64], two[64];
    double v[MAX_ROUNDS];
    if (sscanf(loads, "%63[^,],%63s", one, two) != 2) die("two loads are wanted", loads);
    int a = find_load(one), b = find_load(two), n = load[a].rounds;
    if (!load[a].takes[w] || !load[b].takes[w] || load[b].rounds != n) return NAN;
    for (int r = 0; r < n; r++) v[r] = factor * samples[a][w][r][m] / samples[b][w][r][m];
    return median(v, n);
}

void compute_bars(void)
{
    for (struct bar *b = bar; b < bar + nbar; b++) {
        int w = find_who(b->who), m = find_metric(b->metric, false);
        const char *colon = strchr(b->aggregate, ':');
        if (strncmp(b->aggregate, "on:", 3) == 0)
            b->value = on_load(b, find_load(colon + 1), m, w);
        else if (strncmp(b->aggregate, "more:", 5) == 0)
            b->value =
                median_of(find_load(colon + 1), w, m) - median_of(find_load(colon + 1), find_who(b->reference), m);
        else if (strncmp(b->aggregate, "scaling:", 8) == 0)
            b->value = two_loads(colon + 1, m, w, 2);
        else if (strncmp(b->aggregate, "loads:", 6) == 0)
            b->value = two_loads(colon + 1, m, w, 1);
        else if (strcmp(b->aggregate, "geomean") == 0 || strcmp(b->aggregate, "max") == 0 ||
                 strcmp(b->aggregate, "paired") == 0)
            b->value = over_loads(b, m, w);
        else
            die("no such aggregate", b->aggregate);
        if (!isfinite(b->value)) die("not measured", b->name);
        b->holds = b->higher ? b->value >= b->limit : b->value <= b->limit;
    }
}
