/* Clusters of the Routing Transformer by locality-sensitive hashing, its paper's ablation: bit i of a token's
 * bucket is the sign of its product with the i-th of log2(K) orthogonal projections, which are drawn once and stay
 * (Andoni et al. 2015, Kitaev et al. 2020). Nothing is learned. */
#include "memory/routing.h"

#include <math.h>

static const lh_routing *options_of(const lh_memory *memory)
{
    return memory->shape->options;
}

int64_t lh_routing_hash_bits(const lh_routing *r)
{
    int64_t bits = 0;
    while ((int64_t)1 << bits < r->clusters) {
        bits++;
    }
    return bits;
}

lh_status lh_routing_hash_check(const lh_memory_shape *shape, const lh_routing *r, lh_error *error)
{
    int64_t bits = lh_routing_hash_bits(r);
    if (r->assignment != LH_ROUTING_BY_HASH || r->heads == 0) {
        return LH_OK;
    }
    if (r->clusters < 2 || (int64_t)1 << bits != r->clusters) {
        return lh_recipe_reject(shape->recipe, "memory.clusters", error,
                                "must be 2, 4, 8, .. with memory.assignment = lsh");
    }
    if (bits > shape->key_width) {
        return lh_recipe_reject(shape->recipe, "memory.clusters", error,
                                "needs %lld orthogonal projections, and keys have %lld numbers", (long long)bits,
                                (long long)shape->key_width);
    }
    return LH_OK;
}

/* Row by row: less its parts along the rows before it, and of length 1 (Gram and Schmidt). */
static void make_orthogonal(double *rows, int64_t count, int64_t width)
{
    for (int64_t i = 0; i < count; i++) {
        double *own = rows + i * width, square = 0;
        for (int64_t j = 0; j < i; j++) {
            double along = 0;
            for (int64_t c = 0; c < width; c++) {
                along += own[c] * rows[j * width + c];
            }
            for (int64_t c = 0; c < width; c++) {
                own[c] -= along * rows[j * width + c];
            }
        }
        for (int64_t c = 0; c < width; c++) {
            square += own[c] * own[c];
        }
        for (int64_t c = 0; c < width && square > 0; c++) {
            own[c] /= sqrt(square);
        }
    }
}

/* The layer's projections for each lane: [batch, heads, bits, key_width]. */
static lh_tensor *projections(lh_memory *memory, lh_layer_io *io)
{
    lh_context *context = io->context;
    const lh_tensor *drawn = io->parameters->tensors[LH_ROUTING_PROJECTIONS];
    int64_t heads = drawn->shape[0], bits = drawn->shape[1], width = drawn->shape[2];
    double *rows = lh_arena_alloc(&context->arena, sizeof *rows * (size_t)(heads * bits * width));
    if (!rows) {
        return lh_op_fail(context, LH_E_MEMORY, "routing", "no memory for %lld projections",
                          (long long)(heads * bits));
    }
    lh_to_host(context, drawn, rows);
    for (int64_t h = 0; h < heads; h++) {
        make_orthogonal(rows + h * bits * width, bits, width);
    }
    lh_tensor *one = lh_from_host(context, LH_F64, 4, (int64_t[]){1, heads, bits, width}, rows);
    one = one ? lh_cast(context, one, memory->dtype) : NULL;
    return memory->batch == 1 ? one : lh_expand(context, one, 0, memory->batch);
}

/* [batch heads tokens] on the host, in the arena. */
static int32_t *buckets_of(lh_memory *memory, lh_layer_io *io, lh_tensor *x)
{
    lh_context *context = io->context;
    int64_t bits = lh_routing_hash_bits(options_of(memory)), tokens = x->shape[2];
    int64_t lanes = x->shape[0] * x->shape[1], rows = lanes * tokens;
    double *products = lh_arena_alloc(&context->arena, sizeof *products * (size_t)(rows * bits + 1));
    int32_t *bucket = lh_arena_alloc(&context->arena, sizeof *bucket * (size_t)(rows + 1));
    lh_tensor *along = lh_matmul(context, projections(memory, io), x, true);
    if (!products || !bucket) {
        lh_op_fail(context, LH_E_MEMORY, "routing", "no memory for the buckets of %lld tokens", (long long)rows);
        return NULL;
    }
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_to_host(context, along, products);
    for (int64_t i = 0; i < rows; i++) {
        bucket[i] = 0;
        for (int64_t bit = 0; bit < bits; bit++) {
            bool positive = products[(i / tokens * bits + bit) * tokens + i % tokens] > 0;
            bucket[i] += positive ? 1 << bit : 0;
        }
    }
    return bucket;
}

lh_tensor *lh_routing_hash_buckets(lh_memory *memory, lh_layer_io *io, lh_tensor *x)
{
    lh_scope scope = lh_scope_begin(io->context);
    const int32_t *bucket = lh_op_stopped(io->context) ? NULL : buckets_of(memory, io, x);
    lh_tensor *out = bucket ? lh_from_host(io->context, LH_I32, 3, x->shape, bucket) : NULL;
    lh_scope_end(io->context, scope, 1, &out);
    return out;
}

lh_tensor *lh_routing_hash_scores(lh_memory *memory, lh_layer_io *io, lh_tensor *x)
{
    lh_context *context = io->context;
    const int32_t *bucket = lh_op_stopped(context) ? NULL : buckets_of(memory, io, x);
    if (!bucket) {
        return NULL;
    }
    int64_t clusters = options_of(memory)->clusters, tokens = x->shape[2];
    int64_t shape[4] = {x->shape[0], x->shape[1], clusters, tokens}, rows = shape[0] * shape[1] * tokens;
    double *scores = lh_arena_alloc(&context->arena, sizeof *scores * (size_t)(rows * clusters + 1));
    if (!scores) {
        return lh_op_fail(context, LH_E_MEMORY, "routing", "no memory for %lld scores",
                          (long long)(rows * clusters));
    }
    for (int64_t i = 0; i < rows * clusters; i++) {
        int64_t lane = i / (clusters * tokens);
        scores[i] = bucket[lane * tokens + i % tokens] == i / tokens % clusters;
    }
    return lh_cast(context, lh_from_host(context, LH_F64, 4, shape, scores), memory->dtype);
}
