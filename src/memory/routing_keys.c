/* Routing heads whose keys are their own projection, not the queries. Queries and keys are assigned to clusters
 * each on their own, by the same centroids, and their times say who sees whom. A query gives zeros while its
 * cluster has no key. Roy et al. 2021, section 4.1, for queries and keys that differ; causal by times, not by
 * ranks. */
#include "memory/routing.h"

static const lh_routing *options_of(const lh_memory *memory)
{
    return memory->shape->options;
}

lh_tensor *lh_routing_attend_sorted(lh_memory *memory, lh_layer_io *io, lh_tensor *const xyv[3],
                                    const lh_grouping *queries, const lh_grouping *keys, double extra)
{
    lh_context *context = io->context;
    lh_grouping query_rows, key_rows;
    lh_tensor *low, *high;
    int64_t tokens = xyv[0]->shape[2], length = xyv[1]->shape[2];
    /* queries beside a source stand behind all keys, so to speak: they see all of their cluster */
    bool all = io->source_tokens != NULL;
    if (!lh_group_seen(context, queries, keys, all ? length : length - tokens,
                       all ? length : options_of(memory)->size, &low, &high) ||
        !lh_group(context, queries->order, tokens, NULL, false, &query_rows) ||
        !lh_group(context, keys->order, length, NULL, false, &key_rows)) {
        return NULL;
    }
    return lh_routing_in_clusters(memory, io, xyv, &query_rows, &key_rows, low, high, extra);
}

/* What centroids learn: first from the queries, then from the keys. */
static void teach(lh_memory *memory, lh_layer_io *io, lh_tensor *const xyv[3], lh_tensor *const near[2])
{
    for (int keys = 0; keys < 2; keys++) {
        lh_routing_gather_statistics(memory, io, xyv[keys], near[keys], keys);
        lh_routing_add_commitment(memory, io, xyv[keys], near[keys]);
    }
}

static lh_tensor *attend_causal(lh_memory *memory, lh_layer_io *io, lh_tensor *const xyv[3])
{
    const lh_routing *r = options_of(memory);
    lh_context *context = io->context;
    int64_t tokens = io->tokens, length = xyv[1]->shape[2], before = length - tokens;
    lh_tensor *fresh = lh_slice(context, xyv[1], 2, before, tokens);
    lh_tensor *near[2] = {lh_routing_nearest(memory, io, xyv[0], before, false),
                          lh_routing_nearest(memory, io, fresh, before, true)};
    lh_routing_draw_anew(memory, context);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (io->whole_segment) {
        teach(memory, io, xyv, near);
    } else {
        int entry = lh_memory_entry(memory, io->layer, LH_ROUTING_NEAR);
        near[1] = lh_memory_extend(memory, context, entry, io->fill, lh_transpose(context, near[1], 1, 2));
        near[1] = near[1] ? lh_contiguous(context, lh_transpose(context, near[1], 1, 2)) : NULL;
        if (near[1] && lh_routing_lists_pay(r->size, tokens, length)) {
            return lh_routing_attend_lists(memory, io, xyv, near[1], near[0]);
        }
    }
    double share;
    lh_tensor *keep = io->whole_segment ? lh_routing_text(memory, context, tokens, &share) : NULL;
    lh_grouping queries, keys;
    if (!near[1] || !lh_group(context, near[0], r->clusters, keep, false, &queries) ||
        !lh_group(context, near[1], r->clusters, keep, false, &keys)) {
        return NULL;
    }
    return lh_routing_attend_sorted(memory, io, xyv, &queries, &keys, 0.0);
}

lh_tensor *lh_routing_fixed_starts(lh_layer_io *io, const lh_tensor *members, int64_t clusters)
{
    int64_t lanes = members->shape[0] * members->shape[1], count = lanes * (clusters + 1);
    int32_t *start = lh_arena_alloc(&io->context->arena, sizeof *start * (size_t)(count ? count : 1));
    if (!start) {
        return lh_op_fail(io->context, LH_E_MEMORY, "routing", "no memory for the clusters of %lld lanes",
                          (long long)lanes);
    }
    for (int64_t i = 0; i < count; i++) {
        start[i] = (int32_t)(i % (clusters + 1) * (members->shape[2] / clusters));
    }
    return lh_from_host(io->context, LH_I32, 3, (int64_t[]){members->shape[0], members->shape[1], clusters + 1},
                        start);
}

/* As published: the best queries and the best keys of the window for each centroid. */
static lh_tensor *attend_full(lh_memory *memory, lh_layer_io *io, lh_tensor *const xyv[3])
{
    const lh_routing *r = options_of(memory);
    lh_context *context = io->context;
    lh_grouping best[2] = {{.groups = r->clusters}, {.groups = r->clusters}};
    lh_tensor *near[2];
    for (int keys = 0; keys < 2; keys++) {
        best[keys].order = lh_routing_members(memory, io, xyv[keys], keys, &near[keys]);
    }
    lh_routing_draw_anew(memory, context);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    best[0].start = best[1].start = lh_routing_fixed_starts(io, best[0].order, r->clusters);
    if (context->training) {
        teach(memory, io, xyv, near);
    }
    return lh_routing_attend_sorted(memory, io, xyv, &best[0], &best[1], LH_ROUTING_EXTRA);
}

lh_tensor *lh_routing_attend_keys(lh_memory *memory, lh_layer_io *io, int64_t heads)
{
    lh_context *context = io->context;
    lh_tensor *x = lh_routing_norm(context, lh_slice(context, io->q, 1, 0, heads));
    lh_tensor *y = lh_slice(context, io->k, 1, 0, heads), *v = lh_slice(context, io->v, 1, 0, heads);
    /* pieces of a window: project has normed what is kept as keys */
    y = io->whole_segment ? lh_routing_norm(context, y) : y;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_tensor *xyv[3] = {x, y, v};
    return options_of(memory)->mode == LH_ROUTING_FULL || io->source_tokens ? attend_full(memory, io, xyv)
                                                                            : attend_causal(memory, io, xyv);
}
