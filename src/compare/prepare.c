#include "compare/stages.h"

#include "base/progress.h"
#include "compare/child.h"
#include "formats/json_util.h"
#include "infer/describe.h"
#include "train/corpus.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *lh_json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

lh_status lh_stage_answer(json_t *root, lh_string *answer, lh_error *error)
{
    if (root) {
        lh_json_dump(root, answer);
    }
    lh_status status = root && !answer->failed ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory for a result");
    json_decref(root);
    return status;
}

static bool watch(void *user, const char *phase, uint64_t done, uint64_t total)
{
    lh_progress *progress = user;
    if (!progress->label || strcmp(progress->label, phase) != 0) {
        lh_progress_start(progress, phase, "B", total);
    }
    lh_progress_update(progress, done, NULL);
    return !lh_child_stopped(NULL);
}

static json_t *describe_data(const lh_corpus *corpus)
{
    const lh_dataset *held_out = corpus->other;
    char identity[80], *path = realpath(corpus->dataset->path, NULL);
    char *held_out_path = held_out ? realpath(held_out->path, NULL) : NULL;
    (void)snprintf(
        identity, sizeof identity, "%016llx %016llx %llu", (unsigned long long)corpus->dataset->facts.identity,
        (unsigned long long)(held_out ? held_out->facts.identity : 0), (unsigned long long)corpus->train->tokens);
    json_t *data =
        json_pack("{s:s, s:s, s:I, s:s, s:I, s:s}", "path", path ? path : corpus->dataset->path, "validation_path",
                  held_out_path ? held_out_path : "", "vocab", (json_int_t)corpus->vocab, "tokenizer",
                  lh_tokenizer_kind_name(lh_tokenizer_get_kind(corpus->tokenizer)), "training_tokens",
                  (json_int_t)corpus->train->tokens, "identity", identity);
    free(path);
    free(held_out_path);
    return data;
}

static json_t *describe_method(const lh_recipe *recipe, int64_t vocab)
{
    lh_model_description d;
    lh_error own = {0};
    int64_t wanted = lh_recipe_integer(recipe, "model.vocab");
    lh_status status = lh_recipe_describe_model(&d, recipe, wanted > 0 ? wanted : vocab, &own);
    if (status != LH_OK) {
        return json_pack("{s:{s:i, s:s}}", "error", "status", (int)status, "sentence", own.message);
    }
    return json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:I, s:I}", "parameters", (json_int_t)d.parameters,
                     "body", (json_int_t)d.body, "active", (json_int_t)d.active, "forward_flops", d.flops,
                     "attention_flops", d.attention_flops, "training_flops", d.training_flops, "state_bytes",
                     (json_int_t)d.state_bytes, "running_bytes", (json_int_t)d.running_bytes, "reach",
                     (json_int_t)d.reach);
}

static lh_status describe(const lh_prepare_stage *stage, const lh_corpus *corpus, lh_string *answer,
                          lh_error *error)
{
    const lh_compare_settings *settings = stage->settings;
    json_t *root = json_object(), *methods = json_object();
    for (int i = 0; i < settings->method_count; i++) {
        json_object_set_new(methods, lh_compare_method_name(settings->methods[i]),
                            describe_method(stage->recipes[i], corpus->vocab));
    }
    json_object_set_new(root, "data", describe_data(corpus));
    json_object_set_new(root, "methods", methods);
    return lh_stage_answer(root, answer, error);
}

lh_status lh_stage_prepare(void *user, lh_string *answer, lh_error *error)
{
    const lh_prepare_stage *stage = user;
    lh_train_config config;
    lh_corpus *corpus;
    lh_progress progress = {0};
    LH_TRY(lh_train_config_read(&config, stage->recipes[0], error));
    lh_status status = lh_corpus_open(&corpus, &config, stage->cache, stage->replace, watch, &progress, error);
    if (progress.label) {
        lh_progress_finish(&progress, NULL);
    }
    LH_TRY(status);
    status = describe(stage, corpus, answer, error);
    lh_corpus_free(corpus);
    return status;
}
