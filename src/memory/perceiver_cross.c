/* Perceiver AR's cross blocks: from embedded inputs to the first layer's input, and, behind chosen layers, once
 * more to what the latents have become (Hawthorne et al. 2022, section 3 and the released code).
 *
 *     zin = Wz e + bz                            the segment's own tokens
 *     z   = zin + attention(LN(zin), LN(e))      one softmax over all inputs that a token may see, its own included
 *     z   = z + MLP(LN(z)) */
#include "memory/perceiver.h"

#include <math.h>

/* What all cross blocks of a forward pass share: inputs, places, and who sees whom. In the arena. */
typedef struct pass {
    int64_t fill, count;    /* tokens of the segment before this call, and of this call */
    lh_perceiver_plan plan; /* training */
    lh_tensor *e;           /* embedded inputs: the plan's columns, or in inference this call's tokens */
    lh_tensor *place, *at;  /* of those, and of the queries, for rotary positions */
    int32_t *low, *high;    /* inference: [batch, count], which kept keys each token sees; NULL: all before it */
} pass;

typedef struct cross {
    lh_memory *memory;
    lh_entry_io *io; /* NULL between layers */
    lh_context *context;
    const lh_perceiver *p;
    lh_tensor *const *w;     /* parameters of this block */
    lh_tensor *const *entry; /* and those that there are once */
    int kept;                /* entry of the state that keeps this block's keys; its values follow */
    lh_perceiver_inputs inputs;
    pass *pass;
} cross;

static lh_tensor *norm(const cross *c, lh_tensor *x, int gain)
{
    lh_tensor *bias = c->w[gain + 1];
    if (!c->p->rms) {
        return lh_layer_norm(c->context, x, c->w[gain], bias, c->p->norm_eps);
    }
    lh_tensor *y = lh_rms_norm(c->context, x, c->w[gain], c->p->norm_eps);
    return bias ? lh_add(c->context, y, bias) : y;
}

static lh_tensor *project(const cross *c, lh_tensor *x, int weight)
{
    return lh_linear(c->context, x, c->w[weight], c->w[weight + 1]);
}

/* [batch, count, E] -> [batch, count, heads, E / heads] */
static lh_tensor *split_heads(const cross *c, lh_tensor *x)
{
    int64_t heads = c->p->heads;
    return x ? lh_reshape(c->context, x, 4, (int64_t[]){x->shape[0], x->shape[1], heads, c->p->embedding / heads})
             : NULL;
}

/* Places as a tensor for rotary positions: [count], or [batch, count] if lanes differ. */
static lh_tensor *places(const cross *c, const int32_t *place, int64_t count, bool same)
{
    int64_t shape[2] = {c->memory->batch, count};
    return lh_from_host(c->context, LH_I32, same ? 1 : 2, same ? &shape[1] : shape, place);
}

/* One row for each latent of a token: x [batch, count] with every number `copies` times. */
static int32_t *for_latents(const cross *c, const int32_t *x, int64_t count)
{
    int64_t copies = c->p->copies, cells = c->memory->batch * count * copies;
    int32_t *rows = lh_arena_alloc(&c->context->arena, sizeof *rows * (size_t)(cells ? cells : 1));
    if (!rows) {
        lh_op_fail(c->context, LH_E_MEMORY, "perceiver-ar", "no memory for %lld latents", (long long)cells);
        return NULL;
    }
    for (int64_t i = 0; i < cells; i++) {
        rows[i] = x[i / copies];
    }
    return rows;
}

static lh_tensor *turn(const cross *c, lh_tensor *x, lh_tensor *place)
{
    return c->p->rotary && c->p->rope.rotated > 0 ? lh_rope(c->context, x, place, &c->p->rope) : x;
}

/* ---- embeddings with their absolute positions ---- */

/* The rows of an image's tables for token t of a row that begins with a start token: column, row, channel. */
static bool image_rows(const lh_perceiver *p, int64_t t, int32_t rows[3])
{
    int64_t s = t - 1, w = p->image_width, h = p->image_height, n = p->image_channels;
    if (t == 0) {
        rows[0] = rows[1] = rows[2] = 1;
        return true;
    }
    rows[0] = (int32_t)((p->planar ? s % w : s / n % w) + 2);
    rows[1] = (int32_t)((p->planar ? s / w % h : s / (n * w)) + 2);
    rows[2] = (int32_t)((p->planar ? s / (w * h) : s % n) + 2);
    return t > 0 && s < w * h * n;
}

/* The rows of the tables for token t of a document; false if there are none. */
static bool table_rows(const lh_perceiver *p, int64_t t, int32_t rows[3])
{
    rows[0] = (int32_t)t + 1;
    return p->positions == LH_PERCEIVER_IMAGE ? image_rows(p, t, rows) : t >= 0 && t + 1 < p->rows;
}

/* A segment that a document does not fill ends in padding, which has no place in the tables. Training says which
 * tokens that is; evaluation may have filled a segment up whose beginning has a place. */
static bool is_padding(const cross *c, int64_t lane, int64_t place)
{
    const uint8_t *valid = c->memory->valid;
    int32_t rows[3];
    if (place < c->io->fill) {
        return false;
    }
    if (valid) {
        return !valid[lane * c->io->count + place - c->io->fill];
    }
    return c->memory->inference && c->io->count > 1 && table_rows(c->p, c->inputs.position[lane], rows);
}

/* e + the rows of the tables for the document's places, moved by `offset`; place counts from the segment's first
 * token. */
static lh_tensor *add_positions(const cross *c, lh_tensor *e, const int32_t *ids, const int32_t *place,
                                int64_t count, int64_t offset)
{
    const lh_perceiver *p = c->p;
    int64_t batch = c->memory->batch, cells = batch * count, shape[2] = {batch, count};
    int tables = p->positions == LH_PERCEIVER_IMAGE ? 3 : 1;
    if (p->positions == LH_PERCEIVER_NOTHING || !e) {
        return e;
    }
    int32_t *row = lh_arena_alloc(&c->context->arena, sizeof *row * (size_t)(tables * cells + 1));
    if (!row) {
        return lh_op_fail(c->context, LH_E_MEMORY, "perceiver-ar", "no memory for %lld positions",
                          (long long)cells);
    }
    for (int64_t i = 0; i < cells; i++) {
        int64_t t = (int64_t)c->inputs.position[i / count] + place[i] + offset;
        int32_t rows[3];
        bool inside = ids[i] >= 0 && table_rows(p, t, rows);
        for (int k = 0; k < tables; k++) {
            row[k * cells + i] = inside ? rows[k] : -1;
        }
        if (ids[i] >= 0 && !inside && !is_padding(c, i / count, place[i])) {
            return lh_op_fail(
                c->context, LH_E_ARGUMENT, "perceiver-ar",
                "token %lld of a document is beyond the table of positions, which ends at %lld "
                "(memory.position_rows)",
                (long long)t + 1,
                (long long)(tables == 3 ? p->image_width * p->image_height * p->image_channels + 1 : p->rows - 1));
        }
    }
    for (int k = 0; k < tables; k++) {
        lh_tensor *index = lh_from_host(c->context, LH_I32, 2, shape, row + k * cells);
        e = lh_add(c->context, e, lh_embedding(c->context, c->entry[LH_PERCEIVER_TABLE + k], index, 1.0));
    }
    return e;
}

static lh_tensor *embed(const cross *c, const int32_t *ids, const int32_t *place, int64_t count)
{
    lh_tensor *e = c->io->embed(c->context, c->io->model, ids, c->memory->batch, count);
    return add_positions(c, e, ids, place, count, 0);
}

/* first, first + 1, .. in each lane. */
static int32_t *count_up(const cross *c, int64_t first, int64_t count)
{
    int64_t cells = c->memory->batch * count;
    int32_t *place = lh_arena_alloc(&c->context->arena, sizeof *place * (size_t)(cells ? cells : 1));
    if (!place) {
        lh_op_fail(c->context, LH_E_MEMORY, "perceiver-ar", "no memory for %lld positions", (long long)cells);
        return NULL;
    }
    for (int64_t i = 0; i < cells; i++) {
        place[i] = (int32_t)(first + i % count);
    }
    return place;
}

/* Keys and values of embedded inputs [batch, count, E], each [batch, count, heads, E / heads]. */
static void keys_of(const cross *c, lh_tensor *e, lh_tensor *place, lh_tensor **k, lh_tensor **v)
{
    lh_tensor *source = norm(c, e, LH_PERCEIVER_INPUT_GAIN);
    *k = turn(c, split_heads(c, project(c, source, LH_PERCEIVER_KEY)), place);
    *v = split_heads(c, project(c, source, LH_PERCEIVER_VALUE));
}

/* ---- the block ---- */

static lh_tensor *feed_forward(const cross *c, lh_tensor *x)
{
    const lh_perceiver *p = c->p;
    lh_tensor *bias = c->w[LH_PERCEIVER_UP_BIAS], *down = c->w[LH_PERCEIVER_DOWN];
    lh_tensor *h = lh_linear(c->context, x, c->w[LH_PERCEIVER_UP], NULL);
    if (!p->gated) {
        return lh_activation_linear(c->context, h, bias, p->activation, down, c->w[LH_PERCEIVER_DOWN_BIAS]);
    }
    h = bias ? lh_bias_activation(c->context, h, bias, LH_IDENTITY) : h;
    return lh_linear(c->context, lh_gated(c->context, h, p->activation), down, c->w[LH_PERCEIVER_DOWN_BIAS]);
}

/* A latent that sees no key is left as it was, whatever the output's bias is. */
static lh_tensor *leave_blind(const cross *c, lh_tensor *x, const double *sees)
{
    int64_t copies = c->p->copies, shape[4] = {c->memory->batch, c->pass->count, 1, 1};
    lh_tensor *mask = sees ? lh_from_host(c->context, LH_F64, 4, shape, sees) : NULL;
    if (!mask || !x) {
        return x;
    }
    mask = lh_cast(c->context, mask, c->memory->dtype);
    x = lh_reshape(c->context, x, 4, (int64_t[]){shape[0], shape[1], copies, c->p->width});
    return lh_reshape(c->context, lh_multiply(c->context, x, mask), 3,
                      (int64_t[]){shape[0], shape[1] * copies, c->p->width});
}

static void limit(const cross *c, lh_key_source *source, const int32_t *low, const int32_t *high)
{
    int64_t count = c->pass->count, shape[3] = {c->memory->batch, 1, count * c->p->copies};
    source->low = lh_from_host(c->context, LH_I32, 3, shape, for_latents(c, low, count));
    source->high = lh_from_host(c->context, LH_I32, 3, shape, for_latents(c, high, count));
}

/* Keys of which a token's latents see those up to the token's own, the last of them being the last token's. */
static lh_key_source up_to_own(const cross *c, lh_tensor *k, lh_tensor *v)
{
    return c->p->copies == 1 ? lh_key_source_causal(k, v, c->pass->count) : lh_key_source_all(k, v);
}

/* Training: all keys are in the graph. */
static int planned_sources(const cross *c, lh_tensor *k, lh_tensor *v, lh_key_source source[2])
{
    lh_context *context = c->context;
    const lh_perceiver_plan *plan = &c->pass->plan;
    k = lh_transpose(context, k, 1, 2);
    v = lh_transpose(context, v, 1, 2);
    if (plan->segment >= 0) {
        source[0] = up_to_own(c, k, v);
    } else {
        source[0] =
            lh_key_source_all(lh_slice(context, k, 2, 0, plan->keys), lh_slice(context, v, 2, 0, plan->keys));
    }
    if (plan->low) {
        limit(c, &source[0], plan->low, plan->high);
    }
    if (plan->own == 0) {
        return 1;
    }
    source[1] = lh_key_source_all(lh_slice(context, k, 2, plan->keys, plan->own),
                                  lh_slice(context, v, 2, plan->keys, plan->own));
    limit(c, &source[1], plan->own_low, plan->own_high);
    return 2;
}

/* Inference: this call's keys join those that are kept. */
static int kept_sources(const cross *c, lh_tensor *k, lh_tensor *v, lh_key_source source[1])
{
    lh_context *context = c->context;
    int64_t behind = c->p->prefix + c->pass->fill;
    k = lh_memory_extend(c->memory, context, c->kept, behind, k);
    v = lh_memory_extend(c->memory, context, c->kept + 1, behind, v);
    if (lh_op_stopped(context)) {
        return 0;
    }
    source[0] = up_to_own(c, lh_transpose(context, k, 1, 2), lh_transpose(context, v, 1, 2));
    if (c->pass->low) {
        limit(c, &source[0], c->pass->low, c->pass->high);
    }
    return 1;
}

/* A cross block on latents z [batch, count copies, d]. */
static lh_tensor *block(const cross *c, lh_tensor *z)
{
    lh_context *context = c->context;
    const lh_perceiver *p = c->p;
    lh_key_source source[2];
    lh_tensor *k, *v, *sum;
    lh_tensor *q = split_heads(c, project(c, norm(c, z, LH_PERCEIVER_QUERY_GAIN), LH_PERCEIVER_QUERY));
    keys_of(c, c->pass->e, c->pass->place, &k, &v);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    int sources = c->memory->inference ? kept_sources(c, k, v, source) : planned_sources(c, k, v, source);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_attention_options options = {.dropout = p->attention_dropout};
    q = lh_transpose(context, turn(c, q, c->pass->at), 1, 2);
    lh_tensor *out = lh_attention(context, q, sources, source, &options, NULL);
    out = lh_reshape(context, lh_transpose(context, out, 1, 2), 3,
                     (int64_t[]){c->memory->batch, c->pass->count * p->copies, p->embedding});
    out = leave_blind(c, project(c, out, LH_PERCEIVER_OUTPUT), c->memory->inference ? NULL : c->pass->plan.sees);
    out = lh_dropout(context, out, p->output_dropout, 1);
    lh_tensor *gain = c->w[LH_PERCEIVER_HIDDEN_GAIN], *bias = c->w[LH_PERCEIVER_HIDDEN_NORM_BIAS];
    lh_tensor *x = lh_residual_norm(context, z, out, gain, p->rms ? NULL : bias, p->norm_eps, p->rms, &sum);
    x = p->rms && bias ? lh_add(context, x, bias) : x;
    return lh_add(context, sum, lh_dropout(context, feed_forward(c, x), p->hidden_dropout, 1));
}

/* ---- latents before the first block ---- */

/* Learned vectors in place of the segment's embeddings: [batch, count, E]. */
static lh_tensor *learned_queries(const cross *c)
{
    int64_t count = c->pass->count, cells = c->memory->batch * count, shape[2] = {c->memory->batch, count};
    int32_t *row = count_up(c, c->pass->fill, count);
    for (int64_t i = 0; row && i < cells; i++) {
        row[i] = c->p->queries == LH_PERCEIVER_QUERIES_SHARED ? 0 : row[i];
    }
    return row ? lh_embedding(c->context, c->entry[LH_PERCEIVER_QUERY_TABLE],
                              lh_from_host(c->context, LH_I32, 2, shape, row), 1.0)
               : NULL;
}

/* What queries are made of, with its positions: [batch, count, E]. `own`: the tokens' embeddings where they are
 * made already, or NULL. */
static lh_tensor *query_inputs(const cross *c, const int32_t *place, lh_tensor *own)
{
    const lh_perceiver *p = c->p;
    int64_t count = c->pass->count;
    bool tokens = p->queries == LH_PERCEIVER_QUERIES_TOKENS;
    if (tokens && own && (p->offset == 0 || p->positions == LH_PERCEIVER_NOTHING)) {
        return own;
    }
    lh_tensor *e = tokens ? c->io->embed(c->context, c->io->model, c->io->tokens, c->memory->batch, count)
                          : learned_queries(c);
    return add_positions(c, e, c->io->tokens, place, count, p->offset);
}

/* zin [batch, count copies, d] of query inputs [batch, count, E]. */
static lh_tensor *latents_of(const cross *c, lh_tensor *e)
{
    const lh_perceiver *p = c->p;
    int64_t batch = c->memory->batch, count = c->pass->count;
    lh_tensor *z = project(c, e, LH_PERCEIVER_LATENT);
    if (p->copies == 1) {
        return z;
    }
    z = lh_expand(c->context, lh_reshape(c->context, z, 4, (int64_t[]){batch, count, 1, p->width}), 2, p->copies);
    z = lh_add(c->context, z, c->entry[LH_PERCEIVER_COPY_TABLE]);
    return lh_reshape(c->context, z, 3, (int64_t[]){batch, count * p->copies, p->width});
}

/* Places of the queries. */
static lh_tensor *query_places(const cross *c, const int32_t *place, bool same)
{
    int64_t count = c->pass->count;
    int32_t *rows = for_latents(c, place, count);
    for (int64_t i = 0; rows && i < c->memory->batch * count * c->p->copies; i++) {
        rows[i] += (int32_t)c->p->offset;
    }
    return rows ? places(c, rows, count * c->p->copies, same) : NULL;
}

/* ---- training: a whole segment, and all keys in the graph ---- */

static lh_tensor *enter_whole(const cross *c)
{
    lh_context *context = c->context;
    int64_t n = c->p->latents;
    lh_perceiver_plan *plan = &c->pass->plan;
    if (!lh_perceiver_make_plan(c->memory, context, &c->inputs, c->io->tokens, plan)) {
        return NULL;
    }
    int64_t columns = plan->keys + plan->own;
    int32_t *own_place = count_up(c, 0, n);
    c->pass->e = embed(c, plan->ids, plan->place, columns);
    c->pass->place = places(c, plan->place, columns, plan->same_places);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    c->pass->at = query_places(c, own_place, true);
    lh_tensor *own = plan->segment >= 0 ? lh_slice(context, c->pass->e, 1, plan->segment, n) : NULL;
    lh_tensor *queries = query_inputs(c, own_place, own);
    return block(c, latents_of(c, queries));
}

/* ---- inference: keys and values are kept ---- */

#define PREFIX_PIECE 2048 /* inputs whose keys are made at once */

static int64_t seen_before(const cross *c, int64_t lane)
{
    return c->inputs.count[lane] < c->p->prefix ? c->inputs.count[lane] : c->p->prefix;
}

/* Places in the document of inputs first .. first+count-1, counted from the segment's first token. */
static lh_tensor *document_places(const cross *c, int64_t first, int64_t count)
{
    int32_t *place = count_up(c, first, count);
    for (int64_t i = 0; place && i < c->memory->batch * count; i++) {
        place[i] += c->inputs.position[i / count];
    }
    return place ? places(c, place, count, false) : NULL;
}

/* This block: 0 the first, or the next behind a layer. */
static cross block_number(const cross *c, int number)
{
    cross other = *c;
    other.kept = number == 0 ? LH_PERCEIVER_KEYS : LH_PERCEIVER_EXTRA + 2 * (number - 1);
    other.w = c->entry;
    for (int layer = 0; number > 0; layer++) {
        number -= c->p->after[layer];
        other.w = c->memory->parameters[layer]->tensors;
    }
    return other;
}

/* Makes the keys of all lanes' prefixes from their ids, for all blocks. */
static void make_prefix(const cross *c, int64_t longest)
{
    lh_context *context = c->context;
    int64_t prefix = c->p->prefix, batch = c->memory->batch;
    for (int64_t at = prefix - longest; at < prefix && !lh_op_stopped(context); at += PREFIX_PIECE) {
        int64_t count = prefix - at < PREFIX_PIECE ? prefix - at : PREFIX_PIECE;
        lh_scope scope = lh_scope_begin(context);
        lh_tensor *made[2];
        int32_t *place = count_up(c, at - prefix, count);
        int32_t *ids = count_up(c, 0, count);
        for (int64_t i = 0; ids && i < batch * count; i++) {
            int64_t lane = i / count, slot = at + i % count;
            const int32_t *queue = c->inputs.tokens + (lane + 1) * c->inputs.capacity - prefix;
            ids[i] = slot < prefix - seen_before(c, lane) ? -1 : queue[slot];
        }
        if (ids && place) {
            lh_tensor *e = embed(c, ids, place, count), *turned = document_places(c, at - prefix, count);
            for (int number = 0; number <= c->p->extras && !lh_op_stopped(context); number++) {
                cross own = block_number(c, number);
                keys_of(&own, e, turned, &made[0], &made[1]);
                for (int i = 0; i < 2; i++) {
                    lh_tensor *stored = c->memory->state[own.kept + i].stored;
                    lh_memory_copy_values(context, made[i], lh_slice(context, stored, 1, at, count));
                }
            }
        }
        lh_scope_end(context, scope, 0, NULL);
    }
}

/* A lane's rows move up: what was the segment becomes part of the prefix. */
static void move_rows(const cross *c, int64_t lane, int64_t by)
{
    lh_context *context = c->context;
    int64_t prefix = c->p->prefix;
    for (int n = 0; n < 2 * (1 + c->p->extras) && prefix > 0; n++) {
        int i = n < 2 ? LH_PERCEIVER_KEYS + n : LH_PERCEIVER_EXTRA + n - 2;
        lh_scope scope = lh_scope_begin(context);
        lh_tensor *row = lh_slice(context, c->memory->state[i].stored, 0, lane, 1);
        lh_tensor *copy = lh_new(context, c->memory->dtype, 4,
                                 (int64_t[]){1, prefix, c->p->heads, c->p->embedding / c->p->heads}, false);
        lh_memory_copy_values(context, lh_slice(context, row, 1, by, prefix), copy);
        lh_memory_copy_values(context, copy, lh_slice(context, row, 1, 0, prefix));
        lh_scope_end(context, scope, 0, NULL);
    }
}

/* Brings the kept keys to where the segment begins. */
static void arrange(const cross *c)
{
    int64_t batch = c->memory->batch, longest = 0, shape[2] = {batch, 1};
    lh_tensor *stored = c->memory->state[LH_PERCEIVER_ARRANGED].stored;
    double *arranged = lh_arena_alloc(&c->context->arena, sizeof *arranged * (size_t)batch);
    bool known = arranged != NULL;
    if (!arranged) {
        lh_op_fail(c->context, LH_E_MEMORY, "perceiver-ar", "no memory for %lld lanes", (long long)batch);
        return;
    }
    lh_to_host(c->context, stored, arranged);
    for (int64_t lane = 0; lane < batch; lane++) {
        int64_t by = c->inputs.position[lane] - (int64_t)arranged[lane], seen = seen_before(c, lane);
        longest = seen > longest ? seen : longest;
        known = known && (seen == 0 || (arranged[lane] >= 0 && by >= 0 && by <= c->p->latents));
    }
    for (int64_t lane = 0; lane < batch && known; lane++) {
        int64_t by = c->inputs.position[lane] - (int64_t)arranged[lane];
        if (by > 0 && seen_before(c, lane) > 0) {
            move_rows(c, lane, by);
        }
    }
    if (!known) {
        make_prefix(c, longest);
    }
    lh_memory_copy_values(c->context, lh_from_host(c->context, LH_I32, 2, shape, c->inputs.position), stored);
}

static lh_tensor *enter_piece(const cross *c)
{
    pass *own = c->pass;
    int64_t prefix = c->p->prefix, fill = own->fill, count = own->count, batch = c->memory->batch;
    int32_t *place = count_up(c, fill, count), *document = count_up(c, fill, count);
    bool bounded = c->p->copies > 1;
    own->low = count_up(c, 0, count);
    own->high = count_up(c, 0, count);
    if (fill == 0) {
        arrange(c);
    }
    if (lh_op_stopped(c->context)) {
        return NULL;
    }
    own->e = embed(c, c->io->tokens, place, count);
    own->place = document_places(c, fill, count);
    for (int64_t i = 0; i < batch * count; i++) {
        document[i] += c->inputs.position[i / count];
        own->low[i] = (int32_t)(prefix - seen_before(c, i / count));
        own->high[i] = (int32_t)(prefix + fill + i % count + 1);
        bounded = bounded || own->low[i] > 0;
    }
    own->low = bounded ? own->low : NULL;
    own->at = query_places(c, document, false);
    return block(c, latents_of(c, query_inputs(c, place, own->e)));
}

/* ---- the segment becomes what is remembered ---- */

static void take_segment(const cross *c)
{
    lh_context *context = c->context;
    lh_memory *memory = c->memory;
    int64_t n = c->p->latents, batch = memory->batch, shape[2] = {batch, c->io->count};
    const int32_t *whole = c->io->tokens;
    if (memory->inference && c->io->count < n) {
        lh_tensor *piece = lh_from_host(context, LH_I32, 2, shape, c->io->tokens);
        lh_tensor *all = lh_memory_extend(memory, context, LH_PERCEIVER_SEGMENT, c->io->fill, piece);
        double *wide = lh_arena_alloc(&context->arena, sizeof *wide * (size_t)(batch * n));
        int32_t *ids = count_up(c, 0, n);
        if (!all || !wide || !ids || c->io->fill + c->io->count < n) {
            return;
        }
        lh_to_host(context, all, wide);
        for (int64_t i = 0; i < batch * n; i++) {
            ids[i] = (int32_t)wide[i];
        }
        whole = ids;
    }
    lh_perceiver_push(memory, context, &c->inputs, whole, n);
}

/* The other blocks find what enter leaves here. */
static void keep_for_others(const cross *c)
{
    lh_tensor *kept[3] = {c->pass->e, c->pass->place, c->pass->at};
    for (int i = 0; i < 3 && c->p->extras > 0 && !lh_op_stopped(c->context); i++) {
        lh_pin(kept[i]);
    }
    c->memory->passing = c->pass;
}

lh_tensor *lh_perceiver_enter(lh_memory *memory, lh_entry_io *io)
{
    lh_context *context = io->context;
    lh_tensor *const *entry = memory->entry_parameters->tensors;
    cross c = {.memory = memory,
               .io = io,
               .context = context,
               .p = memory->shape->options,
               .w = entry,
               .entry = entry,
               .kept = LH_PERCEIVER_KEYS,
               .pass = lh_arena_alloc(&context->arena, sizeof(pass))};
    if (lh_op_stopped(context) || !lh_perceiver_look(memory, context, &c.inputs)) {
        return NULL;
    }
    if (!c.pass) {
        return lh_op_fail(context, LH_E_MEMORY, "perceiver-ar", "no memory for a segment");
    }
    *c.pass = (pass){.fill = io->fill, .count = io->count};
    lh_scope scope = lh_scope_begin(context);
    lh_tensor *x = memory->inference ? enter_piece(&c) : enter_whole(&c);
    keep_for_others(&c);
    lh_scope_end(context, scope, x ? 1 : 0, &x);
    if (!lh_op_stopped(context)) {
        take_segment(&c);
    }
    return x;
}

lh_tensor *lh_perceiver_between(lh_memory *memory, lh_context *context, int layer, lh_tensor *x)
{
    const lh_perceiver *p = memory->shape->options;
    if (!p->after[layer] || !memory->passing || lh_op_stopped(context)) {
        return x;
    }
    cross c = {.memory = memory,
               .context = context,
               .p = p,
               .entry = memory->entry_parameters->tensors,
               .pass = memory->passing};
    int number = 0;
    for (int i = 0; i <= layer; i++) {
        number += p->after[i];
    }
    c = block_number(&c, number);
    lh_scope scope = lh_scope_begin(context);
    lh_tensor *y = block(&c, x);
    lh_scope_end(context, scope, y ? 1 : 0, &y);
    return y;
}

void lh_perceiver_read(lh_memory *memory, lh_layer_io *io)
{
    int64_t copies = ((const lh_perceiver *)memory->shape->options)->copies, shape[3] = {1, 1, io->tokens};
    if (copies == 1) {
        return;
    }
    int32_t *high = lh_arena_alloc(&io->context->arena, sizeof *high * (size_t)io->tokens);
    int32_t *low = lh_arena_alloc(&io->context->arena, sizeof *low * (size_t)io->tokens);
    if (!high || !low) {
        lh_op_fail(io->context, LH_E_MEMORY, "perceiver-ar", "no memory for the bounds of %lld latents",
                   (long long)io->tokens);
        return;
    }
    for (int64_t i = 0; i < io->tokens; i++) {
        low[i] = 0;
        high[i] = (int32_t)((io->fill + i) / copies * copies + copies);
    }
    io->source[0] = lh_key_source_all(io->k, io->v);
    io->source[0].low = lh_from_host(io->context, LH_I32, 3, shape, low);
    io->source[0].high = lh_from_host(io->context, LH_I32, 3, shape, high);
}
