#include "api/handles.h"

#include "base/memory.h"
#include "model/config.h"
#include "train/request.h"
#include "train/run.h"

#include <math.h>

static lh_status give_recipe(longhand_recipe **recipe, lh_status status, lh_recipe *inner, lh_error *error)
{
    if (status != LH_OK) {
        return status;
    }
    longhand_recipe *r = lh_heap_alloc(sizeof *r);
    if (!r) {
        lh_recipe_free(inner);
        return lh_fail(error, LH_E_MEMORY, "no memory for a recipe");
    }
    r->recipe = inner;
    *recipe = r;
    return LH_OK;
}

lh_status longhand_recipe_create(longhand_recipe **recipe, const char *base, lh_error *error)
{
    lh_recipe *inner = NULL;
    LH_API_NEED(error, recipe);
    *recipe = NULL;
    lh_status status = base ? lh_train_request_open(&inner, base, error) : lh_train_recipe_create(&inner, error);
    return give_recipe(recipe, status, inner, error);
}

lh_status longhand_recipe_open_run(longhand_recipe **recipe, const char *directory, lh_error *error)
{
    lh_recipe *inner = NULL;
    LH_API_NEED(error, recipe);
    *recipe = NULL;
    LH_API_NEED(error, directory);
    lh_status status = lh_run_recipe(&inner, directory, error);
    return give_recipe(recipe, status, inner, error);
}

void longhand_recipe_free(longhand_recipe *recipe)
{
    if (recipe) {
        lh_recipe_free(recipe->recipe);
        lh_heap_free(recipe);
    }
}

lh_status longhand_recipe_add(longhand_recipe *recipe, const char *text, size_t size, lh_error *error)
{
    LH_API_NEED(error, recipe);
    LH_API_NEED(error, text || size == 0);
    return lh_recipe_read_text(recipe->recipe, "recipe text", text ? text : "", size, error);
}

lh_status longhand_recipe_set(longhand_recipe *recipe, const char *assignment, lh_error *error)
{
    LH_API_NEED(error, recipe);
    LH_API_NEED(error, assignment);
    return lh_recipe_override(recipe->recipe, assignment, error);
}

lh_status longhand_recipe_get(longhand_recipe *recipe, const char *key, const char **value, lh_error *error)
{
    LH_API_NEED(error, value);
    *value = NULL;
    LH_API_NEED(error, recipe);
    LH_API_NEED(error, key);
    if (!lh_recipe_known(recipe->recipe, key)) {
        return lh_fail(error, LH_E_ARGUMENT, "recipes have no key '%s'", key);
    }
    LH_TRY(lh_recipe_resolve(recipe->recipe, error));
    *value = lh_recipe_value(recipe->recipe, key);
    return LH_OK;
}

lh_status longhand_recipe_text(longhand_recipe *recipe, bool origins, char **text, lh_error *error)
{
    lh_string out = {0};
    LH_API_NEED(error, text);
    *text = NULL;
    LH_API_NEED(error, recipe);
    LH_TRY(lh_recipe_resolve(recipe->recipe, error));
    lh_recipe_write(recipe->recipe, origins, &out);
    return lh_api_text(&out, text, NULL, error);
}

lh_status longhand_preset_get(size_t index, longhand_preset *preset, lh_error *error)
{
    size_t count;
    const lh_recipe_preset *presets = lh_model_presets(&count);
    LH_API_NEED(error, preset);
    LH_TRY(lh_api_check(preset, "longhand_preset", error));
    if (index >= count) {
        return lh_fail(error, LH_E_ARGUMENT, "there are %zu presets, and none of index %zu", count, index);
    }
    longhand_preset found = {.name = presets[index].name, .help = presets[index].help};
    lh_api_give(preset, &found, sizeof found);
    return LH_OK;
}

lh_status longhand_recipe_key(const longhand_recipe *recipe, size_t index, longhand_key *key, lh_error *error)
{
    static const char *const kinds[] = {
        [LH_RECIPE_STRING] = "string",   [LH_RECIPE_INTEGER] = "integer", [LH_RECIPE_REAL] = "real",
        [LH_RECIPE_BOOLEAN] = "boolean", [LH_RECIPE_LIST] = "list",       [LH_RECIPE_CHOICE] = "choice"};
    LH_API_NEED(error, recipe);
    LH_API_NEED(error, key);
    LH_TRY(lh_api_check(key, "longhand_key", error));
    const lh_recipe_key *row = lh_recipe_row(recipe->recipe, index);
    if (!row) {
        return lh_fail(error, LH_E_ARGUMENT, "recipes have no key of index %zu", index);
    }
    bool bounded = row->min != row->max;
    longhand_key found = {.section = row->section,
                          .key = row->key,
                          .kind = kinds[row->type],
                          .usual = row->fallback,
                          .choices = row->choices,
                          .condition = row->condition,
                          .help = row->help,
                          .minimum = bounded ? row->min : -INFINITY,
                          .maximum = bounded ? row->max : INFINITY};
    lh_api_give(key, &found, sizeof found);
    return LH_OK;
}

lh_status longhand_recipe_model_info(longhand_recipe *recipe, int64_t vocabulary, longhand_model_info *info,
                                     lh_error *error)
{
    lh_model_description description;
    LH_API_NEED(error, recipe);
    LH_API_NEED(error, info);
    LH_TRY(lh_api_check(info, "longhand_model_info", error));
    LH_TRY(lh_recipe_resolve(recipe->recipe, error));
    int64_t own = lh_recipe_integer(recipe->recipe, "model.vocab");
    if (own <= 0 && vocabulary <= 0) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "the recipe leaves the vocabulary to the tokenizer: say how large it is");
    }
    vocabulary = own > 0 ? own : vocabulary;
    LH_TRY(lh_recipe_describe_model(&description, recipe->recipe, vocabulary, error));
    longhand_model_info found = lh_api_model_info(recipe->recipe, vocabulary, &description);
    lh_api_give(info, &found, sizeof found);
    return LH_OK;
}
