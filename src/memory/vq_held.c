/* Random choices that a sequence keeps from its first token to its last, over all its segments and updates: whether
 * a sublayer is left out (for each lane, attention and MLP apart), and which entries of the sinusoid table are
 * dropped (for all lanes together, drawn when lane 0 begins a sequence). Zeroed state means that nothing has been
 * drawn yet. */
#include "kernels/table.h"
#include "memory/vq.h"

enum { DROPPED = 1, KEPT = 2 };
enum { LAYER, OFFSET_LOW, OFFSET_HIGH, HIDDEN };

static bool used(const lh_vq_options *o)
{
    return o->layer_dropout > 0.0 || o->sinusoid_dropout > 0.0;
}

/* Numbers held for a lane: the last one only where layers have an MLP. */
static int64_t width(const lh_vq_options *o)
{
    return o->feed_forward ? HIDDEN + 1 : HIDDEN;
}

lh_status lh_vq_held_create(lh_memory *memory, int layer, lh_error *error)
{
    int64_t shape[2] = {memory->batch, used(memory->shape->options) ? width(memory->shape->options) : 0};
    return lh_memory_add(memory, LH_STATE_CARRIED, LH_I32, 2, shape, error, "layers.%d.held", layer);
}

static int32_t draw_keep(const lh_context *context, uint64_t at, double rate)
{
    return lh_dropout_word(context->seed, at) >= lh_dropout_threshold(rate) ? KEPT : DROPPED;
}

/* i32 [batch, width] on the host, with what was missing drawn. NULL after an error. */
static int32_t *draw(lh_memory *memory, lh_context *context, int index)
{
    const lh_vq_options *o = memory->shape->options;
    int64_t batch = memory->batch, held_width = width(o), count = batch * held_width,
            shape[2] = {batch, held_width};
    double *wide = lh_arena_alloc(&context->arena, sizeof *wide * (size_t)count);
    int32_t *held = lh_arena_alloc(&context->arena, sizeof *held * (size_t)count);
    bool fresh = false;
    if (!wide || !held) {
        lh_op_fail(context, LH_E_MEMORY, "transformer-vq", "no memory for the draws of %lld lanes",
                   (long long)batch);
        return NULL;
    }
    lh_to_host(context, lh_memory_get(memory, index), wide);
    for (int64_t i = 0; i < count; i++) {
        held[i] = (int32_t)wide[i];
    }
    uint64_t at = context->random_offset, hidden = at + (uint64_t)batch;
    uint64_t mask = hidden + (o->feed_forward ? (uint64_t)batch : 0) + 1; /* never 0 */
    for (int64_t lane = 0; lane < batch; lane++) {
        int32_t *own = held + lane * held_width;
        if (own[LAYER] == 0) {
            own[LAYER] = draw_keep(context, at + (uint64_t)lane, o->layer_dropout);
            if (o->feed_forward) {
                own[HIDDEN] = draw_keep(context, hidden + (uint64_t)lane, o->layer_dropout);
            }
            own[OFFSET_LOW] = (int32_t)(mask & 0x7fffffff);
            own[OFFSET_HIGH] = (int32_t)(mask >> 31 & 0x7fffffff);
            fresh = true;
        }
    }
    if (fresh) {
        context->random_offset = mask + (uint64_t)((o->length + 1) * memory->shape->width);
        lh_memory_set(memory, context, index, lh_from_host(context, LH_I32, 2, shape, held));
    }
    return lh_op_stopped(context) ? NULL : held;
}

/* [batch, 1, 1]: what number `which` of the drawn makes of a sublayer. */
static lh_tensor *scale_of(const lh_memory *memory, lh_context *context, const int32_t *drawn, int which)
{
    const lh_vq_options *o = memory->shape->options;
    int64_t shape[3] = {memory->batch, 1, 1};
    double *scale = lh_arena_alloc(&context->arena, sizeof *scale * (size_t)memory->batch);
    if (!scale) {
        return lh_op_fail(context, LH_E_MEMORY, "transformer-vq", "no memory for the draws of %lld lanes",
                          (long long)memory->batch);
    }
    for (int64_t lane = 0; lane < memory->batch; lane++) {
        scale[lane] = drawn[lane * width(o) + which] == KEPT ? 1.0 / (1.0 - o->layer_dropout) : 0.0;
    }
    return lh_cast(context, lh_from_host(context, LH_F64, 3, shape, scale), memory->dtype);
}

bool lh_vq_held_get(lh_memory *memory, lh_context *context, int index, lh_vq_held *held)
{
    const lh_vq_options *o = memory->shape->options;
    *held = (lh_vq_held){0};
    if (!context->training || memory->inference || !used(o)) {
        return !lh_op_stopped(context);
    }
    int32_t *drawn = draw(memory, context, index);
    if (!drawn) {
        return false;
    }
    held->sinusoid_offset = (uint64_t)drawn[OFFSET_LOW] | (uint64_t)drawn[OFFSET_HIGH] << 31;
    if (o->layer_dropout > 0.0) {
        held->layer_scale = scale_of(memory, context, drawn, LAYER);
        held->hidden_scale = o->feed_forward ? scale_of(memory, context, drawn, HIDDEN) : NULL;
    }
    return !lh_op_stopped(context);
}

lh_tensor *lh_vq_drop_sinusoids(const lh_memory *memory, lh_context *context, const lh_vq_held *held,
                                lh_tensor *table)
{
    const lh_vq_options *o = memory->shape->options;
    uint64_t offset = context->random_offset;
    if (held->sinusoid_offset == 0) {
        return table;
    }
    context->random_offset = held->sinusoid_offset;
    lh_tensor *dropped = lh_dropout(context, table, o->sinusoid_dropout, 1);
    context->random_offset = offset;
    return dropped;
}
