#include "train/initial.h"

#include "base/memory.h"
#include "base/progress.h"
#include "formats/checkpoint.h"
#include "formats/model_dir.h"
#include "formats/safetensors.h"

#include <string.h>

/* What became of each parameter. */
typedef enum fate { FATE_MISSING, FATE_OTHER_SHAPE, FATE_TAKEN } fate;

typedef struct taking {
    lh_model *model;
    fate *fates; /* of each parameter */
    lh_string unused;
    int unused_count;
} taking;

static bool fits(const lh_safetensors_tensor *there, const lh_tensor *here)
{
    return there->dtype == lh_safetensors_dtype_of(here->dtype) && there->ndim == here->ndim &&
           memcmp(there->shape, here->shape, sizeof(int64_t) * (size_t)here->ndim) == 0;
}

/* A checkpoint also holds what belongs to its run. */
static bool is_run_state(const char *name)
{
    static const char *const prefixes[] = {"optimizer.", "state.", "train.", "data."};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

static lh_status take_file(taking *t, const char *path, lh_error *error)
{
    const lh_parameters *list = &t->model->parameters;
    lh_safetensors *file;
    LH_TRY(lh_safetensors_open(&file, path, error));
    lh_status status = LH_OK;
    for (size_t i = 0; i < lh_safetensors_count(file) && status == LH_OK; i++) {
        const lh_safetensors_tensor *there = lh_safetensors_at(file, i);
        lh_parameter *p = lh_parameters_find(list, there->name);
        if (!p) {
            if (!is_run_state(there->name)) {
                lh_string_print(&t->unused, "%s%s", t->unused_count++ ? ", " : "", there->name);
            }
        } else if (fits(there, p->tensor)) {
            t->fates[p - list->items] = FATE_TAKEN;
            status = lh_tensor_write(p->tensor, there->data, error);
        } else {
            t->fates[p - list->items] = FATE_OTHER_SHAPE;
        }
    }
    lh_safetensors_close(file);
    return status;
}

static lh_status take_all(taking *t, const lh_model_dir *files, lh_error *error)
{
    for (size_t i = 0; i < files->weight_count; i++) {
        if (files->step >= 0) { /* verifies every byte */
            lh_checkpoint *checkpoint;
            LH_TRY(lh_checkpoint_open(&checkpoint, files->weights[i], error));
            lh_checkpoint_close(checkpoint);
        }
        LH_TRY(take_file(t, files->weights[i], error));
    }
    return LH_OK;
}

static void list_fate(const taking *t, fate wanted, const char *words, lh_string *report)
{
    const lh_parameters *list = &t->model->parameters;
    const char *before = words;
    for (int i = 0; i < list->count; i++) {
        if (t->fates[i] == wanted) {
            lh_string_print(report, "%s%s", before, list->items[i].name);
            before = ", ";
        }
    }
}

static void describe(const taking *t, const lh_model_dir *files, lh_string *report)
{
    const lh_parameters *list = &t->model->parameters;
    int64_t taken = 0;
    int count = 0;
    char some[40], all[40];
    for (int i = 0; i < list->count; i++) {
        taken += t->fates[i] == FATE_TAKEN ? lh_tensor_count(list->items[i].tensor) : 0;
        count += t->fates[i] == FATE_TAKEN;
    }
    lh_string_print(report, "starts from %s: %d of %d parameter tensors, %s of %s numbers", files->weights[0],
                    count, list->count, lh_format_count(some, sizeof some, (double)taken),
                    lh_format_count(all, sizeof all, (double)lh_parameters_elements(list)));
    list_fate(t, FATE_MISSING, "\nnot there, so they keep their own start: ", report);
    list_fate(t, FATE_OTHER_SHAPE, "\nof another shape or type there, so they keep their own start: ", report);
    if (t->unused_count) {
        lh_string_print(report, "\nthere, but not of this model: %s", t->unused.data);
    }
}

static lh_status take(taking *t, const lh_model_dir *files, lh_string *report, lh_error *error)
{
    t->fates = lh_heap_alloc(sizeof *t->fates * (size_t)(t->model->parameters.count + 1));
    if (!t->fates) {
        return lh_fail(error, LH_E_MEMORY, "no memory to start from %s", files->directory);
    }
    LH_TRY(take_all(t, files, error));
    bool some = false;
    for (int i = 0; i < t->model->parameters.count; i++) {
        some |= t->fates[i] == FATE_TAKEN;
    }
    if (!some) {
        return lh_fail(error, LH_E_FORMAT, "%s: no tensor has the name and shape of a parameter of this model",
                       files->weights[0]);
    }
    if (report) {
        describe(t, files, report);
    }
    return t->unused.failed || (report && report->failed)
               ? lh_fail(error, LH_E_MEMORY, "no memory to start from %s", files->directory)
               : LH_OK;
}

lh_status lh_initial_take(lh_model *model, const char *path, lh_string *report, lh_error *error)
{
    lh_model_dir files;
    taking t = {.model = model};
    LH_TRY(lh_model_dir_open(&files, path, NULL, error));
    lh_status status = take(&t, &files, report, error);
    lh_string_free(&t.unused);
    lh_heap_free(t.fates);
    lh_model_dir_close(&files);
    return status;
}

lh_status lh_initial_exists(const char *path, lh_error *error)
{
    lh_model_dir files;
    LH_TRY(lh_model_dir_open(&files, path, NULL, error));
    lh_model_dir_close(&files);
    return LH_OK;
}
