#include "cli/model.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "model/config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

lh_status lh_cli_open_model(const lh_command *command, const char *const *extra, lh_model **model,
                            lh_tokenizer **tokenizer, int64_t *step, lh_error *error)
{
    size_t count = 0, extras = 0;
    int operands = lh_command_operand_count(command);
    while (extra && extra[extras]) {
        extras++;
    }
    const char **overrides = lh_heap_alloc(sizeof *overrides * ((size_t)operands + extras));
    if (!overrides) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the command line");
    }
    for (size_t i = 0; i < extras; i++) {
        overrides[count++] = extra[i];
    }
    for (int i = 1; i < operands; i++) {
        overrides[count++] = lh_command_operand(command, i);
    }
    lh_load_options options = {.which = lh_command_string(command, "checkpoint"),
                               .overrides = overrides,
                               .override_count = count,
                               .dtype = LH_F32};
    lh_status status = lh_load_model(model, tokenizer, step, lh_command_operand(command, 0), &options, error);
    lh_heap_free(overrides);
    return status;
}

bool lh_cli_terminal(void)
{
    return isatty(STDOUT_FILENO) != 0;
}

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

lh_status lh_cli_read_recipe(lh_recipe *recipe, const char *base, lh_error *error)
{
    if (lh_file_exists(base)) {
        return lh_recipe_read(recipe, base, error);
    }
    if (is_preset(base)) {
        char argument[256];
        (void)snprintf(argument, sizeof argument, "preset=%.200s", base);
        return lh_recipe_override(recipe, argument, error);
    }
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
