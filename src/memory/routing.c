/* The Routing Transformer as a memory kind: its configuration, parameters and hooks. */
#include "memory/routing.h"

#include "memory/kinds.h"
#include "memory/source.h"

#include <stdio.h>
#include <string.h>

#define ROUTING "memory.kind=routing,routing-image,routing-pairs"

static const lh_recipe_key keys[] = {
    {"memory", "routing", LH_RECIPE_CHOICE, "causal", 0, 0, "causal|prefix|full", ROUTING,
     "who may stand in a cluster: causal, each token in its nearest one, seeing the latest members; full, as "
     "published for training, the best of the whole window, so that later tokens have a say in who sees whom; "
     "prefix, as published for decoding, the best so far (evaluation and generation only)"},
    {"memory", "routing_heads", LH_RECIPE_INTEGER, "1", 0, 1024, NULL, ROUTING,
     "heads of a layer that attend within clusters (the first ones)"},
    {"memory", "cluster_strided_heads", LH_RECIPE_INTEGER, "0", 0, 1024, NULL, ROUTING,
     "heads behind the routing ones, not more of them, whose clusters take tokens at even distances from near to "
     "far; "
     "only with memory.routing = full"},
    {"memory", "strided_heads", LH_RECIPE_INTEGER, "0", 0, 1024, NULL, ROUTING,
     "heads that see the same place in every earlier block; the rest are local"},
    {"memory", "skip_first", LH_RECIPE_INTEGER, "0", 0, 512, NULL, ROUTING,
     "first layers that have local heads only"},
    {"memory", "clusters", LH_RECIPE_INTEGER, "16", 1, 1 << 16, NULL, ROUTING, "clusters of each routing head (K)"},
    {"memory", "cluster_size", LH_RECIPE_INTEGER, "0", 0, 1 << 24, NULL, ROUTING,
     "members of a cluster that a token sees at most (w); 0: segment / clusters"},
    {"memory", "block", LH_RECIPE_INTEGER, "256", 1, 1 << 24, NULL, ROUTING, "tokens of a local block (Q)"},
    {"memory", "look_back", LH_RECIPE_INTEGER, "256", 0, 1 << 24, NULL, ROUTING,
     "tokens before its own block that a local head sees (F), a multiple of block"},
    {"memory", "relative", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, ROUTING,
     "relative positions on keys and values of local heads (Shaw et al. 2018)"},
    {"memory", "cluster_relative", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, ROUTING,
     "the same in clusters, by rank among the members; only with share_keys"},
    {"memory", "distance", LH_RECIPE_INTEGER, "513", 1, 1 << 20, NULL, ROUTING,
     "the farthest relative position with rows of its own (R)"},
    {"memory", "head_mixer", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, ROUTING,
     "a linear layer over each head's output, one for all heads of a layer, as in the released weights"},
    {"memory", "share_keys", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, ROUTING,
     "queries are the keys in clusters; false: they are clustered each on their own and times decide who sees "
     "whom"},
    {"memory", "routing_scale", LH_RECIPE_REAL, "1", 1e-6, 1e6, NULL, ROUTING,
     "factor on logits in clusters; published: 1, without 1/sqrt(key_width)"},
    {"memory", "commitment", LH_RECIPE_REAL, "1e-4", 0, 1e3, NULL, ROUTING,
     "weight of the loss that keeps queries near their centroids (beta)"},
    {"memory", "assignment", LH_RECIPE_CHOICE, "centroids", 0, 0, "centroids|random|lsh", ROUTING,
     "how tokens are scored for clusters: by centroids; at random, anew for each training window (the paper's "
     "baseline); or lsh, by the signs of log2(clusters) fixed projections, without learning"},
    {"memory", "centroid_decay", LH_RECIPE_REAL, "0.999", 0, 1, NULL, ROUTING,
     "of the moving averages of centroids"},
    {"memory", "centroid_start", LH_RECIPE_CHOICE, "counted", 0, 0, "counted|data|official", ROUTING,
     "counted: a centroid counts as one member at first; data: the first iteration's means; official: it counts as "
     "none, and small batches blow centroids up"},
    {0},
};

static const char *const adjustable[] = {"memory.routing", "memory.cluster_size", NULL};
static const char *const adjustable_beside_source[] = {"memory.routing", "memory.cluster_size", "memory.source",
                                                       NULL};

/* A layer's number in its own stack: decoder or encoder. */
static int depth(const lh_memory_shape *shape, int layer)
{
    return layer < shape->layers ? layer : layer - (int)shape->layers;
}

int64_t lh_routing_heads(const lh_memory_shape *shape, int layer)
{
    const lh_routing *r = shape->options;
    return depth(shape, layer) < r->skip_first ? 0 : r->heads + r->spread;
}

int64_t lh_routing_strided(const lh_memory_shape *shape, int layer)
{
    const lh_routing *r = shape->options;
    return depth(shape, layer) < r->skip_first ? 0 : r->strided;
}

bool lh_routing_shares_keys(const lh_memory_shape *shape, int layer)
{
    const lh_routing *r = shape->options;
    return r->share_keys && layer < shape->layers;
}

const char *lh_routing_layer_name(const lh_memory_shape *shape, int layer, char name[LH_ROUTING_STACK])
{
    (void)snprintf(name, LH_ROUTING_STACK, layer < shape->layers ? "layers.%d" : "encoder.%d", depth(shape, layer));
    return name;
}

/* ---- configuration ----------------------------------------------------------------------------- */

static int choice_index(const lh_recipe *recipe, const char *name, const char *const *names, int count)
{
    int found = 0;
    for (int i = 0; i < count; i++) {
        found = strcmp(lh_recipe_string(recipe, name), names[i]) == 0 ? i : found;
    }
    return found;
}

static lh_status check_model(const lh_memory_shape *shape, const lh_routing *r, lh_error *error)
{
    const lh_recipe *recipe = shape->recipe;
    const char *positions = lh_recipe_string(recipe, "model.positions");
    bool added = strcmp(positions, "learned") == 0 || strcmp(positions, "sinusoidal") == 0; /* to the embeddings */
    if (strcmp(positions, "none") != 0 && (!added || r->image.height > 0)) {
        return lh_recipe_reject(recipe, "model.positions", error,
                                "does not go with memory.kind = %s, which has positions of its own: set none",
                                lh_recipe_string(recipe, "memory.kind"));
    }
    if (shape->kv_heads != shape->heads) {
        return lh_recipe_reject(recipe, "model.kv_heads", error, "must be model.heads with memory.kind = routing");
    }
    static const char *const absent[] = {"model.head_scale", "model.null_logit", "model.same_length",
                                         "model.share_attention"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        if (lh_recipe_boolean(recipe, absent[i])) {
            return lh_recipe_reject(recipe, absent[i], error, "does not go with memory.kind = routing");
        }
    }
    if (!lh_recipe_boolean(recipe, "model.see_self")) {
        return lh_recipe_reject(recipe, "model.see_self", error, "does not go with memory.kind = routing");
    }
    if (r->heads + r->spread + r->strided > shape->heads) {
        return lh_recipe_reject(
            recipe, "memory.routing_heads", error,
            "and memory.cluster_strided_heads and memory.strided_heads are more than the %lld heads of a layer",
            (long long)shape->heads);
    }
    if (!r->share_keys && r->heads > 0 && r->cluster_relative) {
        return lh_recipe_reject(recipe, "memory.cluster_relative", error,
                                "counts ranks that queries and keys have in common: set it to false with "
                                "memory.share_keys = false");
    }
    if (!r->share_keys && r->heads > 0 && r->mode == LH_ROUTING_PREFIX) {
        return lh_recipe_reject(recipe, "memory.routing", error,
                                "is for models whose queries are the keys: set it to causal with "
                                "memory.share_keys = false");
    }
    if (r->spread > r->heads) {
        return lh_recipe_reject(recipe, "memory.cluster_strided_heads", error,
                                "are more than memory.routing_heads = %lld", (long long)r->heads);
    }
    if (r->spread > 0 && r->mode != LH_ROUTING_FULL) {
        return lh_recipe_reject(recipe, "memory.cluster_strided_heads", error,
                                "sort the whole window, later tokens included: they go with memory.routing = full "
                                "alone");
    }
    if (r->look_back % r->block != 0) {
        return lh_recipe_reject(recipe, "memory.look_back", error, "is no multiple of memory.block = %lld",
                                (long long)r->block);
    }
    if (r->strided > 0 && shape->segment % r->block != 0) {
        return lh_recipe_reject(recipe, "memory.strided_heads", error,
                                "need segments of whole blocks: model.segment = %lld, memory.block = %lld",
                                (long long)shape->segment, (long long)r->block);
    }
    return LH_OK;
}

static lh_status configure(const lh_memory_shape *shape, void **options, lh_error *error)
{
    static const char *const modes[] = {"causal", "prefix", "full"};
    static const char *const starts[] = {"counted", "data", "official"};
    static const char *const assignments[] = {"centroids", "random", "lsh"};
    const lh_recipe *recipe = shape->recipe;
    lh_routing *r = lh_heap_alloc(sizeof *r);
    *options = r;
    if (!r) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the memory's configuration");
    }
    r->mode = (lh_routing_mode)choice_index(recipe, "memory.routing", modes, 3);
    r->start = (lh_centroid_start)choice_index(recipe, "memory.centroid_start", starts, 3);
    r->heads = lh_recipe_integer(recipe, "memory.routing_heads");
    r->strided = lh_recipe_integer(recipe, "memory.strided_heads");
    r->spread = lh_recipe_integer(recipe, "memory.cluster_strided_heads");
    r->skip_first = lh_recipe_integer(recipe, "memory.skip_first");
    r->clusters = lh_recipe_integer(recipe, "memory.clusters");
    r->size = lh_recipe_integer(recipe, "memory.cluster_size");
    r->size = r->size ? r->size : (shape->segment + r->clusters - 1) / r->clusters;
    r->block = lh_recipe_integer(recipe, "memory.block");
    r->look_back = lh_recipe_integer(recipe, "memory.look_back");
    r->distance = lh_recipe_integer(recipe, "memory.distance");
    r->relative = lh_recipe_boolean(recipe, "memory.relative");
    r->cluster_relative = lh_recipe_boolean(recipe, "memory.cluster_relative");
    r->mixer = lh_recipe_boolean(recipe, "memory.head_mixer");
    r->share_keys = lh_recipe_boolean(recipe, "memory.share_keys");
    r->assignment = (lh_routing_assignment)choice_index(recipe, "memory.assignment", assignments, 3);
    r->scale = lh_recipe_real(recipe, "memory.routing_scale");
    r->commitment = lh_recipe_real(recipe, "memory.commitment");
    r->decay = lh_recipe_real(recipe, "memory.centroid_decay");
    if (strcmp(lh_recipe_string(recipe, "memory.kind"), "routing-image") == 0) {
        LH_TRY(lh_routing_image_configure(shape, r, error));
    } else if (strcmp(lh_recipe_string(recipe, "memory.kind"), "routing-pairs") == 0) {
        LH_TRY(lh_routing_pairs_configure(shape, r, error));
    }
    LH_TRY(lh_routing_hash_check(shape, r, error));
    return check_model(shape, r, error);
}

/* ---- parameters and state ---------------------------------------------------------------------- */

typedef struct listing {
    lh_parameters *list;
    lh_memory_parameters *out;
    lh_error *error;
    lh_status status;
    const lh_memory_shape *shape;
    int layer;
} listing;

static void add(listing *l, int which, int ndim, const int64_t *shape, lh_init_kind init, double scale, bool decay,
                lh_parameter_group group, const char *what)
{
    char name[96], stack[LH_ROUTING_STACK];
    if (l->status == LH_OK) {
        (void)snprintf(name, sizeof name, "%s.memory.%s", lh_routing_layer_name(l->shape, l->layer, stack), what);
        l->status = lh_parameters_add(l->list, &l->out->tensors[which], name, ndim, shape, init, scale, decay,
                                      group, l->error);
    }
}

static void add_tables(listing *l, const lh_memory_shape *shape, int which, const char *key_name,
                       const char *value_name)
{
    const lh_routing *r = shape->options;
    int64_t rows = 2 * r->distance + 1, k[2] = {rows, shape->key_width}, v[2] = {rows, shape->value_width};
    add(l, which, 2, k, LH_INIT_UNIFORM, lh_init_unit_uniform(rows, k[1]), false, LH_GROUP_MAIN, key_name);
    add(l, which + 1, 2, v, LH_INIT_UNIFORM, lh_init_unit_uniform(rows, v[1]), false, LH_GROUP_MAIN, value_name);
}

/* Centroids [heads, clusters, key_width], and the moving averages behind them. */
static void add_centroids(listing *l, int which, const int64_t *shape, const char *of)
{
    static const char *const names[] = {"centroids", "centroid_means", "centroid_counts"};
    static const double start[] = {1.0, 0.0, -1.0};
    for (int i = 0; i < 3; i++) {
        char name[48];
        (void)snprintf(name, sizeof name, "%s%s", of, names[i]);
        add(l, which + i, i < 2 ? 3 : 2, shape, i ? LH_INIT_CONSTANT : LH_INIT_NORMED_ROWS, start[i], false,
            LH_GROUP_STATISTICS, name);
    }
}

static void add_cross(listing *l, const lh_memory_shape *shape)
{
    const lh_routing *r = shape->options;
    int64_t centroids[3] = {lh_routing_cross_heads(shape, l->layer), r->clusters, shape->key_width};
    if (centroids[0] > 0) {
        add_centroids(l, LH_ROUTING_CROSS_CENTROIDS, centroids, "cross_");
    }
}

static lh_status parameters(const lh_memory_shape *shape, int layer, lh_parameters *list, lh_memory_parameters *out,
                            lh_error *error)
{
    const lh_routing *r = shape->options;
    if (layer < 0) {
        return lh_routing_image_parameters(shape, list, out, error);
    }
    listing l = {.list = list, .out = out, .error = error, .shape = shape, .layer = layer};
    int64_t routing = lh_routing_heads(shape, layer),
            local = shape->heads - routing - lh_routing_strided(shape, layer);
    if (r->relative && local > 0) {
        add_tables(&l, shape, LH_ROUTING_LOCAL_KEYS, "local_keys.table", "local_values.table");
    }
    if (routing > 0) {
        int64_t centroids[3] = {routing, r->clusters, shape->key_width};
        if (r->cluster_relative && layer < shape->layers) {
            add_tables(&l, shape, LH_ROUTING_CLUSTER_KEYS, "cluster_keys.table", "cluster_values.table");
        }
        if (r->assignment == LH_ROUTING_BY_HASH) {
            int64_t projections[3] = {routing, lh_routing_hash_bits(r), shape->key_width};
            add(&l, LH_ROUTING_PROJECTIONS, 3, projections, LH_INIT_NORMAL, 1.0, false, LH_GROUP_STATISTICS,
                "projections");
        } else {
            add_centroids(&l, LH_ROUTING_CENTROIDS, centroids, "");
        }
    }
    add_cross(&l, shape);
    if (r->mixer) {
        int64_t square[2] = {shape->value_width, shape->value_width};
        add(&l, LH_ROUTING_MIXER, 2, square, LH_INIT_UNIFORM, lh_init_unit_uniform(square[0], square[1]), true,
            LH_GROUP_MAIN, "mixer.weight");
    }
    return l.status;
}

/* Queries are the keys of routing heads. */
static int64_t idle_keys(const lh_memory_shape *shape, int layer)
{
    return lh_routing_shares_keys(shape, layer) ? lh_routing_heads(shape, layer) : 0;
}

static int64_t history(const lh_memory_shape *shape)
{
    (void)shape;
    return 0;
}

/* Mean over a layer's heads, in a window: local blocks from their beginning, clusters that are full. */
static double keys_seen(const lh_memory_shape *shape, int layer)
{
    const lh_routing *r = shape->options;
    double segment = (double)shape->segment, heads = (double)shape->heads;
    double routing = (double)lh_routing_heads(shape, layer), strided = (double)lh_routing_strided(shape, layer);
    double local = (double)r->look_back + ((double)r->block + 1) / 2;
    double members = (double)r->size < segment ? (double)r->size : segment;
    double copies = r->mode == LH_ROUTING_CAUSAL ? 1 : (double)r->clusters * members / segment;
    local = local < (segment + 1) / 2 ? local : (segment + 1) / 2;
    return (routing * copies * (members + 1) / 2 + strided * (segment / (double)r->block + 1) / 2 +
            (heads - routing - strided) * local) /
           heads;
}

/* And, in the layer's cross attention, the source. */
static double keys_seen_beside_source(const lh_memory_shape *shape, int layer)
{
    return keys_seen(shape, layer) + lh_routing_cross_keys_seen(shape, layer);
}

static lh_status create_layer(lh_memory *memory, int layer, lh_error *error)
{
    const lh_memory_shape *shape = memory->shape;
    const lh_routing *r = shape->options;
    int64_t heads = r->heads + r->spread, near[3] = {memory->batch, shape->segment, heads};
    int64_t sum[3] = {heads, r->clusters, shape->key_width};
    int64_t scores[3] = {memory->batch, shape->segment, heads * r->clusters};
    if (!memory->inference) {
        char stack[LH_ROUTING_STACK];
        bool hashed = r->assignment == LH_ROUTING_BY_HASH; /* projections do not learn */
        lh_routing_layer_name(shape, layer, stack);
        for (int kind = 0; kind < (hashed ? 0 : lh_routing_shares_keys(shape, layer) ? 1 : 2); kind++) {
            const char *of = kind ? "key_" : "";
            LH_TRY(lh_memory_add(memory, LH_STATE_STATISTIC, memory->dtype, 3, sum, error, "%s.cluster_%ssums",
                                 stack, of));
            LH_TRY(lh_memory_add(memory, LH_STATE_STATISTIC, memory->dtype, 2, sum, error, "%s.cluster_%stotals",
                                 stack, of));
        }
        return LH_OK;
    }
    if (layer >= shape->layers) {
        return LH_OK; /* a source comes whole */
    }
    if (r->mode == LH_ROUTING_CAUSAL) {
        return lh_memory_add(memory, LH_STATE_RUNNING, LH_I32, 3, near, error, "layers.%d.nearest", layer);
    }
    if (r->mode == LH_ROUTING_PREFIX) {
        return lh_memory_add(memory, LH_STATE_RUNNING, memory->dtype, 3, scores, error, "layers.%d.scores", layer);
    }
    return LH_OK;
}

static lh_status create(lh_memory *memory, lh_error *error)
{
    LH_TRY(lh_routing_image_create(memory, error));
    for (int layer = 0; layer < memory->shape->layers + memory->shape->encoder_layers; layer++) {
        lh_memory_layer(memory, layer);
        if (lh_routing_heads(memory->shape, layer) > 0) {
            LH_TRY(create_layer(memory, layer, error));
        }
        LH_TRY(lh_routing_cross_create(memory, layer, error));
    }
    return LH_OK;
}

static lh_status create_beside_source(lh_memory *memory, lh_error *error)
{
    LH_TRY(lh_source_create(memory, memory->shape->source, error));
    return create(memory, error);
}

/* ---- a layer ----------------------------------------------------------------------------------- */

/* Of a window in pieces the keys are kept: those of routing heads as they are compared with centroids. */
static void project(lh_memory *memory, lh_layer_io *io)
{
    lh_context *context = io->context;
    int64_t routing = lh_routing_heads(memory->shape, io->layer), heads = memory->shape->heads;
    if (routing == 0 || io->whole_segment || lh_op_stopped(context)) {
        return;
    }
    const lh_routing *r = memory->shape->options;
    lh_tensor *keys_of = r->share_keys ? io->q : io->k;
    lh_tensor *parts[2] = {lh_routing_norm(context, lh_slice(context, keys_of, 2, 0, routing)),
                           lh_slice(context, io->k, 2, routing, heads - routing)};
    io->k = routing == heads ? parts[0] : lh_concat(context, 2, parts, 2);
}

static void read(lh_memory *memory, lh_layer_io *io)
{
    (void)memory;
    (void)io;
}

lh_tensor *lh_routing_join_heads(lh_context *context, lh_tensor **parts, int count)
{
    for (int i = 0; i < count; i++) { /* [batch, tokens, heads, width], as results are stored */
        parts[i] = lh_transpose(context, parts[i], 1, 2);
    }
    return lh_transpose(context, count == 1 ? parts[0] : lh_concat(context, count, parts, 2), 1, 2);
}

static lh_tensor *attend(lh_memory *memory, lh_layer_io *io)
{
    lh_context *context = io->context;
    int64_t routing = lh_routing_heads(memory->shape, io->layer),
            strided = lh_routing_strided(memory->shape, io->layer);
    int64_t local = memory->shape->heads - routing - strided;
    lh_tensor *parts[3];
    int count = 0;
    if (routing > 0) {
        parts[count++] = lh_routing_attend_routing(memory, io, routing);
    }
    if (strided > 0) {
        parts[count++] = lh_routing_attend_strided(memory, io, routing, strided);
    }
    if (local > 0) {
        parts[count++] = io->source_tokens ? lh_routing_attend_both_sides(memory, io, routing, local)
                                           : lh_routing_attend_local(memory, io, routing + strided, local);
    }
    io->head_mixer = io->parameters->tensors[LH_ROUTING_MIXER];
    return lh_routing_join_heads(context, parts, count);
}

static const char *note(const lh_memory_shape *shape)
{
    static const char *const notes[] = {
        "routing causal",
        "routing prefix, the published way of decoding",
        "routing full as published, no causal likelihood: later tokens help to choose clusters",
    };
    const lh_routing *r = shape->options;
    return r->heads + r->cross_heads > 0 ? notes[r->mode] : NULL;
}

static const char *cannot_write(const lh_memory_shape *shape)
{
    const lh_routing *r = shape->options;
    if (r->mode != LH_ROUTING_FULL || r->heads + r->cross_heads == 0) {
        return NULL;
    }
    if (r->spread > 0) {
        return "chooses clusters from whole windows, later tokens included (memory.routing = full), and its "
               "cluster-strided heads know no other way";
    }
    return r->share_keys && r->cross_heads == 0
               ? "chooses clusters from whole windows, later tokens included (memory.routing = full); set "
                 "memory.routing to prefix, the published way of decoding, or to causal"
               : "chooses clusters from whole windows, later tokens included (memory.routing = full); set "
                 "memory.routing to causal";
}

const lh_memory_kind lh_memory_routing = {
    .name = "routing",
    .summary = "each segment on its own; some heads attend within k-means clusters, the others locally",
    .keys = keys,
    /* Windows of four segments, a quarter of the lanes: as many tokens in a step, and something to route in. */
    .compare = "[model]\npositions = none\nsegment = {4*segment}\n[data]\nbatch = {batch/4}\n"
               "[memory]\nrouting_heads = {heads/2}\nskip_first = {layers/2}\nclusters = 8\nblock = {segment/2}\n"
               "look_back = {segment/2}\ndistance = {segment}\n",
    .presets = lh_routing_presets,
    .adjustable = adjustable,
    .forgets = true,
    .configure = configure,
    .parameters = parameters,
    .idle_keys = idle_keys,
    .history = history,
    .keys_seen = keys_seen,
    .create = create,
    .project = project,
    .read = read,
    .attend = attend,
    .learn = lh_routing_learn,
    .figures = lh_routing_figures,
    .note = note,
    .cannot_write = cannot_write,
};

/* The same layers behind another entrance. */
const lh_memory_kind lh_memory_routing_image = {
    .name = "routing-image",
    .summary = "the same on images: tokens are channel values, with positions along rows and columns",
    .keys = lh_routing_image_keys,
    .adjustable = adjustable,
    .forgets = true,
    .configure = configure,
    .parameters = parameters,
    .idle_keys = idle_keys,
    .history = history,
    .keys_seen = keys_seen,
    .create = create,
    .enter = lh_routing_enter_image,
    .project = project,
    .read = read,
    .attend = attend,
    .learn = lh_routing_learn,
    .figures = lh_routing_figures,
    .note = note,
    .cannot_write = cannot_write,
};

/* The same layers beside an encoder, whose layers are theirs in both directions. */
const lh_memory_kind lh_memory_routing_pairs = {
    .name = "routing-pairs",
    .summary = "encoder and decoder of such layers: a source is read in both directions, and its target written",
    .keys = lh_routing_pairs_keys,
    .adjustable = adjustable_beside_source,
    .forgets = true,
    .configure = configure,
    .parameters = parameters,
    .idle_keys = idle_keys,
    .history = history,
    .keys_seen = keys_seen_beside_source,
    .entry_flops = lh_routing_encoder_flops,
    .create = create_beside_source,
    .project = project,
    .read = read,
    .attend = attend,
    .learn = lh_routing_learn,
    .figures = lh_routing_figures,
    .note = note,
    .cannot_write = cannot_write,
    .encoder = lh_routing_encoder,
    .take_source = lh_source_take,
    .source = lh_source_look,
    .attend_source = attend,
    .attend_cross = lh_routing_attend_cross,
};
