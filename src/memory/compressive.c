/* Compressive Transformer (Rae et al. 2020): what falls out of the Transformer-XL memory is squeezed by a factor c
 * and appended to a second, compressed memory. One softmax runs over [compressed | memory | segment].
 *
 * The compression function of a layer is trained by an auxiliary loss of its own, whose gradient reaches nothing
 * else; the task's gradient reaches it only when several segments are unrolled in one graph (train.unroll) without
 * detaching. */
#include "memory/compression.h"
#include "memory/fifo.h"
#include "memory/kinds.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const lh_recipe_key keys[] = {
    {"memory", "compressed", LH_RECIPE_INTEGER, "512", 0, 1 << 24, NULL, "memory.kind=compressive",
     "compressed slots of each layer (n_cm)"},
    {"memory", "rate", LH_RECIPE_INTEGER, "4", 1, 4096, NULL, "memory.kind=compressive",
     "how many memories become one compressed slot (c)"},
    {"memory", "kernel_extra", LH_RECIPE_INTEGER, "0", 0, 4096, NULL,
     "memory.kind=compressive memory.function!=most-used",
     "how much longer than the rate the compression kernel is"},
    {"memory", "function", LH_RECIPE_CHOICE, "conv", 0, 0, "conv|dilated|max|mean|most-used",
     "memory.kind=compressive", "compression function"},
    {"memory", "dilations", LH_RECIPE_LIST, "1,2,4", 1, 4096, NULL,
     "memory.kind=compressive memory.function=dilated", "dilation rates of the kernel-2 convolutions"},
    {"memory", "loss", LH_RECIPE_CHOICE, "attention", 0, 0, "attention|autoencode|none",
     "memory.kind=compressive memory.function=conv",
     "auxiliary loss that trains the compression: attention reconstruction, auto-encoding, or none"},
    {"memory", "loss", LH_RECIPE_CHOICE, "attention", 0, 0, "attention|none",
     "memory.kind=compressive memory.function=dilated",
     "auxiliary loss that trains the compression; dilated convolutions shorten a block, so it cannot be rebuilt "
     "from them"},
    {"memory", "auxiliary_weight", LH_RECIPE_REAL, "1", 0, 1e6, NULL,
     "memory.kind=compressive memory.function=conv,dilated", "weight of the auxiliary loss"},
    {"memory", "stepping", LH_RECIPE_CHOICE, "segment", 0, 0, "segment|official|aligned", "memory.kind=compressive",
     "how the memory moves: by whole segments; or, with segments of one token, in the released code's way of one "
     "step at a time, or so that blocks are those of whole segments"},
    {"memory", "positions", LH_RECIPE_CHOICE, "own", 0, 0, "own|continued|scaled", "memory.kind=compressive",
     "distances of compressed slots: their own table counted from the segment, the memory's table continued by "
     "slots, or "
     "scaled by the rate"},
    {0},
};

typedef enum auxiliary_loss { LOSS_ATTENTION, LOSS_AUTOENCODE, LOSS_NONE } auxiliary_loss;
typedef enum stepping { STEP_SEGMENT, STEP_OFFICIAL, STEP_ALIGNED } stepping;
typedef enum slot_positions { POSITIONS_OWN, POSITIONS_CONTINUED, POSITIONS_SCALED } slot_positions;

typedef struct compressive_options {
    int64_t length, compressed;
    lh_compression compression;
    auxiliary_loss loss;
    slot_positions positions;
    stepping stepping;
    double auxiliary_weight;
    int64_t block, slots; /* positions compressed at once, and what they become */
    int64_t pending;      /* positions that have left the memory and wait to be compressed (stepping = aligned) */
    bool
        has_long[LH_MEMORY_MAX_LAYERS]; /* which layers have all of this; the others have the options that follow */
} compressive_options;

/* A layer's options: with long memory, or (memory.layers) with a short one and nothing compressed. */
static const compressive_options *at(const lh_memory_shape *shape, int layer)
{
    const compressive_options *o = shape->options;
    return o->has_long[layer] ? o : o + 1;
}

/* State of a layer, in this order. */
enum { COMPRESSED, MEMORY, USAGE, PENDING, STATES };
/* Derived entries follow the state. */
enum { DERIVED_COMPRESSED, DERIVED_MEMORY = 2, DERIVED_TABLE = 4 };
/* Parameters of a layer. */
enum { WEIGHT, DECODER, OWN_TABLE, OWN_BIAS, DILATED };

static int choice_index(const char *value, const char *const *names, int count)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(value, names[i]) == 0) {
            return i;
        }
    }
    return 0;
}

static lh_status configure(const lh_memory_shape *shape, void **options, lh_error *error)
{
    static const char *const functions[] = {"conv", "dilated", "max", "mean", "most-used"};
    static const char *const losses[] = {"attention", "autoencode", "none"};
    static const char *const positions[] = {"own", "continued", "scaled"};
    static const char *const steps[] = {"segment", "official", "aligned"};
    const lh_recipe *recipe = shape->recipe;
    compressive_options *o = lh_heap_alloc(2 * sizeof *o);
    *options = o;
    if (!o) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the memory's configuration");
    }
    LH_TRY(lh_fifo_long_layers(shape, o->has_long, error));
    o->length = lh_recipe_integer(recipe, "memory.length");
    o->compressed = lh_recipe_integer(recipe, "memory.compressed");
    o->auxiliary_weight = lh_recipe_real(recipe, "memory.auxiliary_weight");
    o->loss = (auxiliary_loss)choice_index(lh_recipe_string(recipe, "memory.loss"), losses, 3);
    o->positions = (slot_positions)choice_index(lh_recipe_string(recipe, "memory.positions"), positions, 3);
    o->stepping = (stepping)choice_index(lh_recipe_string(recipe, "memory.stepping"), steps, 3);
    lh_compression *f = &o->compression;
    f->function = (lh_compression_function)choice_index(lh_recipe_string(recipe, "memory.function"), functions, 5);
    f->rate = lh_recipe_integer(recipe, "memory.rate");
    f->extra = lh_recipe_integer(recipe, "memory.kernel_extra");
    int64_t reach = 0;
    if (f->function == LH_COMPRESS_DILATED) {
        size_t count;
        const int64_t *list = lh_recipe_list(recipe, "memory.dilations", &count);
        if (count < 1 || count > LH_COMPRESS_MAX_DILATIONS) {
            return lh_recipe_reject(recipe, "memory.dilations", error, "must hold 1 to %d rates",
                                    LH_COMPRESS_MAX_DILATIONS);
        }
        f->dilation_count = (int)count;
        for (size_t i = 0; i < count; i++) {
            f->dilations[i] = list[i];
            reach += list[i];
        }
    }
    if (f->function != LH_COMPRESS_CONV && f->function != LH_COMPRESS_DILATED) {
        o->loss = LOSS_NONE; /* nothing to train */
    }
    if (o->stepping != STEP_SEGMENT && shape->segment != 1) {
        return lh_recipe_reject(recipe, "memory.stepping", error, "needs model.segment = 1, not %lld",
                                (long long)shape->segment);
    }
    if (o->stepping == STEP_ALIGNED && f->function == LH_COMPRESS_MOST_USED) {
        return lh_recipe_reject(recipe, "memory.stepping", error,
                                "cannot rank blocks that have left the memory; use official");
    }
    if (o->length > 0) {
        int64_t wanted = f->rate + f->extra > shape->segment ? f->rate + f->extra : shape->segment;
        int64_t most = shape->segment + o->length - 1;
        o->block = wanted < most || o->stepping == STEP_ALIGNED ? wanted : most;
        o->pending = o->stepping == STEP_ALIGNED ? o->block - 1 : 0;
        o->slots = lh_compression_slots(f, o->block);
        if (o->slots < 1) {
            return lh_recipe_reject(recipe, "memory.rate", error,
                                    "is too large: a block of %lld old memories%s becomes no slot at all",
                                    (long long)o->block, reach ? " less the dilations' reach" : "");
        }
    }
    o[1] = o[0];
    o[1].length = lh_recipe_integer(recipe, "memory.short_length");
    o[1].compressed = 0;
    return LH_OK;
}

static bool has_slots(const compressive_options *o)
{
    return o->length > 0 && o->compressed > 0; /* without an ordinary memory nothing is ever evicted */
}

static lh_status parameters(const lh_memory_shape *shape, int layer, lh_parameters *list, lh_memory_parameters *out,
                            lh_error *error)
{
    const compressive_options *o = layer < 0 ? shape->options : at(shape, layer);
    const lh_compression *f = &o->compression;
    int64_t d = shape->width, kernel = f->rate + f->extra;
    char name[96];
    if (layer < 0 || !has_slots(o)) {
        return LH_OK;
    }
    if (f->function == LH_COMPRESS_CONV || f->function == LH_COMPRESS_DILATED) {
        int64_t conv[3] = {d, kernel, d};
        (void)snprintf(name, sizeof name, "layers.%d.compression.weight", layer);
        LH_TRY(lh_parameters_add(list, &out->tensors[WEIGHT], name, 3, conv, LH_INIT_TRUNCATED,
                                 1.0 / sqrt((double)(kernel * d)), true, LH_GROUP_COMPRESSOR, error));
        for (int i = 0; i < f->dilation_count; i++) {
            int64_t pair[3] = {d, 2, d};
            (void)snprintf(name, sizeof name, "layers.%d.compression.dilated.%d.weight", layer, i);
            LH_TRY(lh_parameters_add(list, &out->tensors[DILATED + i], name, 3, pair, LH_INIT_TRUNCATED,
                                     1.0 / sqrt((double)(2 * d)), true, LH_GROUP_COMPRESSOR, error));
        }
    }
    if (o->loss == LOSS_AUTOENCODE) {
        int64_t deconv[3] = {d, kernel, d};
        (void)snprintf(name, sizeof name, "layers.%d.compression.decoder.weight", layer);
        LH_TRY(lh_parameters_add(list, &out->tensors[DECODER], name, 3, deconv, LH_INIT_TRUNCATED,
                                 1.0 / sqrt((double)(kernel * d)), true, LH_GROUP_COMPRESSOR, error));
    }
    if (shape->relative && o->positions == POSITIONS_OWN) {
        int64_t table[2] = {shape->heads * shape->key_width, d}, bias[2] = {shape->heads, shape->key_width};
        (void)snprintf(name, sizeof name, "layers.%d.attention.compressed_relative.weight", layer);
        LH_TRY(lh_parameters_add(list, &out->tensors[OWN_TABLE], name, 2, table, LH_INIT_TRUNCATED_EXACT,
                                 sqrt(2.0 / sqrt((double)shape->layers) / (double)d), true, LH_GROUP_MAIN, error));
        (void)snprintf(name, sizeof name, "layers.%d.attention.compressed_position_bias", layer);
        LH_TRY(lh_parameters_add(list, &out->tensors[OWN_BIAS], name, 2, bias, LH_INIT_UNIFORM,
                                 sqrt(6.0 / (double)(shape->heads + shape->key_width)), false, LH_GROUP_MAIN,
                                 error));
    }
    return LH_OK;
}

static int64_t reach(const lh_memory_shape *shape)
{
    const compressive_options *o = shape->options;
    return o->length + (has_slots(o) ? o->compression.rate * o->compressed : 0);
}

static double keys_seen(const lh_memory_shape *shape, int layer)
{
    const compressive_options *o = at(shape, layer);
    return ((double)shape->segment + 1.0) / 2.0 + (double)(o->length + (has_slots(o) ? o->compressed : 0));
}

static const char *const adjustable[] = {"memory.length", "memory.compressed", "memory.stepping", NULL};

static int64_t history(const lh_memory_shape *shape)
{
    const compressive_options *o = shape->options;
    if (!has_slots(o)) {
        return o->length;
    }
    switch (o->positions) {
    case POSITIONS_CONTINUED: return o->length + o->compressed;
    case POSITIONS_SCALED: return o->length + o->compression.rate * o->compressed;
    case POSITIONS_OWN: break;
    }
    /* Without own tables (rotary, T5, ALiBi) slots take the continued distances. */
    return shape->relative ? (o->length > o->compressed ? o->length : o->compressed) : o->length + o->compressed;
}

static lh_status create(lh_memory *memory, lh_error *error)
{
    const lh_memory_shape *shape = memory->shape;
    for (int layer = 0; layer < shape->layers; layer++) {
        const compressive_options *o = at(shape, layer);
        lh_memory_layer(memory, layer);
        bool usage = o->compression.function == LH_COMPRESS_MOST_USED;
        LH_TRY(lh_memory_add_state(memory, has_slots(o) ? o->compressed : 0, shape->width, error,
                                   "layers.%d.compressed", layer));
        LH_TRY(lh_memory_add_state(memory, o->length, shape->width, error, "layers.%d.memory", layer));
        LH_TRY(lh_memory_add_state(memory, usage ? o->length : 0, 0, error, "layers.%d.usage", layer));
        LH_TRY(lh_memory_add_state(memory, o->pending, shape->width, error, "layers.%d.pending", layer));
        if (memory->inference) {
            LH_TRY(lh_fifo_add_derived(memory, has_slots(o) ? o->compressed : 0, layer, "compressed", error));
            LH_TRY(lh_fifo_add_derived(memory, o->length, layer, "memory", error));
            int64_t table[2] = {shape->relative && has_slots(o) ? o->compressed + shape->segment : 0,
                                shape->heads * shape->key_width};
            LH_TRY(lh_memory_add_derived(memory, 2, table, error, "layers.%d.compressed.relative", layer));
        }
    }
    return LH_OK;
}

/* R_c = P Wr_c as [heads, distances, key_width]: distances from 0, with the newest slot at distance i + 1. */
static lh_tensor *own_table(lh_memory *memory, lh_layer_io *io)
{
    const lh_memory_shape *shape = memory->shape;
    const compressive_options *o = at(memory->shape, io->layer);
    lh_context *context = io->context;
    int64_t distances = o->compressed + shape->segment;
    lh_tensor *flat;
    if (memory->inference && !context->recording) {
        int index = lh_memory_entry(memory, io->layer, STATES + DERIVED_TABLE);
        if (!memory->derived_valid[io->layer]) {
            lh_memory_set(memory, context, index,
                          lh_linear(context, lh_slice(context, io->sinusoids, 0, 0, distances),
                                    io->parameters->tensors[OWN_TABLE], NULL));
        }
        flat = lh_memory_get(memory, index);
    } else {
        flat = lh_linear(context, lh_slice(context, io->sinusoids, 0, 0, distances),
                         io->parameters->tensors[OWN_TABLE], NULL);
    }
    flat = lh_reshape(context, flat, 3, (int64_t[]){distances, shape->heads, shape->key_width});
    return lh_transpose(context, flat, 0, 1);
}

static void place_slots(lh_memory *memory, lh_layer_io *io, lh_key_source *source)
{
    const compressive_options *o = at(memory->shape, io->layer);
    int64_t n_m = o->length, n_cm = o->compressed, c = o->compression.rate;
    if (o->positions == POSITIONS_OWN && memory->shape->relative) {
        lh_layer_place(io, source, n_cm);
        source->rel_k = own_table(memory, io);
        source->position_bias = io->parameters->tensors[OWN_BIAS];
        return;
    }
    lh_layer_place(io, source, n_m + n_cm);
    if (o->positions == POSITIONS_SCALED) {
        source->rel_step = c;
        source->rel_offset = io->fill + n_m + c * n_cm - (c - 1) / 2;
    }
}

static void read(lh_memory *memory, lh_layer_io *io)
{
    const compressive_options *o = at(memory->shape, io->layer);
    int64_t n_cm = has_slots(o) ? o->compressed : 0;
    if (n_cm > 0) {
        lh_tensor *cm = lh_memory_get(memory, lh_memory_entry(memory, io->layer, COMPRESSED)), *k, *v;
        lh_fifo_keys(memory, io, cm, o->length + n_cm,
                     lh_memory_entry(memory, io->layer, STATES + DERIVED_COMPRESSED), &k, &v);
        io->source_name[io->sources] = "compressed";
        lh_key_source *source = &io->source[io->sources++];
        *source = lh_key_source_all(k, v);
        place_slots(memory, io, source);
        lh_fifo_same_length(memory, io, source, 0);
    }
    if (o->length > 0) {
        lh_tensor *m = lh_memory_get(memory, lh_memory_entry(memory, io->layer, MEMORY)), *k, *v;
        lh_fifo_keys(memory, io, m, o->length, lh_memory_entry(memory, io->layer, STATES + DERIVED_MEMORY), &k, &v);
        io->source_name[io->sources] = "memory";
        lh_key_source *source = &io->source[io->sources++];
        *source = lh_key_source_all(k, v);
        lh_layer_place(io, source, o->length);
        lh_fifo_same_length(memory, io, source, n_cm);
    }
    lh_fifo_same_length(memory, io, &io->source[0], n_cm + o->length);
    memory->derived_valid[io->layer] = memory->inference && !io->context->recording;
}

/* Content attention with no positions and no mask (Algorithm 2 of the paper): softmax(Q (X Wk)ᵀ) (X Wv), weights
 * and queries taken as constants. */
static lh_tensor *content_attention(lh_layer_io *io, lh_tensor *q, lh_tensor *hidden, int64_t distance)
{
    lh_layer_io constant = *io;
    constant.key_value_weight = lh_detach(io->context, io->key_value_weight);
    constant.key_value_bias = io->key_value_bias ? lh_detach(io->context, io->key_value_bias) : NULL;
    lh_tensor *k, *v;
    lh_layer_project(&constant, hidden, distance, &k, &v);
    if (!k || !v) {
        return NULL;
    }
    lh_key_source source = lh_key_source_all(k, v);
    lh_attention_options options = {.scale = io->options.scale, .head_scale = NULL};
    return lh_attention(io->context, q, 1, &source, &options, NULL);
}

static lh_tensor *attention_loss(const compressive_options *o, lh_layer_io *io, lh_tensor *block, lh_tensor *slots)
{
    lh_context *context = io->context;
    int64_t first = o->block - o->length > 0 ? o->block - o->length : 0, tokens = io->q->shape[2];
    lh_tensor *q = lh_slice(context, lh_detach(context, io->q), 2, first, tokens - first);
    bool recording = context->recording;
    context->recording = false; /* the target carries no gradient at all */
    lh_tensor *target = content_attention(io, q, block, o->length);
    context->recording = recording;
    return lh_mean_square_error(context, content_attention(io, q, slots, o->length), target);
}

static lh_tensor *autoencode_loss(const compressive_options *o, lh_layer_io *io, lh_tensor *block, lh_tensor *slots)
{
    lh_tensor *rebuilt =
        lh_conv1d_transpose(io->context, slots, io->parameters->tensors[DECODER], o->compression.rate);
    if (!rebuilt) {
        return NULL;
    }
    /* A block that the rate does not divide is longer than what can be rebuilt: its last positions do not count. */
    return lh_mean_square_error(io->context, rebuilt, lh_slice(io->context, block, 1, 0, rebuilt->shape[1]));
}

/* Adds what this call's queries gave to each memory. A segment may arrive in pieces; it counts as a whole. */
static lh_tensor *add_usage(lh_memory *memory, lh_layer_io *io)
{
    lh_context *context = io->context;
    lh_tensor *mass[LH_ATTENTION_MAX_SOURCES] = {NULL};
    double weight = 1.0 / (double)(memory->shape->heads * memory->shape->segment);
    lh_attention_mass(context, io->q, io->sources, io->source, &io->options, io->lse, weight, mass);
    lh_tensor *usage = lh_memory_get(memory, lh_memory_entry(memory, io->layer, USAGE));
    return lh_add(context, usage, mass[io->sources - 1]); /* the memory is the last source */
}

/* Average attention of each memory over the segments that it was attended in. Returns the sums after the segment
 * and, in *evicted, the averages of the block that is compressed. */
static lh_tensor *update_usage(lh_memory *memory, lh_layer_io *io, lh_tensor *sum, lh_tensor **evicted)
{
    const compressive_options *o = at(memory->shape, io->layer);
    lh_context *context = io->context;
    int64_t n_m = o->length, n_s = memory->shape->segment, batch = memory->batch;
    lh_tensor *fresh = lh_new(context, sum ? sum->dtype : LH_F32, 2, (int64_t[]){batch, n_s}, true);
    lh_tensor *all = lh_concat(context, 2, (lh_tensor *[]){sum, fresh}, 1);
    double *inverse = lh_arena_alloc(&context->arena, sizeof *inverse * (size_t)(n_m + n_s));
    lh_tensor *average = NULL;
    if (inverse && all) {
        for (int64_t j = 0; j < n_m + n_s; j++) {
            int64_t segments = (n_m - 1 - j) / n_s + 1;
            inverse[j] = j < n_m ? 1.0 / (double)segments : 0.0;
        }
        int64_t length = n_m + n_s;
        lh_tensor *factor = lh_cast(context, lh_from_host(context, LH_F64, 1, &length, inverse), all->dtype);
        average = lh_multiply(context, all, factor);
    }
    *evicted = lh_slice(context, average, 1, 0, o->block);
    return lh_contiguous(context, lh_slice(context, all, 1, n_s, n_m));
}

static void write_usage(lh_memory *memory, lh_layer_io *io, lh_tensor **evicted)
{
    lh_context *context = io->context;
    bool recording = context->recording;
    context->recording = false;
    lh_tensor *usage = add_usage(memory, io);
    if (io->segment_z) {
        usage = update_usage(memory, io, usage, evicted);
    }
    lh_memory_set(memory, context, lh_memory_entry(memory, io->layer, USAGE),
                  usage); /* does nothing while recomputing */
    context->recording = recording;
}

/* Is a block compressed at the end of this segment? Steps count from the last reset of all streams. */
static bool block_is_due(const lh_memory *memory, const lh_layer_io *io)
{
    const compressive_options *o = at(memory->shape, io->layer);
    int64_t step = memory->segments - (io->context->recomputing ? 1 : 0); /* counted when the forward pass ends */
    return o->stepping == STEP_SEGMENT || step % o->compression.rate == o->compression.rate - 1;
}

/* The oldest positions of memory and segment; with aligned steps, what left the memory last. */
static lh_tensor *block_to_compress(lh_memory *memory, lh_layer_io *io, lh_tensor *m)
{
    const compressive_options *o = at(memory->shape, io->layer);
    lh_context *context = io->context;
    lh_tensor *all = lh_concat(context, 2, (lh_tensor *[]){m, io->segment_z}, 1);
    if (o->stepping != STEP_ALIGNED) {
        return lh_contiguous(context, lh_slice(context, lh_detach(context, all), 1, 0, o->block));
    }
    int index = lh_memory_entry(memory, io->layer, PENDING);
    lh_tensor *leaving = lh_slice(context, lh_detach(context, all), 1, 0, 1);
    lh_tensor *block = lh_concat(context, 2, (lh_tensor *[]){lh_memory_get(memory, index), leaving}, 1);
    lh_memory_set(memory, context, index, lh_contiguous(context, lh_slice(context, block, 1, 1, o->pending)));
    return block;
}

static void compress(lh_memory *memory, lh_layer_io *io, lh_tensor *block, lh_tensor *evicted_usage)
{
    const compressive_options *o = at(memory->shape, io->layer);
    lh_context *context = io->context;
    int index = lh_memory_entry(memory, io->layer, COMPRESSED);
    lh_tensor *slots = lh_compress(context, &o->compression, block, io->parameters->tensors[WEIGHT],
                                   &io->parameters->tensors[DILATED], evicted_usage);
    if (o->loss != LOSS_NONE && !memory->inference) {
        lh_tensor *loss =
            o->loss == LOSS_ATTENTION ? attention_loss(o, io, block, slots) : autoencode_loss(o, io, block, slots);
        io->auxiliary = o->auxiliary_weight == 1.0 ? loss : lh_scale(context, loss, o->auxiliary_weight);
    }
    if (!context->recomputing) {
        lh_memory_set(memory, context, index,
                      lh_fifo_push(context, lh_memory_get(memory, index), slots, o->compressed));
    }
}

static void write(lh_memory *memory, lh_layer_io *io)
{
    const compressive_options *o = at(memory->shape, io->layer);
    lh_context *context = io->context;
    lh_tensor *evicted_usage = NULL;
    if (o->length == 0) {
        return;
    }
    if (has_slots(o) && o->compression.function == LH_COMPRESS_MOST_USED) {
        write_usage(memory, io, &evicted_usage);
    }
    if (!io->segment_z) {
        return;
    }
    int m_index = lh_memory_entry(memory, io->layer, MEMORY);
    lh_tensor *m = lh_memory_get(memory, m_index);
    if (has_slots(o)) {
        bool due = block_is_due(memory, io);
        lh_tensor *block = due || o->stepping == STEP_ALIGNED ? block_to_compress(memory, io, m) : NULL;
        if (due) {
            compress(memory, io, block, evicted_usage);
        }
    }
    if (!context->recomputing) {
        lh_memory_set(memory, context, m_index, lh_fifo_push(context, m, io->segment_z, o->length));
        memory->derived_valid[io->layer] = false;
    }
}

const lh_memory_kind lh_memory_compressive = {
    .name = "compressive",
    .summary = "Transformer-XL's memory and, behind it, what fell out of it in compressed form",
    .keys = keys,
    .compare = "[model]\npositions = relative\n[memory]\nlength = {memory/2}\ncompressed = {memory/2}\n",
    .configure = configure,
    .parameters = parameters,
    .history = history,
    .reach = reach,
    .keys_seen = keys_seen,
    .adjustable = adjustable,
    .create = create,
    .read = read,
    .write = write,
};
