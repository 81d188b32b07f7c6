/* What an evaluation counts, token by token. */
#ifndef LH_EVAL_TALLY_H
#define LH_EVAL_TALLY_H

#include "eval/corpus.h"

/* Sums over scored targets. */
typedef struct lh_loss_sum {
    double nats;
    uint64_t tokens, bytes; /* bytes: of text that the tokens stand for */
    uint64_t right;         /* tokens that were the likeliest; counted for answers only */
} lh_loss_sum;

#define LH_POSITION_BINS 2048  /* the last one takes everything beyond */
#define LH_DISTANCE_BINS 32    /* bin i: what is 2^i to 2^(i+1) - 1 tokens back */
#define LH_FREQUENCY_BUCKETS 4 /* more than 10,000 times in training; 1,000; 100; fewer */

typedef struct lh_tally_options {
    int64_t position_bin;   /* width of a bin of positions in a document; 0: bins double from 128 on */
    const uint64_t *counts; /* [vocab] occurrences in the training text, or NULL */
    bool answers;           /* what is scored are answers: count those that are right */
    uint64_t warm;          /* tokens that must have been read before a target for it to count as warm */
} lh_tally_options;

typedef struct lh_tally {
    lh_tally_options options;
    const uint32_t *token_bytes; /* [vocab] */
    lh_loss_sum all;
    lh_loss_sum charged; /* of them: first tokens, which nothing precedes, at ln(vocabulary) each */
    lh_loss_sum warm;    /* of them: with options.warm tokens before them */
    lh_loss_sum bins[LH_POSITION_BINS];
    int64_t bin_count;                       /* bins up to the last that has a token */
    lh_loss_sum distances[LH_DISTANCE_BINS]; /* answers by how far back what they repeat stands */
    lh_loss_sum buckets[LH_FREQUENCY_BUCKETS];
    lh_loss_sum *documents; /* [document_count] */
    uint64_t document_count;
    /* overlap and chunkmean: means over windows and chunks */
    double window_losses, chunk_perplexities; /* sums; the latter weighted by tokens */
    uint64_t windows, chunk_tokens;
} lh_tally;

/* token_bytes must outlive the tally. */
lh_status lh_tally_create(lh_tally **tally, const lh_tally_options *options, const uint32_t *token_bytes,
                          uint64_t documents, lh_error *error);
void lh_tally_free(lh_tally *tally); /* NULL is fine */

/* One scored target. */
typedef struct lh_tally_target {
    uint64_t document, position; /* its place in it */
    uint64_t before;             /* tokens that were read before it since the state was cleared */
    int32_t token, best;         /* best: the likeliest, if answers are counted */
    uint32_t answer;             /* how far back what it repeats stands, see shard.h */
    double nats;
} lh_tally_target;

void lh_tally_add(lh_tally *tally, const lh_tally_target *target);
/* As lh_tally_add for a first token that is charged. */
void lh_tally_charge(lh_tally *tally, const lh_tally_target *target);

/* First position of a bin (the end of the bin before). */
uint64_t lh_tally_bin_start(const lh_tally *tally, int64_t bin);
const char *lh_tally_bucket_name(int bucket); /* ">10K" */

#endif
