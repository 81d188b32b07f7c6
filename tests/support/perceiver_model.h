/* Small Perceiver AR models for tests: whole documents forward, as training sees a crop. */
#ifndef LH_TESTS_PERCEIVER_MODEL_H
#define LH_TESTS_PERCEIVER_MODEL_H

#include "support/tiny_model.h"

enum { VOCAB = 11, N = 6, M = 20 };

#define LAYERS                                                                                         \
    "model.layers=2", "model.width=12", "model.heads=2", "model.embedding_width=8", "model.hidden=20", \
        "model.segment=6"
#define SIZES LAYERS, "memory.kind=perceiver-ar", "memory.inputs=20", "memory.cross_heads=2"
#define STYLE                                                                                             \
    "model.tied=false", "model.embedding_scaled=false", "model.init=fan-in", "model.attention_bias=true", \
        "model.activation=relu2"
#define ROTARY \
    "model.positions=rotary", "model.rope_interleaved=true", "model.rope_spacing=closed", "model.rope_base=20"
#define SINUSOIDS "model.positions=none", "memory.position_table=sinusoidal", "memory.position_rows=65"
#define LEARNED "model.positions=none", "memory.position_table=learned", "memory.position_rows=65"

static inline lh_model *perceiver_model(const char *const *arguments, uint64_t seed)
{
    lh_error error = {0};
    lh_model *model = NULL;
    tiny_check(tiny_model(&model, arguments, seed, &error), &error);
    return model;
}

static inline void random_tokens(int32_t *tokens, int64_t count, uint64_t seed)
{
    lh_random random = lh_random_create(seed, 3);
    for (int64_t i = 0; i < count; i++) {
        tokens[i] = (int32_t)lh_random_below(&random, VOCAB);
    }
}

/* The last min(n, count) of `count` tokens as a right-padded segment, and what stands before it, with -1 in front.
 */
static inline int64_t cut_crop(const lh_model *model, const int32_t *tokens, int64_t count, int32_t pad,
                               int32_t *prefix, int32_t *segment)
{
    int64_t n = model->config.segment, before = model->memory_kind->reach(&model->shape);
    int64_t latents = count < n ? count : n, start = count - latents;
    for (int64_t i = 0; i < n; i++) {
        segment[i] = i < latents ? tokens[start + i] : pad;
    }
    for (int64_t i = 0; i < before; i++) {
        int64_t from = start - before + i;
        prefix[i] = from < 0 ? -1 : tokens[from];
    }
    return latents;
}

/* Logits [n, VOCAB] of the last tokens of one crop that begins at `position` of its document. */
static inline int64_t crop_logits(const lh_model *model, const int32_t *tokens, int64_t count, int64_t position,
                                  double *logits)
{
    lh_error error = {0};
    lh_context *context;
    lh_stream *stream;
    lh_forward forward;
    int64_t before = model->memory_kind->reach(&model->shape);
    int32_t prefix[256], segment[256];
    int64_t latents = cut_crop(model, tokens, count, 0, prefix, segment);
    int64_t skipped = count - latents - before > 0 ? count - latents - before : 0, start = position + skipped;
    tiny_check(lh_context_create(&context, model->backend, 2, &error), &error);
    tiny_check(lh_stream_create(&stream, model, 1, false, &error), &error);
    model->memory_kind->prime(stream->memory, context, prefix, before, &start);
    lh_model_forward(context, model, stream, segment, model->config.segment, &forward);
    lh_tensor *scores = lh_model_logits(context, model, forward.hidden);
    if (scores) {
        lh_to_host(context, lh_slice(context, scores, 0, 0, latents), logits);
    }
    tiny_check(lh_context_status(context, &error), &error);
    lh_stream_commit(stream, context);
    lh_stream_free(stream);
    lh_context_free(context);
    return latents;
}

static inline void check_close(const double *a, const double *b, int64_t count, double bound, const char *what)
{
    for (int64_t i = 0; i < count; i++) {
        if (!(fabs(a[i] - b[i]) <= bound * (1.0 + fabs(b[i])))) {
            fail_msg("%s: value %d is %.12g, not %.12g", what, (int)i, a[i], b[i]);
        }
    }
}

static inline bool differ(const double *a, const double *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (a[i] != b[i]) {
            return true;
        }
    }
    return false;
}

/* A fresh forward pass as training does it: `latents` latents on the last tokens of tokens[0 .. count), and before
 * them the M - N tokens that stand there. Logits of what follows the last token. */
static inline void fresh_logits(const lh_model *model, const int32_t *tokens, int64_t count, int64_t latents,
                                double *logits)
{
    lh_error error = {0};
    lh_context *context;
    lh_stream *stream;
    lh_forward forward;
    int32_t prefix[M - N], segment[N] = {0};
    int64_t begin = count - latents, start = begin > M - N ? begin - (M - N) : 0;
    for (int64_t i = 0; i < M - N; i++) {
        int64_t from = begin - (M - N) + i;
        prefix[i] = from < 0 ? -1 : tokens[from];
    }
    uint8_t valid[N] = {0};
    memcpy(segment, tokens + begin, sizeof *tokens * (size_t)latents);
    memset(valid, 1, (size_t)latents);
    tiny_check(lh_context_create(&context, model->backend, 1, &error), &error);
    tiny_check(lh_stream_create(&stream, model, 1, false, &error), &error);
    stream->memory->valid = valid;
    model->memory_kind->prime(stream->memory, context, prefix, M - N, &start);
    lh_model_forward(context, model, stream, segment, N, &forward);
    lh_tensor *row = lh_slice(context, forward.hidden, 1, latents - 1, 1);
    lh_to_host(context, lh_model_logits(context, model, lh_contiguous(context, row)), logits);
    tiny_check(lh_context_status(context, &error), &error);
    lh_stream_commit(stream, context);
    lh_stream_free(stream);
    lh_context_free(context);
}

/* Each of {setting, setting, part of the sentence} is refused. */
static inline void refuse_configurations(const char *const wrong[][3], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *arguments[] = {SIZES, STYLE, "model.positions=none", wrong[i][0], wrong[i][1], NULL};
        lh_error error = {0};
        lh_model *model = NULL;
        assert_int_equal(tiny_model(&model, arguments, 3, &error), LH_E_CONFIG);
        if (!strstr(error.message, wrong[i][2])) {
            fail_msg("%s", error.message);
        }
    }
}

/* A model in double precision with the values that initialisation gives it, wanting gradients; free both. */
static inline lh_model *as_initialised(const char *const *arguments, int64_t vocab, lh_recipe **recipe)
{
    lh_error error = {0};
    lh_model *model;
    tiny_check(lh_recipe_create(recipe, lh_model_recipe_tables(), NULL, 0, &error), &error);
    for (int i = 0; arguments[i]; i++) {
        tiny_check(lh_recipe_override(*recipe, arguments[i], &error), &error);
    }
    tiny_check(lh_recipe_resolve(*recipe, &error), &error);
    tiny_check(lh_model_create(&model, *recipe, vocab, lh_backend_cpu(), LH_F64, &error), &error);
    tiny_check(lh_parameters_initialise(&model->parameters, 3, &error), &error);
    tiny_check(lh_parameters_want_grads(&model->parameters, ~0u, &error), &error);
    return model;
}

#endif
