/* GEMM through the BLAS library, for every level. */
#include "kernels/kernel.h"

#include <cblas.h>
#include <stdatomic.h>

/* The library keeps one thread count for the process; setting it takes a lock and resets its pool, so only changes
 * are passed on. */
static void blas_threads(int threads)
{
    static atomic_int current;
    if (atomic_load(&current) != threads) {
        openblas_set_num_threads(threads);
        atomic_store(&current, threads);
    }
}

#define GEMM_KERNEL(suffix, REAL, call)                                                                        \
    static void gemm_one_##suffix(const lh_gemm_args *args, int64_t batch)                                     \
    {                                                                                                          \
        const REAL *a = (const REAL *)args->a + batch * args->a_batch;                                         \
        const REAL *b = (const REAL *)args->b + batch * args->b_batch;                                         \
        REAL *c = (REAL *)args->c + batch * args->c_batch;                                                     \
        call(CblasRowMajor, args->transpose_a ? CblasTrans : CblasNoTrans,                                     \
             args->transpose_b ? CblasTrans : CblasNoTrans, (int)args->m, (int)args->n, (int)args->k,          \
             (REAL)args->alpha, a, (int)args->lda, b, (int)args->ldb, (REAL)args->beta, c, (int)args->ldc);    \
    }                                                                                                          \
                                                                                                               \
    static void gemm_empty_##suffix(const lh_gemm_args *args)                                                  \
    {                                                                                                          \
        for (int64_t batch = 0; batch < args->batch; batch++) {                                                \
            for (int64_t i = 0; i < args->m; i++) {                                                            \
                REAL *row = (REAL *)args->c + batch * args->c_batch + i * args->ldc;                           \
                for (int64_t j = 0; j < args->n; j++) {                                                        \
                    row[j] = args->beta == 0 ? 0 : (REAL)args->beta * row[j];                                  \
                }                                                                                              \
            }                                                                                                  \
        }                                                                                                      \
    }                                                                                                          \
                                                                                                               \
    static void gemm_##suffix(lh_exec *exec, const void *arguments)                                            \
    {                                                                                                          \
        const lh_gemm_args *args = arguments;                                                                  \
        if (args->batch == 0 || args->m == 0 || args->n == 0) {                                                \
            return;                                                                                            \
        }                                                                                                      \
        if (args->k == 0) {                                                                                    \
            gemm_empty_##suffix(args);                                                                         \
            return;                                                                                            \
        }                                                                                                      \
        blas_threads(exec->threads);                                                                           \
        if (args->batch >= 2 * exec->threads && exec->threads > 1) {                                           \
            _Pragma("omp parallel for schedule(dynamic) num_threads(exec->threads)") for (int64_t batch = 0;   \
                                                                                          batch < args->batch; \
                                                                                          batch++)             \
            {                                                                                                  \
                gemm_one_##suffix(args, batch);                                                                \
            }                                                                                                  \
            return;                                                                                            \
        }                                                                                                      \
        for (int64_t batch = 0; batch < args->batch; batch++) {                                                \
            gemm_one_##suffix(args, batch);                                                                    \
        }                                                                                                      \
    }

GEMM_KERNEL(f32, float, cblas_sgemm)
GEMM_KERNEL(f64, double, cblas_dgemm)

void lh_register_gemm(lh_kernel_table *table)
{
    LH_SET_BOTH(table, GEMM, gemm);
}
