/* Starting from the weights of another run or model: a trained model gets a memory, or a larger one, and goes on.
 */
#ifndef LH_TRAIN_INITIAL_H
#define LH_TRAIN_INITIAL_H

#include "base/text.h"
#include "model/model.h"

/* Takes every parameter of `model` that the run or model at `path` has under the same name, with the same shape and
 * type; the others keep the values they have. A run gives its best checkpoint, else its latest. *report (may be
 * NULL; release with lh_string_free) receives lines for people: how much was taken, which parameters keep their
 * start, and what was not used. LH_E_FORMAT if nothing fits at all. */
lh_status lh_initial_take(lh_model *model, const char *path, lh_string *report, lh_error *error);

/* Is there something to take? LH_E_IO names what is missing. */
lh_status lh_initial_exists(const char *path, lh_error *error);

#endif
