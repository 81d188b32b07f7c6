/* Block-Recurrent Transformer (Hutchins et al. 2022): a sliding-window model in which one layer, or a few, also
 * carry a block of state vectors. A segment of the stack is a block of W tokens. Its tokens read the state as the
 * block found it; when the block is complete the state reads itself and the tokens of this and the previous block,
 * and is updated through a gate (block_recurrent_cell.h).
 *
 * The whole stack runs block by block. Without feedback that is the same function as running each layer over the
 * whole training segment; with feedback every layer reads the state. Gradients flow from block to block through the
 * state and through the cached keys and values while the blocks are in one graph (train.unroll, memory.detach =
 * false). */
#include "memory/block_recurrent.h"
#include "memory/kinds.h"
#include "memory/window.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const adjustable[] = {"memory.strict", "memory.clear_every", NULL};

/* State of a layer: the window's entries; then, where there is a state, the state [batch, states, width], its age
 * in blocks (i32 [batch, 1]; 0: it starts), what the last block kept of it ([batch, gates, width], for reports),
 * and its keys and values, which stand still while a block is read. */
enum { STATE = LH_WINDOW_ENTRIES, AGE, KEPT, STATE_KEYS, STATE_VALUES };

static int64_t history(const lh_memory_shape *shape)
{
    return ((const lh_recurrence *)shape->options)->window.length;
}

/* A state carries on what it has taken in for as long as the text, unless it is cleared. */
static int64_t reach(const lh_memory_shape *shape)
{
    const lh_recurrence *o = shape->options;
    bool states = false;
    for (int layer = 0; layer < shape->layers; layer++) {
        states |= o->state[layer] >= 0;
    }
    int64_t cleared = o->clear_every * shape->segment;
    cleared = cleared > o->window.length ? cleared : o->window.length;
    return !states ? o->window.length : o->clear_every > 0 ? cleared : LH_DISTANCE_ANY;
}

/* Tokens see the window and the state; a block of states sees itself and two blocks of tokens. */
static double keys_seen(const lh_memory_shape *shape, int layer)
{
    const lh_recurrence *o = shape->options;
    double w = (double)o->window.length, s = (double)o->states, seen = lh_window_keys_seen(&o->window);
    seen += o->reads[layer] >= 0 ? s : 0.0;
    return seen + (o->state[layer] >= 0 ? s / w * (s + 2.0 * w) : 0.0);
}

/* ---- state ---- */

static int64_t gates(const lh_recurrence *o)
{
    return o->cell.form == LH_CELL_DUAL ? 2 : 1;
}

static lh_status create(lh_memory *memory, lh_error *error)
{
    const lh_memory_shape *s = memory->shape;
    const lh_recurrence *o = s->options;
    int64_t c[3] = {memory->batch, o->states, s->width}, age[2] = {memory->batch, 1};
    int64_t kept[3] = {memory->batch, gates(o), s->width};
    int64_t k[4] = {memory->batch, o->states, s->kv_heads, s->key_width};
    int64_t v[4] = {memory->batch, o->states, s->kv_heads, s->value_width};
    for (int layer = 0; layer < s->layers; layer++) {
        lh_memory_layer(memory, layer);
        LH_TRY(lh_window_create(memory, &o->window, layer, error));
        if (o->state[layer] < 0) {
            continue;
        }
        LH_TRY(lh_memory_add(memory, LH_STATE_CARRIED, memory->dtype, 3, c, error, "layers.%d.state", layer));
        LH_TRY(lh_memory_add(memory, LH_STATE_CARRIED, LH_I32, 2, age, error, "layers.%d.state.age", layer));
        LH_TRY(
            lh_memory_add(memory, LH_STATE_CARRIED, memory->dtype, 3, kept, error, "layers.%d.state.kept", layer));
        if (memory->inference) {
            LH_TRY(lh_memory_add_derived(memory, 4, k, error, "layers.%d.state.keys", layer));
            LH_TRY(lh_memory_add_derived(memory, 4, v, error, "layers.%d.state.values", layer));
        }
    }
    return LH_OK;
}

static lh_tensor **slot(lh_memory *memory, int state, int what)
{
    return &memory->scratch[state * SLOTS + what];
}

/* `value` is a result of this pass, which must outlive the layer that made it. */
static void share(lh_memory *memory, int state, int what, lh_tensor *value)
{
    if (value) {
        lh_pin(value);
        *slot(memory, state, what) = value;
    }
}

/* i32 [batch, 1] to the host. NULL after an error. */
static int32_t *read_ages(lh_memory *memory, lh_context *context, int layer)
{
    size_t batch = (size_t)memory->batch;
    double *wide = lh_arena_alloc(&context->arena, sizeof *wide * batch);
    int32_t *age = lh_arena_alloc(&context->arena, sizeof *age * batch);
    if (!wide || !age) {
        lh_op_fail(context, LH_E_MEMORY, "block-recurrent", "no memory for %zu lanes", batch);
        return NULL;
    }
    lh_to_host(context, lh_memory_get(memory, lh_memory_entry(memory, layer, AGE)), wide);
    for (size_t lane = 0; lane < batch; lane++) {
        age[lane] = (int32_t)wide[lane];
    }
    return lh_op_stopped(context) ? NULL : age;
}

/* The state that enters the block: `c`, or, where a document begins, the learned start, to which the gradient then
 * goes. */
static lh_tensor *incoming(lh_memory *memory, lh_context *context, int layer, lh_tensor *c)
{
    int32_t *age = read_ages(memory, context, layer), *starts = NULL;
    int64_t shape[3] = {memory->batch, 1, 1}, fresh = 0;
    if (age) {
        starts = lh_arena_alloc(&context->arena, 2 * sizeof *starts * (size_t)memory->batch);
    }
    for (int64_t lane = 0; starts && lane < memory->batch; lane++) {
        starts[lane] = age[lane] == 0;
        starts[memory->batch + lane] = age[lane] != 0;
        fresh += starts[lane];
    }
    if (!starts || fresh == 0) {
        return starts ? c : NULL;
    }
    lh_tensor *start = lh_cast(context, lh_from_host(context, LH_I32, 3, shape, starts), memory->dtype);
    lh_tensor *goes_on =
        lh_cast(context, lh_from_host(context, LH_I32, 3, shape, starts + memory->batch), memory->dtype);
    lh_tensor *begun = lh_multiply(context, memory->parameters[layer]->tensors[STATE_START], start);
    return fresh == memory->batch ? begun : lh_add(context, lh_multiply(context, c, goes_on), begun);
}

/* Fills the slots CURRENT and NORMED: the identities are added behind the norm, so that they never enter the gated
 * path. */
static void open_state(lh_memory *memory, lh_context *context, int state)
{
    const lh_recurrence *o = memory->shape->options;
    lh_tensor *const *p = memory->parameters[o->home[state]]->tensors;
    if (!*slot(memory, state, CURRENT)) {
        lh_tensor *held = lh_memory_get(memory, lh_memory_entry(memory, o->home[state], STATE));
        lh_tensor *c = incoming(memory, context, o->home[state], held);
        lh_tensor *normed = c ? lh_rms_norm(context, c, p[STATE_NORM], memory->shape->norm_eps) : NULL;
        if (c == held) {
            *slot(memory, state, CURRENT) = held; /* the memory's own: it lives long enough */
        } else {
            share(memory, state, CURRENT, c);
        }
        share(memory, state, NORMED, normed ? lh_add(context, normed, p[STATE_IDENTITY]) : NULL);
    }
}

/* [batch, rows, heads * width] -> [batch, rows, heads, width]. */
static lh_tensor *split(lh_context *context, lh_tensor *x, int64_t heads, int64_t width)
{
    return x ? lh_reshape(context, x, 4, (int64_t[]){x->shape[0], x->shape[1], heads, width}) : NULL;
}

/* [batch, heads, rows, width] -> [batch, rows, heads * width]. */
static lh_tensor *merge(lh_context *context, lh_tensor *x)
{
    return x ? lh_reshape(context, lh_transpose(context, x, 1, 2), 3,
                          (int64_t[]){x->shape[0], x->shape[2], x->shape[1] * x->shape[3]})
             : NULL;
}

static lh_tensor *queries(const lh_layer_io *io, const lh_memory_shape *s, lh_tensor *x, lh_tensor *weight)
{
    lh_tensor *q = split(io->context, lh_linear(io->context, x, weight, NULL), s->heads, s->key_width);
    return lh_transpose(io->context, lh_layer_norm_heads(io, q), 1, 2);
}

/* Fills the slots KEYS and VALUES [batch, kv_heads, states, .]: what tokens and states see of the incoming state.
 */
static void open_keys(lh_memory *memory, lh_layer_io *io, int state)
{
    const lh_memory_shape *s = memory->shape;
    const lh_recurrence *o = s->options;
    lh_context *context = io->context;
    int home = o->home[state];
    bool keep = memory->inference && !context->recording;
    if (*slot(memory, state, KEYS)) {
        return;
    }
    int kept = lh_memory_entry(memory, home, STATE_KEYS);
    if (!keep || !memory->derived_valid[home]) {
        open_state(memory, context, state);
        lh_tensor *weight = memory->parameters[home]->tensors[STATE_KEY_VALUE];
        lh_tensor *joint = lh_linear(context, *slot(memory, state, NORMED), weight, NULL);
        int64_t width = s->kv_heads * s->key_width;
        lh_tensor *k = split(context, lh_slice(context, joint, 2, 0, width), s->kv_heads, s->key_width);
        lh_tensor *v = split(context, lh_slice(context, joint, 2, width, s->kv_heads * s->value_width), s->kv_heads,
                             s->value_width);
        k = lh_layer_norm_heads(io, k);
        share(memory, state, KEYS, lh_transpose(context, k, 1, 2));
        share(memory, state, VALUES, lh_transpose(context, v, 1, 2));
        if (keep) {
            lh_memory_set(memory, context, kept, k);
            lh_memory_set(memory, context, kept + 1, v);
            memory->derived_valid[home] = !lh_op_stopped(context);
        }
        return;
    }
    share(memory, state, KEYS, lh_transpose(context, lh_memory_get(memory, kept), 1, 2));
    share(memory, state, VALUES, lh_transpose(context, lh_memory_get(memory, kept + 1), 1, 2));
}

/* ---- attention ---- */

/* The layer's own way of attending, with a factor per head of this attention's own; no positions, no dropout. */
static lh_tensor *attend_with(const lh_layer_io *io, lh_tensor *q, int count, const lh_key_source *sources,
                              lh_tensor *scale)
{
    lh_attention_options options = {.scale = io->head_gain ? 1.0 : 0.0,
                                    .head_scale = scale ? lh_unary(io->context, LH_ABS, scale) : NULL,
                                    .has_null = io->options.has_null,
                                    .null_logit = io->options.null_logit};
    return merge(io->context, lh_attention(io->context, q, count, sources, &options, NULL));
}

static void read(lh_memory *memory, lh_layer_io *io)
{
    const lh_recurrence *o = memory->shape->options;
    lh_window_read(memory, io, &o->window, 0);
}

static lh_key_source state_source(lh_memory *memory, lh_layer_io *io, int state)
{
    open_keys(memory, io, state);
    return lh_key_source_all(*slot(memory, state, KEYS), *slot(memory, state, VALUES));
}

/* Tokens attend to the window and, in an attention of its own, to the incoming state. */
static lh_tensor *attend(lh_memory *memory, lh_layer_io *io)
{
    const lh_recurrence *o = memory->shape->options;
    lh_context *context = io->context;
    int state = o->reads[io->layer];
    if (state >= 0) {
        lh_tensor *const *p = io->parameters->tensors;
        lh_key_source source = state_source(memory, io, state);
        lh_tensor *q = queries(io, memory->shape, io->input, p[QUERY]);
        lh_tensor *cross = lh_op_stopped(context) ? NULL : attend_with(io, q, 1, &source, p[QUERY_SCALE]);
        io->extra = lh_linear(context, cross, p[OUTPUT], NULL);
    }
    return lh_attention(context, io->q, io->sources, io->source, &io->options, &io->lse);
}

/* Keys [batch, heads, rows, width] without the turn of rotary positions; the first stands at `first`. */
static lh_tensor *unturned(lh_layer_io *io, lh_tensor *k, int64_t first)
{
    lh_context *context = io->context;
    if (!io->rope || lh_op_stopped(context)) {
        return k;
    }
    int64_t rows = k->shape[2];
    int32_t *position = lh_arena_alloc(&context->arena, sizeof *position * (size_t)(rows ? rows : 1));
    if (!position) {
        return lh_op_fail(context, LH_E_MEMORY, "block-recurrent", "no memory for %lld positions", (long long)rows);
    }
    for (int64_t i = 0; i < rows; i++) {
        position[i] = (int32_t) - (first + i);
    }
    lh_tensor *turned = lh_rope(context, lh_transpose(context, k, 1, 2),
                                lh_from_host(context, LH_I32, 1, &rows, position), io->rope);
    return lh_transpose(context, turned, 1, 2);
}

/* a = [state reads itself | state reads the tokens of the previous and of this block]. */
static lh_tensor *gather(lh_memory *memory, lh_layer_io *io, int state)
{
    const lh_memory_shape *s = memory->shape;
    const lh_recurrence *o = s->options;
    lh_tensor *const *p = io->parameters->tensors;
    lh_tensor *normed = *slot(memory, state, NORMED);
    lh_key_source itself = state_source(memory, io, state), tokens[2];
    tokens[0] = lh_window_cache(memory, io, &o->window, 0, o->states);
    tokens[0].k = unturned(io, tokens[0].k, -o->window.length);
    tokens[1] = lh_key_source_all(unturned(io, io->k, 0), io->v);
    lh_tensor *self_query = queries(io, s, normed, p[STATE_QUERY]);
    lh_tensor *token_query = queries(io, s, normed, p[TOKEN_QUERY]);
    if (lh_op_stopped(io->context)) {
        return NULL;
    }
    lh_tensor *parts[2] = {attend_with(io, self_query, 1, &itself, p[STATE_SCALE]),
                           attend_with(io, token_query, 2, tokens, p[TOKEN_SCALE])};
    return lh_op_stopped(io->context) ? NULL : lh_concat(io->context, 2, parts, 2);
}

/* ---- the end of a block ---- */

/* For reports: the means over states of the factors that the state was multiplied with, [batch, gates, width]. */
static void note_kept(lh_memory *memory, lh_context *context, int layer, lh_tensor *const *kept)
{
    int64_t count = gates(memory->shape->options), width = memory->shape->width, batch = memory->batch;
    lh_tensor *rows[2] = {NULL};
    bool recording = context->recording;
    context->recording = false;
    for (int i = 0; i < count && !lh_op_stopped(context); i++) {
        bool fixed = kept[i]->ndim == 1; /* the same for all lanes */
        lh_tensor *mean = fixed ? kept[i] : lh_mean_dim(context, kept[i], 1);
        rows[i] = lh_reshape(context, mean, 3, (int64_t[]){fixed ? 1 : batch, 1, width});
        rows[i] = fixed ? lh_expand(context, rows[i], 0, batch) : rows[i];
    }
    if (!lh_op_stopped(context)) {
        lh_memory_set(memory, context, lh_memory_entry(memory, layer, KEPT),
                      lh_concat(context, (int)count, rows, 1));
    }
    context->recording = recording;
}

static void grow_older(lh_memory *memory, lh_context *context, int layer)
{
    const lh_recurrence *o = memory->shape->options;
    int32_t *age = read_ages(memory, context, layer);
    int64_t shape[2] = {memory->batch, 1};
    for (int64_t lane = 0; age && lane < memory->batch; lane++) {
        int32_t next = age[lane] < INT32_MAX ? age[lane] + 1 : age[lane];
        age[lane] = o->clear_every > 0 && next >= o->clear_every ? 0 : next;
    }
    if (age) {
        lh_memory_set(memory, context, lh_memory_entry(memory, layer, AGE),
                      lh_from_host(context, LH_I32, 2, shape, age));
    }
}

static void write(lh_memory *memory, lh_layer_io *io)
{
    const lh_recurrence *o = memory->shape->options;
    lh_context *context = io->context;
    int state = o->state[io->layer];
    lh_window_write(memory, io, &o->window, 0);
    if (state < 0 || !io->segment_ends || lh_op_stopped(context)) {
        return;
    }
    lh_tensor *kept[2];
    open_state(memory, context, state);
    lh_tensor *a = gather(memory, io, state);
    lh_tensor *c =
        a ? lh_cell_step(context, &o->cell, &io->parameters->tensors[CELL], *slot(memory, state, CURRENT), a, kept)
          : NULL;
    if (c) {
        lh_memory_set(memory, context, lh_memory_entry(memory, io->layer, STATE), c);
        grow_older(memory, context, io->layer);
        memory->derived_valid[io->layer] = false;
        note_kept(memory, context, io->layer, kept);
    }
}

/* ---- reports ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* How much of the state a block leaves, channel by channel, and how large the state is. With 1/2 it is forgotten in
 * two blocks; what lasts for hundreds needs channels beyond 0.99. */
static void tell_layer(const lh_memory *memory, lh_context *context, int layer,
                       void (*tell)(void *user, const char *name, double value), void *user)
{
    static const struct {
        const char *name;
        double part;
    } quantiles[] = {{"kept_p05", 0.05}, {"kept_p50", 0.5}, {"kept_p95", 0.95}};
    const lh_tensor *kept = memory->state[lh_memory_entry(memory, layer, KEPT)].stored;
    const lh_tensor *c = memory->state[lh_memory_entry(memory, layer, STATE)].stored;
    int64_t width = memory->shape->width, count = lh_tensor_count(c), factors = kept->shape[1];
    double *rows = lh_arena_alloc(&context->arena, sizeof *rows * (size_t)width), above = 0, sum = 0;
    double *values = lh_arena_alloc(&context->arena, sizeof *values * (size_t)(lh_tensor_count(kept) + count));
    char name[64];
    if (!rows || !values) {
        return;
    }
    lh_to_host(context, kept, values);
    for (int64_t i = 0; i < width; i++) {
        rows[i] = 0;
        for (int64_t lane = 0; lane < memory->batch; lane++) {
            const double *first = values + lane * factors * width + i;
            rows[i] += first[0] * (factors > 1 ? first[width] : 1.0) / (double)memory->batch;
        }
        above += rows[i] > 0.99;
    }
    lh_to_host(context, c, values);
    for (int64_t i = 0; i < count; i++) {
        sum += values[i] * values[i];
    }
    qsort(rows, (size_t)width, sizeof *rows, compare);
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) {
        (void)snprintf(name, sizeof name, "layer%d/%s", layer, quantiles[i].name);
        tell(user, name, rows[(int64_t)(quantiles[i].part * (double)(width - 1) + 0.5)]);
    }
    (void)snprintf(name, sizeof name, "layer%d/kept_above_0.99", layer);
    tell(user, name, above / (double)width);
    (void)snprintf(name, sizeof name, "layer%d/state_rms", layer);
    tell(user, name, sqrt(sum / (double)count));
}

static void figures(const lh_memory *memory, lh_context *context,
                    void (*tell)(void *user, const char *name, double value), void *user)
{
    const lh_recurrence *o = memory->shape->options;
    for (int i = 0; i < o->count && memory->segments > 0 && !lh_op_stopped(context); i++) {
        tell_layer(memory, context, o->home[i], tell, user);
    }
}

const lh_memory_kind lh_memory_block_recurrent = {
    .name = "block-recurrent",
    .summary = "a sliding window, and in one layer a block of state vectors that is updated block by block",
    .keys = lh_block_recurrent_keys,
    .presets = lh_block_recurrent_presets,
    .adjustable = adjustable,
    /* A quarter of the lanes, since a step has four segments of each. */
    .compare = "[model]\n" LH_WINDOW_ATTENTION
               "[memory]\nwindow = {segment}\nstates = {memory/2}\nrecurrent_layers = -{layers/4}\ndetach = false\n"
               "[train]\nunroll = 4\n[data]\nbatch = {batch/4}\n",
    .whole_layers_only = true,
    .learns_across = true,
    .configure = lh_block_recurrent_configure,
    .parameters = lh_block_recurrent_parameters,
    .history = history,
    .reach = reach,
    .keys_seen = keys_seen,
    .create = create,
    .read = read,
    .attend = attend,
    .write = write,
    .figures = figures,
};
