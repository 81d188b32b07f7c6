/* The encoder-decoder form of the Routing Transformer: who sees whom, what padding changes, gradients, sessions. */
#include "infer/describe.h"
#include "infer/session.h"
#include "support/pairs.h"
#include "support/scratch.h"

enum { LANES = 2, CELLS = LANES * PAIRS_SEGMENT * PAIRS_WIDTH };

static const int64_t lengths[LANES] = {20, 13};

/* Hidden states of the target's window beside a source, as an evaluation reads it. */
static void read_target(tiny *t, const int32_t *source, int64_t columns, const int32_t *tokens, double *hidden)
{
    lh_error error = {0};
    lh_forward forward;
    t->context->recording = t->context->training = false;
    pairs_begin(t, source, columns);
    lh_model_forward(t->context, t->model, t->stream, tokens, PAIRS_SEGMENT, &forward);
    if (forward.hidden) {
        lh_to_host(t->context, forward.hidden, hidden);
    }
    lh_stream_commit(t->stream, t->context);
    tiny_check(lh_context_status(t->context, &error), &error);
    lh_context_reset(t->context);
}

static bool lane_differs(const double *a, const double *b, int lane, int first, int last)
{
    size_t at = ((size_t)lane * PAIRS_SEGMENT + (size_t)first) * PAIRS_WIDTH;
    return memcmp(a + at, b + at, sizeof *a * (size_t)(last - first) * PAIRS_WIDTH) != 0;
}

static const char *const modes[] = {"memory.routing=causal", "memory.routing=prefix", "memory.routing=full"};
static const char *const crosses[] = {"memory.cross_attention=dense", "memory.cross_attention=blocks"};
/* Modes of the decoder that can write, each with the cross attention that goes with it. */
static const char *const writers[][2] = {{"memory.routing=causal", "memory.cross_attention=dense"},
                                         {"memory.routing=prefix", "memory.cross_attention=dense"},
                                         {"memory.routing=causal", "memory.cross_attention=blocks"}};
enum { WRITERS = 3 };

/* Every token of a source has a say in every state of its own lane's target, and in none of another lane's. */
static void every_source_token_is_seen(void **state)
{
    (void)state;
    const char *arguments[] = {PAIRS, "memory.routing_heads=2", NULL};
    tiny t = tiny_create(arguments, LANES, 3);
    int32_t source[LANES * PAIRS_SOURCE], tokens[LANES * PAIRS_SEGMENT], targets[LANES * PAIRS_SEGMENT];
    double first[CELLS], second[CELLS];
    tiny_text(&t, 0, tokens, targets);
    pairs_draw(source, LANES, PAIRS_SOURCE, lengths, 1);
    read_target(&t, source, PAIRS_SOURCE, tokens, first);
    for (int i = 0; i < PAIRS_SOURCE; i++) {
        int32_t kept = source[i];
        source[i] = (kept + 4) % 11;
        read_target(&t, source, PAIRS_SOURCE, tokens, second);
        source[i] = kept;
        for (int at = 0; at < PAIRS_SEGMENT; at++) {
            assert_true(lane_differs(first, second, 0, at, at + 1));
        }
        assert_false(lane_differs(first, second, 1, 0, PAIRS_SEGMENT));
    }
    tiny_free(&t);
}

/* The decoder sees nothing of its target that comes later, and everything that came before. */
static void the_decoder_is_causal(void **state)
{
    (void)state;
    enum { AT = 6 };
    for (int mode = 0; mode < WRITERS; mode++) {
        const char *arguments[] = {PAIRS, "memory.routing_heads=2", writers[mode][0], writers[mode][1], NULL};
        tiny t = tiny_create(arguments, LANES, 3);
        int32_t source[LANES * PAIRS_SOURCE], tokens[LANES * PAIRS_SEGMENT], targets[LANES * PAIRS_SEGMENT];
        double first[CELLS], second[CELLS];
        tiny_text(&t, 0, tokens, targets);
        pairs_draw(source, LANES, PAIRS_SOURCE, lengths, 1);
        read_target(&t, source, PAIRS_SOURCE, tokens, first);
        tokens[AT] = (tokens[AT] + 3) % 11;
        read_target(&t, source, PAIRS_SOURCE, tokens, second);
        assert_false(lane_differs(first, second, 0, 0, AT));
        assert_true(lane_differs(first, second, 0, AT, AT + 1));
        assert_true(lane_differs(first, second, 0, AT + 1, PAIRS_SEGMENT));
        assert_false(lane_differs(first, second, 1, 0, PAIRS_SEGMENT));
        tiny_free(&t);
    }
}

/* How a source is handed over changes nothing: in wider rows, beside a longer source, in two pieces. */
static void padding_with(const char *cross, const char *mode)
{
    const char *arguments[] = {PAIRS, "memory.routing_heads=2", cross, mode, NULL};
    const int64_t alone[LANES] = {13, 13}, both[LANES] = {20, 13};
    int32_t narrow[LANES * 13], wide[LANES * 31], longer[LANES * PAIRS_SOURCE];
    int32_t tokens[LANES * PAIRS_SEGMENT], targets[LANES * PAIRS_SEGMENT];
    double x[4][CELLS];
    tiny t = tiny_create(arguments, LANES, 3);
    tiny_text(&t, 0, tokens, targets);
    pairs_draw(narrow, LANES, 13, alone, 1);
    pairs_draw(wide, LANES, 31, alone, 1);
    pairs_draw(longer, LANES, PAIRS_SOURCE, both, 1);
    read_target(&t, narrow, 13, tokens, x[0]);
    read_target(&t, wide, 31, tokens, x[1]);
    read_target(&t, longer, PAIRS_SOURCE, tokens, x[2]);
    assert_memory_equal(x[0], x[1], sizeof x[0]);
    for (int i = CELLS / 2; i < CELLS; i++) { /* sums over clusters with places to spare may round differently */
        assert_true(fabs(x[0][i] - x[2][i]) < 1e-12);
    }
    assert_true(lane_differs(x[0], x[2], 0, 0, PAIRS_SEGMENT));
    int32_t begin[LANES * 5], rest[LANES * 8];
    for (int lane = 0; lane < LANES; lane++) {
        memcpy(begin + lane * 5, narrow + lane * 13, sizeof *begin * 5);
        memcpy(rest + lane * 8, narrow + lane * 13 + 5, sizeof *rest * 8);
    }
    pairs_begin(&t, begin, 5);
    t.model->memory_kind->take_source(t.stream->memory, t.context, rest, 8);
    lh_forward forward;
    lh_model_forward(t.context, t.model, t.stream, tokens, PAIRS_SEGMENT, &forward);
    lh_to_host(t.context, forward.hidden, x[3]);
    lh_stream_commit(t.stream, t.context);
    assert_memory_equal(x[0], x[3], sizeof x[0]);
    tiny_free(&t);
}

static void padding_changes_nothing(void **state)
{
    (void)state;
    padding_with(crosses[0], modes[0]);
    padding_with(crosses[1], modes[0]);
    padding_with(crosses[1], modes[2]);
}

/* Of everything: encoder, cross attention, commitment of both stacks; all norm layouts, and layers that run again.
 */
static void gradients_are_differences(void **state)
{
    (void)state;
    for (int round = 0; round < 8; round++) {
        const char *arguments[] = {PAIRS,
                                   crosses[round / 4],
                                   round == 5 ? modes[2] : modes[0],
                                   "memory.commitment=0.2",
                                   "model.attention_dropout=0.2",
                                   "model.dropout=0.1",
                                   round % 2 ? "memory.routing_heads=3" : "memory.routing_heads=1",
                                   round % 4 == 1 ? "memory.skip_first=1" : "memory.skip_first=0",
                                   round % 4 == 2 ? "model.norm_layout=input" : "model.norm_layout=output",
                                   round % 4 == 2 ? "model.final_norm=true" : "model.final_norm=false",
                                   round % 4 == 3 ? "model.norm_layout=both" : "model.attention_bias=true",
                                   NULL};
        tiny t = tiny_create(arguments, LANES, 11);
        int32_t source[LANES * PAIRS_SOURCE];
        pairs_draw(source, LANES, PAIRS_SOURCE, lengths, 1);
        t.model->checkpoint_layers = round % 4 == 3; /* layers that run again */
        tiny_zero_grads(&t);
        pairs_begin(&t, source, PAIRS_SOURCE);
        t.context->random_offset = 0;
        tiny_step(&t, 0, 1.0, 1.0, NULL);
        char what[32];
        (void)snprintf(what, sizeof what, "round %d", round);
        assert_true(tiny_differences(&t, what) > 150);
        tiny_free(&t);
    }
}

/* Keys and values of layer 0 that a stream keeps of lane 0's source: [PAIRS_SOURCE, row]. */
static void read_encoding(const lh_model *model, const int32_t *source, double *rows, int64_t row)
{
    lh_error error = {0};
    lh_forward forward;
    lh_context *context;
    lh_stream *stream;
    int32_t first[1] = {0};
    tiny_check(lh_context_create(&context, lh_backend_cpu(), 1, &error), &error);
    tiny_check(lh_stream_create(&stream, model, 1, true, &error), &error);
    model->memory_kind->take_source(stream->memory, context, source, PAIRS_SOURCE);
    lh_model_forward(context, model, stream, first, 1, &forward);
    lh_stream_commit(stream, context);
    tiny_check(lh_context_status(context, &error), &error);
    memcpy(rows, lh_tensor_data(stream->cross[0]), sizeof *rows * (size_t)(PAIRS_SOURCE * row));
    lh_stream_free(stream);
    lh_context_free(context);
}

/* The encoder looks both ways: through local heads as far as blocks reach, through clusters anywhere. */
static void the_encoder_looks_both_ways(void **state)
{
    (void)state;
    enum { ROW = 2 * PAIRS_WIDTH, BLOCK = 4 };
    static double first[PAIRS_SOURCE * ROW], second[PAIRS_SOURCE * ROW];
    const int64_t whole[1] = {PAIRS_SOURCE};
    int32_t source[PAIRS_SOURCE];
    for (int routing = 0; routing < 2; routing++) {
        const char *arguments[] = {PAIRS, "memory.encoder_layers=1",
                                   routing ? "memory.routing_heads=2" : "memory.routing_heads=0",
                                   /* one cluster that holds all: who is in it never changes */
                                   "memory.clusters=1", "memory.cluster_size=20", NULL};
        lh_error error = {0};
        lh_model *model = NULL;
        bool far[2] = {false, false}, near[2] = {false, false};
        tiny_check(tiny_model(&model, arguments, 3, &error), &error);
        pairs_draw(source, 1, PAIRS_SOURCE, whole, 1);
        read_encoding(model, source, first, ROW);
        for (int at = 0; at < PAIRS_SOURCE; at++) {
            int32_t kept = source[at];
            source[at] = (kept + 4) % 11;
            read_encoding(model, source, second, ROW);
            source[at] = kept;
            for (int i = 0; i < PAIRS_SOURCE; i++) {
                bool differs = memcmp(first + i * ROW, second + i * ROW, sizeof *first * ROW) != 0;
                /* look_back is one block */
                bool *seen = abs(i / BLOCK - at / BLOCK) <= 1 ? near : far;
                seen[i > at] |= differs;
            }
        }
        assert_true(near[0] && near[1]);
        assert_int_equal(far[0], routing);
        assert_int_equal(far[1], routing);
        lh_model_free(model);
    }
}

static void swap_rows(double *x, int64_t rows, int64_t width)
{
    for (int64_t i = 0; i < rows / 2; i++) {
        for (int64_t j = 0; j < width; j++) {
            double kept = x[i * width + j];
            x[i * width + j] = x[(rows - 1 - i) * width + j];
            x[(rows - 1 - i) * width + j] = kept;
        }
    }
}

/* A source read backwards with tables turned round is the same, backwards: distances count in both directions. */
static void tables_have_two_directions(void **state)
{
    (void)state;
    enum { ROW = 2 * PAIRS_WIDTH };
    static double first[PAIRS_SOURCE * ROW], second[PAIRS_SOURCE * ROW];
    const char *arguments[] = {PAIRS, "memory.encoder_layers=1", "memory.routing_heads=0", NULL};
    const int64_t whole[1] = {PAIRS_SOURCE};
    lh_error error = {0};
    int32_t source[PAIRS_SOURCE];
    tiny t = {0};
    tiny_check(tiny_model(&t.model, arguments, 3, &error), &error);
    pairs_draw(source, 1, PAIRS_SOURCE, whole, 1);
    read_encoding(t.model, source, first, ROW);
    for (int i = 0; i < PAIRS_SOURCE / 2; i++) {
        int32_t kept = source[i];
        source[i] = source[PAIRS_SOURCE - 1 - i];
        source[PAIRS_SOURCE - 1 - i] = kept;
    }
    read_encoding(t.model, source, second, ROW);
    swap_rows(second, PAIRS_SOURCE, ROW);
    assert_true(fabs(first[0] - second[0]) > 1e-6);
    swap_rows(tiny_values(&t, "encoder.0.memory.local_keys.table"), 2 * 6 + 1, 4);
    swap_rows(tiny_values(&t, "encoder.0.memory.local_values.table"), 2 * 6 + 1, 4);
    read_encoding(t.model, source, second, ROW);
    swap_rows(second, PAIRS_SOURCE, ROW);
    for (int i = 0; i < PAIRS_SOURCE * ROW; i++) {
        assert_true(fabs(first[i] - second[i]) < 1e-10);
    }
    lh_model_free(t.model);
}

/* ---- sessions ---- */

static const char *const written[] = {PAIRS, "memory.routing_heads=2", NULL};
static const char *const written_in_blocks[] = {PAIRS, "memory.routing_heads=2", "memory.cross_attention=blocks",
                                                "memory.cross_routing_heads=2", NULL};

static lh_session *session_beside(const lh_model *model, const int32_t *source, int64_t lanes, int64_t columns)
{
    lh_error error = {0};
    lh_session *session = NULL;
    tiny_check(lh_session_create(&session, model, lanes, 1, &error), &error);
    lh_session_set_overlap(session, 0);
    tiny_check(lh_session_source(session, source, columns, &error), &error);
    return session;
}

/* Feeds column `at` of tokens [lanes, PAIRS_SEGMENT]. */
static void feed(lh_session *session, const int32_t *tokens, int at, float *logits)
{
    lh_error error = {0};
    int32_t column[LANES];
    for (int64_t lane = 0; lane < lh_session_lanes(session); lane++) {
        column[lane] = tokens[lane * PAIRS_SEGMENT + at];
    }
    tiny_check(lh_session_feed(session, column, 1, logits, &error), &error);
}

/* Token by token as a window of training computes it; and so in the next window, beside the same source. */
static void writing_equals_training(void **state)
{
    (void)state;
    for (int mode = 0; mode < WRITERS; mode++) {
        const char *arguments[] = {PAIRS, "memory.routing_heads=2", writers[mode][0], writers[mode][1], NULL};
        tiny t = tiny_create(arguments, LANES, 3);
        int32_t source[LANES * PAIRS_SOURCE], tokens[LANES * PAIRS_SEGMENT], targets[LANES * PAIRS_SEGMENT];
        double hidden[CELLS];
        float logits[LANES * 11];
        tiny_text(&t, 0, tokens, targets);
        pairs_draw(source, LANES, PAIRS_SOURCE, lengths, 1);
        lh_session *session = session_beside(t.model, source, LANES, PAIRS_SOURCE);
        read_target(&t, source, PAIRS_SOURCE, tokens, hidden);
        for (int round = 0; round < 2; round++) {
            for (int at = 0; at < PAIRS_SEGMENT; at++) {
                feed(session, tokens, at, logits);
                for (int lane = 0; lane < LANES; lane++) {
                    double right[11];
                    lh_tensor *row = lh_from_host(t.context, LH_F64, 2, (int64_t[]){1, PAIRS_WIDTH},
                                                  hidden + (lane * PAIRS_SEGMENT + at) * PAIRS_WIDTH);
                    lh_to_host(t.context, lh_model_logits(t.context, t.model, row), right);
                    for (int i = 0; i < 11; i++) {
                        assert_true(fabs((double)logits[lane * 11 + i] - right[i]) < 1e-5 * (1 + fabs(right[i])));
                    }
                }
            }
        }
        lh_context_reset(t.context);
        lh_session_free(session);
        tiny_free(&t);
    }
}

/* In the middle of a target: a file, a copy and a mark go on with the very same scores. */
static void saved_in_the_middle_of(const char *const *arguments)
{
    lh_error error = {0};
    lh_model *model = NULL;
    char folder[64], path[96];
    int32_t source[LANES * PAIRS_SOURCE], tokens[LANES * PAIRS_SEGMENT];
    float expected[PAIRS_SEGMENT][LANES * 11], logits[LANES * 11];
    enum { HALF = 4 };
    tiny_check(tiny_model(&model, arguments, 3, &error), &error);
    assert_int_equal(scratch_make(folder), 0);
    (void)snprintf(path, sizeof path, "%s/session.safetensors", folder);
    pairs_draw(source, LANES, PAIRS_SOURCE, lengths, 1);
    for (int i = 0; i < LANES * PAIRS_SEGMENT; i++) {
        tokens[i] = i * 7 % 11;
    }
    lh_session *first = session_beside(model, source, LANES, PAIRS_SOURCE), *second = NULL, *third = NULL;
    for (int at = 0; at < PAIRS_SEGMENT; at++) {
        if (at == HALF) {
            tiny_check(lh_session_save(first, path, &error), &error);
            tiny_check(lh_session_fork(&third, first, &error), &error);
            tiny_check(lh_session_mark(first, &error), &error);
        }
        feed(first, tokens, at, expected[at]);
    }
    tiny_check(lh_session_create(&second, model, LANES, 1, &error), &error);
    tiny_check(lh_session_restore(second, path, &error), &error);
    tiny_check(lh_session_rewind(first, &error), &error);
    lh_session *all[3] = {first, second, third};
    for (int i = 0; i < 3; i++) {
        for (int at = HALF; at < PAIRS_SEGMENT; at++) {
            feed(all[i], tokens, at, logits);
            assert_memory_equal(logits, expected[at], sizeof logits);
        }
        lh_session_free(all[i]);
    }
    lh_model_free(model);
    scratch_remove(folder);
}

static void saved_in_the_middle(void **state)
{
    (void)state;
    saved_in_the_middle_of(written);
    saved_in_the_middle_of(written_in_blocks);
}

/* A lane that begins anew beside another source disturbs no other lane. */
static void lanes_are_independent_of(const char *const *arguments)
{
    lh_error error = {0};
    lh_model *model = NULL;
    int32_t source[LANES * PAIRS_SOURCE], other[LANES * PAIRS_SOURCE], tokens[LANES * PAIRS_SEGMENT];
    const int64_t fresh[LANES] = {17, 0};
    float both[LANES * 11], alone[11], before[LANES * 11];
    tiny_check(tiny_model(&model, arguments, 3, &error), &error);
    pairs_draw(source, LANES, PAIRS_SOURCE, lengths, 1);
    pairs_draw(other, LANES, PAIRS_SOURCE, fresh, 9); /* lane 1 gets nothing: -1s */
    for (int i = 0; i < LANES * PAIRS_SEGMENT; i++) {
        tokens[i] = i * 7 % 11;
    }
    lh_session *pair = session_beside(model, source, LANES, PAIRS_SOURCE);
    for (int at = 0; at < PAIRS_SEGMENT; at++) {
        feed(pair, tokens, at, before);
    }
    tiny_check(lh_session_reset(pair, 0, &error), &error);
    tiny_check(lh_session_source(pair, other, PAIRS_SOURCE, &error), &error);
    lh_session *single = session_beside(model, other, 1, PAIRS_SOURCE);
    for (int at = 0; at < PAIRS_SEGMENT; at++) {
        feed(pair, tokens, at, both);
        feed(single, tokens, at, alone);
        for (int i = 0; i < 11; i++) {
            assert_true(fabsf(both[i] - alone[i]) < 1e-6F);
        }
    }
    for (int i = 11; i < 22; i++) { /* the other lane read the same once more, beside its old source */
        assert_true(fabsf(both[i] - before[i]) < 1e-6F);
    }
    lh_session_free(pair);
    lh_session_free(single);
    lh_model_free(model);
}

static void lanes_are_independent(void **state)
{
    (void)state;
    lanes_are_independent_of(written);
    lanes_are_independent_of(written_in_blocks);
}

/* More of a source between two segments: what follows is read beside all of it. */
static void sources_can_grow_of(const char *const *arguments)
{
    lh_error error = {0};
    lh_model *model = NULL;
    int32_t source[PAIRS_SOURCE], tokens[PAIRS_SEGMENT];
    const int64_t whole[1] = {PAIRS_SOURCE};
    float grown[11], all[11];
    tiny_check(tiny_model(&model, arguments, 3, &error), &error);
    pairs_draw(source, 1, PAIRS_SOURCE, whole, 1);
    for (int i = 0; i < PAIRS_SEGMENT; i++) {
        tokens[i] = i * 7 % 11;
    }
    lh_session *a = session_beside(model, source, 1, 12), *b = session_beside(model, source, 1, PAIRS_SOURCE);
    for (int at = 0; at < PAIRS_SEGMENT; at++) {
        feed(a, tokens, at, grown);
        feed(b, tokens, at, all);
    }
    assert_memory_not_equal(grown, all, sizeof all);
    tiny_check(lh_session_source(a, source + 12, PAIRS_SOURCE - 12, &error), &error);
    feed(a, tokens, 0, grown);
    feed(b, tokens, 0, all);
    assert_memory_equal(grown, all, sizeof all);
    lh_session_free(a);
    lh_session_free(b);
    lh_model_free(model);
}

static void sources_can_grow(void **state)
{
    (void)state;
    sources_can_grow_of(written);
    sources_can_grow_of(written_in_blocks);
}

static void refusals_name_the_matter(void **state)
{
    (void)state;
    lh_error error = {0};
    lh_model *model = NULL, *plain = NULL;
    lh_session *session = NULL;
    const char *none[] = {"model.layers=1", "model.width=8", "model.heads=2", "model.segment=8", NULL};
    int32_t source[2 * PAIRS_SOURCE] = {0}, tokens[1] = {3};
    float logits[11];
    tiny_check(tiny_model(&plain, none, 3, &error), &error);
    tiny_check(lh_session_create(&session, plain, 1, 1, &error), &error);
    assert_int_equal(lh_session_source(session, source, 5, &error), LH_E_UNSUPPORTED);
    assert_non_null(strstr(error.message, "has no encoder"));
    assert_int_equal(lh_session_source_tokens(session), 0);
    lh_session_free(session);
    tiny_check(tiny_model(&model, written, 3, &error), &error);
    session = session_beside(model, source, 1, 5);
    assert_int_equal(lh_session_source_tokens(session), PAIRS_SOURCE);
    tiny_check(lh_session_source(session, source, 2 * PAIRS_SOURCE, &error), &error); /* too much: cut */
    source[2] = 11;
    error = (lh_error){0};
    assert_int_equal(lh_session_source(session, source, 5, &error), LH_E_ARGUMENT);
    assert_non_null(strstr(error.message, "11"));
    error = (lh_error){0};
    tiny_check(lh_session_feed(session, tokens, 1, logits, &error), &error);
    assert_int_equal(lh_session_source(session, source, 2, &error), LH_E_ARGUMENT);
    assert_non_null(strstr(error.message, "where a segment begins"));
    lh_session_free(session);
    lh_model_free(model);
    lh_model_free(plain);
    static const char *const wrong[][2] = {{"memory.strided_heads=1", "memory.strided_heads"},
                                           {"model.positions=relative", "model.positions"},
                                           {"model.mlp=false", "model.mlp"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *arguments[] = {PAIRS, wrong[i][0], NULL};
        error = (lh_error){0};
        assert_int_equal(tiny_model(&model, arguments, 3, &error), LH_E_CONFIG);
        assert_non_null(strstr(error.message, strchr(wrong[i][1], '.') + 1));
    }
}

/* Parameters of the published configurations, counted by hand. */
/* Arithmetic for a token: everything that is multiplied with the source is, once for each of its tokens; here every
 * token of either side sees all of its own. */
static void arithmetic_is_counted(void **state)
{
    (void)state;
    const char *arguments[] = {PAIRS, "memory.routing_heads=0", "memory.block=64", "memory.look_back=64", NULL};
    tiny t = tiny_create(arguments, LANES, 3);
    const lh_memory_shape *shape = &t.model->shape;
    double share = (double)PAIRS_SOURCE / PAIRS_SEGMENT, matrices = 0;
    for (int i = 0; i < t.model->parameters.count; i++) {
        const lh_parameter *p = &t.model->parameters.items[i];
        bool layer = strncmp(p->name, "encoder.", 8) == 0 && strstr(p->name, "memory") == NULL;
        if (p->tensor->ndim == 2 && (layer || strstr(p->name, "cross_attention.key_value.weight"))) {
            matrices += (double)lh_tensor_count(p->tensor);
        }
    }
    double one = 2.0 * (double)shape->heads * (double)(shape->key_width + shape->value_width); /* of a seen key */
    double keys = (double)shape->encoder_layers * PAIRS_SOURCE * share +
                  (double)shape->layers * (PAIRS_SOURCE + (PAIRS_SEGMENT + 1) / 2.0);
    double by_hand = 2 * matrices * share + one * keys;
    assert_true(fabs(lh_model_attention_flops(t.model) / by_hand - 1) < 1e-12);
    tiny_free(&t);
}

static void published_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t encoder, decoder, d, hidden, heads, routing, skip, clusters, reach;
    } cases[] = {{"preset=routing-arxiv-24k", 4, 8, 1024, 4096, 8, 2, 0, 47, 257},
                 {"preset=routing-pubmed-10k", 4, 10, 256, 3072, 8, 4, 2, 40, 257}};
    enum { VOCAB = 1000 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t d = cases[i].d, w = d / cases[i].heads, table = 2 * (2 * cases[i].reach + 1) * w;
        int64_t layer = 4 * d * d + 3 * d * cases[i].hidden + 4 * d + table + w * w;
        int64_t centroids = cases[i].routing * cases[i].clusters * (2 * w + 1);
        int64_t total = 2 * VOCAB * d + VOCAB + d * d + d;
        total += cases[i].encoder * layer + (cases[i].encoder - cases[i].skip) * centroids;
        total += cases[i].decoder * (layer + 4 * d * d + 2 * d);
        total += (cases[i].decoder - cases[i].skip) * (centroids + table);
        lh_error error = {0};
        lh_recipe *recipe;
        size_t count;
        lh_model_description description;
        const lh_recipe_preset *presets = lh_model_presets(&count);
        tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), presets, count, &error), &error);
        tiny_check(lh_recipe_override(recipe, cases[i].name, &error), &error);
        tiny_check(lh_recipe_resolve(recipe, &error), &error);
        tiny_check(lh_recipe_describe_model(&description, recipe, VOCAB, &error), &error);
        assert_int_equal(description.parameters, total);
        assert_int_equal(description.encoder_layers, cases[i].encoder);
        lh_recipe_free(recipe);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_source_token_is_seen),
        cmocka_unit_test(the_decoder_is_causal),
        cmocka_unit_test(the_encoder_looks_both_ways),
        cmocka_unit_test(tables_have_two_directions),
        cmocka_unit_test(padding_changes_nothing),
        cmocka_unit_test(gradients_are_differences),
        cmocka_unit_test(writing_equals_training),
        cmocka_unit_test(saved_in_the_middle),
        cmocka_unit_test(lanes_are_independent),
        cmocka_unit_test(sources_can_grow),
        cmocka_unit_test(refusals_name_the_matter),
        cmocka_unit_test(arithmetic_is_counted),
        cmocka_unit_test(published_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
