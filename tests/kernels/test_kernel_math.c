/* The vector functions against the C library in double precision, over dense sweeps of all floats; the bounds are
 * the promises of docs/kernels.md. With LH_EXHAUSTIVE=1 every float is tried. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/ref/function.h"
#include "kernels/table.h"

/* One unit in the last place of a float of this size; denormals count in units of the smallest one. */
static double ulp(double value)
{
    int exponent;
    frexp(value, &exponent);
    return ldexp(1, exponent - 24 < -149 ? -149 : exponent - 24);
}

typedef struct sweep {
    double worst; /* in ulp, or absolute */
    float at;
} sweep;

#define LANES 4096

/* Runs `function` (slope: its derivative) of one level over floats low .. high, a `step`-th of all bit patterns. */
static sweep sweep_run(lh_cpu_level level, lh_function function, bool slope, float low, float high, bool absolute,
                       uint32_t step)
{
    static float x[LANES], y[LANES], ones[LANES];
    static lh_exec exec = {.threads = 1};
    const lh_kernel_table *table = lh_kernel_table_get(level);
    lh_unary_args args = {.n = 0, .function = function, .x = x, .y = y, .d_y = ones, .d_x = y};
    sweep result = {0};
    for (int i = 0; i < LANES; i++) {
        ones[i] = 1;
    }
    for (uint64_t bits = 0; bits < UINT64_C(0x100000000);) {
        int n = 0;
        for (; n < LANES && bits < UINT64_C(0x100000000); bits += step) {
            uint32_t pattern = (uint32_t)bits;
            float value;
            memcpy(&value, &pattern, sizeof value);
            if (value >= low && value <= high) {
                x[n++] = value;
            }
        }
        args.n = n;
        memset(y, 0, sizeof y);
        (slope ? table->f32[LH_KERNEL_UNARY_BACKWARD] : table->f32[LH_KERNEL_UNARY])(&exec, &args);
        for (int i = 0; i < n; i++) {
            double wanted =
                slope ? lh_function_slope(function, (double)x[i]) : lh_function_value(function, (double)x[i]);
            double error = fabs((double)y[i] - wanted) / (absolute ? 1 : ulp(wanted));
            if ((double)y[i] == (double)(float)wanted) {
                continue; /* infinities, too */
            }
            if (!(error <= result.worst)) {
                result = (sweep){error, x[i]};
            }
        }
    }
    return result;
}

typedef struct promise {
    const char *name;
    lh_function function;
    bool slope;
    float low, high;
    bool absolute;
    double limit;
} promise;

static const promise promises[] = {
    {"exp", LH_EXP, false, -INFINITY, INFINITY, false, 1.1},
    {"log", LH_LOG, false, 0, INFINITY, false, 1.0},
    {"sigmoid", LH_SIGMOID, false, -INFINITY, INFINITY, false, 2.5},
    {"tanh", LH_TANH, false, -INFINITY, INFINITY, false, 2.0},
    {"gelu", LH_GELU, false, -12.8f, 1e6f, false, 8.0},
    {"gelu_tanh", LH_GELU_TANH, false, -8, 1e6f, false, 100.0},
    {"silu", LH_SILU, false, -80, 1e6f, false, 4.0},
    {"gelu, absolute", LH_GELU, false, -100, 2, true, 3e-7},
    {"gelu_tanh, absolute", LH_GELU_TANH, false, -100, 2, true, 3e-7},
    {"silu, absolute", LH_SILU, false, -1000, 2, true, 3e-7},
    {"gelu slope, absolute", LH_GELU, true, -100, 100, true, 3e-7},
    {"gelu_tanh slope, absolute", LH_GELU_TANH, true, -100, 100, true, 5e-7},
    {"silu slope, absolute", LH_SILU, true, -1000, 1000, true, 3e-7},
    {"sigmoid slope, absolute", LH_SIGMOID, true, -1000, 1000, true, 1e-7},
    {"tanh slope, absolute", LH_TANH, true, -1000, 1000, true, 3e-7},
};

static void vector_functions_keep_their_promises(void **state)
{
    (void)state;
    uint32_t step = getenv("LH_EXHAUSTIVE") ? 1 : 4099;
    int broken = 0;
    for (int level = LH_CPU_AVX2; level < LH_CPU_LEVEL_COUNT; level++) {
        if (!lh_kernel_table_get((lh_cpu_level)level)) {
            continue;
        }
        for (size_t i = 0; i < sizeof promises / sizeof promises[0]; i++) {
            const promise *p = &promises[i];
            sweep s = sweep_run((lh_cpu_level)level, p->function, p->slope, p->low, p->high, p->absolute, step);
            print_message("%-6s %-26s %8.3g %s at %.9g\n", lh_cpu_level_name((lh_cpu_level)level), p->name, s.worst,
                          p->absolute ? "" : "ulp", (double)s.at);
            broken += !(s.worst <= p->limit);
        }
    }
    assert_int_equal(broken, 0);
}

static void special_values_come_out_right(void **state)
{
    (void)state;
    static lh_exec exec = {.threads = 1};
    static const struct {
        lh_function function;
        float x, y;
    } cases[] = {
        {LH_EXP, INFINITY, INFINITY},
        {LH_EXP, -INFINITY, 0},
        {LH_EXP, NAN, NAN},
        {LH_EXP, 0, 1},
        {LH_EXP, 89, INFINITY},
        {LH_EXP, -200, 0},
        {LH_LOG, 0, -INFINITY},
        {LH_LOG, 1, 0},
        {LH_LOG, INFINITY, INFINITY},
        {LH_LOG, -1, NAN},
        {LH_LOG, NAN, NAN},
        {LH_TANH, INFINITY, 1},
        {LH_TANH, -INFINITY, -1},
        {LH_TANH, 0, 0},
        {LH_TANH, NAN, NAN},
        {LH_SIGMOID, 0, 0.5f},
        {LH_SIGMOID, INFINITY, 1},
        {LH_SIGMOID, -INFINITY, 0},
        {LH_SIGMOID, NAN, NAN},
        {LH_GELU, NAN, NAN},
        {LH_GELU, INFINITY, INFINITY},
        {LH_GELU, 0, 0},
        {LH_SILU, NAN, NAN},
        {LH_GELU, 100, 100},
        {LH_GELU_TANH, 1e30f, 1e30f},
        {LH_GELU_TANH, -1e10f, 0},
        {LH_RELU, -INFINITY, 0},
        {LH_SQRT, 4, 2},
        {LH_RECIPROCAL, 0, INFINITY},
        {LH_ABS, -INFINITY, INFINITY},
        {LH_NEGATE, 0, 0},
        {LH_SQUARE, -3, 9},
    };
    for (int level = 0; level < LH_CPU_LEVEL_COUNT; level++) {
        const lh_kernel_table *table = lh_kernel_table_get((lh_cpu_level)level);
        for (size_t i = 0; table && i < sizeof cases / sizeof cases[0]; i++) {
            float x[19], y[19];
            for (int e = 0; e < 19; e++) {
                x[e] = cases[i].x;
            }
            lh_unary_args args = {.n = 19, .function = cases[i].function, .x = x, .y = y};
            table->f32[LH_KERNEL_UNARY](&exec, &args);
            for (int e = 0; e < 19; e++) {
                if (!(y[e] == cases[i].y || (isnan(y[e]) && isnan(cases[i].y)))) {
                    fail_msg("%s: function %d of %g is %g, not %g", lh_cpu_level_name((lh_cpu_level)level),
                             (int)cases[i].function, (double)x[e], (double)y[e], (double)cases[i].y);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector_functions_keep_their_promises),
        cmocka_unit_test(special_values_come_out_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
