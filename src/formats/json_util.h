/* Reading JSON with errors that say where, and writing JSON that is the same every time.
 *
 * jansson parses; this file adds what a person needs when a file is wrong: each value knows its file and the path
 * that leads to it, so a failure reads "config.json: key 'rope_scaling.factor' must be a number from 1 to 1000, got
 * "x"". */
#ifndef LH_FORMATS_JSON_UTIL_H
#define LH_FORMATS_JSON_UTIL_H

#include "base/error.h"
#include "base/text.h"

#include <jansson.h>
#include <stdbool.h>

/* Parses a whole file or text; release *root with json_decref. A key that occurs twice in one object, a byte
 * sequence that is no UTF-8, and anything after the value are errors with line and column. `file` is the name used
 * in messages. Integers past 64 bits, which some published tokenizer settings hold, make every integer of that file
 * a real. */
lh_status lh_json_read(const char *path, size_t limit, json_t **root, lh_error *error);
lh_status lh_json_parse(const char *text, size_t size, const char *file, json_t **root, lh_error *error);

/* A value and the path to it. Plain data that borrows everything: the parent must outlive it. */
typedef struct lh_json {
    const json_t *value;
    const char *file;
    const struct lh_json *parent; /* NULL at the root */
    const char *key;              /* in an object; NULL in an array */
    size_t index;                 /* in an array */
} lh_json;

lh_json lh_json_root(const json_t *value, const char *file);

/* True if the object has the key and its value is not null. */
bool lh_json_has(const lh_json *object, const char *key);

/* Required members. A missing key, a null, a wrong type or a value out of range is LH_E_CONFIG. The range of an
 * integer or real includes both ends; a real that is whole passes as an integer, and an integer as a real. */
lh_status lh_json_integer(const lh_json *object, const char *key, int64_t min, int64_t max, int64_t *value,
                          lh_error *error);
lh_status lh_json_real(const lh_json *object, const char *key, double min, double max, double *value,
                       lh_error *error);
lh_status lh_json_boolean(const lh_json *object, const char *key, bool *value, lh_error *error);
lh_status lh_json_string(const lh_json *object, const char *key, const char **value, lh_error *error);
lh_status lh_json_object(const lh_json *object, const char *key, lh_json *value, lh_error *error);
lh_status lh_json_array(const lh_json *object, const char *key, lh_json *value, lh_error *error);

/* As above, but a missing or null member leaves *value as the caller set it. */
lh_status lh_json_optional_integer(const lh_json *object, const char *key, int64_t min, int64_t max, int64_t *value,
                                   lh_error *error);
lh_status lh_json_optional_real(const lh_json *object, const char *key, double min, double max, double *value,
                                lh_error *error);
lh_status lh_json_optional_boolean(const lh_json *object, const char *key, bool *value, lh_error *error);
lh_status lh_json_optional_string(const lh_json *object, const char *key, const char **value, lh_error *error);

/* Elements of an array. The index must be below lh_json_length. */
size_t lh_json_length(const lh_json *array);
lh_json lh_json_element(const lh_json *array, size_t index);

/* Fails unless every key of the object is among `names`; the message offers the nearest one. */
lh_status lh_json_expect_keys(const lh_json *object, const char *const *names, size_t count, lh_error *error);

/* Fails with "<file>: key '<path>' <what>, got <value>". `key` may be NULL: then `object` itself is at fault. */
lh_status lh_json_reject(const lh_json *object, const char *key, lh_error *error, const char *what, ...)
    LH_PRINTF(4, 5);

/* Canonical text: keys in byte order, two blanks of indent, arrays of plain values on one line, every real with the
 * fewest digits that read back as the same double, and a line feed at the end. Equal values give equal bytes. A
 * failed allocation sets out->failed. */
void lh_json_dump(const json_t *value, lh_string *out);

/* Appends a quoted JSON string. Bytes that are no UTF-8 become U+FFFD. */
void lh_json_append_string(lh_string *out, const char *bytes, size_t size);

/* The shortest decimal form that reads back as the same double, with a point or an exponent so that it stays a
 * real: "0.1", "1.0", "1e+20". JSON has no form for NaN and the infinities: they give "null". Independent of the
 * locale. Returns buffer. */
#define LH_JSON_REAL_SIZE 40
char *lh_json_format_real(char buffer[LH_JSON_REAL_SIZE], double value);

#endif
