/* Cross attention of the Routing Transformer's decoder in blocks and clusters (Roy et al. 2021; of the code that
 * goes with it this form is known: queries and keys with tables of their own from the same centroids, blocks of the
 * source of another size, so that there are as many of them as of the target). A layer's first heads route, the
 * others see the block of the source that stands beside their own block of the target, and those on either side of
 * it.
 *
 * Nothing of the target takes part in choosing keys, and in causal mode a query's cluster is its own affair: so a
 * target token has no say in what an earlier one sees, and token by token the same comes out as at once. */
#include "memory/routing.h"

#include <string.h>

static const lh_routing *options_of(const lh_memory *memory)
{
    return memory->shape->options;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t lh_routing_cross_heads(const lh_memory_shape *shape, int layer)
{
    const lh_routing *r = shape->options;
    return layer < shape->layers && layer >= r->skip_first ? r->cross_heads : 0;
}

lh_status lh_routing_cross_configure(const lh_memory_shape *shape, lh_routing *r, lh_error *error)
{
    const lh_recipe *recipe = shape->recipe;
    r->cross = strcmp(lh_recipe_string(recipe, "memory.cross_attention"), "blocks") == 0;
    if (!r->cross) {
        return LH_OK;
    }
    int64_t blocks = (shape->segment + r->block - 1) / r->block;
    r->cross_heads = lh_recipe_integer(recipe, "memory.cross_routing_heads");
    r->cross_block = lh_recipe_integer(recipe, "memory.cross_block");
    r->cross_block = r->cross_block ? r->cross_block : (r->source + blocks - 1) / blocks;
    if (r->cross_heads > shape->heads) {
        return lh_recipe_reject(recipe, "memory.cross_routing_heads", error,
                                "are more than the %lld heads of a layer", (long long)shape->heads);
    }
    if (r->cross_heads > 0 && r->mode == LH_ROUTING_PREFIX) {
        return lh_recipe_reject(recipe, "memory.routing", error,
                                "is for models whose queries are the keys, which those of cross attention are not: "
                                "set it to causal with memory.cross_routing_heads above 0");
    }
    int64_t reach = (blocks + r->look_back / r->block) * r->cross_block;
    if (reach < r->source) {
        return lh_recipe_reject(
            recipe, "memory.cross_block", error,
            "leaves the source's end unseen: beside %lld blocks of the target stand its first %lld "
            "tokens, and memory.source = %lld; set 0",
            (long long)blocks, (long long)reach, (long long)r->source);
    }
    return LH_OK;
}

/* ---- what a layer learns and keeps -------------------------------------------------------------- */

int lh_routing_entry(const lh_memory *memory, int layer, bool cross, int which)
{
    int own = 0; /* entries of the layer's own attention, which stand before those of its cross attention */
    if (cross && lh_routing_heads(memory->shape, layer) > 0) {
        own = !memory->inference ? (lh_routing_shares_keys(memory->shape, layer) ? 2 : 4)
                                 : options_of(memory)->mode != LH_ROUTING_FULL;
    }
    return lh_memory_entry(memory, layer, own + which);
}

lh_status lh_routing_cross_create(lh_memory *memory, int layer, lh_error *error)
{
    const lh_routing *r = options_of(memory);
    int64_t heads = lh_routing_cross_heads(memory->shape, layer),
            sum[3] = {heads, r->clusters, memory->shape->key_width};
    int64_t members[4] = {memory->batch, heads, r->clusters, smaller(r->source_size, memory->shape->source)};
    if (heads == 0) {
        return LH_OK;
    }
    if (memory->inference) { /* the tokens of the source that each centroid takes */
        return lh_memory_add(memory, LH_STATE_DERIVED, LH_I32, 4, members, error, "layers.%d.cross_members", layer);
    }
    for (int keys = 0; keys < 2; keys++) {
        const char *of = keys ? "key_" : "";
        LH_TRY(lh_memory_add(memory, LH_STATE_STATISTIC, memory->dtype, 3, sum, error,
                             "layers.%d.cross_cluster_%ssums", layer, of));
        LH_TRY(lh_memory_add(memory, LH_STATE_STATISTIC, memory->dtype, 2, sum, error,
                             "layers.%d.cross_cluster_%stotals", layer, of));
    }
    return LH_OK;
}

/* ---- heads that route ---------------------------------------------------------------------------- */

/* For each centroid the tokens of the lane's source that it takes, i32 [batch, heads, clusters places]; y are the
 * source's keys, normed. *near as from lh_routing_members. */
static lh_tensor *choose_keys(lh_memory *memory, lh_layer_io *io, lh_tensor *y, lh_tensor **near)
{
    const uint8_t *target = memory->valid;
    memory->valid = io->source_tokens->valid;
    lh_tensor *members = lh_routing_members(memory, io, y, true, near);
    memory->valid = target;
    return members;
}

/* The same in inference: once for a source. */
static lh_tensor *kept_keys(lh_memory *memory, lh_layer_io *io, lh_tensor *k)
{
    lh_context *context = io->context;
    const lh_routing *r = options_of(memory);
    int64_t batch = k->shape[0], heads = k->shape[1], size = smaller(r->source_size, k->shape[2]);
    lh_tensor *stored = lh_memory_get(memory, lh_routing_entry(memory, io->layer, true, LH_ROUTING_CROSS_MEMBERS));
    stored = lh_slice(context, stored, 3, 0, size);
    if (!memory->derived_valid[io->layer] && !lh_op_stopped(context)) {
        lh_scope scope = lh_scope_begin(context);
        lh_tensor *near, *members = choose_keys(memory, io, lh_routing_norm(context, k), &near);
        members = members ? lh_reshape(context, members, 4, (int64_t[]){batch, heads, r->clusters, size}) : NULL;
        lh_memory_copy_values(context, members, stored);
        lh_scope_end(context, scope, 0, NULL);
        memory->derived_valid[io->layer] = !lh_op_stopped(context);
    }
    return lh_op_stopped(context) ? NULL : stored;
}

/* What centroids learn: from the queries, then from the keys. */
static void teach(lh_memory *memory, lh_layer_io *io, lh_tensor *const xyv[3], lh_tensor *const near[2])
{
    const uint8_t *target = memory->valid;
    for (int keys = 0; keys < 2 && io->context->training; keys++) {
        memory->valid = keys ? io->source_tokens->valid : target;
        lh_routing_gather_statistics(memory, io, xyv[keys], near[keys], keys);
        lh_routing_add_commitment(memory, io, xyv[keys], near[keys]);
    }
    memory->valid = target;
}

/* Few new tokens: each gathers the keys of its cluster. members [batch, heads, clusters, places]; xkv: of keys as
 * they come. */
static lh_tensor *attend_picked(lh_memory *memory, lh_layer_io *io, lh_tensor *const xkv[3], lh_tensor *members,
                                lh_tensor *near)
{
    lh_context *context = io->context;
    int64_t batch = near->shape[0], heads = near->shape[1], tokens = near->shape[2], size = members->shape[3];
    int64_t rows = batch * heads * tokens;
    double *own = lh_arena_alloc(&context->arena, sizeof *own * (size_t)(rows + size));
    int32_t *list = lh_arena_alloc(&context->arena, sizeof *list * (size_t)(rows * (size + 1)));
    if (!own || !list) {
        return lh_op_fail(context, LH_E_MEMORY, "routing", "no memory for the keys of %lld queries",
                          (long long)rows);
    }
    double *member = own + rows;
    int32_t *empty = list + rows * size;
    lh_to_host(context, near, own);
    for (int64_t row = 0; row < rows && !lh_op_stopped(context); row++) {
        lh_tensor *of_lane = lh_slice(context, members, 0, row / tokens / heads, 1);
        lh_tensor *of_head = lh_slice(context, of_lane, 1, row / tokens % heads, 1);
        lh_to_host(context, lh_slice(context, of_head, 2, (int64_t)own[row], 1), member);
        empty[row] = 0;
        for (int64_t i = 0; i < size; i++) {
            empty[row] += member[i] < 0;
        }
        for (int64_t i = 0; i < size; i++) { /* empty places, which end a cluster, go to its front */
            list[row * size + i] = i < empty[row] ? -1 : (int32_t)member[i - empty[row]];
        }
    }
    return lh_routing_attend_picked(memory, io, xkv,
                                    lh_from_host(context, LH_I32, 4, (int64_t[]){batch, heads, tokens, size}, list),
                                    lh_from_host(context, LH_I32, 3, (int64_t[]){batch, heads, tokens}, empty));
}

/* The groups of queries: each in its nearest cluster, or, in full mode, the best for each centroid. */
static bool group_queries(lh_memory *memory, lh_layer_io *io, lh_tensor *x, lh_tensor **near, lh_grouping *queries)
{
    const lh_routing *r = options_of(memory);
    double share;
    if (r->mode == LH_ROUTING_FULL) {
        *queries = (lh_grouping){.groups = r->clusters, .order = lh_routing_members(memory, io, x, false, near)};
        queries->start = queries->order ? lh_routing_fixed_starts(io, queries->order, r->clusters) : NULL;
        return queries->start != NULL;
    }
    return *near && lh_group(io->context, *near, r->clusters,
                             lh_routing_text(memory, io->context, io->tokens, &share), false, queries);
}

static lh_tensor *attend_clusters(lh_memory *memory, lh_layer_io *io, int64_t heads)
{
    const lh_routing *r = options_of(memory);
    lh_context *context = io->context;
    bool full = r->mode == LH_ROUTING_FULL;
    lh_tensor *x = lh_routing_norm(context, lh_slice(context, io->q, 1, 0, heads));
    lh_tensor *k = lh_slice(context, io->k, 1, 0, heads), *v = lh_slice(context, io->v, 1, 0, heads);
    lh_tensor *near[2] = {NULL, NULL}, *members = NULL;
    near[0] = full ? NULL : lh_routing_nearest(memory, io, x, io->fill, false);
    if (memory->inference && !lh_op_stopped(context)) {
        members = kept_keys(memory, io, k);
        if (members && near[0] && lh_routing_lists_pay(members->shape[3], io->tokens, k->shape[2])) {
            return attend_picked(memory, io, (lh_tensor *[]){x, k, v}, members, near[0]);
        }
        members = lh_contiguous(context, members);
        members = members ? lh_reshape(context, members, 3,
                                       (int64_t[]){members->shape[0], heads, r->clusters * members->shape[3]})
                          : NULL;
    }
    lh_tensor *xyv[3] = {x, lh_routing_norm(context, k), v};
    if (!memory->inference) {
        members = choose_keys(memory, io, xyv[1], &near[1]);
    }
    lh_grouping queries, keys = {.groups = r->clusters, .order = members};
    if (lh_op_stopped(context) || !group_queries(memory, io, x, &near[0], &queries)) {
        return NULL;
    }
    lh_routing_draw_anew(memory, context);
    keys.start = lh_routing_fixed_starts(io, members, r->clusters);
    teach(memory, io, xyv, near);
    return lh_routing_attend_sorted(memory, io, xyv, &queries, &keys, full ? LH_ROUTING_EXTRA : 0.0);
}

/* ---- local heads --------------------------------------------------------------------------------- */

/* The tokens of a source that a block of the target sees: first .. last - 1, of which a shorter source has fewer.
 */
static void block_seen(const lh_routing *r, int64_t block, int64_t source, int64_t *first, int64_t *last)
{
    int64_t around = r->look_back / r->block;
    *last = smaller(source, (block + around + 1) * r->cross_block);
    *first = smaller(*last, larger(0, block - around) * r->cross_block);
}

static lh_tensor *attend_blocks(lh_memory *memory, lh_layer_io *io, int64_t from, int64_t heads)
{
    const lh_routing *r = options_of(memory);
    lh_context *context = io->context;
    int64_t tokens = io->tokens, rows = memory->batch * tokens, shape[3] = {memory->batch, 1, tokens};
    lh_key_source keys =
        lh_key_source_all(lh_slice(context, io->k, 1, from, heads), lh_slice(context, io->v, 1, from, heads));
    int32_t *bounds = lh_arena_alloc(&context->arena, 2 * sizeof *bounds * (size_t)rows);
    if (!bounds) {
        return lh_op_fail(context, LH_E_MEMORY, "routing", "no memory for the bounds of %lld queries",
                          (long long)rows);
    }
    for (int64_t i = 0; i < rows; i++) {
        int64_t first, last;
        block_seen(r, (io->fill + i % tokens) / r->block, io->source_tokens->count[i / tokens], &first, &last);
        bounds[i] = (int32_t)first;
        bounds[rows + i] = (int32_t)last;
    }
    keys.low = lh_from_host(context, LH_I32, 3, shape, bounds);
    keys.high = lh_from_host(context, LH_I32, 3, shape, bounds + rows);
    return lh_attention(context, lh_slice(context, io->q, 1, from, heads), 1, &keys, &io->options, NULL);
}

/* ---- a layer ------------------------------------------------------------------------------------- */

lh_tensor *lh_routing_attend_cross(lh_memory *memory, lh_layer_io *io)
{
    int64_t heads = memory->shape->heads, routing = lh_routing_cross_heads(memory->shape, io->layer);
    lh_tensor *parts[2];
    int count = 0;
    if (!options_of(memory)->cross) {
        return lh_layer_attend_source(io);
    }
    if (lh_op_stopped(io->context)) {
        return NULL;
    }
    if (routing > 0) {
        parts[count++] = attend_clusters(memory, io, routing);
    }
    if (routing < heads) {
        parts[count++] = attend_blocks(memory, io, routing, heads - routing);
    }
    return lh_routing_join_heads(io->context, parts, count);
}

double lh_routing_cross_keys_seen(const lh_memory_shape *shape, int layer)
{
    const lh_routing *r = shape->options;
    if (!r->cross) {
        return (double)r->source;
    }
    double routing = (double)lh_routing_cross_heads(shape, layer), heads = (double)shape->heads, local = 0;
    double members = (double)smaller(r->source_size, r->source), queries = (double)smaller(r->size, shape->segment);
    /* in how many clusters a query stands */
    double copies = r->mode == LH_ROUTING_CAUSAL ? 1 : (double)r->clusters * queries / (double)shape->segment;
    for (int64_t at = 0; at < shape->segment; at += r->block) {
        int64_t first, last;
        block_seen(r, at / r->block, r->source, &first, &last);
        local += (double)((last - first) * smaller(r->block, shape->segment - at)) / (double)shape->segment;
    }
    return (routing * copies * members + (heads - routing) * local) / heads;
}
