/* Logits of a panel of queries against a run of keys: what the forward and the backward pass and the mass kernel
 * share. A template: include it after attention_turn.h.
 *
 * A panel is PANEL neighbouring queries, one in each lane; a key is a row. So the softmax over keys needs no sums
 * across lanes, and neither keys nor values are packed or turned. Logits are in units of log 2: queries are
 * multiplied by scale * log2(e) once. */
#ifndef LH_KERNELS_ATTENTION_TILE_H
#define LH_KERNELS_ATTENTION_TILE_H

#define LOG2_E 1.4426950408889634
#define LN_2 0.6931471805599453

/* Keys in a run at most: the logits of a panel then take 16 KB. */
#if LANES == 16
#define RUN_KEYS 128
#else
#define RUN_KEYS 240
#endif
#define BAND_ROWS (RUN_KEYS + PANEL)
#define FINE_ROWS (RUN_KEYS + 2 * LANES)

/* Hands out 64-byte aligned parts of one block; with start NULL it only counts. */
typedef struct parts {
    char *start;
    size_t used;
} parts;

static void *take(parts *p, size_t bytes)
{
    void *part = p->start ? p->start + p->used : NULL;
    p->used += (bytes + 63) / 64 * 64;
    return part;
}

static float *take_floats(parts *p, int64_t count)
{
    return take(p, (size_t)count * sizeof(float));
}

static int64_t padded(int64_t width)
{
    return (width + LANES - 1) / LANES * LANES;
}

static float *lane_row(const lh_strided *array, int64_t b, int64_t h, int64_t i)
{
    return (float *)array->data + b * array->batch + h * array->head + i * array->row;
}

static void clear(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = 0;
    }
}

/* Some panels of queries of one head, ready for one source at a time. */
typedef struct query_tile {
    const lh_attention_args *args;
    const lh_attention_source *source;
    int64_t b, h, kv_head, first, live, panels; /* queries first .. first + live - 1 */
    float scale, scale2;                        /* scale * head_scale[h], and that times log2(e) */
    float *content, *position;                  /* [panels][qk_width][PANEL]: scale2 * (q + bias) */
    float *edge;         /* [panels][2][PANEL]: what the clamped ends of the relative tables add */
    int32_t *low, *high; /* [panels * PANEL]: keys each query sees */
    int32_t *bounds;     /* [panels][4]: seen by some: 0, 1; by all: 2, 3 */
    int32_t *row_key;    /* [panels * PANEL] of dropout */
    uint32_t threshold;
    float *band, *fine;                                    /* [BAND_ROWS][PANEL]; fine for values only */
    float *line;                                           /* [BAND_ROWS + LANES] */
    const float *rel_k, *rel_v, *distance_bias, *key_bias; /* of this head; key_bias of this batch entry, too */
} query_tile;

static void query_tile_parts(query_tile *tile, const lh_attention_args *args, int64_t panels, parts *p)
{
    bool position = false, values = false, edge = false;
    for (int s = 0; s < args->source_count; s++) {
        position |= args->source[s].rel_k != NULL;
        values |= args->source[s].rel_v != NULL;
        edge |= args->source[s].rel_clamp && (args->source[s].rel_k || args->source[s].distance_bias);
    }
    tile->args = args;
    tile->content = take_floats(p, panels * args->qk_width * PANEL);
    tile->position = position ? take_floats(p, panels * args->qk_width * PANEL) : NULL;
    tile->edge = edge ? take_floats(p, panels * 2 * PANEL) : NULL;
    tile->low = take(p, (size_t)(panels * PANEL) * sizeof(int32_t));
    tile->high = take(p, (size_t)(panels * PANEL) * sizeof(int32_t));
    tile->bounds = take(p, (size_t)(panels * 4) * sizeof(int32_t));
    tile->row_key = args->dropout > 0 ? take(p, (size_t)(panels * PANEL) * sizeof(int32_t)) : NULL;
    tile->band = position || values ? take_floats(p, BAND_ROWS * PANEL) : NULL;
    tile->fine = values ? take_floats(p, FINE_ROWS * PANEL) : NULL;
    tile->line = take_floats(p, BAND_ROWS + LANES);
}

static void query_tile_start(query_tile *tile, int64_t b, int64_t h, int64_t first, int64_t live)
{
    const lh_attention_args *args = tile->args;
    tile->b = b;
    tile->h = h;
    tile->kv_head = h / (args->heads / args->kv_heads);
    tile->first = first;
    tile->live = live;
    tile->panels = (live + PANEL - 1) / PANEL;
    double scale = args->scale * (args->head_scale ? (double)((const float *)args->head_scale)[h] : 1);
    tile->scale = (float)scale;
    tile->scale2 = (float)(scale * LOG2_E);
    tile->threshold = lh_dropout_threshold(args->dropout);
}

/* Which keys the queries see. Lanes behind the last query repeat it, so that they do not spoil the bounds. */
static void query_tile_look(query_tile *tile)
{
    for (int64_t p = 0; p < tile->panels; p++) {
        int32_t *bounds = tile->bounds + p * 4;
        bounds[0] = bounds[3] = INT32_MAX;
        bounds[1] = bounds[2] = 0;
        for (int64_t lane = p * PANEL; lane < (p + 1) * PANEL; lane++) {
            int64_t low = tile->low[lane - 1 + (lane == 0)], high = tile->high[lane - 1 + (lane == 0)];
            if (lane < tile->live) {
                lh_attention_interval(tile->source, tile->b, tile->h, tile->first + lane, &low, &high);
            }
            low = low < high ? low : INT32_MAX;
            high = low < high ? high : 0;
            tile->low[lane] = (int32_t)low;
            tile->high[lane] = (int32_t)high;
            bounds[0] = bounds[0] < low ? bounds[0] : (int32_t)low;
            bounds[1] = bounds[1] > high ? bounds[1] : (int32_t)high;
            bounds[2] = bounds[2] > low ? bounds[2] : (int32_t)low;
            bounds[3] = bounds[3] < high ? bounds[3] : (int32_t)high;
        }
    }
}

/* The distance bias at row t of the table, in logit units of log 2. */
static float bias_at(const query_tile *tile, int64_t t)
{
    float factor = tile->source->bias_scaled ? tile->scale2 : (float)LOG2_E;
    return tile->distance_bias ? factor * tile->distance_bias[t] : 0;
}

static void query_tile_source(query_tile *tile, int s)
{
    const lh_attention_args *args = tile->args;
    const lh_attention_source *source = &args->source[s];
    int64_t width = args->qk_width, h = tile->h;
    tile->source = source;
    tile->rel_k = source->rel_k ? (const float *)source->rel_k + h * source->rel_k_head : NULL;
    tile->rel_v = source->rel_v ? (const float *)source->rel_v + h * source->rel_v_head : NULL;
    tile->distance_bias = source->distance_bias ? (const float *)source->distance_bias + h * source->rel_len : NULL;
    tile->key_bias = source->key_bias ? (const float *)source->key_bias + tile->b * source->key_bias_batch +
                                            h * source->key_bias_head
                                      : NULL;
    if (source->rel_len <= 0) {
        tile->rel_k = tile->rel_v = tile->distance_bias = NULL;
    }
    query_tile_look(tile);
    for (int64_t lane = 0; tile->row_key && lane < tile->panels * PANEL; lane++) {
        tile->row_key[lane] = (int32_t)lh_attention_row_key(args->dropout_seed, args->dropout_offset,
                                                            tile->b * args->heads + h, tile->first + lane, s);
    }
    const float *content_bias = source->content_bias ? (const float *)source->content_bias + h * width : NULL;
    const float *position_bias = source->position_bias ? (const float *)source->position_bias + h * width : NULL;
    const float *q = (const float *)args->q.data + tile->b * args->q.batch + h * args->q.head;
    for (int64_t p = 0; p < tile->panels; p++) {
        const float *rows = q + (tile->first + p * PANEL) * args->q.row;
        int64_t live = tile->live - p * PANEL;
        turn_in(rows, args->q.row, live, width, tile->scale2, content_bias, tile->content + p * width * PANEL);
        if (tile->rel_k) {
            turn_in(rows, args->q.row, live, width, tile->scale2, position_bias,
                    tile->position + p * width * PANEL);
        }
        for (int end = 0; end < 2 && source->rel_clamp && (tile->rel_k || tile->distance_bias); end++) {
            float *edge = tile->edge + (p * 2 + end) * PANEL;
            int64_t t = end ? source->rel_len - 1 : 0;
            for (int64_t lane = 0; lane < PANEL; lane++) {
                edge[lane] = bias_at(tile, t);
            }
            if (tile->rel_k) {
                product_rows(1, width, tile->rel_k + t * source->rel_k_row, 0, tile->position + p * width * PANEL,
                             PANEL, edge, PANEL, true);
            }
        }
    }
}

/* Keys that one run of this source may have, so that the band of its distances fits. */
static int64_t run_keys(const lh_attention_source *source)
{
    int64_t step = source->rel_step < 0 ? -source->rel_step : source->rel_step;
    if ((!source->rel_k && !source->rel_v && !source->distance_bias) || step <= 1) {
        return RUN_KEYS;
    }
    return 1 + RUN_KEYS / step;
}

/* What relative positions add to the logits of one panel and run. */
typedef enum addition_kind { ADD_NOTHING, ADD_EDGE, ADD_LINE, ADD_BAND } addition_kind;
/* Where all pairs of the panel and run lie: outside of the table, at one clamped end, or some of them inside. */
typedef enum table_place { TABLE_MISSED, TABLE_FIRST, TABLE_LAST, TABLE_MET } table_place;

typedef struct addition {
    addition_kind kind;
    table_place place;
    const float *edge;  /* ADD_EDGE: one row of lanes for all keys */
    int64_t least;      /* the table's row (clamped or not) that the band's or the line's first row stands for */
    int64_t rows;       /* of the band or line */
    int64_t begin, end; /* rows of the band inside the table */
    int64_t start;      /* row of the band for the first query and the run's first key */
} addition;

/* Where the relative positions of a panel and a run of `count` keys from `key` on lie in the table. */
static addition addition_place(const query_tile *tile, int64_t panel, int64_t key, int64_t count)
{
    const lh_attention_source *source = tile->source;
    addition add = {.kind = ADD_NOTHING, .place = TABLE_MISSED};
    bool logits = tile->rel_k || tile->distance_bias;
    if (!logits && !tile->rel_v) {
        return add;
    }
    int64_t start = tile->first + panel * PANEL - source->rel_step * key + source->rel_offset - source->rel_first;
    int64_t span = source->rel_step * (count - 1);
    add.least = start - (span > 0 ? span : 0);
    add.rows = (span > 0 ? span : -span) + PANEL;
    add.start = start - add.least;
    int64_t last = add.least + add.rows - 1, top = source->rel_len - 1;
    if (source->rel_clamp && (last <= 0 || add.least >= top)) {
        add.place = last > 0 ? TABLE_LAST : TABLE_FIRST;
        add.kind = logits ? ADD_EDGE : ADD_NOTHING;
        add.edge = logits ? tile->edge + (panel * 2 + (last > 0)) * PANEL : NULL;
    } else if (last >= 0 && add.least <= top) {
        add.place = TABLE_MET;
        add.kind = tile->rel_k ? ADD_BAND : logits ? ADD_LINE : ADD_NOTHING;
        add.begin = add.least < 0 ? -add.least : 0;
        add.end = last > top ? top - add.least + 1 : add.rows;
    }
    return add;
}

/* band[begin .. end-1] = edge, or zero */
static void fill_rows(float *band, int64_t begin, int64_t end, const float *edge)
{
    for (int64_t lane = 0; lane < PANEL; lane += LANES) {
        vector x = edge ? v_load(edge + lane) : v_zero();
        for (int64_t row = begin; row < end; row++) {
            v_store(band + row * PANEL + lane, x);
        }
    }
}

/* The band's rows that lie inside a table of rows of `width`: row t times the panel. */
static void band_inside(const addition *add, const float *table, int64_t stride, int64_t width, const float *panel,
                        float *band)
{
    product_rows(add->end - add->begin, width, table + (add->least + add->begin) * stride, stride, panel, PANEL,
                 band + add->begin * PANEL, PANEL, false);
}

/* The band's rows outside of the table (edge [2][PANEL], or NULL for zeros) and the fine part of its shear. */
static void band_finish(const addition *add, const float *edge, float *band)
{
    fill_rows(band, 0, add->begin, edge);
    fill_rows(band, add->end, add->rows, edge ? edge + PANEL : NULL);
    for (int64_t lane = 0; lane < PANEL; lane += LANES) {
        int64_t last = add->rows - (PANEL - LANES) + lane - 3; /* rows from `lane` on are read by this vector */
        for (int64_t row = lane; row < last; row++) {
            v_store(band + row * PANEL + lane, v_shear_fine(band + row * PANEL + lane, PANEL));
        }
    }
}

/* Fills the line of biases, or the band of (q + position_bias) . rel_k + bias, each row for one distance; then
 * shears the band by its fine part. */
static void addition_fill(query_tile *tile, int64_t panel, const addition *add)
{
    const lh_attention_source *source = tile->source;
    float *band = tile->band, *line = tile->line;
    bool clamp = source->rel_clamp;
    if (tile->distance_bias) {
        for (int64_t row = 0; row < add->rows; row++) {
            int64_t t = row < add->begin ? 0 : row < add->end ? add->least + row : source->rel_len - 1;
            line[row] = clamp || (row >= add->begin && row < add->end) ? bias_at(tile, t) : 0;
        }
    }
    if (add->kind != ADD_BAND) {
        return;
    }
    int64_t width = tile->args->qk_width;
    band_inside(add, tile->rel_k, source->rel_k_row, width, tile->position + panel * width * PANEL, band);
    for (int64_t row = add->begin; tile->distance_bias && row < add->end; row++) {
        for (int64_t lane = 0; lane < PANEL; lane += LANES) {
            float *at = band + row * PANEL + lane;
            v_store(at, v_add(v_load(at), v_set(line[row])));
        }
    }
    band_finish(add, clamp ? tile->edge + panel * 2 * PANEL : NULL, band);
}

/* Adds to rows begin .. end-1 of the logits what they lack, and hides what is not to be seen. */
static ALWAYS_INLINE void finish_rows(const query_tile *tile, int64_t panel, const addition *add,
                                      const addition_kind kind, const bool hide, int64_t key, int64_t begin,
                                      int64_t end, const float *key_bias, float *logits)
{
    int64_t step = tile->source->rel_step;
    for (int64_t lane = 0; lane < PANEL; lane += LANES) {
        vector_int low = v_load_int(tile->low + panel * PANEL + lane);
        vector_int high = v_load_int(tile->high + panel * PANEL + lane);
        vector edge = kind == ADD_EDGE ? v_load(add->edge + lane) : v_zero();
        for (int64_t r = begin; r < end; r++) {
            vector x = v_load(logits + r * PANEL + lane);
            int64_t row = add->start - step * r + lane;
            if (kind == ADD_EDGE) {
                x = v_add(x, edge);
            } else if (kind == ADD_LINE) {
                x = v_add(x, v_load(tile->line + row));
            } else if (kind == ADD_BAND) {
                x = v_add(x, v_shear_coarse(tile->band + row * PANEL + lane, PANEL));
            }
            if (key_bias) {
                x = v_add(x, v_set(key_bias[r] * (float)LOG2_E));
            }
            if (hide) {
                x = v_visible(x, low, high, (int32_t)(key + r));
            }
            v_store(logits + r * PANEL + lane, x);
        }
    }
}

static void finish_part(const query_tile *tile, int64_t panel, const addition *add, bool hide, int64_t key,
                        int64_t begin, int64_t end, const float *key_bias, float *logits)
{
    if (begin >= end || (add->kind == ADD_NOTHING && !hide && !key_bias)) {
        return;
    }
    switch (add->kind * 2 + hide) {
    case ADD_NOTHING * 2:
        finish_rows(tile, panel, add, ADD_NOTHING, false, key, begin, end, key_bias, logits);
        break;
    case ADD_EDGE * 2: finish_rows(tile, panel, add, ADD_EDGE, false, key, begin, end, key_bias, logits); break;
    case ADD_LINE * 2: finish_rows(tile, panel, add, ADD_LINE, false, key, begin, end, key_bias, logits); break;
    case ADD_BAND * 2: finish_rows(tile, panel, add, ADD_BAND, false, key, begin, end, key_bias, logits); break;
    case ADD_NOTHING * 2 + 1:
        finish_rows(tile, panel, add, ADD_NOTHING, true, key, begin, end, key_bias, logits);
        break;
    case ADD_EDGE * 2 + 1: finish_rows(tile, panel, add, ADD_EDGE, true, key, begin, end, key_bias, logits); break;
    case ADD_LINE * 2 + 1: finish_rows(tile, panel, add, ADD_LINE, true, key, begin, end, key_bias, logits); break;
    default: finish_rows(tile, panel, add, ADD_BAND, true, key, begin, end, key_bias, logits); break;
    }
}

/* The part of the run of keys key .. key + count - 1 that a panel sees at all: rows *begin .. *end - 1. */
static bool panel_sees(const query_tile *tile, int64_t panel, int64_t key, int64_t count, int64_t *begin,
                       int64_t *end)
{
    const int32_t *bounds = tile->bounds + panel * 4;
    *begin = lh_attention_max(0, bounds[0] - key);
    *end = lh_attention_min(count, bounds[1] - key);
    return *begin < *end;
}

/* logits[r][lane] of `count` keys from `key` on, whose rows begin at k; -infinity where a query does not see a key.
 * key_bias is that of the first key, or NULL. Returns what was added for relative positions. */
static addition panel_logits(query_tile *tile, int64_t panel, int64_t key, int64_t count, const float *k,
                             int64_t ldk, const float *key_bias, float *logits)
{
    int64_t width = tile->args->qk_width;
    const int32_t *bounds = tile->bounds + panel * 4;
    product_rows(count, width, k, ldk, tile->content + panel * width * PANEL, PANEL, logits, PANEL, false);
    addition add = addition_place(tile, panel, key, count);
    if (add.kind == ADD_LINE || add.kind == ADD_BAND) {
        addition_fill(tile, panel, &add);
    }
    int64_t all_begin = lh_attention_min(count, lh_attention_max(0, bounds[2] - key));
    int64_t all_end = lh_attention_max(all_begin, lh_attention_min(count, bounds[3] - key));
    finish_part(tile, panel, &add, true, key, 0, all_begin, key_bias, logits);
    finish_part(tile, panel, &add, false, key, all_begin, all_end, key_bias, logits);
    finish_part(tile, panel, &add, true, key, all_end, count, key_bias, logits);
    return add;
}

#endif
