/* SUM_SQUARES, ADAMW, SGD, ADAFACTOR. */
#include "kernel_harness.h"

static int64_t flat_size(int round)
{
    return round % 8 == 0 ? pick(30000, 60000) : pick_size(300);
}

static void make_positive(double *values, int64_t count, double size)
{
    for (int64_t i = 0; i < count; i++) {
        values[i] = (double)(float)(size * (fabs(values[i]) + 0.05));
    }
}

static void sum_squares_matches(void **state)
{
    (void)state;
    for (int round = 0; round < 80; round++) {
        lh_sum_squares_args args = {.n = flat_size(round)};
        problem p = problem_start(LH_KERNEL_SUM_SQUARES, &args, sizeof args, "sum of squares");
        double *x = operand_add(&p, IN, offsetof(lh_sum_squares_args, x), args.n);
        for (int64_t i = 0; i < args.n && round % 3 == 0; i++) {
            x[i] = pick(0, 50) == 0 ? (flip() ? (double)INFINITY : (double)NAN) : x[i];
        }
        operand_add(&p, INOUT_DOUBLE, offsetof(lh_sum_squares_args, sum), 1);
        operand_add(&p, INOUT_LONG, offsetof(lh_sum_squares_args, nonfinite), 1)[0] = 3;
        p.scale = 10;
        problem_check(&p);
    }
}

static void adamw_matches(void **state)
{
    (void)state;
    for (int round = 0; round < 80; round++) {
        lh_adamw_args args = {.n = flat_size(round),
                              .step = pick(1, 1000),
                              .lr = 0.1,
                              .beta1 = 0.9,
                              .beta2 = 0.98,
                              .eps = 1e-8,
                              .decay = flip() ? 0 : 0.1,
                              .grad_scale = flip() ? 1 : 0.125,
                              .clear_grad = flip()};
        problem p = problem_start(LH_KERNEL_ADAMW, &args, sizeof args, "adamw");
        operand_add(&p, INOUT, offsetof(lh_adamw_args, param), args.n);
        operand_add(&p, INOUT, offsetof(lh_adamw_args, grad), args.n);
        operand_add(&p, INOUT, offsetof(lh_adamw_args, m), args.n);
        make_positive(operand_add(&p, INOUT, offsetof(lh_adamw_args, v), args.n), args.n, 1);
        problem_check(&p);
    }
}

/* The first step of Adam moves every parameter by lr in the direction of -sign(grad). */
static void adamw_starts_with_a_sign_step(void **state)
{
    (void)state;
    static lh_exec exec = {.threads = 1};
    for (int level = 0; level < LH_CPU_LEVEL_COUNT; level++) {
        const lh_kernel_table *table = lh_kernel_table_get((lh_cpu_level)level);
        if (table) {
            float param[3] = {1, 2, 3}, grad[3] = {0.5f, -20, 0}, m[3] = {0}, v[3] = {0};
            lh_adamw_args args = {.n = 3,
                                  .step = 1,
                                  .lr = 0.01,
                                  .beta1 = 0.9,
                                  .beta2 = 0.999,
                                  .eps = 1e-12,
                                  .grad_scale = 1,
                                  .clear_grad = true,
                                  .param = param,
                                  .grad = grad,
                                  .m = m,
                                  .v = v};
            table->f32[LH_KERNEL_ADAMW](&exec, &args);
            assert_true(fabs((double)param[0] - 0.99) < 1e-6 && fabs((double)param[1] - 2.01) < 1e-6);
            assert_true(param[2] == 3 && grad[1] == 0);
        }
    }
}

static void sgd_matches(void **state)
{
    (void)state;
    for (int round = 0; round < 80; round++) {
        bool moving = flip();
        lh_sgd_args args = {.n = flat_size(round),
                            .lr = 0.1,
                            .momentum = moving ? 0.9 : 0,
                            .decay = flip() ? 0 : 0.01,
                            .grad_scale = flip() ? 1 : 0.5,
                            .nesterov = flip(),
                            .clear_grad = flip()};
        problem p = problem_start(LH_KERNEL_SGD, &args, sizeof args, moving ? "momentum" : "plain");
        operand_add(&p, INOUT, offsetof(lh_sgd_args, param), args.n);
        operand_add(&p, INOUT, offsetof(lh_sgd_args, grad), args.n);
        moving ? (void)operand_add(&p, INOUT, offsetof(lh_sgd_args, buffer), args.n) : (void)0;
        p.scale = 4;
        problem_check(&p);
    }
}

static void adafactor_matches(void **state)
{
    (void)state;
    for (int round = 0; round < 80; round++) {
        bool factored = flip(), tall = flip();
        lh_adafactor_args args = {.step = flip() ? 1 : pick(2, 1000),
                                  .lr = 0.1,
                                  .decay_rate = 0.8,
                                  .beta1 = 0.9,
                                  .eps1 = 1e-30,
                                  .eps2 = 1e-3,
                                  .clip_threshold = flip() ? 1 : 0.2,
                                  .decay = flip() ? 0 : 0.1,
                                  .grad_scale = flip() ? 1 : 0.25,
                                  .scale_by_parameter = flip(),
                                  .clear_grad = flip()};
        args.rows = round % 8 == 0 ? (tall ? 900 : 50) : pick_size(30);
        args.columns = round % 8 == 0 ? (tall ? 50 : 900) : pick_size(90);
        int64_t n = args.rows * args.columns;
        problem p = problem_start(LH_KERNEL_ADAFACTOR, &args, sizeof args, factored ? "factored" : "full");
        operand_add(&p, INOUT, offsetof(lh_adafactor_args, param), n);
        operand_add(&p, INOUT, offsetof(lh_adafactor_args, grad), n);
        if (factored) {
            make_positive(operand_add(&p, INOUT, offsetof(lh_adafactor_args, row), args.rows), args.rows, 1);
            make_positive(operand_add(&p, INOUT, offsetof(lh_adafactor_args, column), args.columns), args.columns,
                          1);
        } else {
            make_positive(operand_add(&p, INOUT, offsetof(lh_adafactor_args, v), n), n, 1);
        }
        flip() ? (void)operand_add(&p, INOUT, offsetof(lh_adafactor_args, m), n) : (void)0;
        p.scale = 2;
        problem_check(&p);
    }
}

int main(void)
{
    harness_random = lh_random_create(3, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sum_squares_matches),
        cmocka_unit_test(adamw_matches),
        cmocka_unit_test(adamw_starts_with_a_sign_step),
        cmocka_unit_test(sgd_matches),
        cmocka_unit_test(adafactor_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
