/* The loss on held-out text while a training goes on. */
#ifndef LH_TRAIN_VALIDATE_H
#define LH_TRAIN_VALIDATE_H

#include "train/trainer.h"

typedef struct lh_validation {
    lh_loss_sums sums;
    bool answered; /* the split says which tokens are answers: the sums are of those alone */
    double right;  /* then: answers that were the likeliest token */
} lh_validation;

/* The part of the answers that were right; NaN if there are none. */
double lh_validation_accuracy(const lh_validation *validation);

/* Sums over the first `tokens` tokens of the split (0: all), read by up to `lanes` lanes from fresh memories, in
 * whole segments, without dropout. Nothing of the training changes, its random numbers included. `stop` (may be
 * NULL) is asked between segments; when it says true the status is LH_E_INTERRUPTED. */
lh_status lh_validate(lh_training *training, const lh_split *split, int64_t tokens, int64_t lanes,
                      bool (*stop)(void *user), void *user, lh_validation *result, lh_error *error);

#endif
