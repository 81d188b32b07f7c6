/* Sums over rows into one row (bias and gain gradients, column sums), for float kernels: rows are cut into chunks
 * by the shape alone, each chunk adds up a few rows at a time in floats and those sums in doubles, and the chunks'
 * sums are added in order. So the result does not depend on threads, and digits are not lost with the number of
 * rows. */
#ifndef LH_KERNELS_COLUMNS_H
#define LH_KERNELS_COLUMNS_H

#include "kernels/kernel.h"

#include <string.h>

#define LH_SUM_ROWS 64 /* rows to add in floats before lh_column_sums_flush */

typedef struct lh_column_sums {
    int64_t chunks, width;
    double *total; /* [chunks, width] */
    float *single; /* [chunks, width]: what the kernel adds rows to */
} lh_column_sums;

/* Zeroed sums in thread 0's scratch memory; false if there is no memory. */
static inline bool lh_column_sums_open(lh_column_sums *sums, lh_exec *exec, int64_t chunks, int64_t width)
{
    size_t count = (size_t)(chunks * width), bytes = count * (sizeof(double) + sizeof(float));
    void *memory = lh_scratch(exec, 0, bytes);
    if (!memory) {
        return false;
    }
    memset(memory, 0, bytes);
    *sums = (lh_column_sums){
        .chunks = chunks, .width = width, .total = memory, .single = (float *)(void *)((double *)memory + count)};
    return true;
}

static inline void lh_column_sums_flush(lh_column_sums *sums, int64_t chunk)
{
    double *total = sums->total + chunk * sums->width;
    float *single = sums->single + chunk * sums->width;
    for (int64_t i = 0; i < sums->width; i++) {
        total[i] += single[i];
        single[i] = 0;
    }
}

/* y [n] += scale * the sums of columns first .. first + n - 1; y may be NULL. Each column once only. */
static inline void lh_column_sums_add(lh_column_sums *sums, int64_t first, int64_t n, double scale, float *y)
{
    if (!y || sums->chunks == 0) {
        return;
    }
    double *total = sums->total + first;
    for (int64_t c = 1; c < sums->chunks; c++) {
        for (int64_t i = 0; i < n; i++) {
            total[i] += total[c * sums->width + i];
        }
    }
    for (int64_t i = 0; i < n; i++) {
        y[i] = (float)(y[i] + scale * total[i]);
    }
}

#endif
