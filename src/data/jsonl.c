#include "data/jsonl.h"

#include <jansson.h>

static lh_status fail_memory(const char *path, uint64_t number, lh_error *error)
{
    return lh_fail(error, LH_E_MEMORY, "no memory for line %llu of %s", (unsigned long long)number, path);
}

/* Texts that come as lists of sentences: a line each. False if there is anything but strings. */
static bool join(const json_t *list, lh_string *text)
{
    size_t index;
    json_t *part;
    json_array_foreach(list, index, part)
    {
        if (!json_is_string(part)) {
            lh_string_clear(text);
            return false;
        }
        lh_string_append(text, "\n", index > 0 ? 1 : 0);
        lh_string_append(text, json_string_value(part), json_string_length(part));
    }
    return true;
}

static lh_status take_strings(const json_t *object, const char *field, const char *path, uint64_t number,
                              lh_string *text, lh_string *title, lh_error *error)
{
    const json_t *value = json_object_get(object, field), *name = json_object_get(object, "title");
    if (!json_is_object(object)) {
        return lh_fail(error, LH_E_FORMAT, "line %llu of %s is no JSON object", (unsigned long long)number, path);
    }
    if (json_is_array(value) && join(value, text)) {
        lh_string_print(title, "%s", json_is_string(name) ? json_string_value(name) : "");
        return text->failed || title->failed ? fail_memory(path, number, error) : LH_OK;
    }
    if (!json_is_string(value)) {
        return lh_fail(error, LH_E_FORMAT, "line %llu of %s has no string under the key \"%s\"",
                       (unsigned long long)number, path, field);
    }
    lh_string_append(text, json_string_value(value), json_string_length(value));
    /* Titles are shown and stored as C strings: up to a NUL, if there is one. */
    lh_string_print(title, "%s", json_is_string(name) ? json_string_value(name) : "");
    return text->failed || title->failed ? fail_memory(path, number, error) : LH_OK;
}

lh_status lh_json_line_parse(const char *line, size_t size, const char *field, const char *path, uint64_t number,
                             lh_string *text, lh_string *title, lh_error *error)
{
    lh_string_clear(text);
    lh_string_clear(title);
    json_error_t problem;
    json_t *object = json_loadb(line, size, JSON_ALLOW_NUL | JSON_DECODE_ANY, &problem);
    if (!object) {
        return lh_fail(error, LH_E_FORMAT, "line %llu of %s is not valid JSON: %s at byte %d",
                       (unsigned long long)number, path, problem.text, problem.position);
    }
    lh_status status = take_strings(object, field, path, number, text, title, error);
    json_decref(object);
    return status;
}
