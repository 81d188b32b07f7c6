/* Transformer-VQ (Lingle 2023): keys, and only keys, are replaced by the nearest of S codes, so that everything
 * older than the last M tokens can be kept as S counts and S mean values, exactly. One softmax runs over [codes,
 * biased by the logarithm of their counts | the last M tokens | this segment] with Transformer-XL's relative
 * positions for distances 0 .. M and none beyond, wherever a token is kept: so what a token sees does not depend on
 * how the text is cut into segments.
 *
 * The sublayer is the paper's gated attention unit, or (memory.gated = false) multi-head or multi-query attention.
 */
#include "memory/kinds.h"
#include "memory/vq.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define HERE "memory.kind=transformer-vq"

static const lh_recipe_key keys[] = {
    {"memory", "codes", LH_RECIPE_INTEGER, "512", 1, 1 << 20, NULL, HERE,
     "codes of each key head's codebook in each layer (S)"},
    {"memory", "length", LH_RECIPE_INTEGER, "512", 0, 1 << 24, NULL, HERE,
     "tokens before a segment that are kept one by one, and the greatest distance with a position (M)"},
    {"memory", "aggregate", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, HERE,
     "keep counts and mean values of all older tokens; false: a sliding window of memory.length"},
    {"memory", "gated", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, HERE,
     "SiLU on the values and a SiLU gate behind attention (the gated attention unit)"},
    {"memory", "commitment", LH_RECIPE_REAL, "1e-4", 0, 1e6, NULL, HERE,
     "weight of the keys' squared distance from their codes, summed over layers"},
    {"memory", "decay", LH_RECIPE_REAL, "0.99", 0, 0.999999, NULL, HERE,
     "what an update leaves of the codebook's moving averages"},
    {"memory", "codebook_init", LH_RECIPE_CHOICE, "random", 0, 0, "random|keys", HERE,
     "random codes, or keys of the first iteration (k-means++)"},
    {"memory", "codebook", LH_RECIPE_CHOICE, "ema", 0, 0, "ema|gradient|fixed", HERE,
     "where codes come from: moving averages of their keys; parameters trained by the keys' squared distance; or "
     "sinusoids that stay as they are"},
    {"memory", "restart_below", LH_RECIPE_REAL, "0", 0, 1e9, NULL, HERE,
     "codes whose moving count falls below this are moved to a key; 0: never"},
    {"memory", "position_base", LH_RECIPE_REAL, "100000", 1, 1e12, NULL, HERE,
     "base of the sinusoids' frequencies"},
    {"memory", "absolute_positions", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, HERE,
     "add sinusoids of the place in the text, times a learned number, to the embeddings"},
    {"memory", "sinusoid_dropout", LH_RECIPE_REAL, "0", 0, 0.99, NULL, HERE,
     "on the sinusoid table, one mask for a whole sequence"},
    {"memory", "layer_dropout", LH_RECIPE_REAL, "0", 0, 0.99, NULL, HERE,
     "chance that a sequence leaves a sublayer (attention or MLP) out, from its beginning to its end"},
    {"memory", "embedding_bias", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, HERE,
     "the vector that the released code's embedding has and never uses when outputs are not tied to it"},
    {0},
};

/* What a token sees depends on memory.length alone, and a model holds for others than its own, too. */
static const char *const adjustable[] = {"memory.length", "memory.aggregate", NULL};

/* Entries of the state: two of no layer, then those of each layer. */
enum { POSITION, POSITION_TABLE, SHARED };
enum { COUNTS, MEANS, CACHE_CODES, CACHE_KEYS, CACHE_VALUES, HELD, STATES };
/* Behind them: what training gathers (vq.h), or in inference the running segment and what can be made again. */
enum { GATHERED = STATES };
enum { RUNNING_CODES = STATES, RUNNING_KEYS, RUNNING_VALUES, BOOK, RELATIVE };

/* ---- configuration ---- */

/* What the stack offers and this sublayer has no place for. */
static lh_status refuse_foreign_keys(const lh_recipe *recipe, lh_error *error)
{
    static const struct {
        const char *name, *why;
    } flags[] = {
        {"model.attention_bias", "must be false: the projections have no biases"},
        {"model.projection_bias", "must be false: the projections have no biases"},
        {"model.head_scale", "must be false: queries and keys are normed and scaled already"},
        {"model.null_logit", "must be false: a token always sees itself"},
        {"model.share_attention", "must be false: codebooks belong to their layer's keys"},
        {"model.same_length", "must be false: the state holds everything that came before"},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (lh_recipe_boolean(recipe, flags[i].name)) {
            return lh_recipe_reject(recipe, flags[i].name, error, "%s", flags[i].why);
        }
    }
    if (!lh_recipe_boolean(recipe, "model.see_self")) {
        return lh_recipe_reject(recipe, "model.see_self", error, "must be true: a token sees itself");
    }
    if (strcmp(lh_recipe_string(recipe, "model.positions"), "none") != 0) {
        return lh_recipe_reject(recipe, "model.positions", error, "must be none: Transformer-VQ brings its own");
    }
    if (strcmp(lh_recipe_string(recipe, "model.qk_norm"), "none") != 0) {
        return lh_recipe_reject(recipe, "model.qk_norm", error, "must be none: Transformer-VQ brings its own");
    }
    static const char *const rates[] = {"model.attention_dropout", "model.attention_input_dropout"};
    for (size_t i = 0; i < 2; i++) {
        if (lh_recipe_real(recipe, rates[i]) > 0.0) {
            return lh_recipe_reject(recipe, rates[i], error,
                                    "must be 0: far tokens share their keys, so none can be dropped alone");
        }
    }
    return LH_OK;
}

static lh_vq_book book_of(const char *name)
{
    return strcmp(name, "gradient") == 0 ? LH_VQ_BOOK_GRADIENT
           : strcmp(name, "fixed") == 0  ? LH_VQ_BOOK_FIXED
                                         : LH_VQ_BOOK_EMA;
}

/* Codes that never change are not made of keys. */
static lh_status check_book(const lh_memory_shape *shape, const lh_vq_options *o, lh_error *error)
{
    if (o->book != LH_VQ_BOOK_FIXED) {
        return LH_OK;
    }
    if (o->first_keys) {
        return lh_recipe_reject(shape->recipe, "memory.codebook_init", error,
                                "must be random with memory.codebook = fixed: its codes are sinusoids");
    }
    if (o->restart_below > 0.0) {
        return lh_recipe_reject(shape->recipe, "memory.restart_below", error,
                                "must be 0 with memory.codebook = fixed: its codes never move");
    }
    if (shape->key_width % 2 != 0) {
        return lh_recipe_reject(shape->recipe, "memory.codebook", error, "needs keys of even width, not %lld",
                                (long long)shape->key_width);
    }
    return LH_OK;
}

static lh_status configure(const lh_memory_shape *shape, void **options, lh_error *error)
{
    const lh_recipe *recipe = shape->recipe;
    lh_vq_options *o = lh_heap_alloc(sizeof *o);
    *options = o;
    if (!o) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the memory's configuration");
    }
    o->codes = lh_recipe_integer(recipe, "memory.codes");
    o->length = lh_recipe_integer(recipe, "memory.length");
    o->aggregate = lh_recipe_boolean(recipe, "memory.aggregate");
    o->gated = lh_recipe_boolean(recipe, "memory.gated");
    o->commitment = lh_recipe_real(recipe, "memory.commitment");
    o->decay = lh_recipe_real(recipe, "memory.decay");
    o->first_keys = strcmp(lh_recipe_string(recipe, "memory.codebook_init"), "keys") == 0;
    o->restart_below = lh_recipe_real(recipe, "memory.restart_below");
    o->position_base = lh_recipe_real(recipe, "memory.position_base");
    o->absolute = lh_recipe_boolean(recipe, "memory.absolute_positions");
    o->sinusoid_dropout = lh_recipe_real(recipe, "memory.sinusoid_dropout");
    o->layer_dropout = lh_recipe_real(recipe, "memory.layer_dropout");
    o->embedding_bias = lh_recipe_boolean(recipe, "memory.embedding_bias");
    o->feed_forward = lh_recipe_boolean(recipe, "model.mlp");
    o->book = book_of(lh_recipe_string(recipe, "memory.codebook"));
    LH_TRY(check_book(shape, o, error));
    if (shape->width % 2 != 0) {
        return lh_recipe_reject(recipe, "model.width", error, "must be even for sinusoids");
    }
    return refuse_foreign_keys(recipe, error);
}

static int64_t history(const lh_memory_shape *shape)
{
    return ((const lh_vq_options *)shape->options)->length;
}

static int64_t reach(const lh_memory_shape *shape)
{
    const lh_vq_options *o = shape->options;
    return o->aggregate ? LH_DISTANCE_ANY : o->length;
}

/* The search for the nearest code counts as keys, too: codes x key_width products for each key head. */
static double keys_seen(const lh_memory_shape *shape, int layer)
{
    const lh_vq_options *o = shape->options;
    double seen =
        ((double)shape->segment + 1.0) / 2.0 + (double)o->length + (o->aggregate ? (double)o->codes : 0.0);
    (void)layer;
    return seen + (double)(o->codes * shape->kv_heads * shape->key_width) /
                      (double)(shape->heads * (shape->key_width + shape->value_width));
}

/* ---- parameters ---- */

/* Adds parameters and remembers the first failure, so that a layer reads as a list. */
typedef struct builder {
    lh_parameters *list;
    lh_memory_parameters *out;
    int layer;
    lh_status status;
    lh_error *error;
} builder;

static void add(builder *b, int which, const char *name, int ndim, const int64_t *shape, lh_init_kind init,
                double scale, bool decay, lh_parameter_group group)
{
    char full[96];
    if (b->status == LH_OK) {
        int used = b->layer < 0 ? 0 : snprintf(full, sizeof full, "layers.%d.", b->layer);
        (void)snprintf(full + used, sizeof full - (size_t)used, "%s", name);
        b->status = lh_parameters_add(b->list, &b->out->tensors[which], full, ndim, shape, init, scale, decay,
                                      group, b->error);
    }
}

/* A matrix [out, in], normal with variance 1 / in. */
static void add_matrix(builder *b, int which, const char *name, int64_t out, int64_t in)
{
    int64_t shape[2] = {out, in};
    add(b, which, name, 2, shape, LH_INIT_NORMAL, 1.0 / sqrt((double)in), true, LH_GROUP_MAIN);
}

static lh_status parameters(const lh_memory_shape *s, int layer, lh_parameters *list, lh_memory_parameters *out,
                            lh_error *error)
{
    const lh_vq_options *o = s->options;
    builder b = {.list = list, .out = out, .layer = layer, .error = error};
    int64_t one = 1, vocab = lh_recipe_integer(s->recipe, "model.vocab");
    if (layer < 0) {
        if (o->absolute) {
            add(&b, LH_VQ_POSITION_SCALE, "memory.position_scale", 1, &one, LH_INIT_CONSTANT, 0.0, false,
                LH_GROUP_MAIN);
        }
        if (o->embedding_bias) {
            add(&b, LH_VQ_EMBEDDING_BIAS, "memory.embedding_bias", 1, &vocab, LH_INIT_CONSTANT, 0.0, false,
                LH_GROUP_MAIN);
        }
        return b.status;
    }
    int64_t biases[2] = {s->heads, s->key_width}, sum[3] = {s->kv_heads, o->codes, s->key_width};
    add_matrix(&b, LH_VQ_QUERY, "attention.query.weight", s->heads * s->key_width, s->width);
    add_matrix(&b, LH_VQ_KEY, "attention.key.weight", s->kv_heads * s->key_width, s->width);
    add_matrix(&b, LH_VQ_VALUE, "attention.value.weight", s->kv_heads * s->value_width, s->width);
    if (o->gated) {
        add_matrix(&b, LH_VQ_GATE, "attention.gate.weight", s->heads * s->value_width, s->width);
    }
    add_matrix(&b, LH_VQ_RELATIVE, "attention.relative.weight", s->kv_heads * s->key_width, s->width);
    add_matrix(&b, LH_VQ_OUTPUT, "attention.output.weight", s->width, s->heads * s->value_width);
    add(&b, LH_VQ_CONTENT_BIAS, "attention.content_bias", 2, biases, LH_INIT_CONSTANT, 0.0, false, LH_GROUP_MAIN);
    add(&b, LH_VQ_POSITION_BIAS, "attention.position_bias", 2, biases, LH_INIT_CONSTANT, 0.0, false, LH_GROUP_MAIN);
    bool moving = o->book == LH_VQ_BOOK_EMA;
    if (o->book != LH_VQ_BOOK_FIXED) {
        add(&b, LH_VQ_SUM, moving ? "memory.codebook.sum" : "memory.codebook.table", 3, sum, LH_INIT_NORMAL,
            1.0 / sqrt((double)(s->kv_heads * o->codes)), false,
            moving ? LH_GROUP_STATISTICS : LH_GROUP_COMPRESSOR);
    }
    add(&b, LH_VQ_COUNT, "memory.codebook.count", 2, sum, LH_INIT_CONSTANT, 1.0, false, LH_GROUP_STATISTICS);
    return b.status;
}

/* ---- state ---- */

/* The constant table of sinusoids for distances 0 .. M: [sin(d w_i).., cos(d w_i)..]. */
static lh_status fill_sinusoids(lh_memory *memory, lh_tensor *table, lh_error *error)
{
    const lh_vq_options *o = memory->shape->options;
    lh_context *context;
    LH_TRY(lh_context_create(&context, memory->backend, 1, error));
    lh_memory_copy_values(
        context, lh_sinusoids(context, memory->dtype, 0, table->shape[0], table->shape[1], o->position_base, 0),
        table);
    lh_status status = lh_context_status(context, error);
    lh_context_free(context);
    return status;
}

static lh_status create_layer(lh_memory *memory, int layer, lh_error *error)
{
    const lh_memory_shape *s = memory->shape;
    const lh_vq_options *o = s->options;
    lh_dtype dtype = memory->dtype;
    int64_t codes = o->aggregate ? o->codes : 0, batch = memory->batch, heads = s->kv_heads, n = s->segment;
    int64_t counts[3] = {batch, heads, codes}, means[4] = {batch, heads, codes, s->value_width};
    int64_t code[3] = {batch, heads, o->length}, k[4] = {batch, heads, o->length, s->key_width};
    int64_t v[4] = {batch, heads, o->length, s->value_width};
    LH_TRY(lh_memory_add(memory, LH_STATE_CARRIED, LH_I32, 3, counts, error, "layers.%d.counts", layer));
    LH_TRY(lh_memory_add(memory, LH_STATE_CARRIED, dtype, 4, means, error, "layers.%d.means", layer));
    LH_TRY(lh_memory_add(memory, LH_STATE_CARRIED, LH_I32, 3, code, error, "layers.%d.cache.codes", layer));
    LH_TRY(lh_memory_add(memory, LH_STATE_CARRIED, dtype, 4, k, error, "layers.%d.cache.keys", layer));
    LH_TRY(lh_memory_add(memory, LH_STATE_CARRIED, dtype, 4, v, error, "layers.%d.cache.values", layer));
    LH_TRY(lh_vq_held_create(memory, layer, error));
    if (!memory->inference) {
        return lh_vq_gather_create(memory, layer, error);
    }
    int64_t running[4] = {batch, n, heads, 0}, book[3] = {heads, o->codes, s->key_width};
    int64_t relative[2] = {o->length + 1, heads * s->key_width};
    LH_TRY(lh_memory_add(memory, LH_STATE_RUNNING, LH_I32, 3, running, error, "layers.%d.segment.codes", layer));
    running[3] = s->key_width;
    LH_TRY(lh_memory_add(memory, LH_STATE_RUNNING, dtype, 4, running, error, "layers.%d.segment.keys", layer));
    running[3] = s->value_width;
    LH_TRY(lh_memory_add(memory, LH_STATE_RUNNING, dtype, 4, running, error, "layers.%d.segment.values", layer));
    LH_TRY(lh_memory_add_derived(memory, 3, book, error, "layers.%d.codebook", layer));
    return lh_memory_add_derived(memory, 2, relative, error, "layers.%d.relative", layer);
}

static lh_status create(lh_memory *memory, lh_error *error)
{
    const lh_memory_shape *s = memory->shape;
    const lh_vq_options *o = s->options;
    int64_t position[2] = {memory->batch, o->absolute ? 1 : 0}, table[2] = {o->length + 1, s->width};
    LH_TRY(lh_memory_add(memory, LH_STATE_CARRIED, LH_I32, 2, position, error, "absolute_position"));
    LH_TRY(lh_memory_add_derived(memory, 2, table, error, "sinusoids"));
    LH_TRY(fill_sinusoids(memory, memory->state[POSITION_TABLE].stored, error));
    for (int layer = 0; layer < s->layers; layer++) {
        lh_memory_layer(memory, layer);
        LH_TRY(create_layer(memory, layer, error));
    }
    return LH_OK;
}

/* ---- entry ---- */

/* Sinusoids of each lane's own positions, [batch, count, width]; the state moves on where a segment ends. */
static lh_tensor *absolute_positions(lh_memory *memory, lh_entry_io *io)
{
    const lh_memory_shape *s = memory->shape;
    const lh_vq_options *o = s->options;
    lh_context *context = io->context;
    int64_t batch = memory->batch, shape[2] = {batch, 1};
    double *begun = lh_arena_alloc(&context->arena, sizeof *begun * (size_t)batch);
    int32_t *next = lh_arena_alloc(&context->arena, sizeof *next * (size_t)batch);
    lh_tensor **lanes = lh_arena_alloc(&context->arena, sizeof(lh_tensor *) * (size_t)batch);
    if (!begun || !next || !lanes) {
        return lh_op_fail(context, LH_E_MEMORY, "transformer-vq", "no memory for the positions of %lld lanes",
                          (long long)batch);
    }
    lh_to_host(context, lh_memory_get(memory, POSITION), begun);
    for (int64_t lane = 0; lane < batch; lane++) {
        next[lane] = (int32_t)begun[lane] + (int32_t)s->segment;
        lh_tensor *rows = lh_sinusoids(context, memory->dtype, (int64_t)begun[lane] + io->fill, io->count, s->width,
                                       o->position_base, 0);
        lanes[lane] = lh_reshape(context, rows, 3, (int64_t[]){1, io->count, s->width});
    }
    if (io->fill + io->count == s->segment) {
        lh_memory_set(memory, context, POSITION, lh_from_host(context, LH_I32, 2, shape, next));
    }
    return lh_op_stopped(context) ? NULL : lh_concat(context, (int)batch, lanes, 0);
}

static lh_tensor *enter(lh_memory *memory, lh_entry_io *io)
{
    const lh_vq_options *o = memory->shape->options;
    lh_tensor *x = io->embed(io->context, io->model, io->tokens, memory->batch, io->count);
    if (!o->absolute) {
        return x;
    }
    lh_tensor *scale = memory->entry_parameters->tensors[LH_VQ_POSITION_SCALE];
    return lh_add(io->context, x, lh_multiply(io->context, absolute_positions(memory, io), scale));
}

/* ---- the sublayer ---- */

/* One layer and one call. */
typedef struct pass {
    lh_memory *memory;
    lh_layer_io *io;
    lh_context *context;
    const lh_memory_shape *shape;
    const lh_vq_options *options;
    lh_tensor *const *p; /* parameters */
    int first;           /* entry of the layer's first state */
    double scale;        /* key_width^(-1/4), on queries, keys, biases and relative keys */
    lh_tensor *codes;    /* i32 [batch, kv_heads, fill + tokens] */
    lh_vq_held held;
} pass;

/* z W as [batch, tokens, heads, width] */
static lh_tensor *project(const pass *a, lh_tensor *w, int64_t heads, int64_t width)
{
    lh_tensor *x = lh_linear(a->context, a->io->z, w, NULL);
    return lh_reshape(a->context, x, 4, (int64_t[]){a->memory->batch, a->io->tokens, heads, width});
}

/* Heads of root mean square key_width^(-1/4), as [batch, heads, tokens, key_width]. */
static lh_tensor *project_normed(const pass *a, lh_tensor *w, int64_t heads)
{
    lh_tensor *x = project(a, w, heads, a->shape->key_width);
    x = lh_scale(a->context, lh_rms_norm(a->context, x, NULL, a->shape->norm_eps), a->scale);
    return lh_transpose(a->context, x, 1, 2);
}

/* A tensor that depends on the weights alone: made once in inference. */
static lh_tensor *kept(const pass *a, int which, lh_tensor *(*make)(const pass *a))
{
    lh_memory *memory = a->memory;
    if (!memory->inference) {
        return make(a);
    }
    if (!memory->derived_valid[a->io->layer]) {
        lh_memory_set(memory, a->context, a->first + which, make(a));
    }
    return lh_op_stopped(a->context) ? NULL : lh_memory_get(memory, a->first + which);
}

static lh_tensor *make_codebook(const pass *a)
{
    return lh_vq_codebook(a->context, a->shape, a->io->parameters);
}

/* R[d] for d = 0 .. M as [M + 1, kv_heads key_width] */
static lh_tensor *make_relative(const pass *a)
{
    lh_tensor *table = lh_memory_get(a->memory, POSITION_TABLE);
    table = lh_vq_drop_sinusoids(a->memory, a->context, &a->held, table);
    return lh_scale(a->context, lh_linear(a->context, table, a->p[LH_VQ_RELATIVE], NULL), a->scale);
}

/* x with dimension `dim` of kv_heads repeated for the heads of each group. */
static lh_tensor *for_all_heads(const pass *a, lh_tensor *x, int dim)
{
    int64_t group = a->shape->heads / a->shape->kv_heads, shape[LH_MAX_DIMS] = {0};
    int ndim = x ? x->ndim : 0;
    if (group == 1 || !x) {
        return x;
    }
    for (int i = 0; i <= ndim; i++) {
        shape[i] = i <= dim ? x->shape[i] : i == dim + 1 ? 1 : x->shape[i - 1];
    }
    lh_tensor *wide = lh_expand(a->context, lh_reshape(a->context, x, ndim + 1, shape), dim + 1, group);
    shape[dim] *= group;
    memmove(shape + dim + 1, shape + dim + 2, sizeof *shape * (size_t)(ndim - dim - 1));
    return lh_reshape(a->context, wide, ndim, shape);
}

static lh_tensor *relative_keys(const pass *a)
{
    int64_t heads = a->shape->kv_heads, width = a->shape->key_width;
    lh_tensor *flat = kept(a, RELATIVE, make_relative);
    lh_tensor *split = lh_reshape(a->context, flat, 3, (int64_t[]){a->options->length + 1, heads, width});
    return for_all_heads(a, lh_transpose(a->context, split, 0, 1), 0);
}

/* Tokens that are no padding. */
static double text_tokens(const pass *a, lh_tensor *weight)
{
    return weight ? lh_scalar(a->context, lh_sum(a->context, weight)) : (double)(a->memory->batch * a->io->tokens);
}

/* The commitment loss: over key heads the sum, over tokens that are no padding the mean, of the squared distance.
 * The stack takes the mean over layers, the paper the sum. */
static lh_tensor *commitment(const pass *a, lh_tensor *distance, lh_tensor *weight, double count)
{
    if (!distance) {
        return NULL;
    }
    if (weight) {
        int64_t shape[3] = {weight->shape[0], 1, weight->shape[1]};
        distance = lh_multiply(a->context, distance, lh_reshape(a->context, weight, 3, shape));
    }
    double factor = count > 0 ? a->options->commitment * (double)a->shape->layers / count : 0.0;
    return lh_scale(a->context, lh_sum(a->context, distance), factor);
}

/* 1 for text and 0 for padding, [batch, tokens]; NULL: all text. */
static lh_tensor *text_weight(const pass *a)
{
    const lh_memory *memory = a->memory;
    int64_t shape[2] = {memory->batch, a->io->tokens}, count = shape[0] * shape[1];
    if (!memory->valid) {
        return NULL;
    }
    double *weight = lh_arena_alloc(&a->context->arena, sizeof *weight * (size_t)count);
    for (int64_t i = 0; weight && i < count; i++) {
        weight[i] = memory->valid[i] ? 1.0 : 0.0;
    }
    return weight ? lh_cast(a->context, lh_from_host(a->context, LH_F64, 2, shape, weight), memory->dtype)
                  : lh_op_fail(a->context, LH_E_MEMORY, "transformer-vq", "no memory for %lld weights",
                               (long long)count);
}

/* The layer's auxiliary loss: what pulls keys to codes, and with memory.codebook = gradient codes to keys. */
static lh_tensor *auxiliary_loss(const pass *a, lh_tensor *k, lh_tensor *distance, lh_tensor *weight)
{
    bool learned = a->options->book == LH_VQ_BOOK_GRADIENT, commits = a->options->commitment > 0.0;
    double count = learned || commits ? text_tokens(a, weight) : 0;
    lh_tensor *loss = commits ? commitment(a, distance, weight, count) : NULL;
    if (learned) {
        lh_tensor *own = lh_vq_codebook_loss(a->context, a->io->parameters, k, a->codes, weight, count);
        own = lh_scale(a->context, own, (double)a->shape->layers);
        loss = loss ? lh_add(a->context, loss, own) : own;
    }
    return loss;
}

/* Makes io->q, k, v: this segment so far, keys quantised. Gathers statistics, sets the auxiliary loss. */
static void project_segment(pass *a, lh_tensor *codebook)
{
    lh_context *context = a->context;
    lh_layer_io *io = a->io;
    const lh_memory_shape *s = a->shape;
    io->q = project_normed(a, a->p[LH_VQ_QUERY], s->heads);
    lh_tensor *k = project_normed(a, a->p[LH_VQ_KEY], s->kv_heads), *distance = NULL;
    lh_tensor *v = project(a, a->p[LH_VQ_VALUE], s->kv_heads, s->value_width);
    if (a->options->gated) {
        v = lh_bias_activation(context, v, NULL, LH_SILU);
    }
    bool trains = context->training && !a->memory->inference;
    lh_tensor *quantised = lh_quantise(context, k, codebook, &a->codes, trains ? &distance : NULL);
    if (trains && !lh_op_stopped(context)) {
        lh_tensor *weight = text_weight(a);
        lh_vq_gather(a->memory, context, a->first + GATHERED, k, a->codes, weight);
        io->auxiliary = auxiliary_loss(a, k, distance, weight);
    }
    bool pieces = !io->whole_segment;
    lh_tensor *rows[3] = {lh_transpose(context, a->codes, 1, 2), lh_transpose(context, quantised, 1, 2), v};
    for (int i = 0; i < 3; i++) {
        int entry = pieces ? a->first + RUNNING_CODES + i : -1;
        rows[i] = lh_transpose(context, lh_memory_extend(a->memory, context, entry, io->fill, rows[i]), 1, 2);
    }
    a->codes = rows[0];
    io->k = rows[1];
    io->v = rows[2];
}

static lh_key_source *append(lh_layer_io *io, const char *name, lh_tensor *k, lh_tensor *v)
{
    io->source[io->sources] = lh_key_source_all(k, v);
    io->source_name[io->sources] = name;
    return &io->source[io->sources++];
}

/* Key j of the source stands `distance` - j tokens before the segment's first one. Beyond distance M there is no
 * position, and without the aggregate nothing to see. */
static void place(const pass *a, lh_key_source *source, int64_t distance, lh_tensor *relative, lh_tensor *bias)
{
    source->offset = source->rel_offset = a->io->fill + distance;
    source->min_distance = 0;
    source->max_distance = a->options->aggregate ? LH_DISTANCE_ANY : a->options->length;
    source->rel_k = relative;
    source->position_bias = bias;
}

/* 0 for codes, -infinity for 0: an empty slot is not seen. codes [batch, kv_heads, n] -> [batch, 1, n]. */
static lh_tensor *hide_empty(const pass *a, lh_tensor *codes)
{
    double one = 1.0;
    int64_t single = 1;
    lh_tensor *some =
        lh_cast(a->context, lh_contiguous(a->context, lh_slice(a->context, codes, 1, 0, 1)), a->memory->dtype);
    lh_tensor *top = lh_cast(a->context, lh_from_host(a->context, LH_F64, 1, &single, &one), a->memory->dtype);
    return lh_unary(a->context, LH_LOG, lh_binary(a->context, LH_MINIMUM, some, top));
}

static void add_sources(pass *a, lh_tensor *codebook)
{
    lh_context *context = a->context;
    lh_layer_io *io = a->io;
    const lh_memory_shape *s = a->shape;
    lh_tensor *relative = relative_keys(a);
    lh_tensor *u = lh_scale(context, a->p[LH_VQ_CONTENT_BIAS], a->scale);
    lh_tensor *w = lh_scale(context, a->p[LH_VQ_POSITION_BIAS], a->scale);
    io->sources = 0;
    place(a, append(io, "segment", io->k, io->v), 0, relative, w);
    if (a->options->aggregate) {
        int64_t shape[4] = {1, s->kv_heads, a->options->codes, s->key_width};
        lh_key_source *codes = append(io, "codes", lh_reshape(context, codebook, 4, shape),
                                      lh_memory_get(a->memory, a->first + MEANS));
        lh_tensor *counts = lh_cast(context, lh_memory_get(a->memory, a->first + COUNTS), a->memory->dtype);
        codes->key_bias = for_all_heads(a, lh_unary(context, LH_LOG, counts), 1);
    }
    if (a->options->length > 0) {
        lh_key_source *cache = append(io, "cache", lh_memory_get(a->memory, a->first + CACHE_KEYS),
                                      lh_memory_get(a->memory, a->first + CACHE_VALUES));
        place(a, cache, a->options->length, relative, w);
        cache->key_bias = hide_empty(a, lh_memory_get(a->memory, a->first + CACHE_CODES));
    }
    for (int i = 0; i < io->sources; i++) {
        io->source[i].content_bias = u;
    }
}

/* Takes rows that leave the cache, [batch, heads, n, width] with their codes, into counts and means. */
static void let_go(const pass *a, lh_tensor **count, lh_tensor **mean, lh_tensor *codes, lh_tensor *v, int64_t n)
{
    lh_context *context = a->context;
    if (n > 0) {
        *mean = lh_code_means(context, *mean, *count, lh_contiguous(context, lh_slice(context, codes, 2, 0, n)),
                              lh_slice(context, v, 2, 0, n), count);
    }
}

/* The newest `length` of older and newer along dimension 2. */
static lh_tensor *newest(lh_context *context, lh_tensor *older, lh_tensor *newer, int64_t length)
{
    int64_t n = newer->shape[2];
    if (n >= length) {
        return lh_slice(context, newer, 2, n - length, length);
    }
    lh_tensor *parts[2] = {lh_slice(context, older, 2, n, length - n), newer};
    return lh_concat(context, 2, parts, 2);
}

/* A segment is complete: the oldest of cache and segment leave for the counts and means, the newest M stay. */
static void take_in(const pass *a)
{
    lh_context *context = a->context;
    lh_memory *memory = a->memory;
    int64_t n = a->shape->segment, length = a->options->length;
    lh_tensor *cache[3], *segment[3] = {a->codes, a->io->k, a->io->v};
    for (int i = 0; i < 3; i++) {
        cache[i] = lh_memory_get(memory, a->first + CACHE_CODES + i);
    }
    if (a->options->aggregate) {
        lh_tensor *count = lh_memory_get(memory, a->first + COUNTS),
                  *mean = lh_memory_get(memory, a->first + MEANS);
        let_go(a, &count, &mean, cache[0], cache[2], n < length ? n : length);
        let_go(a, &count, &mean, segment[0], segment[2], n - length);
        lh_memory_set(memory, context, a->first + COUNTS, count);
        lh_memory_set(memory, context, a->first + MEANS, mean);
    }
    for (int i = 0; i < 3 && length > 0; i++) {
        lh_memory_set(memory, context, a->first + CACHE_CODES + i, newest(context, cache[i], segment[i], length));
    }
}

static lh_tensor *sublayer(lh_memory *memory, lh_layer_io *io)
{
    const lh_memory_shape *s = memory->shape;
    lh_context *context = io->context;
    pass a = {.memory = memory,
              .io = io,
              .context = context,
              .shape = s,
              .options = s->options,
              .p = io->parameters->tensors,
              .first = lh_memory_entry(memory, io->layer, 0),
              .scale = pow((double)s->key_width, -0.25)};
    if (!lh_vq_held_get(memory, context, a.first + HELD, &a.held)) {
        return NULL;
    }
    lh_tensor *codebook = kept(&a, BOOK, make_codebook);
    project_segment(&a, codebook);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    add_sources(&a, codebook);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    memory->derived_valid[io->layer] = memory->inference;
    io->options = (lh_attention_options){.scale = 1.0};
    lh_tensor *out = lh_attention(context, io->q, io->sources, io->source, &io->options, &io->lse);
    int64_t merged[3] = {memory->batch, io->tokens, s->heads * s->value_width};
    out = lh_reshape(context, lh_transpose(context, out, 1, 2), 3, merged);
    if (io->segment_ends && !context->recomputing && !lh_op_stopped(context)) {
        take_in(&a);
    }
    lh_tensor *y = a.options->gated ? lh_gated_linear(context, lh_linear(context, io->z, a.p[LH_VQ_GATE], NULL),
                                                      out, LH_SILU, a.p[LH_VQ_OUTPUT])
                                    : lh_linear(context, out, a.p[LH_VQ_OUTPUT], NULL);
    io->hidden_scale = a.held.hidden_scale;
    return a.held.layer_scale ? lh_multiply(context, y, a.held.layer_scale) : y;
}

static void learn(lh_memory *const *memories, int count, lh_context *context)
{
    for (int layer = 0; layer < memories[0]->shape->layers && !lh_op_stopped(context); layer++) {
        lh_vq_learn(memories, count, context, layer, lh_memory_entry(memories[0], layer, GATHERED));
    }
}

const lh_memory_kind lh_memory_transformer_vq = {
    .name = "transformer-vq",
    .summary = "counts and mean values of everything that came before, by vector-quantised keys",
    .keys = keys,
    .presets = lh_vq_presets,
    .adjustable = adjustable,
    .compare =
        "[model]\npositions = none\nnorm = rms\nactivation = relu2\nprojection_bias = false\n[memory]\ngated = "
        "false\ncodes = {memory/2}\nlength = {memory/2}\ncodebook_init = keys\ndetach = false\n[train]\nunroll = "
        "4\n[data]\nbatch = {batch/4}\n",
    .configure = configure,
    .parameters = parameters,
    .history = history,
    .reach = reach,
    .keys_seen = keys_seen,
    .create = create,
    .enter = enter,
    .sublayer = sublayer,
    .learn = learn,
    .figures = lh_vq_figures,
};
