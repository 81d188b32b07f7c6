/* Views, copies and joins. A view's gradient is a window into its source's gradient (autograd/tape.c), so views
 * have no backward function. */
#include "ops/ops.h"

#include <string.h>

static lh_tensor *make_view(lh_context *context, lh_tensor *x, lh_tensor *view, const char *op)
{
    if (view && lh_wants_grad(context, 1, &x)) {
        lh_node *node = lh_record(context, op, NULL, 1, &x, 1, &view, 0, NULL, NULL, 0);
        if (node) {
            node->view_source = x;
        }
    }
    return lh_result(context, view);
}

static void strided_copy(lh_context *context, const lh_tensor *from, const lh_tensor *to)
{
    lh_copy_args copy = {
        .element_bytes = (int)lh_dtype_size(from->dtype), .x = lh_tensor_data(from), .y = lh_tensor_data(to)};
    int lead = LH_MAX_DIMS - from->ndim;
    for (int i = 0; i < LH_MAX_DIMS; i++) {
        copy.shape[i] = i < lead ? 1 : from->shape[i - lead];
        copy.x_stride[i] = i < lead ? 0 : from->stride[i - lead];
        copy.y_stride[i] = i < lead ? 0 : to->stride[i - lead];
    }
    lh_run(context, LH_KERNEL_COPY, from->dtype, &copy);
}

static void copy_backward(lh_context *context, lh_node *node)
{
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    if (d_y) {
        lh_in_grad_give(context, node, 0, lh_alias(context, d_y));
    }
}

lh_tensor *lh_contiguous(lh_context *context, lh_tensor *x)
{
    if (lh_op_stopped(context) || lh_tensor_contiguous(x)) {
        return lh_op_stopped(context) ? NULL : x;
    }
    lh_tensor *y = lh_packed(context, x);
    if (y && lh_wants_grad(context, 1, &x)) {
        lh_record(context, "contiguous", copy_backward, 1, &x, 1, &y, 0, NULL, NULL, 0);
    }
    return lh_result(context, y);
}

/* Strides under which x's elements, as they lie, take the new shape: dimensions may be split and evenly laid ones
 * joined. False if only a copy can do it. */
static bool view_strides(const lh_tensor *x, int ndim, const int64_t *shape, int64_t *stride)
{
    int d = x->ndim - 1, n = ndim - 1;
    while (n >= 0 || d >= 0) {
        if (n >= 0 && shape[n] == 1) {
            stride[n--] = 1;
            continue;
        }
        if (d >= 0 && x->shape[d] == 1) {
            d--;
            continue;
        }
        if (n < 0 || d < 0) {
            return false;
        }
        /* The smallest groups of old and new dimensions with equal sizes: the old ones must lie evenly. */
        int64_t have = x->shape[d], want = shape[n], step = x->stride[d];
        int last = n;
        while (have != want) {
            if (want < have) {
                if (--n < 0) {
                    return false;
                }
                want *= shape[n];
            } else {
                int64_t expected = step * have;
                do {
                    if (--d < 0) {
                        return false;
                    }
                } while (x->shape[d] == 1);
                if (x->stride[d] != expected) {
                    return false;
                }
                have *= x->shape[d];
            }
        }
        for (int i = last; i >= n; i--) {
            stride[i] = step;
            step *= shape[i];
        }
        n--;
        d--;
    }
    return true;
}

lh_tensor *lh_reshape(lh_context *context, lh_tensor *x, int ndim, const int64_t *shape)
{
    char from[128], to[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    int64_t full[LH_MAX_DIMS] = {0}, stride[LH_MAX_DIMS] = {0}, known = 1, count = lh_tensor_count(x);
    int guess = -1;
    bool bad = ndim < 0 || ndim > LH_MAX_DIMS;
    for (int i = 0; i < ndim && !bad; i++) {
        full[i] = shape[i];
        if (shape[i] == -1) {
            bad |= guess >= 0;
            guess = i;
        } else {
            known *= shape[i];
        }
    }
    if (!bad && guess >= 0) {
        bad = known == 0 || count % known != 0;
        full[guess] = bad ? 0 : count / known;
        known *= full[guess];
    }
    if (bad || known != count) {
        return lh_op_fail(context, LH_E_SHAPE, "reshape", "%s cannot become %s",
                          lh_shape_text(from, sizeof from, x->ndim, x->shape),
                          lh_shape_text(to, sizeof to, ndim < LH_MAX_DIMS ? ndim : LH_MAX_DIMS, shape));
    }
    if (lh_tensor_contiguous(x) || count == 0 || !view_strides(x, ndim, full, stride)) {
        x = lh_contiguous(context, x);
        int64_t step = 1;
        for (int i = ndim - 1; i >= 0; i--) {
            stride[i] = step;
            step *= full[i];
        }
    }
    lh_tensor *view = x ? lh_alias(context, x) : NULL;
    if (!view) {
        return NULL;
    }
    view->ndim = ndim;
    memcpy(view->shape, full, sizeof full);
    memcpy(view->stride, stride, sizeof stride);
    return make_view(context, x, view, "reshape");
}

lh_tensor *lh_transpose(lh_context *context, lh_tensor *x, int a, int b)
{
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (a < 0 || b < 0 || a >= x->ndim || b >= x->ndim) {
        return lh_op_fail(context, LH_E_SHAPE, "transpose", "no dimensions %d and %d in a tensor of %d", a, b,
                          x->ndim);
    }
    lh_tensor *view = lh_alias(context, x);
    if (!view) {
        return NULL;
    }
    view->shape[a] = x->shape[b];
    view->shape[b] = x->shape[a];
    view->stride[a] = x->stride[b];
    view->stride[b] = x->stride[a];
    return make_view(context, x, view, "transpose");
}

lh_tensor *lh_slice(lh_context *context, lh_tensor *x, int dim, int64_t start, int64_t length)
{
    char text[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (dim < 0 || dim >= x->ndim || start < 0 || length < 0 || start > x->shape[dim] - length) {
        return lh_op_fail(context, LH_E_SHAPE, "slice", "positions %lld to %lld of dimension %d are not in %s",
                          (long long)start, (long long)(start + length - 1), dim,
                          lh_shape_text(text, sizeof text, x->ndim, x->shape));
    }
    lh_tensor *view = lh_alias(context, x);
    if (!view) {
        return NULL;
    }
    view->shape[dim] = length;
    view->offset += start * x->stride[dim];
    return make_view(context, x, view, "slice");
}

lh_tensor *lh_detach(lh_context *context, lh_tensor *x)
{
    return lh_op_stopped(context) ? NULL : lh_alias(context, x);
}

static void expand_backward(lh_context *context, lh_node *node)
{
    int dim = *(int *)node->options;
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    if (!d_y) {
        return;
    }
    double beta;
    lh_tensor *d_x = lh_in_grad_packed(context, node, 0, &beta);
    if (!d_x) {
        return;
    }
    lh_reduce_args reduce = {.outer = 1,
                             .inner = 1,
                             .middle = d_y->shape[dim],
                             .accumulate = beta != 0.0,
                             .scale = 1.0,
                             .x = lh_tensor_data(d_y),
                             .y = lh_tensor_data(d_x)};
    for (int i = 0; i < d_y->ndim; i++) {
        reduce.outer *= i < dim ? d_y->shape[i] : 1;
        reduce.inner *= i > dim ? d_y->shape[i] : 1;
    }
    lh_run(context, LH_KERNEL_REDUCE, d_y->dtype, &reduce);
    lh_in_grad_commit(context, node, 0, d_x);
}

lh_tensor *lh_expand(lh_context *context, lh_tensor *x, int dim, int64_t times)
{
    char text[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (dim < 0 || dim >= x->ndim || x->shape[dim] != 1 || times < 0) {
        return lh_op_fail(context, LH_E_SHAPE, "expand", "dimension %d of %s is not 1", dim,
                          lh_shape_text(text, sizeof text, x->ndim, x->shape));
    }
    lh_tensor *repeated = lh_alias(context, x);
    int64_t shape[LH_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[dim] = times;
    lh_tensor *y = repeated ? lh_new(context, x->dtype, x->ndim, shape, false) : NULL;
    if (!y) {
        return NULL;
    }
    repeated->shape[dim] = times;
    repeated->stride[dim] = 0;
    strided_copy(context, repeated, y);
    lh_drop(context, repeated);
    if (lh_wants_grad(context, 1, &x)) {
        lh_record(context, "expand", expand_backward, 1, &x, 1, &y, 0, NULL, &dim, sizeof dim);
    }
    return lh_result(context, y);
}

static lh_tensor *window_of(lh_context *context, lh_tensor *whole, int dim, int64_t start, int64_t length)
{
    lh_tensor *window = lh_alias(context, whole);
    if (window) {
        window->shape[dim] = length;
        window->offset += start * whole->stride[dim];
    }
    return window;
}

static void concat_backward(lh_context *context, lh_node *node)
{
    int dim = *(int *)node->options;
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    int64_t start = 0;
    for (int i = 0; i < node->ins && d_y; i++) {
        int64_t length = node->in[i]->shape[dim];
        if (node->in[i]->requires_grad) {
            lh_tensor *window = window_of(context, d_y, dim, start, length);
            lh_tensor *packed = window ? lh_packed(context, window) : NULL;
            lh_in_grad_give(context, node, i, packed);
        }
        start += length;
    }
}

lh_tensor *lh_concat(lh_context *context, int count, lh_tensor *const *xs, int dim)
{
    char a[128], b[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (count < 1 || dim < 0 || dim >= xs[0]->ndim) {
        return lh_op_fail(context, LH_E_ARGUMENT, "concat", "%d tensors along dimension %d", count, dim);
    }
    int64_t shape[LH_MAX_DIMS];
    memcpy(shape, xs[0]->shape, sizeof shape);
    for (int i = 1; i < count; i++) {
        bool fits = xs[i]->ndim == xs[0]->ndim && xs[i]->dtype == xs[0]->dtype;
        for (int d = 0; fits && d < xs[0]->ndim; d++) {
            fits = d == dim || xs[i]->shape[d] == shape[d];
        }
        if (!fits) {
            return lh_op_fail(context, LH_E_SHAPE, "concat", "%s and %s do not join along dimension %d",
                              lh_shape_text(a, sizeof a, xs[0]->ndim, xs[0]->shape),
                              lh_shape_text(b, sizeof b, xs[i]->ndim, xs[i]->shape), dim);
        }
        shape[dim] += xs[i]->shape[dim];
    }
    lh_tensor *y = lh_new(context, xs[0]->dtype, xs[0]->ndim, shape, false);
    int64_t start = 0;
    for (int i = 0; i < count && y; i++) {
        lh_tensor *window = window_of(context, y, dim, start, xs[i]->shape[dim]);
        if (!window) {
            return NULL;
        }
        strided_copy(context, xs[i], window);
        start += xs[i]->shape[dim];
        lh_drop(context, window);
    }
    if (y && lh_wants_grad(context, count, xs)) {
        lh_record(context, "concat", concat_backward, count, xs, 1, &y, 0, NULL, &dim, sizeof dim);
    }
    return lh_result(context, y);
}

static void run_cast(lh_context *context, lh_tensor *x, lh_tensor *y)
{
    lh_cast_args cast = {
        .n = lh_tensor_count(x), .from = x->dtype, .to = y->dtype, .x = lh_tensor_data(x), .y = lh_tensor_data(y)};
    lh_run(context, LH_KERNEL_CAST, LH_F32, &cast);
}

static void cast_backward(lh_context *context, lh_node *node)
{
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    lh_tensor *d_x = d_y ? lh_new_like(context, node->in[0], false) : NULL;
    if (d_x) {
        run_cast(context, d_y, d_x);
        lh_in_grad_give(context, node, 0, d_x);
    }
}

lh_tensor *lh_cast(lh_context *context, lh_tensor *x, lh_dtype dtype)
{
    if (lh_op_stopped(context) || x->dtype == dtype) {
        return lh_op_stopped(context) ? NULL : x;
    }
    lh_tensor *packed = lh_packed(context, x);
    lh_tensor *y = packed ? lh_new(context, dtype, x->ndim, x->shape, false) : NULL;
    if (!y) {
        return NULL;
    }
    run_cast(context, packed, y);
    if (lh_wants_grad(context, 1, &x)) {
        lh_record(context, "cast", cast_backward, 1, &x, 1, &y, 0, NULL, NULL, 0);
    }
    return lh_result(context, y);
}
