/* Element by element: ADD_SCALED, UNARY, BIAS_ACTIVATION, GATED, DROPOUT, BINARY, REDUCE, FILL, COPY, CAST. */
#include "kernel_harness.h"

#include "kernels/half.h"
#include "kernels/ref/function.h"

#define ROUNDS 60
#define LARGE 60000 /* enough elements for several threads */

static int64_t flat_size(int round)
{
    return round % 8 == 0 ? pick(LARGE / 2, LARGE) : pick_size(300);
}

/* Rows and width whose product is large every eighth time. */
static void matrix_size(int round, int64_t *rows, int64_t *width)
{
    bool tall = flip();
    *rows = round % 8 == 0 ? (tall ? pick(1000, 1300) : pick(60, 90)) : pick_size(40);
    *width = round % 8 == 0 ? (tall ? pick(30, 60) : pick(700, 900)) : pick_size(150);
}

static void positive(double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        values[i] = (double)(float)(fabs(values[i]) + 0.1);
    }
}

static bool wants_positive(lh_function function)
{
    return function == LH_LOG || function == LH_SQRT || function == LH_RECIPROCAL;
}

static void add_scaled_matches(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        static const double betas[] = {0, 1, -0.5};
        double beta = betas[pick(0, 2)];
        lh_add_scaled_args args = {.n = flat_size(round), .alpha = flip() ? 1 : 0.375, .beta = beta};
        problem p = problem_start(LH_KERNEL_ADD_SCALED, &args, sizeof args, beta == 0 ? "overwrites" : "adds");
        operand_add(&p, IN, offsetof(lh_add_scaled_args, x), args.n);
        operand_add(&p, beta == 0 ? OUT : INOUT, offsetof(lh_add_scaled_args, y), args.n);
        problem_check(&p);
    }
}

static void unary_matches(void **state)
{
    (void)state;
    for (int round = 0; round < 4 * LH_FUNCTION_COUNT; round++) {
        lh_function function = (lh_function)(round % LH_FUNCTION_COUNT);
        lh_unary_args args = {.n = flat_size(round / LH_FUNCTION_COUNT), .function = function};
        bool in_place = flip();
        problem p = problem_start(LH_KERNEL_UNARY, &args, sizeof args, in_place ? "in place" : "forward");
        double *x = operand_add(&p, in_place ? INOUT : IN, offsetof(lh_unary_args, x), args.n);
        if (wants_positive(function)) {
            positive(x, args.n);
        }
        if (in_place) {
            operand_share(&p, offsetof(lh_unary_args, y));
        } else {
            operand_add(&p, OUT, offsetof(lh_unary_args, y), args.n);
        }
        p.scale = function == LH_RECIPROCAL ? 10 : 1;
        problem_check(&p);

        p = problem_start(LH_KERNEL_UNARY_BACKWARD, &args, sizeof args, "backward");
        x = operand_add(&p, IN, offsetof(lh_unary_args, x), args.n);
        if (wants_positive(function)) {
            positive(x, args.n);
        }
        operand_add(&p, IN, offsetof(lh_unary_args, d_y), args.n);
        operand_add(&p, INOUT, offsetof(lh_unary_args, d_x), args.n);
        p.scale = wants_positive(function) ? 100 : 10; /* cancellation against what was in d_x */
        problem_check(&p);
    }
}

static void bias_activation_matches(void **state)
{
    (void)state;
    for (int round = 0; round < 4 * LH_FUNCTION_COUNT; round++) {
        lh_function function = (lh_function)(round % LH_FUNCTION_COUNT);
        lh_bias_activation_args args = {.function = function};
        matrix_size(round / LH_FUNCTION_COUNT, &args.rows, &args.width);
        int64_t n = args.rows * args.width;
        bool biased = flip(), in_place = flip();
        problem p =
            problem_start(LH_KERNEL_BIAS_ACTIVATION, &args, sizeof args, biased ? "biased" : "without bias");
        double *x = operand_add(&p, in_place ? INOUT : IN, offsetof(lh_bias_activation_args, x), n);
        wants_positive(function) ? positive(x, n) : (void)0;
        if (in_place) {
            operand_share(&p, offsetof(lh_bias_activation_args, y));
        } else {
            operand_add(&p, OUT, offsetof(lh_bias_activation_args, y), n);
        }
        if (biased) {
            double *bias = operand_add(&p, IN, offsetof(lh_bias_activation_args, bias), args.width);
            wants_positive(function) ? positive(bias, args.width) : (void)0;
        }
        p.scale = wants_positive(function) || function == LH_EXP ? 100 : 8;
        problem_check(&p);

        bool shared = flip(), want_x = flip(), want_bias = flip();
        p = problem_start(LH_KERNEL_BIAS_ACTIVATION_BACKWARD, &args, sizeof args, "backward");
        x = operand_add(&p, IN, offsetof(lh_bias_activation_args, x), n);
        wants_positive(function) ? positive(x, n) : (void)0;
        if (biased) {
            double *bias = operand_add(&p, IN, offsetof(lh_bias_activation_args, bias), args.width);
            wants_positive(function) ? positive(bias, args.width) : (void)0;
        }
        operand_add(&p, shared ? INOUT : IN, offsetof(lh_bias_activation_args, d_y), n);
        if (shared) {
            operand_share(&p, offsetof(lh_bias_activation_args, d_x));
        } else if (want_x) {
            operand_add(&p, OUT, offsetof(lh_bias_activation_args, d_x), n);
        }
        if (want_bias) {
            operand_add(&p, INOUT, offsetof(lh_bias_activation_args, d_bias), args.width);
        }
        p.scale = (wants_positive(function) || function == LH_EXP ? 100 : 4) * sqrt((double)args.rows + 1);
        problem_check(&p);
    }
}

static void gated_matches(void **state)
{
    (void)state;
    for (int round = 0; round < 4 * LH_FUNCTION_COUNT; round++) {
        lh_function function = (lh_function)(round % LH_FUNCTION_COUNT);
        lh_gated_args args = {.function = function};
        matrix_size(round / LH_FUNCTION_COUNT, &args.rows, &args.width);
        args.a_stride = args.width + pick(0, 5);
        args.b_stride = args.width + pick(0, 5);
        int64_t n = args.rows * args.width, wide_a = args.rows * args.a_stride, wide_b = args.rows * args.b_stride;
        problem p = problem_start(LH_KERNEL_GATED, &args, sizeof args, "forward");
        double *a = operand_add(&p, IN, offsetof(lh_gated_args, a), wide_a);
        wants_positive(function) ? positive(a, wide_a) : (void)0;
        operand_add(&p, IN, offsetof(lh_gated_args, b), wide_b);
        operand_add(&p, OUT, offsetof(lh_gated_args, y), n);
        p.scale = wants_positive(function) ? 100 : 4;
        problem_check(&p);

        p = problem_start(LH_KERNEL_GATED_BACKWARD, &args, sizeof args, "backward");
        a = operand_add(&p, IN, offsetof(lh_gated_args, a), wide_a);
        wants_positive(function) ? positive(a, wide_a) : (void)0;
        operand_add(&p, IN, offsetof(lh_gated_args, b), wide_b);
        operand_add(&p, IN, offsetof(lh_gated_args, d_y), n);
        if (round % 3 != 0) { /* the gaps between rows must keep what is in them */
            operand_add(&p, INOUT, offsetof(lh_gated_args, d_a), wide_a);
        }
        if (round % 3 != 1) {
            operand_add(&p, INOUT, offsetof(lh_gated_args, d_b), wide_b);
        }
        p.scale = wants_positive(function) ? 400 : 10;
        problem_check(&p);
    }
}

static void dropout_matches(void **state)
{
    (void)state;
    static const double rates[] = {0, 0.1, 0.5, 0.9, 1};
    for (int round = 0; round < ROUNDS; round++) {
        lh_dropout_args args = {.n = flat_size(round),
                                .repeat = flip() ? 1 : pick(2, 70),
                                .rate = rates[pick(0, 4)],
                                .seed = lh_random_u64(&harness_random),
                                .offset = lh_random_u64(&harness_random) >> 2,
                                .accumulate = flip()};
        if (flip()) { /* the lower half of the index runs over */
            args.offset = (args.offset | 0xffffffffu) - (uint64_t)pick(0, 100);
        }
        bool in_place = !args.accumulate && flip();
        problem p = problem_start(LH_KERNEL_DROPOUT, &args, sizeof args, "dropout");
        operand_add(&p, in_place ? INOUT : IN, offsetof(lh_dropout_args, x), args.n);
        if (in_place) {
            operand_share(&p, offsetof(lh_dropout_args, y));
        } else {
            operand_add(&p, args.accumulate ? INOUT : OUT, offsetof(lh_dropout_args, y), args.n);
        }
        p.scale = 10;
        problem_check(&p);
    }
}

static void dropout_keeps_its_rate(void **state)
{
    (void)state;
    static float x[100000], y[100000];
    static lh_exec exec = {.threads = 2};
    for (int i = 0; i < 100000; i++) {
        x[i] = 1;
    }
    for (int level = 0; level < LH_CPU_LEVEL_COUNT; level++) {
        const lh_kernel_table *table = lh_kernel_table_get((lh_cpu_level)level);
        if (table) {
            lh_dropout_args args = {.n = 100000, .repeat = 1, .rate = 0.3, .seed = 5, .offset = 9, .x = x, .y = y};
            table->f32[LH_KERNEL_DROPOUT](&exec, &args);
            double sum = 0, pairs = 0;
            for (int i = 0; i < 100000; i++) {
                sum += (double)y[i];
                pairs += i > 0 && y[i] != 0 && y[i - 1] != 0;
            }
            assert_true(fabs(sum / 100000 - 1) < 0.01); /* expectation kept; 3 sigma is 0.006 */
            assert_true(fabs(pairs / 100000 - 0.49) < 0.01);
        }
    }
}

static int64_t stride_pattern(int64_t *stride, const int64_t *shape, bool repeat_allowed)
{
    int64_t run = 1;
    for (int d = LH_MAX_DIMS - 1; d >= 0; d--) {
        bool repeated = repeat_allowed && pick(0, 3) == 0;
        stride[d] = repeated ? 0 : run;
        if (!repeated) {
            run *= shape[d] > 0 ? shape[d] : 1;
            run += pick(0, 3) == 0 ? pick(0, 3) : 0;
        }
    }
    return run;
}

static void binary_matches(void **state)
{
    (void)state;
    for (int round = 0; round < 4 * ROUNDS; round++) {
        lh_binary_args args = {.function = (lh_binary_function)(round % 6), .accumulate = flip()};
        int64_t count = 1;
        for (int d = 0; d < LH_MAX_DIMS; d++) {
            args.shape[d] = round % 8 == 0 ? pick(5, 9) : d < 2 ? pick(1, 3) : pick(1, 12);
            args.shape[d] = pick(0, 200) == 0 ? 0 : args.shape[d];
        }
        if (round % 3 == 0) {
            args.shape[LH_MAX_DIMS - 1] = pick(1, 200);
        }
        for (int d = 0; d < LH_MAX_DIMS; d++) {
            count *= args.shape[d];
        }
        int64_t a_count = stride_pattern(args.a_stride, args.shape, flip());
        int64_t b_count = stride_pattern(args.b_stride, args.shape, flip());
        bool in_place = !args.accumulate && pick(0, 2) == 0;
        if (in_place) {
            int64_t run = 1;
            for (int d = LH_MAX_DIMS - 1; d >= 0; d--) {
                args.a_stride[d] = run;
                run *= args.shape[d];
            }
            a_count = run;
        }
        problem p = problem_start(LH_KERNEL_BINARY, &args, sizeof args, in_place ? "in place" : "strided");
        operand_add(&p, in_place ? INOUT : IN, offsetof(lh_binary_args, a), a_count);
        if (in_place) {
            operand_share(&p, offsetof(lh_binary_args, y));
        }
        double *b = operand_add(&p, IN, offsetof(lh_binary_args, b), b_count);
        args.function == LH_DIVIDE ? positive(b, b_count) : (void)0;
        if (!in_place) {
            operand_add(&p, args.accumulate ? INOUT : OUT, offsetof(lh_binary_args, y), count);
        }
        p.scale = 40;
        problem_check(&p);
    }
}

static void reduce_matches(void **state)
{
    (void)state;
    for (int round = 0; round < 2 * ROUNDS; round++) {
        lh_reduce_args args = {.maximum = round % 3 == 0, .accumulate = flip(), .scale = flip() ? 1 : 0.01};
        args.outer = pick_size(9);
        args.middle = round % 6 == 0 ? pick(1000, 20000) : pick_size(200);
        args.inner = round % 2 == 0 ? 1 : args.middle > 500 ? pick(2, 5) : pick_size(300);
        args.outer = args.middle > 500 ? pick(1, 3) : args.outer;
        problem p = problem_start(LH_KERNEL_REDUCE, &args, sizeof args, args.maximum ? "maximum" : "sum");
        operand_add(&p, IN, offsetof(lh_reduce_args, x), args.outer * args.middle * args.inner);
        operand_add(&p, args.accumulate && !args.maximum ? INOUT : OUT, offsetof(lh_reduce_args, y),
                    args.outer * args.inner);
        p.scale = args.scale * sqrt((double)args.middle) + 1;
        problem_check(&p);
    }
}

static void sums_of_a_million_keep_their_digits(void **state)
{
    (void)state;
    enum { n = 1 << 20 };
    static float x[n];
    static lh_exec exec = {.threads = 2};
    for (int i = 0; i < n; i++) {
        x[i] = 0.1f;
    }
    for (int level = 0; level < LH_CPU_LEVEL_COUNT; level++) {
        const lh_kernel_table *table = lh_kernel_table_get((lh_cpu_level)level);
        for (int inner = 1; table && inner <= 4; inner += 3) {
            float y[4];
            lh_reduce_args args = {.outer = 1, .middle = n / inner, .inner = inner, .scale = 1, .x = x, .y = y};
            table->f32[LH_KERNEL_REDUCE](&exec, &args);
            assert_true(fabs((double)y[0] / (0.1 * n / inner) - 1) < 1e-6);
        }
    }
}

static void fill_writes_its_value(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        lh_fill_args args = {.n = flat_size(round), .value = 0.75};
        problem p = problem_start(LH_KERNEL_FILL, &args, sizeof args, "fill");
        operand_add(&p, OUT, offsetof(lh_fill_args, y), args.n);
        double *expected[1] = {malloc((size_t)(args.n + 1) * sizeof(double))};
        for (int64_t i = 0; i < args.n; i++) {
            expected[0][i] = 0.75;
        }
        problem_check_against(&p, expected);
        free(expected[0]);
    }
}

/* ---- copy and cast: bytes, so compared with plain loops here
 * -------------------------------- */

static void copy_moves_any_strides(void **state)
{
    (void)state;
    static lh_exec exec;
    for (int round = 0; round < 400; round++) {
        lh_copy_args args = {.element_bytes = 1 << pick(0, 3)};
        int order[LH_MAX_DIMS] = {0, 1, 2, 3, 4};
        int64_t size = args.element_bytes, y_run = 1, at[LH_MAX_DIMS];
        for (int d = 0; d < LH_MAX_DIMS; d++) {
            args.shape[d] = pick(0, 60) == 0 ? 0 : round % 10 == 0 ? pick(4, 9) : pick(1, 5);
        }
        if (round % 4 == 0) {
            args.shape[0] = args.shape[1] = args.shape[2] = 1;
            args.shape[3] = pick(1, 140);
            args.shape[4] = pick(1, 140);
        }
        int64_t x_run = stride_pattern(args.x_stride, args.shape, flip());
        for (int d = LH_MAX_DIMS - 1; d > 0; d--) { /* y: any order of dimensions, with gaps */
            int other = (int)pick(0, d), kept = order[d];
            order[d] = order[other];
            order[other] = kept;
        }
        for (int i = LH_MAX_DIMS - 1; i >= 0; i--) {
            args.y_stride[order[i]] = y_run;
            y_run = y_run * (args.shape[order[i]] > 0 ? args.shape[order[i]] : 1) + (pick(0, 3) == 0 ? 2 : 0);
        }
        unsigned char *x = malloc((size_t)(x_run * size)), *y = malloc((size_t)(y_run * size + 2 * GUARD)), *wanted;
        for (int64_t i = 0; i < x_run * size; i++) {
            x[i] = (unsigned char)pick(0, 255);
        }
        memset(y, 0xA5, (size_t)(y_run * size + 2 * GUARD));
        wanted = malloc((size_t)(y_run * size + 2 * GUARD));
        memset(wanted, 0xA5, (size_t)(y_run * size + 2 * GUARD));
        for (at[0] = 0; at[0] < args.shape[0]; at[0]++)
            for (at[1] = 0; at[1] < args.shape[1]; at[1]++)
                for (at[2] = 0; at[2] < args.shape[2]; at[2]++)
                    for (at[3] = 0; at[3] < args.shape[3]; at[3]++)
                        for (at[4] = 0; at[4] < args.shape[4]; at[4]++) {
                            int64_t from = 0, to = 0;
                            for (int d = 0; d < LH_MAX_DIMS; d++) {
                                from += at[d] * args.x_stride[d];
                                to += at[d] * args.y_stride[d];
                            }
                            memcpy(wanted + GUARD + to * size, x + from * size, (size_t)size);
                        }
        args.x = x;
        args.y = y + GUARD;
        exec.threads = (int)pick(1, 4);
        lh_kernel_table_get(LH_CPU_REF)->f32[LH_KERNEL_COPY](&exec, &args);
        assert_memory_equal(y, wanted, (size_t)(y_run * size + 2 * GUARD));
        free(x);
        free(y);
        free(wanted);
    }
}

static void half_types_round_to_nearest_even(void **state)
{
    (void)state;
    assert_int_equal(lh_f16_from_double(1), 0x3c00);
    assert_int_equal(lh_f16_from_double(-2), 0xc000);
    assert_int_equal(lh_f16_from_double(65504), 0x7bff);
    assert_int_equal(lh_f16_from_double(65520), 0x7c00); /* the first that rounds to infinity */
    assert_int_equal(lh_f16_from_double(65519.99), 0x7bff);
    assert_int_equal(lh_f16_from_double(ldexp(1, -24)), 0x0001);
    assert_int_equal(lh_f16_from_double(ldexp(1, -25)), 0x0000); /* a tie, to even */
    assert_int_equal(lh_f16_from_double(ldexp(1.0001, -25)), 0x0001);
    assert_int_equal(lh_f16_from_double(1 + ldexp(1, -11)), 0x3c00);
    assert_int_equal(lh_f16_from_double(1 + 3 * ldexp(1, -11)), 0x3c02);
    assert_int_equal(lh_bf16_from_double(1), 0x3f80);
    assert_int_equal(lh_bf16_from_double(1 + ldexp(1, -8)), 0x3f80);
    assert_int_equal(lh_bf16_from_double(1 + 3 * ldexp(1, -8)), 0x3f82);
    assert_int_equal(lh_bf16_from_double(1e39), 0x7f80);
    for (int bits = 0; bits < 0x10000; bits++) { /* there and back */
        double f16 = lh_f16_to_double((uint16_t)bits), bf16 = lh_bf16_to_double((uint16_t)bits);
        float same;
        uint32_t wide = (uint32_t)bits << 16;
        memcpy(&same, &wide, sizeof same);
        assert_true(isnan(f16) || lh_f16_from_double(f16) == bits);
        assert_true(isnan(bf16) ? isnan(same) : lh_bf16_from_double(bf16) == bits && bf16 == (double)same);
    }
}

static void cast_levels_agree(void **state)
{
    (void)state;
    static lh_exec exec;
    static const lh_dtype types[] = {LH_F32, LH_F64, LH_F16, LH_BF16, LH_I32};
    enum { room = 70000 };
    unsigned char *x = malloc(room * 8 + 64), *y = malloc(room * 8 + 64), *wanted = malloc(room * 8 + 64);
    for (int round = 0; round < 300; round++) {
        lh_dtype from = types[pick(0, 4)], to = types[pick(0, from == LH_I32 ? 1 : 3)];
        to = (from == LH_F32 || from == LH_F64) && pick(0, 5) == 0 ? LH_I32 : to;
        int64_t n = round % 20 == 0 ? pick(40000, 60000) : pick_size(200), shift = pick(0, 3);
        size_t from_size = from == LH_F64 ? 8 : from == LH_F32 || from == LH_I32 ? 4 : 2;
        size_t to_size = to == LH_F64 ? 8 : to == LH_F32 || to == LH_I32 ? 4 : 2;
        for (int64_t i = 0; i < room; i++) {
            double value = lh_random_normal(&harness_random) * ldexp(1, (int)pick(-30, 20));
            uint32_t bits = lh_random_u32(&harness_random);
            switch (from) {
            case LH_F64: ((double *)(void *)x)[i] = value; break;
            case LH_F32: memcpy(x + 4 * i, &bits, 4); break;
            case LH_I32: memcpy(x + 4 * i, &bits, 4); break;
            default: memcpy(x + 2 * i, &bits, 2); break;
            }
        }
        lh_cast_args args = {.n = n, .from = from, .to = to, .x = x + shift * (int64_t)from_size};
        memset(wanted, 0xA5, room * 8 + 64);
        args.y = wanted + shift * (int64_t)to_size;
        exec.threads = 1;
        lh_kernel_table_get(LH_CPU_REF)->f32[LH_KERNEL_CAST](&exec, &args);
        for (int level = 1; level < LH_CPU_LEVEL_COUNT; level++) {
            const lh_kernel_table *table = lh_kernel_table_get((lh_cpu_level)level);
            if (!table) {
                continue;
            }
            memset(y, 0xA5, room * 8 + 64);
            args.y = y + shift * (int64_t)to_size;
            exec.threads = (int)pick(1, 4);
            table->f32[LH_KERNEL_CAST](&exec, &args);
            for (int64_t i = 0; i < (int64_t)(room * 8 / to_size); i++) {
                unsigned char *a = y + i * (int64_t)to_size, *b = wanted + i * (int64_t)to_size;
                if (memcmp(a, b, to_size) != 0) { /* only the payload of a NaN is free */
                    bool nan = to == LH_F32   ? isnan(*(float *)(void *)a) && isnan(*(float *)(void *)b)
                               : to == LH_F16 ? isnan(lh_f16_to_double(*(uint16_t *)(void *)a)) &&
                                                    isnan(lh_f16_to_double(*(uint16_t *)(void *)b))
                               : to == LH_BF16 ? isnan(lh_bf16_to_double(*(uint16_t *)(void *)a)) &&
                                                     isnan(lh_bf16_to_double(*(uint16_t *)(void *)b))
                                               : false;
                    assert_true(nan);
                }
            }
        }
    }
    free(x);
    free(y);
    free(wanted);
}

static void activations_have_known_values(void **state)
{
    (void)state;
    static const struct {
        lh_function function;
        double x, value, slope;
    } known[] = {
        {LH_GELU, 1, 0.8413447460685429, 1.0833154705876862},
        {LH_GELU, -2, -0.04550026389635842, -0.0852318010781969},
        {LH_GELU_TANH, 1, 0.8411919906082768, 1.082964083845783},
        {LH_SILU, 1, 0.7310585786300049, 0.9276705118714867},
        {LH_SIGMOID, 0.5, 0.6224593312018546, 0.2350037122015945},
        {LH_TANH, 0.5, 0.46211715726000973, 0.7864477329659274},
        {LH_RELU_SQUARED, 1.5, 2.25, 3},
        {LH_RELU_SQUARED, -1.5, 0, 0},
        {LH_LOG, 2, 0.6931471805599453, 0.5},
        {LH_RECIPROCAL, -4, -0.25, -0.0625},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        assert_true(fabs(lh_function_value(known[i].function, known[i].x) - known[i].value) < 1e-12);
        assert_true(fabs(lh_function_slope(known[i].function, known[i].x) - known[i].slope) < 1e-9);
    }
    for (int f = 0; f < LH_FUNCTION_COUNT; f++) { /* slopes against differences */
        for (double x = 0.2; x < 3; x += 0.3) {
            double h = 1e-5, sign = f == LH_LOG || f == LH_SQRT ? 1 : flip() ? 1 : -1;
            double difference = (lh_function_value((lh_function)f, sign * x + h) -
                                 lh_function_value((lh_function)f, sign * x - h)) /
                                (2 * h);
            assert_true(fabs(difference - lh_function_slope((lh_function)f, sign * x)) < 1e-6);
        }
    }
}

int main(void)
{
    harness_random = lh_random_create(1, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add_scaled_matches),
        cmocka_unit_test(unary_matches),
        cmocka_unit_test(bias_activation_matches),
        cmocka_unit_test(gated_matches),
        cmocka_unit_test(dropout_matches),
        cmocka_unit_test(dropout_keeps_its_rate),
        cmocka_unit_test(binary_matches),
        cmocka_unit_test(reduce_matches),
        cmocka_unit_test(sums_of_a_million_keep_their_digits),
        cmocka_unit_test(fill_writes_its_value),
        cmocka_unit_test(copy_moves_any_strides),
        cmocka_unit_test(half_types_round_to_nearest_even),
        cmocka_unit_test(cast_levels_agree),
        cmocka_unit_test(activations_have_known_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
