#include "formats/json_util.h"

#include "base/file.h"
#include "base/memory.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Past this a double no longer holds every integer. */
#define LARGEST_EXACT 9007199254740992.0

lh_status lh_json_parse(const char *text, size_t size, const char *file, json_t **root, lh_error *error)
{
    json_error_t parse;
    *root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &parse);
    if (!*root && json_error_code(&parse) == json_error_numeric_overflow) {
        *root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &parse);
    }
    if (!*root && json_error_code(&parse) == json_error_out_of_memory) {
        return lh_fail(error, LH_E_MEMORY, "%s: no memory to parse %zu bytes of JSON", file, size);
    }
    if (!*root) {
        return lh_fail(error, LH_E_FORMAT, "%s:%d:%d: not valid JSON: %s", file, parse.line, parse.column,
                       parse.text);
    }
    return LH_OK;
}

lh_status lh_json_read(const char *path, size_t limit, json_t **root, lh_error *error)
{
    char *text = NULL;
    size_t size = 0;
    *root = NULL;
    LH_TRY(lh_file_read(path, limit, &text, &size, error));
    lh_status status = lh_json_parse(text, size, path, root, error);
    lh_heap_free(text);
    return status;
}

lh_json lh_json_root(const json_t *value, const char *file)
{
    return (lh_json){.value = value, .file = file};
}

static const json_t *member(const lh_json *object, const char *key)
{
    const json_t *value = json_object_get(object->value, key);
    return json_is_null(value) ? NULL : value;
}

bool lh_json_has(const lh_json *object, const char *key)
{
    return member(object, key) != NULL;
}

static lh_json child(const lh_json *object, const char *key)
{
    return (lh_json){
        .value = json_object_get(object->value, key), .file = object->file, .parent = object, .key = key};
}

/* Writes the path from the root, such as "layers[3].kind", cut at `size`. Returns its length. */
static size_t write_path(const lh_json *at, char *path, size_t size)
{
    if (!at->parent) {
        path[0] = '\0';
        return 0;
    }
    size_t used = write_path(at->parent, path, size);
    int more = at->key ? snprintf(path + used, size - used, "%s%s", used ? "." : "", at->key)
                       : snprintf(path + used, size - used, "[%zu]", at->index);
    size_t length = used + (more > 0 ? (size_t)more : 0);
    return length < size ? length : size - 1;
}

/* Writes the value for the end of a message: JSON, cut short, without bytes that could disturb a terminal. */
static void write_value(const json_t *value, char *text, size_t size)
{
    memset(text, 0, size);
    if (!value) {
        (void)snprintf(text, size, "nothing");
    } else if (json_is_string(value)) {
        size_t length = json_string_length(value);
        bool cut = length > size - 8;
        (void)snprintf(text, size, "\"%.*s%s\"", (int)(cut ? size - 8 : length), json_string_value(value),
                       cut ? "..." : "");
    } else if (json_dumpb(value, text, size - 4, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII) > size - 4) {
        strcat(text, "...");
    }
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7F) {
            *c = '?';
        }
    }
}

lh_status lh_json_reject(const lh_json *object, const char *key, lh_error *error, const char *what, ...)
{
    char path[256], value[64], sentence[512];
    lh_json named = key ? child(object, key) : *object;
    va_list arguments;
    va_start(arguments, what);
    (void)vsnprintf(sentence, sizeof sentence, what, arguments);
    va_end(arguments);
    write_value(named.value, value, sizeof value);
    if (write_path(&named, path, sizeof path) == 0) {
        return lh_fail(error, LH_E_CONFIG, "%s: the file %s, got %s", named.file, sentence, value);
    }
    if (!named.value) {
        return lh_fail(error, LH_E_CONFIG, "%s: key '%s' %s, but it is missing", named.file, path, sentence);
    }
    return lh_fail(error, LH_E_CONFIG, "%s: key '%s' %s, got %s", named.file, path, sentence, value);
}

static lh_status reject_integer(const lh_json *object, const char *key, int64_t min, int64_t max, lh_error *error)
{
    if (max < INT64_MAX && min > INT64_MIN) {
        return lh_json_reject(object, key, error, "must be an integer from %" PRId64 " to %" PRId64, min, max);
    }
    if (max < INT64_MAX) {
        return lh_json_reject(object, key, error, "must be an integer of at most %" PRId64, max);
    }
    if (min == 1) {
        return lh_json_reject(object, key, error, "must be a positive integer");
    }
    if (min > INT64_MIN) {
        return lh_json_reject(object, key, error, "must be an integer of at least %" PRId64, min);
    }
    return lh_json_reject(object, key, error, "must be an integer");
}

lh_status lh_json_integer(const lh_json *object, const char *key, int64_t min, int64_t max, int64_t *value,
                          lh_error *error)
{
    const json_t *found = member(object, key);
    int64_t number = 0;
    if (json_is_integer(found)) {
        number = (int64_t)json_integer_value(found);
    } else {
        double real = json_is_real(found) ? json_real_value(found) : NAN;
        if (!(fabs(real) <= LARGEST_EXACT) || real != floor(real)) {
            return reject_integer(object, key, min, max, error);
        }
        number = (int64_t)real;
    }
    if (number < min || number > max) {
        return reject_integer(object, key, min, max, error);
    }
    *value = number;
    return LH_OK;
}

lh_status lh_json_real(const lh_json *object, const char *key, double min, double max, double *value,
                       lh_error *error)
{
    const json_t *found = member(object, key);
    double number = json_is_number(found) ? json_number_value(found) : NAN;
    if (!(number >= min && number <= max)) {
        if (isinf(min) && isinf(max)) {
            return lh_json_reject(object, key, error, "must be a number");
        }
        if (isinf(max)) {
            return lh_json_reject(object, key, error, "must be a number of at least %g", min);
        }
        return lh_json_reject(object, key, error, "must be a number from %g to %g", min, max);
    }
    *value = number;
    return LH_OK;
}

lh_status lh_json_boolean(const lh_json *object, const char *key, bool *value, lh_error *error)
{
    const json_t *found = member(object, key);
    if (!json_is_boolean(found)) {
        return lh_json_reject(object, key, error, "must be true or false");
    }
    *value = json_is_true(found);
    return LH_OK;
}

lh_status lh_json_string(const lh_json *object, const char *key, const char **value, lh_error *error)
{
    const json_t *found = member(object, key);
    if (!json_is_string(found)) {
        return lh_json_reject(object, key, error, "must be a string");
    }
    *value = json_string_value(found);
    return LH_OK;
}

lh_status lh_json_object(const lh_json *object, const char *key, lh_json *value, lh_error *error)
{
    if (!json_is_object(member(object, key))) {
        return lh_json_reject(object, key, error, "must be an object");
    }
    *value = child(object, key);
    return LH_OK;
}

lh_status lh_json_array(const lh_json *object, const char *key, lh_json *value, lh_error *error)
{
    if (!json_is_array(member(object, key))) {
        return lh_json_reject(object, key, error, "must be an array");
    }
    *value = child(object, key);
    return LH_OK;
}

lh_status lh_json_optional_integer(const lh_json *object, const char *key, int64_t min, int64_t max, int64_t *value,
                                   lh_error *error)
{
    return member(object, key) ? lh_json_integer(object, key, min, max, value, error) : LH_OK;
}

lh_status lh_json_optional_real(const lh_json *object, const char *key, double min, double max, double *value,
                                lh_error *error)
{
    return member(object, key) ? lh_json_real(object, key, min, max, value, error) : LH_OK;
}

lh_status lh_json_optional_boolean(const lh_json *object, const char *key, bool *value, lh_error *error)
{
    return member(object, key) ? lh_json_boolean(object, key, value, error) : LH_OK;
}

lh_status lh_json_optional_string(const lh_json *object, const char *key, const char **value, lh_error *error)
{
    return member(object, key) ? lh_json_string(object, key, value, error) : LH_OK;
}

size_t lh_json_length(const lh_json *array)
{
    return json_array_size(array->value);
}

lh_json lh_json_element(const lh_json *array, size_t index)
{
    return (lh_json){
        .value = json_array_get(array->value, index), .file = array->file, .parent = array, .index = index};
}

lh_status lh_json_expect_keys(const lh_json *object, const char *const *names, size_t count, lh_error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object->value, key, value)
    {
        bool known = false;
        for (size_t i = 0; i < count && !known; i++) {
            known = strcmp(names[i], key) == 0;
        }
        if (!known) {
            char path[256];
            lh_json named = child(object, key);
            (void)write_path(&named, path, sizeof path);
            const char *near = lh_nearest_name(key, names, count);
            return lh_fail(error, LH_E_CONFIG, "%s: unknown key '%s'%s%s%s", object->file, path,
                           near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
        }
    }
    return LH_OK;
}

char *lh_json_format_real(char buffer[LH_JSON_REAL_SIZE], double value)
{
    if (!isfinite(value)) {
        return strcpy(buffer, "null");
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(buffer, LH_JSON_REAL_SIZE, "%.*g", digits, value);
        if (strtod(buffer, NULL) == value) {
            break;
        }
    }
    /* A host program may have set a locale whose decimal point is a comma. */
    const char *point = localeconv()->decimal_point;
    char *found = point[0] != '.' ? strstr(buffer, point) : NULL;
    if (found) {
        *found = '.';
        memmove(found + 1, found + strlen(point), strlen(found + strlen(point)) + 1);
    }
    if (!strpbrk(buffer, ".e")) {
        strcat(buffer, ".0");
    }
    return buffer;
}

/* Length of the well-formed UTF-8 sequence at `bytes`, or 0 (Unicode 15, table 3-7). */
static size_t utf8_length(const unsigned char *bytes, size_t left)
{
    unsigned char lead = bytes[0];
    if (lead < 0x80) {
        return 1;
    }
    size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                    : lead >= 0xE0 && lead <= 0xEF ? 3
                    : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                   : 0;
    if (length == 0 || length > left) {
        return 0;
    }
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (bytes[1] < low || bytes[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if ((bytes[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return length;
}

void lh_json_append_string(lh_string *out, const char *bytes, size_t size)
{
    const unsigned char *at = (const unsigned char *)bytes;
    lh_string_append(out, "\"", 1);
    for (size_t i = 0; i < size;) {
        size_t length = utf8_length(at + i, size - i);
        if (length == 0) {
            lh_string_append(out, "\xEF\xBF\xBD", 3);
            length = 1;
        } else if (at[i] == '"' || at[i] == '\\') {
            char escaped[2] = {'\\', (char)at[i]};
            lh_string_append(out, escaped, 2);
        } else if (at[i] == '\n') {
            lh_string_append(out, "\\n", 2);
        } else if (at[i] == '\t') {
            lh_string_append(out, "\\t", 2);
        } else if (at[i] < 0x20) {
            lh_string_print(out, "\\u%04x", at[i]);
        } else {
            lh_string_append(out, at + i, length);
        }
        i += length;
    }
    lh_string_append(out, "\"", 1);
}

static void append_indent(lh_string *out, int depth)
{
    lh_string_append(out, "\n", 1);
    for (int i = 0; i < depth; i++) {
        lh_string_append(out, "  ", 2);
    }
}

static void dump(const json_t *value, lh_string *out, int depth);

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void dump_object(const json_t *value, lh_string *out, int depth)
{
    size_t count = json_object_size(value), filled = 0;
    const char **keys = lh_heap_alloc(count * sizeof *keys);
    if (!keys) {
        out->failed = true;
        return;
    }
    const char *name;
    json_t *item;
    json_object_foreach((json_t *)value, name, item)
    {
        keys[filled++] = name;
    }
    qsort(keys, count, sizeof *keys, by_bytes);
    lh_string_append(out, "{", 1);
    for (size_t i = 0; i < count; i++) {
        lh_string_append(out, ",", i ? 1 : 0);
        append_indent(out, depth + 1);
        lh_json_append_string(out, keys[i], strlen(keys[i]));
        lh_string_append(out, ": ", 2);
        dump(json_object_get(value, keys[i]), out, depth + 1);
    }
    if (count) {
        append_indent(out, depth);
    }
    lh_string_append(out, "}", 1);
    lh_heap_free(keys);
}

static bool is_plain(const json_t *value)
{
    return !json_is_object(value) && !json_is_array(value);
}

static void dump_array(const json_t *value, lh_string *out, int depth)
{
    size_t count = json_array_size(value);
    bool one_line = true;
    for (size_t i = 0; i < count && one_line; i++) {
        one_line = is_plain(json_array_get(value, i));
    }
    lh_string_append(out, "[", 1);
    for (size_t i = 0; i < count; i++) {
        lh_string_append(out, one_line ? ", " : ",", i ? (one_line ? 2 : 1) : 0);
        if (!one_line) {
            append_indent(out, depth + 1);
        }
        dump(json_array_get(value, i), out, depth + 1);
    }
    if (!one_line) {
        append_indent(out, depth);
    }
    lh_string_append(out, "]", 1);
}

static void dump(const json_t *value, lh_string *out, int depth)
{
    char number[LH_JSON_REAL_SIZE];
    switch (json_typeof(value)) {
    case JSON_OBJECT: dump_object(value, out, depth); break;
    case JSON_ARRAY: dump_array(value, out, depth); break;
    case JSON_STRING: lh_json_append_string(out, json_string_value(value), json_string_length(value)); break;
    case JSON_INTEGER: lh_string_print(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value)); break;
    case JSON_REAL: lh_string_print(out, "%s", lh_json_format_real(number, json_real_value(value))); break;
    case JSON_TRUE: lh_string_append(out, "true", 4); break;
    case JSON_FALSE: lh_string_append(out, "false", 5); break;
    case JSON_NULL: lh_string_append(out, "null", 4); break;
    }
}

void lh_json_dump(const json_t *value, lh_string *out)
{
    dump(value, out, 0);
    lh_string_append(out, "\n", 1);
}
