#include "memory/memory.h"

void lh_layer_project(lh_layer_io *io, lh_tensor *hidden, int64_t distance, lh_tensor **k, lh_tensor **v)
{
    lh_context *context = io->context;
    *k = *v = NULL;
    lh_tensor *joint = lh_linear(context, hidden, io->key_value_weight, io->key_value_bias);
    if (!joint) {
        return;
    }
    int64_t heads = io->k->shape[1], key_width = io->k->shape[3], value_width = io->v->shape[3];
    int64_t batch = joint->shape[0], length = joint->shape[1];
    lh_tensor *keys = lh_reshape(context, lh_slice(context, joint, 2, 0, heads * key_width), 4,
                                 (int64_t[]){batch, length, heads, key_width});
    lh_tensor *values = lh_reshape(context, lh_slice(context, joint, 2, heads * key_width, heads * value_width), 4,
                                   (int64_t[]){batch, length, heads, value_width});
    if (io->rope && keys) {
        int32_t *position = lh_arena_alloc(&context->arena, sizeof *position * (size_t)(length ? length : 1));
        if (!position) {
            lh_op_fail(context, LH_E_MEMORY, "project", "no memory for %lld positions", (long long)length);
            return;
        }
        for (int64_t i = 0; i < length; i++) {
            position[i] = (int32_t)(i - distance);
        }
        lh_tensor *positions = lh_from_host(context, LH_I32, 1, &length, position);
        keys = lh_rope(context, keys, positions, io->rope);
    }
    *k = lh_transpose(context, keys, 1, 2);
    *v = lh_transpose(context, values, 1, 2);
}

void lh_layer_place(const lh_layer_io *io, lh_key_source *source, int64_t distance)
{
    source->offset = io->fill + distance;
    source->rel_offset = io->fill + distance;
    source->rel_step = 1;
    source->rel_first = 0;
    source->rel_clamp = true;
    source->content_bias = io->content_bias;
    if (io->relative) {
        source->position_bias = io->position_bias;
        source->rel_k = io->relative;
    }
    source->distance_bias = io->distance_bias;
    source->bias_scaled = io->distance_bias_scaled;
}

lh_tensor *lh_layer_attend_source(const lh_layer_io *io)
{
    lh_context *context = io->context;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    int64_t batch = io->q->shape[0], queries = io->q->shape[2], shape[3] = {batch, 1, queries};
    lh_key_source keys = lh_key_source_all(io->k, io->v);
    int32_t *bounds = lh_arena_alloc(&context->arena, 2 * sizeof *bounds * (size_t)(batch * queries));
    if (!bounds) {
        return lh_op_fail(context, LH_E_MEMORY, "model", "no memory for the bounds of %lld queries",
                          (long long)queries);
    }
    for (int64_t i = 0; i < batch * queries; i++) {
        bounds[i] = 0;
        bounds[batch * queries + i] = io->source_tokens->count[i / queries];
    }
    keys.low = lh_from_host(context, LH_I32, 3, shape, bounds);
    keys.high = lh_from_host(context, LH_I32, 3, shape, bounds + batch * queries);
    return lh_attention(context, io->q, 1, &keys, &io->options, NULL);
}

lh_tensor *lh_layer_norm_heads(const lh_layer_io *io, lh_tensor *x)
{
    return io->head_norm ? lh_rms_norm(io->context, x, io->head_gain, io->head_eps) : x;
}
