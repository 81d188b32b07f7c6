/* Random attention calls for the tests: every array twice, in double and in float, between guard zones. Gaps that
 * strides leave and the guard zones hold NaN in inputs, so that a kernel that reads them shows it in its results.
 */
#ifndef LH_TESTS_ATTENTION_PROBLEM_H
#define LH_TESTS_ATTENTION_PROBLEM_H

#include "base/memory.h"
#include "base/random.h"
#include "kernels/args.h"
#include "kernels/attention_register.h"
#include "kernels/half.h"
#include "kernels/table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GUARD 64
#define MAX_ARRAYS 128

/* What kind of calls to draw. */
typedef struct problem_limits {
    int64_t batch, heads, q_len, k_len, width, sources;
    bool other_layouts; /* blocks and gathered lists too */
    bool exotic;        /* zero strides, steps other than 1, empty arrays */
    bool shared;        /* sources share tables, queries are keys or values: gradients in one place */
} problem_limits;

typedef struct problem_array {
    char name[24];
    int64_t n;
    double *f64; /* first element, GUARD elements behind the block's start */
    float *f32;
    double *f64_start; /* gradients: what was there before, for restoring */
    bool output;
} problem_array;

typedef struct problem {
    lh_attention_args args; /* bound to the double arrays */
    lh_attention_args args_f32;
    problem_array arrays[MAX_ARRAYS];
    int count;
    void *owned[MAX_ARRAYS];
    int owned_count;
    lh_random random;
} problem;

static inline int64_t draw(problem *p, int64_t low, int64_t high)
{
    return high <= low ? low : low + (int64_t)lh_random_below(&p->random, (uint64_t)(high - low + 1));
}

static inline bool chance(problem *p, double probability)
{
    return lh_random_uniform(&p->random) < probability;
}

static inline void *own(problem *p, size_t bytes)
{
    void *data = lh_heap_alloc(bytes);
    assert_non_null(data);
    assert_true(p->owned_count < MAX_ARRAYS);
    p->owned[p->owned_count++] = data;
    return data;
}

/* An array of n elements, all NaN. Returns its index. */
static inline int add_array(problem *p, const char *name, int64_t n, bool output)
{
    assert_true(p->count < MAX_ARRAYS);
    problem_array *array = &p->arrays[p->count];
    snprintf(array->name, sizeof array->name, "%s", name);
    size_t total = (size_t)n + 2 * GUARD;
    array->n = n;
    array->output = output;
    array->f64 = (double *)lh_heap_alloc(total * sizeof(double)) + GUARD;
    array->f32 = (float *)lh_heap_alloc(total * sizeof(float)) + GUARD;
    array->f64_start = lh_heap_alloc(total * sizeof(double));
    for (int64_t i = -GUARD; i < n + GUARD; i++) {
        array->f64[i] = NAN;
        array->f32[i] = NAN;
    }
    return p->count++;
}

/* Copies the double values into the float ones, after rounding the doubles to float so that both are equal, and
 * remembers them. */
static inline void seal(problem *p)
{
    for (int a = 0; a < p->count; a++) {
        problem_array *array = &p->arrays[a];
        for (int64_t i = 0; i < array->n; i++) {
            array->f32[i] = (float)array->f64[i];
            array->f64[i] = (double)array->f32[i];
            array->f64_start[i] = array->f64[i];
        }
    }
}

/* Puts the starting values back in both versions. */
static inline void restore(problem *p)
{
    for (int a = 0; a < p->count; a++) {
        problem_array *array = &p->arrays[a];
        for (int64_t i = 0; i < array->n; i++) {
            array->f64[i] = array->f64_start[i];
            array->f32[i] = (float)array->f64_start[i];
        }
    }
}

static inline void check_guards(const problem *p)
{
    for (int a = 0; a < p->count; a++) {
        const problem_array *array = &p->arrays[a];
        for (int64_t i = 1; i <= GUARD; i++) {
            if (!isnan(array->f64[-i]) || !isnan(array->f32[-i]) || !isnan(array->f64[array->n + i - 1]) ||
                !isnan(array->f32[array->n + i - 1])) {
                fail_msg("something wrote outside of %s", array->name);
            }
        }
        for (int64_t i = 0; i < array->n; i++) {
            if (isnan(array->f64_start[i]) && !(isnan(array->f64[i]) && isnan(array->f32[i]))) {
                fail_msg("something wrote into a gap of %s", array->name);
            }
        }
    }
}

static inline double normal(problem *p)
{
    return lh_random_normal(&p->random);
}

/* A [batch, heads, length, width] array in one of several layouts; the values of elements that belong to it are
 * drawn, the gaps stay NaN. */
static inline lh_strided add_strided(problem *p, const char *name, int64_t batch, int64_t heads, int64_t length,
                                     int64_t width, bool may_repeat, bool output)
{
    lh_strided s = {0};
    int64_t kind = draw(p, 0, 3), gap = chance(p, 0.5) ? draw(p, 1, 19) : 0;
    if (kind == 0) { /* [B, T, H, D], part of a wider projection */
        s.head = width;
        s.row = heads * width + gap;
        s.batch = s.row * length;
    } else {
        s.row = width + (kind == 1 ? gap : 0);
        s.head = s.row * length;
        s.batch = s.head * heads;
    }
    if (may_repeat && chance(p, 0.1)) {
        s.batch = 0;
    }
    int64_t n = width > 0 && length > 0 && heads > 0 && batch > 0
                    ? (batch - 1) * s.batch + (heads - 1) * s.head + (length - 1) * s.row + width
                    : 0;
    int index = add_array(p, name, n, output);
    for (int64_t b = 0; b < batch; b++) {
        for (int64_t h = 0; h < heads; h++) {
            for (int64_t i = 0; i < length; i++) {
                for (int64_t c = 0; c < width; c++) {
                    p->arrays[index].f64[b * s.batch + h * s.head + i * s.row + c] = normal(p);
                }
            }
        }
    }
    s.data = p->arrays[index].f64;
    return s;
}

static inline void *add_plain(problem *p, const char *name, int64_t n, double size, bool output)
{
    int index = add_array(p, name, n, output);
    for (int64_t i = 0; i < n; i++) {
        p->arrays[index].f64[i] = size * normal(p);
    }
    return p->arrays[index].f64;
}

static inline void draw_visibility(problem *p, lh_attention_source *source)
{
    const lh_attention_args *args = &p->args;
    source->offset = source->k_len - args->q_len + (chance(p, 0.3) ? draw(p, -5, 5) : 0);
    source->min_distance = -LH_DISTANCE_ANY;
    source->max_distance = LH_DISTANCE_ANY;
    switch (draw(p, 0, 4)) {
    case 0: break;
    case 1: source->min_distance = 0; break;
    case 2:
        source->min_distance = draw(p, 0, 1);
        source->max_distance = draw(p, 1, source->k_len + 2);
        break;
    case 3:
        source->min_distance = -draw(p, 0, source->k_len + 1);
        source->max_distance = draw(p, 0, source->k_len + 1);
        break;
    default: source->min_distance = draw(p, -3, source->k_len + 3); break;
    }
    if (chance(p, 0.25)) {
        bool by_batch = chance(p, 0.7), by_head = chance(p, 0.3);
        source->interval_head = by_head ? args->q_len : 0;
        source->interval_batch = by_batch ? args->q_len * (by_head ? args->heads : 1) : 0;
        int64_t n = args->q_len * (by_head ? args->heads : 1) * (by_batch ? args->batch : 1);
        int32_t *low = own(p, (size_t)n * sizeof *low), *high = own(p, (size_t)n * sizeof *high);
        bool segments = chance(p, 0.5);
        for (int64_t i = 0; i < n; i++) {
            low[i] = segments && i > 0 && !chance(p, 0.2) ? low[i - 1] : (int32_t)draw(p, -2, source->k_len);
            high[i] = (int32_t)draw(p, segments ? low[i] : -2, source->k_len + 3);
        }
        source->low = chance(p, 0.8) ? low : NULL;
        source->high = chance(p, 0.8) ? high : NULL;
    }
}

static inline void draw_layout(problem *p, lh_attention_source *source)
{
    const lh_attention_args *args = &p->args;
    int64_t lanes = args->batch * args->heads;
    if (source->layout == LH_KEYS_GATHERED) {
        source->gathered = draw(p, 0, source->k_len + 2);
        int64_t n = lanes * args->q_len * source->gathered;
        int32_t *gather = own(p, (size_t)n * sizeof *gather);
        for (int64_t i = 0; i < n; i++) {
            gather[i] = source->k_len == 0 || chance(p, 0.2) ? -1 : (int32_t)draw(p, 0, source->k_len - 1);
        }
        source->gather = gather;
    } else if (source->layout == LH_KEYS_BLOCKS) {
        source->block_size = draw(p, 1, 5);
        int64_t blocks = lanes * ((args->q_len + source->block_size - 1) / source->block_size);
        int32_t *row = own(p, (size_t)(blocks + 1) * sizeof *row), *column_row = own(p, (size_t)(blocks + 1) * 4);
        int32_t *start = own(p, (size_t)blocks * 3 * sizeof *start), *column = own(p, (size_t)blocks * 3 * 4);
        for (int64_t block = 0; block < blocks; block++) {
            int64_t tiles = draw(p, 0, 3), columns = source->k_len > 0 ? draw(p, 0, 3) : 0;
            row[block + 1] = row[block] + (int32_t)tiles;
            column_row[block + 1] = column_row[block] + (int32_t)columns;
            for (int64_t t = 0; t < tiles; t++) {
                start[row[block] + t] = (int32_t)draw(p, -2, source->k_len);
            }
            for (int64_t t = 0; t < columns; t++) {
                column[column_row[block] + t] = (int32_t)draw(p, 0, source->k_len - 1);
            }
        }
        source->tile_row = row;
        source->tile_start = start;
        source->column_row = column_row;
        source->column = column;
    }
}

/* A table [heads, rel_len, width] with its strides; returns its gradient, or NULL if none is wanted. */
static inline void *draw_table(problem *p, const char *name, int64_t rel_len, int64_t width, bool exotic,
                               const void **table, int64_t *head, int64_t *row)
{
    int64_t heads = p->args.heads;
    *row = width + (chance(p, 0.3) ? 3 : 0);
    *head = *row * rel_len;
    if (chance(p, 0.3)) { /* [rel_len, heads, width] */
        *head = width;
        *row = heads * width;
    }
    if (exotic && chance(p, 0.1)) {
        *head = 0;
    }
    int64_t n = rel_len > 0 ? (heads - 1) * *head + (rel_len - 1) * *row + width : 0;
    void *gradient = NULL;
    char text[24];
    int copies = chance(p, 0.8) ? 2 : 1;
    for (int copy = 0; copy < copies; copy++) {
        snprintf(text, sizeof text, "%s%s", copy ? "d_" : "", name);
        int index = add_array(p, text, n, copy);
        for (int64_t h = 0; h < heads; h++) {
            for (int64_t t = 0; t < rel_len; t++) {
                for (int64_t c = 0; c < width; c++) {
                    p->arrays[index].f64[h * *head + t * *row + c] = normal(p);
                }
            }
        }
        if (copy) {
            gradient = p->arrays[index].f64;
        } else {
            *table = p->arrays[index].f64;
        }
    }
    return gradient;
}

static inline void draw_biases(problem *p, lh_attention_source *source, bool exotic)
{
    const lh_attention_args *args = &p->args;
    int64_t heads = args->heads, width = args->qk_width, longest = source->k_len + args->q_len;
    bool rel = chance(p, 0.4), rel_v = chance(p, rel ? 0.5 : 0.15), bias = chance(p, 0.4);
    if (rel || rel_v || bias) {
        source->rel_len = exotic && chance(p, 0.05) ? 0 : draw(p, 1, chance(p, 0.6) ? longest + 3 : 4);
        source->rel_step = exotic && chance(p, 0.3) ? draw(p, -2, 4) : 1;
        source->rel_offset = source->offset + draw(p, -2, 2);
        source->rel_first = chance(p, 0.5) ? 0 : draw(p, -longest, 2);
        source->rel_clamp = chance(p, 0.5);
        source->bias_scaled = chance(p, 0.5);
    }
    if (rel) {
        source->d_rel_k = draw_table(p, "rel_k", source->rel_len, width, exotic, &source->rel_k,
                                     &source->rel_k_head, &source->rel_k_row);
        if (chance(p, 0.7)) {
            source->position_bias = add_plain(p, "position_bias", heads * width, 1, false);
            source->d_position_bias =
                chance(p, 0.8) ? add_plain(p, "d_position_bias", heads * width, 1, true) : NULL;
        }
    }
    if (rel_v) {
        source->d_rel_v = draw_table(p, "rel_v", source->rel_len, args->v_width, exotic, &source->rel_v,
                                     &source->rel_v_head, &source->rel_v_row);
    }
    if (bias) {
        source->distance_bias = add_plain(p, "distance_bias", heads * source->rel_len, 1, false);
        source->d_distance_bias =
            chance(p, 0.8) ? add_plain(p, "d_distance_bias", heads * source->rel_len, 1, true) : NULL;
    }
    if (chance(p, 0.4)) {
        source->content_bias = add_plain(p, "content_bias", heads * width, 1, false);
        source->d_content_bias = chance(p, 0.8) ? add_plain(p, "d_content_bias", heads * width, 1, true) : NULL;
    }
    if (chance(p, 0.4)) {
        bool by_batch = chance(p, 0.7), by_head = chance(p, 0.4);
        source->key_bias_head = by_head ? source->k_len : 0;
        source->key_bias_batch = by_batch ? source->k_len * (by_head ? heads : 1) : 0;
        int64_t n = source->k_len * (by_head ? heads : 1) * (by_batch ? args->batch : 1);
        double *values = add_plain(p, "key_bias", n, 1, false);
        if (chance(p, 0.5)) {
            for (int64_t i = 0; i < n; i++) {
                values[i] = chance(p, 0.25) ? (double)-INFINITY : values[i];
            }
        }
        source->key_bias = values;
        source->d_key_bias = chance(p, 0.6) ? add_plain(p, "d_key_bias", n, 1, true) : NULL;
    }
}

/* The float array that stands beside a double one. */
static inline void *twin(const problem *p, const void *data)
{
    for (int a = 0; data && a < p->count; a++) {
        if (p->arrays[a].f64 == data) {
            return p->arrays[a].f32;
        }
    }
    return NULL;
}

static inline void bind_f32(problem *p)
{
    lh_attention_args *a = &p->args_f32;
    *a = p->args;
    a->q.data = twin(p, a->q.data);
    a->out.data = twin(p, a->out.data);
    a->lse = twin(p, a->lse);
    a->head_scale = twin(p, a->head_scale);
    a->d_out.data = twin(p, a->d_out.data);
    a->d_lse = twin(p, a->d_lse);
    a->d_q.data = twin(p, a->d_q.data);
    a->d_head_scale = twin(p, a->d_head_scale);
    for (int i = 0; i < a->source_count; i++) {
        lh_attention_source *s = &a->source[i];
        s->k.data = twin(p, s->k.data);
        s->v.data = twin(p, s->v.data);
        s->content_bias = twin(p, s->content_bias);
        s->position_bias = twin(p, s->position_bias);
        s->rel_k = twin(p, s->rel_k);
        s->rel_v = twin(p, s->rel_v);
        s->distance_bias = twin(p, s->distance_bias);
        s->key_bias = twin(p, s->key_bias);
        s->d_k.data = twin(p, s->d_k.data);
        s->d_v.data = twin(p, s->d_v.data);
        s->d_content_bias = twin(p, s->d_content_bias);
        s->d_position_bias = twin(p, s->d_position_bias);
        s->d_rel_k = twin(p, s->d_rel_k);
        s->d_rel_v = twin(p, s->d_rel_v);
        s->d_distance_bias = twin(p, s->d_distance_bias);
        s->d_key_bias = twin(p, s->d_key_bias);
    }
}

/* The float version of a source of lists reads keys or values in a short type; the double version reads what stands
 * there. */
static inline void store_short(problem *p, int index, bool values)
{
    const lh_attention_args *args = &p->args;
    lh_attention_source *source = &p->args.source[index], *stored = &p->args_f32.source[index];
    const lh_strided *rows = values ? &source->v : &source->k;
    int64_t width = values ? args->v_width : args->qk_width, size = stored->stored == LH_F16 ? 2 : 1, n = 0;
    for (int a = 0; a < p->count; a++) {
        n = p->arrays[a].f64 == rows->data ? p->arrays[a].n : n;
    }
    float *scale = own(p, (size_t)(args->batch * args->kv_heads * source->k_len) * sizeof *scale);
    char *data = own(p, (size_t)(n * size));
    memset(data, 0x7f, (size_t)(n * size)); /* NaN, or a large number */
    for (int64_t b = 0; b < args->batch; b++) {
        for (int64_t row = 0; row < args->kv_heads * source->k_len; row++) {
            double *x = (double *)rows->data + b * rows->batch + row / source->k_len * rows->head +
                        row % source->k_len * rows->row;
            char *y = data + (x - (double *)rows->data) * size;
            float factor = scale[b * args->kv_heads * source->k_len + row] =
                (values ? 0.02f : 0.01f) + 0.001f * (float)(row % 17);
            for (int64_t c = 0; c < width; c++) {
                if (size == 2) {
                    ((uint16_t *)(void *)y)[c] = lh_f16_from_double(x[c]);
                    x[c] = lh_f16_to_double(((uint16_t *)(void *)y)[c]);
                } else {
                    double level = b > 0 && rows->batch == 0 ? (double)y[c] : nearbyint(50 * tanh(x[c]));
                    ((int8_t *)y)[c] = (int8_t)level;
                    x[c] = (double)factor * level;
                }
            }
        }
    }
    *(values ? &stored->v_scale : &stored->k_scale) = scale;
    (values ? &stored->v : &stored->k)->data = data;
    (values ? &source->d_v : &source->d_k)->data = NULL;
    (values ? &stored->d_v : &stored->d_k)->data = NULL;
}

/* Source i uses the tables of the one before, often with keys that follow on its keys. */
static inline void share_tables(problem *p, int i)
{
    lh_attention_source *source = &p->args.source[i];
    const lh_attention_source *before = source - 1;
    if (!before->rel_len) {
        return;
    }
    source->rel_len = before->rel_len;
    source->rel_step = before->rel_step;
    source->rel_first = before->rel_first;
    source->rel_clamp = before->rel_clamp;
    source->bias_scaled = before->bias_scaled;
    source->rel_offset = chance(p, 0.5) ? before->rel_offset - before->k_len : before->rel_offset + draw(p, -9, 9);
    source->rel_k = before->rel_k;
    source->rel_v = before->rel_v;
    source->rel_k_head = before->rel_k_head;
    source->rel_k_row = before->rel_k_row;
    source->rel_v_head = before->rel_v_head;
    source->rel_v_row = before->rel_v_row;
    source->distance_bias = before->distance_bias;
    source->d_rel_k = before->d_rel_k;
    source->d_rel_v = before->d_rel_v;
    source->d_distance_bias = before->d_distance_bias;
    if (!source->rel_k) {
        source->position_bias = source->d_position_bias = NULL;
    }
}

/* The queries are the keys of source i, or its values too. */
static inline void share_queries(problem *p, int i)
{
    lh_attention_args *args = &p->args;
    lh_attention_source *source = &args->source[i];
    if (source->k_len != args->q_len || args->kv_heads != args->heads || !args->d_q.data) {
        return;
    }
    source->k = args->q;
    source->d_k = args->d_q;
    if (args->v_width == args->qk_width && chance(p, 0.5)) {
        source->v = args->q;
        source->d_v = args->d_q;
    }
}

/* Draws a call. out and lse are outputs of the forward pass; the gradients hold random numbers to be added to. */
static inline problem *problem_create(uint64_t seed, const problem_limits *limits)
{
    problem *p = lh_heap_alloc(sizeof *p);
    assert_non_null(p);
    p->random = lh_random_create(seed, 7);
    lh_attention_args *args = &p->args;
    args->batch = draw(p, 1, limits->batch);
    args->kv_heads = draw(p, 1, limits->heads);
    args->heads = args->kv_heads * draw(p, 1, limits->heads / args->kv_heads);
    args->q_len = limits->exotic && chance(p, 0.03) ? 0 : draw(p, 1, limits->q_len);
    args->qk_width = draw(p, 1, limits->width);
    args->v_width = chance(p, 0.5) ? args->qk_width : draw(p, 1, limits->width);
    args->q = add_strided(p, "q", args->batch, args->heads, args->q_len, args->qk_width, false, false);
    args->out = add_strided(p, "out", args->batch, args->heads, args->q_len, args->v_width, false, true);
    args->lse = add_plain(p, "lse", args->batch * args->heads * args->q_len, 1, true);
    args->d_out = add_strided(p, "d_out", args->batch, args->heads, args->q_len, args->v_width, false, false);
    args->scale = (chance(p, 0.9) ? 1 : -0.5) / sqrt((double)args->qk_width);
    if (chance(p, 0.3)) {
        args->head_scale = add_plain(p, "head_scale", args->heads, 1, false);
        args->d_head_scale = chance(p, 0.8) ? add_plain(p, "d_head_scale", args->heads, 1, true) : NULL;
    }
    args->has_null = chance(p, 0.2);
    args->null_logit = args->has_null ? normal(p) : 0;
    if (chance(p, 0.25)) {
        args->dropout = 0.5 * lh_random_uniform(&p->random);
        args->dropout_seed = lh_random_u64(&p->random);
        args->dropout_offset = lh_random_u64(&p->random);
    }
    if (chance(p, 0.5)) {
        args->d_lse = add_plain(p, "d_lse", args->batch * args->heads * args->q_len, 1, false);
    }
    if (chance(p, 0.9)) {
        args->d_q = add_strided(p, "d_q", args->batch, args->heads, args->q_len, args->qk_width, false, true);
    }
    args->source_count = (int)(limits->exotic && chance(p, 0.03) ? 0 : draw(p, 1, limits->sources));
    for (int i = 0; i < args->source_count; i++) {
        lh_attention_source *source = &args->source[i];
        if (limits->other_layouts && chance(p, 0.4)) {
            source->layout = chance(p, 0.5) ? LH_KEYS_BLOCKS : LH_KEYS_GATHERED;
        }
        source->k_len = limits->exotic && chance(p, 0.05) ? 0 : draw(p, 1, limits->k_len);
        source->k_len = limits->shared && i == 0 && chance(p, 0.6) ? args->q_len : source->k_len;
        source->k =
            add_strided(p, "k", args->batch, args->kv_heads, source->k_len, args->qk_width, limits->exotic, false);
        source->v =
            add_strided(p, "v", args->batch, args->kv_heads, source->k_len, args->v_width, limits->exotic, false);
        if (chance(p, 0.8)) {
            source->d_k =
                add_strided(p, "d_k", args->batch, args->kv_heads, source->k_len, args->qk_width, false, true);
        }
        if (chance(p, 0.8)) {
            source->d_v =
                add_strided(p, "d_v", args->batch, args->kv_heads, source->k_len, args->v_width, false, true);
        }
        draw_visibility(p, source);
        draw_layout(p, source);
        draw_biases(p, source, limits->exotic);
        if (limits->shared && i > 0 && chance(p, 0.7)) {
            share_tables(p, i);
        }
        if (limits->shared && chance(p, 0.3)) {
            share_queries(p, i);
        }
    }
    bind_f32(p);
    for (int i = 0; i < args->source_count; i++) {
        if (args->source[i].layout == LH_KEYS_GATHERED && chance(p, 0.6)) {
            p->args_f32.source[i].stored = chance(p, 0.5) ? LH_F16 : LH_I8;
            store_short(p, i, false);
            store_short(p, i, true);
        }
    }
    seal(p);
    return p;
}

static inline void problem_free(problem *p)
{
    check_guards(p);
    for (int a = 0; a < p->count; a++) {
        lh_heap_free(p->arrays[a].f64 - GUARD);
        lh_heap_free(p->arrays[a].f32 - GUARD);
        lh_heap_free(p->arrays[a].f64_start);
    }
    for (int i = 0; i < p->owned_count; i++) {
        lh_heap_free(p->owned[i]);
    }
    lh_heap_free(p);
}

#endif
