/* Attention over several key sources with one softmax: tensors in, kernel arguments out. The formula stands at
 * lh_attention_source in kernels/args.h. */
#include "ops/internal.h"

#include <math.h>
#include <string.h>

enum { PER_SOURCE = 8 }; /* graph inputs of one source: k, v, u, w, rel_k, distance_bias, key_bias, rel_v */
enum { REL_K = 4, REL_V = 7 };
enum { FIXED = 2 }; /* q, head_scale */
enum { KEPT = 9 };  /* tensors of one source that the backward pass reads beside the graph's */

lh_key_source lh_key_source_all(lh_tensor *k, lh_tensor *v)
{
    return (lh_key_source){
        .k = k, .v = v, .min_distance = -LH_DISTANCE_ANY, .max_distance = LH_DISTANCE_ANY, .rel_step = 1};
}

lh_key_source lh_key_source_causal(lh_tensor *k, lh_tensor *v, int64_t q_len)
{
    lh_key_source source = lh_key_source_all(k, v);
    source.min_distance = 0;
    source.offset = k ? k->shape[2] - q_len : 0;
    return source;
}

typedef struct attention_options {
    lh_attention_args args; /* shapes and scalars; addresses are filled in from tensors each time */
    lh_key_source source[LH_ATTENTION_MAX_SOURCES];
    bool has_lse;
} attention_options;

static lh_strided strided_of(const lh_tensor *x)
{
    return (lh_strided){.data = lh_tensor_data(x),
                        .batch = x->shape[0] == 1 ? 0 : x->stride[0],
                        .head = x->stride[1],
                        .row = x->stride[2]};
}

static void *data_or_null(const lh_tensor *x)
{
    return x ? lh_tensor_data(x) : NULL;
}

static bool four_dims(const lh_tensor *x)
{
    return x && x->ndim == 4 && (x->shape[3] == 1 || x->stride[3] == 1 || lh_tensor_count(x) == 0);
}

static bool table_fits(const lh_tensor *x, lh_dtype dtype, int64_t heads, int64_t columns)
{
    return !x || (x->dtype == dtype && x->ndim == 2 && x->shape[0] == heads && x->shape[1] == columns);
}

static bool rel_fits(const lh_tensor *x, lh_dtype dtype, int64_t heads, int64_t rel_len, int64_t width)
{
    return !x || (x->dtype == dtype && x->ndim == 3 && x->shape[0] == heads && x->shape[1] == rel_len &&
                  x->shape[2] == width);
}

static bool per_key_fits(const lh_tensor *x, lh_dtype dtype, int64_t batch, int64_t heads, int64_t last)
{
    return !x || (x->dtype == dtype && x->ndim == 3 && (x->shape[0] == batch || x->shape[0] == 1) &&
                  (x->shape[1] == heads || x->shape[1] == 1) && x->shape[2] == last);
}

static bool list_fits(const lh_tensor *x, int64_t count)
{
    return !x || (x->dtype == LH_I32 && x->ndim == 1 && (count < 0 || x->shape[0] == count));
}

/* Keys and values have the queries' type, or, in lists of rows, both a short one. */
static bool types_fit(const lh_key_source *in, const lh_tensor *q)
{
    bool is_short = in->k->dtype == LH_F16 || in->k->dtype == LH_I8;
    return in->v->dtype == in->k->dtype &&
           (in->k->dtype == q->dtype || (is_short && in->layout == LH_KEYS_GATHERED && in->stop_gradient));
}

/* LH_I8 needs a factor for each row: f32 [batch, kv_heads, k_len]. */
static bool factors_fit(const lh_tensor *scale, const lh_tensor *rows)
{
    return rows->dtype != LH_I8 ||
           (scale && scale->dtype == LH_F32 && scale->ndim == 3 && scale->shape[0] == rows->shape[0] &&
            scale->shape[1] == rows->shape[1] && scale->shape[2] == rows->shape[2]);
}

static lh_tensor *source_fault(lh_context *context, int s, const char *what, const lh_tensor *x, const lh_tensor *q)
{
    char tx[128], tq[128];
    return lh_op_fail(context, LH_E_SHAPE, "attention", "source %d: %s %s does not fit queries %s", s, what,
                      x ? lh_shape_text(tx, sizeof tx, x->ndim, x->shape) : "(missing)",
                      lh_shape_text(tq, sizeof tq, q->ndim, q->shape));
}

/* Checks one source and fills in everything but the gradients' addresses. */
static bool fill_source(lh_context *context, lh_attention_args *args, int s, const lh_key_source *in, lh_tensor *q)
{
    lh_attention_source *out = &args->source[s];
    int64_t batch = args->batch, heads = args->heads;
    if (!four_dims(in->k) || !four_dims(in->v) || !types_fit(in, q) || !factors_fit(in->k_scale, in->k) ||
        (in->k->shape[0] != batch && in->k->shape[0] != 1) || in->k->shape[3] != args->qk_width) {
        return source_fault(context, s, "keys", in->k, q);
    }
    if ((in->v->shape[0] != batch && in->v->shape[0] != 1) || in->v->shape[1] != in->k->shape[1] ||
        in->v->shape[2] != in->k->shape[2] || in->v->shape[3] != args->v_width ||
        !factors_fit(in->v_scale, in->v) || in->k->shape[1] != args->kv_heads || args->kv_heads < 1 ||
        heads % args->kv_heads != 0) {
        return source_fault(context, s, "values", in->v, q);
    }
    int64_t rel_len = in->rel_k           ? in->rel_k->shape[in->rel_k->ndim > 1]
                      : in->rel_v         ? in->rel_v->shape[in->rel_v->ndim > 1]
                      : in->distance_bias ? in->distance_bias->shape[in->distance_bias->ndim > 1]
                                          : 0;
    if (!table_fits(in->content_bias, q->dtype, heads, args->qk_width)) {
        return source_fault(context, s, "content bias", in->content_bias, q);
    }
    if (!table_fits(in->position_bias, q->dtype, heads, args->qk_width)) {
        return source_fault(context, s, "position bias", in->position_bias, q);
    }
    if (!rel_fits(in->rel_k, q->dtype, heads, rel_len, args->qk_width)) {
        return source_fault(context, s, "relative keys", in->rel_k, q);
    }
    if (!rel_fits(in->rel_v, q->dtype, heads, rel_len, args->v_width)) {
        return source_fault(context, s, "relative values", in->rel_v, q);
    }
    if (!table_fits(in->distance_bias, q->dtype, heads, rel_len)) {
        return source_fault(context, s, "distance bias", in->distance_bias, q);
    }
    if (!per_key_fits(in->key_bias, q->dtype, batch, heads, in->k->shape[2])) {
        return source_fault(context, s, "key bias", in->key_bias, q);
    }
    if ((in->low == NULL) != (in->high == NULL) || !per_key_fits(in->low, LH_I32, batch, heads, args->q_len) ||
        !per_key_fits(in->high, LH_I32, batch, heads, args->q_len) ||
        (in->low && !lh_tensor_same_shape(in->low, in->high))) {
        return source_fault(context, s, "key intervals", in->low ? in->low : in->high, q);
    }
    if (in->layout == LH_KEYS_GATHERED &&
        (!in->gather || in->gather->dtype != LH_I32 || in->gather->ndim != 4 || in->gather->shape[0] != batch ||
         in->gather->shape[1] != heads || in->gather->shape[2] != args->q_len)) {
        return source_fault(context, s, "gathered rows", in->gather, q);
    }
    if (in->layout == LH_KEYS_BLOCKS) {
        int64_t size = in->block_size > 0 ? in->block_size : 1;
        int64_t rows = batch * heads * ((args->q_len + size - 1) / size) + 1;
        if (in->block_size < 1 || !list_fits(in->tile_row, rows) || !list_fits(in->column_row, rows) ||
            !list_fits(in->tile_start, -1) || !list_fits(in->column, -1) || (in->tile_row && !in->tile_start) ||
            (in->column_row && !in->column)) {
            return source_fault(context, s, "lists of key blocks", in->tile_row ? in->tile_row : in->column_row, q);
        }
    }
    *out = (lh_attention_source){.layout = in->layout,
                                 .k_len = in->k->shape[2],
                                 .k = strided_of(in->k),
                                 .v = strided_of(in->v),
                                 .offset = in->offset,
                                 .min_distance = in->min_distance,
                                 .max_distance = in->max_distance,
                                 .content_bias = data_or_null(in->content_bias),
                                 .position_bias = data_or_null(in->position_bias),
                                 .rel_k = data_or_null(in->rel_k),
                                 .rel_v = data_or_null(in->rel_v),
                                 .distance_bias = data_or_null(in->distance_bias),
                                 .rel_len = rel_len,
                                 .rel_first = in->rel_first,
                                 .rel_step = in->rel_step,
                                 .rel_offset = in->rel_offset,
                                 .rel_clamp = in->rel_clamp,
                                 .bias_scaled = in->bias_scaled,
                                 .key_bias = data_or_null(in->key_bias),
                                 .gather = data_or_null(in->gather),
                                 .gathered = in->gather ? in->gather->shape[3] : 0,
                                 .stored = in->k->dtype,
                                 .k_scale = data_or_null(in->k_scale),
                                 .v_scale = data_or_null(in->v_scale),
                                 .block_size = in->block_size,
                                 .tile_row = data_or_null(in->tile_row),
                                 .tile_start = data_or_null(in->tile_start),
                                 .column_row = data_or_null(in->column_row),
                                 .column = data_or_null(in->column)};
    if (in->rel_k) {
        out->rel_k_head = in->rel_k->stride[0];
        out->rel_k_row = in->rel_k->stride[1];
    }
    if (in->rel_v) {
        out->rel_v_head = in->rel_v->stride[0];
        out->rel_v_row = in->rel_v->stride[1];
    }
    if (in->low) {
        out->low = lh_tensor_data(in->low);
        out->high = lh_tensor_data(in->high);
        out->interval_batch = in->low->shape[0] == 1 ? 0 : in->low->stride[0];
        out->interval_head = in->low->shape[1] == 1 ? 0 : in->low->stride[1];
    }
    if (in->key_bias) {
        out->key_bias_batch = in->key_bias->shape[0] == 1 ? 0 : in->key_bias->stride[0];
        out->key_bias_head = in->key_bias->shape[1] == 1 ? 0 : in->key_bias->stride[1];
    }
    return true;
}

static bool fill_args(lh_context *context, lh_attention_args *args, lh_tensor *q, int source_count,
                      const lh_key_source *sources, const lh_attention_options *options)
{
    if (!four_dims(q) || !four_dims(sources[0].k) || !four_dims(sources[0].v)) {
        source_fault(context, 0, "keys", sources[0].k, q);
        return false;
    }
    if (options->head_scale && (options->head_scale->ndim != 1 || options->head_scale->shape[0] != q->shape[1] ||
                                options->head_scale->dtype != q->dtype)) {
        source_fault(context, 0, "head scale", options->head_scale, q);
        return false;
    }
    *args = (lh_attention_args){
        .batch = q->shape[0],
        .heads = q->shape[1],
        .kv_heads = sources[0].k->shape[1],
        .q_len = q->shape[2],
        .qk_width = q->shape[3],
        .v_width = sources[0].v->shape[3],
        .q = strided_of(q),
        .scale = options->scale != 0.0 ? options->scale : 1.0 / sqrt(q->shape[3] ? (double)q->shape[3] : 1.0),
        .head_scale = data_or_null(options->head_scale),
        .has_null = options->has_null,
        .null_logit = options->null_logit,
        .dropout = context->training ? options->dropout : 0.0,
        .dropout_seed = context->seed,
        .dropout_offset = context->random_offset,
        .source_count = source_count};
    for (int s = 0; s < source_count; s++) {
        if (!fill_source(context, args, s, &sources[s], q)) {
            return false;
        }
    }
    return true;
}

/* The source as the kernels can read it: rows of keys, values and relative tables without gaps between channels,
 * everything else contiguous. What has to be copied is copied by an op, so that gradients find their way back. */
static lh_key_source readable(lh_context *context, const lh_key_source *in)
{
    lh_key_source out = *in;
    lh_tensor **rows[] = {&out.k, &out.v, &out.rel_k, &out.rel_v};
    lh_tensor **whole[] = {&out.low,      &out.high,    &out.content_bias, &out.position_bias, &out.distance_bias,
                           &out.key_bias, &out.gather,  &out.tile_row,     &out.tile_start,    &out.column_row,
                           &out.column,   &out.k_scale, &out.v_scale};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lh_tensor *x = *rows[i];
        if (x && x->ndim > 0 && x->shape[x->ndim - 1] != 1 && x->stride[x->ndim - 1] != 1) {
            *rows[i] = lh_contiguous(context, x);
        }
    }
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        if (*whole[i]) {
            *whole[i] = lh_contiguous(context, *whole[i]);
        }
    }
    return out;
}

static bool make_readable(lh_context *context, lh_tensor **q, int count, const lh_key_source *sources,
                          lh_key_source *readable_sources, const lh_attention_options *options,
                          lh_attention_options *readable_options)
{
    if (count < 1 || count > LH_ATTENTION_MAX_SOURCES) {
        lh_op_fail(context, LH_E_ARGUMENT, "attention", "%d key sources, 1 to %d are possible", count,
                   LH_ATTENTION_MAX_SOURCES);
        return false;
    }
    lh_key_source queries = readable(context, &(lh_key_source){.k = *q});
    *q = queries.k;
    *readable_options = *options;
    if (options->head_scale) {
        readable_options->head_scale = lh_contiguous(context, options->head_scale);
    }
    for (int s = 0; s < count; s++) {
        readable_sources[s] = readable(context, &sources[s]);
    }
    return !lh_op_stopped(context);
}

/* d_k or d_v in place, or, when the keys repeat over the batch, in a temporary with room for each lane. */
static lh_strided key_grad(lh_context *context, lh_node *node, int i, int64_t batch, lh_tensor **temporary)
{
    lh_tensor *in = node->in[i];
    *temporary = NULL;
    if (!in || !in->requires_grad) {
        return (lh_strided){0};
    }
    if (in->shape[0] == batch) {
        lh_tensor *gradient = lh_in_grad(context, node, i);
        return gradient ? strided_of(gradient) : (lh_strided){0};
    }
    *temporary = lh_new(context, in->dtype, 4, (int64_t[]){batch, in->shape[1], in->shape[2], in->shape[3]}, true);
    return *temporary ? strided_of(*temporary) : (lh_strided){0};
}

/* Where a relative table's gradient is added: laid out as the table. NULL if none is wanted. */
static void *table_grad(lh_context *context, lh_node *node, int i, int64_t head, int64_t row)
{
    if (!node->in[i] || !node->in[i]->requires_grad) {
        return NULL;
    }
    lh_tensor *gradient = lh_in_grad(context, node, i);
    if (gradient && (gradient->stride[0] != head || gradient->stride[1] != row)) {
        lh_op_fail(context, LH_E_UNSUPPORTED, "attention",
                   "the relative table's gradient is laid out differently from the table");
    }
    return data_or_null(gradient);
}

static void sum_lanes(lh_context *context, lh_node *node, int i, lh_tensor *temporary)
{
    if (!temporary || lh_op_stopped(context)) {
        return;
    }
    double beta;
    lh_tensor *gradient = lh_in_grad_packed(context, node, i, &beta);
    if (gradient) {
        lh_reduce_args reduce = {.outer = 1,
                                 .middle = temporary->shape[0],
                                 .inner = lh_tensor_count(gradient),
                                 .scale = 1.0,
                                 .accumulate = beta != 0.0,
                                 .x = lh_tensor_data(temporary),
                                 .y = lh_tensor_data(gradient)};
        lh_run(context, LH_KERNEL_REDUCE, gradient->dtype, &reduce);
        lh_in_grad_commit(context, node, i, gradient);
    }
}

/* in: q, head_scale, then PER_SOURCE of each source. saved: the same, then out, lse and the integer tensors. */
static void attention_backward(lh_context *context, lh_node *node)
{
    const attention_options *options = node->options;
    lh_attention_args args = options->args;
    int sources = args.source_count, graph_count = FIXED + PER_SOURCE * sources;
    lh_tensor **saved = node->saved, *out = saved[graph_count], *lse = saved[graph_count + 1];
    lh_tensor *d_out = node->out[0]->grad;
    if (!d_out) {
        d_out = lh_new_like(context, out, true); /* only the lse was used */
    } else if (!four_dims(d_out)) {
        d_out = lh_packed(context, d_out);
    }
    if (!d_out) {
        return;
    }
    args.d_out = strided_of(d_out);
    args.out = strided_of(out);
    args.lse = lh_tensor_data(lse);
    if (options->has_lse && node->out[1]->grad) {
        args.d_lse = data_or_null(lh_packed(context, node->out[1]->grad));
    }
    if (node->in[0]->requires_grad) {
        lh_tensor *d_q = lh_in_grad(context, node, 0);
        args.d_q = d_q ? strided_of(d_q) : (lh_strided){0};
    }
    lh_tensor *small[FIXED + PER_SOURCE * LH_ATTENTION_MAX_SOURCES] = {NULL};
    small[1] = lh_in_grad_addable(context, node, 1);
    args.d_head_scale = data_or_null(small[1]);
    lh_tensor *lanes[2 * LH_ATTENTION_MAX_SOURCES] = {NULL};
    for (int s = 0; s < sources; s++) {
        lh_attention_source *source = &args.source[s];
        int first = FIXED + PER_SOURCE * s;
        if (!options->source[s].stop_gradient) {
            source->d_k = key_grad(context, node, first, args.batch, &lanes[2 * s]);
            source->d_v = key_grad(context, node, first + 1, args.batch, &lanes[2 * s + 1]);
        }
        for (int i = 2; i < PER_SOURCE; i++) {
            small[first + i] = i == REL_K || i == REL_V ? NULL : lh_in_grad_addable(context, node, first + i);
        }
        source->d_content_bias = data_or_null(small[first + 2]);
        source->d_position_bias = data_or_null(small[first + 3]);
        source->d_distance_bias = data_or_null(small[first + 5]);
        source->d_key_bias = data_or_null(small[first + 6]);
        source->d_rel_k = table_grad(context, node, first + REL_K, source->rel_k_head, source->rel_k_row);
        source->d_rel_v = table_grad(context, node, first + REL_V, source->rel_v_head, source->rel_v_row);
    }
    lh_run(context, LH_KERNEL_ATTENTION_BACKWARD, out->dtype, &args);
    for (int i = 0; i < graph_count; i++) {
        if (small[i]) {
            lh_in_grad_commit(context, node, i, small[i]);
        }
    }
    for (int s = 0; s < sources; s++) {
        sum_lanes(context, node, FIXED + PER_SOURCE * s, lanes[2 * s]);
        sum_lanes(context, node, FIXED + PER_SOURCE * s + 1, lanes[2 * s + 1]);
    }
}

lh_tensor *lh_attention(lh_context *context, lh_tensor *q, int source_count, const lh_key_source *key_sources,
                        const lh_attention_options *given, lh_tensor **lse)
{
    if (lh_op_stopped(context)) {
        return NULL;
    }
    attention_options o = {.has_lse = lse != NULL};
    lh_key_source sources[LH_ATTENTION_MAX_SOURCES];
    lh_attention_options readable_options, *options = &readable_options;
    if (!make_readable(context, &q, source_count, key_sources, sources, given, options) ||
        !fill_args(context, &o.args, q, source_count, sources, options)) {
        return NULL;
    }
    lh_attention_args *args = &o.args;
    if (args->dropout > 0.0) {
        context->random_offset += (uint64_t)(args->batch * args->heads) << 40;
    }
    lh_tensor *flat =
        lh_new(context, q->dtype, 4, (int64_t[]){args->batch, args->q_len, args->heads, args->v_width}, false);
    lh_tensor *log_sum = lh_new(context, q->dtype, 3, (int64_t[]){args->batch, args->heads, args->q_len}, false);
    lh_tensor *out = flat ? lh_transpose(context, flat, 1, 2) : NULL;
    if (!out || !log_sum) {
        return NULL;
    }
    args->out = strided_of(out);
    args->lse = lh_tensor_data(log_sum);
    lh_run(context, LH_KERNEL_ATTENTION, q->dtype, args);

    int graph_count = FIXED + PER_SOURCE * source_count;
    lh_tensor *graph[FIXED + PER_SOURCE * LH_ATTENTION_MAX_SOURCES] = {q, options->head_scale};
    lh_tensor *saved[FIXED + (PER_SOURCE + KEPT) * LH_ATTENTION_MAX_SOURCES + 2] = {NULL};
    for (int s = 0; s < source_count; s++) {
        const lh_key_source *in = &sources[s];
        lh_tensor *list[PER_SOURCE] = {in->stop_gradient ? NULL : in->k,
                                       in->stop_gradient ? NULL : in->v,
                                       in->content_bias,
                                       in->position_bias,
                                       in->rel_k,
                                       in->distance_bias,
                                       in->key_bias,
                                       in->rel_v};
        memcpy(&graph[FIXED + PER_SOURCE * s], list, sizeof list);
        o.source[s] = *in;
    }
    if (lh_wants_grad(context, graph_count, graph)) {
        memcpy(saved, graph, sizeof(lh_tensor *) * (size_t)graph_count);
        int saves = graph_count;
        saved[saves++] = out;
        saved[saves++] = log_sum;
        for (int s = 0; s < source_count; s++) {
            const lh_key_source *in = &sources[s];
            lh_tensor *kept[KEPT] = {in->low,        in->high,   in->gather,  in->tile_row, in->tile_start,
                                     in->column_row, in->column, in->k_scale, in->v_scale};
            if (in->stop_gradient) { /* not graph inputs, but the kernel reads them again */
                saved[FIXED + PER_SOURCE * s] = in->k;
                saved[FIXED + PER_SOURCE * s + 1] = in->v;
            }
            memcpy(&saved[saves], kept, sizeof kept);
            saves += KEPT;
        }
        lh_tensor *results[2] = {out, log_sum};
        lh_record(context, "attention", attention_backward, graph_count, graph, lse ? 2 : 1, results, saves, saved,
                  &o, sizeof o);
    }
    if (lse) {
        *lse = lh_result(context, log_sum);
    }
    return lh_result(context, out);
}

void lh_attention_mass(lh_context *context, lh_tensor *q, int source_count, const lh_key_source *key_sources,
                       const lh_attention_options *given, lh_tensor *lse, double weight, lh_tensor **mass)
{
    lh_attention_mass_args args = {.weight = weight};
    lh_key_source sources[LH_ATTENTION_MAX_SOURCES];
    lh_attention_options options;
    for (int s = 0; s < source_count; s++) {
        mass[s] = NULL;
    }
    if (lh_op_stopped(context) ||
        !make_readable(context, &q, source_count, key_sources, sources, given, &options) ||
        !fill_args(context, &args.attention, q, source_count, sources, &options)) {
        return;
    }
    lh_tensor *packed_lse = lh_packed(context, lse);
    if (!packed_lse) {
        return;
    }
    args.attention.dropout = 0.0;
    args.attention.lse = lh_tensor_data(packed_lse);
    for (int s = 0; s < source_count; s++) {
        mass[s] = lh_new(context, q->dtype, 2, (int64_t[]){q->shape[0], sources[s].k->shape[2]}, true);
        args.mass[s] = mass[s] ? lh_tensor_data(mass[s]) : NULL;
    }
    lh_run(context, LH_KERNEL_ATTENTION_MASS, q->dtype, &args);
}

/* in: la, lb. out: each side's share of the probability, lse. saved: the shares.
 * With sa + sb = 1: d la = sa sb (d sa - d sb) + sa d lse, d lb = -sa sb (d sa - d sb) + sb d lse. */
static void merge_backward(lh_context *context, lh_node *node)
{
    lh_tensor *share[2] = {node->saved[0], node->saved[1]};
    lh_tensor *d_share[2] = {lh_out_grad(context, node, 0), lh_out_grad(context, node, 1)};
    lh_tensor *d_lse = lh_out_grad(context, node, 2);
    int64_t n = lh_tensor_count(share[0]);
    lh_dtype dtype = share[0]->dtype;
    for (int side = 0; side < 2; side++) {
        if (!node->in[side]->requires_grad) {
            continue;
        }
        lh_tensor *d_in = lh_in_grad_addable(context, node, side), *work = lh_new_like(context, share[0], true);
        if (!d_in || !work) {
            return;
        }
        lh_binary_args product = {.function = LH_MULTIPLY,
                                  .shape = {1, 1, 1, 1, n},
                                  .a_stride = {0, 0, 0, 0, 1},
                                  .b_stride = {0, 0, 0, 0, 1},
                                  .y = lh_tensor_data(work)};
        for (int other = 0; other < 2; other++) { /* work = +-(d sa - d sb) */
            if (d_share[other]) {
                lh_add_scaled_args add = {.n = n,
                                          .alpha = other == side ? 1.0 : -1.0,
                                          .beta = 1.0,
                                          .x = lh_tensor_data(d_share[other]),
                                          .y = lh_tensor_data(work)};
                lh_run(context, LH_KERNEL_ADD_SCALED, dtype, &add);
            }
        }
        product.a = lh_tensor_data(work);
        product.b = lh_tensor_data(share[1 - side]);
        lh_run(context, LH_KERNEL_BINARY, dtype, &product);
        if (d_lse) {
            lh_add_scaled_args add = {
                .n = n, .alpha = 1.0, .beta = 1.0, .x = lh_tensor_data(d_lse), .y = lh_tensor_data(work)};
            lh_run(context, LH_KERNEL_ADD_SCALED, dtype, &add);
        }
        product.b = lh_tensor_data(share[side]);
        product.y = lh_tensor_data(d_in);
        product.accumulate = true;
        lh_run(context, LH_KERNEL_BINARY, dtype, &product);
        lh_in_grad_commit(context, node, side, d_in);
        lh_drop(context, work);
    }
}

/* The shares sigmoid(+-(la - lb)) and lse = max(la, lb) - log(larger share), which is exact however far the two are
 * apart. Where both sides saw nothing (-infinity) the shares are halves and lse stays -infinity. */
static bool merge_shares(lh_context *context, lh_tensor *la, lh_tensor *lb, lh_tensor **share, lh_tensor **lse)
{
    lh_tensor *in[2] = {la, lb}, *finite[2] = {NULL};
    int64_t n = lh_tensor_count(la), one = 1;
    lh_tensor *a = lh_packed(context, la), *b = lh_packed(context, lb);
    lh_tensor *floor = lh_new(context, la->dtype, 1, &one, false), *top = lh_new_like(context, la, false);
    for (int side = 0; side < 2; side++) {
        finite[side] = lh_new_like(context, la, false);
        share[side] = lh_new_like(context, la, false);
    }
    if (lh_op_stopped(context)) {
        return false;
    }
    lh_fill_args fill = {.n = 1, .value = -1e30, .y = lh_tensor_data(floor)};
    lh_run(context, LH_KERNEL_FILL, la->dtype, &fill);
    lh_binary_args binary = {
        .function = LH_MAXIMUM, .shape = {1, 1, 1, 1, n}, .a_stride = {0, 0, 0, 0, 1}, .b = lh_tensor_data(floor)};
    for (int side = 0; side < 2; side++) {
        binary.a = lh_tensor_data(side == 0 ? a : b);
        binary.y = lh_tensor_data(finite[side]);
        lh_run(context, LH_KERNEL_BINARY, la->dtype, &binary);
    }
    binary.b_stride[LH_MAX_DIMS - 1] = 1;
    for (int side = 0; side < 2; side++) {
        binary.function = LH_SUBTRACT;
        binary.a = lh_tensor_data(finite[side]);
        binary.b = lh_tensor_data(finite[1 - side]);
        binary.y = lh_tensor_data(share[side]);
        lh_run(context, LH_KERNEL_BINARY, la->dtype, &binary);
        lh_unary_args sigmoid = {
            .n = n, .function = LH_SIGMOID, .x = lh_tensor_data(share[side]), .y = lh_tensor_data(share[side])};
        lh_run(context, LH_KERNEL_UNARY, la->dtype, &sigmoid);
    }
    binary = (lh_binary_args){.function = LH_MAXIMUM,
                              .shape = {1, 1, 1, 1, n},
                              .a_stride = {0, 0, 0, 0, 1},
                              .b_stride = {0, 0, 0, 0, 1},
                              .a = lh_tensor_data(share[0]),
                              .b = lh_tensor_data(share[1]),
                              .y = lh_tensor_data(finite[0])};
    lh_run(context, LH_KERNEL_BINARY, la->dtype, &binary);
    lh_unary_args logarithm = {
        .n = n, .function = LH_LOG, .x = lh_tensor_data(finite[0]), .y = lh_tensor_data(finite[0])};
    lh_run(context, LH_KERNEL_UNARY, la->dtype, &logarithm);
    binary.a = lh_tensor_data(a);
    binary.b = lh_tensor_data(b);
    binary.y = lh_tensor_data(top);
    lh_run(context, LH_KERNEL_BINARY, la->dtype, &binary);
    binary.function = LH_SUBTRACT;
    binary.a = lh_tensor_data(top);
    binary.b = lh_tensor_data(finite[0]);
    lh_run(context, LH_KERNEL_BINARY, la->dtype, &binary);
    if (lh_wants_grad(context, 2, in)) {
        lh_tensor *out[3] = {share[0], share[1], top};
        lh_record(context, "attention_merge", merge_backward, 2, in, 3, out, 2, share, NULL, 0);
    }
    lh_drop(context, finite[0]);
    lh_drop(context, finite[1]);
    lh_drop(context, floor);
    *lse = top;
    return !lh_op_stopped(context);
}

lh_tensor *lh_attention_merge(lh_context *context, lh_tensor *out_a, lh_tensor *lse_a, lh_tensor *out_b,
                              lh_tensor *lse_b, lh_tensor **lse)
{
    char ta[128], tb[128], tc[128], td[128];
    lh_tensor *share[2], *merged = NULL, *sides[2] = {out_a, out_b};
    if (lse) {
        *lse = NULL;
    }
    if (lh_op_stopped(context)) {
        return NULL;
    }
    bool fits = out_a->ndim == 4 && lse_a->ndim == 3 && lh_tensor_same_shape(out_a, out_b) &&
                lh_tensor_same_shape(lse_a, lse_b) && out_a->dtype == out_b->dtype &&
                out_a->dtype == lse_a->dtype && out_a->dtype == lse_b->dtype;
    for (int d = 0; d < 3 && fits; d++) {
        fits = out_a->shape[d] == lse_a->shape[d];
    }
    if (!fits) {
        return lh_op_fail(context, LH_E_SHAPE, "attention_merge",
                          "results %s and %s with log-sums %s and %s do not fit",
                          lh_shape_text(ta, sizeof ta, out_a->ndim, out_a->shape),
                          lh_shape_text(tb, sizeof tb, out_b->ndim, out_b->shape),
                          lh_shape_text(tc, sizeof tc, lse_a->ndim, lse_a->shape),
                          lh_shape_text(td, sizeof td, lse_b->ndim, lse_b->shape));
    }
    if (!merge_shares(context, lse_a, lse_b, share, &merged)) {
        return NULL;
    }
    /* Made in the order [batch, q_len, heads, v_width], like the results of attention themselves. */
    lh_tensor *part[2];
    for (int side = 0; side < 2; side++) {
        lh_tensor *column =
            lh_reshape(context, share[side], 4, (int64_t[]){lse_a->shape[0], lse_a->shape[1], lse_a->shape[2], 1});
        part[side] =
            lh_multiply(context, lh_transpose(context, sides[side], 1, 2), lh_transpose(context, column, 1, 2));
    }
    lh_tensor *out = lh_transpose(context, lh_add(context, part[0], part[1]), 1, 2);
    if (lse) {
        *lse = lh_result(context, merged);
    }
    return lh_result(context, out);
}
