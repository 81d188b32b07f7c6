/* Perceiver AR with what the published configurations leave off: more cross-attentions, learned queries, several
 * latents of a token, queries a place behind, a subset of inputs in training. Causality, decoding, gradients,
 * equivalences, sizes. PyTorch: tests/parity/parity_perceiver.py. */
#include "infer/session.h"
#include "memory/perceiver.h"
#include "support/perceiver_model.h"

enum { LENGTH = 40, WIDTH = 12, E = 8 };

/* Each is a way to be different, the last ones several at once; the last word says where positions are. */
static const char *const options[][4] = {
    {"memory.cross_after=0", "model.layers=2", "model.layers=2", "rotary"},
    {"memory.cross_after=1,0", "model.layers=2", "model.layers=2", "table"},
    {"memory.queries=shared", "model.layers=2", "model.layers=2", "rotary"},
    {"memory.queries=indexed", "model.layers=2", "model.layers=2", "table"},
    {"memory.latents_per_token=3", "model.layers=2", "model.layers=2", "rotary"},
    {"memory.latents_per_token=2", "memory.cross_after=0", "model.layers=2", "table"},
    {"memory.query_offset=true", "model.layers=2", "model.layers=2", "rotary"},
    {"memory.query_offset=true", "model.layers=2", "model.layers=2", "table"},
    {"memory.query_offset=true", "memory.queries=indexed", "memory.cross_after=1", "rotary"},
    {"memory.query_offset=true", "memory.queries=shared", "memory.latents_per_token=2", "table"},
};
enum { OPTIONS = sizeof options / sizeof *options };

/* The arguments of option `which`, with more behind them (NULL-terminated). */
static const char **arguments_of(int which, const char *const *more, const char **list)
{
    static const char *const base[] = {SIZES, STYLE, NULL};
    static const char *const rotary[] = {ROTARY, NULL};
    static const char *const table[] = {LEARNED, NULL};
    const char *const *parts[] = {base, which >= 0 && strcmp(options[which][3], "table") == 0 ? table : rotary,
                                  NULL, more};
    int at = 0;
    for (int part = 0; part < 4; part++) {
        for (int i = 0; parts[part] && parts[part][i]; i++) {
            list[at++] = parts[part][i];
        }
        for (int i = 0; part == 2 && which >= 0 && i < 3; i++) {
            list[at++] = options[which][i];
        }
    }
    list[at] = NULL;
    return list;
}

static lh_model *option_model(int which, const char *const *more)
{
    const char *list[32];
    return perceiver_model(arguments_of(which, more, list), 3);
}

/* Nothing reaches a token's logits from later inputs, and everything before it does, its own token included. */
static void causality(void **state)
{
    (void)state;
    enum { COUNT = 10 };
    const char *list[32], *const more[] = {"memory.inputs=10", NULL};
    for (int which = 0; which < OPTIONS; which++) {
        tiny t = tiny_create(arguments_of(which, more, list), 1, 3);
        int32_t tokens[COUNT], prefix[COUNT], segment[COUNT];
        for (int i = 0; i < COUNT; i++) {
            tokens[i] = (i * 7 + 2) % 11; /* all different: a row of the embedding is one input */
        }
        for (int latent = 0; latent < N; latent++) {
            int64_t zero = 0;
            lh_error error = {0};
            lh_forward forward;
            cut_crop(t.model, tokens, COUNT, 0, prefix, segment);
            tiny_zero_grads(&t);
            tiny_check(lh_stream_reset(t.stream, t.context, -1, &error), &error);
            t.model->memory_kind->prime(t.stream->memory, t.context, prefix, COUNT - N, &zero);
            lh_model_forward(t.context, t.model, t.stream, segment, N, &forward);
            lh_tensor *logits = lh_model_logits(t.context, t.model, forward.hidden);
            lh_tensor *row = lh_slice(t.context, logits, 0, latent, 1);
            lh_backward(t.context, lh_sum(t.context, lh_unary(t.context, LH_SQUARE, row)), 1.0);
            lh_stream_commit(t.stream, t.context);
            tiny_check(lh_context_status(t.context, &error), &error);
            lh_context_reset(t.context);
            const double *gradient = tiny_grad(&t, "embedding.weight");
            for (int j = 0; j < COUNT; j++) {
                double size = largest(gradient + tokens[j] * E, E);
                bool seen = j <= COUNT - N + latent;
                if (seen != (size > 0.0)) { /* weights may be as small as 1e-12 */
                    fail_msg("option %d: the gradient from input %d to latent %d is %g", which, j, latent, size);
                }
            }
        }
        tiny_free(&t);
    }
}

/* Reading in pieces, with kept keys of every cross-attention and latents that begin anew, gives what a fresh pass
 * with the same latents gives. */
static void decoding_is_a_fresh_pass(void **state)
{
    (void)state;
    static const int64_t overlaps[] = {0, 3}, pieces[] = {1, 4, 9};
    int32_t tokens[LENGTH];
    random_tokens(tokens, LENGTH, 31);
    for (int which = 0; which < OPTIONS; which++) {
        lh_model *model = option_model(which, NULL);
        for (int way = 0; way < 6; way++) {
            lh_error error = {0};
            lh_session *s;
            int64_t latents = 0, overlap = overlaps[way % 2], piece = pieces[way / 2];
            tiny_check(lh_session_create(&s, model, 1, 1, &error), &error);
            lh_session_set_overlap(s, overlap);
            for (int64_t at = 0, count; at < LENGTH; at += count) {
                float logits[VOCAB];
                double expected[VOCAB];
                count = LENGTH - at < piece ? LENGTH - at : piece;
                for (int64_t i = 0; i < count; i++) {
                    latents = latents == N ? overlap + 1 : latents + 1;
                }
                tiny_check(lh_session_feed(s, tokens + at, count, logits, &error), &error);
                fresh_logits(model, tokens, at + count, latents, expected);
                for (int i = 0; i < VOCAB; i++) {
                    if (!(fabs((double)logits[i] - expected[i]) <= 1e-6 * (1.0 + fabs(expected[i])))) {
                        fail_msg("option %d, way %d, token %d: logit %d is %.9g, not %.9g", which, way, (int)at, i,
                                 (double)logits[i], expected[i]);
                    }
                }
            }
            lh_session_free(s);
        }
        lh_model_free(model);
    }
}

/* A copy of a session goes on bit for bit, and so does one that went through a file in the middle of a segment. */
static void sessions_are_kept(void **state)
{
    (void)state;
    int32_t tokens[LENGTH];
    random_tokens(tokens, LENGTH, 31);
    for (int which = 0; which < OPTIONS; which++) {
        lh_model *model = option_model(which, NULL);
        lh_error error = {0};
        lh_session *s, *copy;
        float logits[VOCAB], again[VOCAB];
        tiny_check(lh_session_create(&s, model, 1, 1, &error), &error);
        tiny_check(lh_session_feed(s, tokens, 21, logits, &error), &error);
        tiny_check(lh_session_fork(&copy, s, &error), &error);
        for (int i = 21; i < LENGTH; i++) {
            tiny_check(lh_session_feed(s, tokens + i, 1, logits, &error), &error);
            tiny_check(lh_session_feed(copy, tokens + i, 1, again, &error), &error);
            assert_memory_equal(logits, again, sizeof logits);
        }
        lh_session_free(s);
        lh_session_free(copy);
        lh_model_free(model);
    }
}

/* The loss of two lanes of different lengths. */
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

/* Every option, plain and with inputs hidden by each rule, with and without layers that are computed again. */
static void gradients(void **state)
{
    (void)state;
    static const char *const hiding[][3] = {
        {"memory.cross_dropout=0", NULL},
        {"memory.cross_dropout=0.6", "memory.cross_dropout_rule=own", NULL},
        {"memory.train_inputs=5", "memory.cross_dropout_rule=all", NULL},
        {"memory.train_inputs=4", "memory.cross_dropout_rule=prefix", NULL},
    };
    int32_t long_one[M], short_one[8], prefix[2 * (M - N)], segment[2 * N], targets[2 * N];
    const char *list[40];
    random_tokens(long_one, M, 6);
    random_tokens(short_one, 8, 7);
    random_tokens(targets, 2 * N, 8);
    for (int which = 0; which < OPTIONS; which++) {
        const char *more[4] = {"model.dropout=0.2"};
        int rule = which % 4;
        for (int i = 0; hiding[rule][i]; i++) {
            more[i + 1] = hiding[rule][i];
        }
        tiny t = tiny_create(arguments_of(which, more, list), 2, 3);
        t.model->checkpoint_layers = which % 2 == 1;
        cut_crop(t.model, long_one, M, 0, prefix, segment);
        cut_crop(t.model, short_one, 8, 0, prefix + M - N, segment + N);
        tiny_zero_grads(&t);
        (void)crop_loss(&t, prefix, segment, targets, true);
        for (int i = 0; i < t.model->parameters.count; i++) {
            lh_parameter *p = &t.model->parameters.items[i];
            double *x = lh_tensor_data(p->tensor), *g = lh_tensor_data(p->tensor->grad);
            int64_t count = lh_tensor_count(p->tensor), step = count > 7 ? count / 7 : 1;
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
                    fail_msg("option %d, %s[%d]: %.10g, by differences %.10g", which, p->name, (int)j, g[j],
                             difference);
                }
            }
        }
        tiny_free(&t);
    }
}

static double *values_of(const lh_model *model, const char *name, int64_t *count)
{
    *count = 0;
    const lh_parameter *p = lh_parameters_find(&model->parameters, name);
    if (!p) {
        fail_msg("no parameter %s", name);
        return NULL;
    }
    *count = lh_tensor_count(p->tensor);
    return lh_tensor_data(p->tensor);
}

static void copy_parameters(const lh_model *from, const lh_model *to)
{
    for (int i = 0; i < from->parameters.count; i++) {
        const lh_parameter *p = &from->parameters.items[i];
        int64_t count;
        double *target = values_of(to, p->name, &count);
        memcpy(target, lh_tensor_data(p->tensor), sizeof *target * (size_t)count);
    }
}

static void clear(const lh_model *model, const char *name)
{
    int64_t count;
    double *x = values_of(model, name, &count);
    memset(x, 0, sizeof *x * (size_t)count);
}

/* With its special part silent, each option is the published model. */
static void silent_options_change_nothing(void **state)
{
    (void)state;
    int32_t tokens[M];
    double expected[N * VOCAB], logits[N * VOCAB];
    random_tokens(tokens, M, 6);
    static const char *const copies[] = {"memory.latents_per_token=3", NULL};
    static const char *const after[] = {"memory.cross_after=0", NULL};
    static const char *const indexed[] = {"memory.queries=indexed", NULL};
    static const char *const inputs[] = {"memory.train_inputs=20", NULL};
    static const char *const offset[] = {"memory.query_offset=true", NULL};
    const char *const *kinds[] = {copies, after, indexed, inputs, offset};
    static const char *const output[] = {"output.weight", "output.bias", "down.weight", "down.bias"};
    lh_model *plain = option_model(-1, NULL);
    crop_logits(plain, tokens, M, 0, expected);
    for (int kind = 0; kind < 5; kind++) {
        lh_model *model = option_model(-1, kinds[kind]);
        copy_parameters(plain, model);
        crop_logits(model, tokens, M, 0, logits);
        assert_true(differ(logits, expected, N * VOCAB) == (kind != 3));
        if (kind == 0) { /* alike latents see each other as one */
            clear(model, "memory.copies.table");
        } else if (kind == 1) {
            for (int i = 0; i < 4; i++) {
                char name[64];
                (void)snprintf(name, sizeof name, "layers.0.memory.%s", output[i]);
                clear(model, name);
            }
        } else if (kind == 2) { /* learned vectors that are the tokens' own */
            int64_t count;
            const double *embedding = values_of(model, "embedding.weight", &count);
            double *queries = values_of(model, "memory.queries.table", &count);
            for (int i = 0; i < N; i++) {
                memcpy(queries + (ptrdiff_t)i * E, embedding + (ptrdiff_t)tokens[M - N + i] * E,
                       sizeof *queries * E);
            }
        }
        crop_logits(model, tokens, M, 0, logits);
        if (kind < 4) {
            check_close(logits, expected, N * VOCAB, 1e-11, kinds[kind][0]);
        }
        lh_model_free(model);
    }
    lh_model_free(plain);
}

/* What each option adds. */
static void sizes(void **state)
{
    (void)state;
    int64_t hidden = 20;
    int64_t block = (WIDTH * E + E) + 2 * (E * E + E) + (E * WIDTH + WIDTH) + 2 * WIDTH * hidden + hidden + WIDTH +
                    2 * WIDTH + 2 * E + 2 * WIDTH;
    const int64_t added[OPTIONS] = {block,         2 * block,    E, N * E, 3 * WIDTH, 2 * WIDTH + block, 0, 0,
                                    N * E + block, E + 2 * WIDTH};
    for (int which = 0; which < OPTIONS; which++) {
        static const char *const rotary[] = {SIZES, STYLE, ROTARY, NULL}, *const learned[] = {SIZES, STYLE, LEARNED,
                                                                                              NULL};
        bool table = strcmp(options[which][3], "table") == 0;
        lh_model *plain = perceiver_model(table ? learned : rotary, 3), *model = option_model(which, NULL);
        assert_int_equal(lh_parameters_elements(&model->parameters) - lh_parameters_elements(&plain->parameters),
                         added[which]);
        lh_model_free(plain);
        lh_model_free(model);
    }
}

/* Exactly K inputs of each example stay, each as often as the others; of a crop that is filled up, inputs only. */
static void a_subset_of_inputs(void **state)
{
    (void)state;
    enum { TRIALS = 3000, K = 7, REAL = 3 };
    const char *list[32], *const more[] = {"memory.train_inputs=7", NULL};
    lh_model *model = perceiver_model(arguments_of(-1, more, list), 3);
    int32_t prefix[M - N], segment[N];
    int64_t zero = 0, came[M] = {0};
    for (int i = 0; i < M; i++) {
        *(i < M - N ? &prefix[i] : &segment[i - (M - N)]) = i; /* ids are not looked at here */
    }
    lh_error error = {0};
    lh_context *context;
    tiny_check(lh_context_create(&context, model->backend, 1, &error), &error);
    context->seed = 12;
    for (int trial = 0; trial < 2 * TRIALS; trial++) {
        uint8_t valid[N];
        bool filled_up = trial >= TRIALS;
        lh_stream *stream;
        lh_perceiver_plan plan;
        lh_perceiver_inputs inputs;
        memset(valid, 0, sizeof valid);
        memset(valid, 1, filled_up ? REAL : N);
        context->training = true;
        tiny_check(lh_stream_create(&stream, model, 1, false, &error), &error);
        model->memory_kind->prime(stream->memory, context, prefix, M - N, &zero);
        lh_memory_begin(stream->memory);
        stream->memory->valid = valid;
        assert_true(lh_perceiver_look(stream->memory, context, &inputs));
        assert_true(lh_perceiver_make_plan(stream->memory, context, &inputs, segment, &plan));
        int kept = 0;
        for (int64_t j = 0; j < plan.keys; j++) {
            if (plan.ids[j] >= 0) {
                assert_true(!filled_up || plan.ids[j] < M - N + REAL);
                came[plan.ids[j]] += !filled_up;
                kept++;
            }
        }
        assert_int_equal(kept, K);
        context->training = false; /* evaluation sees them all */
        assert_true(lh_perceiver_make_plan(stream->memory, context, &inputs, segment, &plan));
        assert_true(plan.segment >= 0 && plan.keys == M);
        lh_memory_rollback(stream->memory);
        lh_stream_free(stream);
        lh_context_reset(context);
    }
    double share = (double)K / M, deviation = sqrt(share * (1 - share) / TRIALS);
    for (int i = 0; i < M; i++) {
        assert_true(fabs((double)came[i] / TRIALS - share) < 5 * deviation);
    }
    lh_context_free(context);
    lh_model_free(model);
}

static void impossible_configurations(void **state)
{
    (void)state;
    static const char *const wrong[][3] = {
        {"memory.cross_after=2", "model.layers=2", "whose last layer is 1"},
        {"memory.cross_after=1,1", "model.layers=2", "twice"},
        {"memory.train_inputs=3", "memory.cross_dropout=0.5", "does not go with"},
        {"memory.latents_per_token=2", "model.positions=relative", "rotary or none"},
        {"memory.latents_per_token=2", "model.see_self=false", "see each other"},
        {"memory.latents_per_token=0", "model.layers=2", "latents_per_token"},
        {"memory.queries=mine", "model.layers=2", "tokens"},
    };
    refuse_configurations(wrong, sizeof wrong / sizeof *wrong);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(causality),
        cmocka_unit_test(decoding_is_a_fresh_pass),
        cmocka_unit_test(sessions_are_kept),
        cmocka_unit_test(gradients),
        cmocka_unit_test(silent_options_change_nothing),
        cmocka_unit_test(sizes),
        cmocka_unit_test(a_subset_of_inputs),
        cmocka_unit_test(impossible_configurations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
