/* Growing byte strings and small text helpers. */
#ifndef LH_BASE_TEXT_H
#define LH_BASE_TEXT_H

#include "base/error.h"

#include <stdbool.h>

/* A growing string, always NUL-terminated after the first append. Zero-initialise. A failed append sets `failed`,
 * after which appends do nothing: check once at the end. */
typedef struct lh_string {
    char *data;
    size_t size, capacity;
    bool failed;
} lh_string;

void lh_string_append(lh_string *string, const void *bytes, size_t size);
void lh_string_print(lh_string *string, const char *format, ...) LH_PRINTF(2, 3);
void lh_string_clear(lh_string *string); /* keeps the memory */
void lh_string_free(lh_string *string);

/* The edit-distance-nearest of `count` names to `word`, or NULL if none is near: for "did you mean". */
const char *lh_nearest_name(const char *word, const char *const *names, size_t count);

/* Numbers from text, whole text or failure. Integers take k, M, G suffixes (powers of 1000) and Ki, Mi, Gi. */
bool lh_parse_integer(const char *text, int64_t *value);
bool lh_parse_real(const char *text, double *value);
bool lh_parse_boolean(const char *text, bool *value); /* true/false yes/no on/off 1/0 */

#endif
