/* Vector quantisation with a straight-through gradient, running means by code, sums by code. */
#include "ops/internal.h"

static lh_strided strided_of(const lh_tensor *x)
{
    return (lh_strided){
        .data = lh_tensor_data(x), .batch = x->stride[0], .head = x->stride[1], .row = x->stride[2]};
}

/* x itself if its rows have no gaps between channels, else a copy. */
static lh_tensor *with_whole_rows(lh_context *context, lh_tensor *x)
{
    return x->shape[3] == 1 || x->stride[3] == 1 ? x : lh_packed(context, x);
}

static bool codes_fit(const lh_tensor *codes, const lh_tensor *x)
{
    return codes->dtype == LH_I32 && codes->ndim == 3 && codes->shape[0] == x->shape[0] &&
           codes->shape[1] == x->shape[1] && codes->shape[2] == x->shape[2];
}

/* d_k += 2 (k - quantised) d_distance, row by row. */
static void distance_backward(lh_context *context, lh_node *node, lh_tensor *d_distance)
{
    lh_tensor *k = lh_packed(context, node->saved[0]), *quantised = node->saved[1];
    lh_tensor *work = lh_new_like(context, quantised, false);
    lh_tensor *d_k = work ? lh_in_grad_addable(context, node, 0) : NULL;
    if (!k || !d_k) {
        return;
    }
    int64_t width = quantised->shape[3], rows = lh_rows_of(quantised);
    lh_binary_args binary = {.function = LH_SUBTRACT,
                             .shape = {1, 1, 1, rows, width},
                             .a_stride = {0, 0, 0, width, 1},
                             .b_stride = {0, 0, 0, width, 1},
                             .a = lh_tensor_data(k),
                             .b = lh_tensor_data(quantised),
                             .y = lh_tensor_data(work)};
    lh_run(context, LH_KERNEL_BINARY, k->dtype, &binary);
    binary.function = LH_MULTIPLY;
    binary.a = lh_tensor_data(work);
    binary.b = lh_tensor_data(d_distance);
    binary.b_stride[LH_MAX_DIMS - 2] = 1;
    binary.b_stride[LH_MAX_DIMS - 1] = 0;
    lh_run(context, LH_KERNEL_BINARY, k->dtype, &binary);
    lh_add_scaled_args add = {
        .n = rows * width, .alpha = 2.0, .beta = 1.0, .x = lh_tensor_data(work), .y = lh_tensor_data(d_k)};
    lh_run(context, LH_KERNEL_ADD_SCALED, k->dtype, &add);
    lh_in_grad_commit(context, node, 0, d_k);
}

/* in: k. saved: k, quantised. */
static void quantise_backward(lh_context *context, lh_node *node)
{
    lh_tensor *d_distance = node->outs > 1 ? lh_out_grad(context, node, 1) : NULL;
    lh_tensor *d_quantised = lh_out_grad_taken(context, node, 0);
    if (d_quantised) {
        lh_in_grad_give(context, node, 0, d_quantised);
    }
    if (d_distance) {
        distance_backward(context, node, d_distance);
    }
}

lh_tensor *lh_quantise(lh_context *context, lh_tensor *k, lh_tensor *codebook, lh_tensor **codes,
                       lh_tensor **distance)
{
    char tk[128], tc[128];
    if (codes) {
        *codes = NULL;
    }
    if (distance) {
        *distance = NULL;
    }
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (k->ndim != 4 || codebook->ndim != 3 || codebook->shape[0] != k->shape[1] ||
        codebook->shape[2] != k->shape[3] || codebook->dtype != k->dtype || codebook->shape[1] < 1) {
        return lh_op_fail(context, LH_E_SHAPE, "quantise", "keys %s do not fit a codebook %s",
                          lh_shape_text(tk, sizeof tk, k->ndim, k->shape),
                          lh_shape_text(tc, sizeof tc, codebook->ndim, codebook->shape));
    }
    lh_tensor *rows = with_whole_rows(context, k), *book = lh_packed(context, codebook);
    lh_tensor *y = lh_new_like(context, k, false);
    lh_tensor *apart = lh_new(context, k->dtype, 3, k->shape, false);
    lh_tensor *index = lh_new(context, LH_I32, 3, k->shape, false);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_nearest_code_args args = {.batch = k->shape[0],
                                 .heads = k->shape[1],
                                 .length = k->shape[2],
                                 .codes = codebook->shape[1],
                                 .width = k->shape[3],
                                 .k = strided_of(rows),
                                 .codebook = lh_tensor_data(book),
                                 .code = lh_tensor_data(index),
                                 .distance = distance ? lh_tensor_data(apart) : NULL,
                                 .quantised = strided_of(y)};
    lh_run(context, LH_KERNEL_NEAREST_CODE, k->dtype, &args);
    if (lh_wants_grad(context, 1, &k)) {
        lh_tensor *out[2] = {y, apart}, *saved[2] = {rows, y};
        lh_record(context, "quantise", quantise_backward, 1, &k, distance ? 2 : 1, out, distance ? 2 : 0, saved,
                  NULL, 0);
    }
    if (distance) {
        *distance = lh_result(context, apart);
    } else {
        lh_drop(context, apart);
    }
    if (codes) {
        *codes = lh_result(context, index);
    }
    return lh_result(context, y);
}

/* in: mean, v. saved: codes, count, new count. */
static void code_means_backward(lh_context *context, lh_node *node)
{
    lh_code_means_args args = *(lh_code_means_args *)node->options;
    lh_tensor *d_y = lh_out_grad(context, node, 0);
    lh_tensor *d_mean = d_y ? lh_in_grad_addable(context, node, 0) : NULL;
    lh_tensor *d_v = d_y ? lh_in_grad_addable(context, node, 1) : NULL;
    if (!d_y || lh_op_stopped(context)) {
        return;
    }
    args.code = lh_tensor_data(node->saved[0]);
    args.count = lh_tensor_data(node->saved[1]);
    args.new_count = lh_tensor_data(node->saved[2]);
    args.d_new_mean = lh_tensor_data(d_y);
    args.d_mean = d_mean ? lh_tensor_data(d_mean) : NULL;
    args.d_v = d_v ? strided_of(d_v) : (lh_strided){0};
    lh_run(context, LH_KERNEL_CODE_MEANS_BACKWARD, d_y->dtype, &args);
    if (d_mean) {
        lh_in_grad_commit(context, node, 0, d_mean);
    }
    if (d_v) {
        lh_in_grad_commit(context, node, 1, d_v);
    }
}

lh_tensor *lh_code_means(lh_context *context, lh_tensor *mean, lh_tensor *count, lh_tensor *codes, lh_tensor *v,
                         lh_tensor **new_count)
{
    char tm[128], tn[128], tc[128], tv[128];
    *new_count = NULL;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    bool fits = mean->ndim == 4 && v->ndim == 4 && mean->dtype == v->dtype && mean->shape[0] == v->shape[0] &&
                mean->shape[1] == v->shape[1] && mean->shape[3] == v->shape[3] && codes_fit(codes, v) &&
                count->dtype == LH_I32 && count->ndim == 3;
    for (int d = 0; d < 3 && fits; d++) {
        fits = count->shape[d] == mean->shape[d];
    }
    if (!fits) {
        return lh_op_fail(context, LH_E_SHAPE, "code_means",
                          "means %s, counts %s, codes %s and values %s do not fit",
                          lh_shape_text(tm, sizeof tm, mean->ndim, mean->shape),
                          lh_shape_text(tn, sizeof tn, count->ndim, count->shape),
                          lh_shape_text(tc, sizeof tc, codes->ndim, codes->shape),
                          lh_shape_text(tv, sizeof tv, v->ndim, v->shape));
    }
    lh_tensor *packed_codes = lh_packed(context, codes), *packed_count = lh_packed(context, count);
    lh_tensor *packed_mean = lh_packed(context, mean), *rows = with_whole_rows(context, v);
    if (lh_op_stopped(context) || !lh_indices_below(context, "code_means", packed_codes, mean->shape[2] + 1)) {
        return NULL;
    }
    lh_tensor *y = lh_new_like(context, mean, false), *counted = lh_new_like(context, count, false);
    if (!y || !counted) {
        return NULL;
    }
    lh_code_means_args args = {.batch = mean->shape[0],
                               .heads = mean->shape[1],
                               .codes = mean->shape[2],
                               .width = mean->shape[3],
                               .length = v->shape[2],
                               .code = lh_tensor_data(packed_codes),
                               .count = lh_tensor_data(packed_count),
                               .new_count = lh_tensor_data(counted),
                               .v = strided_of(rows),
                               .mean = lh_tensor_data(packed_mean),
                               .new_mean = lh_tensor_data(y)};
    lh_run(context, LH_KERNEL_CODE_MEANS, mean->dtype, &args);
    lh_tensor *in[2] = {mean, v};
    if (lh_wants_grad(context, 2, in)) {
        lh_tensor *saved[3] = {packed_codes, packed_count, counted};
        lh_record(context, "code_means", code_means_backward, 2, in, 1, &y, 3, saved, &args, sizeof args);
    }
    if (packed_mean != mean) {
        lh_drop(context, packed_mean);
    }
    *new_count = lh_result(context, counted);
    return lh_result(context, y);
}

void lh_code_sums(lh_context *context, lh_tensor *x, lh_tensor *codes, lh_tensor *weight, lh_tensor *sum,
                  lh_tensor *total)
{
    char tx[128], tc[128], ts[128];
    if (lh_op_stopped(context)) {
        return;
    }
    bool fits = x->ndim == 4 && sum->ndim == 3 && total->ndim == 2 && x->dtype == sum->dtype &&
                x->dtype == total->dtype && codes_fit(codes, x) && sum->shape[0] == x->shape[1] &&
                sum->shape[2] == x->shape[3] && total->shape[0] == sum->shape[0] &&
                total->shape[1] == sum->shape[1] && lh_tensor_contiguous(sum) && lh_tensor_contiguous(total);
    fits = fits && (!weight || (weight->ndim == 2 && weight->dtype == x->dtype && weight->shape[0] == x->shape[0] &&
                                weight->shape[1] == x->shape[2]));
    if (!fits) {
        lh_op_fail(context, LH_E_SHAPE, "code_sums", "rows %s with codes %s do not fit sums %s",
                   lh_shape_text(tx, sizeof tx, x->ndim, x->shape),
                   lh_shape_text(tc, sizeof tc, codes->ndim, codes->shape),
                   lh_shape_text(ts, sizeof ts, sum->ndim, sum->shape));
        return;
    }
    lh_tensor *rows = with_whole_rows(context, x), *packed_codes = lh_packed(context, codes);
    lh_tensor *weights = weight ? lh_packed(context, weight) : NULL;
    if (lh_op_stopped(context) || !lh_indices_below(context, "code_sums", packed_codes, sum->shape[1] + 1)) {
        return;
    }
    lh_code_sums_args args = {.batch = x->shape[0],
                              .heads = x->shape[1],
                              .length = x->shape[2],
                              .codes = sum->shape[1],
                              .width = x->shape[3],
                              .code = lh_tensor_data(packed_codes),
                              .x = strided_of(rows),
                              .weight = weights ? lh_tensor_data(weights) : NULL,
                              .sum = lh_tensor_data(sum),
                              .total = lh_tensor_data(total)};
    lh_run(context, LH_KERNEL_CODE_SUMS, x->dtype, &args);
}
