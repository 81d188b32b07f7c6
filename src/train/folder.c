#include "train/folder.h"

#include "base/file.h"
#include "base/memory.h"
#include "formats/checkpoint.h"
#include "formats/model_dir.h"
#include "train/run.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_FILE ".lock"

static lh_status lock(lh_run_folder *folder, lh_error *error)
{
    char *path = lh_path_join(folder->path, LOCK_FILE);
    if (!path) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open %s", folder->path);
    }
    int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    lh_status status = LH_OK;
    if (descriptor < 0) {
        status = lh_fail_errno(error, "cannot open %s", path);
    } else if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        status = errno == EWOULDBLOCK ? lh_fail(error, LH_E_CONFIG, "another process is training %s", folder->path)
                                      : lh_fail_errno(error, "cannot lock %s", path);
        (void)close(descriptor);
    } else {
        folder->lock = descriptor;
    }
    lh_heap_free(path);
    return status;
}

lh_status lh_run_recipe(lh_recipe **recipe, const char *directory, lh_error *error)
{
    char *path = lh_path_join(directory, LH_FILE_RECIPE);
    *recipe = NULL;
    if (!path) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open %s", directory);
    }
    lh_status status = lh_file_exists(path) ? lh_train_recipe_create(recipe, error)
                                            : lh_fail(error, LH_E_IO, "%s is no run: there is no %s in it",
                                                      directory, LH_FILE_RECIPE);
    if (status == LH_OK) {
        status = lh_recipe_read(*recipe, path, error);
    }
    if (status != LH_OK) {
        lh_recipe_free(*recipe);
        *recipe = NULL;
    }
    lh_heap_free(path);
    return status;
}

/* The recipe of the run that is there must be the wanted one. */
static lh_status check_recipe(const lh_run_folder *folder, const lh_recipe *wanted, lh_error *error)
{
    lh_recipe *run;
    LH_TRY(lh_run_recipe(&run, folder->path, error));
    lh_status status = lh_recipe_resolve(run, error);
    if (status == LH_OK) {
        status = lh_train_recipe_same(run, wanted, folder->path, error);
    }
    lh_recipe_free(run);
    return status;
}

static lh_status look_for_checkpoints(lh_run_folder *folder, bool has_recipe, lh_error *error)
{
    int64_t *steps;
    size_t count;
    LH_TRY(lh_checkpoint_steps(folder->path, &steps, &count, error));
    lh_heap_free(steps);
    folder->begun = count > 0;
    if (count > 0 && !has_recipe) {
        return lh_fail(error, LH_E_CONFIG, "%s holds checkpoints but no %s; give another --out", folder->path,
                       LH_FILE_RECIPE);
    }
    return LH_OK;
}

static lh_status open_folder(lh_run_folder *folder, const lh_recipe *recipe, bool must_exist, lh_error *error)
{
    lh_string text = {0};
    char *path = lh_path_join(folder->path, LH_FILE_RECIPE);
    lh_recipe_write(recipe, true, &text);
    lh_recipe_write(recipe, false, &folder->recipe_text);
    lh_status status = path && !text.failed && !folder->recipe_text.failed
                           ? LH_OK
                           : lh_fail(error, LH_E_MEMORY, "no memory to open %s", folder->path);
    bool exists = status == LH_OK && lh_file_exists(path);
    if (status == LH_OK && must_exist && !exists) {
        status = lh_fail(error, LH_E_IO, "%s is no run: there is no %s in it", folder->path, LH_FILE_RECIPE);
    }
    if (status == LH_OK) {
        status = lh_directory_create(folder->path, error);
    }
    if (status == LH_OK) {
        status = lock(folder, error);
    }
    if (status == LH_OK) {
        status = look_for_checkpoints(folder, exists, error);
    }
    if (status == LH_OK && folder->begun) {
        status = check_recipe(folder, recipe, error);
    }
    if (status == LH_OK) {
        status = lh_file_write(path, text.data, text.size, error);
    }
    lh_heap_free(path);
    lh_string_free(&text);
    return status;
}

lh_status lh_run_folder_open(lh_run_folder *folder, const char *path, const lh_recipe *recipe, bool must_exist,
                             lh_error *error)
{
    *folder = (lh_run_folder){.path = lh_heap_strdup(path)};
    if (!folder->path) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open %s", path);
    }
    return open_folder(folder, recipe, must_exist, error);
}

/* Generation will read this file: it must be whole and the one that the text was cut with. */
static lh_status check_tokenizer(const char *file, const lh_tokenizer *wanted, lh_error *error)
{
    lh_tokenizer *found;
    LH_TRY(lh_tokenizer_open(&found, file, error));
    bool same = lh_tokenizer_fingerprint(found) == lh_tokenizer_fingerprint(wanted);
    lh_tokenizer_free(found);
    return same ? LH_OK : lh_fail(error, LH_E_FORMAT, "%s is not the tokenizer of the text of this run", file);
}

lh_status lh_run_folder_describe(const lh_run_folder *folder, const lh_model *model, const lh_tokenizer *tokenizer,
                                 lh_error *error)
{
    char *config = lh_path_join(folder->path, LH_FILE_CONFIG),
         *file = lh_path_join(folder->path, LH_FILE_TOKENIZER);
    lh_status status = config && file ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory to open %s", folder->path);
    if (status == LH_OK) {
        status = lh_model_save_config(model, config, error);
    }
    if (status == LH_OK) {
        status = folder->begun ? check_tokenizer(file, tokenizer, error)
                               : lh_tokenizer_save(tokenizer, folder->path, error);
    }
    lh_heap_free(config);
    lh_heap_free(file);
    return status;
}

void lh_run_folder_close(lh_run_folder *folder)
{
    if (folder->lock > 0) {
        (void)close(folder->lock); /* unlocks */
    }
    lh_string_free(&folder->recipe_text);
    lh_heap_free(folder->path);
    *folder = (lh_run_folder){0};
}
