/* The forward pass of the decoder stack. Read lh_model_forward first, then layer_forward: that is the whole model.
 */
#include "kernels/table.h"
#include "model/internal.h"

#include <math.h>

lh_tensor *lh_model_norm(lh_context *context, const lh_model_config *c, lh_tensor *x, lh_tensor *gain,
                         lh_tensor *bias)
{
    if (!c->rms) {
        return lh_layer_norm(context, x, gain, bias, c->norm_eps);
    }
    lh_tensor *y = lh_rms_norm(context, x, gain, c->norm_eps);
    return bias ? lh_add(context, y, bias) : y;
}

/* *sum = x + residual, and its norm. */
static lh_tensor *residual_norm(lh_context *context, const lh_model_config *c, lh_tensor *x, lh_tensor *residual,
                                lh_tensor *gain, lh_tensor *bias, lh_tensor **sum)
{
    lh_tensor *y = lh_residual_norm(context, x, residual, gain, c->rms ? NULL : bias, c->norm_eps, c->rms, sum);
    return c->rms && bias ? lh_add(context, y, bias) : y;
}

void lh_model_keep_rows(lh_context *context, lh_tensor *store, int64_t at, const lh_tensor *value)
{
    if (lh_op_stopped(context) || !value) {
        return;
    }
    lh_copy_args copy = {.element_bytes = (int)lh_dtype_size(store->dtype),
                         .x = lh_tensor_data(value),
                         .y = (char *)lh_tensor_data(store) +
                              (size_t)(at * store->stride[1]) * lh_dtype_size(store->dtype)};
    int lead = LH_MAX_DIMS - value->ndim;
    for (int i = 0; i < LH_MAX_DIMS; i++) {
        copy.shape[i] = i < lead ? 1 : value->shape[i - lead];
        copy.x_stride[i] = i < lead ? 0 : value->stride[i - lead];
        copy.y_stride[i] = i < lead ? 0 : store->stride[i - lead];
    }
    lh_run(context, LH_KERNEL_COPY, store->dtype, &copy);
}

/* R = P Wr as [heads, distances, key_width]. */
static lh_tensor *relative_table(lh_context *context, const lh_layer_span *span, const lh_layer_parameters *p)
{
    const lh_model *model = span->model;
    const lh_model_config *c = &model->config;
    lh_stream *stream = span->stream;
    lh_tensor *flat;
    if (stream->inference && !context->recording) {
        if (!stream->relative_valid[span->layer]) {
            flat = lh_linear(context, model->sinusoids, p->relative, NULL);
            lh_model_keep_rows(
                context, stream->relative[span->layer], 0,
                lh_reshape(context, flat, 2, (int64_t[]){model->distances, c->heads * c->key_width}));
            stream->relative_valid[span->layer] = !lh_op_stopped(context);
        }
        flat = stream->relative[span->layer];
    } else {
        flat = lh_linear(context, span->sinusoids, p->relative, NULL);
    }
    lh_tensor *split = lh_reshape(context, flat, 3, (int64_t[]){model->distances, c->heads, c->key_width});
    return lh_transpose(context, split, 0, 1);
}

/* Appends this call's keys, values and inputs to the segment's and returns the whole of them. */
static void extend_segment(lh_context *context, const lh_layer_span *span, lh_layer_io *io, lh_tensor *k,
                           lh_tensor *v)
{
    lh_stream *stream = span->stream;
    int layer = span->layer;
    int64_t total = span->fill + span->count;
    lh_model_keep_rows(context, stream->keys[layer], span->fill, k);
    lh_model_keep_rows(context, stream->values[layer], span->fill, v);
    io->k = lh_transpose(context, lh_slice(context, stream->keys[layer], 1, 0, total), 1, 2);
    io->v = lh_transpose(context, lh_slice(context, stream->values[layer], 1, 0, total), 1, 2);
}

void lh_model_set_head_norm(const lh_model *model, lh_layer_io *io)
{
    const lh_model_config *c = &model->config;
    io->head_norm = c->qk_norm != LH_QK_NONE;
    switch (c->qk_norm) {
    case LH_QK_L2:
        io->head_eps = 1e-6 / (double)c->key_width;
        io->head_gain = model->qk_gain;
        break;
    case LH_QK_RMS: io->head_eps = c->norm_eps; break;
    case LH_QK_NONE: break;
    }
}

/* The last `count` rows of a weight or elements of a bias; NULL for NULL. */
static lh_tensor *last_rows(lh_context *context, lh_tensor *x, int64_t count)
{
    return !x || x->shape[0] == count ? x : lh_slice(context, x, 0, x->shape[0] - count, count);
}

static void project_segment(lh_context *context, const lh_layer_span *span, const lh_layer_parameters *p,
                            lh_layer_io *io)
{
    const lh_model_config *c = &span->model->config;
    int64_t batch = io->z->shape[0], count = span->count;
    lh_tensor *z = lh_dropout(context, io->z, c->attention_input_dropout, 1);
    io->input = z;
    lh_model_set_head_norm(span->model, io);
    lh_tensor *q = lh_linear(context, z, p->query, p->query_bias);
    q = lh_reshape(context, q, 4, (int64_t[]){batch, count, c->heads, c->key_width});
    const lh_memory_kind *kind = span->stream->memory->kind;
    io->first_key_head =
        io->whole_segment && kind->idle_keys ? kind->idle_keys(&span->model->shape, span->layer) : 0;
    int64_t key_heads = c->kv_heads - io->first_key_head;
    int64_t key_part = key_heads * c->key_width, value_part = c->kv_heads * c->value_width;
    lh_tensor *joint = lh_linear(context, z, last_rows(context, p->key_value, key_part + value_part),
                                 last_rows(context, p->key_value_bias, key_part + value_part));
    lh_tensor *k = lh_reshape(context, lh_slice(context, joint, 2, 0, key_part), 4,
                              (int64_t[]){batch, count, key_heads, c->key_width});
    lh_tensor *v = lh_reshape(context, lh_slice(context, joint, 2, key_part, value_part), 4,
                              (int64_t[]){batch, count, c->kv_heads, c->value_width});
    q = lh_layer_norm_heads(io, q);
    k = lh_layer_norm_heads(io, k);
    if (kind->project) {
        io->q = q;
        io->k = k;
        io->v = v;
        kind->project(span->stream->memory, io);
        q = io->q;
        k = io->k;
        v = io->v;
    }
    if (c->positions == LH_POSITIONS_ROTARY) {
        q = lh_rope(context, q, span->positions, &span->model->rope);
        k = lh_rope(context, k, span->positions, &span->model->rope);
        io->rope = &span->model->rope;
    }
    double scale = c->qk_norm == LH_QK_L2 ? 1.0 : 1.0 / sqrt((double)c->key_width);
    if (c->positions == LH_POSITIONS_RELATIVE && !c->scale_logits) {
        q = lh_scale(context, q, scale); /* the biases u, v join after the scale */
        scale = 1.0;
    }
    io->options.scale = scale;
    io->q = lh_transpose(context, q, 1, 2);
    if (io->whole_segment) {
        io->k = lh_transpose(context, k, 1, 2);
        io->v = lh_transpose(context, v, 1, 2);
    } else {
        extend_segment(context, span, io, k, v);
    }
}

/* The inputs of the running segment, for kinds that remember them: io->segment_z when it is complete. */
static void keep_input(lh_context *context, const lh_layer_span *span, lh_layer_io *io)
{
    lh_stream *stream = span->stream;
    lh_tensor *store = stream->inputs ? stream->inputs[span->layer] : NULL;
    if (io->whole_segment) {
        io->segment_z = io->z;
    } else if (store) {
        lh_model_keep_rows(context, store, span->fill, io->z);
        io->segment_z = io->segment_ends ? store : NULL;
    }
}

/* What follows attention: reports look, and the method takes the segment in. */
static void finish(const lh_layer_span *span, lh_layer_io *io)
{
    lh_memory *memory = span->stream->memory;
    if (memory->observe && !lh_op_stopped(io->context) && !io->context->recomputing) {
        memory->observe(memory->observe_user, io);
    }
    if (memory->kind->write && !lh_op_stopped(io->context)) {
        memory->kind->write(memory, io);
    }
}

lh_tensor *lh_model_merge_heads(lh_context *context, const lh_model_config *c, lh_tensor *heads, lh_tensor *mixer,
                                lh_tensor *weight, lh_tensor *bias)
{
    if (!heads) {
        return NULL;
    }
    int64_t shape[3] = {heads->shape[0], heads->shape[2], c->heads * c->value_width}, tokens = shape[0] * shape[1];
    lh_tensor *merged = lh_reshape(context, lh_transpose(context, heads, 1, 2), 3, shape);
    if (mixer && merged) {
        if (tokens > c->width) {
            lh_tensor *rows = lh_reshape(context, weight, 2, (int64_t[]){c->width * c->heads, c->value_width});
            weight =
                lh_reshape(context, lh_matmul(context, rows, mixer, false), 2, (int64_t[]){c->width, shape[2]});
        } else {
            lh_tensor *rows = lh_reshape(context, merged, 2, (int64_t[]){tokens * c->heads, c->value_width});
            merged = lh_reshape(context, lh_linear(context, rows, mixer, NULL), 3, shape);
        }
    }
    return lh_linear(context, merged, weight, bias);
}

/* Attention of one layer on z, the tensor that enters it: projections, key sources, one softmax, output projection.
 */
static lh_tensor *attention(lh_context *context, const lh_layer_span *span, lh_tensor *z, lh_tensor **auxiliary,
                            lh_tensor **hidden_scale)
{
    const lh_model *model = span->model;
    const lh_model_config *c = &model->config;
    const lh_layer_parameters *p = &model->layers[span->layer];
    lh_stream *stream = span->stream;
    const lh_memory_kind *kind = stream->memory->kind;
    int64_t segment = c->segment * lh_model_copies(model);
    lh_layer_io io = {.context = context,
                      .layer = span->layer,
                      .parameters = &p->memory,
                      .z = z,
                      .fill = span->fill,
                      .tokens = span->count,
                      .whole_segment = span->fill == 0 && span->count == segment,
                      .segment_ends = span->fill + span->count == segment,
                      .source_tokens = span->encodes ? span->source : NULL,
                      .key_value_weight = p->key_value,
                      .key_value_bias = p->key_value_bias,
                      .content_bias = p->content_bias,
                      .position_bias = p->position_bias,
                      .attention_dropout = c->attention_dropout,
                      .position_dropout = c->position_dropout,
                      .distance_bias_scaled = c->t5_scaled,
                      .head_scale = p->head_scale ? lh_unary(context, LH_ABS, p->head_scale) : NULL,
                      .sinusoids = span->sinusoids};
    if (span->encodes) {
        io.fill = 0;
        io.whole_segment = true;
        io.segment_ends = false;
        project_segment(context, span, p, &io);
        lh_tensor *heads = lh_op_stopped(context) ? NULL : lh_model_attend_source(span, &io);
        *auxiliary = io.auxiliary;
        /* cppcheck-suppress returnDanglingLifetime ; a result of the context, not of io */
        return lh_model_merge_heads(context, c, heads, io.head_mixer, p->output, p->output_bias);
    }
    keep_input(context, span, &io);
    if (kind->sublayer) {
        lh_tensor *y = kind->sublayer(stream->memory, &io);
        finish(span, &io);
        *auxiliary = io.auxiliary;
        *hidden_scale = io.hidden_scale;
        /* cppcheck-suppress returnDanglingLifetime ; a result of the context, not of io */
        return y;
    }
    project_segment(context, span, p, &io);
    if (c->positions == LH_POSITIONS_RELATIVE) {
        io.relative = relative_table(context, span, p);
    } else if (c->positions == LH_POSITIONS_T5) {
        io.distance_bias = lh_t5_bias(context, p->t5, 0, model->distances, c->t5_distance);
    } else if (c->positions == LH_POSITIONS_ALIBI) {
        io.distance_bias = model->alibi;
    }
    if (lh_op_stopped(context)) {
        return NULL;
    }
    io.options.dropout = c->attention_dropout;
    io.options.head_scale = io.head_scale;
    io.options.has_null = c->null_logit;
    io.options.null_logit = -1000.0;
    io.source[0] = lh_key_source_causal(io.k, io.v, span->count);
    lh_layer_place(&io, &io.source[0], 0);
    io.source[0].min_distance = c->see_self ? 0 : 1;
    io.source_name[0] = "segment";
    io.sources = 1;
    kind->read(stream->memory, &io);
    lh_tensor *out = kind->attend ? kind->attend(stream->memory, &io)
                                  : lh_attention(context, io.q, io.sources, io.source, &io.options, &io.lse);
    finish(span, &io);
    *auxiliary = io.auxiliary;
    lh_tensor *y = lh_model_merge_heads(context, c, out, io.head_mixer, p->output, p->output_bias);
    return io.extra ? lh_add(context, y, io.extra) : y;
}

static lh_tensor *feed_forward(lh_context *context, const lh_model_config *c, const lh_layer_parameters *p,
                               lh_tensor *x)
{
    lh_tensor *h = lh_linear(context, x, p->up, NULL);
    if (c->gated) {
        if (p->up_bias) {
            h = lh_bias_activation(context, h, p->up_bias, LH_IDENTITY);
        }
        h = lh_dropout(context, lh_gated(context, h, c->activation), c->hidden_dropout, 1);
    } else if (c->hidden_dropout > 0.0 && context->training) {
        h = lh_dropout(context, lh_bias_activation(context, h, p->up_bias, LH_IDENTITY), c->hidden_dropout, 1);
        return lh_activation_linear(context, h, NULL, c->activation, p->down, p->down_bias);
    } else {
        return lh_activation_linear(context, h, p->up_bias, c->activation, p->down, p->down_bias);
    }
    return lh_linear(context, h, p->down, p->down_bias);
}

/* Adds what a sublayer gives to the residual stream x, which is returned. *next, what enters the next sublayer, is
 * its norm where layers norm their inputs, else x. */
static lh_tensor *join(lh_context *context, const lh_model_config *c, lh_tensor *x, lh_tensor *y,
                       lh_tensor *const post[2], lh_tensor *const pre[2], lh_tensor **next)
{
    if (c->layout == LH_NORM_INPUT) {
        *next = residual_norm(context, c, x, y, pre[0], pre[1], &x);
        return x;
    }
    x = residual_norm(context, c, x, y, post[0], post[1], &(lh_tensor *){NULL});
    *next = c->layout == LH_NORM_BOTH ? lh_model_norm(context, c, x, pre[0], pre[1]) : x;
    return x;
}

/* One layer: inputs {x} and, beside an encoder in training, its result; outputs {x'', auxiliary loss or NULL}. Norm
 * layouts of the specification: input (pre-norm), output (post-norm) or both. */
static void layer_forward(lh_context *context, const lh_layer_span *span, lh_tensor *const *inputs,
                          lh_tensor **outputs)
{
    const lh_model_config *c = &span->model->config;
    const lh_layer_parameters *p = &span->model->layers[span->layer];
    lh_tensor *x = inputs[0], *auxiliary = NULL, *hidden_scale = NULL, *z2;
    bool pre = c->layout != LH_NORM_OUTPUT, post = c->layout != LH_NORM_INPUT;
    bool cross = span->source && !span->encodes;
    lh_tensor *z = pre ? lh_model_norm(context, c, x, p->norm1_gain, p->norm1_bias) : x;
    lh_tensor *a = z ? lh_dropout(context, attention(context, span, z, &auxiliary, &hidden_scale),
                                  c->attention_output_dropout, 1)
                     : NULL;
    lh_tensor *const post1[2] = {p->post1_gain, p->post1_bias}, *const norm2[2] = {p->norm2_gain, p->norm2_bias};
    if (!c->mlp) {
        outputs[1] = auxiliary;
        outputs[0] = post ? residual_norm(context, c, x, a, p->post1_gain, p->post1_bias, &(lh_tensor *){NULL})
                          : lh_add(context, x, a);
        return;
    }
    if (cross) {
        lh_tensor *const norms[2] = {p->norm_cross_gain, p->norm_cross_bias};
        lh_tensor *const posts[2] = {p->post_cross_gain, p->post_cross_bias};
        x = join(context, c, x, a, post1, norms, &z);
        lh_tensor *of_cross = NULL;
        a = lh_model_cross_attention(context, span, z, inputs[1], &of_cross);
        a = lh_dropout(context, a, c->attention_output_dropout, 1);
        auxiliary = auxiliary && of_cross ? lh_add(context, auxiliary, of_cross) : auxiliary ? auxiliary : of_cross;
        x = join(context, c, x, a, posts, norm2, &z2);
    } else {
        x = join(context, c, x, a, post1, norm2, &z2);
    }
    outputs[1] = auxiliary;
    lh_tensor *f = lh_dropout(context, feed_forward(context, c, p, z2), c->hidden_output_dropout, 1);
    f = hidden_scale ? lh_multiply(context, f, hidden_scale) : f;
    outputs[0] = post ? residual_norm(context, c, x, f, p->post2_gain, p->post2_bias, &(lh_tensor *){NULL})
                      : lh_add(context, x, f);
}

/* The layer as a span that may run a second time, with the memory as it was the first time. */
static void layer_span_run(lh_context *context, void *user, lh_tensor *const *inputs, lh_tensor **outputs)
{
    const lh_layer_span *span = user;
    bool again = context->recomputing && span->seen;
    if (again) {
        lh_memory_swap(span->stream->memory, span->seen);
    }
    layer_forward(context, span, inputs, outputs);
    if (again) {
        lh_memory_swap(span->stream->memory, span->seen);
    }
}

/* Embeds ids (negative: zeros): one table, or the bands of an adaptive input, each with its own width and
 * projection. A method that makes the first layer's input has no projections: it gets the embedding's width. */
lh_tensor *lh_model_embed(lh_context *context, const lh_model *model, const int32_t *tokens, int64_t batch,
                          int64_t count)
{
    const lh_model_config *c = &model->config;
    double scale = c->embedding_scaled ? sqrt((double)c->width) : 1.0;
    int64_t total = batch * count, shape[2] = {batch, count};
    lh_tensor *x = NULL;
    int32_t *local = lh_arena_alloc(&context->arena, sizeof *local * (size_t)(total ? total : 1));
    if (!local) {
        return lh_op_fail(context, LH_E_MEMORY, "model", "no memory for %lld token ids", (long long)total);
    }
    for (int band = 0; band < c->bands; band++) {
        for (int64_t i = 0; i < total; i++) {
            bool inside = tokens[i] >= c->cutoff[band] && tokens[i] < c->cutoff[band + 1];
            local[i] = inside ? tokens[i] - (int32_t)c->cutoff[band] : -1;
        }
        lh_tensor *ids = lh_from_host(context, LH_I32, 2, shape, local);
        lh_tensor *part = lh_embedding(context, model->embedding[band], ids, scale);
        if (model->projection[band]) {
            part = lh_linear(context, part, model->projection[band], NULL);
        }
        x = band == 0 ? part : lh_add(context, x, part);
    }
    return x;
}

static lh_tensor *add_positions(lh_context *context, const lh_model *model, const lh_stream *stream, lh_tensor *x,
                                int64_t count)
{
    lh_tensor *table = model->config.positions == LH_POSITIONS_LEARNED      ? model->positions
                       : model->config.positions == LH_POSITIONS_SINUSOIDAL ? model->sinusoids
                                                                            : NULL;
    return table && x ? lh_add(context, x, lh_slice(context, table, 0, stream->fill, count)) : x;
}

static lh_tensor *embed_for_kind(lh_context *context, const void *model, const int32_t *tokens, int64_t batch,
                                 int64_t count)
{
    return lh_model_embed(context, model, tokens, batch, count);
}

/* With fewer entries than tokens, the table passes through the input projection in place of the tokens: where
 * nothing stands between the two. */
static lh_tensor *embed_projected(lh_context *context, const lh_model *model, const int32_t *tokens, int64_t batch,
                                  int64_t count)
{
    lh_tensor *table = lh_linear(context, model->embedding[0], model->input_weight, model->input_bias);
    lh_tensor *ids = lh_from_host(context, LH_I32, 2, (int64_t[]){batch, count}, tokens);
    return lh_embedding(context, table, ids, 1.0);
}

static bool projects_table(const lh_context *context, const lh_model *model, int64_t tokens)
{
    const lh_model_config *c = &model->config;
    return c->input_linear && !model->memory_kind->enter && c->bands == 1 && !model->projection[0] &&
           !c->embedding_scaled && !(context->training && c->embedding_dropout > 0.0) && c->vocab < tokens;
}

/* What may stand between the embedding and the first layer. */
static lh_tensor *project_input(lh_context *context, const lh_model *model, const lh_stream *stream, lh_tensor *x,
                                int64_t count, bool projected)
{
    const lh_model_config *c = &model->config;
    if (!c->input_relu && !c->input_linear) {
        return x;
    }
    x = projected ? x : lh_linear(context, x, model->input_weight, model->input_bias);
    if (c->input_linear && !model->memory_kind->enter) {
        x = add_positions(context, model, stream, x, count);
    }
    x = lh_dropout(context, x, c->dropout, 1);
    return c->input_relu ? lh_unary(context, LH_RELU, x) : x;
}

/* What the first layer is given: the method's own, or embeddings and positions. */
static lh_tensor *enter(lh_context *context, const lh_model *model, lh_stream *stream, const int32_t *tokens,
                        int64_t count)
{
    const lh_memory_kind *kind = model->memory_kind;
    lh_tensor *x;
    if (!tokens) {
        return NULL;
    }
    bool projected = projects_table(context, model, stream->batch * count);
    if (projected) {
        x = embed_projected(context, model, tokens, stream->batch, count);
    } else if (kind->enter) {
        lh_entry_io io = {.context = context,
                          .tokens = tokens,
                          .count = count,
                          .fill = stream->fill,
                          .model = model,
                          .embed = embed_for_kind};
        x = kind->enter(stream->memory, &io);
    } else {
        x = lh_model_embed(context, model, tokens, stream->batch, count);
        x = model->config.input_linear ? x : add_positions(context, model, stream, x, count);
    }
    /* cppcheck-suppress invalidLifetime ; a result of the context, not of io */
    x = lh_dropout(context, x, model->config.embedding_dropout, 1);
    return project_input(context, model, stream, x, count, projected);
}

/* Training may hide part of the input: token 0 in place of it. */
static const int32_t *drop_tokens(lh_context *context, const lh_model *model, const int32_t *tokens, int64_t count)
{
    double rate = model->config.token_dropout;
    if (rate <= 0.0 || !context->training) {
        return tokens;
    }
    int32_t *kept = lh_arena_alloc(&context->arena, sizeof *kept * (size_t)count);
    if (!kept) {
        lh_op_fail(context, LH_E_MEMORY, "model", "no memory for %lld token ids", (long long)count);
        return NULL;
    }
    for (int64_t i = 0; i < count; i++) {
        bool keep =
            lh_dropout_word(context->seed, context->random_offset + (uint64_t)i) >= lh_dropout_threshold(rate);
        kept[i] = keep ? tokens[i] : 0;
    }
    context->random_offset += (uint64_t)count;
    return kept;
}

static bool call_makes_sense(lh_context *context, const lh_model *model, const lh_stream *stream,
                             const int32_t *tokens, int64_t count)
{
    int64_t segment = model->config.segment;
    if (count < 1 || count > segment - stream->fill) {
        lh_op_fail(context, LH_E_ARGUMENT, "model", "%lld tokens do not fit a segment of %lld that holds %lld",
                   (long long)count, (long long)segment, (long long)stream->fill);
        return false;
    }
    for (int64_t i = 0; i < stream->batch * count; i++) {
        if (tokens[i] < 0 || tokens[i] >= model->config.vocab) {
            lh_op_fail(context, LH_E_ARGUMENT, "model", "token id %d is not below the vocabulary of %lld",
                       tokens[i], (long long)model->config.vocab);
            return false;
        }
    }
    if (!stream->inference && count != segment) {
        lh_op_fail(context, LH_E_ARGUMENT, "model",
                   "a training stream takes whole segments of %lld tokens, not %lld", (long long)segment,
                   (long long)count);
        return false;
    }
    if (context->recording && stream->inference) {
        lh_op_fail(context, LH_E_ARGUMENT, "model", "an inference stream cannot be recorded");
        return false;
    }
    if (model->checkpoint_layers && stream->memory->keep_graph) {
        lh_op_fail(context, LH_E_UNSUPPORTED, "model",
                   "recomputation of layers and gradients between segments do not go together");
        return false;
    }
    if (model->checkpoint_layers && model->memory_kind->whole_layers_only) {
        lh_op_fail(context, LH_E_UNSUPPORTED, "model",
                   "layers of a model with memory %s cannot be computed again one by one",
                   model->memory_kind->name);
        return false;
    }
    return true;
}

lh_tensor *lh_model_run_layers(lh_context *context, const lh_layer_span *like, int64_t first, int64_t layers,
                               lh_tensor *x, lh_tensor *encoded, lh_tensor **auxiliary)
{
    bool spans = like->model->checkpoint_layers && context->recording;
    lh_memory_seen *seen = spans ? lh_memory_look(like->stream->memory, context) : NULL;
    for (int64_t layer = first; layer < first + layers && !lh_op_stopped(context); layer++) {
        lh_layer_span *span = lh_arena_alloc(&context->arena, sizeof *span);
        if (!span) {
            lh_op_fail(context, LH_E_MEMORY, "model", "no memory for layer %lld", (long long)layer);
            break;
        }
        *span = *like;
        span->layer = (int)layer;
        span->seen = seen;
        lh_tensor *inputs[2] = {x, encoded}, *outputs[2] = {NULL, NULL};
        if (spans) {
            lh_recompute(context, layer_span_run, span, encoded ? 2 : 1, inputs, 2, outputs);
        } else {
            lh_scope inner = lh_scope_begin(context);
            layer_forward(context, span, inputs, outputs);
            lh_scope_end(context, inner, 2, outputs);
        }
        if (outputs[0] != x) {
            lh_drop(context, x); /* the tape keeps its own reference if it needs one */
        }
        x = outputs[0];
        if (span->model->memory_kind->between && !span->encodes && x) {
            x = span->model->memory_kind->between(span->stream->memory, context, (int)layer, x);
        }
        if (outputs[1]) {
            *auxiliary = *auxiliary ? lh_add(context, *auxiliary, outputs[1]) : outputs[1];
        }
    }
    return x;
}

lh_tensor *lh_model_places(lh_context *context, const lh_model *model, int64_t first, int64_t count)
{
    if (model->config.positions != LH_POSITIONS_ROTARY) {
        return NULL;
    }
    int64_t copies = lh_model_copies(model), rows = count * copies;
    int32_t *host = lh_arena_alloc(&context->arena, sizeof *host * (size_t)rows);
    for (int64_t i = 0; host && i < rows; i++) {
        host[i] = (int32_t)(first + i / copies);
    }
    lh_tensor *positions = host ? lh_from_host(context, LH_I32, 1, &rows, host) : NULL;
    if (positions && model->checkpoint_layers && context->recording) {
        lh_pin(positions); /* layers that run again in the backward pass read it when its scope has ended */
    }
    return positions;
}

void lh_model_forward(lh_context *context, const lh_model *model, lh_stream *stream, const int32_t *tokens,
                      int64_t count, lh_forward *result)
{
    const lh_model_config *c = &model->config;
    *result = (lh_forward){0};
    if (lh_op_stopped(context) || !call_makes_sense(context, model, stream, tokens, count)) {
        return;
    }
    lh_memory_begin(stream->memory);
    lh_scope scope = lh_scope_begin(context);
    int64_t copies = lh_model_copies(model);
    lh_layer_span span = {.model = model,
                          .stream = stream,
                          .count = count * copies,
                          .fill = stream->fill * copies,
                          .sinusoids = model->sinusoids};
    lh_tensor *auxiliary = NULL;
    lh_tensor *encoded = lh_model_read_source(context, model, stream, &span.source, &auxiliary);
    lh_tensor *x = enter(context, model, stream, drop_tokens(context, model, tokens, stream->batch * count), count);
    span.positions = lh_model_places(context, model, stream->fill, count);
    if (c->positions == LH_POSITIONS_RELATIVE && c->position_dropout > 0.0) {
        span.sinusoids = lh_dropout(context, model->sinusoids, c->position_dropout, 1);
        if (model->checkpoint_layers && context->recording && !lh_op_stopped(context)) {
            lh_pin(span.sinusoids); /* as places */
        }
    }
    x = lh_model_run_layers(context, &span, 0, c->layers, x, encoded, &auxiliary);
    if (encoded) {
        lh_drop(context, encoded);
    }
    if (c->final_norm && x) {
        x = lh_dropout(context, lh_model_norm(context, c, x, model->final_gain, model->final_bias),
                       c->final_dropout, 1);
    }
    if (copies > 1 && x) {
        x = lh_mean_dim(context, lh_reshape(context, x, 4, (int64_t[]){stream->batch, count, copies, c->width}), 2);
    }
    if (auxiliary) {
        auxiliary = lh_scale(context, auxiliary, 1.0 / (double)c->layers);
    }
    result->hidden = x;
    result->auxiliary = auxiliary;
    lh_scope_end(context, scope, 2, (lh_tensor *[]){x, auxiliary});
    if (!lh_op_stopped(context)) {
        stream->fill = (stream->fill + count) % c->segment;
        stream->position += count;
        stream->memory->segments += stream->fill == 0;
    }
}
