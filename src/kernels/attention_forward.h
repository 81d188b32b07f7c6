/* The forward pass, tile by tile. A template: include it after attention_tile.h.
 *
 * A task is a tile of queries of one head. It visits the keys in runs; each panel keeps its greatest logit, its sum
 * of exponentials and its weighted sum of values, turned: [v_width][PANEL] (online softmax: Milakov and Gimelshein
 * 2018; in tiles: Dao et al. 2022). The result of a query depends neither on the tile it is in nor on threads. */
#ifndef LH_KERNELS_ATTENTION_FORWARD_H
#define LH_KERNELS_ATTENTION_FORWARD_H

#define FORWARD_PANELS (256 / PANEL)

typedef struct forward_work {
    query_tile tile;
    float *sums;           /* [panels][v_width][PANEL] */
    float *greatest, *sum; /* [panels][PANEL] */
    float *logits;         /* [RUN_KEYS][PANEL], with LANES rows around */
    float *k, *v;          /* [RUN_KEYS][width]: copies of rows that lie apart */
} forward_work;

static size_t forward_parts(forward_work *work, const lh_attention_args *args, char *memory)
{
    parts p = {.start = memory};
    query_tile_parts(&work->tile, args, FORWARD_PANELS, &p);
    work->sums = take_floats(&p, FORWARD_PANELS * args->v_width * PANEL);
    work->greatest = take_floats(&p, FORWARD_PANELS * PANEL);
    work->sum = take_floats(&p, FORWARD_PANELS * PANEL);
    work->logits = take_floats(&p, FINE_ROWS * PANEL);
    if (memory) { /* nothing is added to the null pointer of the call that only asks for the size */
        work->logits += LANES * PANEL;
    }
    work->k = take_floats(&p, RUN_KEYS * args->qk_width);
    work->v = take_floats(&p, RUN_KEYS * args->v_width + BLOCK_ROWS);
    return p.used;
}

/* Turns logits into weights relative to the greatest so far, and brings the sums down to it. */
static void absorb_logits(forward_work *work, int64_t panel, int64_t key, int64_t count)
{
    const query_tile *tile = &work->tile;
    int64_t v_width = tile->args->v_width;
    float *logits = work->logits, *sums = work->sums + panel * v_width * PANEL;
    for (int64_t lane = 0; lane < PANEL; lane += LANES) {
        float *greatest = work->greatest + panel * PANEL + lane, *sum = work->sum + panel * PANEL + lane;
        vector before = v_load(greatest), a = before, b = before, c = before, d = before;
        int64_t r = 0;
        for (; r + 4 <= count; r += 4) {
            const float *x = logits + r * PANEL + lane;
            a = v_max(a, v_load(x));
            b = v_max(b, v_load(x + PANEL));
            c = v_max(c, v_load(x + 2 * PANEL));
            d = v_max(d, v_load(x + 3 * PANEL));
        }
        for (; r < count; r++) {
            a = v_max(a, v_load(logits + r * PANEL + lane));
        }
        vector now = v_max(v_max(a, b), v_max(c, d)), total = v_load(sum), part = v_zero(), part2 = v_zero();
        if (!v_all_equal(now, before)) {
            vector shrink = v_exp2(v_subtract(before, now));
            v_store(greatest, now);
            total = v_multiply(total, shrink);
            for (int64_t at = 0; at < v_width; at++) {
                v_store(sums + at * PANEL + lane, v_multiply(v_load(sums + at * PANEL + lane), shrink));
            }
        }
        for (r = 0; r + 2 <= count; r += 2) {
            float *x = logits + r * PANEL + lane;
            vector weight = v_exp2(v_subtract(v_load(x), now)),
                   weight2 = v_exp2(v_subtract(v_load(x + PANEL), now));
            part = v_add(part, weight);
            part2 = v_add(part2, weight2);
            v_store(x, weight);
            v_store(x + PANEL, weight2);
        }
        for (; r < count; r++) {
            float *x = logits + r * PANEL + lane;
            vector weight = v_exp2(v_subtract(v_load(x), now));
            part = v_add(part, weight);
            v_store(x, weight);
        }
        v_store(sum, v_add(total, v_add(part, part2)));
        if (tile->row_key) {
            vector_int row_key = v_load_int(tile->row_key + panel * PANEL + lane);
            for (r = 0; r < count; r++) {
                float *x = logits + r * PANEL + lane;
                v_store(x, v_drop(v_load(x), row_key, (uint32_t)(key + r), tile->threshold));
            }
        }
    }
}

/* One run of keys for all panels of the tile. */
static void forward_run(forward_work *work, int64_t key, int64_t count)
{
    query_tile *tile = &work->tile;
    const lh_attention_args *args = tile->args;
    const lh_attention_source *source = tile->source;
    int64_t width = args->qk_width, v_width = args->v_width, ldk = source->k.row, ldv = source->v.row;
    const float *k = (const float *)source->k.data + tile->b * source->k.batch + tile->kv_head * source->k.head;
    const float *v = (const float *)source->v.data + tile->b * source->v.batch + tile->kv_head * source->v.head;
    k += key * ldk;
    v += key * ldv;
    if (ldk != width && tile->panels > 1) {
        copy_rows(k, ldk, count, width, 1, NULL, work->k, width);
        k = work->k;
        ldk = width;
    }
    if (ldv != v_width && tile->panels > 1) {
        copy_rows(v, ldv, count, v_width, 1, NULL, work->v, v_width);
        v = work->v;
        ldv = v_width;
    }
    for (int64_t panel = 0; panel < tile->panels; panel++) {
        int64_t begin, end;
        if (panel_sees(tile, panel, key, count, &begin, &end)) {
            const float *key_bias = tile->key_bias ? tile->key_bias + key + begin : NULL;
            float *sums = work->sums + panel * v_width * PANEL;
            addition add =
                panel_logits(tile, panel, key + begin, end - begin, k + begin * ldk, ldk, key_bias, work->logits);
            absorb_logits(work, panel, key + begin, end - begin);
            product_turned(v_width, end - begin, v + begin * ldv, ldv, work->logits, PANEL, sums, PANEL, true);
            add_relative_values(tile, &add, work->logits, end - begin, sums);
        }
    }
}

static void forward_source(forward_work *work, int s)
{
    query_tile *tile = &work->tile;
    query_tile_source(tile, s);
    int64_t begin = INT32_MAX, end = 0, step = run_keys(tile->source);
    for (int64_t panel = 0; panel < tile->panels; panel++) {
        begin = lh_attention_min(begin, tile->bounds[panel * 4]);
        end = lh_attention_max(end, tile->bounds[panel * 4 + 1]);
    }
    for (int64_t key = begin / step * step; key < end; key += step) {
        forward_run(work, key, lh_attention_min(step, end - key));
    }
}

/* Divides by the sums and stores a tile's rows. */
static void forward_store(forward_work *work)
{
    const query_tile *tile = &work->tile;
    const lh_attention_args *args = tile->args;
    int64_t v_width = args->v_width, live = tile->live;
    float *lse = (float *)args->lse + (tile->b * args->heads + tile->h) * args->q_len + tile->first;
    float *out = (float *)args->out.data + tile->b * args->out.batch + tile->h * args->out.head;
    float keep = args->dropout > 0 ? (float)lh_attention_keep_scale(args->dropout) : 1;
    out += tile->first * args->out.row;
    for (int64_t panel = 0; panel < tile->panels; panel++) {
        float *sum = work->sum + panel * PANEL, *greatest = work->greatest + panel * PANEL;
        float *sums = work->sums + panel * v_width * PANEL;
        for (int64_t lane = 0; lane < PANEL; lane++) {
            if (panel * PANEL + lane < live) {
                lse[panel * PANEL + lane] =
                    sum[lane] == 0 ? -INFINITY : (float)((double)greatest[lane] * LN_2 + log((double)sum[lane]));
            }
            sum[lane] = sum[lane] == 0 ? 0 : keep / sum[lane];
        }
        for (int64_t lane = 0; lane < PANEL; lane += LANES) {
            vector factor = v_load(sum + lane);
            for (int64_t c = 0; c < v_width; c++) {
                v_store(sums + c * PANEL + lane, v_multiply(v_load(sums + c * PANEL + lane), factor));
            }
        }
        turn_out(sums, lh_attention_min(PANEL, live - panel * PANEL), v_width, 1,
                 out + panel * PANEL * args->out.row, args->out.row, false);
    }
}

static void forward_tile(forward_work *work, int64_t b, int64_t h, int64_t first, int64_t live)
{
    const lh_attention_args *args = work->tile.args;
    query_tile_start(&work->tile, b, h, first, live);
    int64_t lanes = work->tile.panels * PANEL;
    for (int64_t i = 0; i < lanes * args->v_width; i++) {
        work->sums[i] = 0;
    }
    for (int64_t i = 0; i < lanes; i++) {
        work->greatest[i] = args->has_null ? (float)(args->null_logit * LOG2_E) : -FLT_MAX;
        work->sum[i] = args->has_null ? 1 : 0;
    }
    for (int s = 0; s < args->source_count; s++) {
        forward_source(work, s);
    }
    forward_store(work);
}

static void forward_tiles(lh_exec *exec, const lh_attention_args *args)
{
    forward_work sized;
    size_t bytes = forward_parts(&sized, args, NULL);
    for (int thread = 0; thread < exec->threads; thread++) {
        if (!lh_scratch(exec, thread, bytes)) {
            return;
        }
    }
    int64_t tile = FORWARD_PANELS * PANEL, tiles = (args->q_len + tile - 1) / tile;
    int64_t tasks = args->batch * args->heads * tiles;
#pragma omp parallel num_threads(tasks > 1 ? exec->threads : 1)
    {
        forward_work work;
        forward_parts(&work, args, exec->scratch[omp_get_thread_num()].data);
        /* long tasks first: causal tiles grow with their position */
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < tasks; task++) {
            int64_t lane = task % (args->batch * args->heads),
                    first = (tiles - 1 - task / (args->batch * args->heads)) * tile;
            forward_tile(&work, lane / args->heads, lane % args->heads, first,
                         lh_attention_min(tile, args->q_len - first));
        }
    }
}

#endif
