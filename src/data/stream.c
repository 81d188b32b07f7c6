#include "data/stream.h"

#include "base/memory.h"
#include "base/random.h"

#include <lzma.h>
#include <stddef.h>
#include <string.h>

/* Random streams of one seed that must not meet. */
#define PERMUTE_DOMAIN 0x5045524du
#define CROP_DOMAIN 0x43524f50u

/* Where a lane stands. Plain data: this is what a checkpoint stores. */
typedef struct stream_lane {
    uint64_t at;             /* the next token to become a target */
    uint64_t end;            /* where its document ends, or the lane's piece of it */
    uint64_t piece_end;      /* lanes layout: where the lane ends */
    uint64_t document_start; /* of its document */
    uint64_t document;
    uint64_t epoch;
    int32_t pending; /* the next input */
    uint8_t has_pending, pending_flags;
    uint8_t at_start; /* `at` is the first token of a document that has not been shown yet */
    uint8_t done;     /* nothing is left for this lane */
} stream_lane;

/* The whole position of a stream. */
typedef struct stream_state {
    uint64_t magic, version;
    uint64_t identity; /* hash of the split and the options */
    uint64_t batches;
    uint64_t scored, skipped;
    uint64_t queue_index, queue_epoch; /* documents layout: the next document to be taken */
    uint64_t crops;                    /* crops layout: how many have been drawn */
    uint64_t checksum;                 /* CRC-64 of everything else, lanes included; set in a saved state only */
} stream_state;

#define STATE_MAGIC 0x4d41455254534c48u /* "HLSTREAM" */
#define STATE_VERSION 1u

struct lh_token_stream {
    const lh_split *split;
    lh_token_stream_options options;
    stream_state state;
    stream_lane *lanes; /* [B] */
    lh_batch batch;
    int32_t *inputs, *targets, *documents; /* [B, segment] */
    uint32_t *answers;                     /* NULL if the split has none */
    int32_t *sources;                      /* [B, options.source], or NULL */
    int64_t *positions;
    uint8_t *valid, *mask, *flags;
};

lh_token_stream_options lh_token_stream_defaults(void)
{
    return (lh_token_stream_options){.lanes = 1, .segment = 512, .start_token = -1};
}

/* ---- order of documents ---- */

uint64_t lh_permute(uint64_t index, uint64_t count, uint64_t seed, uint64_t epoch)
{
    unsigned half = 1;
    while (half < 32 && count > (uint64_t)1 << (2 * half)) {
        half++;
    }
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = index >> half & mask, right = index & mask;
        for (uint64_t round = 0; round < 8; round++) {
            uint32_t words[4];
            lh_philox(seed, (uint64_t)PERMUTE_DOMAIN << 32 | round << 24 | half, epoch << 32 ^ right, words);
            uint64_t next = left ^ (words[0] & mask);
            left = right;
            right = next;
        }
        index = left << half | right;
    } while (index >= count);
    return index;
}

/* The next document that no lane has taken in this epoch and that has something to score; false at the end. */
static bool take_document(lh_token_stream *stream, stream_lane *lane)
{
    const lh_token_stream_options *options = &stream->options;
    stream_state *state = &stream->state;
    uint64_t count = stream->split->documents;
    for (;;) {
        if (state->queue_index == count) {
            if (options->epochs > 0 && state->queue_epoch + 1 >= (uint64_t)options->epochs) {
                return false;
            }
            state->queue_index = 0;
            state->queue_epoch++;
        }
        uint64_t index = state->queue_index++;
        uint64_t number = options->shuffle ? lh_permute(index, count, options->seed, state->queue_epoch) : index;
        lh_document document = lh_split_document(stream->split, number);
        uint64_t least = options->boundary == LH_BOUNDARY_CONTINUE || options->start_token >= 0 ? 1 : 2;
        uint64_t before = options->source > 0 ? lh_split_source(stream->split, number) : 0;
        if (document.tokens < least || (options->source > 0 && before == 0)) {
            state->skipped += document.tokens;
            continue;
        }
        state->skipped += before > 0 ? before - 1 : 0;
        lane->document = number;
        lane->document_start = document.start;
        lane->at = document.start + (before > 0 ? before - 1 : 0); /* the first input, then the first target */
        lane->end = document.start + document.tokens;
        lane->epoch = state->queue_epoch;
        lane->at_start = 1;
        return true;
    }
}

/* Hands on the source of the pair that the lane begins: its last token is the chain's first input. */
static lh_status take_source(lh_token_stream *stream, const stream_lane *lane, lh_error *error)
{
    uint64_t most = (uint64_t)stream->options.source, length = lane->at - lane->document_start;
    uint64_t kept = length < most ? length : most;
    int32_t *row = stream->sources + (uint64_t)(lane - stream->lanes) * most;
    stream->batch.sources_cut += length > most;
    return lh_split_copy(stream->split, lane->document_start, kept, row + (most - kept), error);
}

/* ---- chains ---- */

/* Makes the document that holds token `at` the lane's; its end is cut at `limit`. */
static void enter_document(const lh_token_stream *stream, stream_lane *lane, uint64_t at, uint64_t limit)
{
    lane->document = lh_split_find(stream->split, at);
    lh_document document = lh_split_document(stream->split, lane->document);
    uint64_t end = document.start + document.tokens;
    lane->document_start = document.start;
    lane->at = at;
    lane->end = end < limit ? end : limit;
    lane->at_start = at == document.start;
}

/* Lanes layout: lane b has the tokens from b*n to (b+1)*n, n the whole part of tokens / B. */
static bool begin_lane(lh_token_stream *stream, stream_lane *lane, bool again)
{
    const lh_token_stream_options *options = &stream->options;
    uint64_t tokens = stream->split->tokens, lanes = (uint64_t)options->lanes;
    uint64_t number = (uint64_t)(lane - stream->lanes), piece = tokens / lanes;
    uint64_t epoch = lane->epoch + (again ? 1 : 0);
    if (options->epochs > 0 && epoch >= (uint64_t)options->epochs) {
        return false;
    }
    lane->epoch = epoch;
    lane->piece_end = (number + 1) * piece;
    enter_document(stream, lane, number * piece, lane->piece_end);
    if (number == 0) {
        stream->state.skipped += tokens % lanes;
    }
    return true;
}

/* The piece [*start, *end) of a document of n tokens. */
static void draw_piece(const lh_token_stream_options *options, lh_random *random, uint64_t n, uint64_t length,
                       uint64_t *start, uint64_t *end)
{
    uint64_t most = length + 1, least = (uint64_t)options->crop_minimum + 1;
    if (options->crop_minimum == 0) {
        *start = n > most ? lh_random_below(random, n - length) : 0;
        *end = *start + most;
        return;
    }
    least = least < 2 ? 2 : least;
    least = least < most ? least : most;
    least = least < n ? least : n;
    *end = least + lh_random_below(random, n - least + 1);
    *start = *end > most ? *end - most : 0;
}

/* Crops layout: a document, and a piece of it of at most `length`+1 tokens. */
static bool begin_crop(lh_token_stream *stream, stream_lane *lane, uint64_t length)
{
    stream_state *state = &stream->state;
    uint64_t tokens = stream->split->tokens;
    uint64_t epoch = (state->scored + state->skipped) / tokens;
    if (stream->options.epochs > 0 && epoch >= (uint64_t)stream->options.epochs) {
        return false;
    }
    uint64_t documents = stream->split->documents, start, end;
    lh_random random;
    lh_document document;
    do { /* an empty document has no piece */
        uint64_t crop = state->crops++, number;
        random = lh_random_create(stream->options.seed, (uint64_t)CROP_DOMAIN << 32);
        random.counter = crop << 16;
        number = stream->options.crop_each_document
                     ? lh_permute(crop % documents, documents, stream->options.seed, crop / documents)
                     : lh_split_find(stream->split, lh_random_below(&random, tokens));
        document = lh_split_document(stream->split, number);
    } while (document.tokens == 0);
    draw_piece(&stream->options, &random, document.tokens, length, &start, &end);
    enter_document(stream, lane, document.start + start, document.start + end);
    lane->epoch = epoch;
    return true;
}

/* Begins the lane's next chain: its first input becomes the start token, or its own first token, which is then
 * never a target. False if there is none. */
static bool begin_chain(lh_token_stream *stream, stream_lane *lane, uint64_t length, lh_status *status,
                        lh_error *error)
{
    bool begun = false;
    switch (stream->options.layout) {
    case LH_STREAM_LANES: begun = begin_lane(stream, lane, lane->piece_end > 0); break;
    case LH_STREAM_DOCUMENTS: begun = take_document(stream, lane); break;
    case LH_STREAM_CROPS: begun = begin_crop(stream, lane, length); break;
    }
    if (!begun) {
        lane->done = 1;
        return false;
    }
    if (stream->options.source > 0) {
        *status = take_source(stream, lane, error);
        if (*status != LH_OK) {
            return false;
        }
    }
    lane->pending_flags = (uint8_t)(LH_INPUT_CHAIN_START | (lane->at_start ? LH_INPUT_DOCUMENT_START : 0));
    lane->has_pending = 1;
    lane->pending = stream->options.start_token;
    if (stream->options.start_token < 0) {
        *status = lh_split_copy(stream->split, lane->at, 1, &lane->pending, error);
        lane->at++;
        stream->state.skipped++;
    }
    lane->at_start = 0;
    return *status == LH_OK;
}

/* The lane's document is read to its end: go on in the same chain if there is more of it. */
static bool continue_chain(lh_token_stream *stream, stream_lane *lane)
{
    if (stream->options.layout == LH_STREAM_LANES && lane->at < lane->piece_end) {
        enter_document(stream, lane, lane->at, lane->piece_end);
        return true;
    }
    if (stream->options.layout == LH_STREAM_DOCUMENTS && stream->options.boundary == LH_BOUNDARY_CONTINUE) {
        if (take_document(stream, lane)) {
            return true;
        }
        lane->done = 1;
    }
    lane->has_pending = 0;
    return false;
}

/* ---- segments ---- */

/* Fills valid and mask of `run` targets, which begin at token `at`; returns how many are scored. */
static int64_t mark_scored(lh_token_stream *stream, uint64_t at, int64_t out, int64_t run)
{
    uint8_t *mask = stream->mask + out;
    memset(stream->valid + out, 1, (size_t)run);
    memset(mask, 1, (size_t)run);
    if (!stream->answers) {
        return run;
    }
    int64_t scored = run;
    lh_split_copy_answers(stream->split, at, (uint64_t)run, stream->answers + out);
    for (int64_t i = 0; i < run && !stream->options.every_target; i++) {
        mask[i] = stream->answers[out + i] != 0;
        scored -= mask[i] == 0;
    }
    return scored;
}

/* Reads up to `room` targets of the lane's document into row position `out`; returns how many. */
static int64_t emit_run(lh_token_stream *stream, stream_lane *lane, int64_t out, int64_t room, lh_status *status,
                        lh_error *error)
{
    uint64_t left = lane->end - lane->at;
    int64_t run = left < (uint64_t)room ? (int64_t)left : room;
    *status = lh_split_copy(stream->split, lane->at, (uint64_t)run, stream->targets + out, error);
    if (*status != LH_OK) {
        return 0;
    }
    stream->inputs[out] = lane->pending;
    memcpy(stream->inputs + out + 1, stream->targets + out, (size_t)(run - 1) * sizeof(int32_t));
    stream->batch.scored += mark_scored(stream, lane->at, out, run);
    memset(stream->flags + out, 0, (size_t)run);
    stream->flags[out] = lane->pending_flags;
    int64_t position = (int64_t)(lane->at - lane->document_start);
    for (int64_t i = 0; i < run; i++) {
        stream->documents[out + i] = (int32_t)lane->document;
        stream->positions[out + i] = position + i;
    }
    /* The target that begins a document becomes an input one place later. */
    uint8_t start_flag = lane->at_start ? LH_INPUT_DOCUMENT_START : 0;
    lane->pending_flags = 0;
    if (run > 1) {
        stream->flags[out + 1] = start_flag;
    } else {
        lane->pending_flags = start_flag;
    }
    lane->at_start = 0;
    lane->pending = stream->targets[out + run - 1];
    lane->at += (uint64_t)run;
    return run;
}

static void pad_row(lh_token_stream *stream, int64_t out, int64_t count)
{
    memset(stream->inputs + out, 0, (size_t)count * sizeof(int32_t));
    memset(stream->targets + out, 0, (size_t)count * sizeof(int32_t));
    memset(stream->valid + out, 0, (size_t)count);
    memset(stream->mask + out, 0, (size_t)count);
    memset(stream->flags + out, 0, (size_t)count);
    if (stream->answers) {
        memset(stream->answers + out, 0, (size_t)count * sizeof(uint32_t));
    }
    for (int64_t i = 0; i < count; i++) {
        stream->documents[out + i] = -1;
        stream->positions[out + i] = -1;
    }
}

/* True if a chain may begin only at the start of a segment. */
static bool chains_are_aligned(const lh_token_stream_options *options)
{
    return options->layout == LH_STREAM_CROPS || options->boundary == LH_BOUNDARY_PAD;
}

/* *read counts the row's targets, scored or not. */
static lh_status fill_row(lh_token_stream *stream, stream_lane *lane, int64_t length, int64_t *read,
                          lh_error *error)
{
    int64_t row = (lane - stream->lanes) * length, t = 0;
    bool aligned = chains_are_aligned(&stream->options);
    lh_status status = LH_OK;
    if (stream->options.layout == LH_STREAM_CROPS) {
        lane->has_pending = 0;
    }
    while (t < length && !lane->done) {
        if (!lane->has_pending) {
            if ((aligned && t > 0) || !begin_chain(stream, lane, (uint64_t)length, &status, error)) {
                break;
            }
        }
        if (lane->at == lane->end) {
            (void)continue_chain(stream, lane);
            continue;
        }
        t += emit_run(stream, lane, row + t, length - t, &status, error);
        if (status != LH_OK) {
            return status;
        }
    }
    pad_row(stream, row + t, length - t);
    *read += t;
    return status;
}

static bool is_over(const lh_token_stream *stream)
{
    for (int64_t i = 0; i < stream->options.lanes; i++) {
        if (!stream->lanes[i].done) {
            return false;
        }
    }
    return true;
}

lh_status lh_token_stream_next(lh_token_stream *stream, int64_t length, const lh_batch **batch, lh_error *error)
{
    *batch = NULL;
    if (length < 1 || length > stream->options.segment) {
        return lh_fail(error, LH_E_ARGUMENT, "a segment of %lld tokens was asked for, the stream allows 1 to %lld",
                       (long long)length, (long long)stream->options.segment);
    }
    int64_t read = 0;
    stream->batch.scored = stream->batch.sources_cut = 0;
    if (stream->sources) {
        memset(stream->sources, 0xff, /* -1: nothing */
               (size_t)(stream->options.lanes * stream->options.source) * sizeof *stream->sources);
    }
    if (is_over(stream)) {
        return LH_OK;
    }
    for (int64_t i = 0; i < stream->options.lanes; i++) {
        LH_TRY(fill_row(stream, &stream->lanes[i], length, &read, error));
    }
    stream->state.scored += (uint64_t)stream->batch.scored;
    stream->state.skipped += (uint64_t)(read - stream->batch.scored);
    if (read == 0) {
        return LH_OK; /* what was left had no target */
    }
    stream->batch.length = length;
    stream->batch.index = stream->state.batches++;
    stream->batch.epoch = stream->lanes[0].epoch;
    *batch = &stream->batch;
    return LH_OK;
}

lh_token_stream_totals lh_token_stream_count(const lh_token_stream *stream)
{
    const stream_state *state = &stream->state;
    return (lh_token_stream_totals){
        .scored = state->scored, .skipped = state->skipped, .total = state->scored + state->skipped};
}

/* ---- life ---- */

static uint64_t identity_of(const lh_split *split, const lh_token_stream_options *options)
{
    uint64_t facts[] = {
        split->tokens,
        split->documents,
        split->vocab_size,
        split->fingerprint,
        (uint64_t)options->layout,
        (uint64_t)options->boundary,
        (uint64_t)options->lanes,
        (uint64_t)options->epochs,
        options->shuffle,
        options->seed,
        (uint64_t)options->start_token,
        (uint64_t)options->crop_minimum,
        options->crop_each_document,
    };
    uint64_t identity = lzma_crc64((const uint8_t *)facts, sizeof facts, 0);
    uint64_t answers[] = {split->answers, options->every_target}, source = (uint64_t)options->source;
    identity = split->answered ? lzma_crc64((const uint8_t *)answers, sizeof answers, identity) : identity;
    return source > 0 ? lzma_crc64((const uint8_t *)&source, sizeof source, identity) : identity;
}

static lh_status check_options(const lh_split *split, const lh_token_stream_options *options, lh_error *error)
{
    bool documents = options->layout == LH_STREAM_DOCUMENTS;
    if (options->lanes < 1 || options->segment < 1 || options->epochs < 0) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "a stream needs at least one lane and one token per segment, %lld and %lld were given",
                       (long long)options->lanes, (long long)options->segment);
    }
    if (!documents && (options->boundary != LH_BOUNDARY_CONTINUE || options->shuffle)) {
        return lh_fail(error, LH_E_ARGUMENT, "only the documents layout can shuffle, reset or pad at documents");
    }
    if (options->crop_minimum < 0 ||
        (options->layout != LH_STREAM_CROPS && (options->crop_minimum > 0 || options->crop_each_document))) {
        return lh_fail(error, LH_E_ARGUMENT, "only the crops layout has a shortest piece, which is not %lld",
                       (long long)options->crop_minimum);
    }
    bool pairs = documents && options->boundary == LH_BOUNDARY_PAD && options->start_token < 0 && split->answered;
    if (options->source < 0 || (options->source > 0 && !pairs)) {
        return lh_fail(
            error, LH_E_CONFIG,
            "the split %s has no pairs of a source and its target (longhand data prepare --pairs), or is "
            "not read document by document",
            split->name);
    }
    if (options->start_token >= 0 &&
        (options->layout == LH_STREAM_CROPS || (uint64_t)options->start_token >= split->vocab_size)) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "the start token %d is not possible: crops have none, the vocabulary %llu",
                       options->start_token, (unsigned long long)split->vocab_size);
    }
    uint64_t least = options->start_token >= 0 ? 1 : 2;
    uint64_t needed = options->layout == LH_STREAM_LANES ? least * (uint64_t)options->lanes : least;
    if (split->tokens < needed) {
        return lh_fail(error, LH_E_CONFIG, "the split %s has %llu tokens, at least %llu are needed for %lld lanes",
                       split->name, (unsigned long long)split->tokens, (unsigned long long)needed,
                       (long long)options->lanes);
    }
    return LH_OK;
}

/* Without this check, endless streams over nothing but too short documents would search for ever. */
static lh_status check_documents(const lh_split *split, const lh_token_stream_options *options, lh_error *error)
{
    if (options->layout == LH_STREAM_LANES || options->start_token >= 0 ||
        (options->layout == LH_STREAM_DOCUMENTS && options->boundary == LH_BOUNDARY_CONTINUE)) {
        return LH_OK;
    }
    for (uint64_t i = 0; i < split->documents; i++) {
        if (options->source > 0 ? lh_split_source(split, i) > 0 : lh_split_document(split, i).tokens > 1) {
            return LH_OK;
        }
    }
    return options->source > 0
               ? lh_fail(error, LH_E_CONFIG, "no document of the split %s is a source and its target", split->name)
               : lh_fail(error, LH_E_CONFIG, "no document of the split %s has more than one token", split->name);
}

static lh_status allocate(lh_token_stream *stream, lh_error *error)
{
    size_t cells, bytes;
    size_t lanes = (size_t)stream->options.lanes, segment = (size_t)stream->options.segment;
    if (lh_size_multiply(lanes, segment, &cells) || lh_size_multiply(cells, 64, &bytes) || lanes > SIZE_MAX / 256) {
        return lh_fail(error, LH_E_ARGUMENT, "%zu lanes of %zu tokens are too many", lanes, segment);
    }
    stream->lanes = lh_heap_alloc(lanes * sizeof *stream->lanes);
    stream->inputs = lh_heap_alloc(cells * sizeof(int32_t));
    stream->targets = lh_heap_alloc(cells * sizeof(int32_t));
    stream->documents = lh_heap_alloc(cells * sizeof(int32_t));
    stream->positions = lh_heap_alloc(cells * sizeof(int64_t));
    stream->valid = lh_heap_alloc(cells);
    stream->mask = lh_heap_alloc(cells);
    stream->flags = lh_heap_alloc(cells);
    size_t sources = 0;
    if (lh_size_multiply(lanes, (size_t)stream->options.source, &sources) || sources > SIZE_MAX / 8) {
        return lh_fail(error, LH_E_ARGUMENT, "%zu lanes of sources of %lld tokens are too many", lanes,
                       (long long)stream->options.source);
    }
    stream->sources = sources > 0 ? lh_heap_alloc(sources * sizeof(int32_t)) : NULL;
    if (sources > 0 && !stream->sources) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu tokens of sources", sources);
    }
    stream->answers = stream->split->answered ? lh_heap_alloc(cells * sizeof(uint32_t)) : NULL;
    if (stream->split->answered && !stream->answers) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu lanes of %zu tokens", lanes, segment);
    }
    if (!stream->lanes || !stream->inputs || !stream->targets || !stream->documents || !stream->positions ||
        !stream->valid || !stream->mask || !stream->flags) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu lanes of %zu tokens", lanes, segment);
    }
    stream->batch = (lh_batch){
        .lanes = stream->options.lanes,
        .inputs = stream->inputs,
        .targets = stream->targets,
        .valid = stream->valid,
        .mask = stream->mask,
        .answers = stream->answers,
        .sources = stream->sources,
        .flags = stream->flags,
        .documents = stream->documents,
        .positions = stream->positions,
    };
    return LH_OK;
}

lh_status lh_token_stream_create(lh_token_stream **stream, const lh_split *split,
                                 const lh_token_stream_options *options, lh_error *error)
{
    *stream = NULL;
    LH_TRY(check_options(split, options, error));
    LH_TRY(check_documents(split, options, error));
    lh_token_stream *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a stream");
    }
    fresh->split = split;
    fresh->options = *options;
    lh_status status = allocate(fresh, error);
    if (status != LH_OK) {
        lh_token_stream_free(fresh);
        return status;
    }
    lh_token_stream_rewind(fresh);
    *stream = fresh;
    return LH_OK;
}

void lh_token_stream_rewind(lh_token_stream *stream)
{
    memset(stream->lanes, 0, (size_t)stream->options.lanes * sizeof *stream->lanes);
    stream->state = (stream_state){
        .magic = STATE_MAGIC, .version = STATE_VERSION, .identity = identity_of(stream->split, &stream->options)};
}

void lh_token_stream_free(lh_token_stream *stream)
{
    if (!stream) {
        return;
    }
    lh_heap_free(stream->lanes);
    lh_heap_free(stream->inputs);
    lh_heap_free(stream->targets);
    lh_heap_free(stream->documents);
    lh_heap_free(stream->positions);
    lh_heap_free(stream->valid);
    lh_heap_free(stream->mask);
    lh_heap_free(stream->answers);
    lh_heap_free(stream->sources);
    lh_heap_free(stream->flags);
    lh_heap_free(stream);
}

/* ---- state ---- */

size_t lh_token_stream_state_size(const lh_token_stream *stream)
{
    return sizeof(stream_state) + (size_t)stream->options.lanes * sizeof(stream_lane);
}

static uint64_t state_checksum(const unsigned char *blob, size_t size)
{
    uint64_t checksum = lzma_crc64(blob, offsetof(stream_state, checksum), 0);
    return lzma_crc64(blob + sizeof(stream_state), size - sizeof(stream_state), checksum);
}

void lh_token_stream_save(const lh_token_stream *stream, void *blob)
{
    unsigned char *bytes = blob;
    size_t size = lh_token_stream_state_size(stream);
    memcpy(bytes, &stream->state, sizeof stream->state);
    memcpy(bytes + sizeof stream->state, stream->lanes, size - sizeof stream->state);
    uint64_t checksum = state_checksum(bytes, size);
    memcpy(bytes + offsetof(stream_state, checksum), &checksum, sizeof checksum);
}

lh_status lh_token_stream_restore(lh_token_stream *stream, const void *blob, size_t size, lh_error *error)
{
    stream_state state;
    size_t expected = lh_token_stream_state_size(stream);
    if (size < sizeof state) {
        return lh_fail(error, LH_E_FORMAT, "the saved position of a data stream is truncated: %zu bytes", size);
    }
    memcpy(&state, blob, sizeof state);
    if (state.magic != STATE_MAGIC || state.version != STATE_VERSION ||
        state_checksum(blob, size) != state.checksum) {
        return lh_fail(error, LH_E_FORMAT, "the saved position of a data stream is damaged");
    }
    if (state.identity != stream->state.identity || size != expected) {
        return lh_fail(error, LH_E_FORMAT,
                       "the saved position belongs to another data stream: split, lanes, layout or seed differ");
    }
    const unsigned char *lanes = (const unsigned char *)blob + sizeof state;
    for (size_t i = 0; i < (size_t)stream->options.lanes; i++) {
        stream_lane lane;
        memcpy(&lane, lanes + i * sizeof lane, sizeof lane);
        if (lane.at > lane.end || lane.end > stream->split->tokens || lane.document_start > lane.at ||
            lane.piece_end > stream->split->tokens || state.queue_index > stream->split->documents) {
            return lh_fail(error, LH_E_FORMAT, "the saved position of a data stream is damaged");
        }
    }
    memcpy(stream->lanes, lanes, size - sizeof state);
    stream->state = state;
    return LH_OK;
}
