/* The Routing Transformer as a whole model: what it equals, who sees the future, what a step changes, differences,
 * sizes of the published configurations, images. */
#include "support/tiny_model.h"

#define SIZES                                                                                                    \
    "model.layers=2", "model.width=12", "model.heads=3", "model.hidden=16", "model.segment=24",                  \
        "model.positions=none", "model.norm_layout=output", "model.final_norm=false", "model.init=unit-uniform", \
        "model.tied=false", "model.input_projection=linear", "model.embedding_width=10"
#define ROUTING                                                                                   \
    SIZES, "memory.kind=routing", "memory.clusters=3", "memory.cluster_size=8", "memory.block=4", \
        "memory.look_back=4", "memory.distance=6"

enum { CELLS = 2 * 24 * 12 };

/* 4: a model whose layers are all skipped is the local model with the same weights, bit for bit. */
static void skipping_all_layers_is_the_local_model(void **state)
{
    (void)state;
    const char *skipped[] = {ROUTING, "memory.routing_heads=2", "memory.skip_first=2", NULL};
    const char *local[] = {ROUTING, "memory.routing_heads=0", NULL};
    tiny a = tiny_create(skipped, 2, 3), b = tiny_create(local, 2, 3);
    double x[CELLS], y[CELLS];
    assert_int_equal(a.model->parameters.count, b.model->parameters.count);
    tiny_losses first = tiny_step(&a, 0, 1.0, 1.0, x), second = tiny_step(&b, 0, 1.0, 1.0, y);
    assert_memory_equal(x, y, sizeof x);
    assert_true(first.task == second.task && first.auxiliary == 0);
    for (int i = 0; i < a.model->parameters.count; i++) {
        lh_parameter *p = &a.model->parameters.items[i];
        assert_memory_equal(lh_tensor_data(p->tensor->grad), tiny_grad(&b, p->name),
                            sizeof(double) * (size_t)lh_tensor_count(p->tensor));
    }
    tiny_free(&a);
    tiny_free(&b);
}

/* Hidden states of a window as an evaluation reads it. */
static void read_window(tiny *t, const int32_t *tokens, double *hidden)
{
    lh_error error = {0};
    lh_forward forward;
    t->context->recording = t->context->training = false;
    lh_model_forward(t->context, t->model, t->stream, tokens, 24, &forward);
    if (forward.hidden) {
        lh_to_host(t->context, forward.hidden, hidden);
    }
    lh_stream_commit(t->stream, t->context);
    tiny_check(lh_context_status(t->context, &error), &error);
    lh_context_reset(t->context);
}

/* 7, 8: through a whole stack the causal and the prefix mode see nothing that comes later; full mode does. */
static void the_future_shows_in_full_mode_only(void **state)
{
    (void)state;
    static const char *const modes[] = {"memory.routing=causal", "memory.routing=prefix", "memory.routing=full"};
    enum { AT = 13 };
    for (int round = 0; round < 5; round++) {
        int mode = round < 3 ? round : 2 * (round - 3);
        const char *keys = round < 3 ? "memory.share_keys=true" : "memory.share_keys=false";
        const char *tables = round < 3 ? "memory.cluster_relative=true" : "memory.cluster_relative=false";
        const char *arguments[] = {ROUTING, "memory.routing_heads=2", modes[mode], keys, tables, NULL};
        tiny t = tiny_create(arguments, 1, 3);
        int32_t tokens[24], targets[24];
        double first[24 * 12], second[24 * 12];
        bool before = false, after = false;
        tiny_text(&t, 0, tokens, targets);
        read_window(&t, tokens, first);
        for (int trial = 0; trial < 10; trial++) {
            tokens[AT] = trial;
            read_window(&t, tokens, second);
            before |= memcmp(first, second, sizeof(double) * AT * 12) != 0;
            after |= memcmp(first + AT * 12, second + AT * 12, sizeof(double) * (24 - AT) * 12) != 0;
        }
        assert_int_equal(before, mode == 2);
        assert_true(after);
        tiny_free(&t);
    }
}

/* A whole window joins the linear layer over heads to the output projection, passes the table of the vocabulary
 * through the input projection and makes no keys for heads that route; token by token nothing of this happens. */
static void shortcuts_change_nothing(void **state)
{
    (void)state;
    const char *arguments[] = {ROUTING, "memory.routing_heads=2", NULL};
    tiny t = tiny_create(arguments, 1, 3);
    lh_error error = {0};
    lh_stream *pieces;
    int32_t tokens[24], targets[24];
    double whole[24 * 12], one[12];
    tiny_check(lh_stream_create(&pieces, t.model, 1, true, &error), &error);
    tiny_text(&t, 0, tokens, targets);
    read_window(&t, tokens, whole);
    for (int i = 0; i < 24; i++) {
        lh_forward forward;
        lh_model_forward(t.context, t.model, pieces, tokens + i, 1, &forward);
        if (forward.hidden) {
            lh_to_host(t.context, forward.hidden, one);
        }
        lh_stream_commit(pieces, t.context);
        tiny_check(lh_context_status(t.context, &error), &error);
        lh_context_reset(t.context);
        for (int c = 0; c < 12; c++) {
            assert_true(fabs(one[c] - whole[i * 12 + c]) < 1e-11);
        }
    }
    lh_stream_free(pieces);
    tiny_free(&t);
}

/* 9: differences of the whole model, commitment included. */
static void gradients_are_differences(void **state)
{
    (void)state;
    static const char *const modes[] = {"memory.routing=causal", "memory.routing=full"};
    for (int round = 0; round < 4; round++) {
        int mode = round % 2;
        const char *arguments[] = {ROUTING,
                                   round < 2 ? "memory.share_keys=true" : "memory.share_keys=false",
                                   round < 2 ? "memory.cluster_relative=true" : "memory.cluster_relative=false",
                                   "memory.routing_heads=1",
                                   "memory.strided_heads=1",
                                   "memory.commitment=0.2",
                                   "model.attention_dropout=0.2",
                                   "model.dropout=0.1",
                                   "memory.skip_first=1",
                                   modes[mode],
                                   NULL};
        tiny t = tiny_create(arguments, 2, 11);
        tiny_zero_grads(&t);
        t.context->random_offset = 0;
        tiny_step(&t, 0, 1.0, 1.0, NULL);
        assert_true(tiny_differences(&t, modes[mode]) > 60);
        tiny_free(&t);
    }
}

/* Only `learn` moves centroids, from what training gathered: not evaluation, and not twice when layers are computed
 * again in the backward pass. */
static void only_learning_moves_centroids(void **state)
{
    (void)state;
    double sums[2][3 * 4], before[3 * 4], hidden[CELLS];
    for (int recompute = 0; recompute < 2; recompute++) {
        const char *arguments[] = {ROUTING, NULL};
        tiny t = tiny_create(arguments, 2, 5);
        double *mu = tiny_values(&t, "layers.1.memory.centroids");
        lh_tensor *sum = tiny_state(&t, "layers.1.cluster_sums");
        memcpy(before, mu, sizeof before);
        t.model->checkpoint_layers = recompute;
        tiny_step(&t, 0, 1.0, 1.0, hidden);
        memcpy(sums[recompute], lh_tensor_data(sum), sizeof sums[0]);
        assert_memory_equal(before, mu, sizeof before);
        assert_true(largest(sums[recompute], 12) > 0);
        lh_model_forward(t.context, t.model, t.stream, (int32_t[48]){0}, 24, &(lh_forward){0});
        lh_context_reset(t.context);
        double gathered = largest(lh_tensor_data(sum), 12);
        t.context->training = false;
        lh_model_forward(t.context, t.model, t.stream, (int32_t[48]){1}, 24, &(lh_forward){0});
        lh_context_reset(t.context);
        assert_true(largest(lh_tensor_data(sum), 12) == gathered);
        t.model->memory_kind->learn(&t.stream->memory, 1, t.context);
        assert_true(largest(lh_tensor_data(sum), 12) == 0);
        assert_true(memcmp(before, mu, sizeof before) != 0);
        assert_int_equal(lh_parameters_find(&t.model->parameters, "layers.1.memory.centroids")->group,
                         LH_GROUP_STATISTICS);
        assert_null(lh_parameters_find(&t.model->parameters, "layers.1.memory.centroids")->tensor->grad);
        tiny_free(&t);
    }
    assert_memory_equal(sums[0], sums[1], sizeof sums[0]);
}

/* Fresh centroids are rows of mean 0 and variance 1. */
static void centroids_start_normed(void **state)
{
    (void)state;
    lh_error error = {0};
    const char *arguments[] = {ROUTING, NULL};
    lh_model *model;
    tiny_check(tiny_model(&model, arguments, 3, &error), &error);
    tiny_check(lh_parameters_initialise(&model->parameters, 9, &error), &error);
    const double *mu = lh_tensor_data(lh_parameters_find(&model->parameters, "layers.0.memory.centroids")->tensor);
    for (int row = 0; row < 3; row++) {
        double mean = 0, square = 0;
        for (int i = 0; i < 4; i++) {
            mean += mu[row * 4 + i] / 4;
            square += mu[row * 4 + i] * mu[row * 4 + i] / 4;
        }
        assert_true(fabs(mean) < 1e-12 && fabs(square - 1) < 1e-12);
    }
    lh_model_free(model);
}

/* ---- published configurations ---- */

static lh_model *preset(const char *name)
{
    lh_error error = {0};
    lh_recipe *recipe;
    lh_model *model;
    size_t count;
    char argument[96];
    const lh_recipe_preset *presets = lh_model_presets(&count);
    (void)snprintf(argument, sizeof argument, "preset=%s", name);
    tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), presets, count, &error), &error);
    tiny_check(lh_recipe_override(recipe, argument, &error), &error);
    tiny_check(lh_recipe_resolve(recipe, &error), &error);
    int64_t vocab = lh_recipe_integer(recipe, "model.vocab");
    tiny_check(lh_model_create(&model, recipe, vocab ? vocab : 256, lh_backend_cpu(), LH_F32, &error), &error);
    lh_recipe_free(recipe);
    return model;
}

/* All weights but the moving averages behind the centroids. */
static int64_t weights_of(const lh_model *model)
{
    int64_t total = lh_parameters_elements(&model->parameters);
    for (int i = 0; i < model->parameters.count; i++) {
        const lh_parameter *p = &model->parameters.items[i];
        total -= p->group == LH_GROUP_STATISTICS && !strstr(p->name, "centroids") ? lh_tensor_count(p->tensor) : 0;
    }
    return total;
}

static void published_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t weights;
    } known[] = {
        {"routing-pg19", 490710140}, /* the released weights */
        /* GEGLU has three matrices and no biases, and one layer fewer routes: 583.6 M */
        {"routing-pg19-code", 490710140 + 22 * (1032 * 4096 - 4096 - 1032) - 2 * 1027 * 129 - 2 * 16 * 129},
        /* embedding, its projection and the way back; layers of 4 D^2 + 3 D 3072, norms, tables, mixer, centroids
         */
        {"routing-wt103",
         2 * 267735LL * 256 + 267735 + 256 * 1024 + 1024 + 1024 * 256 + 256 +
             14 * (4 * 1024 * 1024 + 3 * 1024 * 3072 + 4 * 1024 + 4 * 1027 * 64 + 64 * 64 + 8 * 8 * 64)},
        {"routing-enwik8",
         2 * 256 * 1024 + 256 + 1024 * 1024 + 1024 +
             12 * (4 * 1024 * 1024 + 3 * 1024 * 3072 + 4 * 1024 + 4 * 1027 * 128 + 128 * 128 + 4 * 16 * 128)},
        {"routing-enwik8-12k",
         2 * 256 * 1024 + 256 + 1024 * 1024 + 1024 +
             12 * (4 * 1024 * 1024 + 3 * 1024 * 3072 + 4 * 1024 + 4 * 515 * 128 + 128 * 128 + 4 * 48 * 128)},
        /* three tables of 256 values, both axes, 256 outputs */
        {"routing-cifar10",
         3 * 256 * 1024 + 2 * 32 * 3 * 1024 + 256 * 1024 + 256 +
             12 * (4 * 1024 * 1024 + 2 * 1024 * 2048 + 2048 + 1024 + 4 * 1024 + 128 * 128 + 4 * 6 * 128)},
        {"routing-imagenet64",
         3 * 256 * 1024 + 2 * 64 * 3 * 1024 + 256 * 1024 + 256 +
             24 * (4 * 1024 * 1024 + 2 * 1024 * 2048 + 2048 + 1024 + 4 * 1024 + 64 * 64 + 4 * 8 * 64)},
        {"routing-mnist",
         256 * 512 + 2 * 28 * 512 + 256 * 512 + 256 +
             12 * (4 * 512 * 512 + 2 * 512 * 2048 + 2048 + 512 + 4 * 512 + 128 * 128 + 2 * 7 * 128)},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        lh_model *model = preset(known[i].name);
        if (weights_of(model) != known[i].weights) {
            fail_msg("%s has %lld weights, not %lld", known[i].name, (long long)weights_of(model),
                     (long long)known[i].weights);
        }
        lh_model_free(model);
    }
}

/* ---- images ---- */

#define IMAGE                                                                                               \
    "model.layers=1", "model.width=8", "model.heads=2", "model.hidden=8", "model.segment=48",               \
        "model.positions=none", "model.init=unit-uniform", "model.tied=false", "memory.kind=routing-image", \
        "memory.clusters=2", "memory.cluster_size=24", "memory.image_height=4", "memory.image_width=4",     \
        "memory.relative=false", "memory.cluster_relative=false"

/* An image's first input is nothing, whatever was read before; each value has a table by its channel, and positions
 * along both axes. */
static void images_enter_by_channel_and_axes(void **state)
{
    (void)state;
    static const char *const orders[] = {"memory.image_block=", "memory.image_block=2,6"};
    for (int order = 0; order < 2; order++) {
        const char *arguments[] = {IMAGE,         "memory.block=8", "memory.look_back=8",
                                   orders[order], "model.layers=0", "model.final_norm=false",
                                   NULL};
        tiny t = tiny_create(arguments, 1, 3);
        int32_t tokens[48], targets[48];
        lh_forward forward;
        double hidden[48 * 8];
        tiny_text(&t, 0, tokens, targets);
        lh_model_forward(t.context, t.model, t.stream, tokens, 48, &forward);
        lh_to_host(t.context, forward.hidden, hidden);
        const double *first = tiny_values(&t, "embedding.weight"),
                     *others = tiny_values(&t, "memory.channels.table");
        const double *rows = tiny_values(&t, "memory.rows.table"),
                     *columns = tiny_values(&t, "memory.columns.table");
        for (int i = 0; i < 48; i++) {
            int y = i / 12, x = i % 12;
            if (order) { /* blocks of two rows and six values */
                y = i / 12 / 2 * 2 + i % 12 / 6;
                x = i / 12 % 2 * 6 + i % 6;
            }
            int channel = x % 3, column = x / 3;
            for (int c = 0; c < 8; c++) {
                const double *table =
                    channel ? others + ((channel - 1) * 11 + tokens[i]) * 8 : first + tokens[i] * 8;
                double wanted = (i ? table[c] * sqrt(8) : 0) + sqrt(24) * (rows[(y * 3 + channel) * 8 + c] +
                                                                           columns[(column * 3 + channel) * 8 + c]);
                assert_true(fabs(hidden[i * 8 + c] - wanted) < 1e-12);
            }
        }
        tiny_free(&t);
    }
}

static void impossible_settings(void **state)
{
    (void)state;
    static const struct {
        const char *setting, *word;
    } cases[] = {
        {"model.positions=rotary", "model.positions"},      {"model.kv_heads=1", "model.kv_heads"},
        {"memory.routing_heads=4", "memory.routing_heads"}, {"memory.look_back=6", "memory.look_back"},
        {"model.same_length=true", "model.same_length"},    {"model.null_logit=true", "model.null_logit"},
        {"model.see_self=false", "model.see_self"},         {"memory.share_keys=false", "memory.cluster_relative"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lh_error error = {0};
        lh_model *model = NULL;
        const char *arguments[] = {ROUTING, cases[i].setting, NULL};
        assert_int_equal(tiny_model(&model, arguments, 1, &error), LH_E_CONFIG);
        assert_null(model);
        const char *key = strchr(cases[i].word, '.') + 1;
        if (!strstr(error.message, key)) {
            fail_msg("no \"%s\" in \"%s\"", key, error.message);
        }
    }
}

/* Keys of their own go without tables of ranks, and without the mode in which queries are the keys. */
static void keys_of_their_own_have_limits(void **state)
{
    (void)state;
    lh_error error = {0};
    lh_model *model = NULL;
    const char *tables[] = {ROUTING, "memory.share_keys=false", NULL};
    assert_int_equal(tiny_model(&model, tables, 1, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "set it to false with memory.share_keys = false"));
    const char *prefix[] = {ROUTING, "memory.share_keys=false", "memory.cluster_relative=false",
                            "memory.routing=prefix", NULL};
    error = (lh_error){0};
    assert_int_equal(tiny_model(&model, prefix, 1, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "set it to causal with memory.share_keys = false"));
    const char *local[] = {ROUTING, "memory.share_keys=false", "memory.routing_heads=0",
                           NULL}; /* nothing to refuse */
    tiny_check(tiny_model(&model, local, 1, &error), &error);
    lh_model_free(model);
    const char *full[] = {ROUTING, "memory.share_keys=false", "memory.cluster_relative=false",
                          "memory.routing=full", NULL};
    tiny_check(tiny_model(&model, full, 1, &error), &error);
    const char *advice = model->memory_kind->cannot_write(&model->shape);
    assert_true(strstr(advice, "causal") && !strstr(advice, "prefix"));
    lh_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(skipping_all_layers_is_the_local_model),
        cmocka_unit_test(the_future_shows_in_full_mode_only),
        cmocka_unit_test(shortcuts_change_nothing),
        cmocka_unit_test(gradients_are_differences),
        cmocka_unit_test(only_learning_moves_centroids),
        cmocka_unit_test(centroids_start_normed),
        cmocka_unit_test(published_sizes),
        cmocka_unit_test(images_enter_by_channel_and_axes),
        cmocka_unit_test(impossible_settings),
        cmocka_unit_test(keys_of_their_own_have_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
