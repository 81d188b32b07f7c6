/* Position tables: computed on the host in double precision, then put on the backend. */
#include "ops/internal.h"

#include <math.h>

/* Host memory for a table of this step. */
static void *host_table(lh_context *context, const char *op, lh_dtype dtype, int64_t rows, int64_t columns)
{
    size_t bytes;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if ((dtype != LH_F32 && dtype != LH_F64) || rows < 0 || columns < 0 ||
        lh_size_multiply((size_t)rows, (size_t)columns, &bytes) ||
        lh_size_multiply(bytes, lh_dtype_size(dtype), &bytes)) {
        lh_op_fail(context, LH_E_SHAPE, op, "no table of shape [%lld, %lld] of %s", (long long)rows,
                   (long long)columns, lh_dtype_name(dtype));
        return NULL;
    }
    void *table = lh_arena_alloc(&context->arena, bytes);
    if (!table) {
        lh_op_fail(context, LH_E_MEMORY, op, "no memory for a table of shape [%lld, %lld]", (long long)rows,
                   (long long)columns);
    }
    return table;
}

static void put(void *table, lh_dtype dtype, int64_t at, double value)
{
    if (dtype == LH_F64) {
        ((double *)table)[at] = value;
    } else {
        ((float *)table)[at] = (float)value;
    }
}

lh_tensor *lh_sinusoids(lh_context *context, lh_dtype dtype, int64_t first, int64_t count, int64_t width,
                        double base, int64_t clamp)
{
    if (!lh_op_stopped(context) && width % 2 != 0) {
        return lh_op_fail(context, LH_E_SHAPE, "sinusoids", "a width of %lld has no two halves", (long long)width);
    }
    void *table = host_table(context, "sinusoids", dtype, count, width);
    if (!table) {
        return NULL;
    }
    int64_t half = width / 2, shape[2] = {count, width};
    for (int64_t i = 0; i < half; i++) {
        double frequency = pow(base, -2.0 * (double)i / (double)width);
        for (int64_t t = 0; t < count; t++) {
            int64_t distance = clamp > 0 && first + t > clamp ? clamp : first + t;
            put(table, dtype, t * width + i, sin((double)distance * frequency));
            put(table, dtype, t * width + half + i, cos((double)distance * frequency));
        }
    }
    return lh_from_host(context, dtype, 2, shape, table);
}

int32_t lh_t5_bucket(int64_t distance, int32_t buckets, int64_t max_distance)
{
    int64_t exact = buckets / 2;
    if (distance <= 0 || buckets <= 1) {
        return 0;
    }
    if (distance < exact) {
        return (int32_t)distance;
    }
    if (distance >= max_distance || max_distance <= exact) {
        return buckets - 1;
    }
    double octaves = log((double)distance / (double)exact) / log((double)max_distance / (double)exact);
    int64_t bucket = exact + (int64_t)(octaves * (double)(buckets - exact));
    return bucket < buckets ? (int32_t)bucket : buckets - 1;
}

lh_tensor *lh_t5_bias(lh_context *context, lh_tensor *table, int64_t first, int64_t count, int64_t max_distance)
{
    char text[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (table->ndim != 2 || count < 0 || table->shape[1] < 1 || table->shape[1] > INT32_MAX) {
        return lh_op_fail(context, LH_E_SHAPE, "t5_bias", "%s is no table of [heads, buckets] for %lld distances",
                          lh_shape_text(text, sizeof text, table->ndim, table->shape), (long long)count);
    }
    int32_t *bucket = host_table(context, "t5_bias", LH_F32, count, 1);
    if (!bucket) {
        return NULL;
    }
    for (int64_t t = 0; t < count; t++) {
        bucket[t] = lh_t5_bucket(first + t, (int32_t)table->shape[1], max_distance);
    }
    lh_tensor *index = lh_from_host(context, LH_I32, 1, &count, bucket);
    lh_tensor *by_bucket = lh_contiguous(context, lh_transpose(context, table, 0, 1)); /* [buckets, heads] */
    lh_tensor *by_distance = lh_gather_rows(context, by_bucket, index);                /* [count, heads] */
    return lh_contiguous(context, lh_transpose(context, by_distance, 0, 1));
}

lh_tensor *lh_alibi(lh_context *context, lh_dtype dtype, int64_t heads, int64_t first, int64_t count)
{
    void *table = host_table(context, "alibi", dtype, heads, count);
    if (!table) {
        return NULL;
    }
    int64_t shape[2] = {heads, count};
    for (int64_t h = 0; h < heads; h++) {
        double slope = exp2(-8.0 * (double)(h + 1) / (double)heads);
        for (int64_t t = 0; t < count; t++) {
            put(table, dtype, h * count + t, -slope * (double)(first + t));
        }
    }
    return lh_from_host(context, dtype, 2, shape, table);
}
