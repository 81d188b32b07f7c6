#include "formats/jsonl.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "formats/append_file.h"
#include "formats/json_util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct lh_jsonl {
    lh_append_file file;
    lh_string line;
};

/* True if [line, end) is a JSON object whose "step" is past `last_step`. */
static bool is_past(const char *line, const char *end, int64_t last_step)
{
    json_t *object = json_loadb(line, (size_t)(end - line), 0, NULL);
    const json_t *step = json_object_get(object, "step");
    bool past = json_is_integer(step) && json_integer_value(step) > last_step;
    json_decref(object);
    return past;
}

/* How many bytes of the log to keep. */
static size_t kept_size(const char *text, size_t size, int64_t last_step)
{
    const char *at = text, *end = text + size;
    while (at < end) {
        const char *feed = memchr(at, '\n', (size_t)(end - at));
        if (!feed || (last_step != LH_JSONL_KEEP_ALL && is_past(at, feed, last_step))) {
            break;
        }
        at = feed + 1;
    }
    return (size_t)(at - text);
}

static lh_status cut_back(lh_jsonl *log, int64_t last_step, lh_error *error)
{
    lh_mapping mapping = {0};
    LH_TRY(lh_mapping_open(&mapping, log->file.path, error));
    size_t keep = kept_size((const char *)mapping.data, mapping.size, last_step);
    bool shorter = keep < mapping.size;
    lh_mapping_close(&mapping);
    return shorter ? lh_append_truncate(&log->file, (int64_t)keep, error) : LH_OK;
}

lh_status lh_jsonl_open(lh_jsonl **log, const char *path, int64_t last_step, lh_error *error)
{
    *log = NULL;
    lh_jsonl *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open %s", path);
    }
    lh_status status = lh_append_open(&fresh->file, path, false, error);
    if (status == LH_OK && fresh->file.size > 0) {
        status = cut_back(fresh, last_step, error);
    }
    if (status != LH_OK) {
        lh_jsonl_close(fresh);
        return status;
    }
    *log = fresh;
    return LH_OK;
}

void lh_jsonl_close(lh_jsonl *log)
{
    if (log) {
        lh_append_close(&log->file);
        lh_string_free(&log->line);
        lh_heap_free(log);
    }
}

static void append_key(lh_jsonl *log, const char *key)
{
    lh_string_append(&log->line, log->line.size ? ", " : "{", log->line.size ? 2 : 1);
    lh_json_append_string(&log->line, key, strlen(key));
    lh_string_append(&log->line, ": ", 2);
}

void lh_jsonl_integer(lh_jsonl *log, const char *key, int64_t value)
{
    append_key(log, key);
    lh_string_print(&log->line, "%" PRId64, value);
}

void lh_jsonl_real(lh_jsonl *log, const char *key, double value)
{
    char number[LH_JSON_REAL_SIZE];
    append_key(log, key);
    lh_string_print(&log->line, "%s", lh_json_format_real(number, value));
}

void lh_jsonl_boolean(lh_jsonl *log, const char *key, bool value)
{
    append_key(log, key);
    lh_string_print(&log->line, "%s", value ? "true" : "false");
}

void lh_jsonl_string(lh_jsonl *log, const char *key, const char *value)
{
    append_key(log, key);
    lh_json_append_string(&log->line, value, strlen(value));
}

lh_status lh_jsonl_end(lh_jsonl *log, lh_error *error)
{
    lh_string_append(&log->line, log->line.size ? "}\n" : "{}\n", log->line.size ? 2 : 3);
    lh_status status = log->line.failed ? lh_fail(error, LH_E_MEMORY, "no memory for a line of %s", log->file.path)
                                        : lh_append_write(&log->file, log->line.data, log->line.size, error);
    lh_string_clear(&log->line);
    return status;
}

static bool is_blank_line(const char *line, const char *end)
{
    while (line < end && strchr(" \t\r", *line) && *line) {
        line++;
    }
    return line == end;
}

static lh_status read_line(const char *name, const char *line, size_t size, int64_t number, bool last,
                           lh_jsonl_visit visit, void *user, lh_error *error)
{
    json_error_t parse;
    json_t *object = json_loadb(line, size, JSON_REJECT_DUPLICATES, &parse);
    if (!object && json_error_code(&parse) == json_error_out_of_memory) {
        return lh_fail(error, LH_E_MEMORY, "%s:%" PRId64 ": no memory to parse the line", name, number);
    }
    if (!object && last) {
        return LH_OK;
    }
    if (!json_is_object(object)) {
        json_decref(object);
        return lh_fail(error, LH_E_FORMAT, "%s:%" PRId64 ": the line is not a JSON object%s%s", name, number,
                       object ? "" : ": ", object ? "" : parse.text);
    }
    lh_status status = visit(user, object, number, error);
    json_decref(object);
    return status;
}

lh_status lh_jsonl_read_memory(const char *name, const char *text, size_t size, lh_jsonl_visit visit, void *user,
                               lh_error *error)
{
    const char *at = text, *end = text + size;
    for (int64_t number = 1; at < end; number++) {
        const char *feed = memchr(at, '\n', (size_t)(end - at));
        const char *stop = feed ? feed : end;
        if (!is_blank_line(at, stop)) {
            LH_TRY(read_line(name, at, (size_t)(stop - at), number, feed == NULL, visit, user, error));
        }
        at = stop + (feed ? 1 : 0);
    }
    return LH_OK;
}

lh_status lh_jsonl_read(const char *path, lh_jsonl_visit visit, void *user, lh_error *error)
{
    lh_mapping mapping = {0};
    LH_TRY(lh_mapping_open(&mapping, path, error));
    lh_status status = lh_jsonl_read_memory(path, (const char *)mapping.data, mapping.size, visit, user, error);
    lh_mapping_close(&mapping);
    return status;
}
