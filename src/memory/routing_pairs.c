/* The Routing Transformer as an encoder and a decoder (Roy et al. 2021; the code that goes with it configures arXiv
 * and PubMed that way): what its encoder is configured by, and its local heads. Routing heads of the encoder are
 * those of routing_keys.c, over the whole source: queries and keys of their own, the best of the source for each
 * centroid. Nothing is hidden from anyone there, so that this selection leaks nothing. */
#include "memory/routing.h"

#define ONLY "memory.kind=routing-pairs"
#define BLOCKS ONLY " memory.cross_attention=blocks"

const lh_recipe_key lh_routing_pairs_keys[] = {
    {"memory", "encoder_layers", LH_RECIPE_INTEGER, "4", 1, 256, NULL, ONLY, "layers of the encoder"},
    {"memory", "source", LH_RECIPE_INTEGER, "1024", 1, 1 << 24, NULL, ONLY,
     "tokens of a source that the encoder reads at most; model.segment is the window of the target"},
    {"memory", "cross_attention", LH_RECIPE_CHOICE, "dense", 0, 0, "dense|blocks", ONLY,
     "what the decoder sees of its source: dense, all of it; blocks, as published: the first heads attend within "
     "clusters of it, the others to the block beside their own"},
    {"memory", "cross_routing_heads", LH_RECIPE_INTEGER, "1", 0, 1024, NULL, BLOCKS,
     "heads of cross attention that attend within clusters (the first ones), in layers from skip_first on"},
    {"memory", "cross_block", LH_RECIPE_INTEGER, "0", 0, 1 << 24, NULL, BLOCKS,
     "tokens of the source's block beside a block of the target; 0: as many as give both the same number of "
     "blocks"},
    {0},
};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

lh_status lh_routing_pairs_configure(const lh_memory_shape *shape, lh_routing *r, lh_error *error)
{
    const lh_recipe *recipe = shape->recipe;
    r->encoder_layers = lh_recipe_integer(recipe, "memory.encoder_layers");
    r->source = lh_recipe_integer(recipe, "memory.source");
    r->source_size = lh_recipe_integer(recipe, "memory.cluster_size");
    r->source_size = r->source_size ? r->source_size : (r->source + r->clusters - 1) / r->clusters;
    if (r->spread > 0) {
        return lh_recipe_reject(recipe, "memory.cluster_strided_heads", error,
                                "are not built for an encoder: set 0 with memory.kind = routing-pairs");
    }
    if (r->assignment == LH_ROUTING_BY_HASH) {
        return lh_recipe_reject(recipe, "memory.assignment", error,
                                "by hashing is not built for an encoder: set centroids with memory.kind = "
                                "routing-pairs");
    }
    if (r->strided > 0) {
        return lh_recipe_reject(recipe, "memory.strided_heads", error,
                                "see earlier tokens only, which an encoder's do not: set 0 with memory.kind = "
                                "routing-pairs");
    }
    return lh_routing_cross_configure(shape, r, error);
}

void lh_routing_encoder(const lh_memory_shape *shape, int64_t *layers, int64_t *source)
{
    const lh_routing *r = shape->options;
    *layers = r->encoder_layers;
    *source = r->source;
}

/* Which keys each query sees, i32 [batch, 1, tokens] twice: none behind the end of its lane's source. */
static void bound_keys(const lh_memory *memory, lh_layer_io *io, lh_key_source *keys)
{
    const lh_routing *r = memory->shape->options;
    int64_t batch = memory->batch, tokens = io->tokens, shape[3] = {batch, 1, tokens};
    int32_t *bounds = lh_arena_alloc(&io->context->arena, 2 * sizeof *bounds * (size_t)(batch * tokens));
    if (!bounds) {
        lh_op_fail(io->context, LH_E_MEMORY, "routing", "no memory for the bounds of %lld queries",
                   (long long)tokens);
        return;
    }
    for (int64_t i = 0; i < batch * tokens; i++) {
        int64_t block = i % tokens / r->block * r->block, first = block - r->look_back;
        bounds[i] = (int32_t)(first > 0 ? first : 0);
        bounds[batch * tokens + i] =
            (int32_t)smaller(io->source_tokens->count[i / tokens], block + r->block + r->look_back);
    }
    keys->low = lh_from_host(io->context, LH_I32, 3, shape, bounds);
    keys->high = lh_from_host(io->context, LH_I32, 3, shape, bounds + batch * tokens);
}

/* The rows of a table [2 R + 1, width] for distances -most .. most, once for each head. */
static lh_tensor *table_rows(lh_context *context, lh_tensor *table, int64_t distance, int64_t most, int64_t heads)
{
    lh_tensor *rows = lh_slice(context, table, 0, distance - most, 2 * most + 1);
    rows = rows ? lh_reshape(context, rows, 3, (int64_t[]){1, 2 * most + 1, table->shape[1]}) : NULL;
    return heads == 1 ? rows : lh_expand(context, rows, 0, heads);
}

lh_tensor *lh_routing_attend_both_sides(lh_memory *memory, lh_layer_io *io, int64_t first, int64_t heads)
{
    const lh_routing *r = memory->shape->options;
    lh_context *context = io->context;
    lh_tensor *const *tables = io->parameters->tensors;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_tensor *q = lh_slice(context, io->q, 1, first, heads);
    lh_key_source keys =
        lh_key_source_all(lh_slice(context, io->k, 1, first, heads), lh_slice(context, io->v, 1, first, heads));
    /* How far apart two tokens that see each other may be: what tables and kernels need. */
    int64_t reach = r->look_back + r->block - 1, most = smaller(r->distance, reach);
    keys.min_distance = -reach;
    keys.max_distance = reach;
    bound_keys(memory, io, &keys);
    if (tables[LH_ROUTING_LOCAL_KEYS]) {
        keys.rel_k = table_rows(context, tables[LH_ROUTING_LOCAL_KEYS], r->distance, most, heads);
        keys.rel_v = table_rows(context, tables[LH_ROUTING_LOCAL_VALUES], r->distance, most, heads);
        keys.rel_first = -most;
        keys.rel_clamp = true;
    }
    lh_attention_options options = {.scale = io->options.scale, .dropout = io->attention_dropout};
    return lh_attention(context, q, 1, &keys, &options, NULL);
}

/* The arithmetic on a whole source, of the encoder and of the decoder's cross attention, shared out over the tokens
 * of a whole target. */
double lh_routing_encoder_flops(const lh_memory_shape *shape)
{
    const lh_routing *r = shape->options;
    double source = (double)r->source, keys = 0, layers = (double)r->encoder_layers;
    double members = (double)smaller(r->source_size, r->source), local = (double)(r->block + 2 * r->look_back);
    double width = (double)shape->width, hidden = (double)lh_recipe_integer(shape->recipe, "model.hidden");
    bool gated = false;
    lh_function function;
    (void)lh_activation_find(lh_recipe_string(shape->recipe, "model.activation"), &function, &gated);
    hidden = hidden > 0 ? hidden : 4 * width;
    for (int layer = 0; layer < r->encoder_layers; layer++) {
        double routing = (double)lh_routing_heads(shape, (int)shape->layers + layer);
        keys += routing * (double)r->clusters * members / source * members +
                ((double)shape->heads - routing) * (local < source ? local : source);
    }
    double matrices = 2 * width * (double)(shape->heads * shape->key_width) +
                      2 * width * (double)(shape->heads * shape->value_width) + (gated ? 3 : 2) * width * hidden;
    double head = (double)(shape->key_width + shape->value_width);
    /* the decoder's keys and values of the source */
    double cross = (double)shape->layers * width * (double)shape->heads * head;
    double token = 2 * layers * matrices + 2 * cross + 2 * keys * head;
    return token * source / (double)shape->segment;
}
