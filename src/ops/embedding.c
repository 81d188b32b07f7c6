/* Rows picked by index; the gradient is scattered back. */
#include "ops/internal.h"

#include <string.h>

/* in: table. saved: index. */
static void gather_backward(lh_context *context, lh_node *node)
{
    lh_tensor *index = node->saved[0];
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    lh_tensor *d_x = d_y ? lh_in_grad_addable(context, node, 0) : NULL;
    if (!d_x) {
        return;
    }
    lh_gather_args args = {.count = lh_tensor_count(index),
                           .rows = d_x->shape[0],
                           .width = d_x->shape[1],
                           .index = lh_tensor_data(index),
                           .scale = *(double *)node->options,
                           .d_y = lh_tensor_data(d_y),
                           .d_x = lh_tensor_data(d_x)};
    lh_run(context, LH_KERNEL_SCATTER_ADD_ROWS, d_y->dtype, &args);
    lh_in_grad_commit(context, node, 0, d_x);
}

static lh_tensor *gather(lh_context *context, const char *op, lh_tensor *table, lh_tensor *index, double scale)
{
    char tt[128], ti[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (table->ndim != 2 || index->ndim >= LH_MAX_DIMS || index->dtype != LH_I32) {
        return lh_op_fail(context, LH_E_SHAPE, op, "rows of %s cannot be picked by %s indices %s",
                          lh_shape_text(tt, sizeof tt, table->ndim, table->shape), lh_dtype_name(index->dtype),
                          lh_shape_text(ti, sizeof ti, index->ndim, index->shape));
    }
    int64_t shape[LH_MAX_DIMS];
    memcpy(shape, index->shape, sizeof shape);
    shape[index->ndim] = table->shape[1];
    lh_tensor *packed_table = lh_packed(context, table), *packed_index = lh_packed(context, index);
    if (lh_op_stopped(context) || !lh_indices_below(context, op, packed_index, table->shape[0])) {
        return NULL;
    }
    lh_tensor *y = lh_new(context, table->dtype, index->ndim + 1, shape, false);
    if (!y) {
        return NULL;
    }
    lh_gather_args args = {.count = lh_tensor_count(index),
                           .rows = table->shape[0],
                           .width = table->shape[1],
                           .index = lh_tensor_data(packed_index),
                           .scale = scale,
                           .x = lh_tensor_data(packed_table),
                           .y = lh_tensor_data(y)};
    lh_run(context, LH_KERNEL_GATHER_ROWS, table->dtype, &args);
    if (lh_wants_grad(context, 1, &table)) {
        lh_record(context, op, gather_backward, 1, &table, 1, &y, 1, &packed_index, &scale, sizeof scale);
    }
    if (packed_table != table) {
        lh_drop(context, packed_table);
    }
    return lh_result(context, y);
}

lh_tensor *lh_embedding(lh_context *context, lh_tensor *table, lh_tensor *ids, double scale)
{
    return gather(context, "embedding", table, ids, scale);
}

lh_tensor *lh_gather_rows(lh_context *context, lh_tensor *x, lh_tensor *index)
{
    return gather(context, "gather_rows", x, index, 1.0);
}
