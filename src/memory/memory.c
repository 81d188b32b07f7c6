#include "memory/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const lh_memory_kind *lh_memory_kind_find(const char *name)
{
    for (int i = 0; lh_memory_kinds[i]; i++) {
        if (strcmp(lh_memory_kinds[i]->name, name) == 0) {
            return lh_memory_kinds[i];
        }
    }
    return NULL;
}

lh_status lh_memory_create(lh_memory **memory, const lh_memory_options *options, lh_error *error)
{
    *memory = NULL;
    lh_memory *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the state of %lld streams", (long long)options->batch);
    }
    fresh->kind = options->kind;
    fresh->shape = options->shape;
    fresh->parameters = options->parameters;
    fresh->entry_parameters = options->entry_parameters;
    fresh->backend = options->backend;
    fresh->dtype = options->dtype;
    fresh->batch = options->batch;
    fresh->inference = options->inference;
    fresh->unroll = options->unroll > 0 ? options->unroll : 1;
    lh_status status = fresh->kind->create ? fresh->kind->create(fresh, error) : LH_OK;
    if (status != LH_OK) {
        lh_memory_free(fresh);
        return status;
    }
    *memory = fresh;
    return LH_OK;
}

void lh_memory_free(lh_memory *memory)
{
    if (memory) {
        for (int i = 0; i < memory->state_count; i++) {
            lh_tensor_free(memory->state[i].stored);
        }
        lh_heap_free(memory->state);
        lh_heap_free(memory);
    }
}

void lh_memory_layer(lh_memory *memory, int layer)
{
    memory->layer_first[layer] = memory->state_count;
}

int lh_memory_entry(const lh_memory *memory, int layer, int which)
{
    return memory->layer_first[layer] + which;
}

static lh_status add_entry(lh_memory *memory, lh_state_class class, lh_dtype dtype, int ndim, const int64_t *shape,
                           const char *name, va_list arguments, lh_error *error)
{
    if (memory->state_count == memory->state_capacity) {
        int capacity = memory->state_capacity ? 2 * memory->state_capacity : 16;
        lh_state_tensor *state = lh_heap_realloc(memory->state, sizeof *state * (size_t)capacity);
        if (!state) {
            return lh_fail(error, LH_E_MEMORY, "no memory for the list of state tensors");
        }
        memory->state = state;
        memory->state_capacity = capacity;
    }
    lh_state_tensor *entry = &memory->state[memory->state_count];
    memset(entry, 0, sizeof *entry);
    (void)vsnprintf(entry->name, sizeof entry->name, name, arguments);
    entry->class = class;
    LH_TRY(lh_tensor_create(&entry->stored, memory->backend, dtype, ndim, shape, NULL, error));
    memory->state_count++;
    return LH_OK;
}

lh_status lh_memory_add(lh_memory *memory, lh_state_class class, lh_dtype dtype, int ndim, const int64_t *shape,
                        lh_error *error, const char *name, ...)
{
    va_list arguments;
    va_start(arguments, name);
    lh_status status = add_entry(memory, class, dtype, ndim, shape, name, arguments, error);
    va_end(arguments);
    return status;
}

lh_status lh_memory_add_state(lh_memory *memory, int64_t rows, int64_t columns, lh_error *error, const char *name,
                              ...)
{
    int64_t shape[3] = {memory->batch, rows, columns};
    va_list arguments;
    va_start(arguments, name);
    lh_status status =
        add_entry(memory, LH_STATE_CARRIED, memory->dtype, columns > 0 ? 3 : 2, shape, name, arguments, error);
    va_end(arguments);
    return status;
}

lh_status lh_memory_add_derived(lh_memory *memory, int ndim, const int64_t *shape, lh_error *error,
                                const char *name, ...)
{
    va_list arguments;
    va_start(arguments, name);
    lh_status status = add_entry(memory, LH_STATE_DERIVED, memory->dtype, ndim, shape, name, arguments, error);
    va_end(arguments);
    return status;
}

bool lh_state_saved(lh_state_class class, bool session)
{
    return class == LH_STATE_CARRIED || class == LH_STATE_STORE || (session && class == LH_STATE_RUNNING);
}

lh_tensor *lh_memory_get(const lh_memory *memory, int index)
{
    const lh_state_tensor *entry = &memory->state[index];
    if (entry->class != LH_STATE_CARRIED) {
        return entry->live ? entry->live : entry->stored;
    }
    return entry->base ? entry->base : entry->stored;
}

void lh_memory_begin(lh_memory *memory)
{
    for (int i = 0; i < memory->state_count; i++) {
        lh_state_tensor *entry = &memory->state[i];
        entry->base = entry->live ? entry->live : entry->stored;
    }
    memset(memory->scratch, 0, sizeof memory->scratch);
    memory->passing = NULL;
}

lh_memory_seen *lh_memory_look(const lh_memory *memory, lh_context *context)
{
    size_t count = (size_t)memory->state_count + 1;
    lh_memory_seen *seen = lh_arena_alloc(&context->arena, sizeof *seen);
    lh_tensor **base = lh_arena_alloc(&context->arena, sizeof(lh_tensor *) * count);
    if (!seen || !base) {
        lh_op_fail(context, LH_E_MEMORY, "memory", "no memory to remember what a segment found");
        return NULL;
    }
    for (int i = 0; i < memory->state_count; i++) {
        base[i] = memory->state[i].base;
    }
    *seen = (lh_memory_seen){.base = base, .valid = memory->valid, .segments = memory->segments + 1};
    return seen;
}

void lh_memory_swap(lh_memory *memory, lh_memory_seen *seen)
{
    lh_memory_seen now = {.base = seen->base, .valid = memory->valid, .segments = memory->segments};
    memory->valid = seen->valid;
    memory->segments = seen->segments;
    for (int i = 0; i < memory->state_count; i++) {
        lh_tensor *base = memory->state[i].base;
        memory->state[i].base = seen->base[i];
        seen->base[i] = base;
    }
    *seen = now;
}

void lh_memory_set(lh_memory *memory, lh_context *context, int index, lh_tensor *value)
{
    if (lh_op_stopped(context) || !value || context->recomputing) {
        return;
    }
    lh_state_tensor *entry = &memory->state[index];
    if (memory->keep_graph) {
        /* The next segment of this step reads the tensor itself, and gradients return through it. */
        lh_pin(value);
        entry->live = value;
        return;
    }
    lh_tensor *detached = lh_alias(context, value);
    if (detached) {
        lh_pin(detached);
        if (entry->live && entry->live != entry->base) {
            lh_drop(context, entry->live);
        }
        entry->live = detached;
    }
}

void lh_memory_copy_values(lh_context *context, const lh_tensor *from, const lh_tensor *to)
{
    if (lh_op_stopped(context) || !from || !to) {
        return;
    }
    lh_copy_args copy = {
        .element_bytes = (int)lh_dtype_size(to->dtype), .x = lh_tensor_data(from), .y = lh_tensor_data(to)};
    int lead = LH_MAX_DIMS - to->ndim;
    for (int i = 0; i < LH_MAX_DIMS; i++) {
        copy.shape[i] = i < lead ? 1 : to->shape[i - lead];
        copy.x_stride[i] = i < lead ? 0 : from->stride[i - lead];
        copy.y_stride[i] = i < lead ? 0 : to->stride[i - lead];
    }
    lh_run(context, LH_KERNEL_COPY, to->dtype, &copy);
}

void lh_memory_commit(lh_memory *memory, lh_context *context)
{
    for (int i = 0; i < memory->state_count; i++) {
        lh_state_tensor *entry = &memory->state[i];
        if (entry->live) {
            if (!lh_op_stopped(context) && lh_tensor_same_shape(entry->live, entry->stored)) {
                lh_memory_copy_values(context, entry->live, entry->stored);
            }
            lh_drop(context, entry->live);
            entry->live = NULL;
        }
        entry->base = NULL;
    }
}

lh_tensor *lh_memory_extend(lh_memory *memory, lh_context *context, int index, int64_t fill, lh_tensor *rows)
{
    if (index < 0 || lh_op_stopped(context) || !rows) {
        return rows;
    }
    lh_tensor *stored = memory->state[index].stored;
    int64_t count = rows->shape[1];
    lh_memory_copy_values(context, rows, lh_slice(context, stored, 1, fill, count));
    return lh_slice(context, stored, 1, 0, fill + count);
}

void lh_memory_rollback(lh_memory *memory)
{
    for (int i = 0; i < memory->state_count; i++) {
        memory->state[i].live = memory->state[i].base = NULL;
    }
    memset(memory->derived_valid, 0, sizeof memory->derived_valid);
}

void lh_memory_reset(lh_memory *memory, lh_context *context, int64_t stream)
{
    for (int i = 0; i < memory->state_count; i++) {
        lh_tensor *stored = memory->state[i].stored;
        memory->state[i].live = memory->state[i].base = NULL;
        if (memory->state[i].class != LH_STATE_CARRIED) {
            continue;
        }
        int64_t lane = stored->shape[0] ? lh_tensor_count(stored) / stored->shape[0] : 0;
        int64_t first = stream < 0 ? 0 : stream * lane, count = stream < 0 ? lh_tensor_count(stored) : lane;
        if (count > 0) {
            lh_fill_args fill = {.n = count,
                                 .value = 0.0,
                                 .y =
                                     (char *)lh_tensor_data(stored) + (size_t)first * lh_dtype_size(stored->dtype)};
            /* Zero is zero: FILL knows no integers. */
            lh_run(context, LH_KERNEL_FILL, stored->dtype == LH_I32 ? LH_F32 : stored->dtype, &fill);
        }
    }
    memset(memory->derived_valid, 0, sizeof memory->derived_valid);
    if (stream < 0) {
        memory->segments = 0;
    }
}

lh_status lh_memory_copy(lh_memory *to, const lh_memory *from, lh_error *error)
{
    if (to->kind != from->kind || to->state_count != from->state_count || to->batch != from->batch) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "a memory of kind %s for %lld streams cannot take one of kind %s for %lld", to->kind->name,
                       (long long)to->batch, from->kind->name, (long long)from->batch);
    }
    for (int i = 0; i < to->state_count; i++) {
        lh_tensor *source = from->state[i].stored;
        size_t bytes = (size_t)lh_tensor_count(source) * lh_dtype_size(source->dtype);
        void *host = lh_heap_alloc(bytes);
        if (!host) {
            return lh_fail(error, LH_E_MEMORY, "no memory to copy state '%s'", from->state[i].name);
        }
        lh_status status = lh_tensor_read(source, host, error);
        if (status == LH_OK) {
            status = lh_tensor_write(to->state[i].stored, host, error);
        }
        lh_heap_free(host);
        LH_TRY(status);
        to->state[i].live = to->state[i].base = NULL;
    }
    memcpy(to->derived_valid, from->derived_valid, sizeof to->derived_valid);
    to->segments = from->segments;
    return LH_OK;
}

static int64_t lane_bytes(const lh_memory *memory, const lh_state_tensor *entry)
{
    int64_t count = memory->batch > 0 ? lh_tensor_count(entry->stored) / memory->batch : 0;
    return count * (int64_t)lh_dtype_size(entry->stored->dtype);
}

int64_t lh_memory_stream_bytes(const lh_memory *memory)
{
    int64_t bytes = 0;
    for (int i = 0; i < memory->state_count; i++) {
        bytes += lh_state_saved(memory->state[i].class, false) ? lane_bytes(memory, &memory->state[i]) : 0;
    }
    return bytes;
}

int64_t lh_memory_running_bytes(const lh_memory *memory)
{
    int64_t bytes = 0;
    for (int i = 0; i < memory->state_count; i++) {
        bytes += memory->state[i].class == LH_STATE_RUNNING ? lane_bytes(memory, &memory->state[i]) : 0;
    }
    return bytes;
}
