/* What the centroids of the Routing Transformer learn from: sums and counts of their clusters, gathered in the
 * forward pass, a moving average after each iteration, and the commitment loss that ties queries to them. */
#include "memory/routing.h"

#include <math.h>
#include <stdio.h>

static const lh_routing *options_of(const lh_memory *memory)
{
    return memory->shape->options;
}

lh_tensor *lh_routing_text(lh_memory *memory, lh_context *context, int64_t tokens, double *share)
{
    int64_t count = memory->batch * tokens, text = 0;
    *share = 1;
    for (int64_t i = 0; memory->valid && i < count; i++) {
        text += memory->valid[i] != 0;
    }
    if (!memory->valid || text == count) {
        return NULL;
    }
    int32_t *keep = lh_arena_alloc(&context->arena, sizeof *keep * (size_t)count);
    if (!keep) {
        return lh_op_fail(context, LH_E_MEMORY, "routing", "no memory for a mask of %lld tokens", (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        keep[i] = memory->valid[i] != 0;
    }
    *share = (double)text / (double)count;
    return lh_from_host(context, LH_I32, 2, (int64_t[]){memory->batch, tokens}, keep);
}

void lh_routing_gather_statistics(lh_memory *memory, lh_layer_io *io, lh_tensor *x, lh_tensor *near, bool keys)
{
    lh_context *context = io->context;
    if (!context->training || context->recomputing || memory->inference || lh_op_stopped(context) ||
        options_of(memory)->assignment == LH_ROUTING_BY_HASH) {
        return;
    }
    double share;
    lh_scope scope = lh_scope_begin(context);
    lh_tensor *keep = lh_routing_text(memory, context, x->shape[2], &share);
    lh_grouping clusters;
    if (lh_group(context, near, options_of(memory)->clusters, keep, false, &clusters)) {
        int which = lh_routing_entry(memory, io->layer, io->cross, keys ? LH_ROUTING_KEY_SUM : LH_ROUTING_SUM);
        lh_group_totals(context, lh_detach(context, x), &clusters, lh_memory_get(memory, which),
                        lh_memory_get(memory, which + 1));
    }
    lh_scope_end(context, scope, 0, NULL);
}

/* 2 beta mean (x - nearest centroid)^2 over tokens that are text: shared queries and keys are charged twice, others
 * once each. The model averages over its layers; the sum is meant. */
void lh_routing_add_commitment(lh_memory *memory, lh_layer_io *io, lh_tensor *x, lh_tensor *near)
{
    const lh_routing *r = options_of(memory);
    lh_context *context = io->context;
    if (!context->training || r->commitment <= 0.0 || r->assignment == LH_ROUTING_BY_HASH ||
        lh_op_stopped(context)) {
        return;
    }
    double share;
    lh_grouping clusters = {.groups = r->clusters, .index = near};
    lh_tensor *off = lh_subtract(context, x, lh_group_gather(context, lh_routing_centroids(memory, io), &clusters));
    lh_tensor *keep = lh_routing_text(memory, context, x->shape[2], &share);
    if (keep) {
        lh_tensor *mask = lh_reshape(context, lh_cast(context, keep, memory->dtype), 4,
                                     (int64_t[]){x->shape[0], 1, x->shape[2], 1});
        off = lh_multiply(context, off, mask);
    }
    bool shared = !io->cross && lh_routing_shares_keys(memory->shape, io->layer);
    double factor = shared ? 2.0 * r->commitment : r->commitment;
    lh_tensor *loss = lh_scale(context, lh_mean(context, lh_unary(context, LH_SQUARE, off)),
                               share > 0 ? factor * (double)memory->shape->layers / share : 0.0);
    io->auxiliary = io->auxiliary ? lh_add(context, io->auxiliary, loss) : loss;
}

/* How evenly a layer's clusters are filled (the exponential of the counts' entropy, as a part of all clusters; 1:
 * all alike), how large the smallest is beside the mean of its head (0: nobody comes), and how tight they are (mean
 * of |centroid|^2 / width; 1: all members are the same). */
static void tell_layer(const lh_memory *memory, lh_context *context, int layer, bool cross,
                       void (*tell)(void *user, const char *name, double value), void *user)
{
    lh_tensor *const *tensors = memory->parameters[layer]->tensors;
    const lh_tensor *counts = tensors[cross ? LH_ROUTING_CROSS_COUNTS : LH_ROUTING_COUNTS],
                    *centroids = tensors[cross ? LH_ROUTING_CROSS_CENTROIDS : LH_ROUTING_CENTROIDS];
    const char *of = cross ? "cross_" : "";
    int64_t heads = counts->shape[0], clusters = counts->shape[1], size = lh_tensor_count(centroids);
    double *values = lh_arena_alloc(&context->arena, sizeof *values * (size_t)(heads * clusters + size)),
           filled = 0;
    double square = 0, smallest = 1;
    char name[80], stack[LH_ROUTING_STACK];
    if (!values) {
        return;
    }
    lh_to_host(context, counts, values);
    lh_to_host(context, centroids, values + heads * clusters);
    for (int64_t h = 0; h < heads; h++) {
        double total = 0, entropy = 0;
        for (int64_t c = 0; c < clusters; c++) {
            total += values[h * clusters + c] > 0 ? values[h * clusters + c] : 0;
        }
        for (int64_t c = 0; c < clusters && total > 0; c++) {
            double share = values[h * clusters + c] / total;
            entropy -= share > 0 ? share * log(share) : 0;
            smallest = fmin(smallest, fmax(share, 0) * (double)clusters);
        }
        filled += exp(entropy) / (double)(clusters * heads);
    }
    for (int64_t i = 0; i < size; i++) {
        square += values[heads * clusters + i] * values[heads * clusters + i] / (double)size;
    }
    bool encodes = layer >= memory->shape->layers;
    (void)snprintf(stack, sizeof stack, encodes ? "encoder%d" : "layer%d",
                   encodes ? layer - (int)memory->shape->layers : layer);
    (void)snprintf(name, sizeof name, "%s/%sclusters_filled", stack, of);
    tell(user, name, filled);
    (void)snprintf(name, sizeof name, "%s/%sclusters_smallest", stack, of);
    tell(user, name, smallest);
    (void)snprintf(name, sizeof name, "%s/%sclusters_tight", stack, of);
    tell(user, name, square);
}

void lh_routing_figures(const lh_memory *memory, lh_context *context,
                        void (*tell)(void *user, const char *name, double value), void *user)
{
    const lh_memory_shape *shape = memory->shape;
    bool learns = options_of(memory)->assignment != LH_ROUTING_BY_HASH;
    for (int layer = 0; learns && layer < shape->layers + shape->encoder_layers && !lh_op_stopped(context);
         layer++) {
        if (lh_routing_heads(shape, layer) > 0) {
            tell_layer(memory, context, layer, false, tell, user);
        }
        if (lh_routing_cross_heads(shape, layer) > 0) {
            tell_layer(memory, context, layer, true, tell, user);
        }
    }
}

static void add_to(lh_context *context, lh_tensor *to, lh_tensor *from)
{
    lh_add_scaled_args args = {
        .n = lh_tensor_count(to), .alpha = 1.0, .beta = 1.0, .x = lh_tensor_data(from), .y = lh_tensor_data(to)};
    lh_run(context, LH_KERNEL_ADD_SCALED, to->dtype, &args);
}

static void clear(lh_context *context, lh_tensor *x)
{
    lh_fill_args args = {.n = lh_tensor_count(x), .value = 0.0, .y = lh_tensor_data(x)};
    lh_run(context, LH_KERNEL_FILL, x->dtype, &args);
}

/* One move of a layer's centroids, or of those of its cross attention, by the statistics of queries or of keys. */
static void learn_from(lh_memory *const *memories, int count, lh_context *context, int layer, bool cross, bool keys)
{
    lh_memory *memory = memories[0];
    const lh_routing *r = options_of(memory);
    lh_tensor *const *tensors = memory->parameters[layer]->tensors;
    lh_tensor *gathered[2];
    int first = lh_routing_entry(memory, layer, cross, keys ? LH_ROUTING_KEY_SUM : LH_ROUTING_SUM);
    int centroids = cross ? LH_ROUTING_CROSS_CENTROIDS : LH_ROUTING_CENTROIDS;
    for (int which = 0; which < 2; which++) {
        gathered[which] = lh_memory_get(memory, first + which);
        for (int i = 1; i < count; i++) {
            add_to(context, gathered[which], lh_memory_get(memories[i], first + which));
        }
    }
    lh_centroid_step(context, gathered[0], gathered[1], tensors[centroids + 1], tensors[centroids + 2],
                     tensors[centroids], r->decay, r->start);
    for (int i = 0; i < 2 * count; i++) {
        clear(context, lh_memory_get(memories[i / 2], first + i % 2));
    }
}

/* Keys of their own move the centroids a second time, assigned by those from before the iteration. */
void lh_routing_learn(lh_memory *const *memories, int count, lh_context *context)
{
    const lh_memory_shape *shape = memories[0]->shape;
    bool learns = options_of(memories[0])->assignment != LH_ROUTING_BY_HASH;
    for (int layer = 0; learns && layer < shape->layers + shape->encoder_layers && !lh_op_stopped(context);
         layer++) {
        if (lh_routing_heads(shape, layer) > 0) {
            learn_from(memories, count, context, layer, false, false);
            if (!lh_routing_shares_keys(shape, layer)) {
                learn_from(memories, count, context, layer, false, true);
            }
        }
        for (int keys = 0; keys < 2 && lh_routing_cross_heads(shape, layer) > 0; keys++) {
            learn_from(memories, count, context, layer, true, keys);
        }
    }
}
