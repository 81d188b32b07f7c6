/* Positions of Perceiver AR: rotary, tables of sines, learned ones, and those of images. */
#include "support/perceiver_model.h"

static void rotary_positions_are_relative(void **state)
{
    (void)state;
    const char *arguments[] = {SIZES, STYLE, ROTARY, "model.rope_fraction=0.5", NULL};
    lh_model *model = perceiver_model(arguments, 3);
    int32_t tokens[M];
    double logits[N * VOCAB], moved[N * VOCAB];
    random_tokens(tokens, M, 6);
    crop_logits(model, tokens, M, 0, logits);
    crop_logits(model, tokens, M, 123456, moved);
    check_close(moved, logits, N * VOCAB, 1e-9, "logits of a moved text");
    lh_model_free(model);

    double frequency[16];
    lh_rope_frequencies(frequency, 32, 4096.0, 1.0, true);
    assert_true(frequency[0] == 1.0 && frequency[15] == 1.0 / 4096.0);
    lh_rope_frequencies(frequency, 2, 4096.0, 1.0, true);
    assert_true(frequency[0] == 1.0);
    lh_rope_frequencies(frequency, 32, 10000.0, 2.0, false);
    assert_true(fabs(frequency[15] - 0.5 * pow(10000.0, -30.0 / 32.0)) < 1e-18);
}

/* fraction 0.5 leaves the last half of each head as it is */
static void half_of_a_head_turns(void **state)
{
    (void)state;
    double frequency[2], x[3 * 2 * 8], y[3 * 2 * 8];
    int64_t shape[4] = {1, 3, 2, 8}, length = 3;
    int32_t position[3] = {5, 6, 100};
    lh_error error = {0};
    lh_context *context;
    lh_rope_options options = {.rotated = 4, .interleaved = true, .frequency = frequency, .magnitude = 1.0};
    lh_rope_frequencies(frequency, 4, 64.0, 1.0, true);
    for (int i = 0; i < 48; i++) {
        x[i] = sin(i + 1.0);
    }
    tiny_check(lh_context_create(&context, lh_backend_cpu(), 1, &error), &error);
    lh_to_host(context,
               lh_rope(context, lh_from_host(context, LH_F64, 4, shape, x),
                       lh_from_host(context, LH_I32, 1, &length, position), &options),
               y);
    tiny_check(lh_context_status(context, &error), &error);
    for (int i = 0; i < 48; i++) {
        int place = i / 16, channel = i % 8;
        if (channel >= 4) {
            assert_true(y[i] == x[i]);
        } else {
            double angle = position[place] * frequency[channel / 2];
            double a = x[i - channel % 2], b = x[i - channel % 2 + 1];
            double expected = channel % 2 == 0 ? a * cos(angle) - b * sin(angle) : b * cos(angle) + a * sin(angle);
            assert_true(fabs(y[i] - expected) < 1e-12);
        }
    }
    lh_context_free(context);
}

/* Positions come from the document: the table has sin and cos of place * 10000^(-j / (E/2 - 1)), places from 1. */
static void the_constant_table(void **state)
{
    (void)state;
    const char *arguments[] = {SIZES, STYLE, SINUSOIDS, NULL};
    lh_recipe *recipe;
    lh_model *model = as_initialised(arguments, VOCAB, &recipe);
    const lh_tensor *table = lh_parameters_find(&model->parameters, "memory.positions.table")->tensor;
    const double *x = lh_tensor_data(table);
    assert_false(table->requires_grad);
    for (int row = 0; row < 65; row++) {
        for (int j = 0; j < 4; j++) {
            double angle = row * pow(10000.0, -(double)j / 3.0);
            assert_true(fabs(x[row * 8 + j] - sin(angle)) < 1e-12);
            assert_true(fabs(x[row * 8 + 4 + j] - cos(angle)) < 1e-12);
        }
    }
    lh_recipe_free(recipe);
    lh_model_free(model);
}

/* An image's tokens know column, row and channel, the start token none; both orders of channels. */
static void image_positions(void **state)
{
    (void)state;
    enum { W = 3, H = 2, CHANNELS = 3, COUNT = 1 + W * H * CHANNELS };
    static const char *const orders[] = {"memory.image_order=pixels", "memory.image_order=channels"};
    for (int order = 0; order < 2; order++) {
        const char *arguments[] = {SIZES,
                                   STYLE,
                                   "model.positions=none",
                                   "memory.position_table=image",
                                   "memory.image_width=3",
                                   "memory.image_height=2",
                                   orders[order],
                                   "memory.inputs=32",
                                   NULL};
        lh_model *model = perceiver_model(arguments, 3);
        double *columns = lh_tensor_data(lh_parameters_find(&model->parameters, "memory.columns.table")->tensor);
        double *rows = lh_tensor_data(lh_parameters_find(&model->parameters, "memory.rows.table")->tensor);
        double *channels = lh_tensor_data(lh_parameters_find(&model->parameters, "memory.channels.table")->tensor);
        int32_t tokens[COUNT];
        double logits[N * VOCAB], changed[N * VOCAB];
        random_tokens(tokens, COUNT, 6);
        assert_int_equal(crop_logits(model, tokens, COUNT, 0, logits), N);
        for (int i = 0; i < 8; i++) { /* rows that no place has: nothing changes */
            columns[i] += 1.0;
            rows[i] += 1.0;
            channels[i] += 1.0;
        }
        crop_logits(model, tokens, COUNT, 0, changed);
        assert_false(differ(logits, changed, N * VOCAB));
        /* The last latent's own place: the last column, row and channel in either order. */
        double *last[3] = {columns + (W + 1) * 8, rows + (H + 1) * 8, channels + (CHANNELS + 1) * 8};
        for (int k = 0; k < 3; k++) {
            last[k][0] += 1.0;
            crop_logits(model, tokens, COUNT, 0, changed);
            last[k][0] -= 1.0;
            assert_true(differ(logits + (N - 1) * VOCAB, changed + (N - 1) * VOCAB, VOCAB));
        }
        /* The second token is the first pixel's first channel: column 2, row 2, channel 2 are read. */
        columns[2 * 8] += 1.0;
        crop_logits(model, tokens, 2, 0, changed);
        columns[2 * 8] -= 1.0;
        double second[N * VOCAB];
        crop_logits(model, tokens, 2, 0, second);
        assert_false(differ(second, changed, VOCAB));
        assert_true(differ(second + VOCAB, changed + VOCAB, VOCAB));
        lh_model_free(model);
    }
}

/* A place beyond the table ends the step with one sentence. */
static void beyond_the_table(void **state)
{
    (void)state;
    const char *arguments[] = {SIZES, STYLE, "model.positions=none", "memory.position_table=sinusoidal", NULL};
    lh_model *model = perceiver_model(arguments, 3);
    int32_t prefix[M - N], segment[N];
    int64_t position = 10;
    lh_error error = {0};
    lh_context *context;
    lh_stream *stream;
    lh_forward forward;
    memset(prefix, 0, sizeof prefix);
    memset(segment, 0, sizeof segment);
    tiny_check(lh_context_create(&context, model->backend, 1, &error), &error);
    tiny_check(lh_stream_create(&stream, model, 1, false, &error), &error);
    model->memory_kind->prime(stream->memory, context, prefix, M - N, &position);
    lh_model_forward(context, model, stream, segment, N, &forward);
    assert_int_equal(lh_context_status(context, &error), LH_E_ARGUMENT);
    assert_non_null(strstr(error.message, "token 21 of a document"));
    assert_non_null(strstr(error.message, "memory.position_rows"));
    lh_stream_rollback(stream);
    lh_stream_free(stream);
    lh_context_free(context);
    lh_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotary_positions_are_relative),
        cmocka_unit_test(half_of_a_head_turns),
        cmocka_unit_test(the_constant_table),
        cmocka_unit_test(image_positions),
        cmocka_unit_test(beyond_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
