/* Evaluation: a model reads a corpus by a protocol, and what it is surprised by is counted. All of it goes through
 * sessions. */
#ifndef LH_EVAL_EVALUATE_H
#define LH_EVAL_EVALUATE_H

#include "eval/corpus.h"
#include "eval/protocol.h"
#include "eval/tally.h"
#include "model/model.h"

/* What happens to a token that nothing stands before: the first of a lane, a document or a window. */
typedef enum lh_first_token {
    LH_FIRST_CHARGED, /* it costs ln(vocabulary), as under a flat distribution: then every token is paid for */
    LH_FIRST_SKIPPED, /* it is not scored */
    LH_FIRST_STARTED, /* it is predicted from a start token */
} lh_first_token;

/* The usual time between two savings of an evaluation that can be resumed. */
#define LH_EVAL_SAVE_SECONDS 60.0

typedef struct lh_eval_options {
    lh_protocol protocol;
    int64_t lanes; /* documents, lanes or windows side by side */
    int threads;   /* 0: all */
    lh_first_token first;
    int32_t start_token; /* for LH_FIRST_STARTED */
    bool every_target;   /* score all tokens of a corpus that says which are answers */
    lh_tally_options tally;
    const char *resume_path; /* where an interrupted evaluation is kept, or NULL */
    double save_seconds;     /* between two savings; 0: only when interrupted */
    /* Called after every step; false stops (and saves) with LH_E_INTERRUPTED. May be NULL. */
    bool (*watch)(void *user, const lh_tally *tally, uint64_t done, uint64_t total);
    void *watch_data;
} lh_eval_options;

typedef struct lh_evaluation {
    lh_tally *tally;
    uint64_t total, scored, skipped; /* tokens of the corpus; scored counts each once: total = scored + skipped */
    uint64_t read;                   /* by the model, padding included */
    double seconds;                  /* of this run */
    int64_t state_bytes;             /* of one document */
    uint64_t sources_cut;            /* pairs whose source is longer than the model's encoder reads */
    bool resumed;
} lh_evaluation;

/* What a corpus is evaluated by when nobody says: stream; book for the rows of a task and for pairs, which have
 * nothing to do with each other. */
lh_protocol_kind lh_eval_usual_protocol(const lh_eval_corpus *corpus);

/* Decides what was left open: lanes if 0, what happens to first tokens ("charge", "skip" or "start"; NULL: the
 * protocol's usual; LH_E_ARGUMENT), and after how many tokens memories are full. */
lh_status lh_eval_options_complete(lh_eval_options *options, const char *first, const lh_model *model,
                                   const lh_tokenizer *tokenizer, const lh_eval_corpus *corpus, lh_error *error);

/* options.protocol must have been completed; options.tally.warm is taken as it is, options.tally.answers is set.
 * LH_E_CONFIG if the file to resume from belongs to another evaluation. The file is removed when the evaluation is
 * complete. */
lh_status lh_evaluate(lh_evaluation *evaluation, const lh_model *model, const lh_tokenizer *tokenizer,
                      const lh_eval_corpus *corpus, const lh_eval_options *options, lh_error *error);
void lh_evaluation_free(lh_evaluation *evaluation); /* safe on a zeroed struct */

#endif
