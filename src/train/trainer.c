#include "train/trainer.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A memory that takes tokens in without computing anything is shown all of a crop, of which the last are segments.
 */
static int64_t tokens_before(const lh_training *t)
{
    const lh_memory_kind *kind = t->model->memory_kind;
    const lh_memory_shape *shape = &t->model->shape;
    bool takes = t->config.layout == LH_STREAM_CROPS && kind->prime;
    return !takes ? 0 : kind->reach ? kind->reach(shape) : kind->history(shape);
}

static lh_status open_source(lh_training *t, lh_error *error)
{
    const lh_train_config *c = &t->config;
    lh_token_stream_options options = lh_token_stream_defaults();
    options.layout = c->layout;
    options.boundary = c->reset_at_document ? LH_BOUNDARY_PAD : LH_BOUNDARY_CONTINUE;
    options.lanes = c->batch;
    options.segment = t->before + t->model->config.segment * c->unroll; /* documents begin where a step begins */
    options.shuffle = c->shuffle;
    options.every_target = c->every_target;
    options.crop_minimum = c->minimum_crop == 0 && t->before > 0 ? t->model->config.segment : c->minimum_crop;
    options.crop_each_document = c->crop_each_document;
    options.seed = c->seed;
    options.source = t->source_tokens;
    return lh_token_stream_create(&t->tokens_in, t->source.split, &options, error);
}

static lh_status create_parts(lh_training *t, lh_error *error)
{
    const lh_train_config *c = &t->config;
    t->part_lanes = c->batch / c->accumulate;
    t->parts = lh_heap_alloc(sizeof(lh_stream *) * (size_t)c->accumulate);
    if (!t->parts) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the streams of the lanes");
    }
    for (int64_t i = 0; i < c->accumulate; i++) {
        LH_TRY(lh_stream_create(&t->parts[i], t->model, t->part_lanes, false, error));
        t->parts[i]->memory->keep_graph = c->keep_graph;
    }
    return LH_OK;
}

static lh_status create_buffers(lh_training *t, lh_error *error)
{
    size_t lanes = (size_t)t->config.batch, one = 0, all = 0, bytes = 0;
    if (lh_size_multiply(lanes, (size_t)t->model->config.segment, &one) ||
        lh_size_multiply(one, (size_t)t->config.unroll, &all) || lh_size_multiply(all, sizeof(double), &bytes)) {
        return lh_fail(error, LH_E_CONFIG, "data.batch times model.segment times train.unroll is too large");
    }
    t->inputs = lh_heap_alloc(sizeof(int32_t) * all);
    t->targets = lh_heap_alloc(sizeof(int32_t) * all);
    t->weights = lh_heap_alloc(sizeof(double) * one);
    t->valid = lh_heap_alloc(all);
    t->reset = lh_heap_alloc(sizeof(bool) * lanes);
    t->memories = lh_heap_alloc(sizeof(lh_memory *) * (size_t)t->config.accumulate);
    t->prefix = lh_heap_alloc(sizeof *t->prefix * lanes * (size_t)t->before);
    t->prefix_start = lh_heap_alloc(sizeof *t->prefix_start * lanes);
    t->sources = lh_heap_alloc(sizeof *t->sources * lanes * (size_t)t->source_tokens);
    for (int64_t i = 0; t->memories && i < t->config.accumulate; i++) {
        t->memories[i] = t->parts[i]->memory;
    }
    if (!t->inputs || !t->targets || !t->weights || !t->valid || !t->reset || !t->memories || !t->prefix ||
        !t->prefix_start || !t->sources) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu tokens of a step", all);
    }
    return LH_OK;
}

static lh_status build(lh_training *t, const lh_recipe *recipe, const lh_backend *backend, lh_dtype dtype,
                       lh_error *error)
{
    const lh_train_config *c = &t->config;
    int64_t vocab = lh_recipe_integer(recipe, "model.vocab");
    if (vocab > 0 && vocab < t->source.vocab) {
        return lh_recipe_reject(recipe, "model.vocab", error, "is smaller than the tokenizer's %lld",
                                (long long)t->source.vocab);
    }
    LH_TRY(lh_model_create(&t->model, recipe, vocab > 0 ? vocab : t->source.vocab, backend, dtype, error));
    t->model->checkpoint_layers = c->recompute;
    t->model->unroll = c->unroll;
    if (t->model->memory_kind->learns_across && !c->keep_graph) {
        return lh_recipe_reject(recipe, c->unroll > 1 ? "memory.detach" : "train.unroll", error,
                                "leaves memory %s without gradients between segments, and parts of it would never "
                                "learn (set train.unroll = 8, say, and memory.detach = false)",
                                t->model->memory_kind->name);
    }
    int64_t step = t->model->config.segment * c->unroll;
    if (c->forget_every % step != 0) {
        return lh_recipe_reject(recipe, "train.forget_every", error,
                                "is no multiple of the %lld tokens that a lane reads in a step", (long long)step);
    }
    LH_TRY(lh_parameters_initialise(&t->model->parameters, c->seed, error));
    for (int i = 0; i < t->model->parameters.count && c->decay_embeddings; i++) {
        lh_parameter *p = &t->model->parameters.items[i];
        p->decay |= strncmp(p->name, "embedding.", 10) == 0;
    }
    unsigned groups = ~0u;
    if (c->optimizer.rate_scale[LH_GROUP_COMPRESSOR] == 0) {
        groups &= ~(1u << LH_GROUP_COMPRESSOR);
    }
    LH_TRY(lh_parameters_want_grads(&t->model->parameters, groups, error));
    LH_TRY(lh_optimizer_create(&t->optimizer, &t->model->parameters, &c->optimizer, error));
    LH_TRY(lh_context_create(&t->context, backend, c->threads, error));
    t->context->seed = c->seed;
    t->before = tokens_before(t);
    t->source_tokens = t->model->shape.source;
    if (t->source_tokens > 0 && !c->reset_at_document) {
        return lh_recipe_reject(recipe, c->layout == LH_STREAM_DOCUMENTS ? "data.reset_at_document" : "data.layout",
                                error,
                                "leaves an encoder without sources: a model with memory %s learns from pairs, with "
                                "data.layout = documents and data.reset_at_document = true",
                                t->model->memory_kind->name);
    }
    t->model->z_loss = c->z_loss;
    LH_TRY(open_source(t, error));
    LH_TRY(create_parts(t, error));
    return create_buffers(t, error);
}

lh_status lh_training_create(lh_training **training, const lh_recipe *recipe, const lh_train_source *source,
                             const lh_backend *backend, lh_dtype dtype, lh_error *error)
{
    *training = NULL;
    lh_training *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a training");
    }
    fresh->source = *source;
    fresh->marks = (lh_train_marks){.best_step = -1, .evaluated = -1, .best = NAN, .validation = NAN, .loss = NAN};
    lh_status status = lh_train_config_read(&fresh->config, recipe, error);
    if (status == LH_OK) {
        status = build(fresh, recipe, backend, dtype, error);
    }
    if (status != LH_OK) {
        lh_training_free(fresh);
        return status;
    }
    *training = fresh;
    return LH_OK;
}

void lh_training_free(lh_training *training)
{
    if (!training) {
        return;
    }
    for (int64_t i = 0; training->parts && i < training->config.accumulate; i++) {
        if (training->parts[i]) {
            lh_stream_rollback(training->parts[i]);
            lh_stream_free(training->parts[i]);
        }
    }
    lh_heap_free(training->parts);
    lh_heap_free(training->inputs);
    lh_heap_free(training->targets);
    lh_heap_free(training->weights);
    lh_heap_free(training->valid);
    lh_heap_free(training->reset);
    lh_heap_free(training->memories);
    lh_heap_free(training->prefix);
    lh_heap_free(training->prefix_start);
    lh_heap_free(training->sources);
    lh_token_stream_free(training->tokens_in);
    lh_context_free(training->context);
    lh_optimizer_free(training->optimizer);
    lh_model_free(training->model);
    lh_heap_free(training);
}

int64_t lh_training_period(const lh_train_config *config, int64_t iteration)
{
    return iteration >= config->period_after ? config->period : 1;
}

int64_t lh_training_step_tokens(const lh_training *training)
{
    return training->config.batch * training->model->config.segment * training->config.unroll;
}

double lh_training_token_flops(const lh_training *training)
{
    return lh_model_training_flops(training->model);
}

/* Where in a lane's row of the batch its segments begin: 0, or behind what the memory takes in, which is copied
 * out. The last tokens of a crop are the segments; a crop that is shorter leaves the end of them empty. */
static int64_t take_prefix(lh_training *t, const lh_batch *batch, int64_t lane)
{
    int64_t cells = batch->length - t->before, count = 0, row = lane * batch->length;
    while (t->before > 0 && count < batch->length && batch->valid[row + count]) {
        count++;
    }
    int64_t start = count > cells ? count - cells : 0;
    int32_t *prefix = t->prefix + lane * t->before;
    for (int64_t i = 0; i < t->before; i++) {
        int64_t from = i - (t->before - start);
        prefix[i] = from < 0 ? -1 : batch->inputs[row + from];
    }
    t->prefix_start[lane] = count > 0 ? batch->positions[row] - 1 : 0; /* the input before the first target */
    return start;
}

/* Copies the iteration's segments out of the stream, whose arrays live until its next call: from rows of
 * unroll * segment tokens (behind a prefix) to [unroll][batch][segment]. */
static lh_status read_segments(lh_training *t, lh_iteration *result, lh_error *error)
{
    lh_loss_sums *sums = &result->sums;
    const lh_train_config *c = &t->config;
    int64_t segment = t->model->config.segment, row = segment * c->unroll;
    const lh_batch *batch;
    LH_TRY(lh_token_stream_next(t->tokens_in, t->before + row, &batch, error));
    if (!batch) {
        return lh_fail(error, LH_E_INTERNAL, "the stream of training text ended");
    }
    t->pairs[1] += batch->sources_cut;
    if (t->source_tokens > 0) {
        memcpy(t->sources, batch->sources, sizeof *t->sources * (size_t)(c->batch * t->source_tokens));
    }
    for (int64_t lane = 0; lane < c->batch; lane++) {
        int64_t start = take_prefix(t, batch, lane);
        for (int64_t j = 0; j < row; j++) {
            int64_t from = lane * batch->length + start + j,
                    to = (j / segment * c->batch + lane) * segment + j % segment;
            t->inputs[to] = batch->inputs[from];
            t->targets[to] = batch->mask[from] ? batch->targets[from] : -1;
            t->valid[to] = batch->valid[from];
            result->read += batch->valid[from];
            sums->bytes += batch->mask[from] ? t->source.token_bytes[batch->targets[from]] : 0;
            sums->tokens += batch->mask[from];
        }
        bool fresh = (batch->flags[lane * batch->length] & LH_INPUT_CHAIN_START) != 0;
        t->pairs[0] += t->source_tokens > 0 && fresh;
        t->reset[lane] = fresh && (c->reset_at_document || c->layout == LH_STREAM_CROPS);
        t->reset[lane] |= c->forget_every > 0 && t->iteration * row % c->forget_every == 0;
    }
    return LH_OK;
}

/* A NaN or an infinity: leaves everything as the last update left it. */
static lh_status stop_broken(lh_training *t, const char *what, double value, lh_error *error)
{
    char culprit[400];
    bool known = lh_training_diagnose(t, culprit, sizeof culprit);
    return lh_fail(error, LH_E_NUMERIC, "step %lld: %s is %s; %s", (long long)(t->iteration + 1), what,
                   isnan(value) ? "NaN" : "infinite",
                   known ? culprit
                         : "all parameters and memories are finite: the output layer's logits overflowed");
}

/* Forward and backward of one part of the lanes through all unrolled segments. */
static lh_status run_part(lh_training *t, int64_t part, lh_loss_sums *sums, lh_error *error)
{
    const lh_train_config *c = &t->config;
    lh_context *context = t->context;
    lh_stream *stream = t->parts[part];
    int64_t segment = t->model->config.segment, first = part * t->part_lanes * segment;
    lh_tensor *objective = NULL;
    double share = 1.0 / (double)(c->accumulate * c->unroll);
    for (int64_t lane = 0; lane < t->part_lanes; lane++) {
        if (t->reset[part * t->part_lanes + lane]) {
            LH_TRY(lh_stream_reset(stream, context, lane, error));
        }
    }
    if (t->before > 0) {
        int64_t lane = part * t->part_lanes;
        t->model->memory_kind->prime(stream->memory, context, t->prefix + lane * t->before, t->before,
                                     t->prefix_start + lane);
    }
    if (t->source_tokens > 0) {
        t->model->memory_kind->take_source(stream->memory, context,
                                           t->sources + part * t->part_lanes * t->source_tokens, t->source_tokens);
    }
    for (int64_t u = 0; u < c->unroll; u++) {
        int64_t at = u * c->batch * segment + first;
        lh_scope scope = lh_scope_begin(context);
        lh_forward forward;
        stream->memory->valid = t->valid + at;
        lh_model_forward(context, t->model, stream, t->inputs + at, segment, &forward);
        lh_tensor *task = lh_model_loss(context, t->model, forward.hidden, t->targets + at, t->weights, NULL);
        lh_tensor *sum = objective ? lh_add(context, objective, task) : task;
        double nats = task ? lh_scalar(context, task) * sums->tokens : 0, auxiliary = 0;
        if (forward.auxiliary) {
            auxiliary = lh_scalar(context, forward.auxiliary);
            sum = lh_add(context, sum, lh_scale(context, forward.auxiliary, share));
        }
        LH_TRY(lh_context_status(context, error));
        if (!isfinite(nats)) {
            return stop_broken(t, "the loss", nats, error);
        }
        if (!isfinite(auxiliary)) {
            return stop_broken(t, "the auxiliary loss", auxiliary, error);
        }
        sums->nats += nats;
        sums->auxiliary += share * auxiliary;
        lh_scope_end(context, scope, 1, &sum);
        objective = sum;
    }
    lh_backward(context, objective, c->loss_sum ? sums->tokens : 1.0);
    lh_stream_commit(stream, context);
    LH_TRY(lh_context_status(context, error));
    lh_context_reset(context);
    return LH_OK;
}

static lh_status update(lh_training *t, double progress, lh_iteration *result, lh_error *error)
{
    lh_error broken = {0};
    result->rate = lh_schedule_rate(&t->config.schedule, t->iteration, progress);
    lh_status status = lh_optimizer_step(t->optimizer, t->context, result->rate, 1.0 / (double)t->pending,
                                         &result->norms, &broken);
    if (status == LH_E_NUMERIC) {
        char culprit[400];
        bool known = lh_training_diagnose(t, culprit, sizeof culprit);
        return lh_fail(error, status, "step %lld: %s%s%s", (long long)(t->iteration + 1), broken.message,
                       known ? "; " : "", known ? culprit : "");
    }
    if (status != LH_OK) {
        return lh_fail(error, status, "%s", broken.message);
    }
    lh_context_reset(t->context);
    t->pending = 0;
    result->updated = true;
    return LH_OK;
}

lh_status lh_training_step(lh_training *training, double progress, lh_iteration *result, lh_error *error)
{
    lh_training *t = training;
    *result = (lh_iteration){.sums = {.iterations = 1}};
    lh_loss_sums *sums = &result->sums;
    t->context->recording = t->context->training = true;
    lh_context_reset(t->context);
    LH_TRY(read_segments(t, result, error));
    int64_t rows = t->part_lanes * t->model->config.segment;
    for (int64_t i = 0; i < rows; i++) {
        t->weights[i] = sums->tokens > 0 ? 1.0 / sums->tokens : 0.0;
    }
    for (int64_t part = 0; part < t->config.accumulate; part++) {
        LH_TRY(run_part(t, part, sums, error));
    }
    if (t->model->memory_kind->learn) {
        t->model->memory_kind->learn(t->memories, (int)t->config.accumulate, t->context);
        LH_TRY(lh_context_status(t->context, error));
        lh_context_reset(t->context);
    }
    t->pending += sums->tokens > 0 || sums->auxiliary != 0;
    if (t->pending >= lh_training_period(&t->config, t->iteration)) {
        LH_TRY(update(t, progress, result, error));
    }
    t->iteration++;
    t->tokens += result->read;
    t->interval.nats += sums->nats;
    t->interval.tokens += sums->tokens;
    t->interval.bytes += sums->bytes;
    t->interval.auxiliary += sums->auxiliary;
    t->interval.iterations += 1;
    return LH_OK;
}
