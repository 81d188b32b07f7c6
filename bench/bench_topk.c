/* Search for the largest inner products in a long ring, and attention over what was found, beside matrix
 * multiplication and, where its library is installed, beside Faiss.
 *
 *   bench_topk [-t threads] [-q queries] [-n keys] [-d width] [-k neighbours] [-r repeats] [-f faiss-shim.so]
 *
 * Counts 2 queries keys width flop for a search, whatever selecting costs. A share is of the GEMM rate measured
 * just before; a search by one query is stated against reading the same bytes. All rows are interleaved; medians
 * are printed. bench/topk.sh builds the shim and passes it on. */
#include "base/memory.h"
#include "base/random.h"
#include "kernels/table.h"
#include "support/bench_peak.h"

#include <dlfcn.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REPEATS = 64, MAX_ROWS = 16, APPENDED = 512 };

typedef struct setup {
    int threads, repeats;
    int64_t queries, keys, width, k;
    lh_context *context;
    float *q, *fresh, *out, *d_out, *d_q, *lse;
    lh_ring ring[3]; /* f32, f16, i8 */
    int32_t written, *index;
    float *values;
    void *(*faiss_create)(int width, long rows, const float *keys);
    void (*faiss_search)(void *index, int threads, long count, const float *queries, long k, float *scores,
                         long *ids);
    void *faiss;
    float *faiss_scores;
    long *faiss_ids;
} setup;

typedef enum row_kind { SEARCH, DECODE, APPEND, ATTEND, ATTEND_BACKWARD, FAISS, FAISS_ONE } row_kind;

typedef struct row {
    const char *name;
    row_kind kind;
    int ring;
    int64_t buckets;
    double seconds[MAX_REPEATS], share[MAX_REPEATS];
} row;

static const lh_dtype stored[3] = {LH_F32, LH_F16, LH_I8};
static const char *const stored_name[3] = {"f32", "f16", "int8"};

static void *zeros(size_t bytes)
{
    void *data = lh_heap_alloc(bytes);
    if (!data) {
        fprintf(stderr, "bench_topk: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    return data;
}

static float *noise(int64_t n)
{
    float *x = zeros((size_t)n * sizeof *x);
    lh_random random = lh_random_create(1, (uint64_t)n);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(lh_random_uniform(&random) + lh_random_uniform(&random) + lh_random_uniform(&random) - 1.5);
    }
    return x;
}

static void append(const setup *s, int ring, const float *rows, int64_t count, int32_t written)
{
    lh_ring_append_args args = {.batch = 1,
                                .heads = 1,
                                .count = count,
                                .width = s->width,
                                .x = {.data = (void *)(uintptr_t)rows, .row = s->width},
                                .ring = s->ring[ring],
                                .written = &written};
    lh_run(s->context, LH_KERNEL_RING_APPEND, LH_F32, &args);
}

static void prepare(setup *s)
{
    lh_error error = {0};
    if (lh_context_create(&s->context, lh_backend_cpu(), s->threads, &error) != LH_OK) {
        fprintf(stderr, "bench_topk: %s\n", error.message);
        exit(1);
    }
    s->q = noise(s->queries * s->width);
    s->fresh = noise(APPENDED * s->width);
    s->values = noise(s->keys * s->width);
    s->out = noise(s->queries * s->width);
    s->d_out = noise(s->queries * s->width);
    s->d_q = noise(s->queries * s->width);
    s->lse = noise(s->queries);
    s->index = zeros((size_t)(s->queries * s->k) * sizeof *s->index);
    s->written = (int32_t)s->keys;
    float *keys = noise(s->keys * s->width);
    for (int i = 0; i < 3; i++) {
        size_t size = i == 0 ? 4 : i == 1 ? 2 : 1;
        s->ring[i] = (lh_ring){.stored = stored[i],
                               .capacity = s->keys,
                               .slots = s->keys,
                               .rows = {.data = zeros((size_t)(s->keys * s->width) * size), .row = s->width},
                               .scale = zeros((size_t)s->keys * sizeof(float))};
        append(s, i, keys, s->keys, 0);
    }
    if (s->faiss_create) {
        s->faiss = s->faiss_create((int)s->width, (long)s->keys, keys);
        s->faiss_scores = zeros((size_t)(s->queries * s->k) * sizeof(float));
        s->faiss_ids = zeros((size_t)(s->queries * s->k) * sizeof(long));
    }
    lh_heap_free(keys);
}

static void search(const setup *s, int ring, int64_t queries, int64_t buckets)
{
    lh_nearest_args args = {.batch = 1,
                            .heads = 1,
                            .kv_heads = 1,
                            .q_len = queries,
                            .width = s->width,
                            .k = s->k,
                            .q = {.data = s->q, .row = s->width},
                            .keys = s->ring[ring],
                            .written = &s->written,
                            .window = s->keys,
                            .buckets = buckets,
                            .missing = -1,
                            .index = s->index};
    lh_run(s->context, LH_KERNEL_NEAREST, LH_F32, &args);
}

static void attend(const setup *s, bool backward)
{
    lh_strided rows = {.row = s->width};
    lh_attention_args args = {.batch = 1,
                              .heads = 1,
                              .kv_heads = 1,
                              .q_len = s->queries,
                              .qk_width = s->width,
                              .v_width = s->width,
                              .scale = 1,
                              .source_count = 1,
                              .q = rows,
                              .out = rows,
                              .lse = s->lse};
    args.q.data = s->q;
    args.out.data = s->out;
    args.source[0] = (lh_attention_source){.layout = LH_KEYS_GATHERED,
                                           .k_len = s->keys,
                                           .k = s->ring[0].rows,
                                           .v = {.data = s->values, .row = s->width},
                                           .gather = s->index,
                                           .gathered = s->k};
    if (backward) {
        args.d_out = args.d_q = rows;
        args.d_out.data = s->d_out;
        args.d_q.data = s->d_q;
    }
    lh_run(s->context, backward ? LH_KERNEL_ATTENTION_BACKWARD : LH_KERNEL_ATTENTION, LH_F32, &args);
}

/* Bytes per second of reading `bytes` bytes and doing nothing with them. */
static double read_rate(const setup *s, const void *data, int64_t bytes)
{
    int64_t part = 1 << 16;
    uint64_t total = 0;
    double start = lh_now();
#pragma omp parallel for num_threads(s->threads) reduction(+ : total)
    for (int64_t from = 0; from < bytes / part * part; from += part) {
        uint64_t sum[16] = {0};
        const uint64_t *x = (const uint64_t *)(const void *)((const char *)data + from);
        for (int64_t i = 0; i < part / 8; i += 16) {
            for (int lane = 0; lane < 16; lane++) {
                sum[lane] ^= x[i + lane];
            }
        }
        total += sum[0] ^ sum[15];
    }
    double seconds = lh_now() - start;
    return total == 1 ? 0 : (double)bytes / seconds;
}

static double bytes_of(const setup *s, const row *r)
{
    return (double)(s->keys * s->width) * (r->ring == 0 ? 4.0 : r->ring == 1 ? 2.0 : 1.0);
}

static double flop(const setup *s)
{
    return 2.0 * (double)s->queries * (double)s->keys * (double)s->width;
}

static void run_row(const setup *s, row *r, int repeat)
{
    int loops = r->kind == APPEND ? 16 : r->kind == DECODE ? 4 : 1;
    double peak = r->kind == DECODE ? read_rate(s, s->ring[r->ring].rows.data, (int64_t)bytes_of(s, r))
                                    : bench_peak(s->context);
    if (r->kind == ATTEND_BACKWARD) {
        attend(s, false);
    }
    double start = lh_now();
    for (int loop = 0; loop < loops; loop++) {
        switch (r->kind) {
        case SEARCH: search(s, r->ring, s->queries, r->buckets); break;
        case DECODE: search(s, r->ring, 1, 0); break;
        case APPEND: append(s, r->ring, s->fresh, APPENDED, (int32_t)((APPENDED * loop) % s->keys)); break;
        case ATTEND: attend(s, false); break;
        case ATTEND_BACKWARD: attend(s, true); break;
        case FAISS:
        case FAISS_ONE:
            s->faiss_search(s->faiss, s->threads, r->kind == FAISS ? (long)s->queries : 1, s->q, (long)s->k,
                            s->faiss_scores, s->faiss_ids);
            break;
        }
    }
    double seconds = (lh_now() - start) / loops;
    r->seconds[repeat] = seconds;
    r->share[repeat] = (r->kind == DECODE ? bytes_of(s, r) : flop(s)) / seconds / peak;
}

static double row_seconds(row *rows, int count, const char *name, int repeats)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return bench_median(rows[i].seconds, repeats);
        }
    }
    return 0;
}

static void print_rows(const setup *s, row *rows, int count, double peak)
{
    double exact = row_seconds(rows, count, "search f32", s->repeats);
    double one = row_seconds(rows, count, "one query f32", s->repeats);
    printf("%s, %d threads: %lld queries, %lld keys of width %lld, %lld neighbours; medians of %d; sgemm %.1f "
           "Gflop/s\n",
           lh_cpu_level_name(lh_cpu_best_level()), s->threads, (long long)s->queries, (long long)s->keys,
           (long long)s->width, (long long)s->k, s->repeats, peak * 1e-9);
    for (int i = 0; i < count; i++) {
        row *r = &rows[i];
        double seconds = bench_median(r->seconds, s->repeats), share = 100 * bench_median(r->share, s->repeats);
        printf("%-24s %10.3f ms", r->name, seconds * 1e3);
        switch (r->kind) {
        case SEARCH: printf("  %5.1f%% of GEMM", share); break;
        case DECODE: printf("  %5.1f%% of reading, %.1f GB/s", share, bytes_of(s, r) / seconds * 1e-9); break;
        case APPEND: printf("  %5.2f%% of the search", 100 * seconds / exact); break;
        case FAISS: printf("  %5.1f%% of GEMM; ours %.2fx as fast", share, seconds / exact); break;
        case FAISS_ONE: printf("  ours %.2fx as fast", seconds / one); break;
        default: printf("  %5.2f%% of the search", 100 * seconds / exact); break;
        }
        printf("\n");
    }
}

static void load_faiss(setup *s, const char *path)
{
    void *shim = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!shim) {
        fprintf(stderr, "bench_topk: %s\n", dlerror());
        exit(1);
    }
    void *create = dlsym(shim, "lh_faiss_create"), *find = dlsym(shim, "lh_faiss_search");
    memcpy(&s->faiss_create, &create, sizeof create);
    memcpy(&s->faiss_search, &find, sizeof find);
}

int main(int count, char **words)
{
    setup s = {
        .threads = omp_get_max_threads(), .repeats = 5, .queries = 512, .keys = 262144, .width = 64, .k = 32};
    for (int i = 1; i + 1 < count; i += 2) {
        long value = atol(words[i + 1]);
        switch (words[i][1]) {
        case 't': s.threads = (int)value; break;
        case 'r': s.repeats = value < MAX_REPEATS ? (int)value : MAX_REPEATS; break;
        case 'q': s.queries = value; break;
        case 'n': s.keys = value; break;
        case 'd': s.width = value; break;
        case 'k': s.k = value; break;
        case 'f': load_faiss(&s, words[i + 1]); break;
        default: fprintf(stderr, "unknown option %s\n", words[i]); return 2;
        }
    }
    prepare(&s);
    static row rows[MAX_ROWS];
    static char names[MAX_ROWS][32];
    int n = 0;
    for (int kind = SEARCH; kind <= APPEND; kind++) {
        for (int ring = 0; ring < 3; ring++) {
            static const char *const words_of[] = {"search", "one query", "append 512"};
            (void)snprintf(names[n], sizeof names[n], "%s %s", words_of[kind], stored_name[ring]);
            rows[n] = (row){.name = names[n], .kind = (row_kind)kind, .ring = ring};
            n++;
        }
    }
    rows[n++] = (row){.name = "128 buckets f32", .kind = SEARCH, .buckets = 128};
    rows[n++] = (row){.name = "attend", .kind = ATTEND};
    rows[n++] = (row){.name = "attend backward", .kind = ATTEND_BACKWARD};
    if (s.faiss) {
        rows[n++] = (row){.name = "faiss flat", .kind = FAISS};
        rows[n++] = (row){.name = "faiss flat, one query", .kind = FAISS_ONE};
    }
    double peaks[MAX_REPEATS];
    for (int repeat = 0; repeat < s.repeats; repeat++) {
        peaks[repeat] = bench_peak(s.context);
        for (int i = 0; i < n; i++) {
            run_row(&s, &rows[i], repeat);
        }
    }
    lh_error error = {0};
    if (lh_context_status(s.context, &error) != LH_OK) {
        fprintf(stderr, "bench_topk: %s\n", error.message);
        return 1;
    }
    print_rows(&s, rows, n, bench_median(peaks, s.repeats));
    return 0;
}
