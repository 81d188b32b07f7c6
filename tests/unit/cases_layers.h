/* Uses of products, norms, activations, embeddings, position ops, convolutions, pooling and losses (see
 * gradcheck.h). */
#ifndef LH_TESTS_CASES_LAYERS_H
#define LH_TESTS_CASES_LAYERS_H

#include "gradcheck.h"

#ifndef CASE_UNUSED
#define CASE_UNUSED __attribute__((unused))
#endif

static lh_tensor *run_linear_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)gc;
    (void)second;
    return lh_linear(c, in[0], in[1], in[2]);
}

static lh_tensor *run_activation_linear_case(lh_context *c, lh_tensor *const *in, const gc_case *gc,
                                             lh_tensor **second)
{
    (void)second;
    int at = 2;
    lh_tensor *bias = gc->n[1] ? in[at++] : NULL, *out_bias = gc->n[2] ? in[at++] : NULL;
    return lh_activation_linear(c, in[0], bias, (lh_function)gc->n[0], in[1], out_bias);
}

static lh_tensor *run_gated_linear_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_gated_linear(c, in[0], gc->n[1] ? in[0] : in[1], (lh_function)gc->n[0], in[2 - gc->n[1]]);
}

/* Heads cut out of one joint projection: rows at an even distance that is not their width. */
static lh_tensor *run_linear_of_slice(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)gc;
    int64_t width = in[1]->shape[1];
    *second = lh_linear(c, lh_slice(c, in[0], in[0]->ndim - 1, 0, width), in[1], NULL);
    return lh_linear(c, lh_slice(c, in[0], in[0]->ndim - 1, width, width), in[1], NULL);
}

static lh_tensor *run_linear_of_itself(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)gc;
    (void)second;
    return lh_linear(c, in[0], in[0], NULL);
}

static lh_tensor *run_matmul_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_matmul(c, in[0], in[1], gc->n[0] != 0);
}

static lh_tensor *run_matmul_of_itself(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_matmul(c, in[0], in[0], gc->n[0] != 0);
}

/* n: how many of gain and bias are given */
static lh_tensor *run_layer_norm_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_layer_norm(c, in[0], gc->n[0] > 0 ? in[1] : NULL, gc->n[0] > 1 ? in[2] : NULL, 1e-5);
}

static lh_tensor *run_rms_norm_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_rms_norm(c, in[0], gc->n[0] > 0 ? in[1] : NULL, 1e-6);
}

/* n: rms, and which results are used (1 the sum, 2 the norm, 3 both) */
static lh_tensor *run_residual_norm_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    lh_tensor *sum = NULL;
    lh_tensor *y = lh_residual_norm(c, in[0], in[1], in[2], gc->n[0] ? NULL : in[3], 1e-5, gc->n[0] != 0, &sum);
    if (gc->n[1] == 1) {
        return sum;
    }
    *second = gc->n[1] == 3 ? sum : NULL;
    return y;
}

static lh_tensor *run_residual_norm_of_itself(lh_context *c, lh_tensor *const *in, const gc_case *gc,
                                              lh_tensor **second)
{
    (void)gc;
    lh_tensor *y = lh_residual_norm(c, in[0], in[0], in[1], NULL, 1e-5, true, second);
    return lh_multiply(c, y, *second); /* and the sum goes on after a second use */
}

static lh_tensor *run_bias_activation_case(lh_context *c, lh_tensor *const *in, const gc_case *gc,
                                           lh_tensor **second)
{
    (void)second;
    return lh_bias_activation(c, in[0], in[1], (lh_function)gc->n[0]);
}

static lh_tensor *run_gated_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_gated(c, in[0], (lh_function)gc->n[0]);
}

static lh_tensor *run_softmax_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)gc;
    *second = lh_log_softmax(c, in[0]);
    return lh_softmax(c, in[0]);
}

/* Only the distances: the quantised keys are steps, whose straight-through gradient no difference shows. */
static lh_tensor *run_quantise_distance(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    lh_tensor *distance = NULL, *codes = NULL;
    (void)second;
    (void)lh_quantise(c, in[0], in[1], gc->n[0] ? &codes : NULL, &distance);
    return distance;
}

/* n: a factor that spreads the codes; every fifth row is left out. */
static lh_tensor *run_code_means_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    int32_t count[64], codes[64];
    int64_t counts[3] = {in[0]->shape[0], in[0]->shape[1], in[0]->shape[2]};
    int64_t rows[3] = {in[1]->shape[0], in[1]->shape[1], in[1]->shape[2]};
    for (int64_t i = 0; i < gc_elements(3, counts); i++) {
        count[i] = (int32_t)(i % 3 == 0 ? 0 : i);
    }
    for (int64_t i = 0; i < gc_elements(3, rows); i++) {
        codes[i] = (int32_t)(i % 5 == 4 ? -(i % 2) : 1 + i * gc->n[0] % counts[2]);
    }
    lh_tensor *old = lh_from_host(c, LH_I32, 3, counts, count), *more = NULL;
    lh_tensor *mean = lh_code_means(c, in[0], old, lh_from_host(c, LH_I32, 3, rows, codes), in[1], &more);
    if (gc->n[1]) { /* two blocks: what the second leaves of the first */
        *second = lh_code_means(c, mean, more, lh_from_host(c, LH_I32, 3, rows, codes), in[1], &old);
    }
    return mean;
}

static lh_tensor *run_embedding_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    const int32_t ids[] = {1, 0, 1, -1, 3, 1};
    (void)second;
    int64_t shape[2] = {gc->n[0], gc->n[1]};
    return lh_embedding(c, in[0], lh_from_host(c, LH_I32, 2, shape, ids), gc->r[0]);
}

static lh_tensor *run_gather_rows_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    const int32_t index[] = {2, 2, -1, 0, 4};
    (void)second;
    return lh_gather_rows(c, in[0], lh_from_host(c, LH_I32, 1, &gc->n[0], index));
}

/* n: rotated, interleaved, positions per lane */
static lh_tensor *run_rope_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    static const double frequency[] = {1.0, 0.3, 0.05};
    const int32_t position[] = {5, 6, 7, 100, 0, 1};
    lh_rope_options options = {
        .rotated = gc->n[0], .interleaved = gc->n[1] != 0, .frequency = frequency, .magnitude = gc->r[0]};
    int64_t shape[2] = {in[0]->shape[0], in[0]->shape[1]};
    (void)second;
    bool lanes = gc->n[2] != 0;
    lh_tensor *positions = lh_from_host(c, LH_I32, lanes ? 2 : 1, lanes ? shape : &shape[1], position);
    return lh_rope(c, in[0], positions, &options);
}

static lh_tensor *run_t5_bias_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_t5_bias(c, in[0], gc->n[0], gc->n[1], gc->n[2]);
}

static lh_tensor *run_conv1d_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_conv1d(c, in[0], in[1], gc->n[0], gc->n[1]);
}

static lh_tensor *run_conv1d_transpose_case(lh_context *c, lh_tensor *const *in, const gc_case *gc,
                                            lh_tensor **second)
{
    (void)second;
    return lh_conv1d_transpose(c, in[0], in[1], gc->n[0]);
}

static lh_tensor *run_pool1d_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    return lh_pool1d(c, in[0], gc->n[0], gc->n[1], gc->n[2] != 0);
}

/* Pooling picked rows: top-k gives the rows, the gradient goes through the gather. */
static lh_tensor *run_top_k_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    lh_tensor *index = lh_top_k(c, in[1], gc->n[0], gc->n[1] != 0);
    return lh_gather_rows(c, in[0], index);
}

/* Some rows several times, some never, some entries of no row. */
static bool group_entries(lh_context *c, int64_t batch, int64_t heads, int64_t count, int64_t groups,
                          lh_grouping *grouping)
{
    int32_t index[64];
    for (int64_t at = 0; at < batch * heads * count; at++) {
        index[at] = at % 7 == 5 ? -1 : (int32_t)((at * at + at / 3) % groups);
    }
    lh_tensor *entries = lh_from_host(c, LH_I32, 3, (int64_t[]){batch, heads, count}, index);
    return lh_group(c, entries, groups, NULL, true, grouping);
}

/* n: entries */
static lh_tensor *run_group_gather_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    lh_grouping grouping;
    (void)second;
    group_entries(c, in[0]->shape[0], in[0]->shape[1], gc->n[0], in[0]->shape[2], &grouping);
    return lh_group_gather(c, in[0], &grouping);
}

/* n: groups; r: extra */
static lh_tensor *run_group_mean_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    lh_grouping grouping;
    (void)second;
    group_entries(c, in[0]->shape[0], in[0]->shape[1], in[0]->shape[2], gc->n[0], &grouping);
    return lh_group_mean(c, in[0], &grouping, gc->r[0]);
}

/* Rows sorted by the largest of their scores, attention within each cluster (queries are the keys), and back. */
static lh_tensor *run_clustered_attention(lh_context *c, lh_tensor *const *in, const gc_case *gc,
                                          lh_tensor **second)
{
    lh_grouping clusters, rows;
    (void)gc;
    (void)second;
    lh_group(c, lh_argmax(c, in[2], 2), in[2]->shape[2], NULL, true, &clusters);
    lh_group(c, clusters.order, in[0]->shape[2], NULL, false, &rows);
    lh_tensor *x = lh_group_gather(c, in[0], &rows);
    lh_key_source source = lh_key_source_causal(x, lh_group_gather(c, in[1], &rows), in[0]->shape[2]);
    source.low = clusters.low;
    source.high = clusters.high;
    lh_attention_options options = {.scale = 1.0};
    return lh_group_mean(c, lh_attention(c, x, 1, &source, &options, NULL), &rows, 0.01);
}

static const int32_t loss_targets[] = {3, -100, 0, 6, 6};

/* n: with a bias, with weights, how the loss is used (0 plain, 1 scaled); r: scale, z_loss */
static lh_tensor *run_linear_cross_entropy_case(lh_context *c, lh_tensor *const *in, const gc_case *gc,
                                                lh_tensor **second)
{
    (void)second;
    lh_tensor *bias = gc->n[0] ? in[2] : NULL, *weights = gc->n[1] ? in[gc->n[0] ? 3 : 2] : NULL;
    lh_tensor *targets = lh_from_host(c, LH_I32, 1, &in[0]->shape[0], loss_targets);
    lh_tensor *loss = lh_linear_cross_entropy(c, in[0], in[1], bias, targets, weights, gc->r[0], gc->r[1], NULL);
    return gc->n[2] ? lh_scale(c, lh_add(c, loss, loss), 0.25) : loss;
}

static lh_tensor *run_cross_entropy_case(lh_context *c, lh_tensor *const *in, const gc_case *gc, lh_tensor **second)
{
    (void)second;
    lh_tensor *targets = lh_from_host(c, LH_I32, 1, &in[0]->shape[0], loss_targets);
    return lh_cross_entropy(c, in[0], targets, gc->n[0] ? in[1] : NULL, NULL);
}

CASE_UNUSED static const gc_case layer_cases[] = {
    {.name = "linear", .function = run_linear_case, .in = {GC_IN(2, 3, 4), GC_IN(5, 4), GC_IN(5)}},
    {.name = "linear without bias", .function = run_linear_case, .in = {GC_IN(3, 4), GC_IN(5, 4)}},
    {.name = "linear of a vector", .function = run_linear_case, .in = {GC_IN(4), GC_IN(3, 4), GC_IN(3)}},
    {.name = "linear, no rows", .function = run_linear_case, .in = {GC_IN(2, 0, 4), GC_IN(5, 4), GC_IN(5)}},
    {.name = "linear, no inputs", .function = run_linear_case, .in = {GC_IN(3, 0), GC_IN(5, 0), GC_IN(5)}},
    {.name = "linear, no outputs", .function = run_linear_case, .in = {GC_IN(3, 4), GC_IN(0, 4), GC_IN(0)}},
    {.name = "linear of slices", .function = run_linear_of_slice, .in = {GC_IN(2, 3, 8), GC_IN(5, 4)}},
    {.name = "linear by itself", .function = run_linear_of_itself, .in = {GC_IN(3, 4)}},
    {.name = "activation and linear",
     .function = run_activation_linear_case,
     .in = {GC_IN(2, 3, 4), GC_IN(5, 4), GC_IN(4), GC_IN(5)},
     .n = {LH_GELU, 1, 1}},
    {.name = "activation and linear, no biases",
     .function = run_activation_linear_case,
     .in = {GC_IN(3, 4), GC_IN(5, 4)},
     .n = {LH_SILU}},
    {.name = "activation and linear, inner bias",
     .function = run_activation_linear_case,
     .in = {GC_IN(3, 4), GC_IN(5, 4), GC_IN(4)},
     .n = {LH_RELU_SQUARED, 1}},
    {.name = "activation and linear, outer bias",
     .function = run_activation_linear_case,
     .in = {GC_IN(3, 4), GC_IN(5, 4), GC_IN(5)},
     .n = {LH_TANH, 0, 1}},
    {.name = "activation and linear, no rows",
     .function = run_activation_linear_case,
     .in = {GC_IN(2, 0, 4), GC_IN(5, 4), GC_IN(4), GC_IN(5)},
     .n = {LH_GELU, 1, 1}},
    {.name = "activation and linear, no hidden",
     .function = run_activation_linear_case,
     .in = {GC_IN(2, 3, 0), GC_IN(5, 0), GC_IN(0), GC_IN(5)},
     .n = {LH_GELU, 1, 1}},
    {.name = "activation and linear, no outputs",
     .function = run_activation_linear_case,
     .in = {GC_IN(3, 4), GC_IN(0, 4), GC_IN(4), GC_IN(0)},
     .n = {LH_GELU, 1, 1}},
    {.name = "matmul", .function = run_matmul_case, .in = {GC_IN(2, 3, 4), GC_IN(2, 4, 5)}},
    {.name = "matmul transposed", .function = run_matmul_case, .in = {GC_IN(2, 3, 4), GC_IN(2, 5, 4)}, .n = {1}},
    {.name = "matmul of matrices", .function = run_matmul_case, .in = {GC_IN(3, 4), GC_IN(4, 2)}},
    {.name = "matmul, four dimensions", .function = run_matmul_case, .in = {GC_IN(2, 2, 3, 2), GC_IN(2, 2, 2, 3)}},
    {.name = "matmul, no inner", .function = run_matmul_case, .in = {GC_IN(2, 3, 0), GC_IN(2, 0, 4)}},
    {.name = "matmul, no batch", .function = run_matmul_case, .in = {GC_IN(0, 3, 2), GC_IN(0, 2, 4)}},
    {.name = "matmul by itself", .function = run_matmul_of_itself, .in = {GC_IN(2, 3, 3)}},
    {.name = "matmul by itself transposed", .function = run_matmul_of_itself, .in = {GC_IN(2, 3, 4)}, .n = {1}},
    {.name = "layer norm", .function = run_layer_norm_case, .in = {GC_IN(2, 3, 5), GC_IN(5), GC_IN(5)}, .n = {2}},
    {.name = "layer norm without bias", .function = run_layer_norm_case, .in = {GC_IN(3, 5), GC_IN(5)}, .n = {1}},
    {.name = "layer norm, bare", .function = run_layer_norm_case, .in = {GC_IN(3, 5)}},
    {.name = "layer norm, empty",
     .function = run_layer_norm_case,
     .in = {GC_IN(0, 5), GC_IN(5), GC_IN(5)},
     .n = {2}},
    {.name = "layer norm, no width",
     .function = run_layer_norm_case,
     .in = {GC_IN(3, 0), GC_IN(0), GC_IN(0)},
     .n = {2}},
    {.name = "rms norm", .function = run_rms_norm_case, .in = {GC_IN(2, 3, 5), GC_IN(5)}, .n = {1}},
    {.name = "rms norm, bare", .function = run_rms_norm_case, .in = {GC_IN(6)}},
    {.name = "rms norm, empty", .function = run_rms_norm_case, .in = {GC_IN(2, 0, 5), GC_IN(5)}, .n = {1}},
    {.name = "residual norm",
     .function = run_residual_norm_case,
     .in = {GC_IN(3, 5), GC_IN(3, 5), GC_IN(5), GC_IN(5)},
     .n = {0, 3}},
    {.name = "residual norm, sum unused",
     .function = run_residual_norm_case,
     .in = {GC_IN(3, 5), GC_IN(3, 5), GC_IN(5), GC_IN(5)},
     .n = {0, 2}},
    {.name = "residual norm, norm unused",
     .function = run_residual_norm_case,
     .in = {GC_IN(3, 5), GC_IN(3, 5), GC_IN(5), GC_IN(5)},
     .n = {0, 1}},
    {.name = "residual rms norm",
     .function = run_residual_norm_case,
     .in = {GC_IN(2, 2, 5), GC_IN(2, 2, 5), GC_IN(5)},
     .n = {1, 3}},
    {.name = "residual norm, empty",
     .function = run_residual_norm_case,
     .in = {GC_IN(0, 5), GC_IN(0, 5), GC_IN(5), GC_IN(5)},
     .n = {0, 3}},
    {.name = "residual norm of itself", .function = run_residual_norm_of_itself, .in = {GC_IN(3, 5), GC_IN(5)}},
    {.name = "bias and gelu",
     .function = run_bias_activation_case,
     .in = {GC_IN(2, 3, 5), GC_IN(5)},
     .n = {LH_GELU}},
    {.name = "bias and gelu tanh",
     .function = run_bias_activation_case,
     .in = {GC_IN(3, 5), GC_IN(5)},
     .n = {LH_GELU_TANH}},
    {.name = "bias and relu squared",
     .function = run_bias_activation_case,
     .in = {GC_IN(3, 5), GC_IN(5)},
     .n = {LH_RELU_SQUARED}},
    {.name = "bias and silu", .function = run_bias_activation_case, .in = {GC_IN(3, 5), GC_IN(5)}, .n = {LH_SILU}},
    {.name = "bias alone", .function = run_bias_activation_case, .in = {GC_IN(3, 5), GC_IN(5)}, .n = {LH_IDENTITY}},
    {.name = "activation without bias", .function = run_bias_activation_case, .in = {GC_IN(3, 5)}, .n = {LH_TANH}},
    {.name = "bias and activation, empty",
     .function = run_bias_activation_case,
     .in = {GC_IN(0, 5), GC_IN(5)},
     .n = {LH_RELU}},
    {.name = "gated silu", .function = run_gated_case, .in = {GC_IN(2, 3, 8)}, .n = {LH_SILU}},
    {.name = "gated gelu", .function = run_gated_case, .in = {GC_IN(3, 8)}, .n = {LH_GELU}},
    {.name = "gated sigmoid", .function = run_gated_case, .in = {GC_IN(3, 6)}, .n = {LH_SIGMOID}},
    {.name = "gated, empty", .function = run_gated_case, .in = {GC_IN(0, 8)}, .n = {LH_SILU}},
    {.name = "gated, no width", .function = run_gated_case, .in = {GC_IN(3, 0)}, .n = {LH_SILU}},
    {.name = "softmax", .function = run_softmax_case, .in = {GC_IN(2, 3, 5)}},
    {.name = "softmax of a vector", .function = run_softmax_case, .in = {GC_IN(7)}},
    {.name = "softmax, no rows", .function = run_softmax_case, .in = {GC_IN(0, 5)}},
    {.name = "softmax, no width", .function = run_softmax_case, .in = {GC_IN(3, 0)}},
    {.name = "gated linear",
     .function = run_gated_linear_case,
     .in = {GC_IN(2, 3, 5), GC_IN(2, 3, 5), GC_IN(4, 5)},
     .n = {LH_SILU}},
    {.name = "gated linear, of itself",
     .function = run_gated_linear_case,
     .in = {GC_IN(3, 5), GC_IN(4, 5)},
     .n = {LH_GELU_TANH, 1}},
    {.name = "gated linear, no rows",
     .function = run_gated_linear_case,
     .in = {GC_IN(0, 5), GC_IN(0, 5), GC_IN(4, 5)},
     .n = {LH_SILU}},
    {.name = "gated linear, no hidden channels",
     .function = run_gated_linear_case,
     .in = {GC_IN(3, 0), GC_IN(3, 0), GC_IN(4, 0)},
     .n = {LH_SILU}},
    {.name = "quantise, distances",
     .function = run_quantise_distance,
     .in = {GC_IN(2, 2, 5, 3), GC_FIXED(2, 4, 3)},
     .n = {1}},
    {.name = "quantise, distances without codes, one code",
     .function = run_quantise_distance,
     .in = {GC_IN(1, 2, 3, 3), GC_FIXED(2, 1, 3)}},
    {.name = "quantise, nothing",
     .function = run_quantise_distance,
     .in = {GC_IN(2, 2, 0, 3), GC_FIXED(2, 4, 3)},
     .n = {1}},
    {.name = "code means", .function = run_code_means_case, .in = {GC_IN(2, 2, 4, 3), GC_IN(2, 2, 6, 3)}, .n = {3}},
    {.name = "code means, two blocks",
     .function = run_code_means_case,
     .in = {GC_IN(2, 1, 3, 2), GC_IN(2, 1, 7, 2)},
     .n = {2, 1}},
    {.name = "code means, no rows",
     .function = run_code_means_case,
     .in = {GC_IN(2, 2, 4, 3), GC_IN(2, 2, 0, 3)},
     .n = {1}},
    {.name = "code means, no lanes",
     .function = run_code_means_case,
     .in = {GC_IN(0, 2, 4, 3), GC_IN(0, 2, 6, 3)},
     .n = {1}},
    {.name = "embedding", .function = run_embedding_case, .in = {GC_IN(4, 3)}, .n = {2, 3}, .r = {1.5}},
    {.name = "embedding of no tokens",
     .function = run_embedding_case,
     .in = {GC_IN(4, 3)},
     .n = {0, 3},
     .r = {1.0}},
    {.name = "gather rows", .function = run_gather_rows_case, .in = {GC_IN(5, 4)}, .n = {5}},
    {.name = "gather no rows", .function = run_gather_rows_case, .in = {GC_IN(5, 4)}},
    {.name = "rope, halves", .function = run_rope_case, .in = {GC_IN(2, 3, 2, 6)}, .n = {6, 0, 0}, .r = {1.0}},
    {.name = "rope, interleaved", .function = run_rope_case, .in = {GC_IN(2, 3, 2, 6)}, .n = {6, 1, 0}, .r = {1.0}},
    {.name = "rope, part of the head",
     .function = run_rope_case,
     .in = {GC_IN(2, 3, 2, 6)},
     .n = {4, 0, 1},
     .r = {1.25}},
    {.name = "rope, part, interleaved",
     .function = run_rope_case,
     .in = {GC_IN(2, 3, 1, 7)},
     .n = {4, 1, 1},
     .r = {0.5}},
    {.name = "rope, nothing turns",
     .function = run_rope_case,
     .in = {GC_IN(1, 3, 2, 4)},
     .n = {0, 0, 0},
     .r = {1.0}},
    {.name = "rope, empty", .function = run_rope_case, .in = {GC_IN(2, 0, 2, 6)}, .n = {6, 0, 0}, .r = {1.0}},
    {.name = "t5 bias", .function = run_t5_bias_case, .in = {GC_IN(2, 8)}, .n = {-2, 24, 16}},
    {.name = "t5 bias, empty", .function = run_t5_bias_case, .in = {GC_IN(2, 8)}, .n = {0, 0, 16}},
    {.name = "conv1d", .function = run_conv1d_case, .in = {GC_IN(2, 7, 3), GC_IN(4, 3, 3)}, .n = {1, 1}},
    {.name = "conv1d, stride", .function = run_conv1d_case, .in = {GC_IN(2, 8, 2), GC_IN(3, 3, 2)}, .n = {2, 1}},
    {.name = "conv1d, dilation", .function = run_conv1d_case, .in = {GC_IN(2, 9, 2), GC_IN(3, 3, 2)}, .n = {2, 3}},
    {.name = "conv1d, windows side by side",
     .function = run_conv1d_case,
     .in = {GC_IN(2, 6, 2), GC_IN(3, 3, 2)},
     .n = {3, 1}},
    {.name = "conv1d, side by side with a rest",
     .function = run_conv1d_case,
     .in = {GC_IN(2, 8, 2), GC_IN(3, 3, 2)},
     .n = {3, 1}},
    {.name = "conv1d, gaps", .function = run_conv1d_case, .in = {GC_IN(2, 9, 2), GC_IN(3, 2, 2)}, .n = {4, 1}},
    {.name = "conv1d, gaps, one lane",
     .function = run_conv1d_case,
     .in = {GC_IN(1, 9, 2), GC_IN(3, 2, 2)},
     .n = {3, 1}},
    {.name = "conv1d, kernel of one",
     .function = run_conv1d_case,
     .in = {GC_IN(2, 4, 2), GC_IN(3, 1, 2)},
     .n = {1, 5}},
    {.name = "conv1d, too short", .function = run_conv1d_case, .in = {GC_IN(2, 2, 2), GC_IN(3, 3, 2)}, .n = {1, 1}},
    {.name = "conv1d, no batch", .function = run_conv1d_case, .in = {GC_IN(0, 6, 2), GC_IN(3, 3, 2)}, .n = {3, 1}},
    {.name = "conv1d transpose",
     .function = run_conv1d_transpose_case,
     .in = {GC_IN(2, 4, 3), GC_IN(3, 3, 2)},
     .n = {2}},
    {.name = "conv1d transpose, side by side",
     .function = run_conv1d_transpose_case,
     .in = {GC_IN(2, 4, 3), GC_IN(3, 2, 2)},
     .n = {2}},
    {.name = "conv1d transpose, gaps",
     .function = run_conv1d_transpose_case,
     .in = {GC_IN(2, 3, 3), GC_IN(3, 2, 2)},
     .n = {3}},
    {.name = "conv1d transpose, empty",
     .function = run_conv1d_transpose_case,
     .in = {GC_IN(2, 0, 3), GC_IN(3, 2, 2)},
     .n = {1}},
    {.name = "pool1d maximum", .function = run_pool1d_case, .in = {GC_IN(2, 7, 3)}, .n = {3, 2, 1}},
    {.name = "pool1d mean", .function = run_pool1d_case, .in = {GC_IN(2, 7, 3)}, .n = {3, 2, 0}},
    {.name = "pool1d mean, side by side", .function = run_pool1d_case, .in = {GC_IN(2, 6, 2)}, .n = {3, 3, 0}},
    {.name = "pool1d maximum, gaps", .function = run_pool1d_case, .in = {GC_IN(2, 7, 2)}, .n = {2, 3, 1}},
    {.name = "pool1d, too short", .function = run_pool1d_case, .in = {GC_IN(2, 2, 3)}, .n = {3, 1, 1}},
    {.name = "group gather", .function = run_group_gather_case, .in = {GC_IN(2, 2, 4, 3)}, .n = {7}},
    {.name = "group gather, no entries", .function = run_group_gather_case, .in = {GC_IN(2, 2, 4, 3)}},
    {.name = "group gather, no lanes", .function = run_group_gather_case, .in = {GC_IN(0, 2, 4, 3)}, .n = {5}},
    {.name = "group mean", .function = run_group_mean_case, .in = {GC_IN(2, 2, 7, 3)}, .n = {5}, .r = {0.01}},
    {.name = "group mean, one group", .function = run_group_mean_case, .in = {GC_IN(1, 2, 6, 3)}, .n = {1}},
    {.name = "group mean, no entries", .function = run_group_mean_case, .in = {GC_IN(1, 2, 0, 3)}, .n = {3}},
    {.name = "attention in clusters",
     .function = run_clustered_attention,
     .in = {GC_IN(2, 2, 6, 4), GC_IN(2, 2, 6, 3), GC_FIXED(2, 2, 3, 6)}},
    {.name = "top k", .function = run_top_k_case, .in = {GC_IN(6, 3), GC_FIXED(2, 6)}, .n = {3, 1}},
    {.name = "linear cross-entropy",
     .function = run_linear_cross_entropy_case,
     .in = {GC_IN(5, 4), GC_IN(7, 4)},
     .n = {0, 0, 0},
     .r = {1.0, 0.0}},
    {.name = "linear cross-entropy, bias",
     .function = run_linear_cross_entropy_case,
     .in = {GC_IN(5, 4), GC_IN(7, 4), GC_IN(7)},
     .n = {1, 0, 0},
     .r = {1.0, 0.0}},
    {.name = "linear cross-entropy, all",
     .function = run_linear_cross_entropy_case,
     .in = {GC_IN(5, 4), GC_IN(7, 4), GC_IN(7), GC_FIXED(5)},
     .n = {1, 1, 1},
     .r = {0.5, 0.1}},
    {.name = "linear cross-entropy, weights, z",
     .function = run_linear_cross_entropy_case,
     .in = {GC_IN(5, 4), GC_IN(7, 4), GC_FIXED(5)},
     .n = {0, 1, 0},
     .r = {2.0, 0.05}},
    {.name = "linear cross-entropy, empty",
     .function = run_linear_cross_entropy_case,
     .in = {GC_IN(0, 4), GC_IN(7, 4), GC_IN(7)},
     .n = {1, 0, 0},
     .r = {1.0, 0.0}},
    {.name = "cross-entropy", .function = run_cross_entropy_case, .in = {GC_IN(5, 7)}},
    {.name = "cross-entropy, weights",
     .function = run_cross_entropy_case,
     .in = {GC_IN(5, 7), GC_FIXED(5)},
     .n = {1}},
    {.name = "cross-entropy, empty", .function = run_cross_entropy_case, .in = {GC_IN(0, 7)}},
};

#endif
