/* Attention: gradients, values against a dense formula, merging, mass, dropout. */
#include "cases_attention.h"

static void gradients(void **state)
{
    (void)state;
    gc_check_all(attention_cases, sizeof attention_cases / sizeof *attention_cases);
}

/* All elements, or NULL for a missing tensor. */
static double *maybe_read(lh_context *c, const lh_tensor *x)
{
    return x ? gc_read(c, x) : NULL;
}

/* Is key j in the lists of query i of this lane? How often (lists may name a key twice)? */
static int times_listed(lh_context *c, const lh_key_source *s, int64_t lane, int64_t q_len, int64_t i, int64_t j)
{
    if (s->layout == LH_KEYS_DENSE) {
        return 1;
    }
    int times = 0;
    if (s->layout == LH_KEYS_GATHERED) {
        double *rows = gc_read(c, s->gather);
        int64_t n = s->gather->shape[3];
        for (int64_t g = 0; g < n; g++) {
            times += rows[(lane * q_len + i) * n + g] == (double)j;
        }
        free(rows);
        return times;
    }
    double *tile_row = gc_read(c, s->tile_row), *tile = gc_read(c, s->tile_start);
    double *column_row = gc_read(c, s->column_row), *column = gc_read(c, s->column);
    int64_t block = lane * ((q_len + s->block_size - 1) / s->block_size) + i / s->block_size;
    int64_t distance = i - j + s->offset;
    for (int64_t t = (int64_t)tile_row[block]; t < (int64_t)tile_row[block + 1]; t++) {
        times += (double)j >= tile[t] && (double)j < tile[t] + (double)s->block_size &&
                 distance >= s->min_distance && distance <= s->max_distance;
    }
    for (int64_t t = (int64_t)column_row[block]; t < (int64_t)column_row[block + 1]; t++) {
        times += column[t] == (double)j;
    }
    free(tile_row);
    free(tile);
    free(column_row);
    free(column);
    return times;
}

static bool seen(const lh_key_source *s, const double *low, const double *high, int64_t at, int64_t i, int64_t j)
{
    int64_t distance = i - j + s->offset;
    if (s->layout != LH_KEYS_DENSE) {
        return true; /* the lists decide */
    }
    return distance >= s->min_distance && distance <= s->max_distance &&
           (!low || ((double)j >= low[at] && (double)j < high[at]));
}

/* Keys or values, times the factors of their rows if they have any. */
static double *stored_rows(lh_context *c, const lh_tensor *rows, const lh_tensor *factors)
{
    double *values = gc_read(c, rows), *scale = maybe_read(c, factors);
    for (int64_t i = 0; scale && i < lh_tensor_count(rows); i++) {
        values[i] *= scale[i / rows->shape[3]];
    }
    free(scale);
    return values;
}

/* The formula of kernels/args.h with the whole matrix of logits, for one source. */
static void dense(lh_context *c, const lh_tensor *q, const attention_use *use, double *out, double *lse)
{
    const lh_key_source *s = &use->source;
    int64_t batch = q->shape[0], heads = q->shape[1], n = q->shape[2], width = q->shape[3];
    int64_t kv_heads = s->k->shape[1], m = s->k->shape[2], v_width = s->v->shape[3];
    double *vq = gc_read(c, q), *vk = stored_rows(c, s->k, s->k_scale), *vv = stored_rows(c, s->v, s->v_scale);
    double *u = maybe_read(c, s->content_bias), *p = maybe_read(c, s->position_bias);
    double *rel = maybe_read(c, s->rel_k), *rel_v = maybe_read(c, s->rel_v),
           *dist = maybe_read(c, s->distance_bias);
    double *key = maybe_read(c, s->key_bias), *head_scale = maybe_read(c, use->options.head_scale);
    double *low = maybe_read(c, s->low), *high = maybe_read(c, s->high);
    const lh_tensor *table = s->rel_k ? s->rel_k : s->rel_v ? s->rel_v : s->distance_bias;
    int64_t rel_len = table ? table->shape[1] : 0;
    for (int64_t lane = 0; lane < batch * heads; lane++) {
        int64_t b = lane / heads, h = lane % heads, kb = s->k->shape[0] == 1 ? 0 : b;
        int64_t kv = kb * kv_heads + h * kv_heads / heads;
        int64_t vv_row = (s->v->shape[0] == 1 ? 0 : b) * kv_heads + h * kv_heads / heads;
        double scale = (use->options.scale != 0 ? use->options.scale : 1 / sqrt((double)width)) *
                       (head_scale ? head_scale[h] : 1);
        for (int64_t i = 0; i < n; i++) {
            double sum = use->options.has_null ? exp(use->options.null_logit) : 0;
            double *row = &out[(lane * n + i) * v_width];
            memset(row, 0, sizeof *row * (size_t)v_width);
            for (int64_t j = 0; j < m; j++) {
                int64_t at = 0;
                if (low) {
                    at =
                        ((s->low->shape[0] == 1 ? 0 : b) * s->low->shape[1] + (s->low->shape[1] == 1 ? 0 : h)) * n +
                        i;
                }
                if (!seen(s, low, high, at, i, j)) {
                    continue;
                }
                double content = 0, position = 0, added = 0;
                int64_t t = i - s->rel_step * j + s->rel_offset - s->rel_first;
                bool inside = t >= 0 && t < rel_len;
                t = t < 0 ? 0 : t >= rel_len ? rel_len - 1 : t;
                for (int64_t x = 0; x < width; x++) {
                    double qx = vq[(lane * n + i) * width + x];
                    content += (qx + (u ? u[h * width + x] : 0)) * vk[(kv * m + j) * width + x];
                    if (rel && (inside || s->rel_clamp)) {
                        position += (qx + (p ? p[h * width + x] : 0)) * rel[(h * rel_len + t) * width + x];
                    }
                }
                if (dist && (inside || s->rel_clamp)) {
                    added = dist[h * rel_len + t];
                }
                double logit =
                    scale * (content + position + (s->bias_scaled ? added : 0)) + (s->bias_scaled ? 0 : added);
                if (key) {
                    int64_t kb_row = (s->key_bias->shape[0] == 1 ? 0 : b) * s->key_bias->shape[1] +
                                     (s->key_bias->shape[1] == 1 ? 0 : h);
                    logit += key[kb_row * m + j];
                }
                double weight = exp(logit) * times_listed(c, s, lane, n, i, j);
                sum += weight;
                for (int64_t x = 0; x < v_width; x++) {
                    row[x] += weight * vv[(vv_row * m + j) * v_width + x];
                    if (rel_v && (inside || s->rel_clamp)) {
                        row[x] += weight * rel_v[(h * rel_len + t) * v_width + x];
                    }
                }
            }
            for (int64_t x = 0; x < v_width; x++) {
                row[x] = sum > 0 ? row[x] / sum : 0;
            }
            lse[lane * n + i] = log(sum);
        }
    }
    double *all[] = {vq, vk, vv, u, p, rel, rel_v, dist, key, head_scale, low, high};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}

static void values(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 2);
    int compared = 0;
    for (size_t i = 0; i < sizeof attention_cases / sizeof *attention_cases; i++) {
        const gc_case *gc = &attention_cases[i];
        if (gc->function != run_attention_case || gc->training) {
            continue;
        }
        gc_leaves leaves;
        gc_leaves_create(&leaves, gc, GC_PLAIN, LH_F64, lh_backend_cpu());
        for (int k = 0; k < leaves.count; k++) {
            gc_upload(&leaves, k);
        }
        lh_context_reset(c);
        attention_use use = use_of(c, leaves.leaf, gc);
        lh_tensor *lse = NULL, *out = lh_attention(c, leaves.leaf[0], 1, &use.source, &use.options, &lse);
        gc_require_ok(c, gc, "forward");
        int64_t n = lh_tensor_count(out), rows = lh_tensor_count(lse);
        double *want = calloc((size_t)n + 1, sizeof *want), *want_lse = calloc((size_t)rows + 1, sizeof *want_lse);
        dense(c, leaves.leaf[0], &use, want, want_lse);
        double *got = gc_read(c, out), *got_lse = gc_read(c, lse);
        for (int64_t k = 0; k < n + rows; k++) {
            double a = k < n ? got[k] : got_lse[k - n], b = k < n ? want[k] : want_lse[k - n];
            if (!(a == b || fabs(a - b) < 1e-12 * (1 + fabs(b)))) {
                fail_msg("%s: element %lld is %.15g, expected %.15g", gc->name, (long long)k, a, b);
            }
        }
        compared++;
        free(want);
        free(want_lse);
        free(got);
        free(got_lse);
        gc_leaves_free(&leaves);
    }
    assert_true(compared > 30);
    lh_context_free(c);
}

/* Merging is exact: however far apart the parts are, and where one or both saw nothing. */
static void merging(void **state)
{
    (void)state;
    for (int single = 0; single < 2; single++) {
        lh_dtype dtype = single ? LH_F32 : LH_F64;
        lh_context *c = gc_context(lh_backend_cpu(), 1);
        double a[5] = {2, 1000, -1000, -INFINITY, -INFINITY}, b[5] = {1, -1000, 1000, 3, -INFINITY};
        double oa[5] = {1, 2, 3, 0, 0}, ob[5] = {-1, -2, -3, 7, 0};
        double share = 1 / (1 + exp(-1.0));
        double want[5] = {2 * share - 1, 2, -3, 7, 0},
               want_lse[5] = {2 + log1p(exp(-1.0)), 1000, 1000, 3, -INFINITY};
        int64_t four[4] = {1, 1, 5, 1}, three[3] = {1, 1, 5};
        lh_tensor *la = lh_cast(c, gc_tensor(c, 3, three, a), dtype);
        lh_tensor *lb = lh_cast(c, gc_tensor(c, 3, three, b), dtype);
        lh_tensor *ta = lh_cast(c, gc_tensor(c, 4, four, oa), dtype);
        lh_tensor *tb = lh_cast(c, gc_tensor(c, 4, four, ob), dtype), *lse = NULL;
        lh_tensor *out = lh_attention_merge(c, ta, la, tb, lb, &lse);
        gc_expect(c, out, want, 5, single ? 1e-6 : 1e-14);
        gc_expect(c, lse, want_lse, 5, single ? 1e-6 : 1e-14);
        lh_context_free(c);
    }
}

/* Attention over all keys is attention over parts of them, merged; mass is the sum of probabilities. */
static void parts_and_mass(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 2);
    lh_tensor *q = gc_random_tensor(c, LH_F64, 4, (int64_t[]){2, 4, 6, 3}, 1);
    lh_tensor *k = gc_random_tensor(c, LH_F64, 4, (int64_t[]){2, 2, 9, 3}, 2);
    lh_tensor *v = gc_random_tensor(c, LH_F64, 4, (int64_t[]){2, 2, 9, 5}, 3);
    lh_attention_options options = {0};
    lh_key_source whole = lh_key_source_causal(k, v, 6), part[2];
    for (int side = 0; side < 2; side++) {
        part[side] = lh_key_source_causal(lh_slice(c, k, 2, side ? 4 : 0, side ? 5 : 4),
                                          lh_slice(c, v, 2, side ? 4 : 0, side ? 5 : 4), 6);
        part[side].offset = side ? -1 : 3;
    }
    lh_tensor *lse = NULL, *lses[2], *outs[2], *lse_two = NULL, *lse_merged = NULL, *mass[2];
    lh_tensor *out = lh_attention(c, q, 1, &whole, &options, &lse);
    lh_tensor *two = lh_attention(c, q, 2, part, &options, &lse_two);
    for (int side = 0; side < 2; side++) {
        outs[side] = lh_attention(c, q, 1, &part[side], &options, &lses[side]);
    }
    lh_tensor *merged = lh_attention_merge(c, outs[0], lses[0], outs[1], lses[1], &lse_merged);
    double *want = gc_read(c, out), *want_lse = gc_read(c, lse);
    gc_expect(c, two, want, 2 * 4 * 6 * 5, 1e-13);
    gc_expect(c, lse_two, want_lse, 2 * 4 * 6, 1e-13);
    gc_expect(c, merged, want, 2 * 4 * 6 * 5, 1e-13);
    gc_expect(c, lse_merged, want_lse, 2 * 4 * 6, 1e-13);
    /* the heads merge without a copy, as of attention itself */
    assert_true(lh_tensor_contiguous(lh_transpose(c, out, 1, 2)));
    assert_true(lh_tensor_contiguous(lh_transpose(c, merged, 1, 2)));
    /* with values that name their key, the output is the probability itself */
    double eye[81] = {0};
    for (int j = 0; j < 9; j++) {
        eye[j * 9 + j] = 1;
    }
    lh_tensor *names = lh_expand(c, lh_expand(c, gc_tensor(c, 4, (int64_t[]){1, 1, 9, 9}, eye), 0, 2), 1, 2);
    lh_key_source named = lh_key_source_causal(k, names, 6);
    lh_tensor *probabilities = lh_attention(c, q, 1, &named, &options, NULL);   /* [2, 4, 6, 9] */
    lh_tensor *column_sums = lh_sum_dim(c, lh_sum_dim(c, probabilities, 1), 1); /* [2, 9] */
    double *sums = gc_read(c, lh_scale(c, column_sums, 0.25));
    lh_attention_mass(c, q, 2, part, &options, lse_two, 0.25, mass);
    double *left = gc_read(c, mass[0]), *right = gc_read(c, mass[1]);
    for (int b = 0; b < 2; b++) {
        for (int j = 0; j < 9; j++) {
            double got = j < 4 ? left[b * 4 + j] : right[b * 5 + j - 4];
            assert_true(fabs(got - sums[b * 9 + j]) < 1e-13);
        }
    }
    free(want);
    free(want_lse);
    free(sums);
    free(left);
    free(right);
    lh_context_free(c);
}

/* Kept probabilities are scaled up and the rest are gone; another call draws anew; the log-sum knows nothing of it.
 */
static void dropout(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 2);
    enum { N = 40, M = 50 };
    c->training = true;
    static double eye[M * M], zeros[N * M];
    for (int j = 0; j < M; j++) {
        eye[j * M + j] = 1;
    }
    lh_tensor *q = gc_tensor(c, 4, (int64_t[]){1, 1, N, 1}, zeros);
    lh_tensor *k = gc_tensor(c, 4, (int64_t[]){1, 1, M, 1}, zeros);
    lh_tensor *v = gc_tensor(c, 4, (int64_t[]){1, 1, M, M}, eye), *lse = NULL;
    lh_key_source source = lh_key_source_all(k, v);
    lh_attention_options options = {.dropout = 0.4};
    double *first = gc_read(c, lh_attention(c, q, 1, &source, &options, &lse));
    double *second = gc_read(c, lh_attention(c, q, 1, &source, &options, NULL)), *sums = gc_read(c, lse);
    int kept = 0, same = 0;
    for (int i = 0; i < N * M; i++) {
        assert_true(first[i] == 0 || fabs(first[i] - 1.0 / M / 0.6) < 1e-12);
        kept += first[i] != 0;
        same += (first[i] != 0) == (second[i] != 0);
    }
    assert_true(fabs(kept - 0.6 * N * M) < 5 * sqrt(N * M * 0.24));
    assert_true(fabs(same - 0.52 * N * M) < 5 * sqrt(N * M * 0.52 * 0.48));
    for (int i = 0; i < N; i++) {
        assert_true(fabs(sums[i] - log((double)M)) < 1e-12);
    }
    free(first);
    free(second);
    free(sums);
    lh_context_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients),      cmocka_unit_test(values),  cmocka_unit_test(merging),
        cmocka_unit_test(parts_and_mass), cmocka_unit_test(dropout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
