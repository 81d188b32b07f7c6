/* Values of recipe keys: text to typed value, and back to canonical text. */
#include "base/memory.h"
#include "formats/json_util.h"
#include "formats/recipe_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool has_bounds(const lh_recipe_key *row)
{
    return row->min != row->max;
}

/* `number` is written without an exponent where people would: 1000000, not 1e+06. */
static void format_bound(double number, char *text, size_t size)
{
    if (number == floor(number) && fabs(number) < 1e15) {
        (void)snprintf(text, size, "%.0f", number);
    } else {
        (void)snprintf(text, size, "%g", number);
    }
}

static void append_bounds(const lh_recipe_key *row, char *text, size_t size)
{
    char min[32], max[32];
    size_t used = strlen(text);
    format_bound(row->min, min, sizeof min);
    format_bound(row->max, max, sizeof max);
    if (!has_bounds(row)) {
        return;
    }
    if (isinf(row->max)) {
        (void)snprintf(text + used, size - used, " of at least %s", min);
    } else if (isinf(row->min)) {
        (void)snprintf(text + used, size - used, " of at most %s", max);
    } else {
        (void)snprintf(text + used, size - used, " from %s to %s", min, max);
    }
}

void recipe_expectation(const lh_recipe_key *row, char *text, size_t size)
{
    switch (row->type) {
    case LH_RECIPE_STRING: (void)snprintf(text, size, "text"); break;
    case LH_RECIPE_BOOLEAN: (void)snprintf(text, size, "true or false"); break;
    case LH_RECIPE_INTEGER: (void)snprintf(text, size, "an integer"); break;
    case LH_RECIPE_REAL: (void)snprintf(text, size, "a number"); break;
    case LH_RECIPE_LIST: (void)snprintf(text, size, "a list of integers"); break;
    case LH_RECIPE_CHOICE: {
        (void)snprintf(text, size, "one of ");
        size_t used = strlen(text);
        for (const char *c = row->choices; *c && used + 3 < size; c++) {
            used += (size_t)snprintf(text + used, size - used, *c == '|' ? ", " : "%c", *c);
        }
        return;
    }
    }
    if (row->type == LH_RECIPE_INTEGER || row->type == LH_RECIPE_REAL || row->type == LH_RECIPE_LIST) {
        append_bounds(row, text, size);
    }
}

static bool within(const lh_recipe_key *row, double number)
{
    return isfinite(number) && (!has_bounds(row) || (number >= row->min && number <= row->max));
}

/* The position of `word` in "a|b|c", or -1. */
static int find_choice(const char *choices, const char *word)
{
    size_t length = strlen(word);
    for (int i = 0;; i++) {
        size_t next = strcspn(choices, "|");
        if (next == length && memcmp(choices, word, length) == 0) {
            return i;
        }
        if (choices[next] == '\0') {
            return -1;
        }
        choices += next + 1;
    }
}

/* Splits at commas and blanks; a comma must stand between two entries. */
static bool parse_list(const lh_recipe_key *row, const char *text, recipe_value *value, bool *no_memory)
{
    static const char blanks[] = " \t";
    size_t capacity = strlen(text) / 2 + 1;
    char *copy = lh_heap_strdup(text);
    value->list = lh_heap_alloc(capacity * sizeof *value->list);
    *no_memory = !copy || !value->list;
    bool good = !*no_memory;
    char *at = copy;
    while (good && *(at += strspn(at, blanks))) {
        size_t length = strcspn(at, ", \t");
        char *after = at + length + strspn(at + length, blanks);
        bool comma = *after == ',';
        after += comma ? 1 : 0;
        at[length] = '\0';
        good = length > 0 && lh_parse_integer(at, &value->list[value->list_count]) &&
               within(row, (double)value->list[value->list_count]) && !(comma && !after[strspn(after, blanks)]);
        value->list_count++;
        at = after;
    }
    lh_heap_free(copy);
    return good;
}

static char *canonical_text(const lh_recipe_key *row, const char *text, const recipe_value *value)
{
    char number[LH_JSON_REAL_SIZE];
    lh_string out = {0};
    switch (row->type) {
    case LH_RECIPE_INTEGER: (void)snprintf(number, sizeof number, "%" PRId64, value->integer); break;
    case LH_RECIPE_REAL: (void)lh_json_format_real(number, value->real); break;
    case LH_RECIPE_BOOLEAN: (void)snprintf(number, sizeof number, "%s", value->boolean ? "true" : "false"); break;
    case LH_RECIPE_STRING:
    case LH_RECIPE_CHOICE: return lh_heap_strdup(text);
    case LH_RECIPE_LIST:
        for (size_t i = 0; i < value->list_count; i++) {
            lh_string_print(&out, "%s%" PRId64, i ? ", " : "", value->list[i]);
        }
        char *list = out.failed ? NULL : lh_heap_strdup(out.data ? out.data : "");
        lh_string_free(&out);
        return list;
    }
    return lh_heap_strdup(number);
}

bool recipe_parse_value(const lh_recipe_key *row, const char *text, recipe_value *value, char *expected,
                        size_t expected_size)
{
    bool good = true, no_memory = false;
    *value = (recipe_value){0};
    switch (row->type) {
    case LH_RECIPE_STRING: break;
    case LH_RECIPE_INTEGER:
        good = lh_parse_integer(text, &value->integer) && within(row, (double)value->integer);
        break;
    case LH_RECIPE_REAL: good = lh_parse_real(text, &value->real) && within(row, value->real); break;
    case LH_RECIPE_BOOLEAN: good = lh_parse_boolean(text, &value->boolean); break;
    case LH_RECIPE_LIST: good = parse_list(row, text, value, &no_memory); break;
    case LH_RECIPE_CHOICE: good = find_choice(row->choices, text) >= 0; break;
    }
    if (good) {
        value->text = canonical_text(row, text, value);
        good = value->text != NULL;
        no_memory = !good;
    }
    if (!good) {
        recipe_free_value(value);
        expected[0] = '\0';
        if (!no_memory) {
            recipe_expectation(row, expected, expected_size);
        }
    }
    return good;
}

void recipe_free_value(recipe_value *value)
{
    lh_heap_free(value->text);
    lh_heap_free(value->list);
    *value = (recipe_value){0};
}
