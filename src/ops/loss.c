/* Cross-entropy, from logits or straight from the hidden states of the output layer. */
#include "ops/internal.h"

#include <string.h>

/* Logits are made for this many bytes of tokens at a time: big enough for full-speed products, small beside the
 * whole [tokens, vocab] matrix. */
#define LH_LOGIT_TILE_BYTES ((int64_t)16 << 20)

static lh_tensor *weighted_sum(lh_context *context, lh_tensor *nll, lh_tensor *weights)
{
    lh_tensor *values = nll;
    int64_t one = 1;
    if (weights) {
        values = lh_new_like(context, nll, false);
        if (!values) {
            return NULL;
        }
        lh_binary_args product = {.function = LH_MULTIPLY,
                                  .shape = {1, 1, 1, 1, lh_tensor_count(nll)},
                                  .a_stride = {0, 0, 0, 0, 1},
                                  .b_stride = {0, 0, 0, 0, 1},
                                  .a = lh_tensor_data(nll),
                                  .b = lh_tensor_data(weights),
                                  .y = lh_tensor_data(values)};
        lh_run(context, LH_KERNEL_BINARY, nll->dtype, &product);
    }
    lh_tensor *total = lh_new(context, nll->dtype, 1, &one, false);
    if (total) {
        lh_reduce_args reduce = {.outer = 1,
                                 .middle = lh_tensor_count(nll),
                                 .inner = 1,
                                 .scale = 1.0,
                                 .x = lh_tensor_data(values),
                                 .y = lh_tensor_data(total)};
        lh_run(context, LH_KERNEL_REDUCE, nll->dtype, &reduce);
    }
    if (values != nll) {
        lh_drop(context, values);
    }
    return total;
}

/* Times the loss's own gradient, which is 1 in a plain training step: then nothing is touched. */
static lh_tensor *times_upstream(lh_context *context, lh_tensor *gradient, double upstream)
{
    if (upstream != 1.0 && gradient) {
        lh_add_scaled_args args = {.n = lh_tensor_count(gradient),
                                   .alpha = 0.0,
                                   .beta = upstream,
                                   .x = lh_tensor_data(gradient),
                                   .y = lh_tensor_data(gradient)};
        lh_run(context, LH_KERNEL_ADD_SCALED, gradient->dtype, &args);
    }
    return gradient;
}

/* in: h, w, bias. saved: their gradients, made forward. */
static void linear_cross_entropy_backward(lh_context *context, lh_node *node)
{
    lh_tensor *d_loss = lh_out_grad(context, node, 0);
    if (!d_loss) {
        return;
    }
    double upstream = lh_scalar(context, d_loss);
    for (int i = 0; i < 3; i++) {
        if (node->saved[i]) {
            lh_in_grad_give(context, node, i, times_upstream(context, node->saved[i], upstream));
        }
    }
}

static bool targets_fit(const lh_tensor *x, const lh_tensor *targets, const lh_tensor *weights)
{
    return x->ndim == 2 && targets->ndim == 1 && targets->dtype == LH_I32 && targets->shape[0] == x->shape[0] &&
           lh_fits_width(weights, x, x->shape[0]);
}

static const void *row_address(const lh_tensor *x, int64_t row, int64_t width)
{
    return (const char *)lh_tensor_data(x) + (size_t)(row * width) * lh_dtype_size(x->dtype);
}

lh_tensor *lh_linear_cross_entropy_best(lh_context *context, lh_tensor *h, lh_tensor *w, lh_tensor *bias,
                                        lh_tensor *targets, lh_tensor *weights, double scale, double z_loss,
                                        lh_tensor **nll, lh_tensor **best)
{
    char th[128], tw[128], tt[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (!targets_fit(h, targets, weights) || w->ndim != 2 || h->shape[1] != w->shape[1] || h->dtype != w->dtype ||
        !lh_fits_width(bias, w, w->shape[0])) {
        return lh_op_fail(
            context, LH_E_SHAPE, "linear_cross_entropy", "states %s, weights %s and targets %s do not fit",
            lh_shape_text(th, sizeof th, h->ndim, h->shape), lh_shape_text(tw, sizeof tw, w->ndim, w->shape),
            lh_shape_text(tt, sizeof tt, targets->ndim, targets->shape));
    }
    targets = lh_packed(context, targets);
    weights = weights ? lh_packed(context, weights) : NULL;
    if (lh_op_stopped(context) || !lh_indices_below(context, "linear_cross_entropy", targets, w->shape[0])) {
        return NULL;
    }
    lh_tensor *graph[3] = {h, w, bias};
    bool record = lh_wants_grad(context, 3, graph);
    int64_t tokens = h->shape[0], width = h->shape[1], vocab = w->shape[0];
    int64_t tile = LH_LOGIT_TILE_BYTES / ((vocab ? vocab : 1) * (int64_t)lh_dtype_size(h->dtype));
    tile = tile < 16 ? 16 : tile;
    tile = tile > tokens ? tokens : tile;
    lh_tensor *hs = lh_packed(context, h), *ws = lh_packed(context, w),
              *bs = bias ? lh_packed(context, bias) : NULL;
    lh_tensor *token_nll = lh_new(context, h->dtype, 1, &tokens, false);
    lh_tensor *token_best = best ? lh_new(context, LH_I32, 1, &tokens, false) : NULL;
    lh_tensor *logits = lh_new(context, h->dtype, 2, (int64_t[]){tile, vocab}, false);
    lh_tensor *grads[3] = {NULL, NULL, NULL};
    for (int i = 0; record && i < 3; i++) {
        if (graph[i] && graph[i]->requires_grad) {
            grads[i] = lh_new_like(context, graph[i], i > 0);
        }
    }
    if (lh_op_stopped(context)) {
        return NULL;
    }
    for (int64_t start = 0; start < tokens && !lh_op_stopped(context); start += tile) {
        int64_t rows = tokens - start < tile ? tokens - start : tile;
        lh_gemm_args forward = {.transpose_b = true,
                                .batch = 1,
                                .m = rows,
                                .n = vocab,
                                .k = width,
                                .alpha = scale,
                                .a = row_address(hs, start, width),
                                .lda = width,
                                .b = lh_tensor_data(ws),
                                .ldb = width,
                                .c = lh_tensor_data(logits),
                                .ldc = vocab};
        lh_run(context, LH_KERNEL_GEMM, h->dtype, &forward);
        if (bs) {
            lh_bias_activation_args add = {.rows = rows,
                                           .width = vocab,
                                           .function = LH_IDENTITY,
                                           .x = lh_tensor_data(logits),
                                           .bias = lh_tensor_data(bs),
                                           .y = lh_tensor_data(logits)};
            lh_run(context, LH_KERNEL_BIAS_ACTIVATION, h->dtype, &add);
        }
        lh_cross_entropy_args entropy = {.rows = rows,
                                         .width = vocab,
                                         .stride = vocab,
                                         .logits = lh_tensor_data(logits),
                                         .targets = row_address(targets, start, 1),
                                         .weight = weights ? row_address(weights, start, 1) : NULL,
                                         .z_loss = z_loss,
                                         .gradient = record,
                                         .nll = (void *)row_address(token_nll, start, 1),
                                         .best = best ? (void *)row_address(token_best, start, 1) : NULL};
        lh_run(context, LH_KERNEL_CROSS_ENTROPY, h->dtype, &entropy);
        if (grads[0]) {
            lh_gemm_args back = {.batch = 1,
                                 .m = rows,
                                 .n = width,
                                 .k = vocab,
                                 .alpha = scale,
                                 .a = lh_tensor_data(logits),
                                 .lda = vocab,
                                 .b = lh_tensor_data(ws),
                                 .ldb = width,
                                 .c = (void *)row_address(grads[0], start, width),
                                 .ldc = width};
            lh_run(context, LH_KERNEL_GEMM, h->dtype, &back);
        }
        if (grads[1]) {
            lh_gemm_args back = {.transpose_a = true,
                                 .batch = 1,
                                 .m = vocab,
                                 .n = width,
                                 .k = rows,
                                 .alpha = scale,
                                 .beta = 1.0,
                                 .a = lh_tensor_data(logits),
                                 .lda = vocab,
                                 .b = row_address(hs, start, width),
                                 .ldb = width,
                                 .c = lh_tensor_data(grads[1]),
                                 .ldc = width};
            lh_run(context, LH_KERNEL_GEMM, h->dtype, &back);
        }
        if (grads[2]) {
            lh_reduce_args sum = {.outer = 1,
                                  .middle = rows,
                                  .inner = vocab,
                                  .scale = 1.0,
                                  .accumulate = true,
                                  .x = lh_tensor_data(logits),
                                  .y = lh_tensor_data(grads[2])};
            lh_run(context, LH_KERNEL_REDUCE, h->dtype, &sum);
        }
    }
    lh_drop(context, logits);
    lh_tensor *loss = weighted_sum(context, token_nll, weights);
    if (loss && record) {
        lh_record(context, "linear_cross_entropy", linear_cross_entropy_backward, 3, graph, 1, &loss, 3, grads,
                  NULL, 0);
        for (int i = 0; i < 3; i++) {
            lh_drop(context, grads[i]); /* the tape holds them now */
        }
    }
    if (nll) {
        *nll = lh_result(context, token_nll);
    }
    if (best) {
        *best = lh_result(context, token_best);
    }
    return lh_result(context, loss);
}

lh_tensor *lh_linear_cross_entropy(lh_context *context, lh_tensor *h, lh_tensor *w, lh_tensor *bias,
                                   lh_tensor *targets, lh_tensor *weights, double scale, double z_loss,
                                   lh_tensor **nll)
{
    return lh_linear_cross_entropy_best(context, h, w, bias, targets, weights, scale, z_loss, nll, NULL);
}

/* in: logits. saved: their gradient, made forward. */
static void cross_entropy_backward(lh_context *context, lh_node *node)
{
    lh_tensor *d_loss = lh_out_grad(context, node, 0);
    if (d_loss) {
        lh_in_grad_give(context, node, 0, times_upstream(context, node->saved[0], lh_scalar(context, d_loss)));
    }
}

lh_tensor *lh_cross_entropy(lh_context *context, lh_tensor *logits, lh_tensor *targets, lh_tensor *weights,
                            lh_tensor **nll)
{
    char tl[128], tt[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (!targets_fit(logits, targets, weights)) {
        return lh_op_fail(context, LH_E_SHAPE, "cross_entropy", "logits %s and targets %s do not fit",
                          lh_shape_text(tl, sizeof tl, logits->ndim, logits->shape),
                          lh_shape_text(tt, sizeof tt, targets->ndim, targets->shape));
    }
    targets = lh_packed(context, targets);
    weights = weights ? lh_packed(context, weights) : NULL;
    if (lh_op_stopped(context) || !lh_indices_below(context, "cross_entropy", targets, logits->shape[1])) {
        return NULL;
    }
    bool record = lh_wants_grad(context, 1, &logits);
    lh_tensor *work = lh_new_like(context, logits, false);
    lh_tensor *packed = lh_packed(context, logits);
    lh_tensor *token_nll = lh_new(context, logits->dtype, 1, logits->shape, false);
    if (!work || !packed || !token_nll) {
        return NULL;
    }
    lh_add_scaled_args copy = {
        .n = lh_tensor_count(logits), .alpha = 1.0, .x = lh_tensor_data(packed), .y = lh_tensor_data(work)};
    lh_run(context, LH_KERNEL_ADD_SCALED, logits->dtype, &copy);
    lh_cross_entropy_args entropy = {.rows = logits->shape[0],
                                     .width = logits->shape[1],
                                     .stride = logits->shape[1],
                                     .logits = lh_tensor_data(work),
                                     .targets = lh_tensor_data(targets),
                                     .weight = weights ? lh_tensor_data(weights) : NULL,
                                     .gradient = record,
                                     .nll = lh_tensor_data(token_nll)};
    lh_run(context, LH_KERNEL_CROSS_ENTROPY, logits->dtype, &entropy);
    lh_tensor *loss = weighted_sum(context, token_nll, weights);
    if (loss && record) {
        lh_record(context, "cross_entropy", cross_entropy_backward, 1, &logits, 1, &loss, 1, &work, NULL, 0);
    }
    lh_drop(context, work);
    if (nll) {
        *nll = lh_result(context, token_nll);
    }
    return lh_result(context, loss);
}
