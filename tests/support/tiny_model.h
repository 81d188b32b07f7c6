/* Small models in double precision for tests of methods: built from "section.key=value" arguments. */
#ifndef LH_TESTS_TINY_MODEL_H
#define LH_TESTS_TINY_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

typedef struct tiny {
    lh_model *model;
    lh_context *context;
    lh_stream *stream;
} tiny;

static inline void tiny_check(lh_status status, const lh_error *error)
{
    if (status != LH_OK) {
        fail_msg("%s: %s", lh_status_name(status), error->message);
    }
}

/* `arguments` ends with NULL. Parameters are drawn with `seed`; gains and biases get noise, too, so that nothing is
 * trivially zero. */
static inline lh_status tiny_model(lh_model **model, const char *const *arguments, uint64_t seed, lh_error *error)
{
    lh_recipe *recipe;
    size_t count;
    const lh_recipe_preset *presets = lh_model_presets(&count);
    tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), presets, count, error), error);
    lh_status status = LH_OK;
    for (int i = 0; arguments[i] && status == LH_OK; i++) {
        status = lh_recipe_override(recipe, arguments[i], error);
    }
    status = status == LH_OK ? lh_recipe_resolve(recipe, error) : status;
    if (status == LH_OK) {
        status = lh_model_create(model, recipe, 11, lh_backend_cpu(), LH_F64, error);
    }
    lh_recipe_free(recipe);
    if (status != LH_OK) {
        return status;
    }
    tiny_check(lh_parameters_initialise(&(*model)->parameters, seed, error), error);
    for (int i = 0; i < (*model)->parameters.count; i++) {
        lh_parameter *p = &(*model)->parameters.items[i];
        double *x = lh_tensor_data(p->tensor);
        lh_random random = lh_random_create(seed + 1, (uint64_t)strlen(p->name) * 131 + (unsigned char)p->name[7]);
        for (int64_t j = 0; j < lh_tensor_count(p->tensor); j++) {
            x[j] = (p->init == LH_INIT_CONSTANT ? x[j] : 4.0 * x[j]) + 0.05 * lh_random_normal(&random);
        }
    }
    return LH_OK;
}

static inline tiny tiny_create(const char *const *arguments, int64_t batch, uint64_t seed)
{
    tiny t = {0};
    lh_error error = {0};
    tiny_check(tiny_model(&t.model, arguments, seed, &error), &error);
    tiny_check(lh_parameters_want_grads(&t.model->parameters, ~0u, &error), &error);
    tiny_check(lh_context_create(&t.context, lh_backend_cpu(), 2, &error), &error);
    tiny_check(lh_stream_create(&t.stream, t.model, batch, false, &error), &error);
    t.context->recording = true;
    t.context->training = true;
    t.context->seed = 5;
    return t;
}

static inline void tiny_free(tiny *t)
{
    lh_stream_free(t->stream);
    lh_context_free(t->context);
    lh_model_free(t->model);
}

/* Tokens and targets of segment `index` of a fixed random text: [batch, segment]. */
static inline void tiny_text(const tiny *t, int64_t index, int32_t *tokens, int32_t *targets)
{
    int64_t segment = t->model->config.segment, batch = t->stream->batch;
    for (int64_t b = 0; b < batch; b++) {
        for (int64_t i = 0; i < segment; i++) {
            uint32_t words[4];
            lh_philox(77, (uint64_t)b, (uint64_t)(index * segment + i), words);
            tokens[b * segment + i] = (int32_t)(words[0] % 11);
            lh_philox(77, (uint64_t)b, (uint64_t)(index * segment + i + 1), words);
            targets[b * segment + i] = (int32_t)(words[0] % 11);
        }
    }
}

typedef struct tiny_losses {
    double task, auxiliary;
} tiny_losses;

/* One segment forward; backward of task_weight * task + auxiliary_weight * auxiliary if either is not 0; state
 * committed. hidden (may be NULL) receives the final states. */
static inline tiny_losses tiny_step(tiny *t, int64_t index, double task_weight, double auxiliary_weight,
                                    double *hidden)
{
    lh_error error = {0};
    tiny_losses losses = {0};
    int64_t cells = t->model->config.segment * t->stream->batch;
    int32_t *tokens = calloc((size_t)cells, sizeof *tokens), *targets = calloc((size_t)cells, sizeof *targets);
    tiny_text(t, index, tokens, targets);
    lh_forward forward;
    lh_model_forward(t->context, t->model, t->stream, tokens, t->model->config.segment, &forward);
    lh_tensor *task = lh_model_loss(t->context, t->model, forward.hidden, targets, NULL, NULL);
    if (hidden && forward.hidden) {
        lh_to_host(t->context, forward.hidden, hidden);
    }
    losses.task = lh_scalar(t->context, task);
    losses.auxiliary = forward.auxiliary ? lh_scalar(t->context, forward.auxiliary) : 0.0;
    lh_tensor *total = task_weight != 0.0 ? lh_scale(t->context, task, task_weight) : NULL;
    if (forward.auxiliary && auxiliary_weight != 0.0) {
        lh_tensor *weighted = lh_scale(t->context, forward.auxiliary, auxiliary_weight);
        total = total ? lh_add(t->context, total, weighted) : weighted;
    }
    if (total) {
        lh_backward(t->context, total, 1.0);
    }
    lh_stream_commit(t->stream, t->context);
    tiny_check(lh_context_status(t->context, &error), &error);
    lh_context_reset(t->context);
    free(tokens);
    free(targets);
    return losses;
}

static inline void tiny_zero_grads(tiny *t)
{
    for (int i = 0; i < t->model->parameters.count; i++) {
        lh_tensor *g = t->model->parameters.items[i].tensor->grad;
        if (g) { /* statistics have none */
            memset(lh_tensor_data(g), 0, (size_t)lh_tensor_count(g) * sizeof(double));
        }
    }
}

static inline double *tiny_values(const tiny *t, const char *name)
{
    lh_parameter *p = lh_parameters_find(&t->model->parameters, name);
    if (!p) {
        fail_msg("no parameter %s", name);
    }
    return lh_tensor_data(p->tensor);
}

static inline double *tiny_grad(const tiny *t, const char *name)
{
    lh_parameter *p = lh_parameters_find(&t->model->parameters, name);
    if (!p) {
        fail_msg("no parameter %s", name);
    }
    return lh_tensor_data(p->tensor->grad);
}

static inline double largest(const double *x, int64_t count)
{
    double most = 0.0;
    for (int64_t i = 0; i < count; i++) {
        most = fabs(x[i]) > most ? fabs(x[i]) : most;
    }
    return most;
}

static inline lh_tensor *tiny_state(const tiny *t, const char *name)
{
    for (int i = 0; i < t->stream->memory->state_count; i++) {
        if (strcmp(t->stream->memory->state[i].name, name) == 0) {
            return t->stream->memory->state[i].stored;
        }
    }
    fail_msg("no state %s", name);
    return NULL;
}

/* Central differences of the sum of both losses of segment 0 at some elements of every parameter, beside the
 * gradients that are there. Returns how many of the latter are not 0. */
static inline int tiny_differences(tiny *t, const char *what)
{
    int checked = 0;
    for (int i = 0; i < t->model->parameters.count; i++) {
        lh_parameter *p = &t->model->parameters.items[i];
        double *x = lh_tensor_data(p->tensor);
        for (int64_t trial = 0; p->tensor->grad && trial < 4; trial++) {
            int64_t j = (trial * 7919 + 13 * i) % lh_tensor_count(p->tensor);
            double kept = x[j], h = 1e-6, value[2], got = ((double *)lh_tensor_data(p->tensor->grad))[j];
            for (int side = 0; side < 2; side++) {
                x[j] = kept + (side ? -h : h);
                t->context->random_offset = 0;
                tiny_losses l = tiny_step(t, 0, 0.0, 0.0, NULL);
                value[side] = l.task + l.auxiliary;
            }
            x[j] = kept;
            double difference = (value[0] - value[1]) / (2 * h);
            if (!(fabs(difference - got) <= 1e-6 * fmax(1.0, fabs(difference)))) {
                fail_msg("%s, %s [%lld]: gradient %.10g, difference %.10g", what, p->name, (long long)j, got,
                         difference);
            }
            checked += got != 0.0;
        }
    }
    return checked;
}

#endif
