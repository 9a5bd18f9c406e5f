/* SPDX-License-Identifier: Apache-2.0
 *
 * The sampling estimator. An object of s bytes is sampled with probability p = 1 - exp(-s/rate), so n sampled ones stand for n/p, and the
 * estimate of a row of one size is unbiased. Scale each row, then sum: a sum has no one size to scale by
 * (golang/go, src/runtime/pprof/protomem.go, scales the same way).
 *
 * Each sampled object adds (1-p)/p² to the variance of the count, and its bytes squared times that to the variance of
 * the bytes. The bytes of one object are taken as the row's mean. */
#include <math.h>

#include "analyzer/model/model.h"

double scale_factor(int64_t size, int64_t rate)
{
    if (rate <= 0) return 0;
    if (rate == 1 || size <= 0) return 1;
    return 1 / -expm1(-(double)size / (double)rate);
}

struct figure scale_row(int64_t objects, int64_t bytes, int64_t size, int64_t rate)
{
    struct figure f = {0};
    double k = scale_factor(size, rate);
    if (objects <= 0) return f;
    f.objects = (int64_t)llround(fmin((double)objects * k, 4e18));
    f.bytes = (int64_t)llround(fmin((double)bytes * k, 4e18));
    double mean = (double)bytes / (double)objects, one = k * (k - 1);
    f.objects_var = (double)objects * one;
    f.bytes_var = (double)objects * one * mean * mean;
    return f;
}

void figure_add(struct figure *sum, const struct figure *f)
{
    add_capped(&sum->objects, f->objects);
    add_capped(&sum->bytes, f->bytes);
    sum->objects_var += f->objects_var;
    sum->bytes_var += f->bytes_var;
}

void figure_sub(struct figure *sum, const struct figure *f)
{
    struct figure minus = {-f->objects, -f->bytes, f->objects_var, f->bytes_var};
    figure_add(sum, &minus);
}

int64_t figure_error(double variance)
{
    double se = sqrt(variance);
    return se < 9e18 ? (int64_t)llround(se) : INT64_MAX;
}
