#include "api/handles.h"

#include "base/memory.h"
#include "infer/load.h"

#include <string.h>

static lh_status load(longhand_model *m, const char *path, const longhand_model_options *o, lh_error *error)
{
    lh_load_options options = {
        .which = o->checkpoint, .overrides = o->overrides, .override_count = o->override_count, .dtype = LH_F32};
    return lh_load_model(&m->model, &m->tokenizer->tokenizer, &m->step, path, &options, error);
}

lh_status longhand_model_open(longhand_model **model, const char *path, const longhand_model_options *options,
                              lh_error *error)
{
    longhand_model_options o = {0};
    LH_API_NEED(error, model);
    *model = NULL;
    LH_API_NEED(error, path);
    LH_TRY(lh_api_take(&o, sizeof o, options, "longhand_model_options", error));
    LH_TRY(lh_api_check_texts(o.overrides, o.override_count, "override", error));
    longhand_model *m = lh_heap_alloc(sizeof *m);
    longhand_tokenizer *tokenizer = lh_heap_alloc(sizeof *tokenizer);
    if (!m || !tokenizer) {
        lh_heap_free(m);
        lh_heap_free(tokenizer);
        return lh_fail(error, LH_E_MEMORY, "%s: no memory for a model", path);
    }
    atomic_init(&m->references, 1);
    atomic_init(&tokenizer->references, 1);
    m->tokenizer = tokenizer;
    lh_status status = load(m, path, &o, error);
    if (status != LH_OK) {
        longhand_model_free(m);
        return status;
    }
    *model = m;
    return LH_OK;
}

void longhand_model_free(longhand_model *model)
{
    if (model && atomic_fetch_sub(&model->references, 1) == 1) {
        longhand_tokenizer_free(model->tokenizer);
        lh_model_free(model->model);
        lh_heap_free(model);
    }
}

/* The registry's name, which lives for ever. */
static const char *memory_name(const lh_recipe *recipe)
{
    const char *name = lh_recipe_string(recipe, "memory.kind");
    for (int i = 0; lh_memory_kinds[i]; i++) {
        if (strcmp(lh_memory_kinds[i]->name, name) == 0) {
            return lh_memory_kinds[i]->name;
        }
    }
    return NULL;
}

longhand_model_info lh_api_model_info(const lh_recipe *recipe, int64_t vocabulary, const lh_model_description *d)
{
    return (longhand_model_info){.memory = memory_name(recipe),
                                 .step = -1,
                                 .parameters = d->parameters,
                                 .body = d->body,
                                 .vocabulary = vocabulary,
                                 .layers = lh_recipe_integer(recipe, "model.layers"),
                                 .width = lh_recipe_integer(recipe, "model.width"),
                                 .heads = lh_recipe_integer(recipe, "model.heads"),
                                 .segment = lh_recipe_integer(recipe, "model.segment"),
                                 .reach = d->reach,
                                 .state_bytes = d->state_bytes,
                                 .running_bytes = d->running_bytes,
                                 .flops = d->flops,
                                 .note = d->note,
                                 .source = d->source,
                                 .classes = lh_recipe_integer(recipe, "memory.classes")};
}

lh_status longhand_model_get_info(const longhand_model *model, longhand_model_info *info, lh_error *error)
{
    lh_model_description description;
    LH_API_NEED(error, model);
    LH_API_NEED(error, info);
    LH_TRY(lh_api_check(info, "longhand_model_info", error));
    LH_TRY(lh_model_describe(&description, model->model, error));
    longhand_model_info found = lh_api_model_info(model->model->recipe, model->model->config.vocab, &description);
    found.step = model->step;
    lh_api_give(info, &found, sizeof found);
    return LH_OK;
}

lh_status longhand_model_tokenizer(longhand_tokenizer **tokenizer, longhand_model *model, lh_error *error)
{
    LH_API_NEED(error, tokenizer);
    *tokenizer = NULL;
    LH_API_NEED(error, model);
    atomic_fetch_add(&model->tokenizer->references, 1);
    *tokenizer = model->tokenizer;
    return LH_OK;
}
