#include "formats/model_dir.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "formats/checkpoint.h"
#include "formats/json_util.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* An index names some hundred tensors to some ten thousand. */
#define LARGEST_INDEX (64u << 20)

static lh_status no_memory(const char *path, lh_error *error)
{
    return lh_fail(error, LH_E_MEMORY, "%s: no memory to look for its files", path);
}

/* The path of a file of the directory, NULL if there is none of that name. */
static lh_status find(const char *directory, const char *name, char **path, lh_error *error)
{
    *path = lh_path_join(directory, name);
    if (!*path) {
        return no_memory(directory, error);
    }
    if (!lh_file_exists(*path)) {
        lh_heap_free(*path);
        *path = NULL;
    }
    return LH_OK;
}

/* ---- sharded weights ---- */

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static lh_status check_shard_name(const lh_json *map, const char *tensor, const json_t *name, lh_error *error)
{
    const char *text = json_string_value(name);
    if (!text || text[0] == '\0' || text[0] == '.' || strchr(text, '/') || strchr(text, '\\')) {
        return lh_json_reject(map, tensor, error, "must be the name of a file in the same directory");
    }
    return LH_OK;
}

/* Fills `names` with the distinct file names, borrowed from the JSON. */
static lh_status collect_shards(const lh_json *map, const char **names, size_t *count, lh_error *error)
{
    size_t entries = 0;
    const char *tensor;
    json_t *name;
    json_object_foreach((json_t *)map->value, tensor, name)
    {
        LH_TRY(check_shard_name(map, tensor, name, error));
        names[entries++] = json_string_value(name);
    }
    qsort(names, entries, sizeof *names, by_bytes);
    *count = 0;
    for (size_t i = 0; i < entries; i++) {
        if (*count == 0 || strcmp(names[*count - 1], names[i]) != 0) {
            names[(*count)++] = names[i];
        }
    }
    return LH_OK;
}

static lh_status join_all(const char *directory, const char **names, size_t count, char ***paths, lh_error *error)
{
    char **list = lh_heap_alloc((count + 1) * sizeof *list);
    bool complete = list != NULL;
    for (size_t i = 0; i < count && complete; i++) {
        list[i] = lh_path_join(directory, names[i]);
        complete = list[i] != NULL;
    }
    if (!complete) {
        lh_name_list_free(list);
        return no_memory(directory, error);
    }
    *paths = list;
    return LH_OK;
}

static lh_status read_weight_map(const char *directory, const lh_json *root, char ***weights, size_t *count,
                                 lh_error *error)
{
    lh_json map;
    LH_TRY(lh_json_object(root, "weight_map", &map, error));
    size_t entries = json_object_size(map.value), distinct = 0;
    if (entries == 0) {
        return lh_json_reject(root, "weight_map", error, "must name at least one tensor");
    }
    const char **names = lh_heap_alloc(entries * sizeof *names);
    if (!names) {
        return no_memory(directory, error);
    }
    lh_status status = collect_shards(&map, names, &distinct, error);
    if (status == LH_OK) {
        status = join_all(directory, names, distinct, weights, error);
    }
    lh_heap_free(names);
    *count = status == LH_OK ? distinct : 0;
    return status;
}

lh_status lh_model_dir_read_index(const char *directory, const char *index_path, char ***weights, size_t *count,
                                  lh_error *error)
{
    json_t *value = NULL;
    *weights = NULL;
    *count = 0;
    LH_TRY(lh_json_read(index_path, LARGEST_INDEX, &value, error));
    lh_json root = lh_json_root(value, index_path);
    lh_status status = read_weight_map(directory, &root, weights, count, error);
    json_decref(value);
    return status;
}

/* ---- which weights ---- */

static lh_status take_single(lh_model_dir *files, char *path, int64_t step, lh_error *error)
{
    files->weights = lh_heap_alloc(2 * sizeof *files->weights);
    if (!files->weights) {
        lh_heap_free(path);
        return no_memory(files->directory, error);
    }
    files->weights[0] = path;
    files->weight_count = 1;
    files->step = step;
    return LH_OK;
}

/* model.safetensors or the files of its index; none of them is no failure. */
static lh_status take_model(lh_model_dir *files, lh_error *error)
{
    char *path = NULL;
    LH_TRY(find(files->directory, LH_FILE_WEIGHTS, &path, error));
    if (path) {
        return take_single(files, path, -1, error);
    }
    LH_TRY(find(files->directory, LH_FILE_WEIGHTS_INDEX, &path, error));
    if (!path) {
        return LH_OK;
    }
    lh_status status =
        lh_model_dir_read_index(files->directory, path, &files->weights, &files->weight_count, error);
    lh_heap_free(path);
    for (size_t i = 0; i < files->weight_count && status == LH_OK; i++) {
        if (!lh_file_exists(files->weights[i])) {
            status = lh_fail(error, LH_E_IO, "%s is missing, though " LH_FILE_WEIGHTS_INDEX " names it",
                             files->weights[i]);
        }
    }
    return status;
}

static lh_status take_step(lh_model_dir *files, int64_t step, lh_error *error)
{
    char *path = lh_checkpoint_path(files->directory, step);
    if (!path) {
        return no_memory(files->directory, error);
    }
    if (!lh_file_exists(path)) {
        lh_status status = lh_fail(error, LH_E_IO, "%s is missing", path);
        lh_heap_free(path);
        return status;
    }
    return take_single(files, path, step, error);
}

static lh_status take_best(lh_model_dir *files, lh_error *error)
{
    lh_checkpoint_best best;
    LH_TRY(lh_checkpoint_best_read(files->directory, &best, error));
    return best.step >= 0 ? take_step(files, best.step, error) : LH_OK;
}

static lh_status take_latest(lh_model_dir *files, lh_error *error)
{
    int64_t *steps = NULL;
    size_t count = 0;
    LH_TRY(lh_checkpoint_steps(files->directory, &steps, &count, error));
    int64_t step = count ? steps[count - 1] : -1;
    lh_heap_free(steps);
    return step >= 0 ? take_step(files, step, error) : LH_OK;
}

static lh_status take_any(lh_model_dir *files, lh_error *error)
{
    LH_TRY(take_model(files, error));
    if (files->weight_count == 0) {
        LH_TRY(take_best(files, error));
    }
    if (files->weight_count == 0) {
        LH_TRY(take_latest(files, error));
    }
    if (files->weight_count == 0) {
        return lh_fail(error, LH_E_IO,
                       "%s has no weights: neither " LH_FILE_WEIGHTS " nor " LH_FILE_WEIGHTS_INDEX
                       " nor a checkpoint-<step>.safetensors",
                       files->directory);
    }
    return LH_OK;
}

static lh_status take_asked(lh_model_dir *files, const char *which, lh_error *error)
{
    int64_t step = -1;
    if (!which) {
        return take_any(files, error);
    }
    if (strcmp(which, "model") == 0) {
        LH_TRY(take_model(files, error));
    } else if (strcmp(which, "best") == 0) {
        LH_TRY(take_best(files, error));
    } else if (strcmp(which, "latest") == 0) {
        LH_TRY(take_latest(files, error));
    } else if (lh_parse_integer(which, &step) && step >= 0) {
        return take_step(files, step, error);
    } else {
        return lh_fail(error, LH_E_ARGUMENT, "'%s' is not a choice of weights: model, best, latest or a step",
                       which);
    }
    if (files->weight_count == 0) {
        return lh_fail(error, LH_E_IO, "%s has no %s", files->directory,
                       strcmp(which, "model") == 0 ? LH_FILE_WEIGHTS
                       : which[0] == 'b'           ? "best.json: no checkpoint was ever found the best"
                                                   : "checkpoint-<step>.safetensors");
    }
    return LH_OK;
}

/* ---- the directory ---- */

static lh_status find_files(lh_model_dir *files, const char *which, lh_error *error)
{
    LH_TRY(find(files->directory, LH_FILE_CONFIG, &files->config, error));
    if (!files->config) {
        return lh_fail(error, LH_E_IO, "%s is no model or run directory: it has no " LH_FILE_CONFIG,
                       files->directory);
    }
    LH_TRY(find(files->directory, LH_FILE_TOKENIZER, &files->tokenizer, error));
    LH_TRY(find(files->directory, LH_FILE_RECIPE, &files->recipe, error));
    return take_asked(files, which, error);
}

/* `path` is a file: its directory is the model directory, and it is the weights. */
static lh_status open_file(lh_model_dir *files, const char *path, lh_error *error)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    int64_t step = lh_checkpoint_name_step(name);
    if (step < 0 && strcmp(name, LH_FILE_WEIGHTS) != 0) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "%s is neither a directory nor a checkpoint-<step>.safetensors nor a " LH_FILE_WEIGHTS,
                       path);
    }
    char number[32] = "model";
    if (step >= 0) {
        (void)snprintf(number, sizeof number, "%" PRId64, step);
    }
    files->directory = lh_heap_strdup(slash ? path : ".");
    if (!files->directory) {
        return no_memory(path, error);
    }
    if (slash) {
        files->directory[slash == path ? 1 : slash - path] = '\0';
    }
    return find_files(files, number, error);
}

static lh_status open_any(lh_model_dir *files, const char *path, const char *which, lh_error *error)
{
    if (lh_directory_exists(path)) {
        files->directory = lh_heap_strdup(path);
        return files->directory ? find_files(files, which, error) : no_memory(path, error);
    }
    if (!lh_file_exists(path)) {
        return lh_fail(error, LH_E_IO, "%s: there is no such model or run directory", path);
    }
    if (which) {
        return lh_fail(error, LH_E_ARGUMENT, "%s is a file; '%s' chooses within a directory", path, which);
    }
    return open_file(files, path, error);
}

lh_status lh_model_dir_open(lh_model_dir *files, const char *path, const char *which, lh_error *error)
{
    *files = (lh_model_dir){.step = -1};
    lh_status status = open_any(files, path, which, error);
    if (status != LH_OK) {
        lh_model_dir_close(files);
    }
    return status;
}

void lh_model_dir_close(lh_model_dir *files)
{
    lh_heap_free(files->directory);
    lh_heap_free(files->config);
    lh_heap_free(files->tokenizer);
    lh_heap_free(files->recipe);
    lh_name_list_free(files->weights);
    *files = (lh_model_dir){.step = -1};
}

lh_status lh_model_dir_tokenizer(const lh_model_dir *files, const char **path, lh_error *error)
{
    *path = files->tokenizer;
    if (!files->tokenizer) {
        return lh_fail(error, LH_E_IO, "%s has no " LH_FILE_TOKENIZER ", which says how text becomes tokens",
                       files->directory);
    }
    return LH_OK;
}
