/* The definition of Transformer-VQ as checks (Lingle 2023): equivalences, windows, causality, gradients, codebooks,
 * counts of parameters. What concerns single ops is in test_ops_codes.c. */
#include "support/vq_reference.h"

#include "infer/describe.h"

#define VQ                                                                                                 \
    "memory.kind=transformer-vq", "model.positions=none", "model.projection_bias=false", "model.norm=rms", \
        "model.norm_eps=1e-6", "model.init=fan-in-normal", "model.embedding_scaled=false"
#define GAU \
    VQ, "model.norm_bias=true", "model.mlp=false", "model.heads=1", "model.key_width=4", "model.value_width=12"
#define SIZES "model.layers=3", "model.width=8", "memory.codes=6"

enum { VOCAB = 11, TOTAL = 24, WIDTH = 8 };

static lh_model *model_of(const char *const *arguments, uint64_t seed)
{
    lh_error error = {0};
    lh_model *model = NULL;
    tiny_check(tiny_model(&model, arguments, seed, &error), &error);
    return model;
}

static void text(int32_t *tokens, int total, uint64_t seed)
{
    lh_random random = lh_random_create(seed, 3);
    for (int i = 0; i < total; i++) {
        tokens[i] = (int32_t)lh_random_below(&random, VOCAB);
    }
}

/* Logits [total, VOCAB] of one lane, segment by segment. */
static void read_text(const lh_model *model, const int32_t *tokens, int total, double *logits)
{
    lh_error error = {0};
    lh_context *context;
    lh_stream *stream;
    int64_t n = model->config.segment;
    tiny_check(lh_context_create(&context, model->backend, 1, &error), &error);
    tiny_check(lh_stream_create(&stream, model, 1, false, &error), &error);
    for (int64_t at = 0; at < total; at += n) {
        lh_forward forward;
        lh_model_forward(context, model, stream, tokens + at, n, &forward);
        lh_to_host(context, lh_model_logits(context, model, forward.hidden), logits + at * VOCAB);
        lh_stream_commit(stream, context);
        tiny_check(lh_context_status(context, &error), &error);
        lh_context_reset(context);
    }
    lh_stream_free(stream);
    lh_context_free(context);
}

static void expect_same(const double *a, const double *b, int count, double tolerance, const char *what)
{
    for (int i = 0; i < count; i++) {
        if (!(fabs(a[i] - b[i]) <= tolerance * (1.0 + fabs(b[i])))) {
            fail_msg("%s: element %d is %.15g, not %.15g", what, i, a[i], b[i]);
        }
    }
}

/* 1. The result depends on M and not on L: every length of a segment that divides the text, with and without the
 * aggregate, for gated units and for several heads. */
static void segments_do_not_matter(void **state)
{
    (void)state;
    static const char *const heads[][6] = {
        {"model.heads=1", "model.kv_heads=1"},
        {"model.heads=2", "model.kv_heads=2"},
        {"model.heads=4", "model.kv_heads=1"},
        {"model.heads=4", "model.kv_heads=2", "memory.gated=false", "model.mlp=true", "model.activation=relu2"}};
    static const int lengths[] = {0, 1, 2, 3, 4, 6, 12, 24}, segments[] = {24, 1, 2, 3, 4, 6, 8, 12};
    int32_t tokens[TOTAL];
    static double first[TOTAL * VOCAB], logits[TOTAL * VOCAB];
    text(tokens, TOTAL, 17);
    for (int h = 0; h < 4; h++) {
        for (int l = 0; l < 8; l++) {
            for (int aggregate = 0; aggregate < 2; aggregate++) {
                for (int s = 0; s < 8; s++) {
                    char length[32], segment[32];
                    (void)snprintf(length, sizeof length, "memory.length=%d", lengths[l]);
                    (void)snprintf(segment, sizeof segment, "model.segment=%d", segments[s]);
                    const char *arguments[32] = {GAU, SIZES, length, segment,
                                                 aggregate ? "memory.aggregate=true" : "memory.aggregate=false"};
                    int at = 0;
                    while (arguments[at]) {
                        at++;
                    }
                    for (int i = 0; heads[h][i]; i++) {
                        arguments[at++] = heads[h][i];
                    }
                    lh_model *model = model_of(arguments, 7);
                    read_text(model, tokens, TOTAL, s == 0 ? first : logits);
                    if (s > 0) {
                        expect_same(logits, first, TOTAL * VOCAB, 1e-11, segment);
                    }
                    lh_model_free(model);
                }
            }
        }
    }
}

/* Models of the three kinds of heads, and one whose cache and segment differ in length. */
static const char *const *model_arguments(int which)
{
    static const char *const list[][32] = {
        {GAU, SIZES, "memory.length=4", "model.segment=4"},
        {GAU, SIZES, "memory.length=5", "model.segment=3", "memory.aggregate=false", "model.tied=false",
         "model.final_norm=false"},
        {GAU, SIZES, "memory.length=3", "model.segment=8", "model.heads=4", "model.kv_heads=2",
         "model.norm_affine=false", "model.norm_bias=false", "model.logit_scale=0.3",
         "memory.absolute_positions=true"},
        {VQ, SIZES, "memory.length=6", "model.segment=6", "model.heads=2", "memory.gated=false",
         "model.activation=relu2", "model.hidden=20", "model.hidden_bias=false"},
        {VQ, SIZES, "memory.length=2", "model.segment=6", "model.heads=2", "model.kv_heads=1", "memory.gated=false",
         "model.activation=relu2", "model.hidden=20", "model.hidden_bias=false"},
        {GAU, SIZES, "memory.length=4", "model.segment=6", "model.heads=2", "model.kv_heads=2",
         "memory.codebook=gradient"},
        {GAU, SIZES, "memory.length=5", "model.segment=4", "model.heads=2", "model.kv_heads=2",
         "memory.position_base=10", "memory.codebook=fixed"},
    };
    return which < 7 ? list[which] : NULL;
}

/* Codes near the keys of a text, so that all of them are used. */
static void spread_codes(const lh_model *model, const int32_t *tokens, int total)
{
    static reference r;
    static double logits[REF_TOTAL * REF_VOCAB];
    const lh_model_config *c = &model->config;
    const lh_vq_options *o = model->memory_options;
    int codes = (int)o->codes;
    bool moving = o->book == LH_VQ_BOOK_EMA;
    if (o->book == LH_VQ_BOOK_FIXED) {
        return;
    }
    for (int layer = 0; layer < c->layers;
         layer++) { /* lower layers first: they decide what keys there are above */
        memset(&r, 0, sizeof r);
        r.model = model;
        r.total = total;
        ref_run(&r, tokens, logits);
        double *sum =
            (double *)(uintptr_t)ref_parameter(&r, layer, moving ? "memory.codebook.sum" : "memory.codebook.table");
        double *count = (double *)(uintptr_t)ref_parameter(&r, layer, "memory.codebook.count");
        for (int h = 0; h < c->kv_heads; h++) {
            for (int s = 0; s < codes; s++) {
                for (int i = 0; i < c->key_width; i++) {
                    double near =
                        r.layer[layer].k[(s * 5 + 1) % total][h][i] * (1 - 0.05 * (s + 1)) + 0.02 * sin(s + i);
                    sum[(h * codes + s) * c->key_width + i] = moving ? near * count[h * codes + s] : near;
                }
            }
        }
    }
}

/* 2. and 3. Against every query looking at every token: with the aggregate all of them, without it a window. */
static void equals_the_plain_formula(void **state)
{
    (void)state;
    static reference r;
    static double expected[TOTAL * VOCAB], logits[TOTAL * VOCAB];
    int32_t tokens[TOTAL];
    text(tokens, TOTAL, 17);
    for (int which = 0; model_arguments(which); which++) {
        lh_model *model = model_of(model_arguments(which), 7);
        spread_codes(model, tokens, TOTAL);
        memset(&r, 0, sizeof r);
        r.model = model;
        r.total = TOTAL;
        ref_run(&r, tokens, expected);
        read_text(model, tokens, TOTAL, logits);
        expect_same(logits, expected, TOTAL * VOCAB, 1e-10, "logits");
        bool used[16] = {false};
        int different = 0;
        for (int t = 0; t < TOTAL; t++) {
            different += !used[r.layer[1].z[t][0]];
            used[r.layer[1].z[t][0]] = true;
        }
        assert_true(different >= 3);
        lh_model_free(model);
    }
}

/* 3. A window as long as the text is dense attention with positions everywhere; it hides a wrong window rule from
 * nobody: one token longer and it is not. */
static void a_short_text_is_dense(void **state)
{
    (void)state;
    static reference r;
    static double expected[TOTAL * VOCAB], logits[TOTAL * VOCAB];
    int32_t tokens[TOTAL];
    text(tokens, TOTAL, 17);
    for (int length = TOTAL - 1; length >= TOTAL - 2; length--) {
        char argument[32];
        (void)snprintf(argument, sizeof argument, "memory.length=%d", length);
        const char *arguments[] = {GAU, SIZES, argument, "model.segment=6", NULL};
        lh_model *model = model_of(arguments, 7);
        spread_codes(model, tokens, TOTAL);
        memset(&r, 0, sizeof r);
        r.model = model;
        r.total = TOTAL;
        r.bias_everywhere = true;
        ref_run(&r, tokens, expected);
        read_text(model, tokens, TOTAL, logits);
        double apart = 0;
        for (int i = 0; i < TOTAL * VOCAB; i++) {
            apart = fmax(apart, fabs(logits[i] - expected[i]));
        }
        assert_true(length == TOTAL - 1 ? apart < 1e-10 : apart > 1e-6);
        lh_model_free(model);
    }
}

/* 4. A codebook with every key of the text in it quantises nothing. */
static void all_keys_as_codes(void **state)
{
    (void)state;
    static reference r;
    static double expected[TOTAL * VOCAB], logits[TOTAL * VOCAB];
    int32_t tokens[TOTAL];
    const char *arguments[] = {GAU, SIZES, "memory.codes=24", "memory.length=4", "model.segment=4", "model.heads=2",
                               NULL};
    lh_model *model = model_of(arguments, 7);
    text(tokens, TOTAL, 17);
    memset(&r, 0, sizeof r);
    r.model = model;
    r.total = TOTAL;
    r.unquantised = true;
    ref_run(&r, tokens, expected);
    for (int layer = 0; layer < 3; layer++) {
        double *sum = (double *)(uintptr_t)ref_parameter(&r, layer, "memory.codebook.sum");
        double *count = (double *)(uintptr_t)ref_parameter(&r, layer, "memory.codebook.count");
        for (int t = 0; t < TOTAL; t++) {
            for (int h = 0; h < 2; h++) {
                memcpy(sum + (h * TOTAL + t) * 4, r.layer[layer].k[t][h], 4 * sizeof(double));
                count[h * TOTAL + t] = 1;
            }
        }
    }
    read_text(model, tokens, TOTAL, logits);
    expect_same(logits, expected, TOTAL * VOCAB, 1e-10, "logits");
    lh_model_free(model);
}

/* 7. A token changes nothing before it, itself and what comes after. */
static void causality(void **state)
{
    (void)state;
    static double first[TOTAL * VOCAB], logits[TOTAL * VOCAB];
    for (int which = 0; model_arguments(which); which++) {
        int32_t tokens[TOTAL];
        text(tokens, TOTAL, 17);
        lh_model *model = model_of(model_arguments(which), 7);
        spread_codes(model, tokens, TOTAL);
        read_text(model, tokens, TOTAL, first);
        for (int at = 0; at < TOTAL; at++) {
            int32_t was = tokens[at];
            tokens[at] = (was + 1) % VOCAB;
            read_text(model, tokens, TOTAL, logits);
            tokens[at] = was;
            assert_memory_equal(first, logits, sizeof *first * (size_t)(at * VOCAB));
            for (int t = at; t < at + 3 && t < TOTAL; t++) {
                assert_memory_not_equal(first + t * VOCAB, logits + t * VOCAB, sizeof *first * VOCAB);
            }
            bool reaches_end =
                memcmp(first + (TOTAL - 1) * VOCAB, logits + (TOTAL - 1) * VOCAB, sizeof *first * VOCAB);
            assert_true(reaches_end || which == 1); /* without the aggregate three windows of five */
        }
        lh_model_free(model);
    }
}

/* Gradients of the summed loss and the commitment loss over all segments in one graph. Returns the loss. */
static double library_gradients(tiny *t, const int32_t *tokens, const int32_t *targets, bool detach)
{
    lh_error error = {0};
    int64_t segment = t->model->config.segment, count = TOTAL / segment;
    lh_tensor *total = NULL;
    tiny_zero_grads(t);
    t->stream->memory->keep_graph = !detach;
    tiny_check(lh_stream_reset(t->stream, t->context, -1, &error), &error);
    for (int64_t u = 0; u < count; u++) {
        lh_forward forward;
        lh_model_forward(t->context, t->model, t->stream, tokens + u * segment, segment, &forward);
        lh_tensor *loss = lh_model_loss(t->context, t->model, forward.hidden, targets + u * segment, NULL, NULL);
        loss = lh_add(t->context, loss, lh_scale(t->context, forward.auxiliary, 1.0 / (double)count));
        total = total ? lh_add(t->context, total, loss) : loss;
    }
    double value = lh_scalar(t->context, total);
    lh_backward(t->context, total, 1.0);
    lh_stream_commit(t->stream, t->context);
    tiny_check(lh_context_status(t->context, &error), &error);
    lh_context_reset(t->context);
    return value;
}

/* From here on the reference's attention sees the codes as they are now. */
static void freeze_codes(reference *r)
{
    static double kept[REF_LAYERS][REF_HEADS * REF_WIDE * REF_WIDE];
    for (int layer = 0; layer < r->model->config.layers; layer++) {
        char name[64];
        (void)snprintf(name, sizeof name, "layers.%d.memory.codebook.table", layer);
        lh_parameter *p = lh_parameters_find(&r->model->parameters, name);
        if (p) {
            memcpy(kept[layer], lh_tensor_data(p->tensor), sizeof(double) * (size_t)lh_tensor_count(p->tensor));
            r->frozen[layer] = kept[layer];
        }
    }
}

/* 8. and 9. Every gradient of whole models, keys included, against central differences of the plain formula in
 * which codes stay and quantised keys move with the keys as far as gradients go straight through. */
static void gradients(void **state)
{
    (void)state;
    static reference r;
    static ref_layer base[REF_LAYERS];
    static double logits[REF_TOTAL * REF_VOCAB];
    int32_t tokens[TOTAL], targets[TOTAL];
    text(tokens, TOTAL, 17);
    text(targets, TOTAL, 18);
    for (int which = 0; model_arguments(which); which++) {
        for (int detach = 0; detach < 2; detach++) {
            const char *arguments[32];
            int count = 0, checked = 0;
            for (; model_arguments(which)[count]; count++) {
                arguments[count] = model_arguments(which)[count];
            }
            arguments[count++] = "memory.commitment=0.3";
            arguments[count] = NULL;
            tiny t = tiny_create(arguments, 1, 7);
            spread_codes(t.model, tokens, TOTAL);
            memset(&r, 0, sizeof r);
            r.model = t.model;
            r.total = TOTAL;
            ref_run(&r, tokens, logits);
            memcpy(base, r.layer, sizeof base);
            r.base = base;
            r.detached = detach;
            freeze_codes(&r);
            double loss = library_gradients(&t, tokens, targets, detach), expected = ref_loss(&r, tokens, targets);
            assert_true(fabs(loss - expected) < 1e-10 * expected);
            for (int i = 0; i < t.model->parameters.count; i++) {
                lh_parameter *p = &t.model->parameters.items[i];
                if (p->group == LH_GROUP_STATISTICS) {
                    assert_null(p->tensor->grad);
                    continue;
                }
                double *x = lh_tensor_data(p->tensor), *g = lh_tensor_data(p->tensor->grad);
                int64_t n = lh_tensor_count(p->tensor), step = n / 7 + 1;
                double largest_gradient = largest(g, n);
                for (int64_t j = (int64_t)i % step; j < n; j += step) {
                    double kept = x[j], h = 1e-5;
                    x[j] = kept + h;
                    double above = ref_loss(&r, tokens, targets);
                    x[j] = kept - h;
                    double below = ref_loss(&r, tokens, targets);
                    x[j] = kept;
                    double numeric = (above - below) / (2 * h);
                    if (!(fabs(numeric - g[j]) <= 1e-6 * (fabs(numeric) + largest_gradient + 1e-2))) {
                        fail_msg("model %d, detach %d: gradient %lld of %s is %.10g, not %.10g", which, detach,
                                 (long long)j, p->name, g[j], numeric);
                    }
                    checked++;
                }
            }
            assert_true(checked > 100);
            tiny_free(&t);
        }
    }
}

/* 12. The published numbers of parameters. */
static void published_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *preset;
        int64_t vocab, width, key_width, value_width, parameters;
        bool tied;
    } all[] = {
        {"preset=transformer-vq-enwik8", 259, 768, 128, 1536, 187679750, false},
        {"preset=transformer-vq-pg19", 32000, 2048, 128, 4096, 1314659584, true},
        {"preset=transformer-vq-imagenet64", 259, 2048, 128, 4096, 1249622275, true},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        lh_error error = {0};
        lh_recipe *recipe;
        size_t count;
        const lh_recipe_preset *presets = lh_model_presets(&count);
        lh_model_description d;
        tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), presets, count, &error), &error);
        tiny_check(lh_recipe_override(recipe, all[i].preset, &error), &error);
        tiny_check(lh_recipe_resolve(recipe, &error), &error);
        tiny_check(lh_recipe_describe_model(&d, recipe, lh_recipe_integer(recipe, "model.vocab"), &error), &error);
        int64_t w = all[i].width, k = all[i].key_width, v = all[i].value_width, codes = 512, vocab = all[i].vocab;
        int64_t unit = w * k + w * (k + 2 * v) + w * k + v * w + 2 * k + 2 * w + codes * k + codes;
        int64_t formula = 48 * unit + vocab * w + vocab + (all[i].tied ? 2 * w : vocab * w + vocab);
        assert_int_equal(formula, all[i].parameters);
        assert_int_equal(d.parameters, formula);
        assert_true(d.reach >= LH_DISTANCE_ANY);
        /* cache, counts and mean values of 48 units in single precision */
        int64_t floats = 512 * (k + v) + codes * v + codes + 512, draws = 3;
        assert_int_equal(d.state_bytes, 48 * 4 * (floats + draws));
        lh_recipe_free(recipe);
    }
}

/* 13. The loss at the start. Untied without a final norm, logits have the variance of the stream, so the loss is
 * half of that above ln V; tied, only the input's own token stands out, by scale width / rms. */
static void first_losses(void **state)
{
    (void)state;
    static const char *const arguments[2][24] = {
        {GAU, "model.layers=2", "model.width=128", "model.key_width=16", "model.value_width=64", "memory.codes=16",
         "memory.length=32", "model.segment=64", "model.tied=false", "model.final_norm=false"},
        {GAU, "model.layers=2", "model.width=128", "model.key_width=16", "model.value_width=64", "memory.codes=16",
         "memory.length=32", "model.segment=64", "model.logit_scale=0.02"},
    };
    for (int tied = 0; tied < 2; tied++) {
        lh_error error = {0};
        lh_model *model = model_of(arguments[tied], 7);
        tiny_check(lh_parameters_initialise(&model->parameters, 5, &error), &error);
        lh_context *context;
        lh_stream *stream;
        tiny_check(lh_context_create(&context, model->backend, 2, &error), &error);
        tiny_check(lh_stream_create(&stream, model, 8, false, &error), &error);
        int32_t tokens[8 * 64], targets[8 * 64];
        text(tokens, 8 * 64, 3);
        for (int i = 0; i < 8 * 64; i++) {
            targets[i] = (tokens[i] + 1 + i % (VOCAB - 1)) % VOCAB; /* never the input itself */
        }
        lh_forward forward;
        lh_model_forward(context, model, stream, tokens, 64, &forward);
        double loss = lh_scalar(context, lh_model_loss(context, model, forward.hidden, targets, NULL, NULL)) / 512;
        double *hidden = malloc(sizeof *hidden * 512 * 128), square = 0;
        lh_to_host(context, forward.hidden, hidden);
        for (int i = 0; i < 512 * 128; i++) {
            square += hidden[i] * hidden[i] / (512 * 128);
        }
        tiny_check(lh_context_status(context, &error), &error);
        if (tied) { /* hidden is normed; the stream is an embedding of variance 1 and what two units add */
            double *embedding = lh_tensor_data(model->embedding[0]), own = 0;
            for (int i = 0; i < 512; i++) {
                for (int x = 0; x < 128; x++) {
                    own += 0.02 * hidden[i * 128 + x] * embedding[tokens[i] * 128 + x] / 512;
                }
            }
            assert_true(own > 0.02 * 128 / 2 &&
                        own < 0.02 * 128 * 1.05); /* width / rms with rms a little above 1 */
            assert_true(fabs(loss - log(VOCAB - 1 + exp(own))) < 0.05 * loss);
            assert_true(loss > log(VOCAB) + 0.1);
        } else {
            assert_true(fabs(loss - (log(VOCAB) + square / 2)) < 0.25 * square / 2);
        }
        free(hidden);
        lh_stream_free(stream);
        lh_context_free(context);
        lh_model_free(model);
    }
}

/* Masks of the sinusoids and sublayers that are left out hold from a sequence's beginning to its end: cut
 * otherwise, the text gives the same. The next sequence has others. */
static void draws_hold(const char *layout)
{
    enum { LANES = 6 };
    static double results[4][LANES * TOTAL * WIDTH];
    static const char *const segments[] = {"model.segment=24", "model.segment=6", "model.segment=1"};
    int differs = 0, apart = 0;
    for (int s = 0; s < 3; s++) {
        const char *arguments[] = {GAU,
                                   SIZES,
                                   "memory.length=5",
                                   "memory.sinusoid_dropout=0.3",
                                   "memory.layer_dropout=0.4",
                                   segments[s],
                                   layout,
                                   "model.activation=relu2",
                                   "model.hidden=20",
                                   NULL};
        tiny t = tiny_create(arguments, LANES, 7);
        lh_error error = {0};
        int64_t n = t.model->config.segment;
        t.context->recording = false;
        for (int sequence = 0; sequence < (s == 1 ? 2 : 1); sequence++) {
            int32_t tokens[LANES * TOTAL], piece[LANES * TOTAL];
            double rows[LANES * TOTAL * WIDTH], *out = results[sequence ? 3 : s];
            text(tokens, LANES * TOTAL, 17);
            tiny_check(lh_stream_reset(t.stream, t.context, -1, &error), &error);
            for (int64_t at = 0; at < TOTAL; at += n) {
                for (int64_t lane = 0; lane < LANES; lane++) {
                    memcpy(piece + lane * n, tokens + lane * TOTAL + at, sizeof *piece * (size_t)n);
                }
                lh_forward forward;
                lh_model_forward(t.context, t.model, t.stream, piece, n, &forward);
                lh_to_host(t.context, forward.hidden, rows);
                for (int64_t lane = 0; lane < LANES; lane++) {
                    memcpy(out + (lane * TOTAL + at) * WIDTH, rows + lane * n * WIDTH,
                           sizeof *rows * (size_t)(n * WIDTH));
                }
                lh_stream_commit(t.stream, t.context);
                tiny_check(lh_context_status(t.context, &error), &error);
                lh_context_reset(t.context);
            }
        }
        const int32_t *held = lh_tensor_data(tiny_state(&t, "layers.0.held"));
        for (int lane = 1; lane < LANES && s == 0; lane++) {
            int columns = t.model->config.mlp ? 4 : 3;
            differs += held[lane * columns] != held[0];
            apart += columns == 4 && held[lane * columns] != held[lane * columns + 3];
        }
        tiny_free(&t);
    }
    assert_true(differs > 0);
    assert_true((apart > 0) == (strcmp(layout, "model.mlp=true") == 0)); /* attention and MLP are drawn apart */
    expect_same(results[1], results[0], LANES * TOTAL * WIDTH, 1e-11, "segments of 6");
    expect_same(results[2], results[0], LANES * TOTAL * WIDTH, 1e-11, "segments of 1");
    assert_memory_not_equal(results[3], results[0], sizeof results[0]);
}

static void draws_hold_for_a_sequence(void **state)
{
    (void)state;
    draws_hold("model.mlp=false");
    draws_hold("model.mlp=true");
}

/* A sequence that leaves the MLP out has none of it, others have 1 / (1 - rate) times as much as without dropout.
 */
static void dropped_feed_forward(void **state)
{
    (void)state;
    enum { LANES = 8, N = 6, CELLS = LANES * N * WIDTH };
    static double rows[3][CELLS];
    const char *arguments[] = {VQ,
                               SIZES,
                               "model.layers=1",
                               "model.heads=2",
                               "memory.gated=false",
                               "memory.length=4",
                               "model.segment=6",
                               "model.activation=relu2",
                               "model.hidden=20",
                               "model.hidden_bias=false",
                               "model.final_norm=false",
                               "memory.layer_dropout=0.4",
                               NULL};
    tiny t = tiny_create(arguments, LANES, 7);
    lh_error error = {0};
    int32_t tokens[LANES * N], held[LANES * 4];
    int kept = 0;
    text(tokens, LANES * N, 17);
    double *attention = tiny_values(&t, "layers.0.attention.output.weight");
    double *down = tiny_values(&t, "layers.0.hidden.down.weight");
    memset(attention, 0, sizeof(double) * WIDTH * 8); /* the layer is x + MLP(x) */
    for (int run = 0; run < 3; run++) {               /* with dropout, without, and without an MLP */
        t.context->training = run == 0;
        if (run == 2) {
            memset(down, 0, sizeof(double) * WIDTH * 20);
        }
        tiny_check(lh_stream_reset(t.stream, t.context, -1, &error), &error);
        lh_forward forward;
        lh_model_forward(t.context, t.model, t.stream, tokens, N, &forward);
        lh_to_host(t.context, forward.hidden, rows[run]);
        lh_stream_commit(t.stream, t.context);
        tiny_check(lh_context_status(t.context, &error), &error);
        lh_context_reset(t.context);
        if (run == 0) {
            memcpy(held, lh_tensor_data(tiny_state(&t, "layers.0.held")), sizeof held);
        }
    }
    for (int lane = 0; lane < LANES; lane++) {
        double factor = held[lane * 4 + 3] == 2 ? 1 / 0.6 : 0;
        kept += factor > 0;
        for (int i = lane * N * WIDTH; i < (lane + 1) * N * WIDTH; i++) {
            assert_true(fabs(rows[0][i] - rows[2][i] - factor * (rows[1][i] - rows[2][i])) < 1e-12);
        }
    }
    assert_true(kept > 0 && kept < LANES);
    tiny_free(&t);
}

/* What the configuration refuses, and how it says so. */
static void nonsense_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *setting, *word;
    } cases[] = {
        {"model.positions=rotary", "positions"},
        {"model.projection_bias=true", "projection_bias"},
        {"model.attention_dropout=0.1", "share their keys"},
        {"model.qk_norm=l2", "qk_norm"},
        {"model.see_self=false", "see_self"},
        {"model.width=7", "even"},
        {"model.same_length=true", "same_length"},
        {"memory.codes=0", "codes"},
        {"memory.codebook=mine", "ema"},
        {"model.share_attention=true", "share_attention"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *arguments[] = {GAU, SIZES, "model.segment=4", cases[i].setting, NULL};
        lh_error error = {0};
        lh_model *model = NULL;
        assert_int_equal(tiny_model(&model, arguments, 7, &error), LH_E_CONFIG);
        if (!strstr(error.message, cases[i].word)) {
            fail_msg("the message for %s is \"%s\"", cases[i].setting, error.message);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_do_not_matter),
        cmocka_unit_test(equals_the_plain_formula),
        cmocka_unit_test(a_short_text_is_dense),
        cmocka_unit_test(all_keys_as_codes),
        cmocka_unit_test(causality),
        cmocka_unit_test(gradients),
        cmocka_unit_test(published_sizes),
        cmocka_unit_test(first_losses),
        cmocka_unit_test(draws_hold_for_a_sequence),
        cmocka_unit_test(dropped_feed_forward),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
