#include "infer/load.h"

#include "base/memory.h"
#include "formats/checkpoint.h"
#include "formats/model_dir.h"

#include <string.h>

/* What every model allows, and what the memory kinds add; made once from the registry. */
#define MAX_NAMES 64
static const char *override_names[MAX_NAMES + 1] = {"model.segment", "model.same_length", "model.clamp",
                                                    "model.rope_base", "model.rope_factor"};

static bool known(const char *name, int count)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(override_names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

__attribute__((constructor)) static void collect_names(void)
{
    int count = 5;
    for (int i = 0; lh_memory_kinds[i]; i++) {
        const char *const *list = lh_memory_kinds[i]->adjustable;
        for (; list && *list && count < MAX_NAMES; list++) {
            if (!known(*list, count)) {
                override_names[count++] = *list;
            }
        }
    }
}

const char *const *lh_load_override_names(void)
{
    return override_names;
}

static lh_status check_override(const char *argument, lh_error *error)
{
    const char *equals = strchr(argument, '=');
    size_t size = equals ? (size_t)(equals - argument) : strlen(argument);
    for (int i = 0; equals && override_names[i]; i++) {
        if (strlen(override_names[i]) == size && strncmp(argument, override_names[i], size) == 0) {
            return LH_OK;
        }
    }
    lh_string list = {0};
    for (int i = 0; override_names[i]; i++) {
        lh_string_print(&list, "%s%s", i ? ", " : "", override_names[i]);
    }
    lh_status status = lh_fail(
        error, LH_E_CONFIG, "\"%s\" cannot be changed on a trained model; what can, as section.key=value, is: %s",
        argument, list.failed ? "" : list.data);
    lh_string_free(&list);
    return status;
}

static lh_status resolve(lh_recipe **recipe, const lh_model_dir *files, const lh_load_options *options,
                         lh_error *error)
{
    LH_TRY(lh_model_load_config(recipe, files->config, error));
    for (size_t i = 0; i < options->override_count; i++) {
        LH_TRY(check_override(options->overrides[i], error));
        LH_TRY(lh_recipe_override(*recipe, options->overrides[i], error));
    }
    return options->override_count > 0 ? lh_recipe_resolve(*recipe, error) : LH_OK;
}

static lh_status load_weights(lh_model *model, const lh_model_dir *files, lh_error *error)
{
    if (files->weight_count != 1) {
        return lh_fail(error, LH_E_UNSUPPORTED, "%s: weights in %zu files are not read", files->directory,
                       files->weight_count);
    }
    if (files->step >= 0) {
        /* Verifies every byte, which weights without checksums cannot be. */
        lh_checkpoint *checkpoint;
        LH_TRY(lh_checkpoint_open(&checkpoint, files->weights[0], error));
        lh_checkpoint_close(checkpoint);
    }
    return lh_model_load(model, files->weights[0], error);
}

static lh_status load_tokenizer(lh_tokenizer **tokenizer, const lh_model *model, const lh_model_dir *files,
                                lh_error *error)
{
    const char *path;
    LH_TRY(lh_model_dir_tokenizer(files, &path, error));
    LH_TRY(lh_tokenizer_open(tokenizer, path, error));
    if (lh_tokenizer_vocab_size(*tokenizer) > model->config.vocab) {
        return lh_fail(error, LH_E_CONFIG, "%s: has %d tokens, more than the model's %lld", path,
                       lh_tokenizer_vocab_size(*tokenizer), (long long)model->config.vocab);
    }
    return LH_OK;
}

lh_status lh_load_model(lh_model **model, lh_tokenizer **tokenizer, int64_t *step, const char *path,
                        const lh_load_options *options, lh_error *error)
{
    lh_model_dir files;
    lh_recipe *recipe = NULL;
    *model = NULL;
    if (tokenizer) {
        *tokenizer = NULL;
    }
    LH_TRY(lh_model_dir_open(&files, path, options->which, error));
    lh_status status = resolve(&recipe, &files, options, error);
    if (status == LH_OK && lh_recipe_integer(recipe, "model.vocab") < 1) {
        status = lh_fail(error, LH_E_CONFIG, "%s: model.vocab is missing", files.config);
    }
    if (status == LH_OK) {
        status = lh_model_create(model, recipe, lh_recipe_integer(recipe, "model.vocab"), lh_backend_cpu(),
                                 options->dtype, error);
    }
    if (status == LH_OK) {
        status = load_weights(*model, &files, error);
    }
    if (status == LH_OK && tokenizer) {
        status = load_tokenizer(tokenizer, *model, &files, error);
    }
    if (status == LH_OK && step) {
        *step = files.step;
    }
    if (status != LH_OK) {
        lh_model_free(*model);
        *model = NULL;
        if (tokenizer) {
            lh_tokenizer_free(*tokenizer);
            *tokenizer = NULL;
        }
    }
    lh_recipe_free(recipe);
    lh_model_dir_close(&files);
    return status;
}
