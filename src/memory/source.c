#include "memory/source.h"

#include <string.h>

enum { IDS, COUNT };

lh_status lh_source_create(lh_memory *memory, int64_t source, lh_error *error)
{
    int64_t ids[2] = {memory->batch, source}, count[2] = {memory->batch, 1};
    LH_TRY(lh_memory_add(memory, LH_STATE_CARRIED, LH_I32, 2, ids, error, "source.ids"));
    return lh_memory_add(memory, LH_STATE_CARRIED, LH_I32, 2, count, error, "source.count");
}

/* What an entry holds, on the host, in the context's arena. NULL after an error. */
static int32_t *fetch(const lh_memory *memory, lh_context *context, int entry)
{
    /* Between segments what was taken in last counts, within one what the segment found. */
    const lh_state_tensor *state = &memory->state[entry];
    const lh_tensor *tensor = state->base ? state->base : state->live ? state->live : state->stored;
    int64_t count = lh_tensor_count(tensor);
    double *wide = lh_arena_alloc(&context->arena, sizeof *wide * (size_t)count);
    int32_t *values = lh_arena_alloc(&context->arena, sizeof *values * (size_t)count);
    if (!wide || !values) {
        lh_op_fail(context, LH_E_MEMORY, memory->kind->name, "no memory for %lld tokens of sources",
                   (long long)count);
        return NULL;
    }
    lh_to_host(context, tensor, wide);
    for (int64_t i = 0; i < count; i++) {
        values[i] = (int32_t)wide[i];
    }
    return lh_op_stopped(context) ? NULL : values;
}

void lh_source_take(lh_memory *memory, lh_context *context, const int32_t *tokens, int64_t count)
{
    if (lh_op_stopped(context)) {
        return;
    }
    for (int i = IDS; i <= COUNT; i++) {
        memory->state[i].base = NULL; /* no segment runs */
    }
    int32_t *ids = fetch(memory, context, IDS), *held = fetch(memory, context, COUNT);
    int64_t capacity = memory->state[IDS].stored->shape[1];
    if (!ids || !held) {
        return;
    }
    for (int64_t lane = 0; lane < memory->batch; lane++) {
        for (int64_t i = 0; i < count && held[lane] < capacity; i++) {
            if (tokens[lane * count + i] >= 0) {
                ids[lane * capacity + held[lane]++] = tokens[lane * count + i];
            }
        }
    }
    lh_memory_set(memory, context, IDS, lh_from_host(context, LH_I32, 2, memory->state[IDS].stored->shape, ids));
    lh_memory_set(memory, context, COUNT,
                  lh_from_host(context, LH_I32, 2, memory->state[COUNT].stored->shape, held));
    memset(memory->derived_valid, 0, sizeof memory->derived_valid); /* the encoder's, and what layers made of it */
}

bool lh_source_look(lh_memory *memory, lh_context *context, lh_source *source)
{
    if (lh_op_stopped(context)) {
        return false;
    }
    int32_t *ids = fetch(memory, context, IDS), *count = fetch(memory, context, COUNT);
    int64_t batch = memory->batch, capacity = memory->state[IDS].stored->shape[1], longest = 1;
    if (!ids || !count) {
        return false;
    }
    for (int64_t lane = 0; lane < batch; lane++) {
        longest = count[lane] > longest ? count[lane] : longest;
    }
    uint8_t *valid = lh_arena_alloc(&context->arena, (size_t)(batch * longest));
    if (!valid) {
        lh_op_fail(context, LH_E_MEMORY, memory->kind->name, "no memory for sources of %lld tokens",
                   (long long)longest);
        return false;
    }
    for (int64_t lane = 0; lane < batch; lane++) { /* rows become shorter: in place, lane after lane */
        for (int64_t i = 0; i < longest; i++) {
            bool inside = i < count[lane];
            ids[lane * longest + i] = inside ? ids[lane * capacity + i] : -1;
            valid[lane * longest + i] = inside;
        }
    }
    *source = (lh_source){.tokens = longest, .ids = ids, .valid = valid, .count = count};
    return true;
}
