/* Transformer-XL (Dai et al. 2019): each layer also sees the last M of its own inputs, as they were. */
#include "memory/fifo.h"
#include "memory/kinds.h"

#include <stdio.h>

static const lh_recipe_key keys[] = {
    {"memory", "length", LH_RECIPE_INTEGER, "512", 0, 1 << 24, NULL, "memory.kind=transformer-xl,compressive",
     "remembered positions of each layer (n_m)"},
    {"memory", "layers", LH_RECIPE_LIST, "", 0, 511, NULL, "memory.kind=transformer-xl,compressive",
     "layers, counted from 0, that have the long memory (and the compressed one); empty: all (Rae and Razavi "
     "2020)"},
    {"memory", "short_length", LH_RECIPE_INTEGER, "0", 0, 1 << 24, NULL, "memory.kind=transformer-xl,compressive",
     "remembered positions of the layers that memory.layers leaves out"},
    {0},
};

typedef struct xl_options {
    int64_t length, short_length;
    bool has_long[LH_MEMORY_MAX_LAYERS];
} xl_options;

static int64_t length_at(const lh_memory_shape *shape, int layer)
{
    const xl_options *o = shape->options;
    return o->has_long[layer] ? o->length : o->short_length;
}

enum { MEMORY, KEYS, VALUES };

static lh_status configure(const lh_memory_shape *shape, void **options, lh_error *error)
{
    xl_options *o = lh_heap_alloc(sizeof *o);
    *options = o;
    if (!o) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the memory's configuration");
    }
    o->length = lh_recipe_integer(shape->recipe, "memory.length");
    o->short_length = lh_recipe_integer(shape->recipe, "memory.short_length");
    return lh_fifo_long_layers(shape, o->has_long, error);
}

static const char *const adjustable[] = {"memory.length", NULL};

static int64_t history(const lh_memory_shape *shape)
{
    return ((const xl_options *)shape->options)->length;
}

static double keys_seen(const lh_memory_shape *shape, int layer)
{
    return ((double)shape->segment + 1.0) / 2.0 + (double)length_at(shape, layer);
}

static lh_status create(lh_memory *memory, lh_error *error)
{
    for (int layer = 0; layer < memory->shape->layers; layer++) {
        int64_t length = length_at(memory->shape, layer);
        lh_memory_layer(memory, layer);
        LH_TRY(lh_memory_add_state(memory, length, memory->shape->width, error, "layers.%d.memory", layer));
        if (memory->inference) {
            LH_TRY(lh_fifo_add_derived(memory, length, layer, "memory", error));
        }
    }
    return LH_OK;
}

static void read(lh_memory *memory, lh_layer_io *io)
{
    int64_t length = length_at(memory->shape, io->layer);
    if (length > 0) {
        lh_tensor *m = lh_memory_get(memory, lh_memory_entry(memory, io->layer, MEMORY)), *k, *v;
        lh_fifo_keys(memory, io, m, length, lh_memory_entry(memory, io->layer, KEYS), &k, &v);
        io->source_name[io->sources] = "memory";
        lh_key_source *source = &io->source[io->sources++];
        *source = lh_key_source_all(k, v);
        lh_layer_place(io, source, length);
        lh_fifo_same_length(memory, io, source, 0);
        memory->derived_valid[io->layer] = memory->inference && !io->context->recording;
    }
    lh_fifo_same_length(memory, io, &io->source[0], length);
}

static void write(lh_memory *memory, lh_layer_io *io)
{
    int64_t length = length_at(memory->shape, io->layer);
    if (io->segment_z && length > 0 && !io->context->recomputing) {
        int index = lh_memory_entry(memory, io->layer, MEMORY);
        lh_memory_set(memory, io->context, index,
                      lh_fifo_push(io->context, lh_memory_get(memory, index), io->segment_z, length));
        memory->derived_valid[io->layer] = false;
    }
}

const lh_memory_kind lh_memory_transformer_xl = {
    .name = "transformer-xl",
    .summary = "the last M inputs of each layer, first in first out",
    .keys = keys,
    .compare = "[model]\npositions = relative\n[memory]\nlength = {memory}\n",
    .configure = configure,
    .history = history,
    .keys_seen = keys_seen,
    .adjustable = adjustable,
    .create = create,
    .read = read,
    .write = write,
};
