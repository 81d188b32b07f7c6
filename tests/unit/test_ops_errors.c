/* Wrong shapes, types and numbers: each op fails with the shapes in the message, gives NULL, and what follows
 * passes the NULL on while the first message stays. */
#include "gradcheck.h"

static lh_tensor *zeros(lh_context *c, int ndim, const int64_t *shape)
{
    return lh_new(c, LH_F64, ndim, shape, true);
}

#define T(...) zeros(c, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static lh_tensor *ids_of(lh_context *c, int64_t count, int32_t value)
{
    int32_t values[64];
    for (int64_t i = 0; i < count; i++) {
        values[i] = value;
    }
    return lh_from_host(c, LH_I32, 1, &count, values);
}

static void shapes(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    gc_expect_failure(c, lh_reshape(c, T(2, 3), 2, (int64_t[]){4, 2}), LH_E_SHAPE, "reshape", "[2, 3]", "[4, 2]",
                      NULL);
    gc_expect_failure(c, lh_reshape(c, T(2, 3), 2, (int64_t[]){-1, 4}), LH_E_SHAPE, "reshape", "[-1, 4]", NULL);
    gc_expect_failure(c, lh_reshape(c, T(2, 3), 2, (int64_t[]){-1, -1}), LH_E_SHAPE, "reshape", NULL);
    gc_expect_failure(c, lh_reshape(c, T(2, 3), 6, (int64_t[]){1, 1, 1, 1, 2, 3}), LH_E_SHAPE, "reshape", NULL);
    gc_expect_failure(c, lh_transpose(c, T(2, 3), 0, 2), LH_E_SHAPE, "transpose", "2", NULL);
    gc_expect_failure(c, lh_transpose(c, T(2, 3), -1, 1), LH_E_SHAPE, "transpose", NULL);
    gc_expect_failure(c, lh_slice(c, T(2, 3), 1, 2, 2), LH_E_SHAPE, "slice", "[2, 3]", NULL);
    gc_expect_failure(c, lh_slice(c, T(2, 3), 2, 0, 1), LH_E_SHAPE, "slice", "[2, 3]", NULL);
    gc_expect_failure(c, lh_slice(c, T(2, 3), 0, -1, 1), LH_E_SHAPE, "slice", NULL);
    gc_expect_failure(c, lh_slice(c, T(2, 3), 0, 0, INT64_MAX), LH_E_SHAPE, "slice", NULL);
    gc_expect_failure(c, lh_expand(c, T(2, 3), 0, 4), LH_E_SHAPE, "expand", "[2, 3]", NULL);
    lh_tensor *list[2] = {T(2, 3), T(2, 4)};
    gc_expect_failure(c, lh_concat(c, 2, list, 0), LH_E_SHAPE, "concat", "[2, 3]", "[2, 4]", NULL);
    list[0] = T(2, 3);
    gc_expect_failure(c, lh_concat(c, 0, list, 0), LH_E_ARGUMENT, "concat", NULL);
    gc_expect_failure(c, lh_new(c, LH_F32, 2, (int64_t[]){2, -1}, false), LH_E_SHAPE, "[2, -1]", NULL);
    gc_expect_failure(c, lh_new(c, LH_F32, 3, (int64_t[]){INT64_MAX, 8, 8}, false), LH_E_SHAPE, NULL);
    lh_context_free(c);
}

static void elementwise(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    gc_expect_failure(c, lh_add(c, T(2, 3), T(2, 2)), LH_E_SHAPE, "[2, 3]", "[2, 2]", NULL);
    gc_expect_failure(c, lh_multiply(c, T(3, 1), T(2, 2)), LH_E_SHAPE, "[3, 1]", "[2, 2]", NULL);
    gc_expect_failure(c, lh_add(c, T(2), lh_cast(c, T(2), LH_F32)), LH_E_SHAPE, "f64", "f32", NULL);
    gc_expect_failure(c, lh_unary(c, LH_EXP, ids_of(c, 3, 0)), LH_E_UNSUPPORTED, "i32", NULL);
    c->training = true;
    gc_expect_failure(c, lh_dropout(c, T(2, 3), 1.0, 1), LH_E_ARGUMENT, "dropout", "1", NULL);
    gc_expect_failure(c, lh_dropout(c, T(2, 3), -0.5, 1), LH_E_ARGUMENT, "-0.5", NULL);
    gc_expect_failure(c, lh_dropout(c, T(2, 3), (double)NAN, 1), LH_E_ARGUMENT, "nan", NULL);
    gc_expect_failure(c, lh_sum_dim(c, T(2, 3), 2), LH_E_SHAPE, "sum_dim", "[2, 3]", NULL);
    gc_expect_failure(c, lh_mean_dim(c, T(2, 3), -1), LH_E_SHAPE, "mean_dim", "[2, 3]", NULL);
    gc_expect_failure(c, lh_mean_square_error(c, T(2, 3), T(3)), LH_E_SHAPE, "[2, 3]", "[3]", NULL);
    lh_tensor *big = T(2, 3);
    assert_true(lh_scalar(c, big) == 0);
    gc_expect_failure(c, NULL, LH_E_SHAPE, "6", NULL);
    lh_backward(c, T(2), 1.0);
    gc_expect_failure(c, NULL, LH_E_SHAPE, "backward", "2", NULL);
    lh_context_free(c);
}

static void layers(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    gc_expect_failure(c, lh_linear(c, T(2, 3), T(5, 4), NULL), LH_E_SHAPE, "linear", "[2, 3]", "[5, 4]", NULL);
    gc_expect_failure(c, lh_linear(c, T(2, 4), T(5, 4), T(4)), LH_E_SHAPE, "linear", NULL);
    gc_expect_failure(c, lh_linear(c, T(2, 4), T(5, 4), lh_cast(c, T(5), LH_F32)), LH_E_SHAPE, "linear", NULL);
    gc_expect_failure(c, lh_activation_linear(c, T(2, 3), NULL, LH_GELU, T(5, 4), NULL), LH_E_SHAPE, "[2, 3]",
                      "[5, 4]", NULL);
    gc_expect_failure(c, lh_activation_linear(c, T(2, 4), T(5), LH_GELU, T(5, 4), NULL), LH_E_SHAPE,
                      "activation_linear", NULL);
    gc_expect_failure(c, lh_gated_linear(c, T(2, 3), T(2, 4), LH_SILU, T(5, 3)), LH_E_SHAPE, "gated_linear",
                      "[2, 3]", "[2, 4]", "[5, 3]", NULL);
    gc_expect_failure(c, lh_gated_linear(c, T(2, 3), T(2, 3), LH_SILU, T(5, 4)), LH_E_SHAPE, "[5, 4]", NULL);
    gc_expect_failure(c, lh_matmul(c, T(2, 3), T(4, 5), false), LH_E_SHAPE, "[2, 3]", "[4, 5]", NULL);
    gc_expect_failure(c, lh_matmul(c, T(2, 2, 3), T(3, 3, 2), false), LH_E_SHAPE, "[2, 2, 3]", "[3, 3, 2]", NULL);
    gc_expect_failure(c, lh_matmul(c, T(3), T(3), false), LH_E_SHAPE, "matmul", NULL);
    gc_expect_failure(c, lh_layer_norm(c, T(2, 3), T(4), NULL, 1e-5), LH_E_SHAPE, "layer_norm", "[4]", "[2, 3]",
                      NULL);
    gc_expect_failure(c, lh_layer_norm(c, T(2, 3), T(3), T(2), 1e-5), LH_E_SHAPE, "[2]", "[2, 3]", NULL);
    gc_expect_failure(c, lh_rms_norm(c, T(2, 3), T(1, 3), 1e-5), LH_E_SHAPE, "rms_norm", "[1, 3]", NULL);
    lh_tensor *sum = NULL;
    gc_expect_failure(c, lh_residual_norm(c, T(2, 3), T(3, 2), NULL, NULL, 1e-5, true, &sum), LH_E_SHAPE, "[2, 3]",
                      "[3, 2]", NULL);
    assert_null(sum);
    gc_expect_failure(c, lh_residual_norm(c, T(2, 3), T(2, 3), NULL, T(3), 1e-5, true, &sum), LH_E_ARGUMENT, "bias",
                      NULL);
    gc_expect_failure(c, lh_bias_activation(c, T(2, 3), T(2), LH_GELU), LH_E_SHAPE, "[2]", "[2, 3]", NULL);
    gc_expect_failure(c, lh_gated(c, T(2, 3), LH_SILU), LH_E_SHAPE, "gated", "[2, 3]", NULL);
    gc_expect_failure(c, lh_softmax(c, zeros(c, 0, NULL)), LH_E_SHAPE, "softmax", NULL);
    gc_expect_failure(c, lh_embedding(c, T(4, 3), ids_of(c, 2, 4), 1.0), LH_E_ARGUMENT, "embedding", "4",
                      "position 0", NULL);
    gc_expect_failure(c, lh_embedding(c, T(4, 3), T(2), 1.0), LH_E_SHAPE, "[4, 3]", "f64", NULL);
    gc_expect_failure(c, lh_gather_rows(c, T(4, 3, 1), ids_of(c, 2, 0)), LH_E_SHAPE, "gather_rows", "[4, 3, 1]",
                      NULL);
    gc_expect_failure(c, lh_gather_rows(c, T(4, 3), ids_of(c, 2, 7)), LH_E_ARGUMENT, "7", NULL);
    lh_grouping g = {0};
    gc_expect_failure(c, lh_argmax(c, T(2, 0), 1), LH_E_SHAPE, "argmax", "[2, 0]", NULL);
    lh_tensor *entries = lh_reshape(c, ids_of(c, 2, 4), 3, (int64_t[]){1, 1, 2});
    assert_false(lh_group(c, entries, 4, NULL, false, &g));
    gc_expect_failure(c, NULL, LH_E_ARGUMENT, "group", "4", NULL);
    entries = lh_reshape(c, ids_of(c, 2, 0), 3, (int64_t[]){1, 1, 2});
    assert_false(lh_group(c, entries, 4, T(1, 2), false, &g));
    gc_expect_failure(c, NULL, LH_E_SHAPE, "group", "[1, 1, 2]", NULL);
    entries = lh_reshape(c, ids_of(c, 2, 0), 3, (int64_t[]){1, 1, 2});
    assert_true(lh_group(c, entries, 4, NULL, false, &g));
    gc_expect_failure(c, lh_group_gather(c, T(1, 1, 5, 3), &g), LH_E_SHAPE, "group_gather", "[1, 1, 5, 3]", NULL);
    entries = lh_reshape(c, ids_of(c, 2, 0), 3, (int64_t[]){1, 1, 2});
    assert_true(lh_group(c, entries, 4, NULL, false, &g));
    gc_expect_failure(c, lh_group_mean(c, T(1, 1, 3, 3), &g, 0), LH_E_SHAPE, "group_mean", "[1, 1, 3, 3]", NULL);
    lh_tensor *first = NULL;
    gc_expect_failure(c, lh_group_latest(c, T(1, 1, 3), NULL, 1, 1, &first), LH_E_SHAPE, "group_latest",
                      "[1, 1, 3]", NULL);
    entries = lh_reshape(c, ids_of(c, 2, 0), 3, (int64_t[]){1, 1, 2});
    gc_expect_failure(c, lh_group_latest(c, entries, entries, 1, 1, &first), LH_E_SHAPE, "group_latest", NULL);
    lh_grouping sorted = {0};
    entries = lh_reshape(c, ids_of(c, 2, 0), 3, (int64_t[]){1, 1, 2});
    assert_true(lh_group(c, entries, 4, NULL, false, &g) && lh_group(c, entries, 3, NULL, false, &sorted));
    assert_false(lh_group_seen(c, &g, &sorted, 0, 1, &first, &first));
    gc_expect_failure(c, NULL, LH_E_SHAPE, "group_seen", "4 groups", "3 of keys", NULL);
    gc_expect_failure(c, lh_top_so_far(c, T(1, 3, 2), 4, 1), LH_E_SHAPE, "top_so_far", "[1, 3, 2]", NULL);
    gc_expect_failure(c, lh_top_so_far_lists(c, T(1, 3, 2), 1, (int32_t[]){0, 3, 0}, 1, &first), LH_E_ARGUMENT,
                      "top_so_far_lists", "3", NULL);
    static const double frequency[2] = {1, 1};
    lh_rope_options rope = {.rotated = 4, .frequency = frequency, .magnitude = 1};
    gc_expect_failure(c, lh_rope(c, T(1, 3, 2, 4), ids_of(c, 2, 0), &rope), LH_E_SHAPE, "[1, 3, 2, 4]", "[2]",
                      NULL);
    gc_expect_failure(c, lh_rope(c, T(1, 3, 2, 2), ids_of(c, 3, 0), &rope), LH_E_ARGUMENT, "4", "2", NULL);
    rope.rotated = 3;
    gc_expect_failure(c, lh_rope(c, T(1, 3, 2, 4), ids_of(c, 3, 0), &rope), LH_E_ARGUMENT, "3", NULL);
    gc_expect_failure(c, lh_sinusoids(c, LH_F32, 0, 4, 5, 10000, 0), LH_E_SHAPE, "5", NULL);
    gc_expect_failure(c, lh_sinusoids(c, LH_F16, 0, 4, 6, 10000, 0), LH_E_SHAPE, "f16", NULL);
    gc_expect_failure(c, lh_alibi(c, LH_F32, 2, 0, -4), LH_E_SHAPE, "-4", NULL);
    gc_expect_failure(c, lh_t5_bias(c, T(4), 0, 4, 128), LH_E_SHAPE, "t5_bias", "[4]", NULL);
    gc_expect_failure(c, lh_conv1d(c, T(2, 5, 3), T(4, 3, 2), 1, 1), LH_E_SHAPE, "[2, 5, 3]", "[4, 3, 2]", NULL);
    gc_expect_failure(c, lh_conv1d(c, T(2, 5, 3), T(4, 3, 3), 0, 1), LH_E_SHAPE, "conv1d", "stride 0", NULL);
    gc_expect_failure(c, lh_conv1d_transpose(c, T(2, 5, 3), T(4, 3, 2), 1), LH_E_SHAPE, "conv1d_transpose",
                      "[2, 5, 3]", NULL);
    gc_expect_failure(c, lh_pool1d(c, T(5, 3), 2, 1, true), LH_E_SHAPE, "pool1d", "[5, 3]", NULL);
    gc_expect_failure(c, lh_pool1d(c, T(1, 5, 3), 0, 1, true), LH_E_SHAPE, "pool1d", NULL);
    gc_expect_failure(c, lh_top_k(c, T(2, 3), 4, false), LH_E_SHAPE, "top_k", "4", "[2, 3]", NULL);
    gc_expect_failure(c, lh_top_k(c, T(2, 3), -1, false), LH_E_SHAPE, "-1", NULL);
    lh_context_free(c);
}

static void losses(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    lh_tensor *nll = NULL;
    gc_expect_failure(c, lh_cross_entropy(c, T(2, 3), ids_of(c, 3, 0), NULL, &nll), LH_E_SHAPE, "[2, 3]", "[3]",
                      NULL);
    gc_expect_failure(c, lh_cross_entropy(c, T(2, 3), T(2), NULL, NULL), LH_E_SHAPE, "cross_entropy", NULL);
    gc_expect_failure(c, lh_cross_entropy(c, T(2, 3), ids_of(c, 2, 0), T(3), NULL), LH_E_SHAPE, NULL);
    gc_expect_failure(c, lh_cross_entropy(c, T(2, 3), ids_of(c, 2, 3), NULL, NULL), LH_E_ARGUMENT, "3", NULL);
    gc_expect_failure(c, lh_linear_cross_entropy(c, T(2, 3), T(5, 4), NULL, ids_of(c, 2, 0), NULL, 1, 0, NULL),
                      LH_E_SHAPE, "[2, 3]", "[5, 4]", NULL);
    gc_expect_failure(c, lh_linear_cross_entropy(c, T(2, 3), T(5, 3), T(4), ids_of(c, 2, 0), NULL, 1, 0, NULL),
                      LH_E_SHAPE, NULL);
    gc_expect_failure(c, lh_linear_cross_entropy(c, T(2, 3), T(5, 3), NULL, ids_of(c, 2, 5), NULL, 1, 0, NULL),
                      LH_E_ARGUMENT, "linear_cross_entropy", "5", NULL);
    lh_context_free(c);
}

static lh_tensor *attend(lh_context *c, lh_tensor *q, lh_key_source source)
{
    lh_attention_options options = {0};
    lh_tensor *lse = NULL;
    return lh_attention(c, q, 1, &source, &options, &lse);
}

static void codes(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    lh_tensor *n = NULL, *count = lh_new(c, LH_I32, 3, (int64_t[]){1, 2, 4}, true);
    gc_expect_failure(c, lh_quantise(c, T(1, 2, 3, 4), T(2, 5, 3), &n, &n), LH_E_SHAPE, "quantise", "[1, 2, 3, 4]",
                      "[2, 5, 3]", NULL);
    gc_expect_failure(c, lh_quantise(c, T(1, 2, 3, 4), T(2, 0, 4), &n, &n), LH_E_SHAPE, "[2, 0, 4]", NULL);
    gc_expect_failure(c, lh_quantise(c, T(2, 3, 4), T(2, 5, 4), &n, &n), LH_E_SHAPE, "[2, 3, 4]", NULL);
    count = lh_new(c, LH_I32, 3, (int64_t[]){1, 2, 4}, true);
    lh_tensor *code = lh_new(c, LH_I32, 3, (int64_t[]){1, 2, 6}, true);
    gc_expect_failure(c, lh_code_means(c, T(1, 2, 4, 3), count, code, T(1, 2, 5, 3), &n), LH_E_SHAPE, "code_means",
                      "[1, 2, 6]", "[1, 2, 5, 3]", NULL);
    count = lh_new(c, LH_I32, 3, (int64_t[]){1, 2, 5}, true);
    code = lh_new(c, LH_I32, 3, (int64_t[]){1, 2, 6}, true);
    gc_expect_failure(c, lh_code_means(c, T(1, 2, 4, 3), count, code, T(1, 2, 6, 3), &n), LH_E_SHAPE, "[1, 2, 5]",
                      NULL);
    count = lh_new(c, LH_I32, 3, (int64_t[]){1, 1, 4}, true);
    code = lh_reshape(c, ids_of(c, 6, 5), 3, (int64_t[]){1, 1, 6});
    gc_expect_failure(c, lh_code_means(c, T(1, 1, 4, 3), count, code, T(1, 1, 6, 3), &n), LH_E_ARGUMENT,
                      "code_means", "5", NULL);
    code = lh_new(c, LH_I32, 3, (int64_t[]){1, 2, 6}, true);
    lh_code_sums(c, T(1, 2, 6, 3), code, NULL, T(2, 4, 3), T(2, 5));
    gc_expect_failure(c, NULL, LH_E_SHAPE, "code_sums", "[1, 2, 6, 3]", "[2, 4, 3]", NULL);
    code = lh_new(c, LH_I32, 3, (int64_t[]){1, 2, 6}, true);
    lh_code_sums(c, T(1, 2, 6, 3), code, T(1, 5), T(2, 4, 3), T(2, 4));
    gc_expect_failure(c, NULL, LH_E_SHAPE, "code_sums", NULL);
    lh_context_free(c);
}

typedef struct wrong_field {
    lh_tensor **field;
    const char *word;
    int ndim;
    int64_t shape[4];
    bool whole_numbers;
} wrong_field;

static void attention(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    lh_attention_options options = {0};
    gc_expect_failure(c, lh_attention(c, T(1, 2, 3, 4), 0, NULL, &options, NULL), LH_E_ARGUMENT, "attention", "0",
                      NULL);
    gc_expect_failure(c, attend(c, T(1, 2, 3, 4), lh_key_source_all(T(1, 2, 5, 3), T(1, 2, 5, 3))), LH_E_SHAPE,
                      "keys", "[1, 2, 5, 3]", "[1, 2, 3, 4]", NULL);
    gc_expect_failure(c, attend(c, T(1, 2, 3, 4), lh_key_source_all(T(1, 2, 5, 4), T(1, 2, 6, 4))), LH_E_SHAPE,
                      "values", "[1, 2, 6, 4]", NULL);
    gc_expect_failure(c, attend(c, T(1, 3, 3, 4), lh_key_source_all(T(1, 2, 5, 4), T(1, 2, 5, 4))), LH_E_SHAPE,
                      "values", NULL);
    gc_expect_failure(c, attend(c, T(2, 3, 4), lh_key_source_all(T(1, 2, 5, 4), T(1, 2, 5, 4))), LH_E_SHAPE,
                      "attention", NULL);
    gc_expect_failure(c, attend(c, T(2, 2, 3, 4), lh_key_source_all(T(3, 2, 5, 4), T(3, 2, 5, 4))), LH_E_SHAPE,
                      "[3, 2, 5, 4]", NULL);
    for (int i = 0; i < 12; i++) {
        lh_key_source s = lh_key_source_all(T(1, 2, 5, 4), T(1, 2, 5, 4));
        lh_tensor *q = T(1, 2, 3, 4);
        wrong_field all[12] = {
            {&s.content_bias, "content bias", 2, {2, 5}, false},
            {&s.position_bias, "position bias", 2, {1, 4}, false},
            {&s.rel_k, "relative keys", 3, {2, 6, 5}, false},
            {&s.distance_bias, "distance bias", 2, {3, 5}, false},
            {&s.key_bias, "key bias", 3, {1, 2, 4}, false},
            {&s.low, "intervals", 3, {1, 2, 3}, true},
            {&s.rel_k, "relative keys", 1, {5}, false},
            {&s.distance_bias, "distance bias", 1, {5}, false},
            {&s.gather, "gathered", 4, {1, 2, 4, 2}, true},
            {&s.tile_row, "blocks", 1, {3}, true},
            {&s.rel_v, "relative values", 3, {2, 6, 5}, false},
            {&s.rel_v, "relative values", 3, {1, 6, 4}, false},
        };
        *all[i].field = lh_new(c, all[i].whole_numbers ? LH_I32 : LH_F64, all[i].ndim, all[i].shape, true);
        s.layout = i == 8 ? LH_KEYS_GATHERED : i == 9 ? LH_KEYS_BLOCKS : LH_KEYS_DENSE;
        s.block_size = 2;
        gc_expect_failure(c, attend(c, q, s), LH_E_SHAPE, "source 0", all[i].word, "[1, 2, 3, 4]", NULL);
    }
    lh_key_source half = lh_key_source_all(lh_cast(c, T(1, 2, 5, 4), LH_F16), lh_cast(c, T(1, 2, 5, 4), LH_F16));
    gc_expect_failure(c, attend(c, T(1, 2, 3, 4), half), LH_E_SHAPE, "source 0", NULL);
    lh_key_source eight = lh_key_source_all(lh_cast(c, T(1, 2, 5, 4), LH_I8), lh_cast(c, T(1, 2, 5, 4), LH_I8));
    eight.layout = LH_KEYS_GATHERED;
    eight.stop_gradient = true;
    gc_expect_failure(c, attend(c, T(1, 2, 3, 4), eight), LH_E_SHAPE, "keys", NULL); /* no factors */
    lh_key_source same_type = lh_key_source_all(T(1, 2, 5, 4), lh_cast(c, T(1, 2, 5, 4), LH_F32));
    gc_expect_failure(c, attend(c, T(1, 2, 3, 4), same_type), LH_E_SHAPE, "source 0", NULL);
    gc_expect_failure(c, lh_attention_merge(c, T(1, 2, 3, 4), T(1, 2, 4), T(1, 2, 3, 4), T(1, 2, 4), NULL),
                      LH_E_SHAPE, "[1, 2, 3, 4]", "[1, 2, 4]", NULL);
    lh_context_free(c);
}

static void rings(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    lh_row_ring ring = {.rows = T(1, 2, 5, 4), .capacity = 5}, eight = ring;
    lh_tensor *written = ids_of(c, 1, 0);
    gc_expect_failure(c, lh_nearest(c, T(1, 2, 3, 5), &ring, written, 5, 2, 0, -1, NULL), LH_E_SHAPE, "nearest",
                      "[1, 2, 3, 5]", "[1, 2, 5, 4]", NULL);
    ring.rows = T(1, 2, 5, 4);
    written = ids_of(c, 1, 0);
    gc_expect_failure(c, lh_nearest(c, T(1, 3, 3, 4), &ring, written, 5, 2, 0, -1, NULL), LH_E_SHAPE, NULL);
    ring.rows = T(1, 2, 5, 4);
    gc_expect_failure(c, lh_nearest(c, T(1, 2, 3, 4), &ring, ids_of(c, 2, 0), 5, 2, 0, -1, NULL), LH_E_SHAPE, NULL);
    ring.rows = T(1, 2, 5, 4);
    gc_expect_failure(c, lh_nearest(c, T(1, 2, 3, 4), &ring, ids_of(c, 1, 0), 6, 2, 0, -1, NULL), LH_E_ARGUMENT,
                      "last 6", "ring of 5", NULL);
    ring.rows = T(1, 2, 5, 4);
    gc_expect_failure(c, lh_nearest(c, T(1, 2, 3, 4), &ring, ids_of(c, 1, 0), 5, 4, 3, -1, NULL), LH_E_ARGUMENT,
                      "3 buckets", NULL);
    ring.rows = T(1, 2, 5, 4);
    gc_expect_failure(c, lh_ring_append(c, &ring, T(1, 2, 6, 4), ids_of(c, 1, 0)), LH_E_SHAPE, "ring_append",
                      "[1, 2, 6, 4]", NULL);
    eight.rows = lh_cast(c, T(1, 2, 5, 4), LH_I8);
    gc_expect_failure(c, lh_ring_append(c, &eight, T(1, 2, 1, 4), ids_of(c, 1, 0)), LH_E_SHAPE, NULL);
    lh_context_free(c);
}

/* After the first error nothing runs: every op takes NULLs and gives NULL, and the first sentence stays. */
static void errors_stick(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    lh_tensor *bad = lh_add(c, T(2, 3), T(4)), *n = NULL, *list[2] = {NULL, NULL}, *sum = NULL, *lse = NULL;
    assert_null(bad);
    lh_error first = {0};
    assert_int_equal(lh_context_status(c, &first), LH_E_SHAPE);
    int64_t shape[2] = {1, 1};
    lh_rope_options rope = {0};
    lh_key_source source = lh_key_source_causal(n, n, 4);
    lh_attention_options options = {0};
    lh_tensor *mass[1] = {NULL};
    assert_null(lh_reshape(c, n, 2, shape));
    assert_null(lh_transpose(c, n, 0, 1));
    assert_null(lh_slice(c, n, 0, 0, 1));
    assert_null(lh_expand(c, n, 0, 1));
    assert_null(lh_concat(c, 2, list, 0));
    assert_null(lh_contiguous(c, n));
    assert_null(lh_detach(c, n));
    assert_null(lh_cast(c, n, LH_F32));
    assert_null(lh_binary(c, LH_DIVIDE, n, n));
    assert_null(lh_multiply(c, n, n));
    assert_null(lh_subtract(c, n, n));
    assert_null(lh_unary(c, LH_EXP, n));
    assert_null(lh_scale(c, n, 2));
    assert_null(lh_dropout(c, n, 0.5, 1));
    assert_null(lh_sum(c, n));
    assert_null(lh_mean(c, n));
    assert_null(lh_sum_dim(c, n, 0));
    assert_null(lh_mean_dim(c, n, 0));
    assert_null(lh_mean_square_error(c, n, n));
    assert_null(lh_linear(c, n, n, n));
    assert_null(lh_matmul(c, n, n, true));
    assert_null(lh_activation_linear(c, n, n, LH_GELU, n, n));
    assert_null(lh_gated_linear(c, n, n, LH_SILU, n));
    assert_null(lh_quantise(c, n, n, &lse, &sum));
    assert_null(lse);
    assert_null(sum);
    assert_null(lh_code_means(c, n, n, n, n, &lse));
    assert_null(lse);
    lh_code_sums(c, n, n, n, n, n);
    assert_null(lh_layer_norm(c, n, n, n, 1e-5));
    assert_null(lh_rms_norm(c, n, n, 1e-5));
    assert_null(lh_residual_norm(c, n, n, n, n, 1e-5, false, &sum));
    assert_null(sum);
    assert_null(lh_bias_activation(c, n, n, LH_GELU));
    assert_null(lh_gated(c, n, LH_SILU));
    assert_null(lh_softmax(c, n));
    assert_null(lh_log_softmax(c, n));
    assert_null(lh_embedding(c, n, n, 1));
    assert_null(lh_gather_rows(c, n, n));
    assert_null(lh_linear_cross_entropy(c, n, n, n, n, n, 1, 0, &sum));
    assert_null(lh_linear_cross_entropy_best(c, n, n, n, n, n, 1, 0, &sum, &sum));
    assert_null(lh_cross_entropy(c, n, n, n, &sum));
    assert_null(lh_rope(c, n, n, &rope));
    assert_null(lh_conv1d(c, n, n, 1, 1));
    assert_null(lh_conv1d_transpose(c, n, n, 1));
    assert_null(lh_pool1d(c, n, 2, 1, true));
    assert_null(lh_top_k(c, n, 1, true));
    lh_row_ring ring = {0};
    assert_null(lh_nearest(c, n, &ring, n, 1, 1, 0, -1, &sum));
    assert_null(lh_ring_append(c, &ring, n, n));
    lh_grouping grouping = {0};
    assert_null(lh_argmax(c, n, 0));
    assert_false(lh_group(c, n, 1, n, true, &grouping));
    assert_null(lh_group_gather(c, n, &grouping));
    assert_null(lh_group_mean(c, n, &grouping, 0));
    lh_group_totals(c, n, &grouping, n, n);
    assert_null(lh_group_latest(c, n, NULL, 1, 1, &sum));
    assert_false(lh_group_seen(c, &grouping, &grouping, 0, 1, &sum, &lse));
    assert_null(lh_top_so_far(c, n, 1, 1));
    assert_null(lh_top_so_far_lists(c, n, 0, NULL, 1, &sum));
    assert_null(lh_attention(c, n, 1, &source, &options, &lse));
    assert_null(lse);
    assert_null(lh_attention_merge(c, n, n, n, n, &lse));
    lh_attention_mass(c, n, 1, &source, &options, n, 1.0, mass);
    assert_null(mass[0]);
    assert_null(lh_sinusoids(c, LH_F32, 0, 4, 4, 1e4, 0));
    assert_null(lh_t5_bias(c, n, 0, 4, 16));
    assert_null(lh_alibi(c, LH_F32, 4, 0, 4));
    assert_null(lh_new(c, LH_F32, 2, shape, true));
    assert_null(lh_from_host(c, LH_F32, 2, shape, shape));
    assert_true(lh_scalar(c, n) == 0);
    lh_backward(c, n, 1.0);
    lh_error last = {0};
    assert_int_equal(lh_context_status(c, &last), LH_E_SHAPE);
    assert_string_equal(first.message, last.message);
    /* a new step starts clean */
    lh_context_reset(c);
    assert_int_equal(lh_context_status(c, NULL), LH_OK);
    assert_non_null(lh_add(c, T(2), T(2)));
    lh_context_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes), cmocka_unit_test(elementwise),  cmocka_unit_test(layers),
        cmocka_unit_test(losses), cmocka_unit_test(attention),    cmocka_unit_test(rings),
        cmocka_unit_test(codes),  cmocka_unit_test(errors_stick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
