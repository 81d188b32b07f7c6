/* Runs lists of ops on given tensors and writes results and gradients: the library's side of
 * tests/parity/parity_ops.py.
 *
 *   driver_ops CASES.json INPUTS.raw RESULTS.json RESULTS.raw
 *
 * A case: {"name", "training", "seed",
 *          "inputs": [{"name", "dtype": "f32"|"i32", "shape", "offset" (elements of 4 bytes), "grad"}],
 *          "calls": [{"op", "in": [names or null], "out": [names], options}],
 *          "outputs": [names], "loss": name of a one-element result to go backward from, or absent}
 * RESULTS.json: [{"name", "error" or "tensors": [{"name", "shape", "offset"}]}], offsets in doubles in RESULTS.raw;
 * gradients are named "d NAME". */
#include "ops/ops.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VALUES = 128 };

typedef struct value {
    const char *name;
    lh_tensor *tensor;
    bool leaf, gradient;
} value;

typedef struct driver {
    lh_context *context;
    value values[MAX_VALUES];
    int count;
    const json_t *call;
    FILE *out;
    int64_t written; /* doubles */
} driver;

static void die(const char *what, const char *name)
{
    fprintf(stderr, "driver_ops: %s: %s\n", what, name);
    exit(1);
}

static lh_tensor *named(const driver *d, const json_t *name)
{
    if (!json_is_string(name)) {
        return NULL;
    }
    for (int i = 0; i < d->count; i++) {
        if (strcmp(d->values[i].name, json_string_value(name)) == 0) {
            return d->values[i].tensor;
        }
    }
    die("no tensor of this name", json_string_value(name));
    return NULL;
}

static lh_tensor *input(const driver *d, size_t i)
{
    return named(d, json_array_get(json_object_get(d->call, "in"), i));
}

static int64_t integer_of(const json_t *object, const char *key, int64_t otherwise)
{
    const json_t *found = json_object_get(object, key);
    return json_is_integer(found) ? (int64_t)json_integer_value(found) : otherwise;
}

static int64_t integer(const driver *d, const char *key, int64_t otherwise)
{
    return integer_of(d->call, key, otherwise);
}

static double number(const driver *d, const char *key, double otherwise)
{
    const json_t *found = json_object_get(d->call, key);
    return json_is_number(found) ? json_number_value(found) : otherwise;
}

static bool yes(const driver *d, const char *key)
{
    return json_is_true(json_object_get(d->call, key));
}

static void keep(driver *d, size_t i, lh_tensor *tensor)
{
    const json_t *name = json_array_get(json_object_get(d->call, "out"), i);
    if (json_is_string(name)) {
        if (d->count == MAX_VALUES) {
            die("too many tensors", json_string_value(name));
        }
        d->values[d->count++] = (value){.name = json_string_value(name), .tensor = tensor};
    }
}

/* ---- ops -------------------------------------------------------------------------------------------------------
 */

static lh_function function_of(const driver *d)
{
    static const char *const names[LH_FUNCTION_COUNT] = {
        "identity", "relu", "relu_squared", "gelu", "gelu_tanh", "silu",   "sigmoid",   "tanh",
        "exp",      "log",  "square",       "sqrt", "abs",       "negate", "reciprocal"};
    const char *name = json_string_value(json_object_get(d->call, "function"));
    for (int i = 0; name && i < LH_FUNCTION_COUNT; i++) {
        if (strcmp(names[i], name) == 0) {
            return (lh_function)i;
        }
    }
    die("no such function", name ? name : "(missing)");
    return LH_IDENTITY;
}

static int shape_of(const json_t *list, int64_t *shape)
{
    for (size_t i = 0; i < json_array_size(list) && i < LH_MAX_DIMS; i++) {
        shape[i] = (int64_t)json_integer_value(json_array_get(list, i));
    }
    return (int)json_array_size(list);
}

static void op_view(driver *d)
{
    const char *op = json_string_value(json_object_get(d->call, "op"));
    lh_context *c = d->context;
    int64_t shape[LH_MAX_DIMS] = {0};
    if (strcmp(op, "reshape") == 0) {
        int ndim = shape_of(json_object_get(d->call, "shape"), shape);
        keep(d, 0, lh_reshape(c, input(d, 0), ndim, shape));
    } else if (strcmp(op, "transpose") == 0) {
        keep(d, 0, lh_transpose(c, input(d, 0), (int)integer(d, "a", 0), (int)integer(d, "b", 1)));
    } else if (strcmp(op, "slice") == 0) {
        keep(d, 0,
             lh_slice(c, input(d, 0), (int)integer(d, "dim", 0), integer(d, "start", 0), integer(d, "length", 0)));
    } else {
        keep(d, 0, lh_expand(c, input(d, 0), (int)integer(d, "dim", 0), integer(d, "times", 1)));
    }
}

static void op_concat(driver *d)
{
    lh_tensor *list[MAX_VALUES];
    int count = (int)json_array_size(json_object_get(d->call, "in"));
    for (int i = 0; i < count; i++) {
        list[i] = input(d, (size_t)i);
    }
    keep(d, 0, lh_concat(d->context, count, list, (int)integer(d, "dim", 0)));
}

static void op_binary(driver *d)
{
    const char *op = json_string_value(json_object_get(d->call, "op"));
    lh_binary_function function = strcmp(op, "add") == 0        ? LH_ADD
                                  : strcmp(op, "subtract") == 0 ? LH_SUBTRACT
                                  : strcmp(op, "multiply") == 0 ? LH_MULTIPLY
                                                                : LH_DIVIDE;
    keep(d, 0, lh_binary(d->context, function, input(d, 0), input(d, 1)));
}

static void op_unary(driver *d)
{
    keep(d, 0, lh_unary(d->context, function_of(d), input(d, 0)));
}

static void op_scale(driver *d)
{
    keep(d, 0, lh_scale(d->context, input(d, 0), number(d, "factor", 1)));
}

static void op_reduce(driver *d)
{
    const char *op = json_string_value(json_object_get(d->call, "op"));
    int dim = (int)integer(d, "dim", 0);
    lh_context *c = d->context;
    lh_tensor *x = input(d, 0);
    keep(d, 0,
         strcmp(op, "sum") == 0       ? lh_sum(c, x)
         : strcmp(op, "mean") == 0    ? lh_mean(c, x)
         : strcmp(op, "sum_dim") == 0 ? lh_sum_dim(c, x, dim)
                                      : lh_mean_dim(c, x, dim));
}

static void op_mean_square_error(driver *d)
{
    keep(d, 0, lh_mean_square_error(d->context, input(d, 0), input(d, 1)));
}

static void op_linear(driver *d)
{
    keep(d, 0, lh_linear(d->context, input(d, 0), input(d, 1), input(d, 2)));
}

static void op_activation_linear(driver *d)
{
    keep(d, 0,
         lh_activation_linear(d->context, input(d, 0), input(d, 1), function_of(d), input(d, 2), input(d, 3)));
}

static void op_gated_linear(driver *d)
{
    keep(d, 0, lh_gated_linear(d->context, input(d, 0), input(d, 1), function_of(d), input(d, 2)));
}

/* in: keys, codebook. out: quantised, codes, distances. */
static void op_quantise(driver *d)
{
    lh_tensor *codes = NULL, *distance = NULL;
    keep(d, 0, lh_quantise(d->context, input(d, 0), input(d, 1), &codes, &distance));
    keep(d, 1, codes);
    keep(d, 2, distance);
}

/* in: means, counts, codes, values. out: new means, new counts. */
static void op_code_means(driver *d)
{
    lh_tensor *count = NULL;
    keep(d, 0, lh_code_means(d->context, input(d, 0), input(d, 1), input(d, 2), input(d, 3), &count));
    keep(d, 1, count);
}

/* in: rows, codes, weights, codebook of the shape wanted. out: sums, totals. */
static void op_code_sums(driver *d)
{
    lh_tensor *like = input(d, 3), *sum = lh_new_like(d->context, like, true);
    lh_tensor *total = lh_new(d->context, like->dtype, 2, like->shape, true);
    lh_code_sums(d->context, input(d, 0), input(d, 1), input(d, 2), sum, total);
    keep(d, 0, sum);
    keep(d, 1, total);
}

static void op_matmul(driver *d)
{
    keep(d, 0, lh_matmul(d->context, input(d, 0), input(d, 1), yes(d, "transpose_b")));
}

static void op_norm(driver *d)
{
    lh_tensor *sum = NULL;
    double eps = number(d, "eps", 1e-5);
    lh_context *c = d->context;
    if (strcmp(json_string_value(json_object_get(d->call, "op")), "layer_norm") == 0) {
        keep(d, 0, lh_layer_norm(c, input(d, 0), input(d, 1), input(d, 2), eps));
    } else if (strcmp(json_string_value(json_object_get(d->call, "op")), "rms_norm") == 0) {
        keep(d, 0, lh_rms_norm(c, input(d, 0), input(d, 1), eps));
    } else {
        keep(d, 0,
             lh_residual_norm(c, input(d, 0), input(d, 1), input(d, 2), input(d, 3), eps, yes(d, "rms"), &sum));
        keep(d, 1, sum);
    }
}

static void op_bias_activation(driver *d)
{
    keep(d, 0, lh_bias_activation(d->context, input(d, 0), input(d, 1), function_of(d)));
}

static void op_gated(driver *d)
{
    keep(d, 0, lh_gated(d->context, input(d, 0), function_of(d)));
}

static void op_softmax(driver *d)
{
    keep(d, 0, yes(d, "log") ? lh_log_softmax(d->context, input(d, 0)) : lh_softmax(d->context, input(d, 0)));
}

static void op_embedding(driver *d)
{
    keep(d, 0, lh_embedding(d->context, input(d, 0), input(d, 1), number(d, "scale", 1)));
}

static void op_gather_rows(driver *d)
{
    keep(d, 0, lh_gather_rows(d->context, input(d, 0), input(d, 1)));
}

static void op_linear_cross_entropy(driver *d)
{
    lh_tensor *nll = NULL;
    keep(d, 0,
         lh_linear_cross_entropy(d->context, input(d, 0), input(d, 1), input(d, 2), input(d, 3), input(d, 4),
                                 number(d, "scale", 1), number(d, "z_loss", 0), &nll));
    keep(d, 1, nll);
}

static void op_cross_entropy(driver *d)
{
    lh_tensor *nll = NULL;
    keep(d, 0, lh_cross_entropy(d->context, input(d, 0), input(d, 1), input(d, 2), &nll));
    keep(d, 1, nll);
}

static void op_rope(driver *d)
{
    static double frequency[512];
    const json_t *list = json_object_get(d->call, "frequency");
    for (size_t i = 0; i < json_array_size(list) && i < 512; i++) {
        frequency[i] = json_number_value(json_array_get(list, i));
    }
    lh_rope_options options = {.rotated = integer(d, "rotated", 0),
                               .interleaved = yes(d, "interleaved"),
                               .frequency = frequency,
                               .magnitude = number(d, "magnitude", 1)};
    keep(d, 0, lh_rope(d->context, input(d, 0), input(d, 1), &options));
}

static void op_conv1d(driver *d)
{
    keep(d, 0, lh_conv1d(d->context, input(d, 0), input(d, 1), integer(d, "stride", 1), integer(d, "dilation", 1)));
}

static void op_conv1d_transpose(driver *d)
{
    keep(d, 0, lh_conv1d_transpose(d->context, input(d, 0), input(d, 1), integer(d, "stride", 1)));
}

static void op_pool1d(driver *d)
{
    keep(d, 0,
         lh_pool1d(d->context, input(d, 0), integer(d, "kernel", 1), integer(d, "stride", 1), yes(d, "maximum")));
}

static void op_top_k(driver *d)
{
    keep(d, 0, lh_top_k(d->context, input(d, 0), integer(d, "k", 1), yes(d, "late_ties")));
}

/* Keys and values, in: q, keys, values, head_scale, go into rings (of f32 or "stored": "f16"); each query attends
 * to the k nearest of the last "window". */
static void op_retrieve(driver *d)
{
    lh_context *c = d->context;
    lh_tensor *q = input(d, 0), *rows[2] = {input(d, 1), input(d, 2)}, *after = NULL;
    lh_row_ring ring[2];
    int64_t slots = integer(d, "slots", 0);
    for (int i = 0; i < 2; i++) {
        int64_t shape[4] = {rows[i]->shape[0], rows[i]->shape[1], slots, rows[i]->shape[3]};
        ring[i] =
            (lh_row_ring){.rows = lh_new(c, yes(d, "f16") ? LH_F16 : LH_F32, 4, shape, true), .capacity = slots};
        lh_tensor *written = lh_new(c, LH_I32, 1, shape, true);
        for (int64_t at = 0; at < rows[i]->shape[2]; at += slots / 2) { /* the ring goes round */
            int64_t left = rows[i]->shape[2] - at, part = left < slots / 2 ? left : slots / 2;
            written = lh_ring_append(c, &ring[i], lh_slice(c, rows[i], 2, at, part), written);
        }
        after = written;
    }
    lh_key_source source = lh_key_source_all(ring[0].rows, ring[1].rows);
    lh_attention_options options = {.head_scale = input(d, 3)};
    source.layout = LH_KEYS_GATHERED;
    source.stop_gradient = true;
    source.gather = lh_nearest(c, q, &ring[0], after, integer(d, "window", 0), integer(d, "k", 1), 0, -1, NULL);
    keep(d, 0, lh_attention(c, q, 1, &source, &options, NULL));
}

static void op_argmax(driver *d)
{
    keep(d, 0, lh_argmax(d->context, input(d, 0), (int)integer(d, "dim", 0)));
}

/* Rows picked and averaged by the second input. */
static void op_group_gather(driver *d)
{
    lh_grouping grouping;
    lh_group(d->context, input(d, 1), input(d, 0)->shape[2], NULL, false, &grouping);
    keep(d, 0, lh_group_gather(d->context, input(d, 0), &grouping));
}

static void op_group_mean(driver *d)
{
    lh_grouping grouping;
    lh_group(d->context, input(d, 1), integer(d, "groups", 1), NULL, false, &grouping);
    keep(d, 0, lh_group_mean(d->context, input(d, 0), &grouping, number(d, "extra", 0)));
}

static void op_sinusoids(driver *d)
{
    keep(d, 0,
         lh_sinusoids(d->context, LH_F32, integer(d, "first", 0), integer(d, "count", 0), integer(d, "width", 0),
                      number(d, "base", 10000), integer(d, "clamp", 0)));
}

static void op_t5_bias(driver *d)
{
    keep(d, 0,
         lh_t5_bias(d->context, input(d, 0), integer(d, "first", 0), integer(d, "count", 0),
                    integer(d, "max_distance", 128)));
}

static void op_alibi(driver *d)
{
    keep(d, 0,
         lh_alibi(d->context, LH_F32, integer(d, "heads", 1), integer(d, "first", 0), integer(d, "count", 0)));
}

static lh_key_source source_of(const driver *d, const json_t *json)
{
    lh_tensor *k = named(d, json_object_get(json, "k")), *v = named(d, json_object_get(json, "v"));
    lh_key_source source = lh_key_source_all(k, v);
    const char *layout = json_string_value(json_object_get(json, "layout"));
    source.layout = !layout ? LH_KEYS_DENSE : strcmp(layout, "blocks") == 0 ? LH_KEYS_BLOCKS : LH_KEYS_GATHERED;
    source.offset = integer_of(json, "offset", 0);
    source.min_distance = integer_of(json, "min_distance", source.min_distance);
    source.max_distance = integer_of(json, "max_distance", source.max_distance);
    source.rel_first = integer_of(json, "rel_first", 0);
    source.rel_step = integer_of(json, "rel_step", 1);
    source.rel_offset = integer_of(json, "rel_offset", 0);
    source.block_size = integer_of(json, "block_size", 0);
    source.rel_clamp = json_is_true(json_object_get(json, "rel_clamp"));
    source.bias_scaled = json_is_true(json_object_get(json, "bias_scaled"));
    source.stop_gradient = json_is_true(json_object_get(json, "stop_gradient"));
    struct {
        const char *key;
        lh_tensor **field;
    } fields[] = {{"low", &source.low},
                  {"high", &source.high},
                  {"content_bias", &source.content_bias},
                  {"position_bias", &source.position_bias},
                  {"rel_k", &source.rel_k},
                  {"rel_v", &source.rel_v},
                  {"distance_bias", &source.distance_bias},
                  {"key_bias", &source.key_bias},
                  {"gather", &source.gather},
                  {"tile_row", &source.tile_row},
                  {"tile_start", &source.tile_start},
                  {"column_row", &source.column_row},
                  {"column", &source.column}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        *fields[i].field = named(d, json_object_get(json, fields[i].key));
    }
    return source;
}

static void op_attention(driver *d)
{
    const json_t *list = json_object_get(d->call, "sources");
    lh_key_source sources[LH_ATTENTION_MAX_SOURCES];
    int count = (int)json_array_size(list);
    lh_attention_options options = {.scale = number(d, "scale", 0),
                                    .head_scale = named(d, json_object_get(d->call, "head_scale")),
                                    .has_null = json_is_number(json_object_get(d->call, "null_logit")),
                                    .null_logit = number(d, "null_logit", 0)};
    for (int s = 0; s < count && s < LH_ATTENTION_MAX_SOURCES; s++) {
        sources[s] = source_of(d, json_array_get(list, (size_t)s));
    }
    lh_tensor *lse = NULL;
    keep(d, 0, lh_attention(d->context, input(d, 0), count, sources, &options, &lse));
    keep(d, 1, lse);
    if (yes(d, "mass")) {
        lh_tensor *mass[LH_ATTENTION_MAX_SOURCES];
        lh_attention_mass(d->context, input(d, 0), count, sources, &options, lse, number(d, "weight", 1), mass);
        for (int s = 0; s < count; s++) {
            keep(d, 2 + (size_t)s, mass[s]);
        }
    }
}

static void op_attention_merge(driver *d)
{
    lh_tensor *lse = NULL;
    keep(d, 0, lh_attention_merge(d->context, input(d, 0), input(d, 1), input(d, 2), input(d, 3), &lse));
    keep(d, 1, lse);
}

static void *address(const driver *d, size_t i)
{
    lh_tensor *x = input(d, i);
    return x ? lh_tensor_data(x) : NULL;
}

/* Optimizer kernels, in place on leaves: param, grad, then the state. */
static void op_adamw(driver *d)
{
    lh_adamw_args args = {.n = lh_tensor_count(input(d, 0)),
                          .step = integer(d, "step", 1),
                          .lr = number(d, "lr", 0),
                          .beta1 = number(d, "beta1", 0.9),
                          .beta2 = number(d, "beta2", 0.999),
                          .eps = number(d, "eps", 1e-8),
                          .decay = number(d, "decay", 0),
                          .grad_scale = number(d, "grad_scale", 1),
                          .clear_grad = yes(d, "clear_grad"),
                          .param = address(d, 0),
                          .grad = address(d, 1),
                          .m = address(d, 2),
                          .v = address(d, 3)};
    lh_run(d->context, LH_KERNEL_ADAMW, LH_F32, &args);
}

static void op_sgd(driver *d)
{
    lh_sgd_args args = {.n = lh_tensor_count(input(d, 0)),
                        .lr = number(d, "lr", 0),
                        .momentum = number(d, "momentum", 0),
                        .decay = number(d, "decay", 0),
                        .grad_scale = number(d, "grad_scale", 1),
                        .nesterov = yes(d, "nesterov"),
                        .clear_grad = yes(d, "clear_grad"),
                        .param = address(d, 0),
                        .grad = address(d, 1),
                        .buffer = address(d, 2)};
    lh_run(d->context, LH_KERNEL_SGD, LH_F32, &args);
}

static void op_adafactor(driver *d)
{
    lh_tensor *param = input(d, 0);
    lh_adafactor_args args = {.rows = param->ndim > 1 ? param->shape[0] : 1,
                              .columns = param->shape[param->ndim - 1],
                              .step = integer(d, "step", 1),
                              .lr = number(d, "lr", 0),
                              .decay_rate = number(d, "decay_rate", 0.8),
                              .beta1 = number(d, "beta1", 0),
                              .eps1 = number(d, "eps1", 1e-30),
                              .eps2 = number(d, "eps2", 1e-3),
                              .clip_threshold = number(d, "clip_threshold", 1),
                              .decay = number(d, "decay", 0),
                              .grad_scale = number(d, "grad_scale", 1),
                              .scale_by_parameter = yes(d, "scale_by_parameter"),
                              .clear_grad = yes(d, "clear_grad"),
                              .param = address(d, 0),
                              .grad = address(d, 1),
                              .row = address(d, 2),
                              .column = address(d, 3),
                              .v = address(d, 4),
                              .m = address(d, 5)};
    lh_run(d->context, LH_KERNEL_ADAFACTOR, LH_F32, &args);
}

static const struct {
    const char *name;
    void (*run)(driver *d);
} ops[] = {
    {"reshape", op_view},
    {"transpose", op_view},
    {"slice", op_view},
    {"expand", op_view},
    {"concat", op_concat},
    {"add", op_binary},
    {"subtract", op_binary},
    {"multiply", op_binary},
    {"divide", op_binary},
    {"unary", op_unary},
    {"scale", op_scale},
    {"sum", op_reduce},
    {"mean", op_reduce},
    {"sum_dim", op_reduce},
    {"mean_dim", op_reduce},
    {"mean_square_error", op_mean_square_error},
    {"linear", op_linear},
    {"activation_linear", op_activation_linear},
    {"gated_linear", op_gated_linear},
    {"quantise", op_quantise},
    {"code_means", op_code_means},
    {"code_sums", op_code_sums},
    {"matmul", op_matmul},
    {"layer_norm", op_norm},
    {"rms_norm", op_norm},
    {"residual_norm", op_norm},
    {"bias_activation", op_bias_activation},
    {"gated", op_gated},
    {"softmax", op_softmax},
    {"embedding", op_embedding},
    {"gather_rows", op_gather_rows},
    {"linear_cross_entropy", op_linear_cross_entropy},
    {"cross_entropy", op_cross_entropy},
    {"rope", op_rope},
    {"conv1d", op_conv1d},
    {"conv1d_transpose", op_conv1d_transpose},
    {"pool1d", op_pool1d},
    {"top_k", op_top_k},
    {"retrieve", op_retrieve},
    {"argmax", op_argmax},
    {"group_gather", op_group_gather},
    {"group_mean", op_group_mean},
    {"sinusoids", op_sinusoids},
    {"t5_bias", op_t5_bias},
    {"alibi", op_alibi},
    {"attention", op_attention},
    {"attention_merge", op_attention_merge},
    {"adamw", op_adamw},
    {"sgd", op_sgd},
    {"adafactor", op_adafactor},
};

/* ---- cases ------------------------------------------------------------------------------------------------------
 */

static void load_inputs(driver *d, const json_t *inputs, const char *raw, size_t raw_bytes)
{
    lh_error error = {0};
    for (size_t i = 0; i < json_array_size(inputs) && d->count < MAX_VALUES; i++) {
        const json_t *in = json_array_get(inputs, i);
        const char *name = json_string_value(json_object_get(in, "name"));
        bool whole = strcmp(json_string_value(json_object_get(in, "dtype")), "i32") == 0;
        int64_t shape[LH_MAX_DIMS] = {0};
        int ndim = shape_of(json_object_get(in, "shape"), shape);
        size_t offset = 4 * (size_t)integer_of(in, "offset", 0);
        lh_tensor *tensor = NULL;
        bool gradient = json_is_true(json_object_get(in, "grad"));
        if (lh_tensor_create(&tensor, lh_backend_cpu(), whole ? LH_I32 : LH_F32, ndim, shape, name, &error) !=
                LH_OK ||
            offset + 4 * (size_t)lh_tensor_count(tensor) > raw_bytes ||
            lh_tensor_write(tensor, raw + offset, &error) != LH_OK ||
            (gradient && lh_tensor_create_grad(tensor, &error) != LH_OK)) {
            die("cannot load an input", name);
        }
        d->values[d->count++] = (value){.name = name, .tensor = tensor, .leaf = true, .gradient = gradient};
    }
}

static json_t *written(driver *d, const char *prefix, const char *name, const lh_tensor *tensor)
{
    char full[256];
    int64_t count = lh_tensor_count(tensor);
    double *values = malloc(sizeof *values * (size_t)(count + 1));
    json_t *shape = json_array();
    lh_to_host(d->context, tensor, values);
    if (fwrite(values, sizeof *values, (size_t)count, d->out) != (size_t)count) {
        die("cannot write", name);
    }
    for (int i = 0; i < tensor->ndim; i++) {
        json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]));
    }
    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    json_t *entry = json_object();
    json_object_set_new(entry, "name", json_string(full));
    json_object_set_new(entry, "shape", shape);
    json_object_set_new(entry, "offset", json_integer((json_int_t)d->written));
    d->written += count;
    free(values);
    return entry;
}

static json_t *run_case(driver *d, const json_t *one, const char *raw, size_t raw_bytes)
{
    json_t *result = json_object(), *tensors = json_array();
    lh_context_reset(d->context);
    d->count = 0;
    json_object_set(result, "name", json_object_get(one, "name"));
    load_inputs(d, json_object_get(one, "inputs"), raw, raw_bytes);
    const json_t *calls = json_object_get(one, "calls");
    for (size_t i = 0; i < json_array_size(calls) && !lh_op_stopped(d->context); i++) {
        d->call = json_array_get(calls, i);
        const char *op = json_string_value(json_object_get(d->call, "op"));
        bool found = false;
        for (size_t k = 0; k < sizeof ops / sizeof *ops && !found; k++) {
            found = op && strcmp(ops[k].name, op) == 0;
            if (found) {
                ops[k].run(d);
            }
        }
        if (!found) {
            die("no such op", op ? op : "(missing)");
        }
    }
    const json_t *outputs = json_object_get(one, "outputs"), *loss = json_object_get(one, "loss");
    for (size_t i = 0; i < json_array_size(outputs) && !lh_op_stopped(d->context); i++) {
        const json_t *name = json_array_get(outputs, i);
        json_array_append_new(tensors, written(d, "", json_string_value(name), named(d, name)));
    }
    if (loss && !lh_op_stopped(d->context)) {
        lh_backward(d->context, named(d, loss), 1.0);
    }
    for (int i = 0; i < d->count && !lh_op_stopped(d->context); i++) {
        if (d->values[i].leaf && d->values[i].gradient && loss) {
            json_array_append_new(tensors, written(d, "d ", d->values[i].name, d->values[i].tensor->grad));
        }
    }
    lh_error error = {0};
    if (lh_context_status(d->context, &error) != LH_OK) {
        json_object_set_new(result, "error", json_string(error.message));
    }
    json_object_set_new(result, "tensors", tensors);
    lh_context_reset(d->context);
    for (int i = 0; i < d->count; i++) {
        if (d->values[i].leaf) {
            lh_tensor_free(d->values[i].tensor);
        }
    }
    return result;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: driver_ops CASES.json INPUTS.raw RESULTS.json RESULTS.raw\n");
        return 2;
    }
    json_error_t fault;
    json_t *cases = json_load_file(argv[1], 0, &fault), *results = json_array();
    FILE *in = fopen(argv[2], "rb");
    driver d = {.out = fopen(argv[4], "wb")};
    lh_error error = {0};
    if (!cases || !in || !d.out || fseek(in, 0, SEEK_END) != 0) {
        die("cannot open", cases ? argv[2] : fault.text);
    }
    long size = ftell(in);
    char *raw = malloc((size_t)size + 1);
    rewind(in);
    if (fread(raw, 1, (size_t)size, in) != (size_t)size ||
        lh_context_create(&d.context, lh_backend_cpu(), 0, &error) != LH_OK) {
        die("cannot start", argv[2]);
    }
    (void)fclose(in);
    d.context->recording = true;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        json_array_append_new(results, run_case(&d, json_array_get(cases, i), raw, (size_t)size));
    }
    lh_context_free(d.context);
    free(raw);
    bool good = fclose(d.out) == 0 && json_dump_file(results, argv[3], 0) == 0;
    json_decref(results);
    json_decref(cases);
    return good ? 0 : 1;
}
