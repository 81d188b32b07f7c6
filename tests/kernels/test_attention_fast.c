/* The vector versions of attention against the plain C one in double, over random calls of every kind. */
#include "kernels/attention_problem.h"

static const problem_limits tiny = {.batch = 2,
                                    .heads = 4,
                                    .q_len = 20,
                                    .k_len = 30,
                                    .width = 24,
                                    .sources = 3,
                                    .other_layouts = true,
                                    .exotic = true};
static const problem_limits medium = {.batch = 2,
                                      .heads = 3,
                                      .q_len = 90,
                                      .k_len = 300,
                                      .width = 40,
                                      .sources = 2,
                                      .other_layouts = true,
                                      .exotic = true};
static const problem_limits large = {.batch = 1, .heads = 2, .q_len = 530, .k_len = 700, .width = 66, .sources = 2};
static const problem_limits wide = {.batch = 1, .heads = 2, .q_len = 70, .k_len = 150, .width = 256, .sources = 1};
static const problem_limits few = {.batch = 2,
                                   .heads = 8,
                                   .q_len = 8,
                                   .k_len = 3000,
                                   .width = 80,
                                   .sources = 2,
                                   .other_layouts = true,
                                   .exotic = true};

static const problem_limits shared = {
    .batch = 5, .heads = 2, .q_len = 500, .k_len = 500, .width = 24, .sources = 3, .shared = true};

/* Largest finite value of an array: errors are measured against it. */
static double size_of(const problem_array *array)
{
    double size = 1;
    for (int64_t i = 0; i < array->n; i++) {
        if (isfinite(array->f64[i])) {
            size = fmax(size, fabs(array->f64[i]));
        }
    }
    return size;
}

static void compare(const problem *p, uint64_t seed, lh_cpu_level level)
{
    for (int a = 0; a < p->count; a++) {
        const problem_array *array = &p->arrays[a];
        double size = array->output ? size_of(array) : 1, tolerance = 2e-5;
        for (int64_t i = 0; array->output && i < array->n; i++) {
            double got = (double)array->f32[i], wanted = array->f64[i];
            bool same = got == wanted || (isnan(got) && isnan(wanted)) || fabs(got - wanted) <= tolerance * size;
            if (!same) {
                fail_msg("seed %llu, %s: %s[%lld] is %.9g, expected %.9g", (unsigned long long)seed,
                         lh_cpu_level_name(level), array->name, (long long)i, got, wanted);
            }
        }
    }
}

static void restore_f32(problem *p)
{
    for (int a = 0; a < p->count; a++) {
        for (int64_t i = 0; i < p->arrays[a].n; i++) {
            p->arrays[a].f32[i] = (float)p->arrays[a].f64_start[i];
        }
    }
}

static uint64_t digest(const problem *p)
{
    uint64_t hash = 1469598103934665603u;
    for (int a = 0; a < p->count; a++) {
        const unsigned char *bytes = (const unsigned char *)p->arrays[a].f32;
        for (int64_t i = 0; i < p->arrays[a].n * 4; i++) {
            hash = (hash ^ bytes[i]) * 1099511628211u;
        }
    }
    return hash;
}

static void run_limits(const problem_limits *limits, uint64_t first, uint64_t count)
{
    static const int threads[] = {1, 2, 5};
    lh_exec exec = {.threads = 2};
    for (uint64_t seed = first; seed < first + count; seed++) {
        problem *p = problem_create(seed, limits);
        const lh_kernel_table *ref = lh_kernel_table_get(LH_CPU_REF);
        exec.threads = 2;
        ref->f64[LH_KERNEL_ATTENTION](&exec, &p->args);
        ref->f64[LH_KERNEL_ATTENTION_BACKWARD](&exec, &p->args);
        for (int level = LH_CPU_AVX2; level < LH_CPU_LEVEL_COUNT; level++) {
            const lh_kernel_table *table = lh_kernel_table_get((lh_cpu_level)level);
            uint64_t results = 0;
            for (int t = 0; table && t < 3; t++) {
                restore_f32(p);
                exec.threads = threads[t];
                table->f32[LH_KERNEL_ATTENTION](&exec, &p->args_f32);
                table->f32[LH_KERNEL_ATTENTION_BACKWARD](&exec, &p->args_f32);
                assert_false(exec.out_of_memory);
                if (t == 0) {
                    compare(p, seed, (lh_cpu_level)level);
                    results = digest(p);
                } else if (digest(p) != results) {
                    fail_msg("seed %llu, %s: results differ between 1 and %d threads", (unsigned long long)seed,
                             lh_cpu_level_name((lh_cpu_level)level), threads[t]);
                }
            }
        }
        problem_free(p);
    }
    lh_exec_free(&exec);
}

static void test_tiny(void **state)
{
    (void)state;
    run_limits(&tiny, 10000, 300);
}

static void test_medium(void **state)
{
    (void)state;
    run_limits(&medium, 20000, 20);
}

static void test_large(void **state)
{
    (void)state;
    run_limits(&large, 30000, 3);
}

static void test_wide(void **state)
{
    (void)state;
    run_limits(&wide, 40000, 4);
}

static void test_few_queries(void **state)
{
    (void)state;
    run_limits(&few, 50000, 10);
}

static void test_shared_gradients(void **state)
{
    (void)state;
    run_limits(&shared, 60000, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiny), cmocka_unit_test(test_medium),      cmocka_unit_test(test_large),
        cmocka_unit_test(test_wide), cmocka_unit_test(test_few_queries), cmocka_unit_test(test_shared_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
