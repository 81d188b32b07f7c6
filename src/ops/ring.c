/* Rings of rows: search and appending (lh_row_ring). Neither has a gradient. */
#include "ops/internal.h"

static bool ring_fits(const lh_row_ring *ring, const lh_tensor *like)
{
    const lh_tensor *rows = ring->rows, *scale = ring->scale;
    if (!rows || rows->ndim != 4 || !lh_tensor_contiguous(rows) || rows->shape[0] != like->shape[0] ||
        rows->shape[3] != like->shape[3] || ring->capacity < 1 || ring->capacity > rows->shape[2]) {
        return false;
    }
    if (rows->dtype == LH_I8) {
        return scale && scale->dtype == LH_F32 && scale->ndim == 3 && lh_tensor_contiguous(scale) &&
               scale->shape[0] == rows->shape[0] && scale->shape[1] == rows->shape[1] &&
               scale->shape[2] == rows->shape[2];
    }
    return rows->dtype == like->dtype || rows->dtype == LH_F16;
}

static bool counts_fit(const lh_tensor *written, const lh_tensor *like)
{
    return written->dtype == LH_I32 && lh_tensor_count(written) == like->shape[0] && lh_tensor_contiguous(written);
}

static lh_ring ring_of(const lh_row_ring *ring)
{
    const lh_tensor *rows = ring->rows;
    return (lh_ring){.stored = rows->dtype,
                     .capacity = ring->capacity,
                     .slots = rows->shape[2],
                     .rows = {.data = lh_tensor_data(rows),
                              .batch = rows->stride[0],
                              .head = rows->stride[1],
                              .row = rows->stride[2]},
                     .scale = ring->scale ? lh_tensor_data(ring->scale) : NULL};
}

static lh_tensor *ring_fault(lh_context *context, const char *op, const lh_row_ring *ring, const lh_tensor *x,
                             const char *what)
{
    char tx[128], tr[128];
    return lh_op_fail(context, LH_E_SHAPE, op, "%s %s and a ring of rows %s with room for %lld do not fit", what,
                      lh_shape_text(tx, sizeof tx, x->ndim, x->shape),
                      ring->rows ? lh_shape_text(tr, sizeof tr, ring->rows->ndim, ring->rows->shape) : "(missing)",
                      (long long)ring->capacity);
}

/* x with contiguous channels. */
static lh_tensor *with_rows(lh_context *context, lh_tensor *x)
{
    return x->shape[3] == 1 || x->stride[3] == 1 ? x : lh_packed(context, x);
}

/* Of a tensor that could not be made: nothing. The context has the error, and runs no kernel. */
static lh_strided strided_of(const lh_tensor *x)
{
    if (!x) {
        return (lh_strided){0};
    }
    return (lh_strided){
        .data = lh_tensor_data(x), .batch = x->stride[0], .head = x->stride[1], .row = x->stride[2]};
}

lh_tensor *lh_nearest(lh_context *context, lh_tensor *q, const lh_row_ring *ring, lh_tensor *written,
                      int64_t window, int64_t k, int64_t buckets, int32_t missing, lh_tensor **score)
{
    if (score) {
        *score = NULL;
    }
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (q->ndim != 4 || (q->dtype != LH_F32 && q->dtype != LH_F64) || !ring_fits(ring, q) ||
        !counts_fit(written, q) || ring->rows->shape[1] < 1 || q->shape[1] % ring->rows->shape[1] != 0) {
        return ring_fault(context, "nearest", ring, q, "queries");
    }
    if (k < 0 || window < 0 || window > ring->capacity || (buckets != 0 && buckets < k) || buckets < 0) {
        return lh_op_fail(context, LH_E_ARGUMENT, "nearest",
                          "cannot find %lld rows among the last %lld of a ring of %lld in %lld buckets",
                          (long long)k, (long long)window, (long long)ring->capacity, (long long)buckets);
    }
    int64_t shape[4] = {q->shape[0], q->shape[1], q->shape[2], k};
    lh_tensor *packed = with_rows(context, q), *index = packed ? lh_new(context, LH_I32, 4, shape, false) : NULL;
    lh_tensor *products = index && score ? lh_new(context, q->dtype, 4, shape, false) : NULL;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_nearest_args args = {.batch = shape[0],
                            .heads = shape[1],
                            .kv_heads = ring->rows->shape[1],
                            .q_len = shape[2],
                            .width = q->shape[3],
                            .k = k,
                            .q = strided_of(packed),
                            .keys = ring_of(ring),
                            .written = lh_tensor_data(written),
                            .window = window,
                            .buckets = buckets,
                            .missing = missing,
                            .index = lh_tensor_data(index),
                            .score = products ? lh_tensor_data(products) : NULL};
    lh_run(context, LH_KERNEL_NEAREST, q->dtype, &args);
    if (packed != q) {
        lh_drop(context, packed);
    }
    if (score) {
        *score = lh_result(context, products);
    }
    return lh_result(context, index);
}

lh_tensor *lh_ring_append(lh_context *context, const lh_row_ring *ring, lh_tensor *x, lh_tensor *written)
{
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (x->ndim != 4 || (x->dtype != LH_F32 && x->dtype != LH_F64) || !ring_fits(ring, x) ||
        !counts_fit(written, x) || x->shape[1] != ring->rows->shape[1] || x->shape[2] > ring->capacity) {
        return ring_fault(context, "ring_append", ring, x, "new rows");
    }
    lh_tensor *packed = with_rows(context, x), *after = packed ? lh_new_like(context, written, false) : NULL;
    if (!after) {
        return NULL;
    }
    lh_ring_append_args args = {.batch = x->shape[0],
                                .heads = x->shape[1],
                                .count = x->shape[2],
                                .width = x->shape[3],
                                .x = strided_of(packed),
                                .ring = ring_of(ring),
                                .written = lh_tensor_data(written),
                                .written_after = lh_tensor_data(after)};
    lh_run(context, LH_KERNEL_RING_APPEND, x->dtype, &args);
    if (packed != x) {
        lh_drop(context, packed);
    }
    return lh_result(context, after);
}
