/* Streams: every batch is checked token by token against the split itself, and every token of the split is
 * accounted for: scored once per epoch, or skipped for a reason that the layout states. */
#include "base/memory.h"
#include "data/stream.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

enum { VOCABULARY = 50000 };

static int32_t token_of(uint64_t document, uint64_t position)
{
    return (int32_t)((document * 1009 + position * 17 + 3) % VOCABULARY);
}

static lh_split *make_split(const uint64_t *lengths, uint64_t documents)
{
    uint64_t total = 0;
    for (uint64_t i = 0; i < documents; i++) {
        total += lengths[i];
    }
    int32_t *tokens = malloc((total + 1) * sizeof *tokens);
    uint64_t at = 0;
    for (uint64_t i = 0; i < documents; i++) {
        for (uint64_t p = 0; p < lengths[i]; p++) {
            tokens[at++] = token_of(i, p);
        }
    }
    lh_split *split = NULL;
    lh_error error = {0};
    if (lh_split_create(&split, tokens, lengths, documents, VOCABULARY, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    free(tokens);
    return split;
}

/* Every seventh token, but none of a document's first twelve: whole segments have no answer. */
static uint32_t answer_of(uint64_t position)
{
    return position < 12 || position % 7 != 3 ? 0 : position % 2 ? (uint32_t)position : LH_ANSWER;
}

static void set_answers(lh_split *split)
{
    uint32_t *answers = malloc((split->tokens + 1) * sizeof *answers);
    for (uint64_t i = 0; i < split->documents; i++) {
        lh_document document = lh_split_document(split, i);
        for (uint64_t p = 0; p < document.tokens; p++) {
            answers[document.start + p] = answer_of(p);
        }
    }
    assert_int_equal(lh_split_set_answers(split, answers, NULL), LH_OK);
    free(answers);
}

/* Follows a stream and keeps, per lane, what the next input must be. */
typedef struct follower {
    const lh_split *split;
    lh_token_stream_options options;
    int32_t *next;          /* [lanes] the last target */
    uint8_t *started;       /* [lanes] */
    uint8_t *next_is_first; /* [lanes] the next input is the first token of a document */
    uint32_t *times;        /* [tokens] how often each token was a target */
    uint64_t scored, chains;
} follower;

static follower follow(const lh_split *split, lh_token_stream_options options)
{
    return (follower){
        .split = split,
        .options = options,
        .next = calloc((size_t)options.lanes, sizeof(int32_t)),
        .started = calloc((size_t)options.lanes, 1),
        .next_is_first = calloc((size_t)options.lanes, 1),
        .times = calloc(split->tokens + 1, sizeof(uint32_t)),
    };
}

static void unfollow(follower *f)
{
    free(f->next);
    free(f->started);
    free(f->next_is_first);
    free(f->times);
}

/* The target at one place is what its document and position say, and its input is what precedes it. */
static void check_place(follower *f, const lh_batch *batch, int64_t lane, int64_t t)
{
    int64_t i = lane * batch->length + t;
    assert_in_range(batch->documents[i], 0, f->split->documents - 1);
    lh_document document = lh_split_document(f->split, (uint64_t)batch->documents[i]);
    assert_in_range(batch->positions[i], 0, document.tokens - 1);
    uint64_t position = (uint64_t)batch->positions[i], token = document.start + position;
    int32_t expected;
    assert_int_equal(lh_split_copy(f->split, token, 1, &expected, NULL), LH_OK);
    assert_int_equal(batch->targets[i], expected);
    f->times[token]++;
    bool answers = f->split->answered;
    uint32_t answer = answers ? answer_of(position) : 0;
    assert_int_equal(batch->mask[i], !answers || f->options.every_target || answer != 0);
    if (answers) {
        assert_int_equal(batch->answers[i], answer);
    } else {
        assert_null(batch->answers);
    }
    f->scored += batch->mask[i];
    bool chain = batch->flags[i] & LH_INPUT_CHAIN_START, marked = batch->flags[i] & LH_INPUT_DOCUMENT_START;
    if (!chain) {
        assert_true(f->started[lane]);
        assert_int_equal(batch->inputs[i], f->next[lane]);
        assert_int_equal(marked, f->next_is_first[lane]);
    } else if (f->options.start_token >= 0) {
        assert_int_equal(batch->inputs[i], f->options.start_token);
        assert_int_equal(marked, position == 0);
    } else if (position == 0 && f->options.layout == LH_STREAM_DOCUMENTS) {
        /* The chain began with a document of one token, and this is already the next document. */
        assert_int_equal(f->options.boundary, LH_BOUNDARY_CONTINUE);
        assert_true(marked);
    } else {
        assert_int_equal(lh_split_copy(f->split, token - 1, 1, &expected, NULL), LH_OK);
        assert_int_equal(batch->inputs[i], expected);
        assert_int_equal(marked,
                         token - 1 == lh_split_document(f->split, lh_split_find(f->split, token - 1)).start);
    }
    f->chains += chain;
    /* The first token of a document is marked once: as an input, or by the start token before it. */
    f->next_is_first[lane] = position == 0 && !(chain && f->options.start_token >= 0);
    f->started[lane] = 1;
    f->next[lane] = batch->targets[i];
}

static void check_batch(follower *f, const lh_batch *batch)
{
    int64_t scored = 0;
    assert_int_equal(batch->lanes, f->options.lanes);
    for (int64_t lane = 0; lane < batch->lanes; lane++) {
        bool padded = false;
        for (int64_t t = 0; t < batch->length; t++) {
            int64_t i = lane * batch->length + t;
            if (batch->valid[i]) {
                assert_false(padded);
                check_place(f, batch, lane, t);
                scored += batch->mask[i];
            } else {
                padded = true;
                assert_int_equal(batch->inputs[i], 0);
                assert_int_equal(batch->targets[i], 0);
                assert_int_equal(batch->flags[i], 0);
                assert_int_equal(batch->mask[i], 0);
                assert_int_equal(batch->answers ? batch->answers[i] : 0, 0);
                assert_int_equal(batch->documents[i], -1);
                assert_int_equal(batch->positions[i], -1);
            }
        }
    }
    assert_int_equal(batch->scored, scored);
}

/* Reads a stream to its end, checks everything, and returns the totals. */
static lh_token_stream_totals run(const lh_split *split, lh_token_stream_options options, follower *f)
{
    lh_token_stream *stream = NULL;
    lh_error error = {0};
    if (lh_token_stream_create(&stream, split, &options, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    const lh_batch *batch;
    uint64_t index = 0;
    for (;;) {
        assert_int_equal(lh_token_stream_next(stream, options.segment, &batch, &error), LH_OK);
        if (!batch) {
            break;
        }
        assert_int_equal(batch->index, index++);
        assert_in_range(batch->epoch, 0, options.epochs - 1);
        check_batch(f, batch);
    }
    assert_int_equal(lh_token_stream_next(stream, 1, &batch, &error), LH_OK);
    assert_null(batch); /* the end stays the end */
    lh_token_stream_totals totals = lh_token_stream_count(stream);
    assert_int_equal(totals.scored, f->scored);
    assert_int_equal(totals.scored + totals.skipped, totals.total);
    lh_token_stream_free(stream);
    return totals;
}

static const uint64_t books[] = {10, 1, 333, 0, 64, 65, 2, 128, 0, 1, 57, 3, 500, 1, 8};
enum { BOOKS = sizeof books / sizeof *books };

static void test_lanes(void **state)
{
    (void)state;
    lh_split *split = make_split(books, BOOKS);
    for (int64_t lanes = 1; lanes <= 12; lanes++) {
        for (int64_t segment = 1; segment <= 97; segment += 32) {
            for (int start = -1; start <= 5; start += 6) {
                lh_token_stream_options options = lh_token_stream_defaults();
                options.lanes = lanes;
                options.segment = segment;
                options.epochs = 3;
                options.start_token = start;
                follower f = follow(split, options);
                lh_token_stream_totals totals = run(split, options, &f);
                assert_int_equal(totals.total, 3 * split->tokens);
                uint64_t piece = split->tokens / (uint64_t)lanes;
                for (uint64_t token = 0; token < split->tokens; token++) {
                    bool dropped = token >= piece * (uint64_t)lanes || (start < 0 && token % piece == 0);
                    assert_int_equal(f.times[token], dropped ? 0 : 3);
                }
                assert_int_equal(f.chains, 3 * lanes);
                unfollow(&f);
            }
        }
    }
    lh_split_free(split);
}

/* WikiText-103 test as it is evaluated with 10 lanes: 245,569 tokens, 245,550 of them scored. */
static void test_published_lane_count(void **state)
{
    (void)state;
    const uint64_t length = 245569;
    lh_split *split = make_split(&length, 1);
    lh_token_stream_options options = lh_token_stream_defaults();
    options.lanes = 10;
    options.segment = 128;
    options.epochs = 1;
    follower f = follow(split, options);
    lh_token_stream_totals totals = run(split, options, &f);
    assert_int_equal(totals.scored, 245550);
    assert_int_equal(totals.skipped, 19);
    unfollow(&f);
    lh_split_free(split);
}

static void check_documents_layout(const lh_split *split, lh_token_stream_options options)
{
    follower f = follow(split, options);
    lh_token_stream_totals totals = run(split, options, &f);
    uint64_t epochs = (uint64_t)options.epochs, first_tokens = 0;
    assert_int_equal(totals.total, epochs * split->tokens);
    for (uint64_t i = 0; i < split->documents; i++) {
        lh_document document = lh_split_document(split, i);
        for (uint64_t p = 0; p < document.tokens; p++) {
            uint32_t times = f.times[document.start + p];
            if (p > 0) {
                assert_int_equal(times, epochs);
            } else if (options.start_token >= 0) {
                assert_int_equal(times, epochs);
            } else if (options.boundary != LH_BOUNDARY_CONTINUE) {
                assert_int_equal(times, 0);
            } else {
                assert_in_range(times, 0, epochs);
                first_tokens += epochs - times;
            }
        }
    }
    if (options.boundary == LH_BOUNDARY_CONTINUE && options.start_token < 0) {
        /* Only the very first token of each lane that had something to read. */
        assert_int_equal(first_tokens, totals.skipped);
        assert_in_range(first_tokens, 1, options.lanes);
    }
    unfollow(&f);
}

static void test_documents(void **state)
{
    (void)state;
    lh_split *split = make_split(books, BOOKS);
    for (int64_t lanes = 1; lanes <= 20; lanes += lanes < 4 ? 1 : 4) {
        for (int64_t segment = 1; segment <= 130; segment += 43) {
            for (int variant = 0; variant < 12; variant++) {
                lh_token_stream_options options = lh_token_stream_defaults();
                options.layout = LH_STREAM_DOCUMENTS;
                options.boundary = (lh_token_stream_boundary)(variant % 3);
                options.shuffle = variant / 3 % 2;
                options.start_token = variant / 6 ? 9 : -1;
                options.seed = (uint64_t)variant;
                options.lanes = lanes;
                options.segment = segment;
                options.epochs = 1 + variant % 2;
                check_documents_layout(split, options);
            }
        }
    }
    lh_split_free(split);
}

/* With padding, documents start at the first place of a segment and nowhere else. */
static void test_padding_aligns_documents(void **state)
{
    (void)state;
    lh_split *split = make_split(books, BOOKS);
    lh_token_stream_options options = lh_token_stream_defaults();
    options.layout = LH_STREAM_DOCUMENTS;
    options.boundary = LH_BOUNDARY_PAD;
    options.lanes = 3;
    options.segment = 50;
    options.epochs = 1;
    lh_token_stream *stream;
    const lh_batch *batch;
    assert_int_equal(lh_token_stream_create(&stream, split, &options, NULL), LH_OK);
    int64_t starts = 0;
    while (lh_token_stream_next(stream, 50, &batch, NULL) == LH_OK && batch) {
        for (int64_t i = 0; i < 150; i++) {
            bool chain = batch->flags[i] & LH_INPUT_CHAIN_START;
            assert_true(!chain || i % 50 == 0);
            assert_int_equal(chain, (batch->flags[i] & LH_INPUT_DOCUMENT_START) != 0);
            starts += chain;
            assert_true(batch->documents[i] == -1 || batch->documents[i] == batch->documents[i - i % 50]);
        }
    }
    assert_int_equal(starts, 10); /* the documents of at least two tokens */
    lh_token_stream_free(stream);
    lh_split_free(split);
}

/* One lane, file order: the order and the text do not depend on how it is cut into segments. */
static void test_segments_do_not_matter(void **state)
{
    (void)state;
    lh_split *split = make_split(books, BOOKS);
    int32_t *first = NULL;
    for (int64_t segment = 1; segment < 200; segment += 18) {
        lh_token_stream_options options = lh_token_stream_defaults();
        options.layout = LH_STREAM_DOCUMENTS;
        options.shuffle = true;
        options.boundary = LH_BOUNDARY_RESET;
        options.segment = segment;
        options.epochs = 2;
        lh_token_stream *stream;
        const lh_batch *batch;
        assert_int_equal(lh_token_stream_create(&stream, split, &options, NULL), LH_OK);
        int32_t *targets = malloc(2 * split->tokens * sizeof *targets);
        size_t count = 0;
        while (lh_token_stream_next(stream, segment, &batch, NULL) == LH_OK && batch) {
            for (int64_t t = 0; t < batch->length && batch->mask[t]; t++) {
                targets[count++] = batch->targets[t];
            }
        }
        if (first) {
            assert_memory_equal(first, targets, count * sizeof *targets);
            free(targets);
        } else {
            first = targets;
        }
        lh_token_stream_free(stream);
    }
    free(first);
    lh_split_free(split);
}

static void test_crops(void **state)
{
    (void)state;
    lh_split *split = make_split(books, BOOKS);
    lh_token_stream_options options = lh_token_stream_defaults();
    options.layout = LH_STREAM_CROPS;
    options.lanes = 4;
    options.segment = 32;
    options.epochs = 400;
    options.seed = 5;
    follower f = follow(split, options);
    lh_token_stream_totals totals = run(split, options, &f);
    assert_true(totals.total >= 400 * split->tokens && totals.total < 401 * split->tokens + 4 * 33);
    /* In the middle of the longest document every token is drawn about equally often. */
    lh_document longest = lh_split_document(split, 12);
    uint64_t sum = 0;
    for (uint64_t p = 33; p < 467; p++) {
        sum += f.times[longest.start + p];
    }
    double mean = (double)sum / 434;
    assert_true(mean > 300 && mean < 500);
    for (uint64_t p = 33; p < 467; p++) {
        double times = f.times[longest.start + p];
        assert_true(times > 0.6 * mean && times < 1.4 * mean);
    }
    /* A document shorter than a crop is read whole, from its start. */
    assert_int_equal(f.times[lh_split_document(split, 10).start], 0 + f.times[lh_split_document(split, 10).start]);
    assert_true(f.times[lh_split_document(split, 11).start + 2] > 0);
    assert_int_equal(f.times[lh_split_document(split, 11).start], 0);
    unfollow(&f);
    lh_split_free(split);
}

/* Answers alone are scored, wherever the layout puts them, and everything else is still read: as without answers,
 * but for the mask. */
static void test_answers(void **state)
{
    (void)state;
    lh_split *split = make_split(books, BOOKS);
    set_answers(split);
    for (int variant = 0; variant < 60; variant++) {
        lh_token_stream_options options = lh_token_stream_defaults();
        options.layout = (lh_token_stream_layout)(variant % 3);
        bool documents = options.layout == LH_STREAM_DOCUMENTS;
        options.boundary = documents ? (lh_token_stream_boundary)(variant / 3 % 3) : LH_BOUNDARY_CONTINUE;
        options.shuffle = documents && variant % 2;
        options.every_target = variant % 4 == 3;
        options.start_token = options.layout != LH_STREAM_CROPS && variant % 5 == 0 ? 7 : -1;
        options.lanes = 1 + variant % 4;
        options.segment = 1 + variant % 50;
        options.epochs = 2;
        follower f = follow(split, options);
        lh_token_stream_totals totals = run(split, options, &f);
        uint64_t answers = 0, targets = 0;
        for (uint64_t i = 0; i < split->documents; i++) {
            lh_document document = lh_split_document(split, i);
            for (uint64_t p = 0; p < document.tokens; p++) {
                targets += f.times[document.start + p];
                answers += answer_of(p) ? f.times[document.start + p] : 0;
            }
        }
        assert_true(answers > 0 && answers < targets);
        assert_int_equal(totals.scored, options.every_target ? targets : answers);
        if (options.layout != LH_STREAM_CROPS) {
            assert_int_equal(totals.total, 2 * split->tokens);
        }
        unfollow(&f);
    }
    lh_token_stream_options options = lh_token_stream_defaults();
    lh_token_stream *stream, *other;
    assert_int_equal(lh_token_stream_create(&stream, split, &options, NULL), LH_OK);
    options.every_target = true;
    assert_int_equal(lh_token_stream_create(&other, split, &options, NULL), LH_OK);
    void *blob = malloc(lh_token_stream_state_size(stream));
    lh_token_stream_save(stream, blob);
    assert_int_equal(lh_token_stream_restore(other, blob, lh_token_stream_state_size(other), NULL), LH_E_FORMAT);
    free(blob);
    lh_token_stream_free(other);
    lh_token_stream_free(stream);
    lh_split_free(split);
}

/* The end rule: every end from the shortest crop's on is drawn equally often, the crop is what is before it, and
 * each document has its turn once in an epoch. */
static void test_crop_ends(void **state)
{
    (void)state;
    enum { LANES = 3, LENGTH = 12, MINIMUM = 7, ROUNDS = 4000 };
    static const uint64_t lengths[] = {40, 5, 9, 1, 13, 30};
    enum { DOCUMENTS = 6, TOKENS = 40 + 5 + 9 + 1 + 13 + 30 };
    int32_t tokens[TOKENS];
    for (int i = 0; i < TOKENS; i++) {
        tokens[i] = i;
    }
    lh_split *split;
    assert_int_equal(lh_split_create(&split, tokens, lengths, DOCUMENTS, TOKENS, NULL), LH_OK);
    lh_token_stream_options options = lh_token_stream_defaults();
    options.layout = LH_STREAM_CROPS;
    options.lanes = LANES;
    options.segment = LENGTH;
    options.crop_minimum = MINIMUM;
    options.crop_each_document = true;
    options.seed = 9;
    lh_token_stream *stream;
    assert_int_equal(lh_token_stream_create(&stream, split, &options, NULL), LH_OK);
    int ends[DOCUMENTS][41] = {{0}}, visits[DOCUMENTS] = {0};
    for (int round = 0; round < ROUNDS; round++) {
        const lh_batch *batch;
        assert_int_equal(lh_token_stream_next(stream, LENGTH, &batch, NULL), LH_OK);
        for (int lane = 0; lane < LANES; lane++) {
            int64_t at = lane * LENGTH, count = 0;
            while (count < LENGTH && batch->mask[at + count]) {
                count++;
            }
            int document = batch->documents[at];
            int64_t n = (int64_t)lengths[document], start = batch->positions[at] - 1, end = start + count + 1;
            int64_t least = n < MINIMUM + 1 ? n : MINIMUM + 1;
            assert_true(end >= least && end <= n);
            assert_int_equal(start, end > LENGTH + 1 ? end - (LENGTH + 1) : 0);
            assert_int_equal(batch->inputs[at] + count, batch->targets[at + count - 1]);
            visits[document]++;
            ends[document][end]++;
        }
    }
    for (int d = 0; d < DOCUMENTS; d++) { /* the document of one token has its turn, too, but nothing to show */
        int expected = d == 3 ? 0 : ROUNDS * LANES / (DOCUMENTS - 1);
        assert_in_range(visits[d], expected - (expected ? 2 : 0), expected + (expected ? 2 : 0));
        int least = lengths[d] < MINIMUM + 1 ? (int)lengths[d] : MINIMUM + 1, choices = (int)lengths[d] - least + 1;
        for (int end = least; end <= (int)lengths[d] && visits[d] > 0; end++) {
            double mean = (double)visits[d] / choices;
            assert_true(fabs(ends[d][end] - mean) < 5.0 * sqrt(mean) + 1.0);
        }
    }
    lh_token_stream_free(stream);
    options.layout = LH_STREAM_LANES;
    assert_int_equal(lh_token_stream_create(&stream, split, &options, NULL), LH_E_ARGUMENT);
    lh_split_free(split);
}

static void test_permutation(void **state)
{
    (void)state;
    for (uint64_t count = 1; count < 300; count += count < 20 ? 1 : 37) {
        for (uint64_t epoch = 0; epoch < 5; epoch++) {
            unsigned char seen[300] = {0};
            for (uint64_t i = 0; i < count; i++) {
                uint64_t image = lh_permute(i, count, 42, epoch);
                assert_true(image < count);
                assert_int_equal(seen[image]++, 0);
            }
        }
    }
    /* The orders of two epochs and of two seeds have nothing to do with each other: about one fixed point. */
    int same_epoch = 0, same_seed = 0, fixed = 0;
    for (uint64_t i = 0; i < 28602; i++) {
        same_epoch += lh_permute(i, 28602, 1, 0) == lh_permute(i, 28602, 1, 1);
        same_seed += lh_permute(i, 28602, 1, 0) == lh_permute(i, 28602, 2, 0);
        fixed += lh_permute(i, 28602, 1, 0) == i;
    }
    assert_in_range(same_epoch, 0, 8);
    assert_in_range(same_seed, 0, 8);
    assert_in_range(fixed, 0, 8);
    /* Where the first of three goes is uniform over many seeds. */
    int places[3] = {0};
    for (uint64_t seed = 0; seed < 3000; seed++) {
        places[lh_permute(0, 3, seed, 0)]++;
    }
    for (int i = 0; i < 3; i++) {
        assert_in_range(places[i], 900, 1100);
    }
}

static lh_token_stream_options variant_options(int variant)
{
    lh_token_stream_options options = lh_token_stream_defaults();
    options.layout = (lh_token_stream_layout)(variant % 3);
    options.lanes = 3;
    options.segment = 40;
    options.seed = 11;
    if (options.layout == LH_STREAM_DOCUMENTS) {
        options.boundary = (lh_token_stream_boundary)(variant / 3);
        options.shuffle = true;
    }
    return options;
}

static void copy_batch(const lh_batch *batch, int32_t *copy)
{
    for (int64_t i = 0; i < batch->lanes * batch->length; i++) {
        copy[5 * i] = batch->inputs[i];
        copy[5 * i + 1] = batch->targets[i];
        copy[5 * i + 2] = batch->mask[i] + 4 * batch->flags[i];
        copy[5 * i + 3] = batch->documents[i];
        copy[5 * i + 4] = (int32_t)batch->positions[i];
    }
}

/* Saved at any batch and restored into a fresh stream, everything goes on exactly. Segments of changing lengths. */
static void test_restore(void **state)
{
    (void)state;
    enum { BATCHES = 60, CELLS = 3 * 40 * 5 };
    lh_split *split = make_split(books, BOOKS);
    int32_t(*expected)[CELLS] = malloc(BATCHES * sizeof *expected);
    for (int variant = 0; variant < 9; variant++) {
        lh_token_stream_options options = variant_options(variant);
        lh_token_stream *stream, *other;
        const lh_batch *batch;
        assert_int_equal(lh_token_stream_create(&stream, split, &options, NULL), LH_OK);
        size_t size = lh_token_stream_state_size(stream);
        unsigned char *blobs = malloc(BATCHES * size);
        for (int i = 0; i < BATCHES; i++) {
            lh_token_stream_save(stream, blobs + (size_t)i * size);
            assert_int_equal(lh_token_stream_next(stream, 1 + i * 7 % 40, &batch, NULL), LH_OK);
            memset(expected[i], 0, sizeof expected[i]);
            copy_batch(batch, expected[i]);
        }
        lh_token_stream_totals totals = lh_token_stream_count(stream);
        for (int from = 0; from < BATCHES; from += 7) {
            assert_int_equal(lh_token_stream_create(&other, split, &options, NULL), LH_OK);
            assert_int_equal(lh_token_stream_restore(other, blobs + (size_t)from * size, size, NULL), LH_OK);
            for (int i = from; i < BATCHES; i++) {
                int32_t found[CELLS] = {0};
                assert_int_equal(lh_token_stream_next(other, 1 + i * 7 % 40, &batch, NULL), LH_OK);
                copy_batch(batch, found);
                assert_memory_equal(found, expected[i], sizeof found);
            }
            lh_token_stream_totals again = lh_token_stream_count(other);
            assert_memory_equal(&again, &totals, sizeof totals);
            lh_token_stream_free(other);
        }
        lh_token_stream_rewind(stream);
        assert_int_equal(lh_token_stream_next(stream, 1, &batch, NULL), LH_OK);
        int32_t found[CELLS] = {0};
        copy_batch(batch, found);
        assert_memory_equal(found, expected[0], sizeof found);
        lh_token_stream_free(stream);
        free(blobs);
    }
    free(expected);
    lh_split_free(split);
}

static void test_restore_refuses_damage(void **state)
{
    (void)state;
    lh_split *split = make_split(books, BOOKS);
    lh_token_stream_options options = variant_options(1), others = options;
    lh_token_stream *stream, *other;
    const lh_batch *batch;
    assert_int_equal(lh_token_stream_create(&stream, split, &options, NULL), LH_OK);
    assert_int_equal(lh_token_stream_next(stream, 40, &batch, NULL), LH_OK);
    size_t size = lh_token_stream_state_size(stream);
    unsigned char *blob = malloc(size);
    lh_token_stream_save(stream, blob);
    for (size_t byte = 0; byte < size; byte++) {
        blob[byte] ^= 4;
        assert_int_equal(lh_token_stream_restore(stream, blob, size, NULL), LH_E_FORMAT);
        blob[byte] ^= 4;
        assert_int_equal(lh_token_stream_restore(stream, blob, byte, NULL), LH_E_FORMAT);
    }
    assert_int_equal(lh_token_stream_restore(stream, blob, size, NULL), LH_OK);
    others.seed++;
    lh_error error = {0};
    assert_int_equal(lh_token_stream_create(&other, split, &others, NULL), LH_OK);
    assert_int_equal(lh_token_stream_restore(other, blob, size, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, "another data stream"));
    lh_token_stream_free(other);
    lh_token_stream_free(stream);
    free(blob);
    lh_split_free(split);
}

static void test_no_allocations(void **state)
{
    (void)state;
    lh_split *split = make_split(books, BOOKS);
    for (int variant = 0; variant < 9; variant++) {
        lh_token_stream_options options = variant_options(variant);
        lh_token_stream *stream;
        const lh_batch *batch;
        assert_int_equal(lh_token_stream_create(&stream, split, &options, NULL), LH_OK);
        uint64_t before = lh_heap_allocations();
        for (int i = 0; i < 200; i++) {
            assert_int_equal(lh_token_stream_next(stream, 40, &batch, NULL), LH_OK);
            assert_int_equal(batch->scored > 0, 1);
        }
        assert_int_equal(lh_heap_allocations(), before);
        lh_token_stream_free(stream);
    }
    lh_split_free(split);
    assert_int_equal(lh_heap_live_bytes(), 0);
}

static void assert_refused(const lh_split *split, lh_token_stream_options options, lh_status expected,
                           const char *words)
{
    lh_token_stream *stream;
    lh_error error = {0};
    assert_int_equal(lh_token_stream_create(&stream, split, &options, &error), expected);
    assert_null(stream);
    assert_non_null(strstr(error.message, words));
}

static void test_refusals(void **state)
{
    (void)state;
    lh_split *split = make_split(books, BOOKS);
    lh_token_stream_options options = lh_token_stream_defaults();
    options.lanes = 0;
    assert_refused(split, options, LH_E_ARGUMENT, "at least one lane");
    options.lanes = 700;
    assert_refused(split, options, LH_E_CONFIG, "1400");
    options = lh_token_stream_defaults();
    options.segment = INT64_MAX;
    assert_refused(split, options, LH_E_ARGUMENT, "too many");
    options = lh_token_stream_defaults();
    options.shuffle = true;
    assert_refused(split, options, LH_E_ARGUMENT, "documents layout");
    options = lh_token_stream_defaults();
    options.start_token = VOCABULARY;
    assert_refused(split, options, LH_E_ARGUMENT, "start token");
    static const uint64_t ones[] = {1, 1, 1, 0};
    lh_split *tiny = make_split(ones, 4);
    options = lh_token_stream_defaults();
    options.layout = LH_STREAM_DOCUMENTS;
    options.boundary = LH_BOUNDARY_RESET;
    assert_refused(tiny, options, LH_E_CONFIG, "more than one token");
    options.layout = LH_STREAM_CROPS;
    options.boundary = LH_BOUNDARY_CONTINUE;
    assert_refused(tiny, options, LH_E_CONFIG, "more than one token");
    lh_split *empty = make_split(ones, 0);
    assert_refused(empty, lh_token_stream_defaults(), LH_E_CONFIG, "0 tokens");
    lh_split *one = make_split(ones, 1);
    assert_refused(one, lh_token_stream_defaults(), LH_E_CONFIG, "1 tokens");
    lh_token_stream *stream;
    const lh_batch *batch;
    options = lh_token_stream_defaults();
    assert_int_equal(lh_token_stream_create(&stream, split, &options, NULL), LH_OK);
    assert_int_equal(lh_token_stream_next(stream, 513, &batch, NULL), LH_E_ARGUMENT);
    assert_int_equal(lh_token_stream_next(stream, 0, &batch, NULL), LH_E_ARGUMENT);
    lh_token_stream_free(stream);
    /* Every allocation that fails is reported, and nothing leaks. */
    set_answers(split);
    for (int64_t n = 0; n < 11; n++) {
        lh_error error = {0};
        lh_heap_fail_after(n);
        lh_status status = lh_token_stream_create(&stream, split, &options, &error);
        lh_heap_fail_after(-1);
        assert_int_equal(status, n < 10 ? LH_E_MEMORY : LH_OK);
        lh_token_stream_free(stream);
    }
    lh_split_free(one);
    lh_split_free(empty);
    lh_split_free(tiny);
    lh_split_free(split);
    assert_int_equal(lh_heap_live_bytes(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_published_lane_count),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_padding_aligns_documents),
        cmocka_unit_test(test_segments_do_not_matter),
        cmocka_unit_test(test_crops),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_crop_ends),
        cmocka_unit_test(test_permutation),
        cmocka_unit_test(test_restore),
        cmocka_unit_test(test_restore_refuses_damage),
        cmocka_unit_test(test_no_allocations),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
