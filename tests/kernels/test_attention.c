/* The plain C attention against a dense implementation written separately, and its gradients against differences of
 * that one. */
#include "kernels/attention_problem.h"

#define MAX_ENTRIES 512

/* One key that a query sees: found by trying every key with the words of the contract. */
typedef struct entry {
    int source;
    int64_t key;
    double logit;
} entry;

static double at(const lh_strided *s, int64_t b, int64_t h, int64_t i, int64_t c)
{
    return ((const double *)s->data)[b * s->batch + h * s->head + i * s->row + c];
}

static bool rule_lets_see(const lh_attention_source *s, int64_t b, int64_t h, int64_t i, int64_t j)
{
    int64_t distance = i - j + s->offset;
    bool seen = distance >= s->min_distance && distance <= s->max_distance;
    if (s->low) {
        seen = seen && j >= s->low[b * s->interval_batch + h * s->interval_head + i];
    }
    if (s->high) {
        seen = seen && j < s->high[b * s->interval_batch + h * s->interval_head + i];
    }
    return seen;
}

/* How often query i meets key j: lists may name a key more than once. */
static int meetings(const lh_attention_args *args, const lh_attention_source *s, int64_t b, int64_t h, int64_t i,
                    int64_t j)
{
    int64_t lane = b * args->heads + h;
    int count = 0;
    if (s->layout == LH_KEYS_DENSE) {
        return rule_lets_see(s, b, h, i, j);
    }
    if (s->layout == LH_KEYS_GATHERED) {
        for (int64_t g = 0; g < s->gathered; g++) {
            count += s->gather[(lane * args->q_len + i) * s->gathered + g] == j;
        }
        return count;
    }
    int64_t block = lane * ((args->q_len + s->block_size - 1) / s->block_size) + i / s->block_size;
    for (int t = s->tile_row[block]; t < s->tile_row[block + 1]; t++) {
        bool inside = j >= s->tile_start[t] && j < s->tile_start[t] + s->block_size;
        count += inside && rule_lets_see(s, b, h, i, j);
    }
    for (int t = s->column_row[block]; t < s->column_row[block + 1]; t++) {
        count += s->column[t] == j;
    }
    return count;
}

/* The row of the relative tables for query i and key j, or -1. */
static int64_t rel_row(const lh_attention_source *s, int64_t i, int64_t j)
{
    int64_t t = i - s->rel_step * j + s->rel_offset - s->rel_first;
    if (s->rel_len <= 0 || (!s->rel_clamp && (t < 0 || t >= s->rel_len))) {
        return -1;
    }
    return t < 0 ? 0 : t >= s->rel_len ? s->rel_len - 1 : t;
}

static double naive_logit(const lh_attention_args *args, const lh_attention_source *s, int64_t b, int64_t h,
                          int64_t i, int64_t j)
{
    int64_t kv = h / (args->heads / args->kv_heads), width = args->qk_width;
    const double *u = s->content_bias, *w = s->position_bias, *rel_k = s->rel_k, *bias = s->distance_bias;
    int64_t t = rel_row(s, i, j);
    bool has_rel = t >= 0;
    double sum = 0, scale = args->scale * (args->head_scale ? ((const double *)args->head_scale)[h] : 1);
    for (int64_t c = 0; c < width; c++) {
        sum += (at(&args->q, b, h, i, c) + (u ? u[h * width + c] : 0)) * at(&s->k, b, kv, j, c);
        if (rel_k && has_rel) {
            sum += (at(&args->q, b, h, i, c) + (w ? w[h * width + c] : 0)) *
                   rel_k[h * s->rel_k_head + t * s->rel_k_row + c];
        }
    }
    double distance = bias && has_rel ? bias[h * s->rel_len + t] : 0;
    double key = s->key_bias ? ((const double *)s->key_bias)[b * s->key_bias_batch + h * s->key_bias_head + j] : 0;
    return scale * (sum + (s->bias_scaled ? distance : 0)) + (s->bias_scaled ? 0 : distance) + key;
}

/* out [v_width] and lse of one query, and its probabilities before dropout. */
static int naive_row(const lh_attention_args *args, int64_t b, int64_t h, int64_t i, double *out, double *lse,
                     entry *entries)
{
    int count = 0;
    double largest = args->has_null ? args->null_logit : (double)-INFINITY;
    for (int s = 0; s < args->source_count; s++) {
        for (int64_t j = 0; j < args->source[s].k_len; j++) {
            for (int m = meetings(args, &args->source[s], b, h, i, j); m > 0; m--) {
                assert_true(count < MAX_ENTRIES);
                entries[count] = (entry){s, j, naive_logit(args, &args->source[s], b, h, i, j)};
                largest = fmax(largest, entries[count++].logit);
            }
        }
    }
    double sum = args->has_null ? exp(args->null_logit - largest) : 0;
    for (int e = 0; e < count; e++) {
        sum += largest == (double)-INFINITY ? 0 : exp(entries[e].logit - largest);
    }
    *lse = sum > 0 ? largest + log(sum) : (double)-INFINITY;
    for (int64_t c = 0; c < args->v_width; c++) {
        out[c] = 0;
    }
    for (int e = 0; e < count && sum > 0; e++) {
        double p = exp(entries[e].logit - *lse);
        if (args->dropout > 0) {
            uint32_t row = lh_attention_row_key(args->dropout_seed, args->dropout_offset, b * args->heads + h, i,
                                                entries[e].source);
            bool keep = lh_attention_keep(row, entries[e].key, lh_dropout_threshold(args->dropout));
            p = keep ? p / (1 - args->dropout) : 0;
        }
        const lh_attention_source *source = &args->source[entries[e].source];
        const double *rel_v = source->rel_v;
        int64_t t = rel_row(source, i, entries[e].key);
        for (int64_t c = 0; c < args->v_width; c++) {
            out[c] += p * at(&source->v, b, h / (args->heads / args->kv_heads), entries[e].key, c);
            if (rel_v && t >= 0) {
                out[c] += p * rel_v[h * source->rel_v_head + t * source->rel_v_row + c];
            }
        }
    }
    return count;
}

static int64_t lane_of(const lh_attention_args *args, int64_t b, int64_t h, int64_t i)
{
    return (b * args->heads + h) * args->q_len + i;
}

/* sum of d_out * out + d_lse * lse: its gradient is what the backward pass computes. */
static double naive_loss(const lh_attention_args *args)
{
    double loss = 0, out[64], lse;
    entry entries[MAX_ENTRIES];
    for (int64_t b = 0; b < args->batch; b++) {
        for (int64_t h = 0; h < args->heads; h++) {
            for (int64_t i = 0; i < args->q_len; i++) {
                naive_row(args, b, h, i, out, &lse, entries);
                for (int64_t c = 0; c < args->v_width; c++) {
                    loss += out[c] * at(&args->d_out, b, h, i, c);
                }
                if (args->d_lse && lse != (double)-INFINITY) {
                    loss += lse * ((const double *)args->d_lse)[lane_of(args, b, h, i)];
                }
            }
        }
    }
    return loss;
}

static void check_close(const char *what, uint64_t seed, double got, double wanted, double tolerance)
{
    if (got == wanted) {
        return;
    }
    if (!(fabs(got - wanted) <= tolerance * (1 + fabs(wanted)))) {
        fail_msg("seed %llu: %s is %.9g, expected %.9g", (unsigned long long)seed, what, got, wanted);
    }
}

static const problem_limits small = {.batch = 2,
                                     .heads = 4,
                                     .q_len = 7,
                                     .k_len = 11,
                                     .width = 9,
                                     .sources = 3,
                                     .other_layouts = true,
                                     .exotic = true};

static lh_kernel kernel_of(bool f32, lh_kernel_id id)
{
    const lh_kernel_table *table = lh_kernel_table_get(LH_CPU_REF);
    return f32 ? table->f32[id] : table->f64[id];
}

static void test_forward(void **state)
{
    (void)state;
    lh_exec exec = {.threads = 2};
    entry entries[MAX_ENTRIES];
    for (uint64_t seed = 0; seed < 300; seed++) {
        problem *p = problem_create(seed, &small);
        kernel_of(false, LH_KERNEL_ATTENTION)(&exec, &p->args);
        kernel_of(true, LH_KERNEL_ATTENTION)(&exec, &p->args_f32);
        for (int64_t b = 0; b < p->args.batch; b++) {
            for (int64_t h = 0; h < p->args.heads; h++) {
                for (int64_t i = 0; i < p->args.q_len; i++) {
                    double out[64], lse;
                    naive_row(&p->args, b, h, i, out, &lse, entries);
                    int64_t lane = lane_of(&p->args, b, h, i);
                    check_close("lse", seed, ((double *)p->args.lse)[lane], lse, 1e-12);
                    check_close("float lse", seed, (double)((float *)p->args_f32.lse)[lane], lse, 1e-6);
                    const lh_strided *o = &p->args_f32.out;
                    const float *row = (float *)o->data + b * o->batch + h * o->head + i * o->row;
                    for (int64_t c = 0; c < p->args.v_width; c++) {
                        check_close("out", seed, at(&p->args.out, b, h, i, c), out[c], 1e-12);
                        check_close("float out", seed, (double)row[c], out[c], 1e-6);
                    }
                }
            }
        }
        problem_free(p);
    }
    lh_exec_free(&exec);
}

/* The derivative of the naive loss by one input. */
static double difference(problem *p, double *input)
{
    double kept = *input, step = 1e-4;
    *input = kept + step;
    double above = naive_loss(&p->args);
    *input = kept - step;
    double below = naive_loss(&p->args);
    *input = kept;
    return (above - below) / (2 * step);
}

static double gained(const problem *p, const void *gradient, int64_t index)
{
    for (int a = 0; a < p->count; a++) {
        if (p->arrays[a].f64 == gradient) {
            return p->arrays[a].f64[index] - p->arrays[a].f64_start[index];
        }
    }
    fail_msg("not a gradient");
    return 0;
}

static void check_plain(problem *p, uint64_t seed, const char *name, const void *input, const void *gradient,
                        int64_t n)
{
    for (int trial = 0; gradient && n > 0 && trial < 3; trial++) {
        int64_t index = draw(p, 0, n - 1);
        double *address = (double *)(uintptr_t)input + index;
        if (isfinite(*address)) {
            check_close(name, seed, gained(p, gradient, index), difference(p, address), 2e-6);
        }
    }
}

/* Repeated inputs have several gradients that add up to the derivative. */
static void check_strided(problem *p, uint64_t seed, const char *name, const lh_strided *input,
                          const lh_strided *gradient, int64_t heads, int64_t length, int64_t width)
{
    for (int trial = 0; gradient->data && length > 0 && trial < 4; trial++) {
        int64_t b = draw(p, 0, p->args.batch - 1), h = draw(p, 0, heads - 1), i = draw(p, 0, length - 1);
        int64_t c = draw(p, 0, width - 1), place = b * input->batch + h * input->head;
        double sum = 0;
        for (int64_t other_b = 0; other_b < p->args.batch; other_b++) {
            for (int64_t other_h = 0; other_h < heads; other_h++) {
                if (other_b * input->batch + other_h * input->head == place) {
                    int64_t index = other_b * gradient->batch + other_h * gradient->head + i * gradient->row + c;
                    sum += gained(p, gradient->data, index);
                }
            }
        }
        check_close(name, seed, sum, difference(p, (double *)input->data + place + i * input->row + c), 2e-6);
    }
}

static void test_gradients(void **state)
{
    (void)state;
    lh_exec exec = {.threads = 2};
    for (uint64_t seed = 1000; seed < 1250; seed++) {
        problem *p = problem_create(seed, &small);
        lh_attention_args *args = &p->args;
        kernel_of(false, LH_KERNEL_ATTENTION)(&exec, args);
        kernel_of(false, LH_KERNEL_ATTENTION_BACKWARD)(&exec, args);
        check_strided(p, seed, "d_q", &args->q, &args->d_q, args->heads, args->q_len, args->qk_width);
        check_plain(p, seed, "d_head_scale", args->head_scale, args->d_head_scale, args->heads);
        for (int i = 0; i < args->source_count; i++) {
            lh_attention_source *s = &args->source[i];
            int64_t key_biases =
                s->k_len + (args->heads - 1) * s->key_bias_head + (args->batch - 1) * s->key_bias_batch;
            check_strided(p, seed, "d_k", &s->k, &s->d_k, args->kv_heads, s->k_len, args->qk_width);
            check_strided(p, seed, "d_v", &s->v, &s->d_v, args->kv_heads, s->k_len, args->v_width);
            check_plain(p, seed, "d_content_bias", s->content_bias, s->d_content_bias,
                        args->heads * args->qk_width);
            check_plain(p, seed, "d_position_bias", s->position_bias, s->d_position_bias,
                        args->heads * args->qk_width);
            check_plain(p, seed, "d_distance_bias", s->distance_bias, s->d_distance_bias, args->heads * s->rel_len);
            check_plain(p, seed, "d_key_bias", s->key_bias, s->d_key_bias, s->k_len > 0 ? key_biases : 0);
            check_plain(p, seed, "d_rel_k", s->rel_k, s->d_rel_k,
                        s->rel_len > 0 ? (args->heads - 1) * s->rel_k_head + (s->rel_len - 1) * s->rel_k_row : 0);
            check_plain(p, seed, "d_rel_v", s->rel_v, s->d_rel_v,
                        s->rel_len > 0 ? (args->heads - 1) * s->rel_v_head + (s->rel_len - 1) * s->rel_v_row : 0);
        }
        problem_free(p);
    }
    lh_exec_free(&exec);
}

/* The float gradients are those of double but for rounding. */
static void test_float_gradients(void **state)
{
    (void)state;
    lh_exec exec = {.threads = 2};
    for (uint64_t seed = 2000; seed < 2100; seed++) {
        problem *p = problem_create(seed, &small);
        for (int f32 = 0; f32 < 2; f32++) {
            const lh_attention_args *args = f32 ? &p->args_f32 : &p->args;
            kernel_of(f32, LH_KERNEL_ATTENTION)(&exec, args);
            kernel_of(f32, LH_KERNEL_ATTENTION_BACKWARD)(&exec, args);
        }
        for (int a = 0; a < p->count; a++) {
            for (int64_t i = 0; p->arrays[a].output && i < p->arrays[a].n; i++) {
                if (!isnan(p->arrays[a].f64_start[i])) {
                    check_close(p->arrays[a].name, seed, (double)p->arrays[a].f32[i], p->arrays[a].f64[i], 2e-5);
                }
            }
        }
        problem_free(p);
    }
    lh_exec_free(&exec);
}

static void test_mass(void **state)
{
    (void)state;
    lh_exec exec = {.threads = 2};
    problem_limits limits = small;
    limits.other_layouts = false;
    entry entries[MAX_ENTRIES];
    for (uint64_t seed = 3000; seed < 3150; seed++) {
        problem *p = problem_create(seed, &limits);
        lh_attention_mass_args mass = {.attention = p->args, .weight = 0.75};
        double got[3][32], wanted[3][32];
        for (int s = 0; s < 3; s++) {
            for (int j = 0; j < 32; j++) {
                got[s][j] = wanted[s][j] = s + j;
            }
            mass.mass[s] = chance(p, 0.8) ? got[s] : NULL;
        }
        kernel_of(false, LH_KERNEL_ATTENTION)(&exec, &p->args);
        kernel_of(false, LH_KERNEL_ATTENTION_MASS)(&exec, &mass);
        for (int64_t row = 0; row < p->args.batch * p->args.heads * p->args.q_len; row++) {
            int64_t i = row % p->args.q_len, lane = row / p->args.q_len, b = lane / p->args.heads;
            double out[64], lse;
            int count = naive_row(&p->args, b, lane % p->args.heads, i, out, &lse, entries);
            for (int e = 0; e < count && lse != (double)-INFINITY; e++) {
                wanted[entries[e].source][b * p->args.source[entries[e].source].k_len + entries[e].key] +=
                    0.75 * exp(entries[e].logit - lse);
            }
        }
        for (int s = 0; s < p->args.source_count; s++) {
            for (int j = 0; mass.mass[s] && j < 32; j++) {
                check_close("mass", seed, got[s][j], wanted[s][j], 1e-12);
            }
        }
        problem_free(p);
    }
    lh_exec_free(&exec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_float_gradients),
        cmocka_unit_test(test_mass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
