/* A model of one lane of work for tests that train on tasks made in the test itself: its context, stream and
 * optimizer, and one update. In single precision, as training is. */
#ifndef LH_TESTS_LEARNER_H
#define LH_TESTS_LEARNER_H

#include "support/tiny_model.h"

#include "train/optimizer.h"

typedef struct learner {
    lh_model *model;
    lh_context *context;
    lh_stream *stream;
    lh_optimizer *optimizer;
} learner;

/* `arguments` as in tiny_model; options NULL: AdamW's defaults. */
static inline learner learner_open(const char *const *arguments, int64_t vocab, int64_t lanes, uint64_t seed,
                                   const lh_optimizer_options *options)
{
    learner l = {0};
    lh_error error = {0};
    lh_recipe *recipe;
    lh_optimizer_options defaults = lh_optimizer_defaults();
    tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), NULL, 0, &error), &error);
    for (int i = 0; arguments[i]; i++) {
        tiny_check(lh_recipe_override(recipe, arguments[i], &error), &error);
    }
    tiny_check(lh_recipe_resolve(recipe, &error), &error);
    tiny_check(lh_model_create(&l.model, recipe, vocab, lh_backend_cpu(), LH_F32, &error), &error);
    lh_recipe_free(recipe);
    tiny_check(lh_parameters_initialise(&l.model->parameters, seed, &error), &error);
    tiny_check(lh_parameters_want_grads(&l.model->parameters, ~0u, &error), &error);
    tiny_check(lh_optimizer_create(&l.optimizer, &l.model->parameters, options ? options : &defaults, &error),
               &error);
    tiny_check(lh_context_create(&l.context, lh_backend_cpu(), 1, &error), &error);
    tiny_check(lh_stream_create(&l.stream, l.model, lanes, false, &error), &error);
    return l;
}

static inline void learner_close(learner *l)
{
    lh_stream_free(l->stream);
    lh_optimizer_free(l->optimizer);
    lh_context_free(l->context);
    lh_model_free(l->model);
}

/* The end of a text that is not trained on, too: state is kept, the graph is gone. */
static inline void learner_commit(learner *l)
{
    lh_error error = {0};
    lh_stream_commit(l->stream, l->context);
    tiny_check(lh_context_status(l->context, &error), &error);
    lh_context_reset(l->context);
}

/* One update by the gradient of `loss`, and of the auxiliary loss if there is one; the last of the graph. */
static inline void learner_update(learner *l, lh_tensor *loss, lh_tensor *auxiliary, double rate)
{
    lh_error error = {0};
    lh_backward(l->context, auxiliary ? lh_add(l->context, loss, auxiliary) : loss, 1.0);
    learner_commit(l);
    if (l->model->memory_kind->learn) {
        l->model->memory_kind->learn(&l->stream->memory, 1, l->context);
    }
    tiny_check(lh_optimizer_step(l->optimizer, l->context, rate, 1.0, NULL, &error), &error);
    lh_context_reset(l->context);
}

#endif
