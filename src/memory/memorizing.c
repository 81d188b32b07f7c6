/* Memorizing Transformer (Wu et al. 2022): a layer near the top also attends to the k best of the last N keys of
 * its document, found by exact search, and mixes what it gets with local attention by a learned gate per head.
 *
 * Keys and values are stored as they were computed and are never computed again, so no gradient reaches them. A
 * segment is searched for before it is stored: the present never finds itself. All layers have the sliding window
 * of memory/window.c.
 *
 * The store is a ring that is written in place, guarded by a carried count. It has room for more than N rows, so
 * that what a step appends overwrites only rows that no segment of the step can see: forgetting a step is
 * forgetting the new count, and the backward pass finds the rows that the forward pass read. */
#include "memory/memorizing.h"

#include "memory/kinds.h"
#include "memory/window.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CONDITION "memory.kind=memorizing"

static const lh_recipe_key keys[] = {
    {"memory", "size", LH_RECIPE_INTEGER, "8192", 0, 1 << 24, NULL, CONDITION,
     "N: keys and values that a memory layer keeps of a document; 0: none"},
    {"memory", "neighbours", LH_RECIPE_INTEGER, "32", 1, 4096, NULL, CONDITION,
     "k: how many of them each query of each head attends to"},
    {"memory", "layers", LH_RECIPE_LIST, "", 0, 511, NULL, CONDITION,
     "layers, counted from 0, that have a memory; empty: one at three quarters of the depth (9 of 12)"},
    {"memory", "store", LH_RECIPE_CHOICE, "f32", 0, 0, "f32|f16|int8", CONDITION,
     "type of stored keys and values; int8 has a factor for each row"},
    {"memory", "buckets", LH_RECIPE_INTEGER, "0", 0, 1 << 16, NULL, CONDITION,
     "search only among the best of so many buckets of the store, as the released code does; 0: exact"},
    {"memory", "fewer", LH_RECIPE_CHOICE, "softmax", 0, 0, "softmax|zeros|closed", CONDITION,
     "while fewer than k are stored: attend to those, count the missing ones as zero keys and values as the "
     "released "
     "code does, or attend to those and close the gate while there is none"},
    {"memory", "combine", LH_RECIPE_CHOICE, "gate", 0, 0, "gate|add|stop-forward", CONDITION,
     "how retrieved and local attention become one: a learned gate per head, their sum, or the retrieved one with "
     "the gradient going to both"},
    {"memory", "gate_start", LH_RECIPE_REAL, "0", -100, 100, NULL, CONDITION " memory.combine=gate",
     "start of the gates before the sigmoid; negative when a memory is given to a trained model"},
    {"memory", "local_bias", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, CONDITION,
     "position biases in the local attention of memory layers"},
    {"memory", "cache", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, CONDITION,
     "local attention reaches into earlier segments, memory.window tokens back; false: it ends with the segment"},
    {0},
};

static const char *const adjustable[] = {
    "memory.size", "memory.neighbours", "memory.store", "memory.buckets", "memory.fewer", "memory.strict", NULL};

typedef enum few_mode { FEW_SOFTMAX, FEW_ZEROS, FEW_CLOSED } few_mode;
typedef enum combination { COMBINE_GATE, COMBINE_ADD, COMBINE_STOP_FORWARD } combination;

typedef struct memorizing_options {
    lh_window window;
    int64_t size, neighbours, buckets;
    bool whole; /* stored in the model's own type */
    lh_dtype stored;
    few_mode fewer;
    combination combine;
    double gate;
    bool local_bias, cache, rotary;
    bool has_store[LH_MEMORY_MAX_LAYERS];
} memorizing_options;

/* State of a memory layer, behind the window's entries. Factors are there for int8 only, running keys in inference
 * with rotary positions. */
enum { COUNT, KEYS, VALUES, KEY_FACTORS, VALUE_FACTORS };
/* Parameters of a memory layer. */
enum { GATE };
/* What project leaves for attend and write: queries and keys before rotation, [batch, tokens, heads, width]. */
enum { PLAIN_QUERIES, PLAIN_KEYS };

/* ---- configuration ---------------------------------------------------------------------------------------------
 */

static int choice(const lh_recipe *recipe, const char *name, const char *const *names)
{
    const char *value = lh_recipe_string(recipe, name);
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], value) == 0) {
            return i;
        }
    }
    return 0;
}

static lh_status read_layers(const lh_memory_shape *shape, memorizing_options *o, lh_error *error)
{
    size_t count;
    const int64_t *list = lh_recipe_list(shape->recipe, "memory.layers", &count);
    for (size_t i = 0; i < count; i++) {
        if (list[i] >= shape->layers) {
            return lh_recipe_reject(shape->recipe, "memory.layers", error, "names layer %lld of layers 0 to %lld",
                                    (long long)list[i], (long long)shape->layers - 1);
        }
        o->has_store[list[i]] = true;
    }
    int64_t at = shape->layers * 3 / 4 - 1;
    if (count == 0 && shape->layers > 0) {
        o->has_store[at > 0 ? at : 0] = true;
    }
    return LH_OK;
}

static lh_status configure(const lh_memory_shape *shape, void **options, lh_error *error)
{
    static const char *const stores[] = {"f32", "f16", "int8", NULL};
    static const char *const modes[] = {"softmax", "zeros", "closed", NULL};
    static const char *const combinations[] = {"gate", "add", "stop-forward", NULL};
    static const lh_dtype types[] = {LH_F32, LH_F16, LH_I8};
    const lh_recipe *recipe = shape->recipe;
    memorizing_options *o = lh_heap_alloc(sizeof *o);
    *options = o;
    if (!o) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the memory's configuration");
    }
    o->window.length = lh_recipe_integer(recipe, "memory.window");
    o->window.strict = lh_recipe_boolean(recipe, "memory.strict");
    o->size = lh_recipe_integer(recipe, "memory.size");
    o->neighbours = lh_recipe_integer(recipe, "memory.neighbours");
    o->buckets = lh_recipe_integer(recipe, "memory.buckets");
    o->stored = types[choice(recipe, "memory.store", stores)];
    o->whole = o->stored == LH_F32;
    o->fewer = (few_mode)choice(recipe, "memory.fewer", modes);
    o->combine = (combination)choice(recipe, "memory.combine", combinations);
    o->gate = lh_recipe_real(recipe, "memory.gate_start");
    o->local_bias = lh_recipe_boolean(recipe, "memory.local_bias");
    o->cache = lh_recipe_boolean(recipe, "memory.cache");
    o->rotary = strcmp(lh_recipe_string(recipe, "model.positions"), "rotary") == 0;
    if (o->buckets > 0 && o->buckets < o->neighbours) {
        return lh_recipe_reject(recipe, "memory.buckets", error,
                                "gives fewer than memory.neighbours = %lld rows, one from each bucket",
                                (long long)o->neighbours);
    }
    if (o->fewer == FEW_CLOSED && o->combine != COMBINE_GATE) {
        return lh_recipe_reject(recipe, "memory.fewer", error, "needs memory.combine = gate");
    }
    return read_layers(shape, o, error);
}

static bool has_store(const lh_memory_shape *shape, int layer)
{
    const memorizing_options *o = shape->options;
    return o->size > 0 && o->has_store[layer];
}

static lh_status parameters(const lh_memory_shape *shape, int layer, lh_parameters *list, lh_memory_parameters *out,
                            lh_error *error)
{
    const memorizing_options *o = shape->options;
    char name[96];
    if (layer < 0 || !o->has_store[layer] || o->combine != COMBINE_GATE) {
        return LH_OK;
    }
    (void)snprintf(name, sizeof name, "layers.%d.memory.gate", layer);
    return lh_parameters_add(list, &out->tensors[GATE], name, 1, &shape->heads, LH_INIT_CONSTANT, o->gate, false,
                             LH_GROUP_MAIN, error);
}

static int64_t history(const lh_memory_shape *shape)
{
    const memorizing_options *o = shape->options;
    return o->cache ? o->window.length : 0;
}

static int64_t reach(const lh_memory_shape *shape)
{
    const memorizing_options *o = shape->options;
    int64_t local = history(shape);
    return o->size > local ? o->size : local;
}

/* A stored key costs a product with the query only, half of what an attended one does. */
static double keys_seen(const lh_memory_shape *shape, int layer)
{
    const memorizing_options *o = shape->options;
    double local = o->cache ? lh_window_keys_seen(&o->window) : ((double)shape->segment + 1.0) / 2.0;
    return has_store(shape, layer) ? local + 0.5 * (double)o->size + (double)o->neighbours : local;
}

/* ---- state -----------------------------------------------------------------------------------------------------
 */

/* Number of a memory layer's entry. */
static int store_entry(const lh_memory *memory, int layer, int which)
{
    const memorizing_options *o = memory->shape->options;
    return lh_memory_entry(memory, layer, (o->cache ? LH_WINDOW_ENTRIES : 0) + which);
}

/* Rows that are written: all that is visible, and what one step appends. */
static int64_t ring_capacity(const lh_memory *memory)
{
    const memorizing_options *o = memory->shape->options;
    return o->size + memory->shape->segment * memory->unroll;
}

static lh_status create_store(lh_memory *memory, int layer, lh_error *error)
{
    const lh_memory_shape *s = memory->shape;
    const memorizing_options *o = s->options;
    int64_t slots =
        ring_capacity(memory) + 1; /* the last one holds zeros for ever: the neighbour that is missing */
    int64_t keys_shape[4] = {memory->batch, s->kv_heads, slots, s->key_width};
    int64_t values_shape[4] = {memory->batch, s->kv_heads, slots, s->value_width};
    lh_dtype stored = o->whole ? memory->dtype : o->stored;
    LH_TRY(
        lh_memory_add(memory, LH_STATE_CARRIED, LH_I32, 1, &memory->batch, error, "layers.%d.store.count", layer));
    LH_TRY(lh_memory_add(memory, LH_STATE_STORE, stored, 4, keys_shape, error, "layers.%d.store.keys", layer));
    LH_TRY(lh_memory_add(memory, LH_STATE_STORE, stored, 4, values_shape, error, "layers.%d.store.values", layer));
    if (stored == LH_I8) {
        LH_TRY(lh_memory_add(memory, LH_STATE_STORE, LH_F32, 3, keys_shape, error, "layers.%d.store.key_factors",
                             layer));
        LH_TRY(lh_memory_add(memory, LH_STATE_STORE, LH_F32, 3, values_shape, error,
                             "layers.%d.store.value_factors", layer));
    }
    if (memory->inference && o->rotary) {
        int64_t running[4] = {memory->batch, s->segment, s->kv_heads, s->key_width};
        LH_TRY(lh_memory_add(memory, LH_STATE_RUNNING, memory->dtype, 4, running, error,
                             "layers.%d.store.running_keys", layer));
    }
    return LH_OK;
}

static int running_entry(const lh_memory *memory, int layer)
{
    const memorizing_options *o = memory->shape->options;
    return store_entry(memory, layer, o->stored == LH_I8 ? VALUE_FACTORS + 1 : VALUES + 1);
}

static lh_status create(lh_memory *memory, lh_error *error)
{
    const memorizing_options *o = memory->shape->options;
    for (int layer = 0; layer < memory->shape->layers; layer++) {
        lh_memory_layer(memory, layer);
        if (o->cache) {
            LH_TRY(lh_window_create(memory, &o->window, layer, error));
        }
        if (has_store(memory->shape, layer)) {
            LH_TRY(create_store(memory, layer, error));
        }
    }
    return LH_OK;
}

static lh_row_ring ring_of(const lh_memory *memory, int layer, int which)
{
    const memorizing_options *o = memory->shape->options;
    int factors = which == KEYS ? KEY_FACTORS : VALUE_FACTORS;
    return (lh_row_ring){.rows = lh_memory_get(memory, store_entry(memory, layer, which)),
                         .scale =
                             o->stored == LH_I8 ? lh_memory_get(memory, store_entry(memory, layer, factors)) : NULL,
                         .capacity = ring_capacity(memory)};
}

/* ---- a segment -------------------------------------------------------------------------------------------------
 */

/* Retrieval knows no positions: with rotary ones it uses queries and keys as they were before. */
static void project(lh_memory *memory, lh_layer_io *io)
{
    const memorizing_options *o = memory->shape->options;
    if (o->rotary && has_store(memory->shape, io->layer)) {
        bool pieces = memory->inference && !io->whole_segment;
        memory->scratch[PLAIN_QUERIES] = io->q;
        memory->scratch[PLAIN_KEYS] =
            lh_memory_extend(memory, io->context, pieces ? running_entry(memory, io->layer) : -1, io->fill, io->k);
    }
}

static void read(lh_memory *memory, lh_layer_io *io)
{
    const memorizing_options *o = memory->shape->options;
    if (o->cache) {
        lh_window_read(memory, io, &o->window, 0);
    }
    for (int s = 0; s < io->sources && !o->local_bias && has_store(memory->shape, io->layer); s++) {
        io->source[s].distance_bias = NULL;
    }
}

/* The queries that look for keys: without positions, but with what Transformer-XL adds for content. */
static lh_tensor *searching_queries(const lh_memory *memory, const lh_layer_io *io)
{
    const memorizing_options *o = memory->shape->options;
    lh_context *context = io->context;
    lh_tensor *q = o->rotary ? lh_transpose(context, memory->scratch[PLAIN_QUERIES], 1, 2) : io->q;
    if (io->content_bias) {
        int64_t shape[3] = {memory->shape->heads, 1, memory->shape->key_width};
        q = lh_add(context, q, lh_reshape(context, io->content_bias, 3, shape));
    }
    return q;
}

/* Softmax over the k best stored keys: [batch, heads, tokens, value_width]; zeros where nothing is stored. */
static lh_tensor *recall(lh_memory *memory, lh_layer_io *io, lh_tensor **found, lh_tensor **score)
{
    const memorizing_options *o = memory->shape->options;
    lh_context *context = io->context;
    lh_row_ring stored_keys = ring_of(memory, io->layer, KEYS), stored_values = ring_of(memory, io->layer, VALUES);
    lh_tensor *q = searching_queries(memory, io);
    int32_t missing = o->fewer == FEW_ZEROS ? (int32_t)stored_keys.capacity : -1;
    *found = lh_nearest(context, q, &stored_keys, lh_memory_get(memory, store_entry(memory, io->layer, COUNT)),
                        o->size, o->neighbours, o->buckets, missing, memory->observe ? score : NULL);
    lh_key_source source = lh_key_source_all(stored_keys.rows, stored_values.rows);
    source.layout = LH_KEYS_GATHERED;
    source.stop_gradient = true;
    source.gather = *found;
    source.k_scale = stored_keys.scale;
    source.v_scale = stored_values.scale;
    lh_attention_options options = {.scale = io->options.scale, .head_scale = io->options.head_scale};
    return lh_attention(context, q, 1, &source, &options, NULL);
}

/* [batch, 1, 1, 1]: 1 for lanes that have something stored, else 0. */
static lh_tensor *occupied(lh_memory *memory, const lh_layer_io *io)
{
    lh_context *context = io->context;
    int64_t shape[4] = {memory->batch, 1, 1, 1};
    double *count = lh_arena_alloc(&context->arena, sizeof *count * (size_t)memory->batch);
    if (!count) {
        return lh_op_fail(context, LH_E_MEMORY, "memorizing", "no memory for %lld counts",
                          (long long)memory->batch);
    }
    lh_to_host(context, lh_memory_get(memory, store_entry(memory, io->layer, COUNT)), count);
    for (int64_t lane = 0; lane < memory->batch; lane++) {
        count[lane] = count[lane] > 0 ? 1 : 0;
    }
    return lh_cast(context, lh_from_host(context, LH_F64, 4, shape, count), memory->dtype);
}

/* What becomes of local and retrieved attention, both [batch, heads, tokens, value_width]. */
static lh_tensor *combine(lh_memory *memory, const lh_layer_io *io, lh_tensor *local, lh_tensor *recalled)
{
    const memorizing_options *o = memory->shape->options;
    lh_context *context = io->context;
    /* in the order in which attention leaves its results */
    local = lh_transpose(context, local, 1, 2);
    recalled = lh_transpose(context, recalled, 1, 2);
    lh_tensor *sum = NULL;
    if (o->combine == COMBINE_ADD) {
        sum = lh_add(context, local, recalled);
    } else if (o->combine == COMBINE_STOP_FORWARD) { /* local attention's value cancels, its gradient does not */
        sum = lh_add(context, recalled, lh_subtract(context, local, lh_detach(context, local)));
    } else {
        lh_tensor *gate = lh_unary(context, LH_SIGMOID, io->parameters->tensors[GATE]);
        gate = lh_reshape(context, gate, 2, (int64_t[]){memory->shape->heads, 1});
        if (o->fewer == FEW_CLOSED) {
            gate = lh_multiply(context, occupied(memory, io), gate);
        }
        sum = lh_add(context, local, lh_multiply(context, lh_subtract(context, recalled, local), gate));
    }
    return lh_transpose(context, sum, 1, 2);
}

/* ---- for reports -----------------------------------------------------------------------------------------------
 */

static double *read_all(lh_context *context, const lh_tensor *x)
{
    double *values = x ? lh_arena_alloc(&context->arena, sizeof *values * (size_t)(lh_tensor_count(x) + 1)) : NULL;
    if (values) {
        lh_to_host(context, x, values);
    }
    return values;
}

/* Slots become positions, products become weights. */
static void describe_row(lh_retrieved *r, int64_t row, const double *slot, const double *product, double factor,
                         int64_t written, int64_t capacity)
{
    double sum = 0;
    for (int64_t n = 0; n < r->k; n++) {
        int64_t at = row * r->k + n, newest = written - 1;
        bool some = product[at] > (double)-INFINITY;
        int64_t age = some ? ((newest - (int64_t)slot[at]) % capacity + capacity) % capacity : 0;
        r->position[at] = some ? newest - age : -1;
        r->weight[at] = some ? exp(factor * (product[at] - product[row * r->k])) : 0;
        sum += r->weight[at];
    }
    for (int64_t n = 0; n < r->k && sum > 0; n++) {
        r->weight[row * r->k + n] /= sum;
    }
}

static void describe(lh_memory *memory, lh_layer_io *io, const lh_tensor *found, const lh_tensor *score)
{
    lh_context *context = io->context;
    lh_retrieved *r = lh_arena_alloc(&context->arena, sizeof *r);
    double *slot = read_all(context, found), *product = read_all(context, score);
    double *count = read_all(context, lh_memory_get(memory, store_entry(memory, io->layer, COUNT)));
    double *head_scale = read_all(context, io->head_scale);
    double *gate = read_all(context, io->parameters->tensors[GATE]);
    size_t cells = found ? (size_t)lh_tensor_count(found) : 0;
    int64_t *position = lh_arena_alloc(&context->arena, sizeof *position * (cells + 1));
    double *weight = lh_arena_alloc(&context->arena, sizeof *weight * (cells + 1));
    if (!r || !slot || !product || !count || !position || !weight || lh_op_stopped(context)) {
        return;
    }
    *r = (lh_retrieved){.batch = found->shape[0],
                        .heads = found->shape[1],
                        .tokens = found->shape[2],
                        .k = found->shape[3],
                        .position = position,
                        .weight = weight,
                        .gate = gate};
    for (int64_t h = 0; gate && h < r->heads; h++) {
        gate[h] = 1 / (1 + exp(-gate[h]));
    }
    double scale = io->options.scale != 0 ? io->options.scale : 1 / sqrt((double)memory->shape->key_width);
    for (int64_t row = 0; row < r->batch * r->heads * r->tokens; row++) {
        int64_t h = row / r->tokens % r->heads, b = row / r->tokens / r->heads;
        describe_row(r, row, slot, product, scale * (head_scale ? head_scale[h] : 1), (int64_t)count[b],
                     ring_capacity(memory));
    }
    io->retrieved = r;
}

/* ---- attention and storing -------------------------------------------------------------------------------------
 */

static lh_tensor *attend(lh_memory *memory, lh_layer_io *io)
{
    lh_context *context = io->context;
    lh_tensor *local = lh_attention(context, io->q, io->sources, io->source, &io->options, &io->lse);
    if (!has_store(memory->shape, io->layer)) {
        return local;
    }
    lh_tensor *found = NULL, *score = NULL, *recalled = recall(memory, io, &found, &score);
    if (memory->observe && !context->recomputing) {
        describe(memory, io, found, score);
    }
    return combine(memory, io, local, recalled);
}

static void write(lh_memory *memory, lh_layer_io *io)
{
    const memorizing_options *o = memory->shape->options;
    lh_context *context = io->context;
    if (o->cache) {
        lh_window_write(memory, io, &o->window, 0);
    }
    if (!io->segment_ends || context->recomputing || !has_store(memory->shape, io->layer)) {
        return;
    }
    int count = store_entry(memory, io->layer, COUNT);
    lh_row_ring stored_keys = ring_of(memory, io->layer, KEYS), stored_values = ring_of(memory, io->layer, VALUES);
    lh_tensor *k = o->rotary ? lh_transpose(context, memory->scratch[PLAIN_KEYS], 1, 2) : io->k;
    (void)lh_ring_append(context, &stored_keys, k, lh_memory_get(memory, count));
    lh_memory_set(memory, context, count,
                  lh_ring_append(context, &stored_values, io->v, lh_memory_get(memory, count)));
}

/* How far the gates of a layer are open, over its heads: at a half they begin (memory.gate_start = 0). */
static void figures(const lh_memory *memory, lh_context *context,
                    void (*tell)(void *user, const char *name, double value), void *user)
{
    const lh_memory_shape *shape = memory->shape;
    for (int layer = 0; layer < shape->layers && !lh_op_stopped(context); layer++) {
        double *gate = has_store(shape, layer) ? read_all(context, memory->parameters[layer]->tensors[GATE]) : NULL;
        double sum = 0, most = 0;
        char name[64];
        for (int64_t h = 0; gate && h < shape->heads; h++) {
            double open = 1 / (1 + exp(-gate[h]));
            sum += open;
            most = open > most ? open : most;
        }
        if (gate && !lh_op_stopped(context)) {
            (void)snprintf(name, sizeof name, "layer%d/gate_mean", layer);
            tell(user, name, sum / (double)shape->heads);
            (void)snprintf(name, sizeof name, "layer%d/gate_most", layer);
            tell(user, name, most);
        }
    }
}

const lh_memory_kind lh_memory_memorizing = {
    .name = "memorizing",
    .summary = "one layer attends to the best matches among very many old keys",
    .keys = keys,
    .compare = "[model]\n" LH_WINDOW_ATTENTION "[memory]\nwindow = {memory}\nsize = {16*memory}\n",
    .presets = lh_memorizing_presets,
    .adjustable = adjustable,
    .configure = configure,
    .parameters = parameters,
    .history = history,
    .reach = reach,
    .keys_seen = keys_seen,
    .create = create,
    .project = project,
    .read = read,
    .attend = attend,
    .write = write,
    .figures = figures,
};
