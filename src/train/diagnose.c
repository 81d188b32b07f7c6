/* Which tensor broke first, when a loss is not finite. */
#include "train/trainer.h"

#include <stdio.h>

/* How many elements of a contiguous tensor are NaN or infinite. */
static int64_t broken_elements(lh_context *context, const lh_tensor *tensor)
{
    double sum = 0;
    int64_t bad = 0;
    if ((tensor->dtype != LH_F32 && tensor->dtype != LH_F64) || !lh_tensor_contiguous(tensor)) {
        return 0;
    }
    lh_sum_squares_args args = {
        .n = lh_tensor_count(tensor), .x = lh_tensor_data(tensor), .sum = &sum, .nonfinite = &bad};
    lh_run(context, LH_KERNEL_SUM_SQUARES, tensor->dtype, &args);
    return bad;
}

static bool report(lh_context *context, const lh_tensor *tensor, const char *what, const char *name, char *text,
                   size_t size)
{
    char shape[128];
    int64_t bad = broken_elements(context, tensor);
    if (bad == 0) {
        return false;
    }
    (void)snprintf(text, size,
                   "the first broken tensor is %s '%s' of shape %s: %lld of %lld values are NaN or infinite", what,
                   name, lh_shape_text(shape, sizeof shape, tensor->ndim, tensor->shape), (long long)bad,
                   (long long)lh_tensor_count(tensor));
    return true;
}

static bool broken_parameter(lh_training *t, char *text, size_t size)
{
    const lh_parameters *list = &t->model->parameters;
    for (int i = 0; i < list->count; i++) {
        if (report(t->context, list->items[i].tensor, "the parameter", list->items[i].name, text, size)) {
            return true;
        }
    }
    return false;
}

static bool broken_memory(lh_training *t, char *text, size_t size)
{
    for (int64_t part = 0; part < t->config.accumulate; part++) {
        const lh_memory *memory = t->parts[part]->memory;
        for (int i = 0; i < memory->state_count; i++) {
            if (report(t->context, memory->state[i].stored, "the memory", memory->state[i].name, text, size)) {
                return true;
            }
        }
    }
    return false;
}

/* The tape runs from the newest entry to the oldest: the last broken result found is the first that broke. */
static bool broken_result(lh_training *t, char *text, size_t size)
{
    bool found = false;
    int number = 0, entries = 0;
    for (const lh_node *node = t->context->tape; node; node = node->previous) {
        entries++;
    }
    for (const lh_node *node = t->context->tape; node; node = node->previous, number++) {
        for (int i = 0; i < node->outs; i++) {
            char name[96];
            (void)snprintf(name, sizeof name, "%s' (operation %d of %d), output '%d", node->op, entries - number,
                           entries, i);
            if (node->out[i] && node->out[i]->storage) {
                found |= report(t->context, node->out[i], "a result of", name, text, size);
            }
        }
    }
    return found;
}

bool lh_training_diagnose(lh_training *training, char *text, size_t size)
{
    training->context->error = (lh_error){0}; /* kernels refuse to run after an error */
    return broken_parameter(training, text, size) || broken_memory(training, text, size) ||
           broken_result(training, text, size);
}
