/* Rows that are sorted into groups, picked by index and brought back: what attention within clusters needs. */
#include "ops/internal.h"

#include <string.h>

/* ---- the largest of several -------------------------------------------------------------------- */

lh_tensor *lh_argmax(lh_context *context, lh_tensor *x, int dim)
{
    char text[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (dim < 0 || dim >= x->ndim || x->shape[dim] < 1) {
        return lh_op_fail(context, LH_E_SHAPE, "argmax", "%s has nothing to choose from in dimension %d",
                          lh_shape_text(text, sizeof text, x->ndim, x->shape), dim);
    }
    lh_argmax_args args = {.outer = 1, .middle = x->shape[dim], .inner = 1};
    int64_t shape[LH_MAX_DIMS] = {1};
    int ndim = 0;
    for (int d = 0; d < x->ndim; d++) {
        if (d != dim) {
            *(d < dim ? &args.outer : &args.inner) *= x->shape[d];
            shape[ndim++] = x->shape[d];
        }
    }
    args.index_outer = args.inner;
    lh_tensor *packed = lh_packed(context, x);
    lh_tensor *index = packed ? lh_new(context, LH_I32, ndim ? ndim : 1, shape, false) : NULL;
    if (!index) {
        return NULL;
    }
    args.x = lh_tensor_data(packed);
    args.index = lh_tensor_data(index);
    lh_run(context, LH_KERNEL_ARGMAX, x->dtype, &args);
    if (packed != x) {
        lh_drop(context, packed);
    }
    return lh_result(context, index);
}

/* ---- groups ------------------------------------------------------------------------------------ */

bool lh_group(lh_context *context, lh_tensor *index, int64_t groups, lh_tensor *keep, bool bounds,
              lh_grouping *grouping)
{
    char text[128];
    *grouping = (lh_grouping){.groups = groups};
    if (lh_op_stopped(context)) {
        return false;
    }
    if (index->dtype != LH_I32 || index->ndim != 3 || groups < 0 ||
        (keep && (keep->dtype != LH_I32 || keep->ndim != 2 || keep->shape[0] != index->shape[0] ||
                  keep->shape[1] != index->shape[2]))) {
        lh_op_fail(context, LH_E_SHAPE, "group", "%s %s cannot be the groups of entries",
                   lh_dtype_name(index->dtype), lh_shape_text(text, sizeof text, index->ndim, index->shape));
        return false;
    }
    lh_tensor *packed = lh_packed(context, index), *packed_keep = keep ? lh_packed(context, keep) : NULL;
    if (lh_op_stopped(context) || !lh_indices_below(context, "group", packed, groups)) {
        return false;
    }
    lh_group_args args = {.batch = index->shape[0],
                          .heads = index->shape[1],
                          .count = index->shape[2],
                          .groups = groups,
                          .group = lh_tensor_data(packed),
                          .keep = packed_keep ? lh_tensor_data(packed_keep) : NULL};
    grouping->index = packed;
    grouping->start = lh_new(context, LH_I32, 3, (int64_t[]){args.batch, args.heads, groups + 1}, false);
    grouping->order = lh_new(context, LH_I32, 3, index->shape, false);
    grouping->low = bounds ? lh_new(context, LH_I32, 3, index->shape, false) : NULL;
    grouping->high = bounds ? lh_new(context, LH_I32, 3, index->shape, false) : NULL;
    if (lh_op_stopped(context)) {
        return false;
    }
    args.start = lh_tensor_data(grouping->start);
    args.order = lh_tensor_data(grouping->order);
    args.low = bounds ? lh_tensor_data(grouping->low) : NULL;
    args.high = bounds ? lh_tensor_data(grouping->high) : NULL;
    lh_run(context, LH_KERNEL_GROUP, LH_F32, &args);
    return !lh_op_stopped(context);
}

static lh_strided rows_of_lanes(const lh_tensor *x)
{
    return (lh_strided){
        .data = lh_tensor_data(x), .batch = x->stride[0], .head = x->stride[1], .row = x->stride[2]};
}

/* Are x's rows without gaps between channels, and does it have four dimensions, the first two those of the groups?
 */
static bool lanes_fit(const lh_tensor *x, const lh_grouping *grouping, int64_t rows)
{
    return x->ndim == 4 && x->shape[0] == grouping->index->shape[0] && x->shape[1] == grouping->index->shape[1] &&
           x->shape[2] == rows;
}

static lh_tensor *lanes_fault(lh_context *context, const char *op, const lh_tensor *x, const lh_grouping *grouping)
{
    char tx[128], ti[128];
    return lh_op_fail(context, LH_E_SHAPE, op, "rows %s do not fit entries %s of %lld groups",
                      lh_shape_text(tx, sizeof tx, x->ndim, x->shape),
                      lh_shape_text(ti, sizeof ti, grouping->index->ndim, grouping->index->shape),
                      (long long)grouping->groups);
}

/* start and order may be NULL, as long as only rows are picked. */
static lh_group_rows_args group_rows_args(const lh_tensor *index, const lh_tensor *start, const lh_tensor *order,
                                          int64_t width)
{
    return (lh_group_rows_args){.batch = index->shape[0],
                                .heads = index->shape[1],
                                .count = index->shape[2],
                                .groups = start ? start->shape[2] - 1 : 0,
                                .width = width,
                                .index = lh_tensor_data(index),
                                .start = start ? lh_tensor_data(start) : NULL,
                                .order = order ? lh_tensor_data(order) : NULL};
}

enum { GROUP_INDEX, GROUP_START, GROUP_ORDER, GROUP_SAVED };

/* in: x. d_x of a row is the sum over the entries that picked it. */
static void gather_backward(lh_context *context, lh_node *node)
{
    lh_tensor **saved = node->saved, *d_y = lh_out_grad(context, node, 0);
    double beta;
    lh_tensor *d_x = d_y ? lh_in_grad_packed(context, node, 0, &beta) : NULL;
    if (!d_x) {
        return;
    }
    lh_group_rows_args args =
        group_rows_args(saved[GROUP_INDEX], saved[GROUP_START], saved[GROUP_ORDER], d_y->shape[3]);
    args.x = rows_of_lanes(d_x);
    args.y = lh_tensor_data(d_y);
    args.add = beta != 0.0;
    lh_run(context, LH_KERNEL_GROUP_SUM, d_y->dtype, &args);
    lh_in_grad_commit(context, node, 0, d_x);
}

lh_tensor *lh_group_gather(lh_context *context, lh_tensor *x, const lh_grouping *grouping)
{
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_tensor *index = grouping->index;
    if (!lanes_fit(x, grouping, grouping->groups)) {
        return lanes_fault(context, "group_gather", x, grouping);
    }
    if (!grouping->start && lh_wants_grad(context, 1, &x)) {
        return lh_op_fail(context, LH_E_ARGUMENT, "group_gather", "the gradient of rows needs a sorted grouping");
    }
    lh_tensor *rows = x->shape[3] == 1 || x->stride[3] == 1 ? x : lh_packed(context, x);
    lh_tensor *y = rows ? lh_new(context, x->dtype, 4,
                                 (int64_t[]){index->shape[0], index->shape[1], index->shape[2], x->shape[3]}, false)
                        : NULL;
    if (!y) {
        return NULL;
    }
    lh_group_rows_args args = group_rows_args(index, grouping->start, grouping->order, x->shape[3]);
    args.x = rows_of_lanes(rows);
    args.y = lh_tensor_data(y);
    args.start = NULL;
    lh_run(context, LH_KERNEL_GROUP_GATHER, x->dtype, &args);
    if (lh_wants_grad(context, 1, &x)) {
        lh_tensor *saved[GROUP_SAVED] = {index, grouping->start, grouping->order};
        lh_record(context, "group_gather", gather_backward, 1, &x, 1, &y, GROUP_SAVED, saved, NULL, 0);
    }
    if (rows != x) {
        lh_drop(context, rows);
    }
    return lh_result(context, y);
}

/* in: y (the entries). Each gets its group's gradient, divided as the sum was. */
static void mean_backward(lh_context *context, lh_node *node)
{
    lh_tensor **saved = node->saved, *d_x = lh_out_grad(context, node, 0);
    lh_tensor *d_y = d_x ? lh_new(context, d_x->dtype, 4, node->in[0]->shape, false) : NULL;
    if (!d_y) {
        return;
    }
    lh_group_rows_args args =
        group_rows_args(saved[GROUP_INDEX], saved[GROUP_START], saved[GROUP_ORDER], d_x->shape[3]);
    args.x = rows_of_lanes(d_x);
    args.y = lh_tensor_data(d_y);
    args.extra = *(const double *)node->options;
    lh_run(context, LH_KERNEL_GROUP_GATHER, d_x->dtype, &args);
    lh_in_grad_give(context, node, 0, d_y);
}

lh_tensor *lh_group_mean(lh_context *context, lh_tensor *y, const lh_grouping *grouping, double extra)
{
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_tensor *index = grouping->index;
    if (!lanes_fit(y, grouping, index->shape[2])) {
        return lanes_fault(context, "group_mean", y, grouping);
    }
    int64_t heads = index->shape[1], width = y->shape[3];
    lh_tensor *packed = lh_packed(context, y);
    /* laid out as the heads of a layer's output are: merging them is free */
    lh_tensor *flat =
        packed ? lh_new(context, y->dtype, 4, (int64_t[]){index->shape[0], grouping->groups, heads, width}, false)
               : NULL;
    lh_tensor *x = flat ? lh_transpose(context, flat, 1, 2) : NULL;
    if (!x) {
        return NULL;
    }
    lh_group_rows_args args = group_rows_args(index, grouping->start, grouping->order, width);
    args.x = rows_of_lanes(x);
    args.y = lh_tensor_data(packed);
    args.mean = true;
    args.extra = extra;
    lh_run(context, LH_KERNEL_GROUP_SUM, y->dtype, &args);
    if (lh_wants_grad(context, 1, &y)) {
        lh_tensor *saved[GROUP_SAVED] = {index, grouping->start, grouping->order};
        lh_record(context, "group_mean", mean_backward, 1, &y, 1, &x, GROUP_SAVED, saved, &extra, sizeof extra);
    }
    if (packed != y) {
        lh_drop(context, packed);
    }
    return lh_result(context, x);
}

void lh_group_totals(lh_context *context, lh_tensor *y, const lh_grouping *grouping, lh_tensor *sum,
                     lh_tensor *total)
{
    if (lh_op_stopped(context)) {
        return;
    }
    lh_tensor *index = grouping->index;
    int64_t heads = index->shape[1];
    if (!lanes_fit(y, grouping, index->shape[2]) || sum->ndim != 3 || total->ndim != 2 || sum->dtype != y->dtype ||
        total->dtype != y->dtype || sum->shape[0] != heads || sum->shape[1] != grouping->groups ||
        sum->shape[2] != y->shape[3] || total->shape[0] != heads || total->shape[1] != grouping->groups ||
        !lh_tensor_contiguous(sum) || !lh_tensor_contiguous(total)) {
        lanes_fault(context, "group_totals", y, grouping);
        return;
    }
    lh_tensor *packed = lh_packed(context, y);
    if (!packed) {
        return;
    }
    lh_group_rows_args args = group_rows_args(index, grouping->start, grouping->order, y->shape[3]);
    args.x = (lh_strided){.data = lh_tensor_data(sum), .head = sum->stride[0], .row = sum->stride[1]};
    args.y = lh_tensor_data(packed);
    args.add = true;
    args.total = lh_tensor_data(total);
    lh_run(context, LH_KERNEL_GROUP_SUM, y->dtype, &args);
    if (packed != y) {
        lh_drop(context, packed);
    }
}

void lh_centroid_step(lh_context *context, lh_tensor *sum, lh_tensor *total, lh_tensor *mean, lh_tensor *count,
                      lh_tensor *centroid, double decay, lh_centroid_start start)
{
    char text[128];
    if (lh_op_stopped(context)) {
        return;
    }
    lh_tensor *large[3] = {sum, mean, centroid}, *small[2] = {total, count};
    bool fits = sum->ndim == 3;
    for (int i = 0; i < 3; i++) {
        fits = fits && lh_tensor_same_shape(large[i], sum) && large[i]->dtype == sum->dtype &&
               lh_tensor_contiguous(large[i]);
    }
    for (int i = 0; i < 2; i++) {
        fits = fits && small[i]->ndim == 2 && small[i]->shape[0] == sum->shape[0] &&
               small[i]->shape[1] == sum->shape[1] && small[i]->dtype == sum->dtype &&
               lh_tensor_contiguous(small[i]);
    }
    if (!fits) {
        lh_op_fail(context, LH_E_SHAPE, "centroid_step", "sums %s, means, centroids and counts do not fit",
                   lh_shape_text(text, sizeof text, sum->ndim, sum->shape));
        return;
    }
    lh_centroids_args args = {.heads = sum->shape[0],
                              .clusters = sum->shape[1],
                              .width = sum->shape[2],
                              .decay = decay,
                              .eps = 1e-5,
                              .start = start,
                              .sum = lh_tensor_data(sum),
                              .total = lh_tensor_data(total),
                              .mean = lh_tensor_data(mean),
                              .count = lh_tensor_data(count),
                              .centroid = lh_tensor_data(centroid)};
    lh_run(context, LH_KERNEL_CENTROIDS, sum->dtype, &args);
}

/* ---- lists for queries that come later --------------------------------------------------------- */

lh_tensor *lh_group_latest(lh_context *context, lh_tensor *index, lh_tensor *own, int64_t queries, int64_t window,
                           lh_tensor **first)
{
    char text[128];
    *first = NULL;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (index->dtype != LH_I32 || index->ndim != 3 || queries < 0 || queries > index->shape[2] || window < 1 ||
        (own && (own->dtype != LH_I32 || own->ndim != 3 || own->shape[0] != index->shape[0] ||
                 own->shape[1] != index->shape[1] || own->shape[2] != queries))) {
        return lh_op_fail(context, LH_E_SHAPE, "group_latest",
                          "%lld queries with %lld members each do not fit groups %s", (long long)queries,
                          (long long)window, lh_shape_text(text, sizeof text, index->ndim, index->shape));
    }
    lh_tensor *packed = lh_packed(context, index), *packed_own = own ? lh_packed(context, own) : NULL;
    lh_tensor *list =
        lh_new(context, LH_I32, 4, (int64_t[]){index->shape[0], index->shape[1], queries, window}, false);
    *first = lh_new(context, LH_I32, 3, (int64_t[]){index->shape[0], index->shape[1], queries}, false);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_group_latest_args args = {.lanes = index->shape[0] * index->shape[1],
                                 .length = index->shape[2],
                                 .queries = queries,
                                 .window = window,
                                 .group = lh_tensor_data(packed),
                                 .own = packed_own ? lh_tensor_data(packed_own) : NULL,
                                 .index = lh_tensor_data(list),
                                 .first = lh_tensor_data(*first)};
    lh_run(context, LH_KERNEL_GROUP_LATEST, LH_F32, &args);
    return lh_result(context, list);
}

/* Are start [batch, heads, groups + 1] and order [batch, heads, .] there, of the same lanes as `lanes`? */
static bool sorted_fit(const lh_grouping *grouping, const lh_grouping *lanes)
{
    const lh_tensor *start = grouping->start, *order = grouping->order;
    return start && order && start->dtype == LH_I32 && order->dtype == LH_I32 && start->ndim == 3 &&
           order->ndim == 3 && start->shape[2] == lanes->groups + 1 && lanes->start &&
           start->shape[0] == lanes->start->shape[0] && start->shape[1] == lanes->start->shape[1] &&
           order->shape[0] == start->shape[0] && order->shape[1] == start->shape[1];
}

bool lh_group_seen(lh_context *context, const lh_grouping *queries, const lh_grouping *keys, int64_t first,
                   int64_t window, lh_tensor **low, lh_tensor **high)
{
    *low = *high = NULL;
    if (lh_op_stopped(context)) {
        return false;
    }
    if (!sorted_fit(queries, queries) || !sorted_fit(keys, queries) || window < 1) {
        lh_op_fail(context, LH_E_SHAPE, "group_seen",
                   "%lld groups of queries and %lld of keys do not fit, or a window of %lld holds nothing",
                   (long long)queries->groups, (long long)keys->groups, (long long)window);
        return false;
    }
    lh_tensor *parts[4] = {queries->start, queries->order, keys->start, keys->order};
    const int32_t *data[4] = {0};
    for (int i = 0; i < 4; i++) {
        parts[i] = lh_packed(context, parts[i]);
        data[i] = parts[i] ? lh_tensor_data(parts[i]) : NULL;
    }
    *low = lh_new(context, LH_I32, 3, queries->order->shape, false);
    *high = lh_new(context, LH_I32, 3, queries->order->shape, false);
    if (lh_op_stopped(context)) {
        return false;
    }
    lh_group_seen_args args = {.lanes = queries->start->shape[0] * queries->start->shape[1],
                               .queries = queries->order->shape[2],
                               .keys = keys->order->shape[2],
                               .groups = queries->groups,
                               .first = first,
                               .window = window,
                               .query_start = data[0],
                               .query_order = data[1],
                               .key_start = data[2],
                               .key_order = data[3],
                               .low = lh_tensor_data(*low),
                               .high = lh_tensor_data(*high)};
    lh_run(context, LH_KERNEL_GROUP_SEEN, LH_F32, &args);
    return !lh_op_stopped(context);
}

static bool scores_fit(lh_context *context, const char *op, const lh_tensor *x, bool fits)
{
    char text[128];
    if (x->ndim != 3 || !fits || (x->shape[2] > 1 && x->stride[2] != 1) ||
        (x->shape[1] > 1 && x->stride[1] != x->shape[2])) {
        lh_op_fail(context, LH_E_SHAPE, op, "scores %s do not fit the queries",
                   lh_shape_text(text, sizeof text, x->ndim, x->shape));
        return false;
    }
    return true;
}

lh_tensor *lh_top_so_far(lh_context *context, lh_tensor *x, int64_t queries, int64_t k)
{
    if (lh_op_stopped(context) ||
        !scores_fit(context, "top_so_far", x, x->ndim == 3 && queries >= 0 && queries <= x->shape[1] && k >= 1)) {
        return NULL;
    }
    lh_tensor *accepted = lh_new(context, LH_I32, 3, (int64_t[]){x->shape[0], queries, x->shape[2]}, false);
    if (!accepted) {
        return NULL;
    }
    lh_top_so_far_args args = {.batch = x->shape[0],
                               .length = x->shape[1],
                               .queries = queries,
                               .columns = x->shape[2],
                               .k = k,
                               .x = lh_tensor_data(x),
                               .x_batch = x->stride[0],
                               .accepted = lh_tensor_data(accepted)};
    lh_run(context, LH_KERNEL_TOP_SO_FAR, x->dtype, &args);
    return lh_result(context, accepted);
}

lh_tensor *lh_top_so_far_lists(lh_context *context, lh_tensor *x, int64_t count, const int32_t *triples, int64_t k,
                               lh_tensor **first)
{
    *first = NULL;
    if (lh_op_stopped(context) ||
        !scores_fit(context, "top_so_far_lists", x, x->ndim == 3 && count >= 0 && k >= 1)) {
        return NULL;
    }
    for (int64_t i = 0; i < 3 * count; i++) {
        if (triples[i] < 0 || triples[i] >= x->shape[i % 3]) {
            return lh_op_fail(context, LH_E_ARGUMENT, "top_so_far_lists",
                              "entry %d of triple %lld is not below %lld", (int)triples[i], (long long)(i / 3),
                              (long long)x->shape[i % 3]);
        }
    }
    lh_tensor *triple = lh_from_host(context, LH_I32, 2, (int64_t[]){count, 3}, triples);
    lh_tensor *list = lh_new(context, LH_I32, 2, (int64_t[]){count, k}, false);
    *first = lh_new(context, LH_I32, 1, &count, false);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_top_so_far_lists_args args = {.count = count,
                                     .length = x->shape[1],
                                     .columns = x->shape[2],
                                     .k = k,
                                     .x = lh_tensor_data(x),
                                     .x_batch = x->stride[0],
                                     .triple = lh_tensor_data(triple),
                                     .index = lh_tensor_data(list),
                                     .first = lh_tensor_data(*first)};
    lh_run(context, LH_KERNEL_TOP_SO_FAR_LISTS, x->dtype, &args);
    return lh_result(context, list);
}
