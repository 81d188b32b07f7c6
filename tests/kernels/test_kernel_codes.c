/* Kernels of vector quantisation: NEAREST_CODE, CODE_MEANS and its backward pass, CODE_SUMS. */
#include "kernel_harness.h"

#define ROUNDS 60

/* A [batch, heads, length, width] array with heads before or behind the length, and gaps between rows. Returns how
 * many elements it takes. */
static int64_t draw_strides(lh_strided *s, int64_t batch, int64_t heads, int64_t length, int64_t width)
{
    int64_t row = width + (flip() ? 0 : pick(1, 5));
    bool heads_first = flip();
    s->row = heads_first ? row : row * heads;
    s->head = heads_first ? row * length : row;
    s->batch = row * heads * length;
    return batch * s->batch;
}

static void draw_codes(double *code, int64_t n, int64_t codes, bool skip)
{
    for (int64_t i = 0; i < n; i++) {
        code[i] = (double)(skip && pick(0, 4) == 0 ? pick(-1, 0) : pick(1, codes));
    }
}

/* Whole numbers: every product and sum is exact, so the codes must be the very same, ties included. */
static void whole_numbers(double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = (double)pick(-2, 2);
    }
}

static void nearest_code_matches(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_nearest_code_args args = {.batch = pick(0, 3), .heads = pick(1, 3), .length = pick_size(70)};
        args.codes = flip() ? pick(1, 20) : pick(20, 300);
        args.width = round % 2 ? pick(1, 4) : pick_size(140); /* narrow ones tie often */
        problem p = problem_start(LH_KERNEL_NEAREST_CODE, &args, sizeof args, "nearest code");
        int64_t n = draw_strides(&args.k, args.batch, args.heads, args.length, args.width);
        int64_t rows = args.batch * args.heads * args.length;
        whole_numbers(operand_add(&p, IN, offsetof(lh_nearest_code_args, k.data), n), n);
        int64_t book = args.heads * args.codes * args.width;
        whole_numbers(operand_add(&p, IN, offsetof(lh_nearest_code_args, codebook), book), book);
        operand_add(&p, OUT_INT, offsetof(lh_nearest_code_args, code), rows);
        flip() ? (void)operand_add(&p, OUT, offsetof(lh_nearest_code_args, distance), rows) : (void)0;
        if (flip()) {
            n = draw_strides(&args.quantised, args.batch, args.heads, args.length, args.width);
            operand_add(&p, INOUT, offsetof(lh_nearest_code_args, quantised.data), n);
        }
        problem_check(&p);
    }
}

/* Numbers of any kind: no code is nearer than the one that was found, but for rounding. */
static void nearest_code_is_nearest(void **state)
{
    (void)state;
    static lh_exec exec = {.threads = 2};
    enum { LENGTH = 150, CODES = 77, WIDTH = 67 };
    static float k[LENGTH * WIDTH], book[CODES * WIDTH], distance[LENGTH], quantised[LENGTH * WIDTH];
    static int32_t code[LENGTH];
    for (int level = 0; level < LH_CPU_LEVEL_COUNT; level++) {
        const lh_kernel_table *table = lh_kernel_table_get((lh_cpu_level)level);
        for (int64_t length = LENGTH; table && length > 0; length = length == LENGTH ? 3 : 0) {
            for (int i = 0; i < LENGTH * WIDTH; i++) {
                k[i] = (float)lh_random_normal(&harness_random);
            }
            for (int i = 0; i < CODES * WIDTH; i++) {
                book[i] = (float)lh_random_normal(&harness_random);
            }
            memcpy(k + WIDTH, book + 5 * WIDTH, WIDTH * sizeof(float)); /* one key is a code */
            k[2 * WIDTH + 3] = NAN;
            lh_strided rows = {.data = k, .batch = LENGTH * WIDTH, .head = LENGTH * WIDTH, .row = WIDTH};
            lh_nearest_code_args args = {.batch = 1,
                                         .heads = 1,
                                         .length = length,
                                         .codes = CODES,
                                         .width = WIDTH,
                                         .k = rows,
                                         .codebook = book,
                                         .code = code,
                                         .distance = distance,
                                         .quantised = rows};
            args.quantised.data = quantised;
            table->f32[LH_KERNEL_NEAREST_CODE](&exec, &args);
            for (int64_t t = 0; t < length; t++) {
                if (t == 2) {
                    assert_int_equal(code[t], 1);
                    assert_true(isnan(distance[t]));
                    continue;
                }
                double least = INFINITY, found = 0;
                for (int s = 0; s < CODES; s++) {
                    double d = 0;
                    for (int c = 0; c < WIDTH; c++) {
                        double apart = (double)k[t * WIDTH + c] - (double)book[s * WIDTH + c];
                        d += apart * apart;
                    }
                    least = d < least ? d : least;
                    found = s + 1 == code[t] ? d : found;
                }
                assert_true(found <= least + 1e-3);
                assert_true(fabs((double)distance[t] - found) <= 1e-5 * found);
                assert_memory_equal(quantised + t * WIDTH, book + (code[t] - 1) * WIDTH, WIDTH * sizeof(float));
            }
            assert_int_equal(code[1], 6);
            assert_true(distance[1] == 0);
        }
    }
}

static void code_means_match(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_code_means_args args = {.batch = pick(0, 3), .heads = pick(1, 3), .length = pick_size(70)};
        args.codes = flip() ? pick(1, 9) : pick(9, 100);
        args.width = round % 8 == 0 ? pick(500, 700) : pick_size(140);
        int64_t lanes = args.batch * args.heads, n = lanes * args.codes * args.width, rows = lanes * args.length;
        bool in_place = flip();
        problem p = problem_start(LH_KERNEL_CODE_MEANS, &args, sizeof args, "code means");
        draw_codes(operand_add(&p, IN_INT, offsetof(lh_code_means_args, code), rows), rows, args.codes, flip());
        double *count =
            operand_add(&p, in_place ? INOUT_INT : IN_INT, offsetof(lh_code_means_args, count), lanes * args.codes);
        for (int64_t i = 0; i < lanes * args.codes; i++) {
            count[i] = (double)(flip() ? 0 : pick(1, 1000));
        }
        if (in_place) {
            operand_share(&p, offsetof(lh_code_means_args, new_count));
        } else {
            operand_add(&p, OUT_INT, offsetof(lh_code_means_args, new_count), lanes * args.codes);
        }
        operand_add(&p, in_place ? INOUT : IN, offsetof(lh_code_means_args, mean), n);
        if (in_place) {
            operand_share(&p, offsetof(lh_code_means_args, new_mean));
        } else {
            operand_add(&p, OUT, offsetof(lh_code_means_args, new_mean), n);
        }
        int64_t size = draw_strides(&args.v, args.batch, args.heads, args.length, args.width);
        operand_add(&p, IN, offsetof(lh_code_means_args, v.data), size);
        problem_check(&p);
    }
}

static void code_means_backward_matches(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_code_means_args args = {.batch = pick(0, 3), .heads = pick(1, 3), .length = pick_size(70)};
        args.codes = flip() ? pick(1, 9) : pick(9, 100);
        args.width = round % 8 == 0 ? pick(500, 700) : pick_size(140);
        int64_t lanes = args.batch * args.heads, n = lanes * args.codes * args.width, rows = lanes * args.length;
        problem p = problem_start(LH_KERNEL_CODE_MEANS_BACKWARD, &args, sizeof args, "code means backward");
        draw_codes(operand_add(&p, IN_INT, offsetof(lh_code_means_args, code), rows), rows, args.codes, flip());
        double *count = operand_add(&p, IN_INT, offsetof(lh_code_means_args, count), lanes * args.codes);
        double *more = operand_add(&p, IN_INT, offsetof(lh_code_means_args, new_count), lanes * args.codes);
        for (int64_t i = 0; i < lanes * args.codes; i++) {
            count[i] = (double)(flip() ? 0 : pick(1, 1000));
            more[i] = count[i] + (double)(flip() ? 0 : pick(1, 20));
        }
        operand_add(&p, IN, offsetof(lh_code_means_args, d_new_mean), n);
        flip() ? (void)operand_add(&p, INOUT, offsetof(lh_code_means_args, d_mean), n) : (void)0;
        if (flip()) {
            int64_t size = draw_strides(&args.d_v, args.batch, args.heads, args.length, args.width);
            operand_add(&p, INOUT, offsetof(lh_code_means_args, d_v.data), size);
        }
        problem_check(&p);
    }
}

static void code_sums_match(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_code_sums_args args = {.batch = pick(0, 3), .heads = pick(1, 3), .length = pick_size(70)};
        args.codes = flip() ? pick(1, 9) : pick(9, 100);
        args.width = round % 8 == 0 ? pick(500, 700) : pick_size(140);
        int64_t rows = args.batch * args.length;
        problem p = problem_start(LH_KERNEL_CODE_SUMS, &args, sizeof args, "code sums");
        draw_codes(operand_add(&p, IN_INT, offsetof(lh_code_sums_args, code), rows * args.heads), rows * args.heads,
                   args.codes, flip());
        int64_t size = draw_strides(&args.x, args.batch, args.heads, args.length, args.width);
        double *x = operand_add(&p, IN, offsetof(lh_code_sums_args, x.data), size);
        if (flip()) {
            double *weight = operand_add(&p, IN, offsetof(lh_code_sums_args, weight), rows);
            for (int64_t i = 0; i < rows; i++) {
                weight[i] = flip() ? 0 : weight[i];
            }
            for (int64_t i = 0; rows > 0 && weight[0] == 0 && args.heads == 1 && i < args.width; i++) {
                x[i] = (double)NAN; /* left out means not looked at */
            }
        }
        operand_add(&p, INOUT, offsetof(lh_code_sums_args, sum), args.heads * args.codes * args.width);
        operand_add(&p, INOUT, offsetof(lh_code_sums_args, total), args.heads * args.codes);
        p.scale = 1 + sqrt((double)rows);
        problem_check(&p);
    }
}

int main(void)
{
    harness_random = lh_random_create(88, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearest_code_matches), cmocka_unit_test(nearest_code_is_nearest),
        cmocka_unit_test(code_means_match),     cmocka_unit_test(code_means_backward_matches),
        cmocka_unit_test(code_sums_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
