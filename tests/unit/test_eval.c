/* Evaluation: protocols against models without context and against brute force, totals, lanes, interruption. */
#include "eval/result.h"
#include "infer/session.h"
#include "support/byte_model.h"
#include "text/train.h"

enum { BOOKS = 5 };
static const size_t book_bytes[BOOKS] = {300, 1, 77, 530, 16};
enum { TOTAL = 300 + 1 + 77 + 530 + 16 };

static char folder[64], books[96], one[96];
static char texts[BOOKS][600];

static int make_books(void **state)
{
    (void)state;
    if (scratch_make(folder) != 0) {
        return -1;
    }
    (void)snprintf(books, sizeof books, "%s/books", folder);
    (void)snprintf(one, sizeof one, "%s/one.txt", folder);
    (void)mkdir(books, 0700);
    for (int i = 0; i < BOOKS; i++) {
        char path[128];
        byte_text(texts[i], book_bytes[i], (uint64_t)i + 1);
        (void)snprintf(path, sizeof path, "%s/%d.txt", books, i);
        if (scratch_write(path, texts[i], book_bytes[i]) != 0) {
            return -1;
        }
    }
    return scratch_write(one, texts[0], 200);
}

static int remove_books(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static lh_eval_corpus *corpus_of(const byte_model *m, const char *path, uint64_t limit, uint64_t length)
{
    lh_error error = {0};
    lh_eval_corpus *corpus = NULL;
    lh_eval_corpus_options options = {.path = path, .limit_tokens = limit, .document_tokens = length};
    tiny_check(lh_eval_corpus_open(&corpus, m->tokenizer, &options, &error), &error);
    return corpus;
}

static lh_eval_options options_of(lh_protocol_kind kind, int64_t window, int64_t stride, int64_t lanes,
                                  lh_first_token first)
{
    lh_error error = {0};
    lh_eval_options o = {.protocol = {.kind = kind, .window = window, .stride = stride},
                         .lanes = lanes,
                         .threads = 1,
                         .first = first,
                         .start_token = '\n'};
    tiny_check(lh_protocol_complete(&o.protocol, &error), &error);
    return o;
}

static lh_evaluation evaluate(const byte_model *m, const lh_eval_corpus *corpus, const lh_eval_options *options)
{
    lh_error error = {0};
    lh_evaluation e;
    tiny_check(lh_evaluate(&e, m->model, m->tokenizer, corpus, options, &error), &error);
    assert_int_equal(e.scored + e.skipped, e.total);
    assert_int_equal(e.total, corpus->split->tokens);
    return e;
}

/* 4. A uniform model: L = 8 ln 2 N, 8 bits per byte, perplexity 256 and 2^(8 bytes/words). */
static void uniform_model(void **state)
{
    (void)state;
    byte_model m = unigram_model(NULL);
    lh_eval_corpus *corpus = corpus_of(&m, books, 0, 0);
    assert_int_equal(corpus->totals.bytes, TOTAL);
    assert_true(corpus->lossless && corpus->lossless_text && !corpus->cut);
    lh_eval_options o = options_of(LH_PROTOCOL_STREAM, 0, 0, 1, LH_FIRST_CHARGED);
    lh_evaluation e = evaluate(&m, corpus, &o);
    lh_eval_figures f = lh_eval_figures_of(&e, corpus, &o.protocol, false);
    assert_true(f.complete && !f.official_words);
    assert_true(fabs(e.tally->all.nats - 8.0 * log(2.0) * TOTAL) < 1e-9 * TOTAL);
    assert_true(fabs(f.bits_per_byte - 8.0) < 1e-12);
    assert_true(fabs(f.bits_per_character - 8.0) < 1e-12);
    assert_true(fabs(f.token_perplexity - 256.0) < 1e-9);
    double per_word = (double)corpus->totals.bytes / (double)corpus->totals.words;
    assert_true(fabs(log2(f.word_perplexity) - 8.0 * per_word) < 1e-9);
    /* 6. bits per byte and word perplexity say the same */
    assert_true(fabs(f.bits_per_byte * per_word * log(2.0) - log(f.word_perplexity)) < 1e-9);
    lh_evaluation_free(&e);
    lh_eval_corpus_free(corpus);
    byte_model_free(&m);
}

/* What the books cost a model without context; with `all_firsts` charged, first tokens cost ln 256. */
static double unigram_total(const double *nats, bool document_firsts_charged)
{
    double total = 0.0;
    for (int i = 0; i < BOOKS; i++) {
        for (size_t j = 0; j < book_bytes[i]; j++) {
            bool charged = document_firsts_charged && j == 0;
            total += charged ? log(256.0) : nats[(unsigned char)texts[i][j]];
        }
    }
    return total;
}

/* 5. Without context, every protocol that scores each token once gives the same. */
static void protocols_agree_without_context(void **state)
{
    (void)state;
    double nats[256];
    unigram_costs(nats);
    byte_model m = unigram_model(nats);
    lh_eval_corpus *corpus = corpus_of(&m, books, 0, 0);
    const lh_eval_options runs[] = {
        options_of(LH_PROTOCOL_STREAM, 0, 0, 1, LH_FIRST_STARTED),
        options_of(LH_PROTOCOL_STREAM, 0, 0, 4, LH_FIRST_STARTED), /* 4 divides the number of bytes */
        options_of(LH_PROTOCOL_BOOK, 0, 0, 1, LH_FIRST_STARTED),
        options_of(LH_PROTOCOL_BOOK, 0, 0, 3, LH_FIRST_STARTED),
        options_of(LH_PROTOCOL_PACK, 50, 0, 2, LH_FIRST_STARTED),
        options_of(LH_PROTOCOL_SLIDE, 64, 16, 3, LH_FIRST_STARTED),
        options_of(LH_PROTOCOL_SLIDE, 7, 7, 1, LH_FIRST_STARTED),
        options_of(LH_PROTOCOL_SLIDE, 40, 1, 4, LH_FIRST_STARTED),
        options_of(LH_PROTOCOL_CHUNKMEAN, 64, 20, 3, LH_FIRST_STARTED),
    };
    double expected = unigram_total(nats, false), words = 0.0;
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        lh_evaluation e = evaluate(&m, corpus, &runs[i]);
        lh_eval_figures f = lh_eval_figures_of(&e, corpus, &runs[i].protocol, false);
        assert_int_equal(e.skipped, 0);
        assert_int_equal(e.tally->all.tokens, TOTAL);
        assert_true(f.complete);
        if (fabs(e.tally->all.nats - expected) > 1e-9 * expected) {
            fail_msg("run %zu: %.12g nats, not %.12g", i, e.tally->all.nats, expected);
        }
        words = i == 0 ? f.word_perplexity : words;
        assert_true(fabs(f.word_perplexity - words) < 1e-9 * words);
        double documents = 0.0, bins = 0.0;
        for (int b = 0; b < BOOKS; b++) {
            assert_int_equal(e.tally->documents[b].tokens, book_bytes[b]);
            documents += e.tally->documents[b].nats;
        }
        for (int64_t b = 0; b < e.tally->bin_count; b++) {
            bins += e.tally->bins[b].nats;
        }
        assert_true(fabs(documents - expected) < 1e-9 * expected && fabs(bins - expected) < 1e-9 * expected);
        lh_evaluation_free(&e);
    }
    /* What is charged or skipped differs by exactly that. */
    lh_eval_options o = options_of(LH_PROTOCOL_BOOK, 0, 0, 2, LH_FIRST_CHARGED);
    lh_evaluation e = evaluate(&m, corpus, &o);
    assert_int_equal(e.tally->charged.tokens, BOOKS);
    assert_true(fabs(e.tally->all.nats - unigram_total(nats, true)) < 1e-9 * expected);
    lh_evaluation_free(&e);
    o = options_of(LH_PROTOCOL_BOOK, 0, 0, 2, LH_FIRST_SKIPPED);
    e = evaluate(&m, corpus, &o);
    assert_int_equal(e.skipped, BOOKS);
    assert_true(fabs(e.tally->all.nats - unigram_total(nats, true) + BOOKS * log(256.0)) < 1e-9 * expected);
    assert_true(isnan(lh_eval_figures_of(&e, corpus, &o.protocol, false).word_perplexity));
    assert_false(isnan(lh_eval_figures_of(&e, corpus, &o.protocol, true).word_perplexity));
    lh_evaluation_free(&e);
    /* Lanes that do not divide the text lose its tail and nothing else. */
    o = options_of(LH_PROTOCOL_STREAM, 0, 0, 5, LH_FIRST_STARTED);
    e = evaluate(&m, corpus, &o);
    double lost = 0.0;
    for (size_t i = 0; i < TOTAL % 5; i++) {
        lost += nats[(unsigned char)texts[BOOKS - 1][book_bytes[BOOKS - 1] - 1 - i]];
    }
    assert_int_equal(e.skipped, TOTAL % 5);
    assert_true(TOTAL % 5 > 0);
    assert_true(fabs(e.tally->all.nats + lost - expected) < 1e-9 * expected);
    lh_evaluation_free(&e);
    lh_eval_corpus_free(corpus);
    byte_model_free(&m);
}

/* Nats of tokens[at] read from nothing behind tokens[from..at-1], one token at a time. */
static double brute_force(const byte_model *m, const char *text, size_t from, size_t at)
{
    lh_error error = {0};
    lh_session *s;
    double nll = 0.0;
    tiny_check(lh_session_create(&s, m->model, 1, 1, &error), &error);
    for (size_t i = from; i < at; i++) {
        int32_t token = (unsigned char)text[i], target = (unsigned char)text[i + 1];
        tiny_check(lh_session_score(s, &token, &target, 1, &nll, &error), &error);
    }
    lh_session_free(s);
    return nll;
}

static const char *const memory_model[] = {
    "model.layers=2",  "model.width=16",           "model.heads=2",     "model.hidden=24",
    "model.segment=8", "model.positions=relative", "model.init=sonnet", "memory.kind=compressive",
    "memory.length=8", "memory.compressed=4",      "memory.rate=2",     NULL};

/* What a memory kind wants said stands beside the perplexities, and in the JSON. */
static void notes_stand_beside_perplexities(void **state)
{
    (void)state;
    static const char *const modes[] = {"memory.routing=causal", "memory.routing=full"};
    for (int mode = 0; mode < 2; mode++) {
        const char *arguments[] = {"model.layers=1",
                                   "model.width=8",
                                   "model.heads=2",
                                   "model.segment=64",
                                   "model.hidden=8",
                                   "model.positions=none",
                                   "memory.kind=routing",
                                   "memory.clusters=2",
                                   "memory.block=8",
                                   "memory.look_back=8",
                                   "memory.distance=3",
                                   modes[mode],
                                   NULL};
        lh_error error = {0};
        byte_model m = byte_model_create(arguments, LH_F32);
        lh_eval_corpus *corpus = corpus_of(&m, one, 0, 0);
        lh_eval_options o = options_of(LH_PROTOCOL_STREAM, 0, 0, 1, LH_FIRST_CHARGED);
        lh_evaluation e = evaluate(&m, corpus, &o);
        lh_eval_heading heading = {.model = "a model",
                                   .step = -1,
                                   .description = m.model,
                                   .tokenizer = m.tokenizer,
                                   .options = &o,
                                   .corpus = corpus};
        lh_string text = {0}, json = {0};
        lh_eval_print_text(&text, &e, &heading);
        tiny_check(lh_eval_print_json(&json, &e, &heading, &error), &error);
        const char *note = mode ? "(routing full" : "(routing causal";
        assert_non_null(strstr(strstr(text.data, "token perplexity"), note));
        assert_non_null(strstr(strstr(text.data, "word perplexity"), note));
        assert_non_null(strstr(json.data, mode ? "\"note\": \"routing full" : "\"note\": \"routing causal"));
        lh_string_free(&text);
        lh_string_free(&json);
        lh_evaluation_free(&e);
        lh_eval_corpus_free(corpus);
        byte_model_free(&m);
    }
}

/* 8. A stride of 1 is what brute force gives; a stride of W is disjoint windows. */
static void slide_against_brute_force(void **state)
{
    (void)state;
    enum { N = 200, W = 30 };
    byte_model m = byte_model_create(memory_model, LH_F64);
    lh_eval_corpus *corpus = corpus_of(&m, one, 0, 0);
    double every = log(256.0), disjoint = 0.0;
    for (size_t at = 1; at < N; at++) {
        every += brute_force(&m, texts[0], at + 1 > W ? at + 1 - W : 0, at);
    }
    for (size_t at = 0; at < N; at++) {
        disjoint += at % W == 0 ? log(256.0) : brute_force(&m, texts[0], at - at % W, at);
    }
    for (int64_t lanes = 1; lanes <= 5; lanes += 4) {
        lh_eval_options o = options_of(LH_PROTOCOL_SLIDE, W, 1, lanes, LH_FIRST_CHARGED);
        lh_evaluation e = evaluate(&m, corpus, &o);
        assert_int_equal(e.tally->all.tokens, N);
        assert_true(fabs(e.tally->all.nats - every) < 1e-9 * every);
        lh_evaluation_free(&e);
        o = options_of(LH_PROTOCOL_SLIDE, W, W, lanes, LH_FIRST_CHARGED);
        e = evaluate(&m, corpus, &o);
        assert_int_equal(e.tally->charged.tokens, (N + W - 1) / W);
        assert_true(fabs(e.tally->all.nats - disjoint) < 1e-9 * disjoint);
        lh_evaluation_free(&e);
        o = options_of(LH_PROTOCOL_PACK, W, 0, lanes, LH_FIRST_CHARGED);
        e = evaluate(&m, corpus, &o);
        assert_true(fabs(e.tally->all.nats - disjoint) < 1e-9 * disjoint);
        lh_evaluation_free(&e);
    }
    lh_eval_corpus_free(corpus);
    byte_model_free(&m);
}

/* 7. Overlapping windows: every window's tokens but the first; with S = W disjoint windows without their firsts. */
static void overlap_against_brute_force(void **state)
{
    (void)state;
    enum { N = 200 };
    static const size_t sizes[][2] = {{40, 40}, {40, 16}};
    byte_model m = byte_model_create(memory_model, LH_F64);
    lh_eval_corpus *corpus = corpus_of(&m, one, 0, 0);
    for (int k = 0; k < 2; k++) {
        size_t w = sizes[k][0], s = sizes[k][1], starts = (N + s - 1) / s - 1, scores = 0, end = 0;
        double means = 0.0;
        for (size_t i = 0; i < starts; i++) {
            double sum = 0.0;
            end = i * s + w < N ? i * s + w : N;
            for (size_t at = i * s + 1; at < end; at++) {
                sum += brute_force(&m, texts[0], i * s, at);
            }
            means += sum / (double)(end - i * s - 1);
            scores += end - i * s - 1;
        }
        lh_eval_options o = options_of(LH_PROTOCOL_OVERLAP, (int64_t)w, (int64_t)s, 3, LH_FIRST_CHARGED);
        lh_evaluation e = evaluate(&m, corpus, &o);
        lh_eval_figures f = lh_eval_figures_of(&e, corpus, &o.protocol, true);
        assert_int_equal(e.tally->all.tokens, scores);
        assert_int_equal(e.tally->windows, starts);
        assert_true(fabs(f.window_loss - means / (double)starts) < 1e-9);
        assert_true(isnan(f.word_perplexity));
        assert_int_equal(e.scored, s < w ? end - 1 : starts * (w - 1));
        lh_evaluation_free(&e);
    }
    lh_eval_corpus_free(corpus);
    byte_model_free(&m);
}

/* 7. Chunks at 2 and 3 nats: an arithmetic mean of 13.74, where the geometric one is 12.18. */
static void mean_of_chunks(void **state)
{
    (void)state;
    double nats[256];
    char text[2048], path[128];
    for (int i = 0; i < 256; i++) {
        nats[i] = -log((1.0 - exp(-2.0) - exp(-3.0)) / 254.0);
    }
    nats['a'] = 2.0;
    nats['b'] = 3.0;
    memset(text, 'a', 1024);
    memset(text + 1024, 'b', 1024);
    (void)snprintf(path, sizeof path, "%s/ab.txt", folder);
    assert_int_equal(scratch_write(path, text, sizeof text), 0);
    byte_model m = unigram_model(nats);
    lh_eval_corpus *corpus = corpus_of(&m, path, 0, 0);
    lh_eval_options o = options_of(LH_PROTOCOL_CHUNKMEAN, 0, 0, 1, LH_FIRST_STARTED);
    assert_int_equal(o.protocol.window, 4096);
    lh_evaluation e = evaluate(&m, corpus, &o);
    lh_eval_figures f = lh_eval_figures_of(&e, corpus, &o.protocol, false);
    assert_true(fabs(f.chunk_perplexity - (exp(2.0) + exp(3.0)) / 2.0) < 1e-9);
    assert_true(fabs(f.chunk_perplexity - 13.74) < 0.005);
    assert_true(fabs(f.token_perplexity - 12.18) < 0.005);
    lh_evaluation_free(&e);
    lh_eval_corpus_free(corpus);
    byte_model_free(&m);
}

/* Chunks read what fits of the window before them. */
static void chunks_against_brute_force(void **state)
{
    (void)state;
    enum { N = 200, S = 24, W = 60 };
    byte_model m = byte_model_create(memory_model, LH_F64);
    lh_eval_corpus *corpus = corpus_of(&m, one, 0, 0);
    double total = log(256.0);
    for (size_t at = 1; at < N; at++) {
        size_t chunk = at / S * S, from = chunk > W - S ? chunk - (W - S) : 0;
        total += brute_force(&m, texts[0], from, at);
    }
    lh_eval_options o = options_of(LH_PROTOCOL_CHUNKMEAN, W, S, 4, LH_FIRST_CHARGED);
    lh_evaluation e = evaluate(&m, corpus, &o);
    assert_true(fabs(e.tally->all.nats - total) < 1e-9 * total);
    lh_evaluation_free(&e);
    lh_eval_corpus_free(corpus);
    byte_model_free(&m);
}

/* Books from empty memories: how many are read side by side changes nothing, and neither does what they are beside.
 */
static void lanes_do_not_matter(void **state)
{
    (void)state;
    byte_model m = byte_model_create(memory_model, LH_F64);
    lh_eval_corpus *corpus = corpus_of(&m, books, 0, 0);
    lh_evaluation first = {0};
    for (int64_t lanes = 1; lanes <= 6; lanes++) {
        lh_eval_options o = options_of(LH_PROTOCOL_BOOK, 0, 0, lanes, LH_FIRST_CHARGED);
        lh_evaluation e = evaluate(&m, corpus, &o);
        for (int b = 0; b < BOOKS && lanes > 1; b++) {
            assert_int_equal(e.tally->documents[b].tokens, first.tally->documents[b].tokens);
            assert_true(fabs(e.tally->documents[b].nats - first.tally->documents[b].nats) < 1e-9);
        }
        assert_int_equal(e.tally->warm.tokens, TOTAL); /* nothing was asked to be warm */
        if (lanes == 1) {
            first = e;
        } else {
            lh_evaluation_free(&e);
        }
    }
    /* A book alone costs what it costs among others. */
    double nll = 0.0;
    for (size_t at = 1; at < book_bytes[2]; at++) {
        nll += brute_force(&m, texts[2], 0, at);
    }
    assert_true(fabs(nll + log(256.0) - first.tally->documents[2].nats) < 1e-9);
    lh_evaluation_free(&first);
    lh_eval_corpus_free(corpus);
    byte_model_free(&m);
}

/* One lane, memories carried on: brute force over the whole text; what is warm. */
static void stream_carries_its_state(void **state)
{
    (void)state;
    enum { WARM = 16 };
    byte_model m = byte_model_create(memory_model, LH_F64);
    lh_eval_corpus *corpus = corpus_of(&m, books, 0, 0);
    char all[TOTAL];
    size_t size = 0;
    for (int b = 0; b < BOOKS; b++) {
        memcpy(all + size, texts[b], book_bytes[b]);
        size += book_bytes[b];
    }
    lh_error error = {0};
    lh_session *s;
    double total = log(256.0), warm = 0.0;
    tiny_check(lh_session_create(&s, m.model, 1, 1, &error), &error);
    for (size_t at = 1; at < TOTAL; at++) {
        double nll;
        int32_t token = (unsigned char)all[at - 1], target = (unsigned char)all[at];
        tiny_check(lh_session_score(s, &token, &target, 1, &nll, &error), &error);
        total += nll;
        warm += at >= WARM ? nll : 0.0;
    }
    lh_session_free(s);
    lh_eval_options o = options_of(LH_PROTOCOL_STREAM, 0, 0, 1, LH_FIRST_CHARGED);
    o.tally.warm = WARM;
    lh_evaluation e = evaluate(&m, corpus, &o);
    assert_true(fabs(e.tally->all.nats - total) < 1e-9 * total);
    assert_int_equal(e.tally->warm.tokens, TOTAL - WARM);
    assert_true(fabs(e.tally->warm.nats - warm) < 1e-9 * warm);
    lh_evaluation_free(&e);
    lh_eval_corpus_free(corpus);
    byte_model_free(&m);
}

static bool stop_after(void *user, const lh_tally *tally, uint64_t done, uint64_t total)
{
    (void)tally;
    assert_true(done <= total);
    return --*(int *)user > 0;
}

/* Interrupted after every possible step and gone on with: the same sums, bit for bit. */
static void interrupted_and_resumed(void **state)
{
    (void)state;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/eval.part", folder);
    byte_model m = byte_model_create(memory_model, LH_F64);
    lh_eval_corpus *corpus = corpus_of(&m, books, 0, 0);
    const lh_eval_options runs[] = {
        options_of(LH_PROTOCOL_STREAM, 0, 0, 2, LH_FIRST_CHARGED),
        options_of(LH_PROTOCOL_BOOK, 0, 0, 2, LH_FIRST_CHARGED),
        options_of(LH_PROTOCOL_SLIDE, 60, 30, 4, LH_FIRST_CHARGED),
        options_of(LH_PROTOCOL_OVERLAP, 60, 30, 4, LH_FIRST_CHARGED),
    };
    for (size_t r = 0; r < sizeof runs / sizeof runs[0]; r++) {
        lh_evaluation whole = evaluate(&m, corpus, &runs[r]);
        lh_eval_options o = runs[r];
        lh_evaluation e = {0};
        int left, stops = 0;
        lh_status status;
        o.resume_path = path;
        o.watch = stop_after;
        o.watch_data = &left;
        do {
            lh_error error = {0};
            left = 2; /* one step, then another that is the last */
            status = lh_evaluate(&e, m.model, m.tokenizer, corpus, &o, &error);
            if (status != LH_OK) {
                assert_int_equal(status, LH_E_INTERRUPTED);
                assert_non_null(strstr(error.message, "eval.part"));
                assert_int_equal(access(path, F_OK), 0);
                stops++;
            }
        } while (status != LH_OK && stops < 100);
        assert_true(stops > 0 && e.resumed);
        assert_int_not_equal(access(path, F_OK), 0);
        assert_memory_equal(&e.tally->all, &whole.tally->all, sizeof whole.tally->all);
        assert_memory_equal(e.tally->documents, whole.tally->documents, sizeof *e.tally->documents * BOOKS);
        assert_memory_equal(e.tally->bins, whole.tally->bins, sizeof whole.tally->bins);
        assert_true(e.tally->window_losses == whole.tally->window_losses);
        assert_int_equal(e.scored, whole.scored);
        lh_evaluation_free(&e);
        lh_evaluation_free(&whole);
    }
    /* A file of another evaluation is refused and stays. */
    lh_error error = {0};
    lh_evaluation e = {0};
    int left = 1;
    lh_eval_options o = runs[0];
    o.resume_path = path;
    o.watch = stop_after;
    o.watch_data = &left;
    assert_int_equal(lh_evaluate(&e, m.model, m.tokenizer, corpus, &o, &error), LH_E_INTERRUPTED);
    lh_eval_options other = runs[1];
    other.resume_path = path;
    error = (lh_error){0};
    assert_int_equal(lh_evaluate(&e, m.model, m.tokenizer, corpus, &other, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "another evaluation"));
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(remove(path), 0);
    lh_eval_corpus_free(corpus);
    byte_model_free(&m);
}

/* Tokens by how often they occur in training, positions by bins, documents that are cut. */
static void tables(void **state)
{
    (void)state;
    double nats[256];
    uint64_t counts[256] = {0};
    unigram_costs(nats);
    byte_model m = unigram_model(nats);
    lh_eval_corpus *corpus = corpus_of(&m, books, 0, 60);
    assert_true(corpus->cut);
    assert_int_equal(corpus->split->tokens, 60 + 1 + 60 + 60 + 16);
    assert_int_equal(corpus->totals.bytes, 60 + 1 + 60 + 60 + 16);
    counts['a'] = 10001;
    counts['b'] = 10000;
    counts['c'] = 1000;
    counts['d'] = 999;
    counts['e'] = 100;
    counts['f'] = 99;
    uint64_t expected[LH_FREQUENCY_BUCKETS] = {0}, first_ten = 0;
    for (int b = 0; b < BOOKS; b++) {
        for (size_t i = 0; i < book_bytes[b] && i < 60; i++) {
            char c = texts[b][i];
            expected[c == 'a' ? 0 : c == 'b' || c == 'c' ? 1 : c == 'd' || c == 'e' ? 2 : 3]++;
            first_ten += i < 10;
        }
    }
    lh_eval_options o = options_of(LH_PROTOCOL_BOOK, 0, 0, 2, LH_FIRST_STARTED);
    o.tally.counts = counts;
    o.tally.position_bin = 10;
    lh_evaluation e = evaluate(&m, corpus, &o);
    for (int i = 0; i < LH_FREQUENCY_BUCKETS; i++) {
        assert_int_equal(e.tally->buckets[i].tokens, expected[i]);
    }
    assert_int_equal(e.tally->bin_count, 6);
    assert_int_equal(e.tally->bins[0].tokens, first_ten);
    assert_int_equal(lh_tally_bin_start(e.tally, 5), 50);
    lh_evaluation_free(&e);
    lh_eval_corpus_free(corpus);
    corpus = corpus_of(&m, books, 310, 0);
    assert_int_equal(corpus->split->tokens, 310);
    assert_int_equal(corpus->document_count, 3);
    assert_int_equal(corpus->documents[2].tokens, 9);
    assert_int_equal(corpus->totals.bytes, 310);
    lh_eval_corpus_free(corpus);
    byte_model_free(&m);
}

/* Stripped lines in rows: no row is longer than the window, lines stay whole, all their bytes are there. */
static void lines_in_rows(void **state)
{
    (void)state;
    enum { W = 40 };
    char path[128];
    static const char text[] =
        "  one line\n\n\tand another one   \nthird\nthe fourth of them is longer than forty bytes, so it "
        "is cut\n \nlast";
    static const char *const rows[] = {"one lineand another onethird", "the fourth of them is longer than forty ",
                                       "bytes, so it is cutlast"};
    (void)snprintf(path, sizeof path, "%s/lines.txt", folder);
    assert_int_equal(scratch_write(path, text, sizeof text - 1), 0);
    byte_model m = unigram_model(NULL);
    lh_error error = {0};
    lh_eval_corpus *corpus = corpus_of(&m, path, 0, 0);
    tiny_check(lh_eval_corpus_pack_lines(corpus, m.tokenizer, W, LH_NO_TOKEN, &error), &error);
    assert_false(corpus->lossless);
    assert_int_equal(corpus->document_count, 3);
    for (int i = 0; i < 3; i++) {
        int32_t ids[W];
        assert_int_equal(corpus->documents[i].tokens, strlen(rows[i]));
        tiny_check(
            lh_split_copy(corpus->split, corpus->documents[i].start, corpus->documents[i].tokens, ids, &error),
            &error);
        for (size_t j = 0; rows[i][j]; j++) {
            assert_int_equal(ids[j], rows[i][j]);
        }
    }
    lh_eval_options o = options_of(LH_PROTOCOL_LINE, W, 0, 2, LH_FIRST_CHARGED);
    lh_evaluation e = evaluate(&m, corpus, &o);
    assert_int_equal(e.tally->windows, 3);
    assert_int_equal(e.skipped, 0);
    assert_true(fabs(e.tally->all.nats - (double)e.total * log(256.0)) < 1e-9);
    lh_evaluation_free(&e);
    lh_eval_corpus_free(corpus);
    byte_model_free(&m);
}

static void expect_message(lh_status status, lh_status expected, const lh_error *error, const char *what)
{
    assert_int_equal(status, expected);
    if (!strstr(error->message, what)) {
        fail_msg("\"%s\" does not say \"%s\"", error->message, what);
    }
}

static void refusals(void **state)
{
    (void)state;
    lh_error error = {0};
    lh_protocol_kind kind;
    expect_message(lh_protocol_find("slides", &kind, &error), LH_E_ARGUMENT, &error, "did you mean \"slide\"");
    tiny_check(lh_protocol_find("P-chunkmean", &kind, &error), &error);
    assert_int_equal(kind, LH_PROTOCOL_CHUNKMEAN);
    static const struct {
        lh_protocol protocol;
        const char *what;
    } wrong[] = {
        {{LH_PROTOCOL_STREAM, 5, 0, 0}, "has no windows"},
        {{LH_PROTOCOL_PACK, 5, 2, 0}, "has no stride"},
        {{LH_PROTOCOL_TRUNC, 0, 0, 0}, "needs the length"},
        {{LH_PROTOCOL_BOOK, 0, 0, 9}, "only the protocol trunc"},
        {{LH_PROTOCOL_SLIDE, 5, 6, 0}, "leaves tokens out"},
        {{LH_PROTOCOL_SLIDE, 1, 1, 0}, "2 tokens or more"},
        {{LH_PROTOCOL_SLIDE, -1, 1, 0}, "negative"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        lh_protocol p = wrong[i].protocol;
        error = (lh_error){0};
        expect_message(lh_protocol_complete(&p, &error), LH_E_ARGUMENT, &error, wrong[i].what);
    }
    byte_model m = unigram_model(NULL);
    lh_eval_corpus *corpus = NULL;
    lh_eval_corpus_options o = {.path = "/nowhere/at/all"};
    error = (lh_error){0};
    expect_message(lh_eval_corpus_open(&corpus, m.tokenizer, &o, &error), LH_E_IO, &error, "/nowhere/at/all");
    o = (lh_eval_corpus_options){.path = books, .split = "weekend"};
    error = (lh_error){0};
    expect_message(lh_eval_corpus_open(&corpus, m.tokenizer, &o, &error), LH_E_ARGUMENT, &error, "weekend");
    corpus = corpus_of(&m, books, 3, 0);
    lh_eval_options run = options_of(LH_PROTOCOL_STREAM, 0, 0, 2, LH_FIRST_CHARGED);
    lh_evaluation e;
    error = (lh_error){0};
    expect_message(lh_evaluate(&e, m.model, m.tokenizer, corpus, &run, &error), LH_E_CONFIG, &error, "too few");
    run.lanes = 0;
    error = (lh_error){0};
    expect_message(lh_evaluate(&e, m.model, m.tokenizer, corpus, &run, &error), LH_E_ARGUMENT, &error, "lane");
    lh_eval_corpus_free(corpus);
    byte_model_free(&m);
}

/* A text that its tokenizer cannot give back is found out; bytes that are no UTF-8 come back from bytes. */
static void lossless_is_measured(void **state)
{
    (void)state;
    char path[128];
    static const char broken[] = "caf\xe9 \xff\xfe\x00 na\xc3\xafve";
    (void)snprintf(path, sizeof path, "%s/broken.txt", folder);
    assert_int_equal(scratch_write(path, broken, sizeof broken - 1), 0);
    byte_model m = unigram_model(NULL);
    lh_eval_corpus *corpus = corpus_of(&m, path, 0, 0);
    assert_true(corpus->lossless);
    assert_int_equal(corpus->totals.invalid, 3);
    lh_eval_corpus_free(corpus);
    lh_trainer *trainer;
    lh_tokenizer *words;
    lh_error error = {0};
    lh_train_options options = {.kind = LH_TOKENIZER_WORDS, .min_frequency = 1};
    tiny_check(lh_trainer_create(&trainer, &options, &error), &error);
    tiny_check(lh_trainer_feed(trainer, "some known words\n", 17, &error), &error);
    tiny_check(lh_trainer_finish_document(trainer, &error), &error);
    tiny_check(lh_trainer_build(trainer, NULL, NULL, &words, &error), &error);
    lh_trainer_free(trainer);
    byte_model w = {.model = m.model, .tokenizer = words};
    corpus = corpus_of(&w, books, 0, 0);
    assert_false(corpus->lossless);
    lh_eval_corpus_free(corpus);
    lh_tokenizer_free(words);
    byte_model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_model),
        cmocka_unit_test(protocols_agree_without_context),
        cmocka_unit_test(notes_stand_beside_perplexities),
        cmocka_unit_test(slide_against_brute_force),
        cmocka_unit_test(overlap_against_brute_force),
        cmocka_unit_test(mean_of_chunks),
        cmocka_unit_test(chunks_against_brute_force),
        cmocka_unit_test(lanes_do_not_matter),
        cmocka_unit_test(stream_carries_its_state),
        cmocka_unit_test(interrupted_and_resumed),
        cmocka_unit_test(tables),
        cmocka_unit_test(lines_in_rows),
        cmocka_unit_test(refusals),
        cmocka_unit_test(lossless_is_measured),
    };
    return cmocka_run_group_tests(tests, make_books, remove_books);
}
