/* Gradients of and through relative positions. A template: part of attention_backward.h. */
#ifndef LH_KERNELS_ATTENTION_BACKWARD_RELATIVE_H
#define LH_KERNELS_ATTENTION_BACKWARD_RELATIVE_H

/* Gradients of the distance bias alone: sums along diagonals, in LANES lines in turn so that neighbouring rows do
 * not touch the same numbers. */
static void line_gradient(backward_work *work, int64_t panel, int64_t begin, int64_t count, const addition *add)
{
    const query_tile *tile = &work->tile;
    const float *d_logits = work->d_logits + begin * TILE_STRIDE + panel * PANEL;
    float *lines = work->d_lines, *edge = work->d_edge + panel * 2 * PANEL;
    int64_t stride = BAND_ROWS + LANES, step = tile->source->rel_step, own_begin, own_end;
    for (int64_t line = 0; line < LANES; line++) {
        clear(lines + line * stride, add->rows);
    }
    for (int64_t r = 0; r < count; r++) {
        float *line = lines + r % LANES * stride + add->start - step * r;
        for (int64_t lane = 0; lane < PANEL; lane += LANES) {
            v_store(line + lane, v_add(v_load(line + lane), v_load(d_logits + r * TILE_STRIDE + lane)));
        }
    }
    own_rows(tile, add, &own_begin, &own_end);
    for (int64_t row = 0; row < add->rows; row++) {
        float sum = 0;
        for (int64_t line = 0; line < LANES; line++) {
            sum += lines[line * stride + row];
        }
        if (row >= own_begin && row < own_end) {
            work->d_bias[add->least + row - work->rel_least] += sum;
        } else if (tile->source->rel_clamp) {
            edge[row < own_begin ? 0 : PANEL] += sum; /* in any lane: they are summed */
        }
    }
}

/* The table's own rows of a band, noted as rows that have a gradient now. */
static void use_rows(backward_work *work, const addition *add, int64_t *begin, int64_t *end)
{
    own_rows(&work->tile, add, begin, end);
    if (*begin < *end) {
        work->rel_begin = lh_attention_min(work->rel_begin, add->least + *begin - work->rel_least);
        work->rel_end = lh_attention_max(work->rel_end, add->least + *end - work->rel_least);
    }
}

/* Adds to d_weights of `count` keys what the values by relative position send back: d_out . rel_v. */
static void add_relative_d_weights(backward_work *work, int64_t panel, int64_t count, const addition *add)
{
    const query_tile *tile = &work->tile;
    int64_t v_width = work->args->v_width;
    if (!tile->rel_v || add->place == TABLE_MISSED) {
        return;
    }
    const float *edge = tile->source->rel_clamp ? work->value_edge + panel * 2 * PANEL : NULL;
    addition values = *add;
    values.kind = add->place == TABLE_MET ? ADD_BAND : ADD_EDGE;
    if (values.kind == ADD_BAND) {
        band_inside(add, tile->rel_v, tile->source->rel_v_row, v_width,
                    work->d_out_turned + panel * v_width * PANEL, tile->band);
        band_finish(add, edge, tile->band);
    } else {
        values.edge = edge + (add->place == TABLE_LAST ? PANEL : 0);
    }
    finish_part(tile, panel, &values, false, 0, 0, count, NULL, work->d_weights);
}

/* d_rel_v of one panel and rows begin .. begin + count - 1 of the run: weights times d_out, by distance. */
static void relative_value_gradient(backward_work *work, int64_t panel, int64_t begin, int64_t count,
                                    const addition *add)
{
    const query_tile *tile = &work->tile;
    const lh_attention_source *source = tile->source;
    int64_t own_begin, own_end;
    float *weights = work->weights + begin * TILE_STRIDE + panel * PANEL, *band = work->d_band;
    float *edge = work->d_value_edge + panel * 2 * PANEL;
    if (!tile->rel_v || !source->d_rel_v || add->place == TABLE_MISSED) {
        return;
    }
    if (add->place != TABLE_MET) {
        add_rows(weights, TILE_STRIDE, count, edge + (add->place == TABLE_LAST ? PANEL : 0));
        return;
    }
    shear_back(weights, TILE_STRIDE, count, source->rel_step, add, work->fine, band);
    use_rows(work, add, &own_begin, &own_end);
    if (source->rel_clamp) {
        add_rows(band, PANEL, own_begin, edge);
        add_rows(band + own_end * PANEL, PANEL, add->rows - own_end, edge + PANEL);
    }
    int64_t to = add->least + own_begin - work->rel_least;
    wide_product_rows(own_end - own_begin, work->args->v_width, PANEL, band + own_begin * PANEL, PANEL,
                      work->d_out + panel * PANEL * work->ldv, work->ldv, work->d_rel_v + to * work->ldv,
                      work->ldv);
}

/* Gradients through relative positions of one panel and rows begin .. begin + count - 1 of the run. */
static void relative_gradient(backward_work *work, int64_t panel, int64_t begin, int64_t count, const addition *add)
{
    query_tile *tile = &work->tile;
    const lh_attention_source *source = tile->source;
    int64_t width = work->args->qk_width, own_begin, own_end;
    float *edge = work->d_edge + panel * 2 * PANEL;
    if (add->kind == ADD_EDGE) {
        add_rows(work->d_logits + begin * TILE_STRIDE + panel * PANEL, TILE_STRIDE, count,
                 edge + (add->place == TABLE_LAST ? PANEL : 0));
        return;
    }
    if (add->kind == ADD_NOTHING ||
        (add->kind == ADD_LINE && !source->d_distance_bias && !work->args->d_head_scale)) {
        return;
    }
    use_rows(work, add, &own_begin, &own_end);
    if (add->kind == ADD_LINE) {
        line_gradient(work, panel, begin, count, add);
        return;
    }
    float *band = work->d_band;
    shear_back(work->d_logits + begin * TILE_STRIDE + panel * PANEL, TILE_STRIDE, count, source->rel_step, add,
               work->fine, band);
    if (source->rel_clamp) {
        add_rows(band, PANEL, own_begin, edge);
        add_rows(band + own_end * PANEL, PANEL, add->rows - own_end, edge + PANEL);
    }
    int64_t own = own_end - own_begin, to = add->least + own_begin - work->rel_least;
    product_turned(width, own, tile->rel_k + (add->least + own_begin) * source->rel_k_row, source->rel_k_row,
                   band + own_begin * PANEL, PANEL, work->d_position + panel * width * PANEL, PANEL, true);
    if (source->d_rel_k) {
        wide_product_rows(own, width, PANEL, band + own_begin * PANEL, PANEL,
                          work->q_position + panel * PANEL * work->ldq, work->ldq, work->d_rel + to * work->ldq,
                          work->ldq);
    }
    for (int64_t row = 0; tile->distance_bias && row < own; row++) {
        const float *x = band + (own_begin + row) * PANEL;
        work->d_bias[to + row] += v_sum(v_add(v_load(x), v_load(x + LANES)));
    }
}

/* to += from, and from is zero */
static void flush_row(float *from, float *to, int64_t width)
{
    int64_t c = 0;
    for (; c + LANES <= width; c += LANES) {
        v_store(to + c, v_add(v_load(to + c), v_load(from + c)));
        v_store(from + c, v_zero());
    }
    for (; c < width; c++) {
        to[c] += from[c];
        from[c] = 0;
    }
}

/* Adds what the run gave to rows of the relative tables. */
static void flush_tables(backward_work *work)
{
    const query_tile *tile = &work->tile;
    const lh_attention_source *source = tile->source;
    int64_t width = work->args->qk_width, group = work->args->heads / work->args->kv_heads;
    float *d_rel_k = source->d_rel_k ? (float *)source->d_rel_k + tile->h * source->rel_k_head : NULL;
    float *d_rel_v = source->d_rel_v ? (float *)source->d_rel_v + tile->h * source->rel_v_head : NULL;
    float *d_bias = source->d_distance_bias ? (float *)source->d_distance_bias + tile->h * source->rel_len : NULL;
    for (int64_t row = work->rel_begin; row < work->rel_end; row++) {
        int64_t t = work->rel_least + row;
        if (d_rel_k && tile->rel_k) {
            flush_row(work->d_rel + row * work->ldq, d_rel_k + t * source->rel_k_row, width);
        }
        if (d_rel_v && tile->rel_v) {
            flush_row(work->d_rel_v + row * work->ldv, d_rel_v + t * source->rel_v_row, work->args->v_width);
        }
        if (tile->distance_bias) {
            if (d_bias) {
                d_bias[t] += (source->bias_scaled ? tile->scale : 1) * work->d_bias[row];
            }
            if (source->bias_scaled) {
                work->shared[tile->h % group].head_scale +=
                    (double)tile->distance_bias[t] * (double)work->d_bias[row];
            }
            work->d_bias[row] = 0;
        }
    }
    work->rel_begin = BACKWARD_KEYS + TILE_QUERIES;
    work->rel_end = 0;
}

#endif
