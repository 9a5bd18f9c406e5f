/* SPDX-License-Identifier: Apache-2.0
 *
 * The estimator (docs/sampling.md) over 200 seeded runs of a known mix of sizes: unbiased for each size and in
 * bytes, with the variance that theory gives. The rule of the heap's counter is played here; the gaps are the
 * sampler's own. Deterministic: the seeds are fixed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/profile/internal.h"

enum { RUNS = 200, SIZES = 6, RATE = 8192 };
static const uint64_t size[SIZES] = {16, 64, 512, 4096, 8192, 131072};
static const unsigned number[SIZES] = {20000, 5000, 1500, 300, 150, 30};

static uint64_t seed_of(unsigned run)
{
    return 0x1234567ull * (run + 1);
}

/* One program: objects of all sizes mixed; how many of each are sampled. */
static void play(unsigned run, unsigned *sampled)
{
    unsigned left[SIZES], total = 0;
    for (unsigned i = 0; i < SIZES; i++) total += left[i] = number[i];
    memset(sampled, 0, SIZES * sizeof *sampled);
    uint64_t rng = seed_of(run), order = run + 1;
    int64_t counter = prof_gap(&rng, RATE);
    while (total > 0) {
        order = order * 6364136223846793005ull + 1442695040888963407ull;
        uint64_t pick = (order >> 33) % total;
        unsigned i = 0;
        while (pick >= left[i]) pick -= left[i++];
        left[i]--;
        total--;
        counter -= (int64_t)size[i];
        if (counter < 0) {
            sampled[i]++;
            counter = prof_gap(&rng, RATE);
        }
    }
}

static double probability(unsigned i)
{
    return 1 - exp(-(double)size[i] / RATE);
}

static void unbiased_with_known_variance(void **state)
{
    (void)state;
    double sum[SIZES] = {0}, chi2[SIZES] = {0}, bytes = 0, true_bytes = 0, bytes_var = 0;
    for (unsigned run = 0; run < RUNS; run++) {
        unsigned sampled[SIZES];
        play(run, sampled);
        for (unsigned i = 0; i < SIZES; i++) {
            double p = probability(i), n = number[i], d = sampled[i] - n * p;
            sum[i] += sampled[i] / p; /* scale the row, */
            bytes += sampled[i] / p * (double)size[i];
            chi2[i] += d * d / (n * p * (1 - p));
        }
    }
    for (unsigned i = 0; i < SIZES; i++) {
        double p = probability(i), n = number[i], sd = sqrt(n * (1 - p) / p);
        double z = (sum[i] / RUNS - n) / (sd / sqrt(RUNS));
        print_message("%6lu bytes: mean %9.1f of %5.0f  z %+.2f  chi2/%d %.2f\n", (unsigned long)size[i], sum[i] / RUNS,
                      n, z, RUNS, chi2[i] / RUNS);
        true_bytes += n * (double)size[i];
        bytes_var += n * (1 - p) / p * (double)size[i] * (double)size[i];
        /* For 131072 bytes p is 1 - 1e-7: every one is sampled, and there is no variance to test. */
        if (p > 0.9999) {
            assert_true(fabs(sum[i] / RUNS - n) < 0.01);
            continue;
        }
        assert_true(fabs(z) < 3.5);
        assert_true(fabs(chi2[i] - RUNS) < 4 * sqrt(2.0 * RUNS));
    }
    double z = (bytes / RUNS - true_bytes) / sqrt(bytes_var / RUNS); /* then sum */
    print_message("all bytes: z %+.2f\n", z);
    assert_true(fabs(z) < 3.5);
}

/* Sum first, scale then: the mistake that the documentation warns of is one that this mix would show. */
static void summing_first_is_biased(void **state)
{
    (void)state;
    double bytes = 0, true_bytes = 0;
    for (unsigned i = 0; i < SIZES; i++) true_bytes += (double)number[i] * (double)size[i];
    for (unsigned run = 0; run < RUNS; run++) {
        unsigned sampled[SIZES];
        play(run, sampled);
        double n = 0, b = 0;
        for (unsigned i = 0; i < SIZES; i++) {
            n += sampled[i];
            b += sampled[i] * (double)size[i];
        }
        bytes += b / (1 - exp(-b / n / RATE));
    }
    assert_true(fabs(bytes / RUNS / true_bytes - 1) > 0.1);
}

/* The gap is exponential: mean, and the share above each multiple of the rate. */
static void gaps_are_exponential(void **state)
{
    (void)state;
    enum { N = 400000 };
    uint64_t rng = 42;
    double sum = 0;
    unsigned above[5] = {0};
    for (unsigned k = 0; k < N; k++) {
        int64_t g = prof_gap(&rng, RATE);
        assert_true(g >= 0);
        sum += (double)g + 0.5; /* the integer part was taken */
        for (unsigned i = 0; i < 5; i++) above[i] += g >= (int64_t)(i + 1) * RATE;
    }
    assert_true(fabs(sum / N / RATE - 1) < 4 / sqrt(N));
    for (unsigned i = 0; i < 5; i++) {
        double p = exp(-(double)(i + 1));
        assert_true(fabs(above[i] - N * p) < 4 * sqrt(N * p * (1 - p)));
    }
}

static void edges_of_the_rate(void **state)
{
    (void)state;
    uint64_t rng = 7;
    assert_int_equal(prof_gap(&rng, 1), 0); /* the next object takes the counter below 0 */
    assert_true(prof_gap(&rng, 0) == INT64_MAX);
    for (int i = 0; i < 100000; i++) {
        assert_true(prof_gap(&rng, 2) >= 0);
        assert_true(prof_gap(&rng, 1ull << 40) <= INT64_MAX / 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unbiased_with_known_variance),
        cmocka_unit_test(summing_first_is_biased),
        cmocka_unit_test(gaps_are_exponential),
        cmocka_unit_test(edges_of_the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
