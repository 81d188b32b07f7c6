/* What a Block-Recurrent Transformer is made of: recipe keys, which layer carries and which reads a state, and the
 * parameters of both. */
#include "memory/block_recurrent.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_RECURRENT (LH_MEMORY_SCRATCH / SLOTS)
#define KIND "memory.kind=block-recurrent"

const lh_recipe_key lh_block_recurrent_keys[] = {
    {"memory", "states", LH_RECIPE_INTEGER, "512", 1, 1 << 20, NULL, KIND, "S: state vectors of a recurrent layer"},
    {"memory", "recurrent_layers", LH_RECIPE_LIST, "-3", -LH_MEMORY_MAX_LAYERS, LH_MEMORY_MAX_LAYERS, NULL, KIND,
     "layers that carry a state, counted from 0, or from the end with a minus: -3 is the tenth of twelve"},
    {"memory", "read_layers", LH_RECIPE_LIST, "", -LH_MEMORY_MAX_LAYERS, LH_MEMORY_MAX_LAYERS, NULL,
     KIND " memory.feedback=false",
     "for each recurrent layer the layer whose tokens read its state, the same one or a lower; empty: the same"},
    {"memory", "feedback", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, KIND,
     "every layer reads the state of the next recurrent layer above it (of the last, where there is none)"},
    {"memory", "cell", LH_RECIPE_CHOICE, "skip", 0, 0, "skip|single|dual", KIND,
     "how a state is updated: projection and gate; MLP and gate; or projection, gate, MLP, gate"},
    {"memory", "gate", LH_RECIPE_CHOICE, "fixed", 0, 0, "fixed|lstm|full", KIND,
     "a learned constant for each channel; forget and input gates computed from what was read; or one such gate"},
    {"memory", "z_tanh", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, KIND " memory.cell=skip,dual",
     "bound what joins the state by tanh, as the paper writes for lstm gates"},
    {"memory", "z_tanh", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, KIND " memory.cell=single",
     "bound what joins the state by tanh, as released"},
    {"memory", "z_bias", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, KIND,
     "a bias on what joins the state, as the paper writes; the released code has none"},
    {"memory", "output_init", LH_RECIPE_CHOICE, "fan-in", 0, 0, "fan-in|zero", KIND,
     "zero: what is read from the state counts for nothing at first, and the model starts as its sliding window"},
    {"memory", "clear_every", LH_RECIPE_INTEGER, "0", 0, 1 << 30, NULL, KIND,
     "blocks after which the state starts anew; 0: only where a document begins; 1: nothing is ever remembered, "
     "which "
     "shows what the state is worth"},
    {0},
};

/* ---- configuration ---- */

static int choice_index(const lh_recipe *recipe, const char *name, const char *const *names)
{
    const char *value = lh_recipe_string(recipe, name);
    int i = 0;
    while (names[i + 1] && strcmp(names[i], value) != 0) {
        i++;
    }
    return i;
}

/* An entry of a list of layers, counted from 0; -1 if there is no such layer. */
static int layer_of(const lh_memory_shape *shape, int64_t entry)
{
    int64_t layer = entry < 0 ? shape->layers + entry : entry;
    return layer >= 0 && layer < shape->layers ? (int)layer : -1;
}

static lh_status read_layers(lh_recurrence *o, const lh_memory_shape *shape, lh_error *error)
{
    size_t count, reads;
    const int64_t *list = lh_recipe_list(shape->recipe, "memory.recurrent_layers", &count);
    if (count < 1 || count > MAX_RECURRENT) {
        return lh_recipe_reject(shape->recipe, "memory.recurrent_layers", error, "must name 1 to %d layers",
                                MAX_RECURRENT);
    }
    for (size_t i = 0; i < count; i++) {
        int layer = layer_of(shape, list[i]);
        if (layer < 0 || o->state[layer] >= 0) {
            return lh_recipe_reject(shape->recipe, "memory.recurrent_layers", error,
                                    layer < 0 ? "names a layer that a model of %lld layers does not have"
                                              : "names a layer of the %lld twice",
                                    (long long)shape->layers);
        }
        o->state[layer] = o->reads[layer] = (int)i;
        o->home[i] = layer;
    }
    o->count = (int)count;
    list = lh_recipe_list(shape->recipe, "memory.read_layers", &reads);
    if (reads == 0) {
        return LH_OK;
    }
    if (reads != count) {
        return lh_recipe_reject(shape->recipe, "memory.read_layers", error,
                                "must have as many entries as memory.recurrent_layers: %zu", count);
    }
    for (size_t i = 0; i < count; i++) {
        o->reads[o->home[i]] = -1;
    }
    for (size_t i = 0; i < count; i++) {
        int layer = layer_of(shape, list[i]);
        if (layer < 0 || layer > o->home[i] || o->reads[layer] >= 0) {
            return lh_recipe_reject(
                shape->recipe, "memory.read_layers", error,
                "must name different layers, none above the recurrent layer that it belongs to");
        }
        o->reads[layer] = (int)i;
    }
    return LH_OK;
}

/* With feedback each layer reads the state of the nearest recurrent layer at or above it, and those above the last
 * read the last. */
static void read_everywhere(lh_recurrence *o, const lh_memory_shape *shape)
{
    int last = 0;
    for (int i = 1; i < o->count; i++) {
        last = o->home[i] > o->home[last] ? i : last;
    }
    for (int layer = (int)shape->layers - 1; layer >= 0; layer--) {
        last = o->state[layer] >= 0 ? o->state[layer] : last;
        o->reads[layer] = last;
    }
}

lh_status lh_block_recurrent_configure(const lh_memory_shape *shape, void **options, lh_error *error)
{
    static const char *const forms[] = {"skip", "single", "dual", NULL};
    static const char *const gates[] = {"fixed", "lstm", "full", NULL};
    const lh_recipe *recipe = shape->recipe;
    lh_recurrence *o = lh_heap_alloc(sizeof *o);
    *options = o;
    if (!o) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the memory's configuration");
    }
    o->window.length = lh_recipe_integer(recipe, "memory.window");
    o->window.strict = lh_recipe_boolean(recipe, "memory.strict");
    o->states = lh_recipe_integer(recipe, "memory.states");
    o->clear_every = lh_recipe_integer(recipe, "memory.clear_every");
    o->feedback = lh_recipe_boolean(recipe, "memory.feedback");
    o->head_scale = lh_recipe_boolean(recipe, "model.head_scale");
    o->fan_in = strncmp(lh_recipe_string(recipe, "model.init"), "fan-in", 6) == 0;
    o->silent = strcmp(lh_recipe_string(recipe, "memory.output_init"), "zero") == 0;
    int64_t hidden = lh_recipe_integer(recipe, "model.hidden");
    o->cell = (lh_cell){.form = (lh_cell_form)choice_index(recipe, "memory.cell", forms),
                        .gate = (lh_cell_gate)choice_index(recipe, "memory.gate", gates),
                        .tanh = lh_recipe_boolean(recipe, "memory.z_tanh"),
                        .bias = lh_recipe_boolean(recipe, "memory.z_bias"),
                        .width = shape->width,
                        .read = 2 * shape->heads * shape->value_width,
                        .hidden = hidden ? hidden : 4 * shape->width,
                        .norm_eps = shape->norm_eps};
    if (o->window.length != shape->segment) {
        return lh_recipe_reject(recipe, "memory.window", error,
                                "must be model.segment = %lld: a block is a segment (train.unroll says how many of "
                                "them a step of training has)",
                                (long long)shape->segment);
    }
    memset(o->state, -1, sizeof o->state);
    memset(o->reads, -1, sizeof o->reads);
    LH_TRY(read_layers(o, shape, error));
    if (o->feedback) {
        read_everywhere(o, shape);
    }
    return LH_OK;
}

/* ---- parameters ---- */

typedef struct adder {
    const lh_memory_shape *shape;
    lh_parameters *list;
    int layer;
    lh_status status;
    lh_error *error;
} adder;

static void add(adder *a, lh_tensor **tensor, const char *suffix, int64_t rows, int64_t columns, lh_init_kind init,
                double scale, bool decay)
{
    char name[96];
    int64_t shape[2] = {rows, columns};
    if (a->status == LH_OK) {
        (void)snprintf(name, sizeof name, "layers.%d.memory.%s", a->layer, suffix);
        a->status = lh_parameters_add(a->list, tensor, name, columns > 0 ? 2 : 1, shape, init, scale, decay,
                                      LH_GROUP_MAIN, a->error);
    }
}

static void add_matrix(adder *a, lh_tensor **tensor, const char *suffix, int64_t out, int64_t in)
{
    add(a, tensor, suffix, out, in, LH_INIT_TRUNCATED_EXACT, 1.0 / sqrt((double)in), true);
}

static void add_scale(adder *a, lh_tensor **tensor, const char *suffix)
{
    const lh_recurrence *o = a->shape->options;
    if (o->head_scale) {
        add(a, tensor, suffix, a->shape->heads, 0, LH_INIT_CONSTANT, 1.0, false);
    }
}

/* Of a layer whose tokens read a state. Its output projection is one matrix [own | cross], of which the stack keeps
 * the first half: both start with the deviation of the whole. */
static void add_reading(adder *a, lh_tensor **tensors)
{
    const lh_memory_shape *s = a->shape;
    const lh_recurrence *o = s->options;
    int64_t in = s->heads * s->value_width;
    char name[96];
    add_matrix(a, &tensors[QUERY], "query.weight", s->heads * s->key_width, s->width);
    add_scale(a, &tensors[QUERY_SCALE], "head_scale");
    add(a, &tensors[OUTPUT], "output.weight", s->width, in, o->silent ? LH_INIT_CONSTANT : LH_INIT_TRUNCATED_EXACT,
        o->silent ? 0.0 : 1.0 / sqrt(2.0 * (double)in), true);
    (void)snprintf(name, sizeof name, "layers.%d.attention.output.weight", a->layer);
    lh_parameter *own = lh_parameters_find(a->list, name);
    if (own && o->fan_in && !o->silent) {
        own->scale = 1.0 / sqrt(2.0 * (double)in);
    }
}

/* Of a layer that carries a state. */
static void add_state(adder *a, lh_tensor **tensors)
{
    const lh_memory_shape *s = a->shape;
    const lh_recurrence *o = s->options;
    int64_t keys_out = s->kv_heads * (s->key_width + s->value_width), queries = s->heads * s->key_width;
    char prefix[48];
    add(a, &tensors[STATE_NORM], "state.norm.weight", s->width, 0, LH_INIT_CONSTANT, 1.0, false);
    add(a, &tensors[STATE_IDENTITY], "state.identity.table", o->states, s->width, LH_INIT_NORMAL, 1.0, false);
    add(a, &tensors[STATE_START], "state.start.table", o->states, s->width, LH_INIT_NORMAL, 0.1, false);
    add_matrix(a, &tensors[STATE_QUERY], "state.query.weight", queries, s->width);
    add_scale(a, &tensors[STATE_SCALE], "state.head_scale");
    add_matrix(a, &tensors[TOKEN_QUERY], "state.token_query.weight", queries, s->width);
    add_scale(a, &tensors[TOKEN_SCALE], "state.token_head_scale");
    add_matrix(a, &tensors[STATE_KEY_VALUE], "state.key_value.weight", keys_out, s->width);
    (void)snprintf(prefix, sizeof prefix, "layers.%d.memory.state", a->layer);
    if (a->status == LH_OK) {
        a->status = lh_cell_parameters(&o->cell, prefix, a->list, &tensors[CELL], a->error);
    }
}

lh_status lh_block_recurrent_parameters(const lh_memory_shape *shape, int layer, lh_parameters *list,
                                        lh_memory_parameters *out, lh_error *error)
{
    const lh_recurrence *o = shape->options;
    adder a = {.shape = shape, .list = list, .layer = layer, .status = LH_OK, .error = error};
    if (layer >= 0 && o->reads[layer] >= 0) {
        add_reading(&a, out->tensors);
    }
    if (layer >= 0 && o->state[layer] >= 0) {
        add_state(&a, out->tensors);
    }
    return a.status;
}
