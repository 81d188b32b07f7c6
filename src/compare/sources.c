#include "compare/sources.h"

#include "base/file.h"
#include "base/memory.h"
#include "formats/ini.h"

#include <stdio.h>
#include <string.h>

/* A recipe is written by people; a megabyte is a wrong file. */
#define LARGEST_RECIPE (1u << 20)

static lh_status no_memory(lh_error *error)
{
    return lh_fail(error, LH_E_MEMORY, "no memory for the recipe of a comparison");
}

lh_status lh_compare_sources_add(lh_compare_sources *sources, const char *name, const char *text, lh_error *error)
{
    if (sources->count == sources->capacity) {
        size_t capacity = sources->capacity ? 2 * sources->capacity : 16;
        lh_compare_source *items = lh_heap_realloc(sources->items, sizeof *items * capacity);
        if (!items) {
            return no_memory(error);
        }
        sources->items = items;
        sources->capacity = capacity;
    }
    lh_compare_source fresh = {.name = lh_heap_strdup(name), .text = lh_heap_strdup(text)};
    if (!fresh.name || !fresh.text) {
        lh_heap_free(fresh.name);
        lh_heap_free(fresh.text);
        return no_memory(error);
    }
    sources->items[sources->count++] = fresh;
    return LH_OK;
}

lh_status lh_compare_sources_read(lh_compare_sources *sources, const char *path, lh_error *error)
{
    char *text = NULL;
    size_t size = 0;
    LH_TRY(lh_file_read(path, LARGEST_RECIPE, &text, &size, error));
    lh_status status = strlen(text) == size ? lh_compare_sources_add(sources, path, text, error)
                                            : lh_fail(error, LH_E_CONFIG, "%s holds a zero byte", path);
    lh_heap_free(text);
    return status;
}

lh_status lh_compare_sources_argument(lh_compare_sources *sources, const char *argument, lh_error *error)
{
    lh_string text = {0};
    const char *equals = strchr(argument, '=');
    size_t length = equals ? (size_t)(equals - argument) : 0;
    const char *point = length ? memchr(argument, '.', length) : NULL;
    bool preset = length == 6 && strncmp(argument, "preset", 6) == 0;
    if (!equals || (!point && !preset)) {
        return lh_fail(error, LH_E_CONFIG,
                       "command line: '%s' reads neither section.key=value nor METHOD:section.key=value", argument);
    }
    if (point) {
        lh_string_print(&text, "[%.*s]\n%.*s = ", (int)(point - argument), argument, (int)(equals - point - 1),
                        point + 1);
    } else {
        lh_string_print(&text, "preset = ");
    }
    lh_ini_append_value(&text, equals + 1);
    lh_string_append(&text, "\n", 1);
    lh_status status =
        text.failed ? no_memory(error) : lh_compare_sources_add(sources, "command line", text.data, error);
    lh_string_free(&text);
    return status;
}

void lh_compare_sources_free(lh_compare_sources *sources)
{
    for (size_t i = 0; i < sources->count; i++) {
        lh_heap_free(sources->items[i].name);
        lh_heap_free(sources->items[i].text);
    }
    lh_heap_free(sources->items);
    *sources = (lh_compare_sources){0};
}

/* Is the line [line, end) a section line? Then its name is [*name, *name + *size). */
static bool is_section(const char *line, const char *end, const char **name, size_t *size)
{
    static const char blanks[] = " \t\r\f\v";
    while (line < end && strchr(blanks, *line)) {
        line++;
    }
    const char *close = line < end && *line == '[' ? memchr(line, ']', (size_t)(end - line)) : NULL;
    if (!close) {
        return false;
    }
    for (line++; line < close && strchr(blanks, *line); line++) {
    }
    while (close > line && strchr(blanks, close[-1])) {
        close--;
    }
    *name = line;
    *size = (size_t)(close - line);
    return true;
}

static bool equals(const char *name, size_t size, const char *word)
{
    return strlen(word) == size && memcmp(name, word, size) == 0;
}

/* Does the section [name] belong to the reader? *skip is how much of the name is the method's. */
static bool belongs(const char *name, size_t size, const char *reader, size_t *skip)
{
    const char *colon = memchr(name, ':', size);
    *skip = colon ? (size_t)(colon - name) + 1 : 0;
    if (strcmp(reader, LH_READER_COMPARE) == 0) {
        return equals(name, size, LH_READER_COMPARE);
    }
    if (strcmp(reader, LH_READER_SHARED) == 0) {
        return !colon && !equals(name, size, LH_READER_COMPARE);
    }
    if (strcmp(reader, LH_READER_MEMORY) == 0 || strcmp(reader, LH_READER_REST) == 0) {
        return equals(name, size, "memory") == (strcmp(reader, LH_READER_MEMORY) == 0);
    }
    return colon && equals(name, *skip - 1, reader);
}

void lh_compare_pick(const char *text, const char *reader, lh_string *out)
{
    bool wanted = strcmp(reader, LH_READER_SHARED) == 0;
    for (const char *line = text; *line;) {
        const char *end = line + strcspn(line, "\n"), *name;
        size_t size, skip;
        if (is_section(line, end, &name, &size)) {
            wanted = belongs(name, size, reader, &skip);
            if (wanted && skip > 0) {
                lh_string_append(out, "[", 1);
                line = name + skip;
            }
        }
        if (wanted) {
            lh_string_append(out, line, (size_t)(end - line));
        }
        lh_string_append(out, "\n", 1);
        line = *end ? end + 1 : end;
    }
}

lh_status lh_compare_method_sections(const lh_compare_source *source,
                                     lh_status (*see)(void *user, const char *method, int line, lh_error *error),
                                     void *user, lh_error *error)
{
    int number = 1;
    for (const char *line = source->text; *line; number++) {
        const char *end = line + strcspn(line, "\n"), *name, *colon;
        size_t size;
        char method[64];
        if (is_section(line, end, &name, &size) && (colon = memchr(name, ':', size)) != NULL) {
            (void)snprintf(method, sizeof method, "%.*s", (int)(colon - name), name);
            LH_TRY(see(user, method, number, error));
        }
        line = *end ? end + 1 : end;
    }
    return LH_OK;
}
