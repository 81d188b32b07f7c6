/* Attention beside matrix multiplication: causal, dense and with Transformer-XL relative positions, forward and
 * backward, and decoding of few queries against many cached keys.
 *
 *   bench_attention [-t threads] [-n length]... [-r repeats] [-d width] [-H heads] [-l ref|avx2|avx512] [-w kinds]
 *
 * kinds is a set of letters: f forward, b backward, F and B the same with relative positions, d decoding. With one
 * thread, processor time is counted, so that other work on the machine disturbs less.
 *
 * Counts 4 d flop for each visible pair forward and 10 d backward; work on relative positions is overhead. The peak
 * is the best rate of OpenBLAS and oneDNN at 2048^3, measured anew just before each row. Repeats of all rows are
 * interleaved; medians are printed, and a row's share of the peak is the median over repeats. */
#include "base/memory.h"
#include "base/random.h"
#include "kernels/table.h"

#include <cblas.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if LH_HAVE_DNNL
#include <dnnl.h>
#endif

void openblas_set_num_threads(int count);

#define MAX_ROWS 64
#define MAX_REPEATS 64
#define GEMM_SIZE 2048

typedef enum row_kind { ROW_FORWARD, ROW_BACKWARD, ROW_DECODE } row_kind;

typedef struct row {
    row_kind kind;
    bool relative;
    int64_t q_len, k_len;
    double seconds[MAX_REPEATS], share[MAX_REPEATS];
    size_t extra_bytes;
} row;

typedef struct operands {
    float *q, *k, *v, *out, *lse, *d_out, *d_q, *d_k, *d_v, *rel, *d_rel, *u, *d_u, *w, *d_w, *a, *b, *c;
} operands;

static clockid_t clock_used = CLOCK_MONOTONIC;

static double now(void)
{
    struct timespec t;
    clock_gettime(clock_used, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int n)
{
    double sorted[MAX_REPEATS];
    memcpy(sorted, values, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    return sorted[n / 2];
}

static float *noise(int64_t n)
{
    float *x = lh_heap_alloc((size_t)n * sizeof *x);
    if (!x) {
        fprintf(stderr, "no memory for %lld numbers\n", (long long)n);
        exit(1);
    }
    lh_random random = lh_random_create(1, (uint64_t)n);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(lh_random_uniform(&random) * 2 - 1);
    }
    return x;
}

/* The rate of the faster of two libraries, in flop per second. */
static double gemm_rate(int threads, const operands *o)
{
    int n = GEMM_SIZE;
    openblas_set_num_threads(threads);
    double start = now();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, o->a, n, o->b, n, 0, o->c, n);
    double best = now() - start;
#if LH_HAVE_DNNL
    omp_set_num_threads(threads);
    start = now();
    dnnl_sgemm('N', 'N', n, n, n, 1, o->a, n, o->b, n, 0, o->c, n);
    double other = now() - start;
    best = other < best ? other : best;
#endif
    return 2.0 * n * n * n / best;
}

/* Bytes per second of reading what a decoding step reads, and doing nothing with it. */
static double read_rate(int threads, const row *r, const operands *o, int64_t heads, int64_t width)
{
    int64_t n = heads * r->k_len * width, part = 65536;
    double start = now(), total = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : total)
    for (int64_t from = 0; from < n; from += part) {
        uint32_t sum[32] = {0};
        const uint32_t *k = (const uint32_t *)(const void *)(o->k + from);
        const uint32_t *v = (const uint32_t *)(const void *)(o->v + from);
        for (int64_t i = 0; i + 32 <= part && from + i + 32 <= n; i += 32) {
            for (int lane = 0; lane < 32; lane++) {
                sum[lane] += k[i + lane] ^ v[i + lane];
            }
        }
        total += sum[0] + sum[31];
    }
    double seconds = now() - start;
    return total < 0 ? 0 : 2.0 * (double)n * sizeof(float) / seconds;
}

static double flop(const row *r, int64_t heads, int64_t width)
{
    /* query i sees k_len - q_len + i + 1 keys */
    double q = (double)r->q_len, pairs = q * ((double)r->k_len - q) + q * (q + 1) / 2;
    return (r->kind == ROW_BACKWARD ? 10 : 4) * (double)width * (double)heads * pairs;
}

/* Projections lie as [length, heads, width], as a model leaves them; a cache is [heads, length, width]. */
static lh_attention_args arguments(const row *r, const operands *o, int64_t heads, int64_t width)
{
    lh_attention_args args = {.batch = 1,
                              .heads = heads,
                              .kv_heads = heads,
                              .q_len = r->q_len,
                              .qk_width = width,
                              .v_width = width,
                              .scale = 0.125,
                              .source_count = 1,
                              .lse = o->lse};
    lh_strided rows = {.batch = heads * width * r->k_len, .head = width, .row = heads * width};
    lh_attention_source *source = &args.source[0];
    args.q = args.out = args.d_out = args.d_q = source->k = source->v = source->d_k = source->d_v = rows;
    if (r->kind == ROW_DECODE) {
        source->k.head = source->v.head = r->k_len * width;
        source->k.row = source->v.row = width;
    }
    args.q.data = o->q;
    args.out.data = o->out;
    args.d_out.data = o->d_out;
    args.d_q.data = o->d_q;
    source->k.data = o->k;
    source->v.data = o->v;
    source->d_k.data = o->d_k;
    source->d_v.data = o->d_v;
    source->k_len = r->k_len;
    source->offset = r->k_len - r->q_len;
    source->min_distance = 0;
    source->max_distance = LH_DISTANCE_ANY;
    if (r->relative) {
        source->rel_k = o->rel;
        source->d_rel_k = o->d_rel;
        source->rel_len = r->k_len;
        source->rel_step = 1;
        source->rel_offset = source->offset;
        source->rel_k_head = width;
        source->rel_k_row = heads * width;
        source->content_bias = o->u;
        source->d_content_bias = o->d_u;
        source->position_bias = o->w;
        source->d_position_bias = o->d_w;
    }
    return args;
}

/* Seconds of one call; notes the memory that it takes beyond its operands. */
static double time_row(const lh_kernel_table *table, int threads, row *r, const operands *o, int64_t heads,
                       int64_t width)
{
    lh_attention_args args = arguments(r, o, heads, width);
    lh_exec exec = {.threads = threads};
    lh_kernel kernel = table->f32[r->kind == ROW_BACKWARD ? LH_KERNEL_ATTENTION_BACKWARD : LH_KERNEL_ATTENTION];
    size_t before = lh_heap_live_bytes();
    if (r->kind == ROW_BACKWARD) {
        table->f32[LH_KERNEL_ATTENTION](&exec, &args);
        lh_exec_free(&exec);
    }
    int loops = r->kind == ROW_DECODE ? 10 : 1;
    double start = now();
    for (int i = 0; i < loops; i++) {
        kernel(&exec, &args);
    }
    double seconds = (now() - start) / loops;
    r->extra_bytes = lh_heap_live_bytes() - before;
    lh_exec_free(&exec);
    return seconds;
}

static void print_row(const row *r, int repeats, int64_t heads, int64_t width)
{
    static const char *const names[] = {"forward", "backward", "decode"};
    char name[64];
    double seconds = median(r->seconds, repeats);
    snprintf(name, sizeof name, "%s%s", names[r->kind], r->relative ? ", relative" : "");
    printf("%-20s %8lld %8lld %10.3f %9.1f", name, (long long)r->q_len, (long long)r->k_len, seconds * 1e3,
           flop(r, heads, width) / seconds * 1e-9);
    if (r->kind == ROW_DECODE) {
        double bytes = 2.0 * (double)(heads * r->k_len * width) * sizeof(float);
        printf(" %8.1f%% of reading, %.1f GB/s of keys and values\n", 100 * median(r->share, repeats),
               bytes / seconds * 1e-9);
    } else {
        printf(" %8.1f%% %9.1f\n", 100 * median(r->share, repeats), (double)r->extra_bytes / 1048576);
    }
}

int main(int count, char **words)
{
    int threads = 2, repeats = 5, row_count = 0, length_count = 0;
    int64_t lengths[16] = {2048, 8192, 32768}, heads = 8, width = 64, longest = 16384;
    lh_cpu_level level = lh_cpu_best_level();
    const char *kinds = "fbFBd";
    for (int i = 1; i + 1 < count; i += 2) {
        long value = atol(words[i + 1]);
        switch (words[i][1]) {
        case 't': threads = (int)value; break;
        case 'r': repeats = value < MAX_REPEATS ? (int)value : MAX_REPEATS; break;
        case 'd': width = value; break;
        case 'H': heads = value; break;
        case 'n': lengths[length_count < 15 ? length_count++ : 15] = value; break;
        case 'w': kinds = words[i + 1]; break;
        case 'l':
            for (int l = 0; l < LH_CPU_LEVEL_COUNT; l++) {
                level = strcmp(words[i + 1], lh_cpu_level_name((lh_cpu_level)l)) == 0 ? (lh_cpu_level)l : level;
            }
            break;
        default: fprintf(stderr, "unknown option %s\n", words[i]); return 2;
        }
    }
    length_count = length_count ? length_count : 3;
    clock_used = threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    static row rows[MAX_ROWS];
    for (int i = 0; i < length_count; i++) {
        longest = lengths[i] > longest ? lengths[i] : longest;
        for (int which = 0; which < 4 && row_count < MAX_ROWS - 4; which++) {
            if (strchr(kinds, "fbFB"[which])) {
                rows[row_count++] = (row){.kind = which % 2 ? ROW_BACKWARD : ROW_FORWARD,
                                          .relative = which >= 2,
                                          .q_len = lengths[i],
                                          .k_len = lengths[i]};
            }
        }
    }
    for (int64_t q_len = 1; q_len <= 8 && strchr(kinds, 'd'); q_len *= 2) {
        rows[row_count++] = (row){.kind = ROW_DECODE, .q_len = q_len, .k_len = longest};
    }
    const lh_kernel_table *table = lh_kernel_table_get(level);
    if (!table) {
        fprintf(stderr, "this machine has no %s\n", lh_cpu_level_name(level));
        return 1;
    }

    int64_t n = longest * heads * width, square = GEMM_SIZE * GEMM_SIZE, vectors = heads * width;
    operands o = {.q = noise(n),
                  .k = noise(n),
                  .v = noise(n),
                  .out = noise(n),
                  .d_out = noise(n),
                  .d_q = noise(n),
                  .d_k = noise(n),
                  .d_v = noise(n),
                  .rel = noise(n),
                  .d_rel = noise(n),
                  .u = noise(vectors),
                  .d_u = noise(vectors),
                  .w = noise(vectors),
                  .d_w = noise(vectors),
                  .lse = noise(longest * heads),
                  .a = noise(square),
                  .b = noise(square),
                  .c = noise(square)};
    double peaks[MAX_REPEATS * MAX_ROWS] = {0};
    int peak_count = 0;
    for (int repeat = 0; repeat < repeats; repeat++) {
        for (int i = 0; i < row_count; i++) {
            double peak = gemm_rate(threads, &o);
            rows[i].seconds[repeat] = time_row(table, threads, &rows[i], &o, heads, width);
            rows[i].share[repeat] = flop(&rows[i], heads, width) / rows[i].seconds[repeat] / peak;
            peaks[peak_count++ % MAX_REPEATS] = peak;
            if (rows[i].kind == ROW_DECODE) {
                double bytes = 2.0 * (double)(heads * rows[i].k_len * width) * sizeof(float);
                rows[i].share[repeat] =
                    bytes / rows[i].seconds[repeat] / read_rate(threads, &rows[i], &o, heads, width);
            }
        }
    }
    printf("%s, %d threads, %lld heads of width %lld, medians of %d; sgemm %d^3: %.1f Gflop/s\n",
           lh_cpu_level_name(level), threads, (long long)heads, (long long)width, repeats, GEMM_SIZE,
           median(peaks, peak_count < MAX_REPEATS ? peak_count : MAX_REPEATS) * 1e-9);
    printf("%-20s %8s %8s %10s %9s %9s %9s\n", "what", "queries", "keys", "ms", "Gflop/s", "of peak", "extra MB");
    for (int i = 0; i < row_count; i++) {
        print_row(&rows[i], repeats, heads, width);
    }
    return 0;
}
