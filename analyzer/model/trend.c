/* SPDX-License-Identifier: Apache-2.0
 *
 * Growing or not, for short and noisy series. A site grows when all of these hold:
 *   1. Mann–Kendall: the rise is no chance, p < 0.004 one-sided, ties counted. Where what is left after the line is correlated from
 *      point to point (n >= 16), the variance is widened by (1 + r)/(1 - r), else slow waves look like trends.
 *   2. Theil–Sen: the 95 % confidence interval of the slope is above zero, and the rise is worth telling.
 *   3. No plateau: neither "rises, then flat" nor one step fits clearly better than a line, and the last third still rises.
 *   4. No falling back: from a maximum it never comes down by half of its range. A saw-tooth does.
 * Mann 1945; Kendall 1975; Sen 1968 (the interval from the variance of Mann–Kendall's S).
 *
 * Cost: n²; points are bounded by the caller. May allocate. Tried and dropped: least squares with a t-test (one spike decides it);
 * Mann–Kendall on the second half alone (at 8 points it can prove nothing). */
#include "analyzer/model/trend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double P_MAX = 0.004, F_MIN = 4, TAIL_SHARE = 0.25, FALL_SHARE = 0.5;

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, ascending);
    return n == 0 ? 0 : n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* S, and its variance without a trend. */
static double kendall(const double *y, size_t n, double *sorted, double *var)
{
    double s = 0, d = (double)n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) s += (y[j] > y[i]) - (y[j] < y[i]);
    memcpy(sorted, y, n * sizeof *y);
    qsort(sorted, n, sizeof *sorted, ascending);
    *var = d * (d - 1) * (2 * d + 5);
    for (size_t i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && !(sorted[j] > sorted[i]); j++) {}
        double ties = (double)(j - i);
        *var -= ties * (ties - 1) * (2 * ties + 5);
    }
    *var /= 18;
    return s;
}

/* Slopes of all pairs, sorted. */
static size_t slopes(const double *t, const double *y, size_t n, double *out)
{
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++)
            if (t[j] > t[i]) out[m++] = (y[j] - y[i]) / (t[j] - t[i]);
    if (m) qsort(out, m, sizeof *out, ascending);
    return m;
}

/* Sum of squares that the best straight line through (x, y) leaves. */
static double line_rest(const double *x, const double *y, size_t n)
{
    double mx = 0, my = 0, xx = 0, xy = 0, yy = 0;
    for (size_t i = 0; i < n; i++) mx += x[i] / (double)n, my += y[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        xy += (x[i] - mx) * (y[i] - my);
        yy += (y[i] - my) * (y[i] - my);
    }
    double rest = xx > 0 ? yy - xy * xy / xx : yy;
    return rest > 0 ? rest : 0;
}

/* Rises and then stays: does the best such shape, bent at a point that leaves three flat ones, beat the line? */
static bool is_plateau(const double *t, const double *y, size_t n, double slope, double *x, double *all)
{
    double line = line_rest(t, y, n), best = INFINITY, yy = 0, mean = 0;
    for (size_t i = 0; i < n; i++) mean += y[i] / (double)n;
    for (size_t i = 0; i < n; i++) yy += (y[i] - mean) * (y[i] - mean);
    for (size_t k = 1; k + 3 <= n; k++) {
        for (size_t i = 0; i < n; i++) x[i] = t[i] < t[k] ? t[i] : t[k];
        double bent = line_rest(x, y, n);
        for (size_t i = 0; i < n; i++) x[i] = i >= k;
        double step = line_rest(x, y, n);
        if (bent < best) best = bent;
        if (step < best) best = step;
    }
    /* The bend costs one more parameter. Below a millionth of the whole the rest is rounding. */
    double floor_ = yy * 1e-6;
    if (best < floor_) best = floor_;
    if (line > floor_ && (line - best) / (best / (double)(n - 3)) > F_MIN) return true;
    size_t tail = n / 3 < 4 ? 4 : n / 3, m = slopes(t + n - tail, y + n - tail, tail, all);
    return m == 0 || median(all, m) < TAIL_SHARE * slope;
}

/* The deepest fall from a maximum, as a share of the range; single outliers are smoothed away where there are points enough. */
static double deepest_fall(const double *y, size_t n, double *v)
{
    double top = -INFINITY, lo = INFINITY, hi = -INFINITY, fall = 0;
    for (size_t i = 0; i < n; i++) {
        v[i] = y[i];
        if (n >= 12 && i > 0 && i + 1 < n) {
            double w[3] = {y[i - 1], y[i], y[i + 1]};
            v[i] = median(w, 3);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (v[i] > top) top = v[i];
        if (top - v[i] > fall) fall = top - v[i];
        lo = fmin(lo, v[i]);
        hi = fmax(hi, v[i]);
    }
    return hi > lo ? fall / (hi - lo) : 0;
}

/* How far the rest after the line is correlated with itself one point later, 0 to 0.9. */
static double persistence(const double *t, const double *y, size_t n, double slope, double *v)
{
    double mean = 0, a = 0, b = 0, range = 0;
    for (size_t i = 0; i < n; i++) mean += (v[i] = y[i] - slope * t[i]) / (double)n;
    for (size_t i = 0; i < n; i++) {
        b += (v[i] - mean) * (v[i] - mean);
        if (i > 0) a += (v[i] - mean) * (v[i - 1] - mean);
        range = fmax(range, fabs(y[i] - y[0]));
    }
    if (b < range * range * 1e-6 * (double)n) return 0; /* a line to the last digit */
    return fmin(fmax(a / b, 0), 0.9);
}

void trend_of(const double *t, const double *y, size_t n, double noise, double least, struct trend *out)
{
    *out = (struct trend){.n = n, .verdict = TREND_TOO_FEW, .p = 1};
    if (n < TREND_MIN || !(t[n - 1] > t[0])) return;
    double *work = xcalloc(n, sizeof *work), *all = NULL, var, s = kendall(y, n, work, &var);
    out->verdict = TREND_STEADY;
    if (var > 0 && s > 1) out->p = erfc((s - 1) / sqrt(var) / M_SQRT2) / 2;
    if (out->p < P_MAX) { /* the slopes of the others need not be known, and there are many of them */
        all = xcalloc(n * (n - 1) / 2, sizeof *all);
        size_t m = slopes(t, y, n, all);
        out->slope = m % 2 ? all[m / 2] : (all[m / 2 - 1] + all[m / 2]) / 2;
        if (n >= 16) {
            double rho = persistence(t, y, n, out->slope, work);
            var *= (1 + rho) / (1 - rho);
            out->p = erfc((s - 1) / sqrt(var) / M_SQRT2) / 2;
        }
        double half = 1.96 * sqrt(var) / 2, mid = (double)m / 2;
        out->lo = all[half >= mid ? 0 : (size_t)(mid - half)];
        out->hi = all[mid + half >= (double)m ? m - 1 : (size_t)(mid + half)];
        out->rise = out->slope * (t[n - 1] - t[0]);
        if (out->p >= P_MAX || !(out->lo > 0) || out->rise < 2 * noise || out->rise < least)
            out->verdict = TREND_STEADY;
        else if (deepest_fall(y, n, work) > FALL_SHARE)
            out->verdict = TREND_FALLS;
        else if (is_plateau(t, y, n, out->slope, work, all))
            out->verdict = TREND_PLATEAU;
        else
            out->verdict = TREND_GROWING;
    }
    free(work);
    free(all);
}

const char *trend_word(enum trend_verdict v)
{
    static const char *const words[] = {"too few", "steady", "plateau", "falls back", "growing"};
    return words[v];
}

double trend_until(double now, double slope, double limit)
{
    if (now >= limit) return 0;
    return slope > 0 ? (limit - now) / slope : -1;
}
