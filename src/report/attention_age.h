/* How attention mass is spread over the age of what it falls on (Rae et al. 2020, figure 2): each kind of keys a
 * query has is cut into sixths from oldest to newest. */
#ifndef LH_REPORT_ATTENTION_AGE_H
#define LH_REPORT_ATTENTION_AGE_H

#include "memory/memory.h"

enum { LH_AGE_PARTS = 6 };

typedef struct lh_attention_age {
    const char *source[LH_ATTENTION_MAX_SOURCES];        /* oldest source first, as the method names them */
    double mass[LH_ATTENTION_MAX_SOURCES][LH_AGE_PARTS]; /* sums; divide by `layers_seen` */
    int sources;
    double layers_seen; /* (layer, segment) pairs that were added up */
} lh_attention_age;

/* For lh_session_observe: user is a lh_attention_age. Whole segments count, parts of one do not. */
void lh_attention_age_observe(void *user, const lh_layer_io *io);

#endif
