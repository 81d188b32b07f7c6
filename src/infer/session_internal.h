#ifndef LH_INFER_SESSION_INTERNAL_H
#define LH_INFER_SESSION_INTERNAL_H

#include "infer/session.h"

struct lh_session {
    const lh_model *model;
    lh_context *context;
    lh_stream *stream;
    int threads;
    int64_t overlap;
    int32_t *segment; /* [lanes, segment]: this segment's tokens, for models without memory */
    int32_t *piece;   /* [lanes, segment]: what one call of the model reads */
    int32_t *targets; /* [lanes, segment] */
    int32_t *best;    /* [lanes, segment] */
    double *nll;      /* [lanes, segment] */
    double *wide;     /* [lanes, vocab] */
    float *logits;    /* [lanes, vocab]: of what follows the last token read, if `known` */
    bool known, without_memory;
    lh_session *mark;
};

#endif
