/* Pooling over time, and the largest entries of a row. */
#include "ops/internal.h"

#include <string.h>

typedef struct pool_options {
    int64_t kernel, stride;
    bool maximum;
} pool_options;

/* saved: argmax (NULL for means). */
static void pool_backward(lh_context *context, lh_node *node)
{
    const pool_options *options = node->options;
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    lh_tensor *d_x = d_y ? lh_in_grad_addable(context, node, 0) : NULL;
    if (!d_x) {
        return;
    }
    lh_pool_args args = {.batch = d_x->shape[0],
                         .length = d_x->shape[1],
                         .width = d_x->shape[2],
                         .out_length = d_y->shape[1],
                         .kernel = options->kernel,
                         .stride = options->stride,
                         .maximum = options->maximum,
                         .argmax = node->saved[0] ? lh_tensor_data(node->saved[0]) : NULL,
                         .d_y = lh_tensor_data(d_y),
                         .d_x = lh_tensor_data(d_x)};
    lh_run(context, LH_KERNEL_POOL_BACKWARD, d_y->dtype, &args);
    lh_in_grad_commit(context, node, 0, d_x);
}

lh_tensor *lh_pool1d(lh_context *context, lh_tensor *x, int64_t kernel, int64_t stride, bool maximum)
{
    char text[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (x->ndim != 3 || kernel < 1 || stride < 1) {
        return lh_op_fail(context, LH_E_SHAPE, "pool1d", "windows of %lld every %lld do not fit input %s",
                          (long long)kernel, (long long)stride,
                          lh_shape_text(text, sizeof text, x->ndim, x->shape));
    }
    int64_t length = x->shape[1];
    int64_t shape[3] = {x->shape[0], length < kernel ? 0 : (length - kernel) / stride + 1, x->shape[2]};
    lh_tensor *packed = lh_packed(context, x);
    lh_tensor *y = packed ? lh_new(context, x->dtype, 3, shape, false) : NULL;
    bool record = lh_wants_grad(context, 1, &x);
    lh_tensor *argmax = y && maximum && record ? lh_new(context, LH_I32, 3, shape, false) : NULL;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_pool_args args = {.batch = shape[0],
                         .length = length,
                         .width = shape[2],
                         .out_length = shape[1],
                         .kernel = kernel,
                         .stride = stride,
                         .maximum = maximum,
                         .x = lh_tensor_data(packed),
                         .y = lh_tensor_data(y),
                         .argmax = argmax ? lh_tensor_data(argmax) : NULL};
    lh_run(context, LH_KERNEL_POOL, x->dtype, &args);
    if (record) {
        pool_options options = {.kernel = kernel, .stride = stride, .maximum = maximum};
        lh_record(context, "pool1d", pool_backward, 1, &x, 1, &y, 1, &argmax, &options, sizeof options);
    }
    lh_drop(context, argmax);
    if (packed != x) {
        lh_drop(context, packed);
    }
    return lh_result(context, y);
}

lh_tensor *lh_top_k(lh_context *context, lh_tensor *x, int64_t k, bool late_ties)
{
    char text[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (x->ndim < 1 || k < 0 || k > x->shape[x->ndim - 1]) {
        return lh_op_fail(context, LH_E_SHAPE, "top_k", "no %lld largest entries in the rows of %s", (long long)k,
                          lh_shape_text(text, sizeof text, x->ndim, x->shape));
    }
    int64_t shape[LH_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[x->ndim - 1] = k;
    lh_tensor *packed = lh_packed(context, x);
    lh_tensor *index = packed ? lh_new(context, LH_I32, x->ndim, shape, false) : NULL;
    if (!index) {
        return NULL;
    }
    lh_top_k_args args = {.rows = lh_rows_of(x),
                          .width = x->shape[x->ndim - 1],
                          .k = k,
                          .late_ties = late_ties,
                          .x = lh_tensor_data(packed),
                          .index = lh_tensor_data(index)};
    lh_run(context, LH_KERNEL_TOP_K, x->dtype, &args);
    if (packed != x) {
        lh_drop(context, packed);
    }
    return lh_result(context, index);
}
