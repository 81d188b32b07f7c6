#include "memory/window.h"

#include "memory/fifo.h"
#include "memory/kinds.h"

#include <math.h>

static const lh_recipe_key keys[] = {
    {"memory", "window", LH_RECIPE_INTEGER, "512", 1, 1 << 24, NULL,
     "memory.kind=window,block-recurrent,memorizing",
     "W: each token sees the W tokens before it, also across segments"},
    {"memory", "strict", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, "memory.kind=window,block-recurrent,memorizing",
     "hide the empty part of the window at a document's start; false: it counts as zero keys and values, as "
     "published"},
    {0},
};

static const char *const adjustable[] = {"memory.strict", NULL};

lh_status lh_window_create(lh_memory *memory, const lh_window *window, int layer, lh_error *error)
{
    const lh_memory_shape *s = memory->shape;
    int64_t k[4] = {memory->batch, window->length, s->kv_heads, s->key_width};
    int64_t v[4] = {memory->batch, window->length, s->kv_heads, s->value_width};
    int64_t seen[2] = {memory->batch, 1};
    LH_TRY(lh_memory_add(memory, LH_STATE_CARRIED, memory->dtype, 4, k, error, "layers.%d.window.keys", layer));
    LH_TRY(lh_memory_add(memory, LH_STATE_CARRIED, memory->dtype, 4, v, error, "layers.%d.window.values", layer));
    return lh_memory_add(memory, LH_STATE_CARRIED, LH_I32, 2, seen, error, "layers.%d.window.seen", layer);
}

/* i32 [batch, 1] -> host. NULL after an error. */
static int32_t *read_seen(lh_memory *memory, lh_context *context, int index)
{
    double *wide = lh_arena_alloc(&context->arena, sizeof *wide * (size_t)memory->batch);
    int32_t *seen = lh_arena_alloc(&context->arena, sizeof *seen * (size_t)memory->batch);
    if (!wide || !seen) {
        lh_op_fail(context, LH_E_MEMORY, "window", "no memory for the fill of %lld windows",
                   (long long)memory->batch);
        return NULL;
    }
    lh_to_host(context, lh_memory_get(memory, index), wide);
    for (int64_t lane = 0; lane < memory->batch; lane++) {
        seen[lane] = (int32_t)wide[lane];
    }
    return lh_op_stopped(context) ? NULL : seen;
}

/* The first filled row of each lane's cache, for every query: i32 [batch, 1, queries]. */
static void hide_empty_rows(lh_memory *memory, lh_context *context, const lh_window *window, int index,
                            int64_t queries, lh_key_source *source)
{
    int32_t *seen = read_seen(memory, context, index);
    int64_t shape[3] = {memory->batch, 1, queries}, count = memory->batch * queries;
    int32_t *bounds = lh_arena_alloc(&context->arena, sizeof *bounds * (size_t)(2 * count));
    if (!seen || !bounds) {
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        bounds[i] = (int32_t)window->length - seen[i / queries];
        bounds[count + i] = (int32_t)window->length;
    }
    source->low = lh_from_host(context, LH_I32, 3, shape, bounds);
    source->high = lh_from_host(context, LH_I32, 3, shape, bounds + count);
}

lh_key_source lh_window_cache(lh_memory *memory, lh_layer_io *io, const lh_window *window, int which,
                              int64_t queries)
{
    lh_context *context = io->context;
    int first = lh_memory_entry(memory, io->layer, which);
    lh_tensor *k = lh_memory_get(memory, first + LH_WINDOW_KEYS),
              *v = lh_memory_get(memory, first + LH_WINDOW_VALUES);
    lh_key_source source = lh_key_source_all(lh_transpose(context, k, 1, 2), lh_transpose(context, v, 1, 2));
    if (window->strict) {
        hide_empty_rows(memory, context, window, first + LH_WINDOW_SEEN, queries, &source);
    }
    return source;
}

void lh_window_read(lh_memory *memory, lh_layer_io *io, const lh_window *window, int which)
{
    lh_key_source *source = &io->source[io->sources];
    io->source[0].max_distance = window->length;
    io->source_name[io->sources++] = "window";
    *source = lh_window_cache(memory, io, window, which, io->tokens);
    lh_layer_place(io, source, window->length);
    source->max_distance = window->length;
}

/* Rotary keys are kept as the next segment sees them: turned back by a segment's length. */
static lh_tensor *age_keys(lh_memory *memory, lh_layer_io *io, lh_tensor *k)
{
    lh_context *context = io->context;
    int64_t length = k ? k->shape[1] : 0;
    if (!io->rope || !k) {
        return k;
    }
    int32_t *position = lh_arena_alloc(&context->arena, sizeof *position * (size_t)(length ? length : 1));
    if (!position) {
        return lh_op_fail(context, LH_E_MEMORY, "window", "no memory for %lld positions", (long long)length);
    }
    for (int64_t i = 0; i < length; i++) {
        position[i] = -(int32_t)memory->shape->segment;
    }
    return lh_rope(context, k, lh_from_host(context, LH_I32, 1, &length, position), io->rope);
}

static void count_seen(lh_memory *memory, lh_layer_io *io, const lh_window *window, int index)
{
    lh_context *context = io->context;
    int32_t *seen = read_seen(memory, context, index);
    int64_t shape[2] = {memory->batch, 1};
    for (int64_t lane = 0; seen && lane < memory->batch; lane++) {
        int64_t now = seen[lane] + memory->shape->segment;
        seen[lane] = (int32_t)(now < window->length ? now : window->length);
    }
    if (seen) {
        lh_memory_set(memory, context, index, lh_from_host(context, LH_I32, 2, shape, seen));
    }
}

void lh_window_write(lh_memory *memory, lh_layer_io *io, const lh_window *window, int which)
{
    lh_context *context = io->context;
    if (!io->segment_ends || context->recomputing || lh_op_stopped(context)) {
        return;
    }
    int first = lh_memory_entry(memory, io->layer, which);
    lh_tensor *parts[2] = {io->k, io->v};
    for (int i = 0; i < 2; i++) {
        lh_tensor *fresh = lh_transpose(context, parts[i], 1, 2);
        lh_tensor *cache = lh_fifo_push(context, lh_memory_get(memory, first + i), fresh, window->length);
        lh_memory_set(memory, context, first + i, i == LH_WINDOW_KEYS ? age_keys(memory, io, cache) : cache);
    }
    count_seen(memory, io, window, first + LH_WINDOW_SEEN);
}

double lh_window_keys_seen(const lh_window *window)
{
    return (double)window->length;
}

/* ---- the kind ---- */

static lh_status configure(const lh_memory_shape *shape, void **options, lh_error *error)
{
    lh_window *window = lh_heap_alloc(sizeof *window);
    *options = window;
    if (!window) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the memory's configuration");
    }
    window->length = lh_recipe_integer(shape->recipe, "memory.window");
    window->strict = lh_recipe_boolean(shape->recipe, "memory.strict");
    return LH_OK;
}

static int64_t history(const lh_memory_shape *shape)
{
    return ((const lh_window *)shape->options)->length;
}

static double keys_seen(const lh_memory_shape *shape, int layer)
{
    (void)layer;
    return lh_window_keys_seen(shape->options);
}

static lh_status create(lh_memory *memory, lh_error *error)
{
    for (int layer = 0; layer < memory->shape->layers; layer++) {
        lh_memory_layer(memory, layer);
        LH_TRY(lh_window_create(memory, memory->shape->options, layer, error));
    }
    return LH_OK;
}

static void read(lh_memory *memory, lh_layer_io *io)
{
    lh_window_read(memory, io, memory->shape->options, 0);
}

static void write(lh_memory *memory, lh_layer_io *io)
{
    lh_window_write(memory, io, memory->shape->options, 0);
}

static const lh_recipe_preset presets[] = {
    {"window-small",
     "[model]\nlayers = 6\nwidth = 512\nheads = 8\nhidden = 2048\nsegment = 512\nlogit_scale = "
     "0.0441941738\n" LH_WINDOW_BLOCK "[memory]\nkind = window\nwindow = 512\n",
     "sliding window, 6 layers, width 512: the baseline of the Block-Recurrent Transformer"},
    {0},
};

const lh_memory_kind lh_memory_window = {
    .name = "window",
    .summary = "a sliding window over the keys and values before each token",
    .keys = keys,
    .compare = "[model]\n" LH_WINDOW_ATTENTION "[memory]\nwindow = {memory}\n",
    .presets = presets,
    .adjustable = adjustable,
    .configure = configure,
    .history = history,
    .keys_seen = keys_seen,
    .create = create,
    .read = read,
    .write = write,
};
