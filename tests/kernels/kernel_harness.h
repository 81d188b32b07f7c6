/* Proves a kernel's versions against plain C in double precision.
 *
 * A test describes one call as a problem: the argument struct and its arrays ("operands"), with what is in them.
 * The harness then runs the double version of ref/ and every float version, each on fresh copies of the arrays that
 * start at odd addresses and lie between guard zones, and checks: the results, within the kernel's bound below;
 * inputs and guard zones, unchanged; parts of outputs that must not be touched, untouched (they hold what both runs
 * started with); the same bits for any number of threads. */
#ifndef LH_TESTS_KERNEL_HARNESS_H
#define LH_TESTS_KERNEL_HARNESS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "kernels/table.h"

/* |got - wanted| <= absolute * problem.scale + relative * |wanted|, for float versions against double. Arrays hold
 * numbers of size about 1 unless a test says otherwise. */
typedef struct bound {
    double absolute, relative;
} bound;

static const bound bounds[LH_KERNEL_COUNT] = {
    [LH_KERNEL_ADD_SCALED] = {3e-7, 3e-7},
    [LH_KERNEL_UNARY] = {3e-7, 6e-7},
    [LH_KERNEL_UNARY_BACKWARD] = {8e-7, 8e-7},
    [LH_KERNEL_BINARY] = {2e-7, 3e-7},
    [LH_KERNEL_REDUCE] = {1e-6, 1e-6},
    [LH_KERNEL_NORM] = {3e-6, 2e-6},
    [LH_KERNEL_NORM_BACKWARD] = {6e-6, 3e-6},
    [LH_KERNEL_BIAS_ACTIVATION] = {3e-7, 6e-7},
    [LH_KERNEL_BIAS_ACTIVATION_BACKWARD] = {2e-6, 2e-6},
    [LH_KERNEL_GATED] = {4e-7, 8e-7},
    [LH_KERNEL_GATED_BACKWARD] = {1e-6, 1e-6},
    [LH_KERNEL_SOFTMAX] = {1e-7, 2e-6},
    [LH_KERNEL_SOFTMAX_BACKWARD] = {1e-6, 2e-6},
    [LH_KERNEL_CROSS_ENTROPY] = {1e-6, 2e-6},
    [LH_KERNEL_ROPE] = {4e-7, 4e-7},
    [LH_KERNEL_DROPOUT] = {2e-7, 2e-7},
    [LH_KERNEL_GATHER_ROWS] = {1e-7, 1e-7},
    [LH_KERNEL_SCATTER_ADD_ROWS] = {1e-6, 1e-6},
    [LH_KERNEL_FOLD] = {1e-6, 1e-6},
    [LH_KERNEL_POOL] = {3e-7, 3e-7},
    [LH_KERNEL_POOL_BACKWARD] = {1e-6, 1e-6},
    [LH_KERNEL_GROUP_GATHER] = {2e-7, 2e-7},
    [LH_KERNEL_GROUP_SUM] = {1e-6, 1e-6},
    [LH_KERNEL_GEMM] = {1e-6, 1e-6}, /* scale: 1 + k / 4 */
    [LH_KERNEL_NEAREST_CODE] = {1e-6, 2e-6},
    [LH_KERNEL_CODE_MEANS] = {1e-6, 1e-6},
    [LH_KERNEL_CODE_MEANS_BACKWARD] = {4e-7, 4e-7},
    [LH_KERNEL_CODE_SUMS] = {1e-6, 1e-6},
    [LH_KERNEL_SUM_SQUARES] = {1e-12, 1e-12},
    [LH_KERNEL_ADAMW] = {1e-6, 1e-6},
    [LH_KERNEL_SGD] = {5e-7, 5e-7},
    [LH_KERNEL_ADAFACTOR] = {1e-6, 3e-6},
};

typedef enum operand_kind {
    IN,    /* REAL, must not change */
    OUT,   /* REAL, starts as NaN */
    INOUT, /* REAL */
    IN_INT,
    OUT_INT,      /* int32_t, exact; starts as garbage */
    INOUT_INT,    /* int32_t, exact */
    INOUT_DOUBLE, /* double whatever REAL is */
    IN_DOUBLE,
    INOUT_LONG, /* int64_t, exact */
} operand_kind;

typedef struct operand {
    operand_kind kind;
    size_t field; /* where its address goes in the argument struct */
    int64_t count;
    double *values; /* what it starts with */
    int same_as;    /* the operand whose memory this field shares, or -1 */
} operand;

#define MAX_OPERANDS 16

typedef struct problem {
    lh_kernel_id id;
    const char *note;
    void *arguments;
    size_t size;
    double scale;
    int count;
    operand operands[MAX_OPERANDS];
} problem;

static lh_random harness_random;

static inline int64_t pick(int64_t low, int64_t high)
{
    return low + (int64_t)lh_random_below(&harness_random, (uint64_t)(high - low + 1));
}

static inline bool flip(void)
{
    return pick(0, 1) == 1;
}

/* A size that is often on an edge: 0 and 1, one vector and its neighbours, or anything up to `high`. */
static inline int64_t pick_size(int64_t high)
{
    static const int64_t edges[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129};
    int64_t edge = edges[pick(0, (int64_t)(sizeof edges / sizeof edges[0]) - 1)];
    return flip() && edge <= high ? edge : pick(1, high);
}

/* Adds an operand; its values are normal random floats (IN, INOUT), zeros (integers) or NaN (OUT), for the test to
 * change. */
static inline double *operand_add(problem *p, operand_kind kind, size_t field, int64_t count)
{
    operand *o = &p->operands[p->count++];
    *o = (operand){.kind = kind, .field = field, .count = count, .same_as = -1};
    o->values = calloc((size_t)count + 1, sizeof *o->values);
    for (int64_t i = 0; i < count; i++) {
        if (kind == OUT) {
            o->values[i] = (double)NAN;
        } else if (kind == OUT_INT) {
            o->values[i] = -77;
        } else if (kind == IN || kind == INOUT || kind == INOUT_DOUBLE) {
            o->values[i] = (double)(float)lh_random_normal(&harness_random);
        }
    }
    return o->values;
}

/* Makes a second field point to the memory of the operand that was added last. */
static inline void operand_share(problem *p, size_t field)
{
    p->operands[p->count] = (operand){.field = field, .same_as = p->count - 1};
    while (p->operands[p->operands[p->count].same_as].same_as >= 0) {
        p->operands[p->count].same_as--;
    }
    p->count++;
}

static inline problem problem_start(lh_kernel_id id, void *arguments, size_t size, const char *note)
{
    return (problem){.id = id, .arguments = arguments, .size = size, .scale = 1, .note = note};
}

static inline void problem_end(problem *p)
{
    for (int i = 0; i < p->count; i++) {
        free(p->operands[i].values);
    }
}

/* ---- one run ----------------------------------------------------------------------------------- */

#define GUARD 256 /* bytes before and after */

static inline size_t operand_size(operand_kind kind, bool is_double)
{
    switch (kind) {
    case IN_INT:
    case INOUT_INT:
    case OUT_INT: return sizeof(int32_t);
    case INOUT_DOUBLE:
    case IN_DOUBLE: return sizeof(double);
    case INOUT_LONG: return sizeof(int64_t);
    default: return is_double ? sizeof(double) : sizeof(float);
    }
}

static inline void put_value(operand_kind kind, bool is_double, void *at, double value)
{
    switch (kind) {
    case IN_INT:
    case INOUT_INT:
    case OUT_INT: *(int32_t *)at = (int32_t)value; break;
    case INOUT_LONG: *(int64_t *)at = (int64_t)value; break;
    case INOUT_DOUBLE:
    case IN_DOUBLE: *(double *)at = value; break;
    default:
        if (is_double) {
            *(double *)at = value;
        } else {
            *(float *)at = (float)value;
        }
    }
}

static inline double get_value(operand_kind kind, bool is_double, const void *at)
{
    switch (kind) {
    case IN_INT:
    case INOUT_INT:
    case OUT_INT: return *(const int32_t *)at;
    case INOUT_LONG: return (double)*(const int64_t *)at;
    case INOUT_DOUBLE:
    case IN_DOUBLE: return *(const double *)at;
    default: return is_double ? *(const double *)at : (double)*(const float *)at;
    }
}

static inline bool same_value(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

/* Runs one version; results[i] receives operand i afterwards (to be freed). */
static inline void problem_run(const problem *p, lh_kernel kernel, bool is_double, int threads, double **results)
{
    static lh_exec exec;
    unsigned char *base[MAX_OPERANDS] = {0}, *start[MAX_OPERANDS] = {0};
    char *arguments = malloc(p->size);
    memcpy(arguments, p->arguments, p->size);
    for (int i = 0; i < p->count; i++) {
        const operand *o = &p->operands[i];
        if (o->same_as >= 0) {
            start[i] = start[o->same_as];
        } else {
            size_t size = operand_size(o->kind, is_double), bytes = (size_t)o->count * size;
            size_t shift = (size_t)pick(0, 15) * size;
            base[i] = malloc(bytes + 2 * GUARD + 16 * size);
            memset(base[i], 0xA5, bytes + 2 * GUARD + 16 * size);
            start[i] = base[i] + GUARD + shift;
            for (int64_t e = 0; e < o->count; e++) {
                put_value(o->kind, is_double, start[i] + (size_t)e * size, o->values[e]);
            }
        }
        memcpy(arguments + o->field, &start[i], sizeof start[i]);
    }
    exec.threads = threads;
    for (int t = 0; t < threads; t++) { /* kernels may rely on nothing in their scratch memory */
        void *scratch = lh_scratch(&exec, t, 64);
        memset(scratch, 0xFF, exec.scratch[t].bytes);
    }
    kernel(&exec, arguments);
    assert_false(exec.out_of_memory);
    for (int i = 0; i < p->count; i++) {
        const operand *o = &p->operands[i];
        results[i] = NULL;
        if (o->same_as >= 0) {
            continue;
        }
        size_t size = operand_size(o->kind, is_double), bytes = (size_t)o->count * size;
        for (unsigned char *at = base[i]; at < start[i]; at++) {
            assert_int_equal(*at, 0xA5);
        }
        for (unsigned char *at = start[i] + bytes; at < start[i] + bytes + GUARD; at++) {
            assert_int_equal(*at, 0xA5);
        }
        results[i] = malloc(((size_t)o->count + 1) * sizeof *results[i]);
        for (int64_t e = 0; e < o->count; e++) {
            results[i][e] = get_value(o->kind, is_double, start[i] + (size_t)e * size);
            if ((o->kind == IN || o->kind == IN_INT || o->kind == IN_DOUBLE) &&
                !same_value(results[i][e], o->values[e])) {
                fail_msg("%s (%s): input %d changed at element %lld", lh_kernel_name(p->id), p->note, i,
                         (long long)e);
            }
        }
        free(base[i]);
    }
    free(arguments);
}

/* ---- comparison -------------------------------------------------------------------------------- */

static inline void compare_results(const problem *p, const char *version, double **got, double **wanted,
                                   bool exactly)
{
    for (int i = 0; i < p->count; i++) {
        const operand *o = &p->operands[i];
        bool exact = exactly || o->kind == OUT_INT || o->kind == INOUT_INT || o->kind == INOUT_LONG;
        for (int64_t e = 0; o->same_as < 0 && e < o->count; e++) {
            double a = got[i][e], b = wanted[i][e];
            if (same_value(a, b)) {
                continue;
            }
            double limit = bounds[p->id].absolute * p->scale + bounds[p->id].relative * fabs(b);
            if (exact || !(fabs(a - b) <= limit)) {
                fail_msg("%s, %s (%s): operand %d, element %lld of %lld: got %.9g, wanted %.9g, bound %.3g",
                         lh_kernel_name(p->id), version, p->note, i, (long long)e, (long long)o->count, a, b,
                         exact ? 0 : limit);
            }
        }
    }
}

static inline void free_results(const problem *p, double **results)
{
    for (int i = 0; i < p->count; i++) {
        free(results[i]);
    }
}

/* All checks of one problem; `wanted` (one array for each operand) may be NULL: then the double version of ref/ is
 * the measure. Frees the problem's arrays. */
static inline void problem_check_against(problem *p, double **expected)
{
    double *wanted[MAX_OPERANDS], *got[MAX_OPERANDS], *again[MAX_OPERANDS];
    const lh_kernel_table *ref = lh_kernel_table_get(LH_CPU_REF);
    problem_run(p, ref->f64[p->id], true, 1, wanted);
    if (expected) {
        compare_results(p, "ref double", wanted, expected, false);
    }
    problem_run(p, ref->f64[p->id], true, 3, again);
    compare_results(p, "ref double, 3 threads", again, wanted, true);
    free_results(p, again);
    for (int level = 0; level < LH_CPU_LEVEL_COUNT; level++) {
        const lh_kernel_table *table = lh_kernel_table_get((lh_cpu_level)level);
        if (!table || (int)table->origin[p->id] != level) {
            continue;
        }
        problem_run(p, table->f32[p->id], false, 1, got);
        compare_results(p, lh_cpu_level_name((lh_cpu_level)level), got, expected ? expected : wanted, false);
        int threads = (int)pick(2, 3);
        problem_run(p, table->f32[p->id], false, threads, again);
        compare_results(p, "several threads against one", again, got, true);
        free_results(p, got);
        free_results(p, again);
    }
    free_results(p, wanted);
    problem_end(p);
}

static inline void problem_check(problem *p)
{
    problem_check_against(p, NULL);
}

#endif
