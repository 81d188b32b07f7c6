/* Uses of attention: every visibility, layout and bias, alone and together (see gradcheck.h). */
#ifndef LH_TESTS_CASES_ATTENTION_H
#define LH_TESTS_CASES_ATTENTION_H

#include "gradcheck.h"

#ifndef CASE_UNUSED
#define CASE_UNUSED __attribute__((unused))
#endif

/* Inputs: q, k, v of one source, then what `use` names, in this order. */
enum {
    USE_CONTENT = 1,            /* content_bias */
    USE_POSITION = 2,           /* position_bias */
    USE_REL = 4,                /* rel_k */
    USE_DISTANCE = 8,           /* distance_bias */
    USE_KEY_BIAS = 16,          /* key_bias */
    USE_HEAD_SCALE = 32,        /* head_scale */
    USE_INTERVALS = 64,         /* low and high made from a formula */
    USE_NULL = 128,             /* a null logit */
    USE_CLAMP = 256,            /* rel_clamp */
    USE_SCALED = 512,           /* bias_scaled */
    USE_LSE = 1024,             /* the log-sum-exp is used, too */
    USE_STOP = 2048,            /* stop_gradient on k and v; they are constants then */
    USE_GATHER = 4096,          /* LH_KEYS_GATHERED, three rows each, one negative */
    USE_BLOCKS = 8192,          /* LH_KEYS_BLOCKS with a block size of 2 */
    USE_LSE_ONLY = 16384,       /* only the log-sum-exp is used */
    USE_SCALE = 32768,          /* an explicit scale */
    USE_LANE_INTERVALS = 65536, /* low and high differ by batch and head */
    USE_REL_STEP = 131072,      /* rel_step 2 and an offset: compressed memories */
    USE_F16 = 262144,           /* the (constant) rows of a list are stored as f16 */
    USE_I8 = 524288,            /* or as i8 with a factor for each row */
    USE_REL_VALUES = 1048576,   /* rel_v */
};

typedef struct attention_use {
    lh_key_source source;
    lh_attention_options options;
    int next; /* inputs used */
} attention_use;

static lh_tensor *intervals(lh_context *c, lh_tensor *q, int64_t k_len, bool high, bool lanes)
{
    int32_t values[256];
    int64_t shape[3] = {lanes ? q->shape[0] : 1, lanes ? q->shape[1] : 1, q->shape[2]}, at = 0;
    for (int64_t lane = 0; lane < shape[0] * shape[1]; lane++) {
        for (int64_t i = 0; i < shape[2]; i++, at++) {
            int64_t low = (i + lane) / 3 * 2, end = low + 2 + i % 2;
            values[at] = (int32_t)(high ? (end < k_len ? end : k_len) : low < k_len - 1 ? low : k_len - 1);
        }
    }
    return lh_from_host(c, LH_I32, 3, shape, values);
}

static lh_tensor *gathered_rows(lh_context *c, lh_tensor *q, int64_t k_len)
{
    int32_t values[512];
    int64_t shape[4] = {q->shape[0], q->shape[1], q->shape[2], 3};
    for (int64_t at = 0; at < gc_elements(4, shape); at++) {
        values[at] = at % 5 == 4 ? -1 : (int32_t)(at * 7 % k_len);
    }
    return lh_from_host(c, LH_I32, 4, shape, values);
}

/* Every block of two queries visits one tile, every third block none; odd blocks see a column. */
static void block_lists(lh_context *c, lh_tensor *q, int64_t k_len, lh_key_source *source)
{
    int32_t tile_row[64], tile[64], column_row[64], column[64], tiles = 0, columns = 0;
    int64_t blocks = (q->shape[2] + 1) / 2, rows = q->shape[0] * q->shape[1] * blocks;
    for (int64_t r = 0; r < rows; r++) {
        tile_row[r] = tiles;
        column_row[r] = columns;
        if (r % 3 != 2) {
            tile[tiles++] = (int32_t)(r % (k_len - 1));
        }
        if (r % 3 != 0) {
            column[columns++] = (int32_t)((r * 5 + 3) % k_len);
        }
    }
    tile_row[rows] = tiles;
    column_row[rows] = columns;
    int64_t row_count = rows + 1, tile_count = tiles, column_count = columns;
    source->layout = LH_KEYS_BLOCKS;
    source->block_size = 2;
    source->tile_row = lh_from_host(c, LH_I32, 1, &row_count, tile_row);
    source->tile_start = lh_from_host(c, LH_I32, 1, &tile_count, tile);
    source->column_row = lh_from_host(c, LH_I32, 1, &row_count, column_row);
    source->column = lh_from_host(c, LH_I32, 1, &column_count, column);
}

/* [batch, kv_heads, k_len] of f32 */
static lh_tensor *row_factors(lh_context *c, const lh_tensor *rows, double first)
{
    float values[64];
    int64_t n = gc_elements(3, rows->shape);
    for (int64_t i = 0; i < n; i++) {
        values[i] = (float)(first + 0.003 * (double)(i % 5));
    }
    return lh_from_host(c, LH_F32, 3, rows->shape, values);
}

static void store_short(lh_context *c, lh_key_source *source, bool i8)
{
    source->stop_gradient = true;
    if (i8) {
        source->k_scale = row_factors(c, source->k, 0.02);
        source->v_scale = row_factors(c, source->v, 0.03);
    }
    source->k = lh_cast(c, i8 ? lh_scale(c, source->k, 30) : source->k, i8 ? LH_I8 : LH_F16);
    source->v = lh_cast(c, i8 ? lh_scale(c, source->v, 30) : source->v, i8 ? LH_I8 : LH_F16);
}

/* n: use, min_distance, max_distance (both 0: all keys), offset, rel_first. */
static attention_use use_of(lh_context *c, lh_tensor *const *in, const gc_case *gc)
{
    int64_t use = gc->n[0];
    attention_use result = {.source = lh_key_source_all(in[1], in[2]), .next = 3};
    lh_key_source *source = &result.source;
    if (gc->n[1] || gc->n[2]) {
        source->min_distance = gc->n[1];
        source->max_distance = gc->n[2] == 99 ? LH_DISTANCE_ANY : gc->n[2];
    }
    source->offset = gc->n[3];
    source->rel_first = gc->n[4];
    source->rel_clamp = (use & USE_CLAMP) != 0;
    source->bias_scaled = (use & USE_SCALED) != 0;
    source->stop_gradient = (use & USE_STOP) != 0;
    if (use & USE_REL_STEP) {
        source->rel_step = 2;
        source->rel_offset = 5;
    }
    lh_tensor **optional[] = {&source->content_bias,  &source->position_bias, &source->rel_k,
                              &source->distance_bias, &source->key_bias,      &result.options.head_scale};
    for (int i = 0; i < 6; i++) {
        if (use & (1 << i)) {
            *optional[i] = in[result.next++];
        }
    }
    if (use & USE_REL_VALUES) {
        source->rel_v = in[result.next++];
    }
    if (use & (USE_INTERVALS | USE_LANE_INTERVALS)) {
        source->low = intervals(c, in[0], in[1]->shape[2], false, (use & USE_LANE_INTERVALS) != 0);
        source->high = intervals(c, in[0], in[1]->shape[2], true, (use & USE_LANE_INTERVALS) != 0);
    }
    if (use & USE_GATHER) {
        source->layout = LH_KEYS_GATHERED;
        source->gather = gathered_rows(c, in[0], in[1]->shape[2]);
    }
    if (use & (USE_F16 | USE_I8)) {
        store_short(c, source, (use & USE_I8) != 0);
    }
    if (use & USE_BLOCKS) {
        block_lists(c, in[0], in[1]->shape[2], source);
    }
    result.options.has_null = (use & USE_NULL) != 0;
    result.options.null_logit = 0.3;
    result.options.scale = use & USE_SCALE ? 0.7 : 0.0;
    result.options.dropout = gc->r[0];
    return result;
}

static lh_tensor *run_attention_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    attention_use use = use_of(c, in, gc);
    lh_tensor *lse = NULL;
    bool wants = (gc->n[0] & (USE_LSE | USE_LSE_ONLY)) != 0;
    lh_tensor *out = lh_attention(c, in[0], 1, &use.source, &use.options, wants ? &lse : NULL);
    if (gc->n[0] & USE_LSE_ONLY) {
        return lse;
    }
    *second = lse;
    return out;
}

/* Keys and values go into rings, and each query attends to those it finds. n: type of the rings, k, slots, rows
 * that were there before, buckets, whether lse is used. */
static lh_tensor *run_retrieval(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    lh_tensor *q = in[0], *rows[2] = {in[1], in[2]}, *written = NULL, *after = NULL;
    lh_dtype type = gc->n[0] == 0 ? q->dtype : (lh_dtype)gc->n[0];
    lh_row_ring ring[2];
    int64_t batch = rows[0]->shape[0];
    int32_t before[8];
    for (int64_t b = 0; b < batch; b++) {
        before[b] = (int32_t)gc->n[3];
    }
    written = lh_from_host(c, LH_I32, 1, &batch, before);
    for (int i = 0; i < 2; i++) {
        int64_t shape[4] = {batch, rows[i]->shape[1], gc->n[2], rows[i]->shape[3]};
        ring[i] = (lh_row_ring){.rows = lh_new(c, type, 4, shape, true),
                                .scale = type == LH_I8 ? lh_new(c, LH_F32, 3, shape, true) : NULL,
                                .capacity = gc->n[2]};
        after = lh_ring_append(c, &ring[i], rows[i], written);
    }
    lh_key_source source = lh_key_source_all(ring[0].rows, ring[1].rows);
    lh_attention_options options = {.head_scale = in[3]};
    source.layout = LH_KEYS_GATHERED;
    source.stop_gradient = true;
    source.k_scale = ring[0].scale;
    source.v_scale = ring[1].scale;
    source.gather = lh_nearest(c, q, &ring[0], after, rows[0]->shape[2], gc->n[1], gc->n[4], -1, NULL);
    return lh_attention(c, q, 1, &source, &options, gc->n[5] ? second : NULL);
}

/* A FIFO of older keys, a window of the present, and a codebook with log-counts: one softmax. All share the tables
 * u, w; the relative keys run on from source to source. */
static lh_tensor *run_three_sources(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    lh_tensor *q = in[0];
    int64_t q_len = q->shape[2], old = in[1]->shape[2];
    lh_key_source sources[3] = {lh_key_source_all(in[1], in[1]), lh_key_source_causal(in[2], in[3], q_len),
                                lh_key_source_all(in[4], in[4])};
    sources[0].content_bias = sources[1].content_bias = in[5];
    sources[0].position_bias = sources[1].position_bias = in[5];
    sources[0].rel_k = sources[1].rel_k = in[6];
    sources[0].rel_offset = old;
    sources[0].offset = old;
    sources[0].max_distance = old;
    sources[1].max_distance = 2;
    sources[2].key_bias = in[7];
    lh_attention_options options = {.dropout = gc->r[0]};
    return lh_attention(c, q, 3, sources, &options, second);
}

/* Transformer-VQ: codes shared by the lanes with mean values of each lane and log-counts, of which one is
 * -infinity; a cache and the present, whose relative keys end at a distance that some of them are beyond. */
static lh_tensor *run_codes_cache_present(lh_context *c, lh_tensor *const *in, const gc_case *gc,
                                          lh_tensor **second)
{
    (void)gc;
    lh_tensor *q = in[0];
    int64_t old = in[3]->shape[2], counts[3] = {in[2]->shape[0], in[2]->shape[1], in[2]->shape[2]};
    int32_t count[64];
    for (int64_t i = 0; i < gc_elements(3, counts); i++) {
        count[i] = (int32_t)(i * i % 5);
    }
    lh_key_source sources[3] = {lh_key_source_all(in[1], in[2]), lh_key_source_all(in[3], in[4]),
                                lh_key_source_causal(in[5], in[6], q->shape[2])};
    sources[0].key_bias = lh_unary(c, LH_LOG, lh_cast(c, lh_from_host(c, LH_I32, 3, counts, count), q->dtype));
    sources[1].rel_k = sources[2].rel_k = in[7];
    sources[1].rel_offset = old;
    lh_attention_options options = {.scale = 1.0};
    return lh_attention(c, q, 3, sources, &options, second);
}

/* Queries, keys and values are one tensor, and so are those of a second source. */
static lh_tensor *run_attention_of_itself(lh_context *c, lh_tensor *const *in, const gc_case *gc,
                                          lh_tensor **second)
{
    (void)gc;
    (void)second;
    lh_key_source sources[2] = {lh_key_source_causal(in[0], in[0], in[0]->shape[2]),
                                lh_key_source_all(in[0], in[0])};
    lh_attention_options options = {0};
    return lh_attention(c, in[0], 2, sources, &options, NULL);
}

/* As a model does it: one joint projection [batch, length, 3 heads width] cut into heads, and the heads merged. */
static lh_tensor *run_attention_of_joint(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    int64_t batch = in[0]->shape[0], length = in[0]->shape[1], heads = gc->n[0];
    int64_t width = in[0]->shape[2] / (3 * heads);
    lh_tensor *part[3];
    (void)second;
    for (int i = 0; i < 3; i++) {
        lh_tensor *cut = lh_slice(c, in[0], 2, i * heads * width, heads * width);
        part[i] = lh_transpose(c, lh_reshape(c, cut, 4, (int64_t[]){batch, length, heads, width}), 1, 2);
    }
    lh_key_source source = lh_key_source_causal(part[1], part[2], length);
    lh_attention_options options = {0};
    lh_tensor *out = lh_attention(c, part[0], 1, &source, &options, NULL);
    return lh_reshape(c, lh_transpose(c, out, 1, 2), 3, (int64_t[]){batch, length, heads * width});
}

/* Two attentions over disjoint keys, merged. */
static lh_tensor *run_merged_attention(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    lh_tensor *lse[2], *out[2];
    (void)gc;
    for (int side = 0; side < 2; side++) {
        lh_key_source source = lh_key_source_all(in[1 + 2 * side], in[2 + 2 * side]);
        lh_attention_options options = {0};
        out[side] = lh_attention(c, in[0], 1, &source, &options, &lse[side]);
    }
    return lh_attention_merge(c, out[0], lse[0], out[1], lse[1], second);
}

static lh_tensor *run_merge_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    return lh_attention_merge(c, in[0], in[1], in[2], in[3], gc->n[0] ? second : NULL);
}

#define QKV GC_IN(2, 2, 4, 3), GC_IN(2, 2, 5, 3), GC_IN(2, 2, 5, 2)
#define FIXED_KV GC_IN(2, 2, 4, 3), GC_FIXED(2, 2, 5, 3), GC_FIXED(2, 2, 5, 2)
#define CAUSAL 0, 99, 1

CASE_UNUSED static const gc_case attention_cases[] = {
    {.name = "attention", .function = run_attention_case, .in = {QKV}},
    {.name = "attention and its log-sum", .function = run_attention_case, .in = {QKV}, .n = {USE_LSE}},
    {.name = "attention, log-sum only", .function = run_attention_case, .in = {QKV}, .n = {USE_LSE_ONLY}},
    {.name = "attention, own scale", .function = run_attention_case, .in = {QKV}, .n = {USE_SCALE}},
    {.name = "attention, causal", .function = run_attention_case, .in = {QKV}, .n = {USE_LSE, CAUSAL}},
    {.name = "attention, window", .function = run_attention_case, .in = {QKV}, .n = {USE_LSE, 0, 2, 1}},
    {.name = "attention, before itself", .function = run_attention_case, .in = {QKV}, .n = {0, 1, 3, 1}},
    {.name = "attention, nothing to see for some", .function = run_attention_case, .in = {QKV}, .n = {0, 1, 2, -1}},
    {.name = "attention, intervals", .function = run_attention_case, .in = {QKV}, .n = {USE_INTERVALS | USE_LSE}},
    {.name = "attention, intervals of each lane",
     .function = run_attention_case,
     .in = {QKV},
     .n = {USE_LANE_INTERVALS}},
    {.name = "attention, grouped heads",
     .function = run_attention_case,
     .in = {GC_IN(2, 4, 3, 3), GC_IN(2, 2, 5, 3), GC_IN(2, 2, 5, 2)},
     .n = {USE_LSE, CAUSAL}},
    {.name = "attention, one set of keys for the batch",
     .function = run_attention_case,
     .in = {GC_IN(2, 2, 3, 3), GC_IN(1, 2, 4, 3), GC_IN(1, 2, 4, 3)},
     .n = {USE_LSE}},
    {.name = "attention, one set of keys for the batch, values of each lane",
     .function = run_attention_case,
     .in = {GC_IN(2, 2, 3, 3), GC_IN(1, 2, 4, 3), GC_IN(2, 2, 4, 2)},
     .n = {USE_LSE}},
    {.name = "attention, one set of values for the batch, keys of each lane",
     .function = run_attention_case,
     .in = {GC_IN(2, 2, 3, 3), GC_IN(2, 2, 4, 3), GC_IN(1, 2, 4, 2)},
     .n = {USE_LSE, CAUSAL}},
    {.name = "attention over codes, cache and present",
     .function = run_codes_cache_present,
     .in = {GC_IN(2, 2, 3, 3), GC_FIXED(1, 2, 4, 3), GC_IN(2, 2, 4, 2), GC_IN(2, 2, 2, 3), GC_IN(2, 2, 2, 2),
            GC_IN(2, 2, 3, 3), GC_IN(2, 2, 3, 2), GC_IN(2, 3, 3)}},
    {.name = "attention, one set of keys for all",
     .function = run_attention_case,
     .in = {GC_IN(2, 4, 3, 3), GC_IN(1, 1, 4, 3), GC_IN(1, 1, 4, 3)}},
    {.name = "attention, stopped", .function = run_attention_case, .in = {FIXED_KV}, .n = {USE_STOP}},
    {.name = "attention, stopped but its biases",
     .function = run_attention_case,
     .in = {FIXED_KV, GC_IN(2, 3), GC_IN(2, 5)},
     .n = {USE_STOP | USE_CONTENT | USE_DISTANCE, CAUSAL}},
    {.name = "attention, null", .function = run_attention_case, .in = {QKV}, .n = {USE_NULL | USE_LSE}},
    {.name = "attention, null, nothing to see for some",
     .function = run_attention_case,
     .in = {QKV},
     .n = {USE_NULL | USE_LSE, 1, 2, -1}},
    {.name = "attention, head scale",
     .function = run_attention_case,
     .in = {QKV, GC_ABOVE(2)},
     .n = {USE_HEAD_SCALE | USE_LSE}},
    {.name = "attention, content bias",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 3)},
     .n = {USE_CONTENT | USE_LSE}},
    {.name = "attention, Transformer-XL",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 3), GC_IN(2, 3), GC_IN(2, 6, 3)},
     .n = {USE_CONTENT | USE_POSITION | USE_REL | USE_LSE, CAUSAL}},
    {.name = "attention, relative keys alone, clamped",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 3, 3)},
     .n = {USE_REL | USE_CLAMP}},
    {.name = "attention, relative keys, outside none",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 3, 3)},
     .n = {USE_REL, CAUSAL, -1}},
    {.name = "attention, relative keys, steps",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 7, 3)},
     .n = {USE_REL | USE_REL_STEP | USE_CLAMP}},
    {.name = "attention, relative keys and values, clamped",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 5, 3), GC_IN(2, 5, 2)},
     .n = {USE_REL | USE_REL_VALUES | USE_CLAMP | USE_LSE, 0, 0, 0, -2}},
    {.name = "attention, relative values alone, outside none",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 3, 2)},
     .n = {USE_REL_VALUES, CAUSAL, -1}},
    {.name = "attention, relative values and distance bias, steps",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 7), GC_IN(2, 7, 2)},
     .n = {USE_REL_VALUES | USE_DISTANCE | USE_REL_STEP | USE_CLAMP}},
    {.name = "attention, relative values, gathered, grouped",
     .function = run_attention_case,
     .in = {GC_IN(1, 4, 3, 3), GC_IN(1, 2, 6, 3), GC_IN(1, 2, 6, 3), GC_IN(4, 4, 3)},
     .n = {USE_REL_VALUES | USE_GATHER | USE_CLAMP}},
    {.name = "attention, relative keys and values in intervals, dropout",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 4, 3), GC_IN(2, 4, 2)},
     .n = {USE_REL | USE_REL_VALUES | USE_INTERVALS | USE_CLAMP, 0, 0, 0, -1},
     .r = {0.3},
     .training = true},
    {.name = "attention, distance bias",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 4)},
     .n = {USE_DISTANCE | USE_CLAMP, CAUSAL}},
    {.name = "attention, distance bias scaled",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 4)},
     .n = {USE_DISTANCE | USE_SCALED, CAUSAL, -2}},
    {.name = "attention, relative keys and distance bias, scaled",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 6, 3), GC_IN(2, 6), GC_ABOVE(2)},
     .n = {USE_REL | USE_DISTANCE | USE_SCALED | USE_HEAD_SCALE, CAUSAL}},
    {.name = "attention, key bias",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 2, 5)},
     .n = {USE_KEY_BIAS | USE_LSE}},
    {.name = "attention, key bias of all heads",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 1, 5)},
     .n = {USE_KEY_BIAS, CAUSAL}},
    {.name = "attention, key bias of all lanes",
     .function = run_attention_case,
     .in = {QKV, GC_IN(1, 2, 5)},
     .n = {USE_KEY_BIAS}},
    {.name = "attention, key bias of all",
     .function = run_attention_case,
     .in = {QKV, GC_IN(1, 1, 5)},
     .n = {USE_KEY_BIAS | USE_INTERVALS}},
    {.name = "attention, everything",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 3), GC_IN(2, 6, 3), GC_IN(2, 6), GC_IN(2, 2, 5), GC_ABOVE(2)},
     .n = {USE_CONTENT | USE_REL | USE_DISTANCE | USE_KEY_BIAS | USE_HEAD_SCALE | USE_LANE_INTERVALS | USE_NULL |
               USE_SCALED | USE_LSE,
           0, 3, 1}},
    {.name = "attention, gathered", .function = run_attention_case, .in = {QKV}, .n = {USE_GATHER | USE_LSE}},
    {.name = "attention, gathered, grouped, biased",
     .function = run_attention_case,
     .in = {GC_IN(1, 4, 3, 3), GC_IN(1, 2, 6, 3), GC_IN(1, 2, 6, 3), GC_IN(4, 3), GC_IN(1, 4, 6)},
     .n = {USE_GATHER | USE_CONTENT | USE_KEY_BIAS}},
    {.name = "attention, gathered from f16",
     .function = run_attention_case,
     .in = {GC_IN(2, 4, 3, 5), GC_FIXED(2, 2, 6, 5), GC_FIXED(2, 2, 6, 3), GC_ABOVE(4)},
     .n = {USE_GATHER | USE_F16 | USE_HEAD_SCALE | USE_LSE}},
    {.name = "attention, gathered from i8",
     .function = run_attention_case,
     .in = {GC_IN(2, 4, 3, 5), GC_FIXED(2, 2, 6, 5), GC_FIXED(2, 2, 6, 3)},
     .n = {USE_GATHER | USE_I8 | USE_NULL}},
    {.name = "retrieval",
     .function = run_retrieval,
     .in = {GC_IN(2, 4, 5, 6), GC_FIXED(2, 2, 9, 6), GC_FIXED(2, 2, 9, 3), GC_ABOVE(4)},
     .n = {0, 4, 12, 7, 0, 1}},
    {.name = "retrieval of all there is",
     .function = run_retrieval,
     .in = {GC_IN(2, 2, 3, 4), GC_FIXED(2, 2, 3, 4), GC_FIXED(2, 2, 3, 4), GC_ABOVE(2)},
     .n = {LH_F16, 5, 8, 0, 0}},
    {.name = "retrieval from buckets of i8",
     .function = run_retrieval,
     .in = {GC_IN(1, 2, 3, 4), GC_FIXED(1, 2, 9, 4), GC_FIXED(1, 2, 9, 4), GC_ABOVE(2)},
     .n = {LH_I8, 3, 9, 0, 4}},
    {.name = "retrieval by no queries",
     .function = run_retrieval,
     .in = {GC_IN(2, 2, 0, 4), GC_FIXED(2, 2, 3, 4), GC_FIXED(2, 2, 3, 4), GC_ABOVE(2)},
     .n = {0, 2, 8, 0, 0}},
    {.name = "retrieval from an empty ring",
     .function = run_retrieval,
     .in = {GC_IN(2, 2, 3, 4), GC_FIXED(2, 2, 0, 4), GC_FIXED(2, 2, 0, 4), GC_ABOVE(2)},
     .n = {0, 2, 8, 0, 0}},
    {.name = "attention, blocks",
     .function = run_attention_case,
     .in = {GC_IN(2, 2, 5, 3), GC_IN(2, 2, 7, 3), GC_IN(2, 2, 7, 2)},
     .n = {USE_BLOCKS}},
    {.name = "attention, blocks, causal",
     .function = run_attention_case,
     .in = {GC_IN(1, 2, 5, 3), GC_IN(1, 2, 7, 3), GC_IN(1, 2, 7, 2), GC_IN(2, 8)},
     .n = {USE_BLOCKS | USE_DISTANCE, 0, 99, 2}},
    {.name = "attention, dropout",
     .function = run_attention_case,
     .in = {QKV},
     .n = {USE_LSE, CAUSAL},
     .r = {0.4},
     .training = true},
    {.name = "attention, dropout and biases",
     .function = run_attention_case,
     .in = {QKV, GC_IN(2, 3), GC_IN(2, 3), GC_IN(2, 6, 3)},
     .n = {USE_CONTENT | USE_POSITION | USE_REL, CAUSAL},
     .r = {0.3},
     .training = true},
    {.name = "attention, no queries",
     .function = run_attention_case,
     .in = {GC_IN(2, 2, 0, 3), GC_IN(2, 2, 5, 3), GC_IN(2, 2, 5, 2)},
     .n = {USE_LSE}},
    {.name = "attention, no keys",
     .function = run_attention_case,
     .in = {GC_IN(2, 2, 4, 3), GC_IN(2, 2, 0, 3), GC_IN(2, 2, 0, 2)}},
    {.name = "attention, no batch",
     .function = run_attention_case,
     .in = {GC_IN(0, 2, 4, 3), GC_IN(0, 2, 5, 3), GC_IN(0, 2, 5, 2)}},
    {.name = "attention over three sources",
     .function = run_three_sources,
     .in = {GC_IN(1, 2, 3, 3), GC_IN(1, 2, 4, 3), GC_IN(1, 2, 3, 3), GC_IN(1, 2, 3, 3), GC_IN(1, 2, 2, 3),
            GC_IN(2, 3), GC_IN(2, 7, 3), GC_IN(1, 2, 2)}},
    {.name = "attention over three sources, dropout",
     .function = run_three_sources,
     .in = {GC_IN(1, 2, 3, 3), GC_IN(1, 2, 4, 3), GC_IN(1, 2, 3, 3), GC_IN(1, 2, 3, 3), GC_IN(1, 2, 2, 3),
            GC_IN(2, 3), GC_IN(2, 7, 3), GC_IN(1, 2, 2)},
     .r = {0.25},
     .training = true},
    {.name = "attention of itself", .function = run_attention_of_itself, .in = {GC_IN(2, 2, 4, 3)}},
    {.name = "attention of a joint projection",
     .function = run_attention_of_joint,
     .in = {GC_IN(2, 3, 12)},
     .n = {2}},
    {.name = "attention in two parts, merged",
     .function = run_merged_attention,
     .in = {GC_IN(2, 2, 3, 3), GC_IN(2, 2, 4, 3), GC_IN(2, 2, 4, 2), GC_IN(2, 2, 2, 3), GC_IN(2, 2, 2, 2)}},
    {.name = "merge",
     .function = run_merge_case,
     .in = {GC_IN(2, 2, 3, 2), GC_IN(2, 2, 3), GC_IN(2, 2, 3, 2), GC_IN(2, 2, 3)},
     .n = {1}},
    {.name = "merge, log-sum unused",
     .function = run_merge_case,
     .in = {GC_IN(2, 2, 3, 2), GC_IN(2, 2, 3), GC_IN(2, 2, 3, 2), GC_IN(2, 2, 3)}},
    {.name = "merge, empty",
     .function = run_merge_case,
     .in = {GC_IN(2, 2, 0, 2), GC_IN(2, 2, 0), GC_IN(2, 2, 0, 2), GC_IN(2, 2, 0)},
     .n = {1}},
};

#undef QKV
#undef FIXED_KV
#undef CAUSAL

#endif
