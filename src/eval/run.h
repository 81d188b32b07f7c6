/* A running evaluation: shared by the loops over streams and windows and by the file that keeps an interrupted one.
 */
#ifndef LH_EVAL_RUN_H
#define LH_EVAL_RUN_H

#include "data/stream.h"
#include "eval/evaluate.h"
#include "infer/session.h"

typedef struct lh_eval_run {
    const lh_model *model;
    const lh_eval_corpus *corpus;
    const lh_eval_options *options;
    lh_session *session;
    lh_tally *tally;
    uint32_t *token_bytes;
    lh_token_stream *stream; /* stream, book, trunc */
    uint64_t *before;        /* [lanes]: tokens read since the state was cleared */
    uint64_t text, window;   /* windows: the next one */
    uint64_t done;           /* tokens got through, for progress */
    uint64_t covered;        /* overlap: end of the last window; and tokens that no window scores */
    uint64_t read;
    double last_saved;
} lh_eval_run;

/* The loops. Both end with LH_OK at the end of the corpus. */
lh_status lh_eval_run_stream(lh_eval_run *run, lh_error *error);
lh_status lh_eval_run_windows(lh_eval_run *run, lh_error *error);

/* After every step: tells the watcher, saves when it is time or when stopped. */
lh_status lh_eval_run_step(lh_eval_run *run, lh_error *error);

lh_status lh_eval_run_save(lh_eval_run *run, const char *path, lh_error *error);
lh_status lh_eval_run_restore(lh_eval_run *run, const char *path, lh_error *error);

/* Is only this scored: the tokens that the corpus says are answers? */
bool lh_eval_run_answers(const lh_eval_run *run);
/* ln(vocabulary): what a charged token costs. */
double lh_eval_run_charge(const lh_eval_run *run);
/* One token of the corpus. */
lh_status lh_eval_run_token(const lh_eval_run *run, uint64_t at, int32_t *token, lh_error *error);
/* Charges ln(vocabulary) for the token at `at`, which nothing precedes; *charged is false if it is not scored. */
lh_status lh_eval_run_charge_token(const lh_eval_run *run, uint64_t document, uint64_t at, bool *charged,
                                   lh_error *error);

#endif
