#ifndef LH_INFER_SESSION_INTERNAL_H
#define LH_INFER_SESSION_INTERNAL_H

#include "infer/session.h"

struct lh_session {
    const lh_model *model;
    lh_context *context;
    lh_stream *stream;
    int threads;
    int64_t overlap;
    int32_t *segment; /* [lanes, segment]: this segment's tokens, which may have to be read again */
    int32_t *piece;   /* [lanes, segment]: what one call of the model reads */
    int32_t *targets; /* [lanes, segment] */
    int32_t *best;    /* [lanes, segment] */
    double *nll;      /* [lanes, segment] */
    double *wide;     /* [lanes, vocab] */
    float *logits;    /* [lanes, vocab]: of what follows the last token read, if `known` */
    bool known;
    bool rereads; /* tokens may be read a second time: the model forgets them, or its memory gives them back */
    bool fresh;   /* what stands before the next segment is not in `segment` */
    lh_session *mark;
};

/* session_reread.c */
/* How many tokens the next segment begins with that have been read before. */
int64_t lh_session_overlap(const lh_session *session);
/* If tokens [lanes, total] from column `first` on fill the running segment, and nobody wants to know what follows
 * it
 * (`wanted`: what follows the last column), a memory that takes tokens in is given them without computing anything.
 * *taken: how many columns that were, or 0. */
lh_status lh_session_skip(lh_session *session, const int32_t *tokens, int64_t total, int64_t first, bool wanted,
                          int64_t *taken, lh_error *error);

#endif
