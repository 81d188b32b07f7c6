/* GEMM against a triple loop. */
#include "kernel_harness.h"

#include <signal.h>
#include <sys/time.h>

static void product(const lh_gemm_args *args, const double *a, const double *b, double *c)
{
    for (int64_t batch = 0; batch < args->batch; batch++) {
        for (int64_t i = 0; i < args->m; i++) {
            for (int64_t j = 0; j < args->n; j++) {
                double sum = 0, *at = c + batch * args->c_batch + i * args->ldc + j;
                for (int64_t k = 0; k < args->k; k++) {
                    sum += a[batch * args->a_batch + (args->transpose_a ? k * args->lda + i : i * args->lda + k)] *
                           b[batch * args->b_batch + (args->transpose_b ? j * args->ldb + k : k * args->ldb + j)];
                }
                *at = args->alpha * sum + (args->beta == 0 ? 0 : args->beta * *at);
            }
        }
    }
}

static void check(lh_gemm_args args, bool overwrites)
{
    int64_t a_rows = args.transpose_a ? args.k : args.m, b_rows = args.transpose_b ? args.n : args.k;
    bool a_shared = args.batch > 1 && flip(), b_shared = args.batch > 1 && flip();
    args.lda = (args.transpose_a ? args.m : args.k) + pick(0, 3);
    args.ldb = (args.transpose_b ? args.k : args.n) + pick(0, 3);
    args.ldc = args.n + pick(0, 3);
    args.lda += args.lda == 0; /* no library takes a leading dimension of 0 */
    args.ldb += args.ldb == 0;
    args.ldc += args.ldc == 0;
    args.a_batch = a_shared ? 0 : a_rows * args.lda + pick(0, 5);
    args.b_batch = b_shared ? 0 : b_rows * args.ldb + pick(0, 5);
    args.c_batch = args.m * args.ldc + pick(0, 5);
    int64_t a_count = a_rows * args.lda + (args.batch > 1 ? (args.batch - 1) * args.a_batch : 0);
    int64_t b_count = b_rows * args.ldb + (args.batch > 1 ? (args.batch - 1) * args.b_batch : 0);
    int64_t c_count = args.m * args.ldc + (args.batch > 1 ? (args.batch - 1) * args.c_batch : 0);
    char note[160];
    snprintf(note, sizeof note, "%c%c batch %lld m %lld n %lld k %lld alpha %g beta %g",
             args.transpose_a ? 'T' : 'N', args.transpose_b ? 'T' : 'N', (long long)args.batch, (long long)args.m,
             (long long)args.n, (long long)args.k, args.alpha, args.beta);
    problem p = problem_start(LH_KERNEL_GEMM, &args, sizeof args, note);
    double *a = operand_add(&p, IN, offsetof(lh_gemm_args, a), a_count);
    double *b = operand_add(&p, IN, offsetof(lh_gemm_args, b), b_count);
    double *c = operand_add(&p, overwrites ? OUT : INOUT, offsetof(lh_gemm_args, c), c_count);
    double *expected[3];
    const double *starts[3] = {a, b, c};
    int64_t counts[3] = {a_count, b_count, c_count};
    for (int i = 0; i < 3; i++) {
        expected[i] = malloc((size_t)(counts[i] + 1) * sizeof(double));
        memcpy(expected[i], starts[i], (size_t)counts[i] * sizeof(double));
    }
    product(&args, a, b, expected[2]);
    p.scale = 1 + (double)args.k / 4;
    problem_check_against(&p, expected);
    for (int i = 0; i < 3; i++) {
        free(expected[i]);
    }
}

static lh_gemm_args draw(void)
{
    static const double alphas[] = {1, 0.125, -1}, betas[] = {0, 0, 1, 0.5};
    return (lh_gemm_args){.transpose_a = flip(),
                          .transpose_b = flip(),
                          .batch = 1,
                          .alpha = alphas[pick(0, 2)],
                          .beta = betas[pick(0, 3)]};
}

static void small_products_match(void **state)
{
    (void)state;
    for (int round = 0; round < 300; round++) {
        lh_gemm_args args = draw();
        args.m = pick_size(40);
        args.n = pick_size(40);
        args.k = pick_size(70);
        check(args, args.beta == 0);
    }
}

static void thin_products_match(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        lh_gemm_args args = draw();
        args.transpose_a = round % 4 == 0 ? args.transpose_a : false;
        args.transpose_b = round % 4 == 0 ? args.transpose_b : true;
        args.m = pick(1, flip() ? 4 : 70);
        args.n = pick(1, round % 8 == 0 ? 600 : 100);
        args.k = pick_size(300);
        if (pick(0, 3) == 0) { /* one column, say a projection to a gate */
            int64_t kept = args.m;
            args.m = args.n;
            args.n = kept;
        }
        check(args, args.beta == 0);
    }
}

static void products_large_enough_for_threads_match(void **state)
{
    (void)state;
    for (int round = 0; round < 24; round++) {
        lh_gemm_args args = draw();
        args.transpose_a = round & 1;
        args.transpose_b = round & 2;
        args.m = pick(60, 300);
        args.n = pick(60, 300);
        args.k = round % 6 == 0 ? pick(500, 900) : pick(40, 200);
        check(args, args.beta == 0);
    }
}

/* Many rows and a transposed B, which is turned first: sizes that no block divides, and one that takes two strips.
 */
static void turned_products_match(void **state)
{
    (void)state;
    for (int round = 0; round < 7; round++) {
        lh_gemm_args args = draw();
        args.transpose_a = false;
        args.transpose_b = true;
        args.m = pick(512, 530);
        args.n = round == 0 ? 530 : pick(128, 150);
        args.k = round == 0 ? 8003 : pick(128, 210);
        check(args, args.beta == 0);
    }
}

static void batched_products_match(void **state)
{
    (void)state;
    for (int round = 0; round < 100; round++) {
        lh_gemm_args args = draw();
        args.batch = round % 10 == 0 ? 0 : pick(2, 9);
        args.m = pick_size(70);
        args.n = pick_size(70);
        args.k = pick_size(70);
        check(args, args.beta == 0);
    }
}

static void ignore_signal(int number)
{
    (void)number;
}

/* A library whose kernels use memory below the stack pointer must not be met by a signal's frame there. */
static void signals_leave_products_alone(void **state)
{
    (void)state;
    enum { M = 512, N = 256, K = 256, ROUNDS = 300 };
    struct sigaction action = {.sa_handler = ignore_signal, .sa_flags = SA_RESTART}, before;
    struct itimerval often = {{0, 97}, {0, 97}}, never = {{0, 0}, {0, 0}};
    float *a = malloc(sizeof *a * M * K), *b = malloc(sizeof *b * N * K), *c = malloc(sizeof *c * 2 * M * N);
    for (int i = 0; i < M * K; i++) {
        a[i] = (float)lh_random_normal(&harness_random);
        b[i % (N * K)] = (float)lh_random_normal(&harness_random);
    }
    lh_exec exec = {.threads = 2};
    lh_kernel gemm = lh_kernel_table_get(lh_cpu_best_level())->f32[LH_KERNEL_GEMM];
    lh_gemm_args args = {
        .batch = 1, .m = M, .n = N, .k = K, .lda = K, .ldc = N, .a = a, .b = b, .c = c, .alpha = 1};
    for (int transposed = 0; transposed < 2; transposed++) {
        args.transpose_b = transposed;
        args.ldb = transposed ? K : N;
        args.c = c;
        gemm(&exec, &args);
        args.c = c + (ptrdiff_t)M * N;
        assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
        assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
        bool same = true;
        for (int round = 0; round < ROUNDS && same; round++) {
            gemm(&exec, &args);
            same = memcmp(c, c + (ptrdiff_t)M * N, sizeof *c * M * N) == 0;
        }
        assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
        assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
        assert_true(same);
    }
    lh_exec_free(&exec);
    free(a);
    free(b);
    free(c);
}

int main(void)
{
    harness_random = lh_random_create(4, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_products_match),
        cmocka_unit_test(thin_products_match),
        cmocka_unit_test(products_large_enough_for_threads_match),
        cmocka_unit_test(turned_products_match),
        cmocka_unit_test(batched_products_match),
        cmocka_unit_test(signals_leave_products_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
