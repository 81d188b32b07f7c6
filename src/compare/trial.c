#include "compare/trial.h"

#include "base/file.h"
#include "base/memory.h"
#include "formats/json_util.h"

#include <stdio.h>
#include <string.h>

#define RESULT_FILE "result.json"
#define LARGEST_RESULT ((size_t)1 << 26)

static lh_status no_memory(const lh_trial *trial, lh_error *error)
{
    return lh_fail(error, LH_E_MEMORY, "no memory for the results of %s-%lld", trial->method,
                   (long long)trial->seed);
}

static lh_status save(const lh_trial *trial, lh_error *error)
{
    lh_string text = {0};
    char *path = lh_path_join(trial->directory, RESULT_FILE);
    lh_json_dump(trial->result, &text);
    lh_status status =
        path && !text.failed ? lh_file_write(path, text.data, text.size, error) : no_memory(trial, error);
    lh_heap_free(path);
    lh_string_free(&text);
    return status;
}

static lh_status load(lh_trial *trial, lh_error *error)
{
    char *path = lh_path_join(trial->directory, RESULT_FILE);
    if (!path) {
        return no_memory(trial, error);
    }
    lh_status status = LH_OK;
    if (lh_file_exists(path)) {
        status = lh_json_read(path, LARGEST_RESULT, &trial->result, error);
        if (status == LH_OK && !json_is_object(trial->result)) {
            status = lh_fail(error, LH_E_FORMAT, "%s does not hold a result", path);
        }
        (void)json_object_del(trial->result, "error");
    } else {
        trial->result = json_pack("{s:s, s:I}", "method", trial->method, "seed", (json_int_t)trial->seed);
        status = trial->result ? LH_OK : no_memory(trial, error);
    }
    lh_heap_free(path);
    return status;
}

lh_status lh_trial_open(lh_trial *trial, const char *directory, const char *method, int64_t seed, lh_error *error)
{
    lh_string path = {0};
    *trial = (lh_trial){.method = method, .seed = seed};
    lh_string_print(&path, "%s/runs/%s-%lld", directory, method, (long long)seed);
    trial->directory = path.failed ? NULL : lh_heap_strdup(path.data);
    lh_string_free(&path);
    (void)snprintf(trial->label, sizeof trial->label, "%.60s-%lld", method, (long long)seed);
    return trial->directory ? load(trial, error) : no_memory(trial, error);
}

void lh_trial_close(lh_trial *trial)
{
    lh_heap_free(trial->directory);
    json_decref(trial->result);
    *trial = (lh_trial){0};
}

bool lh_trial_has(const lh_trial *trial, const char *part)
{
    return json_object_get(trial->result, part) != NULL;
}

static lh_status keep(lh_trial *trial, const char *part, const lh_string *answer, int64_t peak, lh_error *error)
{
    json_t *value = NULL;
    LH_TRY(lh_json_parse(answer->data ? answer->data : "", answer->size, part, &value, error));
    json_object_set_new(value, "peak_bytes", json_integer((json_int_t)peak));
    if (json_object_set_new(trial->result, part, value) != 0) {
        return no_memory(trial, error);
    }
    return save(trial, error);
}

lh_status lh_trial_measure(lh_trial *trial, const char *part, lh_child_work work, void *stage, lh_error *error)
{
    lh_string answer = {0};
    int64_t peak = 0;
    LH_TRY(lh_directory_create(trial->directory, error));
    lh_status status = lh_child_run(work, stage, &answer, &peak, error);
    if (status == LH_OK) {
        status = keep(trial, part, &answer, peak, error);
    }
    lh_string_free(&answer);
    return status;
}

lh_status lh_trial_fail(lh_trial *trial, const char *stage, lh_status status, const char *sentence, lh_error *error)
{
    json_t *fault = json_pack("{s:i, s:s, s:s}", "status", (int)status, "stage", stage, "sentence", sentence);
    if (!fault || json_object_set_new(trial->result, "error", fault) != 0) {
        return no_memory(trial, error);
    }
    LH_TRY(lh_directory_create(trial->directory, error));
    return save(trial, error);
}

lh_status lh_trial_finish(lh_trial *trial, lh_error *error)
{
    if (json_object_set_new(trial->result, "finished", json_true()) != 0) {
        return no_memory(trial, error);
    }
    return save(trial, error);
}
