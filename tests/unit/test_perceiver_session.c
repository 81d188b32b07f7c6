/* Perceiver AR read in sessions: decoding with kept keys and restarted latents, long prompts, blocks, files; and
 * the strided protocol. Numbers are those of the method's acceptance checks. */
#include "eval/result.h"
#include "infer/session.h"
#include "support/byte_model.h"
#include "support/perceiver_model.h"

enum { LENGTH = 64 };

static const char *const rotary_arguments[] = {SIZES, STYLE, ROTARY, NULL};
static const char *const sinusoid_arguments[] = {SIZES, STYLE, SINUSOIDS, NULL};
static const char *const *const kinds[] = {rotary_arguments, sinusoid_arguments};

static lh_session *session_of(const lh_model *model, int64_t lanes)
{
    lh_error error = {0};
    lh_session *session = NULL;
    tiny_check(lh_session_create(&session, model, lanes, 2, &error), &error);
    return session;
}

static void feed(lh_session *s, const int32_t *tokens, int64_t count, float *logits)
{
    lh_error error = {0};
    tiny_check(lh_session_feed(s, tokens, count, logits, &error), &error);
}

static void check_logits(const float *got, const double *expected, const char *what, int64_t at)
{
    for (int i = 0; i < VOCAB; i++) {
        if (!(fabs((double)got[i] - expected[i]) <= 1e-6 * (1.0 + fabs(expected[i])))) {
            fail_msg("%s, token %d: logit %d is %.9g, not %.9g", what, (int)at, i, (double)got[i], expected[i]);
        }
    }
}

/* How many latents stand behind `count` tokens when a segment of N begins anew with the last f of it. */
static int64_t latents_after(int64_t count, int64_t f)
{
    int64_t latents = 0;
    for (int64_t i = 0; i < count; i++) {
        latents = latents == N ? f + 1 : latents + 1;
    }
    return latents;
}

/* 6. Token by token, each token's logits are those of a fresh pass with f + j latents, and, when the latents begin
 * anew, with f + 1. */
static void decoding_is_a_fresh_pass(void **state)
{
    (void)state;
    static const int64_t overlaps[] = {0, 1, 3, 5};
    int32_t tokens[LENGTH];
    random_tokens(tokens, LENGTH, 31);
    for (int kind = 0; kind < 2; kind++) {
        lh_model *model = perceiver_model(kinds[kind], 3);
        for (int o = 0; o < 4; o++) {
            lh_session *s = session_of(model, 1);
            lh_session_set_overlap(s, overlaps[o]);
            for (int64_t i = 0; i < LENGTH; i++) {
                float logits[VOCAB];
                double expected[VOCAB];
                feed(s, tokens + i, 1, logits);
                fresh_logits(model, tokens, i + 1, latents_after(i + 1, overlaps[o]), expected);
                check_logits(logits, expected, "decoding", i);
            }
            assert_int_equal(lh_session_position(s), LENGTH);
            lh_session_free(s);
        }
        lh_model_free(model);
    }
}

/* The default is half a segment; a prompt in any pieces gives the same, and whole segments of it cost nothing. */
static int64_t segments_computed;
static void count_segment(void *user, const lh_layer_io *io)
{
    (void)user;
    segments_computed += io->layer == 0;
}

static void prompts(void **state)
{
    (void)state;
    static const int64_t pieces[] = {1, 2, 5, 6, 7, 11, 13, 63, 64};
    int32_t tokens[LENGTH];
    random_tokens(tokens, LENGTH, 31);
    for (int kind = 0; kind < 2; kind++) {
        lh_model *model = perceiver_model(kinds[kind], 3);
        for (int64_t count = 1; count <= LENGTH; count += 7) {
            double expected[VOCAB];
            int64_t overlap = count % 3 == 0 ? 5 : count % 3 == 1 ? N / 2 : 1;
            fresh_logits(model, tokens, count, latents_after(count, overlap), expected);
            for (int p = 0; p < 9; p++) {
                lh_session *s = session_of(model, 1);
                if (overlap != N / 2) { /* the default */
                    lh_session_set_overlap(s, overlap);
                }
                float logits[VOCAB];
                for (int64_t at = 0; at < count;) {
                    int64_t part = count - at < pieces[p] ? count - at : pieces[p];
                    feed(s, tokens + at, part, at + part == count ? logits : NULL);
                    at += part;
                }
                check_logits(logits, expected, "a prompt", count);
                lh_session_free(s);
            }
        }
        lh_session *s = session_of(model, 1);
        float logits[VOCAB];
        segments_computed = 0;
        lh_session_observe(s, count_segment, NULL);
        feed(s, tokens, LENGTH, logits);
        assert_true(segments_computed <= 2);
        lh_session_free(s);
        lh_model_free(model);
    }
}

/* A session scores what a training stream computes, whatever the pieces. */
static void scoring_is_teacher_forcing(void **state)
{
    (void)state;
    enum { LANES = 3, COUNT = 7 * N };
    static const int64_t pieces[] = {1, 4, N, N + 1, COUNT};
    int32_t tokens[LANES * COUNT], targets[LANES * COUNT];
    random_tokens(tokens, LANES * COUNT, 5);
    random_tokens(targets, LANES * COUNT, 6);
    for (int kind = 0; kind < 2; kind++) {
        lh_model *model = perceiver_model(kinds[kind], 3);
        double expected[LANES * COUNT], nll[LANES * COUNT];
        lh_error error = {0};
        lh_context *context;
        lh_stream *stream;
        tiny_check(lh_context_create(&context, model->backend, 2, &error), &error);
        tiny_check(lh_stream_create(&stream, model, LANES, false, &error), &error);
        for (int64_t at = 0; at < COUNT; at += N) {
            int32_t piece[LANES * N], aims[LANES * N];
            double values[LANES * N];
            lh_forward forward;
            for (int64_t i = 0; i < LANES * N; i++) {
                piece[i] = tokens[i / N * COUNT + at + i % N];
                aims[i] = targets[i / N * COUNT + at + i % N];
            }
            lh_model_forward(context, model, stream, piece, N, &forward);
            (void)lh_model_loss(context, model, forward.hidden, aims, NULL, values);
            tiny_check(lh_context_status(context, &error), &error);
            lh_stream_commit(stream, context);
            lh_context_reset(context);
            for (int64_t i = 0; i < LANES * N; i++) {
                expected[i / N * COUNT + at + i % N] = values[i];
            }
        }
        for (int p = 0; p < 5; p++) {
            lh_session *s = session_of(model, LANES);
            for (int64_t at = 0; at < COUNT;) {
                int64_t part = COUNT - at < pieces[p] ? COUNT - at : pieces[p];
                int32_t piece[LANES * COUNT], aims[LANES * COUNT];
                double values[LANES * COUNT];
                for (int64_t i = 0; i < LANES * part; i++) {
                    piece[i] = tokens[i / part * COUNT + at + i % part];
                    aims[i] = targets[i / part * COUNT + at + i % part];
                }
                tiny_check(lh_session_score(s, piece, aims, part, values, &error), &error);
                for (int64_t i = 0; i < LANES * part; i++) {
                    nll[i / part * COUNT + at + i % part] = values[i];
                }
                at += part;
            }
            check_close(nll, expected, LANES * COUNT, 1e-10, "scores");
            lh_session_free(s);
        }
        lh_stream_free(stream);
        lh_context_free(context);
        lh_model_free(model);
    }
}

/* Of several documents one is forgotten where a segment begins; the others do not notice. */
static void one_lane_begins_anew(void **state)
{
    (void)state;
    enum { COUNT = 5 * N };
    int32_t tokens[2 * COUNT], targets[2 * COUNT];
    random_tokens(tokens, 2 * COUNT, 5);
    random_tokens(targets, 2 * COUNT, 6);
    for (int kind = 0; kind < 2; kind++) {
        lh_model *model = perceiver_model(kinds[kind], 3);
        lh_session *both = session_of(model, 2), *first = session_of(model, 1), *second = session_of(model, 1);
        for (int64_t at = 0; at < COUNT; at += N) {
            int32_t piece[2 * N], aims[2 * N];
            double nll[2 * N], alone[2 * N];
            lh_error error = {0};
            for (int i = 0; i < 2 * N; i++) {
                piece[i] = tokens[i / N * COUNT + at + i % N];
                aims[i] = targets[i / N * COUNT + at + i % N];
            }
            if (at == 3 * N) {
                tiny_check(lh_session_reset(both, 1, &error), &error);
                tiny_check(lh_session_reset(second, -1, &error), &error);
            }
            tiny_check(lh_session_score(both, piece, aims, N, nll, &error), &error);
            tiny_check(lh_session_score(first, piece, aims, N, alone, &error), &error);
            tiny_check(lh_session_score(second, piece + N, aims + N, N, alone + N, &error), &error);
            check_close(nll, alone, 2 * N, 1e-11, "lanes");
        }
        lh_session_free(both);
        lh_session_free(first);
        lh_session_free(second);
        lh_model_free(model);
    }
}

/* At any point: a copy, a mark and a file go on bit for bit. */
static void copies_go_on(void **state)
{
    (void)state;
    char folder[64], path[128];
    int32_t tokens[LENGTH];
    random_tokens(tokens, LENGTH, 31);
    assert_int_equal(scratch_make(folder), 0);
    (void)snprintf(path, sizeof path, "%s/session", folder);
    lh_model *model = perceiver_model(kinds[0], 3);
    for (int64_t at = 1; at < 40; at += 3) {
        lh_error error = {0};
        lh_session *s = session_of(model, 1), *copy, *restored = session_of(model, 1);
        float logits[VOCAB], again[VOCAB];
        feed(s, tokens, at / 2 + 1, NULL);
        feed(s, tokens + at / 2 + 1, at - at / 2, logits);
        tiny_check(lh_session_fork(&copy, s, &error), &error);
        tiny_check(lh_session_mark(s, &error), &error);
        tiny_check(lh_session_save(s, path, &error), &error);
        tiny_check(lh_session_restore(restored, path, &error), &error);
        for (int64_t i = at + 1; i < LENGTH; i++) {
            feed(s, tokens + i, 1, logits);
            feed(copy, tokens + i, 1, again);
            assert_memory_equal(logits, again, sizeof logits);
            feed(restored, tokens + i, 1, again);
            assert_memory_equal(logits, again, sizeof logits);
        }
        tiny_check(lh_session_rewind(s, &error), &error);
        for (int64_t i = at + 1; i < LENGTH; i++) {
            feed(s, tokens + i, 1, again);
        }
        assert_memory_equal(logits, again, sizeof logits);
        lh_session_free(s);
        lh_session_free(copy);
        lh_session_free(restored);
    }
    lh_model_free(model);
    scratch_remove(folder);
}

/* ---- blocks ---- */

/* 1. The first block is the short one, every token is scored once, and the inputs of a block end with it. */
static void the_block_rule(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {10, 11, 13, 42};
    static const int64_t sizes[][2] = {{2, 2}, {2, 4}, {2, 8}, {3, 3}, {3, 6}};
    lh_window w;
    lh_protocol example = {.kind = LH_PROTOCOL_STRIDED, .window = 6, .stride = 3};
    static const uint64_t ends[] = {1, 4, 7, 10};
    assert_int_equal(lh_protocol_window_count(&example, 10), 4);
    for (uint64_t k = 0; k < 4; k++) {
        assert_true(lh_protocol_window(&example, 10, k, &w));
        assert_int_equal(w.start + w.count, ends[k]);
        assert_int_equal(w.count, ends[k] < 7 ? ends[k] : 7); /* 6 inputs are 7 tokens: the last is a target only */
    }
    for (int n = 0; n < 4; n++) {
        for (int size = 0; size < 5; size++) {
            lh_protocol p = {.kind = LH_PROTOCOL_STRIDED, .stride = sizes[size][0], .window = sizes[size][1]};
            uint64_t scored = 0, blocks = lh_protocol_window_count(&p, lengths[n]);
            assert_int_equal(blocks, (lengths[n] + (uint64_t)p.stride - 1) / (uint64_t)p.stride);
            for (uint64_t k = 0; k < blocks; k++) {
                assert_true(lh_protocol_window(&p, lengths[n], k, &w));
                assert_int_equal(w.start + w.count - w.scored, scored);
                assert_true(k == 0 || w.scored == (uint64_t)p.stride);
                scored += w.scored;
            }
            assert_int_equal(scored, lengths[n]);
            assert_false(lh_protocol_window(&p, lengths[n], blocks, &w));
        }
    }
}

/* Each block equals a fresh pass over its inputs, of which the last N are latents. */
static void blocks_are_fresh_passes(void **state)
{
    (void)state;
    static const int64_t lengths[] = {10, 11, 13, 42}, strides[] = {1, 2, 3, 5, 6};
    int32_t tokens[LENGTH], targets[LENGTH];
    random_tokens(tokens, LENGTH, 31);
    random_tokens(targets, LENGTH, 32);
    for (int kind = 0; kind < 2; kind++) {
        lh_model *model = perceiver_model(kinds[kind], 3);
        for (int n = 0; n < 4; n++) {
            for (int w = 0; w < 5; w++) {
                lh_error error = {0};
                lh_session *s = session_of(model, 1);
                double nll[LENGTH];
                tiny_check(lh_session_score_blocks(s, tokens, targets, lengths[n], strides[w], nll, &error),
                           &error);
                assert_int_equal(lh_session_position(s), lengths[n]);
                int64_t end = (lengths[n] - 1) % strides[w] + 1, first = 0;
                for (; end <= lengths[n]; first = end, end += strides[w]) {
                    double logits[N * VOCAB];
                    int64_t start = end > M ? end - M : 0;
                    int64_t latents = crop_logits(model, tokens + start, end - start, start, logits);
                    for (int64_t i = first; i < end; i++) {
                        const double *row = logits + (latents - (end - i)) * VOCAB;
                        double sum = 0.0;
                        for (int k = 0; k < VOCAB; k++) {
                            sum += exp(row[k]);
                        }
                        double expected = log(sum) - row[targets[i]];
                        check_close(&nll[i], &expected, 1, 1e-10, "a block");
                    }
                }
                lh_session_free(s);
            }
        }
        lh_model_free(model);
    }
}

static void blocks_of_other_models(void **state)
{
    (void)state;
    const char *none[] = {LAYERS, "memory.kind=none", NULL};
    const char *xl[] = {LAYERS, "memory.kind=transformer-xl", "model.positions=relative", NULL};
    int32_t tokens[LENGTH], targets[LENGTH];
    double nll[LENGTH], whole[LENGTH];
    lh_error error = {0};
    random_tokens(tokens, LENGTH, 31);
    random_tokens(targets, LENGTH, 32);
    lh_model *model = perceiver_model(none, 3);
    lh_session *s = session_of(model, 1);
    tiny_check(lh_session_score_blocks(s, tokens, targets, 10, 3, nll, &error), &error);
    lh_session_free(s);
    for (int64_t end = 1, first = 0; end <= 10;
         first = end, end += 3) { /* a model without memory sees its last N */
        int64_t start = end > N ? end - N : 0;
        s = session_of(model, 1);
        tiny_check(lh_session_score(s, tokens + start, targets + start, end - start, whole, &error), &error);
        check_close(nll + first, whole + first - start, end - first, 1e-10, "a block without memory");
        lh_session_free(s);
    }
    s = session_of(model, 1);
    assert_int_equal(lh_session_score_blocks(s, tokens, targets, 10, 7, nll, &error), LH_E_ARGUMENT);
    lh_session_free(s);
    lh_model_free(model);
    model = perceiver_model(xl, 3);
    s = session_of(model, 1);
    error = (lh_error){0};
    assert_int_equal(lh_session_score_blocks(s, tokens, targets, 10, 3, nll, &error), LH_E_UNSUPPORTED);
    error = (lh_error){0};
    assert_int_equal(lh_session_prime(s, tokens, 10, NULL, &error), LH_E_UNSUPPORTED);
    lh_session_free(s);
    lh_model_free(model);
}

/* ---- the protocol ---- */

static const size_t book_bytes[] = {61, 1, 17, 90};
enum { BOOKS = 4, TOTAL = 61 + 1 + 17 + 90 };

/* Every third token is an answer, in the second half of this test. */
static bool is_answer(int64_t place)
{
    return place % 3 == 2;
}

/* What the protocol should find, with forward passes of training: blocks over a document's tokens, of which the
 * first is charged, or predicted from a start token. */
static double strided_total(const lh_model *model, const char *text, size_t size, int64_t stride,
                            int32_t start_token, double *answered, uint64_t *right)
{
    int32_t row[128];
    int64_t shift = start_token >= 0, inputs = (int64_t)size - 1 + shift;
    double total = shift ? 0.0 : log(256.0);
    for (int64_t i = 0; i < inputs; i++) {
        row[i] = shift && i == 0 ? start_token : (unsigned char)text[i - shift];
    }
    int64_t end = ((int64_t)size - 1) % stride + 1, first = 0; /* blocks of tokens, that is of targets */
    for (; end <= (int64_t)size; first = end, end += stride) {
        int64_t last = end - 1 + shift, begin = last > M ? last - M : 0; /* its inputs */
        static double logits[N * 256];
        int64_t latents = last > 0 ? crop_logits(model, row + begin, last - begin, begin, logits) : 0;
        for (int64_t i = first; i < end; i++) {
            int64_t input = i - 1 + shift;
            if (input >= 0) {
                const double *scores = logits + (latents - (last - input)) * 256;
                double sum = 0.0;
                for (int k = 0; k < 256; k++) {
                    sum += exp(scores[k]);
                }
                double nats = log(sum) - scores[(unsigned char)text[i]];
                int best = 0;
                for (int k = 1; k < 256; k++) {
                    best = scores[k] > scores[best] ? k : best;
                }
                total += nats;
                *answered += is_answer(i) ? nats : 0.0;
                *right += is_answer(i) && best == (unsigned char)text[i];
            }
        }
    }
    return total;
}

static void mark_answers(lh_eval_corpus *corpus)
{
    uint32_t answers[TOTAL];
    lh_error error = {0};
    for (size_t d = 0; d < corpus->document_count; d++) {
        for (uint64_t i = 0; i < corpus->documents[d].tokens; i++) {
            answers[corpus->documents[d].start + i] = is_answer((int64_t)i) ? 1 : 0;
        }
    }
    tiny_check(lh_split_set_answers(corpus->owned, answers, &error), &error);
}

static void the_strided_protocol(void **state)
{
    (void)state;
    char folder[64], books[96];
    char texts[BOOKS][100];
    assert_int_equal(scratch_make(folder), 0);
    (void)snprintf(books, sizeof books, "%s/books", folder);
    (void)mkdir(books, 0700);
    for (int i = 0; i < BOOKS; i++) {
        char path[128];
        byte_text(texts[i], book_bytes[i], (uint64_t)i + 1);
        (void)snprintf(path, sizeof path, "%s/%d.txt", books, i);
        assert_int_equal(scratch_write(path, texts[i], book_bytes[i]), 0);
    }
    const char *rotary[] = {SIZES, STYLE, ROTARY, NULL};
    const char *sinusoids[] = {
        SIZES, STYLE, "model.positions=none", "memory.position_table=sinusoidal", "memory.position_rows=128", NULL};
    const char *const *styles[] = {rotary, sinusoids};
    static const int64_t lanes[] = {1, 3, 5}, strides[] = {3, 6};
    for (int kind = 0; kind < 2; kind++) {
        byte_model m = byte_model_create(styles[kind], LH_F64);
        ((double *)lh_tensor_data(m.model->output_bias[0]))[' '] = 3.0; /* so that some answers are right */
        lh_error error = {0};
        lh_eval_corpus *corpus = NULL;
        lh_eval_corpus_options where = {.path = books};
        tiny_check(lh_eval_corpus_open(&corpus, m.tokenizer, &where, &error), &error);
        for (int w = 0; w < 2; w++) {
            for (int started = 0; started < 2; started++) {
                double expected = 0.0, answered = 0.0;
                uint64_t right = 0;
                for (int i = 0; i < BOOKS; i++) {
                    expected += strided_total(m.model, texts[i], book_bytes[i], strides[w], started ? '\n' : -1,
                                              &answered, &right);
                }
                for (int l = 0; l < 3; l++) {
                    lh_eval_options o = {
                        .protocol = {.kind = LH_PROTOCOL_STRIDED, .window = M, .stride = strides[w]},
                        .lanes = lanes[l],
                        .threads = 1,
                        .first = started ? LH_FIRST_STARTED : LH_FIRST_CHARGED,
                        .start_token = '\n'};
                    lh_evaluation e;
                    tiny_check(lh_protocol_complete(&o.protocol, &error), &error);
                    tiny_check(lh_evaluate(&e, m.model, m.tokenizer, corpus, &o, &error), &error);
                    assert_int_equal(e.scored, TOTAL);
                    assert_int_equal(e.tally->all.tokens, TOTAL);
                    if (fabs(e.tally->all.nats - expected) > 1e-9 * expected) {
                        fail_msg("kind %d, stride %d, lanes %d: %.12g nats, not %.12g", kind, (int)strides[w],
                                 (int)lanes[l], e.tally->all.nats, expected);
                    }
                    lh_evaluation_free(&e);
                    /* The same where only answers are scored, and which of them were the likeliest token. */
                    mark_answers(corpus);
                    tiny_check(lh_evaluate(&e, m.model, m.tokenizer, corpus, &o, &error), &error);
                    corpus->owned->answered = false;
                    assert_true(fabs(e.tally->all.nats - answered) < 1e-9 * answered);
                    assert_int_equal(e.tally->all.tokens, corpus->owned->answers);
                    assert_int_equal(e.tally->all.right, right);
                    assert_true(right > 0);
                    lh_evaluation_free(&e);
                }
            }
        }
        lh_eval_options o = {.protocol = {.kind = LH_PROTOCOL_STRIDED, .window = M, .stride = N + 1}, .lanes = 1};
        lh_evaluation e;
        assert_int_equal(lh_evaluate(&e, m.model, m.tokenizer, corpus, &o, &error), LH_E_ARGUMENT);
        assert_non_null(strstr(error.message, "do not fit a segment of 6"));
        lh_eval_corpus_free(corpus);
        byte_model_free(&m);
    }
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_is_a_fresh_pass),
        cmocka_unit_test(prompts),
        cmocka_unit_test(scoring_is_teacher_forcing),
        cmocka_unit_test(one_lane_begins_anew),
        cmocka_unit_test(copies_go_on),
        cmocka_unit_test(the_block_rule),
        cmocka_unit_test(blocks_are_fresh_passes),
        cmocka_unit_test(blocks_of_other_models),
        cmocka_unit_test(the_strided_protocol),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
