/* The public interface: sessions and generators. */
#include "support/api.h"

#include <pthread.h>

/* ---- sessions ---- */

static double nats_from(const float *logits, int32_t target)
{
    double top = -INFINITY, sum = 0.0;
    for (int i = 0; i < VOCAB; i++) {
        top = fmax(top, (double)logits[i]);
    }
    for (int i = 0; i < VOCAB; i++) {
        sum += exp((double)logits[i] - top);
    }
    return log(sum) + top - (double)logits[target];
}

/* Feeding gives the logits that scoring scores by; lanes do not mix; a text may be cut anyhow. */
static void feeding_and_scoring(void **state)
{
    (void)state;
    enum { COUNT = 50 };
    int32_t two[2 * COUNT], targets[2 * COUNT];
    float logits[2 * VOCAB], alone[VOCAB];
    double nats[2 * COUNT], pieces[COUNT];
    longhand_session *scoring = lone_session(2), *feeding = lone_session(2), *lane = lone_session(1);
    ids_of_book(two, 0, COUNT);
    ids_of_book(two + COUNT, 1000, COUNT);
    ids_of_book(targets, 1, COUNT);
    ids_of_book(targets + COUNT, 1001, COUNT);
    targets[7] = -1;
    OK(longhand_session_score(scoring, two, targets, COUNT, nats, &error));
    assert_true(nats[7] == 0.0);
    for (int64_t i = 0; i < COUNT; i++) {
        const int32_t column[] = {two[i], two[COUNT + i]};
        OK(longhand_session_feed(feeding, column, 1, logits, &error));
        OK(longhand_session_feed(lane, column + 1, 1, alone, &error));
        assert_true(i == 7 || fabs(nats[i] - nats_from(logits, targets[i])) < 1e-4);
        assert_true(fabs(nats[COUNT + i] - nats_from(logits + VOCAB, targets[COUNT + i])) < 1e-4);
        assert_true(fabs(nats[COUNT + i] - nats_from(alone, targets[COUNT + i])) < 1e-4);
    }
    assert_int_equal(longhand_session_position(scoring), COUNT);
    assert_int_equal(longhand_session_position(feeding), COUNT);
    assert_int_equal(longhand_session_lanes(feeding), 2);
    OK(longhand_session_reset(lane, -1, &error));
    assert_int_equal(longhand_session_position(lane), 0);
    OK(longhand_session_score(lane, two + COUNT, targets + COUNT, 13, pieces, &error));
    OK(longhand_session_score(lane, two + COUNT + 13, targets + COUNT + 13, COUNT - 13, pieces + 13, &error));
    for (int i = 0; i < COUNT; i++) {
        assert_true(fabs(pieces[i] - nats[COUNT + i]) < 1e-5);
    }
    longhand_session_free(scoring);
    longhand_session_free(feeding);
    longhand_session_free(lane);
}

/* Copies, marks and files go on as the session itself does, bit for bit. */
static void the_same_future(void **state)
{
    (void)state;
    enum { BEFORE = 83, AFTER = 30 };
    const size_t bytes = sizeof(float) * 2 * VOCAB;
    int32_t past[2 * BEFORE], future[2 * AFTER];
    float expected[2 * VOCAB], logits[2 * VOCAB];
    longhand_session *copy, *session = lone_session(2), *fresh = lone_session(2);
    ids_of_book(past, 0, 2 * BEFORE);
    ids_of_book(future, 3000, 2 * AFTER);
    OK(longhand_session_feed(session, past, BEFORE, NULL, &error));
    OK(longhand_session_save(session, in_folder("s"), &error));
    OK(longhand_session_mark(session, &error));
    OK(longhand_session_fork(&copy, session, &error));
    OK(longhand_session_feed(session, future, AFTER, expected, &error));

    OK(longhand_session_feed(copy, future, AFTER, logits, &error));
    assert_memory_equal(logits, expected, bytes);
    for (int i = 0; i < 2; i++) {
        OK(longhand_session_rewind(session, &error));
        assert_int_equal(longhand_session_position(session), BEFORE);
        OK(longhand_session_feed(session, future, AFTER, logits, &error));
        assert_memory_equal(logits, expected, bytes);
    }
    OK(longhand_session_feed(fresh, future, 3, NULL, &error)); /* whatever it did before is forgotten */
    OK(longhand_session_restore(fresh, in_folder("s"), &error));
    assert_int_equal(longhand_session_position(fresh), BEFORE);
    OK(longhand_session_feed(fresh, future, AFTER, logits, &error));
    assert_memory_equal(logits, expected, bytes);
    OK(longhand_session_reset(fresh, -1, &error));
    OK(longhand_session_feed(fresh, future, AFTER, logits, &error));
    assert_memory_not_equal(logits, expected, bytes);
    longhand_session_free(copy);
    longhand_session_free(session);
    longhand_session_free(fresh);
}

static void calls_that_make_no_sense(void **state)
{
    (void)state;
    int32_t tokens[20] = {0};
    double nats[20];
    float before[VOCAB], logits[VOCAB];
    size_t size;
    longhand_model *model = open_model();
    longhand_session *s = (longhand_session *)folder, *two;
    REFUSED(LH_E_ARGUMENT, "0 lanes", longhand_session_create(&s, model, 0, 1, &error));
    assert_null(s);
    REFUSED(LH_E_ARGUMENT, "lanes", longhand_session_create(&s, model, INT64_MAX, 1, &error));
    REFUSED(LH_E_ARGUMENT, "-2 threads", longhand_session_create(&s, model, 1, -2, &error));
    REFUSED(LH_E_ARGUMENT, "without model", longhand_session_create(&s, NULL, 1, 1, &error));
    REFUSED(LH_E_ARGUMENT, "without session", longhand_session_create(NULL, model, 1, 1, &error));
    s = session_of(model, 1);
    two = session_of(model, 2);
    OK(longhand_session_feed(s, tokens, 3, before, &error));

    tokens[19] = VOCAB; /* the last one, segments behind the first */
    REFUSED(LH_E_ARGUMENT, "token 256 at 19 of lane 0", longhand_session_feed(s, tokens, 20, logits, &error));
    REFUSED(LH_E_ARGUMENT, "token 256 at 9 of lane 1", longhand_session_feed(two, tokens, 10, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "target 256", longhand_session_score(s, tokens, tokens + 1, 19, nats, &error));
    tokens[19] = -1;
    REFUSED(LH_E_ARGUMENT, "token -1", longhand_session_score(s, tokens, tokens, 20, nats, &error));
    REFUSED(LH_E_ARGUMENT, "0 tokens", longhand_session_feed(s, tokens, 0, logits, &error));
    REFUSED(LH_E_ARGUMENT, "-5 tokens", longhand_session_score(s, tokens, tokens, -5, nats, &error));
    REFUSED(LH_E_ARGUMENT, "tokens", longhand_session_feed(s, tokens, INT64_MAX, logits, &error));
    REFUSED(LH_E_ARGUMENT, "without tokens", longhand_session_feed(s, NULL, 1, logits, &error));
    REFUSED(LH_E_ARGUMENT, "without targets", longhand_session_score(s, tokens, NULL, 1, nats, &error));
    REFUSED(LH_E_ARGUMENT, "without nats", longhand_session_score(s, tokens, tokens, 1, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "lane 1 of 1", longhand_session_reset(s, 1, &error));
    REFUSED(LH_E_ARGUMENT, "lane -2", longhand_session_reset(s, -2, &error));
    REFUSED(LH_E_ARGUMENT, "marked", longhand_session_rewind(s, &error));
    REFUSED(LH_E_ARGUMENT, "-1", longhand_session_set_overlap(s, -1, &error));
    OK(longhand_session_set_overlap(s, 1000, &error));

    OK(longhand_session_save(s, in_folder("one"), &error));
    REFUSED(LH_E_FORMAT, "1 documents", longhand_session_restore(two, in_folder("one"), &error));
    REFUSED(LH_E_IO, "nowhere", longhand_session_restore(s, in_folder("nowhere"), &error));
    REFUSED(LH_E_FORMAT, "book.txt", longhand_session_restore(s, in_folder("book.txt"), &error));
    REFUSED(LH_E_IO, "no/such", longhand_session_save(s, in_folder("no/such/place"), &error));
    char *bytes = scratch_read(in_folder("one"), &size);
    bytes[size - 9] ^= 1;
    assert_int_equal(scratch_write(in_folder("bad"), bytes, size), 0);
    free(bytes);
    REFUSED(LH_E_FORMAT, "bad", longhand_session_restore(s, in_folder("bad"), &error));

    /* Nothing of all this was read. */
    assert_int_equal(longhand_session_position(s), 3);
    assert_int_equal(longhand_session_position(two), 0);
    tokens[19] = 0;
    OK(longhand_session_feed(s, tokens, 1, logits, &error));
    OK(longhand_session_restore(s, in_folder("one"), &error));
    OK(longhand_session_feed(s, tokens, 1, before, &error));
    assert_memory_equal(logits, before, sizeof logits);

    REFUSED(LH_E_ARGUMENT, "without session", longhand_session_feed(NULL, tokens, 1, logits, &error));
    REFUSED(LH_E_ARGUMENT, "without session", longhand_session_score(NULL, tokens, tokens, 1, nats, &error));
    REFUSED(LH_E_ARGUMENT, "without session", longhand_session_reset(NULL, -1, &error));
    longhand_session_free(two);
    REFUSED(LH_E_ARGUMENT, "without session", longhand_session_fork(&two, NULL, &error));
    assert_null(two);
    REFUSED(LH_E_ARGUMENT, "without copy", longhand_session_fork(NULL, s, &error));
    REFUSED(LH_E_ARGUMENT, "without session", longhand_session_mark(NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without session", longhand_session_rewind(NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without session", longhand_session_save(NULL, folder, &error));
    REFUSED(LH_E_ARGUMENT, "without path", longhand_session_save(s, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without session", longhand_session_restore(NULL, folder, &error));
    REFUSED(LH_E_ARGUMENT, "without path", longhand_session_restore(s, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without session", longhand_session_set_overlap(NULL, 1, &error));
    assert_int_equal(longhand_session_lanes(NULL), -1);
    assert_int_equal(longhand_session_position(NULL), -1);
    assert_int_equal(longhand_session_state_bytes(NULL), -1);
    longhand_session_free(s);
    longhand_session_free(NULL);
    longhand_model_free(model);
}

/* Sessions of one model may be used by different threads at once. The last one to end releases the model. */
enum { READ = 390, STEP = 13 };

typedef struct reader {
    longhand_session *session;
    int32_t tokens[READ + 1];
    double nats[READ];
    bool good;
} reader;

static void *read_alone(void *user)
{
    reader *r = user;
    lh_error error = {LH_OK, ""};
    r->good = true;
    for (int at = 0; at < READ && r->good; at += STEP) {
        r->good = longhand_session_score(r->session, r->tokens + at, r->tokens + at + 1, STEP, r->nats + at,
                                         &error) == LH_OK;
    }
    longhand_session_free(r->session);
    return NULL;
}

static void threads_share_a_model(void **state)
{
    (void)state;
    pthread_t threads[2];
    reader *alone = calloc(2, sizeof *alone), *together = calloc(2, sizeof *together);
    longhand_model *model = open_model();
    for (size_t i = 0; i < 2; i++) {
        ids_of_book(alone[i].tokens, 1500 * i, READ + 1);
        memcpy(together[i].tokens, alone[i].tokens, sizeof alone[i].tokens);
        OK(longhand_session_create(&alone[i].session, model, 1, 2, &error));
        OK(longhand_session_create(&together[i].session, model, 1, 2, &error));
        (void)read_alone(&alone[i]);
        assert_true(alone[i].good);
    }
    longhand_model_free(model);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_alone, &together[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(together[i].good);
        assert_memory_equal(together[i].nats, alone[i].nats, sizeof alone[i].nats);
    }
    free(alone);
    free(together);
}

/* ---- generation ---- */

typedef struct written {
    char text[512];
    size_t size;
    int32_t tokens[128];
    int count, patience; /* patience: how many pieces are taken; 0: all */
} written;

static bool take(void *user, const longhand_piece *piece)
{
    written *w = user;
    assert_int_equal(piece->size, sizeof *piece);
    assert_int_equal(piece->text[piece->text_size], '\0');
    memcpy(w->text + w->size, piece->text, piece->text_size);
    w->size += piece->text_size;
    if (piece->token >= 0) {
        w->tokens[w->count++] = piece->token;
    }
    return w->count == w->patience;
}

static longhand_generator *generator_of(longhand_session *session, uint64_t seed, const char *stop)
{
    longhand_generator *generator;
    longhand_generator_options options;
    longhand_generator_defaults(&options, sizeof options);
    options.seed = seed;
    options.repetition_penalty = 1.1;
    options.stops = &stop;
    options.stop_count = stop ? 1 : 0;
    OK(longhand_generator_create(&generator, session, &options, &error));
    return generator;
}

/* Pushed, pulled, interrupted by the caller, or saved and restored: the text is the same. */
static void writing(void **state)
{
    (void)state;
    enum { TOKENS = 60, CUT = 25, PROMPT = 100 };
    written whole = {0}, parts = {.patience = CUT}, restored = {0};
    bool ended = true;
    longhand_session *session = lone_session(1), *other = lone_session(1);
    longhand_generator *g = generator_of(session, 7, NULL), *h = generator_of(other, 7, NULL);
    longhand_session_free(session); /* the generator keeps it */
    OK(longhand_generator_read(g, book, PROMPT, &error));
    OK(longhand_generator_write(g, TOKENS, take, &whole, &ended, &error));
    assert_false(ended);
    assert_int_equal(whole.count, TOKENS);
    assert_int_equal(whole.size, TOKENS);
    assert_int_equal(longhand_generator_tokens_read(g), PROMPT);
    assert_int_equal(longhand_generator_tokens_written(g), TOKENS);

    OK(longhand_generator_read(h, book, 33, &error));
    OK(longhand_generator_read(h, book + 33, PROMPT - 33, &error));
    OK(longhand_generator_write(h, TOKENS, take, &parts, NULL, &error));
    assert_int_equal(parts.count, CUT);
    assert_int_equal(longhand_session_position(other), PROMPT + CUT);
    OK(longhand_generator_save(h, in_folder("g"), &error));
    parts.patience = 0;
    OK(longhand_generator_write(h, 10, take, &parts, NULL, &error));
    OK(longhand_generator_write(h, 0, take, &parts, NULL, &error));
    longhand_piece piece = {.size = sizeof piece};
    for (int i = CUT + 10; i < TOKENS; i++) {
        OK(longhand_generator_next(h, &piece, &error));
        (void)take(&parts, &piece);
    }
    OK(longhand_generator_finish(h, &piece, &error));
    assert_int_equal(piece.token, -1);
    (void)take(&parts, &piece);
    OK(longhand_generator_finish(h, NULL, &error)); /* as often as wanted */
    assert_memory_equal(parts.tokens, whole.tokens, sizeof(int32_t) * TOKENS);
    assert_memory_equal(parts.text, whole.text, TOKENS);

    OK(longhand_generator_restore(h, in_folder("g"), false, &error));
    OK(longhand_generator_write(h, TOKENS - CUT, take, &restored, NULL, &error));
    assert_memory_equal(restored.tokens, whole.tokens + CUT, sizeof(int32_t) * (TOKENS - CUT));
    longhand_generator_free(g);
    g = generator_of(other, 8, NULL);
    restored = (written){0};
    OK(longhand_generator_restore(g, in_folder("g"), true, &error));
    OK(longhand_generator_write(g, TOKENS - CUT, take, &restored, NULL, &error));
    assert_memory_not_equal(restored.tokens, whole.tokens + CUT, sizeof(int32_t) * (TOKENS - CUT));
    longhand_generator_free(g);
    longhand_generator_free(h);
    longhand_session_free(other);
}

/* What a session read by itself is a prompt, and after writing it goes on by itself. */
static void sessions_and_generators_take_turns(void **state)
{
    (void)state;
    enum { PROMPT = 50, TOKENS = 20 };
    int32_t ids[PROMPT], end = 'q';
    float logits[VOCAB], expected[VOCAB];
    double nats;
    written by_session = {0}, by_prompt = {0};
    longhand_generator_options greedy;
    longhand_session *s = lone_session(1), *t = lone_session(1);
    longhand_generator *g, *h;
    longhand_generator_defaults(&greedy, sizeof greedy);
    greedy.temperature = 0.0;
    OK(longhand_generator_create(&g, s, &greedy, &error));
    OK(longhand_generator_create(&h, t, &greedy, &error));
    ids_of_book(ids, 0, PROMPT);
    OK(longhand_session_feed(s, ids, PROMPT, NULL, &error));
    OK(longhand_generator_write(g, TOKENS, take, &by_session, NULL, &error));
    OK(longhand_generator_read(h, book, PROMPT, &error));
    OK(longhand_generator_write(h, TOKENS, take, &by_prompt, NULL, &error));
    assert_memory_equal(by_session.tokens, by_prompt.tokens, sizeof(int32_t) * TOKENS);
    assert_int_equal(longhand_session_position(s), PROMPT + TOKENS);
    OK(longhand_session_feed(s, &end, 1, logits, &error));
    OK(longhand_session_feed(t, &end, 1, expected, &error));
    assert_memory_equal(logits, expected, sizeof logits);

    longhand_piece piece = {.size = sizeof piece};
    OK(longhand_session_score(s, ids, ids + 1, 1, &nats, &error));
    REFUSED(LH_E_ARGUMENT, "what comes next", longhand_generator_next(g, &piece, &error));
    OK(longhand_session_feed(s, ids, 1, NULL, &error)); /* that failure did not take the session */
    OK(longhand_generator_next(g, &piece, &error));
    longhand_generator_free(g);
    longhand_generator_free(h);
    longhand_session_free(s);
    longhand_session_free(t);
}

static void generators_have_their_session_for_themselves(void **state)
{
    (void)state;
    int32_t token = 'a';
    double nats;
    longhand_session *s = lone_session(1), *two = lone_session(2), *copy;
    longhand_generator *g = generator_of(s, 1, NULL), *h = generator_of(s, 2, NULL), *none = g;
    longhand_piece piece = {.size = sizeof piece};
    OK(longhand_generator_read(g, "a", 1, &error));
    REFUSED(LH_E_ARGUMENT, "generator", longhand_session_feed(s, &token, 1, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "generator", longhand_session_score(s, &token, &token, 1, &nats, &error));
    REFUSED(LH_E_ARGUMENT, "generator", longhand_session_reset(s, -1, &error));
    REFUSED(LH_E_ARGUMENT, "generator", longhand_session_mark(s, &error));
    REFUSED(LH_E_ARGUMENT, "generator", longhand_session_rewind(s, &error));
    REFUSED(LH_E_ARGUMENT, "generator", longhand_session_fork(&copy, s, &error));
    REFUSED(LH_E_ARGUMENT, "generator", longhand_session_save(s, in_folder("s"), &error));
    REFUSED(LH_E_ARGUMENT, "generator", longhand_session_restore(s, in_folder("s"), &error));
    REFUSED(LH_E_ARGUMENT, "another generator", longhand_generator_read(h, "a", 1, &error));
    REFUSED(LH_E_ARGUMENT, "another generator", longhand_generator_next(h, &piece, &error));
    REFUSED(LH_E_ARGUMENT, "another generator", longhand_generator_finish(h, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "another generator", longhand_generator_write(h, 1, take, NULL, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "another generator", longhand_generator_save(h, in_folder("g"), &error));
    REFUSED(LH_E_ARGUMENT, "another generator", longhand_generator_restore(h, in_folder("g"), true, &error));
    OK(longhand_generator_next(g, &piece, &error));
    REFUSED(LH_E_ARGUMENT, "generator", longhand_session_feed(s, &token, 1, NULL, &error));
    OK(longhand_generator_finish(g, NULL, &error));
    OK(longhand_session_feed(s, &token, 1, NULL, &error));
    OK(longhand_generator_next(h, &piece, &error));
    REFUSED(LH_E_ARGUMENT, "generator", longhand_session_feed(s, &token, 1, NULL, &error));
    longhand_generator_free(h); /* without an end: what it drew last was not read */
    OK(longhand_session_feed(s, &token, 1, NULL, &error));

    REFUSED(LH_E_ARGUMENT, "one document", longhand_generator_create(&none, two, NULL, &error));
    assert_null(none);
    longhand_generator_options wrong;
    longhand_generator_defaults(&wrong, sizeof wrong);
    wrong.top_p = 0.0;
    REFUSED(LH_E_ARGUMENT, "top-p", longhand_generator_create(&none, s, &wrong, &error));
    wrong.top_p = 1.0;
    wrong.stop_count = 1;
    REFUSED(LH_E_ARGUMENT, "stop text 0 of 1", longhand_generator_create(&none, s, &wrong, &error));
    REFUSED(LH_E_ARGUMENT, "-3 tokens", longhand_generator_write(g, -3, take, NULL, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without text", longhand_generator_read(g, NULL, 1, &error));
    OK(longhand_generator_read(g, NULL, 0, &error));
    REFUSED(LH_E_ARGUMENT, "without piece", longhand_generator_next(g, NULL, &error));
    piece.size = 0;
    REFUSED(LH_E_ARGUMENT, "longhand_piece", longhand_generator_next(g, &piece, &error));
    REFUSED(LH_E_ARGUMENT, "without generator", longhand_generator_next(NULL, &piece, &error));
    REFUSED(LH_E_ARGUMENT, "without generator", longhand_generator_read(NULL, "", 0, &error));
    REFUSED(LH_E_ARGUMENT, "without generator", longhand_generator_finish(NULL, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without generator", longhand_generator_write(NULL, 1, take, NULL, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without generator", longhand_generator_save(NULL, folder, &error));
    REFUSED(LH_E_ARGUMENT, "without generator", longhand_generator_restore(NULL, folder, true, &error));
    REFUSED(LH_E_ARGUMENT, "without session", longhand_generator_create(&none, NULL, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without generator", longhand_generator_create(NULL, s, NULL, &error));
    assert_int_equal(longhand_generator_tokens_read(NULL), -1);
    assert_int_equal(longhand_generator_tokens_written(NULL), -1);
    longhand_generator_free(g);
    longhand_generator_free(NULL);
    longhand_session_free(s);
    longhand_session_free(two);
}

/* Writing ends before a stop text; what may become one is held back, and given at the end. */
static void stop_texts(void **state)
{
    (void)state;
    enum { TOKENS = 40 };
    written whole = {0}, stopped = {0};
    bool ended;
    char stop[3] = "";
    longhand_session *s = lone_session(1);
    longhand_generator *g = generator_of(s, 5, NULL);
    OK(longhand_generator_read(g, book, 40, &error));
    OK(longhand_generator_write(g, TOKENS, take, &whole, NULL, &error));
    longhand_generator_free(g);
    memcpy(stop, whole.text + 10, 2);
    size_t expected = (size_t)(strstr(whole.text, stop) - whole.text);
    OK(longhand_session_reset(s, -1, &error));
    g = generator_of(s, 5, stop);
    OK(longhand_generator_read(g, book, 40, &error));
    OK(longhand_generator_write(g, TOKENS, take, &stopped, &ended, &error));
    assert_true(ended);
    assert_int_equal(stopped.size, expected);
    assert_memory_equal(stopped.text, whole.text, expected);
    longhand_generator_free(g);

    /* Cut between the two bytes of the stop text, the first one comes at the end. */
    OK(longhand_session_reset(s, -1, &error));
    g = generator_of(s, 5, stop);
    stopped = (written){0};
    OK(longhand_generator_read(g, book, 40, &error));
    OK(longhand_generator_write(g, (int64_t)expected + 1, take, &stopped, &ended, &error));
    assert_false(ended);
    assert_int_equal(stopped.size, expected + 1);
    assert_memory_equal(stopped.text, whole.text, expected + 1);
    longhand_generator_free(g);
    longhand_session_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(feeding_and_scoring),
        TEST(the_same_future),
        TEST(calls_that_make_no_sense),
        TEST(threads_share_a_model),
        TEST(writing),
        TEST(sessions_and_generators_take_turns),
        TEST(generators_have_their_session_for_themselves),
        TEST(stop_texts),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
