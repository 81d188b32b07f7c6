/* The cell of the Block-Recurrent Transformer and how a model starts: formulas, gates, deviations, sizes. */
#include "infer/describe.h"
#include "memory/block_recurrent_cell.h"
#include "support/block_recurrent.h"

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* ---- 4. Gates ---- */

static void open_and_closed_gates(void **state)
{
    (void)state;
    enum { BLOCKS = 4, TOTAL = BLOCKS * W };
    int32_t tokens[LANES * TOTAL];
    text(tokens, LANES * TOTAL);
    const char *skip[] = {RECURRENT, NULL};
    tiny t = create(skip, LANES);
    fill(&t, "layers.1.memory.state.gate.bias", 40.0);
    (void)read_blocks(&t, tokens, TOTAL, 0, BLOCKS, 0, NULL);
    const double *start = tiny_values(&t, "layers.1.memory.state.start.table");
    for (int lane = 0; lane < LANES; lane++) {
        assert_memory_equal(state_of(&t) + lane * S * D, start, sizeof(double) * S * D);
    }
    tiny_free(&t);
    /* Closed, it takes z whole: with no weights and a bias on z that is the bias. */
    const char *biased[] = {RECURRENT, "memory.z_bias=true", NULL};
    t = create(biased, LANES);
    fill(&t, "layers.1.memory.state.gate.bias", -40.0);
    fill(&t, "layers.1.memory.state.output.weight", 0.0);
    (void)read_blocks(&t, tokens, TOTAL, 0, 1, 0, NULL);
    const double *bias = tiny_values(&t, "layers.1.memory.state.output.bias");
    for (int i = 0; i < LANES * S * D; i++) {
        assert_true(fabs(state_of(&t)[i] - bias[i % D]) < 1e-15);
    }
    tiny_free(&t);
}

/* One step of a cell on given tensors, without a model. */
static void cell_step(const lh_cell *cell, double *const *values, lh_context *context, const double *c,
                      const double *a, double *result, double *kept)
{
    static const struct {
        int place, rows, columns;
    } shapes[] = {{0, 3, 4}, {1, 3, 0}, {2, 5, 0}, {3, 3, 5},  {4, 3, 0},  {5, 3, 0},  {6, 3, 0},
                  {7, 3, 4}, {8, 3, 0}, {9, 3, 4}, {10, 3, 0}, {11, 3, 5}, {12, 3, 0}, {13, 3, 5}};
    lh_tensor *tensors[LH_CELL_PARAMETERS] = {NULL}, *factors[2];
    for (int i = 0; i < LH_CELL_PARAMETERS; i++) {
        int64_t columns = i == 2 ? (cell->form == LH_CELL_DUAL ? 3 : 4) : shapes[i].columns;
        int64_t shape[2] = {shapes[i].rows, columns};
        tensors[i] = values[i] ? lh_from_host(context, LH_F64, columns ? 2 : 1, shape, values[i]) : NULL;
    }
    lh_tensor *state = lh_from_host(context, LH_F64, 3, (int64_t[]){1, 2, 3}, c);
    lh_tensor *read = lh_from_host(context, LH_F64, 3, (int64_t[]){1, 2, 4}, a);
    lh_to_host(context, lh_cell_step(context, cell, tensors, state, read, factors), result);
    lh_to_host(context, factors[0], kept);
}

/* The formulas of the cell, written out, for every form and gate. */
static void cells_are_what_they_say(void **state)
{
    (void)state;
    lh_context *context;
    lh_error error = {0};
    tiny_check(lh_context_create(&context, lh_backend_cpu(), 1, &error), &error);
    lh_random random = lh_random_create(4, 4);
    double store[LH_CELL_PARAMETERS][20], *values[LH_CELL_PARAMETERS], c[6], a[8], result[6], kept[6];
    for (int i = 0; i < LH_CELL_PARAMETERS; i++) {
        for (int j = 0; j < 20; j++) {
            store[i][j] = lh_random_normal(&random);
        }
        values[i] = store[i];
    }
    for (int i = 0; i < 8; i++) {
        a[i] = lh_random_normal(&random);
        c[i % 6] = lh_random_normal(&random);
    }
    for (int which = 0; which < 18; which++) {
        lh_cell cell = {.form = (lh_cell_form)(which % 3),
                        .gate = (lh_cell_gate)(which / 3 % 3),
                        .tanh = which >= 9,
                        .bias = true,
                        .width = 3,
                        .read = 4,
                        .hidden = 5,
                        .norm_eps = 1e-6};
        cell_step(&cell, values, context, c, a, result, kept);
        for (int row = 0; row < 2; row++) {
            double now[3], hidden[5], z[3], in[4];
            memcpy(now, c + row * 3, sizeof now);
            memcpy(in, a + row * 4, sizeof in);
            for (int stage = cell.form == LH_CELL_SINGLE; stage < (cell.form == LH_CELL_SKIP ? 1 : 2); stage++) {
                const double *h = in, *w = store[0], *b = store[1], *gate = NULL;
                int wide = 4;
                if (stage == 1) {
                    int in_width = cell.form == LH_CELL_DUAL ? 3 : 4;
                    if (cell.form == LH_CELL_DUAL) {
                        double mean = (now[0] * now[0] + now[1] * now[1] + now[2] * now[2]) / 3.0;
                        for (int j = 0; j < 3; j++) {
                            in[j] = now[j] / sqrt(mean + 1e-6) * store[5][j];
                        }
                    }
                    for (int f = 0; f < 5; f++) {
                        hidden[f] = 0.0;
                        for (int j = 0; j < in_width; j++) {
                            hidden[f] += store[2][f * in_width + j] * in[j];
                        }
                        hidden[f] = fmax(hidden[f], 0.0);
                    }
                    h = hidden;
                    w = store[3];
                    b = store[4];
                    wide = 5;
                }
                int first = stage == 0 ? 6 : 10;
                gate = store[first];
                for (int j = 0; j < 3; j++) {
                    double forget = gate[j], input = store[first + 2][j];
                    z[j] = b[j];
                    for (int x = 0; x < wide; x++) {
                        z[j] += w[j * wide + x] * h[x];
                        forget += cell.gate != LH_GATE_FIXED ? store[first + 1][j * wide + x] * h[x] : 0.0;
                        input += store[first + 3][j * wide + x] * h[x];
                    }
                    z[j] = cell.tanh ? tanh(z[j]) : z[j];
                    double keep = sigmoid(forget + (cell.gate != LH_GATE_FIXED ? 1.0 : 0.0));
                    double take = cell.gate == LH_GATE_LSTM ? sigmoid(input - 1.0) : 1.0 - keep;
                    now[j] = now[j] * keep + z[j] * take;
                }
            }
            expect_near(result + row * 3, now, 3, 1e-13, "cell");
        }
    }
    /* With nothing read and no biases the lstm gates are sigmoid(1) and sigmoid(-1). */
    lh_cell lstm = {.form = LH_CELL_SKIP, .gate = LH_GATE_LSTM, .bias = true, .width = 3, .read = 4};
    double nothing[8] = {0}, zero[20] = {0}, one[3] = {1.0, 1.0, 1.0};
    values[6] = values[8] = zero;
    values[1] = one;
    cell_step(&lstm, values, context, nothing, nothing, result, kept);
    for (int i = 0; i < 6; i++) {
        assert_true(fabs(kept[i] - 0.7311) < 5e-5);
        assert_true(fabs(result[i] - 0.2689) < 5e-5);
    }
    lh_context_free(context);
}

/* 14. With a constant candidate the state is a moving average: it approaches it by the factor g in each block. */
static void state_is_a_moving_average(void **state)
{
    (void)state;
    enum { BLOCKS = 8, TOTAL = BLOCKS * W };
    int32_t tokens[TOTAL];
    text(tokens, TOTAL);
    const char *arguments[] = {RECURRENT, "memory.z_bias=true", NULL};
    tiny t = create(arguments, 1);
    t.context->recording = false;
    fill(&t, "layers.1.memory.state.output.weight", 0.0);
    const double *bias = tiny_values(&t, "layers.1.memory.state.output.bias");
    const double *start = tiny_values(&t, "layers.1.memory.state.start.table");
    const double *gate = tiny_values(&t, "layers.1.memory.state.gate.bias");
    for (int b = 0; b < BLOCKS; b++) {
        (void)read_blocks(&t, tokens, TOTAL, b, 1, 0, NULL);
        for (int i = 0; i < S * D; i++) {
            double expected = bias[i % D] + (start[i] - bias[i % D]) * pow(sigmoid(gate[i % D]), b + 1);
            assert_true(fabs(state_of(&t)[i] - expected) < 1e-13);
        }
    }
    tiny_free(&t);
}

/* ---- 5. How it starts ---- */

static double mean_of(const float *x, int64_t count)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++) {
        sum += (double)x[i];
    }
    return sum / (double)count;
}

static double deviation_of(const float *x, int64_t count)
{
    double mean = mean_of(x, count), sum = 0.0;
    for (int64_t i = 0; i < count; i++) {
        sum += ((double)x[i] - mean) * ((double)x[i] - mean);
    }
    return sqrt(sum / (double)count);
}

static lh_model *preset_of(const char *const *arguments)
{
    lh_error error = {0};
    lh_recipe *recipe;
    lh_model *model = NULL;
    size_t count;
    const lh_recipe_preset *presets = lh_model_presets(&count);
    tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), presets, count, &error), &error);
    for (int i = 0; arguments[i]; i++) {
        tiny_check(lh_recipe_override(recipe, arguments[i], &error), &error);
    }
    tiny_check(lh_recipe_resolve(recipe, &error), &error);
    tiny_check(lh_model_create(&model, recipe, 32, lh_backend_cpu(), LH_F32, &error), &error);
    lh_recipe_free(recipe);
    return model;
}

static const float *drawn(const lh_model *model, const char *name, int64_t *count)
{
    lh_parameter *p = lh_parameters_find(&model->parameters, name);
    if (!p) {
        fail_msg("no parameter %s", name);
    }
    *count = lh_tensor_count(p->tensor);
    return lh_tensor_data(p->tensor);
}

static void starts(void **state)
{
    (void)state;
    lh_error error = {0};
    int64_t n;
    const char *slim[] = {"preset=block-recurrent-fixed-skip",
                          "model.layers=1",
                          "memory.recurrent_layers=0",
                          "model.hidden=8",
                          "model.key_width=2",
                          "model.value_width=2",
                          "memory.states=2",
                          NULL};
    lh_model *model = preset_of(slim);
    float gates[20 * 1024];
    for (uint64_t seed = 0; seed < 20; seed++) {
        tiny_check(lh_parameters_initialise(&model->parameters, seed, &error), &error);
        const float *b = drawn(model, "layers.0.memory.state.gate.bias", &n);
        assert_int_equal(n, 1024);
        for (int i = 0; i < 1024; i++) {
            gates[seed * 1024 + (uint64_t)i] = (float)sigmoid((double)b[i]);
        }
    }
    assert_true(fabs(mean_of(gates, 20 * 1024) - 0.5) < 0.003);
    assert_true(fabs(deviation_of(gates, 20 * 1024) - 0.025) < 0.002);
    lh_model_free(model);
    const char *lstm[] = {"preset=block-recurrent-lstm-skip", "model.layers=1", "memory.recurrent_layers=0",
                          "model.hidden=8", NULL};
    model = preset_of(lstm);
    tiny_check(lh_parameters_initialise(&model->parameters, 1, &error), &error);
    const float *x = drawn(model, "layers.0.memory.state.identity.table", &n);
    assert_true(fabs(deviation_of(x, n) - 1.0) < 0.01);
    x = drawn(model, "layers.0.memory.state.start.table", &n);
    assert_true(fabs(deviation_of(x, n) - 0.1) < 0.001);
    /* both halves of the output projection are rows of one matrix with 2 H dh inputs */
    static const char *const wide[] = {"layers.0.memory.output.weight", "layers.0.attention.output.weight",
                                       "layers.0.memory.state.output.weight"};
    for (int i = 0; i < 3; i++) {
        x = drawn(model, wide[i], &n);
        assert_true(fabs(deviation_of(x, n) - 1.0 / sqrt(2048.0)) < 1e-4);
    }
    x = drawn(model, "layers.0.memory.state.gate.input.weight", &n);
    assert_true(fabs(deviation_of(x, n) - sqrt(0.1 / 2048.0)) < 1e-4);
    lh_model_free(model);
}

/* Parameters without embeddings that the paper's configurations have. */
static void published_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *preset;
        double millions;
    } sizes[] = {{"sliding-window-12", 151.0},           {"sliding-window-13", 163.6},
                 {"block-recurrent-fixed-dual", 168.9},  {"block-recurrent-fixed-single", 171.0},
                 {"block-recurrent-fixed-skip", 160.5},  {"block-recurrent-lstm-dual", 181.4},
                 {"block-recurrent-lstm-single", 179.3}, {"block-recurrent-lstm-skip", 164.7}};
    lh_error error = {0};
    size_t count;
    const lh_recipe_preset *presets = lh_model_presets(&count);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char argument[80];
        lh_recipe *recipe;
        lh_model_description d;
        (void)snprintf(argument, sizeof argument, "preset=%s", sizes[i].preset);
        tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), presets, count, &error), &error);
        tiny_check(lh_recipe_override(recipe, argument, &error), &error);
        tiny_check(lh_recipe_resolve(recipe, &error), &error);
        tiny_check(lh_recipe_describe_model(&d, recipe, 32128, &error), &error);
        if (fabs((double)d.body / 1e6 - sizes[i].millions) > 0.06) {
            fail_msg("%s has %lld parameters, not %.1f M", sizes[i].preset, (long long)d.body, sizes[i].millions);
        }
        assert_int_equal(d.parameters - d.body, 32128 * 1024);
        lh_recipe_free(recipe);
    }
}

/* Every preset of the method makes a model, and the state that a document takes is what it should be. */
static void every_preset_is_a_model(void **state)
{
    (void)state;
    lh_error error = {0};
    size_t count;
    int seen = 0;
    const lh_recipe_preset *presets = lh_model_presets(&count);
    for (size_t i = 0; i < count; i++) {
        char argument[80];
        lh_recipe *recipe;
        lh_model_description d;
        if (strncmp(presets[i].name, "block-recurrent-", 16) != 0) {
            continue;
        }
        (void)snprintf(argument, sizeof argument, "preset=%s", presets[i].name);
        tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), presets, count, &error), &error);
        tiny_check(lh_recipe_override(recipe, argument, &error), &error);
        tiny_check(lh_recipe_resolve(recipe, &error), &error);
        tiny_check(lh_recipe_describe_model(&d, recipe, 256, &error), &error);
        int64_t layers = lh_recipe_integer(recipe, "model.layers"),
                width = lh_recipe_integer(recipe, "model.width");
        int64_t heads = lh_recipe_integer(recipe, "model.heads"),
                key = lh_recipe_integer(recipe, "model.key_width");
        int64_t w = lh_recipe_integer(recipe, "memory.window");
        size_t recurrent;
        (void)lh_recipe_list(recipe, "memory.recurrent_layers", &recurrent);
        int64_t cache = 2 * w * (key ? heads * key : width), c = lh_recipe_integer(recipe, "memory.states") * width;
        int64_t kept = strcmp(lh_recipe_string(recipe, "memory.cell"), "dual") == 0 ? 2 * width : width;
        assert_int_equal(d.state_bytes, 4 * (layers * (cache + 1) + (int64_t)recurrent * (c + 1 + kept)));
        lh_recipe_free(recipe);
        seen++;
    }
    assert_true(seen >= 18);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_and_closed_gates),     cmocka_unit_test(cells_are_what_they_say),
        cmocka_unit_test(state_is_a_moving_average), cmocka_unit_test(starts),
        cmocka_unit_test(published_sizes),           cmocka_unit_test(every_preset_is_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
