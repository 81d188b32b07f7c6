#include "ops/internal.h"

lh_tensor *lh_in_grad_addable(lh_context *context, lh_node *node, int i)
{
    double beta;
    lh_tensor *gradient = lh_in_grad_packed(context, node, i, &beta);
    if (gradient && beta == 0.0) {
        lh_fill_args fill = {.n = lh_tensor_count(gradient), .value = 0.0, .y = lh_tensor_data(gradient)};
        lh_run(context, LH_KERNEL_FILL, gradient->dtype, &fill);
    }
    return gradient;
}

lh_tensor *lh_out_grad_taken(lh_context *context, lh_node *node, int i)
{
    lh_tensor *gradient = lh_out_grad(context, node, i);
    if (!gradient) {
        return NULL;
    }
    if (gradient != node->out[i]->grad) {
        return gradient; /* packed a moment ago */
    }
    if (gradient->storage->references == 1 && !node->view_source) {
        node->out[i]->grad = NULL;
        return gradient;
    }
    lh_tensor *copy = lh_new_like(context, gradient, false);
    if (copy) {
        lh_add_scaled_args args = {
            .n = lh_tensor_count(gradient), .alpha = 1.0, .x = lh_tensor_data(gradient), .y = lh_tensor_data(copy)};
        lh_run(context, LH_KERNEL_ADD_SCALED, copy->dtype, &args);
    }
    return copy;
}

int64_t lh_rows_of(const lh_tensor *x)
{
    int64_t rows = 1;
    for (int i = 0; i < x->ndim - 1; i++) {
        rows *= x->shape[i];
    }
    return rows;
}

bool lh_fits_width(const lh_tensor *vector, const lh_tensor *x, int64_t width)
{
    return !vector || (vector->ndim == 1 && vector->shape[0] == width && vector->dtype == x->dtype);
}

bool lh_indices_below(lh_context *context, const char *op, const lh_tensor *index, int64_t bound)
{
    int32_t chunk[1024];
    int64_t count = lh_tensor_count(index);
    for (int64_t start = 0; start < count; start += 1024) {
        int64_t length = count - start < 1024 ? count - start : 1024;
        const char *from = (const char *)lh_tensor_data(index) + (size_t)start * sizeof *chunk;
        context->backend->to_host(context->backend, chunk, from, (size_t)length * sizeof *chunk);
        for (int64_t i = 0; i < length; i++) {
            if (chunk[i] >= bound) {
                lh_op_fail(context, LH_E_ARGUMENT, op, "index %d at position %lld is not below %lld", (int)chunk[i],
                           (long long)(start + i), (long long)bound);
                return false;
            }
        }
    }
    return true;
}
