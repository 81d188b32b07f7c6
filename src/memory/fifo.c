#include "memory/fifo.h"

lh_status lh_fifo_long_layers(const lh_memory_shape *shape, bool *has_long, lh_error *error)
{
    const lh_recipe *recipe = shape->recipe;
    size_t count;
    const int64_t *list = lh_recipe_list(recipe, "memory.layers", &count);
    for (int layer = 0; layer < shape->layers; layer++) {
        has_long[layer] = count == 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (list[i] >= shape->layers) {
            return lh_recipe_reject(recipe, "memory.layers", error, "names layer %lld of layers 0 to %lld",
                                    (long long)list[i], (long long)shape->layers - 1);
        }
        has_long[list[i]] = true;
    }
    if (count > 0 &&
        lh_recipe_integer(recipe, "memory.short_length") > lh_recipe_integer(recipe, "memory.length")) {
        return lh_recipe_reject(recipe, "memory.short_length", error, "is longer than memory.length = %lld",
                                (long long)lh_recipe_integer(recipe, "memory.length"));
    }
    return LH_OK;
}

lh_tensor *lh_fifo_push(lh_context *context, lh_tensor *older, lh_tensor *newer, int64_t length)
{
    if (lh_op_stopped(context)) {
        return NULL;
    }
    int64_t a = older->shape[1], b = newer->shape[1];
    if (b >= length) {
        return lh_contiguous(context, lh_slice(context, newer, 1, b - length, length));
    }
    int64_t from_older = length - b < a ? length - b : a;
    lh_tensor *parts[2] = {lh_slice(context, older, 1, a - from_older, from_older), newer};
    return lh_concat(context, 2, parts, 1);
}

lh_status lh_fifo_add_derived(lh_memory *memory, int64_t length, int layer, const char *what, lh_error *error)
{
    const lh_memory_shape *s = memory->shape;
    int64_t keys[4] = {memory->batch, length, s->kv_heads, s->key_width};
    int64_t values[4] = {memory->batch, length, s->kv_heads, s->value_width};
    LH_TRY(lh_memory_add_derived(memory, 4, keys, error, "layers.%d.%s.keys", layer, what));
    return lh_memory_add_derived(memory, 4, values, error, "layers.%d.%s.values", layer, what);
}

void lh_fifo_keys(lh_memory *memory, lh_layer_io *io, lh_tensor *hidden, int64_t distance, int key_entry,
                  lh_tensor **k, lh_tensor **v)
{
    lh_context *context = io->context;
    if (!memory->inference || context->recording) {
        lh_layer_project(io, hidden, distance, k, v);
        return;
    }
    if (!memory->derived_valid[io->layer]) {
        lh_tensor *keys, *values;
        lh_layer_project(io, hidden, distance, &keys, &values);
        lh_memory_set(memory, context, key_entry, lh_transpose(context, keys, 1, 2));
        lh_memory_set(memory, context, key_entry + 1, lh_transpose(context, values, 1, 2));
    }
    *k = lh_transpose(context, lh_memory_get(memory, key_entry), 1, 2);
    *v = lh_transpose(context, lh_memory_get(memory, key_entry + 1), 1, 2);
}

void lh_fifo_same_length(const lh_memory *memory, const lh_layer_io *io, lh_key_source *source, int64_t first)
{
    if (memory->shape->same_length) {
        /* Query fill + i sees key j only if first + j >= fill + i (strictly fewer than i are hidden): with
         * distance = i - j + offset that is distance <= first - fill + offset. */
        source->max_distance = first - io->fill + source->offset;
    }
}
