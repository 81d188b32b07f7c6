/* Rotary position embedding. */
#include "ops/internal.h"

#include <math.h>

void lh_rope_frequencies(double *frequency, int64_t rotated, double base, double factor, bool closed)
{
    int64_t pairs = rotated / 2; /* rotated is even */
    double gaps = (double)(closed ? pairs - 1 : pairs);
    for (int64_t i = 0; i < pairs; i++) {
        frequency[i] = i == 0 ? 1.0 / factor : pow(base, -(double)i / gaps) / factor;
    }
}

static void run_rope(lh_context *context, const lh_rope_options *options, const lh_tensor *position,
                     const lh_tensor *x, const lh_tensor *y, bool inverse, bool accumulate)
{
    lh_rope_args args = {.batch = x->shape[0],
                         .length = x->shape[1],
                         .heads = x->shape[2],
                         .width = x->shape[3],
                         .rotated = options->rotated,
                         .x_stride = {x->stride[0], x->stride[1], x->stride[2]},
                         .y_stride = {y->stride[0], y->stride[1], y->stride[2]},
                         .interleaved = options->interleaved,
                         .inverse = inverse,
                         .accumulate = accumulate,
                         .x = lh_tensor_data(x),
                         .y = lh_tensor_data(y),
                         .frequency = options->frequency,
                         .position = lh_tensor_data(position),
                         .position_batch = position->ndim == 2 ? position->shape[1] : 0,
                         .magnitude = options->magnitude};
    lh_run(context, LH_KERNEL_ROPE, x->dtype, &args);
}

/* A rotation's gradient is the rotation back. saved: position. */
static void rope_backward(lh_context *context, lh_node *node)
{
    double beta;
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    lh_tensor *d_x = d_y ? lh_in_grad_packed(context, node, 0, &beta) : NULL;
    if (d_x) {
        run_rope(context, node->options, node->saved[0], d_y, d_x, true, beta != 0.0);
        lh_in_grad_commit(context, node, 0, d_x);
    }
}

lh_tensor *lh_rope(lh_context *context, lh_tensor *x, lh_tensor *position, const lh_rope_options *options)
{
    char tx[128], tp[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    bool fits = x->ndim == 4 && position->dtype == LH_I32 &&
                ((position->ndim == 1 && position->shape[0] == x->shape[1]) ||
                 (position->ndim == 2 && position->shape[0] == x->shape[0] && position->shape[1] == x->shape[1]));
    if (!fits) {
        return lh_op_fail(context, LH_E_SHAPE, "rope", "%s positions %s do not fit input %s",
                          lh_dtype_name(position->dtype),
                          lh_shape_text(tp, sizeof tp, position->ndim, position->shape),
                          lh_shape_text(tx, sizeof tx, x->ndim, x->shape));
    }
    if (options->rotated < 0 || options->rotated % 2 != 0 || options->rotated > x->shape[3]) {
        return lh_op_fail(context, LH_E_ARGUMENT, "rope", "%lld channels cannot turn in heads of %lld",
                          (long long)options->rotated, (long long)x->shape[3]);
    }
    lh_tensor *source = x->shape[3] <= 1 || x->stride[3] == 1 ? x : lh_packed(context, x);
    lh_tensor *packed_position = lh_packed(context, position);
    lh_tensor *y = lh_new_like(context, x, false);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    run_rope(context, options, packed_position, source, y, false, false);
    if (lh_wants_grad(context, 1, &x)) {
        lh_record(context, "rope", rope_backward, 1, &x, 1, &y, 1, &packed_position, options, sizeof *options);
    }
    if (source != x) {
        lh_drop(context, source);
    }
    return lh_result(context, y);
}
