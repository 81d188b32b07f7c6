/* Shape, elementwise and reduction ops: gradients and values. */
#include "cases_basic.h"

static void gradients(void **state)
{
    (void)state;
    gc_check_all(basic_cases, sizeof basic_cases / sizeof *basic_cases);
}

static void binary_values(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    double a[6], b[3], want[6];
    for (int i = 0; i < 6; i++) {
        a[i] = 0.5 * i - 1.2;
    }
    for (int i = 0; i < 3; i++) {
        b[i] = 0.7 * i - 0.4;
    }
    for (int f = LH_ADD; f <= LH_MINIMUM; f++) {
        lh_tensor *y = lh_binary(c, (lh_binary_function)f, gc_tensor(c, 2, (int64_t[]){2, 3}, a),
                                 gc_tensor(c, 1, (int64_t[]){3}, b));
        for (int i = 0; i < 6; i++) {
            double u = a[i], v = b[i % 3];
            want[i] = f == LH_ADD        ? u + v
                      : f == LH_SUBTRACT ? u - v
                      : f == LH_MULTIPLY ? u * v
                      : f == LH_DIVIDE   ? u / v
                      : f == LH_MAXIMUM  ? fmax(u, v)
                                         : fmin(u, v);
        }
        gc_expect_shape(y, 2, (int64_t[]){2, 3});
        gc_expect(c, y, want, 6, 1e-15);
    }
    /* both sides repeat: [3, 1] and [2] */
    lh_tensor *outer = lh_subtract(c, gc_tensor(c, 2, (int64_t[]){3, 1}, b), gc_tensor(c, 1, (int64_t[]){2}, a));
    for (int i = 0; i < 6; i++) {
        want[i] = b[i / 2] - a[i % 2];
    }
    gc_expect_shape(outer, 2, (int64_t[]){3, 2});
    gc_expect(c, outer, want, 6, 1e-15);
    lh_context_free(c);
}

static double formula(lh_function function, double x)
{
    double sigmoid = 1 / (1 + exp(-x)), root = sqrt(2 / acos(-1.0));
    switch (function) {
    case LH_IDENTITY: return x;
    case LH_RELU: return x > 0 ? x : 0;
    case LH_RELU_SQUARED: return x > 0 ? x * x : 0;
    case LH_GELU: return 0.5 * x * erfc(-x / sqrt(2.0));
    case LH_GELU_TANH: return 0.5 * x * (1 + tanh(root * (x + 0.044715 * x * x * x)));
    case LH_SILU: return x * sigmoid;
    case LH_SIGMOID: return sigmoid;
    case LH_TANH: return tanh(x);
    case LH_EXP: return exp(x);
    case LH_LOG: return log(x);
    case LH_SQUARE: return x * x;
    case LH_SQRT: return sqrt(x);
    case LH_ABS: return fabs(x);
    case LH_NEGATE: return -x;
    default: return 1 / x;
    }
}

static void unary_values(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    for (int f = 0; f < LH_FUNCTION_COUNT; f++) {
        double x[40], want[40];
        for (int i = 0; i < 40; i++) {
            bool positive = f == LH_LOG || f == LH_SQRT || f == LH_RECIPROCAL;
            x[i] = positive ? 0.1 + 0.3 * i : 0.4 * i - 8.1;
            want[i] = formula((lh_function)f, x[i]);
        }
        gc_expect(c, lh_unary(c, (lh_function)f, gc_tensor(c, 2, (int64_t[]){4, 10}, x)), want, 40, 1e-14);
        gc_expect(c, lh_bias_activation(c, gc_tensor(c, 2, (int64_t[]){4, 10}, x), NULL, (lh_function)f), want, 40,
                  1e-14);
    }
    lh_context_free(c);
}

static void dropout_values(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    enum { N = 20000 };
    static double ones[N];
    for (int i = 0; i < N; i++) {
        ones[i] = 1;
    }
    int64_t n = N;
    lh_tensor *x = gc_tensor(c, 1, &n, ones);
    assert_ptr_equal(lh_dropout(c, x, 0.3, 1), x); /* not training */
    c->training = true;
    assert_ptr_equal(lh_dropout(c, x, 0.0, 1), x);
    double *first = gc_read(c, lh_dropout(c, x, 0.3, 1)), *second = gc_read(c, lh_dropout(c, x, 0.3, 1));
    int kept = 0, same = 0;
    for (int i = 0; i < N; i++) {
        assert_true(first[i] == 0 || fabs(first[i] - 1 / 0.7) < 1e-12);
        kept += first[i] != 0;
        same += (first[i] != 0) == (second[i] != 0);
    }
    /* five standard deviations of a binomial */
    assert_true(fabs(kept - 0.7 * N) < 5 * sqrt(N * 0.7 * 0.3));
    assert_true(fabs(same - 0.58 * N) < 5 * sqrt(N * 0.58 * 0.42));
    free(first);
    free(second);
    double *rows = gc_read(c, lh_dropout(c, x, 0.5, 10));
    for (int i = 0; i < N; i++) {
        assert_true(rows[i] == rows[i / 10 * 10]);
    }
    free(rows);
    uint64_t offset = c->random_offset;
    double *again = gc_read(c, lh_dropout(c, x, 0.3, 1));
    c->random_offset = offset;
    double *repeated = gc_read(c, lh_dropout(c, x, 0.3, 1));
    assert_memory_equal(again, repeated, sizeof(double) * N);
    free(again);
    free(repeated);
    lh_context_free(c);
}

static void reduction_values(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    double x[24], want[24];
    for (int i = 0; i < 24; i++) {
        x[i] = sin(i * 1.7);
    }
    int64_t shape[3] = {2, 3, 4};
    lh_tensor *t = gc_tensor(c, 3, shape, x);
    double total = 0;
    for (int i = 0; i < 24; i++) {
        total += x[i];
    }
    assert_true(fabs(lh_scalar(c, lh_sum(c, t)) - total) < 1e-14);
    assert_true(fabs(lh_scalar(c, lh_mean(c, t)) - total / 24) < 1e-15);
    for (int dim = 0; dim < 3; dim++) {
        int64_t rest[3], n = 24 / shape[dim];
        int at = 0;
        for (int d = 0; d < 3; d++) {
            if (d != dim) {
                rest[at++] = shape[d];
            }
        }
        memset(want, 0, sizeof want);
        for (int i = 0; i < 24; i++) {
            int index[3] = {i / 12, i / 4 % 3, i % 4};
            int64_t place = 0;
            for (int d = 0; d < 3; d++) {
                place = d == dim ? place : place * shape[d] + index[d];
            }
            want[place] += x[i];
        }
        lh_tensor *sum = lh_sum_dim(c, t, dim);
        gc_expect_shape(sum, 2, rest);
        gc_expect(c, sum, want, n, 1e-14);
        for (int i = 0; i < n; i++) {
            want[i] /= (double)shape[dim];
        }
        gc_expect(c, lh_mean_dim(c, t, dim), want, n, 1e-14);
    }
    lh_tensor *nothing = gc_tensor(c, 2, (int64_t[]){0, 3}, x);
    assert_true(lh_scalar(c, lh_mean(c, nothing)) == 0);
    assert_true(lh_scalar(c, lh_sum(c, nothing)) == 0);
    double zeros[3] = {0};
    gc_expect(c, lh_mean_dim(c, nothing, 0), zeros, 3, 0);
    double square = 0;
    for (int i = 0; i < 12; i++) {
        square += (x[i] - x[i + 12]) * (x[i] - x[i + 12]) / 12;
    }
    lh_tensor *error = lh_mean_square_error(c, lh_slice(c, t, 0, 0, 1), lh_slice(c, t, 0, 1, 1));
    assert_true(fabs(lh_scalar(c, error) - square) < 1e-14);
    lh_context_free(c);
}

static void shape_values(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    double x[24], want[48];
    for (int i = 0; i < 24; i++) {
        x[i] = i;
    }
    lh_tensor *t = gc_tensor(c, 3, (int64_t[]){2, 3, 4}, x);
    lh_tensor *turned = lh_transpose(c, t, 0, 2);
    gc_expect_shape(turned, 3, (int64_t[]){4, 3, 2});
    for (int i = 0; i < 24; i++) {
        want[i] = (i % 2) * 12 + (i / 2 % 3) * 4 + i / 6;
    }
    gc_expect(c, turned, want, 24, 0);
    assert_false(lh_tensor_contiguous(turned));
    assert_ptr_equal(turned->storage, t->storage);
    lh_tensor *packed = lh_contiguous(c, turned);
    assert_true(lh_tensor_contiguous(packed));
    gc_expect(c, packed, want, 24, 0);
    assert_ptr_equal(lh_contiguous(c, t), t);
    gc_expect(c, lh_reshape(c, turned, 2, (int64_t[]){-1, 6}), want, 24, 0);
    lh_tensor *flat = lh_reshape(c, t, 1, (int64_t[]){24});
    assert_ptr_equal(flat->storage, t->storage);
    gc_expect(c, lh_slice(c, flat, 0, 7, 3), &x[7], 3, 0);
    gc_expect(c, lh_slice(c, lh_slice(c, t, 2, 1, 3), 2, 1, 1), (double[]){2, 6, 10, 14, 18, 22}, 6, 0);
    lh_tensor *repeated = lh_expand(c, gc_tensor(c, 2, (int64_t[]){2, 1}, x), 1, 3);
    gc_expect(c, repeated, (double[]){0, 0, 0, 1, 1, 1}, 6, 0);
    lh_tensor *list[3] = {lh_slice(c, turned, 1, 0, 1), lh_slice(c, turned, 1, 0, 0), turned};
    lh_tensor *joined = lh_concat(c, 3, list, 1);
    gc_expect_shape(joined, 3, (int64_t[]){4, 4, 2});
    for (int i = 0; i < 32; i++) {
        int middle = i / 2 % 4;
        want[i] = (i % 2) * 12 + (middle ? middle - 1 : 0) * 4 + i / 8;
    }
    gc_expect(c, joined, want, 32, 0);
    lh_context_free(c);
}

static void casts(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    double x[6] = {1.0, 1.0009765625 /* 1 + 2^-10 */, 1.00048828125 /* halfway: to even */, -65504, 1e-7, 3e38};
    int64_t n = 6;
    lh_tensor *t = gc_tensor(c, 1, &n, x);
    gc_expect(c, lh_cast(c, t, LH_F16), (double[]){1, 1.0009765625, 1, -65504, 1.1920928955078125e-07, INFINITY}, 6,
              0);
    gc_expect(c, lh_cast(c, t, LH_BF16), (double[]){1, 1, 1, -65536, 215 * 0x1p-31, 226 * 0x1p120}, 6, 1e-5);
    assert_ptr_equal(lh_cast(c, t, LH_F64), t);
    /* the gradient is cast back: d/dx sum(w f32(x)) = f32(w) */
    lh_error error = {0};
    lh_tensor *leaf = NULL;
    assert_int_equal(lh_tensor_create(&leaf, lh_backend_cpu(), LH_F64, 1, &n, "leaf", &error), LH_OK);
    assert_int_equal(lh_tensor_create_grad(leaf, &error), LH_OK);
    float weights[6] = {0.1f, 0.2f, -3.0f, 4.5f, 0.0f, 1.0f};
    lh_tensor *loss = lh_sum(c, lh_multiply(c, lh_cast(c, leaf, LH_F32), lh_from_host(c, LH_F32, 1, &n, weights)));
    lh_backward(c, loss, 1.0);
    double want[6];
    for (int i = 0; i < 6; i++) {
        want[i] = (double)weights[i];
    }
    gc_expect(c, leaf->grad, want, 6, 0);
    lh_tensor_free(leaf);
    lh_context_free(c);
}

/* What was cut off does not come back: d/dx (x sg(x)) = sg(x), not 2x. */
static void detach_stops(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    lh_error error = {0};
    lh_tensor *leaf = NULL;
    int64_t n = 3;
    double x[3] = {1.5, -2, 4};
    assert_int_equal(lh_tensor_create(&leaf, lh_backend_cpu(), LH_F64, 1, &n, "leaf", &error), LH_OK);
    assert_int_equal(lh_tensor_create_grad(leaf, &error), LH_OK);
    assert_int_equal(lh_tensor_write(leaf, x, &error), LH_OK);
    lh_tensor *cut = lh_detach(c, leaf);
    assert_false(cut->requires_grad);
    assert_ptr_equal(cut->storage, leaf->storage);
    lh_backward(c, lh_sum(c, lh_multiply(c, leaf, cut)), 1.0);
    gc_expect(c, leaf->grad, x, 3, 0);
    lh_tensor_free(leaf);
    lh_context_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients),      cmocka_unit_test(binary_values),    cmocka_unit_test(unary_values),
        cmocka_unit_test(dropout_values), cmocka_unit_test(reduction_values), cmocka_unit_test(shape_values),
        cmocka_unit_test(casts),          cmocka_unit_test(detach_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
