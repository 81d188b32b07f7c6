/* The encoder of models that have one: the decoder's layers run over a source in both directions, and what the
 * decoder's layers see of the result. */
#include "model/internal.h"

#include <math.h>

lh_tensor *lh_model_attend_source(const lh_layer_span *span, lh_layer_io *io)
{
    lh_memory *memory = span->stream->memory;
    if (memory->kind->attend_source) {
        return memory->kind->attend_source(memory, io);
    }
    io->options.dropout = io->attention_dropout;
    return lh_layer_attend_source(io);
}

lh_tensor *lh_model_cross_attention(lh_context *context, const lh_layer_span *span, lh_tensor *z,
                                    lh_tensor *encoded, lh_tensor **auxiliary)
{
    const lh_model_config *c = &span->model->config;
    const lh_layer_parameters *p = &span->model->layers[span->layer];
    lh_memory *memory = span->stream->memory;
    if (lh_op_stopped(context) || !z) {
        return NULL;
    }
    int64_t batch = z->shape[0], count = span->count, length = span->source->tokens;
    int64_t keys = c->kv_heads * c->key_width, values = c->kv_heads * c->value_width;
    lh_tensor *joint = encoded ? lh_linear(context, encoded, p->cross_key_value, p->cross_key_value_bias)
                               : lh_slice(context, span->stream->cross[span->layer], 1, 0, length);
    lh_layer_io io = {.context = context,
                      .layer = span->layer,
                      .parameters = &p->memory,
                      .z = z,
                      .input = z,
                      .fill = span->fill,
                      .tokens = count,
                      .whole_segment = span->fill == 0 && count == c->segment,
                      .segment_ends = span->fill + count == c->segment,
                      .source_tokens = span->source,
                      .cross = true,
                      .key_value_weight = p->cross_key_value,
                      .key_value_bias = p->cross_key_value_bias,
                      .attention_dropout = c->attention_dropout,
                      .options = {.scale = c->qk_norm == LH_QK_L2 ? 1.0 : 1.0 / sqrt((double)c->key_width),
                                  .dropout = c->attention_dropout}};
    lh_model_set_head_norm(span->model, &io);
    lh_tensor *q = lh_linear(context, z, p->cross_query, p->cross_query_bias);
    q = lh_reshape(context, q, 4, (int64_t[]){batch, count, c->heads, c->key_width});
    lh_tensor *k = lh_reshape(context, lh_slice(context, joint, 2, 0, keys), 4,
                              (int64_t[]){batch, length, c->kv_heads, c->key_width});
    lh_tensor *v = lh_reshape(context, lh_slice(context, joint, 2, keys, values), 4,
                              (int64_t[]){batch, length, c->kv_heads, c->value_width});
    io.q = lh_transpose(context, lh_layer_norm_heads(&io, q), 1, 2);
    io.k = lh_transpose(context, lh_layer_norm_heads(&io, k), 1, 2);
    io.v = lh_transpose(context, v, 1, 2);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_tensor *heads =
        memory->kind->attend_cross ? memory->kind->attend_cross(memory, &io) : lh_layer_attend_source(&io);
    *auxiliary = io.auxiliary;
    /* cppcheck-suppress returnDanglingLifetime ; a result of the context, not of io */
    return lh_model_merge_heads(context, c, heads, NULL, p->cross_output, p->cross_output_bias);
}

/* Embeddings of the source, through the same table and projection as the decoder's. */
static lh_tensor *enter_source(lh_context *context, const lh_model *model, int64_t batch, const lh_source *source)
{
    const lh_model_config *c = &model->config;
    lh_tensor *x = lh_model_embed(context, model, source->ids, batch, source->tokens);
    x = lh_dropout(context, x, c->embedding_dropout, 1);
    if (!c->input_relu && !c->input_linear) {
        return x;
    }
    x = lh_dropout(context, lh_linear(context, x, model->input_weight, model->input_bias), c->dropout, 1);
    return c->input_relu ? lh_unary(context, LH_RELU, x) : x;
}

/* The encoder on the running segment's sources -> [batch, source->tokens, width]. Meanwhile the memory's `valid`
 * tells of the source. */
static lh_tensor *encode(lh_context *context, const lh_model *model, lh_stream *stream, const lh_source *source,
                         lh_tensor **auxiliary)
{
    const lh_model_config *c = &model->config;
    const uint8_t *valid = stream->memory->valid;
    lh_layer_span span = {.model = model,
                          .stream = stream,
                          .count = source->tokens,
                          .fill = stream->fill,
                          .source = source,
                          .encodes = true,
                          .positions = lh_model_places(context, model, 0, source->tokens)};
    stream->memory->valid = source->valid;
    lh_tensor *x = enter_source(context, model, stream->batch, source);
    x = lh_model_run_layers(context, &span, c->layers, model->shape.encoder_layers, x, NULL, auxiliary);
    stream->memory->valid = valid;
    if (c->final_norm && x) {
        x = lh_model_norm(context, c, x, model->encoder_gain, model->encoder_bias);
    }
    return x;
}

/* Inference: each layer's keys and values of the source, once for all that is read beside it. */
static void keep_source(lh_context *context, const lh_model *model, lh_stream *stream, const lh_source *source)
{
    lh_tensor *auxiliary = NULL;
    lh_scope scope = lh_scope_begin(context);
    lh_tensor *encoded = encode(context, model, stream, source, &auxiliary);
    for (int i = 0; i < model->config.layers && !lh_op_stopped(context); i++) {
        const lh_layer_parameters *p = &model->layers[i];
        lh_scope inner = lh_scope_begin(context);
        lh_model_keep_rows(context, stream->cross[i], 0,
                           lh_linear(context, encoded, p->cross_key_value, p->cross_key_value_bias));
        lh_scope_end(context, inner, 0, NULL);
    }
    lh_scope_end(context, scope, 0, NULL);
    stream->memory->derived_valid[model->config.layers] = !lh_op_stopped(context);
}

lh_tensor *lh_model_read_source(lh_context *context, const lh_model *model, lh_stream *stream,
                                const lh_source **source, lh_tensor **auxiliary)
{
    *source = NULL;
    if (model->shape.encoder_layers == 0 || lh_op_stopped(context)) {
        return NULL;
    }
    lh_source *read = lh_arena_alloc(&context->arena, sizeof *read);
    if (!read) {
        return lh_op_fail(context, LH_E_MEMORY, "model", "no memory for the sources of %lld lanes",
                          (long long)stream->batch);
    }
    if (!model->memory_kind->source(stream->memory, context, read)) {
        return NULL;
    }
    *source = read;
    if (!stream->inference) {
        return encode(context, model, stream, read, auxiliary);
    }
    if (!stream->memory->derived_valid[model->config.layers]) {
        keep_source(context, model, stream, read);
    }
    return NULL;
}
