/* The output layer: loss and logits, with one table or with the bands of an adaptive softmax (Grave et al. 2017, in
 * Transformer-XL's arrangement: the cluster of band i is column size - i of the head). */
#include "model/model.h"

#include <string.h>

static lh_tensor *flatten(lh_context *context, lh_tensor *hidden)
{
    return hidden ? lh_reshape(context, hidden, 2, (int64_t[]){-1, hidden->shape[hidden->ndim - 1]}) : NULL;
}

/* x P with P [width, band width] as stored: back to the band's own space. */
static lh_tensor *to_band(lh_context *context, const lh_model *model, lh_tensor *x, int band)
{
    lh_tensor *projection = band == 0 ? model->head_projection : model->projection[band];
    if (!projection || !x) {
        return x;
    }
    return lh_linear(context, x, lh_contiguous(context, lh_transpose(context, projection, 0, 1)),
                     band == 0 ? model->head_projection_bias : NULL);
}

static lh_tensor *band_table(lh_context *context, const lh_model *model, int band)
{
    if (band > 0 || model->config.bands == 1) {
        return model->output[band];
    }
    return lh_concat(context, 2, (lh_tensor *[]){model->output[0], model->clusters}, 0);
}

static lh_tensor *band_bias(lh_context *context, const lh_model *model, int band)
{
    const lh_model_config *c = &model->config;
    lh_tensor *bias = model->output_bias[band];
    return bias && c->scale_output_bias && c->logit_scale != 1.0 ? lh_scale(context, bias, c->logit_scale) : bias;
}

static int32_t cluster_column(const lh_model *model, int band)
{
    int64_t size = model->config.cutoff[1] + model->config.bands - 1;
    return (int32_t)(size - band);
}

static int band_of(const lh_model_config *c, int32_t token)
{
    int band = 0;
    while (band + 1 < c->bands && token >= c->cutoff[band + 1]) {
        band++;
    }
    return band;
}

static lh_tensor *weights_tensor(lh_context *context, const lh_model *model, int64_t count, const double *weights)
{
    if (!weights) {
        return NULL;
    }
    lh_tensor *wide = lh_from_host(context, LH_F64, 1, &count, weights);
    return wide ? lh_cast(context, wide, model->parameters.dtype) : NULL;
}

/* Loss over `count` rows with targets inside one table; the per-token values are added to nll at row[i]. If asked
 * for, best[count] receives the likeliest column of the table. */
static lh_tensor *band_loss(lh_context *context, const lh_model *model, int band, lh_tensor *rows, int64_t count,
                            const int32_t *targets, const double *weights, const int32_t *row, double *nll,
                            int32_t *best)
{
    lh_tensor *values = NULL, *columns = NULL;
    lh_tensor *ids = lh_from_host(context, LH_I32, 1, &count, targets);
    lh_tensor *loss = lh_linear_cross_entropy_best(
        context, to_band(context, model, rows, band), band_table(context, model, band),
        band_bias(context, model, band), ids, weights_tensor(context, model, count, weights),
        model->config.logit_scale, context->training ? model->z_loss : 0.0, &values, best ? &columns : NULL);
    double *host = NULL;
    if (loss && (nll || best)) {
        host = lh_arena_alloc(&context->arena, sizeof *host * (size_t)(count ? count : 1));
        if (!host) {
            return lh_op_fail(context, LH_E_MEMORY, "loss", "no memory for %lld values", (long long)count);
        }
    }
    if (host && nll) {
        lh_to_host(context, values, host);
        for (int64_t i = 0; i < count; i++) {
            nll[row ? row[i] : i] += host[i];
        }
    }
    if (host && best) {
        lh_to_host(context, columns, host);
        for (int64_t i = 0; i < count; i++) {
            best[i] = (int32_t)host[i];
        }
    }
    return loss;
}

/* Rows of logits are made for this many bytes at a time. */
#define TILE_BYTES ((int64_t)16 << 20)

/* The likeliest tokens of some rows by all their logits, a tile at a time. */
static void search_rows(lh_context *context, const lh_model *model, lh_tensor *flat, const int32_t *rows,
                        int64_t count, int32_t *best)
{
    int64_t tile = TILE_BYTES / (model->config.vocab * (int64_t)lh_dtype_size(flat->dtype));
    tile = tile < 16 ? 16 : tile > count ? count : tile;
    double *host = lh_arena_alloc(&context->arena, sizeof *host * (size_t)tile);
    if (!host) {
        lh_op_fail(context, LH_E_MEMORY, "loss", "no memory for %lld values", (long long)tile);
        return;
    }
    for (int64_t start = 0; start < count && !lh_op_stopped(context); start += tile) {
        int64_t part = count - start < tile ? count - start : tile;
        lh_scope scope = lh_scope_begin(context);
        lh_tensor *index = lh_from_host(context, LH_I32, 1, &part, rows + start);
        lh_tensor *logits = lh_model_logits(context, model, lh_gather_rows(context, flat, index));
        lh_tensor *top = lh_top_k(context, logits, 1, false);
        lh_to_host(context, top, host);
        for (int64_t i = 0; i < part && top; i++) {
            best[rows[start + i]] = (int32_t)host[i];
        }
        lh_scope_end(context, scope, 0, NULL);
    }
}

/* From the head's likeliest columns to tokens. A token that wins in the head wins altogether, since each of a
 * band's tokens is at most as likely as its cluster; where a cluster wins all bands must be looked at. */
static void finish_best(lh_context *context, const lh_model *model, lh_tensor *flat, const int32_t *targets,
                        int64_t count, int32_t *best)
{
    bool recording = context->recording;
    int64_t open = 0;
    int32_t *rows = lh_arena_alloc(&context->arena, sizeof *rows * (size_t)(count ? count : 1));
    if (!rows) {
        lh_op_fail(context, LH_E_MEMORY, "loss", "no memory for %lld targets", (long long)count);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        if (targets[i] < 0) {
            best[i] = -1;
        } else if (model->config.bands > 1 && best[i] >= model->config.cutoff[1]) {
            rows[open++] = (int32_t)i;
        }
    }
    context->recording = false;
    if (open > 0) {
        search_rows(context, model, flat, rows, open, best);
    }
    context->recording = recording;
}

lh_tensor *lh_model_loss(lh_context *context, const lh_model *model, lh_tensor *hidden, const int32_t *targets,
                         const double *weights, double *nll)
{
    return lh_model_loss_best(context, model, hidden, targets, weights, nll, NULL);
}

lh_tensor *lh_model_loss_best(lh_context *context, const lh_model *model, lh_tensor *hidden, const int32_t *targets,
                              const double *weights, double *nll, int32_t *best)
{
    const lh_model_config *c = &model->config;
    lh_tensor *flat = lh_op_stopped(context) ? NULL : flatten(context, hidden);
    if (!flat) {
        return NULL;
    }
    int64_t count = flat->shape[0];
    size_t slots = (size_t)(count ? count : 1);
    int32_t *head = lh_arena_alloc(&context->arena, sizeof *head * slots);
    int32_t *row = lh_arena_alloc(&context->arena, sizeof *row * slots);
    int32_t *local = lh_arena_alloc(&context->arena, sizeof *local * slots);
    double *part = lh_arena_alloc(&context->arena, sizeof *part * slots);
    if (!head || !row || !local || !part) {
        return lh_op_fail(context, LH_E_MEMORY, "loss", "no memory for %lld targets", (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        if (targets[i] >= c->vocab) {
            return lh_op_fail(context, LH_E_ARGUMENT, "loss", "target id %d is not below the vocabulary of %lld",
                              targets[i], (long long)c->vocab);
        }
        int band = targets[i] < 0 ? 0 : band_of(c, targets[i]);
        head[i] = band == 0 ? targets[i] : cluster_column(model, band);
        if (nll) {
            nll[i] = 0.0;
        }
    }
    lh_tensor *loss = band_loss(context, model, 0, flat, count, head, weights, NULL, nll, best);
    for (int band = 1; band < c->bands && loss; band++) {
        int64_t members = 0;
        for (int64_t i = 0; i < count; i++) {
            if (targets[i] >= 0 && band_of(c, targets[i]) == band) {
                row[members] = (int32_t)i;
                local[members] = targets[i] - (int32_t)c->cutoff[band];
                part[members++] = weights ? weights[i] : 1.0;
            }
        }
        if (members > 0) {
            lh_tensor *rows = lh_gather_rows(context, flat, lh_from_host(context, LH_I32, 1, &members, row));
            loss = lh_add(
                context, loss,
                band_loss(context, model, band, rows, members, local, weights ? part : NULL, row, nll, NULL));
        }
    }
    if (loss && best) {
        finish_best(context, model, flat, targets, count, best);
    }
    return loss;
}

static lh_tensor *table_logits(lh_context *context, const lh_model *model, int band, lh_tensor *rows)
{
    lh_tensor *x = to_band(context, model, rows, band);
    if (model->config.logit_scale != 1.0) {
        x = lh_scale(context, x, model->config.logit_scale);
    }
    return lh_linear(context, x, band_table(context, model, band), band_bias(context, model, band));
}

lh_tensor *lh_model_logits(lh_context *context, const lh_model *model, lh_tensor *hidden)
{
    const lh_model_config *c = &model->config;
    lh_tensor *flat = lh_op_stopped(context) ? NULL : flatten(context, hidden);
    lh_tensor *head = flat ? table_logits(context, model, 0, flat) : NULL;
    if (!head || c->bands == 1) {
        return head;
    }
    head = lh_log_softmax(context, head);
    lh_tensor *parts[LH_MAX_BANDS] = {lh_slice(context, head, 1, 0, c->cutoff[1])};
    for (int band = 1; band < c->bands; band++) {
        lh_tensor *tail = lh_log_softmax(context, table_logits(context, model, band, flat));
        parts[band] = lh_add(context, tail, lh_slice(context, head, 1, cluster_column(model, band), 1));
    }
    return lh_op_stopped(context) ? NULL : lh_concat(context, c->bands, parts, 1);
}
