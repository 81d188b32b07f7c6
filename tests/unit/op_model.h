/* A small transformer written straight with ops, for tests of what surrounds them: memory, threads, faults,
 * recomputation, other backends. */
#ifndef LH_TESTS_OP_MODEL_H
#define LH_TESTS_OP_MODEL_H

#include "gradcheck.h"

enum { TINY_LAYERS = 2, TINY_PER_LAYER = 6, TINY_PARAMETERS = 3 + TINY_LAYERS * TINY_PER_LAYER };

typedef struct tiny_sizes {
    int64_t batch, length, vocab, heads, head_width, hidden;
    lh_dtype dtype;
    double dropout;
    bool recompute;
} tiny_sizes;

typedef struct tiny_model {
    tiny_sizes sizes;
    lh_tensor *parameter[TINY_PARAMETERS];
    double frequency[64];
} tiny_model;

static void tiny_free(tiny_model *model)
{
    for (int i = 0; i < TINY_PARAMETERS; i++) {
        lh_tensor_free(model->parameter[i]);
        model->parameter[i] = NULL;
    }
}

static lh_status tiny_create(tiny_model *model, const tiny_sizes *sizes, const lh_backend *backend, lh_error *error)
{
    *model = (tiny_model){.sizes = *sizes};
    int64_t width = sizes->heads * sizes->head_width;
    for (int64_t i = 0; i < sizes->head_width / 2; i++) {
        model->frequency[i] = pow(100.0, -2.0 * (double)i / (double)sizes->head_width);
    }
    for (int i = 0; i < TINY_PARAMETERS; i++) {
        int which = i < 3 ? i : 3 + (i - 3) % TINY_PER_LAYER, ndim = 2;
        int64_t shape[2];
        switch (which) {
        case 0: /* embedding */
        case 1: /* output */ shape[0] = sizes->vocab, shape[1] = width; break;
        case 2: /* final gain */
        case 3: /* gains of the two norms */
        case 4: ndim = 1, shape[0] = width, shape[1] = 1; break;
        case 5: /* joint projection */ shape[0] = 3 * width, shape[1] = width; break;
        case 6: /* attention's output */ shape[0] = width, shape[1] = width; break;
        case 7: /* up and gate */ shape[0] = 2 * sizes->hidden, shape[1] = width; break;
        default: /* down */ shape[0] = width, shape[1] = sizes->hidden; break;
        }
        LH_TRY(lh_tensor_create(&model->parameter[i], backend, sizes->dtype, ndim, shape, "parameter", error));
        LH_TRY(lh_tensor_create_grad(model->parameter[i], error));
        int64_t n = lh_tensor_count(model->parameter[i]);
        double *wide = malloc(sizeof *wide * (size_t)n);
        float *narrow = malloc(sizeof *narrow * (size_t)n);
        lh_random random = lh_random_create(5, (uint64_t)i);
        for (int64_t e = 0; e < n; e++) {
            wide[e] = lh_random_normal(&random) * (ndim == 1 ? 0.1 : 0.4) + (ndim == 1);
            narrow[e] = (float)wide[e];
        }
        lh_status status = lh_tensor_write(
            model->parameter[i], sizes->dtype == LH_F64 ? (const void *)wide : (const void *)narrow, error);
        free(wide);
        free(narrow);
        LH_TRY(status);
    }
    return LH_OK;
}

typedef struct tiny_layer {
    const tiny_model *model;
    lh_tensor *position;
    int number;
} tiny_layer;

/* in: the residual stream and what the last layer adds to it; out: the same after this layer. */
static void tiny_run_layer(lh_context *c, void *user, lh_tensor *const *in, lh_tensor **out)
{
    const tiny_layer *layer = user;
    const tiny_sizes *sizes = &layer->model->sizes;
    lh_tensor *const *p = &layer->model->parameter[3 + layer->number * TINY_PER_LAYER];
    int64_t width = sizes->heads * sizes->head_width;
    int64_t heads[4] = {sizes->batch, sizes->length, sizes->heads, sizes->head_width};
    lh_tensor *stream = NULL, *part[3], *after = NULL;
    out[0] = out[1] = NULL;
    lh_tensor *x = lh_residual_norm(c, in[0], in[1], p[0], NULL, 1e-6, true, &stream);
    lh_tensor *joint = lh_linear(c, x, p[2], NULL);
    for (int i = 0; i < 3; i++) {
        part[i] = lh_reshape(c, lh_slice(c, joint, 2, i * width, width), 4, heads);
        if (i < 2) {
            lh_rope_options rope = {
                .rotated = sizes->head_width, .frequency = layer->model->frequency, .magnitude = 1.0};
            part[i] = lh_rope(c, part[i], layer->position, &rope);
        }
        part[i] = lh_transpose(c, part[i], 1, 2);
    }
    if (lh_op_stopped(c)) {
        return;
    }
    lh_key_source source = lh_key_source_causal(part[1], part[2], sizes->length);
    lh_attention_options options = {.dropout = sizes->dropout};
    lh_tensor *seen = lh_attention(c, part[0], 1, &source, &options, NULL);
    lh_tensor *merged =
        lh_reshape(c, lh_transpose(c, seen, 1, 2), 3, (int64_t[]){sizes->batch, sizes->length, width});
    lh_tensor *attended = lh_dropout(c, lh_linear(c, merged, p[3], NULL), sizes->dropout, 1);
    lh_tensor *y = lh_residual_norm(c, stream, attended, p[1], NULL, 1e-6, true, &after);
    lh_tensor *hidden = lh_gated(c, lh_linear(c, y, p[4], NULL), LH_SILU);
    out[0] = after;
    out[1] = lh_dropout(c, lh_linear(c, hidden, p[5], NULL), sizes->dropout, 1);
}

/* The loss of one batch with tokens made from a formula. */
static lh_tensor *tiny_loss(lh_context *c, const tiny_model *model, int batch_number)
{
    const tiny_sizes *sizes = &model->sizes;
    int64_t tokens = sizes->batch * sizes->length, width = sizes->heads * sizes->head_width;
    int32_t *ids = calloc((size_t)tokens, sizeof *ids), *next = calloc((size_t)tokens, sizeof *next);
    int32_t *position = calloc((size_t)sizes->length, sizeof *position);
    for (int64_t t = 0; t < tokens; t++) {
        ids[t] = (int32_t)((t * t + batch_number) % sizes->vocab);
        next[t] = t % 5 == 4 ? -1 : (int32_t)((t * 7 + 1) % sizes->vocab);
    }
    for (int64_t t = 0; t < sizes->length; t++) {
        position[t] = (int32_t)t;
    }
    lh_tensor *id = lh_from_host(c, LH_I32, 2, (int64_t[]){sizes->batch, sizes->length}, ids);
    lh_tensor *target = lh_from_host(c, LH_I32, 1, &tokens, next);
    lh_tensor *where = lh_from_host(c, LH_I32, 1, &sizes->length, position);
    free(ids);
    free(next);
    free(position);
    lh_tensor *x[2] = {lh_embedding(c, model->parameter[0], id, 1.0), NULL}, *ignored = NULL;
    x[1] = lh_scale(c, x[0], 0.5);
    for (int i = 0; i < TINY_LAYERS && !lh_op_stopped(c); i++) {
        tiny_layer *layer = lh_arena_alloc(&c->arena, sizeof *layer); /* alive until the backward pass */
        if (!layer) {
            lh_op_fail(c, LH_E_MEMORY, "tiny", "no memory for a layer");
            return NULL;
        }
        *layer = (tiny_layer){.model = model, .position = where, .number = i};
        lh_scope scope = lh_scope_begin(c);
        lh_tensor *out[2] = {NULL, NULL};
        if (sizes->recompute) {
            lh_recompute(c, tiny_run_layer, layer, 2, x, 2, out);
        } else {
            tiny_run_layer(c, layer, x, out);
        }
        lh_scope_end(c, scope, 2, out);
        x[0] = out[0];
        x[1] = out[1];
    }
    lh_tensor *y = lh_residual_norm(c, x[0], x[1], model->parameter[2], NULL, 1e-6, true, &ignored);
    lh_tensor *flat = lh_reshape(c, y, 2, (int64_t[]){tokens, width});
    return lh_linear_cross_entropy(c, flat, model->parameter[1], NULL, target, NULL, 1.0, 0.0, NULL);
}

/* Forward, backward, plain gradient descent; the loss. */
static double tiny_step(lh_context *c, const tiny_model *model, int batch_number, double rate)
{
    lh_context_reset(c);
    lh_tensor *loss = tiny_loss(c, model, batch_number);
    double value = lh_scalar(c, loss);
    lh_backward(c, loss, 1.0 / (double)(model->sizes.batch * model->sizes.length));
    for (int i = 0; i < TINY_PARAMETERS && rate != 0; i++) {
        lh_sgd_args sgd = {.n = lh_tensor_count(model->parameter[i]),
                           .lr = rate,
                           .grad_scale = 1.0,
                           .clear_grad = true,
                           .param = lh_tensor_data(model->parameter[i]),
                           .grad = lh_tensor_data(model->parameter[i]->grad)};
        lh_run(c, LH_KERNEL_SGD, model->sizes.dtype, &sgd);
    }
    return value;
}

/* All gradients (or parameters) as bytes in one block; free() it. */
static unsigned char *tiny_bytes(const tiny_model *model, bool gradients, size_t *bytes)
{
    size_t size = lh_dtype_size(model->sizes.dtype), total = 0, at = 0;
    lh_error error = {0};
    for (int i = 0; i < TINY_PARAMETERS; i++) {
        total += (size_t)lh_tensor_count(model->parameter[i]) * size;
    }
    unsigned char *all = malloc(total);
    for (int i = 0; i < TINY_PARAMETERS; i++) {
        const lh_tensor *x = gradients ? model->parameter[i]->grad : model->parameter[i];
        assert_int_equal(lh_tensor_read(x, all + at, &error), LH_OK);
        at += (size_t)lh_tensor_count(x) * size;
    }
    *bytes = total;
    return all;
}

#endif
