/* Any text as a recipe: refused with a message, or resolved; and the resolved recipe, read back, is itself. */
#include "formats/recipe.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const lh_recipe_key keys[] = {
    {.section = "data", .key = "train", .type = LH_RECIPE_STRING, .fallback = "", .help = "text"},
    {.section = "model",
     .key = "layers",
     .type = LH_RECIPE_INTEGER,
     .fallback = "6",
     .min = 1,
     .max = 100,
     .help = "n"},
    {.section = "model",
     .key = "norm",
     .type = LH_RECIPE_CHOICE,
     .fallback = "pre",
     .choices = "pre|post",
     .help = "n"},
    {.section = "memory",
     .key = "kind",
     .type = LH_RECIPE_CHOICE,
     .fallback = "none",
     .choices = "none|a|b",
     .help = "k"},
    {.section = "memory",
     .key = "size",
     .type = LH_RECIPE_INTEGER,
     .fallback = "1",
     .condition = "memory.kind=a",
     .help = "of a"},
    {.section = "memory",
     .key = "size",
     .type = LH_RECIPE_INTEGER,
     .fallback = "9",
     .min = 5,
     .max = LH_RECIPE_NO_MAX,
     .condition = "memory.kind=b",
     .help = "of b"},
    {.section = "memory",
     .key = "deep",
     .type = LH_RECIPE_LIST,
     .fallback = "1, 2",
     .condition = "memory.kind!=none memory.size=7,8,9",
     .help = "list"},
    {.section = "train", .key = "lr", .type = LH_RECIPE_REAL, .fallback = "0.1", .help = "rate"},
    {.section = "train", .key = "on", .type = LH_RECIPE_BOOLEAN, .fallback = "no", .help = "switch"},
    {0},
};
static const lh_recipe_key *const tables[] = {keys, NULL};
static const lh_recipe_preset presets[] = {{"p", "preset = q\n[memory]\nkind = b\n", "b"},
                                           {"q", "[model]\nlayers = 2\n", "two"}};

static lh_recipe *resolve(const char *text, size_t size)
{
    lh_recipe *recipe = NULL;
    lh_error error = {0};
    if (lh_recipe_create(&recipe, tables, presets, 2, NULL) != LH_OK) {
        abort();
    }
    if (lh_recipe_read_text(recipe, "fuzz", text, size, &error) == LH_OK &&
        lh_recipe_resolve(recipe, &error) == LH_OK) {
        return recipe;
    }
    if (error.status != LH_E_CONFIG || !error.message[0]) {
        abort();
    }
    lh_recipe_free(recipe);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lh_recipe *first = resolve((const char *)data, size);
    if (!first) {
        return 0;
    }
    for (int with_origins = 0; with_origins < 2; with_origins++) {
        lh_string one = {0}, two = {0}, plain = {0};
        lh_recipe_write(first, with_origins, &one);
        lh_recipe_write(first, false, &plain);
        lh_recipe *second = resolve(one.data, one.size);
        if (!second) {
            abort();
        }
        lh_recipe_write(second, false, &two);
        if (strcmp(plain.data, two.data) != 0) {
            abort();
        }
        lh_recipe_free(second);
        lh_string_free(&one);
        lh_string_free(&two);
        lh_string_free(&plain);
    }
    /* Its first bytes are tried as a command-line argument, too. */
    char argument[64];
    size_t length = size < sizeof argument ? size : sizeof argument - 1;
    memcpy(argument, data, length);
    argument[length] = '\0';
    (void)lh_recipe_override(first, argument, NULL);
    (void)lh_recipe_resolve(first, NULL);
    lh_recipe_free(first);
    return 0;
}
