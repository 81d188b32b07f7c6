/* The definition of the Block-Recurrent Transformer, as checks (Hutchins et al. 2022): what the state does and does
 * not do, block by block, and at the start of documents. */
#include "support/block_recurrent.h"

/* ---- 1. Nothing read from the state: the sliding window ---- */

static void without_reading_it_is_the_window(void **state)
{
    (void)state;
    enum { BLOCKS = 6, TOTAL = BLOCKS * W, CELLS = LANES * TOTAL * VOCAB };
    static const char *const cells[] = {"memory.cell=skip", "memory.cell=single", "memory.cell=dual"};
    int32_t tokens[LANES * TOTAL];
    double plain[CELLS], off[CELLS], on[CELLS];
    text(tokens, LANES * TOTAL);
    for (int i = 0; i < 3; i++) {
        const char *recurrent[] = {RECURRENT, cells[i], NULL}, *window[] = {PLAIN, NULL};
        tiny a = create(recurrent, LANES), b = create(window, LANES);
        copy_parameters(&b, &a);
        (void)read_blocks(&b, tokens, TOTAL, 0, BLOCKS, 0, plain);
        (void)read_blocks(&a, tokens, TOTAL, 0, BLOCKS, 0, on);
        assert_true(differs(on, plain, CELLS, 1e-3));
        start_again(&a);
        fill(&a, "layers.1.memory.output.weight", 0.0);
        (void)read_blocks(&a, tokens, TOTAL, 0, BLOCKS, 0, off);
        expect_near(off, plain, CELLS, 1e-12, cells[i]);
        tiny_free(&a);
        tiny_free(&b);
    }
    const char *silent[] = {RECURRENT, "memory.output_init=zero", NULL};
    lh_error error = {0};
    tiny a = create(silent, 1);
    tiny_check(lh_parameters_initialise(&a.model->parameters, 1, &error), &error);
    assert_true(largest(tiny_values(&a, "layers.1.memory.output.weight"), 16 * 16) == 0.0);
    tiny_free(&a);
}

/* ---- 2. How a text is cut into calls and graphs does not matter ---- */

static void graphs_do_not_matter(void **state)
{
    (void)state;
    enum { BLOCKS = 6, TOTAL = BLOCKS * W, CELLS = LANES * TOTAL * VOCAB };
    static const char *const variants[] = {"memory.feedback=false", "memory.feedback=true", "memory.read_layers=0",
                                           "model.positions=rotary", "memory.strict=true"};
    int32_t tokens[LANES * TOTAL];
    double whole[CELLS], parts[CELLS];
    text(tokens, LANES * TOTAL);
    for (int i = 0; i < 5; i++) {
        const char *arguments[] = {RECURRENT, variants[i], NULL};
        const char *turned[] = {SIZES,
                                "model.positions=rotary",
                                "model.init=fan-in",
                                "memory.kind=block-recurrent",
                                "memory.states=5",
                                "memory.recurrent_layers=1",
                                NULL};
        tiny t = create(i == 3 ? turned : arguments, LANES);
        (void)read_blocks(&t, tokens, TOTAL, 0, BLOCKS, 0, whole);
        start_again(&t);
        t.stream->memory->keep_graph = false;
        t.context->recording = false;
        for (int b = 0; b < BLOCKS; b++) {
            (void)read_blocks(&t, tokens, TOTAL, b, 1, 0, parts + (size_t)b * LANES * W * VOCAB);
        }
        expect_near(parts, whole, CELLS, 1e-12, variants[i]);
        tiny_free(&t);
    }
}

/* With rotary positions only tokens among each other are turned: a state finds the same in a text wherever the
 * blocks have their zero, so one block read twice in a row looks to the token queries like one. */
static void states_see_keys_unturned(void **state)
{
    (void)state;
    const char *turned[] = {SIZES,
                            "model.layers=1",
                            "model.positions=rotary",
                            "model.init=fan-in",
                            "memory.kind=block-recurrent",
                            "memory.states=5",
                            "memory.recurrent_layers=0",
                            "memory.strict=true",
                            "model.rope_base=3",
                            NULL};
    const char *none[] = {SIZES,
                          "model.layers=1",
                          "model.positions=none",
                          "model.init=fan-in",
                          "memory.kind=block-recurrent",
                          "memory.states=5",
                          "memory.recurrent_layers=0",
                          "memory.strict=true",
                          NULL};
    int32_t tokens[LANES * 3 * W];
    text(tokens, LANES * 3 * W);
    tiny a = create(turned, LANES), b = create(none, LANES);
    copy_parameters(&b, &a);
    (void)read_blocks(&a, tokens, 3 * W, 0, 3, 0, NULL);
    (void)read_blocks(&b, tokens, 3 * W, 0, 3, 0, NULL);
    /* the first layer's keys do not depend on attention, so neither does its state */
    expect_near(lh_tensor_data(tiny_state(&a, "layers.0.state")), lh_tensor_data(tiny_state(&b, "layers.0.state")),
                LANES * S * D, 1e-12, "state");
    tiny_free(&a);
    tiny_free(&b);
}

/* ---- 6. States are interchangeable but for their identities ---- */

static void permute_rows(double *rows, int64_t groups)
{
    double copy[S * D];
    for (int64_t g = 0; g < groups; g++) {
        memcpy(copy, rows + g * S * D, sizeof copy);
        for (int i = 0; i < S; i++) {
            memcpy(rows + (g * S + (i + 2) % S) * D, copy + (ptrdiff_t)i * D, sizeof(double) * D);
        }
    }
}

static void states_have_no_order(void **state)
{
    (void)state;
    enum { BLOCKS = 4, TOTAL = BLOCKS * W, CELLS = LANES * TOTAL * VOCAB };
    int32_t tokens[LANES * TOTAL];
    double before[CELLS], after[CELLS], expected[LANES * S * D];
    text(tokens, LANES * TOTAL);
    const char *dual[] = {RECURRENT, "memory.cell=dual", "memory.gate=lstm", NULL};
    tiny t = create(dual, LANES);
    t.context->recording = false;
    (void)read_blocks(&t, tokens, TOTAL, 0, BLOCKS, 0, before);
    memcpy(expected, state_of(&t), sizeof expected);
    permute_rows(expected, LANES);
    start_again(&t);
    permute_rows(tiny_values(&t, "layers.1.memory.state.identity.table"), 1);
    permute_rows(tiny_values(&t, "layers.1.memory.state.start.table"), 1);
    (void)read_blocks(&t, tokens, TOTAL, 0, BLOCKS, 0, after);
    expect_near(after, before, CELLS, 1e-11, "logits");
    expect_near(state_of(&t), expected, LANES * S * D, 1e-11, "state");
    /* Nothing tells them apart: they stay the same for ever. */
    start_again(&t);
    fill(&t, "layers.1.memory.state.identity.table", 0.0);
    double *start = tiny_values(&t, "layers.1.memory.state.start.table");
    for (int i = D; i < S * D; i++) {
        start[i] = start[i % D];
    }
    (void)read_blocks(&t, tokens, TOTAL, 0, BLOCKS, 0, after);
    for (int i = 0; i < LANES * S * D; i++) {
        assert_true(fabs(state_of(&t)[i] - state_of(&t)[i / (S * D) * S * D + i % D]) < 1e-12);
    }
    tiny_free(&t);
}

/* ---- 7. What a token can reach ---- */

static void causality(void **state)
{
    (void)state;
    enum { BLOCKS = 9, TOTAL = BLOCKS * W, LAYERS = 3, ROW = VOCAB };
    static const char *const feedback[] = {"memory.feedback=false", "memory.feedback=true"};
    int32_t tokens[TOTAL];
    static double before[TOTAL * ROW], after[TOTAL * ROW];
    for (int i = 0; i < 8; i++) {
        /* at the start, in the middle and at the end of the first and of the second block */
        static const int places[] = {0, 2, 3, 5};
        int at = places[i % 4];
        bool off = i >= 4;
        const char *arguments[] = {RECURRENT, feedback[off ? 0 : i % 2], NULL};
        tiny t = create(arguments, 1);
        t.context->recording = false;
        if (off) {
            fill(&t, "layers.1.memory.output.weight", 0.0);
        }
        text(tokens, TOTAL);
        (void)read_blocks(&t, tokens, TOTAL, 0, BLOCKS, 0, before);
        tokens[at] = (tokens[at] + 1) % VOCAB;
        start_again(&t);
        (void)read_blocks(&t, tokens, TOTAL, 0, BLOCKS, 0, after);
        for (int j = 0; j < TOTAL; j++) {
            bool same = memcmp(before + (ptrdiff_t)j * ROW, after + (ptrdiff_t)j * ROW, sizeof(double) * ROW) == 0;
            if (j < at || (off && j > at + LAYERS * W)) {
                assert_true(same);
            } else if (j == at || j > at + LAYERS * W) {
                assert_false(same); /* the state carries it on for ever */
            }
        }
        tiny_free(&t);
    }
}

/* ---- 10. Documents ---- */

static void documents_begin_alone(void **state)
{
    (void)state;
    enum { BLOCKS = 4, TOTAL = BLOCKS * W, ROW = W * VOCAB };
    lh_error error = {0};
    int32_t tokens[LANES * TOTAL];
    double whole[BLOCKS * LANES * ROW], reset[2 * LANES * ROW], fresh[2 * ROW], untouched[S * D];
    text(tokens, LANES * TOTAL);
    const char *arguments[] = {RECURRENT, NULL};
    const char *start = "layers.1.memory.state.start.table";
    tiny t = create(arguments, LANES), one = create(arguments, 1);
    (void)read_blocks(&t, tokens, TOTAL, 0, BLOCKS, 0, whole);
    memcpy(untouched, state_of(&t), sizeof untouched);
    start_again(&t);
    (void)read_blocks(&t, tokens, TOTAL, 0, 2, 0, NULL);
    tiny_check(lh_stream_reset(t.stream, t.context, 1, &error), &error);
    tiny_zero_grads(&t);
    (void)read_blocks(&t, tokens, TOTAL, 2, 2, 0, reset);
    (void)read_blocks(&one, tokens + TOTAL, TOTAL, 2, 2, 0, fresh);
    for (int b = 0; b < 2; b++) {
        expect_near(reset + (size_t)b * LANES * ROW, whole + (size_t)(2 + b) * LANES * ROW, ROW, 1e-12,
                    "other lane");
        expect_near(reset + ((size_t)b * LANES + 1) * ROW, fresh + (size_t)b * ROW, ROW, 1e-12, "new document");
    }
    expect_near(state_of(&t), untouched, S * D, 1e-12, "other lane's state");
    /* the learned start hears of the lane that began, and of no other */
    expect_near(tiny_grad(&t, start), tiny_grad(&one, start), S * D, 1e-10, "gradient of the start");
    assert_true(largest(tiny_grad(&t, start), S * D) > 1e-6);
    tiny_free(&t);
    tiny_free(&one);
}

/* The last layer's windows hold nothing that depends on its state. */
#define TOP SIZES, STYLE, "memory.kind=block-recurrent", "memory.states=5", "memory.recurrent_layers=-1"

/* 16. Cleared at every block, the state is its start: the difference in loss is what the state is worth. */
static void clearing(void **state)
{
    (void)state;
    enum { BLOCKS = 6, TOTAL = BLOCKS * W, CELLS = TOTAL * VOCAB };
    int32_t tokens[TOTAL];
    double cleared[CELLS], kept[CELLS], frozen[CELLS];
    text(tokens, TOTAL);
    const char *arguments[] = {TOP, NULL}, *probe[] = {TOP, "memory.clear_every=1", NULL};
    const char *third[] = {TOP, "memory.clear_every=3", NULL};
    tiny t = create(arguments, 1), p = create(probe, 1), c = create(third, 1);
    (void)read_blocks(&p, tokens, TOTAL, 0, BLOCKS, 0, cleared);
    (void)read_blocks(&t, tokens, TOTAL, 0, BLOCKS, 0, kept);
    assert_true(differs(cleared + (size_t)W * VOCAB, kept + (size_t)W * VOCAB, (BLOCKS - 1) * W * VOCAB, 1e-4));
    expect_near(cleared, kept, (int64_t)W * VOCAB, 1e-13, "the first block");
    /* an open gate never leaves the start either */
    fill(&t, "layers.2.memory.state.gate.bias", 40.0);
    start_again(&t);
    (void)read_blocks(&t, tokens, TOTAL, 0, BLOCKS, 0, frozen);
    expect_near(frozen, cleared, CELLS, 1e-12, "a state that never moves");
    /* every third block begins as the first does */
    (void)read_blocks(&c, tokens, TOTAL, 0, BLOCKS, 0, kept);
    expect_near(kept + (size_t)3 * W * VOCAB, cleared + (size_t)3 * W * VOCAB, (int64_t)W * VOCAB, 1e-12,
                "block 3");
    assert_true(differs(kept + (size_t)4 * W * VOCAB, cleared + (size_t)4 * W * VOCAB, (int64_t)W * VOCAB, 1e-4));
    tiny_free(&t);
    tiny_free(&p);
    tiny_free(&c);
}

/* ---- 11. The window ---- */

#define ONE_LAYER \
    SIZES, STYLE, "model.layers=1", "memory.kind=block-recurrent", "memory.states=5", "memory.recurrent_layers=0"

static void tokens_see_exactly_their_window(void **state)
{
    (void)state;
    enum { BLOCKS = 4, TOTAL = BLOCKS * W };
    int32_t tokens[TOTAL];
    double before[TOTAL * VOCAB], after[TOTAL * VOCAB];
    const char *arguments[] = {ONE_LAYER, NULL};
    tiny t = create(arguments, 1);
    t.context->recording = false;
    fill(&t, "layers.0.memory.output.weight", 0.0);
    for (int at = 0; at < TOTAL; at++) {
        text(tokens, TOTAL);
        start_again(&t);
        (void)read_blocks(&t, tokens, TOTAL, 0, BLOCKS, 0, before);
        tokens[at] = (tokens[at] + 1) % VOCAB;
        start_again(&t);
        (void)read_blocks(&t, tokens, TOTAL, 0, BLOCKS, 0, after);
        for (int i = 0; i < TOTAL; i++) {
            bool same =
                memcmp(before + (ptrdiff_t)i * VOCAB, after + (ptrdiff_t)i * VOCAB, sizeof(double) * VOCAB) == 0;
            assert_int_equal(same, i < at || i > at + W);
        }
    }
    tiny_free(&t);
}

/* A document's first token has nobody to attend to: strictly, it gets nothing, and the softmax still has its null
 * logit. */
static void the_first_token_sees_nothing(void **state)
{
    (void)state;
    int32_t tokens[W];
    double with[W * VOCAB], without[W * VOCAB];
    const char *arguments[] = {ONE_LAYER, "memory.strict=true", NULL};
    tiny t = create(arguments, 1);
    t.context->recording = false;
    text(tokens, W);
    fill(&t, "layers.0.memory.output.weight", 0.0);
    (void)read_blocks(&t, tokens, W, 0, 1, 0, with);
    fill(&t, "layers.0.attention.output.weight", 0.0);
    start_again(&t);
    (void)read_blocks(&t, tokens, W, 0, 1, 0, without);
    assert_memory_equal(with, without, sizeof(double) * VOCAB);
    assert_true(differs(with + VOCAB, without + VOCAB, VOCAB, 1e-6));
    tiny_free(&t);
}

static void buckets_of_distances(void **state)
{
    (void)state;
    static const int first[] = {16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113};
    for (int n = 1; n < 300; n++) {
        int expected = n < 16 ? n : 16;
        for (int b = 1; b < 16 && n >= 16; b++) {
            expected += n >= first[b];
        }
        assert_int_equal(lh_t5_bucket(n, 32, 128), expected);
    }
}

/* ---- impossible wishes ---- */

static void expect_refused(const char *const *arguments, const char *what)
{
    lh_error error = {0};
    lh_model *model = NULL;
    assert_int_equal(tiny_model(&model, arguments, 1, &error), LH_E_CONFIG);
    if (!strstr(error.message, what)) {
        fail_msg("the message \"%s\" does not say \"%s\"", error.message, what);
    }
}

static void impossible_configurations(void **state)
{
    (void)state;
    const char *window[] = {RECURRENT, "memory.window=8", NULL};
    expect_refused(window, "must be model.segment = 4");
    const char *high[] = {RECURRENT, "memory.recurrent_layers=3", NULL};
    expect_refused(high, "a model of 3 layers does not have");
    const char *low[] = {RECURRENT, "memory.recurrent_layers=-4", NULL};
    expect_refused(low, "a model of 3 layers does not have");
    const char *twice[] = {RECURRENT, "memory.recurrent_layers=1,-2", NULL};
    expect_refused(twice, "twice");
    const char *none[] = {RECURRENT, "memory.recurrent_layers=", NULL};
    expect_refused(none, "must name 1 to 16 layers");
    const char *above[] = {RECURRENT, "memory.read_layers=2", NULL};
    expect_refused(above, "none above the recurrent layer");
    const char *many[] = {RECURRENT, "memory.read_layers=0,1", NULL};
    expect_refused(many, "as many entries as memory.recurrent_layers: 1");
    const char *both[] = {RECURRENT, "memory.feedback=true", "memory.read_layers=0", NULL};
    expect_refused(both, "memory.feedback");
    const char *arguments[] = {RECURRENT, NULL};
    tiny t = create(arguments, 1);
    int32_t tokens[W];
    lh_forward forward;
    lh_error error = {0};
    text(tokens, W);
    t.stream->memory->keep_graph = false;
    t.model->checkpoint_layers = true;
    lh_model_forward(t.context, t.model, t.stream, tokens, W, &forward);
    assert_int_equal(lh_context_status(t.context, &error), LH_E_UNSUPPORTED);
    assert_non_null(strstr(error.message, "block-recurrent"));
    lh_stream_rollback(t.stream);
    lh_context_reset(t.context);
    tiny_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_reading_it_is_the_window),
        cmocka_unit_test(graphs_do_not_matter),
        cmocka_unit_test(states_see_keys_unturned),
        cmocka_unit_test(states_have_no_order),
        cmocka_unit_test(causality),
        cmocka_unit_test(documents_begin_alone),
        cmocka_unit_test(clearing),
        cmocka_unit_test(tokens_see_exactly_their_window),
        cmocka_unit_test(the_first_token_sees_nothing),
        cmocka_unit_test(buckets_of_distances),
        cmocka_unit_test(impossible_configurations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
