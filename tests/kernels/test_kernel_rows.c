/* Kernels over rows and windows: NORM, SOFTMAX, CROSS_ENTROPY, ROPE, GATHER, SCATTER, FOLD, POOL, TOP_K. */
#include "kernel_harness.h"

#define ROUNDS 80

static void matrix_size(int round, int64_t *rows, int64_t *width)
{
    bool tall = flip();
    *rows = round % 8 == 0 ? (tall ? pick(1000, 1300) : pick(60, 90)) : pick_size(40);
    *width = round % 8 == 0 ? (tall ? pick(30, 60) : pick(700, 900)) : pick(1, 150);
}

static void norm_matches(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_norm_args args = {.rms = flip(), .eps = 1e-5};
        matrix_size(round, &args.rows, &args.width);
        int64_t n = args.rows * args.width;
        bool residual = flip(), in_place = flip(), gained = flip(), biased = flip();
        problem p = problem_start(LH_KERNEL_NORM, &args, sizeof args, args.rms ? "rms" : "layer norm");
        double *x = operand_add(&p, residual && in_place ? INOUT : IN, offsetof(lh_norm_args, x), n);
        for (int64_t i = 0; i < n; i++) {
            x[i] = (double)(float)(x[i] + 3); /* a mean to be taken off */
        }
        if (residual && in_place) {
            operand_share(&p, offsetof(lh_norm_args, sum));
        } else if (residual) {
            operand_add(&p, OUT, offsetof(lh_norm_args, sum), n);
        }
        residual ? (void)operand_add(&p, IN, offsetof(lh_norm_args, residual), n) : (void)0;
        gained ? (void)operand_add(&p, IN, offsetof(lh_norm_args, gain), args.width) : (void)0;
        biased ? (void)operand_add(&p, IN, offsetof(lh_norm_args, bias), args.width) : (void)0;
        round % 5 != 0 ? (void)operand_add(&p, OUT, offsetof(lh_norm_args, y), n) : (void)0;
        !args.rms ? (void)operand_add(&p, OUT, offsetof(lh_norm_args, mean), args.rows) : (void)0;
        operand_add(&p, OUT, offsetof(lh_norm_args, rstd), args.rows);
        /* a row of one or two elements can have hardly any variance, which makes rstd and its error large */
        p.scale = args.width < 8 ? 1000 : 4;
        problem_check(&p);
    }
}

static void norm_backward_matches(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_norm_args args = {.rms = flip(), .eps = 1e-5};
        matrix_size(round, &args.rows, &args.width);
        int64_t n = args.rows * args.width;
        problem p = problem_start(LH_KERNEL_NORM_BACKWARD, &args, sizeof args, args.rms ? "rms" : "layer norm");
        operand_add(&p, IN, offsetof(lh_norm_args, x), n);
        double *rstd = operand_add(&p, IN, offsetof(lh_norm_args, rstd), args.rows);
        for (int64_t r = 0; r < args.rows; r++) {
            rstd[r] = (double)(float)(0.5 + fabs(rstd[r]));
        }
        !args.rms ? (void)operand_add(&p, IN, offsetof(lh_norm_args, mean), args.rows) : (void)0;
        flip() ? (void)operand_add(&p, IN, offsetof(lh_norm_args, gain), args.width) : (void)0;
        operand_add(&p, IN, offsetof(lh_norm_args, d_y), n);
        flip() ? (void)operand_add(&p, INOUT, offsetof(lh_norm_args, d_x), n) : (void)0;
        flip() ? (void)operand_add(&p, INOUT, offsetof(lh_norm_args, d_gain), args.width) : (void)0;
        flip() ? (void)operand_add(&p, INOUT, offsetof(lh_norm_args, d_bias), args.width) : (void)0;
        p.scale = 3 * sqrt((double)args.rows + 1) + 20;
        problem_check(&p);
    }
}

static void softmax_matches(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_softmax_args args = {.log = flip()};
        matrix_size(round, &args.rows, &args.width);
        if (round % 16 == 1) {
            args.rows = pick(1, 3);
            args.width = pick(2000, 5000);
        }
        int64_t n = args.rows * args.width;
        bool in_place = flip();
        problem p = problem_start(LH_KERNEL_SOFTMAX, &args, sizeof args, args.log ? "log" : "plain");
        double *x = operand_add(&p, in_place ? INOUT : IN, offsetof(lh_softmax_args, x), n);
        for (int64_t i = 0; i < n; i++) {
            x[i] = round % 4 == 0 && pick(0, 3) == 0 ? (double)-INFINITY : (double)(float)(10 * x[i]);
        }
        for (int64_t i = 0; round % 4 == 0 && args.rows > 1 && i < args.width; i++) {
            x[i] = (double)-INFINITY; /* a row of nothing */
        }
        if (in_place) {
            operand_share(&p, offsetof(lh_softmax_args, y));
        } else {
            operand_add(&p, OUT, offsetof(lh_softmax_args, y), n);
        }
        p.scale = args.log ? 30 : 1;
        problem_check(&p);

        p = problem_start(LH_KERNEL_SOFTMAX_BACKWARD, &args, sizeof args, args.log ? "log" : "plain");
        double *y = operand_add(&p, IN, offsetof(lh_softmax_args, y), n);
        for (int64_t i = 0; i < n; i++) {
            y[i] = args.log ? -fabs(y[i]) : fabs(y[i]) / (double)args.width;
            y[i] = (double)(float)y[i];
        }
        operand_add(&p, IN, offsetof(lh_softmax_args, d_y), n);
        operand_add(&p, INOUT, offsetof(lh_softmax_args, d_x), n);
        p.scale = args.log ? 4 * sqrt((double)args.width) + 1 : 1;
        problem_check(&p);
    }
}

static void cross_entropy_matches(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_cross_entropy_args args = {.gradient = flip(), .z_loss = flip() ? 0 : 0.01};
        matrix_size(round, &args.rows, &args.width);
        if (round % 16 == 1) {
            args.rows = pick(1, 3);
            args.width = pick(2000, 5000);
        }
        args.stride = args.width + pick(0, 4);
        int64_t n = args.rows * args.stride;
        problem p = problem_start(LH_KERNEL_CROSS_ENTROPY, &args, sizeof args, args.gradient ? "gradient" : "loss");
        double *x = operand_add(&p, args.gradient ? INOUT : IN, offsetof(lh_cross_entropy_args, logits), n);
        for (int64_t i = 0; i < n; i++) { /* large logits far from zero, and one block of them much smaller */
            x[i] = (double)(float)(5 * x[i] + 20 - (i % args.stride > 1500 && round % 32 == 1 ? 500 : 0));
            x[i] = round % 8 == 2 ? floor(x[i] / 10) : x[i]; /* many equal ones: the first of the largest is best */
        }
        double *targets = operand_add(&p, IN_INT, offsetof(lh_cross_entropy_args, targets), args.rows);
        for (int64_t r = 0; r < args.rows; r++) {
            targets[r] = (double)(pick(0, 5) == 0 ? -1 : pick(0, args.width - 1));
        }
        flip() ? (void)operand_add(&p, IN, offsetof(lh_cross_entropy_args, weight), args.rows) : (void)0;
        flip() ? (void)operand_add(&p, OUT, offsetof(lh_cross_entropy_args, nll), args.rows) : (void)0;
        flip() ? (void)operand_add(&p, OUT, offsetof(lh_cross_entropy_args, lse), args.rows) : (void)0;
        flip() ? (void)operand_add(&p, OUT_INT, offsetof(lh_cross_entropy_args, best), args.rows) : (void)0;
        p.scale = 30;
        problem_check(&p);
    }
}

static void rope_matches(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_rope_args args = {.batch = pick(0, 3) == 0 ? 1 : pick(0, 4),
                             .length = round % 8 == 0 ? 200 : pick_size(12),
                             .heads = pick(1, 4),
                             .interleaved = flip(),
                             .inverse = flip(),
                             .accumulate = flip(),
                             .magnitude = flip() ? 1 : 1.2};
        int64_t half = pick(0, 40);
        args.rotated = 2 * half;
        args.width = args.rotated + (flip() ? 0 : pick(1, 20));
        args.width = args.width == 0 ? 1 : args.width;
        bool in_place = !args.accumulate && flip(), heads_first = flip();
        int64_t row = args.width + pick(0, 3), plane = heads_first ? row * args.length : row * args.heads;
        int64_t *strides[2] = {args.x_stride, args.y_stride};
        for (int i = 0; i < 2; i++) { /* [batch, heads, length, width] or [batch, length, heads, width] */
            strides[i][0] = row * args.length * args.heads;
            strides[i][1] = heads_first ? row : plane;
            strides[i][2] = heads_first ? plane : row;
        }
        int64_t n = args.batch * args.length * args.heads * row;
        problem p = problem_start(LH_KERNEL_ROPE, &args, sizeof args, args.interleaved ? "interleaved" : "halves");
        operand_add(&p, in_place ? INOUT : IN, offsetof(lh_rope_args, x), n);
        if (in_place) {
            operand_share(&p, offsetof(lh_rope_args, y));
        } else {
            operand_add(&p, INOUT, offsetof(lh_rope_args, y), n);
        }
        double *frequency = operand_add(&p, IN_DOUBLE, offsetof(lh_rope_args, frequency), half);
        for (int64_t i = 0; i < half; i++) {
            frequency[i] = pow(10000, -(double)i / (double)half);
        }
        args.position_batch = flip() ? 0 : args.length;
        int64_t positions = args.position_batch == 0 ? args.length : args.batch * args.length;
        double *position = operand_add(&p, IN_INT, offsetof(lh_rope_args, position), positions);
        for (int64_t i = 0; i < positions; i++) {
            position[i] = (double)(flip() ? pick(-100, 1000) : pick(-2000000000, 2000000000));
        }
        p.scale = 4;
        problem_check(&p);
    }
}

static void rope_turns_by_known_angles(void **state)
{
    (void)state;
    static lh_exec exec = {.threads = 1};
    const double frequency[2] = {1, 0.01};
    const int32_t position[1] = {3};
    for (int level = 0; level < LH_CPU_LEVEL_COUNT; level++) {
        const lh_kernel_table *table = lh_kernel_table_get((lh_cpu_level)level);
        for (int interleaved = 0; table && interleaved < 2; interleaved++) {
            float x[5] = {1, 0, 0, 0, 7}, y[5];
            lh_rope_args args = {.batch = 1,
                                 .length = 1,
                                 .heads = 1,
                                 .width = 5,
                                 .rotated = 4,
                                 .interleaved = interleaved == 1,
                                 .x = x,
                                 .y = y,
                                 .frequency = frequency,
                                 .position = position,
                                 .magnitude = 1};
            table->f32[LH_KERNEL_ROPE](&exec, &args);
            assert_true(fabs((double)y[0] - cos(3)) < 1e-7);
            assert_true(fabs((double)y[interleaved ? 1 : 2] - sin(3)) < 1e-7);
            assert_true(y[4] == 7);
        }
    }
}

static void gather_and_scatter_match(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_gather_args args = {.rows = pick(1, 50), .scale = flip() ? 1 : 0.5};
        matrix_size(round, &args.count, &args.width);
        for (int scatter = 0; scatter < 2; scatter++) {
            problem p = problem_start(scatter ? LH_KERNEL_SCATTER_ADD_ROWS : LH_KERNEL_GATHER_ROWS, &args,
                                      sizeof args, scatter ? "scatter" : "gather");
            double *index = operand_add(&p, IN_INT, offsetof(lh_gather_args, index), args.count);
            for (int64_t i = 0; i < args.count; i++) {
                index[i] = (double)pick(-1, args.rows - 1);
            }
            if (scatter) {
                operand_add(&p, IN, offsetof(lh_gather_args, d_y), args.count * args.width);
                operand_add(&p, INOUT, offsetof(lh_gather_args, d_x), args.rows * args.width);
                p.scale = sqrt((double)args.count + 1) + 2;
            } else {
                operand_add(&p, IN, offsetof(lh_gather_args, x), args.rows * args.width);
                operand_add(&p, OUT, offsetof(lh_gather_args, y), args.count * args.width);
            }
            problem_check(&p);
        }
    }
}

static void windows_match(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_unfold_args args = {.batch = pick_size(4),
                               .width = round % 8 == 0 ? 300 : pick_size(70),
                               .kernel = pick(1, 5),
                               .stride = pick(1, 5),
                               .dilation = pick(1, 3)};
        args.out_length = round % 8 == 0 ? pick(20, 40) : pick_size(9);
        args.length = args.out_length == 0 ? pick(0, 3)
                                           : (args.out_length - 1) * args.stride +
                                                 (args.kernel - 1) * args.dilation + 1 + pick(0, 3);
        int64_t in = args.batch * args.length * args.width;
        int64_t out = args.batch * args.out_length * args.kernel * args.width;
        problem p = problem_start(LH_KERNEL_UNFOLD, &args, sizeof args, "unfold");
        operand_add(&p, IN, offsetof(lh_unfold_args, x), in);
        operand_add(&p, OUT, offsetof(lh_unfold_args, y), out);
        problem_check(&p);
        p = problem_start(LH_KERNEL_FOLD, &args, sizeof args, "fold");
        operand_add(&p, IN, offsetof(lh_unfold_args, d_y), out);
        operand_add(&p, INOUT, offsetof(lh_unfold_args, d_x), in);
        p.scale = 6;
        problem_check(&p);

        lh_pool_args pool = {.batch = args.batch,
                             .width = args.width,
                             .out_length = args.out_length,
                             .kernel = args.kernel,
                             .stride = args.stride,
                             .maximum = flip()};
        pool.length =
            pool.out_length == 0 ? pick(0, 3) : (pool.out_length - 1) * pool.stride + pool.kernel + pick(0, 3);
        in = pool.batch * pool.length * pool.width;
        out = pool.batch * pool.out_length * pool.width;
        p = problem_start(LH_KERNEL_POOL, &pool, sizeof pool, pool.maximum ? "maximum" : "mean");
        double *x = operand_add(&p, IN, offsetof(lh_pool_args, x), in);
        for (int64_t i = 0; i < in; i++) {
            x[i] = round % 2 ? x[i] : (double)(int)x[i]; /* ties */
        }
        operand_add(&p, OUT, offsetof(lh_pool_args, y), out);
        if (pool.maximum && flip()) {
            operand_add(&p, OUT_INT, offsetof(lh_pool_args, argmax), out);
        }
        p.scale = 4;
        problem_check(&p);
        p = problem_start(LH_KERNEL_POOL_BACKWARD, &pool, sizeof pool, pool.maximum ? "maximum" : "mean");
        operand_add(&p, IN, offsetof(lh_pool_args, d_y), out);
        if (pool.maximum) {
            double *argmax = operand_add(&p, IN_INT, offsetof(lh_pool_args, argmax), out);
            for (int64_t i = 0; i < out; i++) {
                argmax[i] = (double)(i / pool.width % pool.out_length * pool.stride + pick(0, pool.kernel - 1));
            }
        }
        operand_add(&p, INOUT, offsetof(lh_pool_args, d_x), in);
        p.scale = 6;
        problem_check(&p);
    }
}

static void unfold_and_pool_have_known_values(void **state)
{
    (void)state;
    static lh_exec exec = {.threads = 1};
    const float x[6] = {1, 5, 2, 5, 0, 3};
    for (int level = 0; level < LH_CPU_LEVEL_COUNT; level++) {
        const lh_kernel_table *table = lh_kernel_table_get((lh_cpu_level)level);
        if (!table) {
            continue;
        }
        float y[8];
        lh_unfold_args unfold = {.batch = 1,
                                 .length = 6,
                                 .width = 1,
                                 .out_length = 2,
                                 .kernel = 3,
                                 .stride = 1,
                                 .dilation = 2,
                                 .x = x,
                                 .y = y};
        table->f32[LH_KERNEL_UNFOLD](&exec, &unfold);
        const float unfolded[6] = {1, 2, 0, 5, 5, 3};
        assert_memory_equal(y, unfolded, sizeof unfolded);
        int32_t argmax[2];
        lh_pool_args pool = {.batch = 1,
                             .length = 6,
                             .width = 1,
                             .out_length = 2,
                             .kernel = 4,
                             .stride = 2,
                             .maximum = true,
                             .x = x,
                             .y = y,
                             .argmax = argmax};
        table->f32[LH_KERNEL_POOL](&exec, &pool);
        assert_true(y[0] == 5 && y[1] == 5 && argmax[0] == 1 && argmax[1] == 3);
        pool.maximum = false;
        table->f32[LH_KERNEL_POOL](&exec, &pool);
        assert_true(y[0] == 3.25f && y[1] == 2.5f);
    }
}

/* top-k against selection by counting who ranks before whom. */
static void top_k_selects(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_top_k_args args = {.rows = round % 8 == 0 ? 400 : pick_size(5), .late_ties = flip()};
        args.width = round % 8 == 0 ? 120 : pick(1, 60);
        args.k = pick(0, args.width);
        problem p = problem_start(LH_KERNEL_TOP_K, &args, sizeof args, args.late_ties ? "late ties" : "early ties");
        double *x = operand_add(&p, IN, offsetof(lh_top_k_args, x), args.rows * args.width);
        for (int64_t i = 0; i < args.rows * args.width; i++) {
            x[i] = round % 2 ? x[i] : (double)(int)(2 * x[i]);
        }
        operand_add(&p, OUT_INT, offsetof(lh_top_k_args, index), args.rows * args.k);
        double *expected[2] = {malloc((size_t)(args.rows * args.width + 1) * sizeof(double)),
                               malloc((size_t)(args.rows * args.k + 1) * sizeof(double))};
        memcpy(expected[0], x, (size_t)(args.rows * args.width) * sizeof(double));
        for (int64_t r = 0, at = 0; r < args.rows; r++) {
            for (int64_t i = 0; i < args.width; i++) {
                int64_t before = 0;
                for (int64_t j = 0; j < args.width; j++) {
                    double a = x[r * args.width + j], b = x[r * args.width + i];
                    before += a > b || (a == b && (args.late_ties ? j > i : j < i));
                }
                if (before < args.k) {
                    expected[1][at++] = (double)i;
                }
            }
        }
        problem_check_against(&p, expected);
        free(expected[0]);
        free(expected[1]);
    }
}

int main(void)
{
    harness_random = lh_random_create(2, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norm_matches),
        cmocka_unit_test(norm_backward_matches),
        cmocka_unit_test(softmax_matches),
        cmocka_unit_test(cross_entropy_matches),
        cmocka_unit_test(rope_matches),
        cmocka_unit_test(rope_turns_by_known_angles),
        cmocka_unit_test(gather_and_scatter_match),
        cmocka_unit_test(windows_match),
        cmocka_unit_test(unfold_and_pool_have_known_values),
        cmocka_unit_test(top_k_selects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
