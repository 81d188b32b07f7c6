/* The output layer: loss and logits, with one table or with the bands of an adaptive softmax (Grave et al. 2017, in
 * Transformer-XL's arrangement: the cluster of band i is column size - i of the head). */
#include "model/model.h"

#include <string.h>

static lh_tensor *flatten(lh_context *context, lh_tensor *hidden)
{
    return hidden ? lh_reshape(context, hidden, 2, (int64_t[]){-1, hidden->shape[hidden->ndim - 1]}) : NULL;
}

/* x P with P [width, band width] as stored: back to the band's own space. */
static lh_tensor *to_band(lh_context *context, lh_tensor *x, lh_tensor *projection)
{
    if (!projection || !x) {
        return x;
    }
    return lh_linear(context, x, lh_contiguous(context, lh_transpose(context, projection, 0, 1)), NULL);
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

/* Loss over `count` rows with targets inside one table; the per-token values are added to nll at row[i]. */
static lh_tensor *band_loss(lh_context *context, const lh_model *model, int band, lh_tensor *rows, int64_t count,
                            const int32_t *targets, const double *weights, const int32_t *row, double *nll)
{
    lh_tensor *values = NULL;
    lh_tensor *projection = band == 0 ? model->head_projection : model->projection[band];
    lh_tensor *ids = lh_from_host(context, LH_I32, 1, &count, targets);
    lh_tensor *loss = lh_linear_cross_entropy(
        context, to_band(context, rows, projection), band_table(context, model, band), band_bias(context, model, band),
        ids, weights_tensor(context, model, count, weights), model->config.logit_scale, 0.0, &values);
    if (loss && nll) {
        double *host = lh_arena_alloc(&context->arena, sizeof *host * (size_t)(count ? count : 1));
        if (!host) {
            return lh_op_fail(context, LH_E_MEMORY, "loss", "no memory for %lld values", (long long)count);
        }
        lh_to_host(context, values, host);
        for (int64_t i = 0; i < count; i++) {
            nll[row ? row[i] : i] += host[i];
        }
    }
    return loss;
}

lh_tensor *lh_model_loss(lh_context *context, const lh_model *model, lh_tensor *hidden, const int32_t *targets,
                         const double *weights, double *nll)
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
    lh_tensor *loss = band_loss(context, model, 0, flat, count, head, weights, NULL, nll);
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
            loss = lh_add(context, loss,
                          band_loss(context, model, band, rows, members, local, weights ? part : NULL, row, nll));
        }
    }
    return loss;
}

static lh_tensor *table_logits(lh_context *context, const lh_model *model, int band, lh_tensor *rows)
{
    lh_tensor *projection = band == 0 ? model->head_projection : model->projection[band];
    lh_tensor *x = to_band(context, rows, projection);
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
