/* Attention over several key sources with one softmax: tensors in, kernel arguments out. The formula stands at
 * lh_attention_source in kernels/args.h. */
#include "ops/ops.h"

#include <math.h>
#include <string.h>

enum { PER_SOURCE = 7 }; /* graph inputs of one source: k, v, u, w, rel_k, distance_bias, key_bias */
enum { FIXED = 2 };      /* q, head_scale */

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

static bool table_fits(const lh_tensor *x, int ndim, int64_t a, int64_t b, int64_t c)
{
    return !x || (x->ndim == ndim && x->shape[0] == a && x->shape[1] == b && (ndim < 3 || x->shape[2] == c) &&
                  lh_tensor_contiguous(x));
}

static bool per_key_fits(const lh_tensor *x, int64_t batch, int64_t heads, int64_t last)
{
    return !x || (x->ndim == 3 && (x->shape[0] == batch || x->shape[0] == 1) &&
                  (x->shape[1] == heads || x->shape[1] == 1) && x->shape[2] == last && lh_tensor_contiguous(x));
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
    if (!four_dims(in->k) || !four_dims(in->v) || in->k->dtype != q->dtype || in->v->dtype != q->dtype ||
        (in->k->shape[0] != batch && in->k->shape[0] != 1) || in->k->shape[3] != args->qk_width) {
        return source_fault(context, s, "keys", in->k, q);
    }
    if (in->v->shape[0] != in->k->shape[0] || in->v->shape[1] != in->k->shape[1] ||
        in->v->shape[2] != in->k->shape[2] || in->v->shape[3] != args->v_width ||
        in->k->shape[1] != args->kv_heads || args->kv_heads < 1 || heads % args->kv_heads != 0) {
        return source_fault(context, s, "values", in->v, q);
    }
    int64_t rel_len = in->rel_k ? in->rel_k->shape[1] : in->distance_bias ? in->distance_bias->shape[1] : 0;
    if (!table_fits(in->content_bias, 2, heads, args->qk_width, 0) ||
        !table_fits(in->position_bias, 2, heads, args->qk_width, 0)) {
        return source_fault(context, s, "content or position bias",
                            in->content_bias ? in->content_bias : in->position_bias, q);
    }
    if (!table_fits(in->distance_bias, 2, heads, rel_len, 0) ||
        (in->rel_k &&
         (in->rel_k->ndim != 3 || in->rel_k->shape[0] != heads || in->rel_k->shape[2] != args->qk_width ||
          (in->rel_k->stride[2] != 1 && args->qk_width > 1)))) {
        return source_fault(context, s, "relative table", in->rel_k ? in->rel_k : in->distance_bias, q);
    }
    if (!per_key_fits(in->key_bias, batch, heads, in->k->shape[2])) {
        return source_fault(context, s, "key bias", in->key_bias, q);
    }
    if ((in->low == NULL) != (in->high == NULL) || !per_key_fits(in->low, batch, heads, args->q_len) ||
        !per_key_fits(in->high, batch, heads, args->q_len)) {
        return source_fault(context, s, "key intervals", in->low, q);
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
                                 .block_size = in->block_size,
                                 .tile_row = data_or_null(in->tile_row),
                                 .tile_start = data_or_null(in->tile_start),
                                 .column_row = data_or_null(in->column_row),
                                 .column = data_or_null(in->column)};
    if (in->rel_k) {
        out->rel_k_head = in->rel_k->stride[0];
        out->rel_k_row = in->rel_k->stride[1];
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
    if (source_count < 1 || source_count > LH_ATTENTION_MAX_SOURCES) {
        lh_op_fail(context, LH_E_ARGUMENT, "attention", "%d key sources, 1 to %d are possible", source_count,
                   LH_ATTENTION_MAX_SOURCES);
        return false;
    }
    if (!four_dims(q) || !four_dims(sources[0].k) || !four_dims(sources[0].v)) {
        source_fault(context, 0, "keys", sources[0].k, q);
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

/* A gradient buffer for a small input: contiguous, zeroed or holding what is there. */
static void *small_grad(lh_context *context, lh_node *node, int i)
{
    lh_tensor *in = node->in[i];
    if (!in || !in->requires_grad) {
        return NULL;
    }
    lh_tensor *gradient = lh_in_grad(context, node, i);
    if (gradient && !lh_tensor_contiguous(gradient)) {
        lh_op_fail(context, LH_E_UNSUPPORTED, "attention",
                   "a bias or table that needs a gradient must be contiguous in its source");
        return NULL;
    }
    return data_or_null(gradient);
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
    args.d_head_scale = small_grad(context, node, 1);
    lh_tensor *lanes[2 * LH_ATTENTION_MAX_SOURCES] = {NULL};
    for (int s = 0; s < sources; s++) {
        lh_attention_source *source = &args.source[s];
        int first = FIXED + PER_SOURCE * s;
        if (!options->source[s].stop_gradient) {
            source->d_k = key_grad(context, node, first, args.batch, &lanes[2 * s]);
            source->d_v = key_grad(context, node, first + 1, args.batch, &lanes[2 * s + 1]);
        }
        source->d_content_bias = small_grad(context, node, first + 2);
        source->d_position_bias = small_grad(context, node, first + 3);
        source->d_distance_bias = small_grad(context, node, first + 5);
        source->d_key_bias = small_grad(context, node, first + 6);
        lh_tensor *rel = node->in[first + 4];
        if (rel && rel->requires_grad) {
            lh_tensor *d_rel = lh_in_grad(context, node, first + 4);
            if (d_rel && (d_rel->stride[0] != source->rel_k_head || d_rel->stride[1] != source->rel_k_row)) {
                lh_op_fail(context, LH_E_UNSUPPORTED, "attention",
                           "the relative table's gradient is laid out differently from the table");
            }
            source->d_rel_k = data_or_null(d_rel);
        }
    }
    lh_run(context, LH_KERNEL_ATTENTION_BACKWARD, out->dtype, &args);
    for (int s = 0; s < sources; s++) {
        sum_lanes(context, node, FIXED + PER_SOURCE * s, lanes[2 * s]);
        sum_lanes(context, node, FIXED + PER_SOURCE * s + 1, lanes[2 * s + 1]);
    }
}

lh_tensor *lh_attention(lh_context *context, lh_tensor *q, int source_count, const lh_key_source *sources,
                        const lh_attention_options *options, lh_tensor **lse)
{
    if (lh_op_stopped(context)) {
        return NULL;
    }
    attention_options o = {.has_lse = lse != NULL};
    if (!fill_args(context, &o.args, q, source_count, sources, options)) {
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
    lh_tensor *saved[FIXED + (PER_SOURCE + 7) * LH_ATTENTION_MAX_SOURCES + 2] = {NULL};
    for (int s = 0; s < source_count; s++) {
        const lh_key_source *in = &sources[s];
        lh_tensor *list[PER_SOURCE] = {in->stop_gradient ? NULL : in->k,
                                       in->stop_gradient ? NULL : in->v,
                                       in->content_bias,
                                       in->position_bias,
                                       in->rel_k,
                                       in->distance_bias,
                                       in->key_bias};
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
            lh_tensor *kept[7] = {in->low,        in->high,       in->gather, in->tile_row,
                                  in->tile_start, in->column_row, in->column};
            if (in->stop_gradient) { /* not graph inputs, but the kernel reads them again */
                saved[FIXED + PER_SOURCE * s] = in->k;
                saved[FIXED + PER_SOURCE * s + 1] = in->v;
            }
            memcpy(&saved[saves], kept, sizeof kept);
            saves += 7;
        }
        lh_tensor *results[2] = {out, log_sum};
        lh_record(context, "attention", attention_backward, graph_count, graph, lse ? 2 : 1, results, saves, saved,
                  &o, sizeof o);
    }
    if (lse) {
        *lse = log_sum;
    }
    return out;
}

void lh_attention_mass(lh_context *context, lh_tensor *q, int source_count, const lh_key_source *sources,
                       const lh_attention_options *options, lh_tensor *lse, double weight, lh_tensor **mass)
{
    lh_attention_mass_args args = {.weight = weight};
    if (lh_op_stopped(context) || !fill_args(context, &args.attention, q, source_count, sources, options)) {
        return;
    }
    args.attention.dropout = 0.0;
    args.attention.lse = lh_tensor_data(lse);
    for (int s = 0; s < source_count; s++) {
        mass[s] = lh_new(context, q->dtype, 2, (int64_t[]){q->shape[0], sources[s].k->shape[2]}, true);
        args.mass[s] = mass[s] ? lh_tensor_data(mass[s]) : NULL;
    }
    lh_run(context, LH_KERNEL_ATTENTION_MASS, q->dtype, &args);
}

lh_tensor *lh_attention_merge(lh_context *context, lh_tensor *out_a, lh_tensor *lse_a, lh_tensor *out_b,
                              lh_tensor *lse_b, lh_tensor **lse)
{
    if (lh_op_stopped(context)) {
        return NULL;
    }
    /* With d = la - lb: weight of a = sigmoid(d), lse = lb + softplus(d) = lb - log(sigmoid(-d)). */
    lh_tensor *difference = lh_subtract(context, lse_a, lse_b);
    lh_tensor *share_a = lh_unary(context, LH_SIGMOID, difference);
    lh_tensor *share_b = lh_unary(context, LH_SIGMOID, lh_scale(context, difference, -1.0));
    if (!share_a || !share_b) {
        return NULL;
    }
    int64_t shape[4] = {share_a->shape[0], share_a->shape[1], share_a->shape[2], 1};
    lh_tensor *left = lh_multiply(context, out_a, lh_reshape(context, share_a, 4, shape));
    lh_tensor *right = lh_multiply(context, out_b, lh_reshape(context, share_b, 4, shape));
    if (lse) {
        lh_tensor *back = lh_unary(context, LH_LOG, share_b);
        *lse = lh_subtract(context, lse_b, back);
    }
    return lh_add(context, left, right);
}
