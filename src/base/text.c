#include "base/text.h"

#include "base/memory.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Makes room for `more` bytes and the closing NUL. */
static bool string_reserve(lh_string *string, size_t more)
{
    if (string->failed) {
        return false;
    }
    if (more > SIZE_MAX / 4 - string->size) {
        string->failed = true;
        return false;
    }
    size_t needed = string->size + more + 1;
    if (needed <= string->capacity) {
        return true;
    }
    size_t capacity = string->capacity < 64 ? 64 : string->capacity;
    while (capacity < needed) {
        capacity *= 2;
    }
    char *data = lh_heap_realloc(string->data, capacity);
    if (!data) {
        string->failed = true;
        return false;
    }
    string->data = data;
    string->capacity = capacity;
    return true;
}

void lh_string_append(lh_string *string, const void *bytes, size_t size)
{
    if (!string_reserve(string, size)) {
        return;
    }
    if (size > 0) {
        memcpy(string->data + string->size, bytes, size);
    }
    string->size += size;
    string->data[string->size] = '\0';
}

void lh_string_print(lh_string *string, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int needed = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (needed < 0) {
        string->failed = true;
    } else if (string_reserve(string, (size_t)needed)) {
        (void)vsnprintf(string->data + string->size, (size_t)needed + 1, format, again);
        string->size += (size_t)needed;
    }
    va_end(again);
}

void lh_string_clear(lh_string *string)
{
    string->size = 0;
    string->failed = false;
    if (string->data) {
        string->data[0] = '\0';
    }
}

void lh_string_free(lh_string *string)
{
    lh_heap_free(string->data);
    *string = (lh_string){0};
}

/* Words longer than this are compared by their beginning only: nobody mistypes a name by that much. */
#define LH_NAME_LIMIT 63

/* Edit distance where two swapped neighbours count as one edit (optimal string alignment). */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][LH_NAME_LIMIT + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    size_t a_size = strnlen(a, LH_NAME_LIMIT), b_size = strnlen(b, LH_NAME_LIMIT);
    for (size_t j = 0; j <= b_size; j++) {
        above[j] = j;
    }
    for (size_t i = 1; i <= a_size; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best) {
                best = above[j] + 1;
            }
            if (row[j - 1] + 1 < best) {
                best = row[j - 1] + 1;
            }
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best) {
                best = before[j - 2] + 1;
            }
            row[j] = best;
        }
        size_t *spare = before;
        before = above;
        above = row;
        row = spare;
    }
    return above[b_size];
}

const char *lh_nearest_name(const char *word, const char *const *names, size_t count)
{
    const char *nearest = NULL;
    size_t nearest_distance = 0, word_size = strnlen(word, LH_NAME_LIMIT);
    for (size_t i = 0; i < count; i++) {
        if (!names[i]) {
            continue;
        }
        size_t size = strnlen(names[i], LH_NAME_LIMIT);
        size_t longer = size > word_size ? size : word_size;
        size_t distance = edit_distance(word, names[i]);
        /* A third of the letters may be wrong; a name that merely continues the word is near as well. */
        bool near_enough = distance <= (longer + 2) / 3 && distance < longer;
        bool continues = word_size >= 3 && size > word_size && strncmp(word, names[i], word_size) == 0;
        if ((near_enough || continues) && (!nearest || distance < nearest_distance)) {
            nearest = names[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}

static bool unit_factor(const char *suffix, int64_t *factor)
{
    static const struct {
        const char *name;
        int64_t factor;
    } units[] = {
        {"", 1},           {"k", 1000},  {"K", 1000},         {"M", 1000000},
        {"G", 1000000000}, {"Ki", 1024}, {"Mi", 1024 * 1024}, {"Gi", (int64_t)1024 * 1024 * 1024},
    };
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(suffix, units[i].name) == 0) {
            *factor = units[i].factor;
            return true;
        }
    }
    return false;
}

bool lh_parse_integer(const char *text, int64_t *value)
{
    const char *digits = text + (*text == '-' || *text == '+');
    if (*digits < '0' || *digits > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    int64_t factor = 1, product = 0;
    if (errno == ERANGE || !unit_factor(end, &factor) ||
        __builtin_mul_overflow((int64_t)number, factor, &product)) {
        return false;
    }
    *value = product;
    return true;
}

bool lh_parse_real(const char *text, double *value)
{
    /* strtod also takes hexadecimal, infinities, NaN and leading blanks, none of which a person means here. */
    if (*text == '\0' || strspn(text, "0123456789+-.eE") != strlen(text)) {
        return false;
    }
    char *end = NULL;
    double number = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(number)) {
        return false;
    }
    *value = number;
    return true;
}

bool lh_parse_boolean(const char *text, bool *value)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (strcasecmp(text, yes[i]) == 0) {
            *value = true;
            return true;
        }
        if (strcasecmp(text, no[i]) == 0) {
            *value = false;
            return true;
        }
    }
    return false;
}
