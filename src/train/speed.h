/* How fast a model trains, evaluates and decodes here, beside what this machine can do at all: measured with the
 * real trainer and the real session on random tokens. */
#ifndef LH_TRAIN_SPEED_H
#define LH_TRAIN_SPEED_H

#include "formats/recipe.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct lh_speed_options {
    int64_t vocab;  /* if the recipe leaves it open */
    int64_t steps;  /* training steps and as many segments of evaluation that are timed, after two of warm-up */
    int64_t decode; /* tokens that are decoded one by one; 0: none */
    bool (*stop)(void *user); /* polled between steps; may be NULL */
    void *user;
} lh_speed_options;

/* Rates in tokens per second, medians over the steps. Shares are of ceilings that were measured between the same
 * steps. */
typedef struct lh_speed {
    int64_t parameters, lanes, step_tokens, segment;
    double train, evaluate, decode;
    double train_flops;    /* flop per second of a training step: 6 per active parameter, and attention's */
    double gemm;           /* flop per second of a large product */
    double train_share;    /* train_flops / gemm */
    double read;           /* bytes per second of reading memory */
    double decode_bytes;   /* weights and state that a decoded token touches */
    double decode_share;   /* decode * decode_bytes / read */
    double step_bytes;     /* greatest memory of a step's tensors */
    double resident_bytes; /* highest resident size of the process so far */
    double state_bytes;    /* of one document */
    double allocations;    /* heap allocations of a step */
} lh_speed;

/* The recipe is resolved, of the trainer's schema. LH_E_INTERRUPTED if `stop` said so. */
lh_status lh_speed_measure(lh_speed *speed, const lh_recipe *recipe, const lh_speed_options *options,
                           lh_error *error);

/* Flop per second of a square product of 1536 rows, single precision, all threads. LH_E_MEMORY. */
lh_status lh_speed_gemm(double *rate, int threads, lh_error *error);

#endif
