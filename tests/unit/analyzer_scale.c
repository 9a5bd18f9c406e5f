/* SPDX-License-Identifier: Apache-2.0
 *
 * The sampling estimator: factors against closed forms, rounding row by row, errors, saturation. */
#include "analyzer/model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

static void factors(void **state)
{
    (void)state;
    assert_true(scale_factor(512, 1) == 1);
    assert_true(scale_factor(512, 0) == 0);
    assert_true(fabs(scale_factor(524288, 524288) - 1 / (1 - exp(-1))) < 1e-12);
    /* small objects: close to rate/size + 1/2 */
    assert_true(fabs(scale_factor(16, 524288) - (524288.0 / 16 + 0.5)) < 1e-3);
    /* far larger than the rate: always sampled */
    assert_true(scale_factor(1 << 30, 524288) == 1);
}

static void rows_round_then_sum(void **state)
{
    (void)state;
    struct figure f = scale_row(3, 3000, 1024, 524288), sum = {0};
    double k = scale_factor(1024, 524288);
    assert_int_equal(f.objects, llround(3 * k));
    assert_int_equal(f.bytes, llround(3000 * k));
    figure_add(&sum, &f);
    figure_add(&sum, &f);
    assert_int_equal(sum.bytes, 2 * llround(3000 * k));
    figure_sub(&sum, &f);
    assert_int_equal(sum.bytes, f.bytes);
    assert_true(fabs(sum.bytes_var - 3 * f.bytes_var) < 1);
}

static void exact_has_no_error(void **state)
{
    (void)state;
    struct figure f = scale_row(7, 700, 112, 1);
    assert_int_equal(f.objects, 7);
    assert_int_equal(f.bytes, 700);
    assert_int_equal(figure_error(f.bytes_var), 0);
    struct figure none = scale_row(7, 700, 112, 0);
    assert_int_equal(none.objects, 0);
}

/* The estimator is unbiased and its error is what it says: 4000 experiments with a fixed seed. */
static void unbiased(void **state)
{
    (void)state;
    enum { RUNS = 4000, OBJECTS = 500, SIZE = 2048, RATE = 65536 };
    double p = 1 - exp(-(double)SIZE / RATE), sum = 0, squares = 0, error = 0;
    srand48(42);
    for (int run = 0; run < RUNS; run++) {
        int64_t n = 0;
        for (int i = 0; i < OBJECTS; i++) n += drand48() < p;
        struct figure f = scale_row(n, n * SIZE, SIZE, RATE);
        sum += (double)f.bytes;
        squares += (double)f.bytes * (double)f.bytes;
        error += f.bytes_var;
    }
    double mean = sum / RUNS, sd = sqrt(squares / RUNS - mean * mean), truth = (double)OBJECTS * SIZE;
    assert_true(fabs(mean - truth) < 4 * sd / sqrt(RUNS));
    assert_true(fabs(sqrt(error / RUNS) / sd - 1) < 0.05);
}

static void saturates(void **state)
{
    (void)state;
    struct figure big = scale_row(INT64_MAX, INT64_MAX, 1, INT64_MAX), sum = {0};
    for (int i = 0; i < 4; i++) figure_add(&sum, &big);
    assert_true(sum.bytes == INT64_MAX);
    for (int i = 0; i < 8; i++) figure_sub(&sum, &big);
    assert_true(sum.bytes == INT64_MIN + 1);
    assert_true(figure_error(INFINITY) == INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors),  cmocka_unit_test(rows_round_then_sum), cmocka_unit_test(exact_has_no_error),
        cmocka_unit_test(unbiased), cmocka_unit_test(saturates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
