/* The second half of an MLP as one op: f(x + bias) Wᵀ. The activated hidden layer, the widest tensor of a decoder
 * layer, is not kept for the backward pass but made again from x, which costs one pass over memory. */
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
