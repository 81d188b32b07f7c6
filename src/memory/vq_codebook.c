/* The codebooks of Transformer-VQ: k-means by exponential moving averages (Lingle 2023, van den Oord et al. 2017).
 *
 * Once per iteration, over all keys of its text,
 *     count = decay count + (1 - decay) n,   sum = decay sum + (1 - decay) sum of keys,   code = sum / max(count,
 * 0.01) No gradient is involved and no optimizer. On top of what is published: the first codebook may be made of
 * keys (k-means++, Arthur and Vassilvitskii 2007), and codes that nothing uses may be moved to keys. */
#include "base/random.h"
#include "memory/vq.h"

#include <math.h>
#include <string.h>

#define COUNT_FLOOR 0.01

/* SimpleVQ of the released code: sinusoids of 0, 1, .. with the root mean square of keys, the same for all heads.
 */
static lh_tensor *fixed_codes(lh_context *context, const lh_memory_shape *shape, lh_dtype dtype)
{
    const lh_vq_options *o = shape->options;
    int64_t one[3] = {1, o->codes, shape->key_width};
    lh_tensor *rows = lh_sinusoids(context, dtype, 0, o->codes, shape->key_width, o->position_base, 0);
    rows = lh_rms_norm(context, rows, NULL, shape->norm_eps);
    rows = lh_scale(context, rows, pow((double)shape->key_width, -0.25));
    return lh_expand(context, lh_reshape(context, rows, 3, one), 0, shape->kv_heads);
}

lh_tensor *lh_vq_codebook(lh_context *context, const lh_memory_shape *shape, const lh_memory_parameters *parameters)
{
    switch (((const lh_vq_options *)shape->options)->book) {
    case LH_VQ_BOOK_FIXED: return fixed_codes(context, shape, parameters->tensors[LH_VQ_COUNT]->dtype);
    case LH_VQ_BOOK_GRADIENT: return lh_detach(context, parameters->tensors[LH_VQ_SUM]);
    case LH_VQ_BOOK_EMA: break;
    }
    lh_tensor *sum = parameters->tensors[LH_VQ_SUM], *count = parameters->tensors[LH_VQ_COUNT];
    double least = COUNT_FLOOR;
    int64_t one = 1;
    lh_tensor *floor = lh_cast(context, lh_from_host(context, LH_F64, 1, &one, &least), count->dtype);
    lh_tensor *divisor = lh_binary(context, LH_MAXIMUM, count, floor);
    divisor = lh_reshape(context, divisor, 3, (int64_t[]){count->shape[0], count->shape[1], 1});
    return lh_detach(context, lh_binary(context, LH_DIVIDE, sum, divisor));
}

/* With n keys of sum K under code C, their squared distances are sum |k|^2 - 2 K.C + n |C|^2: no key is looked up.
 */
lh_tensor *lh_vq_codebook_loss(lh_context *context, const lh_memory_parameters *parameters, lh_tensor *k,
                               lh_tensor *codes, lh_tensor *weight, double tokens)
{
    lh_tensor *book = parameters->tensors[LH_VQ_SUM];
    lh_tensor *still = lh_detach(context, k), *squares = lh_multiply(context, still, still);
    lh_tensor *sum = lh_new_like(context, book, true), *count = lh_new(context, book->dtype, 2, book->shape, true);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_code_sums(context, still, codes, weight, sum, count);
    if (weight) {
        squares = lh_multiply(context, squares,
                              lh_reshape(context, weight, 4, (int64_t[]){k->shape[0], 1, k->shape[2], 1}));
    }
    count = lh_reshape(context, count, 3, (int64_t[]){book->shape[0], book->shape[1], 1});
    lh_tensor *pull = lh_binary(context, LH_SUBTRACT, lh_multiply(context, book, count), lh_scale(context, sum, 2));
    lh_tensor *loss = lh_add(context, lh_sum(context, lh_multiply(context, book, pull)), lh_sum(context, squares));
    return lh_scale(context, loss, tokens > 0 ? 1.0 / tokens : 0.0);
}

/* Rows of keys that are kept for starting and restarting codes: more to choose from for k-means++. */
static int64_t kept_keys(const lh_vq_options *o)
{
    return o->first_keys ? 4 * o->codes : o->restart_below > 0.0 ? o->codes : 0;
}

lh_status lh_vq_gather_create(lh_memory *memory, int layer, lh_error *error)
{
    const lh_memory_shape *s = memory->shape;
    const lh_vq_options *o = s->options;
    int64_t sum[3] = {s->kv_heads, o->codes, s->key_width}, count[2] = {s->kv_heads, o->codes};
    int64_t keys[2] = {kept_keys(o), s->kv_heads * s->key_width};
    LH_TRY(
        lh_memory_add(memory, LH_STATE_STATISTIC, memory->dtype, 3, sum, error, "layers.%d.gathered.sum", layer));
    LH_TRY(lh_memory_add(memory, LH_STATE_STATISTIC, memory->dtype, 2, count, error, "layers.%d.gathered.count",
                         layer));
    return lh_memory_add(memory, LH_STATE_STATISTIC, memory->dtype, 2, keys, error, "layers.%d.gathered.keys",
                         layer);
}

/* Keeps keys of tokens at even distances over all lanes of the newest segment; padding is passed over. */
static void keep_keys(lh_memory *memory, lh_context *context, int index, lh_tensor *k)
{
    int64_t rows = kept_keys(memory->shape->options), batch = k->shape[0], tokens = k->shape[2];
    int64_t total = batch * tokens, good = 0, width = k->shape[1] * k->shape[3];
    int32_t *token = lh_arena_alloc(&context->arena, sizeof *token * (size_t)(total + 1));
    int32_t *row = lh_arena_alloc(&context->arena, sizeof *row * (size_t)rows);
    if (!token || !row) {
        lh_op_fail(context, LH_E_MEMORY, "transformer-vq", "no memory for %lld keys", (long long)total);
        return;
    }
    for (int64_t i = 0; i < total; i++) {
        if (!memory->valid || memory->valid[i]) {
            token[good++] = (int32_t)i;
        }
    }
    for (int64_t i = 0; i < rows; i++) {
        row[i] = good > 0 ? token[i * good / rows] : -1;
    }
    lh_tensor *flat =
        lh_reshape(context, lh_transpose(context, lh_detach(context, k), 1, 2), 2, (int64_t[]){total, width});
    lh_tensor *kept = lh_gather_rows(context, flat, lh_from_host(context, LH_I32, 1, &rows, row));
    if (kept && good > 0) {
        lh_memory_copy_values(context, kept, memory->state[index].stored);
    }
}

void lh_vq_gather(lh_memory *memory, lh_context *context, int first, lh_tensor *k, lh_tensor *codes,
                  lh_tensor *weight)
{
    if (!context->training || context->recomputing || memory->inference || lh_op_stopped(context)) {
        return;
    }
    lh_code_sums(context, lh_detach(context, k), codes, weight, memory->state[first + LH_VQ_GATHERED_SUM].stored,
                 memory->state[first + LH_VQ_GATHERED_COUNT].stored);
    if (kept_keys(memory->shape->options) > 0) {
        keep_keys(memory, context, first + LH_VQ_GATHERED_KEYS, k);
    }
}

/* ---- learning ---- */

/* to = old to + new from, element by element */
static void blend(lh_context *context, lh_tensor *to, double old, const lh_tensor *from, double new)
{
    lh_add_scaled_args args = {
        .n = lh_tensor_count(to), .alpha = new, .beta = old, .x = lh_tensor_data(from), .y = lh_tensor_data(to)};
    lh_run(context, LH_KERNEL_ADD_SCALED, to->dtype, &args);
}

static void clear(lh_context *context, lh_tensor *x)
{
    lh_fill_args fill = {.n = lh_tensor_count(x), .y = lh_tensor_data(x)};
    lh_run(context, LH_KERNEL_FILL, x->dtype, &fill);
}

/* A layer's codebook and the kept keys on the host. */
typedef struct desk {
    int64_t heads, codes, width, rows;
    bool means;                 /* `sum` holds codes, not the sums that they are means of */
    double *sum, *count, *keys; /* [heads, codes, width], [heads, codes], [rows, heads width] */
    double *distance;           /* [rows]: of a key from the nearest code so far */
    int32_t *nearest, *chosen;  /* [rows]: that code; [codes]: the row that a code is made of */
} desk;

static bool desk_open(desk *d, lh_context *context, const lh_memory *memory, int layer, const lh_tensor *keys)
{
    const lh_memory_parameters *p = memory->parameters[layer];
    const lh_tensor *sum = p->tensors[LH_VQ_SUM];
    bool moving = ((const lh_vq_options *)memory->shape->options)->book == LH_VQ_BOOK_EMA;
    sum = sum ? sum : lh_vq_codebook(context, memory->shape, p);
    if (!sum) {
        return false;
    }
    *d = (desk){.heads = sum->shape[0],
                .codes = sum->shape[1],
                .width = sum->shape[2],
                .rows = keys->shape[0],
                .means = !moving};
    int64_t sums = lh_tensor_count(sum), counts = d->heads * d->codes, key_count = lh_tensor_count(keys);
    d->sum = lh_arena_alloc(&context->arena, sizeof(double) * (size_t)(sums + counts + key_count + d->rows));
    d->nearest = lh_arena_alloc(&context->arena, sizeof(int32_t) * (size_t)(d->rows + d->codes));
    if (!d->sum || !d->nearest) {
        lh_op_fail(context, LH_E_MEMORY, "transformer-vq", "no memory for %lld keys on the host",
                   (long long)d->rows);
        return false;
    }
    d->chosen = d->nearest + d->rows;
    d->count = d->sum + sums;
    d->keys = d->count + counts;
    d->distance = d->keys + key_count;
    lh_to_host(context, sum, d->sum);
    lh_to_host(context, p->tensors[LH_VQ_COUNT], d->count);
    lh_to_host(context, keys, d->keys);
    return !lh_op_stopped(context);
}

static void desk_close(const desk *d, lh_context *context, const lh_memory_parameters *p)
{
    lh_tensor *sum = p->tensors[LH_VQ_SUM], *count = p->tensors[LH_VQ_COUNT];
    lh_tensor *new_sum = lh_from_host(context, LH_F64, 3, sum->shape, d->sum);
    lh_tensor *new_count = lh_from_host(context, LH_F64, 2, count->shape, d->count);
    lh_memory_copy_values(context, lh_cast(context, new_sum, sum->dtype), sum);
    lh_memory_copy_values(context, lh_cast(context, new_count, count->dtype), count);
}

/* Makes code s of a head a key that counts `count` times. */
static void place(desk *d, int64_t head, int64_t s, int64_t row, double count)
{
    const double *key = d->keys + (row * d->heads + head) * d->width;
    double *sum = d->sum + (head * d->codes + s) * d->width;
    d->count[head * d->codes + s] = count;
    for (int64_t i = 0; i < d->width; i++) {
        sum[i] = d->means ? key[i] : count * key[i];
    }
}

/* A row drawn with probability proportional to distance. */
static int64_t draw_row(const desk *d, lh_random *random)
{
    double total = 0;
    for (int64_t row = 0; row < d->rows; row++) {
        total += d->distance[row];
    }
    double left = lh_random_uniform(random) * total;
    for (int64_t row = 0; row < d->rows; row++) {
        left -= d->distance[row];
        if (left < 0) {
            return row;
        }
    }
    return (int64_t)lh_random_below(random, (uint64_t)d->rows); /* all keys are codes already */
}

/* Gives the keys of a head to a new code, the key of row `chosen`, where it is nearer than those before. */
static void take_keys(desk *d, int64_t head, int32_t code, int64_t chosen)
{
    const double *centre = d->keys + (chosen * d->heads + head) * d->width;
    for (int64_t row = 0; row < d->rows; row++) {
        const double *key = d->keys + (row * d->heads + head) * d->width;
        double apart = 0;
        for (int64_t i = 0; i < d->width; i++) {
            apart += (key[i] - centre[i]) * (key[i] - centre[i]);
        }
        if (apart < d->distance[row]) {
            d->distance[row] = apart;
            d->nearest[row] = code;
        }
    }
}

/* k-means++: each next code is a key drawn by its squared distance from the codes so far. A code counts as many
 * times as it is the nearest of a key. There are more keys than codes, so the counts are not all 1 any more. */
static void seed_codes(desk *d, lh_random *random)
{
    for (int64_t head = 0; head < d->heads; head++) {
        int64_t chosen = (int64_t)lh_random_below(random, (uint64_t)d->rows);
        for (int64_t row = 0; row < d->rows; row++) {
            d->distance[row] = INFINITY;
        }
        for (int64_t s = 0; s < d->codes; s++) {
            take_keys(d, head, (int32_t)s, chosen);
            d->chosen[s] = (int32_t)chosen;
            d->count[head * d->codes + s] = 0;
            chosen = draw_row(d, random);
        }
        for (int64_t row = 0; row < d->rows; row++) {
            d->count[head * d->codes + d->nearest[row]]++;
        }
        for (int64_t s = 0; s < d->codes; s++) {
            place(d, head, s, d->chosen[s], fmax(d->count[head * d->codes + s], 1.0));
        }
    }
}

/* Moves codes that hardly any key has to keys; returns how many. */
static int64_t restart_codes(desk *d, double below, lh_random *random)
{
    int64_t moved = 0;
    for (int64_t head = 0; head < d->heads; head++) {
        for (int64_t s = 0; s < d->codes; s++) {
            if (d->count[head * d->codes + s] < below) {
                place(d, head, s, (int64_t)lh_random_below(random, (uint64_t)d->rows), below);
                moved++;
            }
        }
    }
    return moved;
}

/* Every count is 1, as before the first iteration, and there are keys (which are normed, so not zero). */
static bool can_be_seeded(const desk *d)
{
    double largest = 0;
    for (int64_t i = 0; i < d->width; i++) {
        largest = fmax(largest, fabs(d->keys[i]));
    }
    if (largest == 0) {
        return false;
    }
    for (int64_t i = 0; i < d->heads * d->codes; i++) {
        if (d->count[i] != 1.0) {
            return false;
        }
    }
    return true;
}

void lh_vq_learn(lh_memory *const *memories, int count, lh_context *context, int layer, int first)
{
    const lh_memory *memory = memories[0];
    const lh_vq_options *o = memory->shape->options;
    const lh_memory_parameters *p = memory->parameters[layer];
    desk d;
    bool seeded = false, look = kept_keys(o) > 0;
    if (look &&
        !desk_open(&d, context, memory, layer, memories[count - 1]->state[first + LH_VQ_GATHERED_KEYS].stored)) {
        return;
    }
    /* The stream of random numbers moves with every iteration, so each draws others, and a resumed run the same. */
    lh_random random = lh_random_create(context->seed + 0x5651, context->random_offset);
    if (look) {
        context->random_offset++;
    }
    if (look && o->first_keys && can_be_seeded(&d)) {
        seed_codes(&d, &random);
        seeded = true;
    }
    for (int i = 0; i < count; i++) {
        lh_tensor *sum = memories[i]->state[first + LH_VQ_GATHERED_SUM].stored;
        lh_tensor *counted = memories[i]->state[first + LH_VQ_GATHERED_COUNT].stored;
        double old = i == 0 ? o->decay : 1.0;
        if (!seeded) { /* what was gathered belongs to the codes that are gone */
            if (o->book == LH_VQ_BOOK_EMA) {
                blend(context, p->tensors[LH_VQ_SUM], old, sum, 1.0 - o->decay);
            }
            blend(context, p->tensors[LH_VQ_COUNT], old, counted, 1.0 - o->decay);
        }
        clear(context, sum);
        clear(context, counted);
        clear(context, memories[i]->state[first + LH_VQ_GATHERED_KEYS].stored);
    }
    if (seeded) {
        desk_close(&d, context, p);
    } else if (look && o->restart_below > 0.0) {
        lh_to_host(context, p->tensors[LH_VQ_SUM], d.sum);
        lh_to_host(context, p->tensors[LH_VQ_COUNT], d.count);
        if (restart_codes(&d, o->restart_below, &random) > 0) {
            desk_close(&d, context, p);
        }
    }
}

/* ---- figures ---- */

typedef struct usage {
    double entropy, least, dead, length; /* sums over heads; least: over layers */
} usage;

/* Counts below this part of the mean count as dead. */
#define DEAD_SHARE 0.01

static void add_usage(usage *u, const desk *d, int64_t head)
{
    const double *count = d->count + head * d->codes, *sum = d->sum + head * d->codes * d->width;
    double total = 0, entropy = 0, dead = 0, length = 0;
    for (int64_t s = 0; s < d->codes; s++) {
        total += count[s];
    }
    for (int64_t s = 0; s < d->codes; s++) {
        double part = total > 0 ? count[s] / total : 0, square = 0;
        entropy -= part > 0 ? part * log(part) : 0;
        dead += part * (double)d->codes < DEAD_SHARE;
        for (int64_t i = 0; i < d->width; i++) {
            square += sum[s * d->width + i] * sum[s * d->width + i];
        }
        length += part * sqrt(square) / (d->means ? 1.0 : fmax(count[s], COUNT_FLOOR));
    }
    u->entropy += d->codes > 1 ? entropy / log((double)d->codes) : 1;
    u->dead += dead / (double)d->codes;
    u->length += length / pow((double)d->width, 0.25);
}

void lh_vq_figures(const lh_memory *memory, lh_context *context,
                   void (*tell)(void *user, const char *name, double value), void *user)
{
    const lh_memory_shape *s = memory->shape;
    usage all = {.least = INFINITY};
    for (int layer = 0; layer < s->layers; layer++) {
        const lh_memory_parameters *p = memory->parameters[layer];
        desk d;
        if (!desk_open(&d, context, memory, layer, p->tensors[LH_VQ_COUNT])) {
            return;
        }
        usage own = {0};
        for (int64_t head = 0; head < d.heads; head++) {
            add_usage(&own, &d, head);
        }
        all.entropy += own.entropy;
        all.dead += own.dead;
        all.length += own.length;
        all.least = fmin(all.least, own.entropy / (double)d.heads);
    }
    double books = (double)(s->layers * s->kv_heads);
    if (books > 0) {
        tell(user, "code_entropy", all.entropy / books);
        tell(user, "code_entropy_least", all.least);
        tell(user, "dead_codes", all.dead / books);
        tell(user, "code_length", all.length / books);
    }
}
