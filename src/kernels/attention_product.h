/* Products of small matrices for the attention kernels of one instruction set. A template: include it after that
 * level's attention_vector.h.
 *
 * C [rows, columns] (+)= A [rows, depth] B [depth, columns] with columns that are one or two vectors wide. Rows of
 * B and C are read as vectors, elements of A one at a time, so A may lie either way and nothing is packed: _rows
 * A[r][p] = a[r * lda + p] _turned A[r][p] = a[p * lda + r] */
#ifndef LH_KERNELS_ATTENTION_PRODUCT_H
#define LH_KERNELS_ATTENTION_PRODUCT_H

#include "kernels/unroll.h"

#include <stdbool.h>
#include <stdint.h>

#define PANEL (2 * LANES) /* queries, or channels, that a product handles side by side */

/* rows <= BLOCK_ROWS and vectors <= 2 are constants where this is inlined */
static ALWAYS_INLINE void block_product(const int rows, const int vectors, const bool turned, int64_t depth,
                                        const float *restrict a, int64_t lda, const float *restrict b, int64_t ldb,
                                        float *restrict c, int64_t ldc, bool add)
{
    vector sum[BLOCK_ROWS][2];
    UNROLL_ALL
    for (int r = 0; r < rows; r++) {
        UNROLL_ALL
        for (int x = 0; x < vectors; x++) {
            sum[r][x] = v_zero();
        }
    }
    UNROLL_DEPTH
    for (int64_t p = 0; p < depth; p++) {
        vector line[2];
        UNROLL_ALL
        for (int x = 0; x < vectors; x++) {
            line[x] = v_load(b + p * ldb + x * LANES);
        }
        UNROLL_ALL
        for (int r = 0; r < rows; r++) {
            vector element = v_set(turned ? a[p * lda + r] : a[r * lda + p]);
            UNROLL_ALL
            for (int x = 0; x < vectors; x++) {
                sum[r][x] = v_fma(element, line[x], sum[r][x]);
            }
        }
    }
    UNROLL_ALL
    for (int r = 0; r < rows; r++) {
        UNROLL_ALL
        for (int x = 0; x < vectors; x++) {
            float *to = c + r * ldc + x * LANES; /* added last: sums of sums lose fewer digits */
            v_store(to, add ? v_add(v_load(to), sum[r][x]) : sum[r][x]);
        }
    }
}

static ALWAYS_INLINE void any_product(const int vectors, const bool turned, int64_t rows, int64_t depth,
                                      const float *a, int64_t lda, const float *b, int64_t ldb, float *c,
                                      int64_t ldc, bool add)
{
    int64_t r = 0, step = turned ? 1 : lda;
    for (; r + BLOCK_ROWS <= rows; r += BLOCK_ROWS) {
        block_product(BLOCK_ROWS, vectors, turned, depth, a + r * step, lda, b, ldb, c + r * ldc, ldc, add);
    }
    a += r * step;
    c += r * ldc;
    switch (rows - r) {
    case 0: break;
    case 1: block_product(1, vectors, turned, depth, a, lda, b, ldb, c, ldc, add); break;
    case 2: block_product(2, vectors, turned, depth, a, lda, b, ldb, c, ldc, add); break;
    case 3: block_product(3, vectors, turned, depth, a, lda, b, ldb, c, ldc, add); break;
    case 4: block_product(4, vectors, turned, depth, a, lda, b, ldb, c, ldc, add); break;
    case 5: block_product(5, vectors, turned, depth, a, lda, b, ldb, c, ldc, add); break;
#if BLOCK_ROWS > 6
    case 6: block_product(6, vectors, turned, depth, a, lda, b, ldb, c, ldc, add); break;
    case 7: block_product(7, vectors, turned, depth, a, lda, b, ldb, c, ldc, add); break;
#endif
    default: break;
    }
}

/* PANEL columns */
static __attribute__((noinline)) void product_rows(int64_t rows, int64_t depth, const float *a, int64_t lda,
                                                   const float *b, int64_t ldb, float *c, int64_t ldc, bool add)
{
    any_product(2, false, rows, depth, a, lda, b, ldb, c, ldc, add);
}

static __attribute__((noinline)) void product_turned(int64_t rows, int64_t depth, const float *a, int64_t lda,
                                                     const float *b, int64_t ldb, float *c, int64_t ldc, bool add)
{
    any_product(2, true, rows, depth, a, lda, b, ldb, c, ldc, add);
}

/* LANES columns */
static __attribute__((noinline)) void narrow_product_rows(int64_t rows, int64_t depth, const float *a, int64_t lda,
                                                          const float *b, int64_t ldb, float *c, int64_t ldc,
                                                          bool add)
{
    any_product(1, false, rows, depth, a, lda, b, ldb, c, ldc, add);
}

/* C += A B for any number of columns; B and C have rows padded to whole vectors. */
static ALWAYS_INLINE void wide_product_rows(int64_t rows, int64_t columns, int64_t depth, const float *a,
                                            int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc)
{
    int64_t x = 0;
    for (; x + LANES < columns; x += PANEL) {
        product_rows(rows, depth, a, lda, b + x, ldb, c + x, ldc, true);
    }
    if (x < columns) {
        narrow_product_rows(rows, depth, a, lda, b + x, ldb, c + x, ldc, true);
    }
}

#endif
