/* The checkpoints of a run directory: which there are, which is the newest, which is the best, which to delete. */
#include "base/memory.h"
#include "formats/checkpoint.h"
#include "formats/json_util.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "checkpoint-"
#define SUFFIX ".safetensors"
#define BEST "best.json"
#define TEMPORARY ".tmp-" /* base/file.c: <path>.tmp-<process>-<number> */

static lh_status no_memory(const char *directory, lh_error *error)
{
    return lh_fail(error, LH_E_MEMORY, "%s: no memory to look for checkpoints", directory);
}

char *lh_checkpoint_path(const char *directory, int64_t step)
{
    char name[64];
    (void)snprintf(name, sizeof name, PREFIX "%" PRId64 SUFFIX, step);
    return lh_path_join(directory, name);
}

int64_t lh_checkpoint_name_step(const char *name)
{
    char again[64];
    size_t prefix = strlen(PREFIX);
    if (strncmp(name, PREFIX, prefix) != 0) {
        return -1;
    }
    int64_t step = strtoll(name + prefix, NULL, 10);
    /* The one form that is written: no sign, no leading zero, no other ending. */
    (void)snprintf(again, sizeof again, PREFIX "%" PRId64 SUFFIX, step);
    return step >= 0 && strcmp(again, name) == 0 ? step : -1;
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

lh_status lh_checkpoint_steps(const char *directory, int64_t **steps, size_t *count, lh_error *error)
{
    char **names = NULL;
    size_t name_count = 0;
    *steps = NULL;
    *count = 0;
    LH_TRY(lh_directory_list(directory, &names, &name_count, error));
    int64_t *found = lh_heap_alloc(name_count * sizeof *found);
    for (size_t i = 0; found && i < name_count; i++) {
        int64_t step = lh_checkpoint_name_step(names[i]);
        if (step >= 0) {
            found[(*count)++] = step;
        }
    }
    lh_name_list_free(names);
    if (!found) {
        return no_memory(directory, error);
    }
    qsort(found, *count, sizeof *found, ascending);
    *steps = found;
    return LH_OK;
}

static lh_status open_step(lh_checkpoint **checkpoint, const char *directory, int64_t step, lh_error *error)
{
    char *path = lh_checkpoint_path(directory, step);
    if (!path) {
        return no_memory(directory, error);
    }
    lh_status status = lh_checkpoint_open(checkpoint, path, error);
    lh_heap_free(path);
    return status;
}

static lh_status none_found(const char *directory, int64_t below, lh_error *error)
{
    if (below == INT64_MAX) {
        return lh_fail(error, LH_E_IO, "%s: there is no checkpoint (" PREFIX "<step>" SUFFIX ") here", directory);
    }
    return lh_fail(error, LH_E_IO, "%s: there is no checkpoint of a step before %" PRId64 " here", directory,
                   below);
}

lh_status lh_checkpoint_open_latest(lh_checkpoint **checkpoint, const char *directory, int64_t below,
                                    lh_error *error)
{
    int64_t *steps = NULL;
    size_t count = 0;
    *checkpoint = NULL;
    LH_TRY(lh_checkpoint_steps(directory, &steps, &count, error));
    while (count > 0 && steps[count - 1] >= below) {
        count--;
    }
    int64_t newest = count > 0 ? steps[count - 1] : -1, before = count > 1 ? steps[count - 2] : -1;
    lh_heap_free(steps);
    if (newest < 0) {
        return none_found(directory, below, error);
    }
    lh_error reason = {0};
    lh_status status = open_step(checkpoint, directory, newest, &reason);
    if (status == LH_E_FORMAT && before >= 0) {
        return lh_fail(error, status, "%.900s; the checkpoint before it is " PREFIX "%" PRId64 SUFFIX,
                       reason.message, before);
    }
    return status == LH_OK ? LH_OK : lh_fail(error, status, "%s", reason.message);
}

lh_status lh_checkpoint_open_latest_good(lh_checkpoint **checkpoint, const char *directory, lh_error *skipped,
                                         lh_error *error)
{
    int64_t *steps = NULL;
    size_t count = 0;
    lh_status status = LH_E_IO;
    lh_error first = {0};
    *checkpoint = NULL;
    LH_TRY(lh_checkpoint_steps(directory, &steps, &count, error));
    for (size_t left = count; left > 0; left--) {
        status = open_step(checkpoint, directory, steps[left - 1], &first);
        if (status != LH_E_FORMAT) {
            break;
        }
    }
    lh_heap_free(steps);
    if (count == 0) {
        return none_found(directory, INT64_MAX, error);
    }
    if (status != LH_OK) {
        return lh_fail(error, status, "%s", first.message);
    }
    if (first.status != LH_OK) {
        (void)lh_fail(skipped, first.status, "%s", first.message);
    }
    return LH_OK;
}

/* ---- best ---- */

static lh_status write_best(const char *path, const lh_checkpoint_best *best, lh_error *error)
{
    char number[LH_JSON_REAL_SIZE];
    lh_string text = {0};
    lh_string_print(&text, "{\n  \"metric\": ");
    lh_json_append_string(&text, best->metric, strnlen(best->metric, sizeof best->metric));
    lh_string_print(&text, ",\n  \"step\": %" PRId64 ",\n  \"value\": %s\n}\n", best->step,
                    lh_json_format_real(number, best->value));
    lh_status status = text.failed ? lh_fail(error, LH_E_MEMORY, "%s: no memory to write it", path)
                                   : lh_file_write(path, text.data, text.size, error);
    lh_string_free(&text);
    return status;
}

lh_status lh_checkpoint_best_write(const char *directory, const lh_checkpoint_best *best, lh_error *error)
{
    char *path = lh_path_join(directory, BEST);
    lh_status status = path ? write_best(path, best, error) : no_memory(directory, error);
    lh_heap_free(path);
    return status;
}

static lh_status read_best(const char *path, lh_checkpoint_best *best, lh_error *error)
{
    json_t *value = NULL;
    LH_TRY(lh_json_read(path, 1 << 16, &value, error));
    lh_json root = lh_json_root(value, path);
    const char *metric = "";
    lh_status status = lh_json_integer(&root, "step", 0, INT64_MAX, &best->step, error);
    if (status == LH_OK) {
        status = lh_json_real(&root, "value", -INFINITY, INFINITY, &best->value, error);
    }
    if (status == LH_OK) {
        status = lh_json_string(&root, "metric", &metric, error);
    }
    (void)snprintf(best->metric, sizeof best->metric, "%s", metric);
    json_decref(value);
    return status;
}

lh_status lh_checkpoint_best_read(const char *directory, lh_checkpoint_best *best, lh_error *error)
{
    *best = (lh_checkpoint_best){.step = -1};
    char *path = lh_path_join(directory, BEST);
    if (!path) {
        return no_memory(directory, error);
    }
    lh_status status = lh_file_exists(path) ? read_best(path, best, error) : LH_OK;
    lh_heap_free(path);
    return status;
}

/* ---- retention ---- */

static lh_status delete_file(const char *directory, const char *name, lh_error *error)
{
    char *path = lh_path_join(directory, name);
    if (!path) {
        return no_memory(directory, error);
    }
    lh_status status =
        unlink(path) == 0 || errno == ENOENT ? LH_OK : lh_fail_errno(error, "cannot delete %s", path);
    lh_heap_free(path);
    return status;
}

/* True for "checkpoint-<step>.safetensors.tmp-<process>-<number>" of a process that is no more. */
static bool is_left_behind(const char *name)
{
    char final[64];
    const char *mark = strstr(name, TEMPORARY);
    size_t length = mark ? (size_t)(mark - name) : sizeof final;
    if (length >= sizeof final) {
        return false;
    }
    memcpy(final, name, length);
    final[length] = '\0';
    long process = strtol(mark + strlen(TEMPORARY), NULL, 10);
    return lh_checkpoint_name_step(final) >= 0 && process > 1 && kill((pid_t)process, 0) != 0 && errno == ESRCH;
}

static lh_status delete_left_behind(const char *directory, lh_error *error)
{
    char **names = NULL;
    size_t count = 0;
    lh_status status = lh_directory_list(directory, &names, &count, error);
    for (size_t i = 0; i < count && status == LH_OK; i++) {
        if (is_left_behind(names[i])) {
            status = delete_file(directory, names[i], error);
        }
    }
    lh_name_list_free(names);
    return status;
}

lh_status lh_checkpoint_retain(const char *directory, size_t keep, lh_error *error)
{
    lh_checkpoint_best best;
    int64_t *steps = NULL;
    size_t count = 0;
    LH_TRY(lh_checkpoint_best_read(directory, &best, error));
    LH_TRY(lh_checkpoint_steps(directory, &steps, &count, error));
    keep = keep < 1 ? 1 : keep;
    lh_status status = LH_OK;
    for (size_t i = 0; i + keep < count && status == LH_OK; i++) {
        if (steps[i] != best.step) {
            char name[64];
            (void)snprintf(name, sizeof name, PREFIX "%" PRId64 SUFFIX, steps[i]);
            status = delete_file(directory, name, error);
        }
    }
    lh_heap_free(steps);
    return status == LH_OK ? delete_left_behind(directory, error) : status;
}
