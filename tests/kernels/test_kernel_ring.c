/* Search in rings of rows and appending to them: every level against formulas written down here, on small whole
 * numbers (whose products are exact, with many ties) and on noise. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "kernels/half.h"
#include "kernels/table.h"

static lh_random noise;

static int64_t pick(int64_t low, int64_t high)
{
    return low + (int64_t)lh_random_below(&noise, (uint64_t)(high - low + 1));
}

static void *own(size_t bytes)
{
    void *data = lh_heap_alloc(bytes + 64);
    assert_non_null(data);
    return data;
}

/* One search: keys as doubles, and stored in one of four ways. */
typedef struct search {
    lh_nearest_args args;
    bool real_is_double, whole;
    int64_t key_row, q_row; /* strides */
    double *keys;           /* [batch, kv_heads, slots, width] */
    double *queries;        /* [batch, heads, q_len, width] */
    void *stored, *q;
    float *scale;
    int32_t *written, *index;
    void *score;
} search;

static double spread = 1; /* of noise around a fixed number of each channel */

static double number(const search *s, int64_t channel)
{
    double centre = sqrt(1 - spread * spread) * sin((double)channel);
    return s->whole ? (double)pick(-3, 3) : (double)(float)(centre + spread * lh_random_normal(&noise));
}

/* Puts a value into the ring and gives back what is there then. */
static double store(const search *s, int64_t at, double value)
{
    switch (s->args.keys.stored) {
    case LH_F16:
        ((uint16_t *)s->stored)[at] = lh_f16_from_double(value);
        return lh_f16_to_double(((uint16_t *)s->stored)[at]);
    case LH_I8: ((int8_t *)s->stored)[at] = (int8_t)value; return value;
    case LH_F64: ((double *)s->stored)[at] = value; return value;
    default: ((float *)s->stored)[at] = (float)value; return value;
    }
}

static void fill_keys(search *s)
{
    const lh_nearest_args *a = &s->args;
    int64_t rows = a->batch * a->kv_heads * a->keys.slots;
    for (int64_t row = 0; row < rows; row++) {
        double factor = 1;
        if (a->keys.stored == LH_I8) {
            factor = s->whole ? (double)pick(1, 2) : 0.0001 * (double)pick(1, 99);
            s->scale[row] = (float)factor;
            factor = (double)s->scale[row];
        }
        for (int64_t c = 0; c < s->key_row; c++) {
            double value = a->keys.stored == LH_I8 && !s->whole ? (double)pick(-127, 127) : number(s, c);
            double kept =
                store(s, row * s->key_row + c, c < a->width ? value : (a->keys.stored == LH_I8 ? 99 : NAN));
            if (c < a->width) {
                s->keys[row * a->width + c] = factor * kept;
            }
        }
    }
}

static void fill_queries(search *s)
{
    const lh_nearest_args *a = &s->args;
    int64_t rows = a->batch * a->heads * a->q_len;
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t c = 0; c < s->q_row; c++) {
            double value = c < a->width ? number(s, c) : (double)NAN;
            if (s->real_is_double) {
                ((double *)s->q)[row * s->q_row + c] = value;
            } else {
                ((float *)s->q)[row * s->q_row + c] = (float)value;
            }
            if (c < a->width) {
                s->queries[row * a->width + c] = value;
            }
        }
    }
}

static void search_create(search *s, lh_nearest_args args, bool real_is_double, bool whole)
{
    *s = (search){.args = args, .real_is_double = real_is_double, .whole = whole};
    lh_nearest_args *a = &s->args;
    a->keys.stored = real_is_double && a->keys.stored == LH_F32 ? LH_F64 : a->keys.stored;
    s->key_row = a->width + pick(0, 5);
    s->q_row = a->width + pick(0, 5);
    size_t rows = (size_t)(a->batch * a->kv_heads * a->keys.slots), real = real_is_double ? 8 : 4;
    size_t query_rows = (size_t)(a->batch * a->heads * a->q_len), found = query_rows * (size_t)a->k;
    size_t size = a->keys.stored == LH_F16 ? 2 : a->keys.stored == LH_I8 ? 1 : real;
    s->keys = own(rows * (size_t)a->width * sizeof(double));
    s->queries = own(query_rows * (size_t)a->width * sizeof(double));
    s->stored = own(rows * (size_t)s->key_row * size);
    s->scale = own(rows * sizeof(float));
    s->q = own(query_rows * (size_t)s->q_row * real);
    s->written = own((size_t)a->batch * sizeof(int32_t));
    s->index = own(found * sizeof(int32_t));
    s->score = own(found * real);
    a->keys.rows = (lh_strided){.data = s->stored,
                                .batch = a->kv_heads * a->keys.slots * s->key_row,
                                .head = a->keys.slots * s->key_row,
                                .row = s->key_row};
    a->keys.scale = s->scale;
    a->q = (lh_strided){
        .data = s->q, .batch = a->heads * a->q_len * s->q_row, .head = a->q_len * s->q_row, .row = s->q_row};
    a->written = s->written;
    a->index = s->index;
    a->score = s->score;
    for (int64_t b = 0; b < a->batch; b++) {
        s->written[b] = (int32_t)pick(0, 3 * a->keys.capacity);
    }
    fill_keys(s);
    fill_queries(s);
}

static void search_free(search *s)
{
    void *all[] = {s->keys, s->queries, s->stored, s->scale, s->q, s->written, s->index, s->score};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        lh_heap_free(all[i]);
    }
}

typedef struct found {
    double score;
    int64_t row, slot; /* row: its number in the document */
} found;

/* The contract's order: greater first, older first among equals. */
static int by_rank(const void *a, const void *b)
{
    const found *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score) - (x->score > y->score)
                                : (x->row > y->row) - (x->row < y->row);
}

static double product(const search *s, int64_t b, int64_t h, int64_t i, int64_t slot)
{
    const lh_nearest_args *a = &s->args;
    const double *q = s->queries + ((b * a->heads + h) * a->q_len + i) * a->width;
    const double *k =
        s->keys + ((b * a->kv_heads + h / (a->heads / a->kv_heads)) * a->keys.slots + slot) * a->width;
    double sum = 0;
    for (int64_t c = 0; c < a->width; c++) {
        sum += q[c] * k[c];
    }
    return sum;
}

/* All rows that take part for one query, in order. */
static int64_t candidates(const search *s, int64_t b, int64_t h, int64_t i, found *list)
{
    const lh_nearest_args *a = &s->args;
    int64_t count = 0, end = s->written[b], visible = end < a->window ? end : a->window;
    for (int64_t row = end - visible; row < end; row++) {
        int64_t slot = row % a->keys.capacity;
        list[count++] = (found){product(s, b, h, i, slot), row, slot};
    }
    qsort(list, (size_t)count, sizeof *list, by_rank);
    if (a->buckets > 0) {
        int64_t kept = 0;
        for (int64_t n = 0; n < count; n++) {
            bool beaten = false;
            for (int64_t m = 0; m < kept; m++) {
                beaten |= list[m].slot % a->buckets == list[n].slot % a->buckets;
            }
            if (!beaten) {
                list[kept++] = list[n];
            }
        }
        count = kept;
    }
    return count;
}

static double got_score(const search *s, int64_t at)
{
    return s->real_is_double ? ((double *)s->score)[at] : (double)((float *)s->score)[at];
}

/* Against the sorted list of all: exactly where numbers are whole, else up to rounding. */
static void check_found(const search *s, const char *what)
{
    const lh_nearest_args *a = &s->args;
    found *list = own((size_t)a->window * sizeof *list);
    double tolerance = s->whole || s->real_is_double ? 1e-12 : 2e-6 * (double)(a->width + 8);
    for (int64_t at = 0; at < a->batch * a->heads * a->q_len; at++) {
        int64_t i = at % a->q_len, h = at / a->q_len % a->heads, b = at / a->q_len / a->heads;
        int64_t count = candidates(s, b, h, i, list);
        for (int64_t n = 0; n < a->k; n++) {
            int32_t slot = s->index[at * a->k + n];
            double score = got_score(s, at * a->k + n);
            if (n >= count) {
                assert_int_equal(slot, a->missing);
                assert_true(isinf(score) && score < 0);
                continue;
            }
            if (s->whole && slot != list[n].slot) {
                fail_msg("%s: query %lld, place %lld is slot %d, expected %lld (products %g, %g)", what,
                         (long long)at, (long long)n, slot, (long long)list[n].slot, score, list[n].score);
            }
            bool close =
                fabs(score - list[n].score) <= tolerance && fabs(score - product(s, b, h, i, slot)) <= tolerance;
            if (!close) {
                fail_msg("%s: query %lld, place %lld: product %.9g, expected %.9g", what, (long long)at,
                         (long long)n, score, list[n].score);
            }
            for (int64_t m = 0; m < n; m++) {
                assert_int_not_equal(s->index[at * a->k + m], slot);
            }
        }
    }
    lh_heap_free(list);
}

static void run_search(search *s, lh_kernel kernel, int threads)
{
    static lh_exec exec;
    size_t count = (size_t)(s->args.batch * s->args.heads * s->args.q_len * s->args.k);
    memset(s->index, 0x5a, count * sizeof(int32_t));
    memset(s->score, 0x5a, count * (s->real_is_double ? 8 : 4));
    exec.threads = threads;
    for (int t = 0; t < threads; t++) {
        void *scratch = lh_scratch(&exec, t, 64);
        memset(scratch, threads == 2 ? 0 : 0xFF, exec.scratch[t].bytes); /* nothing there may matter */
    }
    kernel(&exec, &s->args);
    assert_false(exec.out_of_memory);
}

/* One call at every level and for several numbers of threads. */
static void check_search(lh_nearest_args args, bool whole)
{
    for (int level = -1; level < LH_CPU_LEVEL_COUNT; level++) {
        const lh_kernel_table *table = lh_kernel_table_get(level < 0 ? LH_CPU_REF : (lh_cpu_level)level);
        if (!table) {
            continue;
        }
        search s;
        lh_random before = noise;
        search_create(&s, args, level < 0, whole);
        noise = level + 1 < LH_CPU_LEVEL_COUNT ? before : noise; /* the same numbers for all */
        lh_kernel kernel = level < 0 ? table->f64[LH_KERNEL_NEAREST] : table->f32[LH_KERNEL_NEAREST];
        run_search(&s, kernel, 1);
        check_found(&s, level < 0 ? "ref, double" : lh_cpu_level_name((lh_cpu_level)level));
        size_t count = (size_t)(args.batch * args.heads * args.q_len * args.k), real = level < 0 ? 8 : 4;
        int32_t *index = own(count * sizeof *index);
        void *score = own(count * real);
        memcpy(index, s.index, count * sizeof *index);
        memcpy(score, s.score, count * real);
        for (int threads = 2; threads <= 5; threads += 3) {
            run_search(&s, kernel, threads);
            assert_memory_equal(index, s.index, count * sizeof *index);
            assert_memory_equal(score, s.score, count * real);
        }
        lh_heap_free(index);
        lh_heap_free(score);
        search_free(&s);
    }
}

static lh_nearest_args draw(int64_t q_len, int64_t capacity, int64_t width, int64_t k)
{
    static const lh_dtype types[] = {LH_F32, LH_F16, LH_I8};
    int64_t group = pick(1, 3);
    lh_nearest_args args = {.batch = pick(1, 3), .kv_heads = pick(1, 2), .q_len = q_len, .width = width, .k = k};
    args.heads = args.kv_heads * group;
    args.keys.capacity = capacity;
    args.keys.slots = capacity + pick(0, 2);
    args.keys.stored = types[pick(0, 2)];
    args.window = pick(0, 3) ? pick(0, capacity) : capacity;
    args.missing = (int32_t)pick(-1, 3);
    return args;
}

static void search_small(void **state)
{
    (void)state;
    noise = lh_random_create(1, 0);
    for (int i = 0; i < 150; i++) {
        lh_nearest_args args = draw(pick(0, 12), pick(1, 70), pick(1, 40), pick(0, 9));
        check_search(args, i % 2 == 0);
    }
}

/* More queries than a panel and than a unit of work, more rows than a run. */
static void search_medium(void **state)
{
    (void)state;
    noise = lh_random_create(2, 0);
    for (int i = 0; i < 6; i++) {
        check_search(draw(pick(30, 70), pick(200, 600), 16 * pick(1, 3) + pick(0, 1), pick(1, 40)), i % 2 == 0);
    }
    lh_nearest_args args = draw(300, 700, 9, 5);
    args.batch = args.kv_heads = args.heads = 1;
    check_search(args, true);
}

/* Rings so long that several threads share the rows of one query. */
static void search_in_pieces(void **state)
{
    (void)state;
    noise = lh_random_create(3, 0);
    for (int q_len = 1; q_len <= 10; q_len += 9) {
        for (int whole = 0; whole < 2; whole++) {
            lh_nearest_args args = draw(q_len, 17000, 8, 33);
            args.batch = args.kv_heads = args.heads = 1;
            args.window = args.keys.capacity;
            check_search(args, whole == 1);
        }
    }
}

/* Enough rows for products of 8 bits to be tried first: what they hide must not be missed. Whole numbers have ties
 * by the dozen; close keys differ by less than 8 bits can tell. */
static void search_long(void **state)
{
    (void)state;
    static const int64_t widths[] = {16, 17, 20, 33, 64, 80};
    noise = lh_random_create(7, 0);
    for (int i = 0; i < 24; i++) {
        lh_nearest_args args = draw(pick(9, 70), pick(1030, 1500), widths[i % 6], pick(1, 40));
        args.batch = args.kv_heads = 1;
        args.heads = 1 + i % 2;
        args.window = i % 5 ? args.keys.capacity : pick(1024, args.keys.capacity);
        spread = i % 3 == 2 ? 1e-3 : 1;
        check_search(args, i % 3 == 0);
    }
    spread = 1;
}

static void search_buckets(void **state)
{
    (void)state;
    noise = lh_random_create(4, 0);
    for (int i = 0; i < 40; i++) {
        lh_nearest_args args = draw(pick(1, 40), pick(1, 150), pick(1, 20), pick(1, 9));
        args.buckets = args.k + pick(0, 8);
        check_search(args, i % 2 == 0);
    }
}

/* NaN and -infinity are never found, +infinity is. `rows` rows with numbers in channel 0; queries look along it, or
 * are zero, or (`broken`) are no numbers. */
static void check_odd(const lh_kernel_table *table, int64_t rows, int64_t width, int64_t q_len, bool broken)
{
    enum { K = 8 };
    static const int32_t few[2][K] = {{20, 7, 31, -1, -1, -1, -1, -1}, {7, 31, -1, -1, -1, -1, -1, -1}};
    static const int32_t many[2][K] = {{20, 1000, 7, 44, 49, 54, 59, 64}, {7, 31, 40, 41, 42, 43, 44, 45}};
    float *keys = own((size_t)(rows * width) * sizeof *keys),
          *queries = own((size_t)(q_len * width) * sizeof *queries);
    int32_t written = (int32_t)rows, *index = own((size_t)(q_len * K) * sizeof *index);
    for (int64_t i = 0; i < rows; i++) {
        float odd = i % 3 == 0 ? NAN : -INFINITY, plain = 0.01f * (float)(i % 5);
        keys[i * width] = i == 7 ? 2 : i == 31 ? -5 : i == 20 || i == 1000 ? INFINITY : i < 40 ? odd : plain;
    }
    for (int64_t i = 0; i < q_len; i++) {
        queries[i * width] = i % 3 == 0 ? 1 : i % 3 == 1 || !broken ? 0 : NAN;
    }
    lh_nearest_args args = {.batch = 1,
                            .heads = 1,
                            .kv_heads = 1,
                            .q_len = q_len,
                            .width = width,
                            .k = K,
                            .q = {.data = queries, .row = width},
                            .keys = {.capacity = rows, .slots = rows, .rows = {.data = keys, .row = width}},
                            .written = &written,
                            .window = rows,
                            .missing = -1,
                            .index = index};
    lh_exec exec = {.threads = 1};
    table->f32[LH_KERNEL_NEAREST](&exec, &args);
    for (int64_t at = 0; at < q_len * K; at++) {
        int64_t i = at / K;
        int32_t right = i % 3 == 2 && broken ? -1 : (rows > 40 ? many : few)[i % 3 != 0][at % K];
        assert_int_equal(index[at], right);
    }
    lh_exec_free(&exec);
    lh_heap_free(keys);
    lh_heap_free(queries);
    lh_heap_free(index);
}

static void search_odd_numbers(void **state)
{
    (void)state;
    for (int level = 0; level < LH_CPU_LEVEL_COUNT; level++) {
        const lh_kernel_table *table = lh_kernel_table_get((lh_cpu_level)level);
        for (int64_t q_len = 1; table && q_len <= 34; q_len += 33) {
            for (int broken = 0; broken < 2; broken++) {
                check_odd(table, 40, 1, q_len, broken);
                check_odd(table, 1100, 16, q_len, broken);
            }
        }
    }
}

/* ---- the recall law of buckets ---------------------------------------------------------------------------------
 */

static void unit_vectors(float *x, int64_t count, int64_t width)
{
    for (int64_t i = 0; i < count; i++) {
        double squares = 0;
        for (int64_t c = 0; c < width; c++) {
            x[i * width + c] = (float)lh_random_normal(&noise);
            squares += (double)x[i * width + c] * (double)x[i * width + c];
        }
        for (int64_t c = 0; c < width; c++) {
            x[i * width + c] /= (float)sqrt(squares);
        }
    }
}

/* Of the true K best rows, buckets find R = (B / K) (1 - (1 - 1/B)^K), if rank and slot have nothing to do with
 * each other. */
static void recall_of_buckets(void **state)
{
    (void)state;
    enum { ROWS = 8192, WIDTH = 32, QUERIES = 512, K = 32 };
    noise = lh_random_create(5, 0);
    float *keys = own(sizeof(float) * ROWS * WIDTH), *q = own(sizeof(float) * QUERIES * WIDTH);
    int32_t *exact = own(sizeof(int32_t) * QUERIES * K), *rough = own(sizeof(int32_t) * QUERIES * K);
    int32_t written = ROWS;
    unit_vectors(keys, ROWS, WIDTH);
    unit_vectors(q, QUERIES, WIDTH);
    lh_nearest_args args = {.batch = 1,
                            .heads = 1,
                            .kv_heads = 1,
                            .q_len = QUERIES,
                            .width = WIDTH,
                            .k = K,
                            .q = {.data = q, .row = WIDTH},
                            .keys = {.capacity = ROWS, .slots = ROWS, .rows = {.data = keys, .row = WIDTH}},
                            .written = &written,
                            .window = ROWS,
                            .missing = -1,
                            .index = exact};
    lh_exec exec = {.threads = 2};
    lh_kernel kernel = lh_kernel_table_get(lh_cpu_best_level())->f32[LH_KERNEL_NEAREST];
    kernel(&exec, &args);
    for (int buckets = 32; buckets <= 512; buckets *= 2) {
        double hits = 0, law = (double)buckets / K * (1 - pow(1 - 1.0 / buckets, K));
        args.buckets = buckets;
        args.index = rough;
        kernel(&exec, &args);
        for (int at = 0; at < QUERIES * K; at++) {
            for (int n = 0; n < K; n++) {
                hits += exact[at] == rough[at / K * K + n];
            }
        }
        double recall = hits / (QUERIES * K);
        if (!(fabs(recall - law) < 0.01)) {
            fail_msg("%d buckets: recall %.4f, expected %.4f", buckets, recall, law);
        }
    }
    lh_exec_free(&exec);
    lh_heap_free(keys);
    lh_heap_free(q);
    lh_heap_free(exact);
    lh_heap_free(rough);
}

/* ---- appending -------------------------------------------------------------------------------------------------
 */

static void check_stored(lh_dtype type, const float *x, int64_t width, const char *row, float scale)
{
    double largest = 0;
    for (int64_t c = 0; c < width; c++) {
        largest = fmax(largest, fabs((double)x[c]));
    }
    for (int64_t c = 0; c < width; c++) {
        if (type == LH_F16) {
            assert_int_equal(((const uint16_t *)(const void *)row)[c], lh_f16_from_double((double)x[c]));
        } else if (type == LH_I8) {
            /* half a step, and a little for single precision */
            assert_true(fabs((double)scale * (double)row[c] - (double)x[c]) <= 0.50001 * largest / 127);
        } else {
            assert_memory_equal(row + c * 4, x + c, 4);
        }
    }
    assert_true(type != LH_I8 || fabs((double)scale - largest / 127) <= 1e-6 * largest);
}

static void append_rows(void **state)
{
    (void)state;
    static const lh_dtype types[] = {LH_F32, LH_F16, LH_I8};
    noise = lh_random_create(6, 0);
    lh_exec exec = {.threads = 2};
    for (int i = 0; i < 120; i++) {
        int64_t batch = pick(1, 3), heads = pick(1, 3), width = pick(1, 40), capacity = pick(1, 30);
        int64_t count = pick(0, capacity), slots = capacity + pick(0, 2), rows = batch * heads * slots;
        lh_dtype type = types[i % 3];
        int64_t size = type == LH_F16 ? 2 : type == LH_I8 ? 1 : 4;
        char *first = NULL;
        float *x = own((size_t)(batch * heads * count * width) * sizeof *x), *first_scale = NULL;
        int32_t written[3], after[3];
        for (int64_t n = 0; n < batch * heads * count * width; n++) {
            x[n] = n % 7 == 0 ? 0 : (float)lh_random_normal(&noise);
        }
        for (int64_t c = 0; count > 0 && c < width; c++) {
            x[c] = 0; /* a row of zeros */
        }
        for (int64_t b = 0; b < batch; b++) {
            written[b] = (int32_t)pick(0, 100);
        }
        for (int level = 0; level < LH_CPU_LEVEL_COUNT; level++) {
            const lh_kernel_table *table = lh_kernel_table_get((lh_cpu_level)level);
            if (!table) {
                continue;
            }
            char *stored = own((size_t)(rows * width * size));
            float *scale = own((size_t)rows * sizeof *scale);
            memset(stored, 0x33, (size_t)(rows * width * size) + 64);
            memset(scale, 0x33, (size_t)rows * sizeof *scale + 64);
            /* x lies as [batch, count, heads, width], as a projection leaves it */
            lh_ring_append_args args = {
                .batch = batch,
                .heads = heads,
                .count = count,
                .width = width,
                .x = {.data = x, .batch = count * heads * width, .head = width, .row = heads * width},
                .ring =
                    {.stored = type,
                     .capacity = capacity,
                     .slots = slots,
                     .rows = {.data = stored, .batch = heads * slots * width, .head = slots * width, .row = width},
                     .scale = scale},
                .written = written,
                .written_after = after};
            table->f32[LH_KERNEL_RING_APPEND](&exec, &args);
            for (int64_t row = 0; row < rows; row++) {
                int64_t slot = row % slots, h = row / slots % heads, b = row / slots / heads;
                int64_t n = ((slot - written[b]) % capacity + capacity) % capacity;
                const char *at = stored + row * width * size;
                if (slot < capacity && n < count) {
                    check_stored(type, x + ((b * count + n) * heads + h) * width, width, at, scale[row]);
                } else {
                    for (int64_t byte = 0; byte < width * size; byte++) {
                        assert_int_equal(at[byte], 0x33);
                    }
                }
            }
            for (int64_t b = 0; b < batch; b++) {
                assert_int_equal(after[b], written[b] + count);
            }
            for (int byte = 0; byte < 64; byte++) {
                assert_int_equal(stored[rows * width * size + byte], 0x33);
            }
            if (!first) {
                first = stored;
                first_scale = scale;
            } else { /* the same bits at every level */
                assert_memory_equal(first, stored, (size_t)(rows * width * size));
                assert_memory_equal(first_scale, scale, (size_t)rows * sizeof *scale);
                lh_heap_free(stored);
                lh_heap_free(scale);
            }
        }
        lh_heap_free(first);
        lh_heap_free(first_scale);
        lh_heap_free(x);
    }
    lh_exec_free(&exec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(search_small),      cmocka_unit_test(search_medium),  cmocka_unit_test(search_in_pieces),
        cmocka_unit_test(search_long),       cmocka_unit_test(search_buckets), cmocka_unit_test(search_odd_numbers),
        cmocka_unit_test(recall_of_buckets), cmocka_unit_test(append_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
