/* Moves rows of queries into and out of panels, where a channel is a row and the queries are the lanes. A template:
 * include it after attention_product.h. */
#ifndef LH_KERNELS_ATTENTION_TURN_H
#define LH_KERNELS_ATTENTION_TURN_H

#include "kernels/turn_8x8.h"

/* panel[c][lane] = factor * (rows[lane][c] + bias[c]); lanes from `live` on become zero. bias may be NULL. */
static void turn_in(const float *rows, int64_t stride, int64_t live, int64_t width, float factor, const float *bias,
                    float *panel)
{
    for (int64_t lane = 0; lane < PANEL; lane += 8) {
        int64_t c = 0;
        for (; c + 8 <= width && lane + 8 <= live; c += 8) {
            __m256 x[8], added = bias ? _mm256_loadu_ps(bias + c) : _mm256_setzero_ps();
            UNROLL_ALL
            for (int i = 0; i < 8; i++) {
                x[i] = _mm256_add_ps(_mm256_loadu_ps(rows + (lane + i) * stride + c), added);
                x[i] = _mm256_mul_ps(x[i], _mm256_set1_ps(factor));
            }
            turn_8x8(x);
            UNROLL_ALL
            for (int i = 0; i < 8; i++) {
                _mm256_storeu_ps(panel + (c + i) * PANEL + lane, x[i]);
            }
        }
        for (; c < width; c++) {
            for (int64_t i = lane; i < lane + 8; i++) {
                panel[c * PANEL + i] = i < live ? factor * (rows[i * stride + c] + (bias ? bias[c] : 0)) : 0;
            }
        }
    }
}

/* rows[lane][c] = or += factor * panel[c][lane] for the first `live` lanes. */
static ALWAYS_INLINE void turn_out(const float *panel, int64_t live, int64_t width, float factor, float *rows,
                                   int64_t stride, const bool add)
{
    for (int64_t lane = 0; lane < live; lane += 8) {
        int64_t c = 0, count = live - lane < 8 ? live - lane : 8;
        for (; c + 8 <= width; c += 8) {
            __m256 x[8];
            UNROLL_ALL
            for (int i = 0; i < 8; i++) {
                x[i] = _mm256_mul_ps(_mm256_loadu_ps(panel + (c + i) * PANEL + lane), _mm256_set1_ps(factor));
            }
            turn_8x8(x);
            for (int64_t i = 0; i < count; i++) {
                float *row = rows + (lane + i) * stride + c;
                _mm256_storeu_ps(row, add ? _mm256_add_ps(_mm256_loadu_ps(row), x[i]) : x[i]);
            }
        }
        for (; c < width; c++) {
            for (int64_t i = lane; i < lane + count; i++) {
                float value = factor * panel[c * PANEL + i];
                rows[i * stride + c] = add ? rows[i * stride + c] + value : value;
            }
        }
    }
}

/* to[r] = factor * (from[r] + bias) for `rows` rows, padded with zeros to `padded` columns. bias may be NULL. */
static void copy_rows(const float *from, int64_t stride, int64_t rows, int64_t width, float factor,
                      const float *bias, float *to, int64_t padded)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *x = from + r * stride;
        float *y = to + r * padded;
        int64_t c = 0;
        for (; c < width; c += LANES) {
            int64_t count = width - c < LANES ? width - c : LANES;
            vector value = count == LANES ? v_load(x + c) : v_load_first(x + c, count);
            if (bias) {
                value = v_add(value, count == LANES ? v_load(bias + c) : v_load_first(bias + c, count));
            }
            value = v_multiply(value, v_set(factor));
            if (c + LANES <= padded) {
                v_store(y + c, value);
            } else {
                v_store_first(y + c, padded - c, value);
            }
        }
        for (; c < padded; c++) {
            y[c] = 0;
        }
    }
}

#endif
