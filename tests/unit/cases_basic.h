/* Uses of the shape, elementwise and reduction ops (see gradcheck.h). */
#ifndef LH_TESTS_CASES_BASIC_H
#define LH_TESTS_CASES_BASIC_H

#include "gradcheck.h"

#define CASE_UNUSED __attribute__((unused))

static lh_tensor *run_binary_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_binary(c, (lh_binary_function)gc->n[0], in[0], in[1]);
}

static lh_tensor *run_square_by_product(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)gc;
    (void)second;
    return lh_multiply(c, in[0], in[0]);
}

static lh_tensor *run_ratio_of_one(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)gc;
    (void)second;
    return lh_binary(c, LH_DIVIDE, lh_slice(c, in[0], 0, 0, 1), in[0]);
}

static lh_tensor *run_unary_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_unary(c, (lh_function)gc->n[0], in[0]);
}

static lh_tensor *run_scale_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_scale(c, in[0], gc->r[0]);
}

static lh_tensor *run_dropout_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_dropout(c, in[0], gc->r[0], gc->n[0]);
}

static lh_tensor *run_sum_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    *second = lh_mean(c, in[0]);
    (void)gc;
    return lh_sum(c, in[0]);
}

static lh_tensor *run_sum_dim_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    *second = lh_mean_dim(c, in[0], (int)gc->n[0]);
    return lh_sum_dim(c, in[0], (int)gc->n[0]);
}

static lh_tensor *run_mse_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)gc;
    (void)second;
    return lh_mean_square_error(c, in[0], in[1]);
}

static lh_tensor *run_reshape_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_reshape(c, in[0], (int)gc->n[0], &gc->n[1]);
}

static lh_tensor *run_transpose_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_transpose(c, in[0], (int)gc->n[0], (int)gc->n[1]);
}

static lh_tensor *run_slice_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_slice(c, in[0], (int)gc->n[0], gc->n[1], gc->n[2]);
}

static lh_tensor *run_expand_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_expand(c, in[0], (int)gc->n[0], gc->n[1]);
}

static lh_tensor *run_concat_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_concat(c, gc_count_inputs(gc), in, (int)gc->n[0]);
}

static lh_tensor *run_concat_same(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    lh_tensor *list[3] = {in[0], in[0], lh_scale(c, in[0], 2.0)};
    (void)second;
    return lh_concat(c, 3, list, (int)gc->n[0]);
}

static lh_tensor *run_contiguous_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)gc;
    (void)second;
    return lh_contiguous(c, in[0]);
}

/* A cut-off difference that is zero everywhere: central differences and the tape agree that it adds nothing. */
static lh_tensor *run_detach_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)gc;
    (void)second;
    lh_tensor *zero = lh_subtract(c, lh_detach(c, in[0]), lh_detach(c, in[0]));
    return lh_add(c, lh_multiply(c, in[0], in[0]), zero);
}

/* There and back: a cast to f32 alone would lose the digits that central differences need. */
static lh_tensor *run_cast_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)gc;
    (void)second;
    return lh_cast(c, lh_cast(c, in[0], LH_F64), in[0]->dtype);
}

/* A view of a view of a view, used in two places, one of which comes first on the tape. */
static lh_tensor *run_views_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)gc;
    int64_t rows = in[0]->shape[0], columns = in[0]->shape[1];
    lh_tensor *turned = lh_transpose(c, in[0], 0, 1);                           /* [columns, rows] */
    lh_tensor *part = lh_slice(c, turned, 0, 1, columns - 1);                   /* [columns - 1, rows] */
    lh_tensor *back = lh_slice(c, lh_transpose(c, part, 0, 1), 0, 0, rows - 1); /* [rows - 1, columns - 1] */
    lh_tensor *flat = lh_reshape(c, back, 1, (int64_t[]){-1});                  /* a copy: not contiguous */
    lh_tensor *again = lh_reshape(c, lh_slice(c, flat, 0, 2, 4), 2, (int64_t[]){2, 2}); /* a view of that */
    *second = lh_multiply(c, again, lh_transpose(c, again, 0, 1));
    return lh_multiply(c, lh_unary(c, LH_SQUARE, part), lh_slice(c, turned, 0, 0, columns - 1));
}

/* The sum lies in a permuted order; views of an op's permuted result. */
static lh_tensor *run_permuted_views_case(lh_context *c, lh_tensor *const *in, const gc_case *gc,
                                          lh_tensor **second)
{
    (void)gc;
    lh_tensor *turned = lh_transpose(c, in[0], 0, 1);
    lh_tensor *square = lh_transpose(c, lh_unary(c, LH_SQUARE, turned), 0, 1);
    lh_tensor *left = lh_slice(c, square, 1, 0, 2), *right = lh_slice(c, square, 1, 1, 2);
    *second = lh_unary(c, LH_TANH, lh_slice(c, left, 0, 1, 1));
    return lh_multiply(c, left, right);
}

CASE_UNUSED static const gc_case basic_cases[] = {
    {.name = "add", .function = run_binary_case, .in = {GC_IN(3, 4), GC_IN(3, 4)}, .n = {LH_ADD}},
    {.name = "add, row broadcast", .function = run_binary_case, .in = {GC_IN(2, 3, 4), GC_IN(4)}, .n = {LH_ADD}},
    {.name = "add, outer broadcast",
     .function = run_binary_case,
     .in = {GC_IN(2, 1, 4), GC_IN(3, 1)},
     .n = {LH_ADD}},
    {.name = "subtract", .function = run_binary_case, .in = {GC_IN(3, 4), GC_IN(1, 4)}, .n = {LH_SUBTRACT}},
    {.name = "multiply", .function = run_binary_case, .in = {GC_IN(3, 4), GC_IN(3, 4)}, .n = {LH_MULTIPLY}},
    {.name = "multiply, both broadcast",
     .function = run_binary_case,
     .in = {GC_IN(3, 1, 2), GC_IN(1, 4, 2)},
     .n = {LH_MULTIPLY}},
    {.name = "multiply, five dimensions",
     .function = run_binary_case,
     .in = {GC_IN(2, 1, 2, 1, 3), GC_IN(2, 2, 2, 1)},
     .n = {LH_MULTIPLY}},
    {.name = "multiply by itself", .function = run_square_by_product, .in = {GC_IN(3, 4)}},
    {.name = "divide", .function = run_binary_case, .in = {GC_IN(3, 4), GC_ABOVE(3, 4)}, .n = {LH_DIVIDE}},
    {.name = "divide, broadcast",
     .function = run_binary_case,
     .in = {GC_IN(3, 4), GC_ABOVE(3, 1)},
     .n = {LH_DIVIDE}},
    {.name = "divide a slice by the whole", .function = run_ratio_of_one, .in = {GC_ABOVE(3, 2)}},
    {.name = "binary, empty", .function = run_binary_case, .in = {GC_IN(0, 4), GC_IN(1, 4)}, .n = {LH_MULTIPLY}},
    {.name = "identity", .function = run_unary_case, .in = {GC_IN(3, 5)}, .n = {LH_IDENTITY}},
    {.name = "relu", .function = run_unary_case, .in = {GC_IN(3, 5)}, .n = {LH_RELU}},
    {.name = "relu squared", .function = run_unary_case, .in = {GC_IN(3, 5)}, .n = {LH_RELU_SQUARED}},
    {.name = "gelu", .function = run_unary_case, .in = {GC_IN(3, 5)}, .n = {LH_GELU}},
    {.name = "gelu tanh", .function = run_unary_case, .in = {GC_IN(3, 5)}, .n = {LH_GELU_TANH}},
    {.name = "silu", .function = run_unary_case, .in = {GC_IN(3, 5)}, .n = {LH_SILU}},
    {.name = "sigmoid", .function = run_unary_case, .in = {GC_IN(3, 5)}, .n = {LH_SIGMOID}},
    {.name = "tanh", .function = run_unary_case, .in = {GC_IN(3, 5)}, .n = {LH_TANH}},
    {.name = "exp", .function = run_unary_case, .in = {GC_IN(3, 5)}, .n = {LH_EXP}},
    {.name = "log", .function = run_unary_case, .in = {GC_ABOVE(3, 5)}, .n = {LH_LOG}},
    {.name = "square", .function = run_unary_case, .in = {GC_IN(3, 5)}, .n = {LH_SQUARE}},
    {.name = "sqrt", .function = run_unary_case, .in = {GC_ABOVE(3, 5)}, .n = {LH_SQRT}},
    {.name = "abs", .function = run_unary_case, .in = {GC_IN(3, 5)}, .n = {LH_ABS}},
    {.name = "negate", .function = run_unary_case, .in = {GC_IN(3, 5)}, .n = {LH_NEGATE}},
    {.name = "reciprocal", .function = run_unary_case, .in = {GC_ABOVE(3, 5)}, .n = {LH_RECIPROCAL}},
    {.name = "unary, empty", .function = run_unary_case, .in = {GC_IN(2, 0, 3)}, .n = {LH_GELU}},
    {.name = "scale", .function = run_scale_case, .in = {GC_IN(2, 3, 2)}, .r = {-2.5}},
    {.name = "scale, empty", .function = run_scale_case, .in = {GC_IN(0)}, .r = {3.0}},
    {.name = "dropout", .function = run_dropout_case, .in = {GC_IN(7, 9)}, .n = {1}, .r = {0.4}, .training = true},
    {.name = "dropout of whole rows",
     .function = run_dropout_case,
     .in = {GC_IN(12, 4)},
     .n = {4},
     .r = {0.4},
     .training = true},
    {.name = "dropout, empty",
     .function = run_dropout_case,
     .in = {GC_IN(0, 4)},
     .n = {1},
     .r = {0.4},
     .training = true},
    {.name = "dropout, not training", .function = run_dropout_case, .in = {GC_IN(3, 4)}, .n = {1}, .r = {0.4}},
    {.name = "sum and mean", .function = run_sum_case, .in = {GC_IN(2, 3, 4)}},
    {.name = "sum and mean, empty", .function = run_sum_case, .in = {GC_IN(3, 0)}},
    {.name = "sum over the first", .function = run_sum_dim_case, .in = {GC_IN(4, 3, 2)}},
    {.name = "sum over the middle", .function = run_sum_dim_case, .in = {GC_IN(2, 4, 3)}, .n = {1}},
    {.name = "sum over the last", .function = run_sum_dim_case, .in = {GC_IN(2, 3, 4)}, .n = {2}},
    {.name = "sum over the only one", .function = run_sum_dim_case, .in = {GC_IN(4)}},
    {.name = "sum over an empty one", .function = run_sum_dim_case, .in = {GC_IN(2, 0, 3)}, .n = {1}},
    {.name = "sum beside an empty one", .function = run_sum_dim_case, .in = {GC_IN(2, 0, 3)}, .n = {2}},
    {.name = "mean square error", .function = run_mse_case, .in = {GC_IN(3, 4), GC_IN(3, 4)}},
    {.name = "mean square error, empty", .function = run_mse_case, .in = {GC_IN(3, 0), GC_IN(3, 0)}},
    {.name = "reshape", .function = run_reshape_case, .in = {GC_IN(2, 3, 4)}, .n = {2, 6, -1}},
    {.name = "reshape, empty", .function = run_reshape_case, .in = {GC_IN(2, 0, 4)}, .n = {2, 0, 7}},
    {.name = "transpose", .function = run_transpose_case, .in = {GC_IN(2, 3, 4)}, .n = {0, 2}},
    {.name = "transpose, empty", .function = run_transpose_case, .in = {GC_IN(2, 0, 4)}, .n = {1, 2}},
    {.name = "slice", .function = run_slice_case, .in = {GC_IN(2, 5, 3)}, .n = {1, 1, 3}},
    {.name = "slice of nothing", .function = run_slice_case, .in = {GC_IN(3, 4)}, .n = {1, 4, 0}},
    {.name = "expand", .function = run_expand_case, .in = {GC_IN(2, 1, 3)}, .n = {1, 4}},
    {.name = "expand the first", .function = run_expand_case, .in = {GC_IN(1, 3)}, .n = {0, 5}},
    {.name = "expand to nothing", .function = run_expand_case, .in = {GC_IN(1, 3)}, .n = {0, 0}},
    {.name = "concat", .function = run_concat_case, .in = {GC_IN(2, 3), GC_IN(4, 3), GC_IN(1, 3)}},
    {.name = "concat the last", .function = run_concat_case, .in = {GC_IN(2, 2, 3), GC_IN(2, 2, 1)}, .n = {2}},
    {.name = "concat with nothing", .function = run_concat_case, .in = {GC_IN(2, 3), GC_IN(2, 0)}, .n = {1}},
    {.name = "concat one with itself", .function = run_concat_same, .in = {GC_IN(2, 3)}, .n = {1}},
    {.name = "contiguous", .function = run_contiguous_case, .in = {GC_IN(3, 4)}},
    {.name = "cast", .function = run_cast_case, .in = {GC_IN(3, 4)}},
    {.name = "views of views", .function = run_views_case, .in = {GC_IN(5, 4)}},
    {.name = "views of a permuted result", .function = run_permuted_views_case, .in = {GC_IN(3, 3)}},
    {.name = "detach", .function = run_detach_case, .in = {GC_IN(3, 2)}},
};

#endif
