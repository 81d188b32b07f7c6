/* Activations with their bias, gated units, softmax. */
#include "ops/internal.h"

#include <string.h>

bool lh_activation_find(const char *name, lh_function *function, bool *gated)
{
    static const char *const names[] = {"relu", "relu2", "gelu", "gelu-tanh", "silu", "swiglu", "geglu"};
    static const lh_function functions[] = {LH_RELU, LH_RELU_SQUARED, LH_GELU,     LH_GELU_TANH,
                                            LH_SILU, LH_SILU,         LH_GELU_TANH};
    for (int i = 0; i < 7; i++) {
        if (strcmp(names[i], name) == 0) {
            *function = functions[i];
            *gated = i >= 5;
            return true;
        }
    }
    return false;
}

/* in: x, bias. saved: x, bias. The kernel may write d_x where d_y was. */
static void bias_activation_backward(lh_context *context, lh_node *node)
{
    lh_tensor *x = node->saved[0], *bias = node->saved[1];
    lh_tensor *d_x = lh_out_grad_taken(context, node, 0);
    lh_tensor *d_bias = d_x && node->in[1] ? lh_in_grad_addable(context, node, 1) : NULL;
    if (!d_x || lh_op_stopped(context)) {
        return;
    }
    lh_bias_activation_args args = {.rows = lh_rows_of(x),
                                    .width = x->shape[x->ndim - 1],
                                    .function = *(lh_function *)node->options,
                                    .x = lh_tensor_data(x),
                                    .bias = bias ? lh_tensor_data(bias) : NULL,
                                    .d_y = lh_tensor_data(d_x),
                                    .d_x = lh_tensor_data(d_x),
                                    .d_bias = d_bias ? lh_tensor_data(d_bias) : NULL};
    lh_run(context, LH_KERNEL_BIAS_ACTIVATION_BACKWARD, x->dtype, &args);
    if (d_bias) {
        lh_in_grad_commit(context, node, 1, d_bias);
    }
    if (node->in[0]->requires_grad) {
        lh_in_grad_give(context, node, 0, d_x);
    } else {
        lh_drop(context, d_x);
    }
}

lh_tensor *lh_bias_activation(lh_context *context, lh_tensor *x, lh_tensor *bias, lh_function function)
{
    char tx[128], tb[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (x->ndim < 1 || !lh_fits_width(bias, x, x->shape[x->ndim - 1])) {
        return lh_op_fail(context, LH_E_SHAPE, "bias_activation", "bias %s %s does not fit input %s %s",
                          bias ? lh_dtype_name(bias->dtype) : "",
                          bias ? lh_shape_text(tb, sizeof tb, bias->ndim, bias->shape) : "",
                          lh_dtype_name(x->dtype), lh_shape_text(tx, sizeof tx, x->ndim, x->shape));
    }
    lh_tensor *px = lh_packed(context, x), *pb = bias ? lh_packed(context, bias) : NULL;
    lh_tensor *y = lh_new_like(context, x, false);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_bias_activation_args args = {.rows = lh_rows_of(x),
                                    .width = x->shape[x->ndim - 1],
                                    .function = function,
                                    .x = lh_tensor_data(px),
                                    .bias = pb ? lh_tensor_data(pb) : NULL,
                                    .y = lh_tensor_data(y)};
    lh_run(context, LH_KERNEL_BIAS_ACTIVATION, x->dtype, &args);
    lh_tensor *in[2] = {x, bias};
    if (lh_wants_grad(context, 2, in)) {
        lh_tensor *saved[2] = {px, pb};
        lh_record(context, "bias_activation", bias_activation_backward, 2, in, 1, &y, 2, saved, &function,
                  sizeof function);
    }
    if (px != x) {
        lh_drop(context, px);
    }
    return lh_result(context, y);
}

static void gated_backward(lh_context *context, lh_node *node)
{
    lh_tensor *x = node->saved[0];
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    lh_tensor *d_x = d_y ? lh_new_like(context, x, false) : NULL;
    if (!d_x) {
        return;
    }
    int64_t width = d_y->shape[d_y->ndim - 1];
    size_t half = (size_t)width * lh_dtype_size(x->dtype);
    lh_gated_args args = {.rows = lh_rows_of(x),
                          .width = width,
                          .a_stride = 2 * width,
                          .b_stride = 2 * width,
                          .function = *(lh_function *)node->options,
                          .a = lh_tensor_data(x),
                          .b = (const char *)lh_tensor_data(x) + half,
                          .d_y = lh_tensor_data(d_y),
                          .d_a = lh_tensor_data(d_x),
                          .d_b = (char *)lh_tensor_data(d_x) + half};
    lh_run(context, LH_KERNEL_GATED_BACKWARD, x->dtype, &args);
    lh_in_grad_give(context, node, 0, d_x);
}

lh_tensor *lh_gated(lh_context *context, lh_tensor *x, lh_function function)
{
    char text[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (x->ndim < 1 || x->shape[x->ndim - 1] % 2 != 0) {
        return lh_op_fail(context, LH_E_SHAPE, "gated", "%s has no two halves in its last dimension",
                          lh_shape_text(text, sizeof text, x->ndim, x->shape));
    }
    int64_t shape[LH_MAX_DIMS], width = x->shape[x->ndim - 1] / 2;
    memcpy(shape, x->shape, sizeof shape);
    shape[x->ndim - 1] = width;
    lh_tensor *packed = lh_packed(context, x);
    lh_tensor *y = packed ? lh_new(context, x->dtype, x->ndim, shape, false) : NULL;
    if (!y) {
        return NULL;
    }
    lh_gated_args args = {.rows = lh_rows_of(x),
                          .width = width,
                          .a_stride = 2 * width,
                          .b_stride = 2 * width,
                          .function = function,
                          .a = lh_tensor_data(packed),
                          .b = (const char *)lh_tensor_data(packed) + (size_t)width * lh_dtype_size(x->dtype),
                          .y = lh_tensor_data(y)};
    lh_run(context, LH_KERNEL_GATED, x->dtype, &args);
    if (lh_wants_grad(context, 1, &x)) {
        lh_record(context, "gated", gated_backward, 1, &x, 1, &y, 1, &packed, &function, sizeof function);
    }
    if (packed != x) {
        lh_drop(context, packed);
    }
    return lh_result(context, y);
}

static void softmax_backward(lh_context *context, lh_node *node)
{
    lh_tensor *y = node->saved[0];
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    lh_tensor *d_x = d_y ? lh_in_grad_addable(context, node, 0) : NULL;
    if (!d_x) {
        return;
    }
    lh_softmax_args args = {.rows = lh_rows_of(y),
                            .width = y->shape[y->ndim - 1],
                            .log = *(bool *)node->options,
                            .y = lh_tensor_data(y),
                            .d_y = lh_tensor_data(d_y),
                            .d_x = lh_tensor_data(d_x)};
    lh_run(context, LH_KERNEL_SOFTMAX_BACKWARD, y->dtype, &args);
    lh_in_grad_commit(context, node, 0, d_x);
}

static lh_tensor *softmax(lh_context *context, const char *op, lh_tensor *x, bool logarithm)
{
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (x->ndim < 1) {
        return lh_op_fail(context, LH_E_SHAPE, op, "a tensor without dimensions has no rows");
    }
    lh_tensor *packed = lh_packed(context, x);
    lh_tensor *y = packed ? lh_new_like(context, x, false) : NULL;
    if (!y) {
        return NULL;
    }
    lh_softmax_args args = {.rows = lh_rows_of(x),
                            .width = x->shape[x->ndim - 1],
                            .log = logarithm,
                            .x = lh_tensor_data(packed),
                            .y = lh_tensor_data(y)};
    lh_run(context, LH_KERNEL_SOFTMAX, x->dtype, &args);
    if (lh_wants_grad(context, 1, &x)) {
        lh_record(context, op, softmax_backward, 1, &x, 1, &y, 1, &y, &logarithm, sizeof logarithm);
    }
    if (packed != x) {
        lh_drop(context, packed);
    }
    return lh_result(context, y);
}

lh_tensor *lh_softmax(lh_context *context, lh_tensor *x)
{
    return softmax(context, "softmax", x, false);
}

lh_tensor *lh_log_softmax(lh_context *context, lh_tensor *x)
{
    return softmax(context, "log_softmax", x, true);
}
