/* COPY, CAST and FILL: they look at bytes and element types, not at REAL. COPY serves every level. */
#include "kernels/half.h"
#include "kernels/kernel.h"

#include <string.h>

/* ---- copy -------------------------------------------------------------------------------------- */

typedef struct copy_plan {
    int ndim; /* >= 1 */
    int64_t shape[LH_MAX_DIMS], x_stride[LH_MAX_DIMS], y_stride[LH_MAX_DIMS];
} copy_plan;

static void plan_swap(copy_plan *plan, int a, int b)
{
    int64_t *fields[3] = {plan->shape, plan->x_stride, plan->y_stride};
    for (int i = 0; i < 3; i++) {
        int64_t kept = fields[i][a];
        fields[i][a] = fields[i][b];
        fields[i][b] = kept;
    }
}

/* Drops dimensions of size 1, orders the rest by falling y stride and joins neighbours that are one run in both
 * arrays: most copies become one or two dimensions. Returns the number of elements. */
static int64_t plan_make(copy_plan *plan, const lh_copy_args *args)
{
    int64_t count = 1;
    plan->ndim = 0;
    for (int d = 0; d < LH_MAX_DIMS; d++) {
        count *= args->shape[d];
        if (args->shape[d] != 1) {
            plan->shape[plan->ndim] = args->shape[d];
            plan->x_stride[plan->ndim] = args->x_stride[d];
            plan->y_stride[plan->ndim++] = args->y_stride[d];
        }
    }
    for (int i = 1; i < plan->ndim; i++) {
        for (int j = i; j > 0 && plan->y_stride[j] > plan->y_stride[j - 1]; j--) {
            plan_swap(plan, j, j - 1);
        }
    }
    int kept = 0;
    for (int d = 1; d < plan->ndim; d++) {
        if (plan->x_stride[kept] == plan->shape[d] * plan->x_stride[d] &&
            plan->y_stride[kept] == plan->shape[d] * plan->y_stride[d]) {
            plan->shape[kept] *= plan->shape[d];
        } else {
            kept++;
            plan->shape[kept] = plan->shape[d];
        }
        plan->x_stride[kept] = plan->x_stride[d];
        plan->y_stride[kept] = plan->y_stride[d];
    }
    if (plan->ndim == 0) {
        plan->shape[0] = plan->x_stride[0] = plan->y_stride[0] = 1;
    }
    plan->ndim = kept + 1;
    return count;
}

#define COPY_STRIDED(type)                                                 \
    do {                                                                   \
        const type *from = x;                                              \
        type *to = y;                                                      \
        for (int64_t r = 0; r < rows; r++) {                               \
            for (int64_t i = 0; i < n; i++) {                              \
                to[r * y_row + i * y_step] = from[r * x_row + i * x_step]; \
            }                                                              \
        }                                                                  \
    } while (0)

/* A tile of [rows, n] elements; strides in elements. */
static void copy_tile(int bytes, int64_t rows, int64_t n, const void *x, int64_t x_row, int64_t x_step, void *y,
                      int64_t y_row, int64_t y_step)
{
    if (x_step == 1 && y_step == 1) {
        for (int64_t r = 0; r < rows; r++) {
            memcpy((char *)y + r * y_row * bytes, (const char *)x + r * x_row * bytes, (size_t)(n * bytes));
        }
        return;
    }
    switch (bytes) {
    case 1: COPY_STRIDED(uint8_t); break;
    case 2: COPY_STRIDED(uint16_t); break;
    case 4: COPY_STRIDED(uint32_t); break;
    default: COPY_STRIDED(uint64_t); break;
    }
}

/* The last dimension is cut into pieces. When x runs along another dimension, that one moves next to the last and
 * both are cut, so that a tile's lines of x and y fit in the first-level cache. */
static void copy(lh_exec *exec, const void *arguments)
{
    const lh_copy_args *args = arguments;
    copy_plan plan;
    int64_t count = plan_make(&plan, args);
    if (count == 0) {
        return;
    }
    int last = plan.ndim - 1, cross = last - 1;
    bool crossed = false;
    for (int d = 0; d < last; d++) {
        if (plan.x_stride[d] < plan.x_stride[last] && plan.x_stride[d] > 0) {
            if (!crossed || plan.x_stride[d] < plan.x_stride[cross]) {
                plan_swap(&plan, d, cross);
                crossed = true;
            }
        }
    }
    int64_t tile_n = crossed ? 32 : 8192, tile_rows = crossed ? 32 : lh_max64(1, 8192 / plan.shape[last]);
    int outer = plan.ndim >= 2 ? plan.ndim - 2 : 0;
    int64_t rows = plan.ndim >= 2 ? plan.shape[cross] : 1, n = plan.shape[last];
    int64_t x_row = plan.ndim >= 2 ? plan.x_stride[cross] : 0, y_row = plan.ndim >= 2 ? plan.y_stride[cross] : 0;
    int64_t row_tiles = lh_ceil_div(rows, tile_rows), n_tiles = lh_ceil_div(n, tile_n);
    int64_t tiles = row_tiles * n_tiles;
    for (int d = 0; d < outer; d++) {
        tiles *= plan.shape[d];
    }
    int bytes = args->element_bytes;
#pragma omp parallel for schedule(static) num_threads(lh_kernel_threads(exec, count))
    for (int64_t tile = 0; tile < tiles; tile++) {
        int64_t rest = tile, i = rest % n_tiles * tile_n;
        rest /= n_tiles;
        int64_t r = rest % row_tiles * tile_rows;
        rest /= row_tiles;
        int64_t x_at = r * x_row + i * plan.x_stride[last], y_at = r * y_row + i * plan.y_stride[last];
        for (int d = outer - 1; d >= 0; d--) {
            x_at += rest % plan.shape[d] * plan.x_stride[d];
            y_at += rest % plan.shape[d] * plan.y_stride[d];
            rest /= plan.shape[d];
        }
        copy_tile(bytes, lh_min64(tile_rows, rows - r), lh_min64(tile_n, n - i),
                  (const char *)args->x + x_at * bytes, x_row, plan.x_stride[last], (char *)args->y + y_at * bytes,
                  y_row, plan.y_stride[last]);
    }
}

/* ---- cast and fill ----------------------------------------------------------------------------- */

static double load(lh_dtype type, const void *x, int64_t i)
{
    switch (type) {
    case LH_F32: return ((const float *)x)[i];
    case LH_F64: return ((const double *)x)[i];
    case LH_F16: return lh_f16_to_double(((const uint16_t *)x)[i]);
    case LH_BF16: return lh_bf16_to_double(((const uint16_t *)x)[i]);
    case LH_I32: return ((const int32_t *)x)[i];
    case LH_I8: return ((const int8_t *)x)[i];
    default: return ((const uint8_t *)x)[i];
    }
}

static double rounded(double value, double low, double high)
{
    return isnan(value) ? 0 : value <= low ? low : value >= high ? high : nearbyint(value);
}

static void store(lh_dtype type, void *y, int64_t i, double value)
{
    switch (type) {
    case LH_F32: ((float *)y)[i] = (float)value; break;
    case LH_F64: ((double *)y)[i] = value; break;
    case LH_F16: ((uint16_t *)y)[i] = lh_f16_from_double(value); break;
    case LH_BF16: ((uint16_t *)y)[i] = lh_bf16_from_double(value); break;
    case LH_I32: ((int32_t *)y)[i] = (int32_t)rounded(value, INT32_MIN, INT32_MAX); break;
    case LH_I8: ((int8_t *)y)[i] = (int8_t)rounded(value, INT8_MIN, INT8_MAX); break;
    default: ((uint8_t *)y)[i] = (uint8_t)rounded(value, 0, UINT8_MAX); break;
    }
}

void lh_cast_ref(lh_exec *exec, const void *arguments)
{
    const lh_cast_args *args = arguments;
#pragma omp parallel for schedule(static) num_threads(lh_kernel_threads(exec, args->n * 4))
    for (int64_t i = 0; i < args->n; i++) {
        store(args->to, args->y, i, load(args->from, args->x, i));
    }
}

static void fill_f32(lh_exec *exec, const void *arguments)
{
    const lh_fill_args *args = arguments;
    float *y = args->y, value = (float)args->value;
#pragma omp parallel for schedule(static) num_threads(lh_kernel_threads(exec, args->n))
    for (int64_t i = 0; i < args->n; i++) {
        y[i] = value;
    }
}

static void fill_f64(lh_exec *exec, const void *arguments)
{
    const lh_fill_args *args = arguments;
    double *y = args->y;
#pragma omp parallel for schedule(static) num_threads(lh_kernel_threads(exec, args->n))
    for (int64_t i = 0; i < args->n; i++) {
        y[i] = args->value;
    }
}

void lh_register_copy_ref(lh_kernel_table *table)
{
    table->f32[LH_KERNEL_COPY] = table->f64[LH_KERNEL_COPY] = copy;
    table->f32[LH_KERNEL_CAST] = table->f64[LH_KERNEL_CAST] = lh_cast_ref;
    LH_SET_BOTH(table, FILL, fill);
}
