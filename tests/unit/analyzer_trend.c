/* SPDX-License-Identifier: Apache-2.0
 *
 * The trend test on series whose answer is known: error rates for each shape and length, printed. At most 1 % of what does not
 * grow may be flagged, at least 95 % of what does must be. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/model/trend.h"

#include <cmocka.h> /* after ours: it defines fail() as a macro */

enum { LONGEST = 60 };

static uint64_t seed = 88172645463325252ull;

static double uniform(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static double normal(void)
{
    return sqrt(-2 * log(uniform() + 1e-300)) * cos(6.283185307179586 * uniform());
}

/* ---- shapes: x in [0, 1] to a value of range about 1; a, b drawn once for each series */
static double linear(double x, double a, double b)
{
    (void)a;
    (void)b;
    return x;
}
static double slow(double x, double a, double b) /* on a large base */
{
    (void)b;
    return 20 * a + x;
}
static double stairs(double x, double a, double b) /* a batch leaks now and then */
{
    (void)b;
    return floor(x * (7 + 5 * a) + a);
}
static double capped(double x, double a, double b) /* fills for 5 to 55 % of the time */
{
    (void)b;
    return fmin(x / (0.05 + 0.5 * a), 1);
}
static double saturating(double x, double a, double b)
{
    (void)b;
    return 1 - exp(-x / (0.04 + 0.11 * a));
}
static double step(double x, double a, double b)
{
    (void)b;
    return x >= 0.1 + 0.8 * a;
}
static double sawtooth(double x, double a, double b) /* 1.5 to 6 teeth */
{
    double at = x * (1.5 + 4.5 * a) + b;
    return at - floor(at);
}
static double flat(double x, double a, double b)
{
    (void)x;
    (void)b;
    return a;
}

struct shape {
    const char *name;
    double (*at)(double x, double a, double b);
    double noise; /* standard deviation, of the range */
    bool grows;
};
static const struct shape shapes[] = {{"linear", linear, 0, true},
                                      {"linear", linear, 0.05, true},
                                      {"linear", linear, 0.1, true},
                                      {"linear on a base", slow, 0.05, true},
                                      {"stairs", stairs, 0.1, true},
                                      {"plateau, capped", capped, 0, false},
                                      {"plateau, capped", capped, 0.02, false},
                                      {"plateau, capped", capped, 0.1, false},
                                      {"plateau, saturating", saturating, 0, false},
                                      {"plateau, saturating", saturating, 0.02, false},
                                      {"saw-tooth", sawtooth, 0, false},
                                      {"saw-tooth", sawtooth, 0.05, false},
                                      {"step", step, 0, false},
                                      {"step", step, 0.05, false},
                                      {"noise", flat, 0.3, false},
                                      {"constant", flat, 0, false}};

/* Long series cost more; FULL=1 takes ten times as many. */
static int runs_of(size_t n)
{
    return (n <= 20 ? 1000 : 200) * (getenv("FULL") ? 10 : 1);
}

static double rate(const struct shape *s, size_t n, bool uneven)
{
    double t[LONGEST], y[LONGEST];
    int flagged = 0, runs = runs_of(n);
    for (int run = 0; run < runs; run++) {
        double a = uniform(), b = uniform(), at = 0, unit = pow(10, 3 + 6 * uniform());
        for (size_t i = 0; i < n; i++) t[i] = at += uneven ? 0.5 + uniform() : 1;
        for (size_t i = 0; i < n; i++)
            y[i] = unit * (1 + s->at((t[i] - t[0]) / (t[n - 1] - t[0]), a, b) + s->noise * normal());
        struct trend tr;
        trend_of(t, y, n, 0, 0, &tr);
        flagged += tr.verdict == TREND_GROWING;
    }
    return (double)flagged / runs;
}

static void known_answers(void **state)
{
    (void)state;
    static const size_t lengths[] = {8, 12, 20, 60};
    int bad = 0;
    printf("flagged as growing\n%-22s %5s", "shape", "noise");
    for (size_t k = 0; k < 4; k++) printf("   n=%-4zu", lengths[k]);
    printf("\n%-28s", "");
    for (size_t k = 0; k < 4; k++) printf(" of %-5d", runs_of(lengths[k]));
    puts("");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        printf("%-22s %4.0f%%", shapes[i].name, shapes[i].noise * 100);
        for (size_t k = 0; k < 4; k++) {
            double got = rate(&shapes[i], lengths[k], k % 2);
            /* Straight lines of more noise than promised: printed, with a lower bar. */
            double least = shapes[i].noise > 0.05 && shapes[i].at == linear ? 0.85 : 0.95;
            bool ok = shapes[i].grows ? got >= least : got <= 0.01;
            printf(" %6.2f%%%s", got * 100, ok ? " " : "!");
            bad += !ok;
        }
        puts("");
    }
    assert_int_equal(bad, 0);
}

/* Sen's example of a slope with an outlier, and the bounds of the interval. */
static void slope(void **state)
{
    (void)state;
    double t[10], y[10];
    struct trend tr;
    for (int i = 0; i < 10; i++) t[i] = i, y[i] = 5 + 3 * i;
    y[4] = 1000;
    trend_of(t, y, 10, 0, 0, &tr);
    assert_true(fabs(tr.slope - 3) < 1e-9);
    y[4] = 17;
    trend_of(t, y, 10, 0, 0, &tr);
    assert_int_equal(tr.verdict, TREND_GROWING);
    assert_true(fabs(tr.lo - 3) < 1e-9 && fabs(tr.hi - 3) < 1e-9 && fabs(tr.rise - 27) < 1e-9);
    /* S = 45, var = 125, z = 44/sqrt(125) */
    assert_true(fabs(tr.p - 0.5 * erfc(44 / sqrt(125) / sqrt(2))) < 1e-12);
    trend_of(t, y, 10, 20, 0, &tr); /* a rise that sampling explains */
    assert_int_equal(tr.verdict, TREND_STEADY);
    trend_of(t, y, 10, 0, 28, &tr);
    assert_int_equal(tr.verdict, TREND_STEADY);
    trend_of(t, y, 7, 0, 0, &tr);
    assert_int_equal(tr.verdict, TREND_TOO_FEW);
    assert_true(trend_until(10, 2, 20) > 4.99 && trend_until(10, 2, 20) < 5.01);
    assert_true(trend_until(10, 0, 20) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_answers), cmocka_unit_test(slope)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
