/* What kernel files share: when to use threads, how reductions are cut, the register functions of every level. */
#ifndef LH_KERNELS_KERNEL_H
#define LH_KERNELS_KERNEL_H

#include "kernels/table.h"

/* A parallel region costs a few microseconds, so it has to have that much work for each thread. `work` counts
 * simple element operations (about a nanosecond each). */
#define LH_PARALLEL_GRAIN 16384

static inline int lh_kernel_threads(const lh_exec *exec, int64_t work)
{
    int64_t useful = work / LH_PARALLEL_GRAIN;
    return useful <= 1 ? 1 : useful < exec->threads ? (int)useful : exec->threads;
}

static inline int64_t lh_min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t lh_max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t lh_ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Sums over rows that land in one row (bias and gain gradients, column sums) are cut into this many rows at a time:
 * the cut depends on the shape alone, so the result does not depend on the number of threads. At most
 * LH_MAX_ROW_CHUNKS chunks, so that the partial sums stay small. */
#define LH_MAX_ROW_CHUNKS 64

static inline int64_t lh_row_chunk(int64_t rows)
{
    return lh_max64(32, lh_ceil_div(rows, LH_MAX_ROW_CHUNKS));
}

/* ref/: every kernel, float and double */
void lh_register_copy_ref(lh_kernel_table *table);
void lh_register_elementwise_ref(lh_kernel_table *table);
void lh_register_broadcast_ref(lh_kernel_table *table);
void lh_register_gemm(lh_kernel_table *table);
void lh_register_norm_ref(lh_kernel_table *table);
void lh_register_softmax_ref(lh_kernel_table *table);
void lh_register_rope_ref(lh_kernel_table *table);
void lh_register_rows_ref(lh_kernel_table *table);
void lh_register_ring_ref(lh_kernel_table *table);
void lh_register_window_ref(lh_kernel_table *table);
void lh_register_select_ref(lh_kernel_table *table);
void lh_register_group_ref(lh_kernel_table *table);
void lh_register_optimizer_ref(lh_kernel_table *table);
void lh_register_codes_ref(lh_kernel_table *table);
void lh_cast_ref(lh_exec *exec, const void *arguments); /* for types that a vector version does not know */

/* simd/ compiled for one vector width: the float kernels that take time */
void lh_register_elementwise_avx2(lh_kernel_table *table);
void lh_register_flat_avx2(lh_kernel_table *table);
void lh_register_norm_avx2(lh_kernel_table *table);
void lh_register_softmax_avx2(lh_kernel_table *table);
void lh_register_broadcast_avx2(lh_kernel_table *table);
void lh_register_rows_avx2(lh_kernel_table *table);
void lh_register_rope_avx2(lh_kernel_table *table);
void lh_register_adafactor_avx2(lh_kernel_table *table);
void lh_register_gemm_avx2(lh_kernel_table *table);
void lh_register_codes_avx2(lh_kernel_table *table);
void lh_register_select_avx2(lh_kernel_table *table);
void lh_register_group_avx2(lh_kernel_table *table);

void lh_register_elementwise_avx512(lh_kernel_table *table);
void lh_register_flat_avx512(lh_kernel_table *table);
void lh_register_norm_avx512(lh_kernel_table *table);
void lh_register_softmax_avx512(lh_kernel_table *table);
void lh_register_broadcast_avx512(lh_kernel_table *table);
void lh_register_rows_avx512(lh_kernel_table *table);
void lh_register_rope_avx512(lh_kernel_table *table);
void lh_register_adafactor_avx512(lh_kernel_table *table);
void lh_register_gemm_avx512(lh_kernel_table *table);
void lh_register_codes_avx512(lh_kernel_table *table);
void lh_register_select_avx512(lh_kernel_table *table);
void lh_register_group_avx512(lh_kernel_table *table);

/* Puts one version of a kernel in the table. */
#define LH_SET_BOTH(table, id, name)                  \
    do {                                              \
        (table)->f32[LH_KERNEL_##id] = name##_f32;    \
        (table)->f64[LH_KERNEL_##id] = name##_f64;    \
        (table)->origin[LH_KERNEL_##id] = LH_CPU_REF; \
    } while (0)

#define LH_SET_F32(table, id, name, level)       \
    do {                                         \
        (table)->f32[LH_KERNEL_##id] = name;     \
        (table)->origin[LH_KERNEL_##id] = level; \
    } while (0)

#endif
