/* Convolutions over time as products: windows are unfolded into rows [batch * positions, kernel * width]. Windows
 * that do not overlap and are not dilated are rows already, at a distance of stride * width, and nothing is copied.
 */
#include "ops/internal.h"

/* How the windows of x [batch, length, width] lie. */
typedef struct windows {
    int64_t batch, length, width, positions, kernel, stride, dilation;
} windows;

static bool in_place(const windows *w)
{
    return w->dilation == 1 && w->stride >= w->kernel;
}

/* In place, lanes can be walked as one long row of windows if no lane has a rest. */
static bool one_lane(const windows *w)
{
    return w->batch == 1 || w->positions * w->stride == w->length;
}

static lh_unfold_args unfold_args(const windows *w)
{
    return (lh_unfold_args){.batch = w->batch,
                            .length = w->length,
                            .width = w->width,
                            .out_length = w->positions,
                            .kernel = w->kernel,
                            .stride = w->stride,
                            .dilation = w->dilation};
}

/* Where the windows' rows are: in x itself, or unfolded into a fresh tensor. */
static lh_tensor *rows_of_windows(lh_context *context, const windows *w, lh_tensor *x)
{
    if (in_place(w)) {
        return x;
    }
    int64_t shape[2] = {w->batch * w->positions, w->kernel * w->width};
    lh_tensor *rows = lh_new(context, x->dtype, 2, shape, false);
    if (rows) {
        lh_unfold_args args = unfold_args(w);
        args.x = lh_tensor_data(x);
        args.y = lh_tensor_data(rows);
        lh_run(context, LH_KERNEL_UNFOLD, x->dtype, &args);
    }
    return rows;
}

/* How GEMM walks the windows' rows: `lanes` groups of `rows` rows, with these distances. */
typedef struct row_walk {
    int64_t lanes, rows, row_step, lane_step;
} row_walk;

static row_walk walk_windows(const windows *w)
{
    int64_t patch = w->kernel * w->width;
    if (!in_place(w)) {
        return (row_walk){.lanes = 1, .rows = w->batch * w->positions, .row_step = patch};
    }
    if (one_lane(w)) {
        return (row_walk){.lanes = 1, .rows = w->batch * w->positions, .row_step = w->stride * w->width};
    }
    return (row_walk){.lanes = w->batch,
                      .rows = w->positions,
                      .row_step = w->stride * w->width,
                      .lane_step = w->length * w->width};
}

/* y [batch * positions, out] = windows of x times op(weights); weights [out, patch] if transposed, else [patch,
 * out]. */
static void windows_times(lh_context *context, const windows *w, const lh_tensor *rows, const lh_tensor *weights,
                          bool transpose_weights, int64_t out, double beta, lh_tensor *y)
{
    row_walk walk = walk_windows(w);
    int64_t patch = w->kernel * w->width;
    lh_gemm_args gemm = {.transpose_b = transpose_weights,
                         .batch = walk.lanes,
                         .m = walk.rows,
                         .n = out,
                         .k = patch,
                         .alpha = 1.0,
                         .beta = beta,
                         .a = lh_tensor_data(rows),
                         .lda = walk.row_step,
                         .a_batch = walk.lane_step,
                         .b = lh_tensor_data(weights),
                         .ldb = transpose_weights ? patch : out,
                         .c = lh_tensor_data(y),
                         .ldc = out,
                         .c_batch = w->positions * out};
    lh_run(context, LH_KERNEL_GEMM, y->dtype, &gemm);
}

/* The other way: windows of x += z [batch * positions, inner] times op(weights). x is added to. */
static void add_to_windows(lh_context *context, const windows *w, const lh_tensor *z, int64_t inner,
                           const lh_tensor *weights, bool transpose_weights, const lh_tensor *x)
{
    row_walk walk = walk_windows(w);
    int64_t patch = w->kernel * w->width, shape[2] = {w->batch * w->positions, patch};
    bool direct = in_place(w);
    lh_tensor *rows = direct ? NULL : lh_new(context, z->dtype, 2, shape, false);
    if (lh_op_stopped(context)) {
        return;
    }
    lh_gemm_args gemm = {.transpose_b = transpose_weights,
                         .batch = walk.lanes,
                         .m = walk.rows,
                         .n = patch,
                         .k = inner,
                         .alpha = 1.0,
                         .beta = direct ? 1.0 : 0.0,
                         .a = lh_tensor_data(z),
                         .lda = inner,
                         .a_batch = w->positions * inner,
                         .b = lh_tensor_data(weights),
                         .ldb = transpose_weights ? inner : patch,
                         .c = direct ? lh_tensor_data(x) : lh_tensor_data(rows),
                         .ldc = walk.row_step,
                         .c_batch = walk.lane_step};
    lh_run(context, LH_KERNEL_GEMM, z->dtype, &gemm);
    if (!direct) {
        lh_unfold_args args = unfold_args(w);
        args.d_y = lh_tensor_data(rows);
        args.d_x = lh_tensor_data(x);
        lh_run(context, LH_KERNEL_FOLD, z->dtype, &args);
        lh_drop(context, rows);
    }
}

/* d_w [out, patch] = beta d_w + z^T times the windows' rows, z [batch * positions, out]. The transposed convolution
 * has its input in z's place. Lanes land in one result, so they are products one after the other. */
static void weight_gradient(lh_context *context, const windows *w, const lh_tensor *z, int64_t out,
                            const lh_tensor *rows, double beta, const lh_tensor *d_w)
{
    row_walk walk = walk_windows(w);
    size_t element = lh_dtype_size(z->dtype);
    for (int64_t lane = 0; lane < walk.lanes || lane == 0; lane++) {
        lh_gemm_args gemm = {.transpose_a = true,
                             .batch = 1,
                             .m = out,
                             .n = w->kernel * w->width,
                             .k = walk.lanes ? walk.rows : 0,
                             .alpha = 1.0,
                             .beta = lane == 0 ? beta : 1.0,
                             .a = (const char *)lh_tensor_data(z) + (size_t)(lane * walk.rows * out) * element,
                             .lda = out,
                             .b = (const char *)lh_tensor_data(rows) + (size_t)(lane * walk.lane_step) * element,
                             .ldb = walk.row_step,
                             .c = lh_tensor_data(d_w),
                             .ldc = w->kernel * w->width};
        lh_run(context, LH_KERNEL_GEMM, z->dtype, &gemm);
    }
}

/* saved: x, w */
static void conv1d_backward(lh_context *context, lh_node *node)
{
    const windows *w = node->options;
    lh_tensor *x = node->saved[0], *weights = node->saved[1];
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    if (!d_y) {
        return;
    }
    lh_tensor *d_x = lh_in_grad_addable(context, node, 0);
    if (d_x) {
        add_to_windows(context, w, d_y, weights->shape[0], weights, false, d_x);
        lh_in_grad_commit(context, node, 0, d_x);
    }
    double beta;
    lh_tensor *d_w = lh_in_grad_packed(context, node, 1, &beta);
    if (d_w) {
        lh_tensor *rows = rows_of_windows(context, w, x);
        if (rows) {
            weight_gradient(context, w, d_y, weights->shape[0], rows, beta, d_w);
            lh_in_grad_commit(context, node, 1, d_w);
        }
    }
}

lh_tensor *lh_conv1d(lh_context *context, lh_tensor *x, lh_tensor *w, int64_t stride, int64_t dilation)
{
    char tx[128], tw[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (x->ndim != 3 || w->ndim != 3 || x->shape[2] != w->shape[2] || x->dtype != w->dtype || w->shape[1] < 1 ||
        stride < 1 || dilation < 1) {
        return lh_op_fail(context, LH_E_SHAPE, "conv1d",
                          "weights %s %s with stride %lld and dilation %lld do not fit input %s %s",
                          lh_dtype_name(w->dtype), lh_shape_text(tw, sizeof tw, w->ndim, w->shape),
                          (long long)stride, (long long)dilation, lh_dtype_name(x->dtype),
                          lh_shape_text(tx, sizeof tx, x->ndim, x->shape));
    }
    int64_t rest = x->shape[1] - dilation * (w->shape[1] - 1) - 1;
    windows win = {.batch = x->shape[0],
                   .length = x->shape[1],
                   .width = x->shape[2],
                   .positions = rest < 0 ? 0 : rest / stride + 1,
                   .kernel = w->shape[1],
                   .stride = stride,
                   .dilation = w->shape[1] == 1 ? 1 : dilation};
    int64_t shape[3] = {win.batch, win.positions, w->shape[0]};
    lh_tensor *px = lh_packed(context, x), *pw = lh_packed(context, w);
    lh_tensor *y = lh_op_stopped(context) ? NULL : lh_new(context, x->dtype, 3, shape, false);
    lh_tensor *rows = y ? rows_of_windows(context, &win, px) : NULL;
    if (!rows) {
        return NULL;
    }
    windows_times(context, &win, rows, pw, true, w->shape[0], 0.0, y);
    if (rows != px) {
        lh_drop(context, rows);
    }
    lh_tensor *in[2] = {x, w};
    if (lh_wants_grad(context, 2, in)) {
        lh_tensor *saved[2] = {px, pw};
        lh_record(context, "conv1d", conv1d_backward, 2, in, 1, &y, 2, saved, &win, sizeof win);
    }
    if (px != x) {
        lh_drop(context, px);
    }
    return lh_result(context, y);
}

/* The windows are those of y. saved: x, w */
static void conv1d_transpose_backward(lh_context *context, lh_node *node)
{
    const windows *w = node->options;
    lh_tensor *x = node->saved[0], *weights = node->saved[1];
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    lh_tensor *rows = d_y ? rows_of_windows(context, w, d_y) : NULL;
    if (!rows) {
        return;
    }
    double beta;
    lh_tensor *d_x = lh_in_grad_packed(context, node, 0, &beta);
    if (d_x) {
        windows_times(context, w, rows, weights, true, x->shape[2], beta, d_x);
        lh_in_grad_commit(context, node, 0, d_x);
    }
    lh_tensor *d_w = lh_in_grad_packed(context, node, 1, &beta);
    if (d_w) {
        weight_gradient(context, w, x, x->shape[2], rows, beta, d_w);
        lh_in_grad_commit(context, node, 1, d_w);
    }
}

lh_tensor *lh_conv1d_transpose(lh_context *context, lh_tensor *x, lh_tensor *w, int64_t stride)
{
    char tx[128], tw[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (x->ndim != 3 || w->ndim != 3 || x->shape[2] != w->shape[0] || x->dtype != w->dtype || w->shape[1] < 1 ||
        stride < 1) {
        return lh_op_fail(context, LH_E_SHAPE, "conv1d_transpose",
                          "weights %s %s with stride %lld do not fit input %s %s", lh_dtype_name(w->dtype),
                          lh_shape_text(tw, sizeof tw, w->ndim, w->shape), (long long)stride,
                          lh_dtype_name(x->dtype), lh_shape_text(tx, sizeof tx, x->ndim, x->shape));
    }
    int64_t length = x->shape[1];
    windows win = {.batch = x->shape[0],
                   .length = length ? (length - 1) * stride + w->shape[1] : 0,
                   .width = w->shape[2],
                   .positions = length,
                   .kernel = w->shape[1],
                   .stride = stride,
                   .dilation = 1};
    int64_t shape[3] = {win.batch, win.length, win.width};
    lh_tensor *px = lh_packed(context, x), *pw = lh_packed(context, w);
    lh_tensor *y = lh_op_stopped(context) ? NULL : lh_new(context, x->dtype, 3, shape, true);
    if (!y) {
        return NULL;
    }
    add_to_windows(context, &win, px, x->shape[2], pw, false, y);
    lh_tensor *in[2] = {x, w};
    if (lh_wants_grad(context, 2, in)) {
        lh_tensor *saved[2] = {px, pw};
        lh_record(context, "conv1d_transpose", conv1d_transpose_backward, 2, in, 1, &y, 2, saved, &win, sizeof win);
    }
    if (px != x) {
        lh_drop(context, px);
    }
    return lh_result(context, y);
}
