/* Vector quantisation and what is gathered by code: the straight-through gradient, where it comes out in attention,
 * four ways to the same means, and counts as biases. Finite differences are in test_ops_layers.c. */
#include "gradcheck.h"

#define SHAPE(...)  \
    (int64_t[])     \
    {               \
        __VA_ARGS__ \
    }

/* A leaf that wants a gradient. */
static lh_tensor *leaf_of(lh_tensor **kept, int ndim, const int64_t *shape, uint64_t stream)
{
    lh_error error = {0};
    assert_int_equal(lh_tensor_create(kept, lh_backend_cpu(), LH_F64, ndim, shape, "leaf", &error), LH_OK);
    double *x = lh_tensor_data(*kept);
    lh_random random = lh_random_create(4, stream);
    for (int64_t i = 0; i < lh_tensor_count(*kept); i++) {
        x[i] = lh_random_normal(&random);
    }
    assert_int_equal(lh_tensor_create_grad(*kept, &error), LH_OK);
    return *kept;
}

/* The value is the code, bit for bit; the gradient is that of the value plus 2 (k - code) times that of the
 * distance, exactly; nothing reaches the codebook. Keys are a transposed view. */
static void straight_through(void **state)
{
    (void)state;
    enum { BATCH = 2, HEADS = 3, LENGTH = 5, WIDTH = 4, CODES = 6 };
    lh_context *c = gc_context(lh_backend_cpu(), 2);
    lh_tensor *keys, *book, *codes, *distance;
    leaf_of(&keys, 4, SHAPE(BATCH, LENGTH, HEADS, WIDTH), 1);
    leaf_of(&book, 3, SHAPE(HEADS, CODES, WIDTH), 2);
    lh_tensor *k = lh_transpose(c, keys, 1, 2);
    lh_tensor *y = lh_quantise(c, k, book, &codes, &distance);
    lh_tensor *w = gc_random_tensor(c, LH_F64, 4, y->shape, 3), *u = gc_random_tensor(c, LH_F64, 3, y->shape, 4);
    lh_tensor *loss = lh_add(c, lh_sum(c, lh_multiply(c, y, w)), lh_sum(c, lh_multiply(c, distance, u)));
    double *value = gc_read(c, y), *code = gc_read(c, codes), *apart = gc_read(c, distance);
    double *vk = gc_read(c, k), *vw = gc_read(c, w), *vu = gc_read(c, u);
    lh_backward(c, loss, 1.0);
    const double *vb = lh_tensor_data(book), *grad = lh_tensor_data(keys->grad);
    for (int row = 0; row < BATCH * HEADS * LENGTH; row++) {
        int t = row % LENGTH, h = row / LENGTH % HEADS, b = row / LENGTH / HEADS;
        const double *nearest = vb + (h * CODES + (int)code[row] - 1) * WIDTH;
        double square = 0;
        for (int i = 0; i < WIDTH; i++) {
            double k_i = vk[row * WIDTH + i];
            assert_true(value[row * WIDTH + i] == nearest[i]);
            square += (k_i - nearest[i]) * (k_i - nearest[i]);
            double wanted = vw[row * WIDTH + i] + 2 * (k_i - nearest[i]) * vu[row];
            double got = grad[((b * LENGTH + t) * HEADS + h) * WIDTH + i];
            assert_true(fabs(got - wanted) < 1e-13);
        }
        assert_true(fabs(square - apart[row]) < 1e-13);
    }
    for (int i = 0; i < HEADS * CODES * WIDTH; i++) {
        assert_true(((double *)lh_tensor_data(book->grad))[i] == 0);
    }
    double *all[] = {value, code, apart, vk, vw, vu};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
    lh_context_free(c);
    lh_tensor_free(keys);
    lh_tensor_free(book);
}

static lh_tensor *attend(lh_context *c, lh_tensor *q, lh_tensor *k, lh_tensor *v)
{
    lh_key_source source = lh_key_source_causal(k, v, q->shape[2]);
    lh_attention_options options = {.scale = 1.0};
    return lh_attention(c, q, 1, &source, &options, NULL);
}

/* What attention gives keys before quantisation is what it would give quantised keys that were leaves. */
static void gradient_of_keys_in_attention(void **state)
{
    (void)state;
    enum { LENGTH = 7, WIDTH = 4 };
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    lh_tensor *keys, *leaf;
    leaf_of(&keys, 4, SHAPE(1, 2, LENGTH, WIDTH), 1);
    leaf_of(&leaf, 4, SHAPE(1, 2, LENGTH, WIDTH), 2);
    lh_tensor *book = gc_random_tensor(c, LH_F64, 3, SHAPE(2, 3, WIDTH), 3);
    lh_tensor *q = gc_random_tensor(c, LH_F64, 4, keys->shape, 4),
              *v = gc_random_tensor(c, LH_F64, 4, keys->shape, 5);
    lh_tensor *w = gc_random_tensor(c, LH_F64, 4, keys->shape, 6);
    lh_tensor *quantised = lh_quantise(c, keys, book, NULL, NULL);
    lh_to_host(c, quantised, lh_tensor_data(leaf));
    lh_tensor *a = lh_sum(c, lh_multiply(c, attend(c, q, quantised, v), w));
    lh_tensor *b = lh_sum(c, lh_multiply(c, attend(c, q, leaf, v), w));
    lh_backward(c, lh_add(c, a, b), 1.0);
    double size = 0;
    for (int64_t i = 0; i < lh_tensor_count(keys); i++) {
        double through = ((double *)lh_tensor_data(keys->grad))[i],
               direct = ((double *)lh_tensor_data(leaf->grad))[i];
        assert_true(fabs(through - direct) < 1e-14);
        size = fmax(size, fabs(direct));
    }
    assert_true(size > 1e-3);
    lh_context_free(c);
    lh_tensor_free(keys);
    lh_tensor_free(leaf);
}

enum { BLOCKS = 6, BLOCK = 40, CODES = 9, WIDTH = 13 };

/* Per block and code: how many, and their mean. */
static void block_means(const float *v, const int32_t *code, double n[BLOCKS][CODES],
                        double mean[BLOCKS][CODES][WIDTH])
{
    for (int t = 0; t < BLOCKS * BLOCK; t++) {
        n[t / BLOCK][code[t] - 1]++;
    }
    for (int t = 0; t < BLOCKS * BLOCK; t++) {
        int g = t / BLOCK, s = code[t] - 1;
        for (int i = 0; i < WIDTH; i++) {
            mean[g][s][i] += (double)v[t * WIDTH + i] / n[g][s];
        }
    }
}

/* The other three reductions over blocks 0 .. r: sums that are divided at the end, a lower-triangular matrix, and a
 * prefix of weighted means, put together as a tree. */
static void by_sum(int r, int s, double n[BLOCKS][CODES], double mean[BLOCKS][CODES][WIDTH], double *out)
{
    double total = 0;
    memset(out, 0, sizeof *out * WIDTH);
    for (int g = 0; g <= r; g++) {
        total += n[g][s];
        for (int i = 0; i < WIDTH; i++) {
            out[i] += n[g][s] * mean[g][s][i];
        }
    }
    for (int i = 0; i < WIDTH; i++) {
        out[i] /= fmax(total, 1);
    }
}

static void by_matrix(int r, int s, double n[BLOCKS][CODES], double mean[BLOCKS][CODES][WIDTH], double *out)
{
    double total = 0;
    memset(out, 0, sizeof *out * WIDTH);
    for (int g = 0; g <= r; g++) {
        total += n[g][s];
    }
    for (int g = 0; g <= r; g++) {
        double factor = n[g][s] / fmax(total, 1);
        for (int i = 0; i < WIDTH; i++) {
            out[i] += factor * mean[g][s][i];
        }
    }
}

static double by_tree(int first, int last, int s, double n[BLOCKS][CODES], double mean[BLOCKS][CODES][WIDTH],
                      double *out)
{
    if (first == last) {
        memcpy(out, mean[first][s], sizeof *out * WIDTH);
        return n[first][s];
    }
    double left[WIDTH], right[WIDTH];
    int middle = (first + last) / 2;
    double a = by_tree(first, middle, s, n, mean, left), b = by_tree(middle + 1, last, s, n, mean, right);
    for (int i = 0; i < WIDTH; i++) {
        out[i] = (a * left[i] + b * right[i]) / fmax(a + b, 1);
    }
    return a + b;
}

/* Block by block in float32, against all of them and against the plain mean. */
static void four_reductions_agree(void **state)
{
    (void)state;
    static float v[BLOCKS * BLOCK * WIDTH];
    static int32_t code[BLOCKS * BLOCK];
    static double n[BLOCKS][CODES], mean[BLOCKS][CODES][WIDTH];
    lh_random random = lh_random_create(8, 1);
    for (int t = 0; t < BLOCKS * BLOCK; t++) { /* the last code is never used, the one before in late blocks only */
        code[t] = 1 + (int32_t)lh_random_below(&random, t < 2 * BLOCK ? CODES - 2 : CODES - 1);
        for (int i = 0; i < WIDTH; i++) {
            v[t * WIDTH + i] = (float)lh_random_normal(&random);
        }
    }
    block_means(v, code, n, mean);
    lh_context *c = gc_context(lh_backend_cpu(), 2);
    lh_tensor *u = lh_new(c, LH_F32, 4, SHAPE(1, 1, CODES, WIDTH), true);
    lh_tensor *count = lh_new(c, LH_I32, 3, SHAPE(1, 1, CODES), true);
    for (int r = 0; r < BLOCKS; r++) {
        lh_tensor *rows = lh_from_host(c, LH_F32, 4, SHAPE(1, 1, BLOCK, WIDTH), v + r * BLOCK * WIDTH);
        lh_tensor *z = lh_from_host(c, LH_I32, 3, SHAPE(1, 1, BLOCK), code + r * BLOCK), *more;
        u = lh_code_means(c, u, count, z, rows, &more);
        count = more;
        double *serial = gc_read(c, u), *counted = gc_read(c, count), total = 0;
        for (int s = 0; s < CODES; s++) {
            double ways[4][WIDTH] = {{0}}, seen = 0;
            by_sum(r, s, n, mean, ways[0]);
            by_matrix(r, s, n, mean, ways[1]);
            assert_true(by_tree(0, r, s, n, mean, ways[2]) == counted[s]);
            for (int t = 0; t < (r + 1) * BLOCK; t++) {
                seen += code[t] == s + 1;
            }
            for (int t = 0; t < (r + 1) * BLOCK; t++) {
                for (int i = 0; i < WIDTH && code[t] == s + 1; i++) {
                    ways[3][i] += (double)v[t * WIDTH + i] / seen;
                }
            }
            for (int way = 0; way < 4; way++) {
                for (int i = 0; i < WIDTH; i++) {
                    assert_true(fabs(serial[s * WIDTH + i] - ways[way][i]) < 1e-5);
                }
            }
            total += counted[s];
        }
        assert_true(total == BLOCK * (r + 1));
        free(serial);
        free(counted);
    }
    lh_context_free(c);
}

/* A softmax over codes with bias log N and mean values is the softmax over the tokens themselves. */
static void log_counts_stand_for_tokens(void **state)
{
    (void)state;
    enum { TOKENS = 50, S = 7, D = 3 };
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    lh_tensor *book = gc_random_tensor(c, LH_F64, 3, SHAPE(1, S, D), 1);
    lh_tensor *k = gc_random_tensor(c, LH_F64, 4, SHAPE(1, 1, TOKENS, D), 2);
    lh_tensor *v = gc_random_tensor(c, LH_F64, 4, SHAPE(1, 1, TOKENS, D), 3);
    lh_tensor *q = gc_random_tensor(c, LH_F64, 4, SHAPE(1, 1, 4, D), 4), *codes, *counts;
    lh_tensor *quantised = lh_quantise(c, k, book, &codes, NULL);
    lh_tensor *none = lh_new(c, LH_I32, 3, SHAPE(1, 1, S), true);
    lh_tensor *mean = lh_code_means(c, lh_new(c, LH_F64, 4, SHAPE(1, 1, S, D), true), none, codes, v, &counts);
    lh_key_source tokens = lh_key_source_all(quantised, v);
    lh_key_source by_code = lh_key_source_all(lh_reshape(c, book, 4, SHAPE(1, 1, S, D)), mean);
    by_code.key_bias = lh_unary(c, LH_LOG, lh_cast(c, counts, LH_F64));
    lh_attention_options options = {.scale = 1.0};
    lh_tensor *lse[2];
    lh_tensor *a = lh_attention(c, q, 1, &tokens, &options, &lse[0]);
    lh_tensor *b = lh_attention(c, q, 1, &by_code, &options, &lse[1]);
    double *va = gc_read(c, a), *la = gc_read(c, lse[0]);
    gc_expect(c, b, va, 4 * D, 1e-13);
    gc_expect(c, lse[1], la, 4, 1e-13);
    free(va);
    free(la);
    lh_context_free(c);
}

/* Sums by code do not depend on how the tokens are cut into calls; tokens without weight and without a code are not
 * counted. */
static void sums_of_pieces(void **state)
{
    (void)state;
    enum { TOKENS = 24, S = 5, D = 3, HEADS = 2 };
    lh_context *c = gc_context(lh_backend_cpu(), 2);
    lh_tensor *x = gc_random_tensor(c, LH_F64, 4, SHAPE(2, HEADS, TOKENS, D), 1);
    double weight[2 * TOKENS];
    int32_t code[2 * HEADS * TOKENS];
    for (int i = 0; i < 2 * HEADS * TOKENS; i++) {
        code[i] = i * 7 % (S + 1);
    }
    for (int i = 0; i < 2 * TOKENS; i++) {
        weight[i] = i % 5 != 3;
    }
    lh_tensor *codes = lh_from_host(c, LH_I32, 3, SHAPE(2, HEADS, TOKENS), code);
    lh_tensor *weights = lh_from_host(c, LH_F64, 2, SHAPE(2, TOKENS), weight), *sum[2], *total[2];
    for (int way = 0; way < 2; way++) {
        int64_t piece = way == 0 ? TOKENS : 8;
        sum[way] = lh_new(c, LH_F64, 3, SHAPE(HEADS, S, D), true);
        total[way] = lh_new(c, LH_F64, 2, SHAPE(HEADS, S), true);
        for (int64_t at = 0; at < TOKENS; at += piece) {
            lh_code_sums(c, lh_slice(c, x, 2, at, piece), lh_slice(c, codes, 2, at, piece),
                         lh_slice(c, weights, 1, at, piece), sum[way], total[way]);
        }
    }
    double *s0 = gc_read(c, sum[0]), *t0 = gc_read(c, total[0]), wanted = 0, counted = 0;
    gc_expect(c, sum[1], s0, HEADS * S * D, 1e-14);
    gc_expect(c, total[1], t0, HEADS * S, 0);
    for (int i = 0; i < 2 * HEADS * TOKENS; i++) {
        wanted += code[i] > 0 ? weight[i / TOKENS / HEADS * TOKENS + i % TOKENS] : 0;
    }
    for (int i = 0; i < HEADS * S; i++) {
        counted += t0[i];
    }
    assert_true(counted == wanted);
    free(s0);
    free(t0);
    lh_context_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(straight_through),      cmocka_unit_test(gradient_of_keys_in_attention),
        cmocka_unit_test(four_reductions_agree), cmocka_unit_test(log_counts_stand_for_tokens),
        cmocka_unit_test(sums_of_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
