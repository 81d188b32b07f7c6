/* Sessions: reading in pieces equals the forward pass of training; going back, copies, files and resets are exact.
 */
#include "infer/session.h"
#include "support/scratch.h"
#include "support/tiny_model.h"

#define BASE "model.layers=2", "model.width=8", "model.heads=2", "model.hidden=12", "model.init=sonnet"
#define XL BASE, "memory.kind=transformer-xl", "memory.length=8", "model.segment=8"
#define COMPRESSIVE \
    BASE, "memory.kind=compressive", "memory.length=8", "memory.compressed=6", "memory.rate=2", "model.segment=8"

#define WINDOW                                                                                              \
    BASE, "memory.kind=window", "memory.window=5", "model.segment=8", "model.norm=rms", "model.qk_norm=l2", \
        "model.head_scale=true", "model.null_logit=true", "model.see_self=false"

#define BLOCKS                                                                                      \
    BASE, "memory.kind=block-recurrent", "memory.window=8", "model.segment=8", "memory.states=3",   \
        "memory.recurrent_layers=0", "model.norm=rms", "model.qk_norm=l2", "model.head_scale=true", \
        "model.null_logit=true", "model.see_self=false"

#define MEMORIZING                                                                                                 \
    BASE, "memory.kind=memorizing", "memory.window=5", "memory.size=19", "memory.neighbours=4", "model.segment=8", \
        "model.norm=rms", "model.qk_norm=l2", "model.head_scale=true", "model.null_logit=true",                    \
        "model.see_self=false"

#define VQ                                                                                      \
    BASE, "memory.kind=transformer-vq", "memory.codes=5", "memory.length=6", "model.segment=8", \
        "model.positions=none", "model.projection_bias=false", "model.norm=rms", "model.norm_bias=true"

/* Routing wants longer windows: clusters are full, and single tokens have lists of their own. */
#define ROUTING                                                                                   \
    BASE, "memory.kind=routing", "model.positions=none", "model.segment=24", "memory.clusters=3", \
        "memory.cluster_size=5", "memory.block=4", "memory.look_back=4", "memory.distance=3"

enum { VOCAB = 11, SEGMENT = 8, LANES = 2 };

static lh_model *model_of(const char *const *arguments)
{
    lh_error error = {0};
    lh_model *model = NULL;
    tiny_check(tiny_model(&model, arguments, 7, &error), &error);
    return model;
}

static lh_session *session_of(const lh_model *model, int64_t lanes)
{
    lh_error error = {0};
    lh_session *session = NULL;
    tiny_check(lh_session_create(&session, model, lanes, 2, &error), &error);
    return session;
}

static void text(int32_t *tokens, int64_t lanes, int64_t count, uint64_t seed)
{
    lh_random random = lh_random_create(seed, 3);
    for (int64_t i = 0; i < lanes * count; i++) {
        tokens[i] = (int32_t)lh_random_below(&random, VOCAB);
    }
}

/* Feeds column `at` of tokens [lanes, total]. */
static void feed_column(lh_session *s, const int32_t *tokens, int64_t total, int64_t at, float *logits)
{
    lh_error error = {0};
    int32_t column[8];
    for (int64_t lane = 0; lane < lh_session_lanes(s); lane++) {
        column[lane] = tokens[lane * total + at];
    }
    tiny_check(lh_session_feed(s, column, 1, logits, &error), &error);
}

/* Logits of every token as a training stream computes them, a whole segment at a time: [count, lanes, vocab]. */
static void teacher_forced(const lh_model *model, const int32_t *tokens, int64_t segments, double *logits)
{
    lh_error error = {0};
    lh_context *context;
    lh_stream *stream;
    int64_t n = model->config.segment, total = segments * n;
    tiny_check(lh_context_create(&context, model->backend, 2, &error), &error);
    tiny_check(lh_stream_create(&stream, model, LANES, false, &error), &error);
    double *rows = calloc((size_t)(LANES * n * VOCAB), sizeof *rows);
    int32_t *piece = calloc((size_t)(LANES * n), sizeof *piece);
    for (int64_t s = 0; s < segments; s++) {
        for (int64_t lane = 0; lane < LANES; lane++) {
            memcpy(piece + lane * n, tokens + lane * total + s * n, sizeof *piece * (size_t)n);
        }
        lh_forward forward;
        lh_model_forward(context, model, stream, piece, n, &forward);
        lh_tensor *scores = lh_model_logits(context, model, forward.hidden);
        if (scores) {
            lh_to_host(context, scores, rows);
        }
        lh_stream_commit(stream, context);
        tiny_check(lh_context_status(context, &error), &error);
        lh_context_reset(context);
        for (int64_t lane = 0; lane < LANES; lane++) {
            for (int64_t i = 0; i < n; i++) {
                memcpy(logits + ((s * n + i) * LANES + lane) * VOCAB, rows + (lane * n + i) * VOCAB,
                       sizeof *rows * VOCAB);
            }
        }
    }
    free(rows);
    free(piece);
    lh_stream_free(stream);
    lh_context_free(context);
}

static void check_token_by_token(const char *const *arguments, const char *what)
{
    enum { SEGMENTS = 5 };
    lh_model *model = model_of(arguments);
    int64_t n = model->config.segment, total = SEGMENTS * n;
    int32_t *tokens = calloc((size_t)(LANES * total), sizeof *tokens);
    double *expected = calloc((size_t)(total * LANES * VOCAB), sizeof *expected);
    float logits[LANES * VOCAB];
    text(tokens, LANES, total, 5);
    teacher_forced(model, tokens, SEGMENTS, expected);
    lh_session *session = session_of(model, LANES);
    lh_session_set_overlap(session, 0);
    for (int64_t i = 0; i < total; i++) {
        feed_column(session, tokens, total, i, logits);
        for (int64_t j = 0; j < LANES * VOCAB; j++) {
            double right = expected[i * LANES * VOCAB + j];
            if (fabs((double)logits[j] - right) > 1e-5 * (1.0 + fabs(right))) {
                fail_msg("%s: token %lld, logit %lld: %.9g instead of %.9g", what, (long long)i, (long long)j,
                         (double)logits[j], right);
            }
        }
    }
    assert_int_equal(lh_session_position(session), total);
    lh_session_free(session);
    lh_model_free(model);
    free(tokens);
    free(expected);
}

/* Check 11 of the specification: decoding equals the computation of training. */
static void decoding_equals_training(void **state)
{
    (void)state;
    static const char *const positions[] = {"model.positions=relative", "model.positions=rotary",
                                            "model.positions=alibi", "model.positions=t5"};
    static const char *const functions[] = {"memory.function=conv", "memory.function=dilated",
                                            "memory.function=max", "memory.function=mean",
                                            "memory.function=most-used"};
    for (int p = 0; p < 4; p++) {
        const char *none[] = {BASE, "model.segment=8", positions[p], NULL};
        check_token_by_token(none, positions[p]);
        const char *xl[] = {XL, positions[p], NULL};
        check_token_by_token(xl, positions[p]);
        for (int f = 0; f < 5; f++) {
            const char *compressive[] = {COMPRESSIVE, positions[p], functions[f],
                                         f == 1 ? "memory.dilations=1,2" : NULL, NULL};
            check_token_by_token(compressive, functions[f]);
        }
    }
    const char *learned[] = {BASE, "model.segment=8", "model.positions=learned", NULL};
    check_token_by_token(learned, "learned");
    const char *same[] = {XL, "model.positions=relative", "model.same_length=true", "model.clamp=5", NULL};
    check_token_by_token(same, "same length");
    const char *odd[] = {XL, "model.positions=relative", "model.norm_layout=output", "model.kv_heads=1", NULL};
    check_token_by_token(odd, "one key head");
    const char *late[] = {COMPRESSIVE, "model.positions=relative", "memory.layers=1", "memory.short_length=3",
                          NULL};
    check_token_by_token(late, "long memory in one layer");
    const char *early[] = {XL, "model.positions=relative", "memory.layers=0", NULL};
    check_token_by_token(early, "Transformer-XL memory in one layer");
    const char *window[] = {WINDOW, "model.positions=t5", "model.t5_scaled=true", NULL};
    check_token_by_token(window, "window");
    const char *routing[] = {ROUTING,
                             "model.input_projection=linear",
                             "model.embedding_width=6",
                             "model.tied=false",
                             "memory.skip_first=1",
                             NULL};
    check_token_by_token(routing, "routing");
    const char *prefix[] = {ROUTING, "memory.routing=prefix", "memory.routing_heads=2", NULL};
    check_token_by_token(prefix, "routing, prefix");
    const char *own_keys[] = {ROUTING, "memory.share_keys=false", "memory.cluster_relative=false", NULL};
    check_token_by_token(own_keys, "routing, keys of their own");
    const char *turned[] = {WINDOW, "model.positions=rotary", "memory.strict=true", "memory.window=19", NULL};
    check_token_by_token(turned, "window with rotary positions");
    static const char *const recurrences[] = {"memory.gate=lstm", "memory.feedback=true", "memory.cell=dual",
                                              "memory.clear_every=2", "memory.recurrent_layers=0,1"};
    for (int r = 0; r < 5; r++) {
        const char *blocks[] = {BLOCKS, "model.positions=t5", recurrences[r], NULL};
        check_token_by_token(blocks, recurrences[r]);
    }
    const char *lower[] = {
        BLOCKS, "model.positions=rotary", "memory.recurrent_layers=1", "memory.read_layers=0", "memory.strict=true",
        NULL};
    check_token_by_token(lower, "a state read at a lower layer");
    static const char *const memories[] = {"memory.fewer=softmax", "memory.fewer=zeros", "memory.fewer=closed",
                                           "memory.store=f16",     "memory.store=int8",  "memory.cache=false",
                                           "memory.buckets=6",     "memory.layers=0,1",  "memory.combine=add"};
    for (int i = 0; i < 9; i++) {
        const char *memorizing[] = {MEMORIZING, positions[i % 4], memories[i], NULL};
        check_token_by_token(memorizing, memories[i]);
    }
    const char *plain_keys[] = {MEMORIZING, "model.positions=rotary", "memory.store=int8", "model.kv_heads=1",
                                NULL};
    check_token_by_token(plain_keys, "memorizing with rotary positions and one key head");
    const char *vq[] = {VQ, "model.heads=1", "model.mlp=false", "memory.absolute_positions=true", NULL};
    check_token_by_token(vq, "Transformer-VQ");
    const char *mqa[] = {VQ, "model.kv_heads=1", "memory.gated=false", "memory.length=11", NULL};
    check_token_by_token(mqa, "Transformer-VQ, multi-query");
    const char *sliding[] = {VQ, "memory.aggregate=false", "memory.length=3", NULL};
    check_token_by_token(sliding, "Transformer-VQ without its aggregate");
    const char *scaled[] = {COMPRESSIVE, "model.positions=relative", "memory.positions=scaled", NULL};
    check_token_by_token(scaled, "scaled");
    const char *adaptive[] = {COMPRESSIVE, "model.positions=relative", "model.cutoffs=4,7", "model.band_divisor=2",
                              NULL};
    check_token_by_token(adaptive, "adaptive softmax");
}

/* What is scored does not depend on how the text is cut into calls. */
static void scores_do_not_depend_on_calls(void **state)
{
    (void)state;
    enum { TOTAL = 61 };
    const char *kinds[][24] = {
        {BASE, "model.segment=8", "model.positions=rotary", NULL},
        {XL, "model.positions=relative", NULL},
        {COMPRESSIVE, "model.positions=relative", NULL},
        {COMPRESSIVE, "model.positions=relative", "memory.function=most-used", NULL},
        {WINDOW, "model.positions=t5", "memory.strict=true", NULL},
        {BLOCKS, "model.positions=t5", "memory.feedback=true", NULL},
        {MEMORIZING, "model.positions=rotary", NULL},
        {VQ, "memory.absolute_positions=true", NULL},
        {ROUTING, NULL},
        {ROUTING, "memory.routing=prefix", "memory.strided_heads=1", NULL},
        {ROUTING, "memory.share_keys=false", "memory.cluster_relative=false", NULL},
    };
    static const int64_t cuts[] = {TOTAL, 1, 3, 8, 11};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        lh_model *model = model_of(kinds[k]);
        int32_t tokens[TOTAL + 1];
        double first[TOTAL], nll[TOTAL];
        text(tokens, 1, TOTAL + 1, 9);
        for (size_t c = 0; c < sizeof cuts / sizeof cuts[0]; c++) {
            lh_error error = {0};
            lh_session *s = session_of(model, 1);
            for (int64_t at = 0; at < TOTAL; at += cuts[c]) {
                int64_t part = TOTAL - at < cuts[c] ? TOTAL - at : cuts[c];
                tiny_check(lh_session_score(s, tokens + at, tokens + at + 1, part, nll + at, &error), &error);
            }
            for (int i = 0; i < TOTAL; i++) {
                first[i] = c == 0 ? nll[i] : first[i];
                assert_true(fabs(nll[i] - first[i]) < 1e-9);
                assert_true(nll[i] > 0.0);
            }
            lh_session_free(s);
        }
        lh_model_free(model);
    }
}

static void make_steeper(lh_tensor *tensor, double factor)
{
    double *x = tensor ? lh_tensor_data(tensor) : NULL;
    for (int64_t i = 0; x && i < lh_tensor_count(tensor); i++) {
        x[i] *= factor;
    }
}

/* The likeliest token is that of the logits, also where it lies in the tail of an adaptive softmax, and only what
 * is scored costs anything. */
static void likeliest_tokens(void **state)
{
    (void)state;
    enum { TOTAL = 400 };
    const char *kinds[][16] = {
        {XL, "model.positions=relative", NULL},
        {XL, "model.positions=relative", "model.cutoffs=2,6", "model.band_divisor=1", NULL},
    };
    for (size_t k = 0; k < 2; k++) {
        lh_error error = {0};
        lh_model *model = model_of(kinds[k]);
        for (int band = 1; band < model->config.bands; band++) { /* so that all bands win now and then */
            make_steeper(model->output[band], 20);
        }
        make_steeper(model->clusters, 4);
        lh_session *s = session_of(model, 2), *other = session_of(model, 2);
        static int32_t tokens[2 * TOTAL], targets[2 * TOTAL], best[2 * TOTAL];
        static double nll[2 * TOTAL], plain[2 * TOTAL];
        text(tokens, 2, TOTAL, 9);
        for (int i = 0; i < 2 * TOTAL; i++) {
            targets[i] = i % TOTAL < 20 || i % 3 == 0 ? -1 : (i * 7) % VOCAB;
        }
        tiny_check(lh_session_score_best(s, tokens, targets, TOTAL, nll, best, &error), &error);
        tiny_check(lh_session_reset(s, -1, &error), &error);
        tiny_check(lh_session_score(s, tokens, targets, TOTAL, plain, &error), &error);
        assert_memory_equal(nll, plain, sizeof nll);
        int seen[VOCAB] = {0};
        for (int64_t i = 0; i < TOTAL; i++) {
            float logits[2 * VOCAB];
            feed_column(other, tokens, TOTAL, i, logits);
            for (int lane = 0; lane < 2; lane++) {
                int top = 0;
                for (int v = 1; v < VOCAB; v++) {
                    top = logits[lane * VOCAB + v] > logits[lane * VOCAB + top] ? v : top;
                }
                int64_t at = lane * TOTAL + i;
                assert_int_equal(best[at], targets[at] < 0 ? -1 : top);
                assert_true(targets[at] < 0 ? nll[at] == 0.0 : nll[at] > 0.0);
                seen[top]++;
            }
        }
        int bands[3] = {0};
        for (int v = 0; v < VOCAB; v++) {
            bands[(v >= 2) + (v >= 6)] += seen[v];
        }
        assert_true(bands[0] > 0 && bands[1] > 0 && bands[2] > 0);
        lh_session_free(other);
        lh_session_free(s);
        lh_model_free(model);
    }
}

static void expect_same_future(lh_session *a, lh_session *b, const int32_t *tokens, int64_t total, int64_t from)
{
    float x[LANES * VOCAB], y[LANES * VOCAB];
    size_t bytes = sizeof(float) * (size_t)(lh_session_lanes(a) * VOCAB);
    for (int64_t i = from; i < total; i++) {
        feed_column(a, tokens, total, i, x);
        feed_column(b, tokens, total, i, y);
        if (memcmp(x, y, bytes) != 0) {
            fail_msg("the logits of token %lld differ", (long long)i);
        }
    }
}

static const char *const *state_kinds(int which)
{
    static const char *const kinds[][24] = {
        {BASE, "model.segment=8", "model.positions=rotary", NULL},
        {WINDOW, "model.positions=rotary", "memory.strict=true", NULL},
        {XL, "model.positions=rotary", NULL},
        {COMPRESSIVE, "model.positions=relative", NULL},
        {MEMORIZING, "model.positions=rotary", NULL},
        {MEMORIZING, "model.positions=t5", "memory.store=int8", NULL},
        {COMPRESSIVE, "model.positions=relative", "memory.function=most-used", NULL},
        {BASE, "memory.kind=compressive", "memory.length=6", "memory.compressed=4", "memory.rate=3",
         "model.segment=1", "memory.stepping=aligned", "model.positions=relative", NULL},
        {BLOCKS, "model.positions=t5", "memory.gate=lstm", NULL},
        {VQ, "memory.absolute_positions=true", NULL},
        {ROUTING, NULL},
        {ROUTING, "memory.routing=prefix", NULL},
        {ROUTING, "memory.share_keys=false", "memory.cluster_relative=false", NULL},
    };
    return which < 13 ? kinds[which] : NULL;
}

/* Saved and restored, forked, marked and gone back to: bit for bit, in the middle of a segment and at its end. */
static void save_fork_rewind(void **state)
{
    (void)state;
    enum { TOTAL = 70 };
    lh_error error = {0};
    char folder[64], path[96];
    assert_int_equal(scratch_make(folder), 0);
    (void)snprintf(path, sizeof path, "%s/a.session.safetensors", folder);
    int32_t tokens[LANES * TOTAL];
    text(tokens, LANES, TOTAL, 21);
    for (int k = 0; state_kinds(k); k++) {
        lh_model *model = model_of(state_kinds(k));
        for (int64_t cut = 37; cut <= 40; cut += 3) {
            lh_session *a = session_of(model, LANES), *b = session_of(model, LANES), *c = NULL;
            for (int64_t i = 0; i < cut; i++) {
                feed_column(a, tokens, TOTAL, i, NULL);
            }
            tiny_check(lh_session_save(a, path, &error), &error);
            tiny_check(lh_session_fork(&c, a, &error), &error);
            tiny_check(lh_session_mark(a, &error), &error);
            feed_column(b, tokens, TOTAL, 5, NULL); /* whatever it held is forgotten */
            tiny_check(lh_session_restore(b, path, &error), &error);
            assert_int_equal(lh_session_position(b), cut);
            expect_same_future(a, b, tokens, TOTAL, cut);
            tiny_check(lh_session_rewind(a, &error), &error);
            assert_int_equal(lh_session_position(a), cut);
            expect_same_future(a, c, tokens, TOTAL, cut);
            tiny_check(lh_session_rewind(a, &error), &error);
            tiny_check(lh_session_restore(b, path, &error), &error);
            expect_same_future(a, b, tokens, TOTAL, cut);
            lh_session_free(a);
            lh_session_free(b);
            lh_session_free(c);
        }
        lh_model_free(model);
    }
    scratch_remove(folder);
}

/* One lane is reset where a segment begins: it then is as a fresh one, and the others do not notice. */
static void lanes_reset_alone(void **state)
{
    (void)state;
    enum { TOTAL = 48, CUT = 24 };
    lh_error error = {0};
    int32_t tokens[LANES * TOTAL], late[TOTAL];
    float x[LANES * VOCAB], fresh[VOCAB], untouched[LANES * VOCAB];
    text(tokens, LANES, TOTAL, 33);
    memcpy(late, tokens + TOTAL, sizeof late);
    static const int kinds[] = {0, 1, 2, 3, 4, 5, 8, 9};
    for (int k = 0; k < 8; k++) {
        lh_model *model = model_of(state_kinds(kinds[k]));
        lh_session *a = session_of(model, LANES), *whole = session_of(model, LANES), *one = session_of(model, 1);
        lh_session_set_overlap(a, 0);
        lh_session_set_overlap(whole, 0);
        lh_session_set_overlap(one, 0);
        for (int64_t i = 0; i < CUT; i++) {
            feed_column(a, tokens, TOTAL, i, NULL);
            feed_column(whole, tokens, TOTAL, i, NULL);
        }
        tiny_check(lh_session_reset(a, 1, &error), &error);
        for (int64_t i = CUT; i < TOTAL; i++) {
            feed_column(a, tokens, TOTAL, i, x);
            feed_column(whole, tokens, TOTAL, i, untouched);
            feed_column(one, late, TOTAL, i, fresh);
            for (int j = 0; j < VOCAB; j++) {
                assert_true(fabsf(x[j] - untouched[j]) < 1e-5f);
                assert_true(fabsf(x[VOCAB + j] - fresh[j]) < 1e-5f);
            }
        }
        feed_column(a, tokens, TOTAL, 0, NULL);
        assert_int_equal(lh_session_reset(a, 0, &error), LH_E_ARGUMENT);
        error = (lh_error){0};
        assert_int_equal(lh_session_reset(a, 2, &error), LH_E_ARGUMENT);
        error = (lh_error){0};
        tiny_check(lh_session_reset(a, -1, &error), &error);
        assert_int_equal(lh_session_position(a), 0);
        lh_session_free(a);
        lh_session_free(whole);
        lh_session_free(one);
        lh_model_free(model);
    }
}

static void expect_refused(lh_session *s, const char *path, const char *what)
{
    lh_error error = {0};
    assert_int_not_equal(lh_session_restore(s, path, &error), LH_OK);
    if (!strstr(error.message, what)) {
        fail_msg("the message \"%s\" does not say \"%s\"", error.message, what);
    }
}

static lh_status add_stray(void *user, lh_checkpoint_writer *writer, lh_error *error)
{
    (void)user;
    return lh_checkpoint_add_integer(writer, "train.step", 1, error);
}

/* Files that are damaged, foreign or of another model are refused, and the session goes on as if nothing had been.
 */
static void hostile_files(void **state)
{
    (void)state;
    enum { TOTAL = 40, CUT = 21 };
    lh_error error = {0};
    char folder[64], good[96], bad[96];
    size_t size;
    assert_int_equal(scratch_make(folder), 0);
    (void)snprintf(good, sizeof good, "%s/good", folder);
    (void)snprintf(bad, sizeof bad, "%s/bad", folder);
    int32_t tokens[LANES * TOTAL];
    text(tokens, LANES, TOTAL, 8);
    lh_model *model = model_of(state_kinds(2)), *other = NULL;
    lh_session *a = session_of(model, LANES), *b = session_of(model, LANES), *s = NULL;
    for (int64_t i = 0; i < CUT; i++) {
        feed_column(a, tokens, TOTAL, i, NULL);
        feed_column(b, tokens, TOTAL, i, NULL);
    }
    tiny_check(lh_session_save_with(a, good, add_stray, NULL, &error), &error);
    char *bytes = scratch_read(good, &size);
    assert_non_null(bytes);
    for (size_t cut = 0; cut < size; cut += 1 + size / 40) {
        assert_int_equal(scratch_write(bad, bytes, cut), 0);
        expect_refused(a, bad, "bad");
    }
    for (size_t i = 0; i < 60; i++) {
        size_t at = i * 7919 % size;
        bytes[at] = (char)(bytes[at] ^ (1 << (i % 8)));
        assert_int_equal(scratch_write(bad, bytes, size), 0);
        expect_refused(a, bad, "bad");
        bytes[at] = (char)(bytes[at] ^ (1 << (i % 8)));
    }
    expect_refused(a, "/nowhere/at/all", "/nowhere/at/all");
    s = session_of(model, 1);
    expect_refused(s, good, "2 documents side by side, not 1");
    lh_session_free(s);
    tiny_check(tiny_model(&other, state_kinds(2), 8, &error), &error);
    s = session_of(other, LANES);
    expect_refused(s, good, "other weights");
    lh_session_free(s);
    lh_model_free(other);
    other = model_of(state_kinds(3));
    s = session_of(other, LANES);
    expect_refused(s, good, "another configuration");
    lh_session_free(s);
    lh_model_free(other);

    lh_checkpoint_writer *writer;
    tiny_check(lh_checkpoint_writer_create(&writer, &error), &error);
    tiny_check(lh_checkpoint_add_integer(writer, "lanes", LANES, &error), &error);
    tiny_check(lh_checkpoint_write_file(writer, bad, 3, &error), &error);
    lh_checkpoint_writer_free(writer);
    expect_refused(a, bad, "not a session");

    expect_same_future(a, b, tokens, TOTAL, CUT);
    free(bytes);
    lh_session_free(a);
    lh_session_free(b);
    lh_model_free(model);
    scratch_remove(folder);
}

/* The state of a document has the same size however far it has been read, and reading takes nothing from the heap.
 */
static void check_growth(int kind)
{
    lh_error error = {0};
    int32_t tokens[LANES * 40];
    text(tokens, LANES, 40, 4);
    lh_model *model = model_of(state_kinds(kind));
    lh_session *s = session_of(model, LANES);
    int64_t bytes = lh_session_state_bytes(s);
    tiny_check(lh_session_feed(s, tokens, 40, NULL, &error), &error);
    uint64_t live = lh_heap_live_bytes(), allocations = lh_heap_allocations();
    for (int i = 0; i < 20; i++) {
        tiny_check(lh_session_feed(s, tokens, 40, NULL, &error), &error);
    }
    assert_int_equal(lh_session_state_bytes(s), bytes);
    assert_int_equal(lh_heap_live_bytes(), live);
    assert_int_equal(lh_heap_allocations(), allocations);
    assert_int_equal(lh_session_position(s), 21 * 40);
    assert_int_equal(lh_session_feed(s, tokens, 0, NULL, &error), LH_E_ARGUMENT);
    lh_session_free(s);
    lh_model_free(model);
}

static void state_does_not_grow(void **state)
{
    (void)state;
    check_growth(2);
    check_growth(6);
}

/* Which tokens a slot is the mean of, after `steps` tokens one at a time: what the specification says of both ways
 * of stepping (section 6: groups begin at c-1-n_m mod c, or at -n_m mod c). */
static void check_groups(const char *stepping, int64_t n_m, int64_t c, int64_t first_group)
{
    enum { STEPS = 23, SLOTS = 4, WIDTH = 8 };
    char length[32], rate[32], way[32], capacity[32];
    (void)snprintf(length, sizeof length, "memory.length=%d", (int)n_m);
    (void)snprintf(rate, sizeof rate, "memory.rate=%d", (int)c);
    (void)snprintf(way, sizeof way, "memory.stepping=%s", stepping);
    (void)snprintf(capacity, sizeof capacity, "memory.compressed=%d", SLOTS);
    const char *arguments[] = {"model.layers=1",
                               "model.width=8",
                               "model.heads=2",
                               "model.hidden=12",
                               "model.init=sonnet",
                               "model.positions=relative",
                               "model.segment=1",
                               "memory.kind=compressive",
                               "memory.function=mean",
                               length,
                               rate,
                               way,
                               capacity,
                               NULL};
    lh_error error = {0};
    lh_model *model = model_of(arguments);
    tiny t = {.model = model};
    tiny_check(lh_context_create(&t.context, model->backend, 1, &error), &error);
    tiny_check(lh_stream_create(&t.stream, model, 1, true, &error), &error);
    double z[STEPS][WIDTH];
    for (int32_t step = 0; step < STEPS; step++) {
        int32_t token = step * 7 % VOCAB;
        lh_forward forward;
        lh_model_forward(t.context, model, t.stream, &token, 1, &forward);
        lh_stream_commit(t.stream, t.context);
        tiny_check(lh_context_status(t.context, &error), &error);
        lh_context_reset(t.context);
        /* The newest memory is what entered attention with this token. */
        const double *m = lh_tensor_data(tiny_state(&t, "layers.0.memory"));
        memcpy(z[step], m + (n_m - 1) * WIDTH, sizeof z[step]);
    }
    const double *slots = lh_tensor_data(tiny_state(&t, "layers.0.compressed"));
    /* The newest slot holds the last group that was complete by the last multiple of c steps. */
    int64_t done = STEPS / c * c, newest = first_group;
    int64_t limit = strcmp(stepping, "aligned") == 0 ? done - 1 - n_m : done - 1 - n_m + c - 1;
    while (newest + 2 * c - 1 <= limit) {
        newest += c;
    }
    for (int64_t s = 0; s < SLOTS; s++) {
        int64_t begin = newest - s * c;
        for (int i = 0; i < WIDTH; i++) {
            double mean = 0.0;
            for (int64_t j = begin; j < begin + c; j++) {
                mean += j >= 0 ? z[j][i] / (double)c : 0.0;
            }
            double got = slots[(SLOTS - 1 - s) * WIDTH + i];
            if (fabs(got - mean) > 1e-12) {
                fail_msg("%s, n_m %lld, c %lld: slot %lld from the newest does not begin at token %lld", stepping,
                         (long long)n_m, (long long)c, (long long)s, (long long)begin);
            }
        }
    }
    lh_stream_free(t.stream);
    lh_context_free(t.context);
    lh_model_free(model);
}

static void groups_of_steps(void **state)
{
    (void)state;
    for (int64_t n_m = 4; n_m <= 9; n_m++) {
        for (int64_t c = 2; c <= 4; c++) {
            check_groups("official", n_m, c, ((c - 1 - n_m) % c + c) % c);
            check_groups("aligned", n_m, c, (-n_m % c + c) % c);
        }
    }
    check_groups("official", 6, 3, 2); /* the specification's example: 2, 5, 8 instead of 0, 3, 6 */
    check_groups("aligned", 6, 3, 0);
}

/* Stepping with every token needs segments of one. */
static void impossible_steps(void **state)
{
    (void)state;
    lh_error error = {0};
    lh_model *model = NULL;
    const char *wide[] = {COMPRESSIVE, "memory.stepping=official", NULL};
    assert_int_equal(tiny_model(&model, wide, 1, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "model.segment = 1"));
    error = (lh_error){0};
    const char *ranked[] = {COMPRESSIVE, "model.segment=1", "memory.stepping=aligned", "memory.function=most-used",
                            NULL};
    assert_int_equal(tiny_model(&model, ranked, 1, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "official"));
}

/* A model without memory reads the end of a full segment again, so that it never writes from nothing. */
static void overlap_of_a_model_without_memory(void **state)
{
    (void)state;
    lh_error error = {0};
    int32_t tokens[12];
    float with[VOCAB], alone[VOCAB];
    text(tokens, 1, 12, 14);
    lh_model *model = model_of(state_kinds(0));
    lh_session *s = session_of(model, 1), *t = session_of(model, 1);
    lh_session_set_overlap(s, 3);
    lh_session_set_overlap(t, 0);
    tiny_check(lh_session_feed(s, tokens, 9, with, &error), &error); /* 8 fill the segment */
    tiny_check(lh_session_feed(t, tokens + 5, 4, alone, &error), &error);
    for (int i = 0; i < VOCAB; i++) {
        assert_true(fabsf(with[i] - alone[i]) < 1e-5f);
    }
    assert_int_equal(lh_session_position(s), 9);
    lh_session_free(s);
    lh_session_free(t);
    lh_model_free(model);
}

/* What follows the last token is part of the state: copies, marks and files have it; scoring and clearing lose it.
 */
static void logits_are_kept(void **state)
{
    (void)state;
    const char *arguments[] = {XL, "model.positions=relative", NULL};
    const size_t bytes = sizeof(float) * LANES * VOCAB;
    lh_error error = {0};
    char folder[64], path[96];
    int32_t tokens[LANES * 21];
    float logits[LANES * VOCAB], other[LANES * VOCAB];
    double nll[LANES];
    lh_session *copy;
    assert_int_equal(scratch_make(folder), 0);
    (void)snprintf(path, sizeof path, "%s/s", folder);
    lh_model *model = model_of(arguments);
    lh_session *s = session_of(model, LANES);
    text(tokens, LANES, 21, 8);
    assert_null(lh_session_logits(s));
    tiny_check(lh_session_feed(s, tokens, 20, NULL, &error), &error);
    assert_null(lh_session_logits(s));
    tiny_check(lh_session_feed(s, tokens, 1, logits, &error), &error);
    assert_memory_equal(lh_session_logits(s), logits, bytes);
    tiny_check(lh_session_mark(s, &error), &error);
    tiny_check(lh_session_fork(&copy, s, &error), &error);
    tiny_check(lh_session_save(s, path, &error), &error);
    tiny_check(lh_session_read(s, tokens + 1, 1, &error), &error);
    tiny_check(lh_session_feed(copy, tokens + 1, 1, other, &error), &error);
    assert_memory_equal(lh_session_logits(s), other, bytes);
    assert_memory_not_equal(other, logits, bytes);
    tiny_check(lh_session_score(s, tokens, tokens, 1, nll, &error), &error);
    assert_null(lh_session_logits(s));
    tiny_check(lh_session_rewind(s, &error), &error);
    assert_memory_equal(lh_session_logits(s), logits, bytes);
    tiny_check(lh_session_restore(copy, path, &error), &error);
    assert_memory_equal(lh_session_logits(copy), logits, bytes);
    tiny_check(lh_session_reset(copy, -1, &error), &error);
    assert_null(lh_session_logits(copy));
    tiny_check(lh_session_save(copy, path, &error), &error);
    tiny_check(lh_session_restore(s, path, &error), &error);
    assert_null(lh_session_logits(s));
    lh_session_free(copy);
    lh_session_free(s);
    lh_model_free(model);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_equals_training), cmocka_unit_test(scores_do_not_depend_on_calls),
        cmocka_unit_test(likeliest_tokens),         cmocka_unit_test(save_fork_rewind),
        cmocka_unit_test(lanes_reset_alone),        cmocka_unit_test(hostile_files),
        cmocka_unit_test(state_does_not_grow),      cmocka_unit_test(groups_of_steps),
        cmocka_unit_test(impossible_steps),         cmocka_unit_test(overlap_of_a_model_without_memory),
        cmocka_unit_test(logits_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
