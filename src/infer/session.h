/* Sessions: documents being read by a model that does not change. Feed tokens, get logits or losses, generate,
 * fork, go back, save to a file, restore bit for bit. The same for every memory; all evaluation and generation
 * stands on it. */
#ifndef LH_INFER_SESSION_H
#define LH_INFER_SESSION_H

#include "formats/checkpoint.h"
#include "model/model.h"

typedef struct lh_session lh_session;

/* `lanes` documents side by side. The model must outlive the session and must not be trained meanwhile. threads 0:
 * all. */
lh_status lh_session_create(lh_session **session, const lh_model *model, int64_t lanes, int threads,
                            lh_error *error);
void lh_session_free(lh_session *session);

const lh_model *lh_session_model(const lh_session *session);
int64_t lh_session_lanes(const lh_session *session);
int64_t lh_session_position(const lh_session *session);    /* tokens read since the last reset of all lanes */
int64_t lh_session_fill(const lh_session *session);        /* of which in the running segment */
int64_t lh_session_state_bytes(const lh_session *session); /* of one lane; does not grow with the position */

/* Forgets the past of one lane (only where a segment begins) or of all (-1). */
lh_status lh_session_reset(lh_session *session, int64_t lane, lh_error *error);

/* Reads tokens [lanes, count] (row per lane) of any count. If `logits` is given it receives [lanes, vocab], the
 * scores of what follows the last token. */
lh_status lh_session_feed(lh_session *session, const int32_t *tokens, int64_t count, float *logits,
                          lh_error *error);

/* As lh_session_feed; the scores of what follows stay in the session. */
lh_status lh_session_read(lh_session *session, const int32_t *tokens, int64_t count, lh_error *error);
/* [lanes, vocab]: the scores of what follows the last token, if that was read by lh_session_read or by an
 * lh_session_feed that asked for them, else NULL. They belong to the state: copies, marks and files have them. */
const float *lh_session_logits(const lh_session *session);

/* Reads tokens [lanes, count] and scores targets [lanes, count] (negative: not scored): nll[lanes, count] in nats,
 * 0 where nothing was scored. What is read and scored does not depend on how a document is cut into calls. */
lh_status lh_session_score(lh_session *session, const int32_t *tokens, const int32_t *targets, int64_t count,
                           double *nll, lh_error *error);

/* The same; best[lanes, count] (may be NULL) receives the likeliest token in place of each target, or -1 where
 * nothing was scored. */
lh_status lh_session_score_best(lh_session *session, const int32_t *tokens, const int32_t *targets, int64_t count,
                                double *nll, int32_t *best, lh_error *error);

/* A model without memory sees its own segment only, and one whose memory holds tokens (Perceiver AR) has its layers
 * over the segment only: when generation fills it, the last `overlap` tokens are read again at the start of the
 * next (default: half a segment; 0: none). Scoring never does this. */
void lh_session_set_overlap(lh_session *session, int64_t overlap);
/* How many tokens the running segment still has room for, what it will read again taken off. A text that is fed in
 * such pieces, without logits, costs nothing with a memory that holds tokens. */
int64_t lh_session_room(const lh_session *session);

/* As lh_session_score for models that can read tokens a second time, those without memory and those whose memory
 * holds tokens (others: LH_E_UNSUPPORTED): every block of `stride` tokens is scored as the end of a segment of its
 * own, so that each target has at least segment - stride tokens of the segment before it, as far as there are any.
 * The first block of a call is the short one if `stride` does not divide count (Hawthorne et al. 2022's block
 * evaluation). After an error the session has forgotten everything. */
lh_status lh_session_score_blocks(lh_session *session, const int32_t *tokens, const int32_t *targets, int64_t count,
                                  int64_t stride, double *nll, lh_error *error);

/* Begins anew behind tokens [lanes, count] that are taken in without computing anything; a lane with fewer has -1
 * in front. The first of them stands at position[lane] of its document. For models whose memory holds tokens;
 * others: LH_E_UNSUPPORTED. */
lh_status lh_session_prime(lh_session *session, const int32_t *tokens, int64_t count, const int64_t *position,
                           lh_error *error);

/* For models with an encoder; others: LH_E_UNSUPPORTED. Puts tokens [lanes, count] (a lane with fewer has -1 in
 * front) behind the sources that the lanes have, up to lh_session_source_tokens. A reset empties a lane's source.
 * Only where a segment begins. The encoder runs when the next tokens are read. */
lh_status lh_session_source(lh_session *session, const int32_t *tokens, int64_t count, lh_error *error);
/* The most tokens of a source; 0: the model has no encoder. */
int64_t lh_session_source_tokens(const lh_session *session);

/* An independent copy. */
lh_status lh_session_fork(lh_session **copy, const lh_session *session, lh_error *error);
/* Remembers this point; rewind returns to it (as often as wanted). */
lh_status lh_session_mark(lh_session *session, lh_error *error);
lh_status lh_session_rewind(lh_session *session, lh_error *error);

/* The state as a file in the checkpoint format, and back into a session of the same model, configuration and lanes.
 * A file that does not fit is LH_E_FORMAT (or LH_E_SHAPE), and the session stays as it was. */
lh_status lh_session_save(const lh_session *session, const char *path, lh_error *error);
lh_status lh_session_restore(lh_session *session, const char *path, lh_error *error);

/* The same with entries of the caller's own in the file, whose names must begin with a word and a point that
 * sessions do not use ("generator.seed"). `add` is called before the file is written; what it adds as tensors must
 * live until the call returns. `take` is called after everything of the session was found good and before anything
 * changes. */
typedef lh_status (*lh_session_add)(void *user, lh_checkpoint_writer *writer, lh_error *error);
typedef lh_status (*lh_session_take)(void *user, const lh_checkpoint *file, lh_error *error);
lh_status lh_session_save_with(const lh_session *session, const char *path, lh_session_add add, void *user,
                               lh_error *error);
lh_status lh_session_restore_with(lh_session *session, const char *path, lh_session_take take, void *user,
                                  lh_error *error);

/* For reports: called after each layer's attention; see lh_memory.observe. NULL switches it off. */
void lh_session_observe(lh_session *session, void (*observe)(void *user, const lh_layer_io *io), void *user);

#endif
