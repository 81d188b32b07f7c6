/* The curves of a run, read back from its metrics.jsonl. */
#ifndef LH_REPORT_METRICS_H
#define LH_REPORT_METRICS_H

#include "base/error.h"

#include <stdint.h>

typedef struct lh_curve {
    double *x, *y;
    int64_t count;
} lh_curve;

/* All lines that hold a number under `key`, by their "step". A file without such lines gives an empty curve. */
lh_status lh_curve_read(lh_curve *curve, const char *path, const char *key, lh_error *error);
void lh_curve_free(lh_curve *curve);

#endif
