/* Perceiver AR: masks, equivalences, causality, padding, dropped inputs, the first loss, sizes. The numbers in the
 * comments are those of the method's acceptance checks. Positions: test_perceiver_positions.c; sessions:
 * test_perceiver_session.c; learning and the trainer: test_perceiver_train.c. */
#include "infer/describe.h"
#include "memory/perceiver.h"
#include "support/perceiver_model.h"

/* ---- 1. masks ---- */

/* A memory of kind perceiver-ar with one lane, in training. */
static void plan_of(const lh_model *model, lh_context *context, const int32_t *tokens, int64_t count,
                    lh_stream *stream, lh_perceiver_plan *plan)
{
    int32_t prefix[256], segment[256];
    int64_t zero = 0, before = model->memory_kind->reach(&model->shape);
    lh_perceiver_inputs inputs;
    cut_crop(model, tokens, count, 0, prefix, segment);
    model->memory_kind->prime(stream->memory, context, prefix, before, &zero);
    lh_memory_begin(stream->memory);
    assert_true(lh_perceiver_look(stream->memory, context, &inputs));
    assert_true(lh_perceiver_make_plan(stream->memory, context, &inputs, segment, plan));
}

/* Ten slots, six latents: latent i of a row of `count` tokens stands on token p(i) and sees tokens 0 .. p(i). */
static void masks(void **state)
{
    (void)state;
    static const int64_t counts[] = {10, 1, 4, 7};
    static const int first[] = {4, 0, 0, 1}; /* p of the first valid latent */
    const char *arguments[] = {SIZES, STYLE, ROTARY, "memory.inputs=10", NULL};
    lh_model *model = perceiver_model(arguments, 3);
    int32_t tokens[10];
    for (int i = 0; i < 10; i++) {
        tokens[i] = i;
    }
    for (int c = 0; c < 4; c++) {
        lh_error error = {0};
        lh_context *context;
        lh_stream *stream;
        lh_perceiver_plan plan;
        tiny_check(lh_context_create(&context, model->backend, 1, &error), &error);
        tiny_check(lh_stream_create(&stream, model, 1, false, &error), &error);
        plan_of(model, context, tokens, counts[c], stream, &plan);
        int64_t latents = counts[c] < N ? counts[c] : N;
        assert_int_equal(plan.keys - plan.segment, N);
        assert_null(plan.low); /* one lane: nothing is hidden but the future */
        for (int64_t i = 0; i < latents; i++) {
            int seen = 0;
            for (int64_t j = 0; j <= plan.segment + i; j++) { /* causal, own token included */
                assert_int_equal(plan.ids[j], seen);
                assert_int_equal(plan.place[j], j - plan.segment);
                seen++;
            }
            assert_int_equal(seen, first[c] + i + 1);
        }
        lh_memory_rollback(stream->memory);
        lh_stream_free(stream);
        lh_context_free(context);
    }
    lh_model_free(model);
}

/* ---- 2. a plain transformer ---- */

static void copy_values(const lh_model *from, const char *a, const lh_model *to, const char *b, int64_t offset)
{
    const lh_parameter *source = lh_parameters_find(&from->parameters, a);
    const lh_parameter *target = lh_parameters_find(&to->parameters, b);
    if (!source || !target) {
        fail_msg("no parameter %s or %s", a, b);
        return;
    }
    memcpy((double *)lh_tensor_data(target->tensor) + offset, lh_tensor_data(source->tensor),
           sizeof(double) * (size_t)lh_tensor_count(source->tensor));
}

/* With as many latents as inputs, Wz = 1 and one norm for queries and keys, the cross block is a layer like the
 * others: the model is a plain causal transformer with one layer more. (Separate norms and Wz: tests/parity.) */
static void latents_for_all_inputs(void **state)
{
    (void)state;
    enum { LENGTH = 9, WIDTH = 12 };
    const char *perceiver[] = {
        SIZES, STYLE, ROTARY, "model.embedding_width=12", "model.segment=9", "memory.inputs=9", NULL};
    const char *plain[] = {
        LAYERS,           STYLE, ROTARY, "model.embedding_width=12", "model.segment=9", "memory.kind=none",
        "model.layers=3", NULL};
    static const char *const parts[][2] = {{"memory.query_norm.weight", "attention_norm.weight"},
                                           {"memory.query_norm.bias", "attention_norm.bias"},
                                           {"memory.query.weight", "attention.query.weight"},
                                           {"memory.query.bias", "attention.query.bias"},
                                           {"memory.output.weight", "attention.output.weight"},
                                           {"memory.output.bias", "attention.output.bias"},
                                           {"memory.hidden_norm.weight", "hidden_norm.weight"},
                                           {"memory.hidden_norm.bias", "hidden_norm.bias"},
                                           {"memory.up.weight", "hidden.up.weight"},
                                           {"memory.up.bias", "hidden.up.bias"},
                                           {"memory.down.weight", "hidden.down.weight"},
                                           {"memory.down.bias", "hidden.down.bias"}};
    lh_model *model = perceiver_model(perceiver, 3), *reference = perceiver_model(plain, 4);
    double *latent = lh_tensor_data(lh_parameters_find(&model->parameters, "memory.latent.weight")->tensor);
    for (int i = 0; i < WIDTH * WIDTH; i++) {
        latent[i] = i % (WIDTH + 1) == 0;
    }
    memset(lh_tensor_data(lh_parameters_find(&model->parameters, "memory.latent.bias")->tensor), 0,
           sizeof(double) * WIDTH);
    copy_values(model, "memory.query_norm.weight", model, "memory.input_norm.weight", 0);
    copy_values(model, "memory.query_norm.bias", model, "memory.input_norm.bias", 0);
    char name[96];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        (void)snprintf(name, sizeof name, "layers.0.%s", parts[i][1]);
        copy_values(model, parts[i][0], reference, name, 0);
    }
    copy_values(model, "memory.key.weight", reference, "layers.0.attention.key_value.weight", 0);
    copy_values(model, "memory.value.weight", reference, "layers.0.attention.key_value.weight", WIDTH * WIDTH);
    copy_values(model, "memory.key.bias", reference, "layers.0.attention.key_value.bias", 0);
    copy_values(model, "memory.value.bias", reference, "layers.0.attention.key_value.bias", WIDTH);
    for (int i = 0; i < model->parameters.count; i++) {
        const char *own = model->parameters.items[i].name;
        int layer;
        if (sscanf(own, "layers.%d.", &layer) == 1) {
            (void)snprintf(name, sizeof name, "layers.%d.%s", layer + 1, strchr(own + 7, '.') + 1);
            copy_values(model, own, reference, name, 0);
        } else if (strncmp(own, "memory.", 7) != 0) {
            copy_values(model, own, reference, own, 0);
        }
    }
    int32_t tokens[LENGTH];
    double logits[LENGTH * VOCAB], expected[LENGTH * VOCAB];
    lh_error error = {0};
    lh_context *context;
    lh_stream *stream;
    lh_forward forward;
    random_tokens(tokens, LENGTH, 5);
    crop_logits(model, tokens, LENGTH, 0, logits);
    tiny_check(lh_context_create(&context, reference->backend, 1, &error), &error);
    tiny_check(lh_stream_create(&stream, reference, 1, false, &error), &error);
    lh_model_forward(context, reference, stream, tokens, LENGTH, &forward);
    lh_to_host(context, lh_model_logits(context, reference, forward.hidden), expected);
    check_close(logits, expected, LENGTH * VOCAB, 1e-11, "logits");
    lh_stream_free(stream);
    lh_context_free(context);
    lh_model_free(model);
    lh_model_free(reference);
}

/* ---- 3. causality ---- */

/* Tokens are all different, so the gradient of a row of the embedding table is that of one input. */
static void nothing_comes_from_the_future(void **state)
{
    (void)state;
    enum { LENGTH = 10 };
    static const char *const positions[][3] = {{"model.positions=rotary", "model.rope_base=20"},
                                               {"model.positions=none", "memory.position_table=learned"}};
    for (int kind = 0; kind < 2; kind++) {
        const char *arguments[] = {SIZES, STYLE, "memory.inputs=10", positions[kind][0], positions[kind][1], NULL};
        tiny t = tiny_create(arguments, 1, 3);
        int32_t tokens[LENGTH], prefix[LENGTH], segment[LENGTH];
        for (int i = 0; i < LENGTH; i++) {
            tokens[i] = (i * 7 + 2) % 11;
        }
        for (int latent = 0; latent < N; latent++) {
            int64_t zero = 0;
            lh_error error = {0};
            lh_forward forward;
            cut_crop(t.model, tokens, LENGTH, 0, prefix, segment);
            tiny_zero_grads(&t);
            tiny_check(lh_stream_reset(t.stream, t.context, -1, &error), &error);
            t.model->memory_kind->prime(t.stream->memory, t.context, prefix, LENGTH - N, &zero);
            lh_model_forward(t.context, t.model, t.stream, segment, N, &forward);
            lh_tensor *logits = lh_model_logits(t.context, t.model, forward.hidden);
            lh_backward(
                t.context,
                lh_sum(t.context, lh_unary(t.context, LH_SQUARE, lh_slice(t.context, logits, 0, latent, 1))), 1.0);
            lh_stream_commit(t.stream, t.context);
            tiny_check(lh_context_status(t.context, &error), &error);
            lh_context_reset(t.context);
            const double *gradient = tiny_grad(&t, "embedding.weight");
            for (int j = 0; j < LENGTH; j++) {
                double size = largest(gradient + tokens[j] * 8, 8);
                bool seen = j <= LENGTH - N + latent;
                assert_true(seen ? size > 1e-9 : size == 0.0);
            }
        }
        tiny_free(&t);
    }
}

/* ---- 4. padding ---- */

/* A crop beside others of other lengths, padded with anything, gives what it gives alone. */
static void padding_changes_nothing(void **state)
{
    (void)state;
    enum { LANES = 5 };
    static const int64_t counts[LANES] = {20, 3, 9, 6, 14};
    const char *rotary[] = {SIZES, STYLE, ROTARY, NULL};
    const char *sinusoids[] = {SIZES, STYLE, SINUSOIDS, NULL};
    const char *const *kinds[] = {rotary, sinusoids};
    int32_t tokens[LANES][M], prefix[LANES * (M - N)], segment[LANES * N];
    int64_t position[LANES] = {0, 7, 30, 2, 11};
    for (int lane = 0; lane < LANES; lane++) {
        random_tokens(tokens[lane], M, 20 + (uint64_t)lane);
    }
    for (int kind = 0; kind < 2; kind++) {
        lh_model *model = perceiver_model(kinds[kind], 3);
        for (int32_t pad = 0; pad < VOCAB; pad += 5) {
            double together[LANES * N * VOCAB], alone[N * VOCAB];
            lh_error error = {0};
            lh_context *context;
            lh_stream *stream;
            lh_forward forward;
            for (int lane = 0; lane < LANES; lane++) {
                cut_crop(model, tokens[lane], counts[lane], pad, prefix + lane * (M - N), segment + lane * N);
            }
            tiny_check(lh_context_create(&context, model->backend, 2, &error), &error);
            tiny_check(lh_stream_create(&stream, model, LANES, false, &error), &error);
            model->memory_kind->prime(stream->memory, context, prefix, M - N, position);
            lh_model_forward(context, model, stream, segment, N, &forward);
            lh_to_host(context, lh_model_logits(context, model, forward.hidden), together);
            tiny_check(lh_context_status(context, &error), &error);
            for (int lane = 0; lane < LANES; lane++) {
                int64_t latents = crop_logits(model, tokens[lane], counts[lane], position[lane], alone);
                check_close(together + lane * N * VOCAB, alone, latents * VOCAB, 1e-12, "a lane among others");
            }
            lh_stream_commit(stream, context);
            lh_stream_free(stream);
            lh_context_free(context);
        }
        lh_model_free(model);
    }
}

/* ---- a text that is read on, and one that is cropped ---- */

static void streams_equal_crops(void **state)
{
    (void)state;
    enum { SEGMENTS = 6 };
    const char *rotary[] = {SIZES, STYLE, ROTARY, NULL};
    const char *sinusoids[] = {SIZES, STYLE, SINUSOIDS, NULL};
    const char *const *kinds[] = {rotary, sinusoids};
    int32_t tokens[SEGMENTS * N];
    random_tokens(tokens, SEGMENTS * N, 9);
    for (int kind = 0; kind < 2; kind++) {
        lh_model *model = perceiver_model(kinds[kind], 3);
        lh_error error = {0};
        lh_context *context;
        lh_stream *stream;
        tiny_check(lh_context_create(&context, model->backend, 2, &error), &error);
        tiny_check(lh_stream_create(&stream, model, 1, false, &error), &error);
        for (int s = 0; s < SEGMENTS; s++) {
            double logits[N * VOCAB], expected[N * VOCAB];
            lh_forward forward;
            lh_model_forward(context, model, stream, tokens + s * N, N, &forward);
            lh_to_host(context, lh_model_logits(context, model, forward.hidden), logits);
            lh_stream_commit(stream, context);
            tiny_check(lh_context_status(context, &error), &error);
            lh_context_reset(context);
            int64_t end = (s + 1) * N, first = end > M ? end - M : 0;
            crop_logits(model, tokens + first, end - first, first, expected);
            check_close(logits, expected, N * VOCAB, 1e-11, "a segment of a text");
        }
        /* What is carried is four bytes for each remembered token. */
        assert_int_equal(lh_memory_stream_bytes(stream->memory), 4 * (M - N) + 8);
        lh_stream_free(stream);
        lh_context_free(context);
        lh_model_free(model);
    }
}

/* ---- 8. the first loss ---- */

static void the_first_loss(void **state)
{
    (void)state;
    const char *arguments[] = {SIZES, STYLE, ROTARY, "model.output_init=zero", "model.embedding_init=truncated",
                               NULL};
    lh_error error = {0};
    lh_recipe *recipe;
    lh_model *model = as_initialised(arguments, 259, &recipe);
    const double *embedding = lh_tensor_data(model->embedding[0]);
    assert_true(largest(embedding, 259 * 8) <= 2.0 && largest(embedding, 259 * 8) > 1.9);
    model->z_loss = 1e-4;
    lh_context *context;
    lh_stream *stream;
    lh_forward forward;
    int32_t tokens[N], targets[N];
    double nll[N];
    random_tokens(tokens, N, 4);
    random_tokens(targets, N, 5);
    tiny_check(lh_context_create(&context, lh_backend_cpu(), 1, &error), &error);
    tiny_check(lh_stream_create(&stream, model, 1, false, &error), &error);
    for (int training = 1; training >= 0; training--) {
        context->recording = context->training = training;
        lh_model_forward(context, model, stream, tokens, N, &forward);
        lh_tensor *loss = lh_model_loss(context, model, forward.hidden, targets, NULL, nll);
        for (int i = 0; i < N; i++) {
            double expected = log(259.0) + (training ? 1e-4 * log(259.0) * log(259.0) : 0.0);
            assert_true(fabs(nll[i] - expected) < 1e-12);
        }
        if (training) {
            lh_backward(context, loss, 1.0);
        }
        lh_stream_commit(stream, context);
        tiny_check(lh_context_status(context, &error), &error);
        lh_context_reset(context);
    }
    assert_true(fabs(log(259.0) - 5.5568) < 1e-4 && fabs(1e-4 * log(259.0) * log(259.0) - 0.00309) < 1e-5);
    for (int i = 0; i < model->parameters.count; i++) {
        const lh_parameter *p = &model->parameters.items[i];
        double size = largest(lh_tensor_data(p->tensor->grad), lh_tensor_count(p->tensor));
        bool output = strncmp(p->name, "output.", 7) == 0;
        assert_true(output ? size > 0.0 : size == 0.0);
    }
    lh_stream_free(stream);
    lh_context_free(context);
    lh_recipe_free(recipe);
    lh_model_free(model);
}

/* ---- 9. sizes ---- */

static void published_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *preset;
        int64_t parameters;
    } sizes[] = {
        {"perceiver-ar-copy-32", 26810627},          {"perceiver-ar-copy-131072", 223976707},
        {"perceiver-ar-imagenet64", 770094339},      {"perceiver-ar-pg19", 974205184},
        {"perceiver-ar-maestro", 165605767},         {"perceiver-ar-piano", 316760455},
        {"perceiver-ar-soundstream-12k", 215166979}, {"perceiver-ar-soundstream-22k", 408285187},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        lh_error error = {0};
        lh_recipe *recipe;
        lh_model_description d;
        size_t count;
        char argument[64];
        const lh_recipe_preset *presets = lh_model_presets(&count);
        (void)snprintf(argument, sizeof argument, "preset=%s", sizes[i].preset);
        tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), presets, count, &error), &error);
        tiny_check(lh_recipe_override(recipe, argument, &error), &error);
        tiny_check(lh_recipe_resolve(recipe, &error), &error);
        tiny_check(lh_recipe_describe_model(&d, recipe, lh_recipe_integer(recipe, "model.vocab"), &error), &error);
        assert_int_equal(d.parameters, sizes[i].parameters);
        /* The formula, in units of this configuration. */
        int64_t w = lh_recipe_integer(recipe, "model.width"), v = lh_recipe_integer(recipe, "model.vocab");
        int64_t e = lh_recipe_integer(recipe, "model.embedding_width"),
                l = lh_recipe_integer(recipe, "model.layers");
        const char *table = lh_recipe_string(recipe, "memory.position_table");
        e = e ? e : w;
        int64_t rows = strcmp(table, "sinusoidal") == 0 ? lh_recipe_integer(recipe, "memory.inputs") + 1
                       : strcmp(table, "image") == 0    ? 66 + 66 + 5
                                                        : 0;
        int64_t cross = (w * e + e) + 2 * (e * e + e) + (e * w + w) + 8 * w * w + 5 * w + 2 * w + 2 * e + 2 * w;
        int64_t all = l * (12 * w * w + 13 * w) + cross + (e * w + w) + v * e + rows * e + 2 * w + w * v + v;
        assert_int_equal(all, sizes[i].parameters);
        lh_recipe_free(recipe);
    }
}

/* ---- 10. cross-attend dropout ---- */

/* Hidden states [lanes, N, width] of a crop in training mode, with the inputs dropped as the arguments say. */
static void dropped(const char *const *arguments, const int32_t *tokens, int64_t count, double *hidden)
{
    tiny t = tiny_create(arguments, 1, 3);
    lh_error error = {0};
    lh_forward forward;
    int32_t prefix[M], segment[N];
    int64_t zero = 0, before = t.model->memory_kind->reach(&t.model->shape);
    cut_crop(t.model, tokens, count, 0, prefix, segment);
    t.model->memory_kind->prime(t.stream->memory, t.context, prefix, before, &zero);
    lh_model_forward(t.context, t.model, t.stream, segment, N, &forward);
    if (forward.hidden) {
        lh_to_host(t.context, forward.hidden, hidden);
        lh_backward(t.context, lh_sum(t.context, forward.hidden), 1.0);
    }
    lh_stream_commit(t.stream, t.context);
    tiny_check(lh_context_status(t.context, &error), &error);
    for (int i = 0; i < t.model->parameters.count; i++) { /* rows without keys leave no NaN behind */
        const lh_tensor *g = t.model->parameters.items[i].tensor->grad;
        for (int64_t j = 0; g && j < lh_tensor_count(g); j++) {
            assert_true(isfinite(((const double *)lh_tensor_data(g))[j]));
        }
    }
    tiny_free(&t);
}

static void dropping_inputs(void **state)
{
    (void)state;
    enum { WIDTH = 12, CELLS = N * WIDTH };
    int32_t tokens[M];
    double plain[CELLS], none[CELLS], prefix[CELLS], short_model[CELLS], own[CELLS], blind[CELLS], half[CELLS];
    random_tokens(tokens, M, 6);
    const char *zero[] = {SIZES, STYLE, ROTARY, NULL};
    dropped(zero, tokens, M, plain);
    const char *tiny_rate[] = {SIZES, STYLE, ROTARY, "memory.cross_dropout=1e-300", NULL};
    dropped(tiny_rate, tokens, M, none); /* the path with dropping, which drops nothing */
    check_close(none, plain, CELLS, 1e-12, "no dropping");
    const char *all_before[] = {SIZES, STYLE, ROTARY, "memory.cross_dropout=1", "memory.cross_dropout_rule=prefix",
                                NULL};
    dropped(all_before, tokens, M, prefix);
    const char *only_latents[] = {SIZES, STYLE, ROTARY, "memory.inputs=6", NULL};
    dropped(only_latents, tokens + M - N, N, short_model);
    check_close(prefix, short_model, CELLS, 1e-12, "all of the prefix dropped");
    assert_true(differ(prefix, plain, CELLS));
    const char *half_before[] = {
        SIZES, STYLE, ROTARY, "memory.cross_dropout=0.5", "memory.cross_dropout_rule=prefix", NULL};
    dropped(half_before, tokens, M, half);
    assert_true(differ(half, plain, CELLS) && differ(half, prefix, CELLS));

    /* Nothing is seen: the residual alone is left, whatever the output's bias. With own tokens kept, each latent
     * sees exactly its own value, since the softmax over one key is 1. */
    const char *all[] = {SIZES, STYLE, ROTARY, "memory.cross_dropout=1", "model.layers=0", "model.final_norm=false",
                         NULL};
    const char *keep_own[] = {SIZES,
                              STYLE,
                              ROTARY,
                              "memory.cross_dropout=1",
                              "model.layers=0",
                              "model.final_norm=false",
                              "memory.cross_dropout_rule=own",
                              NULL};
    dropped(all, tokens, M, blind);
    dropped(keep_own, tokens, M, own);
    const char *reference[] = {SIZES, STYLE, ROTARY, "model.layers=0", "model.final_norm=false", NULL};
    for (int mode = 0; mode < 2; mode++) {
        tiny t = tiny_create(reference, 1, 3);
        lh_context *c = t.context;
        lh_tensor **w = t.model->entry_parameters.tensors;
        int64_t count = N;
        lh_error error = {0};
        double expected[CELLS];
        lh_tensor *e =
            lh_embedding(c, t.model->embedding[0], lh_from_host(c, LH_I32, 1, &count, tokens + M - N), 1.0);
        lh_tensor *z = lh_linear(c, e, w[LH_PERCEIVER_LATENT], w[LH_PERCEIVER_LATENT_BIAS]);
        if (mode == 1) {
            lh_tensor *source =
                lh_layer_norm(c, e, w[LH_PERCEIVER_INPUT_GAIN], w[LH_PERCEIVER_INPUT_NORM_BIAS], 1e-5);
            lh_tensor *v = lh_linear(c, source, w[LH_PERCEIVER_VALUE], w[LH_PERCEIVER_VALUE_BIAS]);
            z = lh_add(c, z, lh_linear(c, v, w[LH_PERCEIVER_OUTPUT], w[LH_PERCEIVER_OUTPUT_BIAS]));
        }
        lh_tensor *h = lh_layer_norm(c, z, w[LH_PERCEIVER_HIDDEN_GAIN], w[LH_PERCEIVER_HIDDEN_NORM_BIAS], 1e-5);
        h = lh_activation_linear(c, lh_linear(c, h, w[LH_PERCEIVER_UP], NULL), w[LH_PERCEIVER_UP_BIAS],
                                 LH_RELU_SQUARED, w[LH_PERCEIVER_DOWN], w[LH_PERCEIVER_DOWN_BIAS]);
        lh_to_host(c, lh_add(c, z, h), expected);
        tiny_check(lh_context_status(c, &error), &error);
        check_close(mode == 0 ? blind : own, expected, CELLS, 1e-12, mode == 0 ? "residual alone" : "own value");
        tiny_free(&t);
    }
}

/* What a plan with dropped inputs holds: what it says, with the right places, and as many as it should. */
static void dropped_plans(void **state)
{
    (void)state;
    static const char *const rules[] = {"memory.cross_dropout_rule=all", "memory.cross_dropout_rule=own",
                                        "memory.cross_dropout_rule=prefix"};
    int32_t tokens[M];
    for (int i = 0; i < M; i++) {
        tokens[i] = i; /* ids are not looked at here */
    }
    for (int rule = 0; rule < 3; rule++) {
        const char *arguments[] = {SIZES, STYLE, ROTARY, "memory.cross_dropout=0.7", rules[rule], NULL};
        lh_model *model = perceiver_model(arguments, 3);
        double kept = 0.0, kept_before = 0.0;
        enum { TRIALS = 2000 };
        lh_error error = {0};
        lh_context *context;
        tiny_check(lh_context_create(&context, model->backend, 1, &error), &error);
        context->training = true;
        context->seed = 12;
        for (int trial = 0; trial < TRIALS; trial++) {
            lh_stream *stream;
            lh_perceiver_plan plan;
            tiny_check(lh_stream_create(&stream, model, 1, false, &error), &error);
            plan_of(model, context, tokens, M, stream, &plan);
            int64_t before = 0, columns = plan.keys + plan.own;
            bool seen[M] = {false};
            for (int64_t j = 0; j < columns; j++) {
                if (plan.ids[j] >= 0) {
                    assert_int_equal(plan.place[j], plan.ids[j] - (M - N));
                    assert_false(seen[plan.ids[j]]);
                    seen[plan.ids[j]] = true;
                }
            }
            for (int64_t j = 0; j < plan.keys; j++) {
                before += plan.ids[j] >= 0 && plan.place[j] < 0;
                kept += plan.ids[j] >= 0;
            }
            kept_before += (double)before;
            assert_true(rule != 2 || before == M - N - (int64_t)(0.7 * (M - N)));
            for (int i = 0; i < N; i++) {
                int32_t last = -1;
                for (int32_t j = plan.low[i]; j < plan.high[i]; j++) {
                    assert_true(plan.ids[j] > last && plan.ids[j] <= M - N + i);
                    last = plan.ids[j];
                }
                bool own = last == M - N + i;
                for (int32_t j = plan.own_low[i]; j < plan.own_high[i]; j++) {
                    assert_int_equal(plan.ids[plan.keys + j], M - N + i);
                    assert_false(own);
                    own = true;
                }
                assert_true(rule == 0 || own);
                assert_true((plan.sees && plan.sees[i] == 0.0) ==
                            (plan.low[i] >= plan.high[i] && plan.own_low[i] >= plan.own_high[i]));
            }
            lh_memory_rollback(stream->memory);
            lh_stream_free(stream);
            lh_context_reset(context);
        }
        double expected = rule == 2 ? M - N - (int64_t)(0.7 * (M - N)) + N : 0.3 * M;
        assert_true(fabs(kept / TRIALS - expected) < 0.3);
        assert_true(fabs(kept_before / TRIALS - (rule == 2 ? expected - N : 0.3 * (M - N))) < 0.25);
        lh_context_free(context);
        lh_model_free(model);
    }
}

/* ---- 11. the far past is used ---- */

static void the_far_past_counts(void **state)
{
    (void)state;
    const char *rotary[] = {SIZES, STYLE, ROTARY, NULL};
    const char *sinusoids[] = {SIZES, STYLE, SINUSOIDS, NULL};
    const char *nothing[] = {SIZES, STYLE, "model.positions=none", NULL};
    const char *const *kinds[] = {rotary, sinusoids, nothing};
    int32_t tokens[M];
    double logits[N * VOCAB], changed[N * VOCAB];
    for (int kind = 0; kind < 3; kind++) {
        lh_model *model = perceiver_model(kinds[kind], 3);
        random_tokens(tokens, M, 6);
        tokens[1] = 3;
        tokens[4] = 8;
        crop_logits(model, tokens, M, 0, logits);
        tokens[1] = 5;
        crop_logits(model, tokens, M, 0, changed);
        assert_true(differ(logits, changed, N * VOCAB));
        tokens[1] = 8;
        tokens[4] = 3;
        crop_logits(model, tokens, M, 0, changed);
        double most = 0.0;
        for (int i = 0; i < N * VOCAB; i++) {
            most = fmax(most, fabs(logits[i] - changed[i]));
        }
        assert_true(kind < 2 ? most > 1e-6 : most < 1e-12);
        lh_model_free(model);
    }
}

/* ---- gradients ---- */

/* Central differences of the task's loss over two lanes of different lengths; z-loss included (13). */
static double crop_loss(tiny *t, const int32_t *prefix, const int32_t *segment, const int32_t *targets,
                        bool backward)
{
    lh_error error = {0};
    lh_forward forward;
    int64_t position[2] = {3, 0};
    tiny_check(lh_stream_reset(t->stream, t->context, -1, &error), &error);
    t->context->random_offset = 0;
    t->model->memory_kind->prime(t->stream->memory, t->context, prefix, M - N, position);
    lh_model_forward(t->context, t->model, t->stream, segment, N, &forward);
    lh_tensor *loss = lh_model_loss(t->context, t->model, forward.hidden, targets, NULL, NULL);
    double value = lh_scalar(t->context, loss);
    if (backward) {
        lh_backward(t->context, loss, 1.0);
    }
    lh_stream_commit(t->stream, t->context);
    tiny_check(lh_context_status(t->context, &error), &error);
    lh_context_reset(t->context);
    return value;
}

static void gradients(void **state)
{
    (void)state;
    static const char *const kinds[][3] = {
        {"model.positions=rotary", "model.rope_interleaved=true", "memory.cross_dropout=0"},
        {"model.positions=none", "memory.position_table=learned", "memory.position_rows=24"},
        {"model.positions=rotary", "memory.cross_dropout_rule=all", "memory.cross_dropout=0.8"},
        {"model.positions=rotary", "memory.cross_dropout_rule=own", "memory.cross_dropout=0.8"},
        {"model.positions=rotary", "memory.cross_dropout_rule=prefix", "memory.cross_dropout=0.5"},
    };
    int32_t long_one[M], short_one[8], prefix[2 * (M - N)], segment[2 * N], targets[2 * N];
    random_tokens(long_one, M, 6);
    random_tokens(short_one, 8, 7);
    random_tokens(targets, 2 * N, 8);
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        const char *arguments[] = {SIZES,          STYLE,          "model.layers=1", "model.dropout=0.2",
                                   kinds[kind][0], kinds[kind][1], kinds[kind][2],   NULL};
        tiny t = tiny_create(arguments, 2, 3);
        t.model->z_loss = 0.03;
        cut_crop(t.model, long_one, M, 0, prefix, segment);
        cut_crop(t.model, short_one, 8, 0, prefix + M - N, segment + N);
        targets[N + 4] = -1;
        tiny_zero_grads(&t);
        (void)crop_loss(&t, prefix, segment, targets, true);
        for (int i = 0; i < t.model->parameters.count; i++) {
            lh_parameter *p = &t.model->parameters.items[i];
            double *x = lh_tensor_data(p->tensor), *g = lh_tensor_data(p->tensor->grad);
            int64_t count = lh_tensor_count(p->tensor), step = count > 12 ? count / 12 : 1;
            for (int64_t j = 0; j < count; j += step) {
                double value[2], h = 1e-5, kept = x[j];
                for (int side = 0; side < 2; side++) {
                    x[j] = kept + (side ? -h : h);
                    value[side] = crop_loss(&t, prefix, segment, targets, false);
                }
                x[j] = kept;
                double difference = (value[0] - value[1]) / (2.0 * h);
                double scale = fmax(fmax(fabs(difference), fabs(g[j])), 1e-1);
                if (fabs(difference - g[j]) > 1e-6 * scale) {
                    fail_msg("kind %d, %s[%d]: %.10g, by differences %.10g", (int)kind, p->name, (int)j, g[j],
                             difference);
                }
            }
        }
        tiny_free(&t);
    }
}

/* ---- 5. single precision and kernels ---- */

/* The tiled kernels against plain C over doubles, with more inputs than any tile holds. */
static void single_precision(void **state)
{
    (void)state;
    enum { INPUTS = 700, LATENTS = 70 };
    static const char *const kinds[][2] = {{"model.positions=rotary", "memory.position_table=none"},
                                           {"model.positions=none", "memory.position_table=sinusoidal"}};
    int32_t tokens[INPUTS];
    random_tokens(tokens, INPUTS, 6);
    for (int kind = 0; kind < 2; kind++) {
        const char *arguments[] = {"model.layers=2",
                                   "model.width=32",
                                   "model.heads=4",
                                   "model.segment=70",
                                   "memory.kind=perceiver-ar",
                                   "memory.inputs=700",
                                   STYLE,
                                   kinds[kind][0],
                                   kinds[kind][1],
                                   NULL};
        lh_model *wide = perceiver_model(arguments, 3), *narrow;
        lh_error error = {0};
        lh_recipe *recipe;
        tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), NULL, 0, &error), &error);
        for (int i = 0; arguments[i]; i++) {
            tiny_check(lh_recipe_override(recipe, arguments[i], &error), &error);
        }
        tiny_check(lh_recipe_resolve(recipe, &error), &error);
        tiny_check(lh_model_create(&narrow, recipe, VOCAB, lh_backend_cpu(), LH_F32, &error), &error);
        lh_recipe_free(recipe);
        for (int i = 0; i < wide->parameters.count; i++) {
            const double *from = lh_tensor_data(wide->parameters.items[i].tensor);
            float *to = lh_tensor_data(narrow->parameters.items[i].tensor);
            for (int64_t j = 0; j < lh_tensor_count(wide->parameters.items[i].tensor); j++) {
                to[j] = (float)from[j];
            }
        }
        for (int64_t count = INPUTS; count > 0; count -= 205) { /* also shorter ones, beside padding */
            double a[LATENTS * VOCAB], b[LATENTS * VOCAB];
            lh_context *context;
            lh_model *models[2] = {wide, narrow};
            double *logits[2] = {a, b};
            for (int m = 0; m < 2; m++) {
                lh_stream *stream;
                lh_forward forward;
                int32_t prefix[INPUTS], segment[LATENTS];
                int64_t zero = 0;
                cut_crop(models[m], tokens, count, 0, prefix, segment);
                tiny_check(lh_context_create(&context, lh_backend_cpu(), 2, &error), &error);
                tiny_check(lh_stream_create(&stream, models[m], 1, false, &error), &error);
                models[m]->memory_kind->prime(stream->memory, context, prefix, INPUTS - LATENTS, &zero);
                lh_model_forward(context, models[m], stream, segment, LATENTS, &forward);
                lh_to_host(context, lh_model_logits(context, models[m], forward.hidden), logits[m]);
                tiny_check(lh_context_status(context, &error), &error);
                lh_stream_commit(stream, context);
                lh_stream_free(stream);
                lh_context_free(context);
            }
            check_close(b, a, (count < LATENTS ? count : LATENTS) * VOCAB, 2e-4, "single precision");
        }
        lh_model_free(wide);
        lh_model_free(narrow);
    }
}

/* ---- bad input ---- */

static void impossible_configurations(void **state)
{
    (void)state;
    static const char *const wrong[][3] = {
        {"memory.inputs=5", "model.tied=true", "is less than the latents"},
        {"memory.cross_heads=3", "model.tied=true", "does not divide"},
        {"model.positions=learned", "model.tied=true", "memory.position_table = learned"},
        {"model.cutoffs=4", "model.tied=true", "one table"},
        {"memory.cross_dropout=1.5", "model.tied=true", "cross_dropout"},
    };
    refuse_configurations(wrong, sizeof wrong / sizeof *wrong);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks),
        cmocka_unit_test(latents_for_all_inputs),
        cmocka_unit_test(nothing_comes_from_the_future),
        cmocka_unit_test(padding_changes_nothing),
        cmocka_unit_test(streams_equal_crops),
        cmocka_unit_test(the_first_loss),
        cmocka_unit_test(published_sizes),
        cmocka_unit_test(dropping_inputs),
        cmocka_unit_test(dropped_plans),
        cmocka_unit_test(the_far_past_counts),
        cmocka_unit_test(gradients),
        cmocka_unit_test(single_precision),
        cmocka_unit_test(impossible_configurations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
