/* Models on disk: config.json and safetensors weights. */
#include "formats/json_util.h"
#include "formats/safetensors.h"
#include "model/model.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

lh_status lh_model_save(const lh_model *model, const char *path, const char *tokenizer_fingerprint, lh_error *error)
{
    const lh_parameters *list = &model->parameters;
    size_t count = (size_t)list->count;
    lh_safetensors_tensor *tensors = lh_heap_alloc(sizeof *tensors * (count ? count : 1));
    lh_status status = tensors ? LH_OK : lh_fail(error, LH_E_MEMORY, "%s: no memory to write the model", path);
    for (size_t i = 0; i < count && status == LH_OK; i++) {
        const lh_tensor *t = list->items[i].tensor;
        size_t bytes = (size_t)lh_tensor_count(t) * lh_dtype_size(t->dtype);
        void *host = lh_heap_alloc(bytes);
        if (!host) {
            status = lh_fail(error, LH_E_MEMORY, "%s: no memory to write tensor '%s'", path, list->items[i].name);
            break;
        }
        tensors[i] = (lh_safetensors_tensor){.name = list->items[i].name,
                                             .dtype = lh_safetensors_dtype_of(t->dtype),
                                             .ndim = t->ndim,
                                             .data = host,
                                             .bytes = bytes};
        memcpy(tensors[i].shape, t->shape, sizeof(int64_t) * (size_t)t->ndim);
        status = lh_tensor_read(t, host, error);
    }
    if (status == LH_OK) {
        lh_safetensors_pair pairs[2] = {{"format", "longhand"}, {"tokenizer", tokenizer_fingerprint}};
        status = lh_safetensors_write(path, tensors, count, pairs, tokenizer_fingerprint ? 2 : 1, error);
    }
    for (size_t i = 0; i < count && tensors; i++) {
        lh_heap_free((void *)tensors[i].data);
    }
    lh_heap_free(tensors);
    return status;
}

/* Names that a checkpoint holds beside the parameters. */
static bool is_run_state(const char *name)
{
    static const char *const prefixes[] = {"optimizer.", "state.", "train.", "data."};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

static lh_status load_all(lh_model *model, const lh_safetensors *file, const char *path, lh_error *error)
{
    const lh_parameters *list = &model->parameters;
    for (size_t i = 0; i < lh_safetensors_count(file); i++) {
        const char *name = lh_safetensors_at(file, i)->name;
        if (!lh_parameters_find(list, name) && !is_run_state(name)) {
            return lh_fail(error, LH_E_FORMAT, "%s: tensor '%s' belongs to no parameter of this model", path, name);
        }
    }
    for (int i = 0; i < list->count; i++) {
        lh_tensor *t = list->items[i].tensor;
        void *host = lh_heap_alloc((size_t)lh_tensor_count(t) * lh_dtype_size(t->dtype));
        if (!host) {
            return lh_fail(error, LH_E_MEMORY, "%s: no memory to read tensor '%s'", path, list->items[i].name);
        }
        lh_status status = lh_safetensors_load(file, list->items[i].name, lh_safetensors_dtype_of(t->dtype),
                                               t->ndim, t->shape, host, error);
        if (status == LH_OK) {
            status = lh_tensor_write(t, host, error);
        }
        lh_heap_free(host);
        LH_TRY(status);
    }
    return LH_OK;
}

lh_status lh_model_load(lh_model *model, const char *path, lh_error *error)
{
    lh_safetensors *file;
    LH_TRY(lh_safetensors_open(&file, path, error));
    lh_status status = load_all(model, file, path, error);
    lh_safetensors_close(file);
    return status;
}

/* One "key = value" line of a resolved recipe as a JSON member of the right type. */
static json_t *json_value(const char *text)
{
    char *end;
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        return json_boolean(text[0] == 't');
    }
    long long integer = strtoll(text, &end, 10);
    if (*text && *end == '\0') {
        return json_integer(integer);
    }
    double real = strtod(text, &end);
    if (*text && *end == '\0') {
        return json_real(real);
    }
    return json_string(text);
}

static json_t *recipe_to_json(char *text)
{
    json_t *root = json_pack("{s:[s], s:s}", "architectures", "LonghandDecoder", "model_type", "longhand");
    json_t *section = NULL;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line && root; line = strtok_r(NULL, "\n", &rest)) {
        char *close = strchr(line, ']'), *equals = strstr(line, "=");
        if (line[0] == '[' && close) {
            *close = '\0';
            section = json_object();
            json_object_set_new(root, line + 1, section);
        } else if (section && equals && line[0] != ';' && line[0] != '#') {
            char *key_end = equals;
            while (key_end > line && key_end[-1] == ' ') {
                key_end--;
            }
            char *value = equals + 1;
            while (*value == ' ') {
                value++;
            }
            *key_end = '\0';
            json_object_set_new(section, line, json_value(value));
        }
    }
    return root;
}

lh_status lh_model_save_config(const lh_model *model, const char *path, lh_error *error)
{
    lh_string text = {0};
    lh_recipe_write(model->recipe, false, &text);
    json_t *root = text.failed || !text.data ? NULL : recipe_to_json(text.data);
    char *dump = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    lh_status status = dump ? lh_file_write(path, dump, strlen(dump), error)
                            : lh_fail(error, LH_E_MEMORY, "%s: no memory to write the configuration", path);
    free(dump);
    json_decref(root);
    lh_string_free(&text);
    return status;
}

static lh_status append_section(lh_string *text, const char *path, json_t *root, const char *name, lh_error *error)
{
    json_t *section = json_object_get(root, name), *value;
    const char *key;
    if (!json_is_object(section)) {
        return lh_fail(error, LH_E_FORMAT, "%s: no object '%s', so this is not a longhand model", path, name);
    }
    lh_string_print(text, "[%s]\n", name);
    json_object_foreach(section, key, value)
    {
        if (json_is_string(value)) {
            lh_string_print(text, "%s = %s\n", key, json_string_value(value));
        } else if (json_is_integer(value)) {
            lh_string_print(text, "%s = %lld\n", key, (long long)json_integer_value(value));
        } else if (json_is_real(value)) {
            lh_string_print(text, "%s = %.17g\n", key, json_real_value(value));
        } else if (json_is_boolean(value)) {
            lh_string_print(text, "%s = %s\n", key, json_is_true(value) ? "true" : "false");
        } else {
            return lh_fail(error, LH_E_FORMAT, "%s: key '%s.%s' is neither a text nor a number", path, name, key);
        }
    }
    return text->failed ? lh_fail(error, LH_E_MEMORY, "%s: no memory", path) : LH_OK;
}

lh_status lh_model_load_config(lh_recipe **recipe, const char *path, lh_error *error)
{
    *recipe = NULL;
    json_t *root = NULL;
    LH_TRY(lh_json_read(path, (size_t)1 << 20, &root, error));
    lh_string text = {0};
    lh_status status = append_section(&text, path, root, "model", error);
    if (status == LH_OK) {
        status = append_section(&text, path, root, "memory", error);
    }
    json_decref(root);
    if (status == LH_OK) {
        status = lh_recipe_create(recipe, lh_model_recipe_tables(), NULL, 0, error);
    }
    if (status == LH_OK) {
        status = lh_recipe_read_text(*recipe, path, text.data, text.size, error);
    }
    if (status == LH_OK) {
        status = lh_recipe_resolve(*recipe, error);
    }
    lh_string_free(&text);
    if (status != LH_OK) {
        lh_recipe_free(*recipe);
        *recipe = NULL;
    }
    return status;
}
