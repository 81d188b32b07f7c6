#include "formats/ini.h"

#include "base/memory.h"

#include <limits.h>
#include <string.h>

typedef struct ini_reader {
    const char *name;
    int line;
    lh_ini_handler handler;
    void *user;
    char *section; /* points into the copy of the text */
    lh_error *error;
} ini_reader;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static bool starts_comment(char c)
{
    return c == '#' || c == ';';
}

static char *skip_blanks(char *at)
{
    while (is_blank(*at)) {
        at++;
    }
    return at;
}

/* Cuts blanks off the end of [begin, end). */
static void trim(char *begin, char *end)
{
    while (end > begin && is_blank(end[-1])) {
        end--;
    }
    *end = '\0';
}

static bool only_comment(char *at)
{
    at = skip_blanks(at);
    return *at == '\0' || starts_comment(*at);
}

static char unescape(char letter)
{
    switch (letter) {
    case 'n': return '\n';
    case 't': return '\t';
    case 'r': return '\r';
    case '"':
    case '\\': return letter;
    default: return '\0';
    }
}

/* Removes the quotes and escapes of the value at `at` in place. */
static lh_status unquote(const ini_reader *reader, const char *key, char *at, char **value)
{
    char *write = at;
    *value = at;
    for (at++; *at != '"'; at++) {
        char c = *at;
        if (c == '\\') {
            c = unescape(*++at);
            if (c == '\0') {
                return lh_fail(
                    reader->error, LH_E_CONFIG,
                    "%s:%d: the value of '%s' has a backslash before something else than n, t, r, \" or \\",
                    reader->name, reader->line, key);
            }
        } else if (c == '\0') {
            return lh_fail(reader->error, LH_E_CONFIG, "%s:%d: the quotes around the value of '%s' are not closed",
                           reader->name, reader->line, key);
        }
        *write++ = c;
    }
    if (!only_comment(at + 1)) {
        return lh_fail(reader->error, LH_E_CONFIG, "%s:%d: there is text after the quoted value of '%s'",
                       reader->name, reader->line, key);
    }
    *write = '\0';
    return LH_OK;
}

static char *plain_value(char *at)
{
    char *end = at;
    while (*end && !(starts_comment(*end) && (end == at || is_blank(end[-1])))) {
        end++;
    }
    trim(at, end);
    return at;
}

static lh_status read_section(ini_reader *reader, char *at)
{
    char *close = strchr(at, ']');
    if (!close || !only_comment(close + 1)) {
        return lh_fail(reader->error, LH_E_CONFIG, "%s:%d: a section line must read [name]", reader->name,
                       reader->line);
    }
    at = skip_blanks(at + 1);
    trim(at, close);
    reader->section = at;
    return reader->handler(reader->user, at, NULL, NULL, reader->line, reader->error);
}

static lh_status read_line(ini_reader *reader, char *at)
{
    at = skip_blanks(at);
    if (only_comment(at)) {
        return LH_OK;
    }
    if (*at == '[') {
        return read_section(reader, at);
    }
    char *equals = strchr(at, '=');
    if (!equals || equals == at) {
        return lh_fail(reader->error, LH_E_CONFIG, "%s:%d: expected 'key = value', [section] or a # comment",
                       reader->name, reader->line);
    }
    char *value = skip_blanks(equals + 1);
    trim(at, equals);
    if (*value == '"') {
        LH_TRY(unquote(reader, at, value, &value));
    } else {
        value = plain_value(value);
    }
    return reader->handler(reader->user, reader->section, at, value, reader->line, reader->error);
}

static lh_status read_lines(ini_reader *reader, char *at)
{
    if (strncmp(at, "\xEF\xBB\xBF", 3) == 0) {
        at += 3;
    }
    while (*at) {
        char *end = strchr(at, '\n');
        char *next = end ? end + 1 : at + strlen(at);
        if (end) {
            *end = '\0';
        }
        reader->line += reader->line < INT_MAX;
        LH_TRY(read_line(reader, at));
        at = next;
    }
    return LH_OK;
}

lh_status lh_ini_parse(const char *name, const char *text, size_t size, lh_ini_handler handler, void *user,
                       lh_error *error)
{
    const char *nul = size ? memchr(text, '\0', size) : NULL;
    if (nul) {
        return lh_fail(error, LH_E_CONFIG, "%s: byte %zu is zero; this is not a text file", name,
                       (size_t)(nul - text));
    }
    char *copy = size < SIZE_MAX ? lh_heap_alloc(size + 1) : NULL;
    if (!copy) {
        return lh_fail(error, LH_E_MEMORY, "%s: no memory to read it (%zu bytes)", name, size);
    }
    if (size) {
        memcpy(copy, text, size);
    }
    char nothing[1] = "";
    ini_reader reader = {.name = name, .handler = handler, .user = user, .section = nothing, .error = error};
    lh_status status = read_lines(&reader, copy);
    lh_heap_free(copy);
    return status;
}

static bool needs_quotes(const char *value)
{
    size_t size = strlen(value);
    return size == 0 || is_blank(value[0]) || is_blank(value[size - 1]) || value[0] == '"' ||
           strpbrk(value, "#;\n\r") != NULL;
}

void lh_ini_append_value(lh_string *out, const char *value)
{
    if (!needs_quotes(value)) {
        lh_string_append(out, value, strlen(value));
        return;
    }
    lh_string_append(out, "\"", 1);
    for (const char *at = value; *at; at++) {
        switch (*at) {
        case '\n': lh_string_append(out, "\\n", 2); break;
        case '\r': lh_string_append(out, "\\r", 2); break;
        case '"': lh_string_append(out, "\\\"", 2); break;
        case '\\': lh_string_append(out, "\\\\", 2); break;
        default: lh_string_append(out, at, 1); break;
        }
    }
    lh_string_append(out, "\"", 1);
}
