/* Streams: a split of a data set as batches of token segments for training and evaluation.
 *
 * A stream has B lanes. Each call of lh_token_stream_next fills inputs and targets [B, T]: in every lane the target
 * of an input is the token that follows it, and the first input of a segment is the last target of the segment
 * before, so a model that carries its state from call to call reads one unbroken text per lane.
 *
 * Three layouts:
 *   lanes      the split cut into B equal, contiguous pieces, the remainder dropped: the convention of the
 * published enwik8, text8 and WikiText-103 results (Dai et al. 2019; Rae et al. 2019). documents  each lane reads
 * whole documents one after another; when it is through with one it takes the next that no lane has taken. In file
 * order, or shuffled anew every epoch. crops      each lane of each segment is an independent random piece of a
 * document: any that is full, or, with crop_minimum, the last tokens before a random place (Hawthorne et al. 2022).
 *
 * A chain is a stretch of one lane in which every target follows from the inputs before it. A chain of n tokens has
 * n-1 targets, because nothing precedes its first token, unless a start token is given as that first input. Every
 * token of the split is either scored as a target or counted as skipped, once per epoch.
 *
 * Where the split says which tokens are answers (shard.h) only those are scored; the others are read as inputs.
 * With options.source a document is a pair: its target is read, and its source handed on beside it. */
#ifndef LH_DATA_STREAM_H
#define LH_DATA_STREAM_H

#include "base/error.h"
#include "data/split.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum lh_token_stream_layout {
    LH_STREAM_LANES,
    LH_STREAM_DOCUMENTS,
    LH_STREAM_CROPS
} lh_token_stream_layout;

/* What happens between two documents of a lane in the documents layout. */
typedef enum lh_token_stream_boundary {
    LH_BOUNDARY_CONTINUE, /* the text runs on: the last token of one document predicts the first of the next */
    LH_BOUNDARY_RESET,    /* a new chain begins right behind the old one, anywhere in a segment */
    LH_BOUNDARY_PAD,      /* a new chain begins with a new segment; the rest of the old segment is padding */
} lh_token_stream_boundary;

typedef struct lh_token_stream_options {
    lh_token_stream_layout layout;
    lh_token_stream_boundary boundary; /* documents layout only; the others take LH_BOUNDARY_CONTINUE */
    int64_t lanes;                     /* B >= 1 */
    int64_t segment;                   /* the greatest T that lh_token_stream_next will be asked for, >= 1 */
    int64_t epochs;      /* ends after so many; 0 goes on for ever. Endless lanes begin anew without padding */
    bool shuffle;        /* documents layout: another order of the documents in every epoch */
    uint64_t seed;       /* of the order, and of the crops */
    bool every_target;   /* score all targets, answers or not */
    int32_t start_token; /* the input before the first token of a chain, or -1 for none; not with crops */
    /* crops: 0: of the pieces of T + 1 tokens, each is equally likely. c > 0: the piece's end is, anywhere from the
     * (c + 1)-th token of the document to its last, and what is before it, at most T + 1 tokens, is the piece. A
     * document that is too short for either is taken whole. */
    int64_t crop_minimum;
    bool crop_each_document; /* crops: every document once in an epoch, else in proportion to its length */
    /* For models with an encoder: documents, which begin a segment each, are pairs. What stands before the first
     * answer is the source, but for its last token, the input that the first answer follows. At most so many tokens
     * of a source, its first ones, are handed on; 0: documents are read from their beginning. Documents without an
     * answer are left out. */
    int64_t source;
} lh_token_stream_options;

/* One lane, lanes layout, endless, no start token, segments of 512. */
lh_token_stream_options lh_token_stream_defaults(void);

/* Flags of inputs. */
#define LH_INPUT_DOCUMENT_START 1u /* the first token of a document, or the start token before it */
#define LH_INPUT_CHAIN_START 2u    /* does not follow the input before it: state must not flow into it */

/* One segment of all lanes. Arrays are [lanes, length], row-major, and live until the next call. Padding at the end
 * of a row has no target: there documents and positions are -1 and everything else is 0. */
typedef struct lh_batch {
    int64_t lanes, length;
    const int32_t *inputs;
    const int32_t *targets;
    const uint8_t *valid;    /* 1 where there is a target, 0 for padding */
    const uint8_t *mask;     /* 1 where the target is scored */
    const uint32_t *answers; /* whether targets are answers, and to what, as in shard.h; NULL: the split has none */
    const uint8_t *flags;    /* LH_INPUT_... of the inputs */
    const int32_t *documents; /* the document of the target */
    const int64_t *positions; /* the target's place in its document, from 0 */
    int64_t scored;           /* sum of the mask */
    const int32_t
        *sources;        /* [lanes, options.source]: of lanes that begin a pair, -1 in front; else -1s. Or NULL */
    int64_t sources_cut; /* how many of them are longer than that */
    uint64_t index;      /* how many batches came before */
    uint64_t epoch;      /* of lane 0's last target; from 0 */
} lh_batch;

/* All tokens read so far, the ends of their chains included: total = scored + skipped. When a stream of E epochs
 * has ended, total is E times the tokens of the split (crops: at least that). */
typedef struct lh_token_stream_totals {
    uint64_t scored, skipped, total;
} lh_token_stream_totals;

typedef struct lh_token_stream lh_token_stream;

/* The split must outlive the stream. Fails with LH_E_ARGUMENT on options that make no sense and with LH_E_CONFIG if
 * the split is too small for them. All memory is taken here. */
lh_status lh_token_stream_create(lh_token_stream **stream, const lh_split *split,
                                 const lh_token_stream_options *options, lh_error *error);

/* The next segment of `length` inputs per lane, 1 <= length <= options.segment; *batch is NULL after the end. No
 * heap allocation. */
lh_status lh_token_stream_next(lh_token_stream *stream, int64_t length, const lh_batch **batch, lh_error *error);

lh_token_stream_totals lh_token_stream_count(const lh_token_stream *stream);

/* Back to the first segment of the first epoch. */
void lh_token_stream_rewind(lh_token_stream *stream);

/* The place in the stream as bytes, to be stored in a checkpoint: after restore the batches go on exactly as they
 * would have. `blob` has room for lh_token_stream_state_size bytes. */
size_t lh_token_stream_state_size(const lh_token_stream *stream);
void lh_token_stream_save(const lh_token_stream *stream, void *blob);

/* LH_E_FORMAT if the blob is damaged, or of a stream over another split or with other options. The stream is then
 * as it was before. */
lh_status lh_token_stream_restore(lh_token_stream *stream, const void *blob, size_t size, lh_error *error);

void lh_token_stream_free(lh_token_stream *stream);

/* A pseudo-random permutation of 0 .. count-1 (index < count) that needs no memory: a Feistel network over the next
 * power of four, walked until it lands inside (Black and Rogaway 2002). Different for every (seed, epoch). */
uint64_t lh_permute(uint64_t index, uint64_t count, uint64_t seed, uint64_t epoch);

#endif
