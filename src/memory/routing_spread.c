/* Cluster-strided heads of the Routing Transformer: a cluster's members are not the tokens nearest to its centroid
 * but tokens at even steps from the nearest to the farthest.
 *
 * Who is among them changes with every token that comes, for all clusters, so there is no strictly causal form with
 * members that queries share, as there is for the nearest ones: only whole windows. */
#include "memory/routing.h"

#include <stdlib.h>

typedef struct candidate {
    double score;
    int32_t token;
} candidate;

/* By falling score; of equal ones the earlier first. */
static int by_score(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->score != y->score) {
        return x->score < y->score ? 1 : -1;
    }
    return (x->token > y->token) - (x->token < y->token);
}

static int by_token(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* The members of one cluster, rising, and -1s behind them. */
static void choose(candidate *all, int64_t count, int64_t size, int32_t *members)
{
    int64_t step = count / size > 1 ? count / size : 1, taken = 0;
    qsort(all, (size_t)count, sizeof *all, by_score);
    for (int64_t rank = 0; rank < count && taken < size; rank += step) {
        members[taken++] = all[rank].token;
    }
    qsort(members, (size_t)taken, sizeof *members, by_token);
    while (taken < size) {
        members[taken++] = -1;
    }
}

lh_tensor *lh_routing_spread(lh_memory *memory, lh_context *context, lh_tensor *scores, int64_t size)
{
    if (lh_op_stopped(context)) {
        return NULL;
    }
    int64_t tokens = scores->shape[3], rows = scores->shape[0] * scores->shape[1] * scores->shape[2];
    int64_t shape[4] = {scores->shape[0], scores->shape[1], scores->shape[2], size};
    double *score = lh_arena_alloc(&context->arena, sizeof *score * (size_t)(rows * tokens + 1));
    candidate *all = lh_arena_alloc(&context->arena, sizeof *all * (size_t)(tokens + 1));
    int32_t *members = lh_arena_alloc(&context->arena, sizeof *members * (size_t)(rows * size + 1));
    if (!score || !all || !members) {
        return lh_op_fail(context, LH_E_MEMORY, "routing", "no memory to sort %lld scores",
                          (long long)(rows * tokens));
    }
    lh_to_host(context, scores, score);
    for (int64_t row = 0; row < rows && !lh_op_stopped(context); row++) {
        const uint8_t *valid = memory->valid ? memory->valid + row / (rows / shape[0]) * tokens : NULL;
        int64_t count = 0;
        for (int64_t t = 0; t < tokens; t++) {
            if (!valid || valid[t]) {
                all[count++] = (candidate){.score = score[row * tokens + t], .token = (int32_t)t};
            }
        }
        choose(all, count, size, members + row * size);
    }
    return lh_from_host(context, LH_I32, 4, shape, members);
}
