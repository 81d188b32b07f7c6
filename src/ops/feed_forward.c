/* The second half of an MLP, or of a gated unit, as one op: f(x + bias) Wᵀ, (f(gate) value) Wᵀ. The product's
 * input, the widest tensor of a decoder layer, is not kept for the backward pass but made again, which costs one
 * pass over memory. */
#include "ops/internal.h"

#include <string.h>

typedef struct feed_forward_options {
    lh_function function;
    int64_t rows, hidden, out;
} feed_forward_options;

static void run_activation(lh_context *context, const feed_forward_options *o, lh_tensor *x, lh_tensor *bias,
                           lh_tensor *y)
{
    lh_bias_activation_args args = {.rows = o->rows,
                                    .width = o->hidden,
                                    .function = o->function,
                                    .x = lh_tensor_data(x),
                                    .bias = bias ? lh_tensor_data(bias) : NULL,
                                    .y = lh_tensor_data(y)};
    lh_run(context, LH_KERNEL_BIAS_ACTIVATION, x->dtype, &args);
}

/* in: x, bias, w, output bias. saved: x, bias, w. */
static void feed_forward_backward(lh_context *context, lh_node *node)
{
    const feed_forward_options *o = node->options;
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    lh_tensor *x = node->saved[0], *bias = node->saved[1], *w = node->saved[2];
    double beta;
    if (!d_y) {
        return;
    }
    if (node->in[2]->requires_grad) {
        lh_tensor *activated = lh_new_like(context, x, false);
        lh_tensor *d_w = activated ? lh_in_grad_packed(context, node, 2, &beta) : NULL;
        if (d_w) {
            run_activation(context, o, x, bias, activated);
            lh_gemm_args gemm = {.transpose_a = true,
                                 .batch = 1,
                                 .m = o->out,
                                 .n = o->hidden,
                                 .k = o->rows,
                                 .alpha = 1.0,
                                 .beta = beta,
                                 .a = lh_tensor_data(d_y),
                                 .lda = o->out,
                                 .b = lh_tensor_data(activated),
                                 .ldb = o->hidden,
                                 .c = lh_tensor_data(d_w),
                                 .ldc = o->hidden};
            lh_run(context, LH_KERNEL_GEMM, d_y->dtype, &gemm);
            lh_in_grad_commit(context, node, 2, d_w);
        }
        lh_drop(context, activated);
    }
    lh_tensor *d_out_bias = node->in[3] ? lh_in_grad_packed(context, node, 3, &beta) : NULL;
    if (d_out_bias) {
        lh_reduce_args reduce = {.outer = 1,
                                 .middle = o->rows,
                                 .inner = o->out,
                                 .scale = 1.0,
                                 .accumulate = beta != 0.0,
                                 .x = lh_tensor_data(d_y),
                                 .y = lh_tensor_data(d_out_bias)};
        lh_run(context, LH_KERNEL_REDUCE, d_y->dtype, &reduce);
        lh_in_grad_commit(context, node, 3, d_out_bias);
    }
    bool wants_bias = node->in[1] && node->in[1]->requires_grad;
    if (!node->in[0]->requires_grad && !wants_bias) {
        return;
    }
    lh_tensor *d_x = lh_new_like(context, x, false);
    lh_tensor *d_bias = d_x && wants_bias ? lh_in_grad_addable(context, node, 1) : NULL;
    if (!d_x || lh_op_stopped(context)) {
        return;
    }
    lh_gemm_args gemm = {.batch = 1,
                         .m = o->rows,
                         .n = o->hidden,
                         .k = o->out,
                         .alpha = 1.0,
                         .a = lh_tensor_data(d_y),
                         .lda = o->out,
                         .b = lh_tensor_data(w),
                         .ldb = o->hidden,
                         .c = lh_tensor_data(d_x),
                         .ldc = o->hidden};
    lh_run(context, LH_KERNEL_GEMM, d_y->dtype, &gemm);
    lh_bias_activation_args back = {.rows = o->rows,
                                    .width = o->hidden,
                                    .function = o->function,
                                    .x = lh_tensor_data(x),
                                    .bias = bias ? lh_tensor_data(bias) : NULL,
                                    .d_y = lh_tensor_data(d_x),
                                    .d_x = lh_tensor_data(d_x),
                                    .d_bias = d_bias ? lh_tensor_data(d_bias) : NULL};
    lh_run(context, LH_KERNEL_BIAS_ACTIVATION_BACKWARD, d_y->dtype, &back);
    if (d_bias) {
        lh_in_grad_commit(context, node, 1, d_bias);
    }
    lh_in_grad_give(context, node, 0, d_x);
}

lh_tensor *lh_activation_linear(lh_context *context, lh_tensor *x, lh_tensor *bias, lh_function function,
                                lh_tensor *w, lh_tensor *out_bias)
{
    char tx[128], tw[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    bool fits =
        x && w && x->ndim >= 1 && w->ndim == 2 && x->shape[x->ndim - 1] == w->shape[1] && x->dtype == w->dtype;
    if (!fits || !lh_fits_width(bias, w, w->shape[1]) || !lh_fits_width(out_bias, w, w->shape[0])) {
        return lh_op_fail(context, LH_E_SHAPE, "activation_linear", "input %s does not fit weights %s",
                          x ? lh_shape_text(tx, sizeof tx, x->ndim, x->shape) : "(none)",
                          w ? lh_shape_text(tw, sizeof tw, w->ndim, w->shape) : "(none)");
    }
    lh_tensor *graph[4] = {x, bias, w, out_bias};
    if (!lh_wants_grad(context, 4, graph)) {
        return lh_linear(context, lh_bias_activation(context, x, bias, function), w, out_bias);
    }
    lh_tensor *packed = lh_packed(context, x), *ws = lh_packed(context, w);
    lh_tensor *bs = bias ? lh_packed(context, bias) : NULL,
              *activated = packed ? lh_new_like(context, packed, false) : NULL;
    if (!packed || !ws || !activated || (bias && !bs)) {
        return NULL;
    }
    feed_forward_options o = {
        .function = function, .hidden = w->shape[1], .out = w->shape[0], .rows = lh_rows_of(x)};
    run_activation(context, &o, packed, bs, activated);
    bool recording = context->recording;
    context->recording = false; /* this op's own entry covers the product */
    lh_tensor *y = lh_linear(context, activated, ws, out_bias);
    context->recording = recording;
    lh_drop(context, activated);
    if (y) {
        lh_tensor *saved[3] = {packed, bs, ws};
        lh_record(context, "activation_linear", feed_forward_backward, 4, graph, 1, &y, 3, saved, &o, sizeof o);
    }
    return lh_result(context, y);
}

static lh_gated_args gated_args(const feed_forward_options *o, lh_tensor *gate, lh_tensor *value)
{
    return (lh_gated_args){.rows = o->rows,
                           .width = o->hidden,
                           .a_stride = o->hidden,
                           .b_stride = o->hidden,
                           .function = o->function,
                           .a = lh_tensor_data(gate),
                           .b = lh_tensor_data(value)};
}

/* in: gate, value, w. saved: the same. */
static void gated_linear_backward(lh_context *context, lh_node *node)
{
    const feed_forward_options *o = node->options;
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    lh_tensor *gate = node->saved[0], *value = node->saved[1], *w = node->saved[2];
    lh_tensor *work = d_y ? lh_new_like(context, gate, false) : NULL;
    double beta;
    if (!work) {
        return;
    }
    lh_gated_args args = gated_args(o, gate, value);
    lh_tensor *d_w = lh_in_grad_packed(context, node, 2, &beta);
    if (d_w) {
        args.y = lh_tensor_data(work);
        lh_run(context, LH_KERNEL_GATED, d_y->dtype, &args);
        lh_gemm_args gemm = {.transpose_a = true,
                             .batch = 1,
                             .m = o->out,
                             .n = o->hidden,
                             .k = o->rows,
                             .alpha = 1.0,
                             .beta = beta,
                             .a = lh_tensor_data(d_y),
                             .lda = o->out,
                             .b = lh_tensor_data(work),
                             .ldb = o->hidden,
                             .c = lh_tensor_data(d_w),
                             .ldc = o->hidden};
        lh_run(context, LH_KERNEL_GEMM, d_y->dtype, &gemm);
        lh_in_grad_commit(context, node, 2, d_w);
    }
    bool wants[2] = {node->in[0]->requires_grad, node->in[1]->requires_grad};
    lh_tensor *d_gate = wants[0] ? lh_new_like(context, gate, false) : NULL;
    lh_tensor *d_value = wants[1] ? lh_new_like(context, value, false) : NULL;
    if (lh_op_stopped(context) || (!wants[0] && !wants[1])) {
        return;
    }
    lh_gemm_args gemm = {.batch = 1,
                         .m = o->rows,
                         .n = o->hidden,
                         .k = o->out,
                         .alpha = 1.0,
                         .a = lh_tensor_data(d_y),
                         .lda = o->out,
                         .b = lh_tensor_data(w),
                         .ldb = o->hidden,
                         .c = lh_tensor_data(work),
                         .ldc = o->hidden};
    lh_run(context, LH_KERNEL_GEMM, d_y->dtype, &gemm);
    args.y = NULL;
    args.d_y = lh_tensor_data(work);
    args.d_a = d_gate ? lh_tensor_data(d_gate) : NULL;
    args.d_b = d_value ? lh_tensor_data(d_value) : NULL;
    lh_run(context, LH_KERNEL_GATED_BACKWARD, d_y->dtype, &args);
    lh_drop(context, work);
    if (d_gate) {
        lh_in_grad_give(context, node, 0, d_gate);
    }
    if (d_value) {
        lh_in_grad_give(context, node, 1, d_value);
    }
}

lh_tensor *lh_gated_linear(lh_context *context, lh_tensor *gate, lh_tensor *value, lh_function function,
                           lh_tensor *w)
{
    char tg[128], tv[128], tw[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (gate->ndim < 1 || w->ndim != 2 || !lh_tensor_same_shape(gate, value) ||
        gate->shape[gate->ndim - 1] != w->shape[1] || gate->dtype != value->dtype || gate->dtype != w->dtype) {
        return lh_op_fail(context, LH_E_SHAPE, "gated_linear", "gate %s, value %s and weights %s do not fit",
                          lh_shape_text(tg, sizeof tg, gate->ndim, gate->shape),
                          lh_shape_text(tv, sizeof tv, value->ndim, value->shape),
                          lh_shape_text(tw, sizeof tw, w->ndim, w->shape));
    }
    lh_tensor *graph[3] = {gate, value, w};
    lh_tensor *saved[3] = {lh_packed(context, gate), lh_packed(context, value), lh_packed(context, w)};
    lh_tensor *product = saved[0] ? lh_new_like(context, saved[0], false) : NULL;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    feed_forward_options o = {
        .function = function, .hidden = w->shape[1], .out = w->shape[0], .rows = lh_rows_of(gate)};
    lh_gated_args args = gated_args(&o, saved[0], saved[1]);
    args.y = lh_tensor_data(product);
    lh_run(context, LH_KERNEL_GATED, gate->dtype, &args);
    bool recording = context->recording;
    context->recording = false; /* this op's own entry covers the product */
    lh_tensor *y = lh_linear(context, product, saved[2], NULL);
    context->recording = recording;
    lh_drop(context, product);
    if (y && lh_wants_grad(context, 3, graph)) {
        lh_record(context, "gated_linear", gated_linear_backward, 3, graph, 1, &y, 3, saved, &o, sizeof o);
    }
    for (int i = 0; i < 3; i++) {
        if (saved[i] != graph[i]) {
            lh_drop(context, saved[i]);
        }
    }
    return lh_result(context, y);
}
