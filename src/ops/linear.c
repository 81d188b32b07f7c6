/* Products. Both passes are large GEMMs; leading dimensions are flattened so that a whole batch is one call. */
#include "ops/internal.h"

#include <string.h>

static void run_gemm(lh_context *context, lh_dtype dtype, const lh_gemm_args *args)
{
    lh_run(context, LH_KERNEL_GEMM, dtype, args);
}

/* A matrix that GEMM can read where it stands: last stride 1 and rows at one even distance. */
static bool rows_are_even(const lh_tensor *x, int64_t *row_stride)
{
    if (x->ndim < 1 || lh_tensor_count(x) == 0) {
        return false;
    }
    int last = x->ndim - 1;
    if (x->shape[last] != 1 && x->stride[last] != 1) {
        return false;
    }
    int64_t step = 0, extent = 0;
    for (int i = last - 1; i >= 0; i--) {
        if (x->shape[i] == 1) {
            continue;
        }
        if (step == 0) {
            step = x->stride[i];
        } else if (x->stride[i] != extent) {
            return false;
        }
        extent = x->stride[i] * x->shape[i];
    }
    *row_stride = step ? step : x->shape[last];
    return *row_stride >= x->shape[last];
}

/* in: x, w, bias. saved: x, w. */
static void linear_backward(lh_context *context, lh_node *node)
{
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    if (!d_y) {
        return;
    }
    lh_tensor *x = node->saved[0], *w = node->saved[1];
    int64_t out = w->shape[0], in = w->shape[1], rows = lh_rows_of(d_y), x_row = in;
    double beta;
    (void)rows_are_even(x, &x_row);
    lh_tensor *d_x = lh_in_grad_packed(context, node, 0, &beta);
    if (d_x) {
        lh_gemm_args gemm = {.batch = 1,
                             .m = rows,
                             .n = in,
                             .k = out,
                             .alpha = 1.0,
                             .beta = beta,
                             .a = lh_tensor_data(d_y),
                             .lda = out,
                             .b = lh_tensor_data(w),
                             .ldb = in,
                             .c = lh_tensor_data(d_x),
                             .ldc = in};
        run_gemm(context, d_y->dtype, &gemm);
        lh_in_grad_commit(context, node, 0, d_x);
    }
    lh_tensor *d_w = lh_in_grad_packed(context, node, 1, &beta);
    if (d_w) {
        lh_gemm_args gemm = {.transpose_a = true,
                             .batch = 1,
                             .m = out,
                             .n = in,
                             .k = rows,
                             .alpha = 1.0,
                             .beta = beta,
                             .a = lh_tensor_data(d_y),
                             .lda = out,
                             .b = lh_tensor_data(x),
                             .ldb = x_row,
                             .c = lh_tensor_data(d_w),
                             .ldc = in};
        run_gemm(context, d_y->dtype, &gemm);
        lh_in_grad_commit(context, node, 1, d_w);
    }
    lh_tensor *d_b = node->in[2] ? lh_in_grad_packed(context, node, 2, &beta) : NULL;
    if (d_b) {
        lh_reduce_args reduce = {.outer = 1,
                                 .middle = rows,
                                 .inner = out,
                                 .scale = 1.0,
                                 .accumulate = beta != 0.0,
                                 .x = lh_tensor_data(d_y),
                                 .y = lh_tensor_data(d_b)};
        lh_run(context, LH_KERNEL_REDUCE, d_y->dtype, &reduce);
        lh_in_grad_commit(context, node, 2, d_b);
    }
}

lh_tensor *lh_linear(lh_context *context, lh_tensor *x, lh_tensor *w, lh_tensor *bias)
{
    char tx[128], tw[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (x->ndim < 1 || w->ndim != 2 || x->shape[x->ndim - 1] != w->shape[1] || x->dtype != w->dtype ||
        !lh_fits_width(bias, w, w->shape[0])) {
        return lh_op_fail(context, LH_E_SHAPE, "linear", "input %s does not fit weights %s%s%s",
                          lh_shape_text(tx, sizeof tx, x->ndim, x->shape),
                          lh_shape_text(tw, sizeof tw, w->ndim, w->shape), w->name ? " of " : "",
                          w->name ? w->name : "");
    }
    lh_tensor *graph[3] = {x, w, bias};
    int64_t out = w->shape[0], in = w->shape[1], x_row = in;
    lh_tensor *xs = rows_are_even(x, &x_row) ? x : lh_packed(context, x);
    lh_tensor *ws = lh_packed(context, w);
    int64_t shape[LH_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[x->ndim - 1] = out;
    lh_tensor *y = xs && ws ? lh_new(context, x->dtype, x->ndim, shape, false) : NULL;
    if (!y) {
        return NULL;
    }
    lh_gemm_args gemm = {.transpose_b = true,
                         .batch = 1,
                         .m = lh_rows_of(x),
                         .n = out,
                         .k = in,
                         .alpha = 1.0,
                         .a = lh_tensor_data(xs),
                         .lda = x_row,
                         .b = lh_tensor_data(ws),
                         .ldb = in,
                         .c = lh_tensor_data(y),
                         .ldc = out};
    run_gemm(context, x->dtype, &gemm);
    if (bias) {
        lh_tensor *packed_bias = lh_packed(context, bias);
        if (!packed_bias) {
            return NULL;
        }
        lh_bias_activation_args add = {.rows = gemm.m,
                                       .width = out,
                                       .function = LH_IDENTITY,
                                       .x = lh_tensor_data(y),
                                       .bias = lh_tensor_data(packed_bias),
                                       .y = lh_tensor_data(y)};
        lh_run(context, LH_KERNEL_BIAS_ACTIVATION, x->dtype, &add);
    }
    if (lh_wants_grad(context, 3, graph)) {
        lh_tensor *saved[2] = {xs, ws};
        lh_record(context, "linear", linear_backward, 3, graph, 1, &y, 2, saved, NULL, 0);
    }
    return lh_result(context, y);
}

typedef struct matmul_options {
    bool transpose_b;
    int64_t batch, m, n, k;
} matmul_options;

/* in and saved: a [batch, m, k], b [batch, k, n] or [batch, n, k]. */
static void matmul_backward(lh_context *context, lh_node *node)
{
    const matmul_options *o = node->options;
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    if (!d_y) {
        return;
    }
    double beta;
    lh_tensor *d_a = lh_in_grad_packed(context, node, 0, &beta);
    if (d_a) { /* dA = dY Bᵀ */
        lh_gemm_args gemm = {.transpose_b = !o->transpose_b,
                             .batch = o->batch,
                             .m = o->m,
                             .n = o->k,
                             .k = o->n,
                             .alpha = 1.0,
                             .beta = beta,
                             .a = lh_tensor_data(d_y),
                             .lda = o->n,
                             .a_batch = o->m * o->n,
                             .b = lh_tensor_data(node->saved[1]),
                             .ldb = o->transpose_b ? o->k : o->n,
                             .b_batch = o->k * o->n,
                             .c = lh_tensor_data(d_a),
                             .ldc = o->k,
                             .c_batch = o->m * o->k};
        run_gemm(context, d_y->dtype, &gemm);
        lh_in_grad_commit(context, node, 0, d_a);
    }
    lh_tensor *d_b = lh_in_grad_packed(context, node, 1, &beta);
    if (d_b) { /* dB = Aᵀ dY, or its transpose dYᵀ A */
        lh_tensor *left = o->transpose_b ? d_y : node->saved[0], *right = o->transpose_b ? node->saved[0] : d_y;
        int64_t left_width = o->transpose_b ? o->n : o->k, right_width = o->transpose_b ? o->k : o->n;
        lh_gemm_args gemm = {.transpose_a = true,
                             .batch = o->batch,
                             .m = left_width,
                             .n = right_width,
                             .k = o->m,
                             .alpha = 1.0,
                             .beta = beta,
                             .a = lh_tensor_data(left),
                             .lda = left_width,
                             .a_batch = o->m * left_width,
                             .b = lh_tensor_data(right),
                             .ldb = right_width,
                             .b_batch = o->m * right_width,
                             .c = lh_tensor_data(d_b),
                             .ldc = right_width,
                             .c_batch = o->k * o->n};
        run_gemm(context, d_y->dtype, &gemm);
        lh_in_grad_commit(context, node, 1, d_b);
    }
}

lh_tensor *lh_matmul(lh_context *context, lh_tensor *a, lh_tensor *b, bool transpose_b)
{
    char ta[128], tb[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    bool fits = a->ndim >= 2 && a->ndim == b->ndim && a->dtype == b->dtype;
    matmul_options o = {.transpose_b = transpose_b, .batch = 1};
    for (int i = 0; fits && i < a->ndim - 2; i++) {
        fits = a->shape[i] == b->shape[i];
        o.batch *= a->shape[i];
    }
    if (fits) {
        o.m = a->shape[a->ndim - 2];
        o.k = a->shape[a->ndim - 1];
        o.n = b->shape[b->ndim - (transpose_b ? 2 : 1)];
        fits = b->shape[b->ndim - (transpose_b ? 1 : 2)] == o.k;
    }
    if (!fits) {
        return lh_op_fail(context, LH_E_SHAPE, "matmul", "%s and %s%s do not fit",
                          lh_shape_text(ta, sizeof ta, a->ndim, a->shape),
                          lh_shape_text(tb, sizeof tb, b->ndim, b->shape), transpose_b ? " transposed" : "");
    }
    lh_tensor *graph[2] = {a, b}, *packed[2] = {lh_packed(context, a), lh_packed(context, b)};
    int64_t shape[LH_MAX_DIMS];
    memcpy(shape, a->shape, sizeof shape);
    shape[a->ndim - 1] = o.n;
    lh_tensor *y = packed[0] && packed[1] ? lh_new(context, a->dtype, a->ndim, shape, false) : NULL;
    if (!y) {
        return NULL;
    }
    lh_gemm_args gemm = {.transpose_b = transpose_b,
                         .batch = o.batch,
                         .m = o.m,
                         .n = o.n,
                         .k = o.k,
                         .alpha = 1.0,
                         .a = lh_tensor_data(packed[0]),
                         .lda = o.k,
                         .a_batch = o.m * o.k,
                         .b = lh_tensor_data(packed[1]),
                         .ldb = transpose_b ? o.k : o.n,
                         .b_batch = o.k * o.n,
                         .c = lh_tensor_data(y),
                         .ldc = o.n,
                         .c_batch = o.m * o.n};
    run_gemm(context, a->dtype, &gemm);
    if (lh_wants_grad(context, 2, graph)) {
        lh_record(context, "matmul", matmul_backward, 2, graph, 1, &y, 2, packed, &o, sizeof o);
    }
    return lh_result(context, y);
}
