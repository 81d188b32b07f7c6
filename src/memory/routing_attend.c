/* Local, strided and routing heads of the Routing Transformer on whole windows and on pieces of one. */
#include "kernels/table.h"
#include "memory/routing.h"

#include <math.h>

#define LIST_ROWS 16384 /* rows that lists of single queries may gather before the window is computed anew */
#define KEYS_APART 0x9e3779b97f4a7c15u  /* between the random numbers of queries and of keys */
#define CROSS_APART 0xd1b54a32d192ed03u /* and of a layer's own and its cross attention */
#define SCORES 4194304                  /* scores of centroids that exist at once */

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static const lh_routing *options_of(const lh_memory *memory)
{
    return memory->shape->options;
}

static lh_tensor *heads_of(lh_context *context, lh_tensor *x, int64_t first, int64_t count)
{
    return x ? lh_slice(context, x, 1, first, count) : NULL;
}

static lh_tensor *keys_of(lh_layer_io *io, int64_t first, int64_t count)
{
    return heads_of(io->context, io->k, first - io->first_key_head, count);
}

/* ---- relative tables --------------------------------------------------------------------------- */

/* The rows of a table [2 R + 1, width] for distances 0 .. longest - 1, once for each head. */
static lh_tensor *table_rows(lh_context *context, lh_tensor *table, int64_t distance, int64_t heads,
                             int64_t longest)
{
    int64_t used = smaller(distance, longest - 1) + 1;
    lh_tensor *rows = lh_slice(context, table, 0, distance, used);
    rows = rows ? lh_reshape(context, rows, 3, (int64_t[]){1, used, table->shape[1]}) : NULL;
    return heads == 1 ? rows : lh_expand(context, rows, 0, heads);
}

void lh_routing_place(lh_memory *memory, lh_layer_io *io, int keys, int64_t heads, int64_t longest,
                      lh_key_source *source)
{
    lh_tensor *const *tables = io->parameters->tensors;
    if (!tables[keys] || lh_op_stopped(io->context)) {
        return;
    }
    int64_t distance = options_of(memory)->distance;
    source->rel_k = table_rows(io->context, tables[keys], distance, heads, longest);
    source->rel_v = table_rows(io->context, tables[keys + 1], distance, heads, longest);
    source->rel_offset = source->offset;
    source->rel_clamp = true;
}

/* ---- local heads ------------------------------------------------------------------------------- */

/* Which keys each query of this call sees, i32 [1, 1, tokens] twice. */
static void bound_keys(lh_layer_io *io, lh_key_source *source,
                       int64_t (*bound)(const lh_routing *, int64_t, bool, int), const lh_routing *r, int part)
{
    int64_t tokens = io->tokens, shape[3] = {1, 1, tokens}, length = source->k->shape[2];
    int32_t *bounds = lh_arena_alloc(&io->context->arena, sizeof *bounds * (size_t)(2 * tokens));
    if (!bounds) {
        lh_op_fail(io->context, LH_E_MEMORY, "routing", "no memory for the bounds of %lld queries",
                   (long long)tokens);
        return;
    }
    for (int64_t i = 0; i < tokens; i++) {
        bounds[i] = (int32_t)bound(r, io->fill + i, false, part);
        bounds[tokens + i] = (int32_t)smaller(length, bound(r, io->fill + i, true, part));
    }
    source->low = lh_from_host(io->context, LH_I32, 3, shape, bounds);
    source->high = lh_from_host(io->context, LH_I32, 3, shape, bounds + tokens);
}

/* Query at `place` sees keys from the beginning of the block look_back tokens before its own up to itself. */
static int64_t text_bound(const lh_routing *r, int64_t place, bool end, int part)
{
    (void)part;
    int64_t first = place / r->block * r->block - r->look_back;
    return end ? place + 1 : first > 0 ? first : 0;
}

/* In an image with blocks in both directions: of block row number `part` above its own (0: its own), the blocks up
 * to look_back_width to the left and, above, to the right. */
static int64_t image_bound(const lh_routing *r, int64_t place, bool end, int part)
{
    const lh_routing_image *g = &r->image;
    int64_t across = g->width * g->channels / g->block_width, reach = g->look_back_width / g->block_width;
    int64_t row = place / r->block / across - part, column = place / r->block % across;
    int64_t first = column > reach ? column - reach : 0, last = smaller(across - 1, column + reach);
    if (row < 0) {
        return 0;
    }
    if (!end) {
        return (row * across + first) * r->block;
    }
    return part == 0 ? place + 1 : (row * across + last + 1) * r->block;
}

lh_tensor *lh_routing_attend_local(lh_memory *memory, lh_layer_io *io, int64_t first, int64_t heads)
{
    const lh_routing *r = options_of(memory);
    lh_context *context = io->context;
    lh_tensor *q = heads_of(context, io->q, first, heads), *k = keys_of(io, first, heads);
    lh_tensor *v = heads_of(context, io->v, first, heads);
    lh_key_source sources[LH_ATTENTION_MAX_SOURCES];
    bool blocks = r->image.block_height > 0;
    int count = blocks ? (int)(r->image.look_back_height / r->image.block_height) + 1 : 1;
    if (!v) {
        return NULL;
    }
    for (int part = 0; part < count; part++) {
        lh_key_source *source = &sources[part];
        *source = lh_key_source_causal(k, v, io->tokens);
        int64_t longest = r->look_back + r->block;
        if (blocks) { /* how far back the block rows of this part reach in the window */
            int64_t across = r->image.width * r->image.channels / r->image.block_width;
            longest =
                smaller(memory->shape->segment, (part + 1) * across * r->block +
                                                    r->image.look_back_width / r->image.block_width * r->block);
        }
        source->max_distance = longest - 1;
        bound_keys(io, source, blocks ? image_bound : text_bound, r, part);
        lh_routing_place(memory, io, LH_ROUTING_LOCAL_KEYS, heads, longest, source);
    }
    lh_attention_options options = {.scale = io->options.scale, .dropout = io->attention_dropout};
    return lh_attention(context, q, count, sources, &options, NULL);
}

/* ---- strided heads ----------------------------------------------------------------------------- */

/* [batch, heads, tokens, width] of whole blocks -> [batch, places in a block times heads, blocks, width]. */
static lh_tensor *by_place(lh_context *context, lh_tensor *x, int64_t block)
{
    if (!x) {
        return NULL;
    }
    int64_t batch = x->shape[0], heads = x->shape[1], tokens = x->shape[2], width = x->shape[3];
    lh_tensor *rows = lh_contiguous(context, lh_transpose(context, x, 1, 2));
    rows = lh_reshape(context, rows, 4, (int64_t[]){batch, tokens / block, block * heads, width});
    return lh_transpose(context, rows, 1, 2);
}

/* The keys a multiple of `block` back from each query, i32 [batch, heads, tokens, ceil(length / block)]. */
static lh_tensor *strided_lists(lh_layer_io *io, int64_t lanes, int64_t block, const int64_t *shape)
{
    int64_t columns = shape[3], rows = lanes * io->tokens;
    int32_t *list = lh_arena_alloc(&io->context->arena, sizeof *list * (size_t)(rows * columns));
    if (!list) {
        return lh_op_fail(io->context, LH_E_MEMORY, "routing", "no memory for the keys of %lld queries",
                          (long long)rows);
    }
    for (int64_t row = 0; row < rows; row++) {
        int64_t place = io->fill + row % io->tokens;
        for (int64_t j = 0; j < columns; j++) {
            int64_t key = place % block + j * block;
            list[row * columns + j] = key <= place ? (int32_t)key : -1;
        }
    }
    return lh_from_host(io->context, LH_I32, 4, shape, list);
}

lh_tensor *lh_routing_attend_strided(lh_memory *memory, lh_layer_io *io, int64_t first, int64_t heads)
{
    lh_context *context = io->context;
    int64_t block = options_of(memory)->block;
    lh_tensor *qkv[3] = {heads_of(context, io->q, first, heads), keys_of(io, first, heads),
                         heads_of(context, io->v, first, heads)};
    lh_attention_options options = {.scale = io->options.scale, .dropout = io->attention_dropout};
    if (lh_op_stopped(context) || !qkv[0] || !qkv[1] || !qkv[2]) {
        return NULL;
    }
    int64_t batch = qkv[0]->shape[0], length = qkv[1]->shape[2];
    if (io->fill > 0 || length % block != 0) {
        int64_t shape[4] = {batch, heads, io->tokens, (length + block - 1) / block};
        lh_key_source source = lh_key_source_all(qkv[1], qkv[2]);
        source.layout = LH_KEYS_GATHERED;
        source.gather = strided_lists(io, batch * heads, block, shape);
        return lh_attention(context, qkv[0], 1, &source, &options, NULL);
    }
    for (int i = 0; i < 3; i++) {
        qkv[i] = by_place(context, qkv[i], block);
    }
    lh_key_source source = lh_key_source_causal(qkv[1], qkv[2], length / block);
    lh_tensor *out = lh_attention(context, qkv[0], 1, &source, &options, NULL);
    out = lh_reshape(context, lh_contiguous(context, lh_transpose(context, out, 1, 2)), 4,
                     (int64_t[]){batch, length, heads, memory->shape->value_width});
    return lh_transpose(context, out, 1, 2);
}

/* ---- routing heads ----------------------------------------------------------------------------- */

lh_tensor *lh_routing_norm(lh_context *context, lh_tensor *rows)
{
    return rows ? lh_layer_norm(context, rows, NULL, NULL, 1e-6 * (double)rows->shape[3]) : NULL;
}

lh_tensor *lh_routing_centroids(lh_memory *memory, lh_layer_io *io)
{
    lh_context *context = io->context;
    lh_tensor *centroids =
        lh_detach(context, io->parameters->tensors[io->cross ? LH_ROUTING_CROSS_CENTROIDS : LH_ROUTING_CENTROIDS]);
    centroids = centroids
                    ? lh_reshape(context, centroids, 4,
                                 (int64_t[]){1, centroids->shape[0], centroids->shape[1], centroids->shape[2]})
                    : NULL;
    return memory->batch == 1 ? centroids : lh_expand(context, centroids, 0, memory->batch);
}

/* Numbers in [0, 1) by layer, lane, cluster and place; other ones for each window of training. */
static lh_tensor *random_scores(lh_memory *memory, lh_layer_io *io, const int64_t *shape, int64_t place, bool keys)
{
    lh_context *context = io->context;
    int64_t count = shape[0] * shape[1] * shape[2] * shape[3];
    double *scores = lh_arena_alloc(&context->arena, sizeof *scores * (size_t)(count ? count : 1));
    uint64_t window =
        (context->training ? context->random_offset : 0) + (keys ? KEYS_APART : 0) + (io->cross ? CROSS_APART : 0);
    if (!scores) {
        return lh_op_fail(context, LH_E_MEMORY, "routing", "no memory for %lld random scores", (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        uint64_t row = (uint64_t)(i / shape[3]) + ((uint64_t)io->layer << 32),
                 at = (uint64_t)(place + i % shape[3]);
        scores[i] = lh_dropout_word(context->seed + window, (row << 24) ^ at) / 4294967296.0;
    }
    return lh_cast(context, lh_from_host(context, LH_F64, 4, shape, scores), memory->dtype);
}

void lh_routing_draw_anew(const lh_memory *memory, lh_context *context)
{
    context->random_offset += options_of(memory)->assignment == LH_ROUTING_AT_RANDOM && context->training;
}

lh_tensor *lh_routing_scores(lh_memory *memory, lh_layer_io *io, lh_tensor *x, int64_t place, bool keys)
{
    lh_tensor *rows = lh_detach(io->context, x);
    if (lh_op_stopped(io->context)) {
        return NULL;
    }
    int64_t shape[4] = {x->shape[0], x->shape[1], options_of(memory)->clusters, x->shape[2]};
    switch (options_of(memory)->assignment) {
    case LH_ROUTING_AT_RANDOM: return random_scores(memory, io, shape, place, keys);
    case LH_ROUTING_BY_HASH: return lh_routing_hash_scores(memory, io, rows);
    case LH_ROUTING_BY_CENTROIDS: break;
    }
    lh_tensor *centroids = lh_routing_centroids(memory, io);
    return lh_matmul(io->context, centroids, rows, true);
}

/* A strip of tokens at a time. */
lh_tensor *lh_routing_nearest(lh_memory *memory, lh_layer_io *io, lh_tensor *x, int64_t place, bool keys)
{
    lh_context *context = io->context;
    lh_tensor *part = NULL, *near = NULL;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    x = lh_detach(context, x);
    if (options_of(memory)->assignment == LH_ROUTING_BY_HASH) {
        return lh_routing_hash_buckets(memory, io, x);
    }
    int64_t tokens = x->shape[2], lanes = x->shape[0] * x->shape[1];
    int64_t strip = SCORES / (lanes * options_of(memory)->clusters) + 1;
    for (int64_t first = 0; first < tokens && !lh_op_stopped(context); first += strip) {
        lh_scope scope = lh_scope_begin(context);
        lh_tensor *few = lh_slice(context, x, 2, first, smaller(strip, tokens - first));
        part = lh_argmax(context, lh_routing_scores(memory, io, few, place + first, keys), 2);
        near = near ? lh_concat(context, 2, (lh_tensor *[]){near, part}, 2) : part;
        lh_scope_end(context, scope, 1, &near);
    }
    return near;
}

lh_tensor *lh_routing_in_clusters(lh_memory *memory, lh_layer_io *io, lh_tensor *const qkv[3],
                                  const lh_grouping *queries, const lh_grouping *keys, lh_tensor *low,
                                  lh_tensor *high, double extra)
{
    const lh_routing *r = options_of(memory);
    lh_context *context = io->context;
    lh_tensor *q = lh_group_gather(context, qkv[0], queries);
    lh_tensor *k = keys == queries ? q : lh_group_gather(context, qkv[1], keys);
    lh_tensor *v = lh_group_gather(context, qkv[2], keys);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_key_source source = lh_key_source_all(k, v);
    source.low = low;
    source.high = high;
    if (keys == queries) { /* places are in the order of time */
        source.min_distance = 0;
        source.max_distance = r->size - 1;
        lh_routing_place(memory, io, LH_ROUTING_CLUSTER_KEYS, q->shape[1], r->size, &source);
    }
    lh_attention_options options = {.scale = r->scale, .dropout = io->attention_dropout};
    return lh_group_mean(context, lh_attention(context, q, 1, &source, &options, NULL), queries, extra);
}

/* Causal: tokens sorted by cluster, each seeing the latest members of its own. keep: as for lh_group, or NULL. */
static lh_tensor *causal_window(lh_memory *memory, lh_layer_io *io, lh_tensor *x, lh_tensor *v, lh_tensor *near,
                                lh_tensor *keep)
{
    lh_context *context = io->context;
    lh_grouping clusters, places;
    if (!lh_group(context, near, options_of(memory)->clusters, keep, true, &clusters) ||
        !lh_group(context, clusters.order, x->shape[2], NULL, false, &places)) {
        return NULL;
    }
    return lh_routing_in_clusters(memory, io, (lh_tensor *[]){x, x, v}, &places, &places, clusters.low,
                                  clusters.high, 0.0);
}

bool lh_routing_lists_pay(int64_t size, int64_t tokens, int64_t length)
{
    return 4 * tokens <= length && tokens * size <= LIST_ROWS;
}

lh_tensor *lh_routing_attend_lists(lh_memory *memory, lh_layer_io *io, lh_tensor *const xyv[3], lh_tensor *near,
                                   lh_tensor *own)
{
    lh_tensor *first;
    int64_t size = smaller(options_of(memory)->size, xyv[1]->shape[2]);
    lh_tensor *list = lh_group_latest(io->context, near, own, io->tokens, size, &first);
    return lh_routing_attend_picked(memory, io, xyv, list, first);
}

lh_tensor *lh_routing_attend_picked(lh_memory *memory, lh_layer_io *io, lh_tensor *const xyv[3], lh_tensor *list,
                                    lh_tensor *first)
{
    lh_context *context = io->context;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    int64_t batch = xyv[0]->shape[0], heads = xyv[0]->shape[1], width = xyv[0]->shape[3],
            v_width = xyv[2]->shape[3];
    int64_t tokens = io->tokens, rows = batch * heads * tokens, size = list->shape[3];
    list = lh_reshape(context, list, 3, (int64_t[]){batch, heads, tokens * size});
    lh_grouping picked = {.groups = xyv[1]->shape[2], .index = list};
    lh_tensor *k = lh_group_gather(context, xyv[1], &picked), *v = lh_group_gather(context, xyv[2], &picked);
    k = io->cross ? lh_routing_norm(context, k) : k;
    lh_tensor *q = lh_contiguous(context, xyv[0]);
    int32_t *ends = lh_arena_alloc(&context->arena, sizeof *ends * (size_t)(rows ? rows : 1));
    if (lh_op_stopped(context) || !ends) {
        return NULL;
    }
    for (int64_t i = 0; i < rows; i++) {
        ends[i] = (int32_t)size;
    }
    q = lh_reshape(context, q, 4, (int64_t[]){rows, 1, 1, width});
    lh_key_source source = lh_key_source_causal(lh_reshape(context, k, 4, (int64_t[]){rows, 1, size, width}),
                                                lh_reshape(context, v, 4, (int64_t[]){rows, 1, size, v_width}), 1);
    source.low = lh_reshape(context, first, 3, (int64_t[]){rows, 1, 1});
    source.high = lh_from_host(context, LH_I32, 3, (int64_t[]){rows, 1, 1}, ends);
    if (!io->cross) {
        lh_routing_place(memory, io, LH_ROUTING_CLUSTER_KEYS, 1, size, &source);
    }
    lh_attention_options options = {.scale = options_of(memory)->scale};
    lh_tensor *out = lh_attention(context, q, 1, &source, &options, NULL);
    return lh_reshape(context, lh_contiguous(context, out), 4, (int64_t[]){batch, heads, tokens, v_width});
}

static lh_tensor *attend_causal(lh_memory *memory, lh_layer_io *io, lh_tensor *x, lh_tensor *v)
{
    lh_context *context = io->context;
    int64_t length = x->shape[2], tokens = io->tokens;
    lh_tensor *fresh = lh_slice(context, x, 2, length - tokens, tokens);
    lh_tensor *near = lh_routing_nearest(memory, io, fresh, length - tokens, false);
    lh_routing_draw_anew(memory, context);
    if (!near) {
        return NULL;
    }
    if (io->whole_segment) {
        double share;
        lh_routing_gather_statistics(memory, io, x, near, false);
        lh_routing_add_commitment(memory, io, x, near);
        return causal_window(memory, io, x, v, near, lh_routing_text(memory, context, tokens, &share));
    }
    int entry = lh_memory_entry(memory, io->layer, LH_ROUTING_NEAR);
    lh_tensor *rows = lh_memory_extend(memory, context, entry, io->fill, lh_transpose(context, near, 1, 2));
    near = rows ? lh_contiguous(context, lh_transpose(context, rows, 1, 2)) : NULL;
    if (near && lh_routing_lists_pay(options_of(memory)->size, tokens, length)) {
        return lh_routing_attend_lists(memory, io, (lh_tensor *[]){fresh, x, v}, near, NULL);
    }
    lh_tensor *out = near ? causal_window(memory, io, x, v, near, NULL) : NULL;
    return out ? lh_slice(context, out, 2, length - tokens, tokens) : NULL;
}

/* 0 and -infinity for tokens that are text and padding, [batch, 1, 1, tokens]. */
static lh_tensor *padding_bias(lh_memory *memory, lh_context *context, int64_t tokens)
{
    int64_t count = memory->batch * tokens;
    double *bias = lh_arena_alloc(&context->arena, sizeof *bias * (size_t)count);
    if (!bias) {
        return lh_op_fail(context, LH_E_MEMORY, "routing", "no memory for a mask of %lld tokens", (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        bias[i] = memory->valid[i] ? 0 : (double)-INFINITY;
    }
    lh_tensor *wide = lh_from_host(context, LH_F64, 4, (int64_t[]){memory->batch, 1, 1, tokens}, bias);
    return wide ? lh_cast(context, wide, memory->dtype) : NULL;
}

/* A window with fewer tokens of text than a cluster has places leaves places empty: -1s at the end of a cluster in
 * place of padding. members [batch, heads, clusters, size] */
static lh_tensor *without_padding(lh_memory *memory, lh_context *context, lh_tensor *members, int64_t tokens)
{
    int64_t count = lh_tensor_count(members), size = members->shape[3], lane = count / members->shape[0];
    double *chosen = lh_arena_alloc(&context->arena, sizeof *chosen * (size_t)count);
    int32_t *kept = lh_arena_alloc(&context->arena, sizeof *kept * (size_t)count);
    if (!chosen || !kept) {
        return lh_op_fail(context, LH_E_MEMORY, "routing", "no memory for %lld places in clusters",
                          (long long)count);
    }
    lh_to_host(context, members, chosen);
    for (int64_t first = 0; first < count && !lh_op_stopped(context); first += size) {
        int64_t to = first;
        for (int64_t i = first; i < first + size; i++) {
            if (memory->valid[first / lane * tokens + (int64_t)chosen[i]]) {
                kept[to++] = (int32_t)chosen[i];
            }
        }
        while (to < first + size) {
            kept[to++] = -1;
        }
    }
    return lh_from_host(context, LH_I32, 4, members->shape, kept);
}

lh_tensor *lh_routing_members(lh_memory *memory, lh_layer_io *io, lh_tensor *x, bool keys, lh_tensor **near)
{
    const lh_routing *r = options_of(memory);
    lh_context *context = io->context;
    *near = NULL;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (io->fill > 0 && !(io->cross && keys)) { /* a source is always whole */
        return lh_op_fail(
            context, LH_E_UNSUPPORTED, "routing",
            "in full mode a window is read at once, not in pieces, because its later tokens take part in "
            "choosing clusters: set memory.routing to %s",
            r->share_keys && !io->cross ? "causal or prefix" : "causal");
    }
    bool of_source = io->source_tokens && (keys || !io->cross);
    int64_t tokens = x->shape[2], size = smaller(of_source ? r->source_size : r->size, tokens);
    double share;
    lh_scope scope = lh_scope_begin(context);
    lh_tensor *scores = lh_routing_scores(memory, io, x, 0, keys);
    *near = context->training ? lh_argmax(context, scores, 2) : NULL;
    bool padded = lh_routing_text(memory, context, tokens, &share) != NULL;
    lh_tensor *best = r->spread > 0 ? lh_contiguous(context, heads_of(context, scores, 0, r->heads)) : scores;
    lh_tensor *members = lh_top_k(
        context, padded ? lh_add(context, best, padding_bias(memory, context, tokens)) : best, size, false);
    int64_t places[4] = {x->shape[0], x->shape[1] - r->spread, r->clusters, size};
    members = members ? lh_reshape(context, members, 4, places) : NULL;
    members = padded && members ? without_padding(memory, context, members, tokens) : members;
    if (r->spread > 0) {
        lh_tensor *others =
            lh_routing_spread(memory, context, heads_of(context, scores, r->heads, r->spread), size);
        members = lh_concat(context, 2, (lh_tensor *[]){members, others}, 1);
    }
    members = lh_reshape(context, members, 3, (int64_t[]){x->shape[0], x->shape[1], r->clusters * size});
    lh_scope_end(context, scope, 2, (lh_tensor *[]){*near, members});
    return members;
}

/* Where the places of each cluster begin and end: places p of cluster p / size, i32 [1, 1, places] twice. */
static bool fixed_bounds(lh_layer_io *io, int64_t places, int64_t size, lh_tensor **low, lh_tensor **high)
{
    int32_t *bounds = lh_arena_alloc(&io->context->arena, sizeof *bounds * (size_t)(2 * places));
    if (!bounds) {
        lh_op_fail(io->context, LH_E_MEMORY, "routing", "no memory for %lld places in clusters", (long long)places);
        return false;
    }
    for (int64_t p = 0; p < places; p++) {
        bounds[p] = (int32_t)(p / size * size);
        bounds[places + p] = bounds[p] + (int32_t)size;
    }
    *low = lh_from_host(io->context, LH_I32, 3, (int64_t[]){1, 1, places}, bounds);
    *high = lh_from_host(io->context, LH_I32, 3, (int64_t[]){1, 1, places}, bounds + places);
    return true;
}

/* As published: each centroid takes the best of the window. */
static lh_tensor *attend_full(lh_memory *memory, lh_layer_io *io, lh_tensor *x, lh_tensor *v)
{
    const lh_routing *r = options_of(memory);
    lh_context *context = io->context;
    lh_tensor *near, *low, *high, *members = lh_routing_members(memory, io, x, false, &near);
    lh_routing_draw_anew(memory, context);
    lh_grouping rows;
    if (lh_op_stopped(context) ||
        !fixed_bounds(io, members->shape[2], members->shape[2] / r->clusters, &low, &high) ||
        !lh_group(context, members, x->shape[2], NULL, false, &rows)) {
        return NULL;
    }
    if (near) {
        lh_routing_gather_statistics(memory, io, x, near, false);
        lh_routing_add_commitment(memory, io, x, near);
    }
    return lh_routing_in_clusters(memory, io, (lh_tensor *[]){x, x, v}, &rows, &rows, low, high, LH_ROUTING_EXTRA);
}

lh_tensor *lh_routing_attend_routing(lh_memory *memory, lh_layer_io *io, int64_t heads)
{
    lh_context *context = io->context;
    if (!lh_routing_shares_keys(memory->shape, io->layer)) {
        return lh_routing_attend_keys(memory, io, heads);
    }
    /* pieces of a window: project has normed what is kept as keys */
    lh_tensor *x = heads_of(context, io->whole_segment ? io->q : io->k, 0, heads);
    lh_tensor *v = heads_of(context, io->v, 0, heads);
    x = io->whole_segment ? lh_routing_norm(context, x) : x;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    switch (options_of(memory)->mode) {
    case LH_ROUTING_CAUSAL: return attend_causal(memory, io, x, v);
    case LH_ROUTING_PREFIX: return lh_routing_attend_prefix(memory, io, x, v);
    case LH_ROUTING_FULL: break;
    }
    return attend_full(memory, io, x, v);
}
