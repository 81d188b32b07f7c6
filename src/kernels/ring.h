/* Rings of rows (lh_ring): which rows a lane shows, where they lie, what an element is. For all levels. */
#ifndef LH_KERNELS_RING_H
#define LH_KERNELS_RING_H

#include "kernels/half.h"
#include "kernels/kernel.h"

#include <math.h>

/* Bytes of one stored element, where REAL takes `real` bytes. */
static inline int64_t lh_stored_size(lh_dtype stored, int64_t real)
{
    return stored == LH_F16 ? 2 : stored == LH_I8 ? 1 : real;
}

/* Row `row` of a strided array of stored elements. */
static inline char *lh_stored_row(const lh_strided *rows, int64_t size, int64_t b, int64_t h, int64_t row)
{
    return (char *)rows->data + (b * rows->batch + h * rows->head + row * rows->row) * size;
}

/* Element c of a row that is stored as LH_F16 or LH_I8. */
static inline double lh_stored_value(lh_dtype stored, const void *row, int64_t c)
{
    return stored == LH_F16 ? lh_f16_to_double(((const uint16_t *)row)[c]) : (double)((const int8_t *)row)[c];
}

/* The rows of lane b that a search sees: *count of them from row number *oldest on. */
static inline void lh_nearest_range(const lh_nearest_args *args, int64_t b, int64_t *oldest, int64_t *count)
{
    *count = lh_min64(args->written[b], args->window);
    *oldest = args->written[b] - *count;
}

/* Stores one row as 8-bit numbers with a common factor: the same single-precision arithmetic at every level. */
static inline void lh_store_i8(const float *x, int64_t width, int8_t *y, float *scale)
{
    float largest = 0;
    for (int64_t c = 0; c < width; c++) {
        largest = fmaxf(largest, fabsf(x[c]));
    }
    float inverse = largest > 0 && isfinite(largest) ? 127.0f / largest : 0;
    *scale = inverse > 0 ? largest / 127.0f : 0;
    for (int64_t c = 0; c < width; c++) {
        float value = nearbyintf(x[c] * inverse);
        y[c] = (int8_t)(value >= 127 ? 127 : value <= -127 ? -127 : isnan(value) ? 0 : value);
    }
}

#endif
