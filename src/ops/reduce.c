/* Sums and means. The tensor is seen as [outer, middle, inner] and the middle goes away. */
#include "ops/internal.h"

#include <string.h>

typedef struct reduce_options {
    int64_t outer, middle, inner;
    double scale;
} reduce_options;

/* d_x[o, m, i] (+)= scale d_y[o, i]: one broadcast product, so that nothing is written twice. */
static void reduce_backward(lh_context *context, lh_node *node)
{
    const reduce_options *options = node->options;
    int64_t one[1] = {1};
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    lh_tensor *scale = d_y ? lh_new(context, d_y->dtype, 1, one, false) : NULL;
    double beta;
    lh_tensor *d_x = scale ? lh_in_grad_packed(context, node, 0, &beta) : NULL;
    if (!d_x) {
        return;
    }
    lh_fill_args fill = {.n = 1, .value = options->scale, .y = lh_tensor_data(scale)};
    lh_run(context, LH_KERNEL_FILL, d_y->dtype, &fill);
    lh_binary_args args = {.function = LH_MULTIPLY,
                           .shape = {1, 1, options->outer, options->middle, options->inner},
                           .a_stride = {0, 0, options->inner, 0, 1},
                           .a = lh_tensor_data(d_y),
                           .b = lh_tensor_data(scale),
                           .y = lh_tensor_data(d_x),
                           .accumulate = beta != 0.0};
    lh_run(context, LH_KERNEL_BINARY, d_y->dtype, &args);
    lh_in_grad_commit(context, node, 0, d_x);
}

static lh_tensor *reduce(lh_context *context, const char *op, lh_tensor *x, const reduce_options *options, int ndim,
                         const int64_t *shape)
{
    lh_tensor *packed = lh_packed(context, x);
    lh_tensor *y = packed ? lh_new(context, x->dtype, ndim, shape, false) : NULL;
    if (!y) {
        return NULL;
    }
    lh_reduce_args args = {.outer = options->outer,
                           .middle = options->middle,
                           .inner = options->inner,
                           .scale = options->scale,
                           .x = lh_tensor_data(packed),
                           .y = lh_tensor_data(y)};
    lh_run(context, LH_KERNEL_REDUCE, x->dtype, &args);
    if (lh_wants_grad(context, 1, &x)) {
        lh_record(context, op, reduce_backward, 1, &x, 1, &y, 0, NULL, options, sizeof *options);
    }
    if (packed != x) {
        lh_drop(context, packed);
    }
    return lh_result(context, y);
}

static lh_tensor *reduce_all(lh_context *context, const char *op, lh_tensor *x, bool mean)
{
    if (lh_op_stopped(context)) {
        return NULL;
    }
    int64_t shape[1] = {1}, n = lh_tensor_count(x);
    reduce_options options = {.outer = 1, .middle = n, .inner = 1, .scale = mean && n > 0 ? 1.0 / (double)n : 1.0};
    return reduce(context, op, x, &options, 1, shape);
}

lh_tensor *lh_sum(lh_context *context, lh_tensor *x)
{
    return reduce_all(context, "sum", x, false);
}

lh_tensor *lh_mean(lh_context *context, lh_tensor *x)
{
    return reduce_all(context, "mean", x, true);
}

static lh_tensor *reduce_dim(lh_context *context, const char *op, lh_tensor *x, int dim, bool mean)
{
    char text[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (dim < 0 || dim >= x->ndim) {
        return lh_op_fail(context, LH_E_SHAPE, op, "no dimension %d in %s", dim,
                          lh_shape_text(text, sizeof text, x->ndim, x->shape));
    }
    int64_t shape[LH_MAX_DIMS] = {0}, n = x->shape[dim];
    reduce_options options = {.outer = 1, .middle = n, .inner = 1, .scale = mean && n > 0 ? 1.0 / (double)n : 1.0};
    for (int i = 0, out = 0; i < x->ndim; i++) {
        options.outer *= i < dim ? x->shape[i] : 1;
        options.inner *= i > dim ? x->shape[i] : 1;
        if (i != dim) {
            shape[out++] = x->shape[i];
        }
    }
    return reduce(context, op, x, &options, x->ndim - 1, shape);
}

lh_tensor *lh_sum_dim(lh_context *context, lh_tensor *x, int dim)
{
    return reduce_dim(context, "sum_dim", x, dim, false);
}

lh_tensor *lh_mean_dim(lh_context *context, lh_tensor *x, int dim)
{
    return reduce_dim(context, "mean_dim", x, dim, true);
}

lh_tensor *lh_mean_square_error(lh_context *context, lh_tensor *a, lh_tensor *b)
{
    char ta[128], tb[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (!lh_tensor_same_shape(a, b)) {
        return lh_op_fail(context, LH_E_SHAPE, "mean_square_error", "%s and %s are not of one shape",
                          lh_shape_text(ta, sizeof ta, a->ndim, a->shape),
                          lh_shape_text(tb, sizeof tb, b->ndim, b->shape));
    }
    lh_tensor *difference = lh_subtract(context, a, b);
    lh_tensor *square = lh_unary(context, LH_SQUARE, difference);
    lh_tensor *mean = lh_mean(context, square);
    lh_drop(context, square); /* the tape holds what it needs */
    lh_drop(context, difference);
    return lh_result(context, mean);
}
