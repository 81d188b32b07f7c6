/* Checks of an op's gradients in double precision, and the table entries ("cases") that describe one use of an op.
 *
 * A case is run with inputs laid out in several ways: contiguous, as transposed views, as slices out of something
 * bigger whose other elements are NaN, as slices of transposed views. In each layout the gradients of
 * sum(projection * output) must agree with central differences, twice the gradients must arrive if the op is used
 * twice, each input must get the same gradient when it is the only one that wants one, and the same when the op
 * runs inside a recomputed span. */
#ifndef LH_TESTS_GRADCHECK_H
#define LH_TESTS_GRADCHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "ops/ops.h"

enum { GC_INPUTS = 8, GC_OUTPUTS = 2 };

typedef enum gc_domain {
    GC_ANY,      /* normal */
    GC_POSITIVE, /* 0.5 + |normal| */
    GC_CONSTANT, /* normal, wants no gradient */
} gc_domain;

typedef struct gc_input {
    int ndim;
    int64_t shape[LH_MAX_DIMS];
    gc_domain domain;
} gc_input;

#define GC_SHAPE(...) .ndim = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .shape = {__VA_ARGS__}
#define GC_IN(...)            \
    {                         \
        GC_SHAPE(__VA_ARGS__) \
    }
#define GC_ABOVE(...)                                \
    {                                                \
        GC_SHAPE(__VA_ARGS__), .domain = GC_POSITIVE \
    }
#define GC_FIXED(...)                                \
    {                                                \
        GC_SHAPE(__VA_ARGS__), .domain = GC_CONSTANT \
    }

typedef struct gc_case gc_case;
/* Runs the op on its inputs; *second receives a second differentiable output, if there is one. */
typedef lh_tensor *(*gc_function)(lh_context *context, lh_tensor *const *in, const gc_case *gc, lh_tensor **second);

struct gc_case {
    const char *name;
    gc_function function;
    gc_input in[GC_INPUTS]; /* up to the first with no dimensions */
    int64_t n[8];           /* the function's own options */
    double r[4];
    bool training; /* dropout is on */
};

typedef enum gc_layout { GC_PLAIN, GC_TRANSPOSED, GC_SLICED, GC_SLICED_TRANSPOSED, GC_LAYOUTS } gc_layout;

static const char *const gc_layout_names[GC_LAYOUTS] = {"contiguous", "transposed", "sliced", "sliced transposed"};

__attribute__((unused)) static lh_context *gc_context(const lh_backend *backend, int threads)
{
    lh_context *context = NULL;
    lh_error error = {0};
    if (lh_context_create(&context, backend, threads, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    context->recording = true;
    context->seed = 42;
    return context;
}

static int gc_count_inputs(const gc_case *gc)
{
    int count = 0;
    while (count < GC_INPUTS && gc->in[count].ndim > 0) {
        count++;
    }
    return count;
}

static int64_t gc_elements(int ndim, const int64_t *shape)
{
    int64_t n = 1;
    for (int i = 0; i < ndim; i++) {
        n *= shape[i];
    }
    return n;
}

/* The inputs of one case: logical values, and leaves laid out so that views of them have those values. */
typedef struct gc_leaves {
    const gc_case *gc;
    gc_layout layout;
    lh_dtype dtype;
    int count;
    lh_tensor *leaf[GC_INPUTS];
    double *value[GC_INPUTS];  /* logical, row-major */
    int64_t *place[GC_INPUTS]; /* logical index -> index in the leaf */
    int64_t n[GC_INPUTS], leaf_n[GC_INPUTS];
    double *host; /* as large as the largest leaf */
} gc_leaves;

/* How an input of `ndim` dimensions is laid out: which two dimensions are exchanged, where slices start. */
typedef struct gc_plan {
    int a, b;                                        /* exchanged if different */
    int64_t before[LH_MAX_DIMS], after[LH_MAX_DIMS]; /* elements cut off */
} gc_plan;

static gc_plan gc_plan_of(const gc_input *in, gc_layout layout)
{
    gc_plan plan = {0};
    if ((layout == GC_TRANSPOSED || layout == GC_SLICED_TRANSPOSED) && in->ndim >= 2) {
        plan.a = in->ndim - 2;
        plan.b = in->ndim - 1;
    }
    if (layout == GC_SLICED || layout == GC_SLICED_TRANSPOSED || (layout == GC_TRANSPOSED && in->ndim == 1)) {
        plan.before[0] = 1;
        plan.before[in->ndim - 1] = 1;
        plan.after[in->ndim - 1] += 2;
    }
    return plan;
}

static void gc_leaves_create(gc_leaves *leaves, const gc_case *gc, gc_layout layout, lh_dtype dtype,
                             const lh_backend *backend)
{
    *leaves = (gc_leaves){.gc = gc, .layout = layout, .dtype = dtype, .count = gc_count_inputs(gc)};
    int64_t largest = 1;
    for (int i = 0; i < leaves->count; i++) {
        const gc_input *in = &gc->in[i];
        lh_random random = lh_random_create(1000, (uint64_t)i);
        gc_plan plan = gc_plan_of(in, layout);
        int64_t shape[LH_MAX_DIMS], whole[LH_MAX_DIMS], n = gc_elements(in->ndim, in->shape);
        for (int d = 0; d < in->ndim; d++) {
            whole[d] = in->shape[d] + plan.before[d] + plan.after[d];
            shape[d] = whole[d];
        }
        shape[plan.a] = whole[plan.b];
        shape[plan.b] = whole[plan.a];
        lh_error error = {0};
        if (lh_tensor_create(&leaves->leaf[i], backend, dtype, in->ndim, shape, "leaf", &error) != LH_OK) {
            fail_msg("%s", error.message);
        }
        if (in->domain != GC_CONSTANT) {
            assert_int_equal(lh_tensor_create_grad(leaves->leaf[i], &error), LH_OK);
        }
        leaves->n[i] = n;
        leaves->leaf_n[i] = gc_elements(in->ndim, shape);
        largest = leaves->leaf_n[i] > largest ? leaves->leaf_n[i] : largest;
        leaves->value[i] = calloc((size_t)n + 1, sizeof(double));
        leaves->place[i] = calloc((size_t)n + 1, sizeof(int64_t));
        for (int64_t e = 0; e < n; e++) {
            double normal = lh_random_normal(&random);
            normal = dtype == LH_F32 ? (double)(float)normal : normal;
            leaves->value[i][e] = in->domain == GC_POSITIVE ? 0.5 + fabs(normal) : normal;
            int64_t index[LH_MAX_DIMS] = {0}, rest = e, place = 0;
            for (int d = in->ndim - 1; d >= 0; d--) {
                index[d] = rest % in->shape[d] + plan.before[d];
                rest /= in->shape[d];
            }
            int64_t kept = index[plan.a];
            index[plan.a] = index[plan.b];
            index[plan.b] = kept;
            for (int d = 0; d < in->ndim; d++) {
                place = place * shape[d] + index[d];
            }
            leaves->place[i][e] = place;
        }
    }
    leaves->host = calloc((size_t)largest, sizeof(double));
}

static void gc_leaves_free(gc_leaves *leaves)
{
    for (int i = 0; i < leaves->count; i++) {
        lh_tensor_free(leaves->leaf[i]);
        free(leaves->value[i]);
        free(leaves->place[i]);
    }
    free(leaves->host);
}

/* Puts the logical values of input i into its leaf (NaN everywhere else) and clears its gradient. */
static void gc_upload(gc_leaves *leaves, int i)
{
    lh_error error = {0};
    float *narrow = (float *)(void *)leaves->host;
    for (int64_t e = 0; e < leaves->leaf_n[i]; e++) {
        if (leaves->dtype == LH_F64) {
            leaves->host[e] = (double)NAN;
        } else {
            narrow[e] = NAN;
        }
    }
    for (int64_t e = 0; e < leaves->n[i]; e++) {
        if (leaves->dtype == LH_F64) {
            leaves->host[leaves->place[i][e]] = leaves->value[i][e];
        } else {
            narrow[leaves->place[i][e]] = (float)leaves->value[i][e];
        }
    }
    assert_int_equal(lh_tensor_write(leaves->leaf[i], leaves->host, &error), LH_OK);
    if (leaves->leaf[i]->grad) {
        memset(leaves->host, 0, (size_t)leaves->leaf_n[i] * sizeof(double));
        assert_int_equal(lh_tensor_write(leaves->leaf[i]->grad, leaves->host, &error), LH_OK);
    }
}

/* The input as the op sees it. */
static lh_tensor *gc_view(lh_context *context, const gc_leaves *leaves, int i)
{
    const gc_input *in = &leaves->gc->in[i];
    gc_plan plan = gc_plan_of(in, leaves->layout);
    lh_tensor *view = leaves->leaf[i];
    if (plan.a != plan.b) {
        view = lh_transpose(context, view, plan.a, plan.b);
    }
    for (int d = 0; d < in->ndim; d++) {
        if (plan.before[d] || plan.after[d]) {
            view = lh_slice(context, view, d, plan.before[d], in->shape[d]);
        }
    }
    return view;
}

static double gc_projection(int output, int64_t element)
{
    lh_random random = lh_random_create(77 + (uint64_t)output, (uint64_t)element);
    return lh_random_normal(&random);
}

typedef struct gc_span {
    const gc_leaves *leaves;
    bool second;
} gc_span;

static void gc_run_span(lh_context *context, void *user, lh_tensor *const *in, lh_tensor **out)
{
    const gc_span *span = user;
    lh_tensor *second = NULL;
    out[0] = span->leaves->gc->function(context, in, span->leaves->gc, &second);
    if (span->second) {
        out[1] = second;
    }
}

/* Runs the case once in a context: its outputs. */
static void gc_forward(lh_context *context, const gc_leaves *leaves, bool recomputed, lh_tensor **out)
{
    lh_tensor *in[GC_INPUTS] = {NULL};
    for (int i = 0; i < leaves->count; i++) {
        in[i] = gc_view(context, leaves, i);
    }
    context->random_offset = 5;
    context->training = leaves->gc->training;
    out[0] = out[1] = NULL;
    if (recomputed) {
        gc_span plain = {.leaves = leaves};
        lh_tensor *second = NULL;
        bool recording = context->recording; /* is there a second output? */
        context->recording = false;
        (void)leaves->gc->function(context, in, leaves->gc, &second);
        context->recording = recording;
        context->random_offset = 5;
        plain.second = second != NULL;
        gc_span *user = lh_arena_alloc(&context->arena, sizeof *user);
        *user = plain;
        lh_recompute(context, gc_run_span, user, leaves->count, in, plain.second ? 2 : 1, out);
    } else {
        out[0] = leaves->gc->function(context, in, leaves->gc, &out[1]);
    }
}

static void gc_require_ok(const lh_context *context, const gc_case *gc, const char *where)
{
    lh_error error = {0};
    if (lh_context_status(context, &error) != LH_OK) {
        fail_msg("%s (%s): %s", gc->name, where, error.message);
    }
}

/* sum(projection * outputs), on the host. */
static double gc_value(lh_context *context, gc_leaves *leaves)
{
    lh_tensor *out[GC_OUTPUTS];
    lh_context_reset(context);
    gc_forward(context, leaves, false, out);
    gc_require_ok(context, leaves->gc, "forward");
    double total = 0;
    for (int o = 0; o < GC_OUTPUTS; o++) {
        if (!out[o]) {
            continue;
        }
        int64_t n = lh_tensor_count(out[o]);
        double *y = malloc(sizeof *y * (size_t)(n + 1));
        lh_to_host(context, out[o], y);
        for (int64_t e = 0; e < n; e++) {
            total += gc_projection(o, e) * y[e];
        }
        free(y);
    }
    return total;
}

/* The same as one tensor on the tape. */
static lh_tensor *gc_loss(lh_context *context, const gc_leaves *leaves, lh_tensor *const *out)
{
    lh_tensor *total = NULL;
    for (int o = 0; o < GC_OUTPUTS; o++) {
        if (!out[o]) {
            continue;
        }
        int64_t n = lh_tensor_count(out[o]);
        double *wide = malloc(sizeof *wide * (size_t)(n + 1));
        float *narrow = malloc(sizeof *narrow * (size_t)(n + 1));
        for (int64_t e = 0; e < n; e++) {
            wide[e] = gc_projection(o, e);
            narrow[e] = (float)wide[e];
        }
        const void *host = leaves->dtype == LH_F64 ? (const void *)wide : (const void *)narrow;
        lh_tensor *weights = lh_from_host(context, leaves->dtype, out[o]->ndim, out[o]->shape, host);
        lh_tensor *part = lh_sum(context, lh_multiply(context, out[o], weights));
        total = total ? lh_add(context, total, part) : part;
        free(wide);
        free(narrow);
    }
    return total;
}

/* Gradients of all inputs by the tape, logical order, into gradient[i]; checks that nothing flowed elsewhere. */
static void gc_backward(lh_context *context, gc_leaves *leaves, int times, bool recomputed, double **gradient)
{
    lh_tensor *out[GC_OUTPUTS], *total = NULL;
    lh_context_reset(context);
    for (int i = 0; i < leaves->count; i++) {
        gc_upload(leaves, i);
    }
    for (int t = 0; t < times; t++) {
        gc_forward(context, leaves, recomputed, out);
        gc_require_ok(context, leaves->gc, "forward");
        lh_tensor *loss = gc_loss(context, leaves, out);
        total = total ? lh_add(context, total, loss) : loss;
    }
    lh_backward(context, total, 1.0);
    gc_require_ok(context, leaves->gc, "backward");
    for (int i = 0; i < leaves->count; i++) {
        lh_error error = {0};
        if (!leaves->leaf[i]->grad) {
            continue;
        }
        assert_int_equal(lh_tensor_read(leaves->leaf[i]->grad, leaves->host, &error), LH_OK);
        const float *narrow = (const float *)(const void *)leaves->host;
        double all = 0, seen = 0;
        for (int64_t e = 0; e < leaves->leaf_n[i]; e++) {
            all += leaves->dtype == LH_F64 ? leaves->host[e] != 0 : narrow[e] != 0;
        }
        for (int64_t e = 0; e < leaves->n[i]; e++) {
            int64_t place = leaves->place[i][e];
            gradient[i][e] = leaves->dtype == LH_F64 ? leaves->host[place] : (double)narrow[place];
            seen += gradient[i][e] != 0;
        }
        if (all != seen) {
            fail_msg("%s, %s inputs: a gradient flowed into elements that input %d does not show", leaves->gc->name,
                     gc_layout_names[leaves->layout], i);
        }
    }
    lh_context_reset(context);
    if (lh_pool_in_use(context->pool) != 0) {
        fail_msg("%s: %zu bytes are still in use after a reset", leaves->gc->name, lh_pool_in_use(context->pool));
    }
}

/* Relative to the larger of the two values and the root mean square of the whole gradient. */
static void gc_compare(const gc_leaves *leaves, const char *what, int i, const double *got, const double *want,
                       double factor, double tolerance)
{
    double square = 0;
    for (int64_t e = 0; e < leaves->n[i]; e++) {
        square += want[e] * want[e] * factor * factor;
    }
    double scale = leaves->n[i] ? sqrt(square / (double)leaves->n[i]) : 0;
    for (int64_t e = 0; e < leaves->n[i]; e++) {
        double expected = factor * want[e];
        double size = fmax(fmax(fabs(got[e]), fabs(expected)), scale) + 1e-3;
        if (!(fabs(got[e] - expected) <= tolerance * size)) {
            fail_msg("%s, %s inputs, %s: gradient of input %d at %lld is %.12g, expected %.12g", leaves->gc->name,
                     gc_layout_names[leaves->layout], what, i, (long long)e, got[e], expected);
        }
    }
}

/* Central differences of the contiguous case. */
static void gc_numeric(lh_context *context, gc_leaves *leaves, double **gradient)
{
    const double step = 1e-5;
    for (int i = 0; i < leaves->count; i++) {
        gc_upload(leaves, i);
    }
    for (int i = 0; i < leaves->count; i++) {
        for (int64_t e = 0; e < leaves->n[i] && leaves->leaf[i]->grad; e++) {
            double kept = leaves->value[i][e];
            leaves->value[i][e] = kept + step;
            gc_upload(leaves, i);
            double above = gc_value(context, leaves);
            leaves->value[i][e] = kept - step;
            gc_upload(leaves, i);
            double below = gc_value(context, leaves);
            leaves->value[i][e] = kept;
            gradient[i][e] = (above - below) / (2 * step);
        }
        gc_upload(leaves, i);
    }
}

__attribute__((unused)) static void gc_check(const gc_case *gc)
{
    lh_context *context = gc_context(lh_backend_cpu(), 1); /* thousands of tiny runs */
    double *numeric[GC_INPUTS] = {NULL}, *tape[GC_INPUTS] = {NULL};
    int count = gc_count_inputs(gc);
    for (int i = 0; i < count; i++) {
        size_t n = (size_t)gc_elements(gc->in[i].ndim, gc->in[i].shape) + 1;
        numeric[i] = calloc(n, sizeof(double));
        tape[i] = calloc(n, sizeof(double));
    }
    for (int layout = 0; layout < GC_LAYOUTS; layout++) {
        gc_leaves leaves;
        gc_leaves_create(&leaves, gc, (gc_layout)layout, LH_F64, lh_backend_cpu());
        if (layout == GC_PLAIN) {
            gc_numeric(context, &leaves, numeric);
        }
        for (int run = 0; run < 3; run++) {
            static const char *const names[] = {"once", "used twice", "recomputed"};
            context->exec.threads = layout == GC_PLAIN && run == 0 ? 2 : 1;
            gc_backward(context, &leaves, run == 1 ? 2 : 1, run == 2, tape);
            for (int i = 0; i < count; i++) {
                if (leaves.leaf[i]->grad) {
                    gc_compare(&leaves, names[run], i, tape[i], numeric[i], run == 1 ? 2.0 : 1.0, 1e-6);
                }
            }
        }
        for (int only = 0; only < count; only++) {
            for (int i = 0; i < count; i++) {
                leaves.leaf[i]->requires_grad = i == only && leaves.leaf[i]->grad;
            }
            gc_backward(context, &leaves, 1, false, tape);
            for (int i = 0; i < count; i++) {
                if (leaves.leaf[i]->grad) {
                    gc_compare(&leaves, "alone", i, tape[i], numeric[i], i == only ? 1.0 : 0.0, 1e-6);
                }
            }
        }
        gc_leaves_free(&leaves);
    }
    for (int i = 0; i < count; i++) {
        free(numeric[i]);
        free(tape[i]);
    }
    lh_context_free(context);
}

__attribute__((unused)) static void gc_check_all(const gc_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        gc_check(&cases[i]);
    }
}

/* ---- helpers for tests of values and errors ---------------------------------------------------------------------
 */

/* A constant of doubles. */
__attribute__((unused)) static lh_tensor *gc_tensor(lh_context *context, int ndim, const int64_t *shape,
                                                    const double *values)
{
    return lh_from_host(context, LH_F64, ndim, shape, values);
}

/* A constant of normal random numbers; the stream names it. */
__attribute__((unused)) static lh_tensor *gc_random_tensor(lh_context *context, lh_dtype dtype, int ndim,
                                                           const int64_t *shape, uint64_t stream)
{
    int64_t n = gc_elements(ndim, shape);
    double *wide = malloc(sizeof *wide * (size_t)(n + 1));
    float *narrow = malloc(sizeof *narrow * (size_t)(n + 1));
    lh_random random = lh_random_create(9, stream);
    for (int64_t i = 0; i < n; i++) {
        wide[i] = lh_random_normal(&random);
        narrow[i] = (float)wide[i];
    }
    lh_tensor *tensor =
        lh_from_host(context, dtype, ndim, shape, dtype == LH_F64 ? (const void *)wide : (const void *)narrow);
    free(wide);
    free(narrow);
    return tensor;
}

__attribute__((unused)) static lh_tensor *gc_ids(lh_context *context, int ndim, const int64_t *shape,
                                                 const int32_t *values)
{
    return lh_from_host(context, LH_I32, ndim, shape, values);
}

/* All elements of a tensor; free() them. */
__attribute__((unused)) static double *gc_read(lh_context *context, const lh_tensor *tensor)
{
    lh_error error = {0};
    if (lh_context_status(context, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    double *values = calloc((size_t)lh_tensor_count(tensor) + 1, sizeof *values);
    lh_to_host(context, tensor, values);
    return values;
}

__attribute__((unused)) static void gc_expect(lh_context *context, const lh_tensor *tensor, const double *want,
                                              int64_t count, double tolerance)
{
    double *got = gc_read(context, tensor);
    assert_int_equal(lh_tensor_count(tensor), count);
    for (int64_t i = 0; i < count; i++) {
        bool same = got[i] == want[i] || fabs(got[i] - want[i]) <= tolerance * (1 + fabs(want[i]));
        if (!same) {
            fail_msg("element %lld is %.12g, expected %.12g", (long long)i, got[i], want[i]);
        }
    }
    free(got);
}

__attribute__((unused)) static void gc_expect_shape(const lh_tensor *tensor, int ndim, const int64_t *shape)
{
    assert_non_null(tensor);
    assert_int_equal(tensor->ndim, ndim);
    for (int d = 0; d < ndim; d++) {
        assert_int_equal(tensor->shape[d], shape[d]);
    }
}

/* The last op must have failed: NULL, the status, and every one of the words (a NULL ends them) in the message.
 * Then the context starts anew. */
__attribute__((unused)) static void gc_expect_failure(lh_context *context, const lh_tensor *result,
                                                      lh_status status, ...)
{
    lh_error error = {0};
    assert_null(result);
    assert_int_equal(lh_context_status(context, &error), status);
    va_list words;
    va_start(words, status);
    for (const char *word; (word = va_arg(words, const char *)) != NULL;) {
        if (!strstr(error.message, word)) {
            fail_msg("no \"%s\" in \"%s\"", word, error.message);
        }
    }
    va_end(words);
    lh_context_reset(context);
}

#endif
