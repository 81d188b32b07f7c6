/* Rows that are stored in a short type, as floats. A template: include it after attention_tile.h. */
#ifndef LH_KERNELS_ATTENTION_STORED_H
#define LH_KERNELS_ATTENTION_STORED_H

#include "kernels/ring.h"

static bool is_short(lh_dtype stored)
{
    return stored == LH_F16 || stored == LH_I8;
}

/* Channels c .. c + LANES - 1 of a row, where `stored` is a constant. */
static ALWAYS_INLINE vector stored_load(const lh_dtype stored, const char *row, int64_t c)
{
    switch (stored) {
    case LH_F16: return v_load_f16((const uint16_t *)(const void *)row + c);
    case LH_I8: return v_load_i8((const int8_t *)row + c);
    default: return v_load((const float *)(const void *)row + c);
    }
}

/* The same for `count` < LANES channels; zeros behind them. */
static ALWAYS_INLINE vector stored_load_first(const lh_dtype stored, const char *row, int64_t c, int64_t count)
{
    if (!is_short(stored)) {
        return v_load_first((const float *)(const void *)row + c, count);
    }
    char part[2 * LANES] = {0};
    int64_t size = lh_stored_size(stored, sizeof(float));
    for (int64_t i = 0; i < count * size; i++) {
        part[i] = row[c * size + i];
    }
    return stored_load(stored, part, 0);
}

/* to[c] = factor * row[c] */
static ALWAYS_INLINE void stored_to_floats(const lh_dtype stored, const char *row, int64_t width, float factor,
                                           float *to)
{
    int64_t c = 0;
    for (; c + LANES <= width; c += LANES) {
        v_store(to + c, v_multiply(stored_load(stored, row, c), v_set(factor)));
    }
    if (c < width) {
        v_store_first(to + c, width - c, v_multiply(stored_load_first(stored, row, c, width - c), v_set(factor)));
    }
}

/* A row of any type; scale is that of LH_I8. */
static void row_to_floats(lh_dtype stored, const char *row, int64_t width, float scale, float *to)
{
    switch (stored) {
    case LH_F16: stored_to_floats(LH_F16, row, width, 1, to); break;
    case LH_I8: stored_to_floats(LH_I8, row, width, scale, to); break;
    default: stored_to_floats(LH_F32, row, width, 1, to); break;
    }
}

#endif
