/* Checkpoints of a training. Parameters stand under their own names; everything else has a prefix:
 *   optimizer.    moments, number of updates, which parameters are awake
 *   state.<part>. memories of the lanes
 *   train.        counters, random state, gradients that wait for an update
 *   data.         the place in the text */
#include "base/memory.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 192

/* ---- writing ---- */

typedef struct snapshot {
    lh_checkpoint_writer *writer;
    lh_training *training;
    void **copies; /* host copies of tensors that live elsewhere */
    size_t copy_count, copy_capacity;
} snapshot;

static lh_status host_copy(snapshot *s, const lh_tensor *tensor, const void **data, lh_error *error)
{
    if (tensor->storage->backend == lh_backend_cpu()) {
        *data = lh_tensor_data(tensor);
        return LH_OK;
    }
    if (s->copy_count == s->copy_capacity) {
        size_t capacity = s->copy_capacity ? 2 * s->copy_capacity : 256;
        void **copies = lh_heap_realloc(s->copies, sizeof *copies * capacity);
        if (!copies) {
            return lh_fail(error, LH_E_MEMORY, "no memory for a checkpoint");
        }
        s->copies = copies;
        s->copy_capacity = capacity;
    }
    void *copy = lh_heap_alloc((size_t)lh_tensor_count(tensor) * lh_dtype_size(tensor->dtype));
    if (!copy) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a checkpoint");
    }
    s->copies[s->copy_count++] = copy;
    *data = copy;
    return lh_tensor_read(tensor, copy, error);
}

static lh_status add_tensor(snapshot *s, const char *name, const lh_tensor *tensor, lh_error *error)
{
    double sum = 0;
    int64_t bad = 0;
    if (tensor->dtype == LH_F32 || tensor->dtype == LH_F64) {
        lh_sum_squares_args args = {
            .n = lh_tensor_count(tensor), .x = lh_tensor_data(tensor), .sum = &sum, .nonfinite = &bad};
        lh_run(s->training->context, LH_KERNEL_SUM_SQUARES, tensor->dtype, &args);
    }
    LH_TRY(lh_context_status(s->training->context, error));
    if (bad > 0) {
        return lh_fail(
            error, LH_E_NUMERIC,
            "step %lld: '%s' has %lld of %lld values that are NaN or infinite, so no checkpoint is written",
            (long long)s->training->iteration, name, (long long)bad, (long long)lh_tensor_count(tensor));
    }
    lh_safetensors_tensor entry = {
        .name = name, .dtype = lh_safetensors_dtype_of(tensor->dtype), .ndim = tensor->ndim};
    memcpy(entry.shape, tensor->shape, sizeof(int64_t) * (size_t)tensor->ndim);
    LH_TRY(host_copy(s, tensor, &entry.data, error));
    return lh_checkpoint_add(s->writer, &entry, error);
}

static lh_status add_optimizer(snapshot *s, lh_error *error)
{
    const lh_optimizer *optimizer = s->training->optimizer;
    char state[LH_OPTIMIZER_NAME_SIZE], name[NAME_SIZE];
    lh_tensor *tensor;
    for (int i = 0; (tensor = lh_optimizer_state(optimizer, i, state)) != NULL; i++) {
        (void)snprintf(name, sizeof name, "optimizer.%s", state);
        LH_TRY(add_tensor(s, name, tensor, error));
    }
    int count = optimizer->parameters->count;
    unsigned char *awake = lh_heap_alloc((size_t)count);
    if (!awake) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a checkpoint");
    }
    for (int i = 0; i < count; i++) {
        awake[i] = optimizer->slots[i].awake;
    }
    lh_status status = lh_checkpoint_add_blob(s->writer, "optimizer.awake", awake, (size_t)count, error);
    lh_heap_free(awake);
    LH_TRY(status);
    return lh_checkpoint_add_integer(s->writer, "optimizer.updates", optimizer->updates, error);
}

static lh_status add_gradients(snapshot *s, lh_error *error)
{
    const lh_parameters *list = &s->training->model->parameters;
    char name[NAME_SIZE];
    for (int i = 0; s->training->pending > 0 && i < list->count; i++) {
        const lh_tensor *tensor = list->items[i].tensor;
        if (tensor->requires_grad && tensor->grad) {
            (void)snprintf(name, sizeof name, "train.gradient.%s", list->items[i].name);
            LH_TRY(add_tensor(s, name, tensor->grad, error));
        }
    }
    return LH_OK;
}

static lh_status add_memories(snapshot *s, lh_error *error)
{
    char name[NAME_SIZE];
    for (int64_t part = 0; part < s->training->config.accumulate; part++) {
        const lh_stream *stream = s->training->parts[part];
        for (int i = 0; i < stream->memory->state_count; i++) {
            const lh_state_tensor *state = &stream->memory->state[i];
            if (lh_state_saved(state->class, false)) {
                (void)snprintf(name, sizeof name, "state.%lld.%s", (long long)part, state->name);
                LH_TRY(add_tensor(s, name, state->stored, error));
            }
        }
        (void)snprintf(name, sizeof name, "state.%lld.segments", (long long)part);
        LH_TRY(lh_checkpoint_add_integer(s->writer, name, stream->memory->segments, error));
        (void)snprintf(name, sizeof name, "state.%lld.position", (long long)part);
        LH_TRY(lh_checkpoint_add_integer(s->writer, name, stream->position, error));
    }
    return LH_OK;
}

static lh_status add_stream(snapshot *s, lh_error *error)
{
    size_t size = lh_token_stream_state_size(s->training->tokens_in);
    void *blob = lh_heap_alloc(size);
    if (!blob) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a checkpoint");
    }
    lh_token_stream_save(s->training->tokens_in, blob);
    lh_status status = lh_checkpoint_add_blob(s->writer, "data.stream", blob, size, error);
    lh_heap_free(blob);
    return status;
}

static lh_status add_all(snapshot *s, const char *recipe_text, lh_error *error)
{
    lh_training *t = s->training;
    for (int i = 0; i < t->model->parameters.count; i++) {
        const lh_parameter *parameter = &t->model->parameters.items[i];
        LH_TRY(add_tensor(s, parameter->name, parameter->tensor, error));
    }
    LH_TRY(add_optimizer(s, error));
    LH_TRY(add_gradients(s, error));
    LH_TRY(add_memories(s, error));
    LH_TRY(add_stream(s, error));
    LH_TRY(lh_checkpoint_add_integer(s->writer, "train.iteration", t->iteration, error));
    LH_TRY(lh_checkpoint_add_integer(s->writer, "train.pending", t->pending, error));
    LH_TRY(lh_checkpoint_add_integer(s->writer, "train.tokens", t->tokens, error));
    LH_TRY(lh_checkpoint_add_real(s->writer, "train.seconds", t->seconds, error));
    uint64_t draws[2] = {t->context->seed, t->context->random_offset};
    LH_TRY(lh_checkpoint_add_blob(s->writer, "train.random", draws, sizeof draws, error));
    LH_TRY(lh_checkpoint_add_blob(s->writer, "train.interval", &t->interval, sizeof t->interval, error));
    LH_TRY(lh_checkpoint_add_blob(s->writer, "train.marks", &t->marks, sizeof t->marks, error));
    if (t->source_tokens > 0) {
        LH_TRY(lh_checkpoint_add_blob(s->writer, "train.pairs", t->pairs, sizeof t->pairs, error));
    }
    return lh_checkpoint_add_text(s->writer, "recipe", recipe_text, error);
}

lh_status lh_training_save(lh_training *training, const char *directory, const char *recipe_text, lh_error *error)
{
    snapshot s = {.training = training};
    lh_status status = lh_checkpoint_writer_create(&s.writer, error);
    if (status == LH_OK) {
        status = add_all(&s, recipe_text, error);
    }
    if (status == LH_OK) {
        status = lh_checkpoint_write(s.writer, directory, training->iteration, error);
    }
    lh_checkpoint_writer_free(s.writer);
    for (size_t i = 0; i < s.copy_count; i++) {
        lh_heap_free(s.copies[i]);
    }
    lh_heap_free(s.copies);
    return status;
}

/* ---- reading ---- */

static lh_status load_tensor(const lh_checkpoint *checkpoint, const char *name, lh_tensor *tensor, lh_error *error)
{
    const lh_safetensors_tensor *entry;
    LH_TRY(lh_safetensors_need(lh_checkpoint_file(checkpoint), name, &entry, error));
    bool same = entry->dtype == lh_safetensors_dtype_of(tensor->dtype) && entry->ndim == tensor->ndim;
    for (int i = 0; same && i < tensor->ndim; i++) {
        same = entry->shape[i] == tensor->shape[i];
    }
    if (!same) {
        char in_file[160], wanted[160];
        return lh_fail(error, LH_E_SHAPE, "the checkpoint's tensor '%s' is %s, but the recipe asks for %s", name,
                       lh_safetensors_describe(entry->dtype, entry->ndim, entry->shape, in_file, sizeof in_file),
                       lh_safetensors_describe(lh_safetensors_dtype_of(tensor->dtype), tensor->ndim, tensor->shape,
                                               wanted, sizeof wanted));
    }
    return lh_tensor_write(tensor, entry->data, error);
}

static lh_status load_optimizer(lh_training *t, const lh_checkpoint *checkpoint, lh_error *error)
{
    char state[LH_OPTIMIZER_NAME_SIZE], name[NAME_SIZE];
    lh_tensor *tensor;
    for (int i = 0; (tensor = lh_optimizer_state(t->optimizer, i, state)) != NULL; i++) {
        (void)snprintf(name, sizeof name, "optimizer.%s", state);
        LH_TRY(load_tensor(checkpoint, name, tensor, error));
    }
    const void *awake;
    size_t size;
    LH_TRY(lh_checkpoint_blob(checkpoint, "optimizer.awake", &awake, &size, error));
    if (size != (size_t)t->optimizer->parameters->count) {
        return lh_fail(error, LH_E_SHAPE, "the checkpoint is of a model with %zu parameter tensors instead of %d",
                       size, t->optimizer->parameters->count);
    }
    for (size_t i = 0; i < size; i++) {
        t->optimizer->slots[i].awake = ((const unsigned char *)awake)[i] != 0;
    }
    return lh_checkpoint_integer(checkpoint, "optimizer.updates", &t->optimizer->updates, error);
}

static lh_status load_gradients(lh_training *t, const lh_checkpoint *checkpoint, lh_error *error)
{
    const lh_parameters *list = &t->model->parameters;
    char name[NAME_SIZE];
    for (int i = 0; t->pending > 0 && i < list->count; i++) {
        lh_tensor *tensor = list->items[i].tensor;
        if (tensor->requires_grad && tensor->grad) {
            (void)snprintf(name, sizeof name, "train.gradient.%s", list->items[i].name);
            LH_TRY(load_tensor(checkpoint, name, tensor->grad, error));
        }
    }
    return LH_OK;
}

static lh_status load_memories(lh_training *t, const lh_checkpoint *checkpoint, lh_error *error)
{
    char name[NAME_SIZE];
    for (int64_t part = 0; part < t->config.accumulate; part++) {
        lh_stream *stream = t->parts[part];
        for (int i = 0; i < stream->memory->state_count; i++) {
            lh_state_tensor *state = &stream->memory->state[i];
            if (lh_state_saved(state->class, false)) {
                (void)snprintf(name, sizeof name, "state.%lld.%s", (long long)part, state->name);
                LH_TRY(load_tensor(checkpoint, name, state->stored, error));
            }
        }
        (void)snprintf(name, sizeof name, "state.%lld.segments", (long long)part);
        LH_TRY(lh_checkpoint_integer(checkpoint, name, &stream->memory->segments, error));
        (void)snprintf(name, sizeof name, "state.%lld.position", (long long)part);
        LH_TRY(lh_checkpoint_integer(checkpoint, name, &stream->position, error));
    }
    return LH_OK;
}

lh_status lh_training_restore(lh_training *training, const lh_checkpoint *checkpoint, lh_error *error)
{
    lh_training *t = training;
    for (int i = 0; i < t->model->parameters.count; i++) {
        const lh_parameter *parameter = &t->model->parameters.items[i];
        LH_TRY(load_tensor(checkpoint, parameter->name, parameter->tensor, error));
    }
    LH_TRY(lh_checkpoint_integer(checkpoint, "train.iteration", &t->iteration, error));
    LH_TRY(lh_checkpoint_integer(checkpoint, "train.pending", &t->pending, error));
    LH_TRY(lh_checkpoint_integer(checkpoint, "train.tokens", &t->tokens, error));
    LH_TRY(lh_checkpoint_real(checkpoint, "train.seconds", &t->seconds, error));
    uint64_t draws[2];
    LH_TRY(lh_checkpoint_load_blob(checkpoint, "train.random", draws, sizeof draws, error));
    t->context->seed = draws[0];
    t->context->random_offset = draws[1];
    LH_TRY(lh_checkpoint_load_blob(checkpoint, "train.interval", &t->interval, sizeof t->interval, error));
    LH_TRY(lh_checkpoint_load_blob(checkpoint, "train.marks", &t->marks, sizeof t->marks, error));
    if (t->source_tokens > 0) {
        LH_TRY(lh_checkpoint_load_blob(checkpoint, "train.pairs", t->pairs, sizeof t->pairs, error));
    }
    LH_TRY(load_optimizer(t, checkpoint, error));
    LH_TRY(load_gradients(t, checkpoint, error));
    LH_TRY(load_memories(t, checkpoint, error));
    const void *blob;
    size_t size;
    LH_TRY(lh_checkpoint_blob(checkpoint, "data.stream", &blob, &size, error));
    return lh_token_stream_restore(t->tokens_in, blob, size, error);
}
