/* Learning-rate schedules: the rate as a function of the iteration. */
#ifndef LH_TRAIN_SCHEDULE_H
#define LH_TRAIN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum lh_schedule_kind {
    LH_SCHEDULE_CONSTANT,
    LH_SCHEDULE_LINEAR,       /* straight down to `final` */
    LH_SCHEDULE_COSINE,       /* half a cosine down to `final` (Loshchilov & Hutter 2017, without restarts) */
    LH_SCHEDULE_INVERSE_SQRT, /* peak sqrt(warmup / t), not below `final` (Vaswani et al. 2017) */
    /* Those of the meliad code base (Memorizing and Block-Recurrent Transformers): with s = max(t, warmup) the rate
     * is peak min(t, warmup) / warmup f(s), where f is, with T = decay, */
    LH_SCHEDULE_MELIAD_RSQRT_STD, /* 1 / sqrt(max(s, 100)) */
    LH_SCHEDULE_MELIAD_RSQRT,     /* min(0.05, 0.001 / sqrt(max(s, 100) / T)) */
    LH_SCHEDULE_MELIAD_COSINE,    /* 0.001 + 0.009 (1 + cos(pi s / T)) / 2 */
    LH_SCHEDULE_MELIAD_LINEAR,    /* 0.001 + 0.009 (T - s) / T; both 0.002 / 2^(s / T) from T on */
} lh_schedule_kind;

/* All other kinds rise linearly from `start` at iteration 0 to `peak` at iteration `warmup`. With start = final =
 * 1e-6 the cosine is the Compressive Transformer's schedule (Rae et al. 2020, section 5). */
typedef struct lh_schedule {
    lh_schedule_kind kind;
    double start, peak, final;
    int64_t warmup; /* iterations; 0: none */
    int64_t
        decay;  /* iterations from the peak to `final`; 0: to the end of the run, whose length is then asked for */
    bool spike; /* meliad: f is at least 0.04 (10000 - s) / 10000 */
} lh_schedule;

/* The rate of an iteration, counted from 0. `progress` is used when decay is 0: the part of the run after the
 * warm-up that is over, 0 .. 1. */
double lh_schedule_rate(const lh_schedule *schedule, int64_t iteration, double progress);

#endif
