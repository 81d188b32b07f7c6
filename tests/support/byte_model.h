/* Small models over bytes in double precision, for tests of what reads text. */
#ifndef LH_TESTS_BYTE_MODEL_H
#define LH_TESTS_BYTE_MODEL_H

#include "support/scratch.h"
#include "support/tiny_model.h"

#include "text/tokenizer.h"

typedef struct byte_model {
    lh_model *model;
    lh_tokenizer *tokenizer;
} byte_model;

/* `arguments` as in tiny_model. */
static inline byte_model byte_model_create(const char *const *arguments, lh_dtype dtype)
{
    byte_model m = {0};
    lh_error error = {0};
    lh_recipe *recipe;
    tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), NULL, 0, &error), &error);
    for (int i = 0; arguments[i]; i++) {
        tiny_check(lh_recipe_override(recipe, arguments[i], &error), &error);
    }
    tiny_check(lh_recipe_resolve(recipe, &error), &error);
    tiny_check(lh_model_create(&m.model, recipe, 256, lh_backend_cpu(), dtype, &error), &error);
    tiny_check(lh_parameters_initialise(&m.model->parameters, 17, &error), &error);
    tiny_check(lh_tokenizer_create_bytes(&m.tokenizer, &error), &error);
    lh_recipe_free(recipe);
    return m;
}

static inline void byte_model_free(byte_model *m)
{
    lh_tokenizer_free(m->tokenizer);
    lh_model_free(m->model);
}

/* A model without context: every byte costs nats[byte], whatever came before. Those costs must be those of a
 * distribution for the model to pay them exactly. */
static inline byte_model unigram_model(const double *nats)
{
    static const char *const arguments[] = {"model.layers=0", "model.width=8", "model.heads=2", "model.segment=16",
                                            NULL};
    byte_model m = byte_model_create(arguments, LH_F64);
    double *embedding = lh_tensor_data(m.model->embedding[0]), *bias = lh_tensor_data(m.model->output_bias[0]);
    memset(embedding, 0, sizeof *embedding * (size_t)lh_tensor_count(m.model->embedding[0]));
    for (int i = 0; i < 256; i++) {
        bias[i] = nats ? -nats[i] : 0.0;
    }
    return m;
}

/* Costs of a distribution that favours some bytes. */
static inline void unigram_costs(double *nats)
{
    double total = 0.0;
    for (int i = 0; i < 256; i++) {
        nats[i] = 1.0 + (double)(i * 37 % 256);
        total += nats[i];
    }
    for (int i = 0; i < 256; i++) {
        nats[i] = -log(nats[i] / total);
    }
}

/* Model and tokenizer as a model directory. */
static inline void byte_model_save(const byte_model *m, const char *folder)
{
    lh_error error = {0};
    char path[160];
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    tiny_check(lh_model_save(m->model, path, NULL, &error), &error);
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    tiny_check(lh_model_save_config(m->model, path, &error), &error);
    tiny_check(lh_tokenizer_save(m->tokenizer, folder, &error), &error);
}

/* Text of words between white space. */
static inline void byte_text(char *text, size_t size, uint64_t seed)
{
    lh_random random = lh_random_create(seed, 9);
    for (size_t i = 0; i < size; i++) {
        uint64_t draw = lh_random_below(&random, 32);
        text[i] = draw < 26 ? (char)('a' + draw) : draw < 31 ? ' ' : '\n';
    }
}

#endif
