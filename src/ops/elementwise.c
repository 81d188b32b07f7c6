#include "ops/ops.h"

#include <string.h>

/* Aligns a tensor with a broadcast shape at the last dimension and fills in its strides (0 where it repeats). */
static bool broadcast_strides(const lh_tensor *x, int ndim, const int64_t *shape, int64_t *stride)
{
    int lead = ndim - x->ndim;
    for (int i = 0; i < ndim; i++) {
        if (i < lead) {
            stride[i] = 0;
        } else if (x->shape[i - lead] == shape[i]) {
            stride[i] = x->stride[i - lead];
        } else if (x->shape[i - lead] == 1) {
            stride[i] = 0;
        } else {
            return false;
        }
    }
    return true;
}

static void fill_five(int ndim, const int64_t *from, int64_t *to, int64_t filler)
{
    int lead = LH_MAX_DIMS - ndim;
    for (int i = 0; i < LH_MAX_DIMS; i++) {
        to[i] = i < lead ? filler : from[i - lead];
    }
}

static void run_binary(lh_context *context, lh_binary_function function, const lh_tensor *a, const lh_tensor *b,
                       const lh_tensor *y)
{
    int64_t a_stride[LH_MAX_DIMS] = {0}, b_stride[LH_MAX_DIMS] = {0};
    lh_binary_args args = {
        .function = function, .a = lh_tensor_data(a), .b = lh_tensor_data(b), .y = lh_tensor_data(y)};
    (void)broadcast_strides(a, y->ndim, y->shape, a_stride);
    (void)broadcast_strides(b, y->ndim, y->shape, b_stride);
    fill_five(y->ndim, y->shape, args.shape, 1);
    fill_five(y->ndim, a_stride, args.a_stride, 0);
    fill_five(y->ndim, b_stride, args.b_stride, 0);
    lh_run(context, LH_KERNEL_BINARY, y->dtype, &args);
}

/* Sums a gradient of the broadcast shape down to the shape of the input, one dimension at a time. */
static lh_tensor *sum_to(lh_context *context, lh_tensor *gradient, const lh_tensor *like)
{
    int lead = gradient->ndim - like->ndim;
    lh_tensor *current = gradient;
    for (int d = 0; d < gradient->ndim && current; d++) {
        int64_t wanted = d < lead ? 1 : like->shape[d - lead];
        if (current->shape[d] == wanted) {
            continue;
        }
        int64_t shape[LH_MAX_DIMS];
        memcpy(shape, current->shape, sizeof shape);
        shape[d] = 1;
        lh_tensor *smaller = lh_new(context, current->dtype, current->ndim, shape, false);
        if (!smaller) {
            return NULL;
        }
        lh_reduce_args reduce = {.outer = 1,
                                 .middle = current->shape[d],
                                 .inner = 1,
                                 .scale = 1.0,
                                 .x = lh_tensor_data(current),
                                 .y = lh_tensor_data(smaller)};
        for (int i = 0; i < current->ndim; i++) {
            reduce.outer *= i < d ? current->shape[i] : 1;
            reduce.inner *= i > d ? current->shape[i] : 1;
        }
        lh_run(context, LH_KERNEL_REDUCE, current->dtype, &reduce);
        current = smaller;
    }
    if (current) {
        lh_tensor *shaped = lh_alias(context, current);
        if (shaped) {
            shaped->ndim = like->ndim;
            int64_t stride = 1;
            for (int d = like->ndim - 1; d >= 0; d--) {
                shaped->shape[d] = like->shape[d];
                shaped->stride[d] = stride;
                stride *= like->shape[d];
            }
            if (current != gradient) {
                lh_drop(context, current);
            }
        }
        current = shaped;
    }
    return current;
}

/* a and b: the operands; saved: both. */
static void binary_backward(lh_context *context, lh_node *node)
{
    lh_binary_function function = *(lh_binary_function *)node->options;
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    for (int side = 0; side < 2 && d_y; side++) {
        if (!node->in[side]->requires_grad) {
            continue;
        }
        lh_tensor *full = d_y;
        if (function == LH_MULTIPLY) {
            full = lh_new_like(context, d_y, false);
            if (full) {
                run_binary(context, LH_MULTIPLY, d_y, node->saved[1 - side], full);
            }
        } else if (function == LH_DIVIDE) {
            /* y = a/b: da = dy / b, db = -dy a / b^2 */
            full = lh_new_like(context, d_y, false);
            if (full) {
                run_binary(context, LH_DIVIDE, d_y, node->saved[1], full);
                if (side == 1) {
                    run_binary(context, LH_MULTIPLY, full, node->saved[0], full);
                    run_binary(context, LH_DIVIDE, full, node->saved[1], full);
                }
            }
        }
        lh_tensor *reduced = full ? sum_to(context, full, node->in[side]) : NULL;
        if (!reduced) {
            return;
        }
        if (full != d_y) {
            lh_drop(context, full);
        }
        if ((function == LH_SUBTRACT || function == LH_DIVIDE) && side == 1) {
            lh_tensor *negative = lh_new_like(context, reduced, false);
            if (negative) {
                lh_add_scaled_args scale = {.n = lh_tensor_count(reduced),
                                            .alpha = -1.0,
                                            .x = lh_tensor_data(reduced),
                                            .y = lh_tensor_data(negative)};
                lh_run(context, LH_KERNEL_ADD_SCALED, reduced->dtype, &scale);
            }
            lh_drop(context, reduced);
            reduced = negative;
        }
        lh_in_grad_give(context, node, side, reduced);
    }
}

lh_tensor *lh_binary(lh_context *context, lh_binary_function function, lh_tensor *a, lh_tensor *b)
{
    char ta[128], tb[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    int ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    int64_t shape[LH_MAX_DIMS], stride[LH_MAX_DIMS];
    for (int i = 0; i < ndim; i++) {
        int ia = i - (ndim - a->ndim), ib = i - (ndim - b->ndim);
        int64_t sa = ia >= 0 ? a->shape[ia] : 1, sb = ib >= 0 ? b->shape[ib] : 1;
        shape[i] = sa == 1 ? sb : sa;
    }
    if (a->dtype != b->dtype || !broadcast_strides(a, ndim, shape, stride) ||
        !broadcast_strides(b, ndim, shape, stride)) {
        return lh_op_fail(context, LH_E_SHAPE, "binary", "%s %s and %s %s do not fit", lh_dtype_name(a->dtype),
                          lh_shape_text(ta, sizeof ta, a->ndim, a->shape), lh_dtype_name(b->dtype),
                          lh_shape_text(tb, sizeof tb, b->ndim, b->shape));
    }
    lh_tensor *in[2] = {a, b};
    bool record = lh_wants_grad(context, 2, in);
    if (record && (function == LH_MAXIMUM || function == LH_MINIMUM)) {
        return lh_op_fail(context, LH_E_UNSUPPORTED, "binary",
                          "no gradient is defined for the maximum of two tensors");
    }
    lh_tensor *y = lh_new(context, a->dtype, ndim, shape, false);
    if (!y) {
        return NULL;
    }
    run_binary(context, function, a, b, y);
    if (record) {
        bool save = function == LH_MULTIPLY || function == LH_DIVIDE;
        lh_record(context, "binary", binary_backward, 2, in, 1, &y, save ? 2 : 0, in, &function, sizeof function);
    }
    return lh_result(context, y);
}

lh_tensor *lh_add(lh_context *context, lh_tensor *a, lh_tensor *b)
{
    return lh_binary(context, LH_ADD, a, b);
}

lh_tensor *lh_subtract(lh_context *context, lh_tensor *a, lh_tensor *b)
{
    return lh_binary(context, LH_SUBTRACT, a, b);
}

lh_tensor *lh_multiply(lh_context *context, lh_tensor *a, lh_tensor *b)
{
    return lh_binary(context, LH_MULTIPLY, a, b);
}

static void unary_backward(lh_context *context, lh_node *node)
{
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    lh_tensor *d_x = d_y ? lh_new_like(context, node->in[0], true) : NULL;
    if (!d_x) {
        return;
    }
    lh_unary_args args = {.n = lh_tensor_count(d_y),
                          .function = *(lh_function *)node->options,
                          .x = lh_tensor_data(node->saved[0]),
                          .d_y = lh_tensor_data(d_y),
                          .d_x = lh_tensor_data(d_x)};
    lh_run(context, LH_KERNEL_UNARY_BACKWARD, d_y->dtype, &args);
    lh_in_grad_give(context, node, 0, d_x);
}

lh_tensor *lh_unary(lh_context *context, lh_function function, lh_tensor *x)
{
    lh_tensor *packed = lh_op_stopped(context) ? NULL : lh_packed(context, x);
    lh_tensor *y = packed ? lh_new_like(context, x, false) : NULL;
    if (!y) {
        return NULL;
    }
    lh_unary_args args = {
        .n = lh_tensor_count(x), .function = function, .x = lh_tensor_data(packed), .y = lh_tensor_data(y)};
    lh_run(context, LH_KERNEL_UNARY, x->dtype, &args);
    if (lh_wants_grad(context, 1, &x)) {
        lh_record(context, "unary", unary_backward, 1, &x, 1, &y, 1, &packed, &function, sizeof function);
    }
    return lh_result(context, y);
}

static void scale_backward(lh_context *context, lh_node *node)
{
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    double beta;
    lh_tensor *d_x = d_y ? lh_in_grad_packed(context, node, 0, &beta) : NULL;
    if (!d_x) {
        return;
    }
    lh_add_scaled_args args = {.n = lh_tensor_count(d_y),
                               .alpha = *(double *)node->options,
                               .beta = beta,
                               .x = lh_tensor_data(d_y),
                               .y = lh_tensor_data(d_x)};
    lh_run(context, LH_KERNEL_ADD_SCALED, d_y->dtype, &args);
    lh_in_grad_commit(context, node, 0, d_x);
}

lh_tensor *lh_scale(lh_context *context, lh_tensor *x, double factor)
{
    lh_tensor *packed = lh_op_stopped(context) ? NULL : lh_packed(context, x);
    lh_tensor *y = packed ? lh_new_like(context, x, false) : NULL;
    if (!y) {
        return NULL;
    }
    lh_add_scaled_args args = {
        .n = lh_tensor_count(x), .alpha = factor, .x = lh_tensor_data(packed), .y = lh_tensor_data(y)};
    lh_run(context, LH_KERNEL_ADD_SCALED, x->dtype, &args);
    if (lh_wants_grad(context, 1, &x)) {
        lh_record(context, "scale", scale_backward, 1, &x, 1, &y, 0, NULL, &factor, sizeof factor);
    }
    return lh_result(context, y);
}

typedef struct dropout_options {
    double rate;
    int64_t repeat;
    uint64_t seed, offset;
} dropout_options;

static void run_dropout(lh_context *context, const dropout_options *options, lh_tensor *x, lh_tensor *y)
{
    lh_dropout_args args = {.n = lh_tensor_count(x),
                            .repeat = options->repeat,
                            .rate = options->rate,
                            .seed = options->seed,
                            .offset = options->offset,
                            .x = lh_tensor_data(x),
                            .y = lh_tensor_data(y)};
    lh_run(context, LH_KERNEL_DROPOUT, x->dtype, &args);
}

static void dropout_backward(lh_context *context, lh_node *node)
{
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    lh_tensor *d_x = d_y ? lh_new_like(context, d_y, false) : NULL;
    if (d_x) {
        run_dropout(context, node->options, d_y, d_x);
        lh_in_grad_give(context, node, 0, d_x);
    }
}

lh_tensor *lh_dropout(lh_context *context, lh_tensor *x, double rate, int64_t repeat)
{
    if (lh_op_stopped(context) || !context->training || rate == 0.0) {
        return lh_op_stopped(context) ? NULL : x;
    }
    if (!(rate > 0.0 && rate < 1.0) || repeat < 1) {
        return lh_op_fail(context, LH_E_ARGUMENT, "dropout", "rate %g is not in [0, 1)", rate);
    }
    lh_tensor *packed = lh_packed(context, x);
    lh_tensor *y = packed ? lh_new_like(context, x, false) : NULL;
    if (!y) {
        return NULL;
    }
    dropout_options options = {
        .rate = rate, .repeat = repeat, .seed = context->seed, .offset = context->random_offset};
    context->random_offset += (uint64_t)(lh_tensor_count(x) / repeat + 1);
    run_dropout(context, &options, packed, y);
    if (lh_wants_grad(context, 1, &x)) {
        lh_record(context, "dropout", dropout_backward, 1, &x, 1, &y, 0, NULL, &options, sizeof options);
    }
    return lh_result(context, y);
}
