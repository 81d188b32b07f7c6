/* The sliding window over cached keys and values (memory/window.c). */
#include "support/tiny_model.h"

#define SIZES "model.layers=2", "model.width=8", "model.heads=2", "model.hidden=12", "model.init=fan-in"
#define STYLE                                                                                       \
    "model.norm=rms", "model.qk_norm=l2", "model.head_scale=true", "model.null_logit=true",         \
        "model.see_self=false", "model.t5_scaled=true", "model.positions=t5", "model.t5_buckets=8", \
        "model.t5_distance=20"

enum { VOCAB = 11, TOTAL = 24 };

static lh_model *model_of(const char *const *arguments)
{
    lh_error error = {0};
    lh_model *model = NULL;
    tiny_check(tiny_model(&model, arguments, 7, &error), &error);
    return model;
}

static void text(int32_t *tokens)
{
    lh_random random = lh_random_create(17, 3);
    for (int i = 0; i < TOTAL; i++) {
        tokens[i] = (int32_t)lh_random_below(&random, VOCAB);
    }
}

/* Logits [TOTAL, VOCAB] of one lane, segment by segment. */
static void read_text(const lh_model *model, const int32_t *tokens, double *logits)
{
    lh_error error = {0};
    lh_context *context;
    lh_stream *stream;
    int64_t n = model->config.segment;
    tiny_check(lh_context_create(&context, model->backend, 1, &error), &error);
    tiny_check(lh_stream_create(&stream, model, 1, false, &error), &error);
    for (int64_t at = 0; at < TOTAL; at += n) {
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

/* A window as long as the text, with its empty part hidden, is ordinary attention, however the text is cut. */
static void a_long_window_is_all_there_is(void **state)
{
    (void)state;
    static const char *const segments[] = {"model.segment=24", "model.segment=8", "model.segment=3",
                                           "model.segment=1"};
    int32_t tokens[TOTAL];
    double expected[TOTAL * VOCAB], logits[TOTAL * VOCAB];
    text(tokens);
    const char *none[] = {SIZES, STYLE, "model.segment=24", NULL};
    lh_model *model = model_of(none);
    read_text(model, tokens, expected);
    lh_model_free(model);
    for (int i = 0; i < 4; i++) {
        const char *window[] = {SIZES,       STYLE, "memory.kind=window", "memory.window=24", "memory.strict=true",
                                segments[i], NULL};
        model = model_of(window);
        read_text(model, tokens, logits);
        for (int j = 0; j < TOTAL * VOCAB; j++) {
            assert_true(fabs(logits[j] - expected[j]) < 1e-10 * (1.0 + fabs(expected[j])));
        }
        lh_model_free(model);
    }
}

/* The window's cut and the segments' are independent of each other. */
static void segments_do_not_matter(void **state)
{
    (void)state;
    static const char *const segments[] = {"model.segment=24", "model.segment=8", "model.segment=2"};
    static const char *const strict[] = {"memory.strict=true", "memory.strict=false"};
    int32_t tokens[TOTAL];
    double first[TOTAL * VOCAB], logits[TOTAL * VOCAB];
    text(tokens);
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < 3; i++) {
            const char *window[] = {SIZES,       STYLE, "memory.kind=window", "memory.window=5", strict[s],
                                    segments[i], NULL};
            lh_model *model = model_of(window);
            read_text(model, tokens, i == 0 ? first : logits);
            for (int j = 0; i > 0 && j < TOTAL * VOCAB; j++) {
                assert_true(fabs(logits[j] - first[j]) < 1e-10 * (1.0 + fabs(first[j])));
            }
            lh_model_free(model);
        }
    }
}

/* A token changes nothing before it, something in its reach of layers times window, and nothing beyond. */
static void reach(void **state)
{
    (void)state;
    enum { AT = 3, WINDOW = 5, LAYERS = 2 };
    int32_t tokens[TOTAL];
    double first[TOTAL * VOCAB], logits[TOTAL * VOCAB];
    const char *window[] = {SIZES, STYLE, "memory.kind=window", "memory.window=5", "model.segment=4", NULL};
    lh_model *model = model_of(window);
    text(tokens);
    read_text(model, tokens, first);
    tokens[AT] = (tokens[AT] + 1) % VOCAB;
    read_text(model, tokens, logits);
    for (int i = 0; i < TOTAL; i++) {
        bool same = memcmp(first + i * VOCAB, logits + i * VOCAB, sizeof(double) * VOCAB) == 0;
        assert_int_equal(same, i < AT || i > AT + LAYERS * WINDOW);
    }
    lh_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_window_is_all_there_is),
        cmocka_unit_test(segments_do_not_matter),
        cmocka_unit_test(reach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
