#include "compare/methods.h"

#include "base/memory.h"
#include "formats/ini.h"
#include "train/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sizes in braces ---- */

static bool size_named(const char *name, const lh_recipe *sizes, int64_t memory, int64_t *value)
{
    static const char *const names[] = {"segment", "width", "heads", "layers", "hidden", NULL};
    char key[48];
    if (strcmp(name, "memory") == 0 || strcmp(name, "batch") == 0) {
        *value = name[0] == 'm' ? memory : lh_recipe_integer(sizes, "data.batch");
        return true;
    }
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], name) == 0) {
            (void)snprintf(key, sizeof key, "model.%s", name);
            *value = lh_recipe_integer(sizes, key);
            if (strcmp(name, "hidden") == 0 && *value == 0) {
                *value = 4 * lh_recipe_integer(sizes, "model.width");
            }
            return true;
        }
    }
    return lh_parse_integer(name, value);
}

/* The value of "2*segment" or "memory/2": factors from left to right. */
static bool product(const char *at, const char *end, const lh_recipe *sizes, int64_t memory, int64_t *value)
{
    char sign = '*';
    *value = 1;
    for (;;) {
        char word[32];
        size_t length = 0;
        int64_t factor;
        while (at + length < end && at[length] != '*' && at[length] != '/') {
            length++;
        }
        (void)snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word - 1), at);
        if (!size_named(word, sizes, memory, &factor) || factor < 1 || factor > 1 << 24) {
            return false;
        }
        *value = sign == '*' ? *value * factor : *value / factor;
        *value = *value < 1 ? 1 : *value;
        if (*value > (int64_t)1 << 32) {
            return false;
        }
        at += length;
        if (at >= end) {
            return true;
        }
        sign = *at++;
    }
}

/* The value of "segment+2*memory" or "layers-1", at least 1. */
static bool evaluate(const char *at, const char *end, const lh_recipe *sizes, int64_t memory, int64_t *value)
{
    char sign = '+';
    *value = 0;
    for (;;) {
        const char *next = at;
        int64_t term;
        while (next < end && *next != '+' && *next != '-') {
            next++;
        }
        if (!product(at, next, sizes, memory, &term)) {
            return false;
        }
        *value += sign == '+' ? term : -term;
        if (next == end) {
            *value = *value < 1 ? 1 : *value;
            return true;
        }
        sign = *next;
        at = next + 1;
    }
}

lh_status lh_compare_expand(const char *text, const lh_recipe *sizes, int64_t memory, lh_string *out,
                            lh_error *error)
{
    for (const char *at = text; *at;) {
        size_t plain = strcspn(at, "{");
        lh_string_append(out, at, plain);
        at += plain;
        const char *close = *at ? strchr(at, '}') : NULL;
        int64_t value;
        if (!*at) {
            break;
        }
        if (!close || !evaluate(at + 1, close, sizes, memory, &value)) {
            return lh_fail(error, LH_E_INTERNAL, "a method's own recipe names a size that does not exist: %.40s",
                           at);
        }
        lh_string_print(out, "%lld", (long long)value);
        at = close + 1;
    }
    return out->failed ? lh_fail(error, LH_E_MEMORY, "no memory for the recipe of a method") : LH_OK;
}

/* The lines without a brace: enough to find out the sizes. */
static void without_sizes(const char *text, lh_string *out)
{
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n");
        if (!memchr(line, '{', length)) {
            lh_string_append(out, line, length);
        }
        lh_string_append(out, "\n", 1);
        line += length + (line[length] == '\n');
    }
}

/* ---- recipes ---- */

/* How the origin of a value begins that a method sets itself. */
#define OWN_ORIGIN "method "

static lh_status read_own(lh_recipe *recipe, const lh_memory_kind *kind, const char *own, const char *reader,
                          lh_error *error)
{
    char name[96];
    lh_string text = {0};
    (void)snprintf(name, sizeof name, OWN_ORIGIN "%.60s", lh_compare_method_name(kind));
    lh_compare_pick(own, reader, &text);
    lh_status status = text.failed
                           ? lh_fail(error, LH_E_MEMORY, "no memory for the recipe of a method")
                           : lh_recipe_read_text(recipe, name, text.data ? text.data : "", text.size, error);
    lh_string_free(&text);
    return status;
}

static lh_status read_picked(lh_recipe *recipe, const lh_compare_sources *sources, const char *reader,
                             lh_error *error)
{
    lh_string text = {0};
    lh_status status = LH_OK;
    for (size_t i = 0; i < sources->count && status == LH_OK; i++) {
        lh_string_clear(&text);
        lh_compare_pick(sources->items[i].text, reader, &text);
        status = text.failed ? lh_fail(error, LH_E_MEMORY, "no memory for the recipe of a method")
                             : lh_recipe_read_text(recipe, sources->items[i].name, text.data ? text.data : "",
                                                   text.size, error);
    }
    lh_string_free(&text);
    return status;
}

static lh_status override(lh_recipe *recipe, const char *key, const char *value, lh_error *error)
{
    lh_string argument = {0};
    lh_string_print(&argument, "%s=%s", key, value);
    lh_status status = argument.failed ? lh_fail(error, LH_E_MEMORY, "no memory for the recipe of a method")
                                       : lh_recipe_override(recipe, argument.data, error);
    lh_string_free(&argument);
    return status;
}

/* The budget replaces what the recipe says about the end of training. */
static lh_status set_budget(lh_recipe *recipe, const lh_budget *budget, int64_t tokens, lh_error *error)
{
    char minutes[40] = "0", count[40] = "0";
    if (budget->kind == LH_BUDGET_SECONDS) {
        (void)snprintf(minutes, sizeof minutes, "%.12g", budget->amount / 60.0);
    } else {
        int64_t amount = budget->kind == LH_BUDGET_TOKENS ? (int64_t)budget->amount : tokens;
        (void)snprintf(count, sizeof count, "%lld", (long long)(amount < 1 ? 1 : amount));
    }
    LH_TRY(override(recipe, "train.steps", "0", error));
    LH_TRY(override(recipe, "train.minutes", minutes, error));
    return override(recipe, "train.tokens", count, error);
}

static lh_status read_all(lh_recipe *recipe, const char *own, const lh_compare_settings *settings,
                          const lh_compare_sources *sources, const lh_memory_kind *kind, int64_t tokens,
                          const char *const *overrides, lh_error *error)
{
    LH_TRY(read_own(recipe, kind, own, LH_READER_MEMORY, error));
    LH_TRY(read_picked(recipe, sources, LH_READER_SHARED, error));
    LH_TRY(read_own(recipe, kind, own, LH_READER_REST, error));
    LH_TRY(read_picked(recipe, sources, lh_compare_method_name(kind), error));
    /* From the strongest source, so that keys of other methods fall silent instead of being refused. */
    LH_TRY(override(recipe, "memory.kind", kind->name, error));
    LH_TRY(set_budget(recipe, &settings->budget, tokens, error));
    for (; overrides && *overrides; overrides++) {
        LH_TRY(lh_recipe_override(recipe, *overrides, error));
    }
    return lh_recipe_resolve(recipe, error);
}

static lh_status expand_own(lh_string *own, const lh_compare_settings *settings, const lh_compare_sources *sources,
                            const lh_memory_kind *kind, lh_error *error)
{
    lh_recipe *sizes;
    lh_string plain = {0};
    without_sizes(kind->compare, &plain);
    LH_TRY(lh_train_recipe_create(&sizes, error));
    lh_status status = plain.failed
                           ? lh_fail(error, LH_E_MEMORY, "no memory for the recipe of a method")
                           : read_all(sizes, plain.data ? plain.data : "", settings, sources, kind, 1, NULL, error);
    if (status == LH_OK) {
        int64_t memory = settings->memory ? settings->memory : lh_recipe_integer(sizes, "model.segment");
        status = lh_compare_expand(kind->compare, sizes, memory, own, error);
    }
    lh_recipe_free(sizes);
    lh_string_free(&plain);
    return status;
}

lh_status lh_compare_recipe(lh_recipe **recipe, const lh_compare_settings *settings,
                            const lh_compare_sources *sources, const lh_memory_kind *kind, int64_t tokens,
                            const char *const *overrides, lh_error *error)
{
    lh_string own = {0};
    *recipe = NULL;
    lh_status status = expand_own(&own, settings, sources, kind, error);
    if (status == LH_OK) {
        status = lh_train_recipe_create(recipe, error);
    }
    if (status == LH_OK) {
        status = read_all(*recipe, own.data ? own.data : "", settings, sources, kind, tokens, overrides, error);
    }
    if (status != LH_OK) {
        lh_recipe_free(*recipe);
        *recipe = NULL;
    }
    lh_string_free(&own);
    return status;
}

/* ---- paths ---- */

static lh_status fix_path(lh_compare_sources *sources, const char *key, const char *value, lh_error *error)
{
    lh_string argument = {0};
    char *full = value[0] ? realpath(value, NULL) : NULL;
    lh_status status = LH_OK;
    if (full && strcmp(full, value) != 0) { /* what is not there is reported by whoever opens it */
        lh_string_print(&argument, "%s=%s", key, full);
        status = argument.failed ? lh_fail(error, LH_E_MEMORY, "no memory for the path of %s", value)
                                 : lh_compare_sources_argument(sources, argument.data, error);
    }
    lh_string_free(&argument);
    free(full);
    return status;
}

static lh_status fix_paths(lh_compare_sources *sources, const lh_compare_settings *settings,
                           const lh_recipe *recipe, lh_error *error)
{
    static const char *const keys[] = {"data.path", "data.validation_path", "data.tokenizer", NULL};
    if (strcmp(lh_recipe_string(recipe, "data.path"), "-") == 0) {
        return lh_recipe_reject(
            recipe, "data.path", error,
            "cannot be read again for the next method; prepare it first (longhand data prepare)");
    }
    for (int i = 0; keys[i]; i++) {
        LH_TRY(fix_path(sources, keys[i], lh_recipe_string(recipe, keys[i]), error));
    }
    return fix_path(sources, "compare.path", settings->path, error);
}

lh_status lh_compare_fix_paths(lh_compare_sources *sources, lh_error *error)
{
    lh_compare_settings settings;
    lh_recipe *recipe = NULL;
    lh_status status = lh_compare_settings_read(&settings, sources, error);
    if (status == LH_OK) {
        status = lh_compare_recipe(&recipe, &settings, sources, settings.methods[0], 1, NULL, error);
    }
    if (status == LH_OK) {
        status = fix_paths(sources, &settings, recipe, error);
    }
    lh_recipe_free(recipe);
    lh_compare_settings_free(&settings);
    return status;
}

/* ---- keys that nobody uses ---- */

typedef struct use_check {
    lh_recipe *const *recipes;
    int count;
    const char *source;
} use_check;

static lh_status check_line(void *user, const char *section, const char *key, const char *value, int line,
                            lh_error *error)
{
    const use_check *check = user;
    char name[128];
    if (!key || !section[0]) {
        return LH_OK;
    }
    (void)snprintf(name, sizeof name, "%.60s.%.60s", section, key);
    for (int i = 0; i < check->count; i++) {
        const lh_recipe *recipe = check->recipes[i];
        if (lh_recipe_active(recipe, name) &&
            strncmp(lh_recipe_origin(recipe, name), OWN_ORIGIN, strlen(OWN_ORIGIN)) != 0) {
            return LH_OK;
        }
    }
    return lh_fail(error, LH_E_CONFIG,
                   "%s:%d: [%s] %s = %s is of no use to any of the methods that are compared, or each sets it "
                   "itself",
                   check->source, line, section, key, value);
}

lh_status lh_compare_check_used(const lh_compare_sources *sources, lh_recipe *const *recipes, int count,
                                lh_error *error)
{
    lh_string text = {0};
    lh_status status = LH_OK;
    for (size_t i = 0; i < sources->count && status == LH_OK; i++) {
        use_check check = {.recipes = recipes, .count = count, .source = sources->items[i].name};
        lh_string_clear(&text);
        lh_compare_pick(sources->items[i].text, LH_READER_SHARED, &text);
        status = text.failed
                     ? lh_fail(error, LH_E_MEMORY, "no memory for the recipe of a comparison")
                     : lh_ini_parse(check.source, text.data ? text.data : "", text.size, check_line, &check, error);
    }
    lh_string_free(&text);
    return status;
}
