#include "compare/state.h"

#include "base/file.h"
#include "base/memory.h"
#include "formats/ini.h"
#include "formats/json_util.h"

#include <string.h>

/* Far more than the recipes of all methods. */
#define LARGEST_STATE ((size_t)1 << 26)

lh_status lh_compare_path(char **path, const char *directory, const char *name, lh_error *error)
{
    *path = lh_path_join(directory, name);
    return *path ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory to open %s/%s", directory, name);
}

bool lh_compare_begun(const char *directory)
{
    char *path = lh_path_join(directory, LH_COMPARE_STATE);
    bool begun = path && lh_file_exists(path);
    lh_heap_free(path);
    return begun;
}

static lh_status load(json_t **root, const char *directory, lh_error *error)
{
    char *path;
    *root = NULL;
    LH_TRY(lh_compare_path(&path, directory, LH_COMPARE_STATE, error));
    lh_status status = lh_file_exists(path) ? lh_json_read(path, LARGEST_STATE, root, error)
                                            : lh_fail(error, LH_E_IO, "%s is no comparison: there is no %s in it",
                                                      directory, LH_COMPARE_STATE);
    lh_heap_free(path);
    return status;
}

static lh_status take_sources(lh_compare_sources *sources, const json_t *root, lh_error *error)
{
    lh_json top = lh_json_root(root, LH_COMPARE_STATE), list;
    LH_TRY(lh_json_array(&top, "sources", &list, error));
    for (size_t i = 0; i < lh_json_length(&list); i++) {
        lh_json item = lh_json_element(&list, i);
        const char *name, *text;
        LH_TRY(lh_json_string(&item, "name", &name, error));
        LH_TRY(lh_json_string(&item, "text", &text, error));
        LH_TRY(lh_compare_sources_add(sources, name, text, error));
    }
    return LH_OK;
}

lh_status lh_compare_sources_load(lh_compare_sources *sources, const char *directory, lh_error *error)
{
    json_t *root;
    LH_TRY(load(&root, directory, error));
    lh_status status = take_sources(sources, root, error);
    json_decref(root);
    return status;
}

/* ---- what is different ---- */

typedef struct line_search {
    const char *section, *key;
    char *value; /* of the key, or NULL */
} line_search;

static lh_status match_line(void *user, const char *section, const char *key, const char *value, int line,
                            lh_error *error)
{
    line_search *search = user;
    (void)line;
    if (!key || search->value || strcmp(section, search->section) != 0 || strcmp(key, search->key) != 0) {
        return LH_OK;
    }
    search->value = lh_heap_strdup(value);
    return search->value ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory to compare recipes");
}

typedef struct difference {
    const char *name, *other; /* whose text it is; the other text */
    bool other_is_new;
} difference;

/* Where the data lies may change; that it is the same data is checked by its identity. What was measured stays when
 * methods and seeds are added. */
static bool is_free(const char *section, const char *key)
{
    static const char *const free_keys[] = {"data.path",       "data.validation_path", "data.tokenizer",
                                            "compare.methods", "compare.seeds",        NULL};
    size_t length = strlen(section);
    for (int i = 0; free_keys[i]; i++) {
        if (strncmp(free_keys[i], section, length) == 0 && free_keys[i][length] == '.' &&
            strcmp(free_keys[i] + length + 1, key) == 0) {
            return true;
        }
    }
    return false;
}

static lh_status check_line(void *user, const char *section, const char *key, const char *value, int line,
                            lh_error *error)
{
    const difference *d = user;
    line_search search = {.section = section, .key = key};
    (void)line;
    if (!key || is_free(section, key)) {
        return LH_OK;
    }
    lh_status status = lh_ini_parse("recipe", d->other, strlen(d->other), match_line, &search, error);
    if (status == LH_OK && (!search.value || strcmp(search.value, value) != 0)) {
        const char *other = search.value ? search.value : "(not set)";
        status = lh_fail(error, LH_E_CONFIG,
                         "%s was begun with %s.%s = %s, not %s; a comparison goes on as it began: leave the key as "
                         "it was or give another --out",
                         d->name, section, key, d->other_is_new ? value : other, d->other_is_new ? other : value);
    }
    lh_heap_free(search.value);
    return status;
}

static lh_status check_same(const char *name, const char *old, const char *fresh, lh_error *error)
{
    difference forth = {.name = name, .other = fresh, .other_is_new = true};
    difference back = {.name = name, .other = old, .other_is_new = false};
    LH_TRY(lh_ini_parse("recipe", old, strlen(old), check_line, &forth, error));
    return lh_ini_parse("recipe", fresh, strlen(fresh), check_line, &back, error);
}

static lh_status check_all(const json_t *old, const json_t *fresh, const char *directory, lh_error *error)
{
    const char *name, *before_data = json_string_value(json_object_get(old, "data"));
    json_t *text;
    lh_string label = {0};
    if (!before_data || strcmp(before_data, json_string_value(json_object_get(fresh, "data"))) != 0) {
        return lh_fail(error, LH_E_CONFIG, "%s was begun with other data: give another --out", directory);
    }
    lh_status status = check_same(directory, json_string_value(json_object_get(old, "settings")),
                                  json_string_value(json_object_get(fresh, "settings")), error);
    json_object_foreach(json_object_get(fresh, "methods"), name, text)
    {
        const char *before = json_string_value(json_object_get(json_object_get(old, "methods"), name));
        lh_string_clear(&label);
        lh_string_print(&label, "%s of %s", name, directory);
        if (status == LH_OK && before && !label.failed) {
            status = check_same(label.data, before, json_string_value(text), error);
        }
    }
    lh_string_free(&label);
    return status;
}

/* ---- writing ---- */

static json_t *recipe_json(const lh_recipe *recipe)
{
    lh_string text = {0};
    lh_recipe_write(recipe, false, &text);
    json_t *string = text.failed ? NULL : json_string(text.data ? text.data : "");
    lh_string_free(&text);
    return string;
}

static json_t *describe(const lh_compare_sources *sources, const lh_compare_settings *settings,
                        lh_recipe *const *recipes, const char *identity)
{
    json_t *list = json_array(), *methods = json_object();
    for (size_t i = 0; i < sources->count; i++) {
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "name", sources->items[i].name, "text", sources->items[i].text));
    }
    for (int i = 0; i < settings->method_count; i++) {
        json_object_set_new(methods, lh_compare_method_name(settings->methods[i]), recipe_json(recipes[i]));
    }
    return json_pack("{s:o, s:o, s:o, s:s}", "sources", list, "methods", methods, "settings",
                     recipe_json(settings->recipe), "data", identity);
}

/* Methods that are not compared this time stay known, so that coming back to them is checked, too. */
static void keep_methods(json_t *fresh, const json_t *old)
{
    const char *name;
    json_t *text, *methods = json_object_get(fresh, "methods");
    json_object_foreach(json_object_get(old, "methods"), name, text)
    {
        if (!json_object_get(methods, name)) {
            json_object_set(methods, name, text);
        }
    }
}

static lh_status save(const json_t *root, const char *directory, lh_error *error)
{
    char *path;
    lh_string text = {0};
    LH_TRY(lh_compare_path(&path, directory, LH_COMPARE_STATE, error));
    lh_json_dump(root, &text);
    lh_status status = text.failed ? lh_fail(error, LH_E_MEMORY, "no memory for %s", path)
                                   : lh_file_write(path, text.data, text.size, error);
    lh_string_free(&text);
    lh_heap_free(path);
    return status;
}

lh_status lh_compare_state_update(const char *directory, const lh_compare_sources *sources,
                                  const lh_compare_settings *settings, lh_recipe *const *recipes,
                                  const char *identity, lh_error *error)
{
    json_t *fresh = describe(sources, settings, recipes, identity), *old = NULL;
    lh_status status = fresh ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory for %s", LH_COMPARE_STATE);
    if (status == LH_OK && lh_compare_begun(directory)) {
        status = load(&old, directory, error);
        if (status == LH_OK && !(json_is_string(json_object_get(old, "settings")) &&
                                 json_is_object(json_object_get(old, "methods")))) {
            status = lh_fail(error, LH_E_FORMAT, "%s/%s does not hold a comparison", directory, LH_COMPARE_STATE);
        }
        if (status == LH_OK) {
            status = check_all(old, fresh, directory, error);
            keep_methods(fresh, old);
        }
    }
    if (status == LH_OK && !(old && json_equal(old, fresh))) {
        status = save(fresh, directory, error);
    }
    json_decref(old);
    json_decref(fresh);
    return status;
}
