/* Layer norm and RMS norm, alone or fused with the residual add before them. */
#include "ops/internal.h"

typedef struct norm_options {
    double eps;
    bool rms;
} norm_options;

enum { NORM_X, NORM_RESIDUAL, NORM_GAIN, NORM_BIAS, NORM_INS };
enum { NORM_Y, NORM_SUM, NORM_OUTS };

/* saved: s = x + residual, gain, mean, rstd. What reaches s, through the norm and directly, is the gradient of both
 * addends. */
static void norm_backward(lh_context *context, lh_node *node)
{
    const norm_options *options = node->options;
    lh_tensor *s = node->saved[0];
    lh_tensor *d_y = lh_out_grad(context, node, NORM_Y);
    bool wants_x = node->in[NORM_X]->requires_grad;
    bool wants_residual = node->in[NORM_RESIDUAL] && node->in[NORM_RESIDUAL]->requires_grad;
    bool direct = node->out[NORM_SUM] && node->out[NORM_SUM]->grad, shared = node->in[NORM_RESIDUAL] != NULL;
    lh_tensor *d_s = NULL;
    if (wants_x || wants_residual) {
        if (direct) {
            d_s = lh_out_grad_taken(context, node, NORM_SUM);
        } else if (shared) {
            d_s = lh_new_like(context, s, true);
        } else {
            d_s = lh_in_grad_addable(context, node, NORM_X);
        }
    }
    if (d_y) {
        lh_tensor *d_gain = lh_in_grad_addable(context, node, NORM_GAIN);
        lh_tensor *d_bias = lh_in_grad_addable(context, node, NORM_BIAS);
        if (lh_op_stopped(context)) {
            return;
        }
        lh_norm_args args = {.rows = lh_rows_of(s),
                             .width = s->shape[s->ndim - 1],
                             .rms = options->rms,
                             .eps = options->eps,
                             .x = lh_tensor_data(s),
                             .gain = node->saved[1] ? lh_tensor_data(node->saved[1]) : NULL,
                             .mean = node->saved[2] ? lh_tensor_data(node->saved[2]) : NULL,
                             .rstd = lh_tensor_data(node->saved[3]),
                             .d_y = lh_tensor_data(d_y),
                             .d_x = d_s ? lh_tensor_data(d_s) : NULL,
                             .d_gain = d_gain ? lh_tensor_data(d_gain) : NULL,
                             .d_bias = d_bias ? lh_tensor_data(d_bias) : NULL};
        lh_run(context, LH_KERNEL_NORM_BACKWARD, s->dtype, &args);
        lh_in_grad_commit(context, node, NORM_GAIN, d_gain);
        lh_in_grad_commit(context, node, NORM_BIAS, d_bias);
    }
    if (!shared) {
        lh_in_grad_commit(context, node, NORM_X, d_s);
        return;
    }
    if (wants_x && wants_residual && d_s) {
        lh_in_grad_give(context, node, NORM_RESIDUAL, lh_alias(context, d_s));
    }
    lh_in_grad_give(context, node, wants_x ? NORM_X : NORM_RESIDUAL, d_s);
}

static lh_tensor *norm(lh_context *context, const char *op, lh_tensor *x, lh_tensor *residual, lh_tensor *gain,
                       lh_tensor *bias, const norm_options *options, lh_tensor **sum)
{
    char tx[128], tg[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    int64_t width = x->ndim > 0 ? x->shape[x->ndim - 1] : 0, rows = x->ndim > 0 ? lh_rows_of(x) : 0;
    if (x->ndim < 1 || !lh_fits_width(gain, x, width) || !lh_fits_width(bias, x, width)) {
        const lh_tensor *odd = gain && !lh_fits_width(gain, x, width) ? gain : bias;
        return lh_op_fail(context, LH_E_SHAPE, op, "gain or bias %s %s does not fit input %s %s",
                          odd ? lh_dtype_name(odd->dtype) : "",
                          odd ? lh_shape_text(tg, sizeof tg, odd->ndim, odd->shape) : "", lh_dtype_name(x->dtype),
                          lh_shape_text(tx, sizeof tx, x->ndim, x->shape));
    }
    if (residual && (!lh_tensor_same_shape(x, residual) || x->dtype != residual->dtype)) {
        return lh_op_fail(context, LH_E_SHAPE, op, "input %s %s and residual %s %s differ", lh_dtype_name(x->dtype),
                          lh_shape_text(tx, sizeof tx, x->ndim, x->shape), lh_dtype_name(residual->dtype),
                          lh_shape_text(tg, sizeof tg, residual->ndim, residual->shape));
    }
    lh_tensor *px = lh_packed(context, x), *pr = residual ? lh_packed(context, residual) : NULL;
    lh_tensor *pg = gain ? lh_packed(context, gain) : NULL, *pb = bias ? lh_packed(context, bias) : NULL;
    lh_tensor *s = residual ? lh_new_like(context, x, false) : px;
    lh_tensor *mean = options->rms ? NULL : lh_new(context, x->dtype, 1, &rows, false);
    lh_tensor *rstd = lh_new(context, x->dtype, 1, &rows, false);
    lh_tensor *y = lh_new_like(context, x, false);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_norm_args args = {.rows = rows,
                         .width = width,
                         .rms = options->rms,
                         .eps = options->eps,
                         .x = lh_tensor_data(px),
                         .residual = pr ? lh_tensor_data(pr) : NULL,
                         .gain = pg ? lh_tensor_data(pg) : NULL,
                         .bias = pb ? lh_tensor_data(pb) : NULL,
                         .sum = pr ? lh_tensor_data(s) : NULL,
                         .y = lh_tensor_data(y),
                         .mean = mean ? lh_tensor_data(mean) : NULL,
                         .rstd = lh_tensor_data(rstd)};
    lh_run(context, LH_KERNEL_NORM, x->dtype, &args);
    lh_tensor *in[NORM_INS] = {x, residual, gain, bias};
    if (lh_wants_grad(context, NORM_INS, in)) {
        lh_tensor *out[NORM_OUTS] = {y, residual ? s : NULL};
        lh_tensor *saved[4] = {s, pg, mean, rstd};
        lh_record(context, op, norm_backward, NORM_INS, in, NORM_OUTS, out, 4, saved, options, sizeof *options);
    }
    lh_drop(context, mean);
    lh_drop(context, rstd);
    if (px != x) {
        lh_drop(context, px); /* the tape refers to it if it must stay */
    }
    if (pr && pr != residual) {
        lh_drop(context, pr);
    }
    if (sum) {
        *sum = lh_result(context, s);
    }
    return lh_result(context, y);
}

lh_tensor *lh_layer_norm(lh_context *context, lh_tensor *x, lh_tensor *gain, lh_tensor *bias, double eps)
{
    norm_options options = {.eps = eps};
    return norm(context, "layer_norm", x, NULL, gain, bias, &options, NULL);
}

lh_tensor *lh_rms_norm(lh_context *context, lh_tensor *x, lh_tensor *gain, double eps)
{
    norm_options options = {.eps = eps, .rms = true};
    return norm(context, "rms_norm", x, NULL, gain, NULL, &options, NULL);
}

lh_tensor *lh_residual_norm(lh_context *context, lh_tensor *x, lh_tensor *residual, lh_tensor *gain,
                            lh_tensor *bias, double eps, bool rms, lh_tensor **sum)
{
    norm_options options = {.eps = eps, .rms = rms};
    *sum = NULL;
    if (!lh_op_stopped(context) && (!residual || (rms && bias))) {
        return lh_op_fail(context, LH_E_ARGUMENT, "residual_norm",
                          residual ? "an RMS norm has no bias" : "no residual was given");
    }
    return norm(context, "residual_norm", x, residual, gain, bias, &options, sum);
}
