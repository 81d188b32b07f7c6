/* Picking the next token from logits. */
#ifndef LH_INFER_SAMPLER_H
#define LH_INFER_SAMPLER_H

#include "base/error.h"
#include "base/random.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lh_sampler_options {
    double temperature; /* 0: always the most probable token */
    int64_t top_k;      /* 0: off */
    double top_p;       /* nucleus: the smallest set of most probable tokens with this mass (less 1e-4); 1: off */
    double min_p;       /* tokens at least this fraction as probable as the best; 0: off */
    double repetition_penalty; /* logits of recent tokens are divided (if positive) or multiplied by it; 1: off */
    int64_t repetition_window; /* how many recent tokens that concerns */
    uint64_t seed;
} lh_sampler_options;

/* temperature 1, everything else off. */
lh_sampler_options lh_sampler_defaults(void);

typedef struct lh_sampler lh_sampler;
lh_status lh_sampler_create(lh_sampler **sampler, const lh_sampler_options *options, int64_t vocab,
                            lh_error *error);
void lh_sampler_free(lh_sampler *sampler);
/* Tells the sampler of a token that was read or written: the repetition window. */
void lh_sampler_note(lh_sampler *sampler, int32_t token);
/* Draws from logits [vocab] (not changed). Filters apply in this order: repetition penalty, temperature, top-k,
 * top-p, min-p. LH_E_NUMERIC if a logit is NaN. */
lh_status lh_sampler_pick(lh_sampler *sampler, const float *logits, int32_t *token, lh_error *error);

/* What the next pick depends on beside the logits and the options: the place in the random stream and the
 * repetition window. A list of 64-bit numbers; lh_sampler_state_size of them at most. */
size_t lh_sampler_state_size(const lh_sampler *sampler);
size_t lh_sampler_state(const lh_sampler *sampler, int64_t *numbers); /* returns how many were written */
/* Takes a state back, also into a sampler with other options (its repetition window keeps the newest tokens). False
 * if the numbers are no state; the sampler is then as it was. `with_random` false keeps the sampler's own seed. */
bool lh_sampler_restore(lh_sampler *sampler, const int64_t *numbers, size_t count, bool with_random);

#endif
