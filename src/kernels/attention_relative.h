/* Values by relative position, and the way back of relative positions: what the forward and the backward pass
 * share. A template: include it after attention_tile.h.
 *
 * Weights (or gradients of logits) of a panel and a run lie as [key][lane]. Sheared, each along its own distance,
 * they become a band [distance][lane], which a product with the table's rows turns into what each query gets. */
#ifndef LH_KERNELS_ATTENTION_RELATIVE_H
#define LH_KERNELS_ATTENTION_RELATIVE_H

/* sum[lane] += the rows of x */
static void add_rows(const float *x, int64_t stride, int64_t rows, float *sum)
{
    for (int64_t lane = 0; lane < PANEL; lane += LANES) {
        vector total = v_zero();
        for (int64_t r = 0; r < rows; r++) {
            total = v_add(total, v_load(x + r * stride + lane));
        }
        v_store(sum + lane, v_add(v_load(sum + lane), total));
    }
}

/* band[distance][lane] from x[key][lane] of `count` keys whose rows lie `stride` apart: the shear back. LANES rows
 * before and after x are overwritten. fine: [FINE_ROWS][PANEL] to work with. */
static void shear_back(float *x, int64_t stride, int64_t count, int64_t step, const addition *add, float *fine,
                       float *band)
{
    if (step != 1) {
        clear(band, add->rows * PANEL);
        for (int64_t r = 0; r < count; r++) {
            float *to = band + (add->start - step * r) * PANEL;
            for (int64_t lane = 0; lane < PANEL; lane++) {
                to[lane * PANEL + lane] += x[r * stride + lane];
            }
        }
        return;
    }
    for (int64_t r = 1; r <= LANES; r++) {
        clear(x - r * stride, PANEL);
        clear(x + (count + r - 1) * stride, PANEL);
    }
    fine += LANES * PANEL; /* row r: what rows r .. r + 3 of x send */
    clear(fine + count * PANEL, LANES * PANEL);
    for (int64_t lane = 0; lane < PANEL; lane += LANES) {
        for (int64_t r = 1 - LANES; r < count; r++) {
            v_store(fine + r * PANEL + lane, v_shear_fine(x + r * stride + lane, stride));
        }
        for (int64_t row = 0; row < lane; row++) {
            v_store(band + row * PANEL + lane, v_zero());
        }
        for (int64_t r = 1 - LANES; r < count; r++) {
            v_store(band + (count - 1 - r + lane) * PANEL + lane, v_shear_coarse(fine + r * PANEL + lane, PANEL));
        }
        for (int64_t row = count - 1 + lane + LANES; row < add->rows; row++) {
            v_store(band + row * PANEL + lane, v_zero());
        }
    }
}

/* sums [v_width][PANEL] += factor [lane] times row t of rel_v */
static void add_value_row(const query_tile *tile, int64_t t, const float *factor, float *sums)
{
    product_turned(tile->args->v_width, 1, tile->rel_v + t * tile->source->rel_v_row, 0, factor, PANEL, sums, PANEL,
                   true);
}

/* sums [v_width][PANEL] += weights [count][PANEL] times the rows of rel_v by distance. LANES rows before and after
 * the weights are overwritten. */
static void add_relative_values(query_tile *tile, const addition *add, float *weights, int64_t count, float *sums)
{
    const lh_attention_source *source = tile->source;
    int64_t stride = source->rel_v_row, top = source->rel_len - 1;
    float total[2][PANEL] = {{0}}, *band = tile->band;
    if (!tile->rel_v || add->place == TABLE_MISSED) {
        return;
    }
    if (add->place != TABLE_MET) {
        add_rows(weights, PANEL, count, total[0]);
        add_value_row(tile, add->place == TABLE_LAST ? top : 0, total[0], sums);
        return;
    }
    shear_back(weights, PANEL, count, source->rel_step, add, tile->fine, band);
    product_turned(tile->args->v_width, add->end - add->begin, tile->rel_v + (add->least + add->begin) * stride,
                   stride, band + add->begin * PANEL, PANEL, sums, PANEL, true);
    if (source->rel_clamp && add->begin > 0) {
        add_rows(band, PANEL, add->begin, total[0]);
        add_value_row(tile, 0, total[0], sums);
    }
    if (source->rel_clamp && add->end < add->rows) {
        add_rows(band + add->end * PANEL, PANEL, add->rows - add->end, total[1]);
        add_value_row(tile, top, total[1], sums);
    }
}

/* The part of a band whose rows are the table's own: with clamping the end rows are kept apart, since every task
 * adds to them. */
static void own_rows(const query_tile *tile, const addition *add, int64_t *begin, int64_t *end)
{
    bool clamp = tile->source->rel_clamp;
    *begin = lh_attention_max(0, (clamp ? 1 : 0) - add->least);
    *end = lh_attention_min(add->rows, tile->source->rel_len - (clamp ? 1 : 0) - add->least);
    *end = lh_attention_max(*begin, *end);
}

#endif
