/* The heads of one layer of the Routing Transformer without a model around them, in double precision. */
#ifndef LH_TESTS_ROUTING_RIG_H
#define LH_TESTS_ROUTING_RIG_H

#include "memory/kinds.h"
#include "memory/routing.h"
#include "support/tiny_model.h"

typedef struct rig {
    lh_context *context;
    lh_memory_shape shape;
    lh_routing r;
    lh_memory_parameters parameters;
    const lh_memory_parameters *layer;
    lh_memory *memory;
    int64_t batch, heads, length, width;
    double *q, *k, *v; /* [batch, length, heads, width] */
} rig;

static inline lh_tensor *rig_parameter(rig *g, int which, int ndim, const int64_t *shape)
{
    lh_error error = {0};
    tiny_check(
        lh_tensor_create(&g->parameters.tensors[which], lh_backend_cpu(), LH_F64, ndim, shape, "rig", &error),
        &error);
    return g->parameters.tensors[which];
}

static inline double *rig_values(const rig *g, int which)
{
    return lh_tensor_data(g->parameters.tensors[which]);
}

static inline void rig_draw(double *x, int64_t count, double size, uint64_t seed)
{
    lh_random random = lh_random_create(seed, 3);
    for (int64_t i = 0; i < count; i++) {
        x[i] = size * lh_random_normal(&random);
    }
}

/* Rows with mean 0 and variance 1, as a layer norm with this epsilon makes them. */
static inline void rig_norm_rows(double *x, int64_t rows, int64_t width, double eps)
{
    for (int64_t row = 0; row < rows; row++, x += width) {
        double mean = 0, square = 0;
        for (int64_t i = 0; i < width; i++) {
            mean += x[i] / (double)width;
        }
        for (int64_t i = 0; i < width; i++) {
            x[i] -= mean;
            square += x[i] * x[i] / (double)width;
        }
        for (int64_t i = 0; i < width; i++) {
            x[i] /= sqrt(square + eps);
        }
    }
}

/* Random queries, keys, values, centroids and, if r wants them, tables; the memory for the whole windows of
 * training or for pieces of windows in inference. */
static inline rig *rig_create(const lh_routing *r, int64_t batch, int64_t heads, int64_t length, int64_t width,
                              bool inference)
{
    rig *g = calloc(1, sizeof *g);
    lh_error error = {0};
    g->batch = batch;
    g->heads = heads;
    g->length = length;
    g->width = width;
    g->r = *r;
    g->shape = (lh_memory_shape){.layers = 1,
                                 .width = heads * width,
                                 .heads = heads,
                                 .kv_heads = heads,
                                 .key_width = width,
                                 .value_width = width,
                                 .segment = length,
                                 .options = &g->r};
    tiny_check(lh_context_create(&g->context, lh_backend_cpu(), 2, &error), &error);
    int64_t table[2] = {2 * r->distance + 1, width}, rows[3] = {r->heads + r->spread, r->clusters, width};
    for (int which = LH_ROUTING_LOCAL_KEYS; which <= LH_ROUTING_CLUSTER_VALUES; which++) {
        bool local = which <= LH_ROUTING_LOCAL_VALUES;
        if (local ? r->relative : r->cluster_relative) {
            rig_parameter(g, which, 2, table);
            rig_draw(rig_values(g, which), table[0] * width, 0.3, 40 + (uint64_t)which);
        }
    }
    if (r->assignment == LH_ROUTING_BY_HASH) {
        rows[1] = lh_routing_hash_bits(r);
        rig_parameter(g, LH_ROUTING_PROJECTIONS, 3, rows);
        rig_draw(rig_values(g, LH_ROUTING_PROJECTIONS), rows[0] * rows[1] * width, 1, 50);
    } else if (r->heads > 0) {
        rig_parameter(g, LH_ROUTING_CENTROIDS, 3, rows);
        rig_parameter(g, LH_ROUTING_MEANS, 3, rows);
        rig_parameter(g, LH_ROUTING_COUNTS, 2, rows);
        rig_draw(rig_values(g, LH_ROUTING_CENTROIDS), rows[0] * r->clusters * width, 1, 50);
        rig_norm_rows(rig_values(g, LH_ROUTING_CENTROIDS), rows[0] * r->clusters, width, 1e-6);
        for (int64_t i = 0; i < rows[0] * r->clusters; i++) {
            rig_values(g, LH_ROUTING_COUNTS)[i] = -1;
        }
    }
    g->layer = &g->parameters;
    lh_memory_options options = {.kind = &lh_memory_routing,
                                 .shape = &g->shape,
                                 .parameters = &g->layer,
                                 .backend = lh_backend_cpu(),
                                 .dtype = LH_F64,
                                 .batch = batch,
                                 .inference = inference};
    tiny_check(lh_memory_create(&g->memory, &options, &error), &error);
    double **all[] = {&g->q, &g->k, &g->v};
    for (int i = 0; i < 3; i++) {
        *all[i] = calloc((size_t)(batch * length * heads * width), sizeof(double));
        rig_draw(*all[i], batch * length * heads * width, 1, 60 + (uint64_t)i);
    }
    return g;
}

static inline void rig_free(rig *g)
{
    for (int i = 0; i < LH_MEMORY_MAX_PARAMETERS; i++) {
        lh_tensor_free(g->parameters.tensors[i]);
    }
    lh_memory_free(g->memory);
    lh_context_free(g->context);
    free(g->q);
    free(g->k);
    free(g->v);
    free(g);
}

/* Tokens first .. first + count - 1 of x as a constant [batch, count, heads, width]. */
static inline lh_tensor *rig_tokens(rig *g, const double *x, int64_t first, int64_t count)
{
    int64_t row = g->heads * g->width, shape[4] = {g->batch, count, g->heads, g->width};
    double *part = calloc((size_t)(g->batch * count * row + 1), sizeof *part);
    for (int64_t b = 0; b < g->batch; b++) {
        memcpy(part + b * count * row, x + (b * g->length + first) * row, sizeof *part * (size_t)(count * row));
    }
    lh_tensor *t = lh_from_host(g->context, LH_F64, 4, shape, part);
    free(part);
    return t;
}

/* What a layer does around its heads: project, the keys and values of earlier pieces in front, attend. Returns
 * [batch, heads, count, width], still in the context. `with`: tensors to be used for q, k, v (whole windows), or
 * NULL.
 */
static inline lh_tensor *rig_attend(rig *g, int64_t fill, int64_t count, lh_tensor *const *with, lh_layer_io *io)
{
    lh_context *c = g->context;
    *io = (lh_layer_io){.context = c,
                        .parameters = &g->parameters,
                        .fill = fill,
                        .tokens = count,
                        .whole_segment = fill == 0 && count == g->length,
                        .segment_ends = fill + count == g->length,
                        .q = with ? with[0] : rig_tokens(g, g->q, fill, count),
                        .k = with ? with[1] : rig_tokens(g, g->k, 0, fill + count),
                        .v = with ? with[2] : rig_tokens(g, g->v, 0, fill + count)};
    io->options.scale = 1.0 / sqrt((double)g->width);
    if (!io->whole_segment && g->r.heads > 0) { /* what project would have kept in the cache */
        lh_tensor *compared = g->r.share_keys ? rig_tokens(g, g->q, 0, fill + count) : io->k;
        lh_tensor *own = lh_routing_norm(c, lh_slice(c, compared, 2, 0, g->r.heads));
        lh_tensor *rest = lh_slice(c, io->k, 2, g->r.heads, g->heads - g->r.heads);
        io->k = g->r.heads == g->heads ? own : lh_concat(c, 2, (lh_tensor *[]){own, rest}, 2);
    }
    io->q = lh_transpose(c, io->q, 1, 2);
    io->k = lh_transpose(c, io->k, 1, 2);
    io->v = lh_transpose(c, io->v, 1, 2);
    return lh_memory_routing.attend(g->memory, io);
}

/* The same as numbers [batch, heads, count, width]; the context is reset. */
static inline void rig_run(rig *g, int64_t fill, int64_t count, double *out)
{
    lh_layer_io io;
    lh_error error = {0};
    lh_tensor *result = rig_attend(g, fill, count, NULL, &io);
    if (result) {
        lh_to_host(g->context, result, out);
    }
    tiny_check(lh_context_status(g->context, &error), &error);
    lh_memory_commit(g->memory, g->context);
    lh_context_reset(g->context);
}

static inline void rig_check(const char *what, const double *got, const double *wanted, int64_t count,
                             double tolerance)
{
    for (int64_t i = 0; i < count; i++) {
        if (!(fabs(got[i] - wanted[i]) <= tolerance)) {
            fail_msg("%s: element %lld is %.12g, not %.12g", what, (long long)i, got[i], wanted[i]);
        }
    }
}

/* x [length, width] of a batch entry and head, out of [batch, length, heads, width]. */
static inline void rig_head(const rig *g, const double *x, int64_t b, int64_t h, double *rows)
{
    for (int64_t t = 0; t < g->length; t++) {
        memcpy(rows + t * g->width, x + ((b * g->length + t) * g->heads + h) * g->width,
               sizeof *rows * (size_t)g->width);
    }
}

/* A loss out of everything that heads compute, commitment included, for differences. */
static inline double rig_objective(rig *g, lh_tensor *const *qkv, lh_tensor **loss)
{
    lh_layer_io io;
    lh_tensor *out = rig_attend(g, 0, g->length, qkv, &io);
    int64_t count = g->batch * g->heads * g->length * g->width;
    double *projection = calloc((size_t)count, sizeof *projection);
    rig_draw(projection, count, 1, 77);
    lh_tensor *weights = lh_from_host(g->context, LH_F64, 4, out->shape, projection);
    free(projection);
    *loss = lh_sum(g->context, lh_multiply(g->context, out, weights));
    if (io.auxiliary) {
        *loss = lh_add(g->context, *loss, io.auxiliary);
    }
    return lh_scalar(g->context, *loss);
}

/* d against differences so small that clusters stay as they are, at some of x's places. */
static inline void rig_check_gradient(rig *g, const char *what, double *x, const double *d, int64_t count)
{
    for (int64_t trial = 0; trial < 12; trial++) {
        int64_t i = trial * 7919 % count;
        double kept = x[i], value[2], step = 1e-6;
        lh_tensor *loss;
        for (int side = 0; side < 2; side++) {
            x[i] = kept + (side ? -step : step);
            g->context->random_offset = 0;
            value[side] = rig_objective(g, NULL, &loss);
            lh_context_reset(g->context);
        }
        x[i] = kept;
        double difference = (value[0] - value[1]) / (2 * step);
        if (!(fabs(difference - d[i]) <= 1e-6 * fmax(1, fabs(difference)))) {
            fail_msg("mode %d, %s: element %lld has the gradient %.10g, its difference is %.10g", (int)g->r.mode,
                     what, (long long)i, d[i], difference);
        }
    }
}

#endif
