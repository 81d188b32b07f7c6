/* Inside GEMM: how a product is cut among threads, shared by the library-backed kernel and the own small-m kernels.
 */
#ifndef LH_KERNELS_GEMM_H
#define LH_KERNELS_GEMM_H

#include "kernels/kernel.h"

/* One product without a batch: C [m, n] = alpha op(A) op(B) + beta C. */
typedef struct lh_product {
    bool transpose_a, transpose_b;
    int64_t m, n, k, lda, ldb, ldc;
    const void *a, *b;
    void *c;
    double alpha, beta;
} lh_product;

typedef void (*lh_product_function)(const lh_product *product);

/* Runs `one` over tiles of every product of the batch. `element` is the size of REAL in bytes. The cut depends on
 * the shape alone: libraries choose between inner kernels by shape, so a cut by the number of threads would change
 * bits. */
void lh_gemm_run(lh_exec *exec, const lh_gemm_args *args, size_t element, lh_product_function one);

/* The library-backed kernel for float, for versions that leave some shapes to it. */
void lh_gemm_library_f32(lh_exec *exec, const void *arguments);

#endif
