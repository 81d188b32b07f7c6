/* GEMM for every level: our own split among threads over a library's single-threaded product.
 *
 * Measured at the shapes of training, a split over oneDNN beats oneDNN's own threading, OpenBLAS and BLIS (see
 * docs/dependencies.md and `longhand bench kernels`). And since a tile of C is computed by one thread from all of
 * k, the result does not depend on the number of threads. */
#include "kernels/gemm.h"

#include <cblas.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>
#if LH_HAVE_DNNL
#include <dnnl.h>
#endif

#define TILE_AREA 131072.0 /* elements of C, once four threads are busy */

/* Below this many multiply-adds for each thread a parallel region costs more than it saves. */
#define GEMM_GRAIN 100000

static lh_product product_of(const lh_gemm_args *args, int64_t batch, size_t element)
{
    return (lh_product){
        .transpose_a = args->transpose_a,
        .transpose_b = args->transpose_b,
        .m = args->m,
        .n = args->n,
        .k = args->k,
        .lda = args->lda,
        .ldb = args->ldb,
        .ldc = args->ldc,
        .a = (const char *)args->a + batch * args->a_batch * (int64_t)element,
        .b = (const char *)args->b + batch * args->b_batch * (int64_t)element,
        .c = (char *)args->c + batch * args->c_batch * (int64_t)element,
        .alpha = args->alpha,
        .beta = args->beta,
    };
}

/* The part [row, row + m) x [column, column + n) of a product. */
static lh_product product_tile(lh_product whole, int64_t row, int64_t m, int64_t column, int64_t n, size_t element)
{
    whole.a = (const char *)whole.a + (whole.transpose_a ? row : row * whole.lda) * (int64_t)element;
    whole.b = (const char *)whole.b + (whole.transpose_b ? column * whole.ldb : column) * (int64_t)element;
    whole.c = (char *)whole.c + (row * whole.ldc + column) * (int64_t)element;
    whole.m = m;
    whole.n = n;
    return whole;
}

/* How many tiles to make of one product: enough to spread small products over a few threads, more only as long as
 * tiles stay large enough (256 x 512 of C, and 512 deep) to keep the library within a few per cent of its rate on
 * the whole. Powers of two, which most numbers of threads share evenly. */
static int tile_count(const lh_gemm_args *args)
{
    double work = (double)args->m * (double)args->n * (double)args->k;
    int parts = 1;
    while (parts < 64) {
        double part = work / (2 * parts), area = (double)args->m * (double)args->n / (2 * parts);
        if (part < (parts < 4 ? 250e3 : parts < 8 ? 16e6 : 60e6) || (parts >= 4 && area < TILE_AREA)) {
            break;
        }
        parts *= 2;
    }
    return args->batch > 4 && work < 60e6 ? 1 : parts;
}

/* The grid of up to `parts` tiles with the least to pack: A costs more than B, whose rows are C's. */
static void choose_grid(const lh_gemm_args *args, int parts, int64_t *tile_m, int64_t *tile_n)
{
    double best = 0;
    for (int across = 1; across <= parts; across *= 2) {
        int64_t m = lh_ceil_div(lh_ceil_div(args->m, parts / across), 16) * 16;
        int64_t n = lh_ceil_div(lh_ceil_div(args->n, across), 16) * 16;
        m = lh_min64(m, args->m);
        n = lh_min64(n, args->n);
        double cost = 0.01 * (double)m * (double)n + 2.2 * (double)m + (double)n;
        if (across == 1 || cost < best) {
            best = cost;
            *tile_m = m;
            *tile_n = n;
        }
    }
}

static void run_item(const lh_gemm_args *args, size_t element, int64_t item, int64_t tile_m, int64_t tile_n,
                     lh_product_function one)
{
    int64_t across = lh_ceil_div(args->n, tile_n), tiles = lh_ceil_div(args->m, tile_m) * across;
    int64_t row = item % tiles / across * tile_m, column = item % tiles % across * tile_n;
    lh_product part = product_tile(product_of(args, item / tiles, element), row, lh_min64(tile_m, args->m - row),
                                   column, lh_min64(tile_n, args->n - column), element);
    one(&part);
}

void lh_gemm_run(lh_exec *exec, const lh_gemm_args *args, size_t element, lh_product_function one)
{
    if (args->batch == 0 || args->m == 0 || args->n == 0) {
        return;
    }
    int64_t tile_m = args->m, tile_n = args->n;
    choose_grid(args, tile_count(args), &tile_m, &tile_n);
    int64_t items = args->batch * lh_ceil_div(args->m, tile_m) * lh_ceil_div(args->n, tile_n);
    double work = (double)args->batch * (double)args->m * (double)args->n * (double)args->k;
    int threads = work < 2.0 * GEMM_GRAIN ? 1 : (int)lh_min64(items, exec->threads);
    if (threads == 1) {
        int before = omp_get_max_threads();
        omp_set_num_threads(1); /* the libraries would start threads of their own outside of a parallel region */
        for (int64_t item = 0; item < items; item++) {
            run_item(args, element, item, tile_m, tile_n, one);
        }
        omp_set_num_threads(before);
        return;
    }
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t item = 0; item < items; item++) {
        run_item(args, element, item, tile_m, tile_n, one);
    }
}

/* ---- the libraries ----------------------------------------------------------------------------- */

static void openblas_f64(const lh_product *p)
{
    cblas_dgemm(CblasRowMajor, p->transpose_a ? CblasTrans : CblasNoTrans,
                p->transpose_b ? CblasTrans : CblasNoTrans, (int)p->m, (int)p->n, (int)p->k, p->alpha, p->a,
                (int)p->lda, p->b, (int)p->ldb, p->beta, p->c, (int)p->ldc);
}

static void openblas_f32(const lh_product *p)
{
    cblas_sgemm(CblasRowMajor, p->transpose_a ? CblasTrans : CblasNoTrans,
                p->transpose_b ? CblasTrans : CblasNoTrans, (int)p->m, (int)p->n, (int)p->k, (float)p->alpha, p->a,
                (int)p->lda, p->b, (int)p->ldb, (float)p->beta, p->c, (int)p->ldc);
}

static void library_f32(const lh_product *p)
{
#if LH_HAVE_DNNL
    /* Inner kernels of oneDNN 2.6 keep data where the stack pointer does not protect it: a signal that arrives in
     * one, Ctrl-C for instance, has its frame written over packed operands and the heap around them. So signals
     * wait. */
    sigset_t all, before;
    (void)sigfillset(&all);
    bool blocked = pthread_sigmask(SIG_SETMASK, &all, &before) == 0;
    bool done =
        dnnl_sgemm(p->transpose_a ? 'T' : 'N', p->transpose_b ? 'T' : 'N', p->m, p->n, p->k, (float)p->alpha, p->a,
                   p->lda, p->b, p->ldb, (float)p->beta, p->c, p->ldc) == dnnl_success;
    if (blocked) {
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (done) {
        return;
    }
#endif
    openblas_f32(p);
}

/* k = 0 is left to no library: C = beta C. */
#define GEMM_EMPTY(suffix, REAL)                                         \
    static void empty_##suffix(const lh_product *p)                      \
    {                                                                    \
        for (int64_t i = 0; i < p->m; i++) {                             \
            REAL *row = (REAL *)p->c + i * p->ldc, beta = (REAL)p->beta; \
            for (int64_t j = 0; j < p->n; j++) {                         \
                row[j] = beta == 0 ? 0 : beta * row[j];                  \
            }                                                            \
        }                                                                \
    }

GEMM_EMPTY(f32, float)
GEMM_EMPTY(f64, double)

void lh_gemm_library_f32(lh_exec *exec, const void *arguments)
{
    const lh_gemm_args *args = arguments;
    lh_gemm_run(exec, args, sizeof(float), args->k == 0 ? empty_f32 : library_f32);
}

static void gemm_f64(lh_exec *exec, const void *arguments)
{
    const lh_gemm_args *args = arguments;
    lh_gemm_run(exec, args, sizeof(double), args->k == 0 ? empty_f64 : openblas_f64);
}

void lh_register_gemm(lh_kernel_table *table)
{
    table->f32[LH_KERNEL_GEMM] = lh_gemm_library_f32;
    table->f64[LH_KERNEL_GEMM] = gemm_f64;
}
