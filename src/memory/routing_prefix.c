/* Prefix mode of the Routing Transformer: token t joins a cluster if it is among the w best of the tokens up to
 * itself, and then sees those w. What earlier tokens computed stays as it was. Only scores are kept between calls;
 * who is in a cluster follows from them. */
#include "memory/routing.h"

#define GATHERED_ROWS 16384 /* rows of keys that are gathered at once */

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The queries of one batch entry and head that joined clusters, one entry for each cluster. */
typedef struct joined {
    int64_t count;
    int32_t *triple; /* [count, 3]: batch entry, token, column of scores */
    int32_t *query;  /* [count]: of this call */
    double *factor;  /* [count] of the result */
} joined;

/* While there are no more than w tokens every cluster holds all of them and gives the same result: it is computed
 * once, and multiplied so that the average over one copy is that over all. */
static bool find_joined(lh_layer_io *io, const lh_routing *r, const double *accepted, int64_t b, int64_t h,
                        int64_t size, joined *out)
{
    int64_t tokens = io->tokens, columns = r->heads * r->clusters;
    size_t most = (size_t)(tokens * r->clusters);
    lh_arena *arena = &io->context->arena;
    *out = (joined){.triple = lh_arena_alloc(arena, 3 * sizeof(int32_t) * most),
                    .query = lh_arena_alloc(arena, sizeof(int32_t) * most),
                    .factor = lh_arena_alloc(arena, sizeof(double) * most)};
    if (!out->triple || !out->query || !out->factor) {
        lh_op_fail(io->context, LH_E_MEMORY, "routing", "no memory for the clusters of %lld tokens",
                   (long long)tokens);
        return false;
    }
    double all = (double)r->clusters, early = all * (1 + LH_ROUTING_EXTRA) / (all + LH_ROUTING_EXTRA);
    for (int64_t i = 0; i < tokens; i++) {
        bool everywhere = io->fill + i < size;
        for (int64_t c = 0; c < (everywhere ? 1 : r->clusters); c++) {
            if (accepted[(b * tokens + i) * columns + h * r->clusters + c] == 0) {
                continue;
            }
            int32_t *triple = out->triple + 3 * out->count;
            triple[0] = (int32_t)b;
            triple[1] = (int32_t)(io->fill + i);
            triple[2] = (int32_t)(h * r->clusters + c);
            out->query[out->count] = (int32_t)i;
            out->factor[out->count++] = everywhere ? early : 1;
        }
    }
    return true;
}

/* Entries first .. first + count - 1: each query against its own list. [1, 1, count, value_width] */
static lh_tensor *attend_lists(lh_memory *memory, lh_layer_io *io, lh_tensor *x, lh_tensor *v, lh_tensor *scores,
                               const joined *all, int64_t first, int64_t count, int64_t size)
{
    const lh_routing *r = memory->shape->options;
    lh_context *context = io->context;
    int64_t width = x->shape[3], v_width = v->shape[3], one[3] = {1, 1, count};
    int32_t *place = lh_arena_alloc(&context->arena, 2 * sizeof *place * (size_t)count);
    lh_tensor *empty;
    lh_tensor *list = lh_top_so_far_lists(context, scores, count, all->triple + 3 * first, size, &empty);
    if (!place || !list) {
        return NULL;
    }
    int32_t *ends = place + count;
    for (int64_t i = 0; i < count; i++) {
        place[i] = all->triple[3 * (first + i) + 1];
        ends[i] = (int32_t)size;
    }
    lh_grouping own = {.groups = x->shape[2], .index = lh_from_host(context, LH_I32, 3, one, place)};
    lh_grouping members = {.groups = x->shape[2],
                           .index = lh_reshape(context, list, 3, (int64_t[]){1, 1, count * size})};
    lh_tensor *q = lh_group_gather(context, x, &own), *k = lh_group_gather(context, x, &members);
    lh_tensor *values = lh_group_gather(context, v, &members);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_key_source source =
        lh_key_source_causal(lh_reshape(context, k, 4, (int64_t[]){count, 1, size, width}),
                             lh_reshape(context, values, 4, (int64_t[]){count, 1, size, v_width}), 1);
    source.low = lh_reshape(context, empty, 3, (int64_t[]){count, 1, 1});
    source.high = lh_from_host(context, LH_I32, 3, (int64_t[]){count, 1, 1}, ends);
    lh_routing_place(memory, io, LH_ROUTING_CLUSTER_KEYS, 1, size, &source);
    lh_attention_options options = {.scale = r->scale};
    q = lh_reshape(context, q, 4, (int64_t[]){count, 1, 1, width});
    lh_tensor *out = lh_contiguous(context, lh_attention(context, q, 1, &source, &options, NULL));
    return lh_reshape(context, out, 4, (int64_t[]){1, 1, count, v_width});
}

/* All queries of one batch entry and head, x and v [1, 1, fill + tokens, .] -> [1, 1, tokens, value_width]. */
static lh_tensor *attend_lane(lh_memory *memory, lh_layer_io *io, lh_tensor *x, lh_tensor *v, lh_tensor *scores,
                              const joined *all, int64_t size)
{
    lh_context *context = io->context;
    int64_t shape[4] = {1, 1, io->tokens, v->shape[3]}, strip = GATHERED_ROWS / size + 1;
    int64_t strips = (all->count + strip - 1) / strip;
    lh_tensor **parts = lh_arena_alloc(&context->arena, sizeof(lh_tensor *) * (size_t)(strips + 1));
    if (!parts) {
        return lh_op_fail(context, LH_E_MEMORY, "routing", "no memory for %lld parts of a result",
                          (long long)strips);
    }
    if (strips == 0) {
        return lh_new(context, v->dtype, 4, shape, true);
    }
    for (int64_t i = 0; i < strips && !lh_op_stopped(context); i++) {
        int64_t first = i * strip;
        lh_scope scope = lh_scope_begin(context);
        parts[i] = attend_lists(memory, io, x, v, scores, all, first, smaller(strip, all->count - first), size);
        lh_scope_end(context, scope, 1, &parts[i]);
    }
    lh_tensor *out = lh_concat(context, (int)strips, parts, 2);
    lh_tensor *factor = lh_from_host(context, LH_F64, 4, (int64_t[]){1, 1, all->count, 1}, all->factor);
    out = lh_multiply(context, out, lh_cast(context, factor, v->dtype));
    lh_grouping queries;
    if (!lh_group(context, lh_from_host(context, LH_I32, 3, (int64_t[]){1, 1, all->count}, all->query), io->tokens,
                  NULL, false, &queries)) {
        return NULL;
    }
    return lh_group_mean(context, out, &queries, LH_ROUTING_EXTRA);
}

lh_tensor *lh_routing_attend_prefix(lh_memory *memory, lh_layer_io *io, lh_tensor *x, lh_tensor *v)
{
    const lh_routing *r = memory->shape->options;
    lh_context *context = io->context;
    if (context->recording) {
        return lh_op_fail(
            context, LH_E_UNSUPPORTED, "routing",
            "prefix mode is for evaluation and generation: train with memory.routing = causal, or full as "
            "published");
    }
    int64_t batch = x->shape[0], heads = x->shape[1], length = x->shape[2], tokens = io->tokens;
    int64_t size = smaller(r->size, length), columns = heads * r->clusters;
    lh_tensor *fresh = lh_slice(context, x, 2, length - tokens, tokens);
    lh_tensor *scores =
        lh_routing_scores(memory, io, fresh, length - tokens, false); /* [batch, heads, clusters, tokens] */
    scores = scores ? lh_reshape(context, scores, 3, (int64_t[]){batch, columns, tokens}) : NULL;
    scores = lh_contiguous(context, lh_transpose(context, scores, 1, 2));
    scores = lh_reshape(context, scores, 3, (int64_t[]){batch, tokens, columns});
    if (!io->whole_segment) {
        int entry = lh_memory_entry(memory, io->layer, LH_ROUTING_SCORES);
        scores = lh_memory_extend(memory, context, entry, io->fill, scores);
    }
    lh_tensor *joins = lh_top_so_far(context, scores, tokens, r->size);
    double *accepted = lh_arena_alloc(&context->arena, sizeof *accepted * (size_t)(batch * tokens * columns + 1));
    if (!joins || !accepted) {
        return NULL;
    }
    lh_to_host(context, joins, accepted);
    lh_tensor *all = NULL;
    for (int64_t lane = 0; lane < batch * heads && !lh_op_stopped(context); lane++) {
        int64_t b = lane / heads, h = lane % heads;
        joined entries;
        lh_scope scope = lh_scope_begin(context);
        lh_tensor *x_lane = lh_slice(context, lh_slice(context, x, 0, b, 1), 1, h, 1);
        lh_tensor *v_lane = lh_slice(context, lh_slice(context, v, 0, b, 1), 1, h, 1);
        if (!find_joined(io, r, accepted, b, h, r->size, &entries)) {
            return NULL;
        }
        lh_tensor *out = attend_lane(memory, io, x_lane, v_lane, scores, &entries, size);
        all = all ? lh_concat(context, 2, (lh_tensor *[]){all, out}, 1) : out;
        lh_scope_end(context, scope, 1, &all);
    }
    all = all ? lh_contiguous(context, all) : NULL;
    return lh_reshape(context, all, 4, (int64_t[]){batch, heads, tokens, v->shape[3]});
}
