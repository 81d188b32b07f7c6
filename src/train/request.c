#include "train/request.h"

#include "base/file.h"
#include "model/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_preset(const char *name)
{
    size_t count;
    const lh_recipe_preset *presets = lh_model_presets(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(presets[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static lh_status fail_unknown(const char *base, lh_error *error)
{
    const char *names[256];
    size_t count;
    const lh_recipe_preset *presets = lh_model_presets(&count);
    count = count < 256 ? count : 256;
    for (size_t i = 0; i < count; i++) {
        names[i] = presets[i].name;
    }
    const char *nearest = lh_nearest_name(base, names, count);
    return lh_fail(error, LH_E_ARGUMENT, "there is no recipe file and no preset '%s'%s%s%s", base,
                   nearest ? "; did you mean '" : " (longhand train --list-presets lists the presets)",
                   nearest ? nearest : "", nearest ? "'?" : "");
}

lh_status lh_train_request_read(lh_recipe *recipe, const char *base, lh_error *error)
{
    if (lh_file_exists(base)) {
        return lh_recipe_read(recipe, base, error);
    }
    if (is_preset(base)) {
        char argument[256];
        (void)snprintf(argument, sizeof argument, "preset=%.200s", base);
        return lh_recipe_override(recipe, argument, error);
    }
    return fail_unknown(base, error);
}

lh_status lh_train_request_open(lh_recipe **recipe, const char *base, lh_error *error)
{
    LH_TRY(lh_train_recipe_create(recipe, error));
    lh_status status = lh_train_request_read(*recipe, base, error);
    if (status != LH_OK) {
        lh_recipe_free(*recipe);
        *recipe = NULL;
    }
    return status;
}

static lh_status make_absolute(lh_recipe *recipe, const char *key, lh_error *error)
{
    const char *value = lh_recipe_string(recipe, key);
    char *full = value[0] ? realpath(value, NULL) : NULL;
    if (!full || strcmp(full, value) == 0) {
        free(full);
        return LH_OK; /* what is not there is reported by whoever opens it */
    }
    lh_string argument = {0};
    lh_string_print(&argument, "%s=%s", key, full);
    lh_status status = argument.failed ? lh_fail(error, LH_E_MEMORY, "no memory for the path of %s", value)
                                       : lh_recipe_override(recipe, argument.data, error);
    lh_string_free(&argument);
    free(full);
    return status;
}

lh_status lh_train_request_settle(lh_recipe *recipe, lh_error *error)
{
    LH_TRY(lh_recipe_resolve(recipe, error));
    if (strcmp(lh_recipe_string(recipe, "data.path"), "-") == 0) {
        return lh_recipe_reject(
            recipe, "data.path", error,
            "cannot be read again when the run goes on; prepare it first (longhand data prepare)");
    }
    LH_TRY(make_absolute(recipe, "data.path", error));
    LH_TRY(make_absolute(recipe, "data.validation_path", error));
    LH_TRY(make_absolute(recipe, "data.tokenizer", error));
    LH_TRY(make_absolute(recipe, "train.init_from", error));
    return lh_recipe_resolve(recipe, error);
}
