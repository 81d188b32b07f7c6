/* The backward pass, tile by tile. A template: include it after attention_forward.h.
 *
 * For each chunk of keys and each tile of queries the weights are computed anew from the logits and lse; then
 *     d weight = d_out . v        d logit = weight * (d weight - shift),   shift = d_out . out - d_lse
 *     d_v += weight d_out         d_k += d logit q          d_q += d logit k
 * (Dao et al. 2022, with the gradient of lse added). The gradients of relative positions are the logits' way back:
 * the band of d logits is sheared back and multiplied with rel_k and with q. */
#ifndef LH_KERNELS_ATTENTION_BACKWARD_H
#define LH_KERNELS_ATTENTION_BACKWARD_H

#define TILE_PANELS (64 / PANEL)
#define TILE_QUERIES (TILE_PANELS * PANEL)
#define TILE_STRIDE (TILE_QUERIES + LANES) /* of weights and d_logits: not a power of two */
#define BACKWARD_KEYS (LANES == 16 ? 128 : 120)
#define CHUNK_RUNS 2

static int64_t backward_run_keys(const lh_attention_source *source)
{
    int64_t keys = lh_attention_min(run_keys(source), BACKWARD_KEYS), step = source->rel_step;
    step = step < 0 ? -step : step;
    /* d_rel holds the distances of BACKWARD_KEYS keys a step of 1 apart, fewer of them at larger steps */
    bool tables = source->rel_k || source->rel_v || source->distance_bias;
    return tables && step > 1 ? lh_attention_min(keys, 1 + BACKWARD_KEYS / step) : keys;
}

#include "kernels/attention_apart.h"

/* Sums of one task for parameters that many tasks share, one set for each head of the group. */
typedef struct shared_sums {
    float *content_bias, *position_bias; /* [padded(qk_width)] */
    float *edge_rel;                     /* [2][padded(qk_width)]: rows of rel_k at the clamped ends */
    float *edge_rel_v;                   /* [2][padded(v_width)] */
    float edge_bias[2];
    double head_scale;
} shared_sums;

typedef struct backward_work {
    const lh_attention_args *args;
    query_tile tile;
    float *d_out_turned;                          /* [panels][v_width][PANEL] */
    float *d_out, *q_content, *q_position;        /* [TILE_QUERIES][padded width]; q times scale */
    float *lse2, *shift;                          /* [TILE_QUERIES] */
    float *logits, *d_weights;                    /* [BACKWARD_KEYS][PANEL] */
    float *weights, *d_logits;                    /* [BACKWARD_KEYS][TILE_STRIDE], with LANES rows around */
    float *fine;                                  /* [BACKWARD_KEYS + 2 LANES][PANEL] */
    float *d_band;                                /* [BAND_ROWS][PANEL] */
    float *d_lines;                               /* [LANES][BAND_ROWS + LANES] */
    float *d_edge;                                /* [panels][2][PANEL] */
    float *value_edge, *d_value_edge;             /* the same: rel_v's ends times d_out; sums of weights on them */
    float *d_content, *d_position;                /* [panels][qk_width][PANEL] */
    float *d_rel, *d_bias;                        /* [BACKWARD_KEYS + TILE_QUERIES][padded qk_width], [same] */
    float *d_rel_v;                               /* [BACKWARD_KEYS + TILE_QUERIES][padded v_width] */
    float *k, *v, *d_k, *d_v, *d_key_bias;        /* of the chunk */
    float *turned;                                /* [PANEL][qk_width] */
    int64_t ldq, ldv;                             /* padded widths */
    int64_t rel_least, rel_begin, rel_end;        /* d_rel's first row in the table; the rows in use */
    int64_t begin[TILE_PANELS], end[TILE_PANELS]; /* rows of the run that each panel sees */
    shared_sums *shared;                          /* [group] */
    /* the task */
    int64_t key, count; /* keys of the chunk */
    const float *k_rows, *v_rows;
    int64_t ldk, ldvr;
} backward_work;

static size_t backward_parts(backward_work *work, const lh_attention_args *args, char *memory)
{
    parts p = {.start = memory};
    int64_t width = args->qk_width, v_width = args->v_width, chunk = BACKWARD_KEYS * CHUNK_RUNS;
    int64_t group = args->heads / args->kv_heads, ldq = padded(width), ldv = padded(v_width);
    bool values = false;
    for (int s = 0; s < args->source_count; s++) {
        values |= args->source[s].rel_v != NULL;
    }
    work->args = args;
    work->ldq = ldq;
    work->ldv = ldv;
    query_tile_parts(&work->tile, args, TILE_PANELS, &p);
    work->d_out_turned = take_floats(&p, TILE_QUERIES * v_width);
    work->d_out = take_floats(&p, TILE_QUERIES * ldv);
    work->q_content = take_floats(&p, TILE_QUERIES * ldq);
    work->q_position = take_floats(&p, TILE_QUERIES * ldq);
    work->lse2 = take_floats(&p, TILE_QUERIES);
    work->shift = take_floats(&p, TILE_QUERIES);
    work->logits = take_floats(&p, BACKWARD_KEYS * PANEL);
    work->d_weights = take_floats(&p, BACKWARD_KEYS * PANEL);
    work->weights = take_floats(&p, (BACKWARD_KEYS + 2 * LANES) * TILE_STRIDE);
    work->d_logits = take_floats(&p, (BACKWARD_KEYS + 2 * LANES) * TILE_STRIDE);
    if (memory) { /* nothing is added to the null pointer of the call that only asks for the size */
        work->weights += LANES * TILE_STRIDE;
        work->d_logits += LANES * TILE_STRIDE;
    }
    work->fine = take_floats(&p, (BACKWARD_KEYS + 2 * LANES) * PANEL);
    work->d_band = take_floats(&p, BAND_ROWS * PANEL);
    work->d_lines = take_floats(&p, LANES * (BAND_ROWS + LANES));
    work->d_edge = take_floats(&p, TILE_QUERIES * 2);
    work->value_edge = take_floats(&p, TILE_QUERIES * 2);
    work->d_value_edge = take_floats(&p, TILE_QUERIES * 2);
    work->d_content = take_floats(&p, TILE_QUERIES * width);
    work->d_position = take_floats(&p, TILE_QUERIES * width);
    work->d_rel = take_floats(&p, (BACKWARD_KEYS + TILE_QUERIES) * ldq);
    work->d_bias = take_floats(&p, BACKWARD_KEYS + TILE_QUERIES);
    work->d_rel_v = values ? take_floats(&p, (BACKWARD_KEYS + TILE_QUERIES) * ldv) : NULL;
    work->k = take_floats(&p, chunk * width);
    work->v = take_floats(&p, chunk * v_width);
    work->d_k = take_floats(&p, chunk * ldq);
    work->d_v = take_floats(&p, chunk * ldv);
    work->d_key_bias = take_floats(&p, chunk);
    work->turned = take_floats(&p, PANEL * width);
    work->shared = take(&p, (size_t)group * sizeof *work->shared);
    for (int64_t g = 0; g < group; g++) {
        float *content_bias = take_floats(&p, ldq), *position_bias = take_floats(&p, ldq);
        float *edge_rel = take_floats(&p, 2 * ldq), *edge_rel_v = take_floats(&p, 2 * ldv);
        if (memory) {
            work->shared[g].content_bias = content_bias;
            work->shared[g].position_bias = position_bias;
            work->shared[g].edge_rel = edge_rel;
            work->shared[g].edge_rel_v = edge_rel_v;
        }
    }
    return p.used;
}

/* What a tile of queries needs for this source: q and d_out in both directions, lse and shift. */
static void backward_tile_start(backward_work *work, int64_t b, int64_t h, int64_t first, int s, const float *shift)
{
    const lh_attention_args *args = work->args;
    const lh_attention_source *source = &args->source[s];
    query_tile *tile = &work->tile;
    int64_t live = lh_attention_min(TILE_QUERIES, args->q_len - first), width = args->qk_width,
            v_width = args->v_width;
    query_tile_start(tile, b, h, first, live);
    query_tile_source(tile, s);
    int64_t lanes = tile->panels * PANEL, lane0 = (b * args->heads + h) * args->q_len + first;
    const float *d_out = lane_row(&args->d_out, b, h, first), *q = lane_row(&args->q, b, h, first);
    for (int64_t p = 0; p < tile->panels; p++) {
        turn_in(d_out + p * PANEL * args->d_out.row, args->d_out.row, live - p * PANEL, v_width, 1, NULL,
                work->d_out_turned + p * v_width * PANEL);
    }
    const float *lse = (const float *)args->lse + lane0;
    for (int64_t i = 0; i < lanes; i++) { /* an infinite lse gives weights 0 */
        bool counts = i < live && lse[i] != -INFINITY;
        work->lse2[i] = counts ? (float)((double)lse[i] * LOG2_E) : INFINITY;
        work->shift[i] = counts ? shift[lane0 + i] : 0;
    }
    copy_rows(d_out, args->d_out.row, live, v_width, 1, NULL, work->d_out, work->ldv);
    const float *bias = source->content_bias ? (const float *)source->content_bias + h * width : NULL;
    copy_rows(q, args->q.row, live, width, tile->scale, bias, work->q_content, work->ldq);
    if (tile->rel_k) {
        bias = source->position_bias ? (const float *)source->position_bias + h * width : NULL;
        copy_rows(q, args->q.row, live, width, tile->scale, bias, work->q_position, work->ldq);
    }
    clear(work->d_out + live * work->ldv, (lanes - live) * work->ldv);
    clear(work->q_content + live * work->ldq, (lanes - live) * work->ldq);
    clear(work->q_position + live * work->ldq, (lanes - live) * work->ldq);
    clear(work->d_content, lanes * width);
    clear(work->d_position, lanes * width);
    clear(work->d_edge, lanes * 2);
    clear(work->d_value_edge, lanes * 2);
    for (int64_t p = 0; p < tile->panels * 2 && tile->rel_v && source->rel_clamp; p++) {
        product_rows(1, v_width, tile->rel_v + (p % 2 ? source->rel_len - 1 : 0) * source->rel_v_row, 0,
                     work->d_out_turned + p / 2 * v_width * PANEL, PANEL, work->value_edge + p * PANEL, PANEL,
                     false);
    }
}

/* weights and d_logits of rows begin .. end-1 of the run for one panel, from logits and d_weights. */
static void backward_weights(backward_work *work, int64_t panel, int64_t key, int64_t begin, int64_t end)
{
    const query_tile *tile = &work->tile;
    float keep = tile->row_key ? (float)lh_attention_keep_scale(work->args->dropout) : 1;
    for (int64_t lane = 0; lane < PANEL; lane += LANES) {
        vector lse2 = v_load(work->lse2 + panel * PANEL + lane), shift = v_load(work->shift + panel * PANEL + lane);
        const float *logits = work->logits + lane, *d_weights = work->d_weights + lane;
        float *weights = work->weights + begin * TILE_STRIDE + panel * PANEL + lane;
        float *d_logits = work->d_logits + begin * TILE_STRIDE + panel * PANEL + lane;
        if (!tile->row_key) {
            for (int64_t r = 0; r < end - begin; r++) {
                vector weight = v_exp2(v_subtract(v_load(logits + r * PANEL), lse2));
                v_store(weights + r * TILE_STRIDE, weight);
                v_store(d_logits + r * TILE_STRIDE,
                        v_multiply(weight, v_subtract(v_load(d_weights + r * PANEL), shift)));
            }
            continue;
        }
        vector_int row_key = v_load_int(tile->row_key + panel * PANEL + lane);
        for (int64_t r = 0; r < end - begin; r++) {
            vector weight = v_exp2(v_subtract(v_load(logits + r * PANEL), lse2));
            vector kept = v_drop(v_set(keep), row_key, (uint32_t)(key + begin + r), tile->threshold);
            v_store(weights + r * TILE_STRIDE, v_multiply(weight, kept));
            v_store(d_logits + r * TILE_STRIDE,
                    v_multiply(weight, v_subtract(v_multiply(kept, v_load(d_weights + r * PANEL)), shift)));
        }
    }
}

#include "kernels/attention_backward_relative.h"

/* C += A B where A is weights or d_logits of the run and B rows of the tile: for each stretch of keys over the
 * panels that see it. */
static void key_product(const backward_work *work, const float *a, const float *b, int64_t ldb, int64_t width,
                        float *c)
{
    int64_t panels = work->tile.panels, last = 0;
    for (int64_t p = 0; p < panels; p++) {
        last = lh_attention_max(last, work->end[p]);
    }
    for (int64_t from = 0, to; from < last; from = to) {
        to = last;
        for (int64_t p = 0; p < panels; p++) {
            to = work->begin[p] > from ? lh_attention_min(to, work->begin[p]) : to;
            to = work->end[p] > from ? lh_attention_min(to, work->end[p]) : to;
        }
        for (int64_t p = 0, next; p < panels; p = next) {
            next = p;
            while (next < panels && work->begin[next] <= from && work->end[next] >= to) {
                next++;
            }
            if (next > p) {
                wide_product_rows(to - from, width, (next - p) * PANEL, a + from * TILE_STRIDE + p * PANEL,
                                  TILE_STRIDE, b + p * PANEL * ldb, ldb, c + from * ldb, ldb);
            } else {
                next++;
            }
        }
    }
}

/* One run of keys, at row `at` of the chunk, for all panels of the tile. */
static void backward_run(backward_work *work, int64_t at, int64_t count)
{
    query_tile *tile = &work->tile;
    const lh_attention_source *source = tile->source;
    int64_t width = work->args->qk_width, v_width = work->args->v_width, key = work->key + at;
    const float *k = work->k_rows + at * work->ldk, *v = work->v_rows + at * work->ldvr;
    bool some = false;
    work->rel_least = addition_place(tile, 0, key, count).least;
    for (int64_t panel = 0; panel < tile->panels; panel++) {
        int64_t begin, end;
        if (!panel_sees(tile, panel, key, count, &begin, &end)) {
            work->begin[panel] = work->end[panel] = 0;
            continue;
        }
        some = true;
        work->begin[panel] = begin;
        work->end[panel] = end;
        const float *key_bias = tile->key_bias ? tile->key_bias + key + begin : NULL;
        addition add = panel_logits(tile, panel, key + begin, end - begin, k + begin * work->ldk, work->ldk,
                                    key_bias, work->logits);
        product_rows(end - begin, v_width, v + begin * work->ldvr, work->ldvr,
                     work->d_out_turned + panel * v_width * PANEL, PANEL, work->d_weights, PANEL, false);
        add_relative_d_weights(work, panel, end - begin, &add);
        backward_weights(work, panel, key, begin, end);
        const float *d_logits = work->d_logits + begin * TILE_STRIDE + panel * PANEL;
        product_turned(width, end - begin, k + begin * work->ldk, work->ldk, d_logits, TILE_STRIDE,
                       work->d_content + panel * width * PANEL, PANEL, true);
        relative_gradient(work, panel, begin, end - begin, &add);
        relative_value_gradient(work, panel, begin, end - begin, &add);
        for (int64_t r = begin; source->d_key_bias && r < end; r++) {
            const float *x = work->d_logits + r * TILE_STRIDE + panel * PANEL;
            work->d_key_bias[at + r] += v_sum(v_add(v_load(x), v_load(x + LANES)));
        }
    }
    if (!some) {
        return;
    }
    if (source->d_v.data) {
        key_product(work, work->weights, work->d_out, work->ldv, v_width, work->d_v + at * work->ldv);
    }
    if (source->d_k.data) {
        key_product(work, work->d_logits, work->q_content, work->ldq, width, work->d_k + at * work->ldq);
    }
    if (work->rel_begin < work->rel_end) {
        flush_tables(work);
    }
}

/* sum[c] += factor * sum over lanes of panel[c] */
static void add_channels(const float *panel, int64_t width, float factor, float *sum)
{
    for (int64_t c = 0; c < width; c++) {
        sum[c] += factor * v_sum(v_add(v_load(panel + c * PANEL), v_load(panel + c * PANEL + LANES)));
    }
}

/* Sum over queries and channels of (q + bias) times the gradient before scaling: what head_scale's gradient needs.
 */
static double scale_gradient(backward_work *work, int64_t panel, const float *gradient, const float *bias)
{
    const query_tile *tile = &work->tile;
    int64_t width = work->args->qk_width, live = lh_attention_min(PANEL, tile->live - panel * PANEL);
    const float *q = lane_row(&work->args->q, tile->b, tile->h, tile->first + panel * PANEL);
    double sum = 0;
    turn_out(gradient, live, width, 1, work->turned, width, false);
    for (int64_t i = 0; i < live; i++) {
        for (int64_t c = 0; c < width; c++) {
            float with_bias = q[i * work->args->q.row + c] + (bias ? bias[c] : 0);
            sum += (double)with_bias * (double)work->turned[i * width + c];
        }
    }
    return sum;
}

/* Adds what the tile gathered to d_q and to the sums of the task. */
static void backward_tile_end(backward_work *work)
{
    const lh_attention_args *args = work->args;
    query_tile *tile = &work->tile;
    const lh_attention_source *source = tile->source;
    int64_t width = args->qk_width, h = tile->h;
    shared_sums *shared = &work->shared[h % (args->heads / args->kv_heads)];
    for (int64_t panel = 0; panel < tile->panels; panel++) {
        float *d_content = work->d_content + panel * width * PANEL,
              *d_position = work->d_position + panel * width * PANEL;
        int64_t live = lh_attention_min(PANEL, tile->live - panel * PANEL);
        for (int end = 0; end < 2 && source->rel_clamp && (tile->rel_k || tile->distance_bias); end++) {
            float *edge = work->d_edge + (panel * 2 + end) * PANEL;
            if (tile->rel_k) {
                const float *rel = tile->rel_k + (end ? source->rel_len - 1 : 0) * source->rel_k_row;
                product_turned(width, 1, rel, 0, edge, PANEL, d_position, PANEL, true);
                wide_product_rows(1, width, PANEL, edge, 0, work->q_position + panel * PANEL * work->ldq, work->ldq,
                                  shared->edge_rel + end * work->ldq, work->ldq);
            }
            shared->edge_bias[end] += v_sum(v_add(v_load(edge), v_load(edge + LANES)));
        }
        for (int end = 0; end < 2 && source->rel_clamp && tile->rel_v && source->d_rel_v; end++) {
            wide_product_rows(1, args->v_width, PANEL, work->d_value_edge + (panel * 2 + end) * PANEL, 0,
                              work->d_out + panel * PANEL * work->ldv, work->ldv,
                              shared->edge_rel_v + end * work->ldv, work->ldv);
        }
        if (args->d_head_scale) {
            const float *content_bias = source->content_bias, *position_bias = source->position_bias;
            shared->head_scale +=
                scale_gradient(work, panel, d_content, content_bias ? content_bias + h * width : NULL);
            if (tile->rel_k) {
                shared->head_scale +=
                    scale_gradient(work, panel, d_position, position_bias ? position_bias + h * width : NULL);
            }
        }
        if (source->d_content_bias) {
            add_channels(d_content, width, tile->scale, shared->content_bias);
        }
        if (source->d_position_bias && tile->rel_k) {
            add_channels(d_position, width, tile->scale, shared->position_bias);
        }
        if (args->d_q.data) {
            if (tile->rel_k) {
                for (int64_t at = 0; at < width * PANEL; at += LANES) {
                    v_store(d_content + at, v_add(v_load(d_content + at), v_load(d_position + at)));
                }
            }
            turn_out(d_content, live, width, tile->scale,
                     lane_row(&args->d_q, tile->b, h, tile->first + panel * PANEL), args->d_q.row, true);
        }
    }
}

/* Adds the sums of a task to the parameters' gradients. */
static void flush_shared(backward_work *work, const backward_order *order, const backward_task *task)
{
    const lh_attention_args *args = work->args;
    const lh_attention_source *source = &args->source[task->s];
    int64_t width = args->qk_width, group = args->heads / args->kv_heads;
    for (int64_t g = 0; g < group; g++) {
        int64_t h = task->kv_head * group + g;
        const shared_sums *sums = &work->shared[g];
        double head_scale = args->head_scale ? (double)((const float *)args->head_scale)[h] : 1;
        float bias_factor = source->bias_scaled ? (float)(args->scale * head_scale) : 1;
        double d_head_scale = sums->head_scale;
        float *edges = order->edges[task->s] ? order->edges[task->s] + h * edge_floats(args) : NULL;
        if (source->d_content_bias) {
            add_to((float *)source->d_content_bias + h * width, sums->content_bias, width, 1);
        }
        if (source->d_position_bias) {
            add_to((float *)source->d_position_bias + h * width, sums->position_bias, width, 1);
        }
        for (int end = 0; end < 2 && source->rel_clamp && source->rel_len > 0; end++) {
            int64_t t = end ? source->rel_len - 1 : 0;
            if (edges) {
                add_to(edges + end * work->ldq, sums->edge_rel + end * work->ldq, width, 1);
                add_to(edges + 2 * work->ldq + end * work->ldv, sums->edge_rel_v + end * work->ldv, args->v_width,
                       1);
                edges[2 * (work->ldq + work->ldv) + end] += bias_factor * sums->edge_bias[end];
            }
            if (source->distance_bias && source->bias_scaled) {
                d_head_scale += (double)((const float *)source->distance_bias)[h * source->rel_len + t] *
                                (double)sums->edge_bias[end];
            }
        }
        if (args->d_head_scale) {
            ((float *)args->d_head_scale)[h] += (float)(args->scale * d_head_scale);
        }
    }
}

static void backward_chunk_start(backward_work *work, const backward_task *task, int64_t chunk_keys)
{
    const lh_attention_args *args = work->args;
    const lh_attention_source *source = &args->source[task->s];
    int64_t width = args->qk_width, v_width = args->v_width, group = args->heads / args->kv_heads;
    work->key = task->chunk * chunk_keys;
    work->count = lh_attention_min(chunk_keys, source->k_len - work->key);
    work->k_rows = lane_row(&source->k, task->b, task->kv_head, work->key);
    work->v_rows = lane_row(&source->v, task->b, task->kv_head, work->key);
    work->ldk = source->k.row;
    work->ldvr = source->v.row;
    if (work->ldk != width) {
        copy_rows(work->k_rows, work->ldk, work->count, width, 1, NULL, work->k, width);
        work->k_rows = work->k;
        work->ldk = width;
    }
    if (work->ldvr != v_width) {
        copy_rows(work->v_rows, work->ldvr, work->count, v_width, 1, NULL, work->v, v_width);
        work->v_rows = work->v;
        work->ldvr = v_width;
    }
    clear(work->d_k, work->count * work->ldq);
    clear(work->d_v, work->count * work->ldv);
    clear(work->d_key_bias, work->count);
    clear(work->d_rel, (BACKWARD_KEYS + TILE_QUERIES) * work->ldq);
    clear(work->d_bias, BACKWARD_KEYS + TILE_QUERIES);
    if (work->d_rel_v) {
        clear(work->d_rel_v, (BACKWARD_KEYS + TILE_QUERIES) * work->ldv);
    }
    work->rel_begin = BACKWARD_KEYS + TILE_QUERIES;
    work->rel_end = 0;
    for (int64_t g = 0; g < group; g++) {
        shared_sums *sums = &work->shared[g];
        clear(sums->content_bias, work->ldq);
        clear(sums->position_bias, work->ldq);
        clear(sums->edge_rel, 2 * work->ldq);
        clear(sums->edge_rel_v, 2 * work->ldv);
        sums->edge_bias[0] = sums->edge_bias[1] = 0;
        sums->head_scale = 0;
    }
}

/* Adds the chunk's gradients of keys and values to the caller's. */
static void flush_keys(const backward_work *work, const backward_task *task)
{
    const lh_attention_source *source = &work->args->source[task->s];
    for (int64_t r = 0; source->d_k.data && r < work->count; r++) {
        add_to(lane_row(&source->d_k, task->b, task->kv_head, work->key + r), work->d_k + r * work->ldq,
               work->args->qk_width, 1);
    }
    for (int64_t r = 0; source->d_v.data && r < work->count; r++) {
        add_to(lane_row(&source->d_v, task->b, task->kv_head, work->key + r), work->d_v + r * work->ldv,
               work->args->v_width, 1);
    }
}

static void flush_key_bias(backward_work *work, const backward_task *task, int64_t h)
{
    const lh_attention_source *source = &work->args->source[task->s];
    if (source->d_key_bias) {
        add_to((float *)source->d_key_bias + task->b * source->key_bias_batch + h * source->key_bias_head +
                   work->key,
               work->d_key_bias, work->count, 1);
        clear(work->d_key_bias, work->count);
    }
}

static void backward_task_run(backward_work *work, const backward_order *order, backward_task *task,
                              const float *shift)
{
    const lh_attention_args *args = work->args = work->tile.args = order->args;
    const lh_attention_source *source = &args->source[task->s];
    int64_t group = args->heads / args->kv_heads, run = backward_run_keys(source);
    int64_t tiles = (args->q_len + TILE_QUERIES - 1) / TILE_QUERIES;
    backward_chunk_start(work, task, order->chunk_keys[task->s]);
    int64_t first = lh_attention_max(0, work->key - source->offset + source->min_distance);
    int64_t last =
        lh_attention_min(args->q_len - 1, work->key + work->count - 1 - source->offset + source->max_distance);
    for (int64_t g = 0; g < group && first <= last; g++) {
        int64_t h = task->kv_head * group + g;
        for (int64_t t = first / TILE_QUERIES; t <= last / TILE_QUERIES; t++) {
            order_enter(order, task, g * tiles + t);
            backward_tile_start(work, task->b, h, t * TILE_QUERIES, task->s, shift);
            for (int64_t at = 0; at < work->count; at += run) {
                backward_run(work, at, lh_attention_min(run, work->count - at));
            }
            backward_tile_end(work);
        }
        flush_key_bias(work, task, h);
    }
    order_wait_all(order, task);
    flush_keys(work, task);
    flush_shared(work, order, task);
    order_end(order, task);
}

/* shift[lane] = d_out . out - d_lse for every query of every head. */
static void backward_shifts(lh_exec *exec, const lh_attention_args *args, float *shift)
{
    int64_t lanes = args->batch * args->heads * args->q_len;
#pragma omp parallel for schedule(static) num_threads(lanes > 256 ? exec->threads : 1)
    for (int64_t at = 0; at < lanes; at++) {
        int64_t i = at % args->q_len, h = at / args->q_len % args->heads, b = at / args->q_len / args->heads;
        const float *out = lane_row(&args->out, b, h, i), *d_out = lane_row(&args->d_out, b, h, i);
        vector sum = v_zero();
        int64_t c = 0;
        for (; c + LANES <= args->v_width; c += LANES) {
            sum = v_fma(v_load(out + c), v_load(d_out + c), sum);
        }
        if (c < args->v_width) {
            int64_t rest = args->v_width - c;
            sum = v_fma(v_load_first(out + c, rest), v_load_first(d_out + c, rest), sum);
        }
        shift[at] = v_sum(sum) - (args->d_lse ? ((const float *)args->d_lse)[at] : 0);
    }
}

static void backward_tiles(lh_exec *exec, const lh_attention_args *args)
{
    backward_work sized;
    shared_gradient list[MAX_SHARED];
    int shared = shared_gradients(args, list);
    int64_t ranges = count_ranges(args, list, shared), most = 0;
    size_t bytes = backward_parts(&sized, args, NULL);
    parts p = {0};
    take_floats(&p, args->batch * args->heads * args->q_len);
    (void)ranges_lay(args, list, shared, ranges, &p);
    for (int thread = 0; thread < exec->threads; thread++) {
        if (!lh_scratch(exec, thread, bytes + (thread == 0 ? p.used : 0))) {
            return;
        }
    }
    p = (parts){.start = exec->scratch[0].data};
    float *shift = take_floats(&p, args->batch * args->heads * args->q_len);
    backward_range *all = ranges_lay(args, list, shared, ranges, &p);
    for (int64_t r = 0; r < ranges; r++) {
        most = lh_attention_max(most, all[r].order.chains * all[r].order.tasks);
    }
    atomic_llong next;
    atomic_init(&next, 0);
    backward_shifts(exec, args, shift);
#pragma omp parallel num_threads(most *ranges > 1 ? exec->threads : 1)
    {
        backward_work work;
        backward_task task;
        int thread = omp_get_thread_num();
        backward_parts(&work, args, (char *)exec->scratch[thread].data + (thread == 0 ? p.used : 0));
        for (int64_t n; (n = atomic_fetch_add(&next, 1)) < most * ranges;) {
            const backward_order *order = &all[n % ranges].order;
            if (order_take(order, n / ranges, &task)) {
                backward_task_run(&work, order, &task, shift);
            }
        }
    }
    ranges_add(args, list, shared, all, ranges);
}

#endif
