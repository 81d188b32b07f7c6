/* Products, norms, activations, embeddings, positions, convolutions, pooling, losses: gradients and values. */
#include "cases_layers.h"

static void gradients(void **state)
{
    (void)state;
    gc_check_all(layer_cases, sizeof layer_cases / sizeof *layer_cases);
}

static void fill_waves(double *x, int n, double step)
{
    for (int i = 0; i < n; i++) {
        x[i] = sin(i * step + 0.3) * 1.5;
    }
}

static void product_values(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    double x[24], w[20], bias[5] = {0.1, -0.2, 0.3, 1, 2}, want[30];
    fill_waves(x, 24, 1.1);
    fill_waves(w, 20, 0.7);
    for (int r = 0; r < 6; r++) {
        for (int o = 0; o < 5; o++) {
            want[r * 5 + o] = bias[o];
            for (int i = 0; i < 4; i++) {
                want[r * 5 + o] += x[r * 4 + i] * w[o * 4 + i];
            }
        }
    }
    lh_tensor *y = lh_linear(c, gc_tensor(c, 3, (int64_t[]){2, 3, 4}, x), gc_tensor(c, 2, (int64_t[]){5, 4}, w),
                             gc_tensor(c, 1, (int64_t[]){5}, bias));
    gc_expect_shape(y, 3, (int64_t[]){2, 3, 5});
    gc_expect(c, y, want, 30, 1e-14);
    /* batched: [2, 3, 4] by [2, 4, 2] */
    for (int b = 0; b < 2; b++) {
        for (int r = 0; r < 3; r++) {
            for (int o = 0; o < 2; o++) {
                double sum = 0;
                for (int i = 0; i < 4; i++) {
                    sum += x[b * 12 + r * 4 + i] * w[b * 8 + i * 2 + o];
                }
                want[b * 6 + r * 2 + o] = sum;
            }
        }
    }
    lh_tensor *a = gc_tensor(c, 3, (int64_t[]){2, 3, 4}, x), *b = gc_tensor(c, 3, (int64_t[]){2, 4, 2}, w);
    gc_expect(c, lh_matmul(c, a, b, false), want, 12, 1e-14);
    gc_expect(c, lh_matmul(c, a, lh_contiguous(c, lh_transpose(c, b, 1, 2)), true), want, 12, 1e-14);
    lh_context_free(c);
}

static void norm_values(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    double x[15], r[15], gain[5] = {1, 2, -1, 0.5, 3}, bias[5] = {0, 1, 2, 3, 4}, want[15], wsum[15];
    fill_waves(x, 15, 2.1);
    fill_waves(r, 15, 0.9);
    int64_t shape[2] = {3, 5}, width = 5;
    lh_tensor *tx = gc_tensor(c, 2, shape, x), *tr = gc_tensor(c, 2, shape, r);
    lh_tensor *tg = gc_tensor(c, 1, &width, gain), *tb = gc_tensor(c, 1, &width, bias), *sum = NULL;
    for (int residual = 0; residual < 2; residual++) {
        for (int rms = 0; rms < 2; rms++) {
            for (int row = 0; row < 3; row++) {
                double mean = 0, var = 0;
                for (int i = 0; i < 5; i++) {
                    wsum[row * 5 + i] = x[row * 5 + i] + (residual ? r[row * 5 + i] : 0);
                    mean += rms ? 0 : wsum[row * 5 + i] / 5;
                }
                for (int i = 0; i < 5; i++) {
                    var += (wsum[row * 5 + i] - mean) * (wsum[row * 5 + i] - mean) / 5;
                }
                for (int i = 0; i < 5; i++) {
                    want[row * 5 + i] =
                        (wsum[row * 5 + i] - mean) / sqrt(var + 0.01) * gain[i] + (rms ? 0 : bias[i]);
                }
            }
            lh_tensor *y = residual ? lh_residual_norm(c, tx, tr, tg, rms ? NULL : tb, 0.01, rms, &sum)
                           : rms    ? lh_rms_norm(c, tx, tg, 0.01)
                                    : lh_layer_norm(c, tx, tg, tb, 0.01);
            gc_expect(c, y, want, 15, 1e-13);
            if (residual) {
                gc_expect(c, sum, wsum, 15, 1e-15);
            }
        }
    }
    lh_context_free(c);
}

static void activation_values(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    double x[12], bias[4] = {1, -1, 0.5, 0}, want[12];
    fill_waves(x, 12, 1.3);
    for (int i = 0; i < 12; i++) {
        want[i] = tanh(x[i] + bias[i % 4]);
    }
    lh_tensor *t = gc_tensor(c, 2, (int64_t[]){3, 4}, x);
    gc_expect(c, lh_bias_activation(c, t, gc_tensor(c, 1, (int64_t[]){4}, bias), LH_TANH), want, 12, 1e-14);
    for (int i = 0; i < 6; i++) {
        double a = x[i / 2 * 4 + i % 2], b = x[i / 2 * 4 + 2 + i % 2];
        want[i] = a / (1 + exp(-a)) * b;
    }
    lh_tensor *gated = lh_gated(c, t, LH_SILU);
    gc_expect_shape(gated, 2, (int64_t[]){3, 2});
    gc_expect(c, gated, want, 6, 1e-14);
    x[3] = 800; /* far out of exp's range, and a masked entry */
    x[5] = -INFINITY;
    t = gc_tensor(c, 2, (int64_t[]){3, 4}, x);
    double logs[12];
    for (int row = 0; row < 3; row++) {
        double top = -INFINITY, sum = 0;
        for (int i = 0; i < 4; i++) {
            top = fmax(top, x[row * 4 + i]);
        }
        for (int i = 0; i < 4; i++) {
            sum += exp(x[row * 4 + i] - top);
        }
        for (int i = 0; i < 4; i++) {
            logs[row * 4 + i] = x[row * 4 + i] - top - log(sum);
            want[row * 4 + i] = exp(logs[row * 4 + i]);
        }
    }
    gc_expect(c, lh_softmax(c, t), want, 12, 1e-14);
    gc_expect(c, lh_log_softmax(c, t), logs, 12, 1e-14);
    lh_context_free(c);
}

static void embedding_values(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    double table[12], want[12];
    fill_waves(table, 12, 0.8);
    lh_tensor *t = gc_tensor(c, 2, (int64_t[]){4, 3}, table);
    const int32_t ids[4] = {3, -5, 0, 3};
    for (int i = 0; i < 12; i++) {
        want[i] = ids[i / 3] < 0 ? 0 : 2 * table[ids[i / 3] * 3 + i % 3];
    }
    lh_tensor *y = lh_embedding(c, t, gc_ids(c, 2, (int64_t[]){2, 2}, ids), 2.0);
    gc_expect_shape(y, 3, (int64_t[]){2, 2, 3});
    gc_expect(c, y, want, 12, 1e-15);
    /* strided indices: the second column of [2, 2] */
    lh_tensor *column = lh_slice(c, gc_ids(c, 2, (int64_t[]){2, 2}, (int32_t[]){0, 1, 2, 3}), 1, 1, 1);
    for (int i = 0; i < 6; i++) {
        want[i] = table[(i / 3 ? 3 : 1) * 3 + i % 3];
    }
    gc_expect(c, lh_gather_rows(c, t, column), want, 6, 1e-15);
    lh_context_free(c);
}

static void rope_values(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    double x[40], want[40], frequency[2] = {1.0, 0.01};
    fill_waves(x, 40, 1.9);
    const int32_t position[4] = {3, 100000, 0, 7};
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        for (int at = 0; at < 8; at++) { /* [2 lanes, 2 positions, 2 heads] of width 5, 4 turn */
            memcpy(&want[at * 5], &x[at * 5], 5 * sizeof(double));
            for (int i = 0; i < 2; i++) {
                double angle = position[at / 2] * frequency[i];
                int u = at * 5 + (interleaved ? 2 * i : i), v = at * 5 + (interleaved ? 2 * i + 1 : i + 2);
                want[u] = 1.5 * (x[u] * cos(angle) - x[v] * sin(angle));
                want[v] = 1.5 * (x[u] * sin(angle) + x[v] * cos(angle));
            }
        }
        lh_rope_options options = {
            .rotated = 4, .interleaved = interleaved != 0, .frequency = frequency, .magnitude = 1.5};
        lh_tensor *y = lh_rope(c, gc_tensor(c, 4, (int64_t[]){2, 2, 2, 5}, x),
                               gc_ids(c, 2, (int64_t[]){2, 2}, position), &options);
        gc_expect(c, y, want, 40, 1e-13);
    }
    lh_context_free(c);
}

static void position_tables(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    double want[42];
    for (int t = 0; t < 7; t++) {
        double distance = fmin(t - 2, 3);
        for (int i = 0; i < 3; i++) {
            want[t * 6 + i] = sin(distance / pow(10000, i / 3.0));
            want[t * 6 + 3 + i] = cos(distance / pow(10000, i / 3.0));
        }
    }
    gc_expect(c, lh_sinusoids(c, LH_F64, -2, 7, 6, 10000, 3), want, 42, 1e-14);
    gc_expect(c, lh_sinusoids(c, LH_F32, -2, 7, 6, 10000, 3), want, 42, 1e-7);
    for (int i = 0; i < 12; i++) {
        want[i] = -pow(2, -8.0 * (i / 3 + 1) / 4) * (i % 3 + 5);
    }
    gc_expect(c, lh_alibi(c, LH_F64, 4, 5, 3), want, 12, 1e-15);
    /* T5, 32 buckets to 128: exact below 16, then logarithmic; these from the formula in floating point by hand */
    const int32_t known[][2] = {{-5, 0},  {0, 0},   {1, 1},   {15, 15}, {16, 16},  {17, 16},  {18, 16},
                                {19, 17}, {20, 17}, {32, 21}, {64, 26}, {127, 31}, {128, 31}, {5000, 31}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_int_equal(lh_t5_bucket(known[i][0], 32, 128), known[i][1]);
    }
    for (int64_t distance = 1; distance < 300; distance++) { /* monotone, and never leaves the table */
        assert_true(lh_t5_bucket(distance, 8, 64) >= lh_t5_bucket(distance - 1, 8, 64));
        assert_true(lh_t5_bucket(distance, 8, 64) < 8);
        assert_int_equal(lh_t5_bucket(distance, 1, 64), 0);
        assert_true(lh_t5_bucket(distance, 8, 2) <= 7);
    }
    double table[16];
    fill_waves(table, 16, 1.0);
    for (int i = 0; i < 40; i++) {
        want[i] = table[i / 20 * 8 + lh_t5_bucket(i % 20 - 1, 8, 16)];
    }
    gc_expect(c, lh_t5_bias(c, gc_tensor(c, 2, (int64_t[]){2, 8}, table), -1, 20, 16), want, 40, 0);
    lh_context_free(c);
}

static void convolution_values(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    enum { BATCH = 2, LENGTH = 9, IN = 2, OUT = 3, KERNEL = 3 };
    double x[BATCH * LENGTH * IN], w[OUT * KERNEL * IN], want[BATCH * 40 * OUT];
    fill_waves(x, BATCH * LENGTH * IN, 1.7);
    fill_waves(w, OUT * KERNEL * IN, 0.6);
    lh_tensor *tx = gc_tensor(c, 3, (int64_t[]){BATCH, LENGTH, IN}, x);
    lh_tensor *tw = gc_tensor(c, 3, (int64_t[]){OUT, KERNEL, IN}, w);
    for (int stride = 1; stride <= 4; stride++) {
        for (int dilation = 1; dilation <= 2; dilation++) {
            int positions = (LENGTH - dilation * (KERNEL - 1) - 1) / stride + 1;
            for (int at = 0; at < BATCH * positions * OUT; at++) {
                int o = at % OUT, t = at / OUT % positions, b = at / OUT / positions;
                want[at] = 0;
                for (int k = 0; k < KERNEL; k++) {
                    for (int i = 0; i < IN; i++) {
                        want[at] +=
                            w[(o * KERNEL + k) * IN + i] * x[(b * LENGTH + t * stride + k * dilation) * IN + i];
                    }
                }
            }
            lh_tensor *y = lh_conv1d(c, tx, tw, stride, dilation);
            gc_expect_shape(y, 3, (int64_t[]){BATCH, positions, OUT});
            gc_expect(c, y, want, (int64_t)BATCH * positions * OUT, 1e-14);
        }
        /* the transpose takes the same numbers as [in = OUT, kernel, out = IN] */
        int length = (4 - 1) * stride + KERNEL;
        double z[BATCH * 4 * OUT];
        fill_waves(z, BATCH * 4 * OUT, 0.4);
        memset(want, 0, sizeof want);
        for (int b = 0; b < BATCH; b++) {
            for (int t = 0; t < 4; t++) {
                for (int k = 0; k < KERNEL; k++) {
                    for (int i = 0; i < IN; i++) {
                        for (int o = 0; o < OUT; o++) {
                            want[(b * length + t * stride + k) * IN + i] +=
                                z[(b * 4 + t) * OUT + o] * w[(o * KERNEL + k) * IN + i];
                        }
                    }
                }
            }
        }
        lh_tensor *y = lh_conv1d_transpose(c, gc_tensor(c, 3, (int64_t[]){BATCH, 4, OUT}, z), tw, stride);
        gc_expect_shape(y, 3, (int64_t[]){BATCH, length, IN});
        gc_expect(c, y, want, (int64_t)BATCH * length * IN, 1e-14);
    }
    gc_expect_shape(lh_conv1d(c, lh_slice(c, tx, 1, 0, 2), tw, 1, 1), 3, (int64_t[]){BATCH, 0, OUT});
    lh_context_free(c);
}

/* Groups, lists of the latest and lists of the best so far, on numbers that can be followed by hand. */
static void group_values(lh_context *c)
{
    double x[12] = {3, 1, 2, 3, 0, 5, 1, 5, 2, 2, 2, 2};
    lh_tensor *t = gc_tensor(c, 3, (int64_t[]){2, 2, 3}, x);
    gc_expect(c, lh_argmax(c, t, 2), (double[]){0, 2, 1, 0}, 4, 0);
    gc_expect(c, lh_argmax(c, t, 1), (double[]){0, 0, 1, 1, 0, 0}, 6, 0);
    gc_expect(c, lh_argmax(c, t, 0), (double[]){0, 1, 0, 0, 1, 0}, 6, 0);
    const int32_t index[5] = {1, 0, 1, -1, 1}, keep[5] = {1, 1, 0, 1, 1};
    lh_tensor *entries = lh_from_host(c, LH_I32, 3, (int64_t[]){1, 1, 5}, index);
    lh_tensor *kept = lh_from_host(c, LH_I32, 2, (int64_t[]){1, 5}, keep);
    lh_grouping g;
    assert_true(lh_group(c, entries, 3, NULL, true, &g));
    gc_expect(c, g.start, (double[]){0, 1, 4, 4}, 4, 0);
    gc_expect(c, g.order, (double[]){1, 0, 2, 4, -1}, 5, 0);
    gc_expect(c, g.low, (double[]){0, 1, 1, 1, 0}, 5, 0);
    gc_expect(c, g.high, (double[]){1, 4, 4, 4, 0}, 5, 0);
    double y[5] = {1, 2, 3, 4, 6};
    lh_tensor *rows = gc_tensor(c, 4, (int64_t[]){1, 1, 5, 1}, y);
    gc_expect(c, lh_group_mean(c, rows, &g, 1.0), (double[]){1, 2.5, 0}, 3, 1e-15);
    lh_tensor *sum = lh_new(c, LH_F64, 3, (int64_t[]){1, 3, 1}, true);
    lh_tensor *total = lh_new(c, LH_F64, 2, (int64_t[]){1, 3}, true);
    assert_true(lh_group(c, entries, 3, kept, false, &g));
    lh_group_totals(c, rows, &g, sum, total);
    lh_group_totals(c, rows, &g, sum, total);
    gc_expect(c, sum, (double[]){4, 14, 0}, 3, 1e-15);
    gc_expect(c, total, (double[]){2, 4, 0}, 3, 0);
    lh_tensor *first;
    gc_expect(c, lh_group_latest(c, entries, NULL, 3, 2, &first), (double[]){0, 2, -1, -1, 2, 4}, 6, 0);
    gc_expect(c, first, (double[]){0, 2, 0}, 3, 0);
    lh_tensor *own = lh_from_host(c, LH_I32, 3, (int64_t[]){1, 1, 3}, (int32_t[]){0, 2, -1});
    gc_expect(c, lh_group_latest(c, entries, own, 3, 2, &first), (double[]){-1, 1, -1, -1, -1, -1}, 6, 0);
    gc_expect(c, first, (double[]){1, 2, 2}, 3, 0);
    /* keys 0, 2, 4 in group 1 and 1 in group 0; queries of groups 1 0 1 at times 1 2 3, and one of a group without
     * keys */
    const int32_t queries_of[4] = {1, 0, 1, 2};
    lh_grouping queries;
    lh_tensor *low, *high, *query_entries = lh_from_host(c, LH_I32, 3, (int64_t[]){1, 1, 4}, queries_of);
    assert_true(lh_group(c, entries, 3, NULL, false, &g) && lh_group(c, query_entries, 3, NULL, false, &queries));
    assert_true(lh_group_seen(c, &queries, &g, 1, 2, &low, &high));
    gc_expect(c, low, (double[]){0, 1, 1, 4}, 4, 0);
    gc_expect(c, high, (double[]){1, 2, 3, 4}, 4, 0);
    assert_true(lh_group_seen(c, &queries, &g, 2, 1, &low, &high));
    gc_expect(c, low, (double[]){0, 2, 3, 4}, 4, 0);
    gc_expect(c, high, (double[]){1, 3, 4, 4}, 4, 0);
    double scores[8] = {1, 9, 3, 8, 2, 7, 3, 6}; /* two columns */
    lh_tensor *s = gc_tensor(c, 3, (int64_t[]){1, 4, 2}, scores);
    gc_expect(c, lh_top_so_far(c, s, 4, 2), (double[]){1, 1, 1, 1, 1, 0, 1, 0}, 8, 0);
    gc_expect(c, lh_top_so_far(c, s, 1, 1), (double[]){0, 0}, 2, 0); /* the earlier 3 stands before the later */
    const int32_t triples[6] = {0, 3, 0, 0, 0, 1};
    gc_expect(c, lh_top_so_far_lists(c, s, 2, triples, 2, &first), (double[]){1, 3, -1, 0}, 4, 0);
    gc_expect(c, first, (double[]){0, 1}, 2, 0);
}

static void pooling_values(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    double x[28], want[28];
    fill_waves(x, 28, 2.3);
    lh_tensor *t = gc_tensor(c, 3, (int64_t[]){2, 7, 2}, x);
    for (int maximum = 0; maximum < 2; maximum++) {
        for (int at = 0; at < 12; at++) { /* kernel 3, stride 2: three positions */
            int i = at % 2, o = at / 2 % 3, b = at / 6;
            double best = -INFINITY, sum = 0;
            for (int k = 0; k < 3; k++) {
                double value = x[(b * 7 + o * 2 + k) * 2 + i];
                best = fmax(best, value);
                sum += value;
            }
            want[at] = maximum ? best : sum / 3;
        }
        lh_tensor *y = lh_pool1d(c, t, 3, 2, maximum);
        gc_expect_shape(y, 3, (int64_t[]){2, 3, 2});
        gc_expect(c, y, want, 12, 1e-15);
    }
    group_values(c);
    double rows[14] = {1, 5, 5, 2, 5, 0, 5, 9, -1, 9, 3, 3, 3, NAN};
    lh_tensor *r = gc_tensor(c, 2, (int64_t[]){2, 7}, rows);
    gc_expect(c, lh_top_k(c, r, 3, false), (double[]){1, 2, 4, 0, 2, 3}, 6, 0);
    gc_expect(c, lh_top_k(c, r, 3, true), (double[]){2, 4, 6, 0, 2, 5}, 6, 0);
    gc_expect(c, lh_top_k(c, r, 7, true), (double[]){0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6}, 14, 0);
    gc_expect_shape(lh_top_k(c, r, 0, true), 2, (int64_t[]){2, 0});
    lh_context_free(c);
}

static void loss_values(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    enum { TOKENS = 5, WIDTH = 3, VOCAB = 7 };
    double h[TOKENS * WIDTH], w[VOCAB * WIDTH], bias[VOCAB], weight[TOKENS] = {1, 2, 0.5, 0, 3}, nll[TOKENS];
    double logits[TOKENS * VOCAB], plain[TOKENS], total = 0, plain_total = 0, best[TOKENS] = {0};
    fill_waves(h, TOKENS * WIDTH, 1.2);
    fill_waves(w, VOCAB * WIDTH, 2.2);
    fill_waves(bias, VOCAB, 0.5);
    for (int t = 0; t < TOKENS; t++) {
        double sum = 0;
        for (int v = 0; v < VOCAB; v++) {
            double dot = 0;
            for (int i = 0; i < WIDTH; i++) {
                dot += h[t * WIDTH + i] * w[v * WIDTH + i];
            }
            logits[t * VOCAB + v] = 0.5 * dot + bias[v];
            best[t] = logits[t * VOCAB + v] > logits[t * VOCAB + (int)best[t]] ? v : best[t];
            sum += exp(logits[t * VOCAB + v]);
        }
        bool scored = loss_targets[t] >= 0;
        plain[t] = scored ? log(sum) - logits[t * VOCAB + loss_targets[t]] : 0;
        nll[t] = scored ? plain[t] + 0.1 * log(sum) * log(sum) : 0;
        total += weight[t] * nll[t];
        plain_total += plain[t];
    }
    int64_t tokens = TOKENS;
    lh_tensor *targets = gc_ids(c, 1, &tokens, loss_targets), *token_nll = NULL;
    lh_tensor *loss = lh_linear_cross_entropy(
        c, gc_tensor(c, 2, (int64_t[]){TOKENS, WIDTH}, h), gc_tensor(c, 2, (int64_t[]){VOCAB, WIDTH}, w),
        gc_tensor(c, 1, (int64_t[]){VOCAB}, bias), targets, gc_tensor(c, 1, &tokens, weight), 0.5, 0.1, &token_nll);
    gc_expect(c, loss, &total, 1, 1e-13);
    gc_expect(c, token_nll, nll, TOKENS, 1e-13);
    lh_tensor *token_best = NULL;
    loss = lh_linear_cross_entropy_best(c, gc_tensor(c, 2, (int64_t[]){TOKENS, WIDTH}, h),
                                        gc_tensor(c, 2, (int64_t[]){VOCAB, WIDTH}, w),
                                        gc_tensor(c, 1, (int64_t[]){VOCAB}, bias), targets,
                                        gc_tensor(c, 1, &tokens, weight), 0.5, 0.1, &token_nll, &token_best);
    gc_expect(c, loss, &total, 1, 1e-13);
    gc_expect(c, token_nll, nll, TOKENS, 1e-13);
    gc_expect(c, token_best, best, TOKENS, 0);
    loss = lh_cross_entropy(c, gc_tensor(c, 2, (int64_t[]){TOKENS, VOCAB}, logits), targets, NULL, &token_nll);
    gc_expect(c, loss, &plain_total, 1, 1e-13);
    gc_expect(c, token_nll, plain, TOKENS, 1e-13);
    lh_context_free(c);
}

/* More tokens than fit one tile of logits: the same as token by token. */
static void loss_of_many_tiles(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 2);
    lh_error error = {0};
    const int64_t tokens = 150, width = 4, vocab = 40000; /* a tile holds 52 rows of doubles */
    lh_tensor *w = gc_random_tensor(c, LH_F64, 2, (int64_t[]){vocab, width}, 1);
    lh_tensor *leaf = NULL;
    assert_int_equal(lh_tensor_create(&leaf, lh_backend_cpu(), LH_F64, 2, (int64_t[]){tokens, width}, "h", &error),
                     LH_OK);
    assert_int_equal(lh_tensor_create_grad(leaf, &error), LH_OK);
    double h[600], *whole, *part, best[150], sum = 0;
    fill_waves(h, 600, 0.37);
    assert_int_equal(lh_tensor_write(leaf, h, &error), LH_OK);
    int32_t ids[150];
    for (int t = 0; t < 150; t++) {
        ids[t] = t % 7 == 3 ? -1 : t * 263;
    }
    lh_tensor *targets = gc_ids(c, 1, &tokens, ids);
    lh_tensor *ids_of_best = NULL, *top = NULL;
    lh_tensor *loss = lh_linear_cross_entropy_best(c, leaf, w, NULL, targets, NULL, 1.0, 0.0, NULL, &ids_of_best);
    top = lh_top_k(c, lh_linear(c, lh_detach(c, leaf), w, NULL), 1, false);
    lh_to_host(c, top, best);
    gc_expect(c, ids_of_best, best, 150, 0);
    double total = lh_scalar(c, loss);
    lh_backward(c, loss, 1.0);
    whole = gc_read(c, leaf->grad);
    for (int t = 0; t < 150; t += 29) {
        memset(h, 0, sizeof h);
        assert_int_equal(lh_tensor_write(leaf->grad, h, &error), LH_OK);
        lh_tensor *row = lh_slice(c, leaf, 0, t, 1);
        loss = lh_linear_cross_entropy(c, row, w, NULL, lh_slice(c, targets, 0, t, 1), NULL, 1.0, 0.0, NULL);
        lh_backward(c, loss, 1.0);
        part = gc_read(c, leaf->grad);
        for (int i = 0; i < 4; i++) {
            assert_true(fabs(part[t * 4 + i] - whole[t * 4 + i]) < 1e-12);
        }
        free(part);
    }
    for (int t = 0; t < 150; t++) {
        sum += lh_scalar(c, lh_linear_cross_entropy(c, lh_slice(c, lh_detach(c, leaf), 0, t, 1), w, NULL,
                                                    lh_slice(c, targets, 0, t, 1), NULL, 1.0, 0.0, NULL));
    }
    assert_true(fabs(sum - total) < 1e-9 * fabs(total));
    free(whole);
    lh_tensor_free(leaf);
    lh_context_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients),         cmocka_unit_test(product_values),     cmocka_unit_test(norm_values),
        cmocka_unit_test(activation_values), cmocka_unit_test(embedding_values),   cmocka_unit_test(rope_values),
        cmocka_unit_test(position_tables),   cmocka_unit_test(convolution_values), cmocka_unit_test(pooling_values),
        cmocka_unit_test(loss_values),       cmocka_unit_test(loss_of_many_tiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
